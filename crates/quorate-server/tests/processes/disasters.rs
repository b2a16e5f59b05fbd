//! What befalls data and machines rather than commands, by its row in the table of bad input: it is named, with the way
//! out, and nothing is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::cluster::{Cluster, Server, copy_dir, stderr};

/// A copy of a node's data, made while it is down, as it should be.
async fn backup(server: &mut Server) -> TempDir {
    assert_eq!(server.terminate().await, Some(0));
    let to = tempfile::tempdir().unwrap();
    copy_dir(&server.data, to.path());
    server.start();
    to
}

/// Puts a copy in the place of the data of a node that is down, and starts it.
fn restore(server: &mut Server, backup: &TempDir) {
    fs::remove_dir_all(&server.data).unwrap();
    copy_dir(backup.path(), &server.data);
    server.start();
}

async fn fill(cluster: &Cluster, prefix: &str) {
    for number in 0..30 {
        cluster.put(&format!("{prefix}/{number:02}"), "v").await;
    }
}

async fn count(server: &Server, prefix: &str) -> usize {
    server.ok(&["range", prefix]).await.lines().count()
}

/// Row 15: of two voters, a third that is down does not become one, since then none of the two could be missed.
#[tokio::test]
async fn a_third_voter_that_is_down() {
    let mut cluster = Cluster::of(2).await;
    cluster.fresh(3).await;
    cluster.join(3).await.unwrap();
    cluster.server(3).caught_up().await;
    cluster.server(3).kill().await;
    cluster.silent(3).await;
    let said = cluster.servers[0].fails(1, &["member", "promote", "3"]).await;
    assert!(said.contains("not ready") && said.contains("check that it runs"), "{said}");
    assert_eq!(cluster.voters().await, [1, 2]);
    cluster.put("k", "v").await;
    cluster.server(3).start();
    cluster.promote(3).await;
    assert_eq!(cluster.voters().await, [1, 2, 3]);
}

/// Row 21: what an old copy of one member lacks, it is given again; nothing acknowledged is lost.
#[tokio::test]
async fn an_old_backup_of_one_member() {
    let mut cluster = Cluster::of(3).await;
    fill(&cluster, "before").await;
    let id = cluster.leader().await % 3 + 1;
    let copy = backup(cluster.server(id)).await;
    cluster.server(id).caught_up().await;
    fill(&cluster, "after").await;
    for server in &cluster.servers {
        server.caught_up().await;
    }
    cluster.server(id).kill().await;
    restore(cluster.server(id), &copy);
    cluster.server(id).caught_up().await;
    assert_eq!(
        (count(cluster.server(id), "before").await, count(cluster.server(id), "after").await),
        (30, 30)
    );
    fill(&cluster, "later").await;
    for server in &cluster.servers {
        assert_eq!(count(server, "").await, 90, "node {}", server.id);
    }
}

/// Row 22: copies of all members, put back together, are the cluster as it was then, and it goes on from there.
#[tokio::test]
async fn backups_of_all_members() {
    let mut cluster = Cluster::of(3).await;
    fill(&cluster, "before").await;
    let mut copies = Vec::new();
    for id in 1..=3 {
        copies.push(backup(cluster.server(id)).await);
        cluster.server(id).caught_up().await;
    }
    fill(&cluster, "after").await;
    for id in 1..=3 {
        cluster.server(id).kill().await;
    }
    cluster.servers.iter_mut().zip(&copies).for_each(|(server, copy)| restore(server, copy));
    for server in &cluster.servers {
        server.caught_up().await;
        assert_eq!(
            (count(server, "before").await, count(server, "after").await),
            (30, 0),
            "node {}",
            server.id
        );
    }
    fill(&cluster, "later").await;
    assert_eq!(count(&cluster.servers[2], "later").await, 30);
}

/// Row 23: without a majority nothing is accepted, the answer says what is missing, and when it is back all is there.
#[tokio::test]
async fn a_majority_that_is_gone() {
    let mut cluster = Cluster::of(3).await;
    cluster.put("k", "v").await;
    let (left, gone) = (1, [2, 3]);
    assert_eq!(cluster.server(left).terminate().await, Some(0));
    cluster.server(left).flags = ["--request-timeout-ms", "1000"].map(str::to_owned).to_vec();
    cluster.server(left).start();
    cluster.server(left).caught_up().await;
    if cluster.leader().await == left {
        cluster.server(left).ok(&["transfer-leader", "2"]).await;
    }
    for id in gone {
        cluster.server(id).kill().await;
    }
    for command in [&["get", "k"][..], &["member", "remove", &gone[0].to_string()], &["put", "k", "w"]] {
        let said = cluster.server(left).fails(5, &[command, &["--timeout", "5"]].concat()).await;
        assert!(said.contains("a majority of the voters"), "{command:?}: {said}");
    }
    assert_eq!(cluster.server(left).ok(&["get", "k", "--stale"]).await, "v");
    cluster.server(gone[0]).start();
    assert_eq!(cluster.get("k").await.as_deref(), Some("v"));
    cluster.put("k", "x").await;
}

/// Row 25: a place where no data can be kept is named when the node starts, with what to do about it.
#[tokio::test]
async fn a_directory_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    // Nobody makes a directory there, whoever they are.
    for place in [file.join("data"), Path::new("/sys/quorate-data").to_owned()] {
        let output = Server::new(1, place.clone()).run().await;
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains(place.to_str().unwrap()) && said.contains("another directory"), "{said}");
    }
}

/// Row 25: others on the machine that may look into the directory are warned of.
#[tokio::test]
async fn a_directory_that_is_open_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::new(1, dir.path().join("data"));
    fs::create_dir(&server.data).unwrap();
    fs::set_permissions(&server.data, fs::Permissions::from_mode(0o755)).unwrap();
    let mut lines = server.start_listening();
    while !lines.next_line().await.unwrap().expect("it goes on").contains("chmod 0700") {}
    server.status().await;
}

/// Row 26, at a start: a node on a full disk does not start, says so, and starts when there is room.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_start_on_a_full_disk() {
    let mut cluster = Cluster::of(1).await;
    cluster.put("k", "v").await;
    cluster.server(1).kill().await;
    let server = cluster.server(1);
    let new = server.data.join("identity.new");
    std::os::unix::fs::symlink("/dev/full", &new).unwrap();
    let output = server.run().await;
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("no space left") && said.contains("make room"), "{said}");
    fs::remove_file(new).unwrap();
    server.start();
    assert_eq!(cluster.get("k").await.as_deref(), Some("v"));
}

/// Row 44: a write without an answer is never called a failed one. It may be there later; one that was not accepted is
/// not.
#[tokio::test]
async fn an_answer_that_never_came() {
    let cluster = Cluster::of(3).await;
    let mut unknown = None;
    for number in 0_u64.. {
        let leader = cluster.leader().await;
        let others: Vec<&Server> = cluster.servers.iter().filter(|server| server.id != leader).collect();
        for server in &others {
            server.signal("STOP").await;
        }
        let asked = cluster.servers.iter().find(|server| server.id == leader).unwrap();
        let key = format!("k/{number}");
        let output = asked.quorate(&["put", &key, "v", "--timeout", "1"]).await;
        for server in &others {
            server.signal("CONT").await;
        }
        match output.status.code() {
            Some(6) => {
                assert!(stderr(&output).contains("unknown"), "{}", stderr(&output));
                unknown = Some(key);
                break;
            }
            // The leader had given up before it was asked.
            Some(5) => assert_eq!(cluster.get(&key).await, None, "it was not accepted"),
            code => panic!("{code:?}: {}", stderr(&output)),
        }
    }
    // Writing it again under a condition does it once, whether or not the first one came through.
    let key = unknown.unwrap();
    let again = cluster.servers[0].quorate(&["cas", &key, "v", "--absent"]).await;
    assert!([Some(0), Some(4)].contains(&again.status.code()), "{}", stderr(&again));
    assert_eq!(cluster.get(&key).await.as_deref(), Some("v"));
}

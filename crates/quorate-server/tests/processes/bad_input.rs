//! What operators get wrong, by its row in the table of bad input: a clear error, and nothing lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use futures_util::future::join_all;
use quorate_node::Uid;
use quorate_server::api::{Done, MemberId, NewMember};
use quorate_server::client::ClientError;
use tokio::net::TcpListener;

use crate::cluster::{Cluster, Server, quorate, stderr};

fn server(id: u64, dir: &Path) -> Server {
    Server::new(id, dir.join("data"))
}

fn code(result: Result<impl std::fmt::Debug, ClientError>) -> String {
    match result {
        Err(ClientError::Refused(body)) => body.code,
        other => panic!("{other:?}"),
    }
}

/// Row 1: the second node with a number is turned away, the first does not notice.
#[tokio::test]
async fn two_nodes_with_one_number() {
    let mut cluster = Cluster::of(2).await;
    cluster.fresh(2).await;
    assert_eq!(code(cluster.join(2).await), "duplicate_node");
    cluster.put("k", "v").await;
    assert_eq!(cluster.servers[1].ok(&["get", "k"]).await, "v");
}

/// Row 2: of two processes with one identity, one goes on and the other ends with a code of its own.
#[tokio::test]
async fn a_copied_data_directory() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let id = leader % 3 + 1;
    cluster.server(id).kill().await;
    let to = tempfile::tempdir().unwrap();
    let mut copy = cluster.server(id).copy(&to.path().join("copy"));
    let original = cluster.server(id);
    original.start();
    original.caught_up().await;
    copy.start();
    assert_eq!(copy.ended().await, Some(3));
    cluster.put("k", "v").await;
    assert_eq!(cluster.server(id).ok(&["get", "k"]).await, "v");
}

/// Row 3.
#[tokio::test]
async fn a_node_that_is_to_join_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(1, dir.path());
    server.flags = vec!["--join".into(), server.peer_addr.clone()];
    let output = server.run().await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("own address"), "{}", stderr(&output));
}

/// Row 4: one address cannot belong to two members.
#[tokio::test]
async fn the_address_of_another_member() {
    let cluster = Cluster::of(2).await;
    let taken = cluster.servers[1].peer_addr.clone();
    let new = NewMember { id: 9, uid: Uid(9), peer_addr: taken, client_addr: String::new() };
    assert_eq!(code(cluster.client.admin::<Done>("add-learner", &new).await), "address_in_use");
    assert_eq!(cluster.voters().await, [1, 2]);
}

/// Row 16: of changes at the same time, each is made or refused, and none is left half-way.
#[tokio::test]
async fn membership_changes_at_the_same_time() {
    let mut cluster = Cluster::of(3).await;
    for id in [4, 5] {
        cluster.fresh(id).await;
        cluster.join(id).await.unwrap();
        cluster.server(id).caught_up().await;
    }
    let change = |name: &'static str, id: u64| {
        let client = cluster.client.clone();
        async move { (name, id, client.admin::<Done>(name, &MemberId { id }).await) }
    };
    let changes = [change("promote", 4), change("promote", 5), change("remove", 3), change("promote", 4)];
    let mut expected = BTreeSet::from([1, 2, 3]);
    for (name, id, result) in join_all(changes).await {
        match result {
            Ok(_) if name == "promote" => drop(expected.insert(id)),
            Ok(_) => drop(expected.remove(&id)),
            Err(ClientError::Refused(body)) => {
                assert!(
                    ["change_in_progress", "learner_not_ready"].contains(&body.code.as_str()),
                    "{body:?}"
                );
            }
            Err(error) => panic!("{name} {id}: {error}"),
        }
    }
    assert_eq!(cluster.voters().await, expected.into_iter().collect::<Vec<_>>());
    assert!(!cluster.client.status(true).await.unwrap().members.joint);
}

/// Rows 5, 7 and 9: a node of one cluster is not taken over by another, and neither changes its term for it.
#[tokio::test]
async fn two_clusters_do_not_merge() {
    let (ours, theirs) = (Cluster::of(1).await, Cluster::of(1).await);
    let member = theirs.servers[0].peer_addr.clone();
    let terms = (ours.servers[0].status().await.node.term, theirs.servers[0].status().await.node.term);
    let said = ours.servers[0].fails(1, &["join", &member]).await;
    assert!(said.contains("belongs to cluster"), "{said}");
    assert_eq!((ours.servers[0].status().await.node.term, theirs.servers[0].status().await.node.term), terms);
}

/// Rows 8 and 9: founding twice is as good as once, and a node that joined cannot found.
#[tokio::test]
async fn init_where_it_is_not_needed() {
    let cluster = Cluster::of(2).await;
    cluster.servers[0].ok(&["init"]).await;
    let said = cluster.servers[1].fails(1, &["init"]).await;
    assert!(said.contains("belongs to cluster"), "{said}");
}

/// Row 6: the two kinds of ports, mixed up.
#[tokio::test]
async fn the_peer_port_taken_for_the_client_port() {
    let cluster = Cluster::of(1).await;
    let peer = cluster.servers[0].peer_addr.as_str();
    let output = quorate(&["--server", peer, "--timeout", "1", "get", "k"]).await;
    assert!([Some(1), Some(7)].contains(&output.status.code()), "{output:?}");
    assert!(stderr(&output).contains("client"), "{}", stderr(&output));
    let dir = tempfile::tempdir().unwrap();
    let mut fresh = server(2, dir.path());
    fresh.start();
    fresh.status().await;
    let said = fresh.fails(1, &["join", &cluster.servers[0].client_addr, "--timeout", "45"]).await;
    assert!(said.contains("no member answered"), "{said}");
}

/// Row 10: with no data and no instructions, a node waits and says what for.
#[tokio::test]
async fn a_start_with_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(1, dir.path());
    server.start();
    assert!(server.status().await.node.cluster_id.is_none());
    assert!(server.ok(&["status"]).await.contains("quorate init"));
    let said = server.fails(5, &["put", "k", "v"]).await;
    assert!(said.contains("init") && said.contains("join"), "{said}");
    assert_eq!(server.terminate().await, Some(0));
}

/// Rows 11, 12 and 13.
#[tokio::test]
async fn removals_that_would_leave_no_quorum() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let (dead, alive) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.server(dead).kill().await;
    cluster.silent(dead).await;
    let text = cluster.server(leader).fails(1, &["member", "remove", &alive.to_string()]).await;
    assert!(text.contains("refused: 2 voters would need 2 alive, and 1 are"), "{text}");
    let empty = serde_json::json!({"voters": []});
    let result = cluster.client.admin::<serde_json::Value>("change-membership", &empty).await;
    assert_eq!(code(result), "empty_voters");
}

/// Row 14: a learner that does not answer is not made a voter.
#[tokio::test]
async fn a_learner_that_is_not_there() {
    let mut cluster = Cluster::of(1).await;
    cluster.fresh(2).await;
    cluster.join(2).await.unwrap();
    cluster.server(2).caught_up().await;
    cluster.server(2).kill().await;
    for number in 0..1100 {
        cluster.put(&format!("k/{number}"), "v").await;
    }
    let said = cluster.servers[0].fails(1, &["member", "promote", "2"]).await;
    assert!(said.contains("not ready") && said.contains("lacks"), "{said}");
}

/// Rows 18 and 19: a removed node is told so and keeps its data; its number is never used again.
#[tokio::test]
async fn a_removed_node_and_its_number() {
    let mut cluster = Cluster::of(3).await;
    let removed = cluster.leader().await % 3 + 1;
    cluster.server(removed).kill().await;
    let leader = cluster.leader().await;
    cluster.server(leader).ok(&["member", "remove", &removed.to_string()]).await;
    let output = cluster.server(removed).run().await;
    assert_eq!(output.status.code(), Some(8), "{}", stderr(&output));
    assert!(stderr(&output).contains("was removed from the cluster at log index"), "{}", stderr(&output));
    assert!(cluster.server(removed).data.join("identity").exists());

    let dir = tempfile::tempdir().unwrap();
    let mut again = server(removed, dir.path());
    again.start();
    again.status().await;
    let member = cluster.server(leader).peer_addr.clone();
    let said = again.fails(1, &["join", &member]).await;
    assert!(said.contains("ids are never used again"), "{said}");
}

/// Row 20: a member whose disk was wiped is not taken for the member that it was.
#[tokio::test]
async fn a_wiped_disk() {
    let mut cluster = Cluster::of(3).await;
    let id = cluster.leader().await % 3 + 1;
    cluster.server(id).kill().await;
    fs::remove_dir_all(&cluster.server(id).data).unwrap();
    let output = {
        let member = cluster.servers.iter().find(|server| server.id != id).unwrap().peer_addr.clone();
        let wiped = cluster.server(id);
        wiped.flags = vec!["--join".into(), member];
        wiped.run().await
    };
    assert!([Some(1), Some(8)].contains(&output.status.code()), "{}", stderr(&output));
    assert!(stderr(&output).contains("member replace"), "{}", stderr(&output));
    cluster.put("k", "v").await;
}

/// Row 24.
#[tokio::test]
async fn two_processes_on_one_directory() {
    let cluster = Cluster::of(1).await;
    let second = Server::new(1, cluster.servers[0].data.clone());
    let output = second.run().await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("in use by process"), "{}", stderr(&output));
    cluster.put("k", "v").await;
}

/// Rows 28 and 32: damage and a newer format are named, and nothing is touched.
#[tokio::test]
async fn data_that_cannot_be_trusted() {
    let mut cluster = Cluster::of(1).await;
    for number in 0..100 {
        cluster.put(&format!("k/{number}"), &"v".repeat(100)).await;
    }
    cluster.server(1).kill().await;
    let server = &cluster.servers[0];
    let wrong = Server::new(2, server.data.clone()).run().await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("belongs to node 1"), "{}", stderr(&wrong));

    let identity = server.data.join("identity");
    let whole = fs::read(&identity).unwrap();
    let mut newer = whole.clone();
    newer[4] = 9;
    let body = newer.len() - 4;
    let crc = crc32c::crc32c(&newer[..body]).to_le_bytes();
    newer[body..].copy_from_slice(&crc);
    fs::write(&identity, &newer).unwrap();
    let output = server.run().await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("format 9"), "{}", stderr(&output));
    assert_eq!(fs::read(&identity).unwrap(), newer, "untouched");

    let mut rotten = whole.clone();
    rotten[20] ^= 1;
    fs::write(&identity, &rotten).unwrap();
    let output = server.run().await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("damaged"), "{}", stderr(&output));
    fs::write(&identity, &whole).unwrap();
    assert_eq!(flip_in_the_log(&server.data), 1, "one value was found in the log");
    let output = server.run().await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("log"), "{}", stderr(&output));
}

/// Flips a bit in the middle of a stored value with many after it. Gives the number of places.
fn flip_in_the_log(data: &Path) -> usize {
    let mut flipped = 0;
    for entry in fs::read_dir(data.join("log")).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(100).position(|window| window == [b'v'; 100]) {
            bytes[at + 50] ^= 1;
            fs::write(&path, bytes).unwrap();
            flipped += 1;
            break;
        }
    }
    flipped
}

/// Rows 37 and 38: a configuration that makes no sense is refused with both values, or a suggestion.
#[tokio::test]
async fn a_configuration_that_makes_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(1, dir.path());
    server.flags = ["--heartbeat-ms", "300", "--election-min-ms", "500"].map(str::to_owned).to_vec();
    let output = server.run().await;
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("500 ms") && text.contains("300 ms") && text.contains("5 times"), "{text}");

    let file = dir.path().join("node.toml");
    fs::write(&file, "hartbeat-ms = 100").unwrap();
    server.flags = vec!["--config".into(), file.to_str().unwrap().into()];
    let output = server.run().await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean \"heartbeat-ms\"?"), "{}", stderr(&output));
    assert!(!server.data.exists(), "nothing was made");
    let output = quorate(&["serve", "--id", "1", "--lisen", "a:1"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--listen"), "{}", stderr(&output));
}

/// Row 47: a port in use is tried again, visibly, and taken when it is free.
#[tokio::test]
async fn a_port_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = server(1, dir.path());
    let occupied = TcpListener::bind(&server.client_addr).await.unwrap();
    let mut lines = server.start_listening();
    while !lines.next_line().await.unwrap().expect("it goes on").contains("cannot listen yet") {}
    drop(occupied);
    server.status().await;
}

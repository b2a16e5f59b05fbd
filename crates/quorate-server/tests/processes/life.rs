//! What a cluster is for: it takes writes, survives deaths, changes its members, and loses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quorate_server::api::{Done, MemberId};
use serde_json::Value;

use crate::cluster::{Cluster, LONG, Server, quorate, stderr};

/// Writes numbered keys until it is told to stop; counts those that were acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    fn start(cluster: &Cluster) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (client, stopped, count) = (cluster.client.clone(), stop.clone(), acknowledged.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::SeqCst) {
                let number = count.load(Ordering::SeqCst);
                // Whatever the failure, the same write may be made again; only an acknowledged one counts.
                if client.put(&format!("w/{number:06}"), number.to_string().into()).await.is_ok() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { stop, acknowledged, task }
    }

    /// Ends the writing, and checks on one node that everything acknowledged is there.
    async fn check(self, server: &Server) {
        self.stop.store(true, Ordering::SeqCst);
        tokio::time::timeout(LONG, self.task).await.unwrap().unwrap();
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        assert!(acknowledged > 0);
        let printed = server.ok(&["range", "w/"]).await;
        let found: Vec<&str> = printed.lines().collect();
        for number in 0..acknowledged {
            let at = usize::try_from(number).unwrap();
            assert_eq!(
                found.get(at).copied(),
                Some(format!("w/{number:06}\t{number}").as_str()),
                "write {number} is lost"
            );
        }
    }
}

#[tokio::test]
async fn a_cluster_of_three_serves_every_command() {
    let cluster = Cluster::of(3).await;
    let [one, two, three] = &cluster.servers[..] else { panic!("three servers") };
    assert!(one.ok(&["put", "greeting", "hello"]).await.starts_with("revision "));
    assert_eq!(two.ok(&["get", "greeting"]).await, "hello");
    let pair: Value = serde_json::from_str(&three.ok(&["get", "greeting", "--json"]).await).unwrap();
    let revision = pair["revision"].to_string();
    assert_eq!(pair["value"]["text"], "hello");

    two.ok(&["cas", "greeting", "bye", "--revision", &revision]).await;
    assert!(
        three.fails(4, &["cas", "greeting", "no", "--revision", &revision]).await.contains("not as expected")
    );
    three.ok(&["cas", "other", "new", "--absent"]).await;
    assert_eq!(one.ok(&["range"]).await, "greeting\tbye\nother\tnew\n");
    assert_eq!(one.ok(&["range", "--limit", "1", "--stale", "gre"]).await, "greeting\tbye\n");
    assert!(two.ok(&["delete", "other"]).await.contains("deleted"));
    assert!(one.fails(4, &["get", "other"]).await.contains("there is no key \"other\""));
    assert!(one.fails(4, &["delete", "other"]).await.contains("no key"));

    let status = three.ok(&["status"]).await;
    assert_eq!(status.matches("leader").count(), 1, "{status}");
    assert_eq!(status.matches("follower").count(), 2, "{status}");
    assert!(two.ok(&["snapshot"]).await.contains("a snapshot covers the log up to index"));
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_leader_is_killed() {
    let mut cluster = Cluster::of(3).await;
    let writer = Writer::start(&cluster);
    cluster.put("before", "1").await;
    let leader = cluster.leader().await;
    cluster.server(leader).kill().await;
    cluster.put("without", "2").await;
    let heir = cluster.leader().await;
    assert_ne!(heir, leader);
    cluster.server(leader).start();
    cluster.server(leader).caught_up().await;
    writer.check(cluster.server(leader)).await;
    for key in ["before", "without"] {
        cluster.server(leader).ok(&["get", key, "--stale"]).await;
    }
}

#[tokio::test]
async fn everything_is_there_after_all_nodes_were_killed() {
    let mut cluster = Cluster::of(3).await;
    for number in 0..50 {
        cluster.put(&format!("k/{number:02}"), "v").await;
    }
    for id in 1..=3 {
        cluster.server(id).kill().await;
    }
    for id in 1..=3 {
        cluster.server(id).start();
    }
    assert_eq!(cluster.servers[2].ok(&["range", "k/"]).await.lines().count(), 50);
}

/// SIGTERM ends in order, and the others do not have to wait for an election.
#[tokio::test]
async fn a_leader_that_is_told_to_end_hands_over() {
    let mut cluster = Cluster::of(3).await;
    let writer = Writer::start(&cluster);
    let leader = cluster.leader().await;
    assert_eq!(cluster.server(leader).terminate().await, Some(0));
    let heir = cluster.leader().await;
    assert_ne!(heir, leader);
    cluster.put("after", "1").await;
    assert_eq!(cluster.get("after").await.as_deref(), Some("1"));
    writer.check(cluster.server(heir)).await;
}

#[tokio::test]
async fn leadership_is_handed_over_on_demand() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let target = leader % 3 + 1;
    cluster.servers[0].ok(&["transfer-leader", &target.to_string()]).await;
    assert_eq!(cluster.leader().await, target);
}

/// One, three, five, and back to one, while writes go on.
#[tokio::test]
async fn a_cluster_grows_and_shrinks_while_it_is_written_to() {
    let mut cluster = Cluster::of(1).await;
    let writer = Writer::start(&cluster);
    for id in 2..=5 {
        let address = cluster.fresh(id).await.client_addr.clone();
        let said = cluster.servers[0].ok(&["member", "add", "--voter", &address]).await;
        assert!(said.contains(&format!("node {id} is a voter")), "{said}");
    }
    assert_eq!(cluster.voters().await, [1, 2, 3, 4, 5]);
    let kept = cluster.leader().await;
    for id in (1..=5).filter(|id| *id != kept) {
        let said = cluster.server(kept).ok(&["member", "remove", &id.to_string()]).await;
        assert!(said.contains("no longer a member"), "{said}");
    }
    assert_eq!(cluster.voters().await, [kept]);
    writer.check(cluster.server(kept)).await;
}

/// Row 20, the way out: a dead member is replaced by a fresh node under a new number.
#[tokio::test]
async fn a_dead_member_is_replaced() {
    let mut cluster = Cluster::of(3).await;
    cluster.put("kept", "1").await;
    let dead = cluster.leader().await % 3 + 1;
    cluster.server(dead).kill().await;
    let address = cluster.fresh(4).await.client_addr.clone();
    let alive = dead % 3 + 1;
    let said = cluster.server(alive).ok(&["member", "replace", &dead.to_string(), &address]).await;
    assert!(said.contains("in the place"), "{said}");
    let mut expected: Vec<u64> = (1..=4).filter(|id| *id != dead).collect();
    expected.sort_unstable();
    assert_eq!(cluster.voters().await, expected);
    assert_eq!(cluster.server(4).ok(&["get", "kept"]).await, "1");
}

/// A leader may remove itself: it hands over first.
#[tokio::test]
async fn a_leader_removes_itself() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let _: Done = cluster.client.admin("remove", &MemberId { id: leader }).await.unwrap();
    assert_eq!(cluster.server(leader).ended().await, Some(8), "it has no place any more");
    assert_ne!(cluster.leader().await, leader);
    cluster.put("after", "1").await;
}

#[tokio::test]
async fn the_demo_loses_nothing() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/sample.csv");
    let output = quorate(&["demo", "--load", sample, "--clients", "8"]).await;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", stderr(&output));
    assert!(
        printed.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == ["lost", "0"]),
        "{printed}"
    );
}

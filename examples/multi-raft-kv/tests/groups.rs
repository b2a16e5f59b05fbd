//! Two groups in three processes: each agrees with itself alone, over connections that both share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use example_mem_store::Request;
use multi_raft_kv::NodeId;
use multi_raft_kv::Process;
use multi_raft_kv::Raft;
use multi_raft_kv::network::Net;
use openraft::BasicNode;

/// A deadline that only a hang can miss.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));
const GROUPS: [&str; 2] = ["users", "orders"];

type Processes = BTreeMap<NodeId, Process>;

async fn found() -> Processes {
    let net = Net::default();
    let processes: Processes = (1..=3).map(|id| (id, Process::new(id, &net))).collect();
    let members: BTreeMap<_, _> = (1..=3).map(|id| (id, BasicNode::default())).collect();
    for group in GROUPS {
        for process in processes.values() {
            process.start(group).await.unwrap();
        }
        processes[&1].raft(group).unwrap().initialize(members.clone()).await.unwrap();
    }
    processes
}

/// The leader of a group, as the process `id` sees it.
async fn leader(processes: &Processes, id: NodeId, group: &str) -> Raft {
    let led =
        |m: &openraft::RaftMetrics<_>| m.current_leader.is_some_and(|leader| processes.contains_key(&leader));
    let metrics = processes[&id].raft(group).unwrap().wait(PATIENCE).metrics(led, "a leader").await.unwrap();
    processes[&metrics.current_leader.unwrap()].raft(group).unwrap()
}

/// Writes, and waits until all processes have it.
async fn write(processes: &Processes, id: NodeId, group: &str, value: &str) {
    let written = leader(processes, id, group).await.client_write(Request::set("key", value)).await.unwrap();
    for process in processes.values() {
        let wait = process.raft(group).unwrap().wait(PATIENCE);
        wait.applied_index_at_least(Some(written.log_id.index), "applied").await.unwrap();
        assert_eq!(process.get(group, "key").as_deref(), Some(value));
    }
}

#[tokio::test(start_paused = true)]
async fn groups_share_connections_and_nothing_else() {
    let processes = found().await;
    write(&processes, 1, "users", "a user").await;
    assert_eq!(processes[&2].get("orders", "key"), None);
    write(&processes, 1, "orders", "an order").await;
    assert_eq!(processes[&2].get("users", "key").as_deref(), Some("a user"));
    for process in processes.values() {
        assert!(process.connections() <= 2, "one to each other process, for both groups");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_lives_on_when_one_of_its_nodes_stops() {
    let mut processes = found().await;
    write(&processes, 1, "users", "before").await;
    write(&processes, 1, "orders", "before").await;
    let gone = *leader(&processes, 1, "users").await.node_id();
    processes[&gone].raft("users").unwrap().shutdown().await.unwrap();

    // The process is still there: its node of the other group has not noticed.
    write(&processes, 1, "orders", "after").await;
    processes.remove(&gone);
    let other = *processes.keys().next().unwrap();
    write(&processes, other, "users", "after").await;
}

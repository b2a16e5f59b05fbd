//! When metrics move, and when they must not.

use std::time::Duration;

use quorate::RaftMetrics;
use quorate::async_runtime::WatchReceiver;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::acknowledged;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::network::Node;
use crate::stores::Add;
use crate::stores::Types;

async fn found() -> (Cluster, Node, [u64; 2]) {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    acknowledged(&leader).await;
    let others = cluster.others(&leader);
    (cluster, leader, [others[0], others[1]])
}

fn shown(node: &Node) -> RaftMetrics<Types> {
    node.metrics().borrow_watched().clone()
}

#[tokio::test(start_paused = true)]
async fn the_last_log_index_counts_what_is_not_durable_yet_and_replication_does_not() {
    let (cluster, leader, _) = found().await;
    let id = *leader.node_id();
    cluster.disks[&id].log.fail(|faults| faults.withhold = true);
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(1)).await });
    leader.wait(PATIENCE).log_index(Some(2), "in the log").await.unwrap();
    let own = |node: &Node| shown(node).replication.unwrap()[&id].map(|last| last.index);
    assert_eq!(own(&leader), Some(1), "its own share is what its disk has");
    cluster.disks[&id].log.release();
    soon(write).await.unwrap().unwrap();
    assert_eq!(own(&leader), Some(2));
}

#[tokio::test(start_paused = true)]
async fn what_shows_as_applied_the_state_machine_has() {
    let (cluster, leader, _) = found().await;
    let machine = cluster.disks[leader.node_id()].machine.clone();
    machine.apply_gate.close();
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(1)).await });
    leader.wait(PATIENCE).committed_index(Some(2), "committed").await.unwrap();
    elapse(Duration::from_millis(100)).await;
    assert_eq!((shown(&leader).last_applied.map(|last| last.index), machine.sum()), (Some(1), 0));
    machine.apply_gate.open();
    leader.wait(PATIENCE).applied_index(Some(2), "applied").await.unwrap();
    assert_eq!(machine.sum(), 1);
    soon(write).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn server_metrics_do_not_move_with_data_and_data_metrics_do() {
    let (_cluster, leader, _) = found().await;
    let (mut server, mut data) = (leader.server_metrics(), leader.data_metrics());
    drop((server.borrow_and_update(), data.borrow_and_update()));
    for _ in 0..10 {
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    soon(data.changed()).await.unwrap();
    assert!(tokio::time::timeout(LONG, server.changed()).await.is_err());
    leader.trigger().snapshot().await.unwrap();
    leader.wait(PATIENCE).metrics(|m| m.snapshot.is_some(), "built").await.unwrap();
    assert!(tokio::time::timeout(LONG, server.changed()).await.is_err());
    soon(leader.add_learner(9, quorate::BasicNode::new("nine"), false)).await.unwrap();
    soon(server.changed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn heartbeat_times_move_with_answers_alone_and_the_quorums_with_a_majority_alone() {
    let (cluster, leader, [one, other]) = found().await;
    let beat = |id: u64| shown(&leader).heartbeat.unwrap()[&id].map(|at| at.into_inner());
    let quorum = || shown(&leader).last_quorum_acked.map(|at| at.into_inner());
    cluster.router.isolate(one);
    elapse(Duration::from_millis(100)).await;
    let (of_one, of_other, of_both) = (beat(one), beat(other), quorum());
    elapse(Duration::from_millis(200)).await;
    assert_eq!(beat(one), of_one, "it does not answer");
    assert!(beat(other) > of_other && quorum() > of_both, "two of three are a quorum");
    cluster.router.isolate(other);
    elapse(Duration::from_millis(100)).await;
    let (of_other, of_both) = (beat(other), quorum());
    elapse(Duration::from_millis(200)).await;
    assert_eq!((beat(other), quorum()), (of_other, of_both), "one of three is none");
    assert!(leader.is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_lone_voter_is_always_its_own_quorum() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    elapse(LONG).await;
    soon(leader.client_write(Add(1))).await.unwrap();
    #[expect(deprecated, reason = "kept for those who still use it")]
    let since = shown(&leader).millis_since_quorum_ack;
    assert_eq!(since, Some(0));
}

#[tokio::test(start_paused = true)]
async fn term_and_leader_show_before_the_vote_is_durable() {
    let (cluster, leader, [one, _]) = found().await;
    let before = shown(&leader).vote;
    cluster.disks[&one].log.vote_gate.close();
    let greater = quorate::Vote::new_committed(50, 77);
    let beat = quorate::raft::AppendEntriesRequest {
        vote: greater,
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    let node = cluster.nodes[&one].clone();
    let receiver = node.clone();
    let answer = tokio::spawn(async move { receiver.append_entries(beat).await });
    let metrics = node.wait(PATIENCE).metrics(|m| m.current_term == 50, "in memory").await.unwrap();
    assert_eq!((metrics.current_leader, metrics.vote), (Some(77), before));
    assert!(!answer.is_finished());
    cluster.disks[&one].log.vote_gate.open();
    assert!(soon(answer).await.unwrap().unwrap().is_success());
    node.wait(PATIENCE).vote(greater, "durable").await.unwrap();
}

//! What a node says of itself when it is asked.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use quorate::LogIdOptionExt;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::ForwardReason;
use quorate::errors::ForwardToLeader;
use quorate::metrics::WaitError;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::acknowledged;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::cluster::term;
use crate::stores::Add;

#[tokio::test(start_paused = true)]
async fn a_leader_is_one_by_its_durable_vote_and_the_others_point_to_it() {
    let mut cluster = Cluster::new(config());
    let fresh = cluster.start(1).await;
    assert_eq!(fresh.as_leader().unwrap_err(), ForwardToLeader::empty());
    let leader = cluster.found([1, 2, 3]).await;
    acknowledged(&leader).await;
    let leads = leader.as_leader().unwrap();
    assert_eq!((leads.leader_id().term, leads.leader_id().node_id), (term(&leader), *leader.node_id()));
    assert_eq!(leads.to_committed_leader_id(), *leads.leader_id());
    assert_eq!(leads.raft().node_id(), leader.node_id());
    assert!(format!("{:?}", leads.clone()).contains("leader_id: LeaderId { term: 1"), "{leads:?}");
    let acked = leads.last_quorum_acked().unwrap();
    elapse(Duration::from_secs(1)).await;
    assert!(leads.last_quorum_acked().unwrap() > acked, "heartbeats renew it");

    let follower = cluster.nodes[&cluster.others(&leader)[0]].clone();
    let forward = follower.as_leader().unwrap_err();
    assert_eq!((forward.leader_id, forward.reason), (Some(*leader.node_id()), ForwardReason::NotLeader));
    assert_eq!(forward.leader_node, Some(quorate::BasicNode::new(format!("node {}", leader.node_id()))));

    let (old, next) = cluster.depose(*leader.node_id()).await;
    assert!(old.as_leader().is_ok(), "nobody told it yet");
    cluster.router.restore(*old.node_id());
    old.wait(PATIENCE).current_leader(*next.node_id(), "follows").await.unwrap();
    assert_eq!(leads.last_quorum_acked(), None, "this leadership is over");
    next.as_leader().unwrap();
    elapse(LONG).await;
    assert_eq!(old.as_leader().unwrap_err().leader_id, Some(*next.node_id()));
}

#[tokio::test(start_paused = true)]
async fn recovery_waits_until_all_that_is_committed_is_applied() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let restarted = cluster.others(&leader)[0];
    cluster.disks[&restarted].log.fail(|faults| faults.forget_committed = true);
    cluster.disks[&restarted].machine.apply_gate.close();
    let last = leader.client_write(Add(1)).await.unwrap().log_id;
    let mut log = cluster.nodes[&restarted].watch_log_progress();
    soon(log.wait_until(|log| log.as_ref().is_some_and(|log| log.last_log_id == Some(last)))).await.unwrap();
    cluster.stop(restarted).await;
    cluster.router.isolate(restarted);
    let node = cluster.start(restarted).await;
    let timeout = Duration::from_secs(3);
    let began = tokio::time::Instant::now();
    let alone = node.wait_for_recovery(Some(timeout)).await.unwrap_err();
    assert!(matches!(alone, WaitError::Timeout(..)), "without a leader nothing is known to be committed");
    assert_eq!(began.elapsed(), timeout);
    cluster.router.restore(restarted);
    let waiter = node.clone();
    let recovery = tokio::spawn(async move { waiter.wait_for_recovery(None).await });
    node.wait(PATIENCE).committed_index_at_least(Some(last.index), "knows the commit").await.unwrap();
    let late = node.wait_for_recovery(Some(timeout)).await.unwrap_err();
    assert!(matches!(late, WaitError::Timeout(..)), "it is not applied");
    assert!(!recovery.is_finished());
    cluster.disks[&restarted].machine.apply_gate.open();
    let recovered = soon(recovery).await.unwrap().unwrap();
    assert!(recovered.last_applied >= Some(last), "{recovered}");
    node.shutdown().await.unwrap();
    assert!(node.wait_for_recovery(None).await.is_ok(), "what it said last still counts");
}

/// Everything that a node tells of itself is looked at, and not let go, while the cluster lives on.
async fn works_while_metrics_are_held() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let follower = cluster.nodes[&cluster.others(&leader)[0]].clone();
    for node in [&leader, &follower] {
        let (all, data, server) = (node.metrics(), node.data_metrics(), node.server_metrics());
        let held = (all.borrow_watched(), data.borrow_watched(), server.borrow_watched());
        let mut last = 0;
        for _ in 0..20 {
            last = soon(leader.client_write(Add(1))).await.unwrap().log_id.index;
        }
        soon(leader.ensure_linearizable(quorate::ReadPolicy::ReadIndex)).await.unwrap();
        soon(node.wait(PATIENCE).applied_index_at_least(Some(last), "others see")).await.unwrap();
        assert!(node.metrics().borrow_watched().last_applied.index() >= Some(last));
        assert!(held.0.last_applied.index() < Some(last), "what is held stays as it was");
        assert!(held.1.last_applied.index() < Some(last));
        assert_eq!(held.2.state, held.0.state);
        drop(held);
        assert!(all.borrow_watched().last_applied.index() >= Some(last));
        assert!(data.borrow_watched().last_applied.index() >= Some(last));
    }
    let held = leader.metrics();
    let held = held.borrow_watched();
    soon(leader.shutdown()).await.unwrap();
    assert_eq!(held.running_state, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn held_metrics_hold_up_nobody_on_one_thread() {
    works_while_metrics_are_held().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_metrics_hold_up_nobody_on_several_threads() {
    works_while_metrics_are_held().await;
}

#[tokio::test(start_paused = true)]
async fn members_are_those_of_the_last_membership_in_the_log() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2]).await;
    cluster.start(3).await;
    leader.add_learner(3, quorate::BasicNode::new("c"), true).await.unwrap();
    assert_eq!(leader.voter_ids().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(leader.learner_ids().collect::<Vec<_>>(), [3]);
    let follower = cluster.nodes[&cluster.others(&leader)[0]].clone();
    assert!(leader.is_leader() && !follower.is_leader());
    assert_eq!(follower.current_leader().await, Some(*leader.node_id()));
    cluster.router.isolate(*follower.node_id());
    let writer = leader.clone();
    let change = tokio::spawn(async move { writer.change_membership([1, 2, 3], false).await });
    elapse(Duration::from_millis(50)).await;
    assert!(!change.is_finished(), "the old voters have no quorum");
    assert_eq!(leader.voter_ids().collect::<Vec<_>>(), [1, 2, 3], "in force, and not committed");
    assert_eq!(leader.learner_ids().count(), 0);
    cluster.router.restore(*follower.node_id());
    soon(change).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_metrics_tick_with_what_the_node_does_and_the_others_with_what_is_new() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let follower = cluster.nodes[&cluster.others(&leader)[0]].clone();
    elapse(LONG).await;
    let (mut all, mut data, mut server) =
        (follower.metrics(), follower.data_metrics(), follower.server_metrics());
    let before = all.borrow_and_update().clone();
    drop((data.borrow_and_update(), server.borrow_and_update()));
    for _ in 0..3 {
        soon(all.changed()).await.unwrap();
        assert_eq!(*all.borrow_watched(), before, "heartbeats bring nothing new");
    }
    for changed in [data.changed().now_or_never(), server.changed().now_or_never()] {
        assert_eq!(changed, None);
    }
}

#[cfg(feature = "metrics-logids")]
#[tokio::test(start_paused = true)]
async fn metrics_list_the_ids_of_all_entries() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let last = leader.client_write(Add(1)).await.unwrap().log_id;
    let metrics = leader.wait(PATIENCE).applied_index(Some(last.index), "applied").await.unwrap();
    assert_eq!(metrics.log_id_list.last(), Some(&last));
    assert_eq!(metrics.log_id_list.get(0).unwrap().committed_leader_id().term, 0);
    assert_eq!(metrics.log_id_list.purged(), None);
    assert_eq!(leader.data_metrics().borrow_watched().log_id_list, metrics.log_id_list);
}

#[tokio::test(start_paused = true)]
async fn an_extension_belongs_to_all_handles_of_a_node() {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    let notes = node.extension::<Arc<Mutex<Vec<u64>>>>();
    notes.lock().unwrap().push(7);
    let other = node.clone();
    assert_eq!(*other.extension::<Arc<Mutex<Vec<u64>>>>().lock().unwrap(), [7]);
    assert!(other.extensions().contains::<Arc<Mutex<Vec<u64>>>>());
    assert_eq!(other.extension::<u64>(), 0);
}

//! The everyday life of a cluster.

use quorate::Config;
use quorate::ReadPolicy;
use quorate::async_runtime::WatchReceiver;

use crate::cluster::Cluster;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::stores::Add;

#[tokio::test(start_paused = true)]
async fn a_single_node_founds_a_cluster_and_applies_writes() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let written = leader.client_write(Add(2)).await.unwrap();
    assert_eq!(written.data, 2);
    assert_eq!(written.log_id.index, 2);
    assert_eq!(leader.client_write(Add(3)).await.unwrap().data, 5);
}

#[tokio::test(start_paused = true)]
async fn three_nodes_replicate_writes() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let mut last = 0;
    for _ in 0..100 {
        last = leader.client_write(Add(1)).await.unwrap().log_id.index;
    }
    cluster.applied(last).await;
    for disk in cluster.disks.values() {
        assert_eq!(disk.machine.sum(), 100);
    }
    leader.ensure_linearizable(ReadPolicy::ReadIndex).await.unwrap();
    leader.ensure_linearizable(ReadPolicy::LeaseRead).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_node_leads_when_the_leader_is_cut_off() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    leader.client_write(Add(1)).await.unwrap();
    let old = *leader.node_id();
    cluster.router.isolate(old);
    let old_node = cluster.nodes.remove(&old).unwrap();
    let leader = cluster.leader().await;
    assert_ne!(*leader.node_id(), old);
    let last = leader.client_write(Add(1)).await.unwrap().log_id.index;
    cluster.router.restore(old);
    old_node.wait(PATIENCE).applied_index_at_least(Some(last), "the old leader catches up").await.unwrap();
    assert_eq!(cluster.disks[&old].machine.sum(), 2);
}

#[tokio::test(start_paused = true)]
async fn members_join_are_promoted_and_leave() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    leader.client_write(Add(1)).await.unwrap();
    for id in [2, 3] {
        cluster.start(id).await;
        leader.add_learner(id, quorate::BasicNode::new("x"), true).await.unwrap();
    }
    leader.change_membership([1, 2, 3], false).await.unwrap();
    assert_eq!(leader.client_write(Add(1)).await.unwrap().data, 2);
    leader.change_membership([2, 3], false).await.unwrap();
    cluster.router.isolate(1);
    cluster.nodes.remove(&1);
    let leader = cluster.leader().await;
    assert_eq!(leader.client_write(Add(1)).await.unwrap().data, 3);
}

#[tokio::test(start_paused = true)]
async fn a_follower_far_behind_gets_a_snapshot() {
    let mut cluster = Cluster::new(Config {
        snapshot_policy: quorate::SnapshotPolicy::LogsSinceLast(50),
        max_in_snapshot_log_to_keep: 0,
        ..config()
    });
    let leader = cluster.found([1, 2, 3]).await;
    let away = [1, 2, 3].into_iter().find(|id| id != leader.node_id()).unwrap();
    cluster.router.isolate(away);
    let mut last = 0;
    for _ in 0..300 {
        last = leader.client_write(Add(1)).await.unwrap().log_id.index;
    }
    leader.wait(PATIENCE).metrics(|m| m.purged.is_some_and(|p| p.index > 100), "purged").await.unwrap();
    cluster.router.restore(away);
    cluster.applied(last).await;
    assert_eq!(cluster.disks[&away].machine.sum(), 300);
    assert!(cluster.nodes[&away].metrics().borrow_watched().snapshot.is_some());
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    leader.client_write(Add(1)).await.unwrap();
    let to = [1, 2, 3].into_iter().find(|id| id != leader.node_id()).unwrap();
    leader.trigger().transfer_leader(to).await.unwrap();
    cluster.nodes[&to].wait(PATIENCE).state(quorate::ServerState::Leader, "leads").await.unwrap();
    assert_eq!(cluster.leader().await.client_write(Add(1)).await.unwrap().data, 2);
}

#[tokio::test(start_paused = true)]
async fn a_hung_peer_blocks_nobody() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let hung = [1, 2, 3].into_iter().find(|id| id != leader.node_id()).unwrap();
    cluster.router.hang(hung);
    let mut last = 0;
    for _ in 0..50 {
        last = leader.client_write(Add(1)).await.unwrap().log_id.index;
    }
    cluster.router.restore(hung);
    cluster.applied(last).await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_cluster_keeps_what_was_acknowledged() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    leader.client_write(Add(7)).await.unwrap();
    for id in [1, 2, 3] {
        cluster.stop(id).await;
    }
    for id in [1, 2, 3] {
        cluster.start(id).await;
    }
    let leader = cluster.leader().await;
    leader.wait(PATIENCE).metrics(|m| m.last_quorum_acked.is_some(), "a quorum answers").await.unwrap();
    assert_eq!(leader.client_write(Add(1)).await.unwrap().data, 8);
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_every_call_says_stopped() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    leader.shutdown().await.unwrap();
    let refused = leader.client_write(Add(1)).await.unwrap_err();
    assert_eq!(refused.fatal(), Some(&quorate::errors::Fatal::Stopped));
    assert_eq!(leader.metrics().borrow_watched().state, quorate::ServerState::Shutdown);
}

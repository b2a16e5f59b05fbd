//! Snapshots: built beside writes, sent to who lags, installed over whatever is there.

use quorate::BasicNode;
use quorate::Config;
use quorate::SnapshotPolicy;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::Fatal;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::by_hand;
use crate::cluster::compact;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::cluster::write;
use crate::network::Kind;
use crate::stores::Add;

#[tokio::test(start_paused = true)]
async fn writes_go_on_while_a_snapshot_is_built() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    write(&leader, 10).await;
    let machine = cluster.disks[leader.node_id()].machine.clone();
    machine.build_gate.close();
    let at = leader.metrics().borrow_watched().last_applied.unwrap();
    leader.trigger().snapshot().await.unwrap();
    write(&leader, 50).await;
    assert_eq!(leader.metrics().borrow_watched().snapshot, None);
    machine.build_gate.open();
    leader.wait(PATIENCE).snapshot(at, "as of when it was begun").await.unwrap();
    assert_eq!(leader.get_snapshot().await.unwrap().unwrap().snapshot, 10);
}

#[tokio::test(start_paused = true)]
async fn a_builder_that_writes_the_newest_state_may_be_ahead_of_what_is_known_to_be_applied() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1]).await;
    write(&leader, 10).await;
    let machine = cluster.disks[leader.node_id()].machine.clone();
    machine.fail(|faults| faults.build_late = true);
    machine.build_gate.close();
    leader.trigger().snapshot().await.unwrap();
    write(&leader, 1).await;
    machine.applied_gate.close();
    // Answered, while the node does not know yet that the batch is done.
    let last = soon(leader.client_write(Add(1))).await.unwrap().log_id;
    machine.build_gate.open();
    elapse(LONG).await;
    let metrics = leader.metrics().borrow_watched().clone();
    assert!(metrics.last_applied < Some(last) && metrics.snapshot.is_none() && metrics.purged.is_none());
    machine.applied_gate.open();
    leader.wait(PATIENCE).snapshot(last, "built ahead").await.unwrap();
    leader.wait(PATIENCE).purged(Some(last), "what it covers").await.unwrap();
    let kept = leader.with_raft_state(|state| state.snapshot_meta.last_log_id).await.unwrap();
    assert_eq!(kept, Some(last));
}

#[tokio::test(start_paused = true)]
async fn the_policy_that_fires_during_a_build_is_not_forgotten() {
    let policy = SnapshotPolicy::LogsSinceLast(20);
    let mut cluster = Cluster::new(Config { snapshot_policy: policy, ..config() });
    let leader = cluster.found([1]).await;
    let machine = cluster.disks[&1].machine.clone();
    machine.build_gate.close();
    write(&leader, 100).await;
    machine.build_gate.open();
    leader.wait(PATIENCE).metrics(|m| m.snapshot.is_some_and(|s| s.index > 80), "again").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_replaces_a_diverged_log() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let old = *leader.node_id();
    cluster.router.isolate(old);
    let writers: Vec<_> = (0..30)
        .map(|_| {
            let writer = leader.clone();
            tokio::spawn(async move { writer.client_write(Add(1000)).await })
        })
        .collect();
    let (_, next) = cluster.depose(old).await;
    let last = write(&next, 20).await;
    compact(&next).await;
    cluster.router.restore(old);
    leader.wait(PATIENCE).applied_index_at_least(Some(last), "installed").await.unwrap();
    for writer in writers {
        assert!(soon(writer).await.unwrap().is_err());
    }
    assert_eq!(cluster.sum(old), 20);
    let last = write(&next, 5).await;
    leader.wait(PATIENCE).applied_index_at_least(Some(last), "follows").await.unwrap();
    assert_eq!(cluster.sum(old), 25);
    assert_eq!(leader.metrics().borrow_watched().snapshot, next.metrics().borrow_watched().snapshot);
}

#[tokio::test(start_paused = true)]
async fn a_follower_behind_a_fully_purged_log_catches_up_though_nothing_is_written() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.others(&leader)[0];
    cluster.router.isolate(away);
    let last = write(&leader, 30).await;
    assert_eq!(compact(&leader).await, last);
    assert_eq!(cluster.disks[leader.node_id()].log.len(), 0);
    cluster.router.restore(away);
    cluster.applied(last).await;
    assert_eq!(cluster.sum(away), 30);
}

#[tokio::test(start_paused = true)]
async fn a_learner_added_after_a_purge_gets_the_snapshot_and_what_follows() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1]).await;
    write(&leader, 30).await;
    compact(&leader).await;
    write(&leader, 5).await;
    cluster.start(2).await;
    soon(leader.add_learner(2, BasicNode::new("node 2"), true)).await.unwrap();
    cluster.applied(last_log(&leader).unwrap()).await;
    assert_eq!(cluster.sum(2), 35);
    assert_eq!(cluster.disks[&2].machine.seen(), [1; 5]);
    let snapshots = [1, 2].map(|id| cluster.nodes[&id].metrics().borrow_watched().snapshot);
    assert_eq!(snapshots[0], snapshots[1]);
}

#[tokio::test(start_paused = true)]
async fn purging_by_hand_stops_at_the_snapshot() {
    let keep = Config { max_in_snapshot_log_to_keep: 1000, ..by_hand() };
    let mut cluster = Cluster::new(keep);
    let leader = cluster.found([1]).await;
    write(&leader, 20).await;
    leader.trigger().purge_log(10).await.unwrap();
    elapse(LONG).await;
    assert_eq!(leader.metrics().borrow_watched().purged, None, "without a snapshot, nothing");
    let applied = leader.metrics().borrow_watched().last_applied.unwrap();
    leader.trigger().snapshot().await.unwrap();
    leader.wait(PATIENCE).snapshot(applied, "built").await.unwrap();
    leader.trigger().purge_log(10).await.unwrap();
    leader.wait(PATIENCE).metrics(|m| m.purged.is_some_and(|p| p.index == 10), "up to 10").await.unwrap();
    leader.trigger().purge_log(5).await.unwrap();
    write(&leader, 5).await;
    leader.trigger().purge_log(1000).await.unwrap();
    leader.wait(PATIENCE).purged(Some(applied), "up to the snapshot").await.unwrap();
    elapse(LONG).await;
    assert_eq!(leader.metrics().borrow_watched().purged, Some(applied));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_to_a_peer_that_hangs_ends_when_the_peer_is_removed() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    cluster.router.isolate(others[0]);
    write(&leader, 30).await;
    compact(&leader).await;
    cluster.router.restore(others[0]);
    cluster.router.hang_kind(others[0], Kind::Snapshot);
    elapse(LONG).await;
    let sent = cluster.router.count(others[0], Kind::Snapshot);
    assert!(sent >= 1);
    soon(leader.change_membership([*leader.node_id(), others[1]], false)).await.unwrap();
    elapse(LONG).await;
    assert_eq!(cluster.router.count(others[0], Kind::Snapshot), sent);
    // Let in again, it gets what it needs: the hung transfer holds nothing.
    cluster.router.restore(others[0]);
    soon(leader.add_learner(others[0], BasicNode::new("again"), true)).await.unwrap();
    cluster.applied(last_log(&leader).unwrap()).await;
    assert_eq!(cluster.sum(others[0]), 30);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_to_a_peer_that_is_down_is_tried_at_a_measured_pace() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let down = cluster.others(&leader)[0];
    cluster.router.isolate(down);
    let last = write(&leader, 30).await;
    compact(&leader).await;
    elapse(LONG).await;
    let before = cluster.router.count(down, Kind::Snapshot);
    elapse(LONG).await;
    let sent = cluster.router.count(down, Kind::Snapshot) - before;
    assert!((1..=50).contains(&sent), "{sent} attempts");
    cluster.router.restore(down);
    cluster.applied(last).await;
}

#[tokio::test(start_paused = true)]
async fn a_builder_that_fails_or_panics_stops_the_node() {
    for panics in [false, true] {
        let mut cluster = Cluster::new(by_hand());
        let node = cluster.found([1]).await;
        cluster.disks[&1].machine.fail(|faults| {
            faults.build = !panics;
            faults.panic_in_build = panics;
        });
        node.trigger().snapshot().await.unwrap();
        let stopped = node.wait(PATIENCE).metrics(|m| m.running_state.is_err(), "stops").await.unwrap();
        match stopped.running_state.unwrap_err() {
            Fatal::Panicked => assert!(panics),
            Fatal::StorageError(error) => assert!(!panics && error.to_string().contains("build"), "{error}"),
            Fatal::Stopped => panic!("it did not stop by itself"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_that_cannot_install_stops_its_node_alone() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.others(&leader)[0];
    cluster.router.isolate(away);
    write(&leader, 10).await;
    compact(&leader).await;
    cluster.disks[&away].machine.fail(|faults| faults.install = true);
    cluster.router.restore(away);
    let failed = &cluster.nodes[&away];
    let stopped = failed.wait(PATIENCE).metrics(|m| m.running_state.is_err(), "stops").await.unwrap();
    assert!(matches!(stopped.running_state, Err(Fatal::StorageError(_))));
    write(&leader, 10).await;
}

#[tokio::test(start_paused = true)]
async fn entries_follow_a_snapshot_where_the_network_still_holds_the_stream_before_it() {
    let mut cluster = Cluster::new(by_hand());
    cluster.router.pump();
    let leader = cluster.found([1, 2, 3]).await;
    let away = [1, 2, 3].into_iter().find(|id| id != leader.node_id()).unwrap();
    for _ in 0..5 {
        cluster.router.isolate(away);
        write(&leader, 20).await;
        compact(&leader).await;
        cluster.router.restore(away);
        let last = write(&leader, 3).await;
        let behind = cluster.nodes[&away].wait(PATIENCE);
        behind.applied_index_at_least(Some(last), "fed after the snapshot").await.unwrap();
    }
}

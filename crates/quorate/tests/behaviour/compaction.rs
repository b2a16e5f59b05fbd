//! When snapshots are built, which entries go then, and which snapshot a peer gets.

use std::time::Duration;

use quorate::Config;
use quorate::SnapshotPolicy;
use quorate::async_runtime::WatchReceiver;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::build;
use crate::cluster::by_hand;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::cluster::write;
use crate::network::Kind;
use crate::network::Node;
use crate::stores::Add;

fn shown(node: &Node) -> (Option<u64>, Option<u64>) {
    let metrics = node.metrics().borrow_watched().clone();
    (metrics.snapshot.map(|last| last.index), metrics.purged.map(|last| last.index))
}

#[tokio::test(start_paused = true)]
async fn the_policy_builds_after_so_many_entries_on_every_node() {
    let policy = SnapshotPolicy::LogsSinceLast(20);
    let mut cluster = Cluster::new(Config { snapshot_policy: policy, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    write(&leader, 17).await;
    elapse(LONG).await;
    assert_eq!(shown(&leader).0, None, "the 19th entry");
    write(&leader, 1).await;
    for node in cluster.nodes.values() {
        node.wait(PATIENCE).metrics(|m| m.snapshot.is_some_and(|s| s.index == 19), "the 20th").await.unwrap();
    }
    write(&leader, 19).await;
    elapse(LONG).await;
    assert_eq!(shown(&leader).0, Some(19));
    write(&leader, 1).await;
    for node in cluster.nodes.values() {
        node.wait(PATIENCE).metrics(|m| m.snapshot.is_some_and(|s| s.index == 39), "20 later").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_that_will_not_build_is_asked_again_after_as_many_entries() {
    let policy = SnapshotPolicy::LogsSinceLast(20);
    let mut cluster = Cluster::new(Config { snapshot_policy: policy, ..config() });
    let leader = cluster.found([1]).await;
    let machine = cluster.disks[&1].machine.clone();
    machine.fail(|faults| faults.no_builder = true);
    write(&leader, 18).await;
    elapse(LONG).await;
    assert_eq!(machine.asked_to_build(), [false], "it need not");
    write(&leader, 19).await;
    elapse(LONG).await;
    assert_eq!(machine.asked_to_build().len(), 1);
    write(&leader, 1).await;
    elapse(LONG).await;
    assert_eq!((machine.asked_to_build(), shown(&leader)), (vec![false; 2], (None, None)));
    leader.trigger().snapshot().await.unwrap();
    elapse(LONG).await;
    assert_eq!((machine.asked_to_build(), shown(&leader)), (vec![false; 3], (None, None)));
    machine.fail(|faults| faults.no_builder = false);
    build(&leader).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_snapshot_at_the_same_place_does_no_harm() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1]).await;
    write(&leader, 5).await;
    let at = build(&leader).await.index;
    for _ in 0..3 {
        leader.trigger().snapshot().await.unwrap();
        elapse(LONG).await;
        assert_eq!(shown(&leader), (Some(at), Some(at)));
    }
    assert_eq!(soon(leader.client_write(Add(1))).await.unwrap().data, 6);
}

#[tokio::test(start_paused = true)]
async fn entries_are_kept_behind_a_snapshot_and_purged_in_batches() {
    let keep = Config { max_in_snapshot_log_to_keep: 5, purge_batch_size: 10, ..by_hand() };
    let mut cluster = Cluster::new(keep);
    let leader = cluster.found([1]).await;
    write(&leader, 10).await;
    assert_eq!(build(&leader).await.index, 11);
    elapse(LONG).await;
    // Up to 6 could go: seven entries, too few for a batch.
    assert_eq!(shown(&leader), (Some(11), None));
    write(&leader, 2).await;
    build(&leader).await;
    elapse(LONG).await;
    assert_eq!(shown(&leader), (Some(13), None), "nine");
    write(&leader, 1).await;
    build(&leader).await;
    elapse(LONG).await;
    assert_eq!(shown(&leader), (Some(14), Some(9)), "ten; five are kept");
    assert_eq!(cluster.disks[&1].log.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn entries_that_are_being_read_for_a_peer_are_purged_later() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let id = *leader.node_id();
    let away = cluster.others(&leader)[0];
    cluster.router.isolate(away);
    write(&leader, 10).await;
    elapse(LONG).await;
    let log = cluster.disks[&id].log.clone();
    log.read_gate.close();
    cluster.router.restore(away);
    leader.trigger().reset_backoff([away]).await.unwrap();
    elapse(Duration::from_millis(100)).await;
    let at = build(&leader).await.index;
    elapse(Duration::from_millis(100)).await;
    assert!(shown(&leader).1.is_none_or(|purged| purged < at), "{:?}", shown(&leader));
    log.read_gate.open();
    cluster.applied(at).await;
    leader
        .wait(PATIENCE)
        .metrics(|m| m.purged.is_some_and(|purged| purged.index == at), "later")
        .await
        .unwrap();
    assert_eq!(cluster.sum(away), 10);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_sends_the_newest_snapshot() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.others(&leader)[0];
    cluster.router.isolate(away);
    write(&leader, 10).await;
    build(&leader).await;
    elapse(LONG).await;
    assert!(cluster.router.count(away, Kind::Snapshot) > 0);
    write(&leader, 10).await;
    let at = build(&leader).await.index;
    cluster.router.restore(away);
    let behind = cluster.nodes[&away].wait(PATIENCE);
    behind.metrics(|m| m.snapshot.is_some_and(|last| last.index == at), "the newest").await.unwrap();
    assert_eq!((cluster.sum(away), cluster.disks[&away].machine.seen()), (20, vec![]));
}

/// The contract stops a leader that is to send a snapshot and finds none.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_snapshot_is_gone_builds_another() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.others(&leader)[0];
    cluster.router.isolate(away);
    write(&leader, 10).await;
    build(&leader).await;
    let machine = cluster.disks[leader.node_id()].machine.clone();
    machine.fail(|faults| faults.no_snapshot = true);
    let asked = machine.asked_to_build().len();
    cluster.router.restore(away);
    elapse(LONG).await;
    assert!(machine.asked_to_build().len() > asked);
    assert!(leader.is_leader() && leader.metrics().borrow_watched().running_state.is_ok());
    machine.fail(|faults| faults.no_snapshot = false);
    let last = write(&leader, 1).await;
    cluster.applied(last).await;
    assert_eq!(cluster.sum(away), 11);
}

//! Snapshots and purges beside everything else: scenarios 34 and 36.

use quorate::Config;
use quorate::SnapshotPolicy;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::ClientWriteError;
use quorate::errors::RaftError;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::by_hand;
use crate::cluster::compact;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::network::Kind;
use crate::network::Node;
use crate::stores::Add;

async fn write(leader: &Node, numbers: std::ops::RangeInclusive<u64>) -> u64 {
    let mut last = 0;
    for n in numbers {
        last = soon(leader.client_write(Add(n))).await.unwrap().log_id.index;
    }
    last
}

/// The state machine is in the middle of an entry when a snapshot comes that covers it, then a newer one, then the first
/// again. They wait for the entry and take turns, and the state never goes back.
#[tokio::test(start_paused = true)]
async fn scenario_34_snapshots_wait_for_the_entry_under_way_take_turns_and_never_go_back() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.others(&leader)[0];
    let (node, machine) = (cluster.nodes[&away].clone(), cluster.disks[&away].machine.clone());
    machine.apply_gate.close();
    let last = write(&leader, 1..=3).await;
    node.wait(PATIENCE).committed_index_at_least(Some(last), "committed").await.unwrap();
    cluster.router.isolate(away);
    let mut snapshots = Vec::new();
    for numbers in [4..=6, 7..=9] {
        write(&leader, numbers).await;
        compact(&leader).await;
        snapshots.push(leader.get_snapshot().await.unwrap().unwrap());
    }
    snapshots.push(snapshots[0].clone());
    let vote = leader.metrics().borrow_watched().vote;
    machine.install_gate.close();
    let installs: Vec<_> = snapshots
        .into_iter()
        .map(|snapshot| {
            let receiver = node.clone();
            tokio::spawn(async move { receiver.install_full_snapshot(vote, snapshot).await })
        })
        .collect();
    elapse(LONG / 10).await;
    assert_eq!(machine.sum(), 0, "the entry under way comes first");
    machine.apply_gate.open();
    elapse(LONG / 10).await;
    assert!(machine.sum() <= 6, "no entry is applied behind the back of a snapshot");
    assert!(installs.iter().all(|install| !install.is_finished()));
    machine.install_gate.open();
    for install in installs {
        assert_eq!(soon(install).await.unwrap().unwrap().vote, vote);
    }
    assert_eq!(machine.sum(), 45);
    cluster.router.restore(away);
    let last = write(&leader, 10..=10).await;
    cluster.applied(last).await;
    assert_eq!(machine.sum(), 55);
    assert!(node.metrics().borrow_watched().running_state.is_ok());
}

/// A write survives its leader, is committed and compacted by the next one, and reaches the old leader again in a
/// snapshot alone, while its client waits there. The client is told that nobody knows; nothing panics, then or later.
#[tokio::test(start_paused = true)]
async fn scenario_36_a_client_whose_entry_is_purged_before_it_is_answered_is_told() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let old = *leader.node_id();
    let (_, waits) = cluster.write_unanswered(&leader, Add(7)).await;
    let (old_leader, next) = cluster.depose(old).await;
    write(&next, 1..=5).await;
    compact(&next).await;
    assert!(!waits.is_finished());
    cluster.router.restore(old);
    let error = soon(waits).await.unwrap().unwrap_err();
    assert!(matches!(error, RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))), "{error}");
    let last = write(&next, 6..=6).await;
    old_leader.wait(PATIENCE).applied_index_at_least(Some(last), "follows").await.unwrap();
    assert_eq!(cluster.sum(old), 28);
    assert!(old_leader.metrics().borrow_watched().running_state.is_ok());
}

/// Snapshots and purges without end, while two followers are fed, of which one is slow and one comes and goes.
#[tokio::test(start_paused = true)]
async fn scenario_36_purging_all_the_time_starves_no_follower() {
    let settings = Config {
        snapshot_policy: SnapshotPolicy::LogsSinceLast(3),
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 1,
        max_payload_entries: 2,
        ..config()
    };
    let mut cluster = Cluster::new(settings);
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    for n in 1..=60 {
        if n % 10 == 3 {
            cluster.router.isolate(others[0]);
            cluster.disks[leader.node_id()].log.read_gate.close();
        }
        let writer = leader.clone();
        let write = tokio::spawn(async move { writer.client_write(Add(n)).await });
        elapse(std::time::Duration::from_millis(20)).await;
        if n % 10 == 3 {
            cluster.disks[leader.node_id()].log.read_gate.open();
        }
        soon(write).await.unwrap().unwrap();
        if n % 10 == 8 {
            cluster.router.restore(others[0]);
        }
    }
    let last = write(&leader, 61..=61).await;
    cluster.applied(last).await;
    for id in [1, 2, 3] {
        assert_eq!(cluster.sum(id), (1..=61).sum::<u64>());
        assert!(cluster.disks[&id].log.purged().is_some_and(|purged| purged.index > 50));
    }
    assert!(cluster.router.count(others[0], Kind::Snapshot) > 0);
}

//! Nodes that come back with a part of what they had: scenarios 24, 25 and 26.

use std::time::Duration;

use quorate::Config;
use quorate::ReadPolicy;
use quorate::ServerState;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::acknowledged;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::cluster::term;
use crate::stores::Add;
use crate::stores::Machine;

/// Alone, a node is its own quorum, and its disk is all that counts: what was written and not synced is not acknowledged,
/// and a power cut takes exactly that.
#[tokio::test(start_paused = true)]
async fn scenario_24_a_node_alone_acknowledges_what_its_disk_has_synced_and_nothing_before() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    for n in 1..=5 {
        soon(leader.client_write(Add(n))).await.unwrap();
    }
    cluster.disks[&1].log.fail(|faults| faults.withhold = true);
    let writers: Vec<_> = (100..105)
        .map(|n| {
            let writer = leader.clone();
            tokio::spawn(async move { writer.client_write(Add(n)).await })
        })
        .collect();
    leader.wait(PATIENCE).log_index_at_least(Some(11), "written").await.unwrap();
    elapse(LONG).await;
    assert!(writers.iter().all(|write| !write.is_finished()));
    assert_eq!(cluster.disks[&1].log.last().unwrap().index, 11, "the file has them");
    cluster.crash(1).await;
    for write in writers {
        assert!(soon(write).await.unwrap().is_err());
    }
    cluster.disks.get_mut(&1).unwrap().machine = Machine::default();
    let node = cluster.start(1).await;
    node.wait(PATIENCE).state(ServerState::Leader, "leads").await.unwrap();
    soon(node.client_write(Add(6))).await.unwrap();
    assert_eq!(cluster.disks[&1].machine.seen(), [1, 2, 3, 4, 5, 6]);
}

/// Of three nodes one is away, and one, the leader or the other, syncs nothing: that is no quorum. When the one that was
/// away is back it is; and then all lose power at once. Whoever leads after that has what was acknowledged.
#[tokio::test(start_paused = true)]
async fn scenario_24_power_lost_everywhere_takes_nothing_that_was_acknowledged() {
    for of_the_leader in [false, true] {
        let settings = Config { broadcast_submitted_on_append: Some(of_the_leader), ..config() };
        let mut cluster = Cluster::new(settings);
        let leader = cluster.found([1, 2, 3]).await;
        let others = cluster.others(&leader);
        for n in 1..=4 {
            soon(leader.client_write(Add(n))).await.unwrap();
        }
        let slow = if of_the_leader { *leader.node_id() } else { others[0] };
        cluster.disks[&slow].log.fail(|faults| faults.withhold = true);
        cluster.router.isolate(others[1]);
        let writer = leader.clone();
        let write = tokio::spawn(async move { writer.client_write(Add(5)).await });
        elapse(Duration::from_millis(200)).await;
        assert!(!write.is_finished(), "one disk of three");
        cluster.router.restore(others[1]);
        soon(write).await.unwrap().unwrap();
        for id in [1, 2, 3] {
            cluster.crash(id).await;
            cluster.disks.get_mut(&id).unwrap().machine = Machine::default();
        }
        for id in [1, 2, 3] {
            cluster.start(id).await;
        }
        let next = cluster.leader().await;
        acknowledged(&next).await;
        let last = soon(next.client_write(Add(6))).await.unwrap();
        cluster.applied(last.log_id.index).await;
        for id in [1, 2, 3] {
            assert_eq!(cluster.disks[&id].machine.seen(), [1, 2, 3, 4, 5, 6], "{of_the_leader}");
        }
    }
}

/// The state machine says how far it is; whatever else says otherwise (the commit that was saved, or that was not), each
/// entry is applied to each state exactly once.
#[tokio::test(start_paused = true)]
async fn scenario_25_each_entry_is_applied_once_from_whatever_state_a_restart_finds() {
    for keeps_committed in [true, false] {
        let mut cluster = Cluster::new(config());
        let leader = cluster.found([1]).await;
        cluster.disks[&1].log.fail(|faults| faults.forget_committed = !keeps_committed);
        let mut states = vec![Machine::default(), cluster.disks[&1].machine.copy()];
        for n in 1..=6 {
            soon(leader.client_write(Add(n))).await.unwrap();
            states.push(cluster.disks[&1].machine.copy());
        }
        for (at, state) in states.into_iter().enumerate() {
            cluster.crash(1).await;
            cluster.disks.get_mut(&1).unwrap().machine = state;
            let node = cluster.start(1).await;
            node.wait(PATIENCE).state(ServerState::Leader, "leads").await.unwrap();
            soon(node.ensure_linearizable(ReadPolicy::ReadIndex)).await.unwrap();
            let seen = cluster.disks[&1].machine.seen();
            assert_eq!(seen, [1, 2, 3, 4, 5, 6], "state {at}, commit kept: {keeps_committed}");
        }
    }
}

/// A leader restarts with an empty state machine, and does not know what is committed. It leads on in its term, and a
/// read waits until everything that may have been acknowledged is applied again.
#[tokio::test(start_paused = true)]
async fn scenario_26_a_restarted_leader_serves_no_state_that_is_half_restored() {
    let mut cluster = Cluster::new(config());
    for id in 1..=3 {
        cluster.disks.entry(id).or_default().log.fail(|faults| faults.forget_committed = true);
    }
    let leader = cluster.found([1, 2, 3]).await;
    let id = *leader.node_id();
    for n in 1..=5 {
        soon(leader.client_write(Add(n))).await.unwrap();
    }
    let (before, last) = (term(&leader), last_log(&leader));
    cluster.crash(id).await;
    let machine = Machine::default();
    machine.apply_gate.close();
    cluster.disks.get_mut(&id).unwrap().machine = machine.clone();
    // Nobody answers it: it may have been replaced meanwhile.
    for other in (1..=3).filter(|other| *other != id) {
        cluster.router.cut(id, other);
    }
    let node = soon(cluster.start(id)).await;
    assert!(node.is_leader());
    let reads: Vec<_> = [ReadPolicy::ReadIndex, ReadPolicy::LeaseRead]
        .map(|policy| {
            let reader = node.clone();
            tokio::spawn(async move { reader.ensure_linearizable(policy).await.map(|read| read.index()) })
        })
        .into();
    elapse(Duration::from_millis(50)).await;
    for other in (1..=3).filter(|other| *other != id) {
        cluster.router.mend(id, other);
    }
    acknowledged(&node).await;
    node.wait(PATIENCE).committed_index_at_least(last, "committed again").await.unwrap();
    elapse(Duration::from_millis(100)).await;
    let reader = node.clone();
    let late = tokio::spawn(async move { reader.ensure_linearizable(ReadPolicy::ReadIndex).await });
    elapse(Duration::from_millis(100)).await;
    assert!(!late.is_finished() && machine.seen().is_empty());
    machine.apply_gate.open();
    assert_eq!(soon(late).await.unwrap().unwrap().index(), last.unwrap());
    assert_eq!(machine.seen(), [1, 2, 3, 4, 5]);
    for read in reads {
        // It may have been refused while nobody answered; else it saw everything.
        let read = soon(read).await.unwrap();
        assert!(read.is_err() || read.ok() == last);
    }
    assert_eq!(term(&node), before, "without an election");
}

//! Nodes that stop, crash and come back.

use quorate::Config;
use quorate::ReadPolicy;
use quorate::ServerState;
use quorate::SnapshotPolicy;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::Fatal;
use quorate::errors::RaftError;

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

#[tokio::test(start_paused = true)]
async fn a_single_node_leads_again_and_has_all_it_acknowledged() {
    for keeps_committed in [true, false] {
        let mut cluster = Cluster::new(config());
        let leader = cluster.found([1]).await;
        cluster.disks[&1].log.fail(|faults| faults.forget_committed = !keeps_committed);
        for _ in 0..10 {
            leader.client_write(Add(1)).await.unwrap();
        }
        let before = (term(&leader), last_log(&leader));
        cluster.crash(1).await;
        // A state machine that keeps nothing is rebuilt from the log.
        cluster.disks.get_mut(&1).unwrap().machine = Machine::default();
        let node = cluster.start(1).await;
        node.wait(PATIENCE).state(ServerState::Leader, "leads").await.unwrap();
        soon(node.ensure_linearizable(ReadPolicy::ReadIndex)).await.unwrap();
        assert_eq!(cluster.sum(1), 10);
        assert_eq!((term(&node), last_log(&node)), before, "the same leader, no new entry");
        assert_eq!(soon(node.client_write(Add(1))).await.unwrap().data, 11);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_leader_leads_on_without_an_election() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let id = *leader.node_id();
    soon(leader.client_write(Add(1))).await.unwrap();
    cluster.applied(2).await;
    let before = (term(&leader), last_log(&leader));
    cluster.stop(id).await;
    let node = cluster.start(id).await;
    assert_eq!(node.metrics().borrow_watched().state, ServerState::Leader);
    let early = node.client_write(Add(1)).await.unwrap_err();
    assert!(early.forward_to_leader().is_some(), "no quorum knows it yet: {early}");
    acknowledged(&node).await;
    assert_eq!((term(&node), last_log(&node)), before);
    assert_eq!(soon(node.client_write(Add(1))).await.unwrap().data, 2);
    // It cannot know whether it told someone to take over before it stopped: a read by its lease asks a quorum.
    soon(node.ensure_linearizable(ReadPolicy::LeaseRead)).await.unwrap();
    for peer in (1..=3).filter(|peer| *peer != id) {
        cluster.router.isolate(peer);
    }
    soon(node.ensure_linearizable(ReadPolicy::LeaseRead)).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_to_be_restored_is_elected_anew() {
    let mut cluster = Cluster::new(Config { enable_leader_restore: Some(false), ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    let (id, before) = (*leader.node_id(), term(&leader));
    cluster.stop(id).await;
    let node = cluster.start(id).await;
    assert_eq!(node.metrics().borrow_watched().state, ServerState::Follower);
    let next = cluster.leader().await;
    assert!(term(&next) > before);
    soon(next.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_follower_disturbs_nobody() {
    let mut cluster = Cluster::new(quorate::Config::default());
    let leader = cluster.found([1, 2, 3]).await;
    let before = term(&leader);
    for id in cluster.others(&leader) {
        cluster.stop(id).await;
        soon(leader.client_write(Add(1))).await.unwrap();
        let node = cluster.start(id).await;
        assert_eq!(node.metrics().borrow_watched().state, ServerState::Follower);
        let last = soon(leader.client_write(Add(1))).await.unwrap().log_id.index;
        cluster.applied(last).await;
    }
    elapse(LONG).await;
    assert_eq!(term(&leader), before);
    assert!(leader.is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_loses_what_it_had_not_flushed_gets_it_again() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let id = cluster.others(&leader)[0];
    cluster.disks[&id].log.fail(|faults| faults.withhold = true);
    let mut last = 0;
    for _ in 0..10 {
        last = soon(leader.client_write(Add(1))).await.unwrap().log_id.index;
    }
    cluster.nodes[&id].wait(PATIENCE).log_index(Some(last), "taken").await.unwrap();
    cluster.crash(id).await;
    assert!(cluster.disks[&id].log.last().unwrap().index < last);
    // The state machine may have been ahead of the log's disk; this one keeps nothing over a crash.
    cluster.disks.get_mut(&id).unwrap().machine = Machine::default();
    cluster.start(id).await;
    cluster.applied(last).await;
    assert_eq!(cluster.sum(id), 10);
    assert!(leader.metrics().borrow_watched().running_state.is_ok());
}

#[tokio::test(start_paused = true)]
async fn all_nodes_crash_at_once_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    cluster.disks[&others[0]].log.fail(|faults| faults.withhold = true);
    let mut last = 0;
    for _ in 0..10 {
        last = soon(leader.client_write(Add(1))).await.unwrap().log_id.index;
    }
    for id in [1, 2, 3] {
        cluster.crash(id).await;
        cluster.disks.get_mut(&id).unwrap().machine = Machine::default();
    }
    for id in [1, 2, 3] {
        cluster.start(id).await;
    }
    let leader = cluster.leader().await;
    acknowledged(&leader).await;
    cluster.applied(last).await;
    for id in [1, 2, 3] {
        assert_eq!(cluster.sum(id), 10);
    }
    assert_eq!(soon(leader.client_write(Add(1))).await.unwrap().data, 11);
}

#[tokio::test(start_paused = true)]
async fn a_node_starts_from_its_snapshot_and_the_log_behind_it() {
    let by_hand =
        Config { snapshot_policy: SnapshotPolicy::Never, max_in_snapshot_log_to_keep: 0, ..config() };
    let mut cluster = Cluster::new(by_hand);
    let leader = cluster.found([1]).await;
    for n in 0..20 {
        if n == 10 {
            let at = leader.metrics().borrow_watched().last_applied;
            leader.trigger().snapshot().await.unwrap();
            leader.wait(PATIENCE).purged(at, "purged").await.unwrap();
        }
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    let snapshot = leader.get_snapshot().await.unwrap().unwrap();
    cluster.crash(1).await;
    let machine = Machine::default();
    machine.keep(snapshot.clone());
    cluster.disks.get_mut(&1).unwrap().machine = machine;
    let node = cluster.start(1).await;
    node.wait(PATIENCE).state(ServerState::Leader, "leads").await.unwrap();
    soon(node.ensure_linearizable(ReadPolicy::ReadIndex)).await.unwrap();
    assert_eq!(cluster.sum(1), 20);
    assert_eq!(node.metrics().borrow_watched().snapshot, snapshot.meta.last_log_id);

    // Without the snapshot, what is purged cannot be made up.
    cluster.crash(1).await;
    cluster.disks.get_mut(&1).unwrap().machine = Machine::default();
    let refused = cluster.try_start(1).await.unwrap_err();
    assert!(
        matches!(&refused, Fatal::StorageError(_)) && refused.to_string().contains("purged"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_lost_its_data_does_not_win_over_those_who_kept_theirs() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let id = *leader.node_id();
    soon(leader.client_write(Add(7))).await.unwrap();
    cluster.applied(2).await;
    cluster.stop(id).await;
    cluster.disks.remove(&id);
    let node = cluster.start(id).await;
    let members = [1, 2, 3].map(|id| (id, quorate::BasicNode::new(format!("node {id}"))));
    let founded = node.initialize(std::collections::BTreeMap::from(members)).await;
    assert!(founded.is_ok() || matches!(founded, Err(RaftError::APIError(_))));
    node.trigger().elect(false).await.unwrap();
    elapse(LONG).await;
    let next = cluster.leader().await;
    assert_ne!(*next.node_id(), id);
    let last = soon(next.client_write(Add(1))).await.unwrap();
    assert_eq!(last.data, 8);
    cluster.applied(last.log_id.index).await;
    assert_eq!(cluster.sum(id), 8);
}

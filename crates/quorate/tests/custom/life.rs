//! What every cluster lives through, whatever its types are.

use std::collections::BTreeSet;

use quorate::Config;
use quorate::LogIdOptionExt;
use quorate::ReadPolicy;
use quorate::SnapshotPolicy;
use quorate::async_runtime::WatchReceiver;
use quorate::vote::RaftLeaderId;

use crate::world::Cluster;
use crate::world::Kind;
use crate::world::Node;
use crate::world::PATIENCE;
use crate::world::soon;

/// Snapshots on demand alone, and nothing kept behind them.
pub fn config() -> Config {
    Config {
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        enable_pre_vote: Some(true),
        ..Config::default()
    }
}

/// Writes these numbers; returns the sum after the last, and its index.
pub async fn write<C: Kind>(leader: &Node<C>, numbers: impl IntoIterator<Item = u64>) -> (u64, u64) {
    let mut last = (0, 0);
    for number in numbers {
        let written = soon(leader.client_write(C::data(number))).await.unwrap_or_else(|e| panic!("{e}"));
        last = (C::sum(&written.data), written.log_id.index);
    }
    last
}

/// Founds, writes, reads, changes members, compacts, loses its leader and restarts.
pub async fn live<C: Kind>() {
    let mut cluster = Cluster::<C>::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let (sum, index) = write(&leader, 1..=20).await;
    assert_eq!((sum, index), (210, 21));
    soon(leader.ensure_linearizable(ReadPolicy::ReadIndex)).await.unwrap();
    soon(leader.ensure_linearizable(ReadPolicy::LeaseRead)).await.unwrap();
    let linearizer = soon(leader.get_read_linearizer(ReadPolicy::ReadIndex)).await.unwrap();
    for node in cluster.nodes.values() {
        soon(linearizer.clone().await_ready(node)).await.unwrap();
    }
    assert_eq!(cluster.sums(), [210; 3]);

    shows_itself(&leader, index).await;
    changes_members(&mut cluster, &leader).await;
    compacts(&mut cluster, &leader).await;
    elects(&mut cluster, leader).await;
    restarts(&mut cluster).await;
}

async fn shows_itself<C: Kind>(leader: &Node<C>, index: u64) {
    let leads = leader.as_leader().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(leads.leader_id().node_id(), leader.node_id());
    let vote = soon(leader.watch_vote_progress().next()).await.unwrap().unwrap();
    assert!(vote.committed && vote.leader_id == *leads.leader_id());
    let log = soon(leader.watch_log_progress().next()).await.unwrap().unwrap();
    assert_eq!((log.vote, log.last_log_id.index()), (vote, Some(index)));
    for mut entries in [leader.watch_commit_progress(), leader.watch_apply_progress()] {
        assert_eq!(soon(entries.next()).await.unwrap(), log.last_log_id);
    }
    let (started, told) = tokio::sync::oneshot::channel();
    let started = std::sync::Mutex::new(Some(started));
    let start = move |leader_id| {
        let sent = started.lock().unwrap().take().map(|started| started.send(leader_id).is_ok());
        async move { assert_eq!(sent, Some(true), "it starts once") }
    };
    let mut handle = leader.on_leader_change(start, |_| async { panic!("it leads on") });
    assert_eq!(soon(told).await.unwrap(), *leads.leader_id());
    soon(handle.close()).await;
    soon(leader.wait_for_recovery(None)).await.unwrap();
}

async fn changes_members<C: Kind>(cluster: &mut Cluster<C>, leader: &Node<C>) {
    cluster.start(4).await;
    soon(leader.add_learner(C::id(4), C::node(4), true)).await.unwrap_or_else(|e| panic!("{e}"));
    let own = cluster.number_of(leader);
    let gone = [1, 2, 3].into_iter().find(|number| *number != own).unwrap();
    let voters: BTreeSet<_> = [1, 2, 3, 4].into_iter().filter(|number| *number != gone).map(C::id).collect();
    let changed = soon(leader.change_membership(voters.clone(), false)).await;
    let changed = changed.unwrap_or_else(|e| panic!("{e}")).membership.unwrap();
    assert_eq!(changed.voter_ids().collect::<BTreeSet<_>>(), voters);
    assert_eq!(changed.get_node(&C::id(4)), Some(&C::node(4)));
    cluster.stop(gone).await;
    cluster.disks.remove(&gone);
}

/// Who comes after a purge gets the snapshot, and what was written since.
async fn compacts<C: Kind>(cluster: &mut Cluster<C>, leader: &Node<C>) {
    leader.trigger().snapshot().await.unwrap();
    let applied = leader.metrics().borrow_watched().last_applied.clone();
    leader.wait(PATIENCE).purged(applied, "purged").await.unwrap();
    let (sum, _) = write(leader, [5, 5]).await;
    cluster.start(5).await;
    let added = soon(leader.add_learner(C::id(5), C::node(5), true)).await;
    cluster.applied(added.unwrap_or_else(|e| panic!("{e}")).log_id.index).await;
    assert_eq!((sum, cluster.sums()), (220, vec![220; 4]));
    let snapshots: Vec<_> =
        [leader, &cluster.nodes[&5]].map(|node| node.metrics().borrow_watched().snapshot.clone()).into();
    assert!(snapshots[0].is_some() && snapshots[0] == snapshots[1]);
}

async fn elects<C: Kind>(cluster: &mut Cluster<C>, leader: Node<C>) {
    let (number, before) = (cluster.number_of(&leader), leader.metrics().borrow_watched().current_term);
    drop(leader);
    cluster.stop(number).await;
    let next = cluster.leader().await;
    assert!(next.metrics().borrow_watched().current_term > before);
    let (sum, index) = write(&next, [30]).await;
    cluster.start(number).await;
    cluster.applied(index).await;
    assert_eq!((sum, cluster.sums()), (250, vec![250; 4]));
    // And leadership is handed back.
    next.trigger().transfer_leader(C::id(number)).await.unwrap();
    cluster.nodes[&number].wait(PATIENCE).state(quorate::ServerState::Leader, "leads").await.unwrap();
    write(&cluster.leader().await, [10]).await;
}

async fn restarts<C: Kind>(cluster: &mut Cluster<C>) {
    let numbers: Vec<_> = cluster.nodes.keys().copied().collect();
    for number in &numbers {
        cluster.stop(*number).await;
    }
    for number in &numbers {
        cluster.start(*number).await;
    }
    let leader = cluster.leader().await;
    let (sum, index) = write(&leader, [40]).await;
    cluster.applied(index).await;
    assert_eq!((sum, cluster.sums()), (300, vec![300; 4]));
}

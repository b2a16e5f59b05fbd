//! What a follower does with a leader's entries and snapshots, message by message; the test plays the leader.

use std::collections::BTreeMap;

use quorate::BasicNode;
use quorate::Config;
use quorate::Entry;
use quorate::EntryPayload;
use quorate::LogId;
use quorate::Membership;
use quorate::ServerState;
use quorate::Snapshot;
use quorate::SnapshotMeta;
use quorate::StoredMembership;
use quorate::Vote;
use quorate::async_runtime::WatchReceiver;
use quorate::impls::leader_id_adv::LeaderId;
use quorate::raft::AppendEntriesRequest;
use quorate::raft::AppendEntriesResponse;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::network::Kind;
use crate::network::Node;
use crate::stores::Add;
use crate::stores::Id;
use crate::stores::Types;

fn id(term: u64, index: u64) -> Id {
    LogId::new(LeaderId { term, node_id: 9 }, index)
}

/// Entries of the leader 9 of `term`, behind `prev`.
fn request(
    term: u64,
    prev: Option<Id>,
    indexes: impl IntoIterator<Item = u64>,
    commit: Option<Id>,
) -> AppendEntriesRequest<Types> {
    let entries = indexes
        .into_iter()
        .map(|index| Entry { log_id: id(term, index), payload: EntryPayload::Normal(Add(1)) });
    AppendEntriesRequest {
        vote: Vote::new_committed(term, 9),
        prev_log_id: prev,
        entries: entries.collect(),
        leader_commit: commit,
    }
}

fn membership_entry(
    log_id: Id,
    ids: impl IntoIterator<Item = u64>,
) -> Entry<LeaderId<u64, u64>, EntryPayload<Add, u64, BasicNode>> {
    let nodes: BTreeMap<_, _> = ids.into_iter().map(|id| (id, BasicNode::new(id))).collect();
    Entry { log_id, payload: EntryPayload::Membership(Membership::from(nodes)) }
}

/// A node that no other runs beside, with the entries 0 to 9 of term 3.
async fn follower() -> (Cluster, Node) {
    let mut cluster = Cluster::new(Config { enable_elect: false, ..config() });
    let node = cluster.start(1).await;
    take(&node, request(3, None, 0..10, None)).await;
    (cluster, node)
}

async fn take(node: &Node, request: AppendEntriesRequest<Types>) {
    let what = request.to_string();
    assert_eq!(soon(node.append_entries(request)).await.unwrap(), AppendEntriesResponse::Success, "{what}");
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_place_of_a_missing_entry_goes_with_all_behind_it() {
    let (cluster, node) = follower().await;
    let answer = node.append_entries(request(4, Some(id(4, 6)), [7], None)).await.unwrap();
    assert_eq!(answer, AppendEntriesResponse::Conflict);
    assert_eq!(cluster.disks[&1].log.last(), Some(id(3, 5)));
    // A leader that has nothing there leaves the rest as it is.
    let answer = node.append_entries(request(4, Some(id(4, 20)), [], None)).await.unwrap();
    assert_eq!(answer, AppendEntriesResponse::Conflict);
    assert_eq!(cluster.disks[&1].log.last(), Some(id(3, 5)));
}

#[tokio::test(start_paused = true)]
async fn the_start_of_the_log_always_fits() {
    let (cluster, node) = follower().await;
    take(&node, request(4, None, [], None)).await;
    assert_eq!(cluster.disks[&1].log.last(), Some(id(3, 9)));
    take(&node, request(5, None, 0..2, None)).await;
    assert_eq!(cluster.disks[&1].log.last(), Some(id(5, 1)), "the first that differs takes the rest along");
}

#[tokio::test(start_paused = true)]
async fn a_purged_entry_before_those_sent_fits() {
    let (cluster, node) = follower().await;
    take(&node, request(3, Some(id(3, 9)), [], Some(id(3, 9)))).await;
    cluster.applied(9).await;
    node.trigger().snapshot().await.unwrap();
    node.wait(PATIENCE).snapshot(id(3, 9), "built").await.unwrap();
    node.trigger().purge_log(7).await.unwrap();
    node.wait(PATIENCE).purged(Some(id(3, 7)), "purged").await.unwrap();
    take(&node, request(3, Some(id(3, 3)), 4..10, None)).await;
    take(&node, request(3, Some(id(3, 7)), 8..12, None)).await;
    assert_eq!(cluster.disks[&1].log.last(), Some(id(3, 11)));
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_learned_from_any_request_also_one_about_older_entries() {
    let (cluster, node) = follower().await;
    take(&node, request(3, Some(id(3, 2)), [], Some(id(3, 5)))).await;
    cluster.applied(5).await;
    assert_eq!(cluster.sum(1), 6);
    // An older commit takes nothing back.
    take(&node, request(3, Some(id(3, 2)), [], Some(id(3, 1)))).await;
    elapse(LONG).await;
    let metrics = node.metrics().borrow_watched().clone();
    assert_eq!((metrics.local_committed, metrics.cluster_committed), (Some(id(3, 5)), Some(id(3, 5))));
}

#[tokio::test(start_paused = true)]
async fn a_greater_leader_with_the_same_log_is_followed_and_its_vote_kept() {
    let (cluster, node) = follower().await;
    take(&node, request(8, Some(id(3, 9)), [], None)).await;
    assert_eq!(cluster.disks[&1].log.vote(), Some(Vote::new_committed(8, 9)));
    let metrics = node.wait(PATIENCE).vote(Vote::new_committed(8, 9), "kept").await.unwrap();
    assert_eq!((metrics.current_term, metrics.current_leader), (8, Some(9)));
    assert_eq!(cluster.disks[&1].log.last(), Some(id(3, 9)));
}

#[tokio::test(start_paused = true)]
async fn a_membership_is_in_force_from_its_append_and_gone_with_its_entry() {
    let (cluster, node) = follower().await;
    assert_eq!(node.metrics().borrow_watched().state, ServerState::Learner);
    let mut promoting = request(3, Some(id(3, 9)), [10], None);
    promoting.entries = vec![membership_entry(id(3, 10), [1, 9]), membership_entry(id(3, 11), [9])];
    let demoting = promoting.entries.pop().unwrap();
    take(&node, promoting).await;
    let metrics = node.wait(PATIENCE).state(ServerState::Follower, "promoted").await.unwrap();
    assert_eq!(metrics.membership_config.log_id(), &Some(id(3, 10)));
    assert_eq!(metrics.committed_membership_config.log_id(), &None, "not committed");
    take(&node, request(3, Some(id(3, 10)), [], Some(id(3, 10)))).await;
    let metrics = node.wait(PATIENCE).applied_index(Some(10), "committed").await.unwrap();
    assert_eq!(metrics.committed_membership_config, metrics.membership_config);

    let mut leaving = request(3, Some(id(3, 10)), [], None);
    leaving.entries = vec![demoting];
    take(&node, leaving).await;
    node.wait(PATIENCE).state(ServerState::Learner, "demoted").await.unwrap();
    // Another leader has something else in its place.
    take(&node, request(4, Some(id(3, 10)), [11], None)).await;
    let metrics = node.wait(PATIENCE).state(ServerState::Follower, "as before").await.unwrap();
    assert_eq!(metrics.membership_config.log_id(), &Some(id(3, 10)));
    assert_eq!(cluster.disks[&1].log.last(), Some(id(4, 11)));
}

fn snapshot(last: Id) -> Snapshot<LeaderId<u64, u64>, u64, BasicNode, u64> {
    let nodes = BTreeMap::from([(1, BasicNode::new("one")), (9, BasicNode::new("nine"))]);
    let last_membership = StoredMembership::new(Some(id(2, 1)), Membership::from(nodes));
    Snapshot { meta: SnapshotMeta { last_log_id: Some(last), last_membership }, snapshot: 70 }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_leaves_the_entries_behind_it_and_purges_those_below() {
    let (cluster, node) = follower().await;
    take(&node, request(3, Some(id(3, 9)), [], Some(id(3, 2)))).await;
    cluster.applied(2).await;
    let installed =
        soon(node.install_full_snapshot(Vote::new_committed(3, 9), snapshot(id(3, 6)))).await.unwrap();
    assert_eq!(installed.vote, Vote::new_committed(3, 9));
    let metrics = node.wait(PATIENCE).purged(Some(id(3, 6)), "whatever is to be kept").await.unwrap();
    assert_eq!((metrics.snapshot, metrics.last_applied), (Some(id(3, 6)), Some(id(3, 6))));
    assert_eq!((metrics.local_committed, metrics.cluster_committed), (Some(id(3, 6)), Some(id(3, 6))));
    assert_eq!(metrics.membership_config.voter_ids().collect::<Vec<_>>(), [1, 9]);
    assert_eq!(metrics.membership_config, metrics.committed_membership_config);
    assert_eq!((metrics.state, metrics.last_log_index), (ServerState::Follower, Some(9)));
    assert_eq!(cluster.disks[&1].log.entries().len(), 3, "7, 8 and 9");
    assert_eq!(cluster.sum(1), 70);
    take(&node, request(3, Some(id(3, 9)), [], Some(id(3, 9)))).await;
    cluster.applied(9).await;
    assert_eq!(cluster.sum(1), 73);
}

/// The contract removes all that is not committed. What lies below the snapshot's end may be part of a quorum until it
/// is installed, and a crash may come before.
#[tokio::test(start_paused = true)]
async fn a_snapshot_over_a_log_that_parted_removes_what_stands_from_its_end_on_before_it_is_installed() {
    let (cluster, node) = follower().await;
    let machine = cluster.disks[&1].machine.clone();
    machine.install_gate.close();
    let receiver = node.clone();
    let install = tokio::spawn(async move {
        receiver.install_full_snapshot(Vote::new_committed(4, 9), snapshot(id(4, 6))).await
    });
    elapse(LONG).await;
    assert_eq!(cluster.disks[&1].log.last(), Some(id(3, 5)));
    machine.install_gate.open();
    soon(install).await.unwrap().unwrap();
    node.wait(PATIENCE).purged(Some(id(4, 6)), "purged").await.unwrap();
    assert_eq!(cluster.disks[&1].log.entries(), []);
    take(&node, request(4, Some(id(4, 6)), [7], Some(id(4, 7)))).await;
    cluster.applied(7).await;
    assert_eq!(cluster.sum(1), 71);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_a_lower_leader_or_of_what_is_committed_is_not_installed() {
    let (cluster, node) = follower().await;
    take(&node, request(3, Some(id(3, 9)), [], Some(id(3, 7)))).await;
    cluster.applied(7).await;
    for (vote, last) in [
        (Vote::new_committed(2, 9), id(2, 50)),
        (Vote::new_committed(3, 9), id(3, 7)),
        (Vote::new_committed(3, 9), id(3, 2)),
    ] {
        let answer = soon(node.install_full_snapshot(vote, snapshot(last))).await.unwrap();
        assert_eq!(answer.vote, Vote::new_committed(3, 9), "{last}");
    }
    assert_eq!((cluster.sum(1), node.metrics().borrow_watched().snapshot), (8, None));
}

#[tokio::test(start_paused = true)]
async fn a_voter_of_the_committed_membership_alone_may_campaign_and_does_not_count_itself() {
    let (cluster, node) = follower().await;
    let mut changing = request(3, Some(id(3, 9)), [], Some(id(3, 10)));
    changing.entries = vec![membership_entry(id(3, 10), [1, 2]), membership_entry(id(3, 11), [2])];
    take(&node, changing).await;
    let metrics = node.wait(PATIENCE).applied_index(Some(10), "committed").await.unwrap();
    assert_eq!(metrics.committed_membership_config.voter_ids().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(metrics.membership_config.voter_ids().collect::<Vec<_>>(), [2]);
    node.trigger().elect(false).await.unwrap();
    elapse(LONG).await;
    let metrics = node.metrics().borrow_watched().clone();
    assert_eq!((metrics.state, metrics.current_term), (ServerState::Candidate, 4));
    assert_eq!(cluster.router.count(2, Kind::Vote), 1);
    // Once the membership without it is committed, it campaigns no more.
    take(&node, request(5, Some(id(3, 11)), [12], Some(id(5, 12)))).await;
    node.wait(PATIENCE).applied_index(Some(12), "committed").await.unwrap();
    node.trigger().elect(false).await.unwrap();
    elapse(LONG).await;
    assert_eq!((node.metrics().borrow_watched().current_term, cluster.router.count(2, Kind::Vote)), (5, 1));
}

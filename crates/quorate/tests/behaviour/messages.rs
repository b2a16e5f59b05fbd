//! Messages that no correct node sends: refused or put up with; no panic, no hang, and nothing committed is lost.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use quorate::BasicNode;
use quorate::Entry;
use quorate::EntryPayload;
use quorate::LogId;
use quorate::Membership;
use quorate::ServerState;
use quorate::Snapshot;
use quorate::SnapshotMeta;
use quorate::StoredMembership;
use quorate::async_runtime::WatchReceiver;
use quorate::entry::RaftEntry;
use quorate::errors::Fatal;
use quorate::impls::leader_id_adv::LeaderId;
use quorate::raft::AppendEntriesRequest;
use quorate::raft::AppendEntriesResponse;
use quorate::raft::TransferLeaderRequest;
use quorate::raft::VoteRequest;
use quorate::type_config::alias::EntryOf;
use quorate::type_config::alias::SnapshotOf;
use quorate::type_config::alias::VoteOf;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::network::Node;
use crate::stores::Add;
use crate::stores::Id;
use crate::stores::Types;

pub fn vote(term: u64, node_id: u64, committed: bool) -> VoteOf<Types> {
    VoteOf::<Types> { leader_id: LeaderId { term, node_id }, committed }
}

pub fn id(term: u64, node_id: u64, index: u64) -> Id {
    LogId::new(LeaderId { term, node_id }, index)
}

pub fn entry(log_id: Id) -> EntryOf<Types> {
    Entry::new(log_id, EntryPayload::Normal(Add(1)))
}

/// Entries of the leader 9 in term 3.
pub fn request(prev: Option<u64>, indexes: impl IntoIterator<Item = u64>) -> AppendEntriesRequest<Types> {
    AppendEntriesRequest {
        vote: vote(3, 9, true),
        prev_log_id: prev.map(|index| id(3, 9, index)),
        entries: indexes.into_iter().map(|index| entry(id(3, 9, index))).collect(),
        leader_commit: None,
    }
}

/// A node that no other runs beside, with ten entries of which six are applied; the test plays the leader, node 9.
async fn follower() -> (Cluster, Node) {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    let ten = AppendEntriesRequest { leader_commit: Some(id(3, 9, 5)), ..request(None, 0..10) };
    assert_eq!(node.append_entries(ten).await.unwrap(), AppendEntriesResponse::Success);
    cluster.applied(5).await;
    (cluster, node)
}

/// It runs, has lost nothing, and follows its leader.
async fn unharmed(cluster: &Cluster, node: &Node) {
    assert!(node.metrics().borrow_watched().running_state.is_ok());
    assert_eq!(cluster.disks[&1].machine.seen(), [1; 6]);
    let next = AppendEntriesRequest { leader_commit: Some(id(3, 9, 10)), ..request(Some(9), 10..11) };
    assert_eq!(soon(node.append_entries(next)).await.unwrap(), AppendEntriesResponse::Success);
    cluster.applied(10).await;
    assert_eq!(cluster.disks[&1].machine.seen(), [1; 11]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_beyond_the_log_counts_as_far_as_the_log_is_known_to_agree() {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    node.append_entries(request(None, 0..10)).await.unwrap();
    // A heartbeat that vouches for four entries, with a commit beyond all that there is.
    let far = AppendEntriesRequest { leader_commit: Some(id(3, 9, u64::MAX)), ..request(Some(3), []) };
    assert_eq!(node.append_entries(far).await.unwrap(), AppendEntriesResponse::Success);
    cluster.applied(9).await;
    assert_eq!(cluster.sum(1), 10, "what this leader has sent before agrees too");
    let newer = AppendEntriesRequest {
        vote: vote(4, 8, true),
        prev_log_id: Some(id(3, 9, 9)),
        entries: vec![entry(id(4, 8, 10))],
        leader_commit: Some(id(7, 7, 70)),
    };
    assert_eq!(node.append_entries(newer).await.unwrap(), AppendEntriesResponse::Success);
    cluster.applied(10).await;
    assert_eq!(node.metrics().borrow_watched().local_committed, Some(id(4, 8, 10)));
}

#[tokio::test(start_paused = true)]
async fn a_new_leaders_commit_covers_no_entry_that_it_has_not_vouched_for() {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    node.append_entries(request(None, 0..10)).await.unwrap();
    let newer = AppendEntriesRequest {
        vote: vote(4, 8, true),
        prev_log_id: Some(id(3, 9, 3)),
        entries: Vec::new(),
        leader_commit: Some(id(4, 8, 20)),
    };
    assert_eq!(node.append_entries(newer).await.unwrap(), AppendEntriesResponse::Success);
    cluster.applied(3).await;
    elapse(LONG).await;
    assert_eq!(cluster.sum(1), 4, "the others may be of a leader that was outvoted");
}

#[tokio::test(start_paused = true)]
async fn entries_with_a_gap_or_out_of_order_or_before_their_place_are_refused() {
    let (cluster, node) = follower().await;
    let bad = [
        request(Some(9), [10, 12]),
        request(Some(9), [11, 10]),
        request(Some(9), [10, 10]),
        request(Some(9), [5]),
        request(Some(9), [9, 10]),
        request(Some(20), [10]),
        request(None, [10]),
        request(Some(u64::MAX), [0]),
        request(Some(u64::MAX - 1), [u64::MAX]),
        request(Some(9), [u64::MAX]),
    ];
    for bad in bad {
        let what = bad.to_string();
        assert_eq!(soon(node.append_entries(bad)).await.unwrap(), AppendEntriesResponse::Conflict, "{what}");
    }
    unharmed(&cluster, &node).await;
}

#[tokio::test(start_paused = true)]
async fn entries_under_a_lower_leader_than_those_before_them_are_refused() {
    let (cluster, node) = follower().await;
    for (leader, index) in [((2, 9), 10), ((3, 8), 10), ((0, 0), 10)] {
        let mut lower = request(Some(9), [10]);
        lower.entries[0].log_id = id(leader.0, leader.1, index);
        assert_eq!(soon(node.append_entries(lower)).await.unwrap(), AppendEntriesResponse::Conflict);
    }
    let mut falling = request(Some(9), [10, 11]);
    falling.entries[1].log_id = id(2, 9, 11);
    assert_eq!(soon(node.append_entries(falling)).await.unwrap(), AppendEntriesResponse::Conflict);
    // Nor does a leader send what is newer than itself.
    let mut newer = request(Some(9), [10]);
    newer.entries[0].log_id = id(5, 9, 10);
    assert_eq!(soon(node.append_entries(newer)).await.unwrap(), AppendEntriesResponse::Conflict);
    unharmed(&cluster, &node).await;
}

#[tokio::test(start_paused = true)]
async fn committed_entries_are_not_rewritten_whoever_asks() {
    let (cluster, node) = follower().await;
    for (prev, index) in [(Some(id(3, 9, 2)), 3), (None, 0)] {
        let rewriting = AppendEntriesRequest {
            vote: vote(3, 9, true),
            prev_log_id: prev,
            entries: vec![entry(id(3, 7, index))],
            leader_commit: None,
        };
        assert_eq!(soon(node.append_entries(rewriting)).await.unwrap(), AppendEntriesResponse::Conflict);
    }
    let elsewhere = AppendEntriesRequest { prev_log_id: Some(id(2, 2, 4)), ..request(None, []) };
    assert_eq!(soon(node.append_entries(elsewhere)).await.unwrap(), AppendEntriesResponse::Conflict);
    unharmed(&cluster, &node).await;
}

#[tokio::test(start_paused = true)]
async fn memberships_that_make_no_sense_stop_nobody() {
    let everyone = BTreeMap::from([(1, BasicNode::new("one")), (9, BasicNode::new("nine"))]);
    let odd = [
        Membership::default(),
        Membership::from(BTreeMap::new()),
        Membership::from(BTreeMap::from([(77, BasicNode::new("nobody"))])),
        Membership::new_with_defaults(vec![BTreeSet::from([1]), BTreeSet::new()], []),
        Membership::new_with_defaults(
            vec![BTreeSet::from([1]), BTreeSet::from([9]), BTreeSet::from([1, 9])],
            [5],
        ),
    ];
    for odd in odd {
        let what = odd.to_string();
        let (cluster, node) = follower().await;
        let mut carrying = request(Some(9), [10]);
        carrying.leader_commit = Some(id(3, 9, 10));
        carrying.entries[0].payload = EntryPayload::Membership(odd);
        let answer = soon(node.append_entries(carrying)).await.unwrap();
        elapse(LONG).await;
        assert!(node.metrics().borrow_watched().running_state.is_ok(), "{what}: {answer}");
        assert!(!node.is_leader(), "{what}");
        // The leader mends it.
        let mut sane = request(
            answer.is_success().then_some(10).or(Some(9)),
            [if answer.is_success() { 11 } else { 10 }],
        );
        sane.entries[0].payload = EntryPayload::Membership(Membership::from(everyone.clone()));
        sane.vote = vote(1000, 9, true);
        assert_eq!(soon(node.append_entries(sane)).await.unwrap(), AppendEntriesResponse::Success, "{what}");
        node.wait(PATIENCE).voter_ids([1, 9], "mended").await.unwrap();
        assert_eq!(cluster.sum(1), 10 - if answer.is_success() { 0 } else { 4 }, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn votes_of_nodes_that_nobody_knows_are_granted_and_kept() {
    let (cluster, node) = follower().await;
    elapse(LONG).await;
    let request = VoteRequest::new(vote(7, 77, false), Some(id(3, 9, 9)));
    let answer = soon(node.vote(request)).await.unwrap();
    assert!(answer.vote_granted && answer.is_granted_to(&vote(7, 77, false)));
    assert_eq!(cluster.disks[&1].log.vote(), Some(vote(7, 77, false)));
}

#[tokio::test(start_paused = true)]
async fn votes_at_the_end_of_all_terms_and_logs_stop_nobody() {
    let (_, node) = follower().await;
    elapse(LONG).await;
    let last = VoteRequest::new(vote(u64::MAX, u64::MAX, false), Some(id(u64::MAX, u64::MAX, u64::MAX)));
    assert!(soon(node.pre_vote(last.clone())).await.unwrap().vote_granted);
    assert!(soon(node.vote(last)).await.unwrap().vote_granted);
    node.trigger().elect(false).await.unwrap();
    elapse(LONG).await;
    let metrics = node.metrics().borrow_watched().clone();
    assert!(metrics.running_state.is_ok() && metrics.state == ServerState::Learner);
    assert_eq!(metrics.current_term, u64::MAX);
}

#[tokio::test(start_paused = true)]
async fn a_leaders_own_messages_that_come_back_to_it_change_nothing() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let own = leader.metrics().borrow_watched().vote;
    let back = AppendEntriesRequest {
        vote: own,
        prev_log_id: None,
        entries: vec![entry(id(own.leader_id.term, 1, 5))],
        leader_commit: Some(id(own.leader_id.term, 1, 5)),
    };
    assert!(!soon(leader.append_entries(back)).await.unwrap().is_success());
    let again = VoteRequest::new(vote(own.leader_id.term + 1, 1, false), None);
    assert!(!soon(leader.vote(again.clone())).await.unwrap().vote_granted);
    assert!(!soon(leader.pre_vote(again)).await.unwrap().vote_granted);
    let moved = TransferLeaderRequest::new(own, 1, None);
    let _ = soon(leader.handle_transfer_leader(moved)).await.unwrap();
    assert!(leader.is_leader());
    assert_eq!(soon(leader.client_write(Add(1))).await.unwrap().data, 1);
}

#[tokio::test(start_paused = true)]
async fn transfers_that_make_no_sense_move_nothing() {
    let (cluster, node) = follower().await;
    let odd = [
        TransferLeaderRequest::new(vote(3, 9, true), 1, Some(id(u64::MAX, 9, u64::MAX))),
        TransferLeaderRequest::new(vote(u64::MAX, 9, true), 1, None),
        TransferLeaderRequest::new(vote(0, 0, false), 1, None),
        TransferLeaderRequest::new(vote(3, 1, true), 1, Some(id(3, 9, 9))),
    ];
    for odd in odd {
        let what = odd.to_string();
        assert!(soon(node.handle_transfer_leader(odd)).await.unwrap().is_err(), "{what}");
    }
    let other = TransferLeaderRequest::new(vote(0, 0, false), 77, None);
    assert_eq!(soon(node.handle_transfer_leader(other)).await.unwrap(), Ok(()));
    assert_eq!(node.metrics().borrow_watched().current_term, 3);
    unharmed(&cluster, &node).await;
}

#[tokio::test(start_paused = true)]
async fn snapshots_with_an_impossible_meta_are_refused_with_a_reason() {
    let (cluster, node) = follower().await;
    let offer = |last: Option<Id>, of: Option<Id>| -> SnapshotOf<Types, u64> {
        let membership =
            StoredMembership::new(of, Membership::from(BTreeMap::from([(1, BasicNode::new("one"))])));
        Snapshot { meta: SnapshotMeta { last_log_id: last, last_membership: membership }, snapshot: 77 }
    };
    let impossible = [
        (Some(id(3, 9, u64::MAX)), None),
        (Some(id(4, 9, 20)), None),
        (Some(id(2, 9, 20)), None),
        (Some(id(3, 9, 20)), Some(id(3, 9, 21))),
        (Some(id(3, 9, 20)), Some(id(4, 1, 1))),
        (Some(id(3, 9, 20)), Some(id(3, 9, u64::MAX))),
    ];
    for (last, of) in impossible {
        let refused = soon(node.install_full_snapshot(vote(3, 9, true), offer(last, of))).await;
        let Err(Fatal::StorageError(error)) = refused else { panic!("{last:?} {of:?}: {refused:?}") };
        assert!(error.to_string().contains("refused"), "{error}");
    }
    // One that covers nothing is covered already.
    let empty = soon(node.install_full_snapshot(vote(3, 9, true), offer(None, None))).await.unwrap();
    assert_eq!(empty.vote, vote(3, 9, true));
    unharmed(&cluster, &node).await;
}

//! What no honest peer sends, and what no honest disk returns: it changes nothing, or stops the node with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{L, NOW, id, members, write};
use quorate_core::Install;
use quorate_core::Options;
use quorate_core::Placed;
use quorate_core::Replica;
use quorate_core::ServerState;
use quorate_core::Stored;
use quorate_core::ids::LogId;
use quorate_core::ids::Vote;
use quorate_core::ids::leader_id_adv::LeaderId;
use quorate_core::log::Log;
use quorate_core::message::Append;
use quorate_core::message::AppendReply;
use quorate_core::message::EntryIds;
use quorate_core::message::VoteReply;
use quorate_core::work::SendAppend;

/// Entries of the leader of `term` behind `prev`, up to `to`, with all of them committed up to `commit`.
fn append(term: u64, prev: Option<LogId<L>>, to: u64, commit: u64) -> Append<L> {
    let from = prev.as_ref().map_or(0, |prev| prev.index + 1);
    let mut entries = EntryIds::empty(from);
    (from..=to).for_each(|index| entries.push(id(term, index)).unwrap());
    let memberships = if from == 0 { vec![brought(term)] } else { Vec::new() };
    Append { vote: Vote::new_committed(term, term), prev, entries, memberships, commit: Some(id(1, commit)) }
}

fn brought(term: u64) -> Placed<L, u64> {
    Placed::new(Some(id(term, 0)), members(&[1, 2, 3]))
}

/// Node 3, which has the entries 0 to 5 of node 1's term; those up to 3 are committed.
fn follower() -> Replica<L> {
    let mut replica = Replica::new(3, Options::default(), Stored::default(), NOW, 7);
    let reply = replica.append(NOW, &append(1, None, 5, 3)).reply.message;
    assert_eq!(reply, AppendReply::Success(Some(id(1, 5))));
    write(&mut replica);
    replica
}

/// Node 1 of three, which leads in term 1 and has its first two entries, none of them committed.
fn leader() -> Replica<L> {
    let mut replica = Replica::new(1, Options::default(), Stored::default(), NOW, 7);
    replica.initialize(NOW, 7, members(&[1, 2, 3])).unwrap();
    write(&mut replica);
    let vote: Vote<L> = *replica.vote();
    replica.vote_answer(NOW, &2, &vote, &VoteReply { vote, granted: true, last: None });
    write(&mut replica);
    assert_eq!(replica.server_state(), ServerState::Leader);
    replica
}

/// Sends node 2 what is due.
fn send(replica: &mut Replica<L>) -> SendAppend<L> {
    let request = replica.next_append(NOW, &2).unwrap();
    assert!(replica.sent(&2, &request.ticket, request.end, 1));
    request
}

#[test]
fn a_snapshot_that_contradicts_the_commit_is_refused() {
    let mut replica = follower();
    let vote = Vote::new_committed(2, 2);
    for last in [id(2, 2), LogId::new(LeaderId { term: 0, node_id: 1 }, 9)] {
        let answer = replica.install(NOW, &vote, &last, Placed::new(None, members(&[1, 2, 3])));
        assert!(matches!(answer, Install::Impossible(why) if why.contains("contradicts")), "{answer:?}");
    }
    assert!(replica.next_install().is_none());
    assert_eq!(replica.log().next_index(), 6, "nothing of the log went");
    replica.check().unwrap();
}

#[test]
fn one_snapshot_is_installed_at_a_time() {
    let mut replica = follower();
    let vote = Vote::new_committed(1, 1);
    assert_eq!(replica.install(NOW, &vote, &id(1, 8), brought(1)), Install::Accepted);
    assert_eq!(replica.install(NOW, &vote, &id(1, 9), brought(1)), Install::Busy);
    assert_eq!(replica.next_install(), Some(id(1, 8)));
    replica.install_failed();
    assert_eq!(replica.applied(), None, "the state machine holds what it held");
    assert_eq!(replica.install(NOW, &vote, &id(1, 9), brought(1)), Install::Accepted);
    assert_eq!(replica.next_install(), Some(id(1, 9)));
}

#[test]
fn entries_that_conflict_with_the_snapshot_being_installed_stop_the_node() {
    let mut replica = follower();
    assert_eq!(replica.install(NOW, &Vote::new_committed(1, 1), &id(1, 7), brought(1)), Install::Accepted);
    replica.append(NOW, &append(2, Some(id(1, 5)), 8, 3));
    write(&mut replica);
    assert_eq!(replica.next_install(), Some(id(1, 7)));
    assert_eq!(replica.installed(), None);
    let broken = replica.check().unwrap_err();
    assert_eq!((broken.invariant, replica.broken()), ("I4", Some(broken)));
}

#[test]
fn a_log_of_a_term_far_beyond_the_saved_vote_stops_the_node() {
    let log = Log::new(None, [id(u64::MAX, 4)]);
    let stored = Stored { vote: Some(Vote::new(1, 3)), log, ..Stored::default() };
    let replica: Replica<L> = Replica::new(3, Options::default(), stored, NOW, 7);
    assert_eq!(replica.check().unwrap_err().invariant, "I3");
}

#[test]
fn an_acknowledgement_of_what_the_leader_does_not_have_counts_for_nothing() {
    let mut replica = leader();
    let request = send(&mut replica);
    let wrong = AppendReply::Success(Some(id(9, 1)));
    replica.append_answer(NOW, &2, &request.ticket, request.prev.as_ref(), &wrong);
    assert_eq!(replica.committed(), None);
    let again = send(&mut replica);
    assert_eq!(again.prev, request.prev, "the peer is asked anew");
    // The answer to the lost request comes late, and no longer counts.
    let late = AppendReply::Success(Some(id(1, 1)));
    replica.append_answer(NOW, &2, &request.ticket, request.prev.as_ref(), &late);
    assert_eq!(replica.committed(), None);
    replica.check().unwrap();
}

#[test]
fn an_acknowledgement_of_more_than_was_sent_counts_for_nothing() {
    let mut replica = leader();
    let request = send(&mut replica);
    let sent_end = request.end;
    replica.propose(NOW, 3).unwrap();
    write(&mut replica);
    let more = AppendReply::Success(replica.log().last().cloned());
    assert!(replica.log().next_index() > sent_end);
    replica.append_answer(NOW, &2, &request.ticket, request.prev.as_ref(), &more);
    assert_eq!(replica.committed(), None);
    replica.check().unwrap();
}

#[test]
fn a_leader_that_hears_of_its_own_name_in_a_later_term_takes_the_term_alone() {
    let mut replica = leader();
    let request = send(&mut replica);
    let own = AppendReply::HigherVote(Vote::new_committed(5, 1));
    replica.append_answer(NOW, &2, &request.ticket, request.prev.as_ref(), &own);
    assert_eq!(replica.server_state(), ServerState::Follower);
    assert_eq!(
        *replica.vote(),
        Vote::new(5, 1),
        "not committed: it does not lead in a term that it has forgotten"
    );
    assert!(replica.read().is_err());
    replica.check().unwrap();
}

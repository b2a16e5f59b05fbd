//! A snapshot that arrives while the log goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{L, NOW, members, write};
use quorate_core::Install;
use quorate_core::Options;
use quorate_core::Placed;
use quorate_core::Replica;
use quorate_core::Stored;
use quorate_core::ids::LogId;
use quorate_core::ids::Vote;
use quorate_core::ids::leader_id_adv::LeaderId;
use quorate_core::log::Log;
use quorate_core::message::Append;
use quorate_core::message::AppendReply;
use quorate_core::message::EntryIds;
use quorate_core::work::Event;

fn id(index: u64) -> LogId<L> {
    common::id(1, index)
}

/// Entries of the leader 1 from one index to another, both included, and a membership among them.
fn append(from: u64, to: u64, membership: (u64, &[u64]), commit: u64) -> Append<L> {
    let mut entries = EntryIds::empty(from);
    (from..=to).for_each(|index| entries.push(id(index)).unwrap());
    Append {
        vote: Vote::new_committed(1, 1),
        prev: from.checked_sub(1).map(id),
        entries,
        memberships: vec![Placed::new(Some(id(membership.0)), members(membership.1))],
        commit: Some(id(commit)),
    }
}

/// Found by seed 232413 of the random schedules: the commit went past the end of a snapshot that was on its way, and the
/// membership that was committed meanwhile was forgotten when the snapshot was installed.
#[test]
fn a_membership_committed_while_an_older_snapshot_is_on_its_way_stays_in_force() {
    let mut replica: Replica<L> = Replica::new(2, Options::default(), Stored::default(), NOW, 7);
    let reply = replica.append(NOW, &append(0, 5, (0, &[1, 2, 3]), 1)).reply;
    assert_eq!(reply.message, AppendReply::Success(Some(id(5))));
    write(&mut replica);
    let brought = Placed::new(Some(id(0)), members(&[1, 2, 3]));
    assert_eq!(replica.install(NOW, &Vote::new_committed(1, 1), &id(3), brought), Install::Accepted);
    replica.append(NOW, &append(6, 8, (7, &[1, 2, 3, 4]), 8));
    write(&mut replica);
    assert_eq!(replica.committed(), Some(&id(8)));
    assert_eq!(replica.next_install(), Some(id(3)));
    assert!(replica.installed().is_some());
    write(&mut replica);
    let kept = Placed::new(Some(id(7)), members(&[1, 2, 3, 4]));
    assert_eq!(*replica.committed_membership(), kept);
    assert_eq!(*replica.effective_membership(), kept);
    assert_eq!((replica.committed(), replica.applied()), (Some(&id(8)), Some(&id(3))));
    replica.check().unwrap();
}

/// Found by fuzzing: of the entries up to the purged end only the last is known, and that one was not compared.
#[test]
fn an_entry_in_the_place_of_the_last_purged_one_is_a_contradiction() {
    let log = Log::new(Some(id(5)), []);
    let stored = Stored { log, applied: Some(id(5)), snapshot: Some(id(5)), ..Stored::default() };
    let mut replica: Replica<L> = Replica::new(2, Options::default(), stored, NOW, 7);
    let other = LeaderId { term: 2, node_id: 3 };
    let mut entries = EntryIds::empty(4);
    entries.push(id(4)).unwrap();
    entries.push(LogId::new(other, 5)).unwrap();
    let vote = Vote { leader_id: other, committed: true };
    let request = Append { vote, prev: Some(id(3)), entries, memberships: Vec::new(), commit: None };
    let appended = replica.append(NOW, &request);
    assert_eq!(appended.reply.message, AppendReply::Conflict);
    assert!(replica.take_events().contains(&Event::Contradiction(5)));
    assert_eq!(replica.log().last(), Some(&id(5)));
    replica.check().unwrap();
}

/// Found by fuzzing: the smaller leader of the membership hid that it stands behind the snapshot's end.
#[test]
fn a_membership_behind_the_end_of_its_snapshot_is_refused_whoever_led() {
    for index in [7, 8] {
        let mut replica: Replica<L> = Replica::new(2, Options::default(), Stored::default(), NOW, 7);
        let other = LeaderId { term: 2, node_id: 3 };
        let vote = Vote { leader_id: other, committed: true };
        let held = Placed::new(Some(id(index)), members(&[1, 2, 3]));
        let refused = replica.install(NOW, &vote, &LogId::new(other, 7), held);
        assert!(matches!(refused, Install::Impossible(_)), "{refused:?}");
    }
}

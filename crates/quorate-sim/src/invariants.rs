//! What must hold, whatever goes wrong: one file for each invariant, all kept by one observer that knows everything.
//!
//! Each is a value that outlives crashes, is told what happened as it happens, and panics with its number where
//! something happened that must not. They know nodes, votes and log ids, and of payloads a fingerprint, so that every
//! tier that can observe what one of them asks for can use it.
//!
//! | | says | file | tiers |
//! |---|---|---|---|
//! | I1 | a node votes once in a term | `i01_vote_once.rs` | a, b |
//! | I2 | a term has one leader | `i02_one_leader.rs` | a, b |
//! | I3 | a leader's log only grows | `i03_append_only.rs` | a |
//! | I4 | the same place holds the same entry behind the same one, everywhere | `i04_log_matching.rs` | a, b |
//! | I5 | what is committed never changes | `i05_canon.rs` | a, b |
//! | I6 | a leader holds all that leaders before it committed | `i06_leader_complete.rs` | a, b |
//! | I7 | what a leader counts as committed is on the disks of a quorum | `i07_durable_quorum.rs` | a, b |
//! | I8 | a leader counts copies of its own entries alone | `i08_own_entries.rs` | a |
//! | I9 | a node's durable vote, and what it has committed and applied, never go back | `i09_monotonic.rs` | a, b |
//! | I10 | every entry is applied once, in order | `i10_apply_once.rs` | a, b |
//! | I11 | purged ≤ snapshot ≤ applied ≤ committed ≤ last | `i11_order.rs` | a, b |
//! | I12 | quorums of adjacent memberships meet; the last in the log is in force | `i12_membership.rs` | a, b |
//! | I13 | what was acknowledged survives in every quorum | `i13_durable_acks.rs` | a, b |
//! | I14 | a read sees whatever anyone saw before it began | `i14_fresh_reads.rs` | a, b |
//! | I15 | while a leader reads by its lease, no later one commits | `i15_lease.rs` | a, b |
//! | I16 | nobody receives an entry or a snapshot other than what was proposed | `i16_true_bytes.rs` | a, b |
//! | I17 | a snapshot is what its entries make, and never moves a state back | `i17_snapshot.rs` | a, b |
//! | I18 | when faults end, the cluster comes back without help, and stays calm | `i18_liveness.rs` | a, b |
//! | I19 | queues and windows stay within what is configured | `i19_resources.rs` | a |
//! | I20 | the same seed does the same; nothing panics | [`run`](crate::run) | a, b |
//!
//! Histories of clients are checked on top of this where a tier has any.

pub mod i01_vote_once;
pub mod i02_one_leader;
pub mod i03_append_only;
pub mod i04_log_matching;
pub mod i05_canon;
pub mod i06_leader_complete;
pub mod i07_durable_quorum;
pub mod i08_own_entries;
pub mod i09_monotonic;
pub mod i10_apply_once;
pub mod i11_order;
pub mod i12_membership;
pub mod i13_durable_acks;
pub mod i14_fresh_reads;
pub mod i15_lease;
pub mod i16_true_bytes;
pub mod i17_snapshot;
pub mod i18_liveness;
pub mod i19_resources;
pub mod places;
pub mod quorum;

use quorate_core::Membership;
use quorate_core::ids::Vote;

use crate::ids::Id;
use crate::ids::Ids;
use crate::invariants::i01_vote_once::VoteOnce;
use crate::invariants::i02_one_leader::OneLeader;
use crate::invariants::i03_append_only::AppendOnly;
use crate::invariants::i04_log_matching::LogMatching;
use crate::invariants::i05_canon::Canon;
use crate::invariants::i09_monotonic::Monotonic;
use crate::invariants::i10_apply_once::ApplyOnce;
use crate::invariants::i13_durable_acks::DurableAcks;
use crate::invariants::i14_fresh_reads::FreshReads;
use crate::invariants::i15_lease::Lease;
use crate::invariants::i16_true_bytes::TrueBytes;
use crate::invariants::i17_snapshot::Snapshots;

/// An entry as the observer knows it: where it stands, a fingerprint of all it carries, and its membership, if it
/// holds one.
#[derive(Clone, Copy, Debug)]
pub struct EntryView<'a, L: Ids> {
    /// Where it stands.
    pub id: &'a Id<L>,
    /// Two payloads that differ have different ones.
    pub print: u64,
    /// The membership that it holds.
    pub config: Option<&'a Membership<u64>>,
}

/// The all-knowing observer: what each invariant remembers.
#[derive(Debug)]
pub struct Ghost<L: Ids> {
    /// I1.
    pub votes: VoteOnce<L>,
    /// I2.
    pub leaders: OneLeader,
    /// I3.
    pub append_only: AppendOnly<L>,
    /// I4.
    pub entries: LogMatching<L>,
    /// I5, and what others measure by: everything that was ever committed.
    pub canon: Canon<L>,
    /// I9.
    pub monotonic: Monotonic<L>,
    /// I10.
    pub applied: ApplyOnce,
    /// I13.
    pub acks: DurableAcks,
    /// I14.
    pub reads: FreshReads,
    /// I15.
    pub lease: Lease<L>,
    /// I16.
    pub bytes: TrueBytes<L>,
    /// I17.
    pub snapshots: Snapshots,
    /// Leaders that won an election.
    pub elections: u64,
    /// Memberships that were committed.
    pub changes: u64,
}

impl<L: Ids> Default for Ghost<L> {
    fn default() -> Self {
        Self {
            votes: VoteOnce::default(),
            leaders: OneLeader::default(),
            append_only: AppendOnly::default(),
            entries: LogMatching::default(),
            canon: Canon::default(),
            monotonic: Monotonic::default(),
            applied: ApplyOnce::default(),
            acks: DurableAcks::default(),
            reads: FreshReads::default(),
            lease: Lease::default(),
            bytes: TrueBytes::default(),
            snapshots: Snapshots::default(),
            elections: 0,
            changes: 0,
        }
    }
}

impl<L: Ids> Ghost<L> {
    /// A node won an election; `has` tells which entries its log holds, or a snapshot of it covers. I2, I6.
    pub fn leads(&mut self, node: u64, vote: &Vote<L>, has: impl Fn(&Id<L>) -> bool) {
        self.elections += 1;
        self.leaders.leads(node, vote);
        i06_leader_complete::check(&self.canon, vote, has);
    }

    /// Entries that stand one behind the other, the first behind `prev`, leave a node or are durable. I4.
    ///
    /// What only stood in memory may be lost and proposed anew, so it does not count.
    pub fn entries_seen<'a>(
        &mut self,
        entries: impl Iterator<Item = EntryView<'a, L>>,
        prev: Option<&'a Id<L>>,
    ) {
        let mut prev = prev;
        for entry in entries {
            self.entries.seen(&entry, prev);
            prev = Some(entry.id);
        }
    }

    /// A node knows that an entry is committed, by the leader `by` or what it told. I5, I12.
    pub fn committed(&mut self, entry: &EntryView<'_, L>, by: &L::Committed) {
        let index = entry.id.index;
        let is_new = index == self.canon.end();
        if is_new && let Some(next) = entry.config {
            if let Some(before) = self.canon.config_at(index) {
                i12_membership::check_adjacent(before, next);
            }
            self.changes += 1;
        }
        self.canon.committed(entry, by);
        if is_new {
            self.lease.committed(by);
        }
    }

    /// A client was told that its write at `id` is done: later reads see it (I14), and it stays (I13).
    ///
    /// `holds` tells whether a node's disk has that entry, or a snapshot that covers it.
    pub fn acknowledged(&mut self, id: &Id<L>, holds: impl Fn(u64) -> bool) {
        assert!(self.canon.has(id), "I13: {id} was acknowledged and is not committed");
        self.acks.acknowledged(id.index);
        self.reads.saw(id.index + 1);
        self.check_survives(id.index, holds);
    }

    /// I13 for one entry: whoever forms a quorum, one of them has it.
    pub fn check_survives(&self, index: u64, holds: impl Fn(u64) -> bool) {
        if let Some(config) = self.canon.config_at(self.canon.end()) {
            i13_durable_acks::check(config, index, holds);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use quorate_core::ids::LogId;
    use quorate_core::ids::RaftLeaderId;

    use super::*;
    use crate::ids::Std;

    /// The place at `index` of the leader of `term`.
    pub(crate) fn id(term: u64, index: u64) -> Id<Std> {
        LogId::new(Std::new(term, 1).to_committed(), index)
    }

    /// An entry there that carries no membership.
    pub(crate) fn view(id: &Id<Std>, print: u64) -> EntryView<'_, Std> {
        EntryView { id, print, config: None }
    }

    #[test]
    fn a_write_that_is_committed_and_kept_may_be_acknowledged() {
        let mut ghost = Ghost::<Std>::default();
        let config = Membership::new(vec![[1, 2, 3].into()], []);
        ghost.committed(&EntryView { config: Some(&config), ..view(&id(1, 0), 3) }, &id(1, 0).leader_id);
        ghost.acknowledged(&id(1, 0), |node| node != 1);
        assert_eq!((ghost.reads.begins(), ghost.changes), (1, 1));
    }

    #[test]
    #[should_panic(expected = "I13:")]
    fn a_write_that_is_acknowledged_too_early_is_seen() {
        Ghost::<Std>::default().acknowledged(&id(1, 0), |_| true);
    }

    #[test]
    #[should_panic(expected = "I12:")]
    fn the_ghost_compares_memberships_as_they_are_committed() {
        let mut ghost = Ghost::<Std>::default();
        for (index, voter) in [(0, 1), (1, 2)] {
            let config = Membership::new(vec![[voter].into()], []);
            let entry = id(1, index);
            ghost.committed(&EntryView { config: Some(&config), ..view(&entry, 3) }, &entry.leader_id);
        }
    }

    #[test]
    #[should_panic(expected = "I4:")]
    fn the_ghost_compares_runs_of_entries() {
        let mut ghost = Ghost::<Std>::default();
        let (first, second) = (id(1, 0), id(1, 1));
        ghost.entries_seen([view(&first, 3), view(&second, 4)].into_iter(), None);
        ghost.entries_seen([view(&second, 4)].into_iter(), Some(&id(2, 0)));
    }

    #[test]
    #[should_panic(expected = "I6:")]
    fn the_ghost_asks_new_leaders_for_what_is_committed() {
        let mut ghost = Ghost::<Std>::default();
        ghost.committed(&view(&id(1, 0), 3), &id(1, 0).leader_id);
        ghost.leads(2, &Vote::new_committed(2, 2), |_| false);
    }
}

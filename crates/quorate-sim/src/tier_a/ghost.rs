//! What an all-knowing observer remembers, and the invariants that take more than one node to see.

use std::collections::BTreeMap;

use quorate_core::Membership;
use quorate_core::ids::Vote;
use quorate_core::log::Log;

use crate::tier_a::quorum::intersect;
use crate::tier_a::wire::Entry;
use crate::tier_a::wire::Id;
use crate::tier_a::wire::Ids;
use crate::tier_a::wire::Image;
use crate::tier_a::wire::Payload;
use crate::tier_a::wire::chain;

/// An entry that some leader committed.
struct Canon<L: Ids> {
    entry: Entry<L>,
    /// The state after it.
    hash: u64,
    /// The leader that counted it.
    by: L::Committed,
}

/// Where an entry stands: its index and the leader that proposed it.
type Place<L> = (u64, <L as quorate_core::ids::RaftLeaderId>::Committed);

pub struct Ghost<L: Ids> {
    /// I1: the vote of each node in each term, as it left.
    votes: BTreeMap<(u64, u64), L>,
    /// I2: who led each term.
    leaders: BTreeMap<u64, u64>,
    /// I4: what stands at each place, and what stood before it.
    entries: BTreeMap<Place<L>, (Payload, Option<Id<L>>)>,
    canon: Vec<Canon<L>>,
    newest: Option<L::Committed>,
    /// I14: every read that begins now sees at least the entries below this index.
    pub floor: u64,
    pub elections: u64,
    /// Memberships that were committed.
    pub changes: u64,
}

impl<L: Ids> Default for Ghost<L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: Ids> Ghost<L> {
    pub fn new() -> Self {
        Self {
            votes: BTreeMap::new(),
            leaders: BTreeMap::new(),
            entries: BTreeMap::new(),
            canon: Vec::new(),
            newest: None,
            floor: 0,
            elections: 0,
            changes: 0,
        }
    }

    /// I1: in one term, a node votes for one candidate; or, with several leaders per term, for ever greater ones.
    pub fn vote_leaves(&mut self, voter: u64, vote: &Vote<L>) {
        let term = vote.leader_id.term();
        let before = self.votes.insert((voter, term), vote.leader_id.clone());
        if let Some(before) = before {
            assert!(before <= vote.leader_id, "I1: {voter} voted for {before}, then for {}", vote.leader_id);
        }
    }

    /// I2, and I6: a new leader holds all that leaders before it committed.
    pub fn leads(&mut self, node: u64, vote: &Vote<L>, log: &Log<L::Committed>) {
        self.elections += 1;
        if !L::SEVERAL_PER_TERM {
            let before = *self.leaders.entry(vote.leader_id.term()).or_insert(node);
            assert_eq!(before, node, "I2: two leaders of term {}", vote.leader_id.term());
        }
        let own = vote.leader_id.to_committed();
        for canon in self.canon.iter().filter(|canon| canon.by < own) {
            assert!(log.has(&canon.entry.id), "I6: leader {} lacks {}", vote.leader_id, canon.entry.id);
        }
    }

    /// I4: the same place holds the same entry behind the same one, everywhere.
    pub fn seen(&mut self, entry: &Entry<L>, prev: Option<&Id<L>>) {
        let place = (entry.id.index, entry.id.leader_id.clone());
        let found = (entry.payload.clone(), prev.cloned());
        match self.entries.get(&place) {
            None => {
                self.entries.insert(place, found);
            }
            Some(known) => assert_eq!(*known, found, "I4: two entries at {}", entry.id),
        }
    }

    /// I5: what is committed at an index never changes. I12: adjacent configurations share a node in every two quorums.
    pub fn committed(&mut self, entry: &Entry<L>, by: &L::Committed) {
        let index = entry.id.index as usize;
        if let Some(canon) = self.canon.get(index) {
            assert_eq!(canon.entry, *entry, "I5: another entry was committed at {index}");
            return;
        }
        assert_eq!(index, self.canon.len(), "I5: commits come in order");
        if let Payload::Config(next) = &entry.payload
            && let Some(before) = self.config_at(entry.id.index)
        {
            assert!(intersect(before, next), "I12: {before:?} is followed by {next:?}");
        }
        self.changes += u64::from(matches!(entry.payload, Payload::Config(_)));
        let hash = chain(self.hash_at(entry.id.index), &entry.payload);
        self.newest = self.newest.take().max(Some(by.clone()));
        self.canon.push(Canon { entry: entry.clone(), hash, by: by.clone() });
    }

    /// The greatest leader that has committed an entry.
    pub fn newest_committer(&self) -> Option<&L::Committed> {
        self.newest.as_ref()
    }

    pub fn committed_end(&self) -> u64 {
        self.canon.len() as u64
    }

    pub fn is_committed(&self, id: &Id<L>) -> bool {
        self.canon.get(id.index as usize).is_some_and(|canon| canon.entry.id == *id)
    }

    /// The state after all entries below `end`.
    pub fn hash_at(&self, end: u64) -> u64 {
        end.checked_sub(1).and_then(|last| self.canon.get(last as usize)).map_or(0, |canon| canon.hash)
    }

    /// The membership committed last below `end`.
    pub fn config_at(&self, end: u64) -> Option<&Membership<u64>> {
        self.canon.iter().take(end as usize).rev().find_map(|canon| match &canon.entry.payload {
            Payload::Config(membership) => Some(membership),
            _ => None,
        })
    }

    /// I17: a snapshot is what the committed entries up to its end make, with the membership as of there.
    pub fn check_image(&self, image: &Image<L>) {
        let end = image.next();
        assert!(end <= self.committed_end(), "I17: a snapshot of what is not committed");
        assert_eq!(image.hash, self.hash_at(end), "I17: a state that is not the fold of its entries");
        let membership = self.config_at(end).cloned().unwrap_or_default();
        assert_eq!(*image.membership.membership, membership, "I17: a snapshot with another membership");
    }
}

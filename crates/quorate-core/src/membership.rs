//! Voter sets and learners by id; which configuration may follow which; and the stack of those not committed yet.

use alloc::collections::BTreeSet;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::ids::LogId;
use crate::ids::NodeId;
use crate::ids::RaftCommittedLeaderId;
use crate::mutant;
use crate::quorum;

/// Who votes and who only listens.
///
/// `voters` is a list of voter sets: one when uniform, several when joint (thesis §4.3). Learners get the log and
/// are never counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership<N: NodeId> {
    configs: Vec<BTreeSet<N>>,
    learners: BTreeSet<N>,
}

impl<N: NodeId> Default for Membership<N> {
    fn default() -> Self {
        Self { configs: Vec::new(), learners: BTreeSet::new() }
    }
}

impl<N: NodeId> Membership<N> {
    /// The membership with these voter sets; a learner that is a voter too is left to the voters.
    pub fn new(configs: Vec<BTreeSet<N>>, learners: impl IntoIterator<Item = N>) -> Self {
        let learners = learners.into_iter().filter(|id| !configs.iter().any(|c| c.contains(id))).collect();
        Self { configs, learners }
    }

    /// The voter sets.
    pub fn configs(&self) -> &[BTreeSet<N>] {
        &self.configs
    }

    /// The nodes that get the log and do not vote.
    pub fn learners(&self) -> &BTreeSet<N> {
        &self.learners
    }

    /// Every voter once, in order.
    pub fn voters(&self) -> BTreeSet<N> {
        self.configs.iter().flatten().cloned().collect()
    }

    /// Every voter and learner once, in order.
    pub fn nodes(&self) -> BTreeSet<N> {
        self.configs.iter().flatten().chain(&self.learners).cloned().collect()
    }

    /// Whether `id` votes in any of the voter sets.
    pub fn is_voter(&self, id: &N) -> bool {
        self.configs.iter().any(|voters| voters.contains(id))
    }

    /// Whether `id` is a voter or a learner.
    pub fn contains(&self, id: &N) -> bool {
        self.is_voter(id) || self.learners.contains(id)
    }

    /// Whether more than one voter set must agree.
    pub fn is_joint(&self) -> bool {
        self.configs.len() > 1
    }

    /// Whether `id` alone is a quorum.
    pub fn is_sole_voter(&self, id: &N) -> bool {
        quorum::is_quorum(&self.configs, |voter| voter == id)
    }

    /// Whether there is at least one voter set, and none is empty.
    pub fn is_valid(&self) -> bool {
        !self.configs.is_empty() && self.configs.iter().all(|voters| !voters.is_empty())
    }

    /// Whether every quorum of this configuration meets every quorum of `next`: invariant I12.
    ///
    /// Two configurations that share a voter set do (a quorum of each holds a majority of it); so do two uniform ones
    /// that differ by at most one voter (thesis §4.1).
    pub fn may_be_followed_by(&self, next: &Self) -> bool {
        let shared = self.configs.iter().any(|voters| next.configs.contains(voters));
        let one_apart = match (self.configs.as_slice(), next.configs.as_slice()) {
            ([ours], [theirs]) => ours.symmetric_difference(theirs).count() <= 1,
            _ => false,
        };
        next.is_valid() && (shared || one_apart || mutant!(46))
    }

    /// The uniform configuration that ends this joint one: its last voter set.
    ///
    /// Voters of the other sets stay as learners where `retain` says so.
    pub fn to_uniform(&self, retain: bool) -> Self {
        let target = self.configs.last().cloned().unwrap_or_default();
        let mut learners = self.learners.clone();
        if retain {
            learners.extend(self.voters());
        }
        Self::new(alloc::vec![target], learners)
    }
}

/// A membership and the log id of the entry that holds it; `None` for the empty one of a fresh node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<C: RaftCommittedLeaderId, N: NodeId> {
    /// Where in the log it stands.
    pub log_id: Option<LogId<C>>,
    /// What it says.
    pub membership: Arc<Membership<N>>,
}

impl<C: RaftCommittedLeaderId, N: NodeId> Placed<C, N> {
    /// `membership` as the entry at `log_id` holds it.
    pub fn new(log_id: Option<LogId<C>>, membership: Membership<N>) -> Self {
        Self { log_id, membership: Arc::new(membership) }
    }
}

/// The committed membership and those after it that a new leader may still take away.
///
/// A membership is in force from the moment it is in the log (thesis §4.1), so the newest is the effective one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memberships<C: RaftCommittedLeaderId, N: NodeId> {
    committed: Placed<C, N>,
    pending: VecDeque<Placed<C, N>>,
}

impl<C: RaftCommittedLeaderId, N: NodeId> Memberships<C, N> {
    pub(crate) fn new(committed: Placed<C, N>) -> Self {
        Self { committed, pending: VecDeque::new() }
    }

    pub(crate) fn committed(&self) -> &Placed<C, N> {
        &self.committed
    }

    pub(crate) fn effective(&self) -> &Placed<C, N> {
        self.pending
            .back()
            .filter(|_| !mutant!(31) || self.committed.log_id.is_none())
            .unwrap_or(&self.committed)
    }

    pub(crate) fn push(&mut self, placed: Placed<C, N>) {
        self.pending.push_back(placed);
    }

    /// All up to `committed` are committed now.
    pub(crate) fn commit(&mut self, committed: &LogId<C>) -> bool {
        let mut changed = false;
        while self.pending.front().is_some_and(|placed| placed.log_id.as_ref() <= Some(committed)) {
            if let Some(placed) = self.pending.pop_front() {
                self.committed = placed;
                changed = true;
            }
        }
        changed
    }

    /// Entries from `index` on are gone, and what they held with them.
    pub(crate) fn truncate_from(&mut self, index: u64) -> bool {
        let before = self.pending.len();
        self.pending.retain(|placed| placed.log_id.as_ref().is_some_and(|log_id| log_id.index < index));
        self.pending.len() != before
    }

    /// A snapshot brought `placed` as committed: what the log held up to it no longer counts. While the snapshot was on
    /// its way, a later one may have been committed; that one stays.
    pub(crate) fn reset_to(&mut self, placed: Placed<C, N>, snapshot_index: u64) {
        self.pending.retain(|p| p.log_id.as_ref().is_some_and(|log_id| log_id.index > snapshot_index));
        if placed.log_id > self.committed.log_id && !mutant!(28) {
            self.committed = placed;
        }
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = &Placed<C, N>> {
        self.pending.iter()
    }
}

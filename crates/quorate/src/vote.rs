//! Votes, leader ids and terms.

use std::cmp::Ordering;
use std::fmt::Debug;
use std::fmt::Display;

pub use quorate_core::ids::LeaderIdCompare;
pub use quorate_core::ids::RaftCommittedLeaderId;
pub use quorate_core::ids::RaftLeaderId;
pub use quorate_core::ids::RaftLeaderIdExt;
pub use quorate_core::ids::RaftTerm;
pub use quorate_core::ids::Vote;
pub use quorate_core::ids::leader_id_adv;
pub use quorate_core::ids::leader_id_std;

use crate::base::OptionalFeatures;

/// A vote as an application stores and sends it; [`Vote`] unless it brings its own.
pub trait RaftVote: OptionalFeatures + Eq + Clone + Debug + Display + 'static {
    /// The candidate or leader that it names.
    type LeaderId: RaftLeaderId;

    /// The vote for `leader_id`, granted by a quorum or not.
    fn from_leader_id(leader_id: Self::LeaderId, committed: bool) -> Self;

    /// The candidate or leader.
    fn leader_id(&self) -> &Self::LeaderId;

    /// Whether a quorum granted it.
    fn is_committed(&self) -> bool;

    /// The same as a [`Vote`].
    fn to_owned_vote(&self) -> Vote<Self::LeaderId> {
        Vote { leader_id: self.leader_id().clone(), committed: self.is_committed() }
    }

    /// The order of [`Vote`], between any two vote types of the same leader id.
    fn partial_cmp<V>(&self, other: &V) -> Option<Ordering>
    where
        V: RaftVote<LeaderId = Self::LeaderId>,
    {
        PartialOrd::partial_cmp(&self.to_owned_vote(), &other.to_owned_vote())
    }
}

impl<LID: RaftLeaderId> RaftVote for Vote<LID> {
    type LeaderId = LID;

    fn from_leader_id(leader_id: LID, committed: bool) -> Self {
        Self { leader_id, committed }
    }

    fn leader_id(&self) -> &LID {
        &self.leader_id
    }

    fn is_committed(&self) -> bool {
        self.committed
    }
}

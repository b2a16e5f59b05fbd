//! Terms, node ids, leader ids in both modes, votes and log ids.

use core::cmp::Ordering;
use core::fmt::Debug;
use core::fmt::Display;
use core::fmt::Formatter;
use core::fmt::Result;
use core::hash::Hash;

use crate::bounds::OptionalFeatures;

pub mod leader_id_adv;
pub mod leader_id_std;
pub mod log_id;

pub use log_id::LogId;
pub use log_id::LogIdOptionExt;
pub use log_id::LogIndexOptionExt;
pub use log_id::RaftLogId;

/// What names a node in a cluster: any ordered, printable value.
pub trait NodeId: OptionalFeatures + Eq + Ord + Debug + Display + Hash + Clone + 'static {}
impl<T> NodeId for T where T: OptionalFeatures + Eq + Ord + Debug + Display + Hash + Clone + 'static {}

/// A term: the logical clock of elections (thesis §3.1).
pub trait RaftTerm: OptionalFeatures + Ord + Debug + Display + Copy + Default + 'static {
    /// The term after this one.
    fn next(&self) -> Self;

    /// The term as a number, where it is one that fits.
    fn as_u64(&self) -> Option<u64>;
}

macro_rules! impl_term {
    ($($int:ty),*) => {$(
        impl RaftTerm for $int {
            fn next(&self) -> Self {
                self.saturating_add(1)
            }

            fn as_u64(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }
        }
    )*};
}
impl_term!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

/// What a log entry keeps of the leader that proposed it. Totally ordered.
pub trait RaftCommittedLeaderId: OptionalFeatures + Ord + Clone + Debug + Display + 'static {}
impl<T> RaftCommittedLeaderId for T where T: OptionalFeatures + Ord + Clone + Debug + Display + 'static {}

/// Identifies one candidate or leader: a term and a node.
///
/// Two leader ids that cannot both be granted are incomparable or ordered; how many leaders a term can have is
/// decided by the order alone.
pub trait RaftLeaderId:
    OptionalFeatures
    + PartialOrd
    + Eq
    + Clone
    + Debug
    + Display
    + 'static
    + PartialOrd<<Self as RaftLeaderId>::Committed>
{
    /// The term type.
    type Term: RaftTerm;
    /// The node id type.
    type NodeId: NodeId;
    /// The part that is enough to identify a leader once it is established.
    type Committed: RaftCommittedLeaderId;

    /// The leader id of `node_id` in `term`.
    fn new(term: Self::Term, node_id: Self::NodeId) -> Self;
    /// The term.
    fn term(&self) -> Self::Term;
    /// The node that leads or campaigns.
    fn node_id(&self) -> &Self::NodeId;
    /// What its log entries carry.
    fn to_committed(&self) -> Self::Committed;
}

/// What every leader id can do beyond [`RaftLeaderId`].
pub trait RaftLeaderIdExt: RaftLeaderId {
    /// The leader id of `node_id` in the term before any election.
    fn new_with_default_term(node_id: Self::NodeId) -> Self {
        Self::new(Self::Term::default(), node_id)
    }

    /// What the log entries of `node_id` as the leader of `term` carry.
    fn new_committed(term: Self::Term, node_id: Self::NodeId) -> Self::Committed {
        Self::new(term, node_id).to_committed()
    }

    /// The node, owned.
    fn to_node_id(&self) -> Self::NodeId {
        self.node_id().clone()
    }
}

impl<T: RaftLeaderId> RaftLeaderIdExt for T {}

/// The two orders that a leader id can have, for those who write a leader id of their own.
pub struct LeaderIdCompare;

impl LeaderIdCompare {
    /// One leader per term: ordered by term; two nodes in the same term are incomparable.
    pub fn std<LID: RaftLeaderId>(a: &LID, b: &LID) -> Option<Ordering> {
        match a.term().cmp(&b.term()) {
            Ordering::Equal if a.node_id() != b.node_id() => None,
            order => Some(order),
        }
    }

    /// Several leaders per term: ordered by term, then by node.
    pub fn adv<LID: RaftLeaderId>(a: &LID, b: &LID) -> Option<Ordering> {
        Some(a.term().cmp(&b.term()).then_with(|| a.node_id().cmp(b.node_id())))
    }
}

/// A node's vote: whom it follows or would follow, and whether a quorum agreed.
///
/// A vote becomes committed when a quorum granted it: its node is then the leader. Every message of a leader
/// carries its committed vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct Vote<LID: RaftLeaderId> {
    /// The candidate or leader.
    pub leader_id: LID,
    /// Whether a quorum granted it.
    pub committed: bool,
}

impl<LID: RaftLeaderId> Vote<LID> {
    /// A vote for `node_id` in `term` that is not granted by a quorum yet.
    pub fn new(term: LID::Term, node_id: LID::NodeId) -> Self {
        Self { leader_id: LID::new(term, node_id), committed: false }
    }

    /// A vote for `node_id` in `term` that a quorum granted.
    pub fn new_committed(term: LID::Term, node_id: LID::NodeId) -> Self {
        Self { leader_id: LID::new(term, node_id), committed: true }
    }

    /// Whether a quorum granted it.
    pub fn is_committed(&self) -> bool {
        self.committed
    }

    /// The candidate or leader.
    pub fn leader_id(&self) -> &LID {
        &self.leader_id
    }

    /// Marks it as granted by a quorum.
    #[deprecated(note = "set the field `committed`, or build it with `Vote::new_committed`")]
    pub fn commit(&mut self) {
        self.committed = true;
    }
}

impl<LID: RaftLeaderId> PartialOrd for Vote<LID> {
    /// By leader id; of two votes for incomparable leaders (one leader per term), the committed one is greater.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.leader_id.partial_cmp(&other.leader_id) {
            Some(Ordering::Equal) => self.committed.partial_cmp(&other.committed),
            Some(order) => Some(order),
            None => match (self.committed, other.committed) {
                (true, false) => Some(Ordering::Greater),
                (false, true) => Some(Ordering::Less),
                _ => None,
            },
        }
    }
}

impl<LID: RaftLeaderId> Display for Vote<LID> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "<{}:{}>", self.leader_id, if self.committed { "Q" } else { "-" })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    type Adv = leader_id_adv::LeaderId<u64, u64>;
    type Std = leader_id_std::LeaderId<u64, u64>;

    #[test]
    fn several_leaders_per_term_are_ordered_by_node() {
        let (a, b) = (Adv::new(1, 2), Adv::new(1, 3));
        assert_eq!(a.partial_cmp(&b), Some(Ordering::Less));
        assert_eq!(LeaderIdCompare::adv(&a, &b), Some(Ordering::Less));
        assert_eq!(LeaderIdCompare::adv(&Adv::new(2, 1), &b), Some(Ordering::Greater));
    }

    #[test]
    fn one_leader_per_term_is_not_comparable_to_another() {
        let (a, b) = (Std::new(1, 2), Std::new(1, 3));
        assert_eq!(a.partial_cmp(&b), None);
        assert_eq!(LeaderIdCompare::std(&a, &a), Some(Ordering::Equal));
        assert_eq!(LeaderIdCompare::std(&Std::new(2, 1), &b), Some(Ordering::Greater));
    }

    #[test]
    fn an_established_leader_is_greater_than_a_candidate_of_its_term() {
        let established = leader_id_std::CommittedLeaderId::from(1_u64);
        let candidate = Std::new(1, 2);
        assert_eq!(candidate.partial_cmp(&established), Some(Ordering::Less));
        assert_eq!(established.partial_cmp(&candidate), Some(Ordering::Greater));
        assert_eq!(Std::new(2, 1).partial_cmp(&established), Some(Ordering::Greater));
        assert_eq!(established.partial_cmp(&Std::new(2, 1)), Some(Ordering::Less));
        assert_ne!(candidate, established);
        assert_ne!(established, candidate);
        assert_eq!(*established, 1);
        let mut later = established;
        *later += 1;
        assert_eq!(later, leader_id_std::CommittedLeaderId::new(2));
    }

    #[test]
    fn short_ways_to_leader_ids() {
        assert_eq!(Adv::new_with_default_term(2), Adv::new(0, 2));
        assert_eq!(Std::new_committed(1, 2).term, 1);
        assert_eq!(Adv::new(1, 2).to_node_id(), 2);
    }

    #[test]
    fn votes_are_ordered_where_they_can_be() {
        let cmp = |a: Vote<Std>, b: Vote<Std>| a.partial_cmp(&b);
        assert_eq!(cmp(Vote::new(1, 2), Vote::new(1, 3)), None);
        assert_eq!(cmp(Vote::new_committed(1, 2), Vote::new_committed(1, 3)), None);
        assert_eq!(cmp(Vote::new_committed(1, 2), Vote::new(1, 3)), Some(Ordering::Greater));
        assert_eq!(cmp(Vote::new(1, 2), Vote::new_committed(1, 2)), Some(Ordering::Less));
        assert_eq!(cmp(Vote::new(2, 2), Vote::new_committed(1, 3)), Some(Ordering::Greater));
        assert_eq!(Vote::<Adv>::new_committed(1, 2).to_string(), "<T1-N2:Q>");
    }

    #[test]
    #[allow(deprecated, reason = "old applications still grant a vote that way")]
    fn a_vote_is_committed_in_place() {
        let mut vote: Vote<Std> = Vote::new(1, 2);
        assert_eq!((vote.leader_id(), vote.is_committed()), (&Std::new(1, 2), false));
        vote.commit();
        assert_eq!(vote, Vote::new_committed(1, 2));
    }

    #[test]
    fn terms_step_and_convert() {
        assert_eq!((1_u8.next(), u8::MAX.next()), (2, u8::MAX));
        assert_eq!(((-1_i32).as_u64(), u128::MAX.as_u64(), 7_i128.as_u64()), (None, None, Some(7)));
    }
}

//! One leader per term, as in the thesis: log entries carry the term alone.

use core::cmp::Ordering;
use core::fmt::Display;
use core::fmt::Formatter;
use core::fmt::Result;
use core::ops::Deref;
use core::ops::DerefMut;

use super::LeaderIdCompare;
use super::NodeId;
use super::RaftLeaderId;
use super::RaftTerm;

/// A term and the node that was voted for in it. Two of one term and different nodes are incomparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct LeaderId<Term: RaftTerm, NID: NodeId> {
    /// The term.
    pub term: Term,
    /// The node that got the vote.
    #[cfg_attr(feature = "serde", serde(with = "voted_for"))]
    pub voted_for: NID,
}

/// An established leader of a term: the term alone identifies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "", transparent))]
#[cfg_attr(feature = "pair-log-ids", derive(ref_cast::RefCast))]
#[repr(transparent)]
pub struct CommittedLeaderId<Term: RaftTerm> {
    /// The term.
    pub term: Term,
}

impl<Term: RaftTerm> CommittedLeaderId<Term> {
    /// The leader of `term`.
    pub fn new(term: Term) -> Self {
        Self { term }
    }
}

macro_rules! impl_from_term {
    ($($int:ty),*) => {$(
        impl From<$int> for CommittedLeaderId<$int> {
            fn from(term: $int) -> Self {
                Self { term }
            }
        }
    )*};
}
impl_from_term!(u8, u16, u32, u64, i8, i16, i32, i64);

impl<Term: RaftTerm> Deref for CommittedLeaderId<Term> {
    type Target = Term;

    fn deref(&self) -> &Term {
        &self.term
    }
}

impl<Term: RaftTerm> DerefMut for CommittedLeaderId<Term> {
    fn deref_mut(&mut self) -> &mut Term {
        &mut self.term
    }
}

impl<Term: RaftTerm> Display for CommittedLeaderId<Term> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Display::fmt(&self.term, f)
    }
}

impl<Term: RaftTerm, NID: NodeId> RaftLeaderId for LeaderId<Term, NID> {
    type Term = Term;
    type NodeId = NID;
    type Committed = CommittedLeaderId<Term>;

    fn new(term: Term, node_id: NID) -> Self {
        Self { term, voted_for: node_id }
    }

    fn term(&self) -> Term {
        self.term
    }

    fn node_id(&self) -> &NID {
        &self.voted_for
    }

    fn to_committed(&self) -> CommittedLeaderId<Term> {
        CommittedLeaderId { term: self.term }
    }
}

impl<Term: RaftTerm, NID: NodeId> PartialOrd for LeaderId<Term, NID> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        LeaderIdCompare::std(self, other)
    }
}

impl<Term: RaftTerm, NID: NodeId> PartialEq<CommittedLeaderId<Term>> for LeaderId<Term, NID> {
    /// Never equal: an id with a node is not an id without one.
    fn eq(&self, _other: &CommittedLeaderId<Term>) -> bool {
        false
    }
}

impl<Term: RaftTerm, NID: NodeId> PartialOrd<CommittedLeaderId<Term>> for LeaderId<Term, NID> {
    /// By term; within a term the established leader is the greater.
    fn partial_cmp(&self, other: &CommittedLeaderId<Term>) -> Option<Ordering> {
        Some(self.term.cmp(&other.term).then(Ordering::Less))
    }
}

impl<Term: RaftTerm, NID: NodeId> PartialEq<LeaderId<Term, NID>> for CommittedLeaderId<Term> {
    /// Never equal: an id without a node is not an id with one.
    fn eq(&self, _other: &LeaderId<Term, NID>) -> bool {
        false
    }
}

impl<Term: RaftTerm, NID: NodeId> PartialOrd<LeaderId<Term, NID>> for CommittedLeaderId<Term> {
    /// By term; within a term the established leader is the greater.
    fn partial_cmp(&self, other: &LeaderId<Term, NID>) -> Option<Ordering> {
        Some(self.term.cmp(&other.term).then(Ordering::Greater))
    }
}

impl<Term: RaftTerm, NID: NodeId> Display for LeaderId<Term, NID> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "T{}-N{}", self.term, self.voted_for)
    }
}

/// Writes the node as if it were optional: older logs kept room there for "no vote yet".
#[cfg(feature = "serde")]
mod voted_for {
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serialize;
    use serde::Serializer;
    use serde::de::Error;

    pub(super) fn serialize<NID: Serialize, S: Serializer>(node: &NID, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_some(node)
    }

    pub(super) fn deserialize<'de, NID, D>(from: D) -> Result<NID, D::Error>
    where
        NID: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let node = Option::<NID>::deserialize(from)?;
        node.ok_or_else(|| D::Error::custom("LeaderId.voted_for must not be null"))
    }
}

//! One leader per term, as in the thesis: log entries carry the term alone.

use core::cmp::Ordering;
use core::fmt::Display;
use core::fmt::Formatter;
use core::fmt::Result;
use core::ops::Deref;
use core::ops::DerefMut;

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
    pub voted_for: NID,
}

/// An established leader of a term: the term alone identifies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "", transparent))]
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
        match self.term.cmp(&other.term) {
            Ordering::Equal if self.voted_for == other.voted_for => Some(Ordering::Equal),
            Ordering::Equal => None,
            order => Some(order),
        }
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

impl<Term: RaftTerm, NID: NodeId> Display for LeaderId<Term, NID> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "T{}-N{}", self.term, self.voted_for)
    }
}

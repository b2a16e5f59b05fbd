//! Several leaders per term, ordered by node id: fewer election conflicts, one more id in each log entry.

use core::fmt::Display;
use core::fmt::Formatter;
use core::fmt::Result;

use super::NodeId;
use super::RaftLeaderId;
use super::RaftTerm;

/// A term and a node, ordered by term, then node: a later node id of the same term is the greater leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct LeaderId<Term: RaftTerm, NID: NodeId> {
    /// The term.
    pub term: Term,
    /// The node that leads or campaigns.
    pub node_id: NID,
}

/// Log entries carry the whole leader id, since a term alone does not identify a leader.
pub type CommittedLeaderId<Term, NID> = LeaderId<Term, NID>;

impl<Term: RaftTerm, NID: NodeId> RaftLeaderId for LeaderId<Term, NID> {
    type Term = Term;
    type NodeId = NID;
    type Committed = Self;

    fn new(term: Term, node_id: NID) -> Self {
        Self { term, node_id }
    }

    fn term(&self) -> Term {
        self.term
    }

    fn node_id(&self) -> &NID {
        &self.node_id
    }

    fn to_committed(&self) -> Self {
        self.clone()
    }
}

impl<Term: RaftTerm, NID: NodeId> Display for LeaderId<Term, NID> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "T{}-N{}", self.term, self.node_id)
    }
}

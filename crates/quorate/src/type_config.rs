//! The types that an application chooses, and short names for what follows from them.

use std::fmt::Debug;

pub use ext::TypeConfigExt;

use crate::base::AppData;
use crate::base::AppDataResponse;
use crate::base::OptionalSend;
use crate::base::OptionalSync;
use crate::batch::Batch;
use crate::entry::RaftEntry;
use crate::entry::RaftPayload;
use crate::errors::ErrorSource;
use crate::node::Node;
use crate::node::NodeId;
use crate::responder::Responder;
pub use crate::runtime::AsyncRuntime;
pub use crate::runtime::OneshotSender;
use crate::vote::RaftLeaderId;
use crate::vote::RaftTerm;
use crate::vote::RaftVote;

pub mod alias;
pub mod async_runtime;
mod ext;

/// The types that an application chooses. [`declare_raft_types!`](crate::declare_raft_types) fills in the usual ones.
pub trait RaftTypeConfig:
    Sized
    + OptionalSend
    + OptionalSync
    + Debug
    + Clone
    + Copy
    + Default
    + Eq
    + PartialEq
    + Ord
    + PartialOrd
    + 'static
{
    /// What the application writes to the log.
    type D: AppData;
    /// What applying an entry answers.
    type R: AppDataResponse;
    /// What names a node.
    type NodeId: NodeId;
    /// What a membership keeps of a node, such as its address.
    type Node: Node;
    /// The clock of elections.
    type Term: RaftTerm;
    /// What names a candidate or leader, and with it how many leaders a term can have.
    type LeaderId: RaftLeaderId<Term = Self::Term, NodeId = Self::NodeId>;
    /// How a vote is stored and sent.
    type Vote: RaftVote<LeaderId = Self::LeaderId>;
    /// What an entry carries.
    type Payload: RaftPayload<D = Self::D, NodeId = Self::NodeId, Node = Self::Node>;
    /// How an entry is stored and sent.
    type Entry: RaftEntry<CommittedLeaderId = <Self::LeaderId as RaftLeaderId>::Committed, Payload = Self::Payload>;
    /// The async runtime.
    type AsyncRuntime: AsyncRuntime;
    /// Who is told what became of a write.
    type Responder<T>: Responder<Self, T>
    where
        T: OptionalSend + 'static;
    /// Collections that mostly hold one item.
    type Batch<T>: Batch<T>
    where
        T: OptionalSend + 'static;
    /// How the cause of an error is kept.
    type ErrorSource: ErrorSource;
}

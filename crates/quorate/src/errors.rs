//! Why a call failed.
//!
//! What an application can react to is an error of its own type; what stops a node is [`Fatal`]; the two together
//! are [`RaftError`].

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;

use thiserror::Error as ThisError;

use crate::base::TryAsRef;
use crate::display::Opt;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::CommittedLeaderIdOf;
use crate::type_config::alias::LeaderIdOf;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::VoteOf;

pub mod decompose;
mod membership;
mod rpc;
mod source;
mod storage;

#[expect(deprecated, reason = "kept for those who still use it")]
pub use crate::deprecated::InstallSnapshotError;
#[expect(deprecated, reason = "kept for those who still use it")]
pub use crate::deprecated::SnapshotMismatch;
pub use membership::ChangeMembershipError;
pub use membership::EmptyMembership;
pub use membership::InProgress;
pub use membership::InitializeError;
pub use membership::LearnerNotFound;
pub use membership::MembershipError;
pub use membership::NodeMetadataChanged;
pub use membership::NodeNotFound;
pub use membership::NotAllowed;
pub use membership::NotInMembers;
pub use membership::Operation;
pub use membership::UncommittedLeaderLog;
pub use membership::UnsupportedMembershipTransition;
pub use rpc::ConflictingLogId;
pub use rpc::NetworkError;
pub use rpc::RPCError;
pub use rpc::RejectVote;
pub use rpc::RemoteError;
pub use rpc::ReplicationClosed;
pub use rpc::StreamingError;
pub use rpc::Timeout;
pub use rpc::Unreachable;
pub use source::BacktraceDisplay;
pub use source::BoxedErrorSource;
pub use source::ErrorSource;
pub use storage::ErrorSubject;
pub use storage::ErrorVerb;
pub use storage::StorageError;
#[expect(deprecated, reason = "kept for those who still use it")]
pub use storage::StorageIOError;
pub use storage::ToStorageResult;

/// An error of the call itself, or one that stopped the node.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound(serialize = "E: serde::Serialize", deserialize = "E: for<'d> serde::Deserialize<'d>"))
)]
pub enum RaftError<C: RaftTypeConfig, E = Infallible> {
    /// The call failed; the node goes on.
    #[error(transparent)]
    APIError(E),
    /// The node stopped.
    #[error(transparent)]
    Fatal(#[from] Fatal<C>),
}

impl<C: RaftTypeConfig, E: Debug> RaftError<C, E> {
    /// The error of the call.
    pub fn api_error(&self) -> Option<&E> {
        match self {
            Self::APIError(error) => Some(error),
            Self::Fatal(_) => None,
        }
    }

    /// The error of the call.
    pub fn into_api_error(self) -> Option<E> {
        match self {
            Self::APIError(error) => Some(error),
            Self::Fatal(_) => None,
        }
    }

    /// What stopped the node.
    pub fn fatal(&self) -> Option<&Fatal<C>> {
        match self {
            Self::APIError(_) => None,
            Self::Fatal(fatal) => Some(fatal),
        }
    }

    /// What stopped the node.
    pub fn into_fatal(self) -> Option<Fatal<C>> {
        match self {
            Self::APIError(_) => None,
            Self::Fatal(fatal) => Some(fatal),
        }
    }

    /// The leader to ask instead, if that is what the error says.
    pub fn forward_to_leader(&self) -> Option<&ForwardToLeader<C>>
    where
        E: TryAsRef<ForwardToLeader<C>>,
    {
        self.api_error().and_then(TryAsRef::try_as_ref)
    }

    /// The leader to ask instead, if that is what the error says.
    pub fn into_forward_to_leader(self) -> Option<ForwardToLeader<C>>
    where
        E: TryInto<ForwardToLeader<C>>,
    {
        self.into_api_error().and_then(|error| error.try_into().ok())
    }
}

impl<C: RaftTypeConfig> RaftError<C, Infallible> {
    /// What stopped the node, of a call that cannot fail otherwise.
    pub fn unwrap_fatal(self) -> Fatal<C> {
        match self {
            Self::APIError(never) => match never {},
            Self::Fatal(fatal) => fatal,
        }
    }
}

impl<C: RaftTypeConfig, E: Debug + TryAsRef<ForwardToLeader<C>>> TryAsRef<ForwardToLeader<C>>
    for RaftError<C, E>
{
    fn try_as_ref(&self) -> Option<&ForwardToLeader<C>> {
        self.forward_to_leader()
    }
}

impl<C: RaftTypeConfig, E> From<StorageError<C>> for RaftError<C, E> {
    fn from(error: StorageError<C>) -> Self {
        Self::Fatal(Fatal::StorageError(error))
    }
}

/// What stopped the node for good: it has to be started again.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum Fatal<C: RaftTypeConfig> {
    /// The log store or the state machine failed.
    #[error(transparent)]
    StorageError(#[from] StorageError<C>),
    /// A task of the node panicked.
    #[error("panicked")]
    Panicked,
    /// It was shut down.
    #[error("raft stopped")]
    Stopped,
}

/// This node cannot serve the request; the leader may.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("has to forward request to: {leader_id:?}, {leader_node:?}")]
pub struct ForwardToLeader<C: RaftTypeConfig> {
    /// The leader, if it is known.
    pub leader_id: Option<C::NodeId>,
    /// What the membership keeps of the leader.
    pub leader_node: Option<C::Node>,
    /// Why this node cannot serve it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub reason: ForwardReason,
}

impl<C: RaftTypeConfig> ForwardToLeader<C> {
    /// No leader is known.
    pub const fn empty() -> Self {
        Self { leader_id: None, leader_node: None, reason: ForwardReason::NotLeader }
    }

    /// The leader is `leader_id`.
    pub fn new(leader_id: C::NodeId, node: C::Node) -> Self {
        Self { leader_id: Some(leader_id), leader_node: Some(node), reason: ForwardReason::NotLeader }
    }

    /// The same with another reason.
    pub const fn with_reason(mut self, reason: ForwardReason) -> Self {
        self.reason = reason;
        self
    }
}

/// Why a node cannot serve a request that is for the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ForwardReason {
    /// It is not the leader.
    #[default]
    NotLeader,
    /// It is handing leadership over.
    LeadershipTransfer,
    /// It leads, but did not hear from a quorum for longer than its lease.
    LeaseExpired,
}

/// Why a write failed.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum ClientWriteError<C: RaftTypeConfig> {
    /// This node does not take writes; nothing was written.
    #[error(transparent)]
    ForwardToLeader(#[from] ForwardToLeader<C>),
    /// It was written, and lost its place in this node's log to another leader. Another node may have committed it.
    #[error(
        "log entry discarded on leader change; commit status unknown; application must deduplicate retries; {0}"
    )]
    LogEntryDiscarded(ForwardToLeader<C>),
    /// The membership cannot be changed that way; nothing was written.
    #[error(transparent)]
    ChangeMembershipError(#[from] ChangeMembershipError<CommittedLeaderIdOf<C>, C::NodeId>),
    /// A condition that the caller set does not hold; nothing was written.
    #[error(transparent)]
    PreconditionFailed(#[from] PreconditionFailed<C>),
}

impl<C: RaftTypeConfig> TryAsRef<ForwardToLeader<C>> for ClientWriteError<C> {
    fn try_as_ref(&self) -> Option<&ForwardToLeader<C>> {
        match self {
            Self::ForwardToLeader(forward) | Self::LogEntryDiscarded(forward) => Some(forward),
            _ => None,
        }
    }
}

/// Why a linearizable read failed.
#[derive(Debug, Clone, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum LinearizableReadError<C: RaftTypeConfig> {
    /// This node is not the leader.
    #[error(transparent)]
    ForwardToLeader(#[from] ForwardToLeader<C>),
    /// The leader could not confirm in time that it still leads.
    #[error(transparent)]
    QuorumNotEnough(#[from] QuorumNotEnough<C>),
}

/// The former name of [`LinearizableReadError`].
#[deprecated(note = "use `LinearizableReadError`")]
pub type CheckIsLeaderError<C> = LinearizableReadError<C>;

impl<C: RaftTypeConfig> TryAsRef<ForwardToLeader<C>> for LinearizableReadError<C> {
    fn try_as_ref(&self) -> Option<&ForwardToLeader<C>> {
        match self {
            Self::ForwardToLeader(forward) => Some(forward),
            Self::QuorumNotEnough(_) => None,
        }
    }
}

/// Takes the inner error out of an enum, or gives the enum back.
macro_rules! try_into_variant {
    ($outer:ident, $variant:ident, $inner:ty) => {
        impl<C: RaftTypeConfig> TryFrom<$outer<C>> for $inner {
            type Error = $outer<C>;

            fn try_from(error: $outer<C>) -> Result<Self, $outer<C>> {
                match error {
                    $outer::$variant(inner) => Ok(inner),
                    other => Err(other),
                }
            }
        }
    };
}
try_into_variant!(ClientWriteError, ForwardToLeader, ForwardToLeader<C>);
try_into_variant!(ClientWriteError, PreconditionFailed, PreconditionFailed<C>);
try_into_variant!(LinearizableReadError, ForwardToLeader, ForwardToLeader<C>);
try_into_variant!(LinearizableReadError, QuorumNotEnough, QuorumNotEnough<C>);
try_into_variant!(InitializeError, NotAllowed, NotAllowed<C>);
try_into_variant!(InitializeError, NotInMembers, NotInMembers<C>);

impl<C: RaftTypeConfig> TryFrom<ClientWriteError<C>>
    for ChangeMembershipError<CommittedLeaderIdOf<C>, C::NodeId>
{
    type Error = ClientWriteError<C>;

    fn try_from(error: ClientWriteError<C>) -> Result<Self, ClientWriteError<C>> {
        match error {
            ClientWriteError::ChangeMembershipError(inner) => Ok(inner),
            other => Err(other),
        }
    }
}

/// Fewer nodes answered than a quorum takes.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("not enough for a quorum, cluster: {cluster}, got: {got:?}")]
pub struct QuorumNotEnough<C: RaftTypeConfig> {
    /// The membership, as text.
    pub cluster: String,
    /// Who answered, the leader included.
    pub got: BTreeSet<C::NodeId>,
}

/// A condition that the caller set does not hold.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum PreconditionFailed<C: RaftTypeConfig> {
    /// Another leader leads.
    #[error("committed leader id mismatch: expected: {expected}, actual: {}", Opt(actual))]
    CommittedLeaderIdMismatch {
        /// The leader that the caller counted on.
        expected: CommittedLeaderIdOf<C>,
        /// The leader that there is.
        actual: Option<CommittedLeaderIdOf<C>>,
    },
    /// The log ends elsewhere.
    #[error("last log id mismatch: expected: {}, actual: {}", Opt(expected), Opt(actual))]
    LastLogIdMismatch {
        /// The last log id that the caller counted on.
        expected: Option<LogIdOf<C>>,
        /// The last log id that there is.
        actual: Option<LogIdOf<C>>,
    },
    /// The effective membership is of another entry.
    #[error("last membership log id mismatch: expected: {}, actual: {}", Opt(expected), Opt(actual))]
    LastMembershipLogIdMismatch {
        /// The entry that the caller counted on.
        expected: Option<LogIdOf<C>>,
        /// The entry that there is.
        actual: Option<LogIdOf<C>>,
    },
}

/// Why a node's log could not be allowed to have lost entries.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum AllowNextRevertError<C: RaftTypeConfig> {
    /// There is no such node.
    #[error("cannot set allow_next_revert; error: {0}")]
    NodeNotFound(#[from] NodeNotFound<C::NodeId>),
    /// This node is not the leader.
    #[error("cannot set allow_next_revert; error: {0}")]
    ForwardToLeader(#[from] ForwardToLeader<C>),
}

/// While the log was read on behalf of a leader, another one took over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderChanged<C: RaftTypeConfig> {
    /// The leader that the log was read for.
    pub expected_leader: LeaderIdOf<C>,
    /// The vote that was found instead.
    pub current_vote: Option<VoteOf<C>>,
}

impl<C: RaftTypeConfig> LeaderChanged<C> {
    /// From `expected_leader` to the leader of `current_vote`.
    pub fn new(expected_leader: LeaderIdOf<C>, current_vote: Option<VoteOf<C>>) -> Self {
        Self { expected_leader, current_vote }
    }
}

impl<C: RaftTypeConfig> Display for LeaderChanged<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "LeaderChanged: from {} to vote {}", self.expected_leader, Opt(&self.current_vote))
    }
}

impl<C: RaftTypeConfig> Error for LeaderChanged<C> {}

/// An error that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[error("infallible")]
pub enum Infallible {}

/// An error that never asks for another node.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[error("no-forward")]
pub enum NoForward {}

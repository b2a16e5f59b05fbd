//! Why a call to another node failed.

use std::error::Error;
use std::time::Duration;

use thiserror::Error as ThisError;

use super::ErrorSource;
use super::Fatal;
use super::ForwardToLeader;
use super::Infallible;
use super::RaftError;
use super::StorageError;
use crate::base::TryAsRef;
use crate::network::RPCTypes;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::VoteOf;

/// Why a call to another node failed.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound(serialize = "E: serde::Serialize", deserialize = "E: for<'d> serde::Deserialize<'d>"))
)]
pub enum RPCError<C: RaftTypeConfig, E: Error = Infallible> {
    /// No answer in time.
    #[error(transparent)]
    Timeout(#[from] Timeout<C>),
    /// The node cannot be reached; to try again at once is of no use.
    #[error(transparent)]
    Unreachable(#[from] Unreachable<C>),
    /// The call failed on the way; it may be tried again at once.
    #[error(transparent)]
    Network(#[from] NetworkError<C>),
    /// The node answered with an error.
    #[error(transparent)]
    RemoteError(#[from] RemoteError<C, E>),
}

impl<C: RaftTypeConfig, E: Error> RPCError<C, RaftError<C, E>> {
    /// The leader to ask instead, if that is what the node answered.
    pub fn forward_to_leader(&self) -> Option<&ForwardToLeader<C>>
    where
        E: TryAsRef<ForwardToLeader<C>>,
    {
        match self {
            Self::RemoteError(remote) => remote.source.forward_to_leader(),
            _ => None,
        }
    }
}

impl<C: RaftTypeConfig> RPCError<C> {
    /// The same as an error of a call that could have answered with a [`RaftError`].
    pub fn with_raft_error<E: Error>(self) -> RPCError<C, RaftError<C, E>> {
        match self {
            Self::Timeout(error) => RPCError::Timeout(error),
            Self::Unreachable(error) => RPCError::Unreachable(error),
            Self::Network(error) => RPCError::Network(error),
            Self::RemoteError(remote) => match remote.source {},
        }
    }
}

/// The error that another node answered with.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound(serialize = "T: serde::Serialize", deserialize = "T: for<'d> serde::Deserialize<'d>"))
)]
#[error("error occur on remote peer {target}: {source}")]
pub struct RemoteError<C: RaftTypeConfig, T: Error> {
    /// The node.
    pub target: C::NodeId,
    /// What the caller knows of the node.
    pub target_node: Option<C::Node>,
    /// The error.
    pub source: T,
}

impl<C: RaftTypeConfig, T: Error> RemoteError<C, T> {
    /// `target` answered with `error`.
    pub fn new(target: C::NodeId, error: T) -> Self {
        Self { target, target_node: None, source: error }
    }

    /// `target`, which is `node`, answered with `error`.
    pub fn new_with_node(target: C::NodeId, node: C::Node, error: T) -> Self {
        Self { target, target_node: Some(node), source: error }
    }
}

impl<C: RaftTypeConfig, E: Error> From<RemoteError<C, Fatal<C>>> for RemoteError<C, RaftError<C, E>> {
    fn from(error: RemoteError<C, Fatal<C>>) -> Self {
        Self { target: error.target, target_node: error.target_node, source: RaftError::Fatal(error.source) }
    }
}

/// The call failed on the way; it may be tried again at once.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("NetworkError: {source}")]
pub struct NetworkError<C: RaftTypeConfig> {
    source: C::ErrorSource,
}

impl<C: RaftTypeConfig> NetworkError<C> {
    /// It failed for `error`.
    pub fn new<E: Error + 'static>(error: &E) -> Self {
        Self { source: C::ErrorSource::from_error(error) }
    }

    /// It failed for what `text` says.
    pub fn from_string(text: impl ToString) -> Self {
        Self { source: C::ErrorSource::from_string(text) }
    }
}

/// The node cannot be reached; to try again at once is of no use.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("Unreachable node: {source}")]
pub struct Unreachable<C: RaftTypeConfig> {
    source: C::ErrorSource,
}

impl<C: RaftTypeConfig> Unreachable<C> {
    /// It is unreachable for `error`.
    pub fn new<E: Error + 'static>(error: &E) -> Self {
        Self { source: C::ErrorSource::from_error(error) }
    }

    /// It is unreachable for what `text` says.
    pub fn from_string(text: impl ToString) -> Self {
        Self { source: C::ErrorSource::from_string(text) }
    }
}

/// No answer in time.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("timeout after {timeout:?} when {action} {id}->{target}")]
pub struct Timeout<C: RaftTypeConfig> {
    /// The call.
    pub action: RPCTypes,
    /// Who called.
    pub id: C::NodeId,
    /// Who was called.
    pub target: C::NodeId,
    /// How long the caller waited.
    pub timeout: Duration,
}

/// Why a snapshot was not sent to its end.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum StreamingError<C: RaftTypeConfig> {
    /// It is not wanted any more.
    #[error(transparent)]
    Closed(#[from] ReplicationClosed),
    /// It could not be read.
    #[error(transparent)]
    StorageError(#[from] StorageError<C>),
    /// No answer in time.
    #[error(transparent)]
    Timeout(#[from] Timeout<C>),
    /// The node cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] Unreachable<C>),
    /// It failed on the way.
    #[error(transparent)]
    Network(#[from] NetworkError<C>),
}

impl<C: RaftTypeConfig> From<RPCError<C>> for StreamingError<C> {
    fn from(error: RPCError<C>) -> Self {
        match error {
            RPCError::Timeout(error) => error.into(),
            RPCError::Unreachable(error) => error.into(),
            RPCError::Network(error) => error.into(),
            RPCError::RemoteError(remote) => match remote.source {},
        }
    }
}

/// Replication to a node ended: the node left, or leadership did.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[error("Replication is closed: {reason}")]
pub struct ReplicationClosed {
    reason: String,
}

impl ReplicationClosed {
    /// It ended for `reason`.
    pub fn new(reason: impl ToString) -> Self {
        Self { reason: reason.to_string() }
    }
}

/// Two logs have different entries at the same index.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("conflicting log-id: local={local:?} should be: {expect:?}")]
pub struct ConflictingLogId<C: RaftTypeConfig> {
    /// The leader's entry.
    pub expect: LogIdOf<C>,
    /// The local entry.
    pub local: Option<LogIdOf<C>>,
}

/// The local vote is not less than the received one.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("reject vote: local vote {higher} is >= the received vote")]
pub struct RejectVote<C: RaftTypeConfig> {
    /// The local vote.
    pub higher: VoteOf<C>,
}

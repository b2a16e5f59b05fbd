//! Why a membership cannot be what was asked for.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;

use thiserror::Error as ThisError;

use crate::display::Opt;
use crate::log_id::LogId;
use crate::membership::Membership;
use crate::node::NodeId;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::VoteOf;
use crate::vote::RaftCommittedLeaderId;

/// Why a membership was not changed.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum ChangeMembershipError<CLID: RaftCommittedLeaderId, NID: NodeId> {
    /// The previous change is not committed yet.
    #[error(transparent)]
    InProgress(#[from] InProgress<CLID>),
    /// There would be no voter.
    #[error(transparent)]
    EmptyMembership(#[from] EmptyMembership),
    /// A voter would not be a known node.
    #[error(transparent)]
    LearnerNotFound(#[from] LearnerNotFound<NID>),
    /// One step does not lead there safely.
    #[error(transparent)]
    UnsupportedMembershipTransition(#[from] UnsupportedMembershipTransition<NID>),
    /// The leader committed nothing of its own yet.
    #[error(transparent)]
    UncommittedLeaderLog(#[from] UncommittedLeaderLog<CLID>),
    /// The data of a known node would change.
    #[error(transparent)]
    NodeMetadataChanged(#[from] NodeMetadataChanged<NID>),
}

impl<CLID: RaftCommittedLeaderId, NID: NodeId> From<MembershipError<NID>>
    for ChangeMembershipError<CLID, NID>
{
    fn from(error: MembershipError<NID>) -> Self {
        match error {
            MembershipError::EmptyMembership(error) => error.into(),
            MembershipError::NodeNotFound(error) => LearnerNotFound { node_id: error.node_id }.into(),
        }
    }
}

/// Why a cluster was not founded.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum InitializeError<C: RaftTypeConfig> {
    /// This node belongs to one already.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed<C>),
    /// This node would not be a voter of it.
    #[error(transparent)]
    NotInMembers(#[from] NotInMembers<C>),
}

/// What makes a membership invalid.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum MembershipError<NID: NodeId> {
    /// A voter configuration is empty.
    #[error(transparent)]
    EmptyMembership(#[from] EmptyMembership),
    /// A voter is not a node.
    #[error(transparent)]
    NodeNotFound(#[from] NodeNotFound<NID>),
}

/// The previous membership change is not committed yet: try again when it is.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error(
    "the cluster is already undergoing a configuration change at log {membership_log_id:?}, last committed membership log id: {committed:?}"
)]
pub struct InProgress<CLID: RaftCommittedLeaderId> {
    /// The entry of the last committed membership.
    pub committed: Option<LogId<CLID>>,
    /// The entry of the membership that is not committed.
    pub membership_log_id: Option<LogId<CLID>>,
}

/// A node was to vote that is not a learner.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("Learner {node_id} not found: add it as learner before adding it as a voter")]
pub struct LearnerNotFound<NID: NodeId> {
    /// The node.
    pub node_id: NID,
}

/// No voter would be left.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[error("new membership cannot be empty")]
pub struct EmptyMembership {}

/// Quorums of the two memberships need not share a voter.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("unsupported membership transition: from voters {previous:?} to voters {proposed:?}")]
pub struct UnsupportedMembershipTransition<NID: NodeId> {
    /// The voter configurations that there are.
    pub previous: Vec<BTreeSet<NID>>,
    /// The voter configurations that were asked for.
    pub proposed: Vec<BTreeSet<NID>>,
}

/// A single-step change has to wait until the leader committed an entry of its own.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error(
    "single-step membership change is blocked: the leader must first commit a new log of its current term, but its blank log {leader_log_id} is not committed; cluster committed: {}",
    Opt(committed)
)]
pub struct UncommittedLeaderLog<CLID: RaftCommittedLeaderId> {
    /// What is committed.
    pub committed: Option<LogId<CLID>>,
    /// The first entry of the leader.
    pub leader_log_id: LogId<CLID>,
}

/// The data of a known node may not change on the way.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("proposed membership changes the metadata of existing node {node_id}")]
pub struct NodeMetadataChanged<NID: NodeId> {
    /// The node.
    pub node_id: NID,
}

/// There is no such node.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("Node {node_id} not found when: ({operation})")]
pub struct NodeNotFound<NID: NodeId> {
    /// The node.
    pub node_id: NID,
    /// What it was wanted for.
    pub operation: Operation,
}

impl<NID: NodeId> NodeNotFound<NID> {
    /// No node `node_id` to do `operation` with.
    pub fn new(node_id: NID, operation: Operation) -> Self {
        Self { node_id, operation }
    }
}

/// What a node was wanted for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Operation {
    /// Nothing in particular.
    None,
    /// Allowing its log to have lost entries.
    AllowNextRevert,
    /// Handing leadership to it.
    TransferLeader,
    /// Sending it a heartbeat.
    SendHeartbeat,
    /// Receiving a snapshot.
    ReceiveSnapshot,
    /// Installing a snapshot.
    InstallSnapshot,
    /// Writing data.
    ClientWrite,
    /// Founding a cluster.
    Initialize,
    /// Electing a leader.
    Elect,
}

impl Display for Operation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "(unknown operation)",
            Self::AllowNextRevert => "set flag to allow replication revert for once",
            Self::TransferLeader => "transfer leadership",
            Self::SendHeartbeat => "send heartbeat",
            Self::ReceiveSnapshot => "receive snapshot",
            Self::InstallSnapshot => "install snapshot",
            Self::ClientWrite => "write application data",
            Self::Initialize => "initialize",
            Self::Elect => "elect",
        })
    }
}

/// This node belongs to a cluster already: it has entries, or it voted.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("not allowed to initialize due to current raft state: last_log_id: {last_log_id:?} vote: {vote}")]
pub struct NotAllowed<C: RaftTypeConfig> {
    /// Its last entry.
    pub last_log_id: Option<LogIdOf<C>>,
    /// Its vote.
    pub vote: VoteOf<C>,
}

/// This node would not be a voter of the cluster that it is to found.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
#[error("node {node_id} has to be a member. membership:{membership:?}")]
pub struct NotInMembers<C: RaftTypeConfig> {
    /// This node.
    pub node_id: C::NodeId,
    /// The membership that was asked for.
    pub membership: Membership<C::NodeId, C::Node>,
}

//! The types with which this crate uses the Raft library.

use quorate::type_config::alias;

use crate::command::{Command, Reply};
use crate::member::{Member, NodeId};

quorate::declare_raft_types!(
    /// Encoded commands, members that know who they are, and leaders ordered by term and node.
    pub(crate) NodeConfig:
        D = Command,
        R = Reply,
        NodeId = NodeId,
        Node = Member,
);

pub(crate) type Entry = alias::EntryOf<NodeConfig>;
pub(crate) type EntryPayload = alias::EntryPayloadOf<NodeConfig>;
pub(crate) type LogId = alias::LogIdOf<NodeConfig>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<NodeConfig>;
pub(crate) type Raft<S> = quorate::Raft<NodeConfig, crate::machine::Machine<S>>;
pub(crate) type SnapshotMetaOf = alias::SnapshotMetaOf<NodeConfig>;
pub(crate) type SnapshotOf<T> = alias::SnapshotOf<NodeConfig, T>;
pub(crate) type Vote = alias::VoteOf<NodeConfig>;

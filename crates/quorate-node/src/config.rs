//! The types with which this crate uses the Raft library.

use quorate::RaftTypeConfig;
use quorate::type_config::alias;

use crate::command::{Command, Reply};
use crate::member::{Member, NodeId};

quorate::declare_raft_types!(
    /// Encoded commands, members that know who they are, and leaders ordered by term and node.
    pub NodeConfig:
        D = Command,
        R = Reply,
        NodeId = NodeId,
        Node = Member,
);

/// What the storage of a node works with: [`NodeConfig`], or the same on another runtime or with other leader ids.
pub trait NodeTypes:
    RaftTypeConfig<
        D = Command,
        R = Reply,
        NodeId = NodeId,
        Node = Member,
        Payload = EntryPayload,
        Entry = alias::DefaultEntryOf<Self>,
    >
{
}

impl<C> NodeTypes for C where
    C: RaftTypeConfig<
            D = Command,
            R = Reply,
            NodeId = NodeId,
            Node = Member,
            Payload = EntryPayload,
            Entry = alias::DefaultEntryOf<C>,
        >
{
}

pub(crate) type EntryPayload = quorate::EntryPayload<Command, NodeId, Member>;
pub(crate) type LogId<C = NodeConfig> = alias::LogIdOf<C>;
pub(crate) type StoredMembership<C = NodeConfig> = alias::StoredMembershipOf<C>;
pub(crate) type Raft<S> = quorate::Raft<NodeConfig, crate::machine::Machine<S>>;
pub(crate) type SnapshotMetaOf<C = NodeConfig> = alias::SnapshotMetaOf<C>;
pub(crate) type SnapshotOf<T, C = NodeConfig> = alias::SnapshotOf<C, T>;
pub(crate) type Vote = alias::VoteOf<NodeConfig>;

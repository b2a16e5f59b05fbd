//! The types that the library is used with: the server's, on the simulated runtime, with both kinds of leader ids.

use quorate::type_config::alias;
use quorate_log::sim_disk::SimDisk;
use quorate_node::Member;
use quorate_node::testing;
use quorate_node::testing::Command;
use quorate_node::testing::NodeTypes;
use quorate_node::testing::Reply;
use quorate_server::machine::KeyValue;

use crate::tier_b::runtime::SimRuntime;
use crate::tier_b::watched::WatchedMachine;

quorate::declare_raft_types!(
    /// Leaders are ordered by term and node: a term may have several, one after the other.
    pub Adv:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = Member,
        AsyncRuntime = SimRuntime,
);

quorate::declare_raft_types!(
    /// One leader in a term, as in the thesis.
    pub Std:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = Member,
        LeaderId = quorate::vote::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = SimRuntime,
);

/// What both have in common.
pub trait Types:
    NodeTypes<AsyncRuntime = SimRuntime, Term = u64, Vote = quorate::Vote<alias::LeaderIdOf<Self>>>
{
}

impl Types for Adv {}
impl Types for Std {}

pub type LogId<C> = alias::LogIdOf<C>;
pub type Vote<C> = alias::VoteOf<C>;
pub type Machine<C> = testing::Machine<KeyValue, C, SimDisk>;
pub type Shared<C> = testing::Shared<KeyValue, C>;
pub type Snapshots<C> = testing::Snapshots<C, SimDisk>;
pub type SnapshotFile<C> = testing::SnapshotFile<C, SimDisk>;
pub type Raft<C> = quorate::Raft<C, WatchedMachine<C>>;

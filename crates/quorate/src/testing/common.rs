//! Short ways to make log ids and entries, for tests.

use std::collections::BTreeSet;

use crate::entry::RaftEntry;
use crate::log_id::LogId;
use crate::membership::Membership;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::EntryOf;
use crate::type_config::alias::LogIdOf;
use crate::vote::RaftLeaderIdExt;

/// The id of the entry at `index` that `node_id` wrote as the leader of `term`.
pub fn log_id<C>(term: u64, node_id: C::NodeId, index: u64) -> LogIdOf<C>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
{
    LogId::new(C::LeaderId::new_committed(term.into(), node_id), index)
}

/// An entry that carries nothing.
pub fn blank_ent<C>(term: u64, node_id: C::NodeId, index: u64) -> EntryOf<C>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
{
    C::Entry::new_blank(log_id::<C>(term, node_id, index))
}

/// An entry that carries the membership of these voter configurations, the nodes of which are default ones.
pub fn membership_ent<C>(
    term: u64,
    node_id: C::NodeId,
    index: u64,
    config: Vec<BTreeSet<C::NodeId>>,
) -> EntryOf<C>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::Node: Default,
{
    let membership = Membership::new_with_defaults(config, []);
    C::Entry::new_membership(log_id::<C>(term, node_id, index), membership)
}

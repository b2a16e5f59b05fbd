//! Two type configs, one for each kind of leader id, and short ways to values of them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use quorate::BasicNode;
use quorate::Membership;
use quorate::StoredMembership;
use quorate::Vote;
use quorate::type_config::alias::LogIdOf;
use quorate::type_config::alias::StoredMembershipOf;
use quorate::type_config::alias::VoteOf;
use quorate::vote::RaftLeaderIdExt;
use quorate::vote::leader_id_adv;
use quorate::vote::leader_id_std;

quorate::declare_raft_types!(
    /// Several leaders per term.
    pub(crate) Adv
);

quorate::declare_raft_types!(
    /// One leader per term.
    pub(crate) Std:
        LeaderId = leader_id_std::LeaderId<u64, u64>,
        /// Any order and a comma at the end will do.
        D = String,
);

pub(crate) fn vote(term: u64, node_id: u64) -> VoteOf<Adv> {
    Vote::new(term, node_id)
}

pub(crate) fn committed_vote(term: u64, node_id: u64) -> VoteOf<Adv> {
    Vote::new_committed(term, node_id)
}

pub(crate) fn log_id(term: u64, node_id: u64, index: u64) -> LogIdOf<Adv> {
    LogIdOf::<Adv>::new(leader_id_adv::LeaderId::new_committed(term, node_id), index)
}

pub(crate) fn ids(ids: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
    ids.into_iter().collect()
}

pub(crate) fn node(addr: &str) -> BasicNode {
    BasicNode::new(addr)
}

/// Voters 1 and 2, then 2; 4 is a learner.
pub(crate) fn membership() -> Membership<u64, BasicNode> {
    let nodes = BTreeMap::from([(1, node("a")), (2, node("b")), (4, node("d"))]);
    Membership::new(vec![ids([1, 2]), ids([2])], nodes).unwrap()
}

pub(crate) fn stored_membership() -> StoredMembershipOf<Adv> {
    StoredMembership::new(Some(log_id(1, 2, 3)), membership())
}

//! The types that the transport and the log are fuzzed with, and what targets share.

use std::fmt::Debug;

use quorate::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use quorate::{BasicNode, Entry, EntryPayload, LogId, Membership, Vote};
use serde::Serialize;

quorate::declare_raft_types!(
    /// Text as data, addresses as nodes, leaders by term and node.
    pub Types:
        D = String,
        R = String,
        NodeId = u64,
        Node = BasicNode,
);

pub type LeaderId = quorate::impls::leader_id_adv::LeaderId<u64, u64>;

pub fn vote(term: u64, node: u64) -> VoteOf<Types> {
    Vote::new_committed(term, node)
}

pub fn log_id(term: u64, node: u64, index: u64) -> LogIdOf<Types> {
    LogId::new(LeaderId { term, node_id: node }, index)
}

pub fn members(voters: &[&[u64]], learners: &[u64]) -> Membership<u64, BasicNode> {
    let configs = voters.iter().map(|voters| voters.iter().copied().collect()).collect();
    Membership::new_with_defaults(configs, learners.iter().copied())
}

pub fn entries() -> Vec<EntryOf<Types>> {
    let payloads = [
        EntryPayload::Membership(members(&[&[1, 2, 3]], &[])),
        EntryPayload::Blank,
        EntryPayload::Normal("some text".to_owned()),
        EntryPayload::Membership(members(&[&[1, 2, 3], &[2, 3, 4]], &[5])),
        EntryPayload::Normal(String::new()),
    ];
    (0..).zip(payloads).map(|(index, payload)| Entry { log_id: log_id(1, 1, index), payload }).collect()
}

/// What tells two values apart that cannot be compared: their encoding.
pub fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap()
}

/// What was read is read the same when it is written again.
pub fn assert_same<T: PartialEq + Debug>(first: &T, again: &T) {
    assert_eq!(first, again, "what was written is read otherwise");
}

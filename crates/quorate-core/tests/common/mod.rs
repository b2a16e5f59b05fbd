//! One replica, and a disk that does all it is asked to.
#![allow(unreachable_pub)]

use std::collections::BTreeSet;

use quorate_core::Membership;
use quorate_core::Replica;
use quorate_core::Time;
use quorate_core::ids::LogId;
use quorate_core::ids::leader_id_adv::LeaderId;
use quorate_core::work::Write;

pub type L = LeaderId<u64, u64>;

pub const NOW: Time = Time::ZERO;

/// The id of an entry of a term that the node of the same number leads.
pub fn id(term: u64, index: u64) -> LogId<L> {
    LogId::new(LeaderId { term, node_id: term }, index)
}

pub fn members(voters: &[u64]) -> Membership<u64> {
    Membership::new(vec![voters.iter().copied().collect::<BTreeSet<u64>>()], [])
}

/// Does all writes that are due.
pub fn write(replica: &mut Replica<L>) {
    while let Some(write) = replica.next_write() {
        match write {
            Write::Vote { seq, .. } | Write::Append { seq, .. } | Write::Truncate { seq, .. } => {
                replica.written(seq);
                replica.flushed(NOW, seq);
            }
            Write::Purge { upto } => replica.purge_finished(&upto),
            Write::Committed { commit } => replica.commit_saved(commit),
        }
    }
}

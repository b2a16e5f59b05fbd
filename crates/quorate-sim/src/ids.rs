//! The leader ids that clusters are simulated with.

use quorate_core::ids::LogId;
use quorate_core::ids::RaftLeaderId;
use quorate_core::ids::leader_id_adv;
use quorate_core::ids::leader_id_std;

/// A leader id over numbers: one of [`Adv`] and [`Std`].
pub trait Ids: RaftLeaderId<Term = u64, NodeId = u64> {
    /// Whether a term may have several leaders.
    const SEVERAL_PER_TERM: bool;
}

/// Several leaders per term.
pub type Adv = leader_id_adv::LeaderId<u64, u64>;
/// One leader per term.
pub type Std = leader_id_std::LeaderId<u64, u64>;

impl Ids for Adv {
    const SEVERAL_PER_TERM: bool = true;
}

impl Ids for Std {
    const SEVERAL_PER_TERM: bool = false;
}

/// Where an entry stands: its index, and the leader that proposed it.
pub type Id<L> = LogId<<L as RaftLeaderId>::Committed>;

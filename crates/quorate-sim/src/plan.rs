//! What of a seed's run is to be left out: how a failing run is made shorter.

use std::collections::BTreeSet;

/// A part of a run. The dice are rolled as in the whole run; only what they ask for is not done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// End the schedule after so many steps, and recover then.
    pub steps_max: Option<u64>,
    /// The numbers of the acts (faults, and what clients and operators do) that are left out.
    pub without: BTreeSet<u64>,
}

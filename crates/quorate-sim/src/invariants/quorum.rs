//! The observer's own quorum arithmetic: it must not share a mistake with the core's.

use std::collections::BTreeSet;

use quorate_core::Membership;

/// Whether those that `has` says yes to are more than half of every voter set.
pub fn is_quorum(configs: &[BTreeSet<u64>], has: impl Fn(u64) -> bool) -> bool {
    let more_than_half = |voters: &BTreeSet<u64>| {
        let count = voters.iter().filter(|id| has(**id)).count();
        2 * count > voters.len()
    };
    !configs.is_empty() && configs.iter().all(more_than_half)
}

/// Whether every quorum of `a` meets every quorum of `b`, tried out over all sets of nodes.
pub fn intersect(a: &Membership<u64>, b: &Membership<u64>) -> bool {
    let nodes: Vec<u64> = a.voters().union(&b.voters()).copied().collect();
    (0_u32..1 << nodes.len()).all(|set| {
        let has = |id: u64| nodes.iter().position(|node| *node == id).is_some_and(|at| set & (1 << at) != 0);
        !(is_quorum(a.configs(), has) && is_quorum(b.configs(), |id| !has(id)))
    })
}

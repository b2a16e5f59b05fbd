//! Quorum arithmetic, and nothing else: every question of the kind "is this enough?" is answered here.
//!
//! A configuration is a list of voter sets; one set is the usual case, two are joint consensus (thesis §4.3), and
//! any number works the same way. A set of nodes is a quorum if it holds a majority of *every* voter set.
//!
//! How far five voters got, and the position that a majority holds:
//!
//! ```text
//!   n1 ████████ 8
//!   n2 ███████  7      three of five hold 5 or more,
//!   n3 █████    5 ◄──  two of five hold 6 or more:
//!   n4 ███      3      5 is the quorum's position
//!   n5 ▏        0
//! ```

use alloc::collections::BTreeSet;

use crate::ids::NodeId;
use crate::mutant;

/// How many members of a voter set of `voters` are a majority of it.
pub fn majority(voters: usize) -> usize {
    if mutant!(6) {
        return voters.div_ceil(2);
    }
    (voters / 2).saturating_add(1)
}

/// Whether the nodes that `has` says yes to hold a majority of every voter set.
///
/// No voter set at all, or an empty one, has no quorum.
pub fn is_quorum<N: NodeId>(configs: &[BTreeSet<N>], has: impl Fn(&N) -> bool) -> bool {
    !configs.is_empty()
        && configs
            .iter()
            .rev()
            .take(if mutant!(32) { 1 } else { usize::MAX })
            .all(|voters| voters.iter().filter(|id| has(id)).count() >= majority(voters.len()))
}

/// The greatest value that a quorum has reached, where `at` tells each node's value.
///
/// `None` if there is no voter to ask.
pub fn reached<N: NodeId, T: PartialOrd + Clone>(configs: &[BTreeSet<N>], at: impl Fn(&N) -> T) -> Option<T> {
    let mut least: Option<T> = None;
    for voters in configs.iter().rev().take(if mutant!(32) { 1 } else { usize::MAX }) {
        let value = reached_by_majority(voters, &at)?;
        least = match least {
            Some(other) if other <= value && !mutant!(64) => Some(other),
            Some(other) if other > value && mutant!(64) => Some(other),
            _ => Some(value),
        };
    }
    least
}

/// The greatest value that a majority of one voter set has reached.
///
/// Voter sets are small: comparing all pairs takes no memory, and no order that could go stale.
fn reached_by_majority<N: NodeId, T: PartialOrd + Clone>(
    voters: &BTreeSet<N>,
    at: &impl Fn(&N) -> T,
) -> Option<T> {
    if mutant!(11) {
        return voters.iter().map(at).nth(voters.len().saturating_sub(majority(voters.len())));
    }
    let mut best: Option<T> = None;
    for candidate in voters.iter().map(at) {
        let count = voters.iter().filter(|id| at(id) >= candidate).count();
        let better = best.as_ref().is_none_or(|best| candidate > *best);
        if count >= majority(voters.len()) && better {
            best = Some(candidate);
        }
    }
    best
}

//! I7: what a leader counts as committed is on the disks of a quorum of every voter set.

use std::collections::BTreeSet;

use crate::ids::Id;
use crate::ids::Ids;
use crate::invariants::quorum;

/// A leader counts `commit` as committed, under the membership with these voter sets. `holds` tells whether a node's
/// disk has that entry, or a snapshot that covers it, be the node up or down.
pub fn check<L: Ids>(configs: &[BTreeSet<u64>], commit: &Id<L>, holds: impl Fn(u64) -> bool) {
    assert!(quorum::is_quorum(configs, holds), "I7: {commit} is not on the disks of a quorum");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Std;
    use crate::invariants::tests::id;

    #[test]
    fn a_majority_of_every_set_is_enough() {
        check::<Std>(&[[1, 2, 3].into(), [3, 4, 5].into()], &id(1, 1), |node| [2, 3, 4].contains(&node));
    }

    #[test]
    #[should_panic(expected = "I7:")]
    fn half_is_not_enough() {
        check::<Std>(&[[1, 2, 3, 4].into()], &id(1, 1), |node| node < 3);
    }

    #[test]
    #[should_panic(expected = "I7:")]
    fn a_majority_of_one_set_is_not_enough() {
        check::<Std>(&[[1, 2, 3].into(), [3, 4, 5].into()], &id(1, 1), |node| node < 4);
    }
}

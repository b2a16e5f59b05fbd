//! I17: a snapshot is what the committed entries up to its end make, with the membership as of there; installing one
//! never moves a state back; two with the same end are the same.

use std::collections::BTreeMap;

use quorate_core::Membership;

use crate::ids::Ids;
use crate::invariants::i05_canon::Canon;

/// A fingerprint of the snapshots that end at each index.
#[derive(Debug, Default)]
pub struct Snapshots {
    by_end: BTreeMap<u64, u64>,
}

impl Snapshots {
    /// A snapshot of the entries below `end` was built; `print` is a fingerprint of its bytes.
    pub fn built(&mut self, end: u64, print: u64) {
        let first = *self.by_end.entry(end).or_insert(print);
        assert_eq!(first, print, "I17: two snapshots of the entries below {end} differ");
    }
}

/// A state, or a snapshot of it, holds the entries below `end`, with `state` as the chain over them.
pub fn check<L: Ids>(canon: &Canon<L>, end: u64, state: u64, membership: &Membership<u64>) {
    assert!(end <= canon.end(), "I17: a snapshot of what is not committed");
    assert_eq!(state, canon.chain_at(end), "I17: a state that is not what its entries make");
    let truth = canon.config_at(end);
    let same = truth.map_or_else(|| *membership == Membership::default(), |truth| membership == truth);
    assert!(same, "I17: a snapshot up to {end} with the membership {membership:?}, not {truth:?}");
}

/// A snapshot of the entries below `end` replaces the state of `node`, which holds those below `applied`.
pub fn check_install(node: u64, applied: u64, end: u64) {
    assert!(end >= applied, "I17: an install moves the state of {node} back from {applied} to {end}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Std;
    use crate::invariants::EntryView;
    use crate::invariants::tests::id;
    use crate::invariants::tests::view;

    fn voter() -> Membership<u64> {
        Membership::new(vec![[1].into()], [])
    }

    fn canon() -> Canon<Std> {
        let mut canon = Canon::default();
        let by = id(1, 0).leader_id;
        canon.committed(&view(&id(1, 0), 10), &by);
        canon.committed(&EntryView { config: Some(&voter()), ..view(&id(1, 1), 11) }, &by);
        canon
    }

    #[test]
    fn a_true_snapshot_may_be_built_twice_and_installed() {
        let mut snapshots = Snapshots::default();
        snapshots.built(2, 77);
        snapshots.built(2, 77);
        check(&canon(), 1, canon().chain_at(1), &Membership::default());
        check(&canon(), 2, canon().chain_at(2), &voter());
        check_install(1, 2, 2);
    }

    #[test]
    #[should_panic(expected = "I17:")]
    fn another_state_is_seen() {
        check(&canon(), 2, canon().chain_at(1), &voter());
    }

    #[test]
    #[should_panic(expected = "I17:")]
    fn another_membership_is_seen() {
        check(&canon(), 2, canon().chain_at(2), &Membership::default());
    }

    #[test]
    #[should_panic(expected = "I17:")]
    fn a_snapshot_of_what_is_not_committed_is_seen() {
        check(&canon(), 3, canon().chain_at(3), &voter());
    }

    #[test]
    #[should_panic(expected = "I17:")]
    fn an_install_that_moves_back_is_seen() {
        check_install(1, 3, 2);
    }

    #[test]
    #[should_panic(expected = "I17:")]
    fn other_bytes_of_the_same_snapshot_are_seen() {
        let mut snapshots = Snapshots::default();
        snapshots.built(2, 77);
        snapshots.built(2, 78);
    }
}

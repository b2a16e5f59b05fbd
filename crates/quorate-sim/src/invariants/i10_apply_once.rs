//! I10: every committed entry is applied once, in order, and the state is what they make.

use std::collections::BTreeMap;

use crate::ids::Ids;
use crate::invariants::EntryView;
use crate::invariants::i05_canon::Canon;
use crate::invariants::i05_canon::chain;

/// How far the state machine of each node is, and the chain over what it has applied.
#[derive(Debug, Default)]
pub struct ApplyOnce {
    states: BTreeMap<u64, (u64, u64)>,
}

impl ApplyOnce {
    /// The state machine of `node` applies an entry.
    pub fn applies<L: Ids>(&mut self, node: u64, entry: &EntryView<'_, L>, canon: &Canon<L>) {
        let index = entry.id.index;
        let (next, state) = self.states.entry(node).or_insert((0, 0));
        assert_eq!(index, *next, "I10: {node} applies entries once, in order");
        (*next, *state) = (index + 1, chain(*state, entry.print));
        let truth = canon.chain_at(*next);
        assert!(canon.end() >= *next, "I10: {node} applies {}, which is not committed", entry.id);
        assert_eq!(*state, truth, "I10: {node} applies {}, and not what was committed", entry.id);
    }

    /// The state machine of `node` is at `next` now, with `state` as the chain of all before: it started, or installed
    /// a snapshot.
    pub fn stands_at<L: Ids>(&mut self, node: u64, next: u64, state: u64, canon: &Canon<L>) {
        assert!(canon.end() >= next, "I10: {node} has applied what is not committed");
        assert_eq!(state, canon.chain_at(next), "I10: the state of {node} is not what its entries make");
        self.states.insert(node, (next, state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Std;
    use crate::invariants::tests::id;
    use crate::invariants::tests::view;

    fn canon() -> Canon<Std> {
        let mut canon = Canon::default();
        for index in 0..4 {
            canon.committed(&view(&id(1, index), 10 + index), &id(1, 0).leader_id);
        }
        canon
    }

    #[test]
    fn entries_follow_each_other_from_wherever_the_state_stands() {
        let (canon, mut states) = (canon(), ApplyOnce::default());
        states.applies(1, &view(&id(1, 0), 10), &canon);
        states.applies(1, &view(&id(1, 1), 11), &canon);
        states.stands_at(1, 3, canon.chain_at(3), &canon);
        states.applies(1, &view(&id(1, 3), 13), &canon);
    }

    #[test]
    #[should_panic(expected = "I10:")]
    fn an_entry_applied_twice_is_seen() {
        let (canon, mut states) = (canon(), ApplyOnce::default());
        states.applies(1, &view(&id(1, 0), 10), &canon);
        states.applies(1, &view(&id(1, 0), 10), &canon);
    }

    #[test]
    #[should_panic(expected = "I10:")]
    fn an_entry_left_out_is_seen() {
        ApplyOnce::default().applies(1, &view(&id(1, 1), 11), &canon());
    }

    #[test]
    #[should_panic(expected = "I10:")]
    fn another_entry_than_the_committed_one_is_seen() {
        ApplyOnce::default().applies(1, &view(&id(1, 0), 99), &canon());
    }

    #[test]
    #[should_panic(expected = "I10:")]
    fn a_state_apart_from_its_index_is_seen() {
        ApplyOnce::default().stands_at(1, 2, canon().chain_at(1), &canon());
    }
}

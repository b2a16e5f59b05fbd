//! I13: what was acknowledged stays: whoever forms a quorum, one of them has it on its disk.

use std::collections::BTreeSet;

use quorate_core::Membership;

use crate::invariants::quorum;

/// The entries that clients were told are done.
#[derive(Debug, Default)]
pub struct DurableAcks {
    acked: BTreeSet<u64>,
}

impl DurableAcks {
    /// A client was told that the entry at `index` is done.
    pub fn acknowledged(&mut self, index: u64) {
        self.acked.insert(index);
    }

    /// The acknowledged entries from `index` on: those to ask for when a disk loses what it held from there on.
    pub fn from(&self, index: u64) -> impl Iterator<Item = u64> {
        self.acked.range(index..).copied()
    }

    /// The last one.
    pub fn last(&self) -> Option<u64> {
        self.acked.last().copied()
    }
}

/// Every quorum of `config` has a node that `holds` the entry at `index`, be it up or down.
pub fn check(config: &Membership<u64>, index: u64, holds: impl Fn(u64) -> bool) {
    let lost = quorum::is_quorum(config.configs(), |node| !holds(node));
    assert!(!lost, "I13: a quorum of {config:?} has nothing of {index}, which was acknowledged");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joint() -> Membership<u64> {
        Membership::new(vec![[1, 2, 3].into(), [3, 4, 5].into()], [])
    }

    #[test]
    fn a_majority_of_one_set_that_must_agree_is_enough() {
        check(&joint(), 7, |node| node <= 2);
        let mut acks = DurableAcks::default();
        for index in [3, 5, 9] {
            acks.acknowledged(index);
        }
        assert_eq!((acks.from(4).collect::<Vec<_>>(), acks.last()), (vec![5, 9], Some(9)));
    }

    #[test]
    #[should_panic(expected = "I13:")]
    fn an_entry_that_a_quorum_lacks_is_seen() {
        check(&joint(), 7, |node| [1, 4].contains(&node));
    }
}

//! I5: what is committed at an index never changes.

use quorate_core::Membership;

use crate::ids::Id;
use crate::ids::Ids;
use crate::invariants::EntryView;

/// An entry that some leader committed.
#[derive(Clone, Debug)]
pub struct Committed<L: Ids> {
    /// Where it stands.
    pub id: Id<L>,
    /// The leader that was followed when it was first known to be committed.
    pub by: L::Committed,
    print: u64,
    /// A chain of fingerprints over this entry and all before it: what the state after it is made of.
    chain: u64,
}

/// Everything that was ever committed, in order.
#[derive(Debug)]
pub struct Canon<L: Ids> {
    entries: Vec<Committed<L>>,
    /// The memberships among them, by index.
    configs: Vec<(u64, Membership<u64>)>,
}

impl<L: Ids> Default for Canon<L> {
    fn default() -> Self {
        Self { entries: Vec::new(), configs: Vec::new() }
    }
}

impl<L: Ids> Canon<L> {
    /// Some node knows that this entry is committed.
    pub fn committed(&mut self, entry: &EntryView<'_, L>, by: &L::Committed) {
        let index = entry.id.index;
        if let Some(known) = self.entries.get(index as usize) {
            let same = known.id == *entry.id && known.print == entry.print;
            assert!(same, "I5: at {index}, {} was committed, and now {}", known.id, entry.id);
            return;
        }
        assert_eq!(index, self.end(), "I5: commits come in order");
        let chain = chain(self.chain_at(index), entry.print);
        if let Some(config) = entry.config {
            self.configs.push((index, config.clone()));
        }
        self.entries.push(Committed { id: entry.id.clone(), by: by.clone(), print: entry.print, chain });
    }

    /// A node removes this entry for good, for a leader that it follows.
    ///
    /// One that led before the entry was committed may still take it from a node that the quorum did not need (seed
    /// 1093831): leaders in between had the entry, and committed it elsewhere.
    pub fn removed(&self, node: u64, id: &Id<L>, leader: &L::Committed) {
        let known = self.entries.get(id.index as usize).filter(|known| known.id == *id);
        let early = known.is_none_or(|known| known.by > *leader);
        assert!(early, "I5: {node} removes {id}, which is committed");
    }

    /// The index after the last committed entry.
    pub fn end(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether this very entry is committed.
    pub fn has(&self, id: &Id<L>) -> bool {
        self.entries.get(id.index as usize).is_some_and(|known| known.id == *id)
    }

    /// Every entry, oldest first.
    pub fn entries(&self) -> &[Committed<L>] {
        &self.entries
    }

    /// The chain over all entries below `end`.
    pub fn chain_at(&self, end: u64) -> u64 {
        end.checked_sub(1).and_then(|last| self.entries.get(last as usize)).map_or(0, |last| last.chain)
    }

    /// The membership committed last below `end`.
    pub fn config_at(&self, end: u64) -> Option<&Membership<u64>> {
        let at = self.configs.partition_point(|(index, _)| *index < end);
        at.checked_sub(1).and_then(|at| self.configs.get(at)).map(|(_, config)| config)
    }
}

/// The chain of fingerprints with one more.
pub fn chain(before: u64, print: u64) -> u64 {
    (before.rotate_left(5) ^ print).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::id;
    use crate::invariants::tests::view;

    #[test]
    fn every_node_may_learn_of_it_and_others_measure_by_it() {
        let mut canon = Canon::default();
        let by = id(2, 0).leader_id;
        let config = Membership::new(vec![[1].into()], []);
        canon.committed(&EntryView { config: Some(&config), ..view(&id(1, 0), 3) }, &by);
        canon.committed(&view(&id(2, 1), 4), &by);
        canon.committed(&view(&id(2, 1), 4), &by);
        canon.removed(1, &id(1, 1), &by);
        canon.removed(1, &id(1, 0), &id(1, 0).leader_id);
        assert_eq!((canon.end(), canon.has(&id(2, 1)), canon.has(&id(1, 1))), (2, true, false));
        assert_eq!(canon.chain_at(2), chain(chain(0, 3), 4));
        assert_eq!(
            (canon.config_at(0), canon.config_at(1), canon.config_at(9)),
            (None, Some(&config), Some(&config))
        );
    }

    #[test]
    #[should_panic(expected = "I5:")]
    fn another_entry_at_a_committed_index_is_seen() {
        let mut canon = Canon::default();
        canon.committed(&view(&id(1, 0), 3), &id(1, 0).leader_id);
        canon.committed(&view(&id(2, 0), 3), &id(2, 0).leader_id);
    }

    #[test]
    #[should_panic(expected = "I5:")]
    fn another_payload_of_a_committed_entry_is_seen() {
        let mut canon = Canon::default();
        canon.committed(&view(&id(1, 0), 3), &id(1, 0).leader_id);
        canon.committed(&view(&id(1, 0), 4), &id(1, 0).leader_id);
    }

    #[test]
    #[should_panic(expected = "I5:")]
    fn a_hole_is_seen() {
        Canon::default().committed(&view(&id(1, 1), 3), &id(1, 0).leader_id);
    }

    #[test]
    #[should_panic(expected = "I5:")]
    fn a_committed_entry_that_is_removed_is_seen() {
        let mut canon = Canon::default();
        canon.committed(&view(&id(1, 0), 3), &id(1, 0).leader_id);
        canon.removed(1, &id(1, 0), &id(1, 0).leader_id);
    }
}

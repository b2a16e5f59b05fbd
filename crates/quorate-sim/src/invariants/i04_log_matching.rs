//! I4: the same place holds the same entry behind the same one, everywhere; also where nothing is committed yet.

use crate::ids::Id;
use crate::ids::Ids;
use crate::invariants::EntryView;
use crate::invariants::places::Places;

/// What stands at each place, and what stands before it.
#[derive(Debug)]
pub struct LogMatching<L: Ids> {
    places: Places<L, (u64, Option<Id<L>>)>,
}

impl<L: Ids> Default for LogMatching<L> {
    fn default() -> Self {
        Self { places: Places::default() }
    }
}

impl<L: Ids> LogMatching<L> {
    /// An entry leaves a node or is durable, behind `prev`.
    pub fn seen(&mut self, entry: &EntryView<'_, L>, prev: Option<&Id<L>>) {
        match self.places.get(entry.id) {
            None => self.places.put(entry.id, (entry.print, prev.cloned())),
            Some((print, before)) => {
                let same = *print == entry.print && before.as_ref() == prev;
                assert!(same, "I4: two entries at {}", entry.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::id;
    use crate::invariants::tests::view;

    #[test]
    fn the_same_entry_may_be_seen_often_and_another_leader_has_places_of_its_own() {
        let mut entries = LogMatching::default();
        entries.seen(&view(&id(1, 1), 7), Some(&id(1, 0)));
        entries.seen(&view(&id(1, 1), 7), Some(&id(1, 0)));
        entries.seen(&view(&id(2, 1), 8), Some(&id(1, 0)));
    }

    #[test]
    #[should_panic(expected = "I4:")]
    fn another_payload_is_seen() {
        let mut entries = LogMatching::default();
        entries.seen(&view(&id(1, 1), 7), None);
        entries.seen(&view(&id(1, 1), 8), None);
    }

    #[test]
    #[should_panic(expected = "I4:")]
    fn another_entry_before_it_is_seen() {
        let mut entries = LogMatching::default();
        entries.seen(&view(&id(2, 1), 7), Some(&id(1, 0)));
        entries.seen(&view(&id(2, 1), 7), Some(&id(2, 0)));
    }
}

//! I16: nobody receives an entry other than what was proposed at its place.

use crate::ids::Id;
use crate::ids::Ids;
use crate::invariants::EntryView;
use crate::invariants::i05_canon::Canon;
use crate::invariants::places::Places;

/// The fingerprint of what was proposed last at each place.
#[derive(Debug)]
pub struct TrueBytes<L: Ids> {
    proposed: Places<L, u64>,
}

impl<L: Ids> Default for TrueBytes<L> {
    fn default() -> Self {
        Self { proposed: Places::default() }
    }
}

impl<L: Ids> TrueBytes<L> {
    /// A leader proposes an entry. One that a crash took before anybody got it may be proposed anew with another
    /// payload; whether anybody got it is for I4 to say.
    pub fn proposed(&mut self, id: &Id<L>, print: u64) {
        self.proposed.put(id, print);
    }

    /// `node` receives, or reads from its disk, an entry.
    pub fn received(&self, node: u64, entry: &EntryView<'_, L>) {
        let truth = self.proposed.get(entry.id);
        assert_eq!(truth, Some(&entry.print), "I16: {node} received another {} than was proposed", entry.id);
    }

    /// `node` receives a snapshot of the entries below `end`, with `state` as the chain over them.
    pub fn received_snapshot(&self, node: u64, end: u64, state: u64, canon: &Canon<L>) {
        let same = end <= canon.end() && state == canon.chain_at(end);
        assert!(same, "I16: {node} received another snapshot up to {end} than was built");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Std;
    use crate::invariants::tests::id;
    use crate::invariants::tests::view;

    #[test]
    fn what_was_proposed_last_arrives() {
        let mut bytes = TrueBytes::<Std>::default();
        bytes.proposed(&id(1, 3), 7);
        bytes.proposed(&id(1, 3), 8);
        bytes.proposed(&id(2, 3), 9);
        bytes.received(1, &view(&id(1, 3), 8));
    }

    #[test]
    #[should_panic(expected = "I16:")]
    fn another_payload_is_seen() {
        let mut bytes = TrueBytes::<Std>::default();
        bytes.proposed(&id(1, 3), 7);
        bytes.received(1, &view(&id(1, 3), 8));
    }

    #[test]
    #[should_panic(expected = "I16:")]
    fn another_snapshot_is_seen() {
        let mut canon = Canon::<Std>::default();
        canon.committed(&view(&id(1, 0), 7), &id(1, 0).leader_id);
        TrueBytes::default().received_snapshot(1, 1, canon.chain_at(1), &canon);
        TrueBytes::default().received_snapshot(1, 1, 7, &canon);
    }

    #[test]
    #[should_panic(expected = "I16:")]
    fn an_entry_that_nobody_proposed_is_seen() {
        TrueBytes::<Std>::default().received(1, &view(&id(1, 3), 8));
    }
}

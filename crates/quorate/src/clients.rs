//! Who waits for which entry to be applied.

use std::collections::VecDeque;

use crate::responder::CoreResponder;
use crate::type_config::RaftTypeConfig;

/// The waiting clients of consecutive log indexes.
///
/// Indexes without a client (blank entries, another leader's) are holes. The oldest index is the front.
pub(crate) struct Clients<C: RaftTypeConfig> {
    first: u64,
    waiting: VecDeque<Option<CoreResponder<C>>>,
}

impl<C: RaftTypeConfig> Clients<C> {
    pub(crate) fn new() -> Self {
        Self { first: 0, waiting: VecDeque::new() }
    }

    /// How many indexes are kept.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// `client` waits for the entry at `index`, which is greater than any index so far.
    pub(crate) fn push(&mut self, index: u64, client: Option<CoreResponder<C>>) {
        if self.waiting.is_empty() {
            self.first = index;
        }
        while self.end() < index {
            self.waiting.push_back(None);
        }
        self.waiting.push_back(client);
    }

    /// Takes the clients of the entries up to and including `last`; those that are skipped have no client left.
    pub(crate) fn take_upto(&mut self, last: u64) -> Taken<C> {
        let count = last.saturating_add(1).saturating_sub(self.first).min(self.waiting.len() as u64);
        let taken = Taken { first: self.first, waiting: self.waiting.drain(..count as usize).collect() };
        self.first = self.first.saturating_add(count);
        taken
    }

    /// Takes the clients of the entries from `index` on.
    pub(crate) fn take_from(&mut self, index: u64) -> Vec<CoreResponder<C>> {
        let keep = index.saturating_sub(self.first).min(self.waiting.len() as u64);
        self.waiting.split_off(keep as usize).into_iter().flatten().collect()
    }

    fn end(&self) -> u64 {
        self.first.saturating_add(self.waiting.len() as u64)
    }
}

/// The clients of a stretch of entries on its way into the state machine.
pub(crate) struct Taken<C: RaftTypeConfig> {
    first: u64,
    waiting: VecDeque<Option<CoreResponder<C>>>,
}

impl<C: RaftTypeConfig> Taken<C> {
    /// The client of the entry at `index`; indexes are asked for in order.
    pub(crate) fn take(&mut self, index: u64) -> Option<CoreResponder<C>> {
        while self.first < index {
            self.waiting.pop_front()?;
            self.first = self.first.saturating_add(1);
        }
        if self.first > index {
            return None;
        }
        self.first = self.first.saturating_add(1);
        self.waiting.pop_front().flatten()
    }

    /// All that are left.
    pub(crate) fn into_rest(self) -> impl Iterator<Item = CoreResponder<C>> {
        self.waiting.into_iter().flatten()
    }
}

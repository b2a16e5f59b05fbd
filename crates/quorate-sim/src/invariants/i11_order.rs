//! I11: purged ≤ snapshot ≤ applied ≤ committed ≤ last.

/// How far each kind of work of a node has come, each as the index after its last entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Gone from the log.
    pub purged: u64,
    /// Covered by the newest snapshot.
    pub snapshot: u64,
    /// In the state machine.
    pub applied: u64,
    /// Known to be committed.
    pub committed: u64,
    /// In the log.
    pub last: u64,
}

impl Order {
    /// Asserts it for `node`.
    pub fn check(&self, node: u64) {
        let in_order = self.purged <= self.snapshot
            && self.snapshot <= self.applied
            && self.applied <= self.committed
            && self.committed <= self.last;
        assert!(in_order, "I11: {node} stands at {self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Order = Order { purged: 1, snapshot: 2, applied: 3, committed: 4, last: 5 };

    #[test]
    fn each_may_be_as_far_as_the_next() {
        GOOD.check(1);
        Order::default().check(1);
    }

    #[test]
    fn each_that_overtakes_the_next_is_seen() {
        let bad = [
            Order { purged: 3, ..GOOD },
            Order { snapshot: 4, ..GOOD },
            Order { applied: 5, ..GOOD },
            Order { committed: 6, ..GOOD },
        ];
        for order in bad {
            let panic = std::panic::catch_unwind(|| order.check(1)).unwrap_err();
            assert!(panic.downcast_ref::<String>().unwrap().starts_with("I11:"));
        }
    }
}

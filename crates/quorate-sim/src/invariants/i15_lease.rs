//! I15: while a leader can read by its lease, no later one has committed anything.

use crate::ids::Ids;

/// The greatest leader that has committed an entry.
#[derive(Debug)]
pub struct Lease<L: Ids> {
    newest: Option<L::Committed>,
}

impl<L: Ids> Default for Lease<L> {
    fn default() -> Self {
        Self { newest: None }
    }
}

impl<L: Ids> Lease<L> {
    /// An entry was committed by this leader, or by the one that a node follows.
    pub fn committed(&mut self, by: &L::Committed) {
        if self.newest.as_ref() < Some(by) {
            self.newest = Some(by.clone());
        }
    }

    /// `node` leads as `own`; `could_read` tells whether it could read by its lease now.
    ///
    /// Asked whether or not a client reads: a schedule need not hit the moment.
    pub fn check(&self, node: u64, own: &L::Committed, could_read: impl FnOnce() -> bool) {
        if let Some(newest) = self.newest.as_ref().filter(|newest| own < newest) {
            assert!(
                !could_read(),
                "I15: {node} could read by the lease of {own}, but {newest} has committed"
            );
        }
    }

    /// A read that began with `floor` is answered by the lease of `node`, from a state with the entries below `seen`.
    pub fn reads(&self, node: u64, floor: u64, seen: u64) {
        assert!(seen >= floor, "I15: a read by the lease of {node} saw {seen}, others {floor} before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Std;
    use crate::invariants::tests::id;

    #[test]
    fn the_newest_may_read_and_others_may_if_they_cannot() {
        let mut lease = Lease::<Std>::default();
        lease.check(1, &id(1, 0).leader_id, || true);
        lease.committed(&id(2, 0).leader_id);
        lease.committed(&id(1, 0).leader_id);
        lease.check(1, &id(2, 0).leader_id, || true);
        lease.check(1, &id(1, 0).leader_id, || false);
    }

    #[test]
    #[should_panic(expected = "I15:")]
    fn a_stale_read_is_seen() {
        Lease::<Std>::default().reads(1, 3, 2);
    }

    #[test]
    #[should_panic(expected = "I15:")]
    fn a_lease_that_another_commit_overtook_is_seen() {
        let mut lease = Lease::<Std>::default();
        lease.committed(&id(2, 0).leader_id);
        lease.check(1, &id(1, 0).leader_id, || true);
    }
}

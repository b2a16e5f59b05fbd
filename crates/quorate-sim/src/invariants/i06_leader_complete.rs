//! I6: a leader holds all that leaders before it committed.

use quorate_core::ids::Vote;

use crate::ids::Id;
use crate::ids::Ids;
use crate::invariants::i05_canon::Canon;

/// A node won an election by `vote`; `has` tells which entries its log holds, or its snapshot covers.
///
/// Only what *lesser* leaders committed counts: one that was elected late may rightly lack what a greater one has
/// committed since.
pub fn check<L: Ids>(canon: &Canon<L>, vote: &Vote<L>, has: impl Fn(&Id<L>) -> bool) {
    let own = vote.leader_id.to_committed();
    for entry in canon.entries().iter().filter(|entry| entry.by < own) {
        assert!(has(&entry.id), "I6: leader {} lacks {}", vote.leader_id, entry.id);
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
        canon.committed(&view(&id(1, 0), 3), &id(1, 0).leader_id);
        canon.committed(&view(&id(3, 1), 3), &id(3, 0).leader_id);
        canon
    }

    #[test]
    fn a_late_leader_may_lack_what_a_greater_one_committed() {
        check(&canon(), &Vote::new_committed(2, 1), |held| held.index == 0);
        check(&canon(), &Vote::new_committed(4, 1), |_| true);
    }

    #[test]
    #[should_panic(expected = "I6:")]
    fn a_leader_without_a_committed_entry_is_seen() {
        check(&canon(), &Vote::new_committed(4, 1), |held| held.index == 0);
    }
}

//! I8: a leader counts copies of its own entries alone; those before them are committed along with them.

use quorate_core::ids::Vote;

use crate::ids::Id;
use crate::ids::Ids;

/// The leader by `vote` counts `commit` as committed.
pub fn check<L: Ids>(vote: &Vote<L>, commit: &Id<L>) {
    let own = vote.leader_id.to_committed();
    assert_eq!(commit.leader_id, own, "I8: {vote} counts an entry that is not its own");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Std;
    use crate::invariants::tests::id;

    #[test]
    fn an_own_entry_may_be_counted() {
        check::<Std>(&Vote::new_committed(2, 1), &id(2, 4));
    }

    #[test]
    #[should_panic(expected = "I8:")]
    fn an_entry_of_an_earlier_leader_is_seen() {
        check::<Std>(&Vote::new_committed(2, 1), &id(1, 4));
    }
}

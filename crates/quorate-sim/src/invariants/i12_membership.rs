//! I12: the last membership in the log is in force; two that follow each other share a node in any two quorums; a
//! leader changes members only when it has committed an entry of its own and the change before.

use std::collections::BTreeSet;

use quorate_core::Membership;

use crate::ids::Id;
use crate::ids::Ids;
use crate::invariants::quorum;

/// `next` is committed, and `before` is the membership committed before it.
pub fn check_adjacent(before: &Membership<u64>, next: &Membership<u64>) {
    assert!(quorum::intersect(before, next), "I12: {before:?} is followed by {next:?}");
}

/// `leader` proposes a membership at `id`, and knows of `commit` as committed.
pub fn check_proposal<L: Ids>(leader: u64, id: &Id<L>, commit: Option<&Id<L>>) {
    let own = commit.is_some_and(|commit| commit.leader_id == id.leader_id);
    assert!(
        own,
        "I12: {leader} changes members at {id} and has committed nothing of its own, but {commit:?}"
    );
}

/// The memberships in a node's log that nobody has committed yet.
pub fn check_open<'a, L: Ids>(node: u64, open: impl Iterator<Item = &'a Id<L>>) {
    let open: BTreeSet<_> = open.collect();
    assert!(open.len() <= 1, "I12: {node} has several changes of members under way: {open:?}");
}

/// A node acts on the membership at `in_force`, and the last in its log stands at `last`.
pub fn check_in_force<L: Ids>(node: u64, in_force: Option<&Id<L>>, last: Option<&Id<L>>) {
    assert!(
        in_force == last,
        "I12: {node} acts on the membership at {in_force:?}, its log ends with {last:?}"
    );
}

/// A node takes `known` for the committed membership, and `truth` is the one.
pub fn check_committed(node: u64, known: &Membership<u64>, truth: &Membership<u64>) {
    assert!(known == truth, "I12: {node} holds another membership as committed: {known:?}, not {truth:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Std;
    use crate::invariants::tests::id;

    fn voters(sets: &[&[u64]]) -> Membership<u64> {
        Membership::new(sets.iter().map(|set| set.iter().copied().collect()).collect(), [])
    }

    #[test]
    fn one_more_voter_and_a_joint_membership_may_follow() {
        check_adjacent(&voters(&[&[1, 2, 3]]), &voters(&[&[1, 2, 3, 4]]));
        check_adjacent(&voters(&[&[1, 2, 3]]), &voters(&[&[1, 2, 3], &[4, 5, 6]]));
        check_proposal::<Std>(1, &id(2, 9), Some(&id(2, 8)));
        check_open::<Std>(1, [&id(2, 9), &id(2, 9)].into_iter());
        check_in_force::<Std>(1, Some(&id(2, 9)), Some(&id(2, 9)));
        check_committed(1, &voters(&[&[1]]), &voters(&[&[1]]));
    }

    #[test]
    #[should_panic(expected = "I12:")]
    fn a_membership_with_a_quorum_apart_is_seen() {
        check_adjacent(&voters(&[&[1, 2, 3]]), &voters(&[&[1, 4, 5]]));
    }

    #[test]
    #[should_panic(expected = "I12:")]
    fn a_change_before_an_own_commit_is_seen() {
        check_proposal::<Std>(1, &id(2, 9), Some(&id(1, 8)));
    }

    #[test]
    #[should_panic(expected = "I12:")]
    fn a_change_during_another_is_seen() {
        check_open::<Std>(1, [&id(2, 8), &id(2, 9)].into_iter());
    }

    #[test]
    #[should_panic(expected = "I12:")]
    fn a_membership_that_waits_for_its_commit_is_seen() {
        check_in_force::<Std>(1, Some(&id(2, 3)), Some(&id(2, 9)));
    }

    #[test]
    #[should_panic(expected = "I12:")]
    fn a_stale_committed_membership_is_seen() {
        check_committed(1, &voters(&[&[1]]), &voters(&[&[1, 2]]));
    }
}

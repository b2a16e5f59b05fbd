//! I1: in one term, a node votes for one candidate.

use std::collections::BTreeMap;

use quorate_core::ids::Vote;

use crate::ids::Ids;

/// The vote of each node in each term, as it left the node: what it only decided, a crash may still take.
#[derive(Debug)]
pub struct VoteOnce<L: Ids> {
    votes: BTreeMap<(u64, u64), L>,
}

impl<L: Ids> Default for VoteOnce<L> {
    fn default() -> Self {
        Self { votes: BTreeMap::new() }
    }
}

impl<L: Ids> VoteOnce<L> {
    /// A grant, or a candidate's own request, leaves its node. With several leaders per term, a node may vote again
    /// for a greater one.
    pub fn vote_leaves(&mut self, voter: u64, vote: &Vote<L>) {
        let candidate = &vote.leader_id;
        let before = self.votes.insert((voter, candidate.term()), candidate.clone());
        if let Some(before) = before {
            assert!(before <= *candidate, "I1: {voter} voted for {before}, then for {candidate}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Adv;
    use crate::ids::Std;

    #[test]
    fn one_vote_in_each_term() {
        let mut votes = VoteOnce::<Std>::default();
        votes.vote_leaves(1, &Vote::new(3, 2));
        votes.vote_leaves(1, &Vote::new(3, 2));
        votes.vote_leaves(1, &Vote::new(4, 3));
        votes.vote_leaves(2, &Vote::new(3, 3));
    }

    #[test]
    fn a_greater_leader_of_the_term_where_there_may_be_several() {
        let mut votes = VoteOnce::<Adv>::default();
        votes.vote_leaves(1, &Vote::new(3, 2));
        votes.vote_leaves(1, &Vote::new(3, 3));
    }

    #[test]
    #[should_panic(expected = "I1:")]
    fn a_second_vote_is_seen() {
        let mut votes = VoteOnce::<Std>::default();
        votes.vote_leaves(1, &Vote::new(3, 2));
        votes.vote_leaves(1, &Vote::new(3, 3));
    }

    #[test]
    #[should_panic(expected = "I1:")]
    fn a_vote_for_a_lesser_one_is_seen() {
        let mut votes = VoteOnce::<Adv>::default();
        votes.vote_leaves(1, &Vote::new(3, 3));
        votes.vote_leaves(1, &Vote::new(3, 2));
    }
}

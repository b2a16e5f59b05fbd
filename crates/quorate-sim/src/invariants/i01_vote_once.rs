//! I1: in one term, a node votes for one candidate.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use quorate_core::ids::Vote;

use crate::ids::Ids;
use crate::invariants::quorum::is_quorum;

/// The vote of each node in each term, as it left the node: what it only decided, a crash may still take.
#[derive(Debug)]
pub struct VoteOnce<L: Ids> {
    votes: BTreeMap<(u64, u64), L>,
    /// Every vote that ever left: by whom, in which term, for whom.
    left: BTreeSet<(u64, u64, u64)>,
}

impl<L: Ids> Default for VoteOnce<L> {
    fn default() -> Self {
        Self { votes: BTreeMap::new(), left: BTreeSet::new() }
    }
}

impl<L: Ids> VoteOnce<L> {
    /// A grant, or a candidate's own request, leaves its node. With several leaders per term, a node may vote again
    /// for a greater one.
    pub fn vote_leaves(&mut self, voter: u64, vote: &Vote<L>) {
        let candidate = &vote.leader_id;
        self.left.insert((voter, candidate.term(), *candidate.node_id()));
        let before = self.votes.insert((voter, candidate.term()), candidate.clone());
        if let Some(before) = before {
            assert!(before <= *candidate, "I1: {voter} voted for {before}, then for {candidate}");
        }
    }

    /// I2: a quorum of the membership that a new leader goes by gave it its vote. Its own counts if it is durable.
    pub fn elected(&self, vote: &Vote<L>, own_is_durable: bool, configs: &[BTreeSet<u64>]) {
        let (term, node) = (vote.leader_id.term(), *vote.leader_id.node_id());
        let left = |voter| self.left.contains(&(voter, term, node));
        let voted = is_quorum(configs, |voter| if voter == node { own_is_durable } else { left(voter) });
        assert!(voted, "I2: no quorum voted for {}", vote.leader_id);
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
    fn a_leader_has_the_votes_of_a_quorum_and_its_own() {
        let mut votes = VoteOnce::<Std>::default();
        votes.vote_leaves(2, &Vote::new(3, 1));
        votes.elected(&Vote::new(3, 1), true, &[BTreeSet::from([1, 2, 3])]);
    }

    #[test]
    #[should_panic(expected = "I2:")]
    fn a_leader_that_too_few_voted_for_is_seen() {
        let mut votes = VoteOnce::<Std>::default();
        votes.vote_leaves(2, &Vote::new(3, 1));
        votes.elected(&Vote::new(3, 1), false, &[BTreeSet::from([1, 2, 3])]);
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

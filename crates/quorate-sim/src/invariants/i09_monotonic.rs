//! I9: a node's durable vote never goes back, over restarts too; what it has committed only grows while it runs, and
//! never goes beyond what was committed at all.

use std::collections::BTreeMap;

use quorate_core::ids::Vote;

use crate::ids::Ids;

/// What each node had at last.
#[derive(Debug)]
pub struct Monotonic<L: Ids> {
    votes: BTreeMap<u64, Vote<L>>,
    commits: BTreeMap<u64, u64>,
}

impl<L: Ids> Default for Monotonic<L> {
    fn default() -> Self {
        Self { votes: BTreeMap::new(), commits: BTreeMap::new() }
    }
}

impl<L: Ids> Monotonic<L> {
    /// A vote is durable now on the disk of `node`.
    pub fn vote_durable(&mut self, node: u64, vote: &Vote<L>) {
        if let Some(before) = self.votes.get(&node) {
            assert!(before < vote, "I9: {node} saved {vote} over {before}");
        }
        self.votes.insert(node, vote.clone());
    }

    /// A node starts with this vote from its disk, knowing that the entries below `commit` are committed; those below
    /// `canon_end` are.
    pub fn started(&mut self, node: u64, vote: Option<&Vote<L>>, commit: u64, canon_end: u64) {
        let before = self.votes.get(&node);
        let kept = before.is_none_or(|before| vote.is_some_and(|vote| vote >= before));
        assert!(kept, "I9: {node} starts with {vote:?}, although it saved {before:?}");
        if let Some(vote) = vote {
            self.votes.insert(node, vote.clone());
        }
        self.commits.remove(&node);
        self.commits_to(node, commit, canon_end);
    }

    /// An operator gives `node` an empty disk under its old name, against all advice: nothing is asked of it.
    pub fn disk_lost(&mut self, node: u64) {
        self.votes.remove(&node);
        self.commits.remove(&node);
    }

    /// A node knows that the entries below `commit` are committed; those below `canon_end` are.
    pub fn commits_to(&mut self, node: u64, commit: u64, canon_end: u64) {
        let before = self.commits.insert(node, commit).unwrap_or(0);
        assert!(before <= commit, "I9: the commit of {node} goes back from {before} to {commit}");
        assert!(commit <= canon_end, "I9: {node} takes for committed what is not");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Std;

    #[test]
    fn votes_and_commits_grow_and_a_restart_may_forget_a_commit() {
        let mut watch = Monotonic::<Std>::default();
        watch.vote_durable(1, &Vote::new(2, 1));
        watch.vote_durable(1, &Vote::new_committed(2, 1));
        watch.commits_to(1, 7, 7);
        watch.started(1, Some(&Vote::new_committed(2, 1)), 3, 9);
        watch.commits_to(1, 4, 9);
        watch.disk_lost(1);
        watch.started(1, None, 0, 9);
    }

    #[test]
    #[should_panic(expected = "I9:")]
    fn a_lesser_vote_is_seen() {
        let mut watch = Monotonic::<Std>::default();
        watch.vote_durable(1, &Vote::new(2, 1));
        watch.vote_durable(1, &Vote::new(1, 2));
    }

    #[test]
    #[should_panic(expected = "I9:")]
    fn another_candidate_of_the_term_is_seen() {
        let mut watch = Monotonic::<Std>::default();
        watch.vote_durable(1, &Vote::new(2, 1));
        watch.vote_durable(1, &Vote::new(2, 2));
    }

    #[test]
    #[should_panic(expected = "I9:")]
    fn a_vote_that_a_restart_lost_is_seen() {
        let mut watch = Monotonic::<Std>::default();
        watch.vote_durable(1, &Vote::new(2, 1));
        watch.started(1, None, 0, 0);
    }

    #[test]
    #[should_panic(expected = "I9:")]
    fn a_commit_that_goes_back_is_seen() {
        let mut watch = Monotonic::<Std>::default();
        watch.commits_to(1, 7, 7);
        watch.commits_to(1, 6, 7);
    }

    #[test]
    #[should_panic(expected = "I9:")]
    fn a_commit_of_what_is_not_committed_is_seen() {
        Monotonic::<Std>::default().commits_to(1, 7, 6);
    }
}

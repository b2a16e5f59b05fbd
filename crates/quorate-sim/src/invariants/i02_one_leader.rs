//! I2: a term has one leader; or, where it may have several, each leads by its own vote.

use std::collections::BTreeMap;

use quorate_core::ids::Vote;

use crate::ids::Ids;

/// Who led each term.
#[derive(Debug, Default)]
pub struct OneLeader {
    by_term: BTreeMap<u64, u64>,
}

impl OneLeader {
    /// `node` leads by `vote`.
    pub fn leads<L: Ids>(&mut self, node: u64, vote: &Vote<L>) {
        let term = vote.leader_id.term();
        assert_eq!(*vote.leader_id.node_id(), node, "I2: {node} leads by the vote of another, {vote}");
        if !L::SEVERAL_PER_TERM {
            let before = *self.by_term.entry(term).or_insert(node);
            assert_eq!(before, node, "I2: two leaders of term {term}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Adv;
    use crate::ids::Std;

    #[test]
    fn a_leader_may_lead_on_and_terms_have_theirs() {
        let mut leaders = OneLeader::default();
        leaders.leads(1, &Vote::<Std>::new_committed(3, 1));
        leaders.leads(1, &Vote::<Std>::new_committed(3, 1));
        leaders.leads(2, &Vote::<Std>::new_committed(4, 2));
        leaders.leads(1, &Vote::<Adv>::new_committed(4, 1));
    }

    #[test]
    #[should_panic(expected = "I2:")]
    fn a_second_leader_of_a_term_is_seen() {
        let mut leaders = OneLeader::default();
        leaders.leads(1, &Vote::<Std>::new_committed(3, 1));
        leaders.leads(2, &Vote::<Std>::new_committed(3, 2));
    }

    #[test]
    #[should_panic(expected = "I2:")]
    fn a_leader_by_the_vote_of_another_is_seen() {
        OneLeader::default().leads(1, &Vote::<Adv>::new_committed(3, 2));
    }
}

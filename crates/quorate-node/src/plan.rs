//! Which change of the membership may be made: a pure function of what the leader sees and what is asked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::builder::is_address;
use crate::error::MembershipError;
use crate::member::{Member, NodeId, Uid};
use crate::status::Tombstone;

/// A change that an operator, or a node that joins, asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    AddLearner { id: NodeId, member: Member },
    Promote { id: NodeId },
    Remove { id: NodeId },
    Swap { old: NodeId, new: NodeId },
    SetVoters { voters: BTreeSet<NodeId> },
}

/// What is to be written to the log for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// It was made already.
    Nothing,
    AddNode {
        id: NodeId,
        member: Member,
    },
    UpdateNode {
        id: NodeId,
        member: Member,
    },
    RemoveLearner {
        id: NodeId,
    },
    Voters(BTreeSet<NodeId>),
}

/// The membership as its leader sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// The voters of the newest configuration.
    pub(crate) voters: BTreeSet<NodeId>,
    /// All members, learners included.
    pub(crate) nodes: BTreeMap<NodeId, Member>,
    /// The removed.
    pub(crate) tombstones: BTreeMap<NodeId, Tombstone>,
    /// Whether a change is not finished, and at which log index.
    pub(crate) in_progress: Option<Option<u64>>,
    /// How many entries each member lacks; absent when not known.
    pub(crate) lag: BTreeMap<NodeId, u64>,
    /// Who answered within an election timeout, the leader included.
    pub(crate) live: BTreeSet<NodeId>,
    /// How many entries a learner may lack when it is promoted.
    pub(crate) lag_max: u64,
}

impl View {
    /// Decides what a change means here, or why it may not be made.
    pub(crate) fn plan(&self, change: &Change) -> Result<Step, MembershipError> {
        match change {
            Change::AddLearner { id, member } => self.add_learner(*id, member),
            Change::Promote { id } => {
                self.known(*id)?;
                let mut voters = self.voters.clone();
                voters.insert(*id);
                self.set_voters(voters)
            }
            Change::Remove { id } => self.remove(*id),
            Change::Swap { old, new } => self.swap(*old, *new),
            Change::SetVoters { voters } => self.set_voters(voters.clone()),
        }
    }

    fn add_learner(&self, id: NodeId, member: &Member) -> Result<Step, MembershipError> {
        let invalid = |cause: String| Err(MembershipError::Invalid { cause });
        if id == 0 {
            return invalid("a node's id must not be 0".to_owned());
        }
        if member.uid == Uid(0) {
            return invalid(format!("the uid of node {id} is missing"));
        }
        if let Err(error) = is_address("peer_addr", &member.peer_addr) {
            return invalid(error.to_string());
        }
        if let Some(tombstone) = self.tombstones.get(&id) {
            return Err(MembershipError::IdReused { id, removed_at: tombstone.index });
        }
        let present = self.nodes.get(&id);
        if let Some(present) = present
            && present.uid != member.uid
        {
            let (addr_a, addr_b) = (present.peer_addr.clone(), member.peer_addr.clone());
            return Err(MembershipError::DuplicateNode { id, addr_a, addr_b });
        }
        for (other, node) in self.nodes.iter().filter(|(other, _)| **other != id) {
            if node.peer_addr == member.peer_addr {
                let addr = member.peer_addr.clone();
                return Err(MembershipError::AddressInUse { addr, member: *other, id });
            }
            if node.uid == member.uid {
                return invalid(format!("the data directory of node {id} is a copy of member {other}'s"));
            }
        }
        match present {
            Some(present) if present == member => return Ok(Step::Nothing),
            _ => self.quiet()?,
        }
        let member = member.clone();
        Ok(if present.is_some() { Step::UpdateNode { id, member } } else { Step::AddNode { id, member } })
    }

    fn remove(&self, id: NodeId) -> Result<Step, MembershipError> {
        if self.tombstones.contains_key(&id) && !self.nodes.contains_key(&id) {
            return Ok(Step::Nothing);
        }
        self.known(id)?;
        if !self.voters.contains(&id) {
            self.quiet()?;
            return Ok(Step::RemoveLearner { id });
        }
        self.set_voters(self.voters.iter().copied().filter(|voter| *voter != id).collect())
    }

    fn swap(&self, old: NodeId, new: NodeId) -> Result<Step, MembershipError> {
        if !self.nodes.contains_key(&old) && self.tombstones.contains_key(&old) && self.voters.contains(&new)
        {
            return Ok(Step::Nothing);
        }
        self.known(old)?;
        self.known(new)?;
        if !self.voters.contains(&old) {
            return self.remove(old);
        }
        let mut voters = self.voters.clone();
        voters.remove(&old);
        voters.insert(new);
        self.set_voters(voters)
    }

    fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<Step, MembershipError> {
        if voters.is_empty() {
            return Err(MembershipError::EmptyVoters);
        }
        for id in &voters {
            self.known(*id)?;
        }
        if voters == self.voters && self.in_progress.is_none() {
            return Ok(Step::Nothing);
        }
        self.quiet()?;
        for id in voters.difference(&self.voters) {
            self.ready(*id)?;
        }
        self.keeps_quorum(&voters)?;
        Ok(Step::Voters(voters))
    }

    /// A learner that is far behind or silent would make the quorum wait for it.
    fn ready(&self, id: NodeId) -> Result<(), MembershipError> {
        let lag = self.lag.get(&id).copied().filter(|_| self.live.contains(&id));
        match lag {
            Some(lag) if lag <= self.lag_max => Ok(()),
            lag => Err(MembershipError::LearnerNotReady { id, lag, lag_max: self.lag_max }),
        }
    }

    fn keeps_quorum(&self, voters: &BTreeSet<NodeId>) -> Result<(), MembershipError> {
        let leaving = self.voters.difference(voters).count();
        if voters.len() < self.voters.len() && leaving >= majority(self.voters.len()) {
            return Err(MembershipError::WouldLoseQuorum {
                voters: self.voters.len(),
                needed: majority(self.voters.len()),
                live: self.voters.len().saturating_sub(leaving),
                advice: "remove one voter at a time".to_owned(),
            });
        }
        let live = voters.intersection(&self.live).count();
        if live < majority(voters.len()) {
            return Err(MembershipError::WouldLoseQuorum {
                voters: voters.len(),
                needed: majority(voters.len()),
                live,
                advice: "remove or replace the silent voters first".to_owned(),
            });
        }
        Ok(())
    }

    fn known(&self, id: NodeId) -> Result<(), MembershipError> {
        match self.tombstones.get(&id) {
            _ if self.nodes.contains_key(&id) => Ok(()),
            Some(tombstone) => Err(MembershipError::IdReused { id, removed_at: tombstone.index }),
            None => Err(MembershipError::UnknownNode { id }),
        }
    }

    fn quiet(&self) -> Result<(), MembershipError> {
        match self.in_progress {
            Some(index) => Err(MembershipError::ChangeInProgress { index }),
            None => Ok(()),
        }
    }
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: NodeId) -> Member {
        let peer_addr = format!("host{id}:1");
        Member { uid: Uid(u128::from(id) + 100), peer_addr, client_addr: String::new() }
    }

    /// Members 1 to 5, of which `voters` vote, all alive and caught up; 9 was removed at index 90.
    fn view<const N: usize>(voters: [NodeId; N]) -> View {
        View {
            voters: voters.into(),
            nodes: (1..=5).map(|id| (id, member(id))).collect(),
            tombstones: [(9, Tombstone { id: 9, uid: Uid(109), index: 90 })].into(),
            in_progress: None,
            lag: (1..=5).map(|id| (id, 0)).collect(),
            live: (1..=5).collect(),
            lag_max: 10,
        }
    }

    fn add(id: NodeId, member: Member) -> Change {
        Change::AddLearner { id, member }
    }

    #[test]
    fn a_stranger_is_added_once_and_may_move_house() {
        let view = view([1, 2, 3]);
        assert_eq!(view.plan(&add(6, member(6))), Ok(Step::AddNode { id: 6, member: member(6) }));
        assert_eq!(view.plan(&add(5, member(5))), Ok(Step::Nothing));
        let moved = Member { peer_addr: "elsewhere:1".to_owned(), ..member(5) };
        assert_eq!(view.plan(&add(5, moved.clone())), Ok(Step::UpdateNode { id: 5, member: moved }));
    }

    #[test]
    fn rows_1_and_20_a_members_id_with_another_data_directory_is_refused_naming_both_addresses() {
        let other = Member { uid: Uid(1), peer_addr: "other:1".to_owned(), ..member(2) };
        let error = view([1, 2, 3]).plan(&add(2, other)).unwrap_err();
        let (addr_a, addr_b) = ("host2:1".to_owned(), "other:1".to_owned());
        assert_eq!(error, MembershipError::DuplicateNode { id: 2, addr_a, addr_b });
    }

    #[test]
    fn row_2_a_copied_data_directory_is_refused_under_any_id() {
        let copy = Member { uid: member(2).uid, ..member(6) };
        let error = view([1, 2, 3]).plan(&add(6, copy)).unwrap_err();
        assert!(error.to_string().contains("copy of member 2"), "{error}");
    }

    #[test]
    fn row_4_an_address_of_another_member_is_refused() {
        let wrong = Member { peer_addr: "host2:1".to_owned(), ..member(6) };
        let error = view([1, 2, 3]).plan(&add(6, wrong)).unwrap_err();
        assert_eq!(error, MembershipError::AddressInUse { addr: "host2:1".to_owned(), member: 2, id: 6 });
    }

    #[test]
    fn row_19_a_removed_id_is_never_used_again() {
        let view = view([1, 2, 3]);
        let reused = Err(MembershipError::IdReused { id: 9, removed_at: 90 });
        assert_eq!(view.plan(&add(9, member(9))), reused);
        assert_eq!(view.plan(&add(9, Member { uid: Uid(1), ..member(9) })), reused);
        assert_eq!(view.plan(&Change::Promote { id: 9 }), reused);
        assert_eq!(view.plan(&Change::Remove { id: 9 }), Ok(Step::Nothing));
    }

    #[test]
    fn nonsense_about_a_member_is_refused() {
        let view = view([1, 2, 3]);
        let no_port = Member { peer_addr: "host".to_owned(), ..member(6) };
        let no_uid = Member { uid: Uid(0), ..member(6) };
        for (id, member) in [(0, member(6)), (6, no_port), (6, no_uid)] {
            assert!(matches!(view.plan(&add(id, member)), Err(MembershipError::Invalid { .. })));
        }
    }

    #[test]
    fn row_11_a_majority_cannot_leave_in_one_change() {
        let to = |voters: &[NodeId]| Change::SetVoters { voters: voters.iter().copied().collect() };
        for (view, voters) in [(view([1, 2, 3]), vec![1]), (view([1, 2, 3, 4, 5]), vec![4, 5])] {
            let error = view.plan(&to(&voters)).unwrap_err();
            assert!(matches!(error, MembershipError::WouldLoseQuorum { .. }), "{error}");
            assert!(error.to_string().contains("one voter at a time"), "{error}");
        }
        assert_eq!(view([1, 2]).plan(&to(&[1])), Ok(Step::Voters([1].into())));
        assert_eq!(view([1, 2, 3, 4, 5]).plan(&to(&[1, 2, 3])), Ok(Step::Voters([1, 2, 3].into())));
    }

    #[test]
    fn row_11_silent_voters_must_not_become_the_majority() {
        let mut view = view([1, 2, 3]);
        view.live.remove(&3);
        let error = view.plan(&Change::Remove { id: 2 }).unwrap_err();
        assert!(
            matches!(error, MembershipError::WouldLoseQuorum { voters: 2, needed: 2, live: 1, .. }),
            "{error}"
        );
        assert_eq!(view.plan(&Change::Remove { id: 3 }), Ok(Step::Voters([1, 2].into())));
    }

    #[test]
    fn rows_12_and_13_somebody_must_vote() {
        assert_eq!(view([1]).plan(&Change::Remove { id: 1 }), Err(MembershipError::EmptyVoters));
        let nobody = Change::SetVoters { voters: BTreeSet::new() };
        assert_eq!(view([1, 2, 3]).plan(&nobody), Err(MembershipError::EmptyVoters));
    }

    #[test]
    fn row_14_a_learner_that_lags_or_is_silent_is_not_promoted() {
        let promote = Change::Promote { id: 4 };
        let mut view = view([1, 2, 3]);
        assert_eq!(view.plan(&promote), Ok(Step::Voters([1, 2, 3, 4].into())));
        view.lag.insert(4, 11);
        let error = view.plan(&promote).unwrap_err();
        assert_eq!(error, MembershipError::LearnerNotReady { id: 4, lag: Some(11), lag_max: 10 });
        view.lag.insert(4, 0);
        view.live.remove(&4);
        let error = view.plan(&promote).unwrap_err();
        assert_eq!(error, MembershipError::LearnerNotReady { id: 4, lag: None, lag_max: 10 });
    }

    #[test]
    fn row_16_changes_wait_for_each_other_and_one_that_was_made_is_a_success() {
        let mut view = view([1, 2, 3]);
        view.in_progress = Some(Some(42));
        let busy = Err(MembershipError::ChangeInProgress { index: Some(42) });
        assert_eq!(view.plan(&Change::Promote { id: 4 }), busy);
        assert_eq!(view.plan(&Change::Remove { id: 4 }), busy);
        assert_eq!(view.plan(&add(6, member(6))), busy);
        assert_eq!(view.plan(&add(5, member(5))), Ok(Step::Nothing));
        view.in_progress = None;
        assert_eq!(view.plan(&Change::Promote { id: 3 }), Ok(Step::Nothing));
    }

    #[test]
    fn a_member_takes_the_place_of_another() {
        let view = view([1, 2, 3]);
        assert_eq!(view.plan(&Change::Swap { old: 3, new: 4 }), Ok(Step::Voters([1, 2, 4].into())));
        assert_eq!(view.plan(&Change::Swap { old: 5, new: 4 }), Ok(Step::RemoveLearner { id: 5 }));
        assert_eq!(view.plan(&Change::Swap { old: 9, new: 3 }), Ok(Step::Nothing));
        assert_eq!(view.plan(&Change::Swap { old: 7, new: 4 }), Err(MembershipError::UnknownNode { id: 7 }));
        let alone = self::view([1]);
        assert_eq!(alone.plan(&Change::Swap { old: 1, new: 2 }), Ok(Step::Voters([2].into())));
    }
}

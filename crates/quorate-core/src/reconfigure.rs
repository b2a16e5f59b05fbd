//! Change the members of the cluster, one committed configuration after the other (thesis §4).

use crate::ids::LogId;
use crate::ids::RaftLeaderId;
use crate::leader::Leader;
use crate::leader::Refusal;
use crate::membership::Membership;
use crate::membership::Placed;
use crate::mutant;
use crate::options::Time;
use crate::progress::Progress;
use crate::replica::Replica;
use crate::replica::Role;
use crate::work::Born;

/// Why a membership cannot be proposed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeRefusal<L: RaftLeaderId> {
    /// As for any proposal.
    Refused(Refusal<L>),
    /// The one before is not committed yet.
    InProgress,
    /// The leader has not committed an entry of its own yet (Ongaro 2015, raft-dev "bug in single-server changes").
    UncommittedLeader {
        /// The leader's first entry.
        first: LogId<L::Committed>,
    },
    /// A quorum of the new configuration need not meet a quorum of the one in force, or it has no voter.
    Unsafe,
}

impl<L: RaftLeaderId> Replica<L> {
    /// Whether the membership in force is not committed yet: no other may follow it.
    pub fn is_changing(&self) -> bool {
        self.memberships.effective().log_id.as_ref() > self.committed.as_ref()
    }

    /// This leader's first entry, as long as no quorum is known to hold it; `None` on others.
    ///
    /// Until it is committed, a leader that was replaced may hold a membership of its own that is not committed, and
    /// whose quorums need not meet those of a third one.
    pub fn uncommitted_first(&self) -> Option<&LogId<L::Committed>> {
        let first = &self.leading()?.first;
        (self.cluster_committed.as_ref() < Some(first)).then_some(first)
    }

    /// Why `next` cannot be proposed now; `None` if it can.
    pub fn change_refusal(&self, now: Time, next: &Membership<L::NodeId>) -> Option<ChangeRefusal<L>> {
        if let Some(refusal) = self.refusal(now) {
            return Some(ChangeRefusal::Refused(refusal));
        }
        if let Some(first) = self.uncommitted_first().filter(|_| !mutant!(43)) {
            return Some(ChangeRefusal::UncommittedLeader { first: first.clone() });
        }
        if self.is_changing() && !mutant!(44) {
            return Some(ChangeRefusal::InProgress);
        }
        (!self.effective().may_be_followed_by(next)).then_some(ChangeRefusal::Unsafe)
    }

    /// Takes an entry with this membership into the log; it is in force from now on (thesis §4.1).
    ///
    /// `finish` says, for a joint one, that the leader is to end it by itself, and whether it keeps the voters that
    /// leave as learners.
    pub fn propose_membership(
        &mut self,
        now: Time,
        next: Membership<L::NodeId>,
        finish: Option<bool>,
    ) -> Result<LogId<L::Committed>, ChangeRefusal<L>> {
        if let Some(refusal) = self.change_refusal(now, &next) {
            return Err(refusal);
        }
        let log_id = self.propose(now, 1).map_err(ChangeRefusal::Refused)?;
        self.put_in_force(log_id.clone(), next, finish);
        Ok(log_id)
    }

    fn put_in_force(
        &mut self,
        log_id: LogId<L::Committed>,
        next: Membership<L::NodeId>,
        finish: Option<bool>,
    ) {
        debug_assert!(next.is_valid(), "I12: there is someone to vote");
        debug_assert!(self.effective().may_be_followed_by(&next), "I12: any two quorums share a node");
        debug_assert!(!self.is_changing(), "I12: one change follows another when it is committed");
        debug_assert!(self.uncommitted_first().is_none(), "I12: a leader first commits an entry of its own");
        debug_assert!(self.log.last() == Some(&log_id), "I12: the last membership in the log is in force");
        self.memberships.push(Placed::new(Some(log_id.clone()), next));
        if let Role::Leader(leader) = &mut self.role {
            leader.finish = finish;
        }
        self.update_peers(log_id.index);
        self.pump_purge();
    }

    /// A joint configuration that is committed is ended by the uniform one.
    pub(crate) fn finish_joint(&mut self) {
        let effective = self.memberships.effective();
        let Some(Leader { finish: Some(retain), transfer: None, .. }) = self.leading() else { return };
        let settled = !self.is_changing() && self.uncommitted_first().is_none();
        if !settled && !mutant!(69) || !effective.membership.is_joint() || self.log.next_index() == u64::MAX {
            return;
        }
        let next = effective.membership.to_uniform(*retain);
        let log_id = LogId::new(self.vote.leader_id.to_committed(), self.log.next_index());
        self.log.extend_to(log_id.clone());
        self.push_append(log_id.index, u64::MAX);
        self.put_in_force(log_id.clone(), next, None);
        let membership = self.effective().clone();
        self.born.push(Born::Membership(log_id, membership));
    }

    /// Follows the membership: new peers are probed, those that left are forgotten with all that was in flight.
    pub(crate) fn update_peers(&mut self, log_end: u64) {
        let nodes = self.effective().nodes();
        let Role::Leader(leader) = &mut self.role else { return };
        leader.peers.retain(|id, _| nodes.contains(id));
        for id in nodes {
            if id != self.id && !leader.peers.contains_key(&id) {
                self.sessions = self.sessions.saturating_add(1);
                leader.peers.insert(id, Progress::new(self.sessions, log_end));
            }
        }
    }

    /// The operator wants a leader to go that the committed configuration no longer holds, whatever the settings say.
    ///
    /// Does nothing on anyone else: what another node is follows from its vote and the membership in force.
    pub fn refresh(&mut self) {
        if self.is_removed_leader() {
            self.resign();
        }
    }

    fn is_removed_leader(&self) -> bool {
        self.leading().is_some() && !self.is_changing() && !self.effective().contains(&self.id)
    }

    /// A leader outside the committed configuration hands over to the best voter, then steps down (thesis §4.2.2).
    pub(crate) fn leave_if_removed(&mut self, now: Time) {
        let removed = self.is_removed_leader();
        let after = self.options.removed_leader_step_down.filter(|_| removed);
        let effective = self.effective().clone();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(after) = after else {
            leader.removed_at = None;
            leader.stepping_down_at = None;
            return;
        };
        if leader.stepping_down_at.is_some_and(|at| now >= at) {
            self.resign();
            return;
        }
        if leader.stepping_down_at.is_some() {
            return;
        }
        let due = *leader.removed_at.get_or_insert(now + after);
        if now >= due {
            let best = leader.peers.iter().filter(|(id, _)| effective.is_voter(id));
            let best = best.max_by(|(_, a), (_, b)| a.matched.cmp(&b.matched)).map(|(id, _)| id.clone());
            leader.removed_at = None;
            leader.stepping_down_at = Some(now + self.options.heartbeat_interval);
            if let Some(best) = best {
                self.transfer(now, best);
            }
        }
    }
}

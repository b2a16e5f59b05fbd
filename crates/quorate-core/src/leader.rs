//! Propose, feed peers, take acknowledgements, advance the commit, change members, hand over (thesis §3.5, §4, §3.10).

use alloc::collections::BTreeMap;

use crate::ids::LogId;
use crate::ids::RaftLeaderId;
use crate::ids::Vote;
use crate::log::next_index;
use crate::message::Ticket;
use crate::message::WriteSeq;
use crate::mutant;
use crate::options::Time;
use crate::progress::Progress;
use crate::quorum;
use crate::replica::Replica;
use crate::replica::Role;
use crate::transfer::Handover;
use crate::work::Event;

/// What only a leader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader<L: RaftLeaderId> {
    /// Tells this leadership from earlier ones of the same node.
    pub(crate) leadership: u64,
    /// When it was won; `None` for one that was resumed after a restart.
    pub(crate) since: Option<Time>,
    /// The first entry of this leader.
    pub(crate) first: LogId<L::Committed>,
    /// Every read sees at least this: whatever may have been committed before.
    pub(crate) read_floor: LogId<L::Committed>,
    pub(crate) peers: BTreeMap<L::NodeId, Progress<L::Committed>>,
    /// Numbers the reads; a request carries the newest round when it is sent.
    pub(crate) round: u64,
    next_heartbeat: Time,
    /// Its quorum is lost, and it is silent for now: whatever it sent would keep the others from electing another.
    pub(crate) quiet: bool,
    pub(crate) transfer: Option<Handover<L>>,
    /// Voters were told to forget the lease, and may learn of it late: it is gone for this leadership.
    pub(crate) lease_given_back: bool,
    /// How far the disk was when writes were last seen to wait for it, and since when it has been there.
    waiting_for_disk: Option<(WriteSeq, Time)>,
    /// A leader that the committed configuration no longer holds hands over, then steps down, at these times.
    pub(crate) removed_at: Option<Time>,
    pub(crate) stepping_down_at: Option<Time>,
    /// The joint configuration in the log is this leader's to end, keeping removed voters as learners or not.
    pub(crate) finish: Option<bool>,
}

/// Why this node does not take a proposal or a read now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<L: RaftLeaderId> {
    /// It does not lead; this node does, if any is known.
    NotLeader(Option<L::NodeId>),
    /// It hands leadership over to this node.
    Transferring(L::NodeId),
    /// It has not heard from a quorum for a lease: another may lead.
    LeaseExpired,
    /// The log is full: its last index is reached.
    LogFull,
}

impl<L: RaftLeaderId> Leader<L> {
    /// Every peer and what is known of it.
    pub fn peers(&self) -> impl Iterator<Item = (&L::NodeId, &Progress<L::Committed>)> {
        self.peers.iter()
    }

    /// The first entry that this leader proposed.
    pub fn first(&self) -> &LogId<L::Committed> {
        &self.first
    }

    /// Who is to lead next, while leadership is handed over.
    pub fn transferring_to(&self) -> Option<&L::NodeId> {
        self.transfer.as_ref().map(|handover| &handover.request.to)
    }

    pub(crate) fn has_transfer(&self, peer: &L::NodeId) -> bool {
        self.transfer.as_ref().is_some_and(|handover| handover.untold.contains(peer))
    }
}

impl<L: RaftLeaderId> Replica<L> {
    pub(crate) fn begin_leading(&mut self, now: Time) {
        self.install_leader(now, Some(now), None);
    }

    /// A restarted leader goes on with the vote that a quorum gave it (its log holds all it ever sent).
    ///
    /// It takes writes and serves reads only after a quorum acknowledged it again, and reads see all of its log.
    pub(crate) fn resume_leadership(&mut self, now: Time) {
        if !self.vote.committed || *self.vote.leader_id.node_id() != self.id {
            return;
        }
        let own = self.vote.leader_id.to_committed();
        // A disk that lost votes may hold entries of later leaders.
        let newest = self.log.last().is_none_or(|last| last.leader_id <= own);
        if !(self.options.restore_leader
            && (!self.options.send_unflushed || mutant!(61))
            && newest
            && self.may_lead())
        {
            // It follows nobody, and has promised nothing to anyone else.
            self.vote.committed = false;
            self.flushed.vote.committed = false;
            self.vote_lease = core::time::Duration::ZERO;
            return;
        }
        let end_before = self.log.runs().filter(|run| run.leader_id < own).last().or(self.log.purged());
        let first = match (end_before, self.log.last()) {
            // Its first entry is purged, so it is committed; any later one says as much.
            (Some(purged), _) if purged.leader_id == own => Some(purged.clone()),
            (before, Some(last)) if last.leader_id == own => Some(LogId::new(own, next_index(before))),
            _ => None,
        };
        self.install_leader(now, None, first);
        // A sole voter is its own quorum: nobody else will answer, so nothing else would commit its log.
        self.advance_leader_commit(now);
    }

    fn may_lead(&self) -> bool {
        self.effective().is_voter(&self.id) || self.memberships.committed().membership.is_voter(&self.id)
    }

    fn install_leader(&mut self, now: Time, since: Option<Time>, first: Option<LogId<L::Committed>>) {
        debug_assert!(self.vote.committed, "I2: a leader leads by a committed vote");
        self.sessions = self.sessions.saturating_add(1);
        let log_end = self.log.next_index();
        let first = first.unwrap_or_else(|| self.append_blank());
        let read_floor = self.log.last().filter(|_| !mutant!(58)).cloned().unwrap_or_else(|| first.clone());
        self.role = Role::Leader(Leader {
            leadership: self.sessions,
            since,
            first,
            read_floor,
            peers: BTreeMap::new(),
            round: 0,
            next_heartbeat: now,
            quiet: false,
            transfer: None,
            // Before a restart it may have told someone to take over, who may have kept that until now (seed 70913).
            lease_given_back: since.is_none() && !mutant!(60),
            waiting_for_disk: None,
            removed_at: None,
            stepping_down_at: None,
            // A joint configuration that an earlier leader left behind.
            finish: self.options.finish_joint.then_some(false),
        });
        self.update_peers(log_end);
        self.leader_timeout(now);
    }

    pub(crate) fn leader_deadline(&self) -> Option<Time> {
        let leader = self.leading()?;
        let heartbeat = (self.options.heartbeat && leader.transfer.is_none() && !leader.peers.is_empty())
            .then_some(leader.next_heartbeat);
        let give_up = leader.transfer.as_ref().map(|handover| handover.give_up_at);
        [heartbeat, give_up, leader.removed_at, leader.stepping_down_at].into_iter().flatten().min()
    }

    pub(crate) fn leader_timeout(&mut self, now: Time) {
        let quiet = self.is_quiet_after_quorum_loss(now);
        let Role::Leader(leader) = &mut self.role else { return };
        leader.quiet = quiet;
        if leader.transfer.as_ref().is_some_and(|handover| now >= handover.give_up_at)
            && let Some(handover) = leader.transfer.take()
        {
            leader.next_heartbeat = now;
            self.event(Event::TransferAbandoned(handover.request.to));
            self.finish_joint();
        }
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.transfer.is_none() && self.options.heartbeat && now >= leader.next_heartbeat {
            leader.next_heartbeat = now + self.options.heartbeat_interval;
            self.heartbeat_rounds = self.heartbeat_rounds.saturating_add(1);
            let least = self.options.heartbeat_min_interval;
            for progress in leader.peers.values_mut().filter(|_| !quiet) {
                let recent = progress.acked_time.is_some_and(|acked| now < acked + least);
                progress.heartbeat_due |= !recent;
            }
        }
        self.leave_if_removed(now);
        self.leave_if_disk_hangs(now);
    }

    /// A leader that cannot write holds everyone up; heartbeats alone would keep it in office.
    fn leave_if_disk_hangs(&mut self, now: Time) {
        let (Some(most), waits) = (self.options.disk_stall_max, !self.unflushed.is_empty()) else { return };
        // Nobody else could lead in its place.
        let waits = waits && !self.effective().is_sole_voter(&self.id);
        let flushed = self.flushed_seq;
        let Role::Leader(leader) = &mut self.role else { return };
        let since = match leader.waiting_for_disk.filter(|(at, _)| *at == flushed) {
            Some((_, since)) => since,
            None => now,
        };
        leader.waiting_for_disk = waits.then_some((flushed, since));
        if waits && now >= since + most && !mutant!(66) {
            self.resign();
        }
    }

    /// Leads no more, though nobody else does: its vote stays, no longer as a leader's, so nobody follows it.
    pub(crate) fn resign(&mut self) {
        self.vote.committed = false;
        self.step_down_to(Role::Passive);
    }

    /// The newest moment at which a request was sent that a quorum acknowledged.
    pub fn quorum_acked(&self, now: Time) -> Option<Time> {
        let leader = self.leading()?;
        quorum::reached(self.effective().configs(), |id| {
            if *id == self.id {
                Some(now)
            } else {
                leader.peers.get(id).and_then(|progress| progress.acked_time)
            }
        })
        .flatten()
    }

    /// Whether a quorum confirmed this leader within the lease; a new leader has the vote of one.
    pub fn lease_is_valid(&self, now: Time) -> bool {
        let since = self.leading().and_then(|leader| leader.since);
        self.quorum_acked(now).max(since).is_some_and(|acked| now < acked + self.options.lease)
    }

    /// Why this node does not take proposals now.
    pub fn refusal(&self, now: Time) -> Option<Refusal<L>> {
        self.role_refusal().or_else(|| (!self.lease_is_valid(now)).then_some(Refusal::LeaseExpired))
    }

    /// Why this node takes no proposals, whatever the time: it does not lead, or is about to lead no more.
    pub fn role_refusal(&self) -> Option<Refusal<L>> {
        let Some(leader) = self.leading() else {
            let known = self.leader().filter(|id| **id != self.id);
            return Some(Refusal::NotLeader(known.cloned()));
        };
        if let Some(to) = leader.transferring_to() {
            return Some(Refusal::Transferring(to.clone()));
        }
        leader.stepping_down_at.is_some().then_some(Refusal::NotLeader(None))
    }

    /// Takes `count` entries, at least one, whose payload the caller holds, into the log.
    ///
    /// Returns the id of the last; those before it have the indexes right below.
    pub fn propose(&mut self, now: Time, count: u64) -> Result<LogId<L::Committed>, Refusal<L>> {
        if let Some(refusal) = self.refusal(now) {
            return Err(refusal);
        }
        debug_assert!(count > 0, "a proposal has entries");
        let first = self.log.next_index();
        let last = first.checked_add(count.saturating_sub(1)).filter(|last| *last < u64::MAX);
        let last = LogId::new(self.vote.leader_id.to_committed(), last.ok_or(Refusal::LogFull)?);
        self.log.extend_to(last.clone());
        self.push_append(first, self.options.proposals_together_max);
        Ok(last)
    }

    /// Commits what a quorum holds durably, if it is an entry of this leader (thesis §3.6.2). Invariants I7, I8.
    pub(crate) fn advance_leader_commit(&mut self, now: Time) {
        let Role::Leader(leader) = &self.role else { return };
        if next_index(self.cluster_committed.as_ref()) == self.log.next_index() {
            return;
        }
        let own_matched = if mutant!(19) { self.log.last().cloned() } else { self.durable_last() };
        let reached = quorum::reached(self.effective().configs(), |id| {
            if *id == self.id {
                own_matched.as_ref()
            } else if mutant!(33) {
                leader.peers.values().filter_map(|progress| progress.matched.as_ref()).max()
            } else {
                leader.peers.get(id).and_then(|p| p.matched.as_ref())
            }
        });
        let Some(Some(commit)) = reached else { return };
        if !mutant!(7) && commit.leader_id != self.vote.leader_id.to_committed()
            || Some(commit) <= self.cluster_committed.as_ref()
        {
            return;
        }
        let commit = commit.clone();
        debug_assert!(self.log.has(&commit), "I7: what a quorum holds is in the leader's log");
        self.cluster_committed = Some(commit.clone());
        self.commit_to(commit);
        self.finish_joint();
        self.leave_if_removed(now);
    }

    /// A peer follows another vote. If it is greater, this node no longer leads.
    pub(crate) fn outvoted(&mut self, now: Time, ticket: &Ticket, vote: &Vote<L>) {
        let current = self.leading().is_some_and(|leader| leader.leadership == ticket.leadership);
        let greater = *vote > self.vote;
        if !current || !greater {
            return;
        }
        if *vote.leader_id.node_id() == self.id {
            self.catch_up_with(now, vote);
            return;
        }
        self.save_vote(now, vote.clone());
        self.step_down_to(Role::Passive);
        self.vote_lease = core::time::Duration::ZERO;
    }
}

//! Propose, feed peers, take acknowledgements, advance the commit, change members, hand over (thesis §3.5, §4, §3.10).

use alloc::collections::BTreeMap;
use alloc::collections::BTreeSet;

use crate::ids::LogId;
use crate::ids::RaftLeaderId;
use crate::ids::Vote;
use crate::log::next_index;
use crate::membership::Membership;
use crate::membership::Placed;
use crate::message::AppendReply;
use crate::message::Ticket;
use crate::message::Transfer;
use crate::message::WriteSeq;
use crate::options::Time;
use crate::progress::Lacks;
use crate::progress::Mode;
use crate::progress::PROBE_ENTRIES_MAX;
use crate::progress::Progress;
use crate::quorum;
use crate::replica::Replica;
use crate::replica::Role;
use crate::work::Born;
use crate::work::Event;
use crate::work::PeerReady;
use crate::work::SendAppend;
use crate::work::SendHeartbeat;
use crate::work::SendSnapshot;

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
    transfer: Option<Handover<L>>,
    /// Voters were told to forget the lease, and may learn of it late: it is gone for this leadership.
    pub(crate) lease_given_back: bool,
    /// How far the disk was when writes were last seen to wait for it, and since when it has been there.
    waiting_for_disk: Option<(WriteSeq, Time)>,
    /// A leader that the committed configuration no longer holds hands over, then steps down, at these times.
    removed_at: Option<Time>,
    stepping_down_at: Option<Time>,
    /// The joint configuration in the log is this leader's to end, keeping removed voters as learners or not.
    finish: Option<bool>,
}

/// Leadership on its way to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Handover<L: RaftLeaderId> {
    request: Transfer<L>,
    untold: BTreeSet<L::NodeId>,
    /// If it still leads then, it leads on (thesis §3.10).
    give_up_at: Time,
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
    // --- Beginning and ending.

    pub(crate) fn begin_leading(&mut self, now: Time) {
        self.install_leader(now, Some(now), None);
    }

    /// A restarted leader goes on with the vote that a quorum gave it (its log holds all it ever sent).
    ///
    /// It takes writes and serves reads only after a quorum acknowledged it again, and reads see all of its log.
    pub(crate) fn resume_leadership(&mut self, now: Time) {
        let may = self.options.restore_leader && !self.options.send_unflushed && self.may_lead();
        if !self.vote.committed || *self.vote.leader_id.node_id() != self.id {
            return;
        }
        if !may {
            // It follows nobody, and has promised nothing to anyone else.
            self.vote.committed = false;
            self.flushed.vote.committed = false;
            self.vote_lease = core::time::Duration::ZERO;
            return;
        }
        let own = self.vote.leader_id.to_committed();
        let end_before = self.log.runs().filter(|run| run.leader_id < own).last().or(self.log.purged());
        let first = match (end_before, self.log.last()) {
            // Its first entry is purged, so it is committed; any later one says as much.
            (Some(purged), _) if purged.leader_id == own => Some(purged.clone()),
            (before, Some(last)) if last.leader_id == own => Some(LogId::new(own, next_index(before))),
            _ => None,
        };
        self.install_leader(now, None, first);
    }

    fn may_lead(&self) -> bool {
        self.effective().is_voter(&self.id) || self.memberships.committed().membership.is_voter(&self.id)
    }

    fn install_leader(&mut self, now: Time, since: Option<Time>, first: Option<LogId<L::Committed>>) {
        self.sessions = self.sessions.saturating_add(1);
        let log_end = self.log.next_index();
        let first = first.unwrap_or_else(|| self.append_blank());
        let read_floor = self.log.last().cloned().unwrap_or_else(|| first.clone());
        self.role = Role::Leader(Leader {
            leadership: self.sessions,
            since,
            first,
            read_floor,
            peers: BTreeMap::new(),
            round: 0,
            next_heartbeat: now,
            transfer: None,
            lease_given_back: false,
            waiting_for_disk: None,
            removed_at: None,
            stepping_down_at: None,
            // A joint configuration that an earlier leader left behind.
            finish: self.options.finish_joint.then_some(false),
        });
        self.update_peers(log_end);
        self.leader_timeout(now);
    }

    /// Follows the membership: new peers are probed, those that left are forgotten with all that was in flight.
    fn update_peers(&mut self, log_end: u64) {
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

    // --- Time.

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
        let flushed = self.flushed_seq;
        let Role::Leader(leader) = &mut self.role else { return };
        let since = match leader.waiting_for_disk.filter(|(at, _)| *at == flushed) {
            Some((_, since)) => since,
            None => now,
        };
        leader.waiting_for_disk = waits.then_some((flushed, since));
        if waits && now >= since + most {
            self.resign();
        }
    }

    /// Leads no more, though nobody else does: its vote stays, no longer as a leader's, so nobody follows it.
    fn resign(&mut self) {
        self.vote.committed = false;
        self.step_down_to(Role::Passive);
    }

    /// After the lease is lost, sending and silence alternate, each for the configured time.
    fn is_quiet_after_quorum_loss(&self, now: Time) -> bool {
        let (Some(interval), Some(leader)) = (self.options.quorum_loss_probe_interval, self.leading()) else {
            return false;
        };
        let confirmed = self.quorum_acked(now).or(leader.since).unwrap_or(Time::ZERO);
        let lost_for = now.since(confirmed + self.options.lease).as_nanos();
        let phase = lost_for.checked_div(interval.as_nanos()).unwrap_or(1);
        lost_for > 0 && phase % 2 == 0
    }

    /// A leader outside the committed configuration hands over to the best voter, then steps down (thesis §4.2.2).
    fn leave_if_removed(&mut self, now: Time) {
        let committed = self.memberships.effective().log_id.as_ref() <= self.committed.as_ref();
        let removed = committed && !self.effective().contains(&self.id);
        let after = self.options.removed_leader_step_down.filter(|_| removed);
        let voters = self.effective().voters();
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
            let best = leader.peers.iter().filter(|(id, _)| voters.contains(id));
            let best = best.max_by(|(_, a), (_, b)| a.matched.cmp(&b.matched)).map(|(id, _)| id.clone());
            leader.removed_at = None;
            leader.stepping_down_at = Some(now + self.options.heartbeat_interval);
            if let Some(best) = best {
                self.transfer(now, best);
            }
        }
    }

    /// Every peer gets a heartbeat now, due or not.
    pub fn heartbeat_now(&mut self) {
        if let Role::Leader(leader) = &mut self.role {
            leader.peers.values_mut().for_each(|progress| progress.heartbeat_due = true);
        }
    }

    // --- Lease.

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
        let Some(leader) = self.leading() else {
            let known = self.leader().filter(|id| **id != self.id);
            return Some(Refusal::NotLeader(known.cloned()));
        };
        if let Some(to) = leader.transferring_to() {
            return Some(Refusal::Transferring(to.clone()));
        }
        if leader.stepping_down_at.is_some() {
            return Some(Refusal::NotLeader(None));
        }
        (!self.lease_is_valid(now)).then_some(Refusal::LeaseExpired)
    }

    // --- Proposals.

    /// Takes `count` entries, whose payload the caller holds, into the log.
    ///
    /// Returns the id of the last; those before it have the indexes right below.
    pub fn propose(&mut self, now: Time, count: u64) -> Result<LogId<L::Committed>, Refusal<L>> {
        if let Some(refusal) = self.refusal(now) {
            return Err(refusal);
        }
        let first = self.log.next_index();
        let last = first.checked_add(count.saturating_sub(1)).filter(|last| *last < u64::MAX);
        let last = LogId::new(self.vote.leader_id.to_committed(), last.ok_or(Refusal::LogFull)?);
        self.log.extend_to(last.clone());
        self.push_append(first);
        Ok(last)
    }

    /// Why `next` cannot be proposed now; `None` if it can.
    pub fn change_refusal(&self, now: Time, next: &Membership<L::NodeId>) -> Option<ChangeRefusal<L>> {
        if let Some(refusal) = self.refusal(now) {
            return Some(ChangeRefusal::Refused(refusal));
        }
        let effective = self.memberships.effective();
        let first = self.leading().map(|leader| leader.first.clone());
        if effective.log_id.as_ref() > self.committed.as_ref() {
            return Some(ChangeRefusal::InProgress);
        }
        match first {
            Some(first) if self.committed.as_ref() < Some(&first) => {
                return Some(ChangeRefusal::UncommittedLeader { first });
            }
            _ => {}
        }
        (!effective.membership.may_be_followed_by(next)).then_some(ChangeRefusal::Unsafe)
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
        self.memberships.push(Placed::new(Some(log_id.clone()), next));
        if let Role::Leader(leader) = &mut self.role {
            leader.finish = finish;
        }
        self.update_peers(log_id.index);
        self.pump_purge();
    }

    /// A joint configuration that is committed is ended by the uniform one.
    fn finish_joint(&mut self) {
        let effective = self.memberships.effective().clone();
        let Some(Leader { finish: Some(retain), first, transfer: None, .. }) = self.leading() else { return };
        let settled =
            effective.log_id.as_ref() <= self.committed.as_ref() && Some(first) <= self.committed.as_ref();
        if !settled || !effective.membership.is_joint() || self.log.next_index() == u64::MAX {
            return;
        }
        let next = effective.membership.to_uniform(*retain);
        let log_id = LogId::new(self.vote.leader_id.to_committed(), self.log.next_index());
        self.log.extend_to(log_id.clone());
        self.push_append(log_id.index);
        self.put_in_force(log_id.clone(), next, None);
        let membership = self.effective().clone();
        self.born.push(Born::Membership(log_id, membership));
    }

    // --- The commit.

    /// Commits what a quorum holds durably, if it is an entry of this leader (thesis §3.6.2). Invariants I7, I8.
    pub(crate) fn advance_leader_commit(&mut self, now: Time) {
        let Role::Leader(leader) = &self.role else { return };
        let own_matched = self.durable_last();
        let reached = quorum::reached(self.effective().configs(), |id| {
            if *id == self.id {
                own_matched.as_ref()
            } else {
                leader.peers.get(id).and_then(|p| p.matched.as_ref())
            }
        });
        let Some(Some(commit)) = reached else { return };
        if commit.leader_id != self.vote.leader_id.to_committed()
            || Some(commit) <= self.cluster_committed.as_ref()
        {
            return;
        }
        let commit = commit.clone();
        self.cluster_committed = Some(commit.clone());
        self.commit_to(commit);
        self.finish_joint();
        self.leave_if_removed(now);
    }

    // --- Feeding peers.

    /// What there is to pull for `peer`.
    pub fn peer_ready(&self, peer: &L::NodeId) -> PeerReady {
        PeerReady {
            append: self.has_append(peer),
            heartbeat: self.has_heartbeat(peer),
            ask: self.has_ask(peer),
            snapshot: self.has_snapshot(peer),
            session: self
                .leading()
                .and_then(|leader| leader.peers.get(peer))
                .map_or(0, |progress| progress.session),
        }
    }

    /// The index up to before which entries may be sent: those that can be read, and, unless it may run ahead of its
    /// own disk, only those that are durable here.
    fn sendable_end(&self) -> u64 {
        if self.options.send_unflushed {
            return self.readable_end;
        }
        self.durable_end
    }

    /// Whether [`next_append`](Self::next_append) has something for `peer`.
    pub fn has_append(&self, peer: &L::NodeId) -> bool {
        let Some(leader) = self.leading() else { return false };
        let Some(progress) = leader.peers.get(peer) else { return false };
        if progress.reading.is_some() || !progress.has_room(&self.options) {
            return false;
        }
        let told = next_index(self.cluster_committed.as_ref()) <= progress.commit_told;
        match progress.mode {
            Mode::Probe => progress.next <= self.sendable_end(),
            Mode::Stream => progress.next < self.sendable_end() || (!told && progress.is_idle()),
            Mode::Snapshot => false,
        }
    }

    /// The next entries for `peer`, to be read from the log store and sent.
    ///
    /// Report [`sent`](Self::sent) when they are read, or [`peer_lost`](Self::peer_lost). While probing, one request is
    /// under way; while streaming, as many as the window allows.
    pub fn next_append(&mut self, now: Time, peer: &L::NodeId) -> Option<SendAppend<L>> {
        if !self.has_append(peer) {
            return None;
        }
        let (sendable, purge_end, max) =
            (self.sendable_end(), self.purge_end, self.options.payload_entries_max.max(1));
        let commit = self.cluster_committed.clone();
        let vote = self.vote.clone();
        let Role::Leader(leader) = &mut self.role else { return None };
        let progress = leader.peers.get_mut(peer)?;
        let first = progress.next;
        if first < purge_end {
            self.sessions = self.sessions.saturating_add(1);
            progress.need_snapshot(self.sessions);
            return None;
        }
        let most = if progress.mode == Mode::Probe { PROBE_ENTRIES_MAX.min(max) } else { max };
        let end = sendable.min(first.saturating_add(most)).max(first);
        progress.reading = Some(first);
        progress.commit_told = next_index(commit.as_ref());
        let ticket = Ticket {
            leadership: leader.leadership,
            session: progress.session,
            round: leader.round,
            sent: now,
        };
        Some(SendAppend { ticket, vote, prev: self.log.before(first), first, end, commit })
    }

    /// The entries of a request were read, those up to before `end`, and it goes out now, `bytes` long.
    ///
    /// Returns false if it must not: leadership or the peer's stream has ended meanwhile.
    pub fn sent(&mut self, peer: &L::NodeId, ticket: &Ticket, end: u64, bytes: u64) -> bool {
        let Some(progress) = self.current(peer, ticket) else { return false };
        progress.sent(end, bytes);
        self.pump_purge();
        true
    }

    /// The peer answered the oldest request of its stream; `prev` is what that request stood behind.
    pub fn append_answer(
        &mut self,
        now: Time,
        peer: &L::NodeId,
        ticket: &Ticket,
        prev: Option<&LogId<L::Committed>>,
        reply: &AppendReply<L>,
    ) {
        match reply {
            AppendReply::HigherVote(vote) => {
                self.outvoted(now, ticket, vote);
                // If it is not greater after all, the request is lost like any other.
                self.peer_lost(peer, ticket);
            }
            AppendReply::Success(matched) => {
                if !matched.as_ref().is_none_or(|matched| self.log.has(matched)) {
                    self.peer_lost(peer, ticket);
                    return;
                }
                let (log_begin, log_end) = (self.purge_end, self.log.next_index());
                let Some(progress) = self.current(peer, ticket) else { return };
                progress.heard(ticket);
                let whole = progress.matched_up_to(matched.clone(), log_begin, log_end);
                if !whole {
                    self.peer_lost(peer, ticket);
                }
                self.advance_leader_commit(now);
            }
            AppendReply::Conflict => {
                let Some(progress) = self.current(peer, ticket) else { return };
                progress.heard(ticket);
                match progress.lacks(next_index(prev)) {
                    Lacks::Acknowledged => self.revert(peer),
                    Lacks::Overtaken => self.peer_lost(peer, ticket),
                    Lacks::Parted => self.probe_below(peer, prev),
                }
            }
        }
    }

    /// The entry at `prev` is not in the peer's log.
    fn probe_below(&mut self, peer: &L::NodeId, prev: Option<&LogId<L::Committed>>) {
        self.sessions = self.sessions.saturating_add(1);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.peers.get_mut(peer) else { return };
        progress.conflict_at(prev.map_or(0, |prev| prev.index), self.purge_end, self.sessions);
        self.pump_purge();
    }

    /// The stream to `peer` is broken, or an answer did not come: everything under way is void.
    pub fn peer_lost(&mut self, peer: &L::NodeId, ticket: &Ticket) {
        self.sessions = self.sessions.saturating_add(1);
        let session = self.sessions;
        if let Some(progress) = self.current(peer, ticket) {
            progress.restart(session);
            self.pump_purge();
        }
    }

    /// The stream with this number is broken or over: everything under way in it is void.
    pub fn stream_lost(&mut self, peer: &L::NodeId, session: u64) {
        let next = self.sessions.saturating_add(1);
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(progress) = leader.peers.get_mut(peer).filter(|progress| progress.session == session) {
            progress.restart(next);
            self.sessions = next;
            self.pump_purge();
        }
    }

    /// The progress of `peer`, if `ticket` belongs to the stream that is under way.
    fn current(&mut self, peer: &L::NodeId, ticket: &Ticket) -> Option<&mut Progress<L::Committed>> {
        let Role::Leader(leader) = &mut self.role else { return None };
        let current = leader.leadership == ticket.leadership;
        leader.peers.get_mut(peer).filter(|progress| current && progress.is_current(ticket))
    }

    /// A peer answered that it lacks what it had acknowledged.
    fn revert(&mut self, peer: &L::NodeId) {
        let allowed = self.options.allow_log_reversion;
        let (log_begin, log_end) = (self.purge_end, self.log.next_index());
        self.sessions = self.sessions.saturating_add(1);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.peers.get_mut(peer) else { return };
        if !allowed && !progress.allow_reversion_once {
            let matched = progress.matched.clone();
            self.events.push(Event::Reverted { peer: peer.clone(), matched });
        }
        progress.revert(self.sessions, log_begin, log_end);
    }

    /// The operator knows that `peer` lost its log. Returns false if there is no such peer.
    pub fn allow_reversion(&mut self, peer: &L::NodeId, allow: bool) -> bool {
        let Role::Leader(leader) = &mut self.role else { return false };
        let Some(progress) = leader.peers.get_mut(peer) else { return false };
        progress.allow_reversion_once = allow;
        true
    }

    /// A peer follows another vote. If it is greater, this node no longer leads.
    fn outvoted(&mut self, now: Time, ticket: &Ticket, vote: &Vote<L>) {
        let current = self.leading().is_some_and(|leader| leader.leadership == ticket.leadership);
        if !current || !(*vote > self.vote) {
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

    // --- Heartbeats.

    /// Whether [`next_heartbeat`](Self::next_heartbeat) has something for `peer`.
    pub fn has_heartbeat(&self, peer: &L::NodeId) -> bool {
        let progress = self
            .leading()
            .filter(|leader| !leader.transfer_is_on())
            .and_then(|leader| leader.peers.get(peer));
        progress.is_some_and(|progress| progress.heartbeat_due && !progress.heartbeat_inflight)
    }

    /// The heartbeat that is due for `peer`. One is under way at a time: the next waits for its answer or its failure.
    pub fn next_heartbeat(&mut self, now: Time, peer: &L::NodeId) -> Option<SendHeartbeat<L>> {
        if !self.has_heartbeat(peer) {
            return None;
        }
        let (vote, commit) = (self.vote.clone(), self.cluster_committed.clone());
        let Role::Leader(leader) = &mut self.role else { return None };
        let progress = leader.peers.get_mut(peer)?;
        progress.heartbeat_due = false;
        progress.heartbeat_inflight = true;
        let ticket = Ticket {
            leadership: leader.leadership,
            session: progress.session,
            round: leader.round,
            sent: now,
        };
        Some(SendHeartbeat { ticket, vote, prev: progress.matched.clone(), commit })
    }

    /// The peer answered a heartbeat, or did not: `None`.
    pub fn heartbeat_answer(
        &mut self,
        now: Time,
        peer: &L::NodeId,
        ticket: &Ticket,
        reply: Option<&AppendReply<L>>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.leadership != ticket.leadership {
            return;
        }
        let Some(progress) = leader.peers.get_mut(peer) else { return };
        progress.heartbeat_inflight = false;
        match reply {
            None => {}
            Some(AppendReply::Success(_)) => progress.heard(ticket),
            Some(AppendReply::HigherVote(vote)) => self.outvoted(now, ticket, vote),
            Some(AppendReply::Conflict) => {
                progress.heard(ticket);
                // An answer from before the stream began anew says nothing about it.
                if progress.is_current(ticket) && progress.matched.is_some() {
                    self.revert(peer);
                }
            }
        }
    }

    // --- Snapshots to peers.

    /// Whether [`next_snapshot`](Self::next_snapshot) has something for `peer`.
    pub fn has_snapshot(&self, peer: &L::NodeId) -> bool {
        let progress = self.leading().and_then(|leader| leader.peers.get(peer));
        progress.is_some_and(|progress| progress.mode == Mode::Snapshot && !progress.snapshot_sending)
    }

    /// `peer` needs the newest snapshot.
    pub fn next_snapshot(&mut self, now: Time, peer: &L::NodeId) -> Option<SendSnapshot<L>> {
        if !self.has_snapshot(peer) {
            return None;
        }
        let vote = self.vote.clone();
        let Role::Leader(leader) = &mut self.role else { return None };
        let progress = leader.peers.get_mut(peer)?;
        progress.snapshot_sending = true;
        let ticket = Ticket {
            leadership: leader.leadership,
            session: progress.session,
            round: leader.round,
            sent: now,
        };
        Some(SendSnapshot { ticket, vote })
    }

    /// The peer answered with its vote after a snapshot up to `last`.
    pub fn snapshot_answer(
        &mut self,
        now: Time,
        peer: &L::NodeId,
        ticket: &Ticket,
        last: Option<&LogId<L::Committed>>,
        vote: &Vote<L>,
    ) {
        if *vote != self.vote {
            self.outvoted(now, ticket, vote);
            self.peer_lost(peer, ticket);
            return;
        }
        self.sessions = self.sessions.saturating_add(1);
        let session = self.sessions;
        if let Some(progress) = self.current(peer, ticket) {
            progress.heard(ticket);
            progress.got_snapshot(last.cloned(), session);
            self.advance_leader_commit(now);
        }
    }

    // --- Handing over (thesis §3.10).

    /// Hands leadership to `to`: takes no proposals from now on, tells the voters, and waits to be outvoted.
    ///
    /// Does nothing if this node does not lead, or `to` is not another voter.
    pub fn transfer(&mut self, now: Time, to: L::NodeId) {
        let mut untold = self.effective().voters();
        untold.remove(&self.id);
        let (from, last) = (self.vote.clone(), self.log.last().cloned());
        let give_up_at = now + self.options.election_timeout_max * 2;
        let known = untold.contains(&to);
        let Role::Leader(leader) = &mut self.role else { return };
        if known {
            leader.transfer = Some(Handover { request: Transfer { from, to, last }, untold, give_up_at });
            leader.lease_given_back = true;
        }
    }

    pub(crate) fn next_transfer(&mut self, peer: &L::NodeId) -> Option<Transfer<L>> {
        let Role::Leader(leader) = &mut self.role else { return None };
        let handover = leader.transfer.as_mut()?;
        handover.untold.remove(peer).then(|| handover.request.clone())
    }
}

impl<L: RaftLeaderId> Leader<L> {
    /// While leadership moves, entries still flow (the target needs them), heartbeats do not.
    fn transfer_is_on(&self) -> bool {
        self.transfer.is_some()
    }
}

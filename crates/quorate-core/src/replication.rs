//! Feed peers: entries, signs of life, snapshots; and take their answers (thesis §3.5, §10.2.1).

use crate::ids::LogId;
use crate::ids::RaftLeaderId;
use crate::ids::Vote;
use crate::log::next_index;
use crate::message::AppendReply;
use crate::message::Ticket;
use crate::mutant;
use crate::options::Time;
use crate::progress::Lacks;
use crate::progress::Mode;
use crate::progress::PROBE_ENTRIES_MAX;
use crate::progress::Progress;
use crate::replica::Replica;
use crate::replica::Role;
use crate::work::Event;
use crate::work::PeerReady;
use crate::work::SendAppend;
use crate::work::SendHeartbeat;
use crate::work::SendSnapshot;

impl<L: RaftLeaderId> Replica<L> {
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
        if leader.quiet || progress.reading.is_some() || !progress.has_room(&self.options) {
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
        let (leadership, round) = (leader.leadership, leader.round);
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
        let ticket = Ticket { leadership, session: progress.session, round, sent: now };
        let prev = self.log.before(first);
        debug_assert!(next_index(prev.as_ref()) == first, "I4: a request says what its entries stand behind");
        debug_assert!(first <= end, "I11: only entries that can be read are sent");
        Some(SendAppend { ticket, vote, prev, first, end, commit })
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

    /// Whether [`next_heartbeat`](Self::next_heartbeat) has something for `peer`.
    pub fn has_heartbeat(&self, peer: &L::NodeId) -> bool {
        let progress = self
            .leading()
            // While leadership moves, entries still flow, since the next leader needs them; signs of life do not.
            .filter(|leader| leader.transfer.is_none() && !leader.quiet)
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
        let (leadership, round) = (leader.leadership, leader.round);
        let progress = leader.peers.get_mut(peer)?;
        progress.heartbeat_due = false;
        progress.heartbeat_inflight = true;
        let ticket = Ticket { leadership, session: progress.session, round, sent: now };
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
        if leader.leadership != ticket.leadership && !mutant!(50) {
            return;
        }
        let Some(progress) = leader.peers.get_mut(peer) else { return };
        progress.heartbeat_inflight = false;
        match reply {
            None => {}
            Some(AppendReply::Success(_)) if mutant!(56) => progress.heard(&Ticket { sent: now, ..*ticket }),
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

    /// Every peer gets a heartbeat now, due or not.
    pub fn heartbeat_now(&mut self) {
        if let Role::Leader(leader) = &mut self.role {
            leader.peers.values_mut().for_each(|progress| progress.heartbeat_due = true);
        }
    }

    /// Whether [`next_snapshot`](Self::next_snapshot) has something for `peer`.
    pub fn has_snapshot(&self, peer: &L::NodeId) -> bool {
        let leader = self.leading().filter(|leader| !leader.quiet);
        let progress = leader.and_then(|leader| leader.peers.get(peer));
        progress.is_some_and(|progress| progress.mode == Mode::Snapshot && !progress.snapshot_sending)
    }

    /// `peer` needs the newest snapshot.
    pub fn next_snapshot(&mut self, now: Time, peer: &L::NodeId) -> Option<SendSnapshot<L>> {
        if !self.has_snapshot(peer) {
            return None;
        }
        let vote = self.vote.clone();
        let Role::Leader(leader) = &mut self.role else { return None };
        let (leadership, round) = (leader.leadership, leader.round);
        let progress = leader.peers.get_mut(peer)?;
        progress.snapshot_sending = true;
        let ticket = Ticket { leadership, session: progress.session, round, sent: now };
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

    /// After the lease is lost, sending and silence alternate, each for the configured time.
    pub(crate) fn is_quiet_after_quorum_loss(&self, now: Time) -> bool {
        let (Some(interval), Some(leader)) = (self.options.quorum_loss_probe_interval, self.leading()) else {
            return false;
        };
        let confirmed = self.quorum_acked(now).or(leader.since).unwrap_or(Time::ZERO);
        let lost_for = now.since(confirmed + self.options.lease).as_nanos();
        let phase = lost_for.checked_div(interval.as_nanos()).unwrap_or(1);
        lost_for > 0 && phase % 2 == 0
    }
}

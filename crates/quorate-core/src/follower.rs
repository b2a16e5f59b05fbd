//! Accept, reject or truncate; follow the commit; take a snapshot (thesis §3.5, §3.6, §5.1).

use core::time::Duration;

use crate::ids::LogId;
use crate::ids::RaftLeaderId;
use crate::ids::Vote;
use crate::log::next_index;
use crate::membership::Membership;
use crate::membership::Placed;
use crate::message::Append;
use crate::message::AppendReply;
use crate::message::Reply;
use crate::message::WriteSeq;
use crate::mutant;
use crate::options::Time;
use crate::replica::Broken;
use crate::replica::Replica;
use crate::replica::Role;
use crate::work::Event;
use crate::work::Write;

/// What became of an append request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended<L: RaftLeaderId> {
    /// The entries from this index on are new and were queued to be written; `None` if none is.
    pub new_from: Option<u64>,
    /// What to answer, and when.
    pub reply: Reply<AppendReply<L>>,
}

/// What became of an offered snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Install<L: RaftLeaderId> {
    /// It will be handed out by [`next_install`](Replica::next_install); answer when it is installed.
    Accepted,
    /// All that it covers is committed here already: answer with this vote.
    Covered(Reply<Vote<L>>),
    /// The sender is not the leader: this vote says so.
    HigherVote(Reply<Vote<L>>),
    /// Another snapshot is being installed; offer it again after that.
    Busy,
    /// No leader can have sent it: its last entry contradicts its vote or the committed log here.
    Impossible(&'static str),
}

/// A snapshot on its way into the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installing<L: RaftLeaderId> {
    last: LogId<L::Committed>,
    membership: Placed<L::Committed, L::NodeId>,
    /// Conflicting entries must be gone from the disk first: after a crash in between, they would stand behind it.
    after: WriteSeq,
    handed_out: bool,
}

impl<L: RaftLeaderId> Replica<L> {
    /// Entries, or a sign of life, from a leader.
    ///
    /// Entries that are here already stay as they are, also those after the ones sent: an old or repeated request
    /// takes nothing away. Only a real conflict truncates.
    pub fn append(&mut self, now: Time, request: &Append<L>) -> Appended<L> {
        let refuse = |message, after| Appended { new_from: None, reply: Reply { message, after } };
        if !self.follow(now, &request.vote) {
            return refuse(AppendReply::HigherVote(self.vote.clone()), self.vote_seq);
        }
        let last = request.entries.last().or(request.prev.as_ref());
        let consecutive = request.entries.first_index() == next_index(request.prev.as_ref())
            && request.entries.first().is_none_or(|first| Some(&first) > request.prev.as_ref())
            && last.is_none_or(|last| last.leader_id <= request.vote.leader_id.to_committed());
        if !consecutive || !self.holds_or_removes(request.prev.as_ref()) {
            return refuse(AppendReply::Conflict, self.vote_seq);
        }
        let new_from = self.log.first_missing(&request.entries);
        if let Some(index) = new_from
            && !self.take_entries(index, request)
        {
            return refuse(AppendReply::Conflict, self.vote_seq);
        }
        let verified = request.entries.last().or(request.prev.as_ref()).cloned();
        let verified = if mutant!(59) { self.log.last().cloned() } else { verified };
        self.accepted = self.accepted.take().max(verified.clone());
        self.leader_commit = self.leader_commit.take().max(request.commit.clone());
        self.follow_commit();
        debug_assert!(verified.as_ref().is_none_or(|id| self.log.has(id)), "I4: what matches is in the log");
        let after = self.durable_after(verified.as_ref());
        debug_assert!(after <= self.seq, "I13: a reply waits for what was asked for");
        Appended { new_from, reply: Reply { message: AppendReply::Success(verified), after } }
    }

    /// Recognises the sender of a leader's message as leader, or not.
    fn follow(&mut self, now: Time, vote: &Vote<L>) -> bool {
        // A message of this very node, come back by a wrong address, must not make it its own follower.
        if !vote.committed || *vote.leader_id.node_id() == self.id {
            return false;
        }
        if *vote > self.vote {
            self.save_vote(now, vote.clone());
        } else if *vote != self.vote && !mutant!(10) {
            return false;
        }
        if !matches!(self.role, Role::Passive) {
            self.step_down_to(Role::Passive);
        }
        self.vote_heard = if mutant!(42) { self.vote_heard } else { Some(now) };
        self.vote_lease = self.options.lease;
        // Whoever held the greater log has had its turn.
        self.greater_log_seen = false;
        true
    }

    /// Whether the entry before the sent ones is here. If another stands in its place, that one goes.
    fn holds_or_removes(&mut self, prev: Option<&LogId<L::Committed>>) -> bool {
        let Some(prev) = prev else { return true };
        // What is purged is committed, and every leader holds it.
        if self.log.has(prev) || mutant!(9) && prev.index < self.log.next_index() {
            return true;
        }
        if prev.index < next_index(self.committed.as_ref()) {
            self.event(Event::Contradiction(prev.index));
        } else if self.log.get(prev.index).is_some() {
            self.truncate_from(prev.index);
        }
        false
    }

    /// Takes the entries from `index` on; returns false if they would replace committed ones.
    fn take_entries(&mut self, index: u64, request: &Append<L>) -> bool {
        let leader_before = self.log.before(index).map(|before| before.leader_id);
        let leader_here =
            request.entries.runs().iter().find(|run| run.index >= index).map(|run| &run.leader_id);
        if index < next_index(self.committed.as_ref()) || leader_here < leader_before.as_ref() {
            self.event(Event::Contradiction(index));
            return false;
        }
        if index < self.log.next_index() {
            self.truncate_from(index);
        }
        for run in request.entries.runs() {
            if run.index >= index {
                self.log.extend_to(run.clone());
            }
        }
        for placed in &request.memberships {
            if placed.log_id.as_ref().is_some_and(|log_id| log_id.index >= index) && !mutant!(52) {
                self.memberships.push(placed.clone());
            }
        }
        self.push_append(index, u64::MAX);
        true
    }

    /// A follower commits what its leader committed, as far as its own log is known to agree with the leader's.
    fn follow_commit(&mut self) {
        let told = next_index(self.leader_commit.as_ref());
        let accepted = if mutant!(8) { self.log.next_index() } else { next_index(self.accepted.as_ref()) };
        let end = told.min(accepted);
        if let Some(commit) = self.log.before(end) {
            if Some(&commit) > self.cluster_committed.as_ref() {
                self.cluster_committed = Some(commit.clone());
            }
            self.commit_to(commit);
        }
    }

    /// The write after which the vote and the log up to `verified` are durable.
    ///
    /// A heartbeat about what is durable already waits for no append behind it. While a truncation is not durable,
    /// it is not told which of the writes before it still count: then all of them.
    fn durable_after(&self, verified: Option<&LogId<L::Committed>>) -> WriteSeq {
        let end = next_index(verified);
        if end <= self.durable_end || mutant!(18) {
            return self.vote_seq;
        }
        let at = self.unflushed.partition_point(|(_, point)| next_index(point.last.as_ref()) < end);
        match self.unflushed.get(at) {
            Some((seq, _)) if self.cuts.is_empty() || mutant!(24) => (*seq).max(self.vote_seq),
            _ => self.seq,
        }
    }

    // --- Snapshots.

    /// A leader offers its snapshot up to `last`, with the membership as of there.
    pub fn install(
        &mut self,
        now: Time,
        vote: &Vote<L>,
        last: &LogId<L::Committed>,
        membership: Placed<L::Committed, L::NodeId>,
    ) -> Install<L> {
        if !self.follow(now, vote) {
            return Install::HigherVote(Reply { message: self.vote.clone(), after: self.vote_seq });
        }
        // One that has a smaller leader can still stand behind the end, or in the place of it.
        let beyond = |at: &LogId<L::Committed>| at > last || at != last && at.index >= last.index;
        if membership.log_id.as_ref().is_some_and(beyond) || last.index == u64::MAX {
            return Install::Impossible(
                "the snapshot ends beyond what a log can hold, or before its membership",
            );
        }
        if last.leader_id > vote.leader_id.to_committed() {
            return Install::Impossible(
                "the snapshot's last entry can not be owned by the leader that sent it",
            );
        }
        let committed = self.committed.as_ref();
        if last.index < next_index(committed) && !mutant!(51) {
            if Some(last) > committed {
                return Install::Impossible("the snapshot contradicts locally committed logs");
            }
            return Install::Covered(Reply { message: self.vote.clone(), after: self.vote_seq });
        }
        if Some(last) <= committed && !mutant!(51) {
            return Install::Impossible("the snapshot contradicts locally committed logs");
        }
        if self.installing.is_some() {
            return Install::Busy;
        }
        if self.log.get(last.index).is_some_and(|own| own != *last) && !mutant!(67) {
            // Only what would stand behind the snapshot: what lies below goes with it, and until it is installed, it
            // may be what this node has acknowledged and a quorum rests on.
            self.truncate_from(last.index);
        }
        let after = self.seq;
        let none = || Placed::new(membership.log_id.clone(), Membership::default());
        let membership = if mutant!(29) { none() } else { membership };
        self.installing = Some(Installing { last: last.clone(), membership, after, handed_out: false });
        Install::Accepted
    }

    pub(crate) fn install_is_due(&self) -> bool {
        let idle = self.applied == self.applying;
        self.installing.as_ref().is_some_and(|i| idle && !i.handed_out && i.after <= self.flushed_seq)
    }

    /// The snapshot that the state machine is to install now, by its last entry.
    pub fn next_install(&mut self) -> Option<LogId<L::Committed>> {
        if !self.install_is_due() {
            return None;
        }
        let installing = self.installing.as_mut()?;
        installing.handed_out = true;
        Some(installing.last.clone())
    }

    /// The state machine holds the snapshot: the log up to it is obsolete.
    ///
    /// Returns what to answer to the sender.
    pub fn installed(&mut self) -> Option<Reply<Vote<L>>> {
        let Installing { last, membership, handed_out, .. } = self.installing.take()?;
        debug_assert!(handed_out, "I17: only what was handed out is installed");
        debug_assert!(self.applied <= Some(last.clone()), "I17: a snapshot never moves the state back");
        if !self.log.has(&last) && self.log.next_index() > last.index {
            self.break_off("I4", "an entry that conflicts with the installed snapshot came into the log");
            return None;
        }
        self.log.purge(last.clone());
        self.memberships.reset_to(membership, last.index);
        self.memberships.commit(&last);
        for cursor in [
            &mut self.committed,
            &mut self.cluster_committed,
            &mut self.commit_saving,
            &mut self.commit_saved,
            &mut self.applied,
            &mut self.applying,
            &mut self.snapshot,
            &mut self.accepted,
        ] {
            if next_index(cursor.as_ref()) <= last.index {
                *cursor = Some(last.clone());
            }
        }
        self.note_purged_durable();
        self.purge_end = self.purge_end.max(next_index(Some(&last)));
        self.snapshot_tried = self.snapshot_tried.max(next_index(Some(&last)));
        // Appends that are queued are written first; the purge takes them along.
        self.writes.push_back(Write::Purge { upto: last.clone() });
        self.event(Event::Installed(last));
        Some(Reply { message: self.vote.clone(), after: self.vote_seq })
    }

    /// The state machine could not install the snapshot and holds what it held before.
    pub fn install_failed(&mut self) {
        self.installing = None;
    }

    /// Leaves leadership or candidacy for `role`.
    pub(crate) fn step_down_to(&mut self, role: Role<L>) {
        let led = matches!(self.role, Role::Leader(_));
        self.role = role;
        if led {
            self.vote_lease = Duration::ZERO;
            self.event(Event::SteppedDown(self.vote.clone()));
            self.pump_purge();
        }
    }

    /// Why the replica cannot go on, if it cannot.
    pub fn broken(&self) -> Option<Broken> {
        self.broken
    }
}

//! One member of a cluster: all of its state, its doors, and the invariants that it can see.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Display;
use core::fmt::Formatter;
use core::time::Duration;

use crate::election::Campaign;
use crate::follower::Installing;
use crate::ids::LogId;
use crate::ids::RaftLeaderId;
use crate::ids::Vote;
use crate::leader::Leader;
use crate::log::Log;
use crate::log::next_index;
use crate::membership::Membership;
use crate::membership::Memberships;
use crate::membership::Placed;
use crate::message::WriteSeq;
use crate::mutant;
use crate::options::Options;
use crate::options::Time;
use crate::work::Apply;
use crate::work::Born;
use crate::work::Event;
use crate::work::FlushPoint;
use crate::work::Ready;
use crate::work::Write;

/// Most events kept until they are taken; more than a step can make, so that none is lost.
const EVENTS_MAX: usize = 1024;

/// What a replica was when it last stopped, as its storage tells; the default is a fresh node's.
///
/// The caller sees to it that the log begins where the snapshot ends or before, and holds nothing that what is applied
/// contradicts.
#[derive(Clone, Debug)]
pub struct Stored<L: RaftLeaderId> {
    /// The saved vote.
    pub vote: Option<Vote<L>>,
    /// The log's shape.
    pub log: Log<L::Committed>,
    /// The last entry that the state machine has applied.
    pub applied: Option<LogId<L::Committed>>,
    /// The newest committed membership: the last but one of the log, or that of the state machine. One is proposed
    /// only when the one before is committed, so the last but one always is.
    pub committed: Placed<L::Committed, L::NodeId>,
    /// The last membership of the log, if it stands behind `committed`.
    pub effective: Option<Placed<L::Committed, L::NodeId>>,
    /// The last entry that the current snapshot covers.
    pub snapshot: Option<LogId<L::Committed>>,
}

impl<L: RaftLeaderId> Default for Stored<L> {
    fn default() -> Self {
        Self {
            vote: None,
            log: Log::default(),
            applied: None,
            committed: Placed::new(None, Membership::default()),
            effective: None,
            snapshot: None,
        }
    }
}

/// What a replica is to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role<L: RaftLeaderId> {
    /// It follows, or waits.
    Passive,
    /// It asks for pre-votes.
    PreCandidate(Campaign<L>),
    /// It asks for votes.
    Candidate(Campaign<L>),
    /// It leads.
    Leader(Leader<L>),
}

/// What a replica shows as its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerState {
    /// Gets the log, and has no vote.
    Learner,
    /// A voter that follows.
    Follower,
    /// A voter that asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// An invariant does not hold: the node must stop, and say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The number of the invariant, as `ARCHITECTURE.md` lists it.
    pub invariant: &'static str,
    /// What it says.
    pub rule: &'static str,
}

impl Display for Broken {
    fn fmt(&self, f: &mut Formatter<'_>) -> core::fmt::Result {
        write!(f, "invariant {} does not hold: {}", self.invariant, self.rule)
    }
}

impl core::error::Error for Broken {}

/// One member of a cluster, as a value.
///
/// It is told what happened through its doors, and asked for work by pulling: writes for the log store, requests for
/// each peer, entries for the state machine. It does no I/O, reads no clock and rolls no dice.
///
/// # Invariants
///
/// What it keeps, by number. [`check`](Self::check) asserts what one node can see of them; the tests of this crate watch
/// whole clusters for the rest.
///
/// | | |
/// |---|---|
/// | I1 | In one term a node votes once: its vote is only ever replaced by a greater one, and a grant leaves when it is durable. |
/// | I2 | A leader leads by its own vote, which a quorum granted. |
/// | I3 | A leader never removes an entry of its own log, and none in it is newer than the leader. |
/// | I4 | Entries with the same id stand behind the same entries, everywhere. |
/// | I5 | What is committed is never removed, nor replaced. |
/// | I6 | A leader holds all that leaders before it committed: nobody votes for a log that is less up to date. |
/// | I7 | What a leader counts as committed is durable on a quorum of every voter set. |
/// | I8 | A leader counts copies of its own entries alone; those before them are committed along with them. |
/// | I9 | Vote, commit and what is applied never go back. |
/// | I10 | Every entry is handed to the state machine once, in order. |
/// | I11 | purged ≤ snapshot ≤ applied ≤ committed ≤ last; nothing is applied that cannot be read. |
/// | I12 | The last membership in the log is in force; two that follow each other share a node in any two quorums. |
/// | I13 | What is acknowledged is durable. |
/// | I14 | A read sees whatever anyone saw before it began. |
/// | I15 | While a leader reads by its lease, no other leads. |
/// | I16 | (of storage: nothing rotten is served) |
/// | I17 | Installing a snapshot never moves the state machine back, and brings the membership as of its end. |
/// | I18 | When faults end, there is a leader, it commits, and a joint configuration is left without help. |
#[derive(Clone, Debug)]
pub struct Replica<L: RaftLeaderId> {
    pub(crate) id: L::NodeId,
    pub(crate) options: Options,

    /// I1, I9: only ever replaced by a greater one.
    pub(crate) vote: Vote<L>,
    /// When the vote was last confirmed by its leader, or changed.
    pub(crate) vote_heard: Option<Time>,
    /// Until when no other candidate gets a vote, counted from `vote_heard`.
    pub(crate) vote_lease: Duration,
    /// The write that saves the vote.
    pub(crate) vote_seq: WriteSeq,
    pub(crate) role: Role<L>,
    /// No campaign is for a term before this one.
    pub(crate) term_min: L::Term,
    /// The current wait for a leader, drawn anew at each campaign.
    pub(crate) election_timeout: Duration,
    /// A peer has a greater log: wait longer, once, to let it go first.
    pub(crate) greater_log_seen: bool,
    /// Numbers leaderships and the streams within them, so that a late answer is known as one.
    pub(crate) sessions: u64,

    /// All entry ids that this replica holds or will have written.
    pub(crate) log: Log<L::Committed>,
    pub(crate) memberships: Memberships<L::Committed, L::NodeId>,
    /// The last entry that agrees with the leader that is followed now.
    pub(crate) accepted: Option<LogId<L::Committed>>,
    /// The commit that a leader told, which may lie beyond what is accepted.
    pub(crate) leader_commit: Option<LogId<L::Committed>>,
    pub(crate) committed: Option<LogId<L::Committed>>,
    /// The commit as a leader established it since the start.
    pub(crate) cluster_committed: Option<LogId<L::Committed>>,
    /// The last commit handed to the log store.
    pub(crate) commit_saving: Option<LogId<L::Committed>>,
    pub(crate) commit_saved: Option<LogId<L::Committed>>,
    pub(crate) applied: Option<LogId<L::Committed>>,
    /// The last entry handed to the state machine.
    pub(crate) applying: Option<LogId<L::Committed>>,

    pub(crate) seq: WriteSeq,
    pub(crate) writes: VecDeque<Write<L>>,
    /// What each write that is not durable yet makes durable.
    pub(crate) unflushed: VecDeque<(WriteSeq, FlushPoint<L>)>,
    pub(crate) flushed_seq: WriteSeq,
    pub(crate) flushed: FlushPoint<L>,
    /// Truncations that are not durable yet: each write, and the first index that it removes.
    pub(crate) cuts: VecDeque<(WriteSeq, u64)>,
    /// I13: entries below this index are durable, and no crash brings back others in their place.
    pub(crate) durable_end: u64,
    /// Entries below this index can be read from the log store and are those of this log.
    pub(crate) readable_end: u64,

    pub(crate) snapshot: Option<LogId<L::Committed>>,
    /// The index up to which a snapshot was last tried.
    pub(crate) snapshot_tried: u64,
    pub(crate) snapshot_wanted: bool,
    pub(crate) snapshot_building: bool,
    /// The end of a snapshot that covers more than is known to be applied.
    pub(crate) built_ahead: Option<LogId<L::Committed>>,
    pub(crate) installing: Option<Installing<L>>,
    /// Entries below this index are to be purged as soon as no peer is being sent them.
    pub(crate) purge_end: u64,
    pub(crate) purge_done: Option<LogId<L::Committed>>,

    /// How often heartbeats came due by time.
    pub(crate) heartbeat_rounds: u64,
    pub(crate) born: Vec<Born<L>>,
    pub(crate) events: Vec<Event<L>>,
    pub(crate) broken: Option<Broken>,
}

impl<L: RaftLeaderId> Replica<L> {
    /// A replica that goes on from what its storage holds; an empty storage makes a fresh one.
    ///
    /// A node that followed a leader keeps its promise to that leader over the restart: it votes for nobody else
    /// until a lease after `now`.
    pub fn new(id: L::NodeId, options: Options, stored: Stored<L>, now: Time, dice: u64) -> Self {
        let fresh = Vote::new(L::Term::default(), id.clone());
        let vote = stored.vote.filter(|vote| vote.committed || !mutant!(4)).unwrap_or(fresh);
        let flushed = FlushPoint { vote: vote.clone(), last: stored.log.last().cloned() };
        let mut memberships = Memberships::new(stored.committed);
        if let Some(effective) = stored.effective {
            memberships.push(effective);
        }
        let mut replica = Self {
            election_timeout: options.election_timeout(dice),
            vote_lease: if vote.committed && !mutant!(57) { options.lease } else { Duration::ZERO },
            vote_heard: Some(now),
            vote_seq: 0,
            role: Role::Passive,
            term_min: L::Term::default(),
            greater_log_seen: false,
            sessions: 0,
            memberships,
            accepted: None,
            leader_commit: None,
            committed: stored.applied.clone(),
            cluster_committed: None,
            commit_saving: stored.applied.clone(),
            commit_saved: stored.applied.clone(),
            applied: stored.applied.clone(),
            applying: stored.applied,
            seq: 0,
            writes: VecDeque::new(),
            unflushed: VecDeque::new(),
            flushed_seq: 0,
            flushed,
            cuts: VecDeque::new(),
            durable_end: stored.log.next_index(),
            readable_end: stored.log.next_index(),
            snapshot_tried: next_index(stored.snapshot.as_ref()),
            snapshot: stored.snapshot,
            snapshot_wanted: false,
            snapshot_building: false,
            built_ahead: None,
            installing: None,
            purge_end: stored.log.first_index(),
            purge_done: stored.log.purged().cloned(),
            heartbeat_rounds: 0,
            born: Vec::new(),
            events: Vec::new(),
            broken: None,
            log: stored.log,
            id,
            options,
            vote,
        };
        replica.outgrow_log();
        replica.resume_leadership(now);
        replica
    }

    // --- What it shows.

    /// This node.
    pub fn id(&self) -> &L::NodeId {
        &self.id
    }

    /// The settings in force, to be changed while running.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// The vote in memory; it may not be durable yet.
    pub fn vote(&self) -> &Vote<L> {
        &self.vote
    }

    /// When the vote changed or its leader was last heard.
    pub fn vote_heard(&self) -> Option<Time> {
        self.vote_heard
    }

    /// The log's shape.
    pub fn log(&self) -> &Log<L::Committed> {
        &self.log
    }

    /// The last entry known here to be committed.
    pub fn committed(&self) -> Option<&LogId<L::Committed>> {
        self.committed.as_ref()
    }

    /// The last committed entry, as established by a leader since this replica started.
    pub fn cluster_committed(&self) -> Option<&LogId<L::Committed>> {
        self.cluster_committed.as_ref()
    }

    /// The last applied entry.
    pub fn applied(&self) -> Option<&LogId<L::Committed>> {
        self.applied.as_ref()
    }

    /// What is durable.
    pub fn flush_point(&self) -> &FlushPoint<L> {
        &self.flushed
    }

    /// The number of the last durable write.
    pub fn flushed_seq(&self) -> WriteSeq {
        self.flushed_seq
    }

    /// The last entry that the newest snapshot covers.
    pub fn snapshot(&self) -> Option<&LogId<L::Committed>> {
        self.snapshot.as_ref()
    }

    /// The last entry that the log store has purged.
    pub fn purged(&self) -> Option<&LogId<L::Committed>> {
        self.purge_done.as_ref()
    }

    /// The newest committed membership.
    pub fn committed_membership(&self) -> &Placed<L::Committed, L::NodeId> {
        self.memberships.committed()
    }

    /// The membership in force: the last in the log.
    pub fn effective_membership(&self) -> &Placed<L::Committed, L::NodeId> {
        self.memberships.effective()
    }

    /// What this replica is to the others.
    pub fn server_state(&self) -> ServerState {
        match &self.role {
            Role::Leader(_) => ServerState::Leader,
            Role::Candidate(_) => ServerState::Candidate,
            _ if self.effective().is_voter(&self.id) => ServerState::Follower,
            _ => ServerState::Learner,
        }
    }

    /// The leader that is followed: the node of a committed vote.
    pub fn leader(&self) -> Option<&L::NodeId> {
        self.vote.committed.then(|| self.vote.leader_id.node_id())
    }

    /// The part that only a leader has.
    pub fn leading(&self) -> Option<&Leader<L>> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    /// How often heartbeats came due by time, over all leaderships.
    pub fn heartbeat_rounds(&self) -> u64 {
        self.heartbeat_rounds
    }

    // --- What it asks for.

    /// Which loops have something to pull, peers excepted.
    pub fn ready(&self) -> Ready {
        Ready {
            write: !self.writes.is_empty() || self.commit_to_save().is_some(),
            apply: self.apply_end() > next_index(self.applying.as_ref()),
            install: self.install_is_due(),
            build: self.build_is_due(),
        }
    }

    /// The next thing to do in the log store.
    pub fn next_write(&mut self) -> Option<Write<L>> {
        if let Some(commit) = self.commit_to_save() {
            self.commit_saving = Some(commit.clone());
            return Some(Write::Committed { commit });
        }
        self.writes.pop_front()
    }

    /// Whether the next write is an append of which the caller may wait to see more entries join it.
    pub fn append_is_next(&self) -> bool {
        self.commit_to_save().is_none() && matches!(self.writes.front(), Some(Write::Append { .. }))
    }

    /// The next committed entries for the state machine, at most the configured number.
    ///
    /// Entries are handed out once; nothing is handed out while a snapshot is being installed.
    pub fn next_apply(&mut self) -> Option<Apply<L::Committed>> {
        let first = next_index(self.applying.as_ref());
        let end = self.apply_end().min(first.saturating_add(self.options.apply_entries_max.max(1)));
        let last = self.log.before(end).filter(|last| last.index >= first)?;
        debug_assert!(last.index < self.readable_end, "I11: nothing is applied that cannot be read");
        debug_assert!(
            Some(&last) <= self.committed.as_ref(),
            "I11: nothing is applied that is not committed"
        );
        self.applying = Some(last.clone());
        Some(Apply { first, last })
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event<L>> {
        core::mem::take(&mut self.events)
    }

    /// The entries that the replica itself put into its log since the last call, in order.
    pub fn take_born(&mut self) -> Vec<Born<L>> {
        core::mem::take(&mut self.born)
    }

    // --- What it is told of the log store and the state machine.

    /// A write is done: a reader of the log store sees it.
    pub fn written(&mut self, seq: WriteSeq) {
        debug_assert!(seq <= self.seq, "only what was asked for is written");
        let at = self.unflushed.partition_point(|(unflushed, _)| *unflushed <= seq);
        if let Some((_, point)) = at.checked_sub(1).and_then(|at| self.unflushed.get(at)) {
            let end = self.uncut_after(seq, next_index(point.last.as_ref()));
            self.readable_end = self.readable_end.max(end);
        }
    }

    /// This write, and every one before it, is durable.
    pub fn flushed(&mut self, now: Time, seq: WriteSeq) {
        debug_assert!(seq <= self.seq, "I13: only what was asked for is durable");
        if seq <= self.flushed_seq {
            return;
        }
        self.flushed_seq = seq;
        while let Some((at, _)) = self.unflushed.front()
            && *at <= seq
        {
            if let Some((_, point)) = self.unflushed.pop_front() {
                self.flushed = point;
            }
        }
        while self.cuts.front().is_some_and(|(at, _)| *at <= seq) {
            self.cuts.pop_front();
        }
        let end = self.uncut_after(seq, next_index(self.flushed.last.as_ref()));
        self.durable_end = self.durable_end.max(end);
        self.readable_end = self.readable_end.max(end);
        self.note_purged_durable();
        debug_assert!(self.durable_end <= self.readable_end, "I13: what is durable can be read");
        self.own_vote_flushed(now);
        self.advance_leader_commit(now);
    }

    /// The log store has purged up to `upto`.
    pub fn purge_finished(&mut self, upto: &LogId<L::Committed>) {
        debug_assert!(upto.index < self.log.first_index(), "I11: only what was asked for is purged");
        if Some(upto) > self.purge_done.as_ref() {
            self.purge_done = Some(upto.clone());
        }
    }

    /// The log store remembers the commit: the entries up to it may be applied.
    pub fn commit_saved(&mut self, commit: LogId<L::Committed>) {
        debug_assert!(self.log.has(&commit), "I5: a committed entry stays");
        if Some(&commit) > self.commit_saved.as_ref() {
            self.commit_saved = Some(commit);
        }
    }

    /// The state machine has applied up to `last`.
    pub fn applied_to(&mut self, last: LogId<L::Committed>) {
        debug_assert!(Some(&last) <= self.applying.as_ref(), "I10: only what was handed out is applied");
        if Some(&last) > self.applied.as_ref() {
            self.applied = Some(last);
            self.take_built_ahead();
        }
    }

    // --- Shared by the roles.

    pub(crate) fn effective(&self) -> &Arc<Membership<L::NodeId>> {
        &self.memberships.effective().membership
    }

    pub(crate) fn event(&mut self, event: Event<L>) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }

    /// Replaces the vote by a greater one, to be saved. Invariants I1, I9.
    pub(crate) fn save_vote(&mut self, now: Time, vote: Vote<L>) {
        debug_assert!(vote > self.vote, "I1: a vote only grows");
        if mutant!(17) {
            let half = Vote::new(self.vote.leader_id.term(), vote.leader_id.node_id().clone());
            self.push_write(|seq| Write::Vote { seq, vote: half });
        }
        self.vote = vote;
        self.vote_heard = Some(now);
        self.accepted = if mutant!(12) { self.accepted.take() } else { None };
        self.leader_commit = None;
        let vote = self.vote.clone();
        self.push_write(|seq| Write::Vote { seq, vote });
        self.vote_seq = self.seq;
    }

    /// Numbers a write, and notes what its flush will make durable.
    pub(crate) fn push_write(&mut self, write: impl FnOnce(WriteSeq) -> Write<L>) {
        self.seq = self.seq.saturating_add(1);
        self.writes.push_back(write(self.seq));
        let point = FlushPoint { vote: self.vote.clone(), last: self.log.last().cloned() };
        self.unflushed.push_back((self.seq, point));
    }

    /// Queues the entries from `first` to the end of the log, behind or together with the append before them, at most
    /// `together_max` in one.
    pub(crate) fn push_append(&mut self, first: u64, together_max: u64) {
        let max = self.options.write_entries_max.min(together_max).max(1);
        let (mut begin, end) = (first, self.log.next_index());
        while begin < end {
            let joined = match self.writes.back() {
                Some(Write::Append { first, last, .. }) if last.index.checked_add(1) == Some(begin) => {
                    begin.saturating_sub(*first)
                }
                _ => max,
            };
            let room = max.saturating_sub(joined);
            let upto = begin.saturating_add(if room > 0 { room } else { max }).min(end);
            let Some(upto_id) = self.log.before(upto) else { return };
            self.push_one_append(begin, upto_id, room > 0);
            begin = upto;
        }
    }

    fn push_one_append(&mut self, first: u64, upto: LogId<L::Committed>, joins: bool) {
        self.seq = self.seq.saturating_add(1);
        let point = FlushPoint { vote: self.vote.clone(), last: Some(upto.clone()) };
        match self.writes.back_mut() {
            Some(Write::Append { seq, last, .. }) if joins => {
                *seq = self.seq;
                *last = upto;
                self.unflushed.pop_back();
            }
            _ => self.writes.push_back(Write::Append { seq: self.seq, first, last: upto }),
        }
        self.unflushed.push_back((self.seq, point));
    }

    /// Removes all entries from `index` on. Invariant I5: none of them is committed.
    pub(crate) fn truncate_from(&mut self, index: u64) {
        if index < next_index(self.committed.as_ref()) {
            self.break_off("I5", "a committed entry is never removed");
            return;
        }
        self.log.truncate_from(index);
        self.readable_end = self.readable_end.min(index);
        self.durable_end = self.durable_end.min(index);
        self.memberships.truncate_from(if mutant!(53) { u64::MAX } else { index });
        if next_index(self.accepted.as_ref()) > index {
            self.accepted = self.log.last().cloned();
        }
        debug_assert!(self.log.next_index() <= index, "all from there on is gone");
        let after = self.log.last().cloned();
        self.push_write(|seq| Write::Truncate { seq, after });
        self.cuts.push_back((self.seq, index));
        self.event(Event::Truncated(index));
    }

    /// Moves the commit forward; it never moves back. Invariant I9.
    pub(crate) fn commit_to(&mut self, commit: LogId<L::Committed>) {
        if next_index(Some(&commit)) <= next_index(self.committed.as_ref()) {
            return;
        }
        debug_assert!(self.log.has(&commit), "I5: what is committed is in the log");
        self.memberships.commit(&commit);
        self.committed = Some(commit);
        self.want_snapshot_by_policy();
    }

    pub(crate) fn break_off(&mut self, invariant: &'static str, rule: &'static str) {
        self.broken.get_or_insert(Broken { invariant, rule });
    }

    /// Whether the term of the vote still is the default one, before any election.
    pub fn is_pristine(&self) -> bool {
        self.log.last().is_none() && self.vote.leader_id.term() == L::Term::default()
    }

    /// How much of what the log store holds up to before `end`, after write `seq`, no later write takes away again.
    ///
    /// The same entry may come back after a truncation, so its id alone does not tell which writing of it is done.
    fn uncut_after(&self, seq: WriteSeq, end: u64) -> u64 {
        self.cuts
            .iter()
            .filter(|(cut, _)| *cut > seq && !mutant!(49))
            .fold(end, |end, (_, index)| end.min(*index))
    }

    /// The last entry of this log that is durable for good.
    pub(crate) fn durable_last(&self) -> Option<LogId<L::Committed>> {
        self.log.before(self.durable_end)
    }

    /// What a snapshot replaced is as durable as the snapshot.
    pub(crate) fn note_purged_durable(&mut self) {
        let first = self.log.first_index();
        self.durable_end = self.durable_end.max(first);
        self.readable_end = self.readable_end.max(first);
        if next_index(self.flushed.last.as_ref()) < first {
            self.flushed.last = self.log.purged().cloned();
        }
    }

    fn commit_to_save(&self) -> Option<LogId<L::Committed>> {
        let end = next_index(self.committed.as_ref()).min(self.readable_end);
        let begin = next_index(self.commit_saving.as_ref());
        if end > begin { self.log.before(end) } else { None }
    }

    fn apply_end(&self) -> u64 {
        if self.installing.is_some() {
            return 0;
        }
        let committed = next_index(self.committed.as_ref());
        next_index(self.commit_saved.as_ref()).min(committed).min(self.readable_end)
    }

    /// Asserts every invariant that one node can see.
    ///
    /// Cheap enough for every step of a simulation.
    pub fn check(&self) -> Result<(), Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let holds = |condition: bool, invariant, rule| {
            if condition { Ok(()) } else { Err(Broken { invariant, rule }) }
        };
        let index = |log_id: &Option<LogId<L::Committed>>| next_index(log_id.as_ref());
        holds(index(&self.applied) <= index(&self.committed), "I11", "applied <= committed")?;
        holds(
            index(&self.applied) <= index(&self.applying),
            "I11",
            "applied <= handed to the state machine",
        )?;
        holds(index(&self.applying) <= index(&self.committed), "I11", "only committed entries are applied")?;
        holds(index(&self.committed) <= self.log.next_index(), "I11", "committed <= last log id")?;
        holds(self.log.first_index() <= index(&self.snapshot), "I11", "purged <= snapshot")
            .or_else(|broken| if self.log.purged().is_none() { Ok(()) } else { Err(broken) })?;
        holds(self.readable_end <= self.log.next_index(), "I11", "readable <= last log id")?;
        holds(self.durable_end <= self.readable_end, "I13", "what is durable can be read")?;
        holds(self.flushed_seq <= self.seq, "I13", "only what was asked for is flushed")?;
        holds(
            self.committed.as_ref().is_none_or(|committed| self.log.has(committed)),
            "I5",
            "the last committed entry is in the log",
        )?;
        let effective = self.memberships.effective().log_id.as_ref();
        holds(
            effective.is_none_or(|log_id| self.log.has(log_id)),
            "I12",
            "the membership in force stands in the log",
        )?;
        let mut previous = self.memberships.committed().log_id.as_ref();
        for placed in self.memberships.pending() {
            holds(placed.log_id.as_ref() > previous, "I12", "memberships stand in log order")?;
            previous = placed.log_id.as_ref();
        }
        self.check_leader()
    }

    fn check_leader(&self) -> Result<(), Broken> {
        let Role::Leader(leader) = &self.role else { return Ok(()) };
        let own = self.vote.leader_id.to_committed();
        let fits = self.vote.committed && *self.vote.leader_id.node_id() == self.id;
        if !fits {
            return Err(Broken { invariant: "I2", rule: "a leader leads by its own committed vote" });
        }
        if self.log.last().is_some_and(|last| last.leader_id > own) {
            return Err(Broken { invariant: "I3", rule: "no entry is newer than its leader" });
        }
        if self.uncommitted_first().is_none() && self.memberships.pending().count() > 1 {
            return Err(Broken {
                invariant: "I12",
                rule: "one change of members follows another when it is committed",
            });
        }
        for progress in leader.peers().map(|(_, progress)| progress) {
            if progress.matched().is_some_and(|matched| !self.log.has(matched)) {
                return Err(Broken { invariant: "I4", rule: "what a peer matches is in the leader's log" });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;
    use crate::ids::leader_id_adv::LeaderId;

    type L = LeaderId<u64, u64>;

    fn id(term: u64, index: u64) -> LogId<L> {
        LogId::new(LeaderId { term, node_id: 1 }, index)
    }

    fn flush(replica: &mut Replica<L>) {
        while let Some(write) = replica.next_write() {
            if let Write::Vote { seq, .. } | Write::Append { seq, .. } | Write::Truncate { seq, .. } = write {
                replica.written(seq);
                replica.flushed(Time::ZERO, seq);
            }
        }
    }

    /// A leader of two, which has committed nothing yet.
    fn leader() -> Replica<L> {
        let mut replica: Replica<L> = Replica::new(1, Options::default(), Stored::default(), Time::ZERO, 7);
        let members = Membership::new(vec![BTreeSet::from([1, 2])], []);
        replica.initialize(Time::ZERO, 7, members).unwrap();
        flush(&mut replica);
        let asked: Vote<L> = *replica.vote();
        let reply = crate::message::VoteReply { vote: asked, granted: true, last: None };
        replica.vote_answer(Time::ZERO, &2, &asked, &reply);
        flush(&mut replica);
        assert_eq!(replica.server_state(), ServerState::Leader);
        replica.check().unwrap();
        replica
    }

    #[test]
    fn each_invariant_that_a_node_can_see_is_checked() {
        type Break = fn(&mut Replica<L>);
        let breaks: [(&str, &str, Break); 13] = [
            ("I11", "applied <= committed", |r| r.applied = Some(id(1, 1))),
            ("I11", "applied <= handed", |r| (r.committed, r.applied) = (Some(id(0, 0)), Some(id(0, 0)))),
            ("I11", "only committed", |r| r.applying = Some(id(0, 0))),
            ("I11", "committed <= last", |r| r.committed = Some(id(1, 9))),
            ("I11", "purged <= snapshot", |r| r.log.purge(id(1, 1))),
            ("I11", "readable <= last", |r| r.readable_end = 9),
            ("I13", "can be read", |r| r.readable_end = 0),
            ("I13", "asked for", |r| r.flushed_seq = r.seq + 1),
            ("I5", "the last committed entry", |r| r.committed = Some(id(9, 0))),
            ("I12", "stands in the log", |r| {
                r.memberships.push(Placed::new(Some(id(1, 9)), Membership::default()));
            }),
            ("I2", "its own committed vote", |r| r.vote.committed = false),
            ("I3", "no entry is newer", |r| r.log.extend_to(id(9, 2))),
            ("I4", "what a peer matches", |r| {
                let Role::Leader(leader) = &mut r.role else { panic!("it leads") };
                leader.peers.get_mut(&2).unwrap().matched = Some(id(1, 9));
            }),
        ];
        for (invariant, rule, damage) in breaks {
            let mut replica = leader();
            damage(&mut replica);
            let broken = replica.check().unwrap_err();
            assert_eq!(broken.invariant, invariant, "{broken}");
            assert!(broken.rule.contains(rule), "{broken}");
        }
    }

    #[test]
    fn what_is_broken_stays_so_and_says_which_rule() {
        let mut replica = leader();
        replica.committed = Some(id(0, 0));
        replica.truncate_from(0);
        assert_eq!(replica.log.next_index(), 2, "nothing committed was removed");
        replica.break_off("I9", "a later one");
        let broken = replica.check().unwrap_err();
        assert_eq!(replica.broken(), Some(broken));
        assert_eq!(broken.to_string(), "invariant I5 does not hold: a committed entry is never removed");
    }

    #[test]
    fn what_is_durable_is_never_taken_back() {
        let mut replica = leader();
        let (seq, point) = (replica.flushed_seq(), replica.flush_point().clone());
        replica.flushed(Time::ZERO, seq - 1);
        assert_eq!((replica.flushed_seq(), replica.flush_point()), (seq, &point));
    }
}

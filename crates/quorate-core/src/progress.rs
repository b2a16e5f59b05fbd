//! What a leader knows of one peer: how far its log matches, what is in flight to it, and when it was last heard.

use alloc::collections::VecDeque;

use crate::ids::LogId;
use crate::ids::RaftCommittedLeaderId;
use crate::log::next_index;
use crate::message::Ticket;
use crate::mutant;
use crate::options::Options;
use crate::options::Time;

/// Entries in one probe: enough to make progress, too few to waste a link on a wrong guess.
pub(crate) const PROBE_ENTRIES_MAX: u64 = 8;

/// A search range this short is not worth another probe: replication starts at its lower end.
const SEARCH_RANGE_MIN: u64 = 16;

/// How the leader feeds a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The point where the logs part is not known: one request at a time looks for it.
    Probe,
    /// The logs match up to a known point: requests follow each other without waiting.
    Stream,
    /// The entries that the peer needs are purged: it gets a snapshot.
    Snapshot,
}

/// A request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inflight {
    /// The index after its last entry.
    end: u64,
    bytes: u64,
    /// The index after what the peer had acknowledged when it went out.
    matched_end: u64,
}

/// What it means that a peer lacks the entry before the ones sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lacks {
    /// It lost what it had acknowledged before the request went out.
    Acknowledged,
    /// The request overtook the one before it, which has arrived since.
    Overtaken,
    /// The logs part at that entry, or before.
    Parted,
}

/// The state of one peer, as its leader knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<C: RaftCommittedLeaderId> {
    pub(crate) matched: Option<LogId<C>>,
    pub(crate) mode: Mode,
    /// Bumped whenever what is in flight stops to count.
    pub(crate) session: u64,
    /// The next index to send; while probing, the index after the entry that is asked about.
    pub(crate) next: u64,
    /// While probing: entries from here on are not known to match.
    search_end: u64,
    /// The first index that is being read from the log store for this peer.
    pub(crate) reading: Option<u64>,
    inflight: VecDeque<Inflight>,
    inflight_bytes: u64,
    /// The index after the newest commit that this peer was told.
    pub(crate) commit_told: u64,
    /// A snapshot is on its way.
    pub(crate) snapshot_sending: bool,
    pub(crate) acked_time: Option<Time>,
    pub(crate) acked_round: u64,
    pub(crate) heartbeat_due: bool,
    pub(crate) heartbeat_inflight: bool,
    /// The operator expects this peer to have lost its log, once.
    pub(crate) allow_reversion_once: bool,
}

impl<C: RaftCommittedLeaderId> Progress<C> {
    /// A peer of which nothing is known, asked first about the end of the leader's log.
    pub(crate) fn new(session: u64, log_end: u64) -> Self {
        Self {
            matched: None,
            mode: Mode::Probe,
            session,
            next: log_end,
            search_end: log_end.saturating_add(1),
            reading: None,
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            commit_told: 0,
            snapshot_sending: false,
            acked_time: None,
            acked_round: 0,
            heartbeat_due: true,
            heartbeat_inflight: false,
            allow_reversion_once: false,
        }
    }

    /// How far the peer's log is known to match durably.
    pub fn matched(&self) -> Option<&LogId<C>> {
        self.matched.as_ref()
    }

    /// How it is fed.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// When the newest request that it acknowledged was sent.
    pub fn acked_time(&self) -> Option<Time> {
        self.acked_time
    }

    /// Entries that were sent and are not acknowledged.
    pub fn inflight_entries(&self) -> u64 {
        match self.mode {
            Mode::Stream => self.next.saturating_sub(next_index(self.matched())),
            Mode::Probe | Mode::Snapshot => 0,
        }
    }

    /// Bytes of entries that were sent and are not acknowledged.
    pub fn inflight_bytes(&self) -> u64 {
        self.inflight_bytes
    }

    /// Whether another request with entries may go out now.
    pub(crate) fn has_room(&self, options: &Options) -> bool {
        match self.mode {
            Mode::Probe => self.inflight.is_empty(),
            Mode::Stream => {
                self.inflight_entries() < options.inflight_entries_max
                    && self.inflight_bytes < options.inflight_bytes_max
            }
            Mode::Snapshot => false,
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.inflight.is_empty() && self.reading.is_none()
    }

    /// Whether a ticket was given out in the stream that is under way now.
    pub(crate) fn is_current(&self, ticket: &Ticket) -> bool {
        mutant!(48) || self.session == ticket.session
    }

    /// A request with entries up to before `end` went out.
    pub(crate) fn sent(&mut self, end: u64, bytes: u64) {
        self.reading = None;
        let matched_end = next_index(self.matched());
        self.inflight.push_back(Inflight { end, bytes, matched_end });
        self.inflight_bytes = self.inflight_bytes.saturating_add(bytes);
        if self.mode == Mode::Stream {
            self.next = self.next.max(end);
        }
    }

    /// The peer acknowledged something that was sent at `ticket.sent`.
    pub(crate) fn heard(&mut self, ticket: &Ticket) {
        self.acked_time = self.acked_time.max(Some(ticket.sent));
        self.acked_round = self.acked_round.max(ticket.round);
    }

    /// The oldest request was answered: the logs match up to `matched`.
    ///
    /// Returns whether the peer took all of it; if not, what was sent after it is void. What is matched never
    /// shrinks within a session.
    pub(crate) fn matched_up_to(&mut self, matched: Option<LogId<C>>, log_begin: u64, log_end: u64) -> bool {
        let Some(sent) = self.inflight.pop_front() else { return false };
        self.inflight_bytes = self.inflight_bytes.saturating_sub(sent.bytes);
        if next_index(matched.as_ref()) > sent.end {
            // It says yes to more than it was asked.
            return false;
        }
        self.matched = self.matched.take().max(matched);
        let end = next_index(self.matched());
        match self.mode {
            Mode::Probe => {
                if end >= self.search_end
                    || self.search_end.saturating_sub(end) < SEARCH_RANGE_MIN
                    || end >= log_end
                {
                    self.start_stream();
                } else {
                    self.aim(log_begin);
                }
            }
            Mode::Stream => self.next = self.next.max(end),
            Mode::Snapshot => {}
        }
        end >= sent.end
    }

    /// The oldest request was answered: the peer lacks the entry before `prev_end`.
    pub(crate) fn lacks(&mut self, prev_end: u64) -> Lacks {
        match self.inflight.pop_front() {
            Some(sent) if prev_end <= sent.matched_end => Lacks::Acknowledged,
            _ if prev_end <= next_index(self.matched()) => Lacks::Overtaken,
            _ => Lacks::Parted,
        }
    }

    /// Leaves what is in flight aside; the caller gives a new session where answers may still come.
    pub(crate) fn start_stream(&mut self) {
        self.mode = Mode::Stream;
        self.forget_inflight();
        self.next = next_index(self.matched());
    }

    /// The entry at `prev_index` is not in the peer's log: look below it.
    pub(crate) fn conflict_at(&mut self, prev_index: u64, log_begin: u64, session: u64) {
        self.mode = Mode::Probe;
        self.session = session;
        self.forget_inflight();
        self.search_end = prev_index.max(next_index(self.matched()));
        self.aim(log_begin);
    }

    /// The connection was lost, or the peer did not answer: what was sent may not have arrived.
    pub(crate) fn restart(&mut self, session: u64) {
        self.session = session;
        if !mutant!(41) {
            self.forget_inflight();
        }
        // What was told may not have arrived.
        self.commit_told = 0;
        match self.mode {
            Mode::Stream => self.next = next_index(self.matched()),
            Mode::Snapshot => self.snapshot_sending = false,
            Mode::Probe => {}
        }
    }

    /// The peer lost entries that it had acknowledged: nothing is known of it any more.
    pub(crate) fn revert(&mut self, session: u64, log_begin: u64, log_end: u64) {
        self.matched = None;
        self.mode = Mode::Probe;
        self.session = session;
        self.forget_inflight();
        self.search_end = log_end;
        self.allow_reversion_once = false;
        self.aim(log_begin);
    }

    /// The entries it needs are gone from the log.
    pub(crate) fn need_snapshot(&mut self, session: u64) {
        self.mode = Mode::Snapshot;
        self.session = session;
        self.forget_inflight();
        self.snapshot_sending = false;
    }

    /// The peer holds a snapshot up to `last` now.
    pub(crate) fn got_snapshot(&mut self, last: Option<LogId<C>>, session: u64) {
        self.session = session;
        self.snapshot_sending = false;
        self.matched = self.matched.take().max(last);
        self.start_stream();
    }

    /// Picks the next entry to ask about: the middle of the range, or its start when the range is small.
    ///
    /// The range begins where the leader's log still has entries; a peer that parts below that needs a snapshot.
    fn aim(&mut self, log_begin: u64) {
        let start = next_index(self.matched()).max(log_begin.min(self.search_end));
        let range = self.search_end.saturating_sub(start);
        self.next = if range < SEARCH_RANGE_MIN { start } else { start.saturating_add(range / 2) };
    }

    fn forget_inflight(&mut self) {
        self.inflight.clear();
        self.inflight_bytes = 0;
        self.reading = None;
    }
}

//! One node: a replica with its disk, its state machine and what it waits for.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use quorate_core::Options;
use quorate_core::Placed;
use quorate_core::Read;
use quorate_core::Replica;
use quorate_core::ServerState;
use quorate_core::Stored;
use quorate_core::Time;
use quorate_core::log::next_index;
use quorate_core::message::Transfer;
use quorate_core::work::Apply;
use quorate_core::work::SendAppend;

use crate::tier_a::wire::Config;
use crate::tier_a::wire::Context;
use crate::tier_a::wire::Disk;
use crate::tier_a::wire::DiskOp;
use crate::tier_a::wire::Entry;
use crate::tier_a::wire::Envelope;
use crate::tier_a::wire::Id;
use crate::tier_a::wire::Ids;
use crate::tier_a::wire::Image;
use crate::tier_a::wire::Payload;
use crate::trace::Look;

/// A clock that runs at its own rate from its own origin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    pub drift_ppm: i64,
    pub offset_us: u64,
}

impl Clock {
    pub fn at(&self, now_us: u64) -> Time {
        let drift = now_us as i64 / 1000 * self.drift_ppm / 1000;
        Time(std::time::Duration::from_micros(self.offset_us + (now_us as i64 + drift) as u64))
    }
}

/// A client's read: what it must see at least, since someone has seen it before the read began.
pub struct Reading<L: Ids> {
    pub read: Read<L>,
    pub floor: u64,
    pub leased: bool,
}

/// Requests to one peer, answered in order: the stream that the leader numbers.
pub struct Stream<L: Ids> {
    pub session: u64,
    pub requests: VecDeque<(u64, Option<quorate_core::message::AppendReply<L>>)>,
}

pub struct Node<L: Ids> {
    pub id: u64,
    pub up: bool,
    /// Its disk is lost for good, and it never comes back.
    pub gone: bool,
    /// Nothing becomes durable any more.
    pub disk_hangs: bool,
    /// The same until this moment of true time.
    pub disk_hangs_until: u64,
    /// It stands still until then: what it has and what is sent to it waits.
    pub paused_until: u64,
    /// Its timers do not run until then.
    pub starved_until: u64,
    pub replica: Replica<L>,
    pub clock: Clock,
    /// What a reader sees, and what a crash leaves.
    pub view: Disk<L>,
    pub durable: Disk<L>,
    /// Done and seen, not durable yet.
    pub behind: VecDeque<(Option<u64>, DiskOp<L>)>,
    /// Entries whose append was not pulled yet, in the order in which they came.
    pub pending: VecDeque<Entry<L>>,
    pub sm: Image<L>,
    pub snapshot: Option<Image<L>>,
    pub applying: Option<Apply<L::Committed>>,
    pub building: Option<Image<L>>,
    /// An accepted snapshot, and the request to answer when it is installed.
    pub offered: Option<(Image<L>, u64, u64)>,
    pub installing: bool,
    /// Replies that wait for a write to be durable.
    pub replies: Vec<(u64, Envelope<L>)>,
    /// Appends whose entries are being read.
    pub sends: Vec<(u64, SendAppend<L>)>,
    pub contexts: BTreeMap<u64, (u64, Context<L>)>,
    pub streams: BTreeMap<u64, Stream<L>>,
    /// Peers that did not answer, and until when they are left alone.
    pub backoff: BTreeMap<u64, u64>,
    pub reads: Vec<Reading<L>>,
    pub takeovers: Vec<Transfer<L>>,
    /// Clients of this node that wait for their entry.
    pub clients: Vec<Id<L>>,
    /// All below are committed as far as this node told.
    pub seen_committed: u64,
    /// I12: a membership came into its log, or went, since that was last looked at.
    pub config_moved: bool,
}

impl<L: Ids> Node<L> {
    pub fn new(id: u64, options: Options, clock: Clock, now_us: u64, dice: u64) -> Self {
        Self {
            id,
            up: true,
            gone: false,
            disk_hangs: false,
            disk_hangs_until: 0,
            paused_until: 0,
            starved_until: 0,
            replica: Replica::new(id, options, Stored::default(), clock.at(now_us), dice),
            clock,
            view: Disk::empty(),
            durable: Disk::empty(),
            behind: VecDeque::new(),
            pending: VecDeque::new(),
            sm: Image::empty(),
            snapshot: None,
            applying: None,
            building: None,
            offered: None,
            installing: false,
            replies: Vec::new(),
            sends: Vec::new(),
            contexts: BTreeMap::new(),
            streams: BTreeMap::new(),
            backoff: BTreeMap::new(),
            reads: Vec::new(),
            takeovers: Vec::new(),
            clients: Vec::new(),
            seen_committed: 0,
            config_moved: false,
        }
    }

    /// Loses all that is not durable, but for the first `keep` of the writes that were on their way to the disk.
    pub fn crash(&mut self, keep: usize, keep_state: bool) {
        self.up = false;
        (self.disk_hangs_until, self.paused_until, self.starved_until) = (0, 0, 0);
        for (_, op) in self.behind.drain(..).take(keep) {
            self.durable.apply(&op);
        }
        if !keep_state {
            self.sm = Image::empty();
        }
        self.pending.clear();
        self.applying = None;
        self.building = None;
        self.offered = None;
        self.installing = false;
        self.replies.clear();
        self.sends.clear();
        self.contexts.clear();
        self.streams.clear();
        self.backoff.clear();
        self.reads.clear();
        self.takeovers.clear();
        self.clients.clear();
    }

    /// Rebuilds the replica from what is durable, as a shell does: the state machine from its own state or the
    /// snapshot, whichever is newer; the log without what the state machine contradicts; the commit replayed.
    pub fn restart(&mut self, options: Options, now_us: u64, dice: u64) {
        self.up = true;
        if let Some(snapshot) = &self.snapshot
            && snapshot.next() > self.sm.next()
        {
            self.sm = snapshot.clone();
        }
        if let Some(last) = self.sm.last.clone()
            && (self.durable.end() <= last.index || !self.durable.holds(&last))
        {
            self.durable.entries.clear();
            self.durable.purged = Some(last);
        }
        if self.durable.first() > self.snapshot.as_ref().map_or(0, Image::next) {
            self.snapshot = Some(self.sm.clone());
        }
        let end = next_index(self.durable.committed.as_ref()).min(self.durable.end());
        for index in self.sm.next()..end {
            let entry = self.durable.get(index);
            let entry = entry.expect("I13: what is not in the state is in the log").clone();
            self.sm.apply(&entry);
        }
        self.view = self.durable.clone();
        let (committed, effective) = self.memberships();
        let stored = Stored {
            vote: self.durable.vote.clone(),
            log: self.durable.shape(),
            applied: self.sm.last.clone(),
            committed,
            effective,
            snapshot: self.snapshot.as_ref().and_then(|snapshot| snapshot.last.clone()),
        };
        self.config_moved = true;
        self.seen_committed = self.sm.next();
        self.replica = Replica::new(self.id, options, stored, self.clock.at(now_us), dice);
    }

    /// The last two memberships: a leader proposes one only when the one before is committed.
    fn memberships(&self) -> (Config<L>, Option<Config<L>>) {
        let mut found = vec![self.sm.membership.clone()];
        for index in self.sm.next()..self.view.end() {
            let entry = self.view.get(index).unwrap();
            if let Payload::Config(membership) = &entry.payload {
                found.push(Placed::new(Some(entry.id.clone()), membership.clone()));
            }
        }
        match found.as_slice() {
            [.., committed, effective] => (committed.clone(), Some(effective.clone())),
            [committed] => (committed.clone(), None),
            [] => unreachable!("the state machine always has one"),
        }
    }

    /// What a timeline shows of it.
    pub fn look(&self, now_us: u64) -> Look {
        let role = match self.replica.server_state() {
            _ if !self.up => "down",
            ServerState::Learner => "learner",
            ServerState::Follower => "follower",
            ServerState::Candidate => "candidate",
            ServerState::Leader => "leader",
        };
        Look {
            clock_us: self.clock.at(now_us).0.as_micros() as u64,
            role,
            term: self.replica.vote().leader_id.term(),
            commit: next_index(self.replica.committed()),
        }
    }

    /// Whether its disk has this entry, or a snapshot that covers it.
    pub fn keeps(&self, id: &Id<L>) -> bool {
        let covered = self.snapshot.as_ref().map_or(0, Image::next);
        id.index < covered || self.durable.holds(id)
    }

    /// The memberships in its log as the replica sees it, written or waiting to be.
    pub fn configs_in_log(&self) -> impl Iterator<Item = &Id<L>> {
        let log = self.replica.log();
        let entries = self.view.entries.iter().chain(&self.pending);
        let configs = entries.filter(|entry| entry.config().is_some()).map(|entry| &entry.id);
        configs.filter(move |id| id.index >= log.first_index() && log.has(id))
    }

    /// The entry with this id, written or waiting to be.
    pub fn entry(&self, id: &Id<L>) -> Option<&Entry<L>> {
        let written = self.view.get(id.index).filter(|entry| entry.id == *id);
        written.or_else(|| self.pending.iter().rev().find(|entry| entry.id == *id))
    }
}

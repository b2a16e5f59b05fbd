//! Stores in memory, with every fault that a test may wish for.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use futures_util::Stream;
use futures_util::StreamExt;
use quorate::BasicNode;
use quorate::EntryPayload;
use quorate::LogState;
use quorate::RaftLogReader;
use quorate::RaftSnapshotBuilder;
use quorate::Snapshot;
use quorate::SnapshotMeta;
use quorate::StoredMembership;
use quorate::entry::RaftEntry;
use quorate::storage::EntryResponder;
use quorate::storage::IOFlushed;
use quorate::storage::RaftLogStorage;
use quorate::storage::RaftStateMachine;
use quorate::type_config::alias::EntryOf;
use quorate::type_config::alias::LogIdOf;
use quorate::type_config::alias::SnapshotMetaOf;
use quorate::type_config::alias::SnapshotOf;
use quorate::type_config::alias::StoredMembershipOf;
use quorate::type_config::alias::VoteOf;
use tokio::sync::watch;

use crate::thin::Thin;

/// Adds to the sum; the response is the sum after it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Add(pub u64);

impl fmt::Display for Add {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

quorate::declare_raft_types!(pub Types: D = Add, R = u64, Node = BasicNode, AsyncRuntime = Thin);

pub type Id = LogIdOf<Types>;

/// Lets calls through while it is open.
#[derive(Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: Arc::new(watch::Sender::new(true)) }
    }
}

impl Gate {
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }

    pub async fn pass(&self) {
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

fn fault(what: &str) -> io::Error {
    io::Error::other(format!("the disk fails: {what}"))
}

// --- The log.

/// What the log store does wrong.
#[derive(Default)]
pub struct LogFaults {
    pub append: bool,
    pub flush: bool,
    pub read: bool,
    pub vote: bool,
    /// Flushes are held back until [`MemLog::release`].
    pub withhold: bool,
    /// What is committed is not kept.
    pub forget_committed: bool,
    /// Callbacks of appends are dropped.
    pub drop_callbacks: bool,
    /// What is read for peers is not what was asked for.
    pub lie_to_peers: Option<Lie>,
    /// Nor is what is read for the state machine.
    pub lie_to_machine: Option<Lie>,
    /// The ids of the entries at which leaders end, as told at start.
    pub key_ids: Option<Vec<Id>>,
}

/// How a log store answers that breaks its contract.
#[derive(Clone, Copy, Debug)]
pub enum Lie {
    /// Nothing, where there is something.
    Nothing,
    /// Entries without the first.
    Late,
    /// Entries without the last but one.
    Hole,
    /// The last entry is another leader's.
    Foreign,
    /// An entry more than was asked for.
    More,
}

impl Lie {
    fn tell(self, mut entries: Vec<EntryOf<Types>>) -> Vec<EntryOf<Types>> {
        match (self, entries.last().cloned()) {
            (_, None) => {}
            (Self::Nothing, _) => entries.clear(),
            (Self::Late, _) => drop(entries.remove(0)),
            (Self::Hole, _) => drop(entries.remove(entries.len().saturating_sub(2))),
            (Self::Foreign, Some(mut last)) => {
                last.log_id.leader_id.term += 7;
                *entries.last_mut().unwrap() = last;
            }
            (Self::More, Some(mut last)) => {
                last.log_id.index += 1;
                entries.push(last);
            }
        }
        entries
    }
}

#[derive(Default)]
struct LogInner {
    vote: Option<VoteOf<Types>>,
    committed: Option<Id>,
    purged: Option<Id>,
    entries: BTreeMap<u64, EntryOf<Types>>,
    /// Entries from this index on are lost in a crash.
    flushed_end: u64,
    withheld: Vec<(u64, IOFlushed<Types>)>,
    faults: LogFaults,
    appends: u64,
}

#[derive(Clone, Default)]
pub struct MemLog {
    inner: Arc<Mutex<LogInner>>,
    pub append_gate: Gate,
    pub vote_gate: Gate,
    pub commit_gate: Gate,
    /// Reads for peers.
    pub read_gate: Gate,
}

impl MemLog {
    fn lock(&self) -> MutexGuard<'_, LogInner> {
        self.inner.lock().unwrap()
    }

    pub fn fail(&self, change: impl FnOnce(&mut LogFaults)) {
        change(&mut self.lock().faults);
    }

    /// Calls the flush callbacks that were held back, and holds back no more.
    pub fn release(&self) {
        let withheld = {
            let mut inner = self.lock();
            inner.faults.withhold = false;
            inner.flushed_end = inner.entries.keys().next_back().map_or(inner.flushed_end, |last| last + 1);
            std::mem::take(&mut inner.withheld)
        };
        for (_, callback) in withheld {
            callback.io_completed(Ok(()));
        }
    }

    /// The machine loses power: what was not flushed is gone, and every fault with it.
    pub fn crash(&self) {
        let mut inner = self.lock();
        let end = inner.flushed_end;
        inner.entries.split_off(&end);
        inner.withheld.clear();
        inner.faults = LogFaults { forget_committed: inner.faults.forget_committed, ..LogFaults::default() };
        for gate in [&self.append_gate, &self.vote_gate, &self.commit_gate, &self.read_gate] {
            gate.open();
        }
    }

    pub fn last(&self) -> Option<Id> {
        let inner = self.lock();
        inner.entries.values().next_back().map(RaftEntry::log_id).or(inner.purged)
    }

    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// How many calls to append there were.
    pub fn appends(&self) -> u64 {
        self.lock().appends
    }

    pub fn vote(&self) -> Option<VoteOf<Types>> {
        self.lock().vote
    }

    /// The entries that the log holds.
    pub fn entries(&self) -> Vec<EntryOf<Types>> {
        self.lock().entries.values().cloned().collect()
    }

    pub fn purged(&self) -> Option<Id> {
        self.lock().purged
    }

    /// The disk loses its vote, and holds this one.
    pub fn set_vote(&self, vote: Option<VoteOf<Types>>) {
        self.lock().vote = vote;
    }

    /// Drops the callbacks that were held back.
    pub fn forget_withheld(&self) {
        let withheld = std::mem::take(&mut self.lock().withheld);
        drop(withheld);
    }
}

impl RaftLogReader<Types> for MemLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        let inner = self.lock();
        if inner.faults.read {
            return Err(fault("read"));
        }
        Ok(inner.entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        self.read_gate.pass().await;
        let entries = self.try_get_log_entries(start..end).await?;
        let lie = self.lock().faults.lie_to_peers;
        Ok(lie.map_or_else(|| entries.clone(), |lie| lie.tell(entries.clone())))
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<EntryOf<Types>, io::Error>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let read = self.try_get_log_entries(range).await;
        let lie = self.lock().faults.lie_to_machine;
        let entries = match read {
            Ok(entries) => {
                let told = lie.map_or_else(|| entries.clone(), |lie| lie.tell(entries.clone()));
                told.into_iter().map(Ok).collect()
            }
            Err(error) => vec![Err(error)],
        };
        futures_util::stream::iter(entries)
    }

    async fn get_key_log_ids(&mut self, range: RangeInclusive<Id>) -> Result<Vec<Id>, io::Error> {
        let told = self.lock().faults.key_ids.clone();
        let (first, last) = range.into_inner();
        let entries = self.try_get_log_entries(first.index..=last.index).await?;
        let mut ends: Vec<Id> = Vec::new();
        for entry in entries {
            if ends.last().is_some_and(|end| end.leader_id == entry.log_id.leader_id) {
                ends.pop();
            }
            ends.push(entry.log_id);
        }
        Ok(told.unwrap_or(ends))
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for MemLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let last_log_id = self.last();
        Ok(LogState { last_purged_log_id: self.lock().purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.vote_gate.pass().await;
        let mut inner = self.lock();
        if inner.faults.vote {
            return Err(fault("vote"));
        }
        inner.vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<Id>) -> Result<(), io::Error> {
        self.commit_gate.pass().await;
        let mut inner = self.lock();
        if !inner.faults.forget_committed {
            inner.committed = committed;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<Id>, io::Error> {
        Ok(self.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        self.append_gate.pass().await;
        let flushed = {
            let mut inner = self.lock();
            if inner.faults.append {
                return Err(fault("append"));
            }
            inner.appends += 1;
            for entry in entries {
                let end = inner.entries.keys().next_back().copied().or(inner.purged.map(|p| p.index));
                assert_eq!(entry.index(), end.map_or(0, |end| end + 1), "entries without a hole");
                inner.entries.insert(entry.index(), entry);
            }
            let end = inner.entries.keys().next_back().map_or(0, |last| last + 1);
            if inner.faults.drop_callbacks {
                return Ok(());
            }
            if inner.faults.withhold {
                inner.withheld.push((end, callback));
                return Ok(());
            }
            if !inner.faults.flush {
                inner.flushed_end = end;
            }
            if inner.faults.flush { Err(fault("flush")) } else { Ok(()) }
        };
        callback.io_completed(flushed);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<Id>) -> Result<(), io::Error> {
        let first = last.map_or(0, |last| last.index + 1);
        let mut inner = self.lock();
        inner.entries.split_off(&first);
        inner.flushed_end = inner.flushed_end.min(first);
        Ok(())
    }

    async fn purge(&mut self, upto: Id) -> Result<(), io::Error> {
        let mut inner = self.lock();
        inner.entries = inner.entries.split_off(&(upto.index + 1));
        inner.flushed_end = inner.flushed_end.max(upto.index + 1);
        inner.purged = Some(upto);
        Ok(())
    }
}

// --- The state machine.

/// What the state machine does wrong.
#[derive(Clone, Default)]
pub struct MachineFaults {
    pub apply: bool,
    /// Applying this number panics.
    pub panic_at: Option<u64>,
    pub build: bool,
    pub panic_in_build: bool,
    pub install: bool,
    /// Applies one entry of those it is given, and leaves the others.
    pub leaves: bool,
    /// Drops the answer to this number.
    pub mute_at: Option<u64>,
    /// Has no time to build a snapshot.
    pub no_builder: bool,
    /// Writes down the state as it is when the builder comes to it.
    pub build_late: bool,
    /// There is no snapshot any more, whatever was built.
    pub no_snapshot: bool,
}

#[derive(Default)]
struct MachineInner {
    applied: Option<Id>,
    membership: StoredMembershipOf<Types>,
    sum: u64,
    /// Every number applied to this very state, in order; a snapshot brings none.
    seen: Vec<u64>,
    snapshot: Option<SnapshotOf<Types, u64>>,
    /// Whether each request for a builder was forced.
    asked_to_build: Vec<bool>,
    faults: MachineFaults,
}

#[derive(Clone, Default)]
pub struct Machine {
    inner: Arc<Mutex<MachineInner>>,
    pub apply_gate: Gate,
    /// Before a batch counts as applied.
    pub applied_gate: Gate,
    pub build_gate: Gate,
    pub install_gate: Gate,
    token: Arc<()>,
}

impl Machine {
    fn lock(&self) -> MutexGuard<'_, MachineInner> {
        self.inner.lock().unwrap()
    }

    pub fn fail(&self, change: impl FnOnce(&mut MachineFaults)) {
        change(&mut self.lock().faults);
    }

    pub fn sum(&self) -> u64 {
        self.lock().sum
    }

    pub fn seen(&self) -> Vec<u64> {
        self.lock().seen.clone()
    }

    /// The requests for a builder so far: whether each was forced.
    pub fn asked_to_build(&self) -> Vec<bool> {
        self.lock().asked_to_build.clone()
    }

    /// The snapshot that a restart finds.
    pub fn keep(&self, snapshot: SnapshotOf<Types, u64>) {
        self.lock().snapshot = Some(snapshot);
    }

    /// Another state machine, with the state that this one is in now.
    #[allow(dead_code, reason = "the scenarios restart nodes with it")]
    pub fn copy(&self) -> Self {
        let inner = self.lock();
        let copy = MachineInner {
            applied: inner.applied,
            membership: inner.membership.clone(),
            sum: inner.sum,
            seen: inner.seen.clone(),
            snapshot: inner.snapshot.clone(),
            ..MachineInner::default()
        };
        Self { inner: Arc::new(Mutex::new(copy)), ..Self::default() }
    }

    /// Lives as long as someone holds this state machine.
    pub fn token(&self) -> Arc<()> {
        self.token.clone()
    }
}

impl MachineInner {
    fn as_snapshot(&self) -> SnapshotOf<Types, u64> {
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        Snapshot { meta, snapshot: self.sum }
    }
}

/// Writes down the state as of when it was made.
pub struct Builder {
    machine: Machine,
    snapshot: SnapshotOf<Types, u64>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = u64;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, u64>, io::Error> {
        self.machine.build_gate.pass().await;
        let mut inner = self.machine.lock();
        if inner.faults.build {
            return Err(fault("build"));
        }
        let panics = inner.faults.panic_in_build;
        if inner.faults.build_late {
            self.snapshot = inner.as_snapshot();
        }
        if !panics {
            inner.snapshot = Some(self.snapshot.clone());
        }
        drop(inner);
        assert!(!panics, "the builder panics");
        Ok(self.snapshot.clone())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = u64;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<Id>, StoredMembershipOf<Types>), io::Error> {
        let inner = self.lock();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            self.apply_gate.pass().await;
            let mut inner = self.lock();
            let panics = inner.faults.panic_at.map(Add);
            if inner.faults.apply {
                return Err(fault("apply"));
            }
            assert!(inner.applied < Some(entry.log_id), "entries are applied once, in order");
            inner.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Normal(add) if Some(&add) == panics.as_ref() => {
                    drop(inner);
                    panic!("the state machine panics at {add}");
                }
                EntryPayload::Normal(Add(n)) => {
                    inner.sum += n;
                    inner.seen.push(n);
                }
                EntryPayload::Membership(membership) => {
                    inner.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                EntryPayload::Blank => {}
            }
            let (sum, leaves) = (inner.sum, inner.faults.leaves);
            let mute = inner.faults.mute_at.is_some() && inner.seen.last().copied() == inner.faults.mute_at;
            drop(inner);
            if let Some(responder) = responder.filter(|_| !mute) {
                responder.send(sum);
            }
            if leaves {
                return Ok(());
            }
        }
        self.applied_gate.pass().await;
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        let none = {
            let mut inner = self.lock();
            inner.asked_to_build.push(force);
            inner.faults.no_builder
        };
        if none { None } else { Some(self.get_snapshot_builder().await) }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let snapshot = self.lock().as_snapshot();
        Builder { machine: self.clone(), snapshot }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, sum: u64) -> Result<(), io::Error> {
        self.install_gate.pass().await;
        let mut inner = self.lock();
        if inner.faults.install {
            return Err(fault("install"));
        }
        inner.applied = meta.last_log_id;
        inner.membership = meta.last_membership.clone();
        inner.sum = sum;
        inner.seen.clear();
        inner.snapshot = Some(Snapshot { meta: meta.clone(), snapshot: sum });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, u64>>, io::Error> {
        let inner = self.lock();
        Ok(inner.snapshot.clone().filter(|_| !inner.faults.no_snapshot))
    }
}

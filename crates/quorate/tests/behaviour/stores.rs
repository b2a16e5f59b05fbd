//! Stores in memory, with every fault that a test may wish for.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
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

/// Adds to the sum; the response is the sum after it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Add(pub u64);

impl fmt::Display for Add {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

quorate::declare_raft_types!(pub Types: D = Add, R = u64, Node = BasicNode);

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
        self.append_gate.open();
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
        let mut inner = self.lock();
        if inner.faults.vote {
            return Err(fault("vote"));
        }
        inner.vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<Id>) -> Result<(), io::Error> {
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
}

#[derive(Default)]
struct MachineInner {
    applied: Option<Id>,
    membership: StoredMembershipOf<Types>,
    sum: u64,
    /// Every number applied to this very state, in order; a snapshot brings none.
    seen: Vec<u64>,
    snapshot: Option<SnapshotOf<Types, u64>>,
    faults: MachineFaults,
}

#[derive(Clone, Default)]
pub struct Machine {
    inner: Arc<Mutex<MachineInner>>,
    pub apply_gate: Gate,
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

    /// The snapshot that a restart finds.
    pub fn keep(&self, snapshot: SnapshotOf<Types, u64>) {
        self.lock().snapshot = Some(snapshot);
    }

    /// Lives as long as someone holds this state machine.
    pub fn token(&self) -> Arc<()> {
        self.token.clone()
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
            let sum = inner.sum;
            drop(inner);
            if let Some(responder) = responder {
                responder.send(sum);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let inner = self.lock();
        let meta = SnapshotMeta { last_log_id: inner.applied, last_membership: inner.membership.clone() };
        Builder { machine: self.clone(), snapshot: Snapshot { meta, snapshot: inner.sum } }
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
        Ok(self.lock().snapshot.clone())
    }
}

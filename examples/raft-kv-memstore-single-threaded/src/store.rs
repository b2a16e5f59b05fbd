//! The log and the state, in cells instead of locks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::rc::Rc;

use futures_util::Stream;
use futures_util::StreamExt;
use openraft::EntryPayload;
use openraft::LogState;
use openraft::RaftLogReader;
use openraft::RaftSnapshotBuilder;
use openraft::SnapshotMeta;
use openraft::StoredMembership;
use openraft::entry::RaftEntry;
use openraft::storage::EntryResponder;
use openraft::storage::IOFlushed;
use openraft::storage::RaftLogStorage;
use openraft::storage::RaftStateMachine;
use openraft::storage::Snapshot;
use openraft::type_config::alias::EntryOf;
use openraft::type_config::alias::LogIdOf;
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::StoredMembershipOf;
use openraft::type_config::alias::VoteOf;

use crate::Response;
use crate::TypeConfig;

/// What is kept, and what a snapshot carries. Its texts are shared with the log and with every other node.
pub type Map = BTreeMap<Rc<str>, Rc<str>>;

/// A log in memory. Clones are the same log.
#[derive(Debug, Clone, Default)]
pub struct LogStore {
    inner: Rc<RefCell<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    vote: Option<VoteOf<TypeConfig>>,
    purged: Option<LogIdOf<TypeConfig>>,
    entries: BTreeMap<u64, EntryOf<TypeConfig>>,
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        Ok(self.inner.borrow().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<TypeConfig>>, io::Error> {
        Ok(self.inner.borrow().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let log = self.inner.borrow();
        let last = log.entries.values().next_back().map(|entry| entry.log_id());
        Ok(LogState { last_purged_log_id: log.purged, last_log_id: last.or(log.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TypeConfig>) -> Result<(), io::Error> {
        self.inner.borrow_mut().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<TypeConfig>>,
    {
        self.inner.borrow_mut().entries.extend(entries.into_iter().map(|entry| (entry.index(), entry)));
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        let first = last_log_id.map_or(0, |last| last.index.saturating_add(1));
        self.inner.borrow_mut().entries.split_off(&first);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogIdOf<TypeConfig>) -> Result<(), io::Error> {
        let mut log = self.inner.borrow_mut();
        log.entries = log.entries.split_off(&log_id.index.saturating_add(1));
        log.purged = Some(log_id);
        Ok(())
    }
}

/// A map in memory. Clones are the same map, so that an application can keep one to read from.
#[derive(Debug, Clone, Default)]
pub struct StateMachine {
    inner: Rc<RefCell<State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    applied: Option<LogIdOf<TypeConfig>>,
    membership: StoredMembershipOf<TypeConfig>,
    map: Map,
    snapshot: Option<SnapshotOf<TypeConfig, Map>>,
}

impl StateMachine {
    /// The value of a key, as far as this node has applied: the very text that was written, not a copy.
    pub fn get(&self, key: &str) -> Option<Rc<str>> {
        self.inner.borrow().map.get(key).cloned()
    }
}

/// Keeps the map as it was when the builder was made.
#[derive(Debug)]
pub struct SnapshotBuilder {
    machine: StateMachine,
    snapshot: SnapshotOf<TypeConfig, Map>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Map;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Map>, io::Error> {
        self.machine.inner.borrow_mut().snapshot = Some(self.snapshot.clone());
        Ok(self.snapshot.clone())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Map;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        let state = self.inner.borrow();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin,
    {
        while let Some((entry, responder)) = entries.next().await.transpose()? {
            let mut state = self.inner.borrow_mut();
            state.applied = Some(entry.log_id);
            let before = match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(request) => state.map.insert(request.key, request.value),
                EntryPayload::Membership(membership) => {
                    state.membership = StoredMembership::new(Some(entry.log_id), membership);
                    None
                }
            };
            if let Some(responder) = responder {
                responder.send(Response(before));
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let state = self.inner.borrow();
        let meta = SnapshotMeta { last_log_id: state.applied, last_membership: state.membership.clone() };
        let snapshot = Snapshot { meta, snapshot: state.map.clone() };
        SnapshotBuilder { machine: self.clone(), snapshot }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        map: Map,
    ) -> Result<(), io::Error> {
        *self.inner.borrow_mut() = State {
            applied: meta.last_log_id,
            membership: meta.last_membership.clone(),
            map: map.clone(),
            snapshot: Some(Snapshot { meta: meta.clone(), snapshot: map }),
        };
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, Map>>, io::Error> {
        Ok(self.inner.borrow().snapshot.clone())
    }
}

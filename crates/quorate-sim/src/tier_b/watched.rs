//! The real log store and the real state machine, with the observer in between.

use std::collections::BTreeMap;
use std::io;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt;
use quorate::EntryPayload;
use quorate::LogState;
use quorate::OptionalSend;
use quorate::RaftSnapshotBuilder;
use quorate::storage::EntryResponder;
use quorate::storage::IOFlushed;
use quorate::storage::RaftLogStorage;
use quorate::storage::RaftStateMachine;
use quorate::type_config::alias::SnapshotMetaOf;
use quorate::type_config::alias::SnapshotOf;
use quorate::type_config::alias::StoredMembershipOf;
use quorate_log::LogStore;
use quorate_log::LogStoreReader;
use quorate_log::Postcard;
use quorate_log::sim_disk::SimDisk;
use quorate_rt::AsyncRuntime;
use quorate_rt::Oneshot;
use quorate_rt_tokio::TokioOneshot;

use crate::tier_b::observer::Watch;
use crate::tier_b::observer::hash_of;
use crate::tier_b::runtime::SimRuntime;
use crate::tier_b::types::LogId;
use crate::tier_b::types::Machine;
use crate::tier_b::types::SnapshotFile;
use crate::tier_b::types::Types;
use crate::tier_b::types::Vote;
use crate::tier_b::world;

/// The log of a node, watched.
pub struct WatchedLog<C: Types> {
    pub node: u64,
    pub log: LogStore<C, Postcard, SimDisk>,
    pub watch: Watch<C>,
    pub pending: Arc<Mutex<Pending<C>>>,
}

type Ids<C> = Vec<(LogId<C>, u64)>;

/// The appends that are not known to be durable, by their numbers.
pub struct Pending<C: Types> {
    appended: u64,
    entries: BTreeMap<u64, Ids<C>>,
}

impl<C: Types> Default for Pending<C> {
    fn default() -> Self {
        Self { appended: 0, entries: BTreeMap::new() }
    }
}

impl<C: Types> RaftLogStorage<C> for WatchedLog<C> {
    type LogReader = LogStoreReader<C, Postcard, SimDisk>;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        self.log.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.log.get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote<C>) -> io::Result<()> {
        self.log.save_vote(vote).await?;
        self.watch.saved(self.node, vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId<C>>) -> io::Result<()> {
        self.log.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId<C>>> {
        self.log.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<C::Entry> = entries.into_iter().collect();
        for entry in &entries {
            if let EntryPayload::Membership(membership) = &entry.payload {
                self.watch.proposed(&entry.log_id, membership.get_joint_config());
            }
        }
        let ids: Ids<C> = entries.iter().map(|entry| (entry.log_id.clone(), hash_of::<C>(entry))).collect();
        let number = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.appended += 1;
            let number = pending.appended;
            pending.entries.insert(number, ids);
            number
        };
        let (tx, rx) = TokioOneshot::channel::<io::Result<()>>();
        let (node, watch, pending) = (self.node, self.watch.clone(), self.pending.clone());
        // A task for each, so that callbacks may come in any order, as the contract allows.
        world::spawn(async move {
            if let Ok(outcome) = rx.await {
                if outcome.is_ok() {
                    // A callback speaks for all appends before its own too.
                    let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
                    let later = pending.entries.split_off(&(number + 1));
                    let flushed = std::mem::replace(&mut pending.entries, later);
                    watch.flushed(node, flushed.into_values().flatten().collect());
                }
                callback.io_completed(outcome);
            }
        });
        self.log.append(entries, IOFlushed::signal(tx)).await
    }

    async fn truncate_after(&mut self, last: Option<LogId<C>>) -> io::Result<()> {
        self.watch.truncates(self.node, last.as_ref().map_or(0, |last| last.index + 1));
        self.log.truncate_after(last).await
    }

    async fn purge(&mut self, upto: LogId<C>) -> io::Result<()> {
        self.watch.purges(self.node, upto.index);
        self.log.purge(upto).await
    }
}

/// The state machine of a node, watched.
pub struct WatchedMachine<C: Types> {
    pub node: u64,
    pub machine: Machine<C>,
    /// How long it may take to begin with a batch.
    pub slow_ns: u64,
    pub watch: Watch<C>,
}

impl<C: Types> RaftStateMachine<C> for WatchedMachine<C> {
    type SnapshotData = SnapshotFile<C>;
    type SnapshotBuilder = WatchedBuilder<C>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId<C>>, StoredMembershipOf<C>)> {
        self.machine.applied_state().await
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<C>>> + Unpin + OptionalSend,
    {
        if self.slow_ns > 0 && world::chance(1, 4) {
            SimRuntime::sleep(Duration::from_nanos(world::below(self.slow_ns))).await;
        }
        let (node, watch) = (self.node, &self.watch);
        let entries = entries.map(move |next| {
            if let Ok((entry, _)) = &next {
                watch.applied(node, entry);
            }
            next
        });
        self.machine.apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        let builder = self.machine.get_snapshot_builder().await;
        WatchedBuilder { node: self.node, builder, watch: self.watch.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<C>,
        snapshot: Self::SnapshotData,
    ) -> io::Result<()> {
        self.machine.install_snapshot(meta, snapshot).await?;
        let Some(last) = &meta.last_log_id else { return Ok(()) };
        self.watch.installed(self.node, last);
        let current = self.machine.get_current_snapshot().await?;
        if let Some(SnapshotFile::<C>::Stored(stored)) = current.map(|current| current.snapshot)
            && stored.position.applied.as_ref() == Some(last)
        {
            let mut bytes = Vec::new();
            if stored.read().read_to_end(&mut bytes).is_ok() {
                self.watch.holds_snapshot(self.node, last, crc32c::crc32c(&bytes));
            }
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<C, Self::SnapshotData>>> {
        self.machine.get_current_snapshot().await
    }
}

/// Builds snapshots, watched.
pub struct WatchedBuilder<C: Types> {
    node: u64,
    builder: <Machine<C> as RaftStateMachine<C>>::SnapshotBuilder,
    watch: Watch<C>,
}

impl<C: Types> RaftSnapshotBuilder<C> for WatchedBuilder<C> {
    type SnapshotData = SnapshotFile<C>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<C, SnapshotFile<C>>> {
        let built = self.builder.build_snapshot().await?;
        if let (Some(last), SnapshotFile::<C>::Stored(stored)) = (&built.meta.last_log_id, &built.snapshot) {
            let mut bytes = Vec::new();
            stored.read().read_to_end(&mut bytes)?;
            self.watch.built(self.node, last, crc32c::crc32c(&bytes));
        }
        Ok(built)
    }
}

//! Stores in memory, sound or with one mistake.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::ops::Bound;
use std::ops::RangeBounds;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use quorate::LogState;
use quorate::RaftLogReader;
use quorate::RaftSnapshotBuilder;
use quorate::RaftTypeConfig;
use quorate::Snapshot;
use quorate::SnapshotMeta;
use quorate::StorageError;
use quorate::StoredMembership;
use quorate::entry::RaftEntry;
use quorate::storage::EntryResponder;
use quorate::storage::IOFlushed;
use quorate::storage::LeaderBoundedStreamResult;
use quorate::storage::RaftLogStorage;
use quorate::storage::RaftStateMachine;
use quorate::testing::log::StoreBuilder;
use quorate::testing::membership_ent;
use quorate::type_config::alias::EntryOf;
use quorate::type_config::alias::LeaderIdOf;
use quorate::type_config::alias::LogIdOf;
use quorate::type_config::alias::SnapshotMetaOf;
use quorate::type_config::alias::SnapshotOf;
use quorate::type_config::alias::StoredMembershipOf;
use quorate::type_config::alias::VoteOf;
use quorate::vote::RaftVote;

/// One mistake of a store, as people make them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    // Of the log.
    CallbackIsDropped,
    CallbackNeverComes,
    CommittedIsOneLess,
    EntriesStreamLosesTheLast,
    KeyLogIdsAreTheFirst,
    LastLogIdIsForgottenWhenEmpty,
    LeaderIsNotAsked,
    LimitedReadGivesNothing,
    LogIsNotEmptyAtFirst,
    PurgeForgetsItsId,
    PurgeIsExclusive,
    PurgeStopsAtTheEnd,
    ReadIncludesTheEnd,
    ReadSkipsTheFirst,
    ReaderIsACopy,
    TruncateAllDoesNothing,
    TruncateIsInclusive,
    TruncateLeavesAHole,
    VoteIsKeptByReaders,
    VoteIsLost,
    VoteLosesItsQuorum,
    // Of the state machine.
    ApplyIgnoresBlanks,
    ApplyIgnoresMemberships,
    ApplyStopsAtTheFirst,
    BlankForgetsTheMembership,
    ClientIsNotAnswered,
    ForcedSnapshotIsRefused,
    InstallIsNotCurrent,
    InstallKeepsTheMembership,
    InstallKeepsTheState,
    SnapshotCoversNothing,
    SnapshotIsNotKept,
}

/// Makes stores with the same mistake, or none.
pub struct Builder(pub Option<Bug>);

impl<C: RaftTypeConfig> StoreBuilder<C, MemLog<C>, Machine<C>> for Builder
where
    C::Entry: Clone,
    C::R: Default,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
    C::Node: Default,
{
    async fn build(&self) -> Result<((), MemLog<C>, Machine<C>), StorageError<C>> {
        let log = MemLog { bug: self.0, inner: Arc::default() };
        if self.0 == Some(Bug::LogIsNotEmptyAtFirst) {
            let left = membership_ent::<C>(0, 0.into(), 0, vec![BTreeSet::from([1.into()])]);
            log.lock().entries.insert(0, left);
        }
        Ok(((), log, Machine { bug: self.0, inner: Arc::default() }))
    }
}

/// A log in memory.
pub struct MemLog<C: RaftTypeConfig> {
    bug: Option<Bug>,
    inner: Arc<Mutex<LogInner<C>>>,
}

struct LogInner<C: RaftTypeConfig> {
    entries: BTreeMap<u64, EntryOf<C>>,
    purged: Option<LogIdOf<C>>,
    vote: Option<VoteOf<C>>,
    committed: Option<LogIdOf<C>>,
    callbacks: Vec<IOFlushed<C>>,
}

impl<C: RaftTypeConfig> Default for LogInner<C> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), purged: None, vote: None, committed: None, callbacks: Vec::new() }
    }
}

impl<C: RaftTypeConfig> MemLog<C> {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn lock(&self) -> MutexGuard<'_, LogInner<C>> {
        self.inner.lock().unwrap()
    }
}

/// Reads a [`MemLog`].
pub struct MemReader<C: RaftTypeConfig> {
    log: MemLog<C>,
    vote: Option<VoteOf<C>>,
}

impl<C: RaftTypeConfig> RaftLogReader<C> for MemReader<C>
where
    C::Entry: Clone,
{
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<C>>, io::Error> {
        let end = match range.end_bound() {
            Bound::Excluded(end) if self.log.has(Bug::ReadIncludesTheEnd) => Bound::Included(*end),
            end => end.cloned(),
        };
        let inner = self.log.lock();
        let skipped = usize::from(self.log.has(Bug::ReadSkipsTheFirst));
        let found = inner.entries.range((range.start_bound().cloned(), end)).skip(skipped);
        Ok(found.map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<C>>, io::Error> {
        if self.log.has(Bug::VoteIsKeptByReaders) {
            return Ok(self.vote.clone());
        }
        Ok(self.log.lock().vote.clone())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<EntryOf<C>>, io::Error> {
        let end = if self.log.has(Bug::LimitedReadGivesNothing) { start } else { end.min(start + 3) };
        self.try_get_log_entries(start..end).await
    }

    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderIdOf<C>,
        range: RB,
    ) -> impl Stream<Item = LeaderBoundedStreamResult<C>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let vote = self.read_vote().await.unwrap();
        let leads = vote.as_ref().is_some_and(|vote| vote.is_committed() && *vote.leader_id() == leader);
        if leads || self.log.has(Bug::LeaderIsNotAsked) {
            let entries = self.try_get_log_entries(range).await.unwrap();
            return stream::iter(entries.into_iter().map(Ok).collect::<Vec<_>>());
        }
        let changed = quorate::errors::LeaderChanged::new(leader, vote);
        stream::iter(vec![Err(changed.into())])
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<EntryOf<C>, io::Error>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let mut entries = self.try_get_log_entries(range).await.unwrap();
        if self.log.has(Bug::EntriesStreamLosesTheLast) {
            entries.pop();
        }
        stream::iter(entries.into_iter().map(Ok))
    }

    async fn get_key_log_ids(
        &mut self,
        range: RangeInclusive<LogIdOf<C>>,
    ) -> Result<Vec<LogIdOf<C>>, io::Error> {
        let (first, last) = (range.start().index, range.end().index);
        let ids =
            self.log.lock().entries.range(first..=last).map(|(_, entry)| entry.log_id()).collect::<Vec<_>>();
        let mut keys = ids.clone();
        keys.retain(|id| {
            let neighbour = if self.log.has(Bug::KeyLogIdsAreTheFirst) {
                id.index.checked_sub(1)
            } else {
                Some(id.index + 1)
            };
            !ids.iter().any(|other| Some(other.index) == neighbour && other.leader_id == id.leader_id)
        });
        Ok(keys)
    }
}

impl<C: RaftTypeConfig> RaftLogStorage<C> for MemLog<C>
where
    C::Entry: Clone,
{
    type LogReader = MemReader<C>;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        let inner = self.lock();
        let last = inner.entries.values().next_back().map(RaftEntry::log_id);
        let purged = inner.purged.clone();
        let forgets = self.has(Bug::LastLogIdIsForgottenWhenEmpty);
        let last_log_id = if forgets { last } else { last.or(purged.clone()) };
        Ok(LogState { last_purged_log_id: purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> MemReader<C> {
        let mut inner = self.inner.clone();
        if self.has(Bug::ReaderIsACopy) {
            let LogInner { entries, purged, vote, committed, .. } = &*self.lock();
            let (entries, purged, vote) = (entries.clone(), purged.clone(), vote.clone());
            let committed = committed.clone();
            inner =
                Arc::new(Mutex::new(LogInner { entries, purged, vote, committed, callbacks: Vec::new() }));
        }
        MemReader { log: MemLog { bug: self.bug, inner }, vote: self.lock().vote.clone() }
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> Result<(), io::Error> {
        let committed = vote.is_committed() && !self.has(Bug::VoteLosesItsQuorum);
        let vote = VoteOf::<C>::from_leader_id(vote.leader_id().clone(), committed);
        if !self.has(Bug::VoteIsLost) {
            self.lock().vote = Some(vote);
        }
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        self.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<C>>, io::Error> {
        let mut committed = self.lock().committed.clone();
        if self.has(Bug::CommittedIsOneLess) {
            committed.iter_mut().for_each(|id| id.index -= 1);
        }
        Ok(committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<C>> + Send,
        I::IntoIter: Send,
    {
        let mut inner = self.lock();
        for entry in entries {
            inner.entries.insert(entry.index(), entry);
        }
        match self.bug {
            Some(Bug::CallbackIsDropped) => drop(callback),
            Some(Bug::CallbackNeverComes) => inner.callbacks.push(callback),
            _ => callback.io_completed(Ok(())),
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        if self.has(Bug::TruncateAllDoesNothing) && last.is_none() {
            return Ok(());
        }
        let first = last.map_or(0, |last| last.index + u64::from(!self.has(Bug::TruncateIsInclusive)));
        let mut inner = self.lock();
        let mut removed = inner.entries.split_off(&first);
        if self.has(Bug::TruncateLeavesAHole)
            && let Some((index, entry)) = removed.pop_last()
        {
            inner.entries.insert(index, entry);
        }
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<C>) -> Result<(), io::Error> {
        let first = upto.index + u64::from(!self.has(Bug::PurgeIsExclusive));
        let mut inner = self.lock();
        let last = inner.entries.values().next_back().map(RaftEntry::log_id);
        inner.entries = inner.entries.split_off(&first);
        inner.purged = match self.bug {
            Some(Bug::PurgeForgetsItsId) => None,
            Some(Bug::PurgeStopsAtTheEnd) => Some(upto).min(last.or(inner.purged.clone())),
            _ => Some(upto),
        };
        Ok(())
    }
}

/// A state machine in memory, whose state is how many entries it applied.
pub struct Machine<C: RaftTypeConfig> {
    bug: Option<Bug>,
    inner: Arc<Mutex<MachineInner<C>>>,
}

struct MachineInner<C: RaftTypeConfig> {
    applied: Option<LogIdOf<C>>,
    membership: StoredMembershipOf<C>,
    count: u64,
    snapshot: Option<SnapshotOf<C, u64>>,
}

impl<C: RaftTypeConfig> Default for MachineInner<C> {
    fn default() -> Self {
        Self { applied: None, membership: StoredMembership::default(), count: 0, snapshot: None }
    }
}

impl<C: RaftTypeConfig> RaftSnapshotBuilder<C> for Machine<C> {
    type SnapshotData = u64;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<C, u64>, io::Error> {
        let mut inner = self.inner.lock().unwrap();
        let covered = self.bug != Some(Bug::SnapshotCoversNothing);
        let last_log_id = inner.applied.clone().filter(|_| covered);
        let meta = SnapshotMeta { last_log_id, last_membership: inner.membership.clone() };
        let snapshot = Snapshot { meta, snapshot: inner.count };
        if self.bug != Some(Bug::SnapshotIsNotKept) {
            inner.snapshot = Some(snapshot.clone());
        }
        Ok(snapshot)
    }
}

impl<C: RaftTypeConfig> RaftStateMachine<C> for Machine<C>
where
    C::R: Default,
{
    type SnapshotData = u64;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<C>>, StoredMembershipOf<C>), io::Error> {
        let inner = self.inner.lock().unwrap();
        Ok((inner.applied.clone(), inner.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + Send,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let mut inner = self.inner.lock().unwrap();
            inner.count += 1;
            let membership = entry.get_membership();
            if membership.is_some() || self.bug != Some(Bug::ApplyIgnoresBlanks) {
                inner.applied = Some(entry.log_id());
            }
            match membership {
                Some(membership) if self.bug != Some(Bug::ApplyIgnoresMemberships) => {
                    inner.membership = StoredMembership::new(Some(entry.log_id()), membership);
                }
                None if self.bug == Some(Bug::BlankForgetsTheMembership) => {
                    inner.membership = StoredMembership::default();
                }
                _ => {}
            }
            if let Some(responder) = responder
                && self.bug != Some(Bug::ClientIsNotAnswered)
            {
                responder.send(C::R::default());
            }
            if self.bug == Some(Bug::ApplyStopsAtTheFirst) {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self> {
        if force && self.bug == Some(Bug::ForcedSnapshotIsRefused) {
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        Self { bug: self.bug, inner: self.inner.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<C>, count: u64) -> Result<(), io::Error> {
        let mut inner = self.inner.lock().unwrap();
        if self.bug != Some(Bug::InstallKeepsTheState) {
            inner.applied = meta.last_log_id.clone();
            inner.count = count;
        }
        if self.bug != Some(Bug::InstallKeepsTheMembership) {
            inner.membership = meta.last_membership.clone();
        }
        if self.bug != Some(Bug::InstallIsNotCurrent) {
            inner.snapshot = Some(Snapshot { meta: meta.clone(), snapshot: count });
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<C, u64>>, io::Error> {
        Ok(self.inner.lock().unwrap().snapshot.clone())
    }
}

//! What an application brings to keep its log and its state.

use std::fmt;
use std::fmt::Debug;
use std::fmt::Formatter;
use std::io;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::ops::RangeInclusive;

use futures_util::Stream;
use futures_util::stream;
use thiserror::Error as ThisError;

use crate::base::BoxCall;
use crate::base::OptionalSend;
use crate::base::OptionalSync;
pub use crate::boot::StorageHelper;
use crate::client::ClientWriteResponse;
pub use crate::deprecated::LogApplied;
use crate::entry::RaftEntry;
use crate::errors::ErrorSubject;
use crate::errors::ErrorVerb;
use crate::errors::LeaderChanged;
use crate::errors::StorageError;
use crate::errors::ToStorageResult;
use crate::membership::Membership;
use crate::responder::CoreResponder;
use crate::runtime::OneshotSender;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::EntryOf;
use crate::type_config::alias::LeaderIdOf;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::OneshotSenderOf;
use crate::type_config::alias::SnapshotMetaOf;
use crate::type_config::alias::SnapshotOf;
use crate::type_config::alias::StoredMembershipOf;
use crate::type_config::alias::VoteOf;
pub use crate::types::LogState;
pub use crate::types::Snapshot;
pub use crate::types::SnapshotMeta;
pub use crate::types::SnapshotSignature;
use crate::vote::RaftVote;

/// Reads a log, beside the one who writes it.
///
/// There is one reader for each peer and one for the state machine; they are used at the same time. An error from any method
/// stops the node. What a store has to keep is told in [the guide](crate::docs::storage_contract), and checked by
/// [`testing::log`](crate::testing::log).
pub trait RaftLogReader<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// The entries in `range`, in order.
    ///
    /// Entries may be missing at either end of the range, where they were purged or are not written yet. A hole
    /// between two entries must be an error. An entry can be read from when
    /// [`append`](RaftLogStorage::append) returned.
    fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> impl Future<Output = Result<Vec<C::Entry>, io::Error>> + OptionalSend;

    /// The vote that was saved last by [`save_vote`](RaftLogStorage::save_vote); none if there was none ever.
    fn read_vote(&mut self) -> impl Future<Output = Result<Option<VoteOf<C>>, io::Error>> + OptionalSend;

    /// The entries from `start` until `end`, or fewer: at least one if there is any, so as to bound memory.
    fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> impl Future<Output = Result<Vec<C::Entry>, io::Error>> + OptionalSend {
        self.try_get_log_entries(start..end)
    }

    /// About how many bytes `entry` takes when it is encoded: what byte limits go by.
    fn entry_size(&self, _entry: &C::Entry) -> u64 {
        size_of::<C::Entry>() as u64
    }

    /// The entries in `range` for as long as `leader` leads.
    ///
    /// A single [`LeaderBoundedStreamError::LeaderChanged`] if the saved vote is not the committed one of `leader`
    /// before and after the entries are read.
    fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderIdOf<C>,
        range: RB,
    ) -> impl Future<Output = impl Stream<Item = LeaderBoundedStreamResult<C>> + OptionalSend> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        async move {
            let results = match read_under(self, leader, range).await {
                Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(results)
        }
    }

    /// The entries in `range`, whoever leads: what goes to the state machine.
    fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Future<Output = impl Stream<Item = Result<EntryOf<C>, io::Error>> + OptionalSend> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        async move {
            let results = match self.try_get_log_entries(range).await {
                Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(results)
        }
    }

    /// The last entry of each leader among those from the first to the last of `range`, both of which are there.
    ///
    /// Called when a node starts, to know the shape of its log. The default reads a number of entries that grows
    /// with the number of leaders and with the logarithm of the length.
    fn get_key_log_ids(
        &mut self,
        range: RangeInclusive<LogIdOf<C>>,
    ) -> impl Future<Output = Result<Vec<LogIdOf<C>>, io::Error>> + OptionalSend {
        async move {
            let (first, last) = range.into_inner();
            let mut ends = Vec::new();
            let mut run = first;
            while run.leader_id != last.leader_id {
                let (end, next) = end_of_run(self, run, last.clone()).await?;
                ends.push(end);
                run = next;
            }
            ends.push(last);
            Ok(ends)
        }
    }
}

/// The entries in `range`, if `leader` leads before and after they are read.
async fn read_under<C, LR, RB>(
    reader: &mut LR,
    leader: LeaderIdOf<C>,
    range: RB,
) -> Result<Vec<C::Entry>, LeaderBoundedStreamError<C>>
where
    C: RaftTypeConfig,
    LR: RaftLogReader<C> + ?Sized,
    RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
{
    let before = reader.read_vote().await?;
    if !before.as_ref().is_some_and(|vote| vote.is_committed() && *vote.leader_id() == leader) {
        return Err(LeaderChanged::new(leader, before).into());
    }
    let entries = reader.try_get_log_entries(range).await?;
    let after = reader.read_vote().await?;
    if after != before {
        return Err(LeaderChanged::new(leader, after).into());
    }
    Ok(entries)
}

/// The last entry of the leader of `run`, and the first entry of the next leader. `run` and `last` are of different
/// leaders.
async fn end_of_run<C, LR>(
    reader: &mut LR,
    run: LogIdOf<C>,
    last: LogIdOf<C>,
) -> Result<(LogIdOf<C>, LogIdOf<C>), io::Error>
where
    C: RaftTypeConfig,
    LR: RaftLogReader<C> + ?Sized,
{
    let (mut inside, mut beyond) = (run, last);
    while beyond.index.saturating_sub(inside.index) > 1 {
        let middle = inside.index.midpoint(beyond.index);
        let log_id = read_log_id(reader, middle).await?;
        if log_id.leader_id == inside.leader_id {
            inside = log_id;
        } else {
            beyond = log_id;
        }
    }
    Ok((inside, beyond))
}

async fn read_log_id<C, LR>(reader: &mut LR, index: u64) -> Result<LogIdOf<C>, io::Error>
where
    C: RaftTypeConfig,
    LR: RaftLogReader<C> + ?Sized,
{
    let entries = reader.try_get_log_entries(index..=index).await?;
    let found = entries.first().map(RaftEntry::log_id);
    found.ok_or_else(|| io::Error::other(format!("log entry not found at index {index}")))
}

/// An entry, or why there are no more of them.
pub type LeaderBoundedStreamResult<C> = Result<EntryOf<C>, LeaderBoundedStreamError<C>>;

/// Why entries could not be read on behalf of a leader.
#[derive(Debug, ThisError)]
pub enum LeaderBoundedStreamError<C: RaftTypeConfig> {
    /// It leads no more.
    #[error(transparent)]
    LeaderChanged(#[from] LeaderChanged<C>),
    /// The log could not be read.
    #[error(transparent)]
    IoError(#[from] io::Error),
}

/// What every log reader can do beyond [`RaftLogReader`].
pub trait RaftLogReaderExt<C: RaftTypeConfig>: RaftLogReader<C> {
    /// The entry at an index, if it is there.
    fn try_get_log_entry(
        &mut self,
        index: u64,
    ) -> impl Future<Output = Result<Option<C::Entry>, StorageError<C>>> + OptionalSend {
        async move {
            let entries = self.try_get_log_entries(index..=index).await;
            let entries = entries.sto_res(|| (ErrorSubject::LogIndex(index), ErrorVerb::Read))?;
            Ok(entries.into_iter().next())
        }
    }

    /// The id of the entry at an index. Errors if it is not there.
    fn get_log_id(
        &mut self,
        index: u64,
    ) -> impl Future<Output = Result<LogIdOf<C>, StorageError<C>>> + OptionalSend {
        async move {
            let entry = self.try_get_log_entry(index).await?;
            let log_id = entry.as_ref().map(RaftEntry::log_id);
            log_id.ok_or_else(|| {
                StorageError::read_log_at_index(index, C::err_from_string("log entry not found"))
            })
        }
    }
}

impl<C: RaftTypeConfig, LR: RaftLogReader<C> + ?Sized> RaftLogReaderExt<C> for LR {}

/// Keeps the log and the vote.
///
/// The library issues writes one after the other: the next when the previous one returned; and a vote or a truncation only when
/// the appends before it are durable. The methods are polled by the task that also sends heartbeats, so they must not block
/// its thread. An error from any of them stops the node: retry inside what can be retried, and never an `fsync` that failed.
///
/// [The guide](crate::docs::storage_contract) has the contract method by method; [`testing::log`](crate::testing::log) and
/// [`testing::crash`](crate::testing::crash) check it.
pub trait RaftLogStorage<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// Reads the log beside the one who writes it.
    type LogReader: RaftLogReader<C>;

    /// What the log holds: its last entry, and the last that was purged. Called when the node starts.
    fn get_log_state(&mut self) -> impl Future<Output = Result<LogState<C>, io::Error>> + OptionalSend;

    /// A reader, which sees what is written after it was made too.
    fn get_log_reader(&mut self) -> impl Future<Output = Self::LogReader> + OptionalSend;

    /// Saves the vote, whole; it must be durable when this returns. A node that forgets a vote may vote twice (thesis §3.8).
    fn save_vote(&mut self, vote: &VoteOf<C>) -> impl Future<Output = Result<(), io::Error>> + OptionalSend;

    /// Saves what is committed, so that a restart can apply it before a leader says so. It need not be durable, and is called
    /// before the entries are applied.
    fn save_committed(
        &mut self,
        _committed: Option<LogIdOf<C>>,
    ) -> impl Future<Output = Result<(), io::Error>> + OptionalSend {
        async { Ok(()) }
    }

    /// What was saved by [`save_committed`](Self::save_committed), if that saves anything.
    fn read_committed(
        &mut self,
    ) -> impl Future<Output = Result<Option<LogIdOf<C>>, io::Error>> + OptionalSend {
        async { Ok(None) }
    }

    /// Appends entries, which follow those that are there without a hole.
    ///
    /// When this returns they can be read; when they are durable, `callback` is called, before or after, from any thread. A
    /// callback speaks for all appends before its own too. One that is dropped without a call is an error.
    fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<C>,
    ) -> impl Future<Output = Result<(), io::Error>> + OptionalSend
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend;

    /// Removes the entries after `last_log_id`, or all of them; durable when this returns.
    fn truncate_after(
        &mut self,
        last_log_id: Option<LogIdOf<C>>,
    ) -> impl Future<Output = Result<(), io::Error>> + OptionalSend;

    /// Removes the entries up to and including `log_id` and remembers it as purged, even if it is beyond the last
    /// entry. It may become durable later.
    fn purge(&mut self, log_id: LogIdOf<C>) -> impl Future<Output = Result<(), io::Error>> + OptionalSend;
}

/// What every log store can do beyond [`RaftLogStorage`].
pub trait RaftLogStorageExt<C: RaftTypeConfig>: RaftLogStorage<C> {
    /// Appends entries and waits until they are durable.
    fn blocking_append<I>(
        &mut self,
        entries: I,
    ) -> impl Future<Output = Result<(), StorageError<C>>> + OptionalSend
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        async move {
            let (tx, flushed) = C::oneshot();
            let about = || (ErrorSubject::Logs, ErrorVerb::Write);
            self.append(entries, IOFlushed::signal(tx)).await.sto_res(about)?;
            flushed.await.map_err(|error| StorageError::write_logs(C::err_from_error(&error)))?.sto_res(about)
        }
    }
}

impl<C: RaftTypeConfig, T: RaftLogStorage<C>> RaftLogStorageExt<C> for T {}

/// Is told when entries are durable.
pub enum IOFlushed<C: RaftTypeConfig> {
    /// Nobody waits.
    Noop,
    /// The node waits.
    Notify(IOFlushedNotify<C>),
    /// The other end of a channel waits.
    Signal(OneshotSenderOf<C, Result<(), io::Error>>),
}

/// The former name of [`IOFlushed`].
#[deprecated(note = "use `IOFlushed`")]
pub type LogFlushed<C> = IOFlushed<C>;

impl<C: RaftTypeConfig> IOFlushed<C> {
    /// Nobody waits.
    pub fn noop() -> Self {
        Self::Noop
    }

    /// The other end of `tx` waits.
    pub fn signal(tx: OneshotSenderOf<C, Result<(), io::Error>>) -> Self {
        Self::Signal(tx)
    }

    /// Calls `f` when told. Dropped instead, it is not called.
    pub(crate) fn notify(
        f: impl FnOnce(Result<(), io::Error>) + OptionalSend + OptionalSync + 'static,
    ) -> Self {
        Self::Notify(IOFlushedNotify { call: Box::new(f), config: PhantomData })
    }

    /// The entries are durable, or they will never be: an error stops the node.
    pub fn io_completed(self, result: Result<(), io::Error>) {
        match self {
            Self::Noop => {}
            Self::Notify(notify) => (notify.call)(result),
            Self::Signal(tx) => {
                if let Err(unheard) = tx.send(result) {
                    tracing::debug!(result = ?unheard, "nobody waits for the flush of entries");
                }
            }
        }
    }

    /// The former name of [`io_completed`](Self::io_completed).
    #[deprecated(note = "use `io_completed`")]
    pub fn log_io_completed(self, result: Result<(), io::Error>) {
        self.io_completed(result);
    }
}

impl<C: RaftTypeConfig> Debug for IOFlushed<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Noop => "Noop",
            Self::Notify(_) => "Notify",
            Self::Signal(_) => "Signal",
        })
    }
}

/// How the node is told that entries are durable.
pub struct IOFlushedNotify<C: RaftTypeConfig> {
    call: BoxCall<Result<(), io::Error>>,
    config: PhantomData<C>,
}

/// Keeps the state that the log leads to.
///
/// The methods are called one after the other, by a task of its own: a slow one delays no heartbeat. An error or a panic stops
/// the node. It must be deterministic: the same entries lead to the same state on every node (thesis §2.1).
///
/// [The guide](crate::docs::storage_contract#the-state-machine) has the contract.
pub trait RaftStateMachine<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// The content of a snapshot.
    type SnapshotData: OptionalSend + 'static;

    /// Builds a snapshot while entries are applied.
    type SnapshotBuilder: RaftSnapshotBuilder<C, SnapshotData = Self::SnapshotData>;

    /// The last entry that was applied and the last membership among the applied ones.
    fn applied_state(
        &mut self,
    ) -> impl Future<Output = Result<(Option<LogIdOf<C>>, StoredMembershipOf<C>), io::Error>> + OptionalSend;

    /// Applies all entries of the stream in order, and answers with [`ApplyResponder::send`] where somebody waits.
    ///
    /// Of an entry with a membership, that has to be kept for [`applied_state`](Self::applied_state); so has the id of the
    /// last entry, in step with the data. An entry that the application finds wrong is no error but an answer.
    fn apply<Strm>(&mut self, entries: Strm) -> impl Future<Output = Result<(), io::Error>> + OptionalSend
    where
        Strm: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + OptionalSend;

    /// A builder of a snapshot of the present state, or none if it is no time for one: then nothing happens, and the policy
    /// waits for as many entries again. With `force`, when a node starts, it cannot go on without.
    fn try_create_snapshot_builder(
        &mut self,
        _force: bool,
    ) -> impl Future<Output = Option<Self::SnapshotBuilder>> + OptionalSend {
        async { Some(self.get_snapshot_builder().await) }
    }

    /// A builder of a snapshot of the present state. Nothing is applied until it is made, so make it quickly: by a copy that is
    /// cheap, and not by writing.
    fn get_snapshot_builder(&mut self) -> impl Future<Output = Self::SnapshotBuilder> + OptionalSend;

    /// Replaces the state by that of a snapshot, which becomes the current one, all or nothing: after a crash in the middle
    /// there is the old state or the new one.
    fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<C>,
        snapshot: Self::SnapshotData,
    ) -> impl Future<Output = Result<(), io::Error>> + OptionalSend;

    /// The snapshot that was built or installed last.
    fn get_current_snapshot(
        &mut self,
    ) -> impl Future<Output = Result<Option<SnapshotOf<C, Self::SnapshotData>>, io::Error>> + OptionalSend;
}

/// Builds a snapshot while entries are applied.
pub trait RaftSnapshotBuilder<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// The content of a snapshot.
    type SnapshotData: OptionalSend + 'static;

    /// Builds it, of the state at the time when the builder was made, and keeps it as the current one. It must be durable when
    /// this returns: entries that it covers may be purged at once. An error or a panic stops the node.
    fn build_snapshot(
        &mut self,
    ) -> impl Future<Output = Result<SnapshotOf<C, Self::SnapshotData>, io::Error>> + OptionalSend;
}

/// An entry to be applied, and who waits for the answer.
pub type EntryResponder<C> = (EntryOf<C>, Option<ApplyResponder<C>>);

/// Gives the client of an entry its answer.
pub struct ApplyResponder<C: RaftTypeConfig> {
    log_id: LogIdOf<C>,
    membership: Option<Membership<C::NodeId, C::Node>>,
    inner: CoreResponder<C>,
}

impl<C: RaftTypeConfig> ApplyResponder<C> {
    /// For the entry `log_id`, which carries `membership`.
    pub(crate) fn new(
        log_id: LogIdOf<C>,
        membership: Option<Membership<C::NodeId, C::Node>>,
        inner: CoreResponder<C>,
    ) -> Self {
        Self { log_id, membership, inner }
    }

    /// The entry was applied and answers with `response`.
    pub fn send(self, response: C::R) {
        let Self { log_id, membership, inner } = self;
        inner.on_complete(Ok(ClientWriteResponse { log_id, data: response, membership }));
    }
}

//! The log as the library wants it: the contract's `RaftLogStorage` over [`Log`].

use std::fmt;
use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};
use std::path::PathBuf;

use bytes::Bytes;
use quorate::entry::RaftEntry;
use quorate::storage::{IOFlushed, RaftLogStorage};
use quorate::type_config::TypeConfigExt;
use quorate::type_config::alias::{LogIdOf, VoteOf};
use quorate::{LogState, OptionalSend, RaftLogReader, RaftTypeConfig};

use crate::batch::EntryBatch;
use crate::codec::{Codec, Postcard};
use crate::disk::DiskDirectory;
use crate::error::LogError;
use crate::files::Directory;
use crate::log::{Completion, Log, Options};
use crate::recover::{OpenReport, Opened, open};
use crate::writer::{Writer, WriterThread};

/// `limited_get_log_entries` returns about so many bytes of entries at most.
pub const READ_BATCH_BYTES: u64 = 1024 * 1024;
/// A batch that grew beyond this many bytes gives its memory back.
const BATCH_KEEP_BYTES: usize = 1024 * 1024;

/// A durable [`RaftLogStorage`] for any type config whose entries, log ids and votes have serde.
///
/// Made by [`LogStore::open`], it writes on a thread of its own, and reads what is no longer in
/// memory on the runtime's blocking threads. [`LogStore::stepped`] leaves both to the caller.
///
/// `append` returns when the entries can be read; the callback is called when they are durable.
/// `save_vote`, `truncate_after` and `purge` are durable when they return. If a call is dropped
/// while it waits for the disk, the write happens all the same. Dropping the store waits until all
/// that was appended is durable.
pub struct LogStore<C: RaftTypeConfig, K = Postcard, D: Directory = DiskDirectory> {
    log: Log<D>,
    thread: Option<WriterThread<D>>,
    directory: D,
    report: OpenReport,
    batch: EntryBatch,
    last: Option<LogIdOf<C>>,
    purged: Option<LogIdOf<C>>,
    codec: PhantomData<fn() -> K>,
}

impl<C: RaftTypeConfig, K: Codec<C>> LogStore<C, K> {
    /// Opens the log in the directory at `path`, or makes one there. Blocks while it reads the log.
    ///
    /// # Errors
    /// As [`open`], and [`LogError::Corrupt`] if what was read cannot be decoded.
    pub fn open(path: impl Into<PathBuf>, options: Options) -> Result<Self, LogError> {
        let path = path.into();
        let name = path.display().to_string();
        let directory = DiskDirectory::open(path).map_err(|error| LogError::io("opening", &name, &error))?;
        let (mut store, writer) = Self::stepped(directory, options)?;
        let thread = writer.spawn().map_err(|error| LogError::io("starting the writer of", &name, &error))?;
        store.thread = Some(thread);
        Ok(store)
    }
}

impl<C: RaftTypeConfig, K: Codec<C>, D: Directory> LogStore<C, K, D> {
    /// Opens the log in any directory, and spawns nothing: the caller steps the writer, for example
    /// in a simulation, and reads happen where they are called.
    ///
    /// # Errors
    /// As [`LogStore::open`].
    pub fn stepped(directory: D, options: Options) -> Result<(Self, Writer<D>), LogError> {
        let Opened { log, writer, report } = open(directory.clone(), options)?;
        let bounds = log.bounds()?;
        let undecodable =
            |error: io::Error| LogError::corrupt(directory.location(), 0, format!("undecodable: {error}"));
        let purged = match &bounds.purged {
            Some((_, id)) => Some(K::decode_log_id(id).map_err(undecodable)?),
            None => None,
        };
        let last = match bounds.entries {
            Some((_, high)) => {
                let (_, found) = log.read(high..high.saturating_add(1), 0)?;
                let entry =
                    found.first().map(|bytes| K::decode_entry(bytes)).transpose().map_err(undecodable)?;
                entry.map(|entry| entry.log_id())
            }
            None => purged.clone(),
        };
        let codec = PhantomData;
        let store =
            Self { log, thread: None, directory, report, batch: EntryBatch::new(), last, purged, codec };
        Ok((store, writer))
    }

    /// What was found on opening.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// The directory, for keeping snapshots beside the log.
    pub fn directory(&self) -> &D {
        &self.directory
    }

    /// The log beneath.
    pub fn log(&self) -> &Log<D> {
        &self.log
    }

    /// Closes the log and waits, blocking, until all is durable.
    ///
    /// # Errors
    /// The failure that stopped the log, if one did.
    pub fn close(mut self) -> Result<(), LogError> {
        self.thread.take().map_or(Ok(()), WriterThread::close)
    }

    fn reader(&self) -> LogStoreReader<C, K, D> {
        LogStoreReader { log: self.log.clone(), blocking_threads: self.thread.is_some(), types: PhantomData }
    }
}

impl<C: RaftTypeConfig, K: Codec<C>, D: Directory> Debug for LogStore<C, K, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore")
            .field("last", &self.last)
            .field("purged", &self.purged)
            .finish_non_exhaustive()
    }
}

/// Starts a write and waits until it is durable.
async fn durable<C: RaftTypeConfig>(
    start: impl FnOnce(Completion) -> Result<(), LogError>,
) -> Result<(), io::Error> {
    let (tx, rx) = C::oneshot();
    start(Box::new(move |outcome| {
        // Nobody listens any more if the caller was dropped.
        let _ = quorate::rt::OneshotSender::send(tx, outcome);
    }))?;
    match rx.await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(LogError::Closed.into()),
    }
}

impl<C: RaftTypeConfig, K: Codec<C>, D: Directory> RaftLogStorage<C> for LogStore<C, K, D> {
    type LogReader = LogStoreReader<C, K, D>;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        // A log that has failed says so here too.
        self.log.bounds()?;
        Ok(LogState { last_purged_log_id: self.purged.clone(), last_log_id: self.last.clone() })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> Result<(), io::Error> {
        let vote = K::encode_vote(vote)?;
        durable::<C>(|done| self.log.save_vote(&vote, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        let committed = committed.map(|id| K::encode_log_id(&id)).transpose()?;
        Ok(self.log.save_committed(committed.as_deref())?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<C>>, io::Error> {
        self.log.bounds()?.committed.map(|id| K::decode_log_id(&id)).transpose()
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        // One batch may go beyond the limit; the next one waits.
        if !self.log.has_room()? {
            durable::<C>(|ready| {
                self.log.when_room(ready);
                Ok(())
            })
            .await?;
        }
        self.batch.clear();
        let mut last = None;
        for entry in entries {
            let log_id = entry.log_id();
            self.batch.push_with(log_id.index, K::term(&log_id), |out| K::encode_entry(&entry, out))?;
            last = Some(log_id);
        }
        self.log.append(
            &self.batch,
            Box::new(move |outcome| callback.io_completed(outcome.map_err(io::Error::from))),
        )?;
        if self.batch.payload_bytes() > BATCH_KEEP_BYTES {
            self.batch = EntryBatch::new();
        }
        if last.is_some() {
            self.last = last;
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        let from = last_log_id.as_ref().map_or(0, |id| id.index.saturating_add(1));
        if self.last.as_ref().is_some_and(|last| last.index >= from && !quorate_core::mutant!(83)) {
            let purged = self.purged.clone().filter(|purged| purged.index >= from);
            self.last = purged.or(last_log_id).or(self.purged.clone());
        }
        durable::<C>(|done| self.log.truncate(from, done)).await
    }

    async fn purge(&mut self, log_id: LogIdOf<C>) -> Result<(), io::Error> {
        let encoded = K::encode_log_id(&log_id)?;
        let index = log_id.index;
        if self.purged.as_ref().is_none_or(|purged| purged.index < index) {
            if self.last.as_ref().is_none_or(|last| last.index <= index) {
                self.last = Some(log_id.clone());
            }
            self.purged = Some(log_id);
        }
        durable::<C>(|done| self.log.purge(index, &encoded, done)).await
    }
}

/// Reads a [`LogStore`]; clones are cheap.
pub struct LogStoreReader<C: RaftTypeConfig, K = Postcard, D: Directory = DiskDirectory> {
    log: Log<D>,
    blocking_threads: bool,
    types: PhantomData<fn() -> (C, K)>,
}

impl<C: RaftTypeConfig, K, D: Directory> Clone for LogStoreReader<C, K, D> {
    fn clone(&self) -> Self {
        Self { log: self.log.clone(), blocking_threads: self.blocking_threads, types: PhantomData }
    }
}

impl<C: RaftTypeConfig, K, D: Directory> Debug for LogStoreReader<C, K, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStoreReader").field("log", &self.log).finish_non_exhaustive()
    }
}

impl<C: RaftTypeConfig, K: Codec<C>, D: Directory> LogStoreReader<C, K, D> {
    /// The entries in `range` up to about `bytes_max`, at least one if there is any.
    async fn read(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<C::Entry>, io::Error> {
        let payloads = match self.log.read_memory(range.clone(), bytes_max)? {
            Some((_, payloads)) => payloads,
            None => self.read_disk(range, bytes_max).await?,
        };
        payloads.iter().map(|payload| K::decode_entry(payload)).collect()
    }

    async fn read_disk(&self, range: Range<u64>, bytes_max: u64) -> Result<Vec<Bytes>, io::Error> {
        let log = self.log.clone();
        let read = move || log.read(range, bytes_max);
        let (_, payloads) = if self.blocking_threads { C::spawn_blocking(read).await?? } else { read()? };
        Ok(payloads)
    }
}

impl<C: RaftTypeConfig, K: Codec<C>, D: Directory> RaftLogReader<C> for LogStoreReader<C, K, D> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<C::Entry>, io::Error> {
        self.read(half_open(&range), u64::MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<C>>, io::Error> {
        self.log.vote()?.map(|vote| K::decode_vote(&vote)).transpose()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<C::Entry>, io::Error> {
        self.read(start..end, READ_BATCH_BYTES).await
    }

    fn entry_size(&self, entry: &C::Entry) -> u64 {
        K::entry_size(entry)
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

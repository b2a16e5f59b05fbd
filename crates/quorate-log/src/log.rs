//! The log as its users hold it: append, truncate, purge and read, all in memory at once; what is
//! to be on the disk is staged for the [`Writer`](crate::Writer), and told when it is there.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use crate::batch::EntryBatch;
use crate::error::LogError;
use crate::files::Directory;
use crate::format::Kind;
use crate::index::Place;
use crate::segment::{SegmentReader, segment_name};
use crate::state::{Operation, State};
use crate::vote::VOTE_MAX;

/// So many segments are kept open for reading.
const HANDLES_MAX: usize = 16;
/// The largest log id that purge and commit marks carry, in bytes.
pub(crate) const MARK_MAX: usize = 2048;

/// Called once with the outcome of a write; from the thread that steps the writer, under no lock.
pub type Completion = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// How a log uses memory and disk.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of a segment file; an entry must fit in one. Default 16 MiB, at least 16 KiB.
    ///
    /// It takes effect for segments made from now on.
    pub segment_bytes: u64,
    /// Bytes of encoded entries kept in memory for recent reads. Default 16 MiB.
    ///
    /// What is not yet on the disk is kept beyond this; that is bounded by `queue_bytes`.
    pub tail_bytes: u64,
    /// Bytes that may wait for the disk; beyond, [`Log::append`] refuses. Default 64 MiB.
    pub queue_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, tail_bytes: 16 << 20, queue_bytes: 64 << 20 }
    }
}

/// A handle on an open log; clones share it.
///
/// Writes take effect in memory at once and in order: what was appended can be read when the call
/// returns. It becomes durable when the [`Writer`](crate::Writer) has stepped, which then calls the
/// completion. After a failed write or sync every call fails, until the log is opened anew.
pub struct Log<D: Directory> {
    pub(crate) shared: Arc<Shared<D>>,
}

impl<D: Directory> Clone for Log<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<D: Directory> fmt::Debug for Log<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("directory", &self.shared.directory.location()).finish_non_exhaustive()
    }
}

/// Which entries a log holds, and what it remembers beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBounds {
    /// First and last index present; `None` if the log holds no entry.
    pub entries: Option<(u64, u64)>,
    /// The last purged index, and the log id that was given with it.
    pub purged: Option<(u64, Bytes)>,
    /// The index and log id given to [`Log::save_committed`] last; `None` inside if it was cleared.
    pub committed: Option<Bytes>,
    /// Bytes of entries held in memory.
    pub tail_bytes: u64,
}

impl<D: Directory> Log<D> {
    /// Appends entries. They can be read at once; `done` is called when they are durable.
    ///
    /// The indexes must adjoin each other and the log's end; the first entry of an empty log that
    /// never purged may have any index. Nothing is appended when this fails, and `done` is dropped.
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`], [`LogError::TooLarge`], [`LogError::QueueFull`] and
    /// [`LogError::NoSpace`] leave the log as it was; [`LogError::Failed`] and [`LogError::Closed`] stay.
    pub fn append(&self, entries: &EntryBatch, done: Completion) -> Result<(), LogError> {
        let mut state = self.shared.open_state()?;
        if let Err(error) = state.admit(entries, &self.shared) {
            if state.retry_spare {
                self.shared.wake(state);
            }
            return Err(error);
        }
        for (index, term, payload, crc) in entries.iter() {
            state.stage(Kind::Entry, index, term, payload, crc);
        }
        state.staged.completions.push(done);
        state.staged.sync = true;
        self.shared.wake(state);
        Ok(())
    }

    /// Deletes all entries from index `from` on; zero deletes all. `done` is called when that is durable.
    ///
    /// # Errors
    /// [`LogError::Failed`] or [`LogError::Closed`].
    pub fn truncate(&self, from: u64, done: Completion) -> Result<(), LogError> {
        let mut state = self.shared.open_state()?;
        state.seal_piece();
        // Staged before it is done: it may begin a segment, which is to say how the log was before it.
        state.stage(Kind::Truncate, from, 0, &[], 0);
        state.index.truncate(from);
        if !quorate_core::mutant!(91) {
            state.tail.truncate(from)
        }
        state.truncations = state.truncations.wrapping_add(1);
        state.staged.completions.push(done);
        state.staged.sync |= !quorate_core::mutant!(80);
        self.shared.wake(state);
        Ok(())
    }

    /// Deletes all entries up to and including `upto`, and remembers `id` as the last purged log id,
    /// even beyond the last entry. Segments without entries are removed once that is durable.
    /// Purging what is purged does nothing.
    ///
    /// # Errors
    /// [`LogError::TooLarge`], [`LogError::Failed`] or [`LogError::Closed`].
    pub fn purge(&self, upto: u64, id: &[u8], done: Completion) -> Result<(), LogError> {
        let mut state = self.shared.open_state()?;
        limit(id.len(), MARK_MAX)?;
        if state.index.purged().is_none_or(|purged| purged < upto) {
            state.seal_piece();
            state.stage(Kind::Purge, upto, 0, id, crc32c::crc32c(id));
            state.index.purge(upto);
            state.purged = Some((upto, Bytes::copy_from_slice(id)));
            let written = state.written;
            state.tail.evict(Some(upto), written, self.shared.options.tail_bytes);
            state.staged.purge = true;
        }
        state.staged.completions.push(done);
        state.staged.sync = true;
        self.shared.wake(state);
        Ok(())
    }

    /// Remembers a committed log id. It rides along with the next write, or is written when the log
    /// is idle, and is not synced for its own sake; after a power cut an older one may be found.
    ///
    /// # Errors
    /// [`LogError::TooLarge`], [`LogError::Failed`] or [`LogError::Closed`].
    pub fn save_committed(&self, id: Option<&[u8]>) -> Result<(), LogError> {
        let mut state = self.shared.open_state()?;
        limit(id.map_or(0, <[u8]>::len), MARK_MAX)?;
        state.committed = id.map(Bytes::copy_from_slice);
        state.committed_is_new = true;
        if std::mem::replace(&mut state.quiet, false) {
            // An idle writer starts to count the time after which it notes such things.
            self.shared.wake(state);
        }
        Ok(())
    }

    /// Saves the vote; `done` is called when both of its copies are durable.
    ///
    /// # Errors
    /// [`LogError::TooLarge`], [`LogError::Failed`] or [`LogError::Closed`].
    pub fn save_vote(&self, vote: &[u8], done: Completion) -> Result<(), LogError> {
        let mut state = self.shared.open_state()?;
        limit(vote.len(), VOTE_MAX)?;
        state.vote = Some(Bytes::copy_from_slice(vote));
        state.seal_piece();
        let vote = vote.to_vec();
        state.staged.operations.push(Operation::Vote(vote));
        state.staged.completions.push(done);
        self.shared.wake(state);
        Ok(())
    }

    /// The vote saved last.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    pub fn vote(&self) -> Result<Option<Bytes>, LogError> {
        Ok(self.shared.state()?.vote.clone())
    }

    /// Which entries there are.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    pub fn bounds(&self) -> Result<LogBounds, LogError> {
        let state = self.shared.state()?;
        Ok(LogBounds {
            entries: state.index.bounds(),
            purged: state.purged.clone(),
            committed: state.committed.clone(),
            tail_bytes: state.tail.bytes(),
        })
    }

    /// The payloads of the entries in `range` that are present, from the lowest index on, until
    /// `bytes_max` is reached; at least one if there is any. Returns the index of the first.
    ///
    /// Recent entries come from memory; older ones are read from the disk by the calling thread.
    ///
    /// # Errors
    /// [`LogError::Faulty`] if an entry's payload is damaged: it is neither present nor absent.
    /// [`LogError::Corrupt`], [`LogError::Io`] or [`LogError::Failed`].
    pub fn read(&self, range: Range<u64>, bytes_max: u64) -> Result<(u64, Vec<Bytes>), LogError> {
        let mut out = Vec::new();
        let mut room = bytes_max;
        let mut first = None;
        let mut truncations = None;
        loop {
            let mut state = self.shared.state()?;
            let Some((low, high)) = state.index.bounds() else { break };
            if *truncations.get_or_insert(state.truncations) != state.truncations
                || first.is_some_and(|first| first < low)
            {
                // The log changed under this call: begin again, so that one view is returned.
                out.clear();
                (room, first, truncations) = (bytes_max, None, None);
                continue;
            }
            let start = *first.get_or_insert(range.start.max(low));
            let from = start.saturating_add(out.len() as u64);
            let to = range.end.min(high.saturating_add(1));
            if from >= to || (room == 0 && !out.is_empty()) {
                break;
            }
            state.seal_piece();
            let in_memory = state.tail.first().unwrap_or(u64::MAX);
            if from >= in_memory {
                state.tail.read(from, to, &mut room, &mut out);
                break;
            }
            let Some(place) = state.index.locate(from) else { break };
            let start_offset = state.start_of(place.segment);
            drop(state);
            let to = to.min(in_memory).min(place.last.saturating_add(1));
            match self.read_disk(place, start_offset, from..to, &mut room, &mut out) {
                // Purged while this call read: look again at what there is.
                Err(LogError::Io { kind: io::ErrorKind::NotFound, .. }) if self.purged_since(from)? => {}
                other => other?,
            }
        }
        Ok((first.unwrap_or(range.start), out))
    }

    /// As [`Log::read`], if all that it would return is in memory; `None` if the disk is needed.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    pub fn read_memory(
        &self,
        range: Range<u64>,
        bytes_max: u64,
    ) -> Result<Option<(u64, Vec<Bytes>)>, LogError> {
        let mut state = self.shared.state()?;
        let Some((low, high)) = state.index.bounds() else { return Ok(Some((range.start, Vec::new()))) };
        let (from, to) = (range.start.max(low), range.end.min(high.saturating_add(1)));
        let mut out = Vec::new();
        if from < to {
            state.seal_piece();
            if state.tail.first().is_none_or(|first| from < first) {
                return Ok(None);
            }
            let mut room = bytes_max;
            state.tail.read(from, to, &mut room, &mut out);
        }
        Ok(Some((from, out)))
    }

    /// Whether less than `queue_bytes` wait for the disk, so that an append is taken.
    ///
    /// # Errors
    /// [`LogError::Failed`] or [`LogError::Closed`].
    pub fn has_room(&self) -> Result<bool, LogError> {
        Ok(self.shared.open_state()?.queued < self.shared.options.queue_bytes)
    }

    /// Calls `ready` when less than `queue_bytes` wait for the disk; at once if that is so now.
    pub fn when_room(&self, ready: Completion) {
        let outcome = match self.shared.open_state() {
            Ok(mut state) if state.queued >= self.shared.options.queue_bytes => {
                state.waiting.push(ready);
                return;
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        ready(outcome);
    }

    /// Takes no more writes; the writer finishes those that are staged.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.quiet = false;
        self.shared.wake(state);
    }

    fn purged_since(&self, index: u64) -> Result<bool, LogError> {
        Ok(self.shared.state()?.index.bounds().is_none_or(|(low, _)| index < low))
    }

    fn read_disk(
        &self,
        place: Place,
        start_offset: u64,
        range: Range<u64>,
        room: &mut u64,
        out: &mut Vec<Bytes>,
    ) -> Result<(), LogError> {
        let name = segment_name(place.segment);
        let file = self.shared.handle(place.segment, &name)?;
        let mut reader = SegmentReader::new(&*file, &name, self.shared.seed, start_offset);
        let (mut position, mut index) = (place.position, place.index);
        while index < range.end {
            let Some(record) = reader.record(position)? else {
                let what = format!("no record where entry {index} was written");
                return Err(LogError::corrupt(name, position, what));
            };
            let here = position;
            position = position.saturating_add(record.size());
            if record.kind != Kind::Entry {
                continue;
            }
            if record.index != index {
                let what = format!("entry {} where entry {index} was written", record.index);
                return Err(LogError::corrupt(name, here, what));
            }
            index = index.saturating_add(1);
            if record.index < range.start {
                continue;
            }
            let len = u64::from(record.payload_len);
            if *room < len && !out.is_empty() {
                *room = 0;
                return Ok(());
            }
            *room = room.saturating_sub(len);
            let Some(payload) = reader.payload(here, &record)? else {
                return Err(LogError::Faulty {
                    index: record.index,
                    term: record.term,
                    file: name,
                    offset: here,
                });
            };
            out.push(Bytes::copy_from_slice(payload));
        }
        Ok(())
    }
}

/// What all handles of a log and its writer share.
pub(crate) struct Shared<D: Directory> {
    pub(crate) directory: D,
    pub(crate) options: Options,
    pub(crate) seed: u32,
    state: Mutex<State>,
    /// Signalled when there is work for the writer.
    pub(crate) work: Condvar,
    /// Called when there is work for the writer, where no thread waits for the signal.
    pub(crate) hook: OnceLock<Box<dyn Fn() + Send + Sync>>,
    handles: Mutex<VecDeque<(u64, Arc<D::File>)>>,
}

impl<D: Directory> Shared<D> {
    pub(crate) fn new(directory: D, options: Options, seed: u32, state: State) -> Self {
        Self {
            directory,
            options,
            seed,
            state: Mutex::new(state),
            work: Condvar::new(),
            hook: OnceLock::new(),
            handles: Mutex::new(VecDeque::new()),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless the log has failed.
    fn state(&self) -> Result<MutexGuard<'_, State>, LogError> {
        let state = self.lock();
        match &state.failed {
            Some(error) => Err(error.clone()),
            None => Ok(state),
        }
    }

    /// The state, unless the log has failed or was closed.
    fn open_state(&self) -> Result<MutexGuard<'_, State>, LogError> {
        let state = self.state()?;
        if state.closed { Err(LogError::Closed) } else { Ok(state) }
    }

    /// Tells the writer that there is work.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let sleeping = std::mem::replace(&mut state.asleep, false);
        drop(state);
        if sleeping {
            self.work.notify_all();
        }
        if let Some(hook) = self.hook.get() {
            hook();
        }
    }

    /// A handle for reading a segment, opened where it is not among the last ones used.
    fn handle(&self, segment: u64, name: &str) -> Result<Arc<D::File>, LogError> {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = handles.iter().position(|(sequence, _)| *sequence == segment)
            && let Some(found) = handles.remove(at)
        {
            handles.push_back(found.clone());
            return Ok(found.1);
        }
        let file = self.directory.open(name).map_err(|error| LogError::io("opening", name, &error))?;
        let file = Arc::new(file);
        if handles.len() >= HANDLES_MAX {
            handles.pop_front();
        }
        handles.push_back((segment, Arc::clone(&file)));
        Ok(file)
    }

    /// Forgets the handles of segments that are removed.
    pub(crate) fn forget_handles(&self, before: u64) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.retain(|(sequence, _)| *sequence >= before);
    }
}

fn limit(bytes: usize, max: usize) -> Result<(), LogError> {
    if bytes > max {
        return Err(LogError::TooLarge { bytes: bytes as u64, max: max as u64 });
    }
    Ok(())
}

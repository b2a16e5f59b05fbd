//! The log as its users hold it: append, truncate, purge and read, all in memory at once; what is
//! to be on the disk is staged for the [`Writer`](crate::Writer), and told when it is there.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::batch::EntryBatch;
use crate::error::LogError;
use crate::files::Directory;
use crate::format::{ALIGN, FILE_HEADER, Kind, RECORD_HEADER, Record, SegmentHeader, record_size};
use crate::index::{Index, Place};
use crate::segment::{SEAL_ROOM, SegmentReader, segment_name};
use crate::tail::{Piece, Tail};
use crate::vote::VOTE_MAX;

/// Records are staged in blocks of this size, in bytes.
const STAGE_BLOCK: usize = 256 * 1024;
/// So many segments are kept open for reading.
const HANDLES_MAX: usize = 16;
/// The largest log id that purge and commit marks carry, in bytes.
const MARK_MAX: usize = 2048;

/// Called once with the outcome of a write; from the thread that steps the writer, under no lock.
pub type Completion = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// How a log uses memory and disk.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of a segment file; an entry must fit in one. Default 16 MiB, at least 64 KiB.
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
        state.index.truncate(from);
        state.tail.truncate(from);
        state.truncations = state.truncations.wrapping_add(1);
        state.stage(Kind::Truncate, from, 0, &[], 0);
        state.staged.completions.push(done);
        state.staged.sync = true;
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
            state.index.purge(upto);
            state.purged = Some((upto, Bytes::copy_from_slice(id)));
            let written = state.written;
            state.tail.evict(Some(upto), written, self.shared.options.tail_bytes);
            state.stage(Kind::Purge, upto, 0, id, crc32c::crc32c(id));
            state.staged.purge = true;
        }
        state.staged.completions.push(done);
        state.staged.sync = true;
        self.shared.wake(state);
        Ok(())
    }

    /// Remembers a committed log id. It rides along with the next write and is not synced for its
    /// own sake; after a crash an older one may be found.
    ///
    /// # Errors
    /// [`LogError::TooLarge`], [`LogError::Failed`] or [`LogError::Closed`].
    pub fn save_committed(&self, id: Option<&[u8]>) -> Result<(), LogError> {
        let mut state = self.shared.open_state()?;
        limit(id.map_or(0, <[u8]>::len), MARK_MAX)?;
        state.committed = id.map(Bytes::copy_from_slice);
        state.committed_is_new = true;
        state.quiet = false;
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

/// The log in memory, and what waits for the disk.
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) tail: Tail,
    pub(crate) purged: Option<(u64, Bytes)>,
    pub(crate) committed: Option<Bytes>,
    pub(crate) committed_is_new: bool,
    pub(crate) vote: Option<Bytes>,

    /// The segment that is written to, and the log offset of its first record.
    pub(crate) header: SegmentHeader,
    pub(crate) header_crc: u32,
    /// Where in its file the next record goes.
    pub(crate) position: u64,
    /// Start offsets of all segments that hold entries, oldest first.
    pub(crate) starts: VecDeque<(u64, u64)>,
    pub(crate) seed: u32,
    pub(crate) segment_bytes: u64,

    buffer: BytesMut,
    buffer_position: u64,
    payloads: Vec<(u32, u32)>,
    first_payload: u64,
    pub(crate) staged: Staged,

    /// Up to which log offset all is written, and known to be durable.
    pub(crate) written: u64,
    pub(crate) durable: u64,
    /// Bytes staged or being written.
    pub(crate) queued: u64,
    /// No spare could be made because the disk is full.
    pub(crate) no_space: bool,
    pub(crate) waiting: Vec<Completion>,
    pub(crate) failed: Option<LogError>,
    pub(crate) closed: bool,
    /// The writer waits for a signal.
    pub(crate) asleep: bool,
    /// All that can be said to the disk about what is durable has been said.
    pub(crate) quiet: bool,
    /// How often entries were deleted from the end, so that a read sees one view.
    truncations: u64,
    /// A writer that found no room has asked to try for a segment again.
    pub(crate) retry_spare: bool,
}

/// Work for the writer, in order.
#[derive(Default)]
pub(crate) struct Staged {
    pub(crate) operations: Vec<Operation>,
    pub(crate) completions: Vec<Completion>,
    /// Whether someone waits for it to be durable.
    pub(crate) sync: bool,
    /// Whether it includes a purge, so that segments may go once it is durable.
    pub(crate) purge: bool,
}

/// One thing to do to the disk.
pub(crate) enum Operation {
    /// Records, at a position of the current segment.
    Write { position: u64, bytes: Bytes },
    /// The current segment is full: begin the next one, with this header.
    Roll { header: SegmentHeader, block: Vec<u8> },
    /// The vote.
    Vote(Vec<u8>),
}

/// Everything that was staged, taken by the writer.
pub(crate) struct Batch {
    pub(crate) staged: Staged,
    /// The log offset at which it ends.
    pub(crate) end: u64,
    pub(crate) bytes: u64,
    /// Segments before this one are not needed once the batch is durable.
    pub(crate) remove_before: Option<u64>,
}

impl State {
    pub(crate) fn new(
        index: Index,
        header: SegmentHeader,
        header_crc: u32,
        position: u64,
        seed: u32,
    ) -> Self {
        let end = header.start.saturating_add(position.saturating_sub(FILE_HEADER as u64));
        Self {
            index,
            tail: Tail::default(),
            purged: None,
            committed: None,
            committed_is_new: false,
            vote: None,
            header,
            header_crc,
            position,
            starts: VecDeque::from([(header.sequence, header.start)]),
            seed,
            segment_bytes: header.file_len,
            buffer: BytesMut::new(),
            buffer_position: position,
            payloads: Vec::new(),
            first_payload: 0,
            staged: Staged::default(),
            written: end,
            durable: end,
            queued: 0,
            no_space: false,
            waiting: Vec::new(),
            failed: None,
            closed: false,
            asleep: false,
            quiet: false,
            truncations: 0,
            retry_spare: false,
        }
    }

    /// Takes all that is staged; `None` if nothing is.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.staged.operations.is_empty() && self.staged.completions.is_empty() && self.buffer.is_empty() {
            return None;
        }
        // It rides along.
        if self.committed_is_new {
            self.stage_committed();
        }
        self.seal_piece();
        let staged = std::mem::take(&mut self.staged);
        let needed = self.index.first_segment().unwrap_or(self.header.sequence).min(self.header.sequence);
        let remove_before = staged.purge.then_some(needed);
        Some(Batch { staged, end: self.end(), bytes: self.queued, remove_before })
    }

    /// Whether the writer has something to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.staged.operations.is_empty()
            || !self.staged.completions.is_empty()
            || !self.buffer.is_empty()
            || self.retry_spare
    }

    /// The log offset at which the next record goes.
    pub(crate) fn end(&self) -> u64 {
        self.header.start.saturating_add(self.position.saturating_sub(FILE_HEADER as u64))
    }

    pub(crate) fn start_of(&self, segment: u64) -> u64 {
        let at = self.starts.partition_point(|(sequence, _)| *sequence < segment);
        self.starts.get(at).map_or(0, |(_, start)| *start)
    }

    /// Checks that a batch can be staged whole.
    fn admit<D: Directory>(&mut self, entries: &EntryBatch, shared: &Shared<D>) -> Result<(), LogError> {
        let max = shared.options.queue_bytes;
        if self.queued >= max {
            return Err(LogError::QueueFull { queued: self.queued, max });
        }
        let record_max = self.record_max();
        let mut next = self.index.next();
        let mut bytes = 0u64;
        for (index, _, payload, _) in entries.iter() {
            let expected = next.unwrap_or(index);
            if index != expected || index == u64::MAX {
                return Err(LogError::OutOfOrder { index, expected });
            }
            next = index.checked_add(1);
            let size = record_size(payload.len());
            if size > record_max {
                return Err(LogError::TooLarge { bytes: size, max: record_max });
            }
            bytes = bytes.saturating_add(size);
        }
        if self.no_space
            && self.position.saturating_add(bytes).saturating_add(SEAL_ROOM) > self.header.file_len
        {
            // The writer tries for a segment again, so that the caller's next attempt may succeed.
            self.retry_spare = true;
            return Err(LogError::NoSpace { directory: shared.directory.location() });
        }
        Ok(())
    }

    /// The largest record that fits in an empty segment, beside the marks that each begins with.
    fn record_max(&self) -> u64 {
        let marks = record_size(MARK_MAX).saturating_mul(2);
        self.segment_bytes.saturating_sub(FILE_HEADER as u64).saturating_sub(marks).saturating_sub(SEAL_ROOM)
    }

    fn stage(&mut self, kind: Kind, index: u64, term: u64, payload: &[u8], payload_crc: u32) {
        let size = record_size(payload.len());
        if self.position.saturating_add(size).saturating_add(SEAL_ROOM) > self.header.file_len {
            self.roll();
        }
        let record = Record {
            kind,
            group: 0,
            index,
            term,
            offset: self.end(),
            durable: self.durable,
            payload_len: payload.len() as u32,
            payload_crc,
        };
        if self.buffer.capacity().saturating_sub(self.buffer.len()) < size as usize {
            self.seal_piece();
            self.buffer = BytesMut::with_capacity(STAGE_BLOCK.max(size as usize));
        }
        if kind == Kind::Entry {
            if self.payloads.is_empty() {
                self.first_payload = index;
            }
            let start = self.buffer.len().saturating_add(RECORD_HEADER);
            self.payloads.push((start as u32, payload.len() as u32));
            self.index.push(index, self.header.sequence, self.position);
        }
        self.buffer.extend_from_slice(&record.encode(self.seed));
        self.buffer.extend_from_slice(payload);
        let padded = self.buffer.len().next_multiple_of(ALIGN);
        self.buffer.resize(padded, 0);
        self.position = self.position.saturating_add(size);
        self.queued = self.queued.saturating_add(size);
    }

    /// Freezes what is in the buffer: it can be read from now on, and goes to the disk as one write.
    pub(crate) fn seal_piece(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let bytes = self.buffer.split().freeze();
        let position = std::mem::replace(&mut self.buffer_position, self.position);
        let payloads = std::mem::take(&mut self.payloads);
        self.tail.push(Piece { first: self.first_payload, payloads, bytes: bytes.clone(), end: self.end() });
        self.staged.operations.push(Operation::Write { position, bytes });
    }

    /// Begins the next segment, with what must not be lost when the ones before it are removed.
    fn roll(&mut self) {
        self.seal_piece();
        let header = SegmentHeader {
            log_id: self.header.log_id,
            sequence: self.header.sequence.saturating_add(1),
            start: self.end(),
            next_index: self.index.next().unwrap_or(u64::MAX),
            previous_crc: self.header_crc,
            file_len: self.segment_bytes,
        };
        let block = header.encode();
        self.header_crc = crc_of_block(&block);
        self.header = header;
        self.position = FILE_HEADER as u64;
        self.buffer_position = self.position;
        self.starts.push_back((header.sequence, header.start));
        self.staged.operations.push(Operation::Roll { header, block });
        if let Some((upto, id)) = self.purged.clone() {
            self.stage(Kind::Purge, upto, 0, &id, crc32c::crc32c(&id));
        }
        if self.committed.is_some() {
            self.stage_committed();
        }
    }

    pub(crate) fn stage_committed(&mut self) {
        self.committed_is_new = false;
        let id = self.committed.clone();
        // The index tells a cleared mark from one with an empty id.
        let index = u64::from(id.is_some());
        let id = id.unwrap_or_default();
        self.stage(Kind::Committed, index, 0, &id, crc32c::crc32c(&id));
    }

    /// Stops the log for good. Returns everyone who waits, to be told outside the lock.
    pub(crate) fn fail(&mut self, cause: LogError) -> Vec<Completion> {
        self.failed.get_or_insert(cause.latched());
        let staged = std::mem::take(&mut self.staged);
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.extend(staged.completions);
        waiting
    }
}

/// The checksum that a header block carries.
pub(crate) fn crc_of_block(block: &[u8]) -> u32 {
    block.get(12..16).and_then(|mut bytes| crate::format::take_u32(&mut bytes)).unwrap_or(0)
}

fn limit(bytes: usize, max: usize) -> Result<(), LogError> {
    if bytes > max {
        return Err(LogError::TooLarge { bytes: bytes as u64, max: max as u64 });
    }
    Ok(())
}

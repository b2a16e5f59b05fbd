//! The log in memory, and the staging of records: everything that happens under the log's lock.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::batch::EntryBatch;
use crate::error::LogError;
use crate::files::Directory;
use crate::format::{ALIGN, FILE_HEADER, Kind, RECORD_HEADER, Record, SegmentHeader, record_size, take_u32};
use crate::index::Index;
use crate::log::{Completion, MARK_MAX, Shared};
use crate::segment::SEAL_ROOM;
use crate::tail::{Piece, Tail};

/// Records are staged in blocks of this size, in bytes.
const STAGE_BLOCK: usize = 256 * 1024;
/// Bytes of the last segment that appends leave to truncations and purges while the disk is full.
const NO_SPACE_RESERVE: u64 = 16 * 1024;

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
    /// Sequence and start offset of each segment, oldest first.
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
    pub(crate) truncations: u64,
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
    pub(crate) fn admit<D: Directory>(
        &mut self,
        entries: &EntryBatch,
        shared: &Shared<D>,
    ) -> Result<(), LogError> {
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
        let needed = self.position.saturating_add(bytes).saturating_add(NO_SPACE_RESERVE);
        if self.no_space && needed > self.header.file_len {
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

    pub(crate) fn stage(&mut self, kind: Kind, index: u64, term: u64, payload: &[u8], payload_crc: u32) {
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
            durable: if quorate_core::mutant!(76) { 0 } else { self.durable },
            payload_len: payload.len() as u32,
            payload_crc,
        };
        if self.buffer.capacity().saturating_sub(self.buffer.len()) < size as usize {
            self.seal_piece();
            let block = STAGE_BLOCK.min(usize::try_from(self.header.file_len).unwrap_or(usize::MAX));
            self.buffer = BytesMut::with_capacity(block.max(size as usize));
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
            next_index: self.index.next_known().unwrap_or(u64::MAX),
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
        if let Some((upto, id)) = self.purged.clone().filter(|_| !quorate_core::mutant!(82)) {
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
    block.get(12..16).and_then(|mut bytes| take_u32(&mut bytes)).unwrap_or(0)
}

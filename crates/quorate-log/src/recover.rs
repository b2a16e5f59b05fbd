//! Opening a log: reads every record back, and tells a crash from damage.
//!
//! A crash can leave the end of the last segment torn, and that alone: what was not yet synced may
//! be there in part. It is cut, and said. Anything else that does not read back was acknowledged,
//! and is an error that names the place; nothing is changed then.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::LogError;
use crate::files::{Directory, LockFailure, StoredFile};
use crate::format::{FILE_HEADER, Kind, RECORD_HEADER, Record, SegmentHeader, seed_of};
use crate::index::Index;
use crate::log::{Log, Options, Shared};
use crate::segment::{SegmentReader, make_spare, parse_segment_name, publish, seal, segment_name};
use crate::state::{State, crc_of_block};
use crate::tear::{Tear, examine};
use crate::vote::{StoredVote, VoteFiles};
use crate::writer::{Writer, spare_name};

/// The smallest segment, in bytes: below, its header and marks would take half of it.
const SEGMENT_MIN: u64 = 16 * 1024;
/// The largest segment, in bytes: positions in a segment are kept in 32 bits.
const SEGMENT_MAX: u64 = 1 << 30;
/// What may be in memory only is written again in pieces of this size, in bytes.
const REWRITE_CHUNK: usize = 64 * 1024;

/// An open log, with the writer that its owner must step or spawn.
#[derive(Debug)]
pub struct Opened<D: Directory> {
    /// The handle to append and read with.
    pub log: Log<D>,
    /// The owner of the files.
    pub writer: Writer<D>,
    /// What was found.
    pub report: OpenReport,
}

/// What was found on opening.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The directory held no log, so one was made.
    pub created: bool,
    /// How many segments there are.
    pub segments: u64,
    /// How many records were read and checked.
    pub records: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// A torn tail that was cut: a write that was never acknowledged.
    pub cut: Option<Cut>,
    /// The copy of the vote that was damaged or behind, and was rewritten from the other.
    pub vote_repaired: Option<String>,
    /// Files that were removed: segments that a purge left behind.
    pub removed: Vec<String>,
}

/// A torn tail that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: String,
    /// The position in it from which on it was cut.
    pub position: u64,
    /// How many bytes were cut.
    pub bytes: u64,
}

/// Opens the log in `directory`, or makes one where there is none.
///
/// The directory is locked until the writer is dropped.
///
/// # Errors
/// [`LogError::DataDirLocked`], [`LogError::FormatTooNew`], [`LogError::UnknownFeatures`],
/// [`LogError::Corrupt`], [`LogError::SegmentMissing`], [`LogError::SegmentForeign`],
/// [`LogError::VoteLost`], [`LogError::NoSpace`] or [`LogError::Io`]. Nothing that was acknowledged
/// is changed then.
pub fn open<D: Directory>(directory: D, options: Options) -> Result<Opened<D>, LogError> {
    let lock = directory.lock().map_err(|failure| match failure {
        LockFailure::Held { pid } => LogError::DataDirLocked { directory: directory.location(), pid },
        LockFailure::Io(error) => LogError::io("locking", directory.location(), &error),
    })?;
    let mut options = options;
    options.segment_bytes = options.segment_bytes.clamp(SEGMENT_MIN, SEGMENT_MAX);

    let mut report = OpenReport::default();
    let found = find_segments(&directory)?;
    let (votes, stored) = match VoteFiles::load(&directory)? {
        Some((votes, stored, repaired)) => {
            report.vote_repaired = repaired.map(str::to_string);
            (votes, stored)
        }
        None if found.is_empty() => create_votes(&directory)?,
        None => {
            let what = "both of its files are missing".to_string();
            return Err(LogError::VoteLost { directory: directory.location(), what });
        }
    };
    let seed = seed_of(stored.log_id);
    let (mut state, active) = if found.is_empty() {
        report.created = true;
        create_first_segment(&directory, &options, &stored, seed)?
    } else {
        Scan::new(&directory, &stored, found)?.run(&mut report)?
    };
    state.segment_bytes = options.segment_bytes;
    state.vote = stored.vote.map(Bytes::from);
    let position = state.position;
    report.segments = state.starts.len() as u64;
    say(&directory, &report);
    let shared = Arc::new(Shared::new(directory, options, seed, state));
    let writer = Writer::new(Arc::clone(&shared), active, position, votes, lock);
    Ok(Opened { log: Log { shared }, writer, report })
}

fn say<D: Directory>(directory: &D, report: &OpenReport) {
    let directory = directory.location();
    if let Some(Cut { file, position, bytes }) = &report.cut {
        tracing::warn!(directory, file, position, bytes, "cut a torn tail that was never acknowledged");
    }
    if let Some(file) = &report.vote_repaired {
        tracing::warn!(directory, file, "rewrote a damaged copy of the vote from the other");
    }
    for file in &report.removed {
        tracing::info!(directory, file, "removed a segment that an interrupted purge left behind");
    }
}

fn create_votes<D: Directory>(directory: &D) -> Result<(VoteFiles<D>, StoredVote), LogError> {
    let log_id = directory.new_id();
    let votes = VoteFiles::create(directory, log_id)?;
    Ok((votes, StoredVote { log_id, sequence: 0, vote: None }))
}

fn create_first_segment<D: Directory>(
    directory: &D,
    options: &Options,
    stored: &StoredVote,
    seed: u32,
) -> Result<(State, D::File), LogError> {
    let name = segment_name(1);
    // The vote is saved only after the first segment exists, so a vote alone means a lost log.
    if stored.vote.is_some() {
        let evidence = "there is a vote, and no segment at all".to_string();
        return Err(LogError::SegmentMissing { directory: directory.location(), missing: name, evidence });
    }
    let header = SegmentHeader {
        log_id: stored.log_id,
        sequence: 1,
        start: 0,
        next_index: u64::MAX,
        previous_crc: 0,
        file_len: options.segment_bytes,
    };
    let block = header.encode();
    let spare = spare_name();
    let file = make_spare(directory, &spare, header.file_len)?;
    publish(directory, &file, &spare, &name, &block)?;
    let state = State::new(Index::new(None), header, crc_of_block(&block), FILE_HEADER as u64, seed);
    Ok((state, file))
}

/// A segment file with its header.
///
/// The file itself is opened again when it is read: there may be more segments than a process may
/// have open files.
struct Found {
    name: String,
    header: SegmentHeader,
    crc: u32,
}

/// Opens all segments and reads their headers, in order of their sequence.
fn find_segments<D: Directory>(directory: &D) -> Result<Vec<Found>, LogError> {
    let names = directory.list().map_err(|error| LogError::io("listing", directory.location(), &error))?;
    let mut found = Vec::new();
    for name in names {
        let Some(sequence) = parse_segment_name(&name) else { continue };
        let file = directory.open(&name).map_err(|error| LogError::io("opening", &name, &error))?;
        let mut block = vec![0u8; FILE_HEADER];
        let len = file.read_at(&mut block, 0).map_err(|error| LogError::io("reading", &name, &error))?;
        block.truncate(len);
        let (header, crc) = SegmentHeader::decode(&name, &block)?;
        if header.sequence != sequence {
            let what = format!("it is {} under another name", segment_name(header.sequence));
            return Err(LogError::SegmentForeign { file: name, what });
        }
        if !(SEGMENT_MIN..=SEGMENT_MAX).contains(&header.file_len) {
            let what = format!("it was made with {} bytes, it says, which no segment is", header.file_len);
            return Err(LogError::corrupt(name, 0, what));
        }
        found.push(Found { name, header, crc });
    }
    found.sort_by_key(|segment| segment.header.sequence);
    Ok(found)
}

/// Reads all records, oldest first.
struct Scan<'a, D: Directory> {
    directory: &'a D,
    /// Segments before a gap: left behind by a purge, if what follows does without them.
    strays: Vec<Found>,
    chain: Vec<Found>,
    seed: u32,
    index: Index,
    purged: Option<(u64, Bytes)>,
    committed: Option<Bytes>,
    /// The furthest that any record knows to be durable.
    durable: u64,
    records: u64,
}

impl<'a, D: Directory> Scan<'a, D> {
    fn new(directory: &'a D, stored: &StoredVote, mut found: Vec<Found>) -> Result<Self, LogError> {
        if let Some(foreign) = found.iter().find(|segment| segment.header.log_id != stored.log_id) {
            let what = "it is a segment of another log".to_string();
            return Err(LogError::SegmentForeign { file: foreign.name.clone(), what });
        }
        let follows = |pair: &[Found]| match pair {
            [before, after] => before.header.sequence.checked_add(1) == Some(after.header.sequence),
            _ => true,
        };
        let strays = found.windows(2).rposition(|pair| !follows(pair)).map_or(0, |at| at.saturating_add(1));
        let chain = found.split_off(strays);
        for pair in chain.windows(2) {
            if let [before, after] = pair
                && after.header.previous_crc != before.crc
            {
                let what = format!("it does not continue {}", before.name);
                return Err(LogError::SegmentForeign { file: after.name.clone(), what });
            }
        }
        let next = chain.first().map(|first| first.header.next_index).filter(|next| *next != u64::MAX);
        Ok(Self {
            directory,
            strays: found,
            chain,
            seed: seed_of(stored.log_id),
            index: Index::new(next),
            purged: None,
            committed: None,
            durable: 0,
            records: 0,
        })
    }

    fn run(mut self, report: &mut OpenReport) -> Result<(State, D::File), LogError> {
        let chain = std::mem::take(&mut self.chain);
        let ends: Vec<u64> = chain.iter().skip(1).map(|segment| segment.header.start).collect();
        let starts: VecDeque<(u64, u64)> =
            chain.iter().map(|segment| (segment.header.sequence, segment.header.start)).collect();
        for (segment, end) in chain.iter().zip(&ends) {
            self.scan_complete(segment, *end)?;
        }
        let Some(last) = chain.last() else {
            return Err(LogError::corrupt(self.directory.location(), 0, "no segment"));
        };
        let file = self.open(&last.name)?;
        let (position, torn) = self.scan_last(last, &file)?;
        self.check_beginning(chain.first().unwrap_or(last))?;
        // From here on all is known to be well, so that files may be changed.
        self.mend(last, &file, position, torn, report)?;
        self.remove_strays(report)?;
        // After that, since it synced the directory: the name of the last segment may have been in memory only.
        if let [.., before, last] = chain.as_slice() {
            self.seal(before, last.header.start)?;
        }
        report.records = self.records;
        let mut state = State::new(self.index, last.header, last.crc, position, self.seed);
        report.bytes = state.end().saturating_sub(starts.front().map_or(0, |(_, start)| *start));
        state.starts = starts;
        state.purged = self.purged;
        state.committed = self.committed;
        Ok((state, file))
    }

    fn open(&self, name: &str) -> Result<D::File, LogError> {
        self.directory.open(name).map_err(|error| LogError::io("opening", name, &error))
    }

    /// Reads a segment that has a successor, so that all of it was durable.
    fn scan_complete(&mut self, segment: &Found, end: u64) -> Result<(), LogError> {
        let Found { name, header, .. } = segment;
        let file = &self.open(name)?;
        let mut reader = SegmentReader::new(file, name, self.seed, header.start);
        let mut position = FILE_HEADER as u64;
        while reader.offset_of(position) < end {
            let Some(record) = reader.record(position)? else {
                return Err(LogError::corrupt(
                    name,
                    position,
                    "no intact record, in a segment that was complete",
                ));
            };
            if reader.payload(position, &record)?.is_none() {
                let what = format!("{}, in a segment that was complete", damaged(&record));
                return Err(LogError::corrupt(name, position, what));
            }
            if matches!(record.kind, Kind::Mark | Kind::Seal) {
                return Err(LogError::corrupt(
                    name,
                    position,
                    "records are gone that the next segment follows",
                ));
            }
            self.apply(&mut reader, name, position, &record, header.sequence)?;
            position = position.saturating_add(record.size());
        }
        if reader.offset_of(position) != end {
            return Err(LogError::corrupt(name, position, "its end is not where the next segment begins"));
        }
        Ok(())
    }

    /// Seals the segment before the last one again, since a power cut may have taken the seal, or will: it was not synced.
    /// So the next opening misses the last segment, should it go away.
    fn seal(&self, segment: &Found, end: u64) -> Result<(), LogError> {
        let Found { name, header, .. } = segment;
        let position = end.saturating_sub(header.start).saturating_add(FILE_HEADER as u64);
        let file = self.open(name)?;
        let sealed = file.write_at(&seal(end).encode(self.seed), position).and_then(|()| file.sync_data());
        sealed.map_err(|error| LogError::io("sealing", name, &error))
    }

    /// Reads the last segment up to its end; returns where that is, and what lies behind it.
    fn scan_last(&mut self, segment: &Found, file: &D::File) -> Result<(u64, Tear), LogError> {
        let Found { name, header, .. } = segment;
        let mut reader = SegmentReader::new(file, name, self.seed, header.start);
        let mut position = FILE_HEADER as u64;
        let mut marked = false;
        while position.saturating_add(RECORD_HEADER as u64) <= header.file_len {
            let Some(record) = reader.record(position)? else { break };
            match record.kind {
                Kind::Mark => {
                    self.durable = self.durable.max(record.durable);
                    marked = true;
                    break;
                }
                Kind::Seal => {
                    let missing = segment_name(header.sequence.saturating_add(1));
                    let evidence = format!("{name} says that it exists");
                    return Err(LogError::SegmentMissing {
                        directory: self.directory.location(),
                        missing,
                        evidence,
                    });
                }
                _ => {}
            }
            if reader.payload(position, &record)?.is_none() {
                break;
            }
            self.apply(&mut reader, name, position, &record, header.sequence)?;
            position = position.saturating_add(record.size());
        }
        let tear = examine(&mut reader, position, header.file_len, marked, self.durable)?;
        if quorate_core::mutant!(22) {
            return Ok((position, tear));
        }
        let durable = self.durable.max(tear.durable);
        if durable > reader.offset_of(position) {
            let what = match reader.record(position)? {
                Some(record) if record.kind == Kind::Mark => "records behind it are gone".to_string(),
                Some(record) => damaged(&record),
                None => "no intact record".to_string(),
            };
            let what = format!("{what}, and the log was durable up to its offset {durable}");
            return Err(LogError::corrupt(name, position, what));
        }
        // A segment is made and synced at its full length, so a crash never leaves a shorter one. It does
        // no harm where zeroes show that the log had ended before.
        let blank = tear.dirty_end <= position && tear.file_end > position;
        if tear.file_end < header.file_len && !marked && !blank {
            let what = format!("the file is shorter than the {} bytes it was made with", header.file_len);
            return Err(LogError::corrupt(name, position, what));
        }
        if tear.followed && !tear.lost_sector {
            let what = "no intact record, and intact ones behind it; a crash does not leave that";
            return Err(LogError::corrupt(name, position, what));
        }
        Ok((position, tear))
    }

    fn apply(
        &mut self,
        reader: &mut SegmentReader<'_, D::File>,
        name: &str,
        position: u64,
        record: &Record,
        sequence: u64,
    ) -> Result<(), LogError> {
        self.records = self.records.saturating_add(1);
        self.durable = self.durable.max(record.durable);
        match record.kind {
            Kind::Entry => {
                let expected = self.index.next().unwrap_or(record.index);
                if record.index != expected {
                    let what = format!("entry {} where entry {expected} must follow", record.index);
                    return Err(LogError::corrupt(name, position, what));
                }
                self.index.push(record.index, sequence, position);
            }
            Kind::Truncate => self.index.truncate(record.index),
            Kind::Purge => {
                self.index.purge(record.index);
                let id = Bytes::copy_from_slice(reader.payload(position, record)?.unwrap_or_default());
                self.purged = Some((record.index, id));
            }
            Kind::Committed => {
                let id = Bytes::copy_from_slice(reader.payload(position, record)?.unwrap_or_default());
                self.committed = (record.index != 0).then_some(id);
            }
            Kind::Mark | Kind::Seal => {}
        }
        Ok(())
    }

    /// Whether the oldest segment may be the oldest: all before it must be purged.
    fn check_beginning(&self, first: &Found) -> Result<(), LogError> {
        if first.header.sequence == 1 || quorate_core::mutant!(93) {
            return Ok(());
        }
        let begins = self.index.bounds().map(|(low, _)| low).or(self.index.next());
        let purged = self.purged.as_ref().map(|(index, _)| *index);
        if purged.is_some() && begins == purged.and_then(|purged| purged.checked_add(1)) {
            return Ok(());
        }
        let (missing, evidence) = match self.strays.last() {
            Some(stray) => (
                segment_name(stray.header.sequence.saturating_add(1)),
                format!("{} and {} are there", stray.name, first.name),
            ),
            None => (
                segment_name(first.header.sequence.saturating_sub(1)),
                format!(
                    "{} is the oldest and begins before entry {}, but {}",
                    first.name,
                    begins.unwrap_or_default(),
                    match purged {
                        Some(index) => format!("entries are purged only up to {index}"),
                        None => "nothing was ever purged".to_string(),
                    }
                ),
            ),
        };
        Err(LogError::SegmentMissing { directory: self.directory.location(), missing, evidence })
    }

    /// Brings the end of the last segment into the state that a writer needs: zeroes, and all before
    /// them durable.
    fn mend(
        &self,
        last: &Found,
        file: &D::File,
        position: u64,
        torn: Tear,
        report: &mut OpenReport,
    ) -> Result<(), LogError> {
        let Found { name, header, .. } = last;
        let known = self.durable.max(header.start).saturating_sub(header.start);
        let known = known.saturating_add(FILE_HEADER as u64);
        // What follows the end may read as zeroes here and be something else on the disk: an opening before this one may
        // have zeroed it, and its sync failed. Only where the end is known to be durable, nothing was written behind it.
        let dirty_end = if known < position { torn.file_end } else { torn.dirty_end };
        let mended = || {
            if dirty_end > position && !quorate_core::mutant!(74) {
                // The mark at the end goes last: without it, what is behind would pass for damage, should this fail half-way.
                let behind = position.saturating_add(RECORD_HEADER as u64).min(dirty_end);
                file.zero_fill(behind, dirty_end)?;
                file.zero_fill(position, behind)?;
            }
            if torn.file_end < header.file_len {
                file.zero_fill(torn.file_end, header.file_len)?;
            }
            // What a killed process wrote and did not sync is read from memory here and may not be on
            // the disk, not even after a sync if an earlier one failed: so write it once more.
            let mut at = known;
            let unsure = usize::try_from(position.saturating_sub(known)).unwrap_or(usize::MAX);
            let mut buffer = vec![0u8; unsure.min(REWRITE_CHUNK)];
            while at < position && !quorate_core::mutant!(73) {
                let step =
                    usize::try_from(position.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
                let Some(chunk) = buffer.get_mut(..step) else { break };
                let got = file.read_at(chunk, at)?;
                file.write_at(chunk.get(..got).unwrap_or_default(), at)?;
                if got == 0 {
                    break;
                }
                at = at.saturating_add(got as u64);
            }
            file.sync_data()
        };
        mended().map_err(|error| LogError::io("mending", name, &error))?;
        if torn.dirty_end > position {
            let bytes = torn.dirty_end.saturating_sub(position);
            report.cut = Some(Cut { file: name.clone(), position, bytes });
        }
        Ok(())
    }

    fn remove_strays(&self, report: &mut OpenReport) -> Result<(), LogError> {
        let removed = || {
            for stray in &self.strays {
                self.directory.remove(&stray.name)?;
            }
            match self.directory.remove(&spare_name()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.directory.sync()
        };
        removed().map_err(|error| LogError::io("cleaning", self.directory.location(), &error))?;
        report.removed = self.strays.iter().map(|stray| stray.name.clone()).collect();
        Ok(())
    }
}

/// What to say of a record with an intact header and a damaged payload.
fn damaged(record: &Record) -> String {
    match record.kind {
        Kind::Entry => format!("entry {} (term {}) fails its checksum", record.index, record.term),
        kind => format!("a record ({kind:?}) fails its checksum"),
    }
}

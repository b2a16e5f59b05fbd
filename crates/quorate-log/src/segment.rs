//! Segment files: their names, how one is made, and how records are read from one.

use crate::error::LogError;
use crate::files::{Directory, StoredFile};
use crate::format::{FILE_HEADER, Kind, RECORD_HEADER, Record};

/// Room kept free at the end of each segment for the record that seals it.
pub(crate) const SEAL_ROOM: u64 = RECORD_HEADER as u64;
/// What is being made has this ending until it is whole; leftovers are removed on opening.
pub(crate) const TEMPORARY: &str = ".tmp";

const PREFIX: &str = "log-";
const SUFFIX: &str = ".seg";
/// Records are read from the disk in windows of this size, or larger where a record is.
const WINDOW: usize = 256 * 1024;

/// The name of a segment file.
pub(crate) fn segment_name(sequence: u64) -> String {
    format!("{PREFIX}{sequence:016}{SUFFIX}")
}

/// The sequence number in the name of a segment file; `None` for other files.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let sequence = digits.parse().ok()?;
    (segment_name(sequence) == name).then_some(sequence)
}

/// Makes the file that a later segment will be: zeroes, durable, under a temporary name.
pub(crate) fn make_spare<D: Directory>(directory: &D, name: &str, bytes: u64) -> Result<D::File, LogError> {
    let made = || {
        match directory.remove(name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = directory.create(name)?;
        file.zero_fill(0, bytes)?;
        Ok(file)
    };
    made().map_err(|error| {
        // Half a spare is of no use, and its space is what everyone else may now lack.
        let _ = directory.remove(name);
        LogError::io_or_full("making a segment", name, directory, &error)
    })
}

/// Turns a spare into a segment, durably: first its header, then its name.
pub(crate) fn publish<D: Directory>(
    directory: &D,
    file: &D::File,
    spare: &str,
    name: &str,
    header: &[u8],
) -> Result<(), LogError> {
    let published = || {
        file.write_at(header, 0)?;
        if !quorate_core::mutant!(71) {
            file.sync_data()?
        }
        directory.rename(spare, name)?;
        if quorate_core::mutant!(21) { Ok(()) } else { directory.sync() }
    };
    published().map_err(|error| LogError::io("publishing", name, &error))
}

/// The record that ends a segment when there is a next one, which begins at offset `end`.
pub(crate) fn seal(end: u64) -> Record {
    let kind = if quorate_core::mutant!(92) { Kind::Mark } else { Kind::Seal };
    Record::bare(kind, 0, end, end)
}

/// Reads the records of one segment through a window of bounded size.
pub(crate) struct SegmentReader<'a, F> {
    file: &'a F,
    name: &'a str,
    seed: u32,
    /// The log offset of the segment's first record.
    start: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a, F: StoredFile> SegmentReader<'a, F> {
    pub(crate) fn new(file: &'a F, name: &'a str, seed: u32, start: u64) -> Self {
        Self { file, name, seed, start, window: Vec::new(), window_at: 0 }
    }

    /// The seed of this log's header checksums.
    pub(crate) fn seed(&self) -> u32 {
        self.seed
    }

    /// The log offset of a position in the file.
    pub(crate) fn offset_of(&self, position: u64) -> u64 {
        self.start.saturating_add(position.saturating_sub(FILE_HEADER as u64))
    }

    /// The header of the record at `position`, or `None` if there is no intact one.
    pub(crate) fn record(&mut self, position: u64) -> Result<Option<Record>, LogError> {
        let (seed, offset) = (self.seed, self.offset_of(position));
        let bytes = self.bytes(position, RECORD_HEADER)?;
        Ok(Record::decode(bytes, seed, offset))
    }

    /// The payload of the record at `position`, or `None` if it is damaged.
    pub(crate) fn payload(&mut self, position: u64, record: &Record) -> Result<Option<&[u8]>, LogError> {
        if record.payload_len == 0 {
            return Ok((record.payload_crc == 0).then_some(&[]));
        }
        let len = record.payload_len as usize;
        let bytes = self.bytes(position.saturating_add(RECORD_HEADER as u64), len)?;
        Ok((bytes.len() == len && (crc32c::crc32c(bytes) == record.payload_crc || quorate_core::mutant!(77)))
            .then_some(bytes))
    }

    /// Up to `len` bytes from `position`; fewer only at the end of the file.
    pub(crate) fn bytes(&mut self, position: u64, len: usize) -> Result<&[u8], LogError> {
        let held = position
            .checked_sub(self.window_at)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip.saturating_add(len) <= self.window.len());
        let skip = match held {
            Some(skip) => skip,
            None => {
                self.fill(position, len)?;
                0
            }
        };
        let end = skip.saturating_add(len).min(self.window.len());
        Ok(self.window.get(skip..end).unwrap_or_default())
    }

    fn fill(&mut self, position: u64, len: usize) -> Result<(), LogError> {
        let failed = |error: &std::io::Error| {
            LogError::io("reading", format!("{} at byte {position}", self.name), error)
        };
        // No memory for more than there is: a damaged record may claim more, and a file be small.
        let size = self.file.size().map_err(|error| failed(&error))?;
        let left = usize::try_from(size.saturating_sub(position)).unwrap_or(usize::MAX);
        self.window.resize(len.max(WINDOW).min(left), 0);
        self.window_at = position;
        let got = self.file.read_at(&mut self.window, position).map_err(|error| {
            self.window.clear();
            failed(&error)
        });
        self.window.truncate(got?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_not_segments() {
        assert_eq!(parse_segment_name(&segment_name(17)), Some(17));
        for name in ["log-17.seg", "log-0000000000000017.seg.tmp", "vote.0", "log--000000000000017.seg"] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_record_that_claims_more_than_there_is_takes_no_memory_for_it() {
        let disk = crate::sim_disk::SimDisk::new(1);
        let file = disk.create("log").unwrap();
        file.write_at(b"all there is", 0).unwrap();
        let mut reader = SegmentReader::new(&file, "log", 0, 0);
        assert_eq!(reader.bytes(4, 1 << 28).unwrap(), b"there is");
        assert!(reader.window.capacity() <= 64, "{}", reader.window.capacity());
    }
}

//! What lies behind the last good record: nothing, what a crash leaves, or what a crash cannot leave.

use crate::error::LogError;
use crate::files::StoredFile;
use crate::format::{FILE_HEADER, Kind, RECORD_HEADER, Record};
use crate::segment::SegmentReader;

/// The smallest unit that a disk writes whole.
const SECTOR: u64 = 512;
/// How much is looked at in one go.
const CHUNK: usize = 64 * 1024;

/// What was found behind the last good record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tear {
    /// Where the last byte that is not zero ends; the place looked from if all are.
    pub(crate) dirty_end: u64,
    /// There are intact records behind the place.
    pub(crate) followed: bool,
    /// The furthest that those records know to be durable.
    pub(crate) durable: u64,
    /// A sector before the first of them still has its old contents: a write that was lost, as the
    /// parts of one unsynced write may be, in any order.
    pub(crate) lost_sector: bool,
    /// Where the file ends.
    pub(crate) file_end: u64,
}

/// Looks at all from `position`, where no good record is, to the end of the file.
///
/// With `marked`, there is the mark that the next record would have replaced. `durable` is the furthest that the records
/// before know to be durable.
pub(crate) fn examine<F: StoredFile>(
    reader: &mut SegmentReader<'_, F>,
    position: u64,
    file_len: u64,
    marked: bool,
    durable: u64,
) -> Result<Tear, LogError> {
    let mut tear = Tear { dirty_end: position, ..Tear::default() };
    let mut first_intact = None;
    let mut at = if marked { position.saturating_add(RECORD_HEADER as u64) } else { position };
    while at < file_len {
        let base = reader.offset_of(at);
        let bytes = reader.bytes(at, CHUNK)?;
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len() as u64;
        let mut candidates = Vec::new();
        // The offset in a record's header tells it from all else at the price of one comparison.
        for (i, word) in bytes.chunks(8).enumerate() {
            let here = (i as u64).saturating_mul(8);
            // Only at the end of a file that was shortened is there less than a word.
            let value = word
                .try_into()
                .map_or_else(|_| u64::from(word.iter().any(|byte| *byte != 0)), u64::from_le_bytes);
            if value == 0 {
                continue;
            }
            tear.dirty_end = at.saturating_add(here).saturating_add(word.len() as u64);
            if value == base.saturating_add(here).saturating_sub(OFFSET_FIELD) {
                candidates.push(at.saturating_add(here).saturating_sub(OFFSET_FIELD));
            }
        }
        for candidate in candidates.into_iter().filter(|candidate| *candidate > position) {
            if let Some(record) = reader.record(candidate)? {
                tear.followed = true;
                tear.durable = tear.durable.max(record.durable);
                first_intact.get_or_insert(candidate);
            }
        }
        at = at.saturating_add(len);
    }
    tear.file_end = at;
    tear.lost_sector = match first_intact {
        Some(end) if quorate_core::mutant!(89) => end < position,
        Some(end) => marked || lost_sector(reader, position, end, durable)?,
        None => false,
    };
    Ok(tear)
}

/// Where in a record's header its offset is.
const OFFSET_FIELD: u64 = 16;

/// Whether a sector between `from` and `to` was never written: it shows zeroes, or, where the log
/// ended, the mark that stood there.
fn lost_sector<F: StoredFile>(
    reader: &mut SegmentReader<'_, F>,
    from: u64,
    to: u64,
    durable: u64,
) -> Result<bool, LogError> {
    let offset = reader.offset_of(from);
    // The mark was made when all before it was durable, or behind records that nobody waited for.
    let marks = [offset, durable.min(offset)]
        .map(|durable| Record::bare(Kind::Mark, 0, offset, durable).encode(reader.seed()));
    let mut sector = from.checked_div(SECTOR).unwrap_or(0).saturating_mul(SECTOR).max(FILE_HEADER as u64);
    while sector.saturating_add(SECTOR) <= to {
        let start = sector.max(from);
        let end = sector.saturating_add(SECTOR);
        let bytes = reader.bytes(start, usize::try_from(end.saturating_sub(start)).unwrap_or(0))?;
        let skip = usize::try_from(start.saturating_sub(from)).unwrap_or(usize::MAX);
        let is_old = |mark: &[u8; RECORD_HEADER]| {
            let old = mark.iter().copied().skip(skip).chain(std::iter::repeat(0));
            bytes.iter().copied().zip(old).all(|(now, old)| now == old)
        };
        if bytes.iter().all(|byte| *byte == 0) || marks.iter().any(is_old) {
            return Ok(true);
        }
        sector = end;
    }
    Ok(false)
}

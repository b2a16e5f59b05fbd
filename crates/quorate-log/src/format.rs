//! The bytes on the disk: one record, and the block that opens each file.
//!
//! All numbers are little-endian. A record is a header of [`RECORD_HEADER`] bytes and a payload,
//! padded with zeroes to a multiple of [`ALIGN`]. Header and payload have a checksum each, so that
//! damage to a payload leaves its index and term known. A header's checksum is seeded with the
//! log's id, so neither another log's bytes nor a client's payload can pass for a record.

use crate::error::LogError;

/// The newest format version that this release reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// The format features that this release knows; none yet.
pub const FORMAT_FEATURES: u64 = 0;

/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER: usize = 48;
/// Records start at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// Bytes of the block that opens a segment, a vote copy or a snapshot.
pub(crate) const FILE_HEADER: usize = 4096;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An entry of the log.
    Entry = 1,
    /// All entries from `index` on are deleted.
    Truncate = 2,
    /// All entries up to and including `index` are deleted; the payload is their last log id.
    Purge = 3,
    /// The payload is a committed log id.
    Committed = 4,
    /// The end of the log, and all before it is durable. The next record takes its place.
    Mark = 5,
    /// The segment is complete and the next one exists.
    Seal = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Entry, Self::Truncate, Self::Purge, Self::Committed, Self::Mark, Self::Seal]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// The header of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    /// Which Raft group the record belongs to; zero as long as a log serves one group.
    pub(crate) group: u32,
    pub(crate) index: u64,
    pub(crate) term: u64,
    /// Where the record starts, counted in record bytes since the log began; catches a misdirected write.
    pub(crate) offset: u64,
    /// Up to where the log was known to be durable when the record was made.
    pub(crate) durable: u64,
    pub(crate) payload_len: u32,
    pub(crate) payload_crc: u32,
}

impl Record {
    /// A record without payload.
    pub(crate) fn bare(kind: Kind, index: u64, offset: u64, durable: u64) -> Self {
        Self { kind, group: 0, index, term: 0, offset, durable, payload_len: 0, payload_crc: 0 }
    }

    /// Bytes the record takes in a segment.
    pub(crate) fn size(&self) -> u64 {
        record_size(self.payload_len as usize)
    }

    pub(crate) fn encode(&self, seed: u32) -> [u8; RECORD_HEADER] {
        // Saturating: a mark that is further back than this is merely less sharp.
        let behind = u32::try_from(self.offset.saturating_sub(self.durable)).unwrap_or(u32::MAX);
        let mut body = [0u8; RECORD_HEADER - 4];
        let mut rest = body.as_mut_slice();
        put(&mut rest, &self.payload_crc.to_le_bytes());
        put(&mut rest, &self.payload_len.to_le_bytes());
        put(&mut rest, &self.group.to_le_bytes());
        put(&mut rest, &self.offset.to_le_bytes());
        put(&mut rest, &self.index.to_le_bytes());
        put(&mut rest, &self.term.to_le_bytes());
        put(&mut rest, &behind.to_le_bytes());
        put(&mut rest, &[self.kind as u8, 0, 0, 0]);
        let crc = crc32c::crc32c_append(seed, &body);
        let mut bytes = [0u8; RECORD_HEADER];
        let mut rest = bytes.as_mut_slice();
        put(&mut rest, &crc.to_le_bytes());
        put(&mut rest, &body);
        bytes
    }

    /// Reads the header of a record that must start at `offset`; `None` if it is not one.
    pub(crate) fn decode(bytes: &[u8], seed: u32, offset: u64) -> Option<Self> {
        let mut rest = bytes.get(..RECORD_HEADER)?;
        let crc = take_u32(&mut rest)?;
        let body = rest;
        let payload_crc = take_u32(&mut rest)?;
        let payload_len = take_u32(&mut rest)?;
        let group = take_u32(&mut rest)?;
        // Compared first, because it is the cheapest way to see that this is no record.
        let intact = crc32c::crc32c_append(seed, body) == crc || quorate_core::mutant!(23);
        if take_u64(&mut rest)? != offset || !intact {
            return None;
        }
        let index = take_u64(&mut rest)?;
        let term = take_u64(&mut rest)?;
        let behind = take_u32(&mut rest)?;
        let kind = Kind::from_byte(*rest.first()?)?;
        let durable = offset.checked_sub(u64::from(behind))?;
        Some(Self { kind, group, index, term, offset, durable, payload_len, payload_crc })
    }
}

/// Bytes that a record with this payload takes in a segment.
pub(crate) fn record_size(payload_len: usize) -> u64 {
    ((RECORD_HEADER as u64).saturating_add(payload_len as u64)).next_multiple_of(ALIGN as u64)
}

/// The seed of all header checksums of a log.
pub(crate) fn seed_of(log_id: u128) -> u32 {
    crc32c::crc32c(&log_id.to_le_bytes())
}

/// The block that opens a segment. Segments form a chain: each knows the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) log_id: u128,
    /// 1 for the first segment of a log, then counting up.
    pub(crate) sequence: u64,
    /// Offset of its first record, which is where the records of the segment before end.
    pub(crate) start: u64,
    /// The index that the next entry had when the segment was begun.
    pub(crate) next_index: u64,
    /// Checksum of the header of the segment before; zero for the first.
    pub(crate) previous_crc: u32,
    /// Bytes of the whole file.
    pub(crate) file_len: u64,
}

const SEGMENT_MAGIC: [u8; 8] = *b"QRTELOG\n";

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64);
        body.extend_from_slice(&self.log_id.to_le_bytes());
        body.extend_from_slice(&self.sequence.to_le_bytes());
        body.extend_from_slice(&self.start.to_le_bytes());
        body.extend_from_slice(&self.next_index.to_le_bytes());
        body.extend_from_slice(&self.file_len.to_le_bytes());
        body.extend_from_slice(&self.previous_crc.to_le_bytes());
        encode_block(SEGMENT_MAGIC, &body)
    }

    /// Reads a header; also returns its checksum, which the next segment's header repeats.
    pub(crate) fn decode(file: &str, block: &[u8]) -> Result<(Self, u32), LogError> {
        let (mut body, crc) = decode_block(file, SEGMENT_MAGIC, block)?;
        let mut read = || {
            Some(Self {
                log_id: take_u128(&mut body)?,
                sequence: take_u64(&mut body)?,
                start: take_u64(&mut body)?,
                next_index: take_u64(&mut body)?,
                file_len: take_u64(&mut body)?,
                previous_crc: take_u32(&mut body)?,
            })
        };
        read().map(|header| (header, crc)).ok_or_else(|| LogError::corrupt(file, 0, "short header"))
    }
}

/// A block of [`FILE_HEADER`] bytes: magic, version, checksum, feature bits, then `body` and zeroes.
///
/// Magic and version keep their place in all versions to come.
pub(crate) fn encode_block(magic: [u8; 8], body: &[u8]) -> Vec<u8> {
    let mut rest = Vec::with_capacity(FILE_HEADER);
    rest.extend_from_slice(&FORMAT_FEATURES.to_le_bytes());
    rest.extend_from_slice(body);
    rest.resize(FILE_HEADER.saturating_sub(16), 0);
    let crc = crc32c::crc32c_append(block_seed(magic, FORMAT_VERSION), &rest);
    let mut block = Vec::with_capacity(FILE_HEADER);
    block.extend_from_slice(&magic);
    block.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    block.extend_from_slice(&crc.to_le_bytes());
    block.extend_from_slice(&rest);
    block
}

/// The body of a block and its checksum.
///
/// The version is judged before the checksum, since a later version may compute it in another way.
pub(crate) fn decode_block<'a>(
    file: &str,
    magic: [u8; 8],
    block: &'a [u8],
) -> Result<(&'a [u8], u32), LogError> {
    let short = || LogError::corrupt(file, 0, "the file is too short for its header");
    let (found_magic, mut rest) = block.split_first_chunk::<8>().ok_or_else(short)?;
    if *found_magic != magic {
        return Err(LogError::corrupt(file, 0, "the header does not say what kind of file this is"));
    }
    let version = take_u32(&mut rest).ok_or_else(short)?;
    if version > FORMAT_VERSION {
        return Err(LogError::FormatTooNew { file: file.into(), found: version, max: FORMAT_VERSION });
    }
    let crc = take_u32(&mut rest).ok_or_else(short)?;
    if block.len() != FILE_HEADER {
        return Err(short());
    }
    let unchecked = quorate_core::mutant!(78);
    if version == 0 || !unchecked && crc32c::crc32c_append(block_seed(magic, version), rest) != crc {
        return Err(LogError::corrupt(file, 0, "the header fails its checksum"));
    }
    let features = take_u64(&mut rest).ok_or_else(short)?;
    if features & !FORMAT_FEATURES != 0 {
        return Err(LogError::UnknownFeatures { file: file.into(), found: features, known: FORMAT_FEATURES });
    }
    Ok((rest, crc))
}

fn block_seed(magic: [u8; 8], version: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&magic), &version.to_le_bytes())
}

fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    if let Some((head, tail)) = std::mem::take(rest).split_at_mut_checked(bytes.len()) {
        head.copy_from_slice(bytes);
        *rest = tail;
    }
}

pub(crate) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (head, tail) = bytes.split_first_chunk::<4>()?;
    *bytes = tail;
    Some(u32::from_le_bytes(*head))
}

pub(crate) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (head, tail) = bytes.split_first_chunk::<8>()?;
    *bytes = tail;
    Some(u64::from_le_bytes(*head))
}

pub(crate) fn take_u128(bytes: &mut &[u8]) -> Option<u128> {
    let (head, tail) = bytes.split_first_chunk::<16>()?;
    *bytes = tail;
    Some(u128::from_le_bytes(*head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_only_at_its_own_offset_and_in_its_own_log() {
        let record = Record {
            kind: Kind::Entry,
            group: 7,
            index: 42,
            term: 3,
            offset: 4096,
            durable: 4000,
            payload_len: 5,
            payload_crc: 99,
        };
        let bytes = record.encode(11);
        assert_eq!(Record::decode(&bytes, 11, 4096), Some(record));
        assert_eq!(Record::decode(&bytes, 11, 4104), None, "misdirected");
        assert_eq!(Record::decode(&bytes, 12, 4096), None, "another log's");
        for at in 0..RECORD_HEADER * 8 {
            let mut flipped = bytes;
            flipped[at / 8] ^= 1 << (at % 8);
            assert_eq!(Record::decode(&flipped, 11, 4096), None, "bit {at}");
        }
        assert_eq!(Record::decode(&bytes[..47], 11, 4096), None);
    }

    #[test]
    fn a_segment_header_reads_back_and_refuses_what_is_newer_or_damaged() {
        let header = SegmentHeader {
            log_id: 5,
            sequence: 2,
            start: 100,
            next_index: 9,
            previous_crc: 77,
            file_len: 1 << 20,
        };
        let block = header.encode();
        assert_eq!(SegmentHeader::decode("f", &block).unwrap().0, header);
        let mut newer = block.clone();
        newer[8] = 2;
        assert_eq!(
            SegmentHeader::decode("f", &newer),
            Err(LogError::FormatTooNew { file: "f".into(), found: 2, max: FORMAT_VERSION })
        );
        for at in (0..8).chain(12..FILE_HEADER) {
            let mut flipped = block.clone();
            flipped[at] ^= 0x10;
            assert!(matches!(SegmentHeader::decode("f", &flipped), Err(LogError::Corrupt { .. })), "{at}");
        }
        assert!(SegmentHeader::decode("f", &block[..100]).is_err());
    }

    #[test]
    fn a_feature_that_this_version_does_not_know_is_refused_by_its_bit() {
        let magic = *b"QRTTEST\n";
        let mut block = encode_block(magic, b"body");
        let features = FORMAT_FEATURES | 1 << 40;
        block[16..24].copy_from_slice(&features.to_le_bytes());
        let crc = crc32c::crc32c_append(block_seed(magic, FORMAT_VERSION), &block[16..]);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(
            decode_block("f", magic, &block),
            Err(LogError::UnknownFeatures { file: "f".into(), found: features, known: FORMAT_FEATURES })
        );
    }
}

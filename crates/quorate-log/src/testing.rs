//! Makes the checksums of a damaged file right again: for fuzzers, whose changes would else go no further than them.

use crate::format::{FILE_HEADER, Kind, RECORD_HEADER, SegmentHeader, record_size, seed_of};
use crate::segment::parse_segment_name;
use crate::snapshot;

/// Where in a block its version and its checksum are.
const VERSION: std::ops::Range<usize> = 8..12;
const BLOCK_CRC: std::ops::Range<usize> = 12..16;
/// Where in a snapshot's header the checksum of its content is: behind the feature bits and two lengths.
const CONTENT_CRC: std::ops::Range<usize> = 36..40;

/// Makes the checksums in a file of a log or of snapshots those of its bytes; what they say stays.
pub fn seal(name: &str, bytes: &mut [u8]) {
    if snapshot::sequence_of(name).is_some() {
        let crc = crc32c::crc32c(bytes.get(FILE_HEADER..).unwrap_or_default());
        put(bytes, CONTENT_CRC, crc);
    }
    seal_block(bytes);
    if parse_segment_name(name).is_some() {
        seal_records(name, bytes);
    }
}

fn seal_block(bytes: &mut [u8]) {
    let Some(block) = bytes.get(..FILE_HEADER) else { return };
    let (magic, version) = (block.get(..8), block.get(VERSION));
    let seed = crc32c::crc32c_append(crc32c::crc32c(magic.unwrap_or_default()), version.unwrap_or_default());
    let crc = crc32c::crc32c_append(seed, block.get(BLOCK_CRC.end..).unwrap_or_default());
    put(bytes, BLOCK_CRC, crc);
}

/// Record after record, each as long as it says, up to a mark or to where nothing was written.
fn seal_records(name: &str, bytes: &mut [u8]) {
    let Some(Ok((header, _))) = bytes.get(..FILE_HEADER).map(|block| SegmentHeader::decode(name, block))
    else {
        return;
    };
    let mut rest = bytes.get_mut(FILE_HEADER..).unwrap_or_default();
    while rest.get(..RECORD_HEADER).is_some_and(|record| record.iter().any(|byte| *byte != 0)) {
        let Some(length) = rest.get(8..12).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes)
        else {
            return;
        };
        let end = RECORD_HEADER.saturating_add(length as usize);
        if let Some(payload) = rest.get(RECORD_HEADER..end) {
            let crc = if payload.is_empty() { 0 } else { crc32c::crc32c(payload) };
            put(rest, 4..8, crc);
        }
        let body = rest.get(4..RECORD_HEADER).unwrap_or_default();
        let crc = crc32c::crc32c_append(seed_of(header.log_id), body);
        put(rest, 0..4, crc);
        let is_mark = rest.get(44) == Some(&(Kind::Mark as u8));
        let next = usize::try_from(record_size(length as usize)).unwrap_or(usize::MAX);
        match std::mem::take(&mut rest).get_mut(next..) {
            Some(behind) if !is_mark => rest = behind,
            _ => return,
        }
    }
}

fn put(bytes: &mut [u8], at: std::ops::Range<usize>, crc: u32) {
    if let Some(place) = bytes.get_mut(at) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim_disk::SimDisk;
    use crate::{Directory, EntryBatch, Options, SnapshotStore};
    use std::io::Write;

    #[test]
    fn what_is_whole_stays_as_it_is_and_what_was_changed_passes_for_whole() {
        let disk = SimDisk::new(1);
        let opened =
            crate::open(disk.clone(), Options { segment_bytes: 64 * 1024, ..Options::default() }).unwrap();
        let mut batch = EntryBatch::new();
        for index in 0..9 {
            batch.push(index, 1, b"payload");
        }
        opened.log.append(&batch, Box::new(|_| {})).unwrap();
        opened.log.save_vote(b"a vote", Box::new(|_| {})).unwrap();
        opened.writer.finish().unwrap();
        let mut snapshot = SnapshotStore::open(disk.clone(), 1).unwrap().create(b"meta").unwrap();
        snapshot.write_all(b"content").unwrap();
        snapshot.finish().unwrap();
        let names = disk.list().unwrap();
        assert_eq!(names.len(), 4, "two votes, a segment, a snapshot: {names:?}");
        for name in names {
            let whole = disk.contents(&name).unwrap();
            let mut changed = whole.clone();
            let sums: &[usize] = match name.rsplit_once('.') {
                Some((_, "snap")) => &[12, 37],
                Some((_, "seg")) => &[12, FILE_HEADER, FILE_HEADER + 4],
                _ => &[12],
            };
            sums.iter().for_each(|at| changed[*at] ^= 1);
            assert_ne!(changed, whole, "{name}");
            seal(&name, &mut changed);
            assert_eq!(changed, whole, "{name}");
        }
    }
}

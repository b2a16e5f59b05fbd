//! One block of one file at a time goes bad, in every way: nothing acknowledged is lost without a word, nothing else
//! is ever read, and the log works on or stops with a typed error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::{ErrorKind, Read, Write};

use common::{Contents, Dice, ignore, open, payload};
use quorate_log::sim_disk::{PowerCut, SimDisk};
use quorate_log::{Directory, EntryBatch, LogError, Opened, SnapshotStore};

const BLOCK: u64 = 4096;
/// Entries of 1000 bytes that fill two segments and begin a third.
const ENTRIES: u64 = 140;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    Zero,
    Garbage,
    Read,
    Write,
    Full,
}

fn append(opened: &mut Opened<SimDisk>, index: u64) -> Result<(), LogError> {
    let mut batch = EntryBatch::new();
    batch.push(index, 3, &payload(index, 0, 1000));
    opened.log.append(&batch, ignore())?;
    opened.writer.step().map(|_| ())
}

/// A disk with three segments, a spare, a vote and a snapshot, closed in order.
fn used() -> SimDisk {
    let disk = SimDisk::new(4);
    let mut opened = open(&disk).unwrap();
    opened.log.save_vote(b"vote", ignore()).unwrap();
    for index in 0..ENTRIES {
        append(&mut opened, index).unwrap();
    }
    opened.writer.finish().unwrap();
    let mut snapshot = SnapshotStore::open(disk.clone(), 2).unwrap().create(b"meta").unwrap();
    snapshot.write_all(&[7; 10_000]).unwrap();
    snapshot.finish().unwrap();
    disk
}

fn spoil(disk: &SimDisk, name: &str, block: u64, bad: Bad) {
    let range = block * BLOCK..(block + 1) * BLOCK;
    let mut dice = Dice(block);
    match bad {
        Bad::Zero => disk.rot_all(name, range, |_, _| 0),
        Bad::Garbage => disk.rot_all(name, range, |_, _| dice.roll(256) as u8),
        Bad::Read => disk.fail_reads(name, range, u64::MAX),
        Bad::Write => disk.fail_writes(name, range, ErrorKind::Other, u64::MAX),
        Bad::Full => disk.fail_writes(name, range, ErrorKind::StorageFull, u64::MAX),
    }
}

fn read_snapshot(disk: &SimDisk) -> Result<Vec<u8>, LogError> {
    let newest = SnapshotStore::open(disk.clone(), 2)?.newest()?;
    let mut bytes = Vec::new();
    newest.snapshot.unwrap().read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

/// Works with the disk as it is. Returns how many entries are known to be there, if it opens.
fn work(disk: &SimDisk, entries: u64, what: &str) -> Option<u64> {
    let mut opened = match open(disk) {
        Ok(opened) => opened,
        Err(
            LogError::Corrupt { .. }
            | LogError::Io { .. }
            | LogError::NoSpace { .. }
            | LogError::SegmentForeign { .. }
            | LogError::SegmentMissing { .. },
        ) => return None,
        Err(other) => panic!("{what}: {other}"),
    };
    let found = match Contents::of(&opened.log) {
        Ok(found) => found,
        Err(LogError::Io { .. } | LogError::Corrupt { .. } | LogError::Faulty { .. }) => {
            return Some(entries);
        }
        Err(other) => panic!("{what}: {other}"),
    };
    for (index, entry) in (0..).zip(&found.entries) {
        assert_eq!(entry, &payload(index, 0, 1000), "{what}: entry {index}");
    }
    assert!(found.next() >= entries, "{what}: {} of {entries} entries are left", found.next());
    assert_eq!(opened.log.vote().unwrap().unwrap(), "vote", "{what}");
    let mut next = found.next();
    for index in next..next + 70 {
        match append(&mut opened, index) {
            Ok(()) => next = index + 1,
            Err(LogError::Failed { .. } | LogError::NoSpace { .. }) => break,
            Err(other) => panic!("{what}: {other}"),
        }
    }
    let voted = opened.log.save_vote(b"vote", ignore()).and_then(|()| opened.writer.step());
    assert!(voted.is_ok() || matches!(voted, Err(LogError::Failed { .. })), "{what}: {voted:?}");
    Some(next)
}

#[test]
fn each_block_of_each_file_goes_bad_in_every_way() {
    let example = used();
    let last = example.list().unwrap().into_iter().rfind(|name| name.ends_with(".seg")).unwrap();
    let written = example.contents(&last).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let mut tried = 0;
    for name in example.list().unwrap() {
        let blocks = (example.contents(&name).unwrap().len() as u64).div_ceil(BLOCK);
        for block in 0..blocks {
            for bad in [Bad::Zero, Bad::Garbage, Bad::Read, Bad::Write, Bad::Full] {
                let what = format!("{name}, block {block}, {bad:?}");
                let disk = used();
                spoil(&disk, &name, block, bad);
                // Nothing behind the log's end tells that it was longer, where the end itself is wiped out.
                let end = name == last && block == written / BLOCK && matches!(bad, Bad::Zero | Bad::Garbage);
                let entries = if end { ENTRIES - 5 } else { ENTRIES };
                let known = work(&disk, entries, &what);
                match read_snapshot(&disk) {
                    Ok(bytes) => assert_eq!(bytes, vec![7; 10_000], "{what}"),
                    Err(LogError::SnapshotCorrupt { .. } | LogError::Io { .. }) => {
                        assert!(name.ends_with(".snap"), "{what}");
                    }
                    Err(other) => panic!("{what}: {other}"),
                }
                if !matches!(bad, Bad::Zero | Bad::Garbage) {
                    // What failed for a while has cost nothing.
                    disk.heal();
                    disk.restart(PowerCut::LoseAll);
                    assert!(work(&disk, known.unwrap_or(ENTRIES), &what).is_some(), "{what}: it opens again");
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

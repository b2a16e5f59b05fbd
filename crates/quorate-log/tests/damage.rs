//! Damage of every kind is told from a crash, and named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::{Arc, Mutex};

use common::{Contents, Dice, ignore, open, payload, small};
use quorate_log::sim_disk::{Fault, PowerCut, SimDisk};
use quorate_log::{Directory, EntryBatch, Log, LogError, OpenReport, Opened, Options, Writer};

const HEADER: u64 = 4096;
const FIRST: &str = "log-0000000000000001.seg";
const SECOND: &str = "log-0000000000000002.seg";
const THIRD: &str = "log-0000000000000003.seg";

/// Appends entries as one batch and makes them durable.
fn append(log: &Log<SimDisk>, writer: &mut Writer<SimDisk>, range: std::ops::Range<u64>, len: usize) {
    let mut batch = EntryBatch::new();
    for index in range {
        batch.push(index, 3, &payload(index, 0, len));
    }
    log.append(&batch, ignore()).unwrap();
    writer.step().unwrap();
}

/// A disk with entries 0 to 9 of 100 bytes, each synced by itself, as a killed process leaves it.
fn ten_entries(noted: bool) -> SimDisk {
    let disk = SimDisk::new(9);
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    for index in 0..10 {
        append(&log, &mut writer, index..index + 1, 100);
    }
    if noted {
        writer.idle().unwrap();
    }
    disk.restart(PowerCut::KeepAll);
    disk
}

/// Where the record of an entry of `ten_entries` begins.
fn at(index: u64) -> u64 {
    HEADER + index * 152
}

/// A disk with three segments, properly closed.
fn three_segments() -> SimDisk {
    let disk = SimDisk::new(4);
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    let mut next = 0;
    while disk.contents(THIRD).is_none() {
        append(&log, &mut writer, next..next + 10, 1000);
        next += 10;
    }
    writer.finish().unwrap();
    disk
}

fn error(disk: &SimDisk) -> LogError {
    open(disk).map(|_| ()).expect_err("opening is refused")
}

fn report(disk: &SimDisk) -> (OpenReport, Contents) {
    let opened = open(disk).unwrap();
    (opened.report.clone(), Contents::of(&opened.log).unwrap())
}

/// The whole disk, byte by byte.
fn image(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list().unwrap();
    names.into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
}

#[test]
fn a_flipped_byte_in_any_acknowledged_entry_is_refused_by_file_and_offset() {
    for noted in [true, false] {
        // Without the note at the end, the last entry cannot be told from a torn one.
        for index in 0..if noted { 10 } else { 9 } {
            for offset in [0, 4, 8, 16, 24, 40, 44, 48, 99, 147] {
                let disk = ten_entries(noted);
                disk.rot(FIRST, at(index) + offset, |byte| byte ^ 4);
                let before = image(&disk);
                match error(&disk) {
                    LogError::Corrupt { file, offset, .. } => {
                        assert_eq!((file.as_str(), offset), (FIRST, at(index)), "{noted}");
                    }
                    other => panic!("{other}"),
                }
                assert_eq!(image(&disk), before, "nothing was changed");
            }
        }
    }
}

#[test]
fn zeroed_sectors_in_acknowledged_data_are_refused_too() {
    let disk = ten_entries(true);
    for offset in 512..1024 {
        disk.rot(FIRST, HEADER + offset, |_| 0);
    }
    assert!(matches!(error(&disk), LogError::Corrupt { offset, .. } if offset == at(3)), "{}", error(&disk));
}

#[test]
fn a_flip_within_the_last_batch_is_refused_even_when_nothing_noted_that_it_was_durable() {
    let disk = SimDisk::new(9);
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    append(&log, &mut writer, 0..10, 100);
    disk.restart(PowerCut::LoseAll);
    disk.rot(FIRST, at(4) + 60, |byte| byte ^ 1);
    assert!(matches!(error(&disk), LogError::Corrupt { offset, .. } if offset == at(4)));
}

#[test]
fn a_torn_last_batch_is_cut_and_said_and_never_glued_onto() {
    for lost in 0..8 {
        let disk = ten_entries(true);
        let Opened { log, mut writer, .. } = open(&disk).unwrap();
        // Three kilobytes that reach the disk but for one sector; the sync never returned.
        disk.cut_power_at(Some(disk.changes() + 1));
        let mut batch = EntryBatch::new();
        for index in 10..20 {
            batch.push(index, 4, &payload(index, 1, 300));
        }
        log.append(&batch, ignore()).unwrap();
        assert!(writer.step().is_err());
        disk.restart(PowerCut::KeepAll);
        let sector = (at(10) + lost * 512) / 512 * 512;
        let old = ten_entries(true).contents(FIRST).unwrap();
        for offset in sector..sector + 512 {
            disk.rot(FIRST, offset, |_| old[offset as usize]);
        }
        let (report, found) = report(&disk);
        assert!((10..20).contains(&found.next()), "{lost}: {}", found.next());
        let cut = report.cut.expect("it is said");
        assert_eq!((cut.file.as_str(), cut.position), (FIRST, at(10) + (found.next() - 10) * 352), "{lost}");
        assert!(cut.bytes > 0);

        // New entries take the place of what was cut.
        let Opened { log, mut writer, .. } = open(&disk).unwrap();
        append(&log, &mut writer, found.next()..found.next() + 3, 50);
        writer.finish().unwrap();
        let (report, again) = self::report(&disk);
        assert_eq!((report.cut, again.next()), (None, found.next() + 3));
    }
}

#[test]
fn garbage_behind_the_end_is_cut() {
    let disk = ten_entries(false);
    let mut dice = Dice(5);
    for offset in 0..1000 {
        let byte = dice.roll(256) as u8;
        disk.rot(FIRST, at(10) + offset, |_| byte);
    }
    let (report, found) = report(&disk);
    assert_eq!(found.next(), 10);
    let cut = report.cut.unwrap();
    assert_eq!(cut.position, at(10));
    assert!((990..=1008).contains(&cut.bytes), "{cut:?}");
    assert_eq!(self::report(&disk).0.cut, None, "it is cut once");
}

#[test]
fn an_entry_whose_payload_rots_while_the_log_is_open_is_faulty_neither_present_nor_absent() {
    let disk = ten_entries(true);
    let Opened { log, .. } = open(&disk).unwrap();
    disk.rot(FIRST, at(4) + 60, |byte| !byte);
    assert_eq!(log.read(0..4, u64::MAX).unwrap().1.len(), 4);
    assert_eq!(log.read(5..10, u64::MAX).unwrap().1.len(), 5);
    let faulty = LogError::Faulty { index: 4, term: 3, file: FIRST.into(), offset: at(4) };
    assert_eq!(log.read(4..5, u64::MAX), Err(faulty.clone()));
    assert_eq!(log.read(0..10, u64::MAX), Err(faulty));
    disk.rot(FIRST, at(6), |byte| !byte);
    assert!(matches!(log.read(6..7, u64::MAX), Err(LogError::Corrupt { .. })));
}

#[test]
fn an_unreadable_sector_is_an_error_and_not_an_end() {
    let disk = ten_entries(true);
    disk.fail_reads(FIRST, at(5) + 10..at(5) + 11, u64::MAX);
    let before = image(&disk);
    assert!(matches!(error(&disk), LogError::Io { operation: "reading", .. }));
    assert_eq!(image(&disk), before);
}

#[test]
fn each_bit_of_a_complete_segment_matters() {
    let disk = three_segments();
    let written = disk.contents(FIRST).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let mut dice = Dice(1);
    for _ in 0..60 {
        let (offset, bit) = (dice.roll(written - 47), dice.roll(8));
        disk.rot(FIRST, offset, |byte| byte ^ (1 << bit));
        let padding = open(&disk).is_ok();
        assert!(
            !padding || disk.contents(FIRST).unwrap()[offset as usize].count_ones() == 1,
            "byte {offset}"
        );
        disk.rot(FIRST, offset, |byte| byte ^ (1 << bit));
    }
    assert!(open(&disk).is_ok());
}

#[test]
fn a_missing_segment_is_named() {
    for (name, evidence) in [(FIRST, "the oldest"), (SECOND, "are there"), (THIRD, "says that it exists")] {
        let disk = three_segments();
        disk.remove(name).unwrap();
        match error(&disk) {
            LogError::SegmentMissing { missing, evidence: found, .. } => {
                assert_eq!(missing, name);
                assert!(found.contains(evidence), "{found}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn all_segments_missing_is_not_an_empty_log() {
    let disk = SimDisk::new(2);
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    log.save_vote(b"vote", ignore()).unwrap();
    writer.step().unwrap();
    drop((log, writer));
    disk.remove(FIRST).unwrap();
    assert!(matches!(error(&disk), LogError::SegmentMissing { missing, .. } if missing == FIRST));
}

#[test]
fn a_renamed_copied_or_foreign_segment_is_refused() {
    let disk = three_segments();
    disk.rename(THIRD, "log-0000000000000004.seg").unwrap();
    assert!(matches!(error(&disk), LogError::SegmentForeign { file, .. } if file.contains("04")));

    let (disk, other) = (three_segments(), SimDisk::new(77));
    drop(open(&other).unwrap());
    copy(&other, FIRST, &disk, FIRST);
    assert!(matches!(error(&disk), LogError::SegmentForeign { file, .. } if file == FIRST));
}

#[test]
fn a_shortened_segment_is_refused_where_records_may_be_gone() {
    let disk = ten_entries(true);
    let whole = disk.contents(FIRST).unwrap();
    for (len, refused) in [(at(5) + 20, true), (at(10), true), (at(10) + 48, false), (at(10) + 900, false)] {
        replace(&disk, FIRST, &whole[..len as usize]);
        match open(&disk) {
            Err(LogError::Corrupt { what, .. }) => assert!(refused, "{len}: {what}"),
            Err(other) => panic!("{other}"),
            Ok(opened) => {
                assert!(!refused, "{len}");
                assert_eq!(Contents::of(&opened.log).unwrap().next(), 10);
                assert_eq!(disk.contents(FIRST).unwrap().len(), whole.len(), "it is whole again");
            }
        }
    }
}

/// Found by fuzzing: a file that was shorter than its header claimed was filled up, however much that was.
#[test]
fn a_segment_of_a_length_that_none_has_is_refused_and_not_filled_up() {
    let disk = ten_entries(true);
    let whole = disk.contents(FIRST).unwrap();
    for length in [0, 4096, (1 << 30) + 1, u64::MAX] {
        let mut bytes = whole.clone();
        // Where a header says how long its file is.
        bytes[64..72].copy_from_slice(&u64::to_le_bytes(length));
        quorate_log::testing::seal(FIRST, &mut bytes);
        replace(&disk, FIRST, &bytes);
        let error = error(&disk);
        assert!(
            matches!(&error, LogError::Corrupt { what, .. } if what.contains("which no segment is")),
            "{error}"
        );
        assert_eq!(disk.contents(FIRST).unwrap(), bytes);
    }
}

#[test]
fn a_newer_format_is_refused_and_not_touched() {
    for name in [FIRST, "vote.0", "vote.1"] {
        let disk = ten_entries(true);
        disk.rot(name, 8, |_| 2);
        let before = image(&disk);
        assert_eq!(error(&disk), LogError::FormatTooNew { file: name.into(), found: 2, max: 1 });
        assert_eq!(image(&disk), before);
    }
}

#[test]
fn one_damaged_copy_of_the_vote_is_mended_and_two_are_refused() {
    let voted = || {
        let disk = SimDisk::new(3);
        let Opened { log, mut writer, .. } = open(&disk).unwrap();
        log.save_vote(b"first", ignore()).unwrap();
        writer.step().unwrap();
        log.save_vote(b"second", ignore()).unwrap();
        writer.step().unwrap();
        disk.restart(PowerCut::LoseAll);
        disk
    };
    for name in ["vote.0", "vote.1"] {
        let disk = voted();
        disk.rot(name, 40, |byte| !byte);
        let opened = open(&disk).unwrap();
        assert_eq!(opened.report.vote_repaired.as_deref(), Some(name));
        assert_eq!(opened.log.vote().unwrap().unwrap(), "second");
        drop(opened);
        let opened = open(&disk).unwrap();
        assert_eq!(
            (opened.report.vote_repaired.as_deref(), opened.log.vote().unwrap().unwrap().as_ref()),
            (None, &b"second"[..])
        );
        drop(opened);
        disk.remove(name).unwrap();
        assert_eq!(open(&disk).unwrap().log.vote().unwrap().unwrap(), "second");
    }
    let disk = voted();
    disk.rot("vote.0", 100, |byte| !byte);
    disk.rot("vote.1", 2000, |byte| !byte);
    assert!(matches!(error(&disk), LogError::VoteLost { .. }));
    let disk = voted();
    disk.remove("vote.0").unwrap();
    disk.remove("vote.1").unwrap();
    assert!(matches!(error(&disk), LogError::VoteLost { .. }));
}

#[test]
fn a_failed_sync_is_final() {
    let disk = SimDisk::new(3);
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    append(&log, &mut writer, 0..5, 100);
    disk.fault_at(disk.changes(), Fault::FailSync);
    let told = Arc::new(Mutex::new(Vec::new()));
    for index in 5..7 {
        let mut batch = EntryBatch::new();
        batch.push(index, 1, b"x");
        let told = Arc::clone(&told);
        log.append(&batch, Box::new(move |outcome| told.lock().unwrap().push(outcome))).unwrap();
    }
    let failed = writer.step().unwrap_err();
    assert!(
        matches!(&failed, LogError::Failed { cause } if matches!(**cause, LogError::Io { operation: "syncing", .. }))
    );
    assert_eq!(*told.lock().unwrap(), [Err(failed.clone()), Err(failed.clone())]);
    let syncs = disk.syncs();
    assert_eq!(writer.step(), Err(failed.clone()));
    assert_eq!(writer.idle(), Err(failed.clone()));
    assert_eq!(log.append(&EntryBatch::new(), ignore()), Err(failed.clone()));
    assert_eq!(log.truncate(0, ignore()), Err(failed.clone()));
    assert_eq!(log.save_vote(b"v", ignore()), Err(failed.clone()));
    assert_eq!(log.read(0..1, 10), Err(failed.clone()));
    assert_eq!(writer.finish(), Err(failed));
    assert_eq!(disk.syncs(), syncs, "never tried again");

    // What the failed sync left in memory only is written again before anyone builds on it.
    drop(log);
    let Opened { log, writer, .. } = open(&disk).unwrap();
    assert_eq!(Contents::of(&log).unwrap().next(), 7);
    drop((log, writer));
    disk.restart(PowerCut::LoseAll);
    assert_eq!(report(&disk).1.next(), 7, "what was found on opening is durable");
}

#[test]
fn a_full_disk_refuses_appends_keeps_what_there_is_and_takes_more_when_there_is_space() {
    let disk = SimDisk::new(3);
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    // Room for a spare's beginning and no more.
    disk.set_capacity(Some(64 * 1024 + 2 * 4096 + 30_000));
    let mut next = 0;
    let refused = loop {
        let mut batch = EntryBatch::new();
        batch.push(next, 1, &payload(next, 0, 2000));
        match log.append(&batch, ignore()) {
            Ok(()) => next += 1,
            Err(error) => break error,
        }
        writer.step().unwrap();
    };
    assert!(matches!(refused, LogError::NoSpace { .. }), "{refused}");
    assert!(next > 20, "the segment was filled first: {next}");
    assert_eq!(Contents::of(&log).unwrap().next(), next);
    log.save_vote(b"a vote needs no space", ignore()).unwrap();
    log.truncate(next - 1, ignore()).unwrap();
    writer.step().unwrap();

    disk.set_capacity(None);
    let mut batch = EntryBatch::new();
    (next - 1..next + 20).for_each(|index| batch.push(index, 2, &payload(index, 1, 2000)));
    let first = log.append(&batch, ignore());
    writer.step().unwrap();
    if first.is_err() {
        log.append(&batch, ignore()).unwrap();
        writer.step().unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(report(&disk).1.next(), next + 20);
}

#[test]
fn a_second_opener_is_refused() {
    let disk = SimDisk::new(3);
    let opened = open(&disk).unwrap();
    assert!(matches!(error(&disk), LogError::DataDirLocked { .. }));
    drop(opened);
    open(&disk).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let real = || quorate_log::open(quorate_log::DiskDirectory::open(dir.path()).unwrap(), small());
    let opened = real().unwrap();
    let refused = real().unwrap_err();
    assert!(matches!(refused, LogError::DataDirLocked { pid: Some(pid), .. } if pid == std::process::id()));
    assert!(refused.to_string().contains(&std::process::id().to_string()));
    drop(opened);
    real().unwrap();
}

#[test]
fn limits_are_typed_and_leave_the_log_as_it_was() {
    let disk = SimDisk::new(3);
    let options = Options { queue_bytes: 10_000, ..small() };
    let Opened { log, mut writer, .. } = quorate_log::open(disk.clone(), options).unwrap();
    let mut batch = EntryBatch::new();
    batch.push(0, 1, &vec![1; 70_000]);
    assert!(matches!(log.append(&batch, ignore()), Err(LogError::TooLarge { .. })));
    assert!(matches!(log.purge(1, &[0; 3000], ignore()), Err(LogError::TooLarge { .. })));
    assert!(matches!(log.save_vote(&[0; 3000], ignore()), Err(LogError::TooLarge { .. })));
    batch.clear();
    batch.push(0, 1, &[1; 12_000]);
    log.append(&batch, ignore()).unwrap();
    batch.clear();
    batch.push(1, 1, b"");
    assert!(matches!(log.append(&batch, ignore()), Err(LogError::QueueFull { max: 10_000, .. })));
    let ready = Arc::new(Mutex::new(false));
    let told = Arc::clone(&ready);
    log.when_room(Box::new(move |_| *told.lock().unwrap() = true));
    assert!(!*ready.lock().unwrap());
    writer.step().unwrap();
    assert!(*ready.lock().unwrap());
    log.append(&batch, ignore()).unwrap();
    batch.clear();
    batch.push(5, 1, b"");
    assert_eq!(log.append(&batch, ignore()), Err(LogError::OutOfOrder { index: 5, expected: 2 }));
    writer.finish().unwrap();
    assert_eq!(report(&disk).1.next(), 2);
    assert_eq!(log.append(&batch, ignore()), Err(LogError::Closed));
}

#[test]
fn a_purge_removes_whole_segments_and_survives_leftovers_of_its_interruption() {
    let disk = three_segments();
    let before = disk.contents(FIRST).unwrap();
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    let high = log.bounds().unwrap().entries.unwrap().1;
    log.save_committed(Some(b"committed")).unwrap();
    log.purge(high - 1, format!("id {}", high - 1).as_bytes(), ignore()).unwrap();
    writer.step().unwrap();
    assert_eq!(segments(&disk), [THIRD]);
    assert_eq!(log.read(0..u64::MAX, u64::MAX).unwrap().0, high);
    writer.finish().unwrap();

    // The name of the first segment comes back, as it does when the directory was not synced.
    replace(&disk, FIRST, &before);
    let (report, found) = report(&disk);
    assert_eq!(report.removed, [FIRST]);
    assert_eq!((found.purged, found.first, found.next()), (Some(high - 1), high, high + 1));
    assert_eq!(segments(&disk), [THIRD]);
    assert_eq!(open(&disk).unwrap().log.bounds().unwrap().committed.unwrap(), "committed");
}

#[test]
fn a_segment_that_goes_with_its_purge_record_leaves_what_it_said_to_the_next() {
    let disk = SimDisk::new(8);
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    append(&log, &mut writer, 0..28, 2000);
    log.save_committed(Some(b"committed")).unwrap();
    writer.idle().unwrap();
    assert_eq!(segments(&disk), [FIRST]);
    // One batch: the purge is the last record of the first segment, the entry the first of the second.
    log.purge(27, b"id 27", ignore()).unwrap();
    append(&log, &mut writer, 28..29, 10_000);
    assert_eq!(segments(&disk), [SECOND]);
    disk.restart(PowerCut::LoseAll);
    let (_, found) = report(&disk);
    assert_eq!((found.purged, found.first, found.next()), (Some(27), 28, 29));
    assert_eq!(open(&disk).unwrap().log.bounds().unwrap().committed.unwrap(), "committed");
}

#[test]
fn a_segment_that_a_truncation_reached_back_from_stands_without_those_before() {
    let disk = SimDisk::new(8);
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    append(&log, &mut writer, 0..28, 2000);
    append(&log, &mut writer, 28..33, 2000);
    assert_eq!(segments(&disk), [FIRST, SECOND]);
    let purge = |upto: u64| log.purge(upto, format!("id {upto}").as_bytes(), ignore()).unwrap();
    log.truncate(20, ignore()).unwrap();
    purge(10);
    append(&log, &mut writer, 20..21, 100);
    purge(19);
    writer.step().unwrap();
    assert_eq!(segments(&disk), [SECOND]);
    disk.restart(PowerCut::LoseAll);
    let (_, found) = report(&disk);
    assert_eq!((found.purged, found.first, found.next()), (Some(19), 20, 21));
}

#[test]
fn a_segment_that_lost_its_first_records_knows_where_it_began() {
    for (cut, purges) in (0..12).flat_map(|cut| [(cut, false), (cut, true)]) {
        let disk = SimDisk::new(8);
        let Opened { log, mut writer, .. } = open(&disk).unwrap();
        append(&log, &mut writer, 0..28, 2000);
        // It fills the segment, so that the next record begins another.
        append(&log, &mut writer, 28..29, 4000);
        disk.cut_power_at(Some(disk.changes() + cut));
        if purges {
            log.purge(40, b"id 40", ignore()).unwrap();
        } else {
            log.truncate(28, ignore()).unwrap();
        }
        let _ = writer.step();
        drop((log, writer));
        disk.restart(PowerCut::LoseAll);

        let Opened { log, mut writer, .. } = open(&disk).unwrap();
        let next = Contents::of(&log).unwrap().next();
        log.purge(5, b"id 5", ignore()).unwrap();
        append(&log, &mut writer, next..next + 60, 1000);
        log.purge(next + 30, format!("id {}", next + 30).as_bytes(), ignore()).unwrap();
        writer.step().unwrap();
        assert!(!segments(&disk).contains(&FIRST.to_string()));
        drop((log, writer));
        disk.restart(PowerCut::LoseAll);
        let (_, found) = report(&disk);
        assert_eq!((found.first, found.next()), (next + 31, next + 60), "cut at {cut}");
    }
}

#[test]
fn a_seal_that_a_power_cut_may_take_stays_after_an_opening() {
    for cut in [PowerCut::KeepAll, PowerCut::LoseAll] {
        let disk = SimDisk::new(8);
        let Opened { log, mut writer, .. } = open(&disk).unwrap();
        append(&log, &mut writer, 0..28, 2000);
        append(&log, &mut writer, 28..33, 2000);
        assert_eq!(segments(&disk), [FIRST, SECOND]);
        drop((log, writer));
        disk.restart(cut);
        assert_eq!(report(&disk).1.next(), 33);
        disk.restart(PowerCut::LoseAll);
        disk.remove(SECOND).unwrap();
        assert!(matches!(error(&disk), LogError::SegmentMissing { missing, .. } if missing == SECOND));
    }
}

#[test]
fn a_mending_that_fails_half_way_leaves_what_the_next_one_needs() {
    for seed in 0..400 {
        let disk = SimDisk::new(seed);
        let Opened { log, mut writer, .. } = open(&disk).unwrap();
        append(&log, &mut writer, 0..1, 100);
        writer.idle().unwrap();
        let marked = disk.contents(FIRST).unwrap();
        append(&log, &mut writer, 1..20, 200);
        drop((log, writer));
        disk.restart(PowerCut::KeepAll);
        // The sector with the mark was not written, and those behind it were.
        let written = disk.contents(FIRST).unwrap();
        let sector = HEADER as usize + 512;
        replace(&disk, FIRST, &[&marked[..sector], &written[sector..]].concat());
        disk.fail_writes(FIRST, at(1)..at(1) + 48, std::io::ErrorKind::Other, 1);
        assert!(matches!(error(&disk), LogError::Io { .. }));
        assert_eq!(report(&disk).1.next(), 1, "seed {seed}");
    }
}

#[test]
fn notes_of_an_idle_log_that_are_torn_are_no_damage() {
    // Whatever part of a note the end of a sector divides.
    for len in (0..64).map(|words| 100 + 8 * words) {
        let disk = SimDisk::new(9);
        let Opened { log, mut writer, .. } = open(&disk).unwrap();
        append(&log, &mut writer, 0..1, len);
        let mut note = || {
            log.save_committed(Some(b"id 0")).unwrap();
            writer.idle().unwrap();
            disk.contents(FIRST).unwrap()
        };
        let notes = [note(), note(), note(), note()];
        for (sector, before) in (HEADER as usize + 512..HEADER as usize + 1536).step_by(512).zip(&notes) {
            for (old, new) in [(before, &notes[3]), (&notes[3], before), (&notes[1], &notes[2])] {
                let torn = SimDisk::new(9);
                ["vote.0", "vote.1"].iter().for_each(|name| copy(&disk, name, &torn, name));
                replace(&torn, FIRST, &[&old[..sector], &new[sector..]].concat());
                assert_eq!(report(&torn).1.next(), 1, "{len} bytes, torn at {sector}");
            }
        }
    }
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.starts_with("log-")).collect()
}

fn replace(disk: &SimDisk, name: &str, bytes: &[u8]) {
    use quorate_log::StoredFile;
    let _ = disk.remove(name);
    let file = disk.create(name).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync().unwrap();
}

fn copy(from: &SimDisk, name: &str, to: &SimDisk, new: &str) {
    replace(to, new, &from.contents(name).unwrap());
}

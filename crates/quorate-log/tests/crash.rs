//! The power fails at every single operation on the disk; what was acknowledged is there afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::atomic::Ordering;

use common::{Contents, Workload, ignore, open, payload};
use quorate_log::sim_disk::{Fault, Left, PowerCut, SimDisk};
use quorate_log::{EntryBatch, LogError, Opened};

const ACTIONS: u64 = 60;

/// Runs a workload until the power fails at operation `cut`; returns whether it did.
fn run(seed: u64, disk: &SimDisk, cut: u64) -> (Workload, bool) {
    disk.cut_power_at(Some(cut));
    let mut work = Workload::new(seed);
    let Ok(opened) = open(disk) else { return (work, true) };
    let (log, mut writer) = (opened.log, opened.writer);
    for _ in 0..ACTIONS {
        if work.act(&log, &mut writer).is_err() {
            return (work, true);
        }
        if cut.is_multiple_of(16) && !disk.is_gone() {
            assert_eq!(&Contents::of(&log).unwrap(), work.now(), "what was written is read at once");
        }
    }
    (work, writer.finish().is_err())
}

fn check(seed: u64, cut: u64, how: PowerCut, work: &Workload, disk: &SimDisk) {
    let garbage = matches!(how, PowerCut::Tear { left: Left::Garbage, .. });
    let opened = match open(disk) {
        Ok(opened) => opened,
        // Garbage between intact records could as well be acknowledged data that rotted: that is refused, not guessed.
        Err(LogError::Corrupt { what, .. }) if garbage && what.contains("intact ones behind it") => return,
        Err(error) => panic!("seed {seed}, cut {cut}, {how:?}: {error}"),
    };
    let found = Contents::of(&opened.log).unwrap();
    let from = work.acknowledged.load(Ordering::SeqCst);
    assert!(
        work.states[from..].contains(&found),
        "seed {seed}, cut {cut}, {how:?}: found {:?} {}..{}, acknowledged {:?} {}..{}",
        found.purged,
        found.first,
        found.next(),
        work.states[from].purged,
        work.states[from].first,
        work.states[from].next(),
    );
    let vote = opened.log.vote().unwrap().map(|vote| vote.to_vec());
    let from = work.acknowledged_vote.load(Ordering::SeqCst);
    assert!(work.votes[from..].contains(&vote), "seed {seed}, cut {cut}, {how:?}: vote {vote:?}");

    // It goes on from there as if nothing had been.
    let (log, mut writer) = (opened.log, opened.writer);
    let mut more = Workload::new(seed + 1);
    more.states = vec![found];
    more.append(&log).unwrap();
    writer.step().unwrap();
    assert_eq!(&Contents::of(&log).unwrap(), more.now());
}

fn crash_everywhere(seeds: std::ops::Range<u64>, how: PowerCut) {
    for seed in seeds {
        let mut cut = 0;
        loop {
            let disk = SimDisk::new(seed);
            let (work, failed) = run(seed, &disk, cut);
            disk.restart(how);
            if cut.is_multiple_of(3) {
                // The power fails again while the log is being opened.
                disk.cut_power_at(Some(disk.changes() + cut % 7));
                drop(open(&disk));
                disk.restart(how);
            }
            check(seed, cut, how, &work, &disk);
            if !failed {
                assert!(cut > ACTIONS, "the workload reached the disk");
                break;
            }
            cut += 1;
        }
    }
}

#[test]
fn a_power_cut_that_loses_all_unsynced_writes() {
    crash_everywhere(0..2, PowerCut::LoseAll);
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    crash_everywhere(10..12, PowerCut::KeepAll);
}

#[test]
fn a_power_cut_that_tears_writes_at_512_bytes() {
    crash_everywhere(20..24, PowerCut::Tear { sector: 512, left: Left::Old });
}

#[test]
fn a_power_cut_that_tears_writes_at_4096_bytes() {
    crash_everywhere(40..42, PowerCut::Tear { sector: 4096, left: Left::Old });
}

#[test]
fn a_power_cut_that_leaves_zeroes_where_writes_did_not_arrive() {
    crash_everywhere(50..52, PowerCut::Tear { sector: 512, left: Left::Zeroes });
}

#[test]
fn a_power_cut_that_leaves_garbage_where_writes_did_not_arrive() {
    crash_everywhere(60..62, PowerCut::Tear { sector: 512, left: Left::Garbage });
}

/// After a power cut the opening's own syncs fail, one after the other; the process starts anew over what is in memory,
/// goes on, and then the power fails again.
#[test]
fn an_opening_whose_sync_failed_leaves_nothing_that_comes_back() {
    let tear = PowerCut::Tear { sector: 512, left: Left::Old };
    let mut refused = 0;
    for (seed, cut) in (120..130).flat_map(|seed| (1..250).step_by(3).map(move |cut| (seed, cut))) {
        // After the four operations that write both copies of the vote again.
        for sync in 3..10 {
            let disk = SimDisk::new(seed);
            let (work, _) = run(seed, &disk, cut);
            disk.restart(tear);
            disk.fault_at(disk.changes() + sync, Fault::FailSync);
            let Err(error) = open(&disk) else { continue };
            refused += 1;
            assert!(matches!(error, LogError::Io { .. }), "seed {seed}, cut {cut}, sync {sync}: {error}");
            disk.restart(PowerCut::KeepAll);
            let Opened { log, mut writer, .. } = open(&disk).unwrap();
            // One short entry, which covers little of what was there.
            let mut found = Contents::of(&log).unwrap();
            assert!(work.states[work.acknowledged.load(Ordering::SeqCst)..].contains(&found));
            let (index, bytes) = (found.next(), payload(found.next(), 99, 30));
            let mut batch = EntryBatch::new();
            batch.push(index, 7, &bytes);
            found.entries.push(bytes.into());
            log.append(&batch, ignore()).unwrap();
            writer.step().unwrap();
            disk.restart(PowerCut::LoseAll);
            let opened =
                open(&disk).unwrap_or_else(|error| panic!("seed {seed}, cut {cut}, sync {sync}: {error}"));
            assert_eq!(Contents::of(&opened.log).unwrap(), found, "seed {seed}, cut {cut}, sync {sync}");
        }
    }
    assert!(refused > 100, "{refused} openings met a failed sync");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let disks: Vec<_> = (0..2)
        .map(|_| {
            let disk = SimDisk::new(3);
            run(3, &disk, 200);
            disk.restart(PowerCut::Tear { sector: 512, left: Left::Old });
            disk
        })
        .collect();
    use quorate_log::Directory;
    let names = disks[0].list().unwrap();
    assert_eq!(names, disks[1].list().unwrap());
    for name in names {
        assert_eq!(disks[0].contents(&name), disks[1].contents(&name), "{name}");
    }
}

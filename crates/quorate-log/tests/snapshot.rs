//! Snapshot files: whole or not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{Read, Write};

use quorate_log::sim_disk::{Left, PowerCut, SimDisk};
use quorate_log::{Directory, LogError, NewestSnapshot, SnapshotStore};

fn data(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

fn write(store: &SnapshotStore<SimDisk>, seed: u8, len: usize) -> Result<(), LogError> {
    let mut writer = store.create(&[seed; 10])?;
    for piece in data(seed, len).chunks(1000) {
        if writer.write_all(piece).is_err() {
            return Err(LogError::Closed);
        }
    }
    writer.finish().map(|_| ())
}

/// Which snapshot is the newest that is intact, and how many damaged ones are newer.
fn newest(store: &SnapshotStore<SimDisk>, len: usize) -> Result<(Option<u8>, usize), LogError> {
    let NewestSnapshot { snapshot, damaged } = store.newest()?;
    let seed = snapshot.map(|mut snapshot| {
        let seed = snapshot.meta()[0];
        assert_eq!(snapshot.meta(), [seed; 10]);
        let mut read = Vec::new();
        snapshot.read_to_end(&mut read).unwrap();
        assert_eq!(read, data(seed, len));
        seed
    });
    Ok((seed, damaged.len()))
}

#[test]
fn the_newest_is_read_back_and_older_ones_go() {
    for len in [0, 1, 999, 300_000] {
        let disk = SimDisk::new(1);
        let store = SnapshotStore::open(disk.clone(), 1).unwrap();
        assert_eq!(newest(&store, len).unwrap(), (None, 0));
        for seed in 1..4 {
            write(&store, seed, len).unwrap();
            assert_eq!(newest(&store, len).unwrap(), (Some(seed), 0));
            assert_eq!(disk.list().unwrap().len(), 1);
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_old_or_the_new_one() {
    for how in [PowerCut::LoseAll, PowerCut::KeepAll, PowerCut::Tear { sector: 512, left: Left::Old }] {
        for cut in 0.. {
            let disk = SimDisk::new(cut);
            let store = SnapshotStore::open(disk.clone(), 1).unwrap();
            write(&store, 1, 600_000).unwrap();
            disk.cut_power_at(Some(disk.changes() + cut));
            let finished = write(&store, 2, 600_000).is_ok();
            disk.restart(how);
            let store = SnapshotStore::open(disk.clone(), 1).unwrap();
            let (seed, damaged) = newest(&store, 600_000).unwrap();
            assert!(seed == Some(2) || (seed == Some(1) && !finished), "cut {cut}, {how:?}: {seed:?}");
            assert_eq!(damaged, 0, "a torn one never gets its name");
            assert!(disk.list().unwrap().iter().all(|name| !name.ends_with(".tmp")));
            if finished {
                assert!(cut > 5);
                break;
            }
        }
    }
}

#[test]
fn a_damaged_one_is_an_error_and_falls_back_to_the_one_before() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::open(disk.clone(), 2).unwrap();
    (1..4).for_each(|seed| write(&store, seed, 50_000).unwrap());
    let names = disk.list().unwrap();
    assert_eq!(names.len(), 2);
    for offset in [0, 12, 30, 4096, 4100, 30_000, 4096 + 10 + 49_999] {
        disk.rot(&names[1], offset, |byte| byte ^ 8);
        assert_eq!(newest(&store, 50_000).unwrap(), (Some(2), 1), "byte {offset}");
        disk.rot(&names[1], offset, |byte| byte ^ 8);
    }
    assert_eq!(newest(&store, 50_000).unwrap(), (Some(3), 0));
    disk.rot(&names[0], 5000, |byte| !byte);
    disk.rot(&names[1], 5000, |byte| !byte);
    let error = newest(&store, 50_000).unwrap_err();
    assert!(matches!(&error, LogError::SnapshotCorrupt { file, .. } if *file == names[1]), "{error}");

    disk.rot(&names[1], 8, |_| 9);
    assert!(matches!(store.newest(), Err(LogError::FormatTooNew { found: 9, .. })));
}

#[test]
fn rot_under_an_open_reader_is_seen_by_its_end() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::open(disk.clone(), 1).unwrap();
    write(&store, 1, 50_000).unwrap();
    let mut snapshot = store.newest().unwrap().snapshot.unwrap();
    disk.rot(snapshot.name(), 20_000, |byte| !byte);
    let error = snapshot.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn an_abandoned_one_leaves_nothing_and_a_full_disk_leaves_the_old_one() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::open(disk.clone(), 1).unwrap();
    write(&store, 1, 1000).unwrap();
    let mut writer = store.create(b"meta").unwrap();
    writer.write_all(&[1; 1000]).unwrap();
    drop(writer);
    assert_eq!(disk.list().unwrap().len(), 1);
    disk.set_capacity(Some(20_000));
    let mut writer = store.create(b"meta").unwrap();
    writer.write_all(&[1; 100_000]).unwrap();
    assert!(matches!(writer.finish(), Err(LogError::NoSpace { .. })));
    assert_eq!(newest(&store, 1000).unwrap(), (Some(1), 0));
    assert_eq!(disk.list().unwrap().len(), 1);
}

#[test]
fn the_one_finished_last_is_the_newest_and_a_replaced_one_stays_readable() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::open(disk, 1).unwrap();
    let (mut early, mut late) = (store.create(&[1; 10]).unwrap(), store.create(&[2; 10]).unwrap());
    late.write_all(&data(2, 100)).unwrap();
    let mut replaced = late.finish().unwrap();
    early.write_all(&data(1, 100)).unwrap();
    early.finish().unwrap();
    assert_eq!(newest(&store, 100).unwrap(), (Some(1), 0));
    let mut read = Vec::new();
    replaced.read_to_end(&mut read).unwrap();
    assert_eq!(read, data(2, 100));
}

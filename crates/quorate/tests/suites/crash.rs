//! The suite that cuts the power.

use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;

use quorate::testing::crash::Disk;
use quorate::testing::crash::Loss;
use quorate::testing::crash::Suite;
use quorate::testing::crash::fs;

use crate::file_store::FileBug;
use crate::file_store::FileLog;
use crate::file_store::Opener;

/// Enough for every mistake below to be caught.
const DRAWS: u64 = 8;

#[tokio::test]
async fn a_sound_store_survives_every_power_cut() {
    let explored = Suite::<_, FileLog, _>::power_loss(&Opener(None), DRAWS).await.unwrap();
    assert!(explored.moments >= 193 && explored.disks > 7000, "{explored:?}");
}

#[tokio::test]
async fn a_sound_store_survives_being_killed_in_a_real_directory() {
    let explored = Suite::<_, FileLog, _>::kill(&Opener(None)).await.unwrap();
    assert!(explored.moments > 40, "{explored:?}");
}

#[tokio::test]
async fn purged_entries_may_come_back_where_no_hole_comes_of_it() {
    Suite::<_, FileLog, _>::power_loss(&Opener(Some(FileBug::PurgeIsLazy)), 1).await.unwrap();
}

#[tokio::test]
async fn the_same_store_is_tried_in_the_same_way() {
    let once = Suite::<_, FileLog, _>::power_loss(&Opener(None), 1).await.unwrap();
    let again = Suite::<_, FileLog, _>::power_loss(&Opener(None), 1).await.unwrap();
    assert_eq!(once, again);
}

/// Each mistake, what is said of it when the power is cut, and what, if anything, when the process is killed.
const CAUGHT_BY: &[(FileBug, &str, Option<&str>)] = &[
    (FileBug::BadRecordIsSkipped, "there is a hole", None),
    (FileBug::CallbackComesBeforeSync, "the log: entries T1-N1.0 to T1-N1.0 is due", None),
    (FileBug::ChecksumIsIgnored, "T2-N1.4 has another content", None),
    (FileBug::CreationIsNotSynced, "the log: entries T1-N1.0 to T1-N1.0 is due", None),
    (FileBug::EntriesAreBuffered, "the store has no entries", Some("the store has no entries")),
    (FileBug::EntriesAreNotSynced, "the store has no entries", None),
    (FileBug::FileIsNotSyncedBeforeRename, "cannot be opened", None),
    (FileBug::PurgeIsForgotten, "there is a hole", Some("there is a hole")),
    (FileBug::RenameIsNotSynced, "the vote: <T9-N1:Q> is due", None),
    (FileBug::TailIsNotCut, "after more was written: the log", None),
    (FileBug::TornTailPanics, "the store panics", None),
    (FileBug::TornTailIsRefused, "cannot be opened", None),
    (
        FileBug::TruncationIsForgotten,
        "entries T1-N1.0 to T1-N1.6 is due",
        Some("truncations: the process is killed"),
    ),
    (FileBug::TruncationIsNotSynced, "entries T1-N1.0 to T1-N1.6 is due", None),
    (FileBug::VoteIsForgotten, "the vote: <T9-N1:Q> is due", Some("the vote: <T1-N1:-> is due")),
    (FileBug::VoteIsReplacedInPlace, "cannot be opened", None),
];

#[tokio::test]
async fn each_mistake_is_caught_and_described() {
    for (bug, when_cut, when_killed) in CAUGHT_BY {
        let opener = Opener(Some(*bug));
        let cut = Suite::<_, FileLog, _>::power_loss(&opener, DRAWS).await;
        let text = cut.err().unwrap_or_else(|| panic!("{bug:?} survives power cuts")).to_string();
        assert!(text.contains(when_cut), "{bug:?}: {text}");
        match (Suite::<_, FileLog, _>::kill(&opener).await, when_killed) {
            (Ok(_), None) => {}
            (Err(error), Some(said)) if error.to_string().contains(said) => {}
            (outcome, said) => panic!("{bug:?} when killed: {said:?} is to be said: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_failed_sync_is_not_made_good_by_another() {
    let explored = Suite::<_, FileLog, _>::failed_syncs(&Opener(None)).await.unwrap();
    assert!(explored.moments > 60, "{explored:?}");
    for bug in [FileBug::SyncErrorIsIgnored, FileBug::SyncIsTriedAgain] {
        let outcome = Suite::<_, FileLog, _>::failed_syncs(&Opener(Some(bug))).await;
        let text = outcome.err().unwrap_or_else(|| panic!("{bug:?} is not found")).to_string();
        assert!(text.contains("fails, and then the power: the log: entries"), "{bug:?}: {text}");
    }
}

/// What a program does to files, and what is there afterwards when all is lost that was not synced.
#[test]
fn a_disk_keeps_what_was_synced_and_nothing_more() {
    let disk = Disk::new();
    let (dir, file) = (disk.path().join("a/b"), disk.path().join("a/b/file"));
    let after = |loss| {
        let left = disk.after_power_cut(disk.changes(), loss);
        let content = fs::read_to_string(left.path().join("a/b/file")).ok();
        (left, content)
    };
    fs::create_dir_all(&dir).unwrap();
    fs::write(&file, "one").unwrap();
    fs::File::open(&file).unwrap().sync_all().unwrap();
    assert_eq!(after(Loss::All).1, None, "no name is synced");
    assert_eq!(after(Loss::Nothing).1.as_deref(), Some("one"));
    for synced in [&dir, &disk.path().join("a"), &disk.path()] {
        assert_eq!(after(Loss::All).1, None, "the names above are not synced");
        fs::File::open(synced).unwrap().sync_all().unwrap();
    }
    assert_eq!(after(Loss::All).1.as_deref(), Some("one"));

    let mut open = fs::OpenOptions::new().read(true).append(true).open(&file).unwrap();
    open.write_all(b" two").unwrap();
    assert_eq!(after(Loss::All).1.as_deref(), Some("one"));
    open.sync_data().unwrap();
    open.set_len(5).unwrap();
    assert_eq!(after(Loss::All).1.as_deref(), Some("one two"));
    open.sync_data().unwrap();
    assert_eq!(after(Loss::All).1.as_deref(), Some("one t"));
    let mut text = String::new();
    open.seek(SeekFrom::End(-3)).unwrap();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "e t");

    fs::rename(&file, dir.join("other")).unwrap();
    let (left, content) = after(Loss::All);
    assert_eq!(content.as_deref(), Some("one t"), "the new name is not synced");
    assert!(!fs::exists(left.path().join("a/b/other")).unwrap());
    fs::File::open(&dir).unwrap().sync_all().unwrap();
    assert_eq!(after(Loss::All).1, None);
    fs::remove_dir_all(disk.path().join("a")).unwrap();
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
}

#[test]
fn a_torn_write_arrives_in_whole_sectors() {
    let disk = Disk::new();
    let file = fs::File::create_new(disk.path().join("file")).unwrap();
    file.write_all_at(&[1; 2048], 0).unwrap();
    file.sync_all().unwrap();
    fs::File::open(disk.path()).unwrap().sync_all().unwrap();
    file.write_all_at(&[2; 2048], 0).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let left = disk.after_power_cut(disk.changes(), Loss::Some { sector: 512, seed });
        let content = fs::read(left.path().join("file")).unwrap();
        let sectors: Vec<u8> = content.chunks(512).map(|sector| sector[0]).collect();
        assert!(content.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 16, "each of four sectors is old or new");
}

#[test]
fn other_paths_lead_to_the_real_file_system() {
    assert_eq!(fs::read("Cargo.toml").unwrap(), std::fs::read("Cargo.toml").unwrap());
    assert!(fs::metadata("src").unwrap().is_dir());
    assert!(fs::read_dir("src").unwrap().any(|entry| entry.unwrap().file_name() == "lib.rs"));
    let gone = Disk::new().path();
    assert_eq!(fs::read_dir(gone).err().unwrap().kind(), std::io::ErrorKind::NotFound);
}

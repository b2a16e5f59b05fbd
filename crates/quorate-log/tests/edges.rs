//! What is seldom met: callers that come too late, files from elsewhere, a codec with nothing but the necessary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::Bound;
use std::io;
use std::io::{Read, Write};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use common::{Command, Types, ignore, open, payload, small};
use quorate::entry::RaftEntry;
use quorate::storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt};
use quorate::type_config::alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, VoteOf};
use quorate::vote::RaftLeaderId;
use quorate::{LogId, RaftLogReader, Vote};
use quorate_log::sim_disk::{Fault, PowerCut, SimDisk};
use quorate_log::{
    Codec, DiskDirectory, EntryBatch, LogError, LogStore, Opened, Options, Postcard, SnapshotStore,
};

/// Says no more of an entry than it must.
struct Bare;

impl Codec<Types> for Bare {
    fn encode_entry(entry: &EntryOf<Types>, out: &mut Vec<u8>) -> io::Result<()> {
        <Postcard as Codec<Types>>::encode_entry(entry, out)
    }

    fn decode_entry(bytes: &[u8]) -> io::Result<EntryOf<Types>> {
        <Postcard as Codec<Types>>::decode_entry(bytes)
    }

    fn encode_log_id(log_id: &LogIdOf<Types>) -> io::Result<Vec<u8>> {
        <Postcard as Codec<Types>>::encode_log_id(log_id)
    }

    fn decode_log_id(bytes: &[u8]) -> io::Result<LogIdOf<Types>> {
        <Postcard as Codec<Types>>::decode_log_id(bytes)
    }

    fn encode_vote(vote: &VoteOf<Types>) -> io::Result<Vec<u8>> {
        <Postcard as Codec<Types>>::encode_vote(vote)
    }

    fn decode_vote(bytes: &[u8]) -> io::Result<VoteOf<Types>> {
        <Postcard as Codec<Types>>::decode_vote(bytes)
    }
}

fn id(index: u64) -> LogIdOf<Types> {
    LogId::new(CommittedLeaderIdOf::<Types>::new(1, 0), index)
}

fn entry(index: u64, bytes: usize) -> EntryOf<Types> {
    EntryOf::<Types>::new_normal(id(index), Command(vec![index as u8; bytes]))
}

fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn kind_of(error: &io::Error) -> &LogError {
    error.get_ref().and_then(|source| source.downcast_ref()).expect("the typed error is the source")
}

fn one(index: u64, len: usize) -> EntryBatch {
    let mut batch = EntryBatch::new();
    batch.push(index, 1, &payload(index, 0, len));
    batch
}

#[test]
fn copies_of_the_vote_from_two_logs_are_refused() {
    let (disk, other) = (SimDisk::new(1), SimDisk::new(2));
    drop((open(&disk).unwrap(), open(&other).unwrap()));
    let foreign = other.contents("vote.1").unwrap();
    (0..foreign.len()).for_each(|at| disk.rot("vote.1", at as u64, |_| foreign[at]));
    let error = open(&disk).map(|_| ()).unwrap_err();
    assert!(matches!(&error, LogError::SegmentForeign { file, .. } if file == "vote.1"), "{error}");
}

#[test]
fn a_lost_vote_says_what_each_copy_suffers_from() {
    let disk = SimDisk::new(1);
    drop(open(&disk).unwrap());
    quorate_log::Directory::remove(&disk, "vote.0").unwrap();
    disk.rot("vote.1", 20, |byte| byte ^ 1);
    let error = open(&disk).map(|_| ()).unwrap_err();
    let LogError::VoteLost { what, .. } = &error else { panic!("{error}") };
    assert!(what.contains("vote.0 is missing") && what.contains("vote.1 is corrupt"), "{what}");
}

#[test]
fn a_vote_that_cannot_be_read_for_the_moment_is_not_lost() {
    let disk = SimDisk::new(1);
    let Opened { log, writer, .. } = open(&disk).unwrap();
    log.save_vote(b"a vote", ignore()).unwrap();
    writer.finish().unwrap();
    let refused = || open(&disk).map(|_| ()).unwrap_err();
    disk.fail_reads("vote.0", 0..1, 2);
    disk.fail_reads("vote.1", 0..1, 1);
    let both = refused();
    assert!(matches!(&both, LogError::Io { file, .. } if file == "vote.0"), "{both}");
    disk.rot("vote.1", 20, |byte| byte ^ 1);
    let one = refused();
    assert!(matches!(&one, LogError::Io { file, .. } if file == "vote.0"), "{one}");
    assert_eq!(open(&disk).unwrap().log.vote().unwrap().unwrap(), "a vote");
}

#[test]
fn a_vote_that_an_opening_found_in_memory_is_durable_in_both_copies() {
    let disk = SimDisk::new(1);
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    log.save_vote(b"first", ignore()).unwrap();
    writer.step().unwrap();
    // Write and sync of the first copy, write of the second, and its sync.
    disk.fault_at(disk.changes() + 3, Fault::FailSync);
    log.save_vote(b"second", ignore()).unwrap();
    writer.step().unwrap_err();
    drop((log, writer));
    disk.restart(PowerCut::KeepAll);
    assert_eq!(open(&disk).unwrap().log.vote().unwrap().unwrap(), "second");
    disk.restart(PowerCut::LoseAll);
    disk.rot("vote.0", 20, |byte| byte ^ 1);
    assert_eq!(open(&disk).unwrap().log.vote().unwrap().unwrap(), "second");
}

#[test]
fn whoever_waits_for_room_is_told_at_once_where_there_is_some_or_never_will_be() {
    let disk = SimDisk::new(1);
    let Opened { log, writer, .. } = open(&disk).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = || {
        let told = Arc::clone(&told);
        Box::new(move |outcome| told.lock().unwrap().push(outcome)) as quorate_log::Completion
    };
    log.when_room(tell());
    log.close();
    log.when_room(tell());
    assert_eq!(*told.lock().unwrap(), [Ok(()), Err(LogError::Closed)]);
    writer.finish().unwrap();
}

#[test]
fn the_writer_is_called_when_there_is_work_by_the_first_hook_alone() {
    let disk = SimDisk::new(1);
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    assert!(writer.on_work(move || _ = counted.fetch_add(1, Ordering::Relaxed)));
    assert!(!writer.on_work(|| panic!("the second hook is not set")));
    log.append(&one(0, 100), ignore()).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(writer.step().unwrap());
    assert!(!writer.step().unwrap());
    assert_eq!(calls.load(Ordering::Relaxed), 1, "its own steps are no work for it");
}

#[test]
fn batches_larger_than_a_write_are_written_in_pieces_and_read_back() {
    let disk = SimDisk::new(1);
    let options = Options { segment_bytes: 8 << 20, queue_bytes: 8 << 20, ..small() };
    let Opened { log, mut writer, .. } = quorate_log::open(disk.clone(), options.clone()).unwrap();
    let mut index = 0;
    for len in [3000, 200_000, 5000].repeat(12) {
        log.append(&one(index, len), ignore()).unwrap();
        index += 1;
    }
    while writer.step().unwrap() {}
    disk.restart(PowerCut::LoseAll);
    let Opened { log, .. } = quorate_log::open(disk, options).unwrap();
    let (first, found) = log.read(0..u64::MAX, u64::MAX).unwrap();
    assert_eq!((first, found.len() as u64), (0, index));
    assert!(found.iter().enumerate().all(|(at, bytes)| *bytes == payload(at as u64, 0, bytes.len())));
}

#[test]
fn a_callback_that_panics_is_reported_by_whoever_closes_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { log, writer, .. } =
        quorate_log::open(DiskDirectory::open(dir.path()).unwrap(), small()).unwrap();
    let thread = writer.spawn().unwrap();
    log.append(&one(0, 10), Box::new(|_| panic!("on purpose"))).unwrap();
    let error = thread.close().unwrap_err();
    assert!(matches!(&error, LogError::Io { message, .. } if message.contains("panicked")), "{error}");
}

#[tokio::test]
async fn an_append_waits_for_room_and_a_write_that_nobody_does_is_an_error() {
    let options = Options { queue_bytes: 1000, ..small() };
    let (mut store, mut writer) = LogStore::<Types, Postcard, _>::stepped(SimDisk::new(1), options).unwrap();
    store.append([entry(0, 2000)], IOFlushed::noop()).await.unwrap();
    {
        let mut waits = pin!(store.append([entry(1, 10)], IOFlushed::noop()));
        assert!(poll(waits.as_mut()).is_pending(), "the queue is full");
        writer.step().unwrap();
        waits.await.unwrap();
    }
    assert_eq!(store.get_log_state().await.unwrap().last_log_id, Some(id(1)));
    let vote = Vote::new(1, 1);
    let mut waits = pin!(store.save_vote(&vote));
    assert!(poll(waits.as_mut()).is_pending());
    drop(writer);
    let error = waits.await.unwrap_err();
    assert_eq!(*kind_of(&error), LogError::Closed);
}

#[tokio::test]
async fn a_codec_may_say_nothing_of_terms_and_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = LogStore::<Types, Bare>::open(dir.path(), small()).unwrap();
    store.blocking_append((0..5).map(|index| entry(index, 10))).await.unwrap();
    let mut reader = store.get_log_reader().await.clone();
    assert_eq!(
        RaftLogReader::<Types>::entry_size(&reader, &entry(0, 500)),
        size_of::<EntryOf<Types>>() as u64
    );
    let behind = (Bound::Excluded(2), Bound::Unbounded);
    let found = reader.try_get_log_entries(behind).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.index()).collect::<Vec<_>>(), [3, 4]);
    assert!(format!("{store:?}").contains("last"));
    assert!(format!("{reader:?}").contains(&dir.path().display().to_string()));
    assert_eq!(store.directory().path(), dir.path());
    store.close().unwrap();
    let reopened = LogStore::<Types, Bare>::open(dir.path(), small()).unwrap();
    assert_eq!(reopened.log().bounds().unwrap().entries, Some((0, 4)));
}

#[tokio::test]
async fn an_entry_larger_than_what_is_kept_of_a_batch_is_stored_like_any_other() {
    let options = Options { segment_bytes: 8 << 20, queue_bytes: 8 << 20, ..small() };
    let (mut store, mut writer) = LogStore::<Types, Postcard, _>::stepped(SimDisk::new(1), options).unwrap();
    for index in 0..2 {
        store.append([entry(index, 1_500_000)], IOFlushed::noop()).await.unwrap();
        writer.step().unwrap();
    }
    let found = store.get_log_reader().await.try_get_log_entries(0..2).await.unwrap();
    assert_eq!(found, [entry(0, 1_500_000), entry(1, 1_500_000)]);
}

#[test]
fn bytes_that_another_codec_wrote_are_refused() {
    let disk = SimDisk::new(1);
    let Opened { log, mut writer, .. } = open(&disk).unwrap();
    log.append(&one(0, 10), ignore()).unwrap();
    log.purge(0, &[], ignore()).unwrap();
    while writer.step().unwrap() {}
    writer.finish().unwrap();
    drop(log);
    let error = LogStore::<Types, Postcard, _>::stepped(disk, small()).map(|_| ()).unwrap_err();
    assert!(matches!(&error, LogError::Corrupt { what, .. } if what.contains("undecodable")), "{error}");
}

#[test]
fn bytes_behind_a_value_are_refused() {
    type Format = dyn Fn(&[u8]) -> io::Result<()>;
    let mut bytes = Vec::new();
    <Postcard as Codec<Types>>::encode_entry(&entry(0, 10), &mut bytes).unwrap();
    bytes.push(0);
    let id = <Postcard as Codec<Types>>::encode_log_id(&id(3)).unwrap();
    let vote = <Postcard as Codec<Types>>::encode_vote(&Vote::new(1, 1)).unwrap();
    let read: [(&Format, Vec<u8>); 3] = [
        (&|bytes| <Postcard as Codec<Types>>::decode_entry(bytes).map(|_| ()), bytes.clone()),
        (&|bytes| <Postcard as Codec<Types>>::decode_log_id(bytes).map(|_| ()), [id, vec![0]].concat()),
        (&|bytes| <Postcard as Codec<Types>>::decode_vote(bytes).map(|_| ()), [vote, vec![0]].concat()),
    ];
    for (decode, longer) in read {
        decode(&longer[..longer.len() - 1]).unwrap();
        let error = decode(&longer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }

    let disk = SimDisk::new(1);
    let Opened { log, writer, .. } = open(&disk).unwrap();
    let mut batch = EntryBatch::new();
    batch.push(0, 1, &bytes);
    log.append(&batch, ignore()).unwrap();
    writer.finish().unwrap();
    drop(log);
    let error = LogStore::<Types, Postcard, _>::stepped(disk, small()).map(|_| ()).unwrap_err();
    assert!(matches!(&error, LogError::Corrupt { what, .. } if what.contains("left behind")), "{error}");
}

#[test]
fn errors_keep_their_kind_and_themselves_on_the_way_through_io() {
    let file = || "f".to_string();
    let cases = [
        (LogError::NoSpace { directory: file() }, io::ErrorKind::StorageFull),
        (LogError::DataDirLocked { directory: file(), pid: None }, io::ErrorKind::ResourceBusy),
        (LogError::SnapshotCorrupt { file: file(), what: file() }, io::ErrorKind::InvalidData),
        (LogError::OutOfOrder { index: 1, expected: 2 }, io::ErrorKind::InvalidInput),
        (LogError::Closed, io::ErrorKind::Other),
    ];
    for (error, kind) in cases {
        let converted = io::Error::from(error.clone());
        assert_eq!((converted.kind(), kind_of(&converted)), (kind, &error));
    }
}

#[test]
fn snapshots_live_on_a_real_directory_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(DiskDirectory::open(dir.path()).unwrap(), 1).unwrap();
    let too_large = store.create(&vec![0; 17 << 20]).map(|_| ()).unwrap_err();
    assert!(matches!(too_large, LogError::TooLarge { .. }), "{too_large}");
    let mut writer = store.create(b"meta").unwrap();
    writer.write_all(&[7; 600_000]).unwrap();
    writer.flush().unwrap();
    assert_eq!(writer.data_len(), 600_000);
    assert!(format!("{writer:?}").contains("snapshot-"));
    drop(writer.finish().unwrap());
    let mut found = store.newest().unwrap().snapshot.unwrap();
    assert_eq!((found.meta(), found.data_len()), (&b"meta"[..], 600_000));
    assert!(format!("{found:?}").contains(found.name()));
    let mut read = Vec::new();
    found.read_to_end(&mut read).unwrap();
    assert!(read.len() == 600_000 && read.iter().all(|byte| *byte == 7));

    let path = dir.path().join(found.name());
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    let error = store.newest().unwrap_err();
    assert!(matches!(&error, LogError::SnapshotCorrupt { what, .. } if what.contains("length")), "{error}");
}

#[test]
fn an_unreadable_snapshot_is_not_taken_for_a_damaged_one() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::open(disk.clone(), 2).unwrap();
    for _ in 0..2 {
        let mut writer = store.create(b"").unwrap();
        writer.write_all(&[7; 600_000]).unwrap();
        writer.finish().unwrap();
    }
    let name = quorate_log::Directory::list(&disk).unwrap().pop().unwrap();
    disk.fail_reads(&name, 400_000..400_001, u64::MAX);
    let error = store.newest().map(|_| ()).unwrap_err();
    assert!(matches!(&error, LogError::Io { file, .. } if *file == name), "{error}");
}

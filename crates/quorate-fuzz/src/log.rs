//! What a log and a snapshot store read from their directory.

use std::io::{ErrorKind, Read, Write};
use std::sync::OnceLock;

use quorate::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use quorate_log::sim_disk::SimDisk;
use quorate_log::{
    Codec, Completion, EntryBatch, LogBounds, LogError, LogStore, Opened, Options, Postcard, SnapshotStore,
};
use quorate_node::StateMachine;
use quorate_server::machine::{Command, KeyValue};

use crate::input::Input;
use crate::patches::Files;
use crate::types::{Types, assert_same, entries, log_id, vote};

/// Small segments and little memory, so that every path is taken soon.
fn options() -> Options {
    Options { segment_bytes: 64 * 1024, tail_bytes: 8 * 1024, ..Options::default() }
}

fn ignore() -> Completion {
    Box::new(|_| {})
}

/// An entry, a log id or a vote, as the first byte says; in the log's encoding and, where both read it, the
/// transport's.
pub fn codec(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 3 {
        0 => {
            let Ok(entry) = <Postcard as Codec<Types>>::decode_entry(bytes) else { return };
            let mut written = Vec::new();
            <Postcard as Codec<Types>>::encode_entry(&entry, &mut written).unwrap();
            assert_same(&<Postcard as Codec<Types>>::decode_entry(&written).unwrap(), &entry);
            let sent = postcard::from_bytes::<EntryOf<Types>>(&written).unwrap();
            assert_same(&sent, &entry);
            assert_eq!(<Postcard as Codec<Types>>::entry_size(&entry), written.len() as u64);
            written.push(0);
            assert!(<Postcard as Codec<Types>>::decode_entry(&written).is_err(), "nothing is left unread");
        }
        1 => {
            let Ok(id) = <Postcard as Codec<Types>>::decode_log_id(bytes) else { return };
            let written = <Postcard as Codec<Types>>::encode_log_id(&id).unwrap();
            assert_same::<LogIdOf<Types>>(&<Postcard as Codec<Types>>::decode_log_id(&written).unwrap(), &id);
            assert_eq!(<Postcard as Codec<Types>>::term(&id), id.leader_id.term);
        }
        _ => {
            let Ok(vote) = <Postcard as Codec<Types>>::decode_vote(bytes) else { return };
            let written = <Postcard as Codec<Types>>::encode_vote(&vote).unwrap();
            assert_same::<VoteOf<Types>>(&<Postcard as Codec<Types>>::decode_vote(&written).unwrap(), &vote);
        }
    }
}

/// A whole log directory: the first byte chooses it and says whether checksums are made right, the rest changes it.
pub fn directory(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let mut files = written_logs()[usize::from(choice >> 1) % written_logs().len()].clone();
    files.patch(&mut input, "log-", choice & 1 == 1);
    open(&files);
}

/// The same with the two files of the vote.
pub fn votes(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let mut files = written_logs()[0].clone();
    files.patch(&mut input, "vote.", choice & 1 == 1);
    open(&files);
}

fn open(files: &Files) {
    let disk = files.disk();
    let opened = match quorate_log::open(disk.clone(), options()) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let segments = |files: &Files| files.starting("log-");
            // Where the disk had no room, it was being mended.
            assert!(
                is_full(&error) || segments(&Files::of(&disk)) == segments(files),
                "what is refused is left as it is: {error}"
            );
            return;
        }
    };
    let Opened { log, writer, report } = opened;
    let before = log.bounds().unwrap();
    let vote = log.vote().unwrap();
    let (first, found) = log.read(0..u64::MAX, u64::MAX).expect("what was checked on opening can be read");
    let count = before.entries.map_or(0, |(low, high)| high - low + 1);
    assert_eq!(found.len() as u64, count, "all entries between the bounds from {first}: {before:?}");
    drop(writer);
    reopens(&disk, &before, &report.removed);
    goes_on(&disk, vote.as_deref(), &before);
    let _ = LogStore::<Types, Postcard, SimDisk>::stepped(files.disk(), options());
}

fn is_full(error: &LogError) -> bool {
    matches!(error, LogError::NoSpace { .. } | LogError::Io { kind: ErrorKind::StorageFull, .. })
}

/// What was opened once opens again to the same, and there is nothing left to mend.
fn reopens(disk: &SimDisk, before: &LogBounds, removed: &[String]) {
    let again = quorate_log::open(disk.clone(), options()).expect("what opened once opens again");
    let bounds = again.log.bounds().unwrap();
    assert_eq!((&bounds.entries, &bounds.purged), (&before.entries, &before.purged));
    assert_eq!(again.report.cut, None, "a tail is cut once");
    assert_eq!(again.report.vote_repaired, None, "a vote is mended once");
    assert!(again.report.removed.is_empty(), "files are removed once: {removed:?}");
}

/// A log that opened takes a vote and an entry, or says why not; then they are there.
fn goes_on(disk: &SimDisk, vote: Option<&[u8]>, before: &LogBounds) {
    let Opened { log, writer, .. } = quorate_log::open(disk.clone(), options()).unwrap();
    let end = before.entries.map(|(_, high)| high).max(before.purged.as_ref().map(|(index, _)| *index));
    let Some(next) = end.map_or(Some(0), |end| end.checked_add(1)) else { return };
    let mut batch = EntryBatch::new();
    batch.push(next, 1, b"one more");
    if log.append(&batch, ignore()).is_err() {
        return;
    }
    let newer = [vote.unwrap_or_default(), b"+"].concat();
    let voted = log.save_vote(&newer, ignore()).is_ok();
    if writer.finish().is_err() {
        return;
    }
    let again = quorate_log::open(disk.clone(), options()).expect("what was closed opens again");
    let bounds = again.log.bounds().unwrap();
    assert_eq!(bounds.entries.map(|(_, high)| high), Some(next), "the new entry is there");
    if voted {
        assert_eq!(again.log.vote().unwrap().as_deref(), Some(newer.as_slice()), "the new vote is there");
    }
}

/// Logs as they are written: a few entries; several segments with a purged beginning; a truncated end, without the
/// mark that an orderly end leaves.
fn written_logs() -> &'static [Files] {
    static LOGS: OnceLock<Vec<Files>> = OnceLock::new();
    LOGS.get_or_init(|| (0..3).map(written_log).collect())
}

fn written_log(kind: u64) -> Files {
    let disk = SimDisk::new(kind);
    let Opened { log, mut writer, .. } = quorate_log::open(disk.clone(), options()).unwrap();
    let encode_id = |index| <Postcard as Codec<Types>>::encode_log_id(&log_id(1, 1, index)).unwrap();
    let ours = <Postcard as Codec<Types>>::encode_vote(&vote(1, 1)).unwrap();
    log.save_vote(&ours, ignore()).unwrap();
    let text = if kind == 1 { "x".repeat(8000) } else { "x".repeat(20) };
    let count = if kind == 1 { 24 } else { 12 };
    let template = entries().swap_remove(2);
    for index in 0..count {
        let mut entry = template.clone();
        entry.log_id = log_id(1, 1, index);
        entry.payload = quorate::EntryPayload::Normal(text.clone());
        let mut batch = EntryBatch::new();
        let encode = |out: &mut Vec<u8>| <Postcard as Codec<Types>>::encode_entry(&entry, out);
        batch.push_with(index, 1, encode).unwrap();
        log.append(&batch, ignore()).unwrap();
        writer.step().unwrap();
    }
    match kind {
        1 => {
            log.purge(4, &encode_id(4), ignore()).unwrap();
            log.save_committed(Some(&encode_id(20))).unwrap();
            writer.finish().unwrap();
        }
        2 => {
            log.truncate(7, ignore()).unwrap();
            writer.step().unwrap();
        }
        _ => {
            log.save_committed(Some(&encode_id(9))).unwrap();
            writer.finish().unwrap();
        }
    }
    Files::of(&disk)
}

/// A directory of snapshots: the first byte says whether checksums are made right, the rest changes it.
pub fn snapshot(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let mut files = written_snapshots().clone();
    files.patch(&mut input, "snapshot-", choice & 1 == 1);
    let disk = files.disk();
    let store = SnapshotStore::open(disk, 2).unwrap();
    match store.newest() {
        Ok(newest) => {
            if let Some(mut reader) = newest.snapshot {
                let mut content = Vec::new();
                reader.read_to_end(&mut content).expect("what was checked whole can be read");
                assert_eq!(content.len() as u64, reader.data_len());
                let _ = quorate_node::decoders::snapshot(KeyValue::default(), &content);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let mut writer = store.create(b"newer").unwrap();
    writer.write_all(b"content").unwrap();
    if writer.finish().is_ok() {
        let newest = store.newest().unwrap().snapshot.unwrap();
        assert_eq!(
            (newest.meta(), newest.data_len()),
            (&b"newer"[..], 7),
            "what was finished last is the newest"
        );
    }
}

fn written_snapshots() -> &'static Files {
    static SNAPSHOTS: OnceLock<Files> = OnceLock::new();
    SNAPSHOTS.get_or_init(|| {
        let disk = SimDisk::new(3);
        let store = SnapshotStore::open(disk.clone(), 2).unwrap();
        for count in [2, 5] {
            let mut writer = store.create(b"meta").unwrap();
            writer.write_all(&snapshot_bytes(count)).unwrap();
            writer.finish().unwrap();
        }
        Files::of(&disk)
    })
}

/// The content of a snapshot after a membership and so many writes.
pub fn snapshot_bytes(count: u64) -> Vec<u8> {
    let entries: Vec<Vec<u8>> = (0..count).map(crate::seeds::node_entry).collect();
    let entries = entries.iter().map(Vec::as_slice);
    quorate_node::decoders::apply(KeyValue::default(), entries).unwrap()
}

/// A command of the key-value server, as [`StateMachine`] has it.
pub fn put(key: &str, value: &str) -> <KeyValue as StateMachine>::Command {
    Command::Put { key: key.to_owned(), value: value.to_owned().into() }
}

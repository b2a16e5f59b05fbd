//! The writer on a thread of its own, on a real directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::mpsc;

use quorate_log::{DiskDirectory, EntryBatch, LogError, Opened, Options};

fn open(dir: &tempfile::TempDir) -> Opened<DiskDirectory> {
    let options = Options { segment_bytes: 128 * 1024, tail_bytes: 32 * 1024, ..Options::default() };
    quorate_log::open(DiskDirectory::open(dir.path()).unwrap(), options).unwrap()
}

#[test]
fn appends_are_acknowledged_in_order_while_others_read() {
    const BATCHES: u64 = 400;
    let dir = tempfile::tempdir().unwrap();
    let Opened { log, writer, .. } = open(&dir);
    let thread = writer.spawn().unwrap();
    let (tx, rx) = mpsc::channel();
    std::thread::scope(|scope| {
        let reader = log.clone();
        scope.spawn(move || {
            let mut seen = 0;
            while seen < BATCHES * 5 {
                let (first, found) = reader.read(seen..u64::MAX, 10_000).unwrap();
                assert!(found.is_empty() || first == seen);
                for payload in found {
                    assert_eq!(payload, vec![seen as u8; 300]);
                    seen += 1;
                }
            }
        });
        let mut batch = EntryBatch::new();
        for i in 0..BATCHES {
            batch.clear();
            (i * 5..i * 5 + 5).for_each(|index| batch.push(index, 1, &[index as u8; 300]));
            let tx = tx.clone();
            log.append(&batch, Box::new(move |outcome| tx.send((i, outcome)).unwrap())).unwrap();
        }
    });
    for i in 0..BATCHES {
        assert_eq!(rx.recv().unwrap(), (i, Ok(())));
    }
    thread.close().unwrap();
    assert_eq!(log.append(&EntryBatch::new(), Box::new(|_| {})), Err(LogError::Closed));

    let Opened { log, report, .. } = open(&dir);
    assert!(report.segments > 4);
    assert_eq!(report.cut, None);
    assert_eq!(log.bounds().unwrap().entries, Some((0, BATCHES * 5 - 1)));
}

#[test]
fn dropping_the_thread_makes_all_that_was_appended_durable() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5u64 {
        let Opened { log, writer, report } = open(&dir);
        assert_eq!((report.created, report.cut), (round == 0, None));
        let thread = writer.spawn().unwrap();
        let mut batch = EntryBatch::new();
        batch.push(round + 1, 1, b"an entry");
        log.append(&batch, Box::new(|outcome| outcome.unwrap())).unwrap();
        log.save_committed(Some(b"id")).unwrap();
        drop(thread);
    }
    let Opened { log, .. } = open(&dir);
    let bounds = log.bounds().unwrap();
    assert_eq!((bounds.entries, bounds.committed.as_deref()), (Some((1, 5)), Some(&b"id"[..])));
}

#[test]
fn a_directory_of_our_own_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made").join("here");
    let opened = quorate_log::open(DiskDirectory::open(&path).unwrap(), Options::default()).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(path.join("vote.0").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    drop(opened);
}

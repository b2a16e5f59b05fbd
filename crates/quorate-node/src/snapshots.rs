//! The files of snapshots: written from the state, received from a leader, sent to a follower.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use quorate_grpc::{SnapshotFiles, SnapshotSink, SnapshotSource};
use quorate_log::{DiskDirectory, SnapshotReader, SnapshotStore, SnapshotWriter};

use crate::shared::{Position, invalid, read_header};

/// How many snapshots are kept: the newest, and one to fall back on should it turn out damaged.
const SNAPSHOTS_KEPT: usize = 2;

type Writer = SnapshotWriter<DiskDirectory>;

/// The snapshots of a node, in a directory of their own.
#[derive(Debug)]
pub(crate) struct Snapshots {
    store: SnapshotStore<DiskDirectory>,
    /// One more than the index that the newest snapshot covers; 0 while there is none.
    ///
    /// Held while one is made the newest, so that a snapshot that was long in the making cannot take the place of a
    /// later one: the log before the later one is gone.
    newest_next: Mutex<u64>,
}

/// The content of a snapshot.
#[derive(Debug)]
pub(crate) enum SnapshotFile {
    /// A durable file, checked whole.
    Stored(Arc<SnapshotReader<DiskDirectory>>),
    /// A file that was received whole, and counts for nothing until the library has accepted it.
    Received(Box<Writer>),
}

impl Snapshots {
    /// Opens the directory; an unfinished snapshot in it is removed. Blocks.
    pub(crate) fn open(directory: DiskDirectory) -> io::Result<Self> {
        let store = SnapshotStore::open(directory, SNAPSHOTS_KEPT).map_err(io::Error::other)?;
        let snapshots = Self { store, newest_next: Mutex::new(0) };
        if let Some(mut newest) = snapshots.newest()? {
            let next = next_of(&read_header(&mut newest)?);
            *snapshots.newest_next.lock().unwrap_or_else(PoisonError::into_inner) = next;
        }
        Ok(snapshots)
    }

    /// The newest intact snapshot. Reads and checks all of it. Blocks.
    pub(crate) fn newest(&self) -> io::Result<Option<Reading>> {
        let newest = self.store.newest().map_err(io::Error::other)?;
        Ok(newest.snapshot.map(Reading::of))
    }

    /// Begins to write one. Blocks.
    pub(crate) fn begin(&self) -> io::Result<Writer> {
        self.store.create(&[]).map_err(io::Error::other)
    }

    /// Makes one durable and the newest. Blocks.
    pub(crate) fn publish(&self, writer: Writer, position: &Position) -> io::Result<Reading> {
        let mut newest_next = self.newest_next.lock().unwrap_or_else(PoisonError::into_inner);
        if next_of(position) < *newest_next {
            return Err(invalid("a later snapshot was installed while this one was written"));
        }
        let reader = writer.finish().map_err(io::Error::other)?;
        *newest_next = next_of(position);
        Ok(Reading::of(reader))
    }

    /// Makes sure that a snapshot which is about to be installed is durable and the newest. Blocks.
    pub(crate) fn keep(&self, snapshot: SnapshotFile) -> io::Result<Reading> {
        match snapshot {
            SnapshotFile::Stored(reader) => Ok(Reading { reader, offset: 0 }),
            SnapshotFile::Received(writer) => {
                let mut newest_next = self.newest_next.lock().unwrap_or_else(PoisonError::into_inner);
                let mut reading = Reading::of(writer.finish().map_err(io::Error::other)?);
                *newest_next = next_of(&read_header(&mut reading)?);
                Ok(Reading { offset: 0, ..reading })
            }
        }
    }
}

fn next_of(position: &Position) -> u64 {
    position.applied.as_ref().map_or(0, |applied| applied.index.saturating_add(1))
}

/// Reads a stored snapshot from its beginning.
pub(crate) struct Reading {
    reader: Arc<SnapshotReader<DiskDirectory>>,
    offset: u64,
}

impl Reading {
    fn of(reader: SnapshotReader<DiskDirectory>) -> Self {
        Self { reader: Arc::new(reader), offset: 0 }
    }

    pub(crate) fn into_file(self) -> SnapshotFile {
        SnapshotFile::Stored(self.reader)
    }
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read_at(buffer, self.offset)?;
        self.offset = self.offset.saturating_add(read as u64);
        Ok(read)
    }
}

impl SnapshotFiles for Snapshots {
    type Data = SnapshotFile;
    type Source = Sending;
    type Sink = Receiving;

    fn open(&self, data: &SnapshotFile) -> io::Result<Sending> {
        match data {
            SnapshotFile::Stored(reader) => Ok(Sending(reader.clone())),
            SnapshotFile::Received(_) => Err(invalid("a snapshot that was only received cannot be sent")),
        }
    }

    fn create(&self, _from: &str, _length: u64) -> io::Result<Receiving> {
        Ok(Receiving(self.begin()?))
    }
}

/// A snapshot on its way to a follower.
pub(crate) struct Sending(Arc<SnapshotReader<DiskDirectory>>);

impl SnapshotSource for Sending {
    fn length(&self) -> u64 {
        self.0.data_len()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset.saturating_add(filled as u64))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled = filled.saturating_add(read),
            }
        }
        Ok(())
    }
}

/// A snapshot on its way from the leader.
pub(crate) struct Receiving(Writer);

impl SnapshotSink for Receiving {
    type Data = SnapshotFile;

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn finish(self) -> io::Result<SnapshotFile> {
        Ok(SnapshotFile::Received(Box::new(self.0)))
    }
}

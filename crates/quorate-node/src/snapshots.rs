//! The files of snapshots: written from the state, received from a leader, sent to a follower.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_grpc::{SnapshotFiles, SnapshotSink, SnapshotSource};
use quorate_log::{
    Directory, DiskDirectory, LogError, NewestSnapshot, SnapshotReader, SnapshotStore, SnapshotWriter,
};

use crate::config::{LogId, NodeConfig, NodeTypes};
use crate::shared::{Position, invalid, read_header};

/// How many snapshots are kept: the newest, and one to fall back on should it turn out damaged.
const SNAPSHOTS_KEPT: usize = 2;

/// The snapshots of a node, in a directory of their own.
pub struct Snapshots<C: NodeTypes = NodeConfig, D: Directory = DiskDirectory> {
    store: SnapshotStore<D>,
    /// The newest. Held while another is made the newest, so that a snapshot that was long in the making cannot take
    /// the place of a later one: the log before the later one is gone.
    newest: Mutex<Option<Stored<C, D>>>,
    /// What was wrong, when the directory was opened, with those newer than the newest that is intact.
    damaged: Vec<LogError>,
}

/// A durable snapshot, and where in the log it is.
#[derive(Clone)]
pub struct Stored<C: NodeTypes = NodeConfig, D: Directory = DiskDirectory> {
    /// The state that it holds.
    pub position: Position<C>,
    reader: Arc<SnapshotReader<D>>,
}

/// The content of a snapshot, as the library hands it around.
pub enum SnapshotFile<C: NodeTypes = NodeConfig, D: Directory = DiskDirectory> {
    /// A durable file, checked whole.
    Stored(Stored<C, D>),
    /// A file that was received whole, and counts for nothing until the library has accepted it.
    Received(Box<SnapshotWriter<D>>),
}

impl<C: NodeTypes, D: Directory> Snapshots<C, D> {
    /// Opens the directory, and checks the newest snapshot; an unfinished one is removed. Blocks.
    ///
    /// # Errors
    ///
    /// Those of the disk; and that there are snapshots of which none is intact.
    pub fn open(directory: D) -> io::Result<Self> {
        let store = SnapshotStore::open(directory, SNAPSHOTS_KEPT).map_err(io::Error::other)?;
        let NewestSnapshot { snapshot, damaged } = store.newest().map_err(io::Error::other)?;
        let newest = snapshot.map(Stored::of).transpose()?;
        Ok(Self { store, newest: Mutex::new(newest), damaged })
    }

    /// Makes sure that no entry is missing between the newest snapshot and a log that begins after `purged`.
    ///
    /// # Errors
    ///
    /// Which snapshot is damaged, or that one is not there.
    pub fn check_reach(&self, purged: Option<&LogId<C>>) -> io::Result<()> {
        let Some(purged) = purged else { return Ok(()) };
        let reached = self.newest().and_then(|newest| newest.position.applied);
        if reached.is_some_and(|reached| reached.index >= purged.index) {
            return Ok(());
        }
        Err(match self.damaged.first() {
            Some(damaged) => io::Error::other(damaged.clone()),
            None => invalid(format!(
                "the log begins after entry {}, and no snapshot reaches so far: a file snapshot-N.snap is missing; put it \
                 back, or restore this node from its peers (replace it in the cluster)",
                purged.index
            )),
        })
    }

    /// The newest snapshot.
    pub fn newest(&self) -> Option<Stored<C, D>> {
        self.lock().clone()
    }

    /// Begins to write one. Blocks.
    pub(crate) fn begin(&self) -> io::Result<SnapshotWriter<D>> {
        self.store.create(&[]).map_err(io::Error::other)
    }

    /// Makes one durable and the newest, unless a later one was installed while it was written. Gives the newest.
    /// Blocks.
    pub(crate) fn publish(
        &self,
        writer: SnapshotWriter<D>,
        position: &Position<C>,
    ) -> io::Result<Stored<C, D>> {
        let mut newest = self.lock();
        match newest
            .as_ref()
            .filter(|stored| position.applied < stored.position.applied && !quorate_core::mutant!(88))
        {
            Some(later) => Ok(later.clone()),
            None => finish(writer, &mut newest),
        }
    }

    /// Makes sure that a snapshot which is about to be installed is durable and the newest. Blocks.
    pub(crate) fn keep(&self, snapshot: SnapshotFile<C, D>) -> io::Result<Stored<C, D>> {
        match snapshot {
            SnapshotFile::Stored(stored) => Ok(stored),
            SnapshotFile::Received(writer) => finish(*writer, &mut self.lock()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stored<C, D>>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn finish<C: NodeTypes, D: Directory>(
    writer: SnapshotWriter<D>,
    newest: &mut Option<Stored<C, D>>,
) -> io::Result<Stored<C, D>> {
    let stored = Stored::of(writer.finish().map_err(io::Error::other)?)?;
    *newest = Some(stored.clone());
    Ok(stored)
}

impl<C: NodeTypes, D: Directory> Stored<C, D> {
    fn of(reader: SnapshotReader<D>) -> io::Result<Self> {
        let reader = Arc::new(reader);
        let position = read_header(&mut Reading { reader: reader.clone(), offset: 0, running: 0 })?;
        Ok(Self { position, reader })
    }

    /// Reads it from its beginning.
    pub fn read(&self) -> Reading<D> {
        Reading { reader: self.reader.clone(), offset: 0, running: 0 }
    }
}

/// Reads a stored snapshot from its beginning. The read of its last bytes fails if the file is no longer what was checked
/// when it was opened.
pub struct Reading<D: Directory> {
    reader: Arc<SnapshotReader<D>>,
    offset: u64,
    /// The checksum of what was read.
    running: u32,
}

impl<D: Directory> Read for Reading<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read_at(buffer, self.offset)?;
        self.offset = self.offset.saturating_add(read as u64);
        self.running = crc32c::crc32c_append(self.running, buffer.get(..read).unwrap_or_default());
        let ended = read > 0 && self.offset == self.reader.data_len();
        let checksum = self.reader.checksum().filter(|_| !quorate_core::mutant!(87));
        if ended && checksum.is_some_and(|checksum| checksum != self.running) {
            return Err(invalid(format!("snapshot {} changed since it was checked", self.reader.name())));
        }
        Ok(read)
    }
}

impl<C: NodeTypes, D: Directory> SnapshotFiles for Snapshots<C, D> {
    type Data = SnapshotFile<C, D>;
    type Source = Sending<D>;
    type Sink = Receiving<C, D>;

    fn open(&self, data: &SnapshotFile<C, D>) -> io::Result<Sending<D>> {
        match data {
            SnapshotFile::Stored(stored) => Ok(Sending(stored.reader.clone())),
            SnapshotFile::Received(_) => Err(invalid("a snapshot that was only received cannot be sent")),
        }
    }

    fn create(&self, _from: &str, _length: u64) -> io::Result<Receiving<C, D>> {
        Ok(Receiving(self.begin()?, PhantomData))
    }
}

/// A snapshot on its way to a follower.
pub struct Sending<D: Directory>(Arc<SnapshotReader<D>>);

impl<D: Directory> SnapshotSource for Sending<D> {
    fn length(&self) -> u64 {
        self.0.data_len()
    }

    /// As of when the file was checked: what has become of it since is not to pass for the snapshot at the other end.
    fn checksum(&self) -> Option<u32> {
        self.0.checksum().filter(|_| !quorate_core::mutant!(114))
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
pub struct Receiving<C, D: Directory>(SnapshotWriter<D>, PhantomData<C>);

impl<C: NodeTypes, D: Directory> SnapshotSink for Receiving<C, D> {
    type Data = SnapshotFile<C, D>;

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn finish(self) -> io::Result<SnapshotFile<C, D>> {
        Ok(SnapshotFile::Received(Box::new(self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::encode;

    fn position(index: u64) -> Position {
        let leader_id = quorate::vote::leader_id_adv::LeaderId { term: 1, node_id: 1 };
        Position { applied: Some(LogId::<NodeConfig> { leader_id, index }), roll: Arc::default() }
    }

    fn written(snapshots: &Snapshots, index: u64) -> SnapshotWriter<DiskDirectory> {
        let header = encode(&position(index)).unwrap();
        let mut writer = snapshots.begin().unwrap();
        writer.write_all(&1u32.to_le_bytes()).unwrap();
        writer.write_all(&u32::try_from(header.len()).unwrap().to_le_bytes()).unwrap();
        writer.write_all(&header).unwrap();
        writer
    }

    fn newest_on_disk(dir: &std::path::Path) -> Option<Position> {
        let snapshots = <Snapshots>::open(DiskDirectory::open(dir).unwrap()).unwrap();
        snapshots.newest().map(|stored| stored.position)
    }

    #[test]
    fn a_snapshot_long_in_the_making_does_not_take_the_place_of_a_later_one() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = <Snapshots>::open(DiskDirectory::open(dir.path()).unwrap()).unwrap();
        assert!(snapshots.newest().is_none());
        let slow = written(&snapshots, 100);
        let received = SnapshotFile::Received(Box::new(written(&snapshots, 200)));
        assert_eq!(snapshots.keep(received).unwrap().position, position(200));
        assert_eq!(snapshots.publish(slow, &position(100)).unwrap().position, position(200));
        assert_eq!(newest_on_disk(dir.path()), Some(position(200)));
    }

    #[test]
    fn a_received_snapshot_counts_for_nothing_until_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = <Snapshots>::open(DiskDirectory::open(dir.path()).unwrap()).unwrap();
        snapshots.publish(written(&snapshots, 100), &position(100)).unwrap();
        drop(<SnapshotFile>::Received(Box::new(written(&snapshots, 50))));
        assert_eq!(snapshots.newest().map(|stored| stored.position), Some(position(100)));
        assert_eq!(newest_on_disk(dir.path()), Some(position(100)));
    }

    #[test]
    fn a_snapshot_is_read_at_any_place_and_not_beyond_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = <Snapshots>::open(DiskDirectory::open(dir.path()).unwrap()).unwrap();
        let mut writer = written(&snapshots, 7);
        writer.write_all(b"content").unwrap();
        let stored = snapshots.publish(writer, &position(7)).unwrap();
        let mut sending = SnapshotFiles::open(&snapshots, &SnapshotFile::Stored(stored)).unwrap();
        let length = sending.length();
        let mut end = [0; 7];
        sending.read_at(length - 7, &mut end).unwrap();
        assert_eq!(&end, b"content");
        assert!(sending.read_at(length - 6, &mut end).is_err());
    }

    #[test]
    fn a_log_that_begins_after_the_newest_intact_snapshot_is_refused_with_the_damaged_one() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = <Snapshots>::open(DiskDirectory::open(dir.path()).unwrap()).unwrap();
        for index in [100, 200] {
            snapshots.publish(written(&snapshots, index), &position(index)).unwrap();
        }
        let purged = |index| position(index).applied;
        assert!(snapshots.check_reach(purged(200).as_ref()).is_ok());
        let missing = snapshots.check_reach(purged(201).as_ref()).unwrap_err();
        assert!(missing.to_string().contains("missing"), "{missing}");

        let newest = dir.path().join("snapshot-0000000000000002.snap");
        let mut bytes = std::fs::read(&newest).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&newest, bytes).unwrap();
        let snapshots = <Snapshots>::open(DiskDirectory::open(dir.path()).unwrap()).unwrap();
        assert!(snapshots.check_reach(None).is_ok() && snapshots.check_reach(purged(100).as_ref()).is_ok());
        let damaged = snapshots.check_reach(purged(150).as_ref()).unwrap_err();
        assert!(damaged.to_string().contains("snapshot-0000000000000002.snap"), "{damaged}");
    }

    #[test]
    fn a_snapshot_that_changed_since_it_was_checked_is_neither_read_nor_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = <Snapshots>::open(DiskDirectory::open(dir.path()).unwrap()).unwrap();
        let mut writer = written(&snapshots, 7);
        writer.write_all(b"content").unwrap();
        let stored = snapshots.publish(writer, &position(7)).unwrap();
        let mut whole = Vec::new();
        stored.read().read_to_end(&mut whole).unwrap();

        let file = std::fs::read_dir(dir.path()).unwrap().find_map(|entry| {
            let path = entry.unwrap().path();
            path.extension().is_some_and(|extension| extension == "snap").then_some(path)
        });
        let file = file.unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();

        let error = stored.read().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains(".snap"), "{error}");
        let sending = SnapshotFiles::open(&snapshots, &SnapshotFile::Stored(stored)).unwrap();
        assert_eq!(sending.checksum(), Some(crc32c::crc32c(&whole)));
    }
}

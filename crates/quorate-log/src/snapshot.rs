//! Snapshots as files: written beside, synced, renamed, and checksummed whole.
//!
//! A file is a header block with the length and checksum of what follows, the meta blob, and the
//! data. Header, meta and data are checked before a reader is handed out, and again while it reads,
//! always in a window of bounded size.

use std::io::{self, Read, Write};

use crate::error::LogError;
use crate::files::{Directory, StoredFile};
use crate::format::{FILE_HEADER, decode_block, encode_block, take_u32, take_u64};
use crate::segment::TEMPORARY;

const MAGIC: [u8; 8] = *b"QRTSNAP\n";
const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".snap";
/// Data is written and read in pieces of this size, in bytes.
const CHUNK: usize = 256 * 1024;
/// The largest meta blob, in bytes.
const META_MAX: usize = 16 * 1024 * 1024;

/// The snapshots in a directory, which may be the log's.
///
/// All methods block; call them where blocking is allowed. Only one store may write to a directory.
#[derive(Clone, Debug)]
pub struct SnapshotStore<D: Directory> {
    directory: D,
    keep: usize,
}

/// The newest snapshot that is intact, and what is wrong with the newer ones.
#[derive(Debug)]
pub struct NewestSnapshot<D: Directory> {
    /// The newest snapshot that is intact; `None` if there is no snapshot at all.
    pub snapshot: Option<SnapshotReader<D>>,
    /// Newer ones that are damaged.
    pub damaged: Vec<LogError>,
}

impl<D: Directory> SnapshotStore<D> {
    /// The snapshots in `directory`. The newest `keep` of them, at least one, are kept; older ones go
    /// when a new one is complete. Leftovers of snapshots that were never finished are removed.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn open(directory: D, keep: usize) -> Result<Self, LogError> {
        for name in list(&directory)? {
            if name.starts_with(PREFIX) && name.ends_with(TEMPORARY) {
                directory.remove(&name).map_err(|error| LogError::io("removing", &name, &error))?;
            }
        }
        Ok(Self { directory, keep: keep.max(1) })
    }

    /// Begins a snapshot. `meta` is returned by [`SnapshotReader::meta`]. It counts once
    /// [`SnapshotWriter::finish`] has returned; dropped before, it is removed.
    ///
    /// # Errors
    /// [`LogError::TooLarge`], [`LogError::NoSpace`] or [`LogError::Io`].
    pub fn create(&self, meta: &[u8]) -> Result<SnapshotWriter<D>, LogError> {
        if meta.len() > META_MAX {
            return Err(LogError::TooLarge { bytes: meta.len() as u64, max: META_MAX as u64 });
        }
        // Two may be under way at a time, one built and one received; each has a name of its own.
        let taken = list(&self.directory)?;
        let newest = taken.iter().filter_map(|name| sequence_of(name.trim_end_matches(TEMPORARY))).max();
        let name = snapshot_name(newest.unwrap_or(0).saturating_add(1));
        let temporary = format!("{name}{TEMPORARY}");
        let file =
            self.directory.create(&temporary).map_err(|error| self.failed("creating", &name, &error))?;
        let mut writer = SnapshotWriter {
            store: self.clone(),
            name,
            temporary: Some(temporary),
            file,
            position: FILE_HEADER as u64,
            buffer: Vec::new(),
            crc: 0,
            meta_len: meta.len() as u32,
            data_len: 0,
        };
        writer.put(meta).map_err(|error| writer.store.failed("writing", &writer.name, &error))?;
        Ok(writer)
    }

    /// The newest intact snapshot. Each one looked at is read and checked whole.
    ///
    /// # Errors
    /// [`LogError::SnapshotCorrupt`] if there are snapshots and none is intact: never an empty answer
    /// then. [`LogError::FormatTooNew`], [`LogError::UnknownFeatures`] or [`LogError::Io`].
    pub fn newest(&self) -> Result<NewestSnapshot<D>, LogError> {
        let mut damaged = Vec::new();
        for sequence in self.sequences()?.into_iter().rev() {
            match self.read(sequence) {
                Ok(snapshot) => return Ok(NewestSnapshot { snapshot: Some(snapshot), damaged }),
                Err(error @ LogError::SnapshotCorrupt { .. }) => {
                    tracing::warn!(%error, "looking for an older snapshot");
                    damaged.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        match damaged.into_iter().next() {
            Some(newest) => Err(newest),
            None => Ok(NewestSnapshot { snapshot: None, damaged: Vec::new() }),
        }
    }

    fn sequences(&self) -> Result<Vec<u64>, LogError> {
        let mut sequences: Vec<u64> =
            list(&self.directory)?.iter().filter_map(|name| sequence_of(name)).collect();
        sequences.sort_unstable();
        Ok(sequences)
    }

    fn read(&self, sequence: u64) -> Result<SnapshotReader<D>, LogError> {
        let name = snapshot_name(sequence);
        let file = self.directory.open(&name).map_err(|error| LogError::io("opening", &name, &error))?;
        let mut block = vec![0u8; FILE_HEADER];
        let got = file.read_at(&mut block, 0).map_err(|error| LogError::io("reading", &name, &error))?;
        block.truncate(got);
        let corrupt = |what: &str| LogError::SnapshotCorrupt { file: name.clone(), what: what.into() };
        let (mut body, _) = match decode_block(&name, MAGIC, &block) {
            Err(LogError::Corrupt { what, .. }) => return Err(corrupt(&what)),
            decoded => decoded?,
        };
        let mut header = || Some((take_u32(&mut body)?, take_u64(&mut body)?, take_u32(&mut body)?));
        let (meta_len, data_len, crc) = header().ok_or_else(|| corrupt("short header"))?;
        let begin = (FILE_HEADER as u64).saturating_add(u64::from(meta_len));
        let size = file.size().map_err(|error| LogError::io("reading", &name, &error))?;
        if size != begin.saturating_add(data_len) || meta_len as usize > META_MAX {
            return Err(corrupt("its length is not what its header says"));
        }
        let mut meta = vec![0u8; meta_len as usize];
        file.read_at(&mut meta, FILE_HEADER as u64)
            .map_err(|error| LogError::io("reading", &name, &error))?;
        let meta_crc = crc32c::crc32c(&meta);
        let mut reader =
            SnapshotReader { file, name, meta, begin, data_len, read: 0, running: meta_crc, meta_crc, crc };
        let checked = io::copy(&mut reader, &mut io::sink());
        checked.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => {
                LogError::SnapshotCorrupt { file: reader.name.clone(), what: "it fails its checksum".into() }
            }
            _ => LogError::io("reading", &reader.name, &error),
        })?;
        reader.rewind();
        Ok(reader)
    }

    fn remove_old(&self) -> Result<(), LogError> {
        let sequences = self.sequences()?;
        let old = sequences.len().saturating_sub(self.keep);
        for sequence in sequences.into_iter().take(old) {
            let name = snapshot_name(sequence);
            self.directory.remove(&name).map_err(|error| LogError::io("removing", &name, &error))?;
        }
        self.directory.sync().map_err(|error| LogError::io("syncing", self.directory.location(), &error))
    }

    fn failed(&self, operation: &'static str, name: &str, error: &io::Error) -> LogError {
        LogError::io_or_full(operation, name, &self.directory, error)
    }
}

/// A snapshot in the making: write the data, then [`SnapshotWriter::finish`].
pub struct SnapshotWriter<D: Directory> {
    store: SnapshotStore<D>,
    name: String,
    /// The name until it is finished.
    temporary: Option<String>,
    file: D::File,
    position: u64,
    buffer: Vec<u8>,
    crc: u32,
    meta_len: u32,
    data_len: u64,
}

impl<D: Directory> SnapshotWriter<D> {
    /// Makes the snapshot durable and the newest one, removes older ones, and reads it back.
    ///
    /// # Errors
    /// [`LogError::NoSpace`], [`LogError::Io`] or [`LogError::SnapshotCorrupt`]; the snapshots of
    /// before are there still.
    pub fn finish(mut self) -> Result<SnapshotReader<D>, LogError> {
        let Some(temporary) = self.temporary.clone() else { return Err(LogError::Closed) };
        // What is finished last is the newest, whichever was begun first.
        let newest = self.store.sequences()?.last().copied().unwrap_or(0);
        self.name = snapshot_name(newest.saturating_add(1));
        let mut header = Vec::with_capacity(16);
        header.extend_from_slice(&self.meta_len.to_le_bytes());
        header.extend_from_slice(&self.data_len.to_le_bytes());
        let published = self.flush_buffer().and_then(|()| {
            header.extend_from_slice(&self.crc.to_le_bytes());
            self.file.write_at(&encode_block(MAGIC, &header), 0)?;
            if !quorate_core::mutant!(84) {
                self.file.sync_data()?
            }
            self.store.directory.rename(&temporary, &self.name)?;
            self.temporary = None;
            self.store.directory.sync()
        });
        published.map_err(|error| self.store.failed("publishing", &self.name, &error))?;
        let sequence = sequence_of(&self.name).unwrap_or_default();
        // Read back before the older ones go: they are what is left if this one is bad.
        let reader = self.store.read(sequence)?;
        self.store.remove_old()?;
        Ok(reader)
    }

    /// Bytes of data written so far.
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK { self.flush_buffer() } else { Ok(()) }
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.position)?;
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
        self.position = self.position.saturating_add(self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }
}

impl<D: Directory> Write for SnapshotWriter<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.get(..CHUNK).unwrap_or(bytes);
        self.put(bytes)?;
        self.data_len = self.data_len.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: Directory> Drop for SnapshotWriter<D> {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take()
            && let Err(error) = self.store.directory.remove(&temporary)
        {
            tracing::warn!(%error, file = temporary, "an unfinished snapshot could not be removed");
        }
    }
}

impl<D: Directory> std::fmt::Debug for SnapshotWriter<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A snapshot, checked whole, to be read from the beginning. It stays readable when a newer one
/// replaces it. Should its bytes change under the reader, the last read fails with `InvalidData`.
pub struct SnapshotReader<D: Directory> {
    file: D::File,
    name: String,
    meta: Vec<u8>,
    begin: u64,
    data_len: u64,
    read: u64,
    running: u32,
    meta_crc: u32,
    crc: u32,
}

impl<D: Directory> SnapshotReader<D> {
    /// The blob that was given to [`SnapshotStore::create`].
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// Bytes of data.
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// The crc32c of the data as it was when all was checked; none if there is a meta blob, since the checksum in the
    /// file covers both.
    pub fn checksum(&self) -> Option<u32> {
        self.meta.is_empty().then_some(self.crc)
    }

    /// The name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads from the beginning again.
    pub fn rewind(&mut self) {
        self.read = 0;
        self.running = self.meta_crc;
    }

    /// Reads data at an offset, unchecked, for a transfer that checks the whole itself. Returns how
    /// many bytes, less than asked only at the end.
    ///
    /// # Errors
    /// The operating system's.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(self.data_len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = rest.min(buf.len());
        let buf = buf.get_mut(..len).unwrap_or_default();
        self.file.read_at(buf, self.begin.saturating_add(offset))
    }
}

impl<D: Directory> Read for SnapshotReader<D> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.read_at(buf, self.read)?;
        self.running = crc32c::crc32c_append(self.running, buf.get(..got).unwrap_or_default());
        self.read = self.read.saturating_add(got as u64);
        let ended = self.read == self.data_len;
        let short = got == 0 && !ended && !buf.is_empty();
        if short || (ended && self.running != self.crc && !quorate_core::mutant!(87)) {
            let what = format!("snapshot {} fails its checksum", self.name);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(got)
    }
}

impl<D: Directory> std::fmt::Debug for SnapshotReader<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader")
            .field("name", &self.name)
            .field("data_len", &self.data_len)
            .finish_non_exhaustive()
    }
}

fn list<D: Directory>(directory: &D) -> Result<Vec<String>, LogError> {
    directory.list().map_err(|error| LogError::io("listing", directory.location(), &error))
}

fn snapshot_name(sequence: u64) -> String {
    format!("{PREFIX}{sequence:016}{SUFFIX}")
}

pub(crate) fn sequence_of(name: &str) -> Option<u64> {
    let sequence = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()?;
    (snapshot_name(sequence) == name).then_some(sequence)
}

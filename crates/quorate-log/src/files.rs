//! The disk as the log sees it: one directory of files, behind two small traits.
//!
//! Everything that this crate does to a disk goes through [`Directory`] and [`StoredFile`], so that
//! a simulated disk can stand in for the real one and lose, tear or rot what it was given.

use std::io;

/// One flat directory that holds a log, and nothing else's files.
///
/// Names are plain file names without separators. A clone is another handle on the same directory.
/// Creating, renaming and removing a file are durable only after [`Directory::sync`].
pub trait Directory: Clone + Send + Sync + 'static {
    /// An open file of this directory.
    type File: StoredFile;
    /// The exclusive claim on the directory; dropping it gives the claim up.
    type Lock: Send + 'static;

    /// Creates an empty file for reading and writing; fails with `AlreadyExists` if the name is taken.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens an existing file for reading and writing; fails with `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, replacing whatever had that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Handles that are still open keep reading it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes the directory's entries durable (fsync of the directory itself).
    fn sync(&self) -> io::Result<()>;

    /// Claims the directory for this process, without waiting.
    fn lock(&self) -> Result<Self::Lock, LockFailure>;

    /// A number that no other log has, to tell this log's files from another's.
    fn new_id(&self) -> u128;

    /// Where the directory is, for messages to people.
    fn location(&self) -> String;
}

/// An open file, read and written at offsets by any number of threads.
pub trait StoredFile: Send + Sync + 'static {
    /// Reads into `buf` from `offset`; returns how many bytes, less than asked only at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`, growing the file if need be. Not durable by itself.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes all that was written durable, with the length it needs to be read back (fdatasync).
    fn sync_data(&self) -> io::Result<()>;

    /// The length of the file in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Overwrites `from..to` with real zeroes and makes them durable.
    ///
    /// Real zeroes, because overwriting blocks that exist needs no change of the file system's own
    /// records at each later sync; that is worth a factor of two.
    fn zero_fill(&self, from: u64, to: u64) -> io::Result<()> {
        const CHUNK: usize = 256 * 1024;
        const SYNC_EVERY: u64 = 4 * 1024 * 1024;
        let zeroes = vec![0u8; usize::try_from(to.saturating_sub(from)).unwrap_or(CHUNK).min(CHUNK)];
        let mut at = from;
        let mut synced = from;
        while at < to {
            let step = to.saturating_sub(at).min(CHUNK as u64);
            let chunk = zeroes.get(..step as usize).unwrap_or(&zeroes);
            self.write_at(chunk, at)?;
            at = at.saturating_add(step);
            // In slices, so that the log's own syncs never queue behind one huge flush.
            if at.saturating_sub(synced) >= SYNC_EVERY {
                self.sync_data()?;
                synced = at;
            }
        }
        self.sync_data()
    }
}

/// Why a directory could not be claimed.
#[derive(Debug)]
pub enum LockFailure {
    /// Another holder has it; its process id where it left one.
    Held {
        /// The process that holds the claim.
        pid: Option<u32>,
    },
    /// The lock file could not be opened or locked.
    Io(io::Error),
}

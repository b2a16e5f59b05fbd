//! How the content of snapshots is read and written. The transport moves bytes; what they are, and where they are
//! kept, is its caller's matter.

use std::io;

/// Where snapshots are read from and received into.
///
/// All functions of it and of what it gives out may block; they run on threads that are meant for that.
pub trait SnapshotFiles: Send + Sync + 'static {
    /// The content of a snapshot, as the state machine has it.
    type Data: Send + 'static;
    /// Reads one.
    type Source: SnapshotSource;
    /// Writes one.
    type Sink: SnapshotSink<Data = Self::Data>;

    /// Opens a snapshot to be sent.
    ///
    /// # Errors
    /// What keeps it from being read; the transfer fails as an error of storage.
    fn open(&self, data: &Self::Data) -> io::Result<Self::Source>;

    /// Begins to receive a snapshot of `length` bytes from the node `from`. Several may be under way, one per sender.
    ///
    /// # Errors
    /// What keeps it from being stored, such as a lack of space; the sender is told.
    fn create(&self, from: &str, length: u64) -> io::Result<Self::Sink>;
}

/// A snapshot that is being sent.
pub trait SnapshotSource: Send + 'static {
    /// Its length in bytes.
    fn length(&self) -> u64;

    /// The crc32c of all of it, if that is known without reading it.
    fn checksum(&self) -> Option<u32> {
        None
    }

    /// Fills `buffer` with what begins at `offset`; never asked beyond the end.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// A snapshot that is being received. Dropping it unfinished gives up what was written.
pub trait SnapshotSink: Send + 'static {
    /// The content of the snapshot when it is complete.
    type Data;

    /// Writes the bytes that come next.
    ///
    /// # Errors
    /// If they cannot be stored; what was written so far is given up.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// All bytes have been written, and their checksum is right.
    ///
    /// # Errors
    /// If they cannot be made durable.
    fn finish(self) -> io::Result<Self::Data>;
}

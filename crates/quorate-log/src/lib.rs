//! The durable log of a Raft node: entries, vote, commit mark and snapshots in files of our own.
//!
//! [`LogStore`] is the log store to give to the library:
//!
//! ```
//! # #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
//! # struct Put(String);
//! # impl std::fmt::Display for Put {
//! #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.0) }
//! # }
//! quorate::declare_raft_types!(Types: D = Put, R = ());
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path();
//! use quorate_log::{LogStore, Options};
//!
//! let store = LogStore::<Types>::open(path, Options::default())?;
//! assert!(store.report().created);
//! # Ok::<(), quorate_log::LogError>(())
//! ```
//!
//! Beneath it are [`Log`], the log in memory with its reads and staged writes, and [`Writer`], the
//! owner of the files. Neither knows Raft, threads or a runtime: [`Writer::step`] writes everything
//! staged as one batch with one fdatasync and then calls who waits. A thread runs it in production
//! ([`Writer::spawn`]); a simulator steps it. All their I/O goes through [`Directory`] and
//! [`StoredFile`], behind which the feature `testing` puts a disk that loses, tears and rots.
//!
//! # Files
//!
//! | file | holds |
//! |---|---|
//! | `log-N.seg` | segment N: a header block, then records, then zeroes |
//! | `spare.tmp` | the next segment, zeroed in good time |
//! | `vote.0`, `vote.1` | two copies of the vote |
//! | `snapshot-N.snap` | a snapshot: a header block, meta blob and data, checksummed whole |
//! | `LOCK` | locked by the process that has the log open; holds its process id |
//!
//! Each file begins with a block of 4096 bytes: what it is, format version, checksum, feature bits. A
//! segment's block also names the log it belongs to, its number, the offset and index it begins at,
//! and the checksum of the block before, so that a missing, renamed or foreign segment is seen.
//!
//! A record is 48 bytes and a payload: two checksums (crc32c; the payload's own, so that index and
//! term of a damaged entry stay known), length, group (zero; for many groups in one log later), its
//! offset in the log (a write that landed elsewhere is no record there), index, term, kind, and **up
//! to where the log was durable** when the record was made. Nothing is ever overwritten: truncation
//! and purge are records, and each segment begins by repeating what the ones before it said of purge
//! and commit, so that they can be removed. The one exception is the mark which an idle log leaves
//! at its end, to say that all before it is durable; the next record takes its place.
//!
//! # What is guaranteed
//!
//! - An entry can be read when [`Log::append`] returned and is durable when its completion is called.
//! - A truncation is durable before anything appended after it is acknowledged, for it lies before.
//! - The vote is written and synced twice, one copy after the other.
//! - A failed write or sync is final: who waits is told, every later call fails, nothing is tried
//!   again. Opening anew writes what was not known to be durable once more before it is relied upon.
//! - Names are synced: directory fsync after each creation, rename and removal.
//! - A full disk refuses appends with [`LogError::NoSpace`] before anything is written, while votes,
//!   truncations and purges, which need no space of their own, go on; it heals by itself.
//! - Memory is bounded: the tail in bytes ([`Options::tail_bytes`]), the queue in bytes
//!   ([`Options::queue_bytes`]), the index by thinning; beside these, some 100 bytes a segment.
//!
//! # What is cut and what is refused
//!
//! Opening reads everything. Where the last segment's records end in bytes that are no record:
//!
//! - some record says that the log was durable beyond: **refused**, [`LogError::Corrupt`];
//! - there are intact records behind, none of which says so, and a sector in between was never
//!   written, which is what a power cut does to one unsynced batch: **cut**, and said in the
//!   [`OpenReport`] and as a warning;
//! - there are intact records behind, and all sectors in between were written: **refused**;
//! - nothing intact is behind: a torn tail, **cut**, and said.
//!
//! Damage anywhere before is refused, and so are: a segment that is missing, renamed or of another
//! log; a shortened file; two damaged copies of the vote (one is mended); a newer format. What is
//! refused is left as it is. An entry that rots while the log is open is [`LogError::Faulty`],
//! neither present nor absent: only a peer can repair it.
//!
//! Not seen is damage to the very last batch before a power cut that is shaped like a torn write, if
//! the power fails before the mark that follows it has reached the disk, or the mark itself is wiped
//! out with it, as where they share a block; and that the newest segment was taken away, if the power
//! failed before the record that seals the one before had reached the disk, and the log was not opened
//! in between.
#![forbid(unsafe_code)]

mod batch;
mod codec;
mod disk;
mod error;
mod files;
mod format;
mod index;
mod log;
mod recover;
mod segment;
#[cfg(any(test, feature = "testing"))]
pub mod sim_disk;
mod snapshot;
mod state;
mod store;
mod tail;
mod tear;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
mod vote;
mod writer;

pub use batch::EntryBatch;
pub use codec::{Codec, Postcard};
pub use disk::{DirectoryLock, DiskDirectory};
pub use error::LogError;
pub use files::{Directory, LockFailure, StoredFile};
pub use format::{FORMAT_FEATURES, FORMAT_VERSION};
pub use log::{Completion, Log, LogBounds, Options};
pub use recover::{Cut, OpenReport, Opened, open};
pub use snapshot::{NewestSnapshot, SnapshotReader, SnapshotStore, SnapshotWriter};
pub use store::{LogStore, LogStoreReader, READ_BATCH_BYTES};
pub use writer::{Writer, WriterThread};

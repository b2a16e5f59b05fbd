//! A durable log for Raft.
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
mod store;
mod tail;
mod tear;
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

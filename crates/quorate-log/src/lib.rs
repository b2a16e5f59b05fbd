//! A durable log for Raft.
#![forbid(unsafe_code)]

mod batch;
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
mod tail;
mod tear;
mod vote;
mod writer;

pub use batch::EntryBatch;
pub use disk::{DirectoryLock, DiskDirectory};
pub use error::LogError;
pub use files::{Directory, LockFailure, StoredFile};
pub use format::{FORMAT_FEATURES, FORMAT_VERSION};
pub use log::{Completion, Log, LogBounds, Options};
pub use recover::{Cut, OpenReport, Opened, open};
pub use writer::{Writer, WriterThread};

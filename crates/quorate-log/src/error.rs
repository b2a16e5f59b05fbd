//! What can go wrong, each with its cause and the way out.

use std::io;

use thiserror::Error;

use crate::files::Directory;

/// An error of the log. It can be cloned, because one failed write is told to everyone who waits.
///
/// [`LogError::Failed`] means that an earlier write or sync failed: the log has stopped for good and
/// only opening it anew, which reads everything back from the disk, shows what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LogError {
    /// Another process (or another handle in this one) has the directory open.
    #[error(
        "data directory {directory} is in use by {}; stop that process, or choose another directory",
        match pid { Some(pid) => format!("process {pid}"), None => "another process".to_string() }
    )]
    DataDirLocked {
        /// The directory.
        directory: String,
        /// The process that holds it, where it could be read.
        pid: Option<u32>,
    },

    /// The file was written by a newer release. It was not touched.
    #[error(
        "{file} has format version {found}, this release reads up to {max}; start the newer release (the file is unchanged)"
    )]
    FormatTooNew {
        /// The file.
        file: String,
        /// The version it carries.
        found: u32,
        /// The newest version that this release reads.
        max: u32,
    },

    /// The file uses format features that this release does not know. It was not touched.
    #[error(
        "{file} uses format features {found:#x}, this release knows {known:#x}; start the newer release (the file is unchanged)"
    )]
    UnknownFeatures {
        /// The file.
        file: String,
        /// The feature bits it carries.
        found: u64,
        /// The feature bits that this release knows.
        known: u64,
    },

    /// Data that was acknowledged as durable is damaged. Nothing was cut.
    #[error(
        "{file} is corrupt at byte {offset}: {what}; nothing was changed. Restore this node from its peers (replace it in the cluster), or its disk from a backup"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// The byte offset in the file.
        offset: u64,
        /// What was found there.
        what: String,
    },

    /// The entry at this index is known to exist, and its payload is damaged: neither present nor absent.
    #[error(
        "the entry at index {index} (term {term}) is damaged: {file}, byte {offset}; it exists and must be fetched from a peer"
    )]
    Faulty {
        /// The entry's index.
        index: u64,
        /// The term in its intact header.
        term: u64,
        /// The file.
        file: String,
        /// The byte offset of its record in the file.
        offset: u64,
    },

    /// A segment of the chain is not there.
    #[error(
        "segment {missing} is missing in {directory}: {evidence}; put the file back, or restore this node from its peers"
    )]
    SegmentMissing {
        /// The directory.
        directory: String,
        /// The name of the (first) missing file.
        missing: String,
        /// How that is known.
        evidence: String,
    },

    /// A segment file does not belong where it is: renamed, copied, or of another log.
    #[error("{file} does not belong here: {what}; remove it, or put back the file that was there")]
    SegmentForeign {
        /// The file.
        file: String,
        /// What it is instead.
        what: String,
    },

    /// Both copies of the vote are missing or damaged. The node must not vote: it could vote twice.
    #[error(
        "the vote of this node is lost in {directory}: {what}; the node must not take part in elections. Replace it in the cluster with a fresh one"
    )]
    VoteLost {
        /// The directory.
        directory: String,
        /// What is wrong with the copies.
        what: String,
    },

    /// The disk is full. Nothing was written; the same call works again when there is space.
    #[error("no space left in {directory}; free some, then try again (nothing was written)")]
    NoSpace {
        /// The directory.
        directory: String,
    },

    /// The operating system refused an operation.
    #[error("{operation} {file}: {message}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        file: String,
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The operating system's words.
        message: String,
    },

    /// An earlier write failed, so the log has stopped for good.
    #[error("the log has stopped after a failed write and must be opened anew: {cause}")]
    Failed {
        /// The first failure.
        cause: Box<LogError>,
    },

    /// So much is queued for the disk that no more is taken; wait until some of it is written.
    #[error("{queued} bytes wait for the disk, the limit is {max}; try again when some of it is written")]
    QueueFull {
        /// Bytes queued.
        queued: u64,
        /// The limit.
        max: u64,
    },

    /// An entry or another record is larger than a segment can hold.
    #[error("a record of {bytes} bytes exceeds the limit of {max}; split it, or raise `segment_bytes`")]
    TooLarge {
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        max: u64,
    },

    /// The caller's entries do not continue the log.
    #[error("entry {index} does not continue the log, which expects {expected}")]
    OutOfOrder {
        /// The index given.
        index: u64,
        /// The index expected.
        expected: u64,
    },

    /// A snapshot file is damaged.
    #[error("snapshot {file} is corrupt: {what}; fetch one from the leader, or put back an older one")]
    SnapshotCorrupt {
        /// The file.
        file: String,
        /// What is wrong.
        what: String,
    },

    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    /// An operating system's error, with what was tried on which file.
    pub(crate) fn io(operation: &'static str, file: impl Into<String>, error: &io::Error) -> Self {
        Self::Io { operation, file: file.into(), kind: error.kind(), message: error.to_string() }
    }

    /// As [`LogError::io`], where the disk, or a quota on it, may be full and that does no harm.
    pub(crate) fn io_or_full(
        operation: &'static str,
        file: &str,
        directory: &impl Directory,
        error: &io::Error,
    ) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { directory: directory.location() }
            }
            _ => Self::io(operation, file, error),
        }
    }

    pub(crate) fn corrupt(file: impl Into<String>, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { file: file.into(), offset, what: what.into() }
    }

    /// What every call after this failure is told.
    pub(crate) fn latched(self) -> Self {
        match self {
            failed @ Self::Failed { .. } => failed,
            cause => Self::Failed { cause: Box::new(cause) },
        }
    }
}

/// Keeps the typed error as the source, so that it can be found again by downcasting.
impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        let kind = match &error {
            LogError::Io { kind, .. } => *kind,
            LogError::NoSpace { .. } => io::ErrorKind::StorageFull,
            LogError::DataDirLocked { .. } => io::ErrorKind::ResourceBusy,
            LogError::Corrupt { .. } | LogError::Faulty { .. } | LogError::SnapshotCorrupt { .. } => {
                io::ErrorKind::InvalidData
            }
            LogError::OutOfOrder { .. } | LogError::TooLarge { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

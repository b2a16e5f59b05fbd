//! Why a chunk was not taken.

use thiserror::Error as ThisError;

use super::SnapshotSegmentId;

/// A chunk does not fit to what the receiver has: the sender has to go back.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[error("snapshot segment id mismatch, expect: {expect}, got: {got}")]
pub struct SnapshotMismatch {
    /// Where the receiver can go on.
    pub expect: SnapshotSegmentId,
    /// Where the chunk begins.
    pub got: SnapshotSegmentId,
}

/// Why a chunk was not taken.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum InstallSnapshotError {
    /// It does not fit to what the receiver has.
    #[error(transparent)]
    SnapshotMismatch(#[from] SnapshotMismatch),
}

impl From<InstallSnapshotError> for SnapshotMismatch {
    fn from(error: InstallSnapshotError) -> Self {
        match error {
            InstallSnapshotError::SnapshotMismatch(mismatch) => mismatch,
        }
    }
}

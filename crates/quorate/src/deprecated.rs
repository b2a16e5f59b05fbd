//! Names that older applications still import. Nothing in the library uses them; each goes with its last caller.
#![allow(deprecated, reason = "they name each other")]

use std::marker::PhantomData;

use crate::errors::StorageError;
use crate::type_config::RaftTypeConfig;

/// Sent a snapshot in pieces, before snapshots were sent as a whole.
#[deprecated(note = "implement `RaftNetworkV2`")]
pub trait RaftNetwork<C: RaftTypeConfig> {}

/// Named a piece of a snapshot.
#[deprecated(note = "snapshots have no pieces any more")]
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SnapshotSegmentId;

/// Why a piece of a snapshot was not installed.
#[deprecated(note = "snapshots have no pieces any more")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[error("never")]
pub enum InstallSnapshotError {}

/// A piece of a snapshot came out of turn.
#[deprecated(note = "snapshots have no pieces any more")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[error("snapshot segments do not match")]
pub struct SnapshotMismatch {}

/// A piece of a snapshot.
#[deprecated(note = "use `Raft::install_full_snapshot`")]
#[derive(Debug, Clone)]
pub struct InstallSnapshotRequest<C: RaftTypeConfig> {
    _types: PhantomData<C>,
}

/// The answer to a piece of a snapshot.
#[deprecated(note = "use `SnapshotResponse`")]
#[derive(Debug, Clone)]
pub struct InstallSnapshotResponse<C: RaftTypeConfig> {
    _types: PhantomData<C>,
}

/// Was told what applying entries answered, before each entry came with its own
/// [`ApplyResponder`](crate::storage::ApplyResponder). Nothing hands one out any more.
pub struct LogApplied<C: RaftTypeConfig> {
    _types: PhantomData<C>,
}

impl<C: RaftTypeConfig> LogApplied<C> {
    /// Takes the answers, and does nothing with them: there is nobody left who waits for them here.
    pub fn completed(self, answers: Result<Vec<C::R>, StorageError<C>>) {
        drop(answers);
    }
}

//! A chunk, its answer, and the names that chunks go by.

use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;

use openraft::RaftTypeConfig;
use openraft::SnapshotId;
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::LogIdOf;
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::type_config::alias::SnapshotSignatureOf;
use openraft::type_config::alias::StoredMembershipOf;
use openraft::type_config::alias::VoteOf;

/// A chunk of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct InstallSnapshotRequest<C: RaftTypeConfig> {
    /// The leader's vote.
    pub vote: VoteOf<C>,
    /// Which snapshot it is, and what that covers.
    pub meta: SnapshotMeta<C>,
    /// Where in the snapshot the chunk begins, in bytes.
    pub offset: u64,
    /// The chunk.
    pub data: Vec<u8>,
    /// Whether the snapshot ends with it.
    pub done: bool,
}

impl<C: RaftTypeConfig> Display for InstallSnapshotRequest<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { vote, meta, offset, data, done } = self;
        let len = data.len();
        write!(
            f,
            "InstallSnapshotRequest {{ vote:{vote}, meta:{meta}, offset:{offset}, len:{len}, done:{done} }}"
        )
    }
}

/// What became of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct InstallSnapshotResponse<C: RaftTypeConfig> {
    /// The receiver's vote; if it is greater than the sender's, the snapshot is not wanted.
    pub vote: VoteOf<C>,
}

impl<C: RaftTypeConfig> From<SnapshotResponse<C>> for InstallSnapshotResponse<C> {
    fn from(response: SnapshotResponse<C>) -> Self {
        Self { vote: response.vote }
    }
}

impl<C: RaftTypeConfig> Display for InstallSnapshotResponse<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{{vote:{}}}", self.vote)
    }
}

/// What a snapshot covers, and the name by which its chunks belong together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct SnapshotMeta<C: RaftTypeConfig> {
    /// The last entry that it covers.
    pub last_log_id: Option<LogIdOf<C>>,
    /// The last membership that it covers.
    pub last_membership: StoredMembershipOf<C>,
    /// Its name, another one for each transfer.
    pub snapshot_id: SnapshotId,
}

impl<C: RaftTypeConfig> SnapshotMeta<C> {
    /// What `meta` covers, by the name `snapshot_id`.
    pub fn new(meta: SnapshotMetaOf<C>, snapshot_id: SnapshotId) -> Self {
        Self { last_log_id: meta.last_log_id, last_membership: meta.last_membership, snapshot_id }
    }

    /// What it covers, without the name.
    pub fn into_meta(self) -> SnapshotMetaOf<C> {
        SnapshotMetaOf::<C> { last_log_id: self.last_log_id, last_membership: self.last_membership }
    }

    /// What identifies the snapshot in an error.
    pub fn signature(&self) -> SnapshotSignatureOf<C> {
        SnapshotSignatureOf::<C> {
            last_log_id: self.last_log_id.clone(),
            last_membership_log_id: self.last_membership.log_id().clone().map(Box::new),
        }
    }
}

impl<C: RaftTypeConfig> Display for SnapshotMeta<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { last_log_id, last_membership, snapshot_id } = self;
        write!(f, "{{snapshot_id: {snapshot_id}, last_log:")?;
        match last_log_id {
            Some(last) => write!(f, "{last}")?,
            None => f.write_str("None")?,
        }
        write!(f, ", last_membership: {last_membership}}}")
    }
}

/// A place in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SnapshotSegmentId {
    /// The name of the snapshot.
    pub id: SnapshotId,
    /// The offset, in bytes.
    pub offset: u64,
}

impl<D: ToString> From<(D, u64)> for SnapshotSegmentId {
    fn from((id, offset): (D, u64)) -> Self {
        Self { id: id.to_string(), offset }
    }
}

impl Display for SnapshotSegmentId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.id, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use crate::network_v1::InstallSnapshotError;
    use crate::network_v1::SnapshotMismatch;

    #[test]
    fn a_mismatch_names_both_places() {
        let mismatch = SnapshotMismatch { expect: ("ss1", 0).into(), got: ("ss1".to_string(), 2).into() };
        let error = InstallSnapshotError::from(mismatch.clone());
        assert_eq!(error.to_string(), "snapshot segment id mismatch, expect: ss1+0, got: ss1+2");
        assert_eq!(SnapshotMismatch::from(error), mismatch);
        assert!(mismatch.expect < mismatch.got);
    }
}

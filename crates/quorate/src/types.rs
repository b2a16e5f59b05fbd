//! Snapshots, what a log holds, and the role of a node.

use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;

use crate::base::OptionalSend;
use crate::display::Opt;
use crate::log_id::LogId;
use crate::membership::StoredMembership;
use crate::node::Node;
use crate::node::NodeId;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::LogIdOf;
use crate::vote::RaftCommittedLeaderId;

/// A name of a snapshot.
pub type SnapshotId = String;

/// A snapshot: what it covers, and its content.
#[derive(Debug, Clone)]
pub struct Snapshot<CLID, NID, N, SD>
where
    CLID: RaftCommittedLeaderId,
    NID: NodeId,
    N: Node,
    SD: OptionalSend + 'static,
{
    /// What it covers.
    pub meta: SnapshotMeta<CLID, NID, N>,
    /// Its content.
    pub snapshot: SD,
}

impl<CLID, NID, N, SD> Display for Snapshot<CLID, NID, N, SD>
where
    CLID: RaftCommittedLeaderId,
    NID: NodeId,
    N: Node,
    SD: OptionalSend + 'static,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot{{meta: {}}}", self.meta)
    }
}

/// What a snapshot covers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize),
    serde(bound = "", from = "wire::SnapshotMeta<CLID, NID, N>")
)]
pub struct SnapshotMeta<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> {
    /// The last entry that it covers.
    pub last_log_id: Option<LogId<CLID>>,
    /// The last membership that it covers.
    pub last_membership: StoredMembership<CLID, NID, N>,
}

impl<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> SnapshotMeta<CLID, NID, N> {
    /// What identifies the snapshot.
    pub fn signature(&self) -> SnapshotSignature<CLID> {
        SnapshotSignature {
            last_log_id: self.last_log_id.clone(),
            last_membership_log_id: self.last_membership.log_id().clone().map(Box::new),
        }
    }

    /// The last entry that it covers.
    pub fn last_log_id(&self) -> Option<&LogId<CLID>> {
        self.last_log_id.as_ref()
    }
}

impl<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> Default for SnapshotMeta<CLID, NID, N> {
    fn default() -> Self {
        Self { last_log_id: None, last_membership: StoredMembership::default() }
    }
}

impl<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> Display for SnapshotMeta<CLID, NID, N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{{last_log:{}, last_membership: {}}}", Opt(&self.last_log_id), self.last_membership)
    }
}

/// What identifies a snapshot in an error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize),
    serde(bound = "", from = "wire::SnapshotSignature<CLID>")
)]
pub struct SnapshotSignature<CLID: RaftCommittedLeaderId> {
    /// The last entry that it covers.
    pub last_log_id: Option<LogId<CLID>>,
    /// The entry of the last membership that it covers.
    pub last_membership_log_id: Option<Box<LogId<CLID>>>,
}

/// How snapshots were described when they still had a name: readers of old and new versions understand each other,
/// in formats without field names too.
#[cfg(feature = "serde")]
mod wire {
    use serde::Deserialize;
    use serde::Serialize;
    use serde::Serializer;
    use serde::ser::SerializeStruct;

    use super::LogId;
    use super::Node;
    use super::NodeId;
    use super::RaftCommittedLeaderId;
    use super::SnapshotId;
    use super::StoredMembership;

    /// The name that is written.
    const NO_NAME: &str = "";

    #[derive(Deserialize)]
    #[serde(bound = "")]
    pub(super) struct SnapshotMeta<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> {
        last_log_id: Option<LogId<CLID>>,
        last_membership: StoredMembership<CLID, NID, N>,
        #[serde(default, rename = "snapshot_id")]
        _snapshot_id: SnapshotId,
    }

    impl<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> From<SnapshotMeta<CLID, NID, N>>
        for super::SnapshotMeta<CLID, NID, N>
    {
        fn from(meta: SnapshotMeta<CLID, NID, N>) -> Self {
            Self { last_log_id: meta.last_log_id, last_membership: meta.last_membership }
        }
    }

    impl<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> Serialize for super::SnapshotMeta<CLID, NID, N> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let mut fields = to.serialize_struct("SnapshotMeta", 3)?;
            fields.serialize_field("last_log_id", &self.last_log_id)?;
            fields.serialize_field("last_membership", &self.last_membership)?;
            fields.serialize_field("snapshot_id", NO_NAME)?;
            fields.end()
        }
    }

    #[derive(Deserialize)]
    #[serde(bound = "")]
    pub(super) struct SnapshotSignature<CLID: RaftCommittedLeaderId> {
        last_log_id: Option<LogId<CLID>>,
        last_membership_log_id: Option<Box<LogId<CLID>>>,
        #[serde(default, rename = "snapshot_id")]
        _snapshot_id: SnapshotId,
    }

    impl<CLID: RaftCommittedLeaderId> From<SnapshotSignature<CLID>> for super::SnapshotSignature<CLID> {
        fn from(signature: SnapshotSignature<CLID>) -> Self {
            Self {
                last_log_id: signature.last_log_id,
                last_membership_log_id: signature.last_membership_log_id,
            }
        }
    }

    impl<CLID: RaftCommittedLeaderId> Serialize for super::SnapshotSignature<CLID> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let mut fields = to.serialize_struct("SnapshotSignature", 3)?;
            fields.serialize_field("last_log_id", &self.last_log_id)?;
            fields.serialize_field("last_membership_log_id", &self.last_membership_log_id)?;
            fields.serialize_field("snapshot_id", NO_NAME)?;
            fields.end()
        }
    }
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogState<C: RaftTypeConfig> {
    /// The last entry that was purged.
    pub last_purged_log_id: Option<LogIdOf<C>>,
    /// The last entry that is there or, if none is, the last that was purged.
    pub last_log_id: Option<LogIdOf<C>>,
}

/// The role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ServerState {
    /// Receives the log and does not vote.
    #[default]
    Learner,
    /// Votes, and follows a leader or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Stopped.
    Shutdown,
}

impl ServerState {
    /// Whether it is a learner.
    pub fn is_learner(&self) -> bool {
        *self == Self::Learner
    }

    /// Whether it is a follower.
    pub fn is_follower(&self) -> bool {
        *self == Self::Follower
    }

    /// Whether it is a candidate.
    pub fn is_candidate(&self) -> bool {
        *self == Self::Candidate
    }

    /// Whether it is a leader.
    pub fn is_leader(&self) -> bool {
        *self == Self::Leader
    }
}

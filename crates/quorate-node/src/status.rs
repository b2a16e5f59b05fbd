//! What a node tells about itself and about the members.

use quorate_grpc::TransportMetrics;
use serde::{Deserialize, Serialize};

use crate::error::StopReason;
use crate::member::{ClusterId, Member, NodeId, Uid};

/// What a node does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It belongs to no cluster yet: it waits for `init` or `join`.
    Uninitialized,
    /// It receives the log and does not vote.
    Learner,
    /// It votes and follows a leader.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
    /// It stopped; [`Status::stopped`] says why.
    Stopped,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Uninitialized => "uninitialized",
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Stopped => "stopped",
        })
    }
}

/// One node, as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its number.
    pub id: NodeId,
    /// The unique id of its data directory.
    pub uid: Uid,
    /// How many times this data directory was started.
    pub incarnation: u64,
    /// The cluster that it belongs to, once it was founded or joined.
    pub cluster_id: Option<ClusterId>,
    /// Where members reach it, as it advertises itself.
    pub peer_addr: String,
    /// Where clients reach it; empty if it serves none.
    pub client_addr: String,
    /// What it does.
    pub role: Role,
    /// The highest term that it has seen.
    pub term: u64,
    /// The leader of that term, if known.
    pub leader: Option<NodeId>,
    /// The index of its last log entry.
    pub last_log: Option<u64>,
    /// The index up to which it knows the log to be committed.
    pub committed: Option<u64>,
    /// The index up to which its state machine has applied.
    pub applied: Option<u64>,
    /// The index that its newest snapshot covers.
    pub snapshot: Option<u64>,
    /// The index up to which its log was purged.
    pub purged: Option<u64>,
    /// On a leader: milliseconds since a quorum last acknowledged it.
    pub quorum_ack_ms: Option<u64>,
    /// Proposals of local callers that wait for their answer.
    pub in_flight: usize,
    /// The bytes of those proposals.
    pub in_flight_bytes: usize,
    /// What an operator should look at, one sentence each; empty when all is well.
    pub warnings: Vec<String>,
    /// Why it stopped, if it did.
    pub stopped: Option<StopReason>,
}

/// Whether a member votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberKind {
    /// It counts for elections and commits.
    Voter,
    /// It receives the log only.
    Learner,
}

/// One member, and how far it is, as far as the node that was asked can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its number.
    pub id: NodeId,
    /// Who it is, and where.
    pub member: Member,
    /// Whether it votes.
    pub kind: MemberKind,
    /// Whether it is the leader known to the node that was asked.
    pub leader: bool,
    /// From the leader only: the index up to which its log is known to match.
    pub matched: Option<u64>,
    /// From the leader only: how many entries it lacks.
    pub lag: Option<u64>,
    /// From the leader only: milliseconds since the newest request that it answered was sent.
    pub last_contact_ms: Option<u64>,
}

/// A number that was removed from the cluster and may not be used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The removed number.
    pub id: NodeId,
    /// The unique id of the data directory that it had.
    pub uid: Uid,
    /// The log index at which it was removed.
    pub index: u64,
}

/// The membership, as the node that was asked knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The node that was asked.
    pub from: NodeId,
    /// The index of the log entry that holds this membership.
    pub index: Option<u64>,
    /// Whether a change is half-way: majorities of the old and of the new voters are needed.
    pub joint: bool,
    /// The members, by number.
    pub members: Vec<MemberStatus>,
    /// The removed numbers, in order.
    pub tombstones: Vec<Tombstone>,
}

/// What the connections of a node to other nodes have counted since it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PeerCounters {
    /// Connections accepted after a good handshake.
    pub accepted: u64,
    /// Attempts to connect.
    pub dials: u64,
    /// Those of them that failed.
    pub dial_failures: u64,
    /// Requests that got no answer in time.
    pub timeouts: u64,
    /// Requests that failed otherwise.
    pub failures: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Messages refused for their size.
    pub oversize: u64,
    /// Bytes of snapshots sent.
    pub snapshot_bytes_sent: u64,
    /// Bytes of snapshots received and stored.
    pub snapshot_bytes_received: u64,
    /// Handshakes that one of the two ends refused, by the name of the reason.
    pub refusals: Vec<(&'static str, u64)>,
}

impl From<&TransportMetrics> for PeerCounters {
    fn from(metrics: &TransportMetrics) -> Self {
        Self {
            accepted: metrics.accepted.get(),
            dials: metrics.dials.get(),
            dial_failures: metrics.dial_failures.get(),
            timeouts: metrics.timeouts.get(),
            failures: metrics.failures.get(),
            malformed: metrics.malformed.get(),
            oversize: metrics.oversize.get(),
            snapshot_bytes_sent: metrics.snapshot_bytes_sent.get(),
            snapshot_bytes_received: metrics.snapshot_bytes_received.get(),
            refusals: metrics.refusals().collect(),
        }
    }
}

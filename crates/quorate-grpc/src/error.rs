//! What can go wrong between two nodes, typed on both ends.
//!
//! An error that crosses the wire carries a stable number, its fields, and a sentence, so that an older node can still
//! show what a newer one means.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::identity::NodeTag;
use crate::wire;

/// Versions of the protocol, first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// The oldest version still spoken.
    pub min: u32,
    /// The newest version spoken.
    pub max: u32,
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

/// Why two nodes do not talk to each other. Both ends get the same error; no Raft message has been looked at.
///
/// "Expected" is always what the dialing node looked for, "found" what answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The other end does not speak this protocol.
    #[error(
        "the other end does not speak the peer protocol of Quorate, it sent {found:?}; \
         check that the address is the peer address of a node, not its client address"
    )]
    WrongProtocol {
        /// The first bytes that it sent, made printable.
        found: String,
    },
    /// The two have no protocol version in common.
    #[error(
        "no common protocol version: this node speaks {ours}, the other {theirs}; upgrade the older one first"
    )]
    VersionSkew {
        /// What the node that shows the error speaks.
        ours: VersionRange,
        /// What the other one speaks.
        theirs: VersionRange,
    },
    /// The node belongs to another cluster.
    #[error("wrong cluster: looked for a node of {expected:032x}, but this one belongs to {found:032x}")]
    WrongCluster {
        /// The cluster of the node that dialed.
        expected: u128,
        /// The cluster of the node that was reached.
        found: u128,
    },
    /// Another node answers at this address.
    #[error(
        "wrong node: looked for {expected}, but {found} answers at this address; correct the member's address"
    )]
    WrongNode {
        /// Who was looked for.
        expected: Box<NodeTag>,
        /// Who answered.
        found: Box<NodeTag>,
    },
    /// A node reached itself.
    #[error("the node reached itself at {address}; a peer address in the membership is its own")]
    SelfConnection {
        /// Its own address, as it tells it to others.
        address: String,
    },
    /// The id is a member's, the data directory is not.
    #[error(
        "node {node_id} is a member with the data directory {expected:032x}, not {found:032x}; \
         if its disk was lost, replace the member by a new one"
    )]
    UnknownNode {
        /// The id that both claim.
        node_id: String,
        /// The uid in the membership.
        expected: u128,
        /// The uid that was presented.
        found: u128,
    },
    /// Two running nodes claim one id.
    #[error("two nodes claim the id {node_id}: one at {addr_a}, one at {addr_b}; give the second another id")]
    DuplicateNode {
        /// The id.
        node_id: String,
        /// Where the one lives that is let in.
        addr_a: String,
        /// Where the refused one lives.
        addr_b: String,
    },
    /// Two running processes claim one data directory, so one of them works on a copy.
    #[error(
        "node {node_id} runs twice on copies of one data directory: this is start {incarnation}, \
         but start {holder} at {holder_addr} is connected; stop the copy"
    )]
    Fenced {
        /// The node id.
        node_id: String,
        /// The incarnation that is refused.
        incarnation: u64,
        /// The incarnation of the one that is let in.
        holder: u64,
        /// Where that one lives.
        holder_addr: String,
    },
    /// The node has been removed from the cluster.
    #[error("node {node_id} was removed from the cluster at log index {index}; join again under a new id")]
    Removed {
        /// The node id.
        node_id: String,
        /// The log index of the membership that left it out.
        index: u64,
    },
    /// A node without a cluster was addressed without proof that it is the one meant, or sent Raft messages itself.
    #[error("node {node_id} belongs to no cluster yet; found one or join one first")]
    NoCluster {
        /// The node without a cluster.
        node_id: String,
    },
    /// What was sent cannot be a handshake of any version.
    #[error("malformed handshake: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// The handshake was not done in time.
    #[error("the handshake was not done within {0:?}")]
    TimedOut(Duration),
    /// The listener has as many connections as it accepts.
    #[error("too many connections, at most {max}; try again later")]
    Busy {
        /// The limit.
        max: usize,
    },
    /// The node could not store the cluster that it was about to join.
    #[error("the cluster id could not be stored: {message}")]
    NotStored {
        /// The cause.
        message: String,
    },
    /// A reason that this version does not know.
    #[error("refused (code {code}): {message}")]
    Other {
        /// The number of the reason.
        code: u32,
        /// The reason as the other node tells it.
        message: String,
    },
}

/// The number of kinds of [`HandshakeError`], each counted for itself.
pub(crate) const HANDSHAKE_CODES: usize = 15;

impl HandshakeError {
    /// The number of this reason on the wire. Never reused for another.
    pub fn code(&self) -> u32 {
        match self {
            Self::WrongProtocol { .. } => 1,
            Self::VersionSkew { .. } => 2,
            Self::WrongCluster { .. } => 3,
            Self::WrongNode { .. } => 4,
            Self::SelfConnection { .. } => 5,
            Self::UnknownNode { .. } => 6,
            Self::DuplicateNode { .. } => 7,
            Self::Fenced { .. } => 8,
            Self::Removed { .. } => 9,
            Self::NoCluster { .. } => 10,
            Self::Malformed { .. } => 11,
            Self::TimedOut(_) => 12,
            Self::Busy { .. } => 13,
            Self::NotStored { .. } => 14,
            Self::Other { code, .. } => *code,
        }
    }

    /// A short name of the reason, for a metric's label.
    pub fn name(&self) -> &'static str {
        name_of(self.code())
    }

    pub(crate) fn to_wire(&self) -> wire::Refusal {
        let detail = codec::encode("refusal", self).unwrap_or_default();
        wire::Refusal { code: self.code(), detail, message: self.to_string() }
    }

    /// The error as the node sees it that is refused.
    pub(crate) fn from_wire(refusal: &wire::Refusal) -> Self {
        match codec::decode::<Self>("refusal", &refusal.detail) {
            Ok(Self::VersionSkew { ours, theirs }) => Self::VersionSkew { ours: theirs, theirs: ours },
            Ok(error) if error.code() == refusal.code => error,
            _ => Self::Other { code: refusal.code, message: refusal.message.clone() },
        }
    }
}

pub(crate) fn name_of(code: u32) -> &'static str {
    match code {
        1 => "wrong_protocol",
        2 => "version_skew",
        3 => "wrong_cluster",
        4 => "wrong_node",
        5 => "self_connection",
        6 => "unknown_node",
        7 => "duplicate_node",
        8 => "fenced",
        9 => "removed",
        10 => "no_cluster",
        11 => "malformed",
        12 => "timed_out",
        13 => "busy",
        14 => "not_stored",
        _ => "other",
    }
}

/// Why a request to a peer failed, or was refused by it.
///
/// Found as the source of the network errors that the Raft library is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection could be made.
    #[error("cannot connect to {address}: {message}")]
    Connect {
        /// The address that was tried.
        address: String,
        /// The cause, from the operating system or the connector.
        message: String,
    },
    /// The two nodes do not talk to each other.
    #[error("{0}")]
    Handshake(HandshakeError),
    /// The connection broke, or closed, with the request under way.
    #[error("the connection broke: {message}")]
    Lost {
        /// The cause.
        message: String,
    },
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// A message is larger than the limit that both ends agreed on.
    #[error("{what} of {size} bytes is larger than the limit of {max} bytes for a message")]
    TooLarge {
        /// What it is, such as an entry with its log id.
        what: String,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The receiver found a message larger than its limit, before it made room for it.
    #[error("the peer refused a message for its size: {message}")]
    RefusedSize {
        /// The peer's words, with both sizes.
        message: String,
    },
    /// A message in an encoding that the receiver does not know.
    #[error("unknown encoding {found} of a message; this node reads {supported}; upgrade it first")]
    UnknownEncoding {
        /// The encoding found.
        found: u32,
        /// The encoding that is understood.
        supported: u32,
    },
    /// A message for a Raft group that the receiver does not have.
    #[error("there is no Raft group {found} on this node")]
    UnknownGroup {
        /// The group's number.
        found: u64,
    },
    /// A message that cannot be read.
    #[error("malformed message: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// A Raft message on a connection that may carry calls only.
    #[error("this connection may not carry Raft messages")]
    CallsOnly,
    /// A piece of a snapshot whose checksum does not match.
    #[error("snapshot damaged on its way: checksum {found:08x} instead of {expected:08x} at offset {offset}")]
    CorruptSnapshot {
        /// Where the damaged piece begins, in bytes.
        offset: u64,
        /// The checksum that was sent.
        expected: u32,
        /// The checksum of what was received.
        found: u32,
    },
    /// A newer transfer from the same node took the place of this one.
    #[error("a newer snapshot transfer took the place of this one")]
    Superseded,
    /// The receiver of a snapshot could not store it.
    #[error("the peer cannot store the snapshot: {message}")]
    NotStored {
        /// The cause.
        message: String,
    },
    /// The peer's Raft has stopped.
    #[error("the peer's Raft has stopped: {message}")]
    Stopped {
        /// Why, in the peer's words.
        message: String,
    },
    /// The peer does not take the call.
    #[error("{0}")]
    Refused(CallRefusal),
    /// A failure that this version does not know.
    #[error("the peer failed: {message}")]
    Other {
        /// The peer's words.
        message: String,
    },
}

impl From<HandshakeError> for TransportError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl TransportError {
    /// Whether the peer is sure not to have acted on the request.
    pub fn is_not_delivered(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::TimedOut(_) | Self::Other { .. } => false,
            Self::Connect { .. }
            | Self::Handshake(_)
            | Self::TooLarge { .. }
            | Self::RefusedSize { .. }
            | Self::UnknownEncoding { .. }
            | Self::UnknownGroup { .. }
            | Self::Malformed { .. }
            | Self::CallsOnly
            | Self::CorruptSnapshot { .. }
            | Self::Superseded
            | Self::NotStored { .. }
            | Self::Stopped { .. }
            | Self::Refused(_) => true,
        }
    }

    pub(crate) fn to_status(&self) -> tonic::Status {
        let code = match self {
            Self::TooLarge { .. } | Self::RefusedSize { .. } => tonic::Code::OutOfRange,
            Self::Malformed { .. } | Self::UnknownEncoding { .. } | Self::UnknownGroup { .. } => {
                tonic::Code::InvalidArgument
            }
            Self::Handshake(_) | Self::CallsOnly => tonic::Code::PermissionDenied,
            Self::CorruptSnapshot { .. } => tonic::Code::DataLoss,
            Self::Refused(CallRefusal::Overloaded { .. }) => tonic::Code::ResourceExhausted,
            Self::Refused(CallRefusal::UnknownKind { .. }) => tonic::Code::Unimplemented,
            _ => tonic::Code::Unavailable,
        };
        let detail = codec::encode("error", self).unwrap_or_default();
        let message = self.to_string();
        let refusal = wire::Refusal { code: STATUS_DETAIL, detail, message: message.clone() };
        tonic::Status::with_details(code, message, Bytes::from(refusal.encode_to_vec()))
    }

    pub(crate) fn from_status(status: &tonic::Status) -> Self {
        let carried = wire::Refusal::decode(status.details())
            .ok()
            .filter(|refusal| refusal.code == STATUS_DETAIL)
            .and_then(|refusal| codec::decode::<Self>("error", &refusal.detail).ok());
        if let Some(error) = carried {
            return error;
        }
        let message = status.message().to_string();
        match status.code() {
            tonic::Code::OutOfRange => Self::RefusedSize { message },
            tonic::Code::Unimplemented => Self::Malformed { what: message },
            _ => Self::Lost { message },
        }
    }
}

/// Marks the details of a gRPC status as a [`TransportError`].
const STATUS_DETAIL: u32 = 1000;

/// Why a call is not taken; nothing has been done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CallRefusal {
    /// The receiver has no such call; it may be of an older version.
    #[error("unknown kind of call: {kind}")]
    UnknownKind {
        /// The kind that was asked for.
        kind: u32,
    },
    /// Too much is under way.
    #[error("overloaded; try again in {retry_after:?}")]
    Overloaded {
        /// When it may be worth trying again.
        retry_after: Duration,
    },
    /// The caller may not do this.
    #[error("not permitted: {message}")]
    NotPermitted {
        /// What would be needed.
        message: String,
    },
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer has not acted on it, and will not: it may be tried again, or elsewhere.
    #[error("not delivered: {0}")]
    NotDelivered(TransportError),
    /// The peer may have acted on it, or may do so yet.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(TransportError),
}

impl From<TransportError> for CallError {
    fn from(error: TransportError) -> Self {
        if error.is_not_delivered() { Self::NotDelivered(error) } else { Self::OutcomeUnknown(error) }
    }
}

impl CallError {
    /// What went wrong.
    pub fn reason(&self) -> &TransportError {
        match self {
            Self::NotDelivered(reason) | Self::OutcomeUnknown(reason) => reason,
        }
    }
}

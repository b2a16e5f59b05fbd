//! What server and client say to each other in JSON.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate_node::{Members, NodeId, Status, Uid};
use serde::{Deserialize, Serialize};

use crate::machine::Expect;

/// The response header that holds the revision of a value or of the state that was read.
pub const REVISION_HEADER: &str = "quorate-revision";

/// The response header with which a node that does not lead names the client address of the leader.
pub const LEADER_HEADER: &str = "quorate-leader";

/// The most pairs in one page of a range.
pub const RANGE_LIMIT_MAX: usize = 1000;

/// The most bytes of keys and values in one page of a range.
pub const RANGE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes in JSON: as text where they are UTF-8, in base64 otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// The bytes, if they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in base64, if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// A pair in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Blob,
    /// The revision at which it was written.
    pub revision: u64,
}

/// The answer to a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The revision that the write made.
    pub revision: u64,
    /// The revision that the key had before, if it was there.
    pub previous: Option<u64>,
}

/// The answer to a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Whether there was such a key.
    pub deleted: bool,
    /// The revision of the value that was removed.
    pub previous: Option<u64>,
}

/// One page of a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangePage {
    /// The pairs, in ascending order of keys.
    pub entries: Vec<Pair>,
    /// Where the next page starts, if there is more.
    pub next: Option<String>,
    /// The revision of the state that was read.
    pub revision: u64,
}

/// A compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CasRequest {
    /// The key.
    pub key: String,
    /// What it must hold.
    pub expect: Expected,
    /// The new value.
    pub value: Blob,
}

/// What a compare-and-set expects: `"absent"`, `{"revision": 3}` or `{"value": {"text": "a"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// No such key.
    Absent,
    /// The value written at this revision.
    Revision(u64),
    /// These bytes.
    Value(Blob),
}

/// One change that a watch reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WatchEvent {
    /// A key was set.
    Put(Pair),
    /// A key was removed.
    Delete {
        /// The key.
        key: String,
        /// The revision of the removal.
        revision: u64,
    },
}

/// A node, and the members that it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// The version of the server.
    pub version: String,
    /// The node that answers.
    pub node: Status,
    /// The membership as it knows it.
    pub members: Members,
    /// The number of keys that it has.
    pub keys: u64,
    /// The revision that its state is at.
    pub revision: u64,
}

/// Asks a node to join the cluster of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The peer address of a member, `host:port`.
    pub member: String,
}

/// Describes a node that is to become a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// Its number.
    pub id: NodeId,
    /// The unique id of its data directory, as its status shows it.
    pub uid: Uid,
    /// Where members reach it.
    pub peer_addr: String,
    /// Where clients reach it.
    #[serde(default)]
    pub client_addr: String,
}

/// Names a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberId {
    /// Its number.
    pub id: NodeId,
}

/// Puts a new node into the place of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaceRequest {
    /// The number of the member that leaves.
    pub old: NodeId,
    /// The node that takes its place.
    pub new: NewMember,
}

/// Names all the voters that there shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VotersRequest {
    /// Their numbers.
    pub voters: BTreeSet<NodeId>,
}

/// The answer to an admin request that has nothing else to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Always true; an error says otherwise.
    pub ok: bool,
}

/// The answer to a request for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotReply {
    /// The log index that it covers.
    pub index: u64,
}

/// Whether a request that failed may have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did not and will not change anything.
    NotAccepted,
    /// It may have, or may yet.
    Unknown,
}

/// What an answer with an error status holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What kind of error it is, for programs.
    pub code: String,
    /// Whether anything may have changed.
    pub outcome: Outcome,
    /// Cause and way out, for people.
    pub error: String,
    /// When to try again, if the server was asked for too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Why bytes in JSON make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Neither or both of the fields are there.
    #[error("give either \"text\" or \"base64\"")]
    Fields,
    /// Not base64.
    #[error("\"base64\" is not base64: {0}")]
    Base64(String),
}

impl Blob {
    /// The bytes.
    ///
    /// # Errors
    ///
    /// [`BlobError`] for a value that this program did not write.
    pub fn into_bytes(self) -> Result<Bytes, BlobError> {
        match (self.text, self.base64) {
            (Some(text), None) => Ok(text.into()),
            (None, Some(base64)) => {
                STANDARD.decode(base64).map(Bytes::from).map_err(|error| BlobError::Base64(error.to_string()))
            }
            _ => Err(BlobError::Fields),
        }
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { text: Some(text.to_owned()), base64: None },
            Err(_) => Self { text: None, base64: Some(STANDARD.encode(bytes)) },
        }
    }
}

impl TryFrom<Expected> for Expect {
    type Error = BlobError;

    fn try_from(expected: Expected) -> Result<Self, BlobError> {
        Ok(match expected {
            Expected::Absent => Self::Absent,
            Expected::Revision(revision) => Self::Revision(revision),
            Expected::Value(blob) => Self::Value(blob.into_bytes()?),
        })
    }
}

impl From<&Expect> for Expected {
    fn from(expect: &Expect) -> Self {
        match expect {
            Expect::Absent => Self::Absent,
            Expect::Revision(revision) => Self::Revision(*revision),
            Expect::Value(bytes) => Self::Value(bytes.as_ref().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_through_json_as_text_or_base64() {
        for bytes in [&b"plain"[..], b"", b"\xff\x00binary"] {
            let json = serde_json::to_string(&Blob::from(bytes)).unwrap();
            let blob: Blob = serde_json::from_str(&json).unwrap();
            assert_eq!(blob.into_bytes().unwrap(), bytes, "{json}");
        }
        assert_eq!(Blob::default().into_bytes(), Err(BlobError::Fields));
        let broken = Blob { text: None, base64: Some("%".into()) };
        assert!(matches!(broken.into_bytes(), Err(BlobError::Base64(_))));
    }

    #[test]
    fn a_compare_and_set_is_easy_to_type() {
        let text = r#"{"key": "k", "expect": "absent", "value": {"text": "v"}}"#;
        let request: CasRequest = serde_json::from_str(text).unwrap();
        assert_eq!(request.expect, Expected::Absent);
        let text = r#"{"key": "k", "expect": {"revision": 3}, "value": {"text": "v"}}"#;
        let request: CasRequest = serde_json::from_str(text).unwrap();
        assert_eq!(Expect::try_from(request.expect), Ok(Expect::Revision(3)));
        assert!(serde_json::from_str::<CasRequest>(r#"{"key": "k", "vlaue": {}}"#).is_err());
    }
}

//! Each message that travels, to bytes and back, with the functions that client and server use: for simulators, which
//! carry the bytes themselves, and fuzzers, which spoil them.
//!
//! What HTTP/2 and gRPC add, such as the announced size of a message, is not part of it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use prost::Message;
use quorate::RaftTypeConfig;
use quorate::raft::{AppendEntriesRequest, SnapshotResponse};
use quorate::type_config::alias::{LogIdOf, SnapshotMetaOf, VoteOf};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admission::{Admission, Introduction, Purpose};
use crate::append::{Cutter, read_request};
use crate::codec;
use crate::error::{HandshakeError, TransportError, VersionRange};
use crate::handshake::{self, Failure, read_frame, write_frame};
use crate::identity::{Identity, NodeTag, PeerIdentity, Roster};
use crate::io::{Connection, Guarded};
use crate::network::{read_message, write_message};
use crate::options::PROTOCOL;
use crate::snapshot_receive::{check_chunk, read_header};
use crate::snapshot_send::{self, Answer, read_answer};
use crate::wire;

/// A request or an answer that is one value of the library: of votes, pre-votes and transfers, and the answers to
/// append requests, streamed or not, and to snapshots.
///
/// # Errors
/// If the value has a type that cannot be encoded.
pub fn write_value<T: Serialize>(value: &T) -> Result<Bytes, TransportError> {
    Ok(to_bytes(&write_message("a value", value)?))
}

/// The value in what [`write_value`] wrote.
///
/// # Errors
/// What is wrong with the bytes.
pub fn read_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TransportError> {
    read_message(&from_bytes(bytes)?)
}

/// A part of an append request that travels as one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendPart<C: RaftTypeConfig> {
    /// The message.
    pub bytes: Bytes,
    /// The last entry in it, or the one before the first.
    pub last_log_id: Option<LogIdOf<C>>,
    /// Whether the request ends with it.
    pub is_final: bool,
}

/// Cuts an append request into messages of up to `size_max` bytes. One that fits is one message.
///
/// # Errors
/// If an entry alone is larger.
pub fn write_append<C: RaftTypeConfig>(
    request: AppendEntriesRequest<C>,
    size_max: usize,
) -> Result<Vec<AppendPart<C>>, TransportError> {
    let mut cutter = Cutter::new(request, size_max);
    let mut parts = Vec::new();
    while let Some(part) = cutter.next_part()? {
        let bytes = to_bytes(&part.message);
        parts.push(AppendPart { bytes, last_log_id: part.last_log_id, is_final: part.is_final });
    }
    Ok(parts)
}

/// The request in one message of [`write_append`].
///
/// # Errors
/// What is wrong with the bytes.
pub fn read_append<C: RaftTypeConfig>(bytes: &[u8]) -> Result<AppendEntriesRequest<C>, TransportError> {
    read_request(&from_bytes(bytes)?)
}

/// What the sender of a snapshot says.
#[derive(Debug, Clone)]
pub enum SnapshotPart<C: RaftTypeConfig> {
    /// Once, at the beginning.
    Head {
        /// The sender's vote.
        vote: VoteOf<C>,
        /// What the snapshot is.
        meta: SnapshotMetaOf<C>,
        /// The length of the content in bytes.
        length: u64,
        /// The crc32c of the content.
        checksum: u32,
    },
    /// Then the content.
    Piece(SnapshotPiece),
}

/// A piece of the content of a snapshot, as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPiece(wire::SnapshotChunk);

impl SnapshotPiece {
    /// Where it begins, in bytes.
    pub fn offset(&self) -> u64 {
        self.0.offset
    }

    /// The bytes.
    pub fn data(&self) -> &Bytes {
        &self.0.data
    }

    /// Whether it comes next after `received` of `length` bytes, and is whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, received: u64, length: u64) -> Result<(), TransportError> {
        check_chunk(&self.0, received, length)
    }
}

/// The message that begins a snapshot.
///
/// # Errors
/// If vote or meta data have a type that cannot be encoded.
pub fn write_snapshot_head<C: RaftTypeConfig>(
    vote: &VoteOf<C>,
    meta: &SnapshotMetaOf<C>,
    length: u64,
    checksum: u32,
) -> Result<Bytes, TransportError> {
    let vote = codec::encode("a vote", vote)?;
    let meta = codec::encode("the meta data of a snapshot", meta)?;
    Ok(to_bytes(&snapshot_send::header(vote, meta, length, checksum)))
}

/// The message with the piece of the content that begins at `offset`.
pub fn write_snapshot_piece(offset: u64, data: Bytes) -> Bytes {
    to_bytes(&snapshot_send::piece(offset, data))
}

/// The part of a snapshot in a message. A piece is still to be [checked](SnapshotPiece::check).
///
/// # Errors
/// What is wrong with the bytes.
pub fn read_snapshot_part<C: RaftTypeConfig>(bytes: &[u8]) -> Result<SnapshotPart<C>, TransportError> {
    match from_bytes::<wire::SnapshotUp>(bytes)?.part {
        Some(wire::snapshot_up::Part::Header(header)) => {
            let (vote, meta) = read_header::<C>(&header)?;
            Ok(SnapshotPart::Head { vote, meta, length: header.length, checksum: header.checksum })
        }
        Some(wire::snapshot_up::Part::Chunk(chunk)) => Ok(SnapshotPart::Piece(SnapshotPiece(chunk))),
        None => Err(malformed("a part of a snapshot without content")),
    }
}

/// What the receiver of a snapshot says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotAnswer<C: RaftTypeConfig> {
    /// It holds this many bytes.
    Received(u64),
    /// It has them all, and takes them in.
    Installing,
    /// The library's answer; the last message.
    Done(SnapshotResponse<C>),
}

/// The message with an answer to a snapshot.
///
/// # Errors
/// If the library's answer has a type that cannot be encoded.
pub fn write_snapshot_answer<C: RaftTypeConfig>(answer: &SnapshotAnswer<C>) -> Result<Bytes, TransportError> {
    let part = match answer {
        SnapshotAnswer::Received(bytes) => wire::snapshot_down::Part::Received(*bytes),
        SnapshotAnswer::Installing => wire::snapshot_down::Part::Installing(true),
        SnapshotAnswer::Done(response) => {
            wire::snapshot_down::Part::Done(write_message("an answer", response)?)
        }
    };
    Ok(to_bytes(&wire::SnapshotDown { part: Some(part) }))
}

/// The answer in a message of [`write_snapshot_answer`].
///
/// # Errors
/// What is wrong with the bytes.
pub fn read_snapshot_answer<C: RaftTypeConfig>(bytes: &[u8]) -> Result<SnapshotAnswer<C>, TransportError> {
    Ok(match read_answer(Some(from_bytes(bytes)?))? {
        Answer::Received(bytes) => SnapshotAnswer::Received(bytes),
        Answer::Installing => SnapshotAnswer::Installing,
        Answer::Done(message) => SnapshotAnswer::Done(read_message(&message)?),
    })
}

/// A failed request, as it travels in the details of a gRPC status.
pub fn write_failure(error: &TransportError) -> Bytes {
    Bytes::copy_from_slice(error.to_status().details())
}

/// The failure in what [`write_failure`] wrote; in anything else, [`TransportError::Lost`].
pub fn read_failure(bytes: &[u8]) -> TransportError {
    let details = Bytes::copy_from_slice(bytes);
    TransportError::from_status(&tonic::Status::with_details(tonic::Code::Unknown, "", details))
}

/// A call of the application.
pub fn write_call(kind: u32, body: Bytes) -> Bytes {
    to_bytes(&wire::CallRequest { kind, body })
}

/// Kind and body of a call.
///
/// # Errors
/// What is wrong with the bytes.
pub fn read_call(bytes: &[u8]) -> Result<(u32, Bytes), TransportError> {
    from_bytes(bytes).map(|wire::CallRequest { kind, body }| (kind, body))
}

/// The answer to a call.
pub fn write_call_reply(body: Bytes) -> Bytes {
    to_bytes(&wire::CallReply { body })
}

/// The body of an answer to a call.
///
/// # Errors
/// What is wrong with the bytes.
pub fn read_call_reply(bytes: &[u8]) -> Result<Bytes, TransportError> {
    from_bytes(bytes).map(|wire::CallReply { body }| body)
}

/// What a node says of itself in the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The protocol versions that it speaks.
    pub protocol: VersionRange,
    /// Its cluster.
    pub cluster_id: Option<u128>,
    /// Who it is.
    pub from: PeerIdentity,
    /// Whom it looks for.
    pub to: Option<NodeTag>,
    /// Whether the connection is to carry Raft messages, and not calls alone.
    pub carries_raft: bool,
    /// The largest message that it accepts, in bytes.
    pub message_size_max: usize,
}

impl From<Introduction> for Hello {
    fn from(read: Introduction) -> Self {
        Self {
            protocol: read.protocol,
            cluster_id: read.cluster_id,
            from: read.from,
            to: read.to,
            carries_raft: read.purpose == Purpose::Raft,
            message_size_max: read.message_size_max,
        }
    }
}

impl From<Hello> for Introduction {
    fn from(hello: Hello) -> Self {
        Self {
            protocol: hello.protocol,
            cluster_id: hello.cluster_id,
            from: hello.from,
            to: hello.to,
            purpose: purpose(hello.carries_raft),
            message_size_max: hello.message_size_max,
        }
    }
}

/// An answer in the handshake: the listener's with its Hello, the dialer's last word without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloReply {
    /// Who answers.
    pub hello: Option<Hello>,
    /// Why the other is refused, if it is.
    pub refusal: Option<HandshakeError>,
}

/// The frame with a Hello.
///
/// # Errors
/// If it is too long for a frame.
pub fn write_hello(hello: Hello) -> Result<Bytes, HandshakeError> {
    write_whole_frame(&Introduction::from(hello).write())
}

/// The Hello in a frame.
///
/// # Errors
/// What is wrong with the bytes.
pub fn read_hello(bytes: &[u8]) -> Result<Hello, HandshakeError> {
    Introduction::read(read_whole_frame(bytes)?).map(Hello::from)
}

/// The frame with an answer.
///
/// # Errors
/// If it is too long for a frame.
pub fn write_hello_reply(reply: HelloReply) -> Result<Bytes, HandshakeError> {
    let hello = reply.hello.map(|hello| Introduction::from(hello).write());
    let refusal = reply.refusal.as_ref().map(HandshakeError::to_wire);
    write_whole_frame(&wire::HelloReply { hello, refusal })
}

/// The answer in a frame.
///
/// # Errors
/// What is wrong with the bytes.
pub fn read_hello_reply(bytes: &[u8]) -> Result<HelloReply, HandshakeError> {
    let reply: wire::HelloReply = read_whole_frame(bytes)?;
    let hello = reply.hello.map(Introduction::read).transpose()?.map(Hello::from);
    Ok(HelloReply { hello, refusal: reply.refusal.as_ref().map(HandshakeError::from_wire) })
}

/// Why a handshake came to nothing.
#[derive(Debug)]
pub enum HandshakeFailure {
    /// The connection broke.
    Io(io::Error),
    /// This node refused the other.
    Ours(HandshakeError),
    /// The other node refused this one.
    Theirs(HandshakeError),
}

impl From<Failure> for HandshakeFailure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Io(error) => Self::Io(error),
            Failure::Ours(error) => Self::Ours(error),
            Failure::Theirs(error) => Self::Theirs(error),
        }
    }
}

/// The handshakes of one node, both sides, on any connection. What it lets in stays let in while the door lives.
pub struct Door(Admission);

impl Door {
    /// The door of the node `identity`.
    pub fn new(identity: Identity, roster: Arc<dyn Roster>, message_size_max: usize) -> Self {
        Self(Admission::new(identity, roster, PROTOCOL, message_size_max))
    }

    /// Introduces itself to whoever is at the other end, who should be `expected`.
    ///
    /// # Errors
    /// Why the two do not talk.
    pub async fn dial(
        &self,
        connection: Connection,
        expected: Option<&NodeTag>,
        carries_raft: bool,
    ) -> Result<PeerIdentity, HandshakeFailure> {
        let mut connection = Guarded::new(connection, || {});
        let session = handshake::dial(&mut connection, &self.0, expected, purpose(carries_raft)).await?;
        Ok(session.peer.clone())
    }

    /// Takes the introduction of whoever is at the other end. Needs a tokio runtime with time.
    ///
    /// # Errors
    /// Why the two do not talk.
    pub async fn accept(&self, connection: Connection) -> Result<PeerIdentity, HandshakeFailure> {
        let mut connection = Guarded::new(connection, || {});
        let session = handshake::accept(&mut connection, &self.0).await?;
        Ok(session.peer.clone())
    }
}

fn purpose(carries_raft: bool) -> Purpose {
    if carries_raft { Purpose::Raft } else { Purpose::Calls }
}

fn to_bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn from_bytes<M: Message + Default>(bytes: &[u8]) -> Result<M, TransportError> {
    M::decode(bytes).map_err(|error| malformed(&error.to_string()))
}

fn write_whole_frame(message: &impl Message) -> Result<Bytes, HandshakeError> {
    let mut frame = Vec::new();
    in_memory(write_frame(&mut frame, message))?;
    Ok(frame.into())
}

/// A frame that is cut off is malformed here; on a connection it would be waited for.
fn read_whole_frame<M: Message + Default>(bytes: &[u8]) -> Result<M, HandshakeError> {
    let mut rest = bytes;
    let message = in_memory(read_frame(&mut rest))?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(HandshakeError::Malformed { what: format!("{} bytes after a frame", rest.len()) })
    }
}

/// What reads or writes memory alone waits for nothing.
fn in_memory<T>(step: impl Future<Output = Result<T, Failure>>) -> Result<T, HandshakeError> {
    match step.now_or_never() {
        Some(Ok(value)) => Ok(value),
        Some(Err(Failure::Ours(error) | Failure::Theirs(error))) => Err(error),
        Some(Err(Failure::Io(error))) => Err(HandshakeError::Malformed { what: error.to_string() }),
        None => Err(HandshakeError::Malformed { what: "a frame that waits".into() }),
    }
}

fn malformed(what: &str) -> TransportError {
    TransportError::Malformed { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::{Types, append, log_id, uid, vote};

    #[test]
    fn what_is_written_is_read_again() {
        let request = append(3, 7, 100);
        let parts = write_append(request.clone(), 400).unwrap();
        assert!(parts.len() > 1, "five entries of 100 bytes do not fit into 400");
        let mut entries = Vec::new();
        for part in &parts {
            let read = read_append::<Types>(&part.bytes).unwrap();
            assert_eq!((read.vote, read.leader_commit), (request.vote, request.leader_commit));
            entries.extend(read.entries);
        }
        assert_eq!(entries, request.entries);
        assert_eq!(parts.last().map(|part| (part.last_log_id, part.is_final)), Some((Some(log_id(7)), true)));
        assert_eq!(
            read_value::<quorate::type_config::alias::VoteOf<Types>>(&write_value(&vote()).unwrap()),
            Ok(vote())
        );
        let error = TransportError::UnknownGroup { found: 7 };
        assert_eq!(read_failure(&write_failure(&error)), error);
        let call = write_call(9, Bytes::from_static(b"body"));
        assert_eq!(read_call(&call), Ok((9, Bytes::from_static(b"body"))));
    }

    #[test]
    fn a_snapshot_in_pieces_is_read_again() {
        let meta = SnapshotMetaOf::<Types>::default();
        let head = write_snapshot_head::<Types>(&vote(), &meta, 10, 5).unwrap();
        let Ok(SnapshotPart::Head { vote: read, meta: found, length: 10, checksum: 5 }) =
            read_snapshot_part::<Types>(&head)
        else {
            panic!("not a head");
        };
        assert_eq!((read, found), (vote(), meta));
        let piece = write_snapshot_piece(4, Bytes::from_static(b"content"));
        let Ok(SnapshotPart::Piece(piece)) = read_snapshot_part::<Types>(&piece) else {
            panic!("not a piece")
        };
        assert_eq!((piece.offset(), piece.data().as_ref()), (4, &b"content"[..]));
        assert_eq!(piece.check(4, 11), Ok(()));
        assert!(piece.check(3, 11).is_err());
        for answer in [SnapshotAnswer::Received(7), SnapshotAnswer::Installing] {
            let bytes = write_snapshot_answer::<Types>(&answer).unwrap();
            assert_eq!(read_snapshot_answer::<Types>(&bytes), Ok(answer));
        }
    }

    #[test]
    fn a_hello_is_read_again_and_nothing_may_follow_it() {
        let from = PeerIdentity {
            node_id: "1".into(),
            uid: uid(1),
            incarnation: 3,
            boot: 9,
            address: "host:1".into(),
        };
        let hello = Hello {
            protocol: PROTOCOL,
            cluster_id: Some(7),
            from,
            to: Some(NodeTag { node_id: "2".into(), uid: Some(uid(2)) }),
            carries_raft: true,
            message_size_max: 4096,
        };
        let frame = write_hello(hello.clone()).unwrap();
        assert_eq!(read_hello(&frame), Ok(hello.clone()));
        assert!(read_hello(&frame[..frame.len() - 1]).is_err());
        assert!(read_hello(&[&frame[..], b"x"].concat()).is_err());
        let refused = HandshakeError::NoCluster { node_id: "1".into() };
        let reply = HelloReply { hello: Some(hello), refusal: Some(refused) };
        assert_eq!(read_hello_reply(&write_hello_reply(reply.clone()).unwrap()), Ok(reply));
    }
}

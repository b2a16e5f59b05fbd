//! What the transport reads from a connection.

use std::cell::LazyCell;
use std::future::ready;
use std::io::{self, Cursor};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use quorate::raft::{
    AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate_grpc::testing::{self, Door, SnapshotPart};
use quorate_grpc::{Connection, Identity, MESSAGE_SIZE_MAX, NodeTag, Roster, Standing};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::input::Input;
use crate::types::{Types, assert_same, encoded};

/// How many bytes a part of a request is cut to.
const PART_BYTES: usize = 512;

/// An append request in one message.
pub fn append(data: &[u8]) {
    let Ok(request) = testing::read_append::<Types>(data) else { return };
    let _ = request.to_string();
    let whole = testing::write_append(request.clone(), MESSAGE_SIZE_MAX).unwrap();
    assert_eq!(whole.len(), 1, "a request of a few bytes is one message");
    let again = testing::read_append::<Types>(&whole[0].bytes).unwrap();
    assert_same(&encoded(&request), &encoded(&again));
    let mut entries = Vec::new();
    // A request may hold an entry that is larger than a part; then it is refused.
    let Ok(parts) = testing::write_append(request.clone(), PART_BYTES) else { return };
    for part in parts {
        assert!(part.bytes.len() <= PART_BYTES, "a part is no larger than it may be");
        entries.extend(testing::read_append::<Types>(&part.bytes).unwrap().entries);
    }
    assert_same(&request.entries, &entries);
}

/// The other requests, and the answers: one value of the library in a message. The first byte says which.
pub fn message(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 8 {
        0 => value::<VoteRequest<Types>>(bytes),
        1 => value::<VoteResponse<Types>>(bytes),
        2 => value::<AppendEntriesResponse<Types>>(bytes),
        3 => value::<StreamAppendResult<Types>>(bytes),
        4 => value::<TransferLeaderRequest<Types>>(bytes),
        5 => value::<TransferLeaderResponse<Types>>(bytes),
        6 => value::<SnapshotResponse<Types>>(bytes),
        _ => {
            let error = testing::read_failure(bytes);
            let _ = error.to_string();
            assert_same(&testing::read_failure(&testing::write_failure(&error)), &error);
        }
    }
}

fn value<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(value) = testing::read_value::<T>(bytes) else { return };
    let written = testing::write_value(&value).unwrap();
    assert_same(&testing::read_value::<T>(&written).unwrap(), &value);
}

/// Both directions of a snapshot transfer: pieces with their lengths before them, of the sender or, odd, the receiver.
pub fn snapshot(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut received, mut announced) = (0, 0);
    for _ in 0..64 {
        if input.is_empty() {
            return;
        }
        let is_answer = input.flag();
        let bytes = input.long_piece();
        if is_answer {
            if let Ok(answer) = testing::read_snapshot_answer::<Types>(bytes) {
                let written = testing::write_snapshot_answer(&answer).unwrap();
                assert_same(&testing::read_snapshot_answer(&written).unwrap(), &answer);
            }
            continue;
        }
        match testing::read_snapshot_part::<Types>(bytes) {
            Ok(SnapshotPart::Head { vote, meta, length, checksum }) => {
                let written = testing::write_snapshot_head::<Types>(&vote, &meta, length, checksum).unwrap();
                let Ok(SnapshotPart::Head { meta: again, .. }) =
                    testing::read_snapshot_part::<Types>(&written)
                else {
                    panic!("a head that was written is no head");
                };
                assert_same(&again, &meta);
                announced = length;
            }
            Ok(SnapshotPart::Piece(piece)) => {
                if piece.check(received, announced).is_ok() {
                    received += piece.data().len() as u64;
                    assert!(received <= announced, "no more is taken than was announced");
                    let written = testing::write_snapshot_piece(piece.offset(), piece.data().clone());
                    let Ok(SnapshotPart::Piece(again)) = testing::read_snapshot_part::<Types>(&written)
                    else {
                        panic!("a piece that was written is no piece");
                    };
                    assert_same(&again, &piece);
                }
            }
            Err(_) => {}
        }
    }
}

/// A frame of the handshake, as either message.
pub fn hello(data: &[u8]) {
    if let Ok(hello) = testing::read_hello(data)
        && let Ok(frame) = testing::write_hello(hello.clone())
    {
        assert_same(&testing::read_hello(&frame).unwrap(), &hello);
    }
    if let Ok(reply) = testing::read_hello_reply(data) {
        if let Some(refusal) = &reply.refusal {
            let _ = (refusal.to_string(), refusal.name(), refusal.code());
        }
        if let Ok(frame) = testing::write_hello_reply(reply.clone()) {
            // Who is refused for its version sees both versions the other way round, each time.
            let again = testing::read_hello_reply(&frame).unwrap();
            let twice = testing::write_hello_reply(again).and_then(|frame| testing::read_hello_reply(&frame));
            if let Ok(twice) = twice {
                assert_same(&twice.hello, &reply.hello);
                assert_same(&twice.refusal, &reply.refusal);
            }
        }
    }
}

/// A whole handshake with someone who says these bytes and goes. The first byte says who this node is, and its side.
pub fn handshake(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    RUNTIME.with(|runtime| runtime.block_on(shake_hands(*kind, bytes)));
}

async fn shake_hands(kind: u8, bytes: &[u8]) {
    let cluster = (kind & 1 == 1).then_some(CLUSTER);
    let roster = Arc::new(Known { cluster, is_member: kind & 2 == 2 });
    let identity =
        Identity { node_id: "2".to_owned(), uid: 2, incarnation: 1, address: "host-2:1".to_owned() };
    let door = Door::new(identity, roster, MESSAGE_SIZE_MAX);
    let expected = NodeTag { node_id: "1".to_owned(), uid: Some(1) };
    for _ in 0..2 {
        let connection: Connection =
            Box::new(tokio::io::join(Cursor::new(bytes.to_vec()), tokio::io::sink()));
        let met = if kind & 4 == 4 {
            let carries_raft = kind & 8 == 8;
            door.dial(connection, Some(&expected).filter(|_| kind & 16 == 16), carries_raft).await
        } else {
            door.accept(connection).await
        };
        if let Ok(peer) = met {
            assert_ne!(peer.uid, 2, "nobody else is this node");
        }
    }
}

thread_local! {
    static RUNTIME: LazyCell<tokio::runtime::Runtime> = LazyCell::new(|| {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    });
}

pub const CLUSTER: u128 = 0xc1;

struct Known {
    cluster: Option<u128>,
    is_member: bool,
}

impl Roster for Known {
    fn cluster_id(&self) -> Option<u128> {
        self.cluster
    }

    fn standing(&self, node_id: &str) -> Standing {
        match node_id {
            "1" if self.is_member => Standing::Member { uid: Some(1) },
            "3" => Standing::Removed { uid: Some(3), index: 7 },
            _ => Standing::Unknown,
        }
    }

    fn adopt_cluster(&self, _cluster_id: u128) -> BoxFuture<'_, io::Result<()>> {
        ready(Err(io::Error::other("a roster that stores nothing"))).boxed()
    }
}

/// A call, and the answer to one.
pub fn call(data: &[u8]) {
    if let Ok((kind, body)) = testing::read_call(data) {
        assert_same(&testing::read_call(&testing::write_call(kind, body.clone())).unwrap(), &(kind, body));
    }
    if let Ok(body) = testing::read_call_reply(data) {
        assert_same(&testing::read_call_reply(&testing::write_call_reply(body.clone())).unwrap(), &body);
    }
}

//! Messages that no honest peer sends, on a connection that was let in: each is an error, and none reaches Raft.

use bytes::Bytes;
use futures_util::stream;
use prost::Message as _;
use quorate::raft::VoteRequest;
use quorate::type_config::alias::SnapshotMetaOf;
use rand::{RngExt as _, SeedableRng as _};
use tonic::codegen::Service as _;

use crate::admission::Purpose;
use crate::append::{Cutter, read_request};
use crate::codec;
use crate::common::{CLUSTER, Node, Types, append, heartbeat, options, transport, uid, vote};
use crate::error::{HandshakeError, TransportError};
use crate::identity::NodeTag;
use crate::peer::{Link, connect, connect_channel};
use crate::wire;

async fn link_to(node: &Node, purpose: Purpose) -> Link {
    let (transport, _) = transport(1, Some(CLUSTER), "host-1", options());
    let tag = NodeTag { node_id: node.id.to_string(), uid: Some(uid(node.id)) };
    connect(&transport.inner, &node.member.address, Some(&tag), purpose, || {}).await.unwrap()
}

fn error_of<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> TransportError {
    TransportError::from_status(&result.unwrap_err())
}

fn message(encoding: u32, group: u64, payload: &'static [u8]) -> wire::Message {
    wire::Message { encoding, group, payload: Bytes::from_static(payload) }
}

#[tokio::test]
async fn messages_that_cannot_be_read_are_refused_by_what_is_wrong_with_them() {
    let node = Node::start(2, options()).await;
    let mut link = link_to(&node, Purpose::Raft).await;
    let error = error_of(link.client.vote(message(9, 0, b"")).await);
    assert_eq!(error, TransportError::UnknownEncoding { found: 9, supported: codec::ENCODING });
    let error = error_of(link.client.vote(message(codec::ENCODING, 3, b"")).await);
    assert_eq!(error, TransportError::UnknownGroup { found: 3 });
    for payload in
        [&b""[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\0\0\0\0\0\0\0\0\0\0\0\0\0"]
    {
        let error = error_of(link.client.vote(message(codec::ENCODING, 0, payload)).await);
        assert!(matches!(error, TransportError::Malformed { .. }), "{error:?}");
    }
    assert_eq!(node.raft.votes(), 0);
    assert_eq!(node.transport.metrics().malformed.get(), 3);
}

#[tokio::test]
async fn a_claimed_number_of_entries_takes_no_memory() {
    let node = Node::start(2, options()).await;
    let mut link = link_to(&node, Purpose::Raft).await;
    // An entry is a few numbers and a string, whose length here claims an exabyte.
    let entry = Bytes::from_static(b"\x01\x01\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f");
    let head = codec::encode("a head", &(vote(), None::<u8>, None::<u8>)).unwrap();
    let request = wire::AppendRequest { encoding: codec::ENCODING, group: 0, head, entries: vec![entry] };
    let mut answers = link.client.stream_append(stream::iter([request])).await.unwrap().into_inner();
    let error = error_of(answers.message().await);
    assert!(matches!(error, TransportError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn raft_messages_on_a_connection_for_calls_are_refused() {
    let mut node = Node::start(2, options()).await;
    let mut link = link_to(&node, Purpose::Calls).await;
    let payload = codec::encode("a request", &heartbeat()).unwrap();
    let message = wire::Message { encoding: codec::ENCODING, group: 0, payload };
    assert_eq!(error_of(link.client.vote(message).await), TransportError::CallsOnly);
    let request = wire::AppendRequest::default();
    assert_eq!(error_of(link.client.append_entries(request.clone()).await), TransportError::CallsOnly);
    let streamed = link.client.stream_append(stream::iter([request])).await;
    assert_eq!(error_of(streamed), TransportError::CallsOnly);
    let sent = link.client.install_snapshot(stream::iter([wire::SnapshotUp::default()])).await;
    assert_eq!(error_of(sent), TransportError::CallsOnly);
    assert_eq!(node.raft.votes(), 0);
    assert!(node.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_message_is_refused_by_its_announced_size() {
    let node = Node::start(2, options()).await;
    let (transport, _) = transport(1, Some(CLUSTER), "host-1", options());
    let tag = NodeTag { node_id: "2".into(), uid: Some(uid(2)) };
    let connected =
        connect_channel(&transport.inner, &node.member.address, Some(&tag), Purpose::Raft, || {}).await;
    let (mut channel, _session) = connected.unwrap();
    // A message of one gibibyte is announced, and nothing of it sent.
    let announced = "\0\u{40}\0\0\0".to_string();
    assert_eq!(announced.as_bytes(), [0, 0x40, 0, 0, 0]);
    let request = tonic::codegen::http::Request::post("http://peer/quorate.peer.v1.Peer/Vote")
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::new(announced))
        .unwrap();
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let response = channel.call(request).await.unwrap();
    let status = tonic::Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::OutOfRange, "{status:?}");
    assert!(matches!(TransportError::from_status(&status), TransportError::RefusedSize { .. }));
}

#[tokio::test]
async fn pieces_of_a_snapshot_out_of_place_are_refused() {
    let node = Node::start(2, options()).await;
    let meta = quorate::SnapshotMeta::<quorate::impls::leader_id_adv::LeaderId<u64, u64>, u64, _>::default();
    let meta: SnapshotMetaOf<Types> = meta;
    let header = wire::snapshot_up::Part::Header(wire::SnapshotHeader {
        encoding: codec::ENCODING,
        group: 0,
        vote: codec::encode("a vote", &vote()).unwrap(),
        meta: codec::encode("a meta", &meta).unwrap(),
        length: 10,
        checksum: 0,
    });
    let piece = |offset, size: usize| {
        let data = Bytes::from(vec![1; size]);
        wire::snapshot_up::Part::Chunk(wire::SnapshotChunk { offset, checksum: crc32c::crc32c(&data), data })
    };
    let mut link = link_to(&node, Purpose::Raft).await;
    for parts in [
        vec![piece(0, 1)],
        vec![header.clone(), header.clone()],
        vec![header.clone(), piece(1, 1)],
        vec![header.clone(), piece(0, 11)],
        vec![header.clone(), piece(0, 0)],
    ] {
        let up = parts.into_iter().map(|part| wire::SnapshotUp { part: Some(part) });
        // The sender stays, so that it is the piece that ends the transfer.
        let up = futures_util::StreamExt::chain(stream::iter(up.collect::<Vec<_>>()), stream::pending());
        let mut down = link.client.install_snapshot(up).await.unwrap().into_inner();
        let error = loop {
            match down.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("an end without an error"),
                Err(status) => break TransportError::from_status(&status),
            }
        };
        assert!(matches!(error, TransportError::Malformed { .. }), "{error:?}");
    }
    assert!(node.raft.installed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_handshake_that_hangs_holds_nobody_up() {
    let node = Node::start(2, options()).await;
    let _mute = tokio::net::TcpStream::connect(&node.member.address).await.unwrap();
    let mut link = link_to(&node, Purpose::Raft).await;
    let request = wire::CallRequest { kind: 1, body: Bytes::from_static(b"hello") };
    assert_eq!(link.client.call(request).await.unwrap().into_inner().body, "hello");
}

#[test]
fn bytes_at_random_are_values_or_errors_and_never_panics() {
    let mut dice = rand::rngs::StdRng::seed_from_u64(41);
    let request = append(1, 3, 20);
    let part = Cutter::new(request, 1024).next_part().unwrap().unwrap();
    let honest = part.message.encode_to_vec();
    let mut read = 0;
    for _ in 0..20_000 {
        let mut bytes = honest.clone();
        for _ in 0..dice.random_range(0..4) {
            let at = dice.random_range(0..bytes.len());
            bytes[at] = dice.random();
        }
        bytes.truncate(dice.random_range(honest.len() / 2..=honest.len()));
        if let Ok(message) = wire::AppendRequest::decode(bytes.as_slice()) {
            read += usize::from(read_request::<Types>(&message).is_ok());
        }
        let _ = codec::decode::<VoteRequest<Types>>("a vote", &bytes);
        let _ = codec::decode::<SnapshotMetaOf<Types>>("a meta", &bytes);
        let _ = codec::decode::<TransportError>("an error", &bytes);
        if let Ok(refusal) = wire::Refusal::decode(bytes.as_slice()) {
            let _ = HandshakeError::from_wire(&refusal);
        }
    }
    assert!(read > 0, "some are left as they were");
}

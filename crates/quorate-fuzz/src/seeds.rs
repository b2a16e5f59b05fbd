//! The seeds: messages and files as nodes write them, and a few plain inputs for the targets that are played.

use bytes::Bytes;
use quorate::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, TransferLeaderError,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};
use quorate::storage::SnapshotMeta;
use quorate::{EntryPayload, LogId, Membership, StoredMembership};
use quorate_grpc::testing::{self, Hello, HelloReply, SnapshotAnswer};
use quorate_grpc::{CallRefusal, HandshakeError, NodeTag, PROTOCOL, PeerIdentity, TransportError};
use quorate_legacy::network_v1::InstallSnapshotRequest;
use quorate_log::{Codec, Postcard};
use quorate_node::testing::Command as Envelope;
use quorate_node::{Member, Uid, decoders};
use quorate_server::machine::Command;
use quorate_sim::dice::Dice;

use crate::log::{put, snapshot_bytes};
use crate::types::{LeaderId, Types, encoded, entries, log_id, members, vote};
use crate::wire::CLUSTER;

quorate::declare_raft_types!(
    /// What a node of the server keeps in its log.
    NodeTypes:
        D = Envelope,
        R = String,
        NodeId = u64,
        Node = Member,
);

/// A seed: its target, its name, its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All seeds, by target and name.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, list: Vec<Vec<u8>>| {
        let named = list.into_iter().enumerate();
        seeds.extend(named.map(|(at, bytes)| (target, format!("seed-{at:02}"), bytes)));
    };
    add("wire_append", appends());
    add("wire_message", messages());
    add("wire_snapshot", snapshots());
    add("wire_hello", hellos());
    add("wire_handshake", handshakes());
    add(
        "wire_call",
        vec![
            testing::write_call(1, Bytes::from_static(b"a question")).to_vec(),
            testing::write_call_reply(Bytes::from_static(b"an answer")).to_vec(),
        ],
    );
    add("log_codec", log_values());
    add("log_directory", changes(6));
    add("log_votes", changes(2));
    add("snapshot_file", changes(2));
    add("snapshot_content", vec![snapshot_bytes(0), snapshot_bytes(1), snapshot_bytes(6)]);
    add("node_identity", identities());
    add("node_call", calls());
    add("node_entries", vec![lengthened((0..6).map(node_entry))]);
    add("server_config", configs());
    add("server_request", requests());
    add("family_forms", forms());
    add("family_chunk", chunks());
    add("conversation", plays(12));
    add("raft_doors", plays(12));
    seeds
}

/// Each with its length in two bytes before it.
fn lengthened(pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let each = pieces.into_iter().flat_map(|piece| {
        let length = u16::try_from(piece.len()).unwrap();
        length.to_le_bytes().into_iter().chain(piece)
    });
    each.collect()
}

fn tagged(kind: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [&[kind], bytes.as_ref()].concat()
}

fn request(prev: Option<u64>, count: usize) -> AppendEntriesRequest<Types> {
    let first = prev.map_or(0, |prev| prev + 1);
    let mut entries = entries();
    entries.truncate(count);
    (first..).zip(&mut entries).for_each(|(index, entry)| entry.log_id.index = index);
    let prev_log_id = prev.map(|prev| log_id(1, 1, prev));
    AppendEntriesRequest { vote: vote(1, 1), prev_log_id, entries, leader_commit: Some(log_id(1, 1, first)) }
}

fn appends() -> Vec<Vec<u8>> {
    let requests = [request(None, 0), request(Some(9), 0), request(None, 5), request(Some(1 << 40), 3)];
    let bytes = requests.map(|request| testing::write_append(request, 1 << 20).unwrap()[0].bytes.to_vec());
    bytes.to_vec()
}

fn messages() -> Vec<Vec<u8>> {
    let value = |kind, value: Bytes| tagged(kind, value);
    let last = Some(log_id(2, 3, 700));
    let ask = VoteRequest::<Types> { vote: vote(4, 2), last_log_id: last, leadership_transfer: true };
    let told = TransferLeaderError::<Types>::LogNotFlushed { expected: last, actual: None };
    let parted: quorate::raft::StreamAppendResult<Types> = Err(StreamAppendError::Conflict(log_id(1, 1, 5)));
    let refused = TransportError::Handshake(HandshakeError::NoCluster { node_id: "7".into() });
    let busy = TransportError::Refused(CallRefusal::NotPermitted { message: "no".into() });
    vec![
        value(0, testing::write_value(&ask).unwrap()),
        value(1, testing::write_value(&VoteResponse::<Types>::new(vote(4, 2), last, true)).unwrap()),
        value(2, testing::write_value(&AppendEntriesResponse::<Types>::Success).unwrap()),
        value(2, testing::write_value(&AppendEntriesResponse::<Types>::PartialSuccess(last)).unwrap()),
        value(2, testing::write_value(&AppendEntriesResponse::<Types>::HigherVote(vote(9, 9))).unwrap()),
        value(3, testing::write_value(&parted).unwrap()),
        value(4, testing::write_value(&TransferLeaderRequest::<Types>::new(vote(4, 2), 3, last)).unwrap()),
        value(5, testing::write_value(&Err::<(), _>(told)).unwrap()),
        value(6, testing::write_value(&SnapshotResponse::<Types>::new(vote(4, 2))).unwrap()),
        value(7, testing::write_failure(&refused)),
        value(7, testing::write_failure(&busy)),
    ]
}

fn meta() -> SnapshotMeta<LeaderId, u64, quorate::BasicNode> {
    let held = StoredMembership::new(Some(log_id(1, 1, 3)), members(&[&[1, 2, 3]], &[4]));
    SnapshotMeta { last_log_id: Some(log_id(2, 3, 700)), last_membership: held }
}

fn snapshots() -> Vec<Vec<u8>> {
    let head = testing::write_snapshot_head::<Types>(&vote(4, 2), &meta(), 14, 99).unwrap();
    let first = testing::write_snapshot_piece(0, Bytes::from_static(b"content"));
    let second = testing::write_snapshot_piece(7, Bytes::from_static(b" of it"));
    let sent = [head, first, second].map(|part| tagged(0, lengthened([part.to_vec()]))).concat();
    let answers = [
        SnapshotAnswer::<Types>::Received(7),
        SnapshotAnswer::Installing,
        SnapshotAnswer::Done(SnapshotResponse::new(vote(4, 2))),
    ];
    let bytes = answers.map(|answer| testing::write_snapshot_answer(&answer).unwrap().to_vec());
    vec![sent, bytes.map(|answer| tagged(1, lengthened([answer]))).concat()]
}

fn peer(id: u128) -> PeerIdentity {
    let node_id = id.to_string();
    PeerIdentity { node_id, uid: id, incarnation: 3, boot: id + 90, address: format!("host-{id}:1") }
}

fn hello_of(carries_raft: bool, cluster_id: Option<u128>) -> Hello {
    let to = Some(NodeTag { node_id: "2".to_owned(), uid: Some(2) });
    let message_size_max = 1 << 20;
    Hello { protocol: PROTOCOL, cluster_id, from: peer(1), to, carries_raft, message_size_max }
}

fn refusals() -> Vec<HandshakeError> {
    let tag = |id: u128| Box::new(NodeTag { node_id: id.to_string(), uid: Some(id) });
    vec![
        HandshakeError::VersionSkew { ours: PROTOCOL, theirs: PROTOCOL },
        HandshakeError::WrongNode { expected: tag(1), found: tag(2) },
        HandshakeError::Removed { node_id: "3".into(), index: 7 },
    ]
}

fn hellos() -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = [hello_of(true, Some(CLUSTER)), hello_of(false, None)]
        .map(|hello| testing::write_hello(hello).unwrap().to_vec())
        .to_vec();
    let refused = refusals().into_iter().map(|refusal| HelloReply { hello: None, refusal: Some(refusal) });
    let replies = refused.chain([HelloReply { hello: Some(hello_of(true, Some(CLUSTER))), refusal: None }]);
    frames.extend(replies.map(|reply| testing::write_hello_reply(reply).unwrap().to_vec()));
    frames
}

/// What the other end says: to a listener a Hello and its last word, to a dialer its answer.
fn handshakes() -> Vec<Vec<u8>> {
    let agreed = testing::write_hello_reply(HelloReply { hello: None, refusal: None }).unwrap();
    let raft = testing::write_hello(hello_of(true, Some(CLUSTER))).unwrap();
    let calls = testing::write_hello(hello_of(false, None)).unwrap();
    let welcome = HelloReply { hello: Some(hello_of(true, Some(CLUSTER))), refusal: None };
    let welcome = testing::write_hello_reply(welcome).unwrap();
    vec![
        tagged(3, [&raft[..], &agreed].concat()),
        tagged(0, [&calls[..], &agreed].concat()),
        tagged(1 | 4 | 8 | 16, &welcome),
        tagged(4, &welcome),
        tagged(1, b"GET / HTTP/1.1\r\n\r\n"),
    ]
}

fn log_values() -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = entries().iter().map(|entry| tagged(0, encoded(entry))).collect();
    values.push(tagged(1, <Postcard as Codec<Types>>::encode_log_id(&log_id(7, 2, 1 << 33)).unwrap()));
    values.push(tagged(2, <Postcard as Codec<Types>>::encode_vote(&vote(7, 2)).unwrap()));
    values
}

/// Inputs that leave a directory as it is, and that change it here and there, each with and without right checksums.
fn changes(count: u8) -> Vec<Vec<u8>> {
    let changes: [&[u8]; 7] = [
        &[],
        &[0, 0, 0x08, 0x10, 4, 0xff, 0xff, 0xff, 0x0f],
        &[1, 0, 0x06, 0x02, 8, 1, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0x2c, 0x10, 1],
        &[3, 0, 0x10, 0x02],
        &[4, 0],
        &[5, 0, 1, 1],
    ];
    (0..count).flat_map(|choice| changes.map(|change| tagged(choice, change))).collect()
}

fn identities() -> Vec<Vec<u8>> {
    // Magic, version, length; then id, uid, incarnation, a cluster, and whether it was founded here.
    let body = encoded(&(7u64, 0xabu128, 3u64, Some(0xc1u128), true));
    let length = u32::try_from(body.len()).unwrap();
    vec![[&b"QRNI"[..], &1u32.to_le_bytes(), &length.to_le_bytes(), &body].concat()]
}

/// The questions by their numbers, and answers; a command in its envelope.
fn calls() -> Vec<Vec<u8>> {
    let within = std::time::Duration::from_secs(3);
    let command = decoders::envelope(&put("key", "value")).unwrap().to_vec();
    let asked = |number: u8, rest: &[u8]| [encoded(&within), tagged(number, rest)].concat();
    vec![
        asked(0, &encoded(&command)),
        asked(1, &[]),
        asked(2, &[]),
        asked(3, &[1, 5]),
        asked(4, &[2]),
        asked(5, &encoded(&(4u64, member(4)))),
        asked(6, &encoded(&vec![command.clone(), command.clone()])),
        tagged(0, encoded(&(Some((2u64, member(2))), "elsewhere"))),
        tagged(1, encoded(&Ok::<_, ()>(b"done"))),
        tagged(2, [9]),
        tagged(5, encoded(&Uid(0xc1))),
        tagged(6, [2, 2, 9, 2, 10]),
        command,
    ]
}

fn member(id: u64) -> Member {
    Member {
        uid: Uid(u128::from(id) + 100),
        peer_addr: format!("host-{id}:7401"),
        client_addr: format!("host-{id}:7400"),
    }
}

/// The entry of this index as a node's log keeps it: first the members, then writes.
pub fn node_entry(index: u64) -> Vec<u8> {
    let command = match index % 4 {
        1 => put("a", "some text"),
        2 => Command::Delete { key: "a".to_owned() },
        3 => Command::Cas {
            key: "b/é".to_owned(),
            expect: quorate_server::machine::Expect::Absent,
            value: Bytes::from_static(b"\xff\0"),
        },
        _ => put("c", ""),
    };
    let payload: EntryPayload<Envelope, u64, Member> = if index == 0 {
        let nodes = (1..=3).map(|id| (id, member(id))).collect::<std::collections::BTreeMap<_, _>>();
        EntryPayload::Membership(Membership::from(nodes))
    } else {
        EntryPayload::Normal(Envelope::new(encoded(&command).into()))
    };
    let entry = quorate::Entry { log_id: LogId::new(LeaderId { term: 1, node_id: 1 }, index), payload };
    let mut bytes = Vec::new();
    <Postcard as Codec<NodeTypes>>::encode_entry(&entry, &mut bytes).unwrap();
    bytes
}

fn configs() -> Vec<Vec<u8>> {
    let all = "id = 1\ndata = \"d\"\nlisten = \"l:1\"\npeer-listen = \"p:1\"\nadvertise = \"a:1\"\npeer-advertise = \"b:1\"\n\
               init = true\nheartbeat-ms = 1\nelection-min-ms = 5\nelection-max-ms = 9\nrequest-timeout-ms = 7\n\
               snapshot-every = 8\nsnapshot-keep = 3\n";
    let texts = [
        "",
        "id = 3\ndata = \"here\"\njoin = \"host:1\"\n",
        all,
        "lisen = \"a:1\"\n",
        "listen = [1, {a = 2}]",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn requests() -> Vec<Vec<u8>> {
    let lines = [
        (0, "/v1/kv/a/b%20c+d?stale"),
        (0, "/v1/kv?key=a%2Fb+c&stale=false"),
        (1, "/v1/range?prefix=a&start=a%2F1&end=b&limit=2&stale=1"),
        (1, "/v1/range?limit=1000"),
        (2, "/v1/watch?prefix=a&after=12"),
        (3, r#"{"key": "k", "expect": {"value": {"text": "a"}}, "value": {"base64": "/wA="}}"#),
        (5, r#"{"key": "k", "expect": "absent", "value": {"text": "v"}}"#),
        (5, r#"{"key": "k", "expect": {"revision": 3}, "value": {"text": "v"}}"#),
        (6, r#"{"member": "host:1"}"#),
        (7, r#"{"id": 4, "uid": "000000000000000000000000000000ab", "peer_addr": "host:1"}"#),
        (8, r#"{"id": 4}"#),
        (10, r#"{"voters": [1, 2, 3]}"#),
        (11, r#"{"code": "invalid", "outcome": "unknown", "error": "no", "retry_after_ms": 5}"#),
        (
            12,
            r#"{"entries": [{"key": "a", "value": {"text": "1"}, "revision": 1}], "next": "b", "revision": 9}"#,
        ),
        (14, r#"{"type": "delete", "key": "a", "revision": 3}"#),
        (15, r#"{"revision": 3, "previous": null}"#),
    ];
    lines.map(|(kind, line)| tagged(kind, line)).to_vec()
}

fn forms() -> Vec<Vec<u8>> {
    let id = r#"{"leader_id":1,"index":3}"#;
    let texts = [
        (0, r#"{"leader_id":{"term":1,"voted_for":2},"committed":false}"#.to_owned()),
        (1, id.to_owned()),
        (4, format!(r#"{{"log_id":{id},"payload":{{"Normal":"x"}}}}"#)),
        (5, r#"{"configs":[[1,2],[2]],"nodes":{"1":null,"2":null,"4":null}}"#.to_owned()),
        (6, r#"{"last_log_id":null,"last_membership":{"log_id":null,"membership":{"configs":[],"nodes":{}}},"snapshot_id":""}"#.to_owned()),
        (8, "1700000000000000000".to_owned()),
        (9, r#""000000000000000000000000000000ab""#.to_owned()),
        (13, r#"{"ReplaceAllVoters":[1,2]}"#.to_owned()),
        (17, id.to_owned()),
        (17, "7".to_owned()),
    ];
    let mut forms: Vec<Vec<u8>> = texts.iter().map(|(kind, text)| tagged(*kind, text)).collect();
    forms.push(tagged(0x83, encoded(&log_id(1, 2, 3))));
    forms.push(tagged(0x86, encoded(&meta())));
    forms.push(tagged(0x87, encoded(&meta().signature())));
    forms
}

fn chunks() -> Vec<Vec<u8>> {
    let chunk = InstallSnapshotRequest::<Types> {
        vote: vote(4, 2),
        meta: quorate_legacy::network_v1::SnapshotMeta::new(meta(), "a-1".to_owned()),
        offset: 512,
        data: b"content".to_vec(),
        done: true,
    };
    vec![tagged(0, serde_json::to_vec(&chunk).unwrap()), tagged(0x80, encoded(&chunk))]
}

/// Plays by lot: the beginning of each is one of the kinds of beginnings that there are.
fn plays(count: u8) -> Vec<Vec<u8>> {
    let mut dice = Dice(u64::from(count));
    (0..count).map(|kind| tagged(kind, (0..160).map(|_| dice.roll() as u8).collect::<Vec<u8>>())).collect()
}

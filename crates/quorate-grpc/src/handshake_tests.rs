//! Every way in which two nodes can fail to agree, over real sockets, as each end sees it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::admission::{Admission, Introduction, Purpose, RequestKind, Session};
use crate::error::{HandshakeError, TransportError, VersionRange};
use crate::handshake::{Failure, accept, dial};
use crate::identity::{Identity, NodeTag, PeerIdentity, Roster, Standing};
use crate::io::Guarded;
use crate::options::PROTOCOL;
use crate::wire;

const CLUSTER: u128 = 0xc1;
const OTHER_CLUSTER: u128 = 0xc2;

#[derive(Default)]
struct Members {
    cluster: Mutex<Option<u128>>,
    standings: HashMap<String, Standing>,
}

impl Roster for Members {
    fn cluster_id(&self) -> Option<u128> {
        *self.cluster.lock().unwrap()
    }

    fn standing(&self, node_id: &str) -> Standing {
        self.standings.get(node_id).copied().unwrap_or(Standing::Unknown)
    }

    fn adopt_cluster(&self, cluster_id: u128) -> BoxFuture<'_, io::Result<()>> {
        *self.cluster.lock().unwrap() = Some(cluster_id);
        Box::pin(std::future::ready(Ok(())))
    }
}

struct Node {
    id: u64,
    uid: u128,
    incarnation: u64,
    cluster: Option<u128>,
    protocol: VersionRange,
    standings: HashMap<String, Standing>,
}

impl Node {
    fn new(id: u64) -> Self {
        let cluster = Some(CLUSTER);
        let uid = u128::from(id) + 0xa0;
        Self { id, uid, incarnation: 1, cluster, protocol: PROTOCOL, standings: HashMap::new() }
    }

    fn knows(mut self, id: u64, standing: Standing) -> Self {
        self.standings.insert(id.to_string(), standing);
        self
    }

    fn admission(self) -> Admission {
        let identity = Identity {
            node_id: self.id.to_string(),
            uid: self.uid,
            incarnation: self.incarnation,
            address: format!("host-{}", self.id),
        };
        let members = Members { cluster: Mutex::new(self.cluster), standings: self.standings };
        Admission::new(identity, Arc::new(members), self.protocol, 1024)
    }
}

fn tag(id: u64) -> NodeTag {
    NodeTag { node_id: id.to_string(), uid: Some(u128::from(id) + 0xa0) }
}

type End = Result<(Arc<Session>, Guarded), Failure>;

/// Lets `dialer` look for `expected` where `listener` is. What each end came to; connections stay open while kept.
async fn meet(dialer: &Admission, expected: Option<&NodeTag>, listener: &Admission) -> (End, End) {
    let purpose = if expected.is_some() { Purpose::Raft } else { Purpose::Calls };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let dialing = async {
        let mut connection = Guarded::new(Box::new(TcpStream::connect(address).await.unwrap()), || {});
        let session = dial(&mut connection, dialer, expected, purpose).await?;
        Ok((session, connection))
    };
    let listening = async {
        let mut connection = Guarded::new(Box::new(socket.accept().await.unwrap().0), || {});
        let session = accept(&mut connection, listener).await?;
        Ok((session, connection))
    };
    tokio::join!(dialing, listening)
}

/// The error of an end, which must be the other node's or this node's own judgement as `theirs` says.
fn refused(end: End, theirs: bool) -> HandshakeError {
    match end {
        Err(Failure::Theirs(error)) if theirs => error,
        Err(Failure::Ours(error)) if !theirs => error,
        Err(other) => panic!("not the expected end: {other:?}"),
        Ok((session, _)) => panic!("let in {:?}", session.peer),
    }
}

/// The error when the listener refuses: both ends must tell the same.
async fn refused_by_listener(
    dialer: &Admission,
    expected: Option<&NodeTag>,
    listener: &Admission,
) -> HandshakeError {
    let (dialing, listening) = meet(dialer, expected, listener).await;
    let (at_dialer, at_listener) = (refused(dialing, true), refused(listening, false));
    assert_eq!(at_dialer, at_listener);
    at_dialer
}

fn let_in(end: End) -> (Arc<Session>, Guarded) {
    end.unwrap_or_else(|failure| panic!("refused: {failure:?}"))
}

#[tokio::test]
async fn members_of_one_cluster_agree() {
    let (a, b) = (Node::new(1).admission(), Node::new(2).admission());
    let (dialing, listening) = meet(&a, Some(&tag(2)), &b).await;
    let ((at_dialer, _a), (at_listener, _b)) = (let_in(dialing), let_in(listening));
    assert_eq!((at_dialer.peer.node_id.as_str(), at_listener.peer.node_id.as_str()), ("2", "1"));
    assert_eq!(b.admit_request(&at_listener, RequestKind::Raft), Ok(()));
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused() {
    let a = Node::new(1).admission();
    let b = Node { cluster: Some(OTHER_CLUSTER), ..Node::new(2) }.admission();
    let error = refused_by_listener(&a, Some(&tag(2)), &b).await;
    assert_eq!(error, HandshakeError::WrongCluster { expected: CLUSTER, found: OTHER_CLUSTER });
    // So it is for a call, where only an address is known.
    let error = refused_by_listener(&a, None, &b).await;
    assert_eq!(error, HandshakeError::WrongCluster { expected: CLUSTER, found: OTHER_CLUSTER });
}

#[tokio::test]
async fn an_address_of_another_node_is_noticed() {
    let (a, b) = (Node::new(1).admission(), Node::new(2).admission());
    for expected in [tag(3), NodeTag { uid: Some(7), ..tag(2) }] {
        let error = refused_by_listener(&a, Some(&expected), &b).await;
        assert_eq!(
            error,
            HandshakeError::WrongNode { expected: Box::new(expected), found: Box::new(tag(2)) }
        );
    }
    // Where the membership holds no uids, the id has to do.
    let (dialing, listening) = meet(&a, Some(&NodeTag { uid: None, ..tag(2) }), &b).await;
    assert!(dialing.is_ok() && listening.is_ok());
}

#[tokio::test]
async fn a_node_does_not_talk_to_itself() {
    let a = Node::new(1).admission();
    let error = refused_by_listener(&a, Some(&tag(2)), &a).await;
    assert_eq!(error, HandshakeError::SelfConnection { address: "host-1".into() });
}

#[tokio::test]
async fn versions_without_overlap_are_refused_as_each_end_sees_them() {
    let newer = VersionRange { min: PROTOCOL.max + 1, max: PROTOCOL.max + 2 };
    let a = Node::new(1).admission();
    let b = Node { protocol: newer, ..Node::new(2) }.admission();
    let (dialing, listening) = meet(&a, Some(&tag(2)), &b).await;
    assert_eq!(refused(dialing, true), HandshakeError::VersionSkew { ours: PROTOCOL, theirs: newer });
    assert_eq!(refused(listening, false), HandshakeError::VersionSkew { ours: newer, theirs: PROTOCOL });
    // A range that reaches over is enough.
    let wide = VersionRange { min: PROTOCOL.min, max: PROTOCOL.max + 2 };
    let b = Node { protocol: wide, ..Node::new(2) }.admission();
    let (dialing, listening) = meet(&a, Some(&tag(2)), &b).await;
    assert!(dialing.is_ok() && listening.is_ok());
}

#[tokio::test]
async fn a_member_with_another_data_directory_is_unknown() {
    let a = Node { uid: 0xff, ..Node::new(1) }.admission();
    let b = Node::new(2).knows(1, Standing::Member { uid: Some(0xa1) }).admission();
    let error = refused_by_listener(&a, Some(&tag(2)), &b).await;
    let expected = HandshakeError::UnknownNode { node_id: "1".into(), expected: 0xa1, found: 0xff };
    assert_eq!(error, expected);
}

#[tokio::test]
async fn of_two_nodes_with_one_id_the_second_is_refused() {
    let (first, second) = (Node::new(1).admission(), Node { uid: 0xff, ..Node::new(1) }.admission());
    let of_id_1 = |addr: &str| HandshakeError::DuplicateNode {
        node_id: "1".into(),
        addr_a: addr.into(),
        addr_b: "host-1".into(),
    };
    for standing in [Standing::Unknown, Standing::Member { uid: Some(0xa1) }] {
        let listener = Node::new(2).knows(1, standing).admission();
        let (dialing, listening) = meet(&first, Some(&tag(2)), &listener).await;
        let (_a, (at_listener, _b)) = (let_in(dialing), let_in(listening));
        assert_eq!(refused_by_listener(&second, Some(&tag(2)), &listener).await, of_id_1("host-1"));
        assert!(!at_listener.gate.is_closed(), "the first goes on");
    }
    // Neither does a node talk to one that has its own id.
    let mine = NodeTag { uid: Some(0xff), ..tag(1) };
    assert_eq!(refused_by_listener(&first, Some(&mine), &second).await, of_id_1("host-1"));
}

#[tokio::test]
async fn of_two_copies_of_a_data_directory_the_second_is_fenced() {
    let (original, copy) = (Node::new(1).admission(), Node::new(1).admission());
    let older = Node { incarnation: 0, ..Node::new(1) }.admission();
    let listener = Node::new(2).knows(1, Standing::Member { uid: Some(0xa1) }).admission();
    let (dialing, listening) = meet(&original, Some(&tag(2)), &listener).await;
    let (_a, (at_listener, held)) = (let_in(dialing), let_in(listening));
    for (copy, incarnation) in [(&copy, 1), (&older, 0)] {
        let error = refused_by_listener(copy, Some(&tag(2)), &listener).await;
        let holder_addr = "host-1".to_string();
        let fenced = HandshakeError::Fenced { node_id: "1".into(), incarnation, holder: 1, holder_addr };
        assert_eq!(error, fenced);
    }
    // A second connection of the same process is welcome, and a restart takes over.
    let (dialing, listening) = meet(&original, Some(&tag(2)), &listener).await;
    let (_c, _d) = (let_in(dialing), let_in(listening));
    let restarted = Node { incarnation: 2, ..Node::new(1) }.admission();
    let (dialing, listening) = meet(&restarted, Some(&tag(2)), &listener).await;
    assert!(dialing.is_ok() && listening.is_ok());
    assert!(at_listener.gate.is_closed(), "the former start is cut off");
    let late = listener.admit_request(&at_listener, RequestKind::Raft);
    assert!(matches!(late, Err(TransportError::Lost { .. })), "{late:?}");
    drop(held);
}

#[tokio::test]
async fn a_copy_is_refused_by_the_original_and_let_in_when_the_original_is_gone() {
    let (original, copy) = (Node::new(1).admission(), Node::new(1).admission());
    let error = refused_by_listener(&copy, Some(&tag(1)), &original).await;
    assert!(matches!(error, HandshakeError::Fenced { .. }), "{error:?}");
    let listener = Node::new(2).admission();
    let (dialing, listening) = meet(&original, Some(&tag(2)), &listener).await;
    drop((let_in(dialing), let_in(listening)));
    let (dialing, listening) = meet(&copy, Some(&tag(2)), &listener).await;
    assert!(dialing.is_ok() && listening.is_ok());
}

#[tokio::test]
async fn a_removed_node_is_told_so() {
    let a = Node::new(1).admission();
    let removed = Standing::Removed { uid: Some(0xa1), index: 42 };
    let b = Node::new(2).knows(1, removed).admission();
    let expected = HandshakeError::Removed { node_id: "1".into(), index: 42 };
    assert_eq!(refused_by_listener(&a, Some(&tag(2)), &b).await, expected);
    assert_eq!(refused_by_listener(&a, None, &b).await, expected);
    // Another node under its id sends no Raft messages either, but may ask to join and be told by the application.
    let reused = Node { uid: 0xff, ..Node::new(1) }.admission();
    assert_eq!(refused_by_listener(&reused, Some(&tag(2)), &b).await, expected);
    let (dialing, listening) = meet(&reused, None, &b).await;
    assert!(dialing.is_ok() && listening.is_ok());
}

#[tokio::test]
async fn a_request_on_an_open_connection_is_refused_after_the_removal() {
    let a = Node::new(1).admission();
    let b = Node::new(2).admission();
    let (dialing, listening) = meet(&a, Some(&tag(2)), &b).await;
    let (_a, (session, _b)) = (let_in(dialing), let_in(listening));
    let later = Node::new(2).knows(1, Standing::Removed { uid: Some(0xa1), index: 9 }).admission();
    let removed = HandshakeError::Removed { node_id: "1".into(), index: 9 };
    assert_eq!(later.admit_request(&session, RequestKind::Raft), Err(TransportError::Handshake(removed)));
}

#[tokio::test]
async fn a_fresh_node_joins_the_cluster_that_addresses_it_by_its_uid() {
    let fresh = || Node { cluster: None, ..Node::new(2) }.admission();
    let a = Node::new(1).admission();
    let b = fresh();
    let (dialing, listening) = meet(&a, Some(&tag(2)), &b).await;
    assert!(dialing.is_ok() && listening.is_ok());
    assert_eq!(b.roster().cluster_id(), Some(CLUSTER));
    // An id alone, or the wrong uid, is not enough.
    let b = fresh();
    let error = refused_by_listener(&a, Some(&NodeTag { uid: None, ..tag(2) }), &b).await;
    assert_eq!(error, HandshakeError::NoCluster { node_id: "2".into() });
    let expected = NodeTag { uid: Some(7), ..tag(2) };
    let error = refused_by_listener(&a, Some(&expected), &b).await;
    assert_eq!(error, HandshakeError::WrongNode { expected: Box::new(expected), found: Box::new(tag(2)) });
    assert_eq!(b.roster().cluster_id(), None);
}

#[tokio::test]
async fn a_fresh_node_may_call_but_sends_no_raft_messages() {
    let fresh = Node { cluster: None, ..Node::new(1) }.admission();
    let b = Node::new(2).admission();
    let error = refused_by_listener(&fresh, Some(&tag(2)), &b).await;
    assert_eq!(error, HandshakeError::NoCluster { node_id: "1".into() });
    let (dialing, listening) = meet(&fresh, None, &b).await;
    let (_a, (session, _b)) = (let_in(dialing), let_in(listening));
    assert_eq!(b.admit_request(&session, RequestKind::Call), Ok(()));
    assert_eq!(b.admit_request(&session, RequestKind::Raft), Err(TransportError::CallsOnly));
}

/// What a node of a cluster says to open a connection for Raft messages.
fn hello(id: u64, cluster: Option<u128>) -> wire::Hello {
    let from = PeerIdentity {
        node_id: id.to_string(),
        uid: u128::from(id) + 0xa0,
        incarnation: 1,
        boot: 5,
        address: "there".into(),
    };
    let introduction = Introduction {
        protocol: PROTOCOL,
        cluster_id: cluster,
        from,
        to: None,
        purpose: Purpose::Raft,
        message_size_max: 1024,
    };
    introduction.write()
}

#[test]
fn a_hello_that_lacks_what_it_must_have_is_refused_by_name() {
    type Damage = fn(&mut wire::Hello);
    let damages: [(&str, Damage); 5] = [
        ("no sender", |hello| hello.from = None),
        ("no uid of the sender", |hello| hello.from.as_mut().unwrap().uid.clear()),
        ("no boot id of the sender", |hello| hello.from.as_mut().unwrap().boot.clear()),
        ("an id of 3 bytes instead of 16", |hello| hello.cluster_id = vec![1, 2, 3].into()),
        ("unknown purpose", |hello| hello.purpose = 7),
    ];
    assert!(Introduction::read(hello(1, Some(CLUSTER))).is_ok());
    for (what, damage) in damages {
        let mut hello = hello(1, Some(CLUSTER));
        damage(&mut hello);
        let error = Introduction::read(hello).map(|_| ()).unwrap_err();
        assert_eq!(error, HandshakeError::Malformed { what: what.into() });
    }
}

#[test]
fn a_listener_of_another_cluster_or_of_none_gets_no_raft_messages() {
    let judge = |ours: Option<u128>, theirs: Option<u128>, purpose: Purpose| {
        let dialer = Node { cluster: ours, ..Node::new(1) }.admission();
        let gate = Guarded::new(Box::new(tokio::io::empty()), || {}).gate();
        dialer.judge_listener(Some(&tag(2)), purpose, hello(2, theirs), gate).map(|_| ())
    };
    let (ours, other) = (Some(CLUSTER), Some(OTHER_CLUSTER));
    let wrong = HandshakeError::WrongCluster { expected: CLUSTER, found: OTHER_CLUSTER };
    assert_eq!(judge(ours, ours, Purpose::Raft), Ok(()));
    assert_eq!(judge(ours, other, Purpose::Raft), Err(wrong.clone()));
    assert_eq!(judge(ours, other, Purpose::Calls), Err(wrong));
    let no_cluster = |node: &str| Err(HandshakeError::NoCluster { node_id: node.into() });
    assert_eq!(judge(ours, None, Purpose::Raft), no_cluster("2"));
    assert_eq!(judge(None, ours, Purpose::Raft), no_cluster("1"));
    assert_eq!(judge(None, ours, Purpose::Calls), Ok(()), "who belongs to no cluster may ask to be let in");
}

#[tokio::test]
async fn a_cluster_id_that_cannot_be_stored_is_not_adopted() {
    /// Knows no cluster, whatever it is told; `Err` says that it could not store it.
    struct Forgetful(io::ErrorKind);

    impl Roster for Forgetful {
        fn cluster_id(&self) -> Option<u128> {
            None
        }

        fn standing(&self, _node_id: &str) -> Standing {
            Standing::Unknown
        }

        fn adopt_cluster(&self, _cluster_id: u128) -> BoxFuture<'_, io::Result<()>> {
            let result = if self.0 == io::ErrorKind::Other { Ok(()) } else { Err(self.0.into()) };
            Box::pin(std::future::ready(result))
        }
    }

    let a = Node::new(1).admission();
    let fresh = |kind| {
        let identity = Identity { node_id: "2".into(), uid: 0xa2, incarnation: 1, address: "host-2".into() };
        Admission::new(identity, Arc::new(Forgetful(kind)), PROTOCOL, 1024)
    };
    let error = refused_by_listener(&a, Some(&tag(2)), &fresh(io::ErrorKind::StorageFull)).await;
    assert!(matches!(&error, HandshakeError::NotStored { .. }), "{error}");
    assert_eq!(error.code(), 14);
    // One that says it has, and has not, is not believed either.
    let error = refused_by_listener(&a, Some(&tag(2)), &fresh(io::ErrorKind::Other)).await;
    assert_eq!(error, HandshakeError::NoCluster { node_id: "2".into() });
}

/// What a listener makes of `bytes`, and what it answers.
async fn send_raw(bytes: &[u8]) -> (Result<(), Failure>, String) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
    let admission = Node::new(2).admission();
    let mut connection = Guarded::new(Box::new(socket.accept().await.unwrap().0), || {});
    let talking = async move {
        client.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        answer
    };
    let listening = async {
        let result = accept(&mut connection, &admission).await;
        drop(connection);
        result
    };
    let (result, answer) = tokio::join!(listening, talking);
    (result.map(|_| ()), String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_client_at_the_peer_port_gets_one_line_that_says_so() {
    for request in ["GET /v1/kv/x HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "x"] {
        let (result, answer) = send_raw(request.as_bytes()).await;
        assert!(matches!(result, Err(Failure::Ours(HandshakeError::WrongProtocol { .. }))), "{result:?}");
        assert!(answer.ends_with("This is a peer port of Quorate; clients use the node's client address.\n"));
        assert_eq!(answer.starts_with("HTTP/1.1 400 "), request.starts_with("GET"));
    }
}

#[tokio::test]
async fn a_frame_longer_than_allowed_is_refused_by_its_length() {
    let mut bytes = b"QUORATE\n".to_vec();
    bytes.extend_from_slice(&u32::MAX.to_be_bytes());
    let (result, _) = send_raw(&bytes).await;
    assert!(matches!(result, Err(Failure::Ours(HandshakeError::Malformed { .. }))), "{result:?}");
}

#[tokio::test]
async fn bytes_that_are_no_hello_are_refused() {
    for body in [&b""[..], &[0xff; 40], &[0x08, 1, 0x10, 1]] {
        let mut bytes = b"QUORATE\n".to_vec();
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        let (result, _) = send_raw(&bytes).await;
        assert!(matches!(result, Err(Failure::Ours(_))), "{result:?}");
    }
}

#[tokio::test]
async fn a_node_that_dials_a_client_port_is_told_what_it_found() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let admission = Node::new(1).admission();
    let serving = async {
        let mut connection = socket.accept().await.unwrap().0;
        connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        connection
    };
    let dialing = async {
        let mut connection = Guarded::new(Box::new(TcpStream::connect(address).await.unwrap()), || {});
        dial(&mut connection, &admission, Some(&tag(2)), Purpose::Raft).await.map(|_| ())
    };
    let (result, _connection) = tokio::join!(dialing, serving);
    match result {
        Err(Failure::Ours(HandshakeError::WrongProtocol { found })) => assert!(found.starts_with("HTTP/1.1")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_reason_that_this_version_does_not_know_is_shown_as_told() {
    let refusal = crate::wire::Refusal { code: 99, detail: vec![1, 2].into(), message: "too late".into() };
    let expected = HandshakeError::Other { code: 99, message: "too late".into() };
    assert_eq!(HandshakeError::from_wire(&refusal), expected);
}

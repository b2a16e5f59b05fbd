//! A conformance suite for networks: what a network does when connections fail, as they do.
//!
//! Each case starts nodes of the application's own types behind real sockets, with a [`Proxy`] in front that holds
//! bytes back, loses them, cuts or refuses, and calls them through the application's own clients. A network that
//! passes never mistakes one answer for another, never waits for ever, comes back by itself after a fault, and talks
//! to nobody but the node that it was told to.
//!
//! A case that fails panics, with what was asked for and what happened.
#![allow(clippy::panic, reason = "a failed test panics")]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;

use crate::base::OptionalSend;
use crate::base::OptionalSync;
use crate::entry::RaftEntry;
use crate::entry::RaftPayload;
use crate::errors::ReplicationClosed;
use crate::log_id::LogIdOptionExt;
use crate::network::NetSnapshot;
use crate::network::NetStreamAppend;
use crate::network::NetTransferLeader;
use crate::network::NetVote;
use crate::network::RPCOption;
use crate::network::RaftNetworkFactory;
use crate::raft::AppendEntriesRequest;
use crate::raft::Raft;
use crate::raft::StreamAppendError;
use crate::raft::StreamAppendResult;
use crate::raft::TransferLeaderRequest;
use crate::raft::VoteRequest;
use crate::runtime::WatchReceiver;
use crate::storage::RaftStateMachine;
use crate::testing::log_id;
use crate::testing::proxy::Fault;
use crate::testing::proxy::Proxy;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::LeaderIdOf;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::SmSnapshotOf;
use crate::type_config::alias::VoteOf;
use crate::types::ServerState;
use crate::vote::RaftLeaderId;
use crate::vote::RaftVote;

/// What a call of the suite may take, as the network is told.
const TTL: Duration = Duration::from_millis(500);

/// What never takes as long, unless it hangs.
const HANG: Duration = Duration::from_secs(60);

/// Between attempts to reach a node that was out of reach.
const RETRY: Duration = Duration::from_millis(50);

/// Requests in the streams of the suite.
const STREAM: u64 = 50;

/// More than most networks take in one message, in bytes.
const OVERSIZE: usize = 8 << 20;

/// What an application brings to have its network tested.
pub trait NetworkBuilder<C, SM>: OptionalSend + OptionalSync + 'static
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// The application's network.
    type Factory: RaftNetworkFactory<C, Network: NetSnapshot<C, SnapshotData = SM::SnapshotData>>;

    /// Keeps a server running; the server stops when it is dropped.
    type Server: OptionalSend;

    /// The network of the node `id`.
    fn factory(&self, id: C::NodeId) -> Self::Factory;

    /// A fresh node on empty stores, with [`factory`](Self::factory) as its network.
    fn raft(&self, id: C::NodeId) -> impl Future<Output = Raft<C, SM>> + OptionalSend;

    /// Serves the RPCs of `raft` on a free local port.
    fn serve(
        &self,
        raft: Raft<C, SM>,
    ) -> impl Future<Output = Result<(SocketAddr, Self::Server), std::io::Error>> + OptionalSend;

    /// The node that is reached at `address`.
    fn node(&self, address: SocketAddr) -> C::Node;

    /// Data of an entry, about `bytes` long.
    fn app_data(&self, bytes: usize) -> C::D;
}

/// The suite: all cases by [`test_all`](Self::test_all), or each by its name.
pub struct Suite<C, SM, B> {
    builder: PhantomData<(C, SM, B)>,
}

/// A node behind a proxy.
struct Served<C, SM, B>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
    B: NetworkBuilder<C, SM>,
{
    raft: Raft<C, SM>,
    address: SocketAddr,
    proxy: Proxy,
    _server: B::Server,
}

type ClientOf<C, SM, B> = <<B as NetworkBuilder<C, SM>>::Factory as RaftNetworkFactory<C>>::Network;

impl<C, SM, B> Suite<C, SM, B>
where
    C: RaftTypeConfig,
    C::NodeId: From<u64>,
    C::Term: From<u64>,
    SM: RaftStateMachine<C>,
    B: NetworkBuilder<C, SM>,
{
    /// Runs all cases, each with nodes of its own.
    pub async fn test_all(builder: &B) {
        Self::calls_arrive_and_are_answered(builder).await;
        Self::stream_answers_in_order_and_ends_with_its_input(builder).await;
        Self::stream_ends_at_a_conflict(builder).await;
        Self::higher_vote_is_an_answer(builder).await;
        Self::snapshot_arrives(builder).await;
        Self::duplicate_request_is_answered_again(builder).await;
        Self::closed_port_is_an_error(builder).await;
        Self::silent_peer_does_no_lasting_harm(builder).await;
        Self::cut_connection_is_replaced(builder).await;
        Self::late_answer_is_not_taken_for_another(builder).await;
        Self::dropped_calls_do_not_confuse_later_ones(builder).await;
        Self::oversize_entry_does_no_lasting_harm(builder).await;
        Self::wrong_peer_is_not_talked_to(builder).await;
        Self::snapshot_is_given_up_when_cancelled(builder).await;
        Self::stuck_snapshot_does_not_stand_before_a_heartbeat(builder).await;
        Self::server_survives_garbage(builder).await;
        Self::stopped_node_is_an_error(builder).await;
        Self::cluster_works_on_after_faults(builder).await;
    }

    /// Each kind of call has the effect and the answer that it has without a network.
    pub async fn calls_arrive_and_are_answered(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        let vote = vote_of::<C>(2, 1, false);
        let answer =
            within::<C, _>("a vote", client.vote(VoteRequest::new(vote.clone(), None), option())).await;
        let answer = expect_ok("a vote", answer);
        assert!(
            answer.vote_granted && answer.vote == vote,
            "a first vote is granted, but the answer was {answer}"
        );
        let pre = VoteRequest::new(vote_of::<C>(3, 1, false), None);
        expect_ok("a pre-vote", within::<C, _>("a pre-vote", client.pre_vote(pre, option())).await);
        let kept = served.raft.metrics().borrow_watched().current_term;
        assert!(kept == C::Term::from(2), "a pre-vote changes no vote, but the term is {kept}");
        let request = TransferLeaderRequest::new(vote_of::<C>(2, 1, true), C::NodeId::from(3), None);
        let answer = within::<C, _>("a transfer", client.transfer_leader(request, option())).await;
        let answer = expect_ok("a transfer of leadership", answer);
        assert!(
            answer.is_ok(),
            "a node that is not the target agrees to a transfer, but the answer was {answer:?}"
        );
        let answers = stream_of(&mut client, requests::<C>(2, 0, 1)).await;
        assert_all_taken::<C>(&answers, 0, 1);
    }

    /// Many requests in one stream: as many answers, in order, and the end.
    pub async fn stream_answers_in_order_and_ends_with_its_input(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        let answers = stream_of(&mut client, requests::<C>(1, 0, STREAM)).await;
        assert_all_taken::<C>(&answers, 0, STREAM);
    }

    /// The stream's answers end with the first conflict, though there are requests left.
    pub async fn stream_ends_at_a_conflict(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        let mut input = requests::<C>(1, 0, 3);
        input.extend(requests::<C>(1, 10, 3));
        let answers = stream_of(&mut client, input).await;
        assert_all_taken::<C>(answers.get(..3).unwrap_or(&answers), 0, 3);
        let expected: Result<_, String> = Ok(Err(StreamAppendError::Conflict(id::<C>(9))));
        assert_eq!(answers.get(3), Some(&expected), "the fourth request conflicts before its first entry");
        assert_eq!(answers.len(), 4, "the answers end after a conflict");
    }

    /// A higher vote is told as an answer, not as an error of the network.
    pub async fn higher_vote_is_an_answer(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        let higher = vote_of::<C>(9, 3, false);
        let answer =
            within::<C, _>("a vote", client.vote(VoteRequest::new(higher.clone(), None), option())).await;
        expect_ok("a vote", answer);
        let answers = stream_of(&mut client, requests::<C>(1, 0, 1)).await;
        let expected: Result<_, String> = Ok(Err(StreamAppendError::HigherVote(higher)));
        assert_eq!(answers, [expected], "the leader of an old term is told the newer vote");
    }

    /// A snapshot arrives whole, with its metadata.
    pub async fn snapshot_arrives(builder: &B) {
        let source = source(builder).await;
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        let (vote, snapshot) = snapshot_of(&source).await;
        let last = snapshot.meta.last_log_id.clone();
        let sent = client.full_snapshot(vote.clone(), snapshot, std::future::pending(), option());
        let answer = within::<C, _>("a snapshot", sent)
            .await
            .unwrap_or_else(|error| panic!("a snapshot failed: {error}"));
        assert!(answer.vote == vote, "a snapshot of the leader is taken, but the answer was {answer}");
        let metrics =
            served.raft.wait(Some(HANG)).applied_index(last.index(), "the snapshot is installed").await;
        let applied = metrics.unwrap_or_else(|error| panic!("{error}")).last_applied;
        assert!(applied == last, "the snapshot ends at {last:?}, but applied is {applied:?}");
    }

    /// The same request twice: the second is answered like the first.
    pub async fn duplicate_request_is_answered_again(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        for _ in 0..2 {
            let answers = stream_of(&mut client, requests::<C>(1, 0, 3)).await;
            assert_all_taken::<C>(&answers, 0, 3);
        }
    }

    /// Nobody listens: an error, soon.
    pub async fn closed_port_is_an_error(builder: &B) {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let free = free.unwrap_or_else(|error| panic!("no free port: {error}"));
        let mut client = client_to(builder, 2, free).await;
        let vote = VoteRequest::new(vote_of::<C>(2, 1, false), None);
        let answer = within::<C, _>("a vote on a closed port", client.vote(vote, option())).await;
        assert!(answer.is_err(), "nobody listens, but the answer was {:?}", answer.ok());
    }

    /// A peer that took the connection and fell silent for ever: the call fails or is given up, and the next ones
    /// reach the peer again.
    pub async fn silent_peer_does_no_lasting_harm(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        expect_reached(&mut client, "before the fault").await;
        served.proxy.set(Fault::Lose);
        assert!(try_call(&mut client).await.is_none(), "no answer can come from a silent peer");
        served.proxy.set(Fault::None);
        expect_reached(&mut client, "after the peer fell silent").await;
    }

    /// Connections that are cut, between calls or in the middle of one, are made anew.
    pub async fn cut_connection_is_replaced(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        expect_reached(&mut client, "before the fault").await;
        served.proxy.cut();
        expect_reached(&mut client, "after a cut").await;
        for bytes in [1, 10, 30, 100, 300, 1000] {
            served.proxy.set(Fault::CutAfter(bytes));
            let _ = try_call(&mut client).await;
            served.proxy.set(Fault::None);
            expect_reached(&mut client, &format!("after a cut behind {bytes} bytes")).await;
        }
        served.proxy.set(Fault::Refuse);
        assert!(try_call(&mut client).await.is_none(), "no answer can come through a refused connection");
        served.proxy.set(Fault::None);
        expect_reached(&mut client, "after connections were refused").await;
    }

    /// An answer that comes after its call was given up is never the answer to a later call.
    pub async fn late_answer_is_not_taken_for_another(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        let granted = || VoteRequest::new(vote_of::<C>(5, 1, false), None);
        expect_ok("a vote", within::<C, _>("a vote", client.vote(granted(), option())).await);
        served.proxy.set(Fault::Hold);
        // This one will be granted again, late.
        let given_up = C::timeout(TTL, client.vote(granted(), option())).await;
        assert!(!matches!(given_up, Ok(Ok(_))), "no answer can come while bytes are held back");
        served.proxy.set(Fault::None);
        for _ in 0..20 {
            // And this one never.
            let refused = VoteRequest::new(vote_of::<C>(3, 1, false), None);
            if let Ok(answer) = within::<C, _>("a vote", client.vote(refused, option())).await {
                let text = "a vote of an old term was answered with a late answer to another";
                assert!(!answer.vote_granted, "{text}: {answer}");
            }
        }
        expect_reached(&mut client, "after late answers").await;
    }

    /// Calls that are dropped at any point leave the client in order.
    pub async fn dropped_calls_do_not_confuse_later_ones(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        let granted = || VoteRequest::new(vote_of::<C>(5, 1, false), None);
        expect_ok("a vote", within::<C, _>("a vote", client.vote(granted(), option())).await);
        for round in 0..20 {
            let _ = C::timeout(Duration::from_micros(50 * round), client.vote(granted(), option())).await;
            let input = stream::iter(requests::<C>(1, 0, 3)).chain(stream::pending());
            let opened = C::timeout(Duration::from_micros(50 * round), open(&mut client, input)).await;
            drop(opened);
        }
        let refused = VoteRequest::new(vote_of::<C>(3, 1, false), None);
        let answer = expect_ok("a vote", within::<C, _>("a vote", client.vote(refused, option())).await);
        assert!(
            !answer.vote_granted,
            "a vote of an old term was answered with the answer to another: {answer}"
        );
    }

    /// An entry larger than most messages is taken or refused, and what follows works.
    pub async fn oversize_entry_does_no_lasting_harm(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        let mut input = requests::<C>(1, 0, 1);
        let payload = C::Payload::normal(builder.app_data(OVERSIZE));
        if let Some(request) = input.first_mut() {
            request.entries = vec![C::Entry::new(id::<C>(0), payload)];
        }
        let _ = stream_of(&mut client, input).await;
        expect_reached(&mut client, "after an entry of 8 MiB").await;
    }

    /// An address that leads to another node than the one that is meant: an error, and that node is left in peace.
    pub async fn wrong_peer_is_not_talked_to(builder: &B) {
        let other = serve(builder, 3).await;
        let mut client = other.client(builder, 2).await;
        let vote = VoteRequest::new(vote_of::<C>(7, 1, false), None);
        let answer = within::<C, _>("a vote of the wrong node", client.vote(vote, option())).await;
        assert!(answer.is_err(), "node 3 answered what node 2 was asked: {:?}", answer.ok());
        let term = other.raft.metrics().borrow_watched().current_term;
        assert!(term == C::Term::default(), "node 3 took the vote that node 2 was asked for");
    }

    /// A snapshot that is cancelled ends soon, though the peer is silent.
    pub async fn snapshot_is_given_up_when_cancelled(builder: &B) {
        let source = source(builder).await;
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        served.proxy.set(Fault::Lose);
        let (vote, snapshot) = snapshot_of(&source).await;
        let cancel = C::sleep(TTL).map(|()| ReplicationClosed::new("the suite cancels it"));
        let sent =
            within::<C, _>("a cancelled snapshot", client.full_snapshot(vote, snapshot, cancel, option()))
                .await;
        assert!(sent.is_err(), "a snapshot cannot arrive at a silent peer");
    }

    /// A snapshot that gets nowhere does not stand before what other clients send.
    pub async fn stuck_snapshot_does_not_stand_before_a_heartbeat(builder: &B) {
        let source = source(builder).await;
        let served = serve(builder, 2).await;
        let node = builder.node(served.proxy.address());
        let mut factory = builder.factory(C::NodeId::from(1));
        let mut for_snapshots = factory.new_snapshot_client(C::NodeId::from(2), &node).await;
        let mut for_heartbeats = factory.new_heartbeat_client(C::NodeId::from(2), &node).await;
        served.proxy.set(Fault::Lose);
        let (vote, snapshot) = snapshot_of(&source).await;
        let (cancel, cancelled) = C::oneshot::<()>();
        let cancelled = cancelled.map(|_| ReplicationClosed::new("the suite cancels it"));
        let stuck = C::spawn(async move {
            let _ = for_snapshots.full_snapshot(vote, snapshot, cancelled, option()).await;
        });
        C::sleep(TTL).await;
        served.proxy.set(Fault::None);
        expect_reached(&mut for_heartbeats, "while a snapshot is stuck").await;
        drop(cancel);
        assert!(
            within::<C, _>("a cancelled snapshot", stuck).await.is_ok(),
            "the snapshot's sender panicked"
        );
    }

    /// Bytes that mean nothing, or stop in the middle, harm nobody but their sender.
    pub async fn server_survives_garbage(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        expect_reached(&mut client, "before the garbage").await;
        let garbage: [&[u8]; 6] =
            [b"", b"\0", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n", &[0xff; 64], &[0x5a; 100_000]];
        for bytes in garbage {
            // The server may close at any byte.
            let _ = TcpStream::connect(served.address).and_then(|mut stream| stream.write_all(bytes));
        }
        expect_reached(&mut client, "after garbage").await;
        let mut fresh = served.client(builder, 2).await;
        expect_reached(&mut fresh, "after garbage, on a new connection").await;
    }

    /// A node that has stopped answers with an error.
    pub async fn stopped_node_is_an_error(builder: &B) {
        let served = serve(builder, 2).await;
        let mut client = served.client(builder, 2).await;
        expect_reached(&mut client, "before it stops").await;
        let _ = served.raft.shutdown().await;
        assert!(try_call(&mut client).await.is_none(), "a node that has stopped answers nothing");
    }

    /// Three nodes work on after each kind of fault at each of them, and agree in the end.
    pub async fn cluster_works_on_after_faults(builder: &B) {
        let mut nodes = Vec::new();
        for id in 1..=3 {
            nodes.push(serve(builder, id).await);
        }
        let address = |(id, served): (u64, &Served<C, SM, B>)| {
            (C::NodeId::from(id), builder.node(served.proxy.address()))
        };
        let members: BTreeMap<_, _> = (1..).zip(&nodes).map(address).collect();
        for served in nodes.iter().take(1) {
            expect_ok("a first membership", served.raft.initialize(members.clone()).await);
        }
        let rafts: Vec<_> = nodes.iter().map(|served| served.raft.clone()).collect();
        write(builder, &rafts).await;
        let delay = Fault::Delay(Duration::from_millis(5));
        for fault in [Fault::Hold, Fault::Lose, delay, Fault::CutAfter(700), Fault::Refuse] {
            for served in &nodes {
                served.proxy.set(fault);
                for _ in 0..3 {
                    write(builder, &rafts).await;
                }
                served.proxy.set(Fault::None);
            }
        }
        let last = write(builder, &rafts).await;
        for served in &nodes {
            let caught_up =
                served.raft.wait(Some(HANG)).applied_index_at_least(Some(last), "all faults ended").await;
            assert!(caught_up.is_ok(), "a node did not catch up after the faults: {caught_up:?}");
        }
    }
}

impl<C, SM, B> Served<C, SM, B>
where
    C: RaftTypeConfig,
    C::NodeId: From<u64>,
    SM: RaftStateMachine<C>,
    B: NetworkBuilder<C, SM>,
{
    /// A client of node 1 that is told that node `target` is here.
    async fn client(&self, builder: &B, target: u64) -> ClientOf<C, SM, B> {
        client_to::<C, SM, B>(builder, target, self.proxy.address()).await
    }
}

async fn serve<C, SM, B>(builder: &B, id: u64) -> Served<C, SM, B>
where
    C: RaftTypeConfig,
    C::NodeId: From<u64>,
    SM: RaftStateMachine<C>,
    B: NetworkBuilder<C, SM>,
{
    let raft = builder.raft(C::NodeId::from(id)).await;
    let served = builder.serve(raft.clone()).await;
    let (address, server) = served.unwrap_or_else(|error| panic!("node {id} cannot be served: {error}"));
    let proxy = Proxy::start(address).unwrap_or_else(|error| panic!("no proxy: {error}"));
    Served { raft, address, proxy, _server: server }
}

async fn client_to<C, SM, B>(builder: &B, target: u64, address: SocketAddr) -> ClientOf<C, SM, B>
where
    C: RaftTypeConfig,
    C::NodeId: From<u64>,
    SM: RaftStateMachine<C>,
    B: NetworkBuilder<C, SM>,
{
    builder.factory(C::NodeId::from(1)).new_client(C::NodeId::from(target), &builder.node(address)).await
}

/// A cluster of node 1 alone, with a snapshot.
async fn source<C, SM, B>(builder: &B) -> Raft<C, SM>
where
    C: RaftTypeConfig,
    C::NodeId: From<u64>,
    SM: RaftStateMachine<C>,
    B: NetworkBuilder<C, SM>,
{
    let raft = builder.raft(C::NodeId::from(1)).await;
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let members = BTreeMap::from([(C::NodeId::from(1), builder.node(nobody))]);
    expect_ok("a first membership", raft.initialize(members).await);
    let leads = raft.wait(Some(HANG)).state(ServerState::Leader, "a single node leads").await;
    assert!(leads.is_ok(), "{leads:?}");
    let mut last = None;
    for _ in 0..16 {
        let written = raft.client_write(builder.app_data(64 << 10)).await;
        last = Some(written.unwrap_or_else(|error| panic!("a write failed: {error}")).log_id);
    }
    expect_ok("a snapshot", raft.trigger().snapshot().await);
    let last = last.unwrap_or_else(|| panic!("nothing was written"));
    let built = raft.wait(Some(HANG)).snapshot(last, "a snapshot is built").await;
    assert!(built.is_ok(), "{built:?}");
    raft
}

async fn snapshot_of<C, SM>(source: &Raft<C, SM>) -> (VoteOf<C>, SmSnapshotOf<C, SM>)
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    let vote = source.metrics().borrow_watched().vote.clone();
    let snapshot = expect_ok("the current snapshot", source.get_snapshot().await);
    (vote, snapshot.unwrap_or_else(|| panic!("the state machine built a snapshot, but has none")))
}

/// Writes one entry through whoever leads; its index.
async fn write<C, SM, B>(builder: &B, nodes: &[Raft<C, SM>]) -> u64
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
    B: NetworkBuilder<C, SM>,
{
    let written = within::<C, _>("a write through whoever leads", async {
        loop {
            for raft in nodes {
                if let Ok(Ok(written)) = C::timeout(TTL * 2, raft.client_write(builder.app_data(100))).await {
                    return written.log_id.index;
                }
            }
            C::sleep(RETRY).await;
        }
    });
    written.await
}

fn option() -> RPCOption {
    RPCOption::new(TTL)
}

fn vote_of<C>(term: u64, node: u64, committed: bool) -> VoteOf<C>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
{
    VoteOf::<C>::from_leader_id(LeaderIdOf::<C>::new(C::Term::from(term), C::NodeId::from(node)), committed)
}

fn id<C>(index: u64) -> LogIdOf<C>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
{
    log_id::<C>(1, C::NodeId::from(1), index)
}

/// `count` requests of the leader of `term`, each with one entry without data, from index `first` on.
fn requests<C>(term: u64, first: u64, count: u64) -> Vec<AppendEntriesRequest<C>>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
{
    let request = |index: u64| AppendEntriesRequest {
        vote: vote_of::<C>(term, 1, true),
        prev_log_id: index.checked_sub(1).map(id::<C>),
        entries: vec![C::Entry::new_blank(id::<C>(index))],
        leader_commit: None,
    };
    (first..first.saturating_add(count)).map(request).collect()
}

type Answer<C> = Result<StreamAppendResult<C>, String>;

fn assert_all_taken<C>(answers: &[Answer<C>], first: u64, count: u64)
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
{
    let expected: Vec<Answer<C>> =
        (first..first.saturating_add(count)).map(|at| Ok(Ok(Some(id::<C>(at))))).collect();
    assert_eq!(
        answers, expected,
        "each request is answered by its last entry, in order, and then the answers end"
    );
}

async fn open<C, N, S>(client: &mut N, input: S) -> Vec<Answer<C>>
where
    C: RaftTypeConfig,
    N: NetStreamAppend<C>,
    S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
{
    match client.stream_append(input, option()).await {
        Ok(answers) => answers.map(|answer| answer.map_err(|error| error.to_string())).collect().await,
        Err(error) => vec![Err(error.to_string())],
    }
}

/// All answers to `input`.
async fn stream_of<C, N>(client: &mut N, input: Vec<AppendEntriesRequest<C>>) -> Vec<Answer<C>>
where
    C: RaftTypeConfig,
    N: NetStreamAppend<C>,
{
    within::<C, _>("a stream of requests", open(client, stream::iter(input))).await
}

/// A call that changes nothing; `None` if no answer came in time.
async fn try_call<C, N>(client: &mut N) -> Option<()>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
    N: NetVote<C>,
{
    // A vote of term 0 is never granted.
    let request = VoteRequest::new(vote_of::<C>(0, 1, false), None);
    let answer = C::timeout(TTL * 2, client.vote(request, option())).await;
    answer.ok()?.ok().map(drop)
}

async fn expect_reached<C, N>(client: &mut N, when: &str)
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
    N: NetVote<C>,
{
    let reached = async {
        while try_call(client).await.is_none() {
            C::sleep(RETRY).await;
        }
    };
    assert!(C::timeout(HANG, reached).await.is_ok(), "the peer cannot be reached {when}");
}

/// What `call` gives, unless it hangs.
async fn within<C: RaftTypeConfig, F: Future + OptionalSend>(what: &str, call: F) -> F::Output {
    match C::timeout(HANG, call).await {
        Ok(out) => out,
        Err(_) => panic!("{what} hangs: no end after {HANG:?}"),
    }
}

fn expect_ok<T, E: Display>(what: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{what} failed on a healthy network: {error}"))
}

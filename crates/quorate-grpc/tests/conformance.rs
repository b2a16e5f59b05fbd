//! The library's conformance suite for networks, on nodes that talk through this transport.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use quorate::base::BoxStream;
use quorate::entry::{EntryPayload, RaftEntry};
use quorate::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use quorate::network::{
    NetAppend, NetSnapshot, NetStreamAppend, NetVote, RPCOption, RaftNetworkV2, stream_append_sequential,
};
use quorate::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest,
    VoteResponse,
};
use quorate::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, SnapshotMeta};
use quorate::testing::network::{NetworkBuilder, Suite};
use quorate::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use quorate::{BasicNode, Config, Raft, RaftNetworkFactory};
use quorate_grpc::{
    GrpcNetwork, GrpcNetworkFactory, HandshakeError, Identity, NoCalls, Roster, SnapshotFiles, SnapshotSink,
    SnapshotSource, Standing, Transport, TransportOptions, tcp_incoming,
};
use quorate_log::{LogStore, Options};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A member is known by its address alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
struct Member(BasicNode);

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl quorate_grpc::PeerAddress for Member {
    fn peer_address(&self) -> String {
        self.0.addr.clone()
    }

    fn uid(&self) -> Option<u128> {
        None
    }
}

quorate::declare_raft_types!(Types: Node = Member);

/// Keeps how many bytes it was given, and snapshots as long as that.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<Content>>);

#[derive(Clone, Default)]
struct Content {
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    bytes: usize,
    snapshot: Option<SnapshotOf<Types, Vec<u8>>>,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        let content = self.0.lock().unwrap();
        Ok((content.applied, content.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let mut content = self.0.lock().unwrap();
            content.applied = Some(entry.log_id());
            match &entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(data) => content.bytes += data.len(),
                EntryPayload::Membership(membership) => {
                    content.membership =
                        StoredMembershipOf::<Types>::new(Some(entry.log_id()), membership.clone());
                }
            }
            if let Some(responder) = responder {
                responder.send(String::new());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: Vec<u8>,
    ) -> Result<(), io::Error> {
        let mut content = self.0.lock().unwrap();
        content.applied = meta.last_log_id;
        content.membership = meta.last_membership.clone();
        content.bytes = snapshot.len();
        content.snapshot = Some(SnapshotOf::<Types, _> { meta: meta.clone(), snapshot });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, Vec<u8>>>, io::Error> {
        Ok(self.0.lock().unwrap().snapshot.clone())
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, Vec<u8>>, io::Error> {
        let mut content = self.0.lock().unwrap();
        let meta = SnapshotMeta { last_log_id: content.applied, last_membership: content.membership.clone() };
        let snapshot = SnapshotOf::<Types, _> { meta, snapshot: vec![7; content.bytes] };
        content.snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }
}

struct InMemory;

struct Source(Vec<u8>);

#[derive(Default)]
struct Sink(Vec<u8>);

impl SnapshotFiles for InMemory {
    type Data = Vec<u8>;
    type Source = Source;
    type Sink = Sink;

    fn open(&self, data: &Vec<u8>) -> io::Result<Source> {
        Ok(Source(data.clone()))
    }

    fn create(&self, _from: &str, _length: u64) -> io::Result<Sink> {
        Ok(Sink::default())
    }
}

impl SnapshotSource for Source {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn checksum(&self) -> Option<u32> {
        None
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        buffer.copy_from_slice(&self.0[offset..offset + buffer.len()]);
        Ok(())
    }
}

impl SnapshotSink for Sink {
    type Data = Vec<u8>;

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// All nodes belong to one cluster.
struct OneCluster;

impl Roster for OneCluster {
    fn cluster_id(&self) -> Option<u128> {
        Some(1)
    }

    fn standing(&self, _node_id: &str) -> Standing {
        Standing::Unknown
    }

    fn adopt_cluster(&self, _cluster_id: u128) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn refused(&self, _address: &str, _error: &HandshakeError) {}
}

struct Builder {
    directory: TempDir,
    config: Arc<Config>,
    /// One a node: what it serves by and calls by.
    transports: Mutex<HashMap<u64, Transport>>,
}

impl Builder {
    fn transport(&self, id: u64) -> Transport {
        self.transports.lock().unwrap().entry(id).or_insert_with(|| transport(id)).clone()
    }
}

/// Stops serving when dropped.
struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn transport(id: u64) -> Transport {
    let identity =
        Identity { node_id: id.to_string(), uid: u128::from(id), incarnation: 1, address: String::new() };
    let options = TransportOptions {
        reconnect_delay_max: Duration::from_millis(100),
        keep_alive_interval: Duration::from_millis(200),
        keep_alive_timeout: Duration::from_millis(300),
        ..Default::default()
    };
    Transport::new(identity, Arc::new(OneCluster), options)
}

impl NetworkBuilder<Types, Machine> for Builder {
    type Factory = GrpcNetworkFactory<Types, InMemory>;
    type Server = Serving;

    fn factory(&self, id: u64) -> Self::Factory {
        self.transport(id).network(id, Arc::new(InMemory))
    }

    async fn raft(&self, id: u64) -> Raft<Types, Machine> {
        let path = tempfile::tempdir_in(self.directory.path()).unwrap().keep();
        let log = LogStore::<Types>::open(path, Options::default()).unwrap();
        Raft::new(id, self.config.clone(), self.factory(id), log, Machine::default()).await.unwrap()
    }

    async fn serve(&self, raft: Raft<Types, Machine>) -> Result<(SocketAddr, Serving), io::Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let transport = self.transport(*raft.node_id());
        let serving = tokio::spawn(async move {
            let (incoming, snapshots) = (tcp_incoming(listener), Arc::new(InMemory));
            let never = std::future::pending();
            transport
                .serve::<Types, _, _, _>(incoming, Arc::new(raft), snapshots, Arc::new(NoCalls), never)
                .await
                .unwrap();
        });
        Ok((address, Serving(serving)))
    }

    fn node(&self, address: SocketAddr) -> Member {
        Member(BasicNode::new(address))
    }

    fn app_data(&self, bytes: usize) -> String {
        "x".repeat(bytes)
    }
}

fn builder() -> Builder {
    let config = Config {
        election_timeout_min: 500,
        election_timeout_max: 1000,
        heartbeat_interval: 100,
        ..Config::default()
    };
    Builder {
        directory: tempfile::tempdir().unwrap(),
        config: Arc::new(config.validate().unwrap()),
        transports: Mutex::default(),
    }
}

macro_rules! cases {
    ($($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                Suite::<Types, Machine, Builder>::$case(&builder()).await;
            }
        )*
    };
}

cases! {
    calls_arrive_and_are_answered
    stream_answers_in_order_and_ends_with_its_input
    stream_ends_at_a_conflict
    higher_vote_is_an_answer
    snapshot_arrives
    duplicate_request_is_answered_again
    closed_port_is_an_error
    silent_peer_does_no_lasting_harm
    cut_connection_is_replaced
    late_answer_is_not_taken_for_another
    dropped_calls_do_not_confuse_later_ones
    oversize_entry_does_no_lasting_harm
    wrong_peer_is_not_talked_to
    snapshot_is_given_up_when_cancelled
    stuck_snapshot_does_not_stand_before_a_heartbeat
    server_survives_garbage
    stopped_node_is_an_error
    cluster_works_on_after_faults
}

/// What a broken network does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// Gives the answer to the call before.
    AnswersLate,
    /// Takes silence for consent.
    GrantsByItself,
    /// Takes an answer for a failure.
    FailsAtHigherVotes,
    /// Loses the last answer of a stream.
    EndsStreamsEarly,
    /// Talks to whoever is there.
    TrustsAnybody,
}

struct BrokenBuilder(Builder, Wrong);

struct BrokenFactory(GrpcNetworkFactory<Types, InMemory>, Wrong);

struct BrokenNetwork {
    network: GrpcNetwork<Types, InMemory>,
    wrong: Wrong,
    voted: Option<VoteResponse<Types>>,
}

impl RaftNetworkFactory<Types> for BrokenFactory {
    type Network = BrokenNetwork;

    async fn new_client(&mut self, target: u64, node: &Member) -> BrokenNetwork {
        let target = if self.1 == Wrong::TrustsAnybody { 3 } else { target };
        BrokenNetwork { network: self.0.new_client(target, node).await, wrong: self.1, voted: None }
    }
}

impl RaftNetworkV2<Types> for BrokenNetwork {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let answer = NetAppend::append_entries(&mut self.network, rpc, option).await?;
        match answer {
            AppendEntriesResponse::HigherVote(_) if self.wrong == Wrong::FailsAtHigherVotes => {
                Err(Unreachable::from_string("the peer does not want us").into())
            }
            answer => Ok(answer),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        if self.wrong == Wrong::EndsStreamsEarly {
            return NetStreamAppend::stream_append(&mut self.network, input.take(40), option);
        }
        stream_append_sequential(self, input, option)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = NetVote::vote(&mut self.network, rpc.clone(), option).await;
        match self.wrong {
            Wrong::AnswersLate => {
                let answer = answer?;
                Ok(self.voted.replace(answer.clone()).unwrap_or(answer))
            }
            Wrong::GrantsByItself => Ok(answer.unwrap_or(VoteResponse::new(rpc.vote, None, true))),
            _ => answer,
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, Vec<u8>>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        NetSnapshot::full_snapshot(&mut self.network, vote, snapshot, cancel, option).await
    }
}

impl NetworkBuilder<Types, Machine> for BrokenBuilder {
    type Factory = BrokenFactory;
    type Server = Serving;

    fn factory(&self, id: u64) -> BrokenFactory {
        BrokenFactory(self.0.factory(id), self.1)
    }

    async fn raft(&self, id: u64) -> Raft<Types, Machine> {
        self.0.raft(id).await
    }

    async fn serve(&self, raft: Raft<Types, Machine>) -> Result<(SocketAddr, Serving), io::Error> {
        self.0.serve(raft).await
    }

    fn node(&self, address: SocketAddr) -> Member {
        self.0.node(address)
    }

    fn app_data(&self, bytes: usize) -> String {
        self.0.app_data(bytes)
    }
}

macro_rules! broken {
    ($($wrong:ident in $case:ident: $told:literal)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[should_panic(expected = $told)]
            #[allow(non_snake_case)]
            async fn $wrong() {
                let broken = BrokenBuilder(builder(), Wrong::$wrong);
                Suite::<Types, Machine, BrokenBuilder>::$case(&broken).await;
            }
        )*
    };
}

broken! {
    AnswersLate in late_answer_is_not_taken_for_another: "with a late answer to another"
    GrantsByItself in closed_port_is_an_error: "nobody listens"
    FailsAtHigherVotes in higher_vote_is_an_answer: "the leader of an old term is told the newer vote"
    EndsStreamsEarly in stream_answers_in_order_and_ends_with_its_input: "each request is answered"
    TrustsAnybody in wrong_peer_is_not_talked_to: "node 3 answered what node 2 was asked"
}

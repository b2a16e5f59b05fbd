//! A Raft that does as it is told, and nodes that serve it on loopback.
#![allow(dead_code, unreachable_pub)]

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use quorate::declare_raft_types;
use quorate::errors::Fatal;
use quorate::impls::leader_id_adv::LeaderId;
use quorate::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate::type_config::alias::{LogIdOf, SnapshotOf, VoteOf};
use quorate::{Entry, EntryPayload, LogId, RaftNetworkFactory, Vote};
use quorate_grpc::{
    CallHandler, CallRefusal, Caller, Connection, Connector, GrpcNetwork, HandshakeError, Identity, Incoming,
    PeerAddress, PeerService, Roster, SnapshotFiles, SnapshotSink, SnapshotSource, Standing, Transport,
    TransportOptions, tcp_incoming,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

pub const CLUSTER: u128 = 0xc1;
/// Long enough for anything that works, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct TestNode {
    pub address: String,
    pub uid: u128,
}

impl fmt::Display for TestNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl PeerAddress for TestNode {
    fn peer_address(&self) -> String {
        self.address.clone()
    }

    fn uid(&self) -> Option<u128> {
        Some(self.uid)
    }
}

declare_raft_types!(
    pub Types:
        Node = TestNode,
);

pub fn vote() -> VoteOf<Types> {
    Vote::new_committed(1, 1)
}

pub fn log_id(index: u64) -> LogIdOf<Types> {
    LogId::new(LeaderId { term: 1, node_id: 1 }, index)
}

/// The entries `from` up to `to`, each with `size` bytes of payload, after `from - 1`.
pub fn append(from: u64, to: u64, size: usize) -> AppendEntriesRequest<Types> {
    let entry = |index| Entry { log_id: log_id(index), payload: EntryPayload::Normal("x".repeat(size)) };
    AppendEntriesRequest {
        vote: vote(),
        prev_log_id: from.checked_sub(1).map(log_id),
        entries: (from..=to).map(entry).collect(),
        leader_commit: None,
    }
}

pub fn heartbeat() -> AppendEntriesRequest<Types> {
    AppendEntriesRequest { vote: vote(), prev_log_id: None, entries: Vec::new(), leader_commit: None }
}

/// A request as the fake has seen it: its previous entry, and how many entries it has.
pub type Seen = (Option<u64>, usize);

pub struct FakeRaft {
    seen: mpsc::UnboundedSender<Seen>,
    /// One permit lets one request of a stream be answered.
    pub answers: Arc<Semaphore>,
    /// A stream answers a request that begins here with a conflict.
    pub conflict_at: Mutex<Option<u64>>,
    pub votes: AtomicUsize,
    pub is_hanging: std::sync::atomic::AtomicBool,
    pub hung: Notify,
    pub installing: Notify,
    pub installs: Semaphore,
    pub installed: Mutex<Vec<Vec<u8>>>,
}

impl FakeRaft {
    fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Seen>) {
        let (seen, receiver) = mpsc::unbounded_channel();
        let raft = Self {
            seen,
            answers: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            conflict_at: Mutex::new(None),
            votes: AtomicUsize::new(0),
            is_hanging: false.into(),
            hung: Notify::new(),
            installing: Notify::new(),
            installs: Semaphore::new(Semaphore::MAX_PERMITS),
            installed: Mutex::default(),
        };
        (Arc::new(raft), receiver)
    }

    pub fn votes(&self) -> usize {
        self.votes.load(Ordering::SeqCst)
    }

    async fn maybe_hang(&self) {
        if self.is_hanging.load(Ordering::SeqCst) {
            self.hung.notify_one();
            std::future::pending().await
        }
    }
}

impl PeerService<Types> for FakeRaft {
    type SnapshotData = TestSnapshot;

    async fn append_entries(
        &self,
        rpc: AppendEntriesRequest<Types>,
    ) -> Result<AppendEntriesResponse<Types>, Fatal<Types>> {
        let _ = self.seen.send((rpc.prev_log_id.map(|id| id.index), rpc.entries.len()));
        self.maybe_hang().await;
        Ok(AppendEntriesResponse::Success)
    }

    fn stream_append<S>(
        &self,
        input: S,
    ) -> impl Stream<Item = Result<StreamAppendResult<Types>, Fatal<Types>>> + Send + 'static
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + 'static,
    {
        let (seen, answers) = (self.seen.clone(), Arc::clone(&self.answers));
        let conflict_at = *self.conflict_at.lock().unwrap();
        let answered = input.map(move |rpc| {
            let prev = rpc.prev_log_id.as_ref().map(|id| id.index);
            let last = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
            let _ = seen.send((prev, rpc.entries.len()));
            let answers = Arc::clone(&answers);
            async move {
                answers.acquire().await.unwrap().forget();
                match rpc.prev_log_id {
                    Some(prev) if Some(prev.index) == conflict_at => {
                        Ok(Err(StreamAppendError::Conflict(prev)))
                    }
                    _ => Ok(Ok(last)),
                }
            }
        });
        answered.buffered(64)
    }

    async fn vote(&self, rpc: VoteRequest<Types>) -> Result<VoteResponse<Types>, Fatal<Types>> {
        self.votes.fetch_add(1, Ordering::SeqCst);
        self.maybe_hang().await;
        Ok(VoteResponse::new(rpc.vote, rpc.last_log_id, true))
    }

    async fn pre_vote(&self, rpc: VoteRequest<Types>) -> Result<VoteResponse<Types>, Fatal<Types>> {
        Ok(VoteResponse::new(rpc.vote, rpc.last_log_id, false))
    }

    async fn handle_transfer_leader(
        &self,
        _req: TransferLeaderRequest<Types>,
    ) -> Result<TransferLeaderResponse<Types>, Fatal<Types>> {
        Err(Fatal::Stopped)
    }

    async fn install_full_snapshot(
        &self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, TestSnapshot>,
    ) -> Result<SnapshotResponse<Types>, Fatal<Types>> {
        self.installing.notify_one();
        self.installs.acquire().await.unwrap().forget();
        self.installed.lock().unwrap().push(snapshot.snapshot.content.to_vec());
        Ok(SnapshotResponse::new(vote))
    }
}

/// A snapshot in memory.
#[derive(Debug, Clone)]
pub struct TestSnapshot {
    pub content: Arc<Vec<u8>>,
    /// What the source says of its checksum, if anything.
    pub checksum: Option<u32>,
}

#[derive(Default)]
pub struct TestSnapshots {
    /// How often a snapshot was begun to be received.
    pub created: AtomicUsize,
    /// Told after each piece how much has been stored of the present one.
    pub stored: Mutex<Option<mpsc::UnboundedSender<usize>>>,
}

impl SnapshotFiles for TestSnapshots {
    type Data = TestSnapshot;
    type Source = TestSnapshot;
    type Sink = TestSink;

    fn open(&self, data: &TestSnapshot) -> io::Result<TestSnapshot> {
        Ok(data.clone())
    }

    fn create(&self, _from: &str, _length: u64) -> io::Result<TestSink> {
        self.created.fetch_add(1, Ordering::SeqCst);
        Ok(TestSink { content: Vec::new(), stored: self.stored.lock().unwrap().clone() })
    }
}

impl SnapshotSource for TestSnapshot {
    fn length(&self) -> u64 {
        self.content.len() as u64
    }

    fn checksum(&self) -> Option<u32> {
        self.checksum
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        buffer.copy_from_slice(&self.content[offset..offset + buffer.len()]);
        Ok(())
    }
}

pub struct TestSink {
    content: Vec<u8>,
    stored: Option<mpsc::UnboundedSender<usize>>,
}

impl SnapshotSink for TestSink {
    type Data = TestSnapshot;

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.content.extend_from_slice(bytes);
        if let Some(stored) = &self.stored {
            let _ = stored.send(self.content.len());
        }
        Ok(())
    }

    fn finish(self) -> io::Result<TestSnapshot> {
        Ok(TestSnapshot { content: Arc::new(self.content), checksum: None })
    }
}

/// What a [`Meddler`] does to the bytes that this node sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    Nothing,
    /// Breaks the connection when this many more bytes have been sent.
    CutAfter(usize),
    /// Changes a byte in the first long run of [`FILLER`] that comes by, once.
    Flip,
    /// Neither sends nor receives any more, and says nothing.
    Freeze,
}

pub const FILLER: u8 = 0xab;

/// Connects over TCP, and does to the connections what it is told.
#[derive(Clone)]
pub struct Meddler(pub Arc<Mutex<Meddling>>);

impl Meddler {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Meddling::Nothing)))
    }

    pub fn set(&self, meddling: Meddling) {
        *self.0.lock().unwrap() = meddling;
    }
}

impl Connector for Meddler {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Connection>> {
        let meddling = Arc::clone(&self.0);
        Box::pin(async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(Meddled { stream, meddling, is_frozen: false }) as Connection)
        })
    }
}

struct Meddled {
    stream: TcpStream,
    meddling: Arc<Mutex<Meddling>>,
    is_frozen: bool,
}

impl Meddled {
    /// A connection that was open when it froze stays so.
    fn is_frozen(&mut self) -> bool {
        self.is_frozen |= *self.meddling.lock().unwrap() == Meddling::Freeze;
        self.is_frozen
    }
}

impl AsyncRead for Meddled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_frozen() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Meddled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_frozen() {
            return Poll::Pending;
        }
        let meddling = *self.meddling.lock().unwrap();
        match meddling {
            Meddling::CutAfter(0) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Meddling::CutAfter(left) => {
                let some = buf.len().min(left);
                let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, &buf[..some]))?;
                *self.meddling.lock().unwrap() = Meddling::CutAfter(left - written);
                Poll::Ready(Ok(written))
            }
            Meddling::Flip => {
                let mut bytes = buf.to_vec();
                let run = bytes.windows(64).position(|window| window.iter().all(|byte| *byte == FILLER));
                if let Some(start) = run {
                    bytes[start + 8] ^= 1;
                }
                let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes))?;
                if run.is_some_and(|start| start + 8 < written) {
                    *self.meddling.lock().unwrap() = Meddling::Nothing;
                }
                Poll::Ready(Ok(written))
            }
            Meddling::Nothing | Meddling::Freeze => Pin::new(&mut self.stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_frozen() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[derive(Default)]
pub struct TestRoster {
    pub cluster: Mutex<Option<u128>>,
    pub refusals: Mutex<Vec<HandshakeError>>,
}

impl Roster for TestRoster {
    fn cluster_id(&self) -> Option<u128> {
        *self.cluster.lock().unwrap()
    }

    fn standing(&self, _node_id: &str) -> Standing {
        Standing::Unknown
    }

    fn adopt_cluster(&self, cluster_id: u128) -> BoxFuture<'_, io::Result<()>> {
        *self.cluster.lock().unwrap() = Some(cluster_id);
        Box::pin(std::future::ready(Ok(())))
    }

    fn refused(&self, _address: &str, error: &HandshakeError) {
        self.refusals.lock().unwrap().push(error.clone());
    }
}

/// Answers kind 1 with the body, kind 2 with who calls, kind 3 never, kind 4 with more than a message takes.
pub struct Echo;

impl CallHandler for Echo {
    fn call(&self, caller: Caller, kind: u32, body: Bytes) -> BoxFuture<'_, Result<Bytes, CallRefusal>> {
        Box::pin(async move {
            match kind {
                1 => Ok(body),
                2 => Ok(format!("{} {}", caller.peer.node_id, caller.is_member).into()),
                3 => std::future::pending().await,
                4 => Ok(vec![0; 2 * 1024 * 1024].into()),
                5 => Err(CallRefusal::Overloaded { retry_after: Duration::from_millis(7) }),
                kind => Err(CallRefusal::UnknownKind { kind }),
            }
        })
    }
}

pub struct Node {
    pub id: u64,
    pub member: TestNode,
    pub transport: Transport,
    pub raft: Arc<FakeRaft>,
    pub snapshots: Arc<TestSnapshots>,
    pub roster: Arc<TestRoster>,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    shutdown: Option<oneshot::Sender<()>>,
    serving: JoinHandle<io::Result<()>>,
}

/// An address where nobody listens.
pub async fn unused_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Lets others run until `condition` holds.
pub async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Options that keep tests brisk.
pub fn options() -> TransportOptions {
    TransportOptions {
        message_size_max: 1024 * 1024,
        reconnect_delay_min: Duration::from_millis(1),
        reconnect_delay_max: Duration::from_millis(2),
        ..Default::default()
    }
}

pub fn transport(
    id: u64,
    cluster: Option<u128>,
    address: &str,
    options: TransportOptions,
) -> (Transport, Arc<TestRoster>) {
    let roster = Arc::new(TestRoster { cluster: Mutex::new(cluster), refusals: Mutex::default() });
    (Transport::new(identity(id, address), Arc::clone(&roster) as Arc<dyn Roster>, options), roster)
}

pub fn identity(id: u64, address: &str) -> Identity {
    Identity { node_id: id.to_string(), uid: uid(id), incarnation: 1, address: address.to_string() }
}

pub fn uid(id: u64) -> u128 {
    u128::from(id) + 0xa0
}

impl Node {
    pub async fn start(id: u64, options: TransportOptions) -> Self {
        Self::start_in(id, Some(CLUSTER), options, "127.0.0.1:0").await
    }

    pub async fn start_in(id: u64, cluster: Option<u128>, options: TransportOptions, listen: &str) -> Self {
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (transport, roster) = transport(id, cluster, &address, options);
        Self::serve(id, address, transport, roster, tcp_incoming(listener))
    }

    /// A node whose connections to others are meddled with.
    pub async fn start_meddled(id: u64, options: TransportOptions, meddler: Meddler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let roster = Arc::new(TestRoster { cluster: Mutex::new(Some(CLUSTER)), refusals: Mutex::default() });
        let members = Arc::clone(&roster) as Arc<dyn Roster>;
        let transport =
            Transport::with_connector(identity(id, &address), members, options, Arc::new(meddler));
        Self::serve(id, address, transport, roster, tcp_incoming(listener))
    }

    fn serve(
        id: u64,
        address: String,
        transport: Transport,
        roster: Arc<TestRoster>,
        incoming: impl Stream<Item = io::Result<Incoming>> + Send + 'static,
    ) -> Self {
        let (raft, seen) = FakeRaft::new();
        let snapshots = Arc::new(TestSnapshots::default());
        let (shutdown, ended) = oneshot::channel::<()>();
        let serving = {
            let (transport, raft, snapshots) = (transport.clone(), Arc::clone(&raft), Arc::clone(&snapshots));
            tokio::spawn(async move {
                let shutdown = async { drop(ended.await) };
                transport.serve::<Types, _, _, _>(incoming, raft, snapshots, Arc::new(Echo), shutdown).await
            })
        };
        let member = TestNode { address, uid: uid(id) };
        Self { id, member, transport, raft, snapshots, roster, seen, shutdown: Some(shutdown), serving }
    }

    pub async fn network_to(&self, other: &Node) -> GrpcNetwork<Types, TestSnapshots> {
        self.network_to_member(other.id, &other.member).await
    }

    pub async fn network_to_member(&self, id: u64, member: &TestNode) -> GrpcNetwork<Types, TestSnapshots> {
        let mut factory = self.transport.network::<Types, _>(self.id, Arc::clone(&self.snapshots));
        factory.new_client(id, member).await
    }

    pub async fn shutdown(mut self) {
        drop(self.shutdown.take());
        (&mut self.serving).await.unwrap().unwrap();
    }
}

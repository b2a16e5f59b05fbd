// Three nodes in this process: stores in memory, calls for a network. Included once per library under test, with
// `lib` naming the library: the same source compiles against both.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::fmt::Debug;
use std::io;
use std::ops::Bound;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use futures_util::Stream;
use futures_util::StreamExt;
use lib::BasicNode;
use lib::Config;
use lib::EntryPayload;
use lib::LogState;
use lib::Raft;
use lib::RaftLogReader;
use lib::RaftNetworkFactory;
use lib::RaftNetworkV2;
use lib::RaftSnapshotBuilder;
use lib::SnapshotMeta;
use lib::StoredMembership;
use lib::errors::RPCError;
use lib::errors::ReplicationClosed;
use lib::errors::StreamingError;
use lib::errors::Unreachable;
use lib::network::RPCOption;
use lib::raft::AppendEntriesRequest;
use lib::raft::AppendEntriesResponse;
use lib::raft::SnapshotResponse;
use lib::raft::VoteRequest;
use lib::raft::VoteResponse;
use lib::storage::EntryResponder;
use lib::storage::IOFlushed;
use lib::storage::RaftLogStorage;
use lib::storage::RaftStateMachine;
use lib::type_config::alias::EntryOf;
use lib::type_config::alias::LogIdOf;
use lib::type_config::alias::SnapshotMetaOf;
use lib::type_config::alias::SnapshotOf;
use lib::type_config::alias::StoredMembershipOf;
use lib::type_config::alias::VoteOf;

/// A small command, held by value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub key: u64,
    pub value: u64,
}

impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

lib::declare_raft_types!(pub Types: D = Put, R = u64, Node = BasicNode);

#[derive(Default)]
struct LogInner {
    vote: Option<VoteOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    first: u64,
    entries: VecDeque<EntryOf<Types>>,
}

#[derive(Clone, Default)]
struct MemLog {
    inner: Arc<Mutex<LogInner>>,
}

impl RaftLogReader<Types> for MemLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        let inner = self.inner.lock().unwrap();
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let at = |index: u64| (index.saturating_sub(inner.first) as usize).min(inner.entries.len());
        Ok(inner.entries.range(at(start)..at(end).max(at(start))).cloned().collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.inner.lock().unwrap().vote)
    }
}

impl RaftLogStorage<Types> for MemLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let inner = self.inner.lock().unwrap();
        let last = inner.entries.back().map(|entry| entry.log_id).or(inner.purged);
        Ok(LogState { last_purged_log_id: inner.purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.inner.lock().unwrap().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + Send,
        I::IntoIter: Send,
    {
        self.inner.lock().unwrap().entries.extend(entries);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        let mut inner = self.inner.lock().unwrap();
        let keep = last.map_or(0, |last| last.index + 1).saturating_sub(inner.first);
        inner.entries.truncate(keep as usize);
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> Result<(), io::Error> {
        let mut inner = self.inner.lock().unwrap();
        let gone = (upto.index + 1).saturating_sub(inner.first).min(inner.entries.len() as u64);
        inner.entries.drain(..gone as usize);
        inner.first = upto.index + 1;
        inner.purged = Some(upto);
        Ok(())
    }
}

#[derive(Default)]
struct MachineInner {
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    values: Vec<u64>,
    snapshot: Option<SnapshotOf<Types, Vec<u64>>>,
}

#[derive(Clone, Default)]
struct Machine {
    inner: Arc<Mutex<MachineInner>>,
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Vec<u64>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, Vec<u64>>, io::Error> {
        let mut inner = self.inner.lock().unwrap();
        let meta = SnapshotMeta { last_log_id: inner.applied, last_membership: inner.membership.clone() };
        let snapshot = lib::Snapshot { meta, snapshot: inner.values.clone() };
        inner.snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Vec<u64>;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        let inner = self.inner.lock().unwrap();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let mut inner = self.inner.lock().unwrap();
            inner.applied = Some(entry.log_id);
            let mut before = 0;
            match entry.payload {
                EntryPayload::Normal(Put { key, value }) => {
                    let slot = key as usize % 1024;
                    if inner.values.len() <= slot {
                        inner.values.resize(1024, 0);
                    }
                    before = std::mem::replace(&mut inner.values[slot], value);
                }
                EntryPayload::Membership(membership) => {
                    inner.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                EntryPayload::Blank => {}
            }
            drop(inner);
            if let Some(responder) = responder {
                responder.send(before);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, values: Vec<u64>) -> Result<(), io::Error> {
        let mut inner = self.inner.lock().unwrap();
        inner.applied = meta.last_log_id;
        inner.membership = meta.last_membership.clone();
        inner.values = values;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, Vec<u64>>>, io::Error> {
        Ok(self.inner.lock().unwrap().snapshot.clone())
    }
}

type Node = Raft<Types, Machine>;

#[derive(Clone, Default)]
struct Network {
    nodes: Arc<Mutex<BTreeMap<u64, Node>>>,
}

struct Link {
    to: u64,
    network: Network,
    known: Option<Node>,
}

impl Link {
    fn node(&mut self) -> Result<Node, Unreachable<Types>> {
        if self.known.is_none() {
            self.known = self.network.nodes.lock().unwrap().get(&self.to).cloned();
        }
        self.known.clone().ok_or_else(|| Unreachable::from_string("not started"))
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, to: u64, _node: &BasicNode) -> Link {
        Link { to, network: self.clone(), known: None }
    }
}

fn failed(error: impl std::error::Error + 'static) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Vec<u64>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.node()?.append_entries(rpc).await.map_err(failed)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.node()?.vote(rpc).await.map_err(failed)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, Vec<u64>>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let node = self.node().map_err(StreamingError::Unreachable)?;
        let installed = node.install_full_snapshot(vote, snapshot).await;
        installed.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
    }
}

/// Puts a second: `clients` tasks, each waiting for its answer before the next put, for `span`.
pub fn run(clients: u64, span: Duration) -> f64 {
    let servers = runtime(2);
    let callers = runtime(1);
    let config = Config {
        election_timeout_min: 2000,
        election_timeout_max: 4000,
        heartbeat_interval: 200,
        ..Config::default()
    };
    let config = Arc::new(config.validate().unwrap());
    let leader = servers.block_on(async {
        let network = Network::default();
        let mut members = BTreeMap::new();
        for id in 1..=3 {
            let raft = Node::new(id, config.clone(), network.clone(), MemLog::default(), Machine::default());
            network.nodes.lock().unwrap().insert(id, raft.await.unwrap());
            members.insert(id, BasicNode::new("here"));
        }
        let first = network.nodes.lock().unwrap()[&1].clone();
        first.initialize(members).await.unwrap();
        let ready = first.wait(Some(Duration::from_secs(20)));
        ready.metrics(|m| m.state.is_leader() && m.last_quorum_acked.is_some(), "leads").await.unwrap();
        first
    });
    let (puts, took) = callers.block_on(async {
        let begun = Instant::now();
        let tasks: Vec<_> = (0..clients)
            .map(|client| {
                let leader = leader.clone();
                tokio::spawn(async move {
                    let mut puts = 0u64;
                    while begun.elapsed() < span {
                        leader.client_write(Put { key: client, value: puts }).await.unwrap();
                        puts += 1;
                    }
                    puts
                })
            })
            .collect();
        let mut puts = 0;
        for task in tasks {
            puts += task.await.unwrap();
        }
        (puts, begun.elapsed())
    });
    servers.block_on(async { leader.shutdown().await }).unwrap();
    servers.shutdown_background();
    puts as f64 / took.as_secs_f64()
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

//! Nodes in one process: stores in memory, and a network of function calls that a test can cut.
#![allow(unreachable_pub, reason = "shared by test binaries")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt;
use quorate as openraft;

use openraft::BasicNode;
use openraft::Config;
use openraft::LogState;
use openraft::Raft;
use openraft::RaftLogReader;
use openraft::RaftNetworkFactory;
use openraft::RaftNetworkV2;
use openraft::RaftSnapshotBuilder;
use openraft::SnapshotMeta;
use openraft::StoredMembership;
use openraft::entry::RaftEntry;
use openraft::errors::RPCError;
use openraft::errors::ReplicationClosed;
use openraft::errors::StreamingError;
use openraft::errors::Unreachable;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::SnapshotResponse;
use openraft::raft::TransferLeaderRequest;
use openraft::raft::TransferLeaderResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use openraft::storage::EntryResponder;
use openraft::storage::IOFlushed;
use openraft::storage::RaftLogStorage;
use openraft::storage::RaftStateMachine;
use openraft::type_config::alias::EntryOf;
use openraft::type_config::alias::LogIdOf;
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::StoredMembershipOf;
use openraft::type_config::alias::VoteOf;

/// Adds to the sum; the response is the sum after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add(pub u64);

impl fmt::Display for Add {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

openraft::declare_raft_types!(pub Types: D = Add, R = u64, Node = BasicNode);

// --- The log.

#[derive(Default)]
struct LogInner {
    vote: Option<VoteOf<Types>>,
    committed: Option<LogIdOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    entries: BTreeMap<u64, EntryOf<Types>>,
}

#[derive(Clone, Default)]
pub struct MemLog {
    inner: Arc<Mutex<LogInner>>,
}

impl RaftLogReader<Types> for MemLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        let inner = self.inner.lock().unwrap();
        Ok(inner.entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.inner.lock().unwrap().vote)
    }
}

impl RaftLogStorage<Types> for MemLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let inner = self.inner.lock().unwrap();
        let last = inner.entries.values().next_back().map(RaftEntry::log_id).or(inner.purged);
        Ok(LogState { last_purged_log_id: inner.purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.inner.lock().unwrap().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        self.inner.lock().unwrap().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<Types>>, io::Error> {
        Ok(self.inner.lock().unwrap().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + Send,
        I::IntoIter: Send,
    {
        let mut inner = self.inner.lock().unwrap();
        inner.entries.extend(entries.into_iter().map(|entry| (entry.index(), entry)));
        drop(inner);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        let first = last.map_or(0, |last| last.index + 1);
        self.inner.lock().unwrap().entries.split_off(&first);
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> Result<(), io::Error> {
        let mut inner = self.inner.lock().unwrap();
        inner.entries = inner.entries.split_off(&(upto.index + 1));
        inner.purged = Some(upto);
        Ok(())
    }
}

// --- The state machine.

#[derive(Clone, Default)]
struct MachineInner {
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    sum: u64,
    snapshot: Option<SnapshotOf<Types, u64>>,
}

#[derive(Clone, Default)]
pub struct Machine {
    inner: Arc<Mutex<MachineInner>>,
}

impl Machine {
    pub fn sum(&self) -> u64 {
        self.inner.lock().unwrap().sum
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = u64;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, u64>, io::Error> {
        let mut inner = self.inner.lock().unwrap();
        let meta = SnapshotMeta { last_log_id: inner.applied, last_membership: inner.membership.clone() };
        let snapshot = openraft::Snapshot { meta, snapshot: inner.sum };
        inner.snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = u64;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        let inner = self.inner.lock().unwrap();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let mut inner = self.inner.lock().unwrap();
            inner.applied = Some(entry.log_id);
            match entry.payload {
                openraft::EntryPayload::Normal(Add(n)) => inner.sum += n,
                openraft::EntryPayload::Membership(membership) => {
                    inner.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                openraft::EntryPayload::Blank => {}
            }
            let sum = inner.sum;
            drop(inner);
            if let Some(responder) = responder {
                responder.send(sum);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, sum: u64) -> Result<(), io::Error> {
        let mut inner = self.inner.lock().unwrap();
        inner.applied = meta.last_log_id;
        inner.membership = meta.last_membership.clone();
        inner.sum = sum;
        inner.snapshot = Some(openraft::Snapshot { meta: meta.clone(), snapshot: sum });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, u64>>, io::Error> {
        Ok(self.inner.lock().unwrap().snapshot.clone())
    }
}

// --- The network.

pub type Node = Raft<Types, Machine>;

#[derive(Default)]
struct RouterInner {
    nodes: BTreeMap<u64, Node>,
    isolated: BTreeSet<u64>,
    hung: BTreeSet<u64>,
}

/// Carries calls between the nodes of a test.
#[derive(Clone, Default)]
pub struct Router {
    inner: Arc<Mutex<RouterInner>>,
}

impl Router {
    pub fn add(&self, id: u64, node: Node) {
        self.inner.lock().unwrap().nodes.insert(id, node);
    }

    /// Nobody reaches the node, and it reaches nobody.
    pub fn isolate(&self, id: u64) {
        self.inner.lock().unwrap().isolated.insert(id);
    }

    /// Calls to the node never return.
    pub fn hang(&self, id: u64) {
        self.inner.lock().unwrap().hung.insert(id);
    }

    pub fn restore(&self, id: u64) {
        let mut inner = self.inner.lock().unwrap();
        inner.isolated.remove(&id);
        inner.hung.remove(&id);
    }

    async fn reach(&self, from: u64, to: u64) -> Result<Node, Unreachable<Types>> {
        let hung = self.inner.lock().unwrap().hung.contains(&to);
        if hung {
            std::future::pending::<()>().await;
        }
        let inner = self.inner.lock().unwrap();
        let cut = inner.isolated.contains(&from) || inner.isolated.contains(&to);
        let node = inner.nodes.get(&to).filter(|_| !cut).cloned();
        node.ok_or_else(|| Unreachable::from_string(format!("{from} does not reach {to}")))
    }
}

#[derive(Clone)]
pub struct Network {
    from: u64,
    router: Router,
}

pub struct Link {
    from: u64,
    to: u64,
    router: Router,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Link {
        Link { from: self.from, to: target, router: self.router.clone() }
    }
}

fn failed(error: impl std::error::Error + 'static) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = u64;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let node = self.router.reach(self.from, self.to).await?;
        node.append_entries(rpc).await.map_err(failed)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let node = self.router.reach(self.from, self.to).await?;
        node.vote(rpc).await.map_err(failed)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let node = self.router.reach(self.from, self.to).await?;
        node.pre_vote(rpc).await.map_err(failed)
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let node = self.router.reach(self.from, self.to).await?;
        node.handle_transfer_leader(req).await.map_err(failed)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, u64>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let node = self.router.reach(self.from, self.to).await.map_err(StreamingError::Unreachable)?;
        let installed = node.install_full_snapshot(vote, snapshot).await;
        installed.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
    }
}

// --- The cluster.

/// What outlives a restart of a node.
#[derive(Clone, Default)]
pub struct Disk {
    pub log: MemLog,
    pub machine: Machine,
}

pub struct Cluster {
    pub router: Router,
    pub config: Arc<Config>,
    pub nodes: BTreeMap<u64, Node>,
    pub disks: BTreeMap<u64, Disk>,
}

/// A deadline that only a hang can miss.
pub const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

impl Cluster {
    pub fn new(config: Config) -> Self {
        let config = Arc::new(config.validate().unwrap());
        Self { router: Router::default(), config, nodes: BTreeMap::new(), disks: BTreeMap::new() }
    }

    /// Starts a node, from what its disk holds.
    pub async fn start(&mut self, id: u64) -> Node {
        let disk = self.disks.entry(id).or_default().clone();
        let network = Network { from: id, router: self.router.clone() };
        let node = Node::new(id, self.config.clone(), network, disk.log, disk.machine).await.unwrap();
        self.router.add(id, node.clone());
        self.nodes.insert(id, node.clone());
        node
    }

    pub async fn stop(&mut self, id: u64) {
        let node = self.nodes.remove(&id).unwrap();
        node.shutdown().await.unwrap();
    }

    /// Starts these nodes and founds a cluster of them; returns the leader.
    pub async fn found(&mut self, ids: impl IntoIterator<Item = u64>) -> Node {
        let mut members = BTreeMap::new();
        for id in ids {
            self.start(id).await;
            members.insert(id, BasicNode::new(format!("node {id}")));
        }
        let first = *members.keys().next().unwrap();
        self.nodes[&first].initialize(members).await.unwrap();
        self.leader().await
    }

    /// Waits until a node that is not cut off leads and has committed an entry of its own.
    pub async fn leader(&self) -> Node {
        let waits = self.nodes.values().map(|node| {
            Box::pin(async move {
                let wait = node.wait(PATIENCE);
                let leads = wait.metrics(
                    |m| {
                        m.state.is_leader()
                            && m.cluster_committed.is_some()
                            && m.last_applied >= m.cluster_committed
                    },
                    "leads",
                );
                leads.await.map(|_| node.clone())
            })
        });
        futures_util::future::select_ok(waits).await.unwrap().0
    }

    /// Waits until all nodes have applied up to `index`.
    pub async fn applied(&self, index: u64) {
        for node in self.nodes.values() {
            node.wait(PATIENCE).applied_index_at_least(Some(index), "applied").await.unwrap();
        }
    }
}

//! Stores in memory, a network of function calls and a cluster of them, for any types.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt;
use quorate::Config;
use quorate::LogState;
use quorate::OptionalSend;
use quorate::Raft;
use quorate::RaftLogReader;
use quorate::RaftNetworkFactory;
use quorate::RaftNetworkV2;
use quorate::RaftSnapshotBuilder;
use quorate::RaftTypeConfig;
use quorate::Snapshot;
use quorate::SnapshotMeta;
use quorate::StoredMembership;
use quorate::entry::RaftEntry;
use quorate::errors::RPCError;
use quorate::errors::ReplicationClosed;
use quorate::errors::StreamingError;
use quorate::errors::Unreachable;
use quorate::network::RPCOption;
use quorate::raft::AppendEntriesRequest;
use quorate::raft::AppendEntriesResponse;
use quorate::raft::SnapshotResponse;
use quorate::raft::TransferLeaderRequest;
use quorate::raft::TransferLeaderResponse;
use quorate::raft::VoteRequest;
use quorate::raft::VoteResponse;
use quorate::storage::EntryResponder;
use quorate::storage::IOFlushed;
use quorate::storage::RaftLogStorage;
use quorate::storage::RaftStateMachine;
use quorate::type_config::alias::LogIdOf;
use quorate::type_config::alias::SnapshotMetaOf;
use quorate::type_config::alias::SnapshotOf;
use quorate::type_config::alias::StoredMembershipOf;
use quorate::type_config::alias::VoteOf;

/// A deadline that only a hang can miss.
pub const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

/// What the future gives, which must not take for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE.unwrap(), future).await.expect("it hangs")
}

/// Types that the tests can make values of, from numbers.
pub trait Kind: RaftTypeConfig {
    /// The content of a snapshot.
    type Image: OptionalSend + 'static;

    fn id(number: u64) -> Self::NodeId;
    fn node(number: u64) -> Self::Node;
    /// Adds `number` to the sum.
    fn data(number: u64) -> Self::D;
    /// The sum after an entry.
    fn answer(sum: u64) -> Self::R;
    fn sum(answer: &Self::R) -> u64;
    /// What an entry adds to the sum.
    fn number(entry: &Self::Entry) -> u64;
    /// Entries need not be `Clone`.
    fn copy(entry: &Self::Entry) -> Self::Entry;
    fn image(sum: u64) -> Self::Image;
    fn of_image(image: &Self::Image) -> u64;
}

// --- The log.

struct Kept<C: RaftTypeConfig> {
    vote: Option<VoteOf<C>>,
    committed: Option<LogIdOf<C>>,
    purged: Option<LogIdOf<C>>,
    entries: BTreeMap<u64, C::Entry>,
    fails: bool,
}

pub struct Log<C: RaftTypeConfig> {
    kept: Arc<Mutex<Kept<C>>>,
}

impl<C: RaftTypeConfig> Clone for Log<C> {
    fn clone(&self) -> Self {
        Self { kept: self.kept.clone() }
    }
}

impl<C: RaftTypeConfig> Default for Log<C> {
    fn default() -> Self {
        let entries = BTreeMap::new();
        let kept = Kept { vote: None, committed: None, purged: None, entries, fails: false };
        Self { kept: Arc::new(Mutex::new(kept)) }
    }
}

impl<C: RaftTypeConfig> Log<C> {
    fn lock(&self) -> MutexGuard<'_, Kept<C>> {
        self.kept.lock().unwrap()
    }

    /// Every append fails from now on.
    pub fn fail(&self) {
        self.lock().fails = true;
    }
}

impl<C: Kind> RaftLogReader<C> for Log<C> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<C::Entry>, io::Error> {
        Ok(self.lock().entries.range(range).map(|(_, entry)| C::copy(entry)).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<C>>, io::Error> {
        Ok(self.lock().vote.clone())
    }
}

impl<C: Kind> RaftLogStorage<C> for Log<C> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        let kept = self.lock();
        let last = kept.entries.values().next_back().map(RaftEntry::log_id);
        let purged = kept.purged.clone();
        Ok(LogState { last_log_id: last.or_else(|| purged.clone()), last_purged_log_id: purged })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> Result<(), io::Error> {
        self.lock().vote = Some(vote.clone());
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        self.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<C>>, io::Error> {
        Ok(self.lock().committed.clone())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        if self.lock().fails {
            return Err(io::Error::other("the disk is full"));
        }
        self.lock().entries.extend(entries.into_iter().map(|entry| (entry.index(), entry)));
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        let first = last.map_or(0, |last| last.index + 1);
        self.lock().entries.split_off(&first);
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<C>) -> Result<(), io::Error> {
        let mut kept = self.lock();
        kept.entries = kept.entries.split_off(&(upto.index + 1));
        kept.purged = Some(upto);
        Ok(())
    }
}

// --- The state machine.

struct State<C: Kind> {
    applied: Option<LogIdOf<C>>,
    membership: StoredMembershipOf<C>,
    sum: C::Image,
    snapshot: Option<(SnapshotMetaOf<C>, C::Image)>,
}

/// Adds numbers up. It keeps no state over a restart but its snapshot, like a state machine in memory.
pub struct Machine<C: Kind> {
    state: Arc<Mutex<State<C>>>,
}

impl<C: Kind> Clone for Machine<C> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<C: Kind> Default for Machine<C> {
    fn default() -> Self {
        let (membership, sum) = (StoredMembership::default(), C::image(0));
        Self { state: Arc::new(Mutex::new(State { applied: None, membership, sum, snapshot: None })) }
    }
}

impl<C: Kind> Machine<C> {
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap()
    }

    pub fn sum(&self) -> u64 {
        C::of_image(&self.lock().sum)
    }

    /// What a restart finds: the snapshot alone.
    pub fn restarted(&self) -> Self {
        let fresh = Self::default();
        let kept = self.lock();
        let copy =
            |(meta, image): &(SnapshotMetaOf<C>, C::Image)| (meta.clone(), C::image(C::of_image(image)));
        fresh.lock().snapshot = kept.snapshot.as_ref().map(copy);
        fresh
    }
}

impl<C: Kind> RaftSnapshotBuilder<C> for Machine<C> {
    type SnapshotData = C::Image;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<C, C::Image>, io::Error> {
        let mut state = self.lock();
        let meta =
            SnapshotMeta { last_log_id: state.applied.clone(), last_membership: state.membership.clone() };
        let sum = C::of_image(&state.sum);
        state.snapshot = Some((meta.clone(), C::image(sum)));
        Ok(Snapshot { meta, snapshot: C::image(sum) })
    }
}

impl<C: Kind> RaftStateMachine<C> for Machine<C> {
    type SnapshotData = C::Image;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<C>>, StoredMembershipOf<C>), io::Error> {
        let state = self.lock();
        Ok((state.applied.clone(), state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let mut state = self.lock();
            let sum = C::of_image(&state.sum) + C::number(&entry);
            state.sum = C::image(sum);
            state.applied = Some(entry.log_id());
            if let Some(membership) = entry.get_membership() {
                state.membership = StoredMembership::new(Some(entry.log_id()), membership);
            }
            drop(state);
            if let Some(responder) = responder {
                responder.send(C::answer(sum));
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<C>, image: C::Image) -> Result<(), io::Error> {
        let mut state = self.lock();
        (state.applied, state.membership) = (meta.last_log_id.clone(), meta.last_membership.clone());
        state.snapshot = Some((meta.clone(), C::image(C::of_image(&image))));
        state.sum = image;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<C, C::Image>>, io::Error> {
        let state = self.lock();
        let snapshot = state.snapshot.as_ref();
        Ok(snapshot
            .map(|(meta, image)| Snapshot { meta: meta.clone(), snapshot: C::image(C::of_image(image)) }))
    }
}

// --- The network.

pub type Node<C> = Raft<C, Machine<C>>;

type Nodes<C> = Arc<Mutex<BTreeMap<<C as RaftTypeConfig>::NodeId, Node<C>>>>;

/// Calls the other node's functions.
pub struct Direct<C: Kind> {
    nodes: Nodes<C>,
}

pub struct Line<C: Kind> {
    to: C::NodeId,
    nodes: Nodes<C>,
}

impl<C: Kind> RaftNetworkFactory<C> for Direct<C> {
    type Network = Line<C>;

    async fn new_client(&mut self, target: C::NodeId, _node: &C::Node) -> Line<C> {
        Line { to: target, nodes: self.nodes.clone() }
    }
}

impl<C: Kind> Line<C> {
    fn node(&self) -> Result<Node<C>, Unreachable<C>> {
        let node = self.nodes.lock().unwrap().get(&self.to).cloned();
        node.ok_or_else(|| Unreachable::from_string("not started"))
    }
}

fn failed<C: RaftTypeConfig>(error: impl std::error::Error + 'static) -> RPCError<C> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl<C: Kind> RaftNetworkV2<C> for Line<C> {
    type SnapshotData = C::Image;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        self.node()?.append_entries(rpc).await.map_err(failed)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<C>,
        _option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.node()?.vote(rpc).await.map_err(failed)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        _option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.node()?.pre_vote(rpc).await.map_err(failed)
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<C>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        self.node()?.handle_transfer_leader(req).await.map_err(failed)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, C::Image>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let node = self.node()?;
        let installed = node.install_full_snapshot(vote, snapshot).await;
        installed.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
    }
}

// --- The cluster.

pub struct Cluster<C: Kind> {
    config: Arc<Config>,
    wires: Nodes<C>,
    pub nodes: BTreeMap<u64, Node<C>>,
    pub disks: BTreeMap<u64, (Log<C>, Machine<C>)>,
}

impl<C: Kind> Cluster<C> {
    pub fn new(config: Config) -> Self {
        let config = Arc::new(config.validate().unwrap());
        Self { config, wires: Arc::default(), nodes: BTreeMap::new(), disks: BTreeMap::new() }
    }

    /// Starts a node from what its disk holds.
    pub async fn start(&mut self, number: u64) -> Node<C> {
        let (log, machine) = self.disks.entry(number).or_default().clone();
        let network = Direct { nodes: self.wires.clone() };
        let node = Raft::new(C::id(number), self.config.clone(), network, log, machine).await.unwrap();
        self.wires.lock().unwrap().insert(C::id(number), node.clone());
        self.nodes.insert(number, node.clone());
        node
    }

    /// Stops a node; what its state machine held in memory is gone.
    pub async fn stop(&mut self, number: u64) {
        self.wires.lock().unwrap().remove(&C::id(number));
        let node = self.nodes.remove(&number).unwrap();
        soon(node.shutdown()).await.unwrap();
        let (_, machine) = self.disks.get_mut(&number).unwrap();
        *machine = machine.restarted();
    }

    /// Starts these nodes and founds a cluster of them; returns the leader.
    pub async fn found(&mut self, numbers: impl IntoIterator<Item = u64>) -> Node<C> {
        let mut members = BTreeMap::new();
        for number in numbers {
            self.start(number).await;
            members.insert(C::id(number), C::node(number));
        }
        self.nodes.values().next().unwrap().initialize(members).await.unwrap();
        self.leader().await
    }

    /// Waits until a node leads, has heard from a quorum, and has applied what is committed.
    pub async fn leader(&self) -> Node<C> {
        let waits = self.nodes.values().map(|node| {
            Box::pin(async move {
                let leads = |m: &quorate::RaftMetrics<C>| {
                    m.state.is_leader()
                        && m.last_quorum_acked.is_some()
                        && m.cluster_committed.is_some()
                        && m.last_applied >= m.cluster_committed
                };
                node.wait(PATIENCE).metrics(leads, "leads").await.map(|_| node.clone())
            })
        });
        futures_util::future::select_ok(waits).await.unwrap().0
    }

    /// The number by which the test knows a node.
    pub fn number_of(&self, node: &Node<C>) -> u64 {
        let found = self.nodes.iter().find(|(_, other)| other.node_id() == node.node_id());
        *found.unwrap().0
    }

    /// Waits until all nodes have applied up to `index`.
    pub async fn applied(&self, index: u64) {
        for node in self.nodes.values() {
            node.wait(PATIENCE).applied_index_at_least(Some(index), "applied").await.unwrap();
        }
    }

    pub fn sums(&self) -> Vec<u64> {
        self.nodes.keys().map(|number| self.disks[number].1.sum()).collect()
    }
}

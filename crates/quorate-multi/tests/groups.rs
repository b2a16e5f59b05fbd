//! Two groups on three processes, with one connection from each process to each other one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use openraft::Config;
use openraft::Raft;
use openraft::RaftNetworkFactory;
use openraft::RaftNetworkV2;
use openraft::SnapshotPolicy;
use openraft::async_runtime::WatchReceiver;
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
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::VoteOf;
use openraft_memstore::ClientRequest;
use openraft_memstore::IntoMemClientRequest;
use openraft_memstore::MemStateMachine;
use openraft_memstore::TypeConfig;
use openraft_memstore::new_mem_store;
use quorate_multi::GroupNetworkAdapter;
use quorate_multi::GroupNetworkFactory;
use quorate_multi::GroupRouter;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

type Node = Raft<TypeConfig, Arc<MemStateMachine>>;
type Group = &'static str;
type Data = Cursor<Vec<u8>>;

/// A deadline that only a hang can miss.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));
const GROUPS: [Group; 2] = ["users", "orders"];

// --- A connection: calls of all groups, one after the other; and the process at its end.

enum Call {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Snapshot(VoteOf<TypeConfig>, SnapshotOf<TypeConfig, Data>),
    Transfer(TransferLeaderRequest<TypeConfig>),
}

enum Answer {
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    Snapshot(SnapshotResponse<TypeConfig>),
    Transfer(TransferLeaderResponse<TypeConfig>),
}

type Envelope = (Group, Call, oneshot::Sender<Answer>);
type Processes = Arc<Mutex<BTreeMap<u64, BTreeMap<Group, Node>>>>;

async fn serve(processes: Processes, target: u64, mut calls: mpsc::Receiver<Envelope>) {
    while let Some((group, call, reply)) = calls.recv().await {
        let node = processes.lock().unwrap().get(&target).and_then(|groups| groups.get(group)).cloned();
        let Some(node) = node else { continue };
        tokio::spawn(async move {
            let answer = match call {
                Call::Append(rpc) => node.append_entries(rpc).await.ok().map(Answer::Append),
                Call::Vote(rpc) => node.vote(rpc).await.ok().map(Answer::Vote),
                Call::PreVote(rpc) => node.pre_vote(rpc).await.ok().map(Answer::Vote),
                Call::Snapshot(vote, snapshot) => {
                    node.install_full_snapshot(vote, snapshot).await.ok().map(Answer::Snapshot)
                }
                Call::Transfer(req) => node.handle_transfer_leader(req).await.ok().map(Answer::Transfer),
            };
            if let Some(answer) = answer {
                let _ = reply.send(answer);
            }
        });
    }
}

// --- The router of one process.

#[derive(Clone)]
struct Router {
    processes: Processes,
    /// One to each other process, whatever groups talk over it, with what each of them sent.
    connections: Arc<Mutex<BTreeMap<u64, Connection>>>,
}

struct Connection {
    calls: mpsc::Sender<Envelope>,
    counts: BTreeMap<Group, u64>,
}

impl Router {
    async fn call(&self, target: u64, group: Group, call: Call) -> Result<Answer, Unreachable<TypeConfig>> {
        let calls = {
            let mut connections = self.connections.lock().unwrap();
            let connection = connections.entry(target).or_insert_with(|| {
                let (calls, queue) = mpsc::channel(64);
                tokio::spawn(serve(self.processes.clone(), target, queue));
                Connection { calls, counts: BTreeMap::new() }
            });
            *connection.counts.entry(group).or_default() += 1;
            connection.calls.clone()
        };
        let (reply, answer) = oneshot::channel();
        let gone = || Unreachable::from_string(format!("{group} of process {target} does not answer"));
        calls.send((group, call, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

/// The variant of an answer that its call has.
macro_rules! answer {
    ($answer:expr, $kind:ident) => {
        match $answer {
            Answer::$kind(answer) => Ok(answer),
            _ => panic!("the answer to another call"),
        }
    };
}

impl GroupRouter<TypeConfig, Group> for Router {
    type SnapshotData = Data;

    async fn append_entries(
        &self,
        target: u64,
        group_id: Group,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        answer!(self.call(target, group_id, Call::Append(rpc)).await?, Append)
    }

    async fn vote(
        &self,
        target: u64,
        group_id: Group,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        answer!(self.call(target, group_id, Call::Vote(rpc)).await?, Vote)
    }

    async fn pre_vote(
        &self,
        target: u64,
        group_id: Group,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        answer!(self.call(target, group_id, Call::PreVote(rpc)).await?, Vote)
    }

    async fn full_snapshot(
        &self,
        target: u64,
        group_id: Group,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Data>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        answer!(self.call(target, group_id, Call::Snapshot(vote, snapshot)).await?, Snapshot)
    }

    async fn transfer_leader(
        &self,
        target: u64,
        group_id: Group,
        req: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        answer!(self.call(target, group_id, Call::Transfer(req)).await?, Transfer)
    }
}

/// The network of one group in one process.
struct Network(GroupNetworkFactory<Router, Group>);

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = GroupNetworkAdapter<TypeConfig, Group, Router>;

    async fn new_client(&mut self, target: u64, _node: &()) -> Self::Network {
        GroupNetworkAdapter::new(self.0.factory.clone(), target, self.0.group_id)
    }
}

// --- The cluster.

struct Cluster {
    processes: Processes,
    routers: BTreeMap<u64, Router>,
    machines: BTreeMap<(u64, Group), Arc<MemStateMachine>>,
}

impl Cluster {
    /// Process 1 founds all groups, so that it leads them at first.
    async fn found() -> Self {
        let processes = Processes::default();
        let mut cluster = Self { processes, routers: BTreeMap::new(), machines: BTreeMap::new() };
        for id in 1..=3 {
            let router = Router { processes: cluster.processes.clone(), connections: Arc::default() };
            for group in GROUPS {
                cluster.start(id, group, router.clone()).await;
            }
            cluster.routers.insert(id, router);
        }
        for group in GROUPS {
            let members = BTreeMap::from([(1, ()), (2, ()), (3, ())]);
            cluster.node(1, group).initialize(members).await.unwrap();
        }
        cluster
    }

    async fn start(&mut self, id: u64, group: Group, router: Router) {
        let config = Config { snapshot_policy: SnapshotPolicy::Never, ..Config::default() };
        let config = Arc::new(config.validate().unwrap());
        let (log, machine) = new_mem_store();
        let network = Network(GroupNetworkFactory::new(router, group));
        let node = Node::new(id, config, network, log, machine.clone()).await.unwrap();
        self.processes.lock().unwrap().entry(id).or_default().insert(group, node);
        self.machines.insert((id, group), machine);
    }

    fn node(&self, id: u64, group: Group) -> Node {
        self.processes.lock().unwrap()[&id][group].clone()
    }

    /// The leader of a group, and how many of its entries it has applied.
    async fn leader(&self, group: Group) -> Node {
        let led = |m: &openraft::RaftMetrics<TypeConfig>| m.current_leader.is_some();
        let metrics = self.node(1, group).wait(PATIENCE).metrics(led, "a leader").await.unwrap();
        self.node(metrics.current_leader.unwrap(), group)
    }

    /// Waits until all nodes of a group have applied what its leader has; returns what they hold of `client`.
    async fn agreed(&self, group: Group, client: &str) -> Option<String> {
        let applied = self.leader(group).await.metrics().borrow_watched().last_applied;
        let index = applied.map(|applied| applied.index);
        let mut held = Vec::new();
        for id in 1..=3 {
            self.node(id, group).wait(PATIENCE).applied_index_at_least(index, "applied").await.unwrap();
            let state = self.machines[&(id, group)].get_state_machine().await;
            held.push(state.client_status.get(client).cloned());
        }
        held.dedup();
        assert_eq!(held.len(), 1, "{held:?}");
        held.remove(0)
    }
}

#[tokio::test(start_paused = true)]
async fn groups_share_connections_and_nothing_else() {
    let cluster = Cluster::found().await;
    for (group, serial) in GROUPS.into_iter().zip([3, 5]) {
        let leader = cluster.leader(group).await;
        for serial in 1..=serial {
            leader.client_write(ClientRequest::make_request("a", serial)).await.unwrap();
        }
        assert_eq!(cluster.agreed(group, "a").await, Some(format!("request-{serial}")));
    }
    assert_eq!(cluster.agreed("users", "a").await.as_deref(), Some("request-3"), "not the orders'");

    for (id, router) in &cluster.routers {
        let connections = router.connections.lock().unwrap();
        assert!(connections.keys().all(|target| target != id), "a process does not call itself");
        assert!(connections.len() <= 2, "one to each other process");
    }
    let connections = cluster.routers[&1].connections.lock().unwrap();
    for target in [2, 3] {
        let groups: Vec<_> = connections[&target].counts.keys().copied().collect();
        assert_eq!(groups, ["orders", "users"], "both talk over the connection to {target}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_stands_still_holds_up_no_other() {
    let cluster = Cluster::found().await;
    let (stopped, moving) = (GROUPS[0], GROUPS[1]);
    cluster.leader(stopped).await;
    // Two of its three nodes are gone; the processes and their connections live on.
    for id in [2, 3] {
        let node = cluster.processes.lock().unwrap().get_mut(&id).unwrap().remove(stopped).unwrap();
        node.shutdown().await.unwrap();
    }
    let leader = cluster.leader(moving).await;
    for serial in 1..=20 {
        leader.client_write(ClientRequest::make_request("a", serial)).await.unwrap();
    }
    assert_eq!(cluster.agreed(moving, "a").await.as_deref(), Some("request-20"));
}

#[tokio::test(start_paused = true)]
async fn leadership_moves_in_one_group_alone() {
    let cluster = Cluster::found().await;
    let (first, second) = (cluster.leader(GROUPS[0]).await, cluster.leader(GROUPS[1]).await);
    first.client_write(ClientRequest::make_request("a", 1)).await.unwrap();
    cluster.agreed(GROUPS[0], "a").await;
    let to = first.node_id() % 3 + 1;
    first.trigger().transfer_leader(to).await.unwrap();
    cluster.node(to, GROUPS[0]).wait(PATIENCE).current_leader(to, "it takes over").await.unwrap();
    assert_eq!(second.current_leader().await, Some(*second.node_id()), "the other group's stays");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_goes_to_its_group() {
    let mut cluster = Cluster::found().await;
    let group = GROUPS[0];
    let leader = cluster.leader(group).await;
    for serial in 1..=5 {
        leader.client_write(ClientRequest::make_request("a", serial)).await.unwrap();
    }
    let last = leader.metrics().borrow_watched().last_applied.unwrap();
    leader.trigger().snapshot().await.unwrap();
    leader.wait(PATIENCE).snapshot(last, "a snapshot").await.unwrap();
    leader.trigger().purge_log(last.index).await.unwrap();
    leader.wait(PATIENCE).purged(Some(last), "the entries are gone").await.unwrap();

    cluster.start(4, group, cluster.routers[&1].clone()).await;
    leader.add_learner(4, (), true).await.unwrap();
    cluster.node(4, group).wait(PATIENCE).snapshot(last, "the snapshot came").await.unwrap();
    let state = cluster.machines[&(4, group)].get_state_machine().await;
    assert_eq!(state.client_status["a"], "request-5");
}

#[tokio::test]
async fn an_adapter_is_tied_to_a_node_and_a_group() {
    /// Reaches nobody.
    #[derive(Clone)]
    struct Nowhere;

    impl GroupRouter<TypeConfig, Group> for Nowhere {
        type SnapshotData = Data;

        async fn append_entries(
            &self,
            target: u64,
            group_id: Group,
            _rpc: AppendEntriesRequest<TypeConfig>,
            _option: RPCOption,
        ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
            Err(Unreachable::from_string(format!("{group_id} of {target}")).into())
        }

        async fn vote(
            &self,
            _target: u64,
            _group_id: Group,
            rpc: VoteRequest<TypeConfig>,
            _option: RPCOption,
        ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
            Ok(VoteResponse::new(rpc.vote, None, false))
        }

        async fn pre_vote(
            &self,
            target: u64,
            group_id: Group,
            rpc: VoteRequest<TypeConfig>,
            option: RPCOption,
        ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
            self.vote(target, group_id, rpc, option).await
        }

        async fn full_snapshot(
            &self,
            _target: u64,
            _group_id: Group,
            _vote: VoteOf<TypeConfig>,
            _snapshot: SnapshotOf<TypeConfig, Data>,
            cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
            _option: RPCOption,
        ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
            Err(cancel.await.into())
        }
    }

    let adapter = GroupNetworkAdapter::new(Nowhere, 7, "users");
    let mut adapter = adapter.clone();
    assert_eq!((adapter.target(), adapter.group_id()), (&7, &"users"));
    assert!(RaftNetworkV2::backoff(&adapter).is_none(), "the config says");

    let option = || RPCOption::new(Duration::from_secs(1));
    let vote = VoteOf::<TypeConfig>::new_committed(1, 1);
    let request = AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
    let error = RaftNetworkV2::append_entries(&mut adapter, request, option()).await.unwrap_err();
    assert!(error.to_string().contains("users of 7"), "{error}");
    let request = TransferLeaderRequest::new(vote, 7, None);
    let error = RaftNetworkV2::transfer_leader(&mut adapter, request, option()).await.unwrap_err();
    assert!(error.to_string().contains("transfer_leader not implemented"), "{error}");
}

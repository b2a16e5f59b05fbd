//! Three nodes in one process, on these stores and a network of function calls.
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
use openraft::errors::Fatal;
use openraft::errors::RPCError;
use openraft::errors::ReplicationClosed;
use openraft::errors::StreamingError;
use openraft::errors::Unreachable;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::SnapshotResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::VoteOf;
use quorate_memstore::ClientRequest;
use quorate_memstore::ClientResponse;
use quorate_memstore::IntoMemClientRequest;
use quorate_memstore::MemLogStore;
use quorate_memstore::MemNodeId;
use quorate_memstore::MemStateMachine;
use quorate_memstore::TypeConfig;
use quorate_memstore::new_mem_store;

type Node = Raft<TypeConfig, Arc<MemStateMachine>>;

/// A deadline that only a hang can miss.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

/// Reaches the nodes that are in the map.
#[derive(Clone, Default)]
struct Router {
    nodes: Arc<Mutex<BTreeMap<MemNodeId, Node>>>,
}

impl Router {
    fn client(&self, target: MemNodeId) -> Client {
        Client { router: self.clone(), target }
    }
}

impl RaftNetworkFactory<TypeConfig> for Router {
    type Network = Client;

    async fn new_client(&mut self, target: MemNodeId, _node: &()) -> Client {
        self.client(target)
    }
}

struct Client {
    router: Router,
    target: MemNodeId,
}

impl Client {
    fn node(&self) -> Result<Node, Unreachable<TypeConfig>> {
        let node = self.router.nodes.lock().unwrap().get(&self.target).cloned();
        node.ok_or_else(|| Unreachable::from_string(format!("no node {}", self.target)))
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.node()?.append_entries(rpc).await.map_err(|error| Unreachable::new(&error))?)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.node()?.vote(rpc).await.map_err(|error| Unreachable::new(&error))?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Cursor<Vec<u8>>>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let answer = self.node()?.install_full_snapshot(vote, snapshot).await;
        Ok(answer.map_err(|error| Unreachable::new(&error))?)
    }
}

/// What a restart finds.
type Stores = (Arc<MemLogStore>, Arc<MemStateMachine>);

async fn start(router: &Router, id: MemNodeId, stores: &Stores, config: &Arc<Config>) -> Node {
    let (log, machine) = stores.clone();
    let node = Node::new(id, config.clone(), router.clone(), log, machine).await.unwrap();
    router.nodes.lock().unwrap().insert(id, node.clone());
    node
}

async fn write(node: &Node, client: &str, serial: u64) -> ClientResponse {
    node.client_write(ClientRequest::make_request(client, serial)).await.unwrap().data
}

async fn caught_up(node: &Node, with: &Node) {
    let index = with.metrics().borrow_watched().last_applied.map(|applied| applied.index);
    node.wait(PATIENCE).applied_index_at_least(index, "caught up").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn three_nodes_agree_also_after_a_restart_and_a_snapshot() {
    let config = Config {
        snapshot_policy: SnapshotPolicy::LogsSinceLast(20),
        max_in_snapshot_log_to_keep: 5,
        ..Config::default()
    };
    let config = Arc::new(config.validate().unwrap());
    let router = Router::default();
    let stores: BTreeMap<_, _> = (1..=3).map(|id| (id, new_mem_store())).collect();
    let mut nodes = BTreeMap::new();
    for (&id, stores) in &stores {
        nodes.insert(id, start(&router, id, stores, &config).await);
    }
    nodes[&1].initialize(BTreeMap::from([(1, ()), (2, ()), (3, ())])).await.unwrap();
    let metrics = nodes[&1].wait(PATIENCE).metrics(|m| m.current_leader.is_some(), "a leader").await.unwrap();
    let leader = nodes[&metrics.current_leader.unwrap()].clone();
    assert_eq!(write(&leader, "a", 1).await, ClientResponse(None));
    assert_eq!(write(&leader, "a", 2).await, ClientResponse(Some("request-1".to_string())));

    // A node that was away while the log moved on catches up by a snapshot: the entries it lacks are gone.
    let away = nodes.keys().copied().find(|id| id != leader.node_id()).unwrap();
    router.nodes.lock().unwrap().remove(&away);
    nodes.remove(&away).unwrap().shutdown().await.unwrap();
    for serial in 3..60 {
        write(&leader, "a", serial).await;
    }
    let purged = |m: &openraft::RaftMetrics<TypeConfig>| m.purged.is_some_and(|purged| purged.index > 20);
    leader.wait(PATIENCE).metrics(purged, "the log is purged").await.unwrap();
    nodes.insert(away, start(&router, away, &stores[&away], &config).await);

    for (id, node) in &nodes {
        caught_up(node, &leader).await;
        let state = stores[id].1.get_state_machine().await;
        assert_eq!(state.client_status["a"], "request-59", "node {id}");
        assert_eq!(state.last_membership.voter_ids().collect::<Vec<_>>(), [1, 2, 3]);
    }
    for node in nodes.values() {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_that_panics_stops_its_node() {
    let router = Router::default();
    let config = Arc::new(Config::default().validate().unwrap());
    let stores = new_mem_store();
    let node = start(&router, 1, &stores, &config).await;
    node.initialize(BTreeMap::from([(1, ())])).await.unwrap();
    node.wait(PATIENCE).current_leader(1, "it leads").await.unwrap();
    write(&node, "a", 1).await;

    stores.1.panic_on_apply(true);
    let error = node.client_write(ClientRequest::make_request("a", 2)).await.unwrap_err();
    assert_eq!(error.into_fatal(), Some(Fatal::Panicked));
}

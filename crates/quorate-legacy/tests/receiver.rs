//! The receiver's end of a transfer, chunk by chunk; and both ends together over a bad network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use openraft::Config;
use openraft::Membership;
use openraft::Raft;
use openraft::RaftMetrics;
use openraft::RaftNetworkFactory;
use openraft::SnapshotPolicy;
use openraft::StoredMembership;
use openraft::Vote;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::NetworkError;
use openraft::errors::RPCError;
use openraft::errors::RaftError;
use openraft::errors::RemoteError;
use openraft::errors::Unreachable;
use openraft::log_id::LogId;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::LeaderIdOf;
use openraft::vote::RaftLeaderId;
use openraft_memstore::ClientRequest;
use openraft_memstore::IntoMemClientRequest;
use openraft_memstore::MemStateMachine;
use openraft_memstore::MemStoreStateMachine;
use openraft_memstore::TypeConfig;
use openraft_memstore::new_mem_store;
use quorate_legacy::prelude::*;

type Node = Raft<TypeConfig, Arc<MemStateMachine>>;

/// A deadline that only a hang can miss.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

/// Lets so many seconds of the paused clock pass, with all that happens in them.
async fn elapse(seconds: u64) {
    let _ = TypeConfig::timeout(Duration::from_secs(seconds), std::future::pending::<()>()).await;
}

// --- A network of function calls.

#[derive(Clone, Default)]
struct Router {
    nodes: Arc<Mutex<BTreeMap<u64, Node>>>,
    traffic: Arc<Mutex<Traffic>>,
}

#[derive(Default)]
struct Traffic {
    /// Of so many chunks one is lost, in turn on its way there and back.
    lose_every: u64,
    chunks: u64,
    lost: u64,
    names: Vec<String>,
}

struct Link {
    router: Router,
    target: u64,
}

impl Link {
    fn node(&self) -> Result<Node, Unreachable<TypeConfig>> {
        let node = self.router.nodes.lock().unwrap().get(&self.target).cloned();
        node.ok_or_else(|| Unreachable::from_string(format!("no node {}", self.target)))
    }
}

impl RaftNetworkFactory<TypeConfig> for Router {
    type Network = Adapter<TypeConfig, Link, Cursor<Vec<u8>>>;

    async fn new_client(&mut self, target: u64, _node: &()) -> Self::Network {
        Link { router: self.clone(), target }.into_v2()
    }
}

impl RaftNetwork<TypeConfig> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig, RaftError<TypeConfig>>> {
        let answer = self.node()?.append_entries(rpc).await;
        answer.map_err(|error| RemoteError::new(self.target, error).into())
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig, RaftError<TypeConfig>>> {
        self.node()?.vote(rpc).await.map_err(|error| RemoteError::new(self.target, error).into())
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<TypeConfig>,
        RPCError<TypeConfig, RaftError<TypeConfig, InstallSnapshotError>>,
    > {
        let (there, back) = {
            let mut traffic = self.router.traffic.lock().unwrap();
            traffic.chunks += 1;
            traffic.names.push(rpc.meta.snapshot_id.clone());
            let lost = traffic.lose_every > 0 && traffic.chunks.is_multiple_of(traffic.lose_every);
            traffic.lost += u64::from(lost);
            (lost && traffic.lost % 2 == 1, lost && traffic.lost.is_multiple_of(2))
        };
        let lost = |way: &str| NetworkError::from_string(format!("lost on the way {way}"));
        if there {
            return Err(lost("there").into());
        }
        let answer = self.node()?.install_snapshot(rpc).await;
        if back {
            return Err(lost("back").into());
        }
        answer.map_err(|error| RemoteError::new(self.target, error).into())
    }
}

async fn start(router: &Router, id: u64, config: Config) -> (Node, Arc<MemStateMachine>) {
    let (log, machine) = new_mem_store();
    let config = Arc::new(config.validate().unwrap());
    let node = Node::new(id, config, router.clone(), log, machine.clone()).await.unwrap();
    router.nodes.lock().unwrap().insert(id, node.clone());
    (node, machine)
}

// --- One node, and chunks by hand.

/// A follower that a leader of term 5 sends a snapshot.
struct Follower {
    node: Node,
    machine: Arc<MemStateMachine>,
    content: Vec<u8>,
}

impl Follower {
    async fn start() -> Self {
        let (node, machine) = start(&Router::default(), 2, Config::default()).await;
        let state = MemStoreStateMachine {
            client_status: [("a".to_string(), "done".to_string())].into(),
            ..MemStoreStateMachine::default()
        };
        Self { node, machine, content: serde_json::to_vec(&state).unwrap() }
    }

    fn chunk(&self, name: &str, from: usize, to: usize) -> InstallSnapshotRequest<TypeConfig> {
        let last = LogId::new(LeaderIdOf::<TypeConfig>::new(5, 1).to_committed(), 9);
        let members = Membership::new_with_defaults(vec![[1].into()], [2]);
        let meta = SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(last), members),
            snapshot_id: name.to_string(),
        };
        let (data, done) = (self.content[from..to].to_vec(), to == self.content.len());
        InstallSnapshotRequest { vote: Vote::new_committed(5, 1), meta, offset: from as u64, data, done }
    }

    async fn send(&self, name: &str, from: usize, to: usize) -> Result<Vote<LeaderIdOf<TypeConfig>>, String> {
        let answer = self.node.install_snapshot(self.chunk(name, from, to)).await;
        answer.map(|answer| answer.vote).map_err(|error| error.to_string())
    }

    fn end(&self) -> usize {
        self.content.len()
    }

    async fn status(&self) -> Option<String> {
        self.machine.get_state_machine().await.client_status.get("a").cloned()
    }
}

fn mismatch(expect: &str, got: &str) -> Result<Vote<LeaderIdOf<TypeConfig>>, String> {
    Err(format!("snapshot segment id mismatch, expect: {expect}, got: {got}"))
}

#[tokio::test(start_paused = true)]
async fn chunks_become_a_snapshot() {
    let follower = Follower::start().await;
    follower.send("ss1", 0, 4).await.unwrap();
    follower.send("ss1", 4, 8).await.unwrap();
    // Again, and again with less.
    follower.send("ss1", 4, 8).await.unwrap();
    follower.send("ss1", 2, 6).await.unwrap();
    assert_eq!(follower.status().await, None);
    let vote = follower.send("ss1", 8, follower.end()).await.unwrap();
    assert_eq!(vote, Vote::new_committed(5, 1));
    assert_eq!(follower.status().await.as_deref(), Some("done"));
    let metrics = follower.node.metrics().borrow_watched().clone();
    assert_eq!(metrics.snapshot.map(|last| last.index), Some(9));

    // The answer was lost: the last chunk comes again.
    let vote = follower.send("ss1", 8, follower.end()).await.unwrap();
    assert_eq!(vote, Vote::new_committed(5, 1));
}

#[tokio::test(start_paused = true)]
async fn a_chunk_without_what_was_before_it_is_refused() {
    let follower = Follower::start().await;
    assert_eq!(follower.send("ss1", 2, 4).await, mismatch("ss1+0", "ss1+2"));
    follower.send("ss1", 0, 4).await.unwrap();
    assert_eq!(follower.send("ss2", 4, 8).await, mismatch("ss2+0", "ss2+4"));
    assert_eq!(follower.send("ss1", 5, 8).await, mismatch("ss1+4", "ss1+5"), "no hole");
    follower.send("ss1", 4, 8).await.unwrap();

    // The first chunk of another takes its place.
    follower.send("ss2", 0, 4).await.unwrap();
    assert_eq!(follower.send("ss1", 8, 9).await, mismatch("ss1+0", "ss1+8"));
    follower.send("ss2", 4, follower.end()).await.unwrap();
    assert_eq!(follower.status().await.as_deref(), Some("done"));
}

#[tokio::test(start_paused = true)]
async fn an_offset_of_any_size_costs_no_memory() {
    let follower = Follower::start().await;
    follower.send("ss1", 0, 4).await.unwrap();
    let far = InstallSnapshotRequest { offset: u64::MAX, ..follower.chunk("ss1", 4, 8) };
    let error = follower.node.install_snapshot(far).await.unwrap_err().to_string();
    assert!(error.ends_with("expect: ss1+4, got: ss1+18446744073709551615"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_of_a_deposed_leader_is_refused_when_it_is_whole() {
    let follower = Follower::start().await;
    let candidate = Vote::new(6, 3);
    follower.node.vote(VoteRequest::new(candidate, None)).await.unwrap();
    assert_eq!(follower.send("ss1", 0, 4).await, Ok(candidate));
    assert_eq!(follower.send("ss1", 4, follower.end()).await, Ok(candidate));
    assert_eq!(follower.status().await, None, "it is not installed");
    assert_eq!(follower.send("ss1", 4, follower.end()).await, mismatch("ss1+0", "ss1+4"));
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_snapshot_is_forgotten_by_and_by() {
    let follower = Follower::start().await;
    follower.send("ss1", 0, 4).await.unwrap();
    elapse(50).await;
    follower.send("ss1", 4, 8).await.unwrap();
    elapse(50).await;
    assert_eq!(follower.send("ss1", 8, 9).await, Ok(Vote::new(0, 2)), "it is still there");
    elapse(61).await;
    assert_eq!(follower.send("ss1", 9, 10).await, mismatch("ss1+0", "ss1+9"));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_installed_stops_the_node() {
    let follower = Follower::start().await;
    let end = follower.end();
    let broken = InstallSnapshotRequest { data: vec![0; end], ..follower.chunk("ss1", 0, end) };
    let error = follower.node.install_snapshot(broken).await.unwrap_err();
    assert!(matches!(error, RaftError::Fatal(_)), "{error}");
}

// --- Both ends.

async fn caught_up_over(lose_every: u64) -> Traffic {
    let router = Router::default();
    let config = || Config {
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        snapshot_max_chunk_size: 16,
        enable_pre_vote: Some(false),
        ..Config::default()
    };
    let (leader, machine) = start(&router, 1, config()).await;
    leader.initialize(BTreeMap::from([(1, ())])).await.unwrap();
    leader.wait(PATIENCE).current_leader(1, "it leads").await.unwrap();
    for client in 0..20 {
        leader.client_write(ClientRequest::make_request(client, 1)).await.unwrap();
    }
    let last = leader.metrics().borrow_watched().last_applied.unwrap();
    leader.trigger().snapshot().await.unwrap();
    leader.wait(PATIENCE).snapshot(last, "a snapshot").await.unwrap();
    leader.trigger().purge_log(last.index).await.unwrap();
    leader.wait(PATIENCE).purged(Some(last), "the entries are gone").await.unwrap();

    router.traffic.lock().unwrap().lose_every = lose_every;
    let (learner, copy) = start(&router, 2, config()).await;
    leader.add_learner(2, (), true).await.unwrap();
    let snapshot = |m: &RaftMetrics<TypeConfig>| m.snapshot == Some(last);
    learner.wait(PATIENCE).metrics(snapshot, "the snapshot came").await.unwrap();
    learner.wait(PATIENCE).applied_index_at_least(Some(last.index + 1), "and goes on").await.unwrap();
    let (state, copied) = (machine.get_state_machine().await, copy.get_state_machine().await);
    assert_eq!(state.client_status, copied.client_status);
    std::mem::take(&mut *router.traffic.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_new_node_gets_its_snapshot_in_chunks() {
    let traffic = caught_up_over(0).await;
    assert!(traffic.chunks > 20, "{} chunks", traffic.chunks);
    assert!(traffic.names.iter().all(|name| *name == traffic.names[0]), "in one transfer");
}

#[tokio::test(start_paused = true)]
async fn a_new_node_gets_its_snapshot_over_a_network_that_loses_every_third_chunk() {
    let traffic = caught_up_over(3).await;
    assert!(traffic.lost > 10, "{} lost", traffic.lost);
    assert!(traffic.names.iter().all(|name| *name == traffic.names[0]), "in one transfer");
}

//! Nodes in one process, started, stopped and crashed by a test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate::BasicNode;
use quorate::Config;
use quorate::SnapshotPolicy;
use quorate::async_runtime::Instant;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::ClientWriteError;
use quorate::errors::Fatal;
use quorate::errors::RaftError;
use quorate::raft::ClientWriteResponse;
use tokio::task::JoinHandle;

use crate::network::Network;
use crate::network::Node;
use crate::network::Router;
use crate::stores::Add;
use crate::stores::Id;
use crate::stores::Machine;
use crate::stores::MemLog;
use crate::stores::Types;

/// What a client is told of its write.
pub type Written = Result<ClientWriteResponse<Types>, RaftError<Types, ClientWriteError<Types>>>;

/// A deadline that only a hang can miss.
pub const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

/// Many election timeouts.
pub const LONG: Duration = Duration::from_secs(5);

/// What the tests run with, unless they say otherwise.
pub fn config() -> Config {
    Config { enable_pre_vote: Some(true), ..Config::default() }
}

/// Snapshots on demand alone, and nothing kept behind them.
pub fn by_hand() -> Config {
    Config { snapshot_policy: SnapshotPolicy::Never, max_in_snapshot_log_to_keep: 0, ..config() }
}

/// Lets so much of the paused clock's time pass, with all that happens in it.
pub async fn elapse(time: Duration) {
    if !time.is_zero() {
        let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
    }
}

/// What the future gives, which must not take for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE.unwrap(), future).await.expect("it hangs")
}

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

impl Cluster {
    pub fn new(config: Config) -> Self {
        let config = Arc::new(config.validate().unwrap());
        Self { router: Router::default(), config, nodes: BTreeMap::new(), disks: BTreeMap::new() }
    }

    /// Starts a node, from what its disk holds.
    pub async fn start(&mut self, id: u64) -> Node {
        self.try_start(id).await.unwrap()
    }

    pub async fn try_start(&mut self, id: u64) -> Result<Node, Fatal<Types>> {
        let disk = self.disks.entry(id).or_default().clone();
        let network = Network { from: id, router: self.router.clone() };
        let node = Node::new(id, self.config.clone(), network, disk.log, disk.machine).await?;
        self.router.add(id, node.clone());
        self.nodes.insert(id, node.clone());
        Ok(node)
    }

    pub async fn stop(&mut self, id: u64) {
        let node = self.nodes.remove(&id).unwrap();
        self.router.remove(id);
        soon(node.shutdown()).await.unwrap();
    }

    /// The node stops, and loses what it had not flushed.
    pub async fn crash(&mut self, id: u64) {
        self.stop(id).await;
        self.disks[&id].log.crash();
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
        let leader = self.leader().await;
        self.applied(last_log(&leader).unwrap()).await;
        leader
    }

    /// A cluster of three, its leader whom a quorum has answered lately, and the two others.
    pub async fn of_three(config: Config) -> (Self, Node, [u64; 2]) {
        let mut cluster = Self::new(config);
        let leader = cluster.found([1, 2, 3]).await;
        acknowledged(&leader).await;
        let others = cluster.others(&leader);
        (cluster, leader, [others[0], others[1]])
    }

    /// Writes through a leader whose followers take the entry, and whose answers are lost. Gives its index and the
    /// client that waits.
    pub async fn write_unanswered(&self, leader: &Node, add: Add) -> (u64, JoinHandle<Written>) {
        let others = self.others(leader);
        for other in &others {
            self.router.cut(*other, *leader.node_id());
        }
        let at = last_log(leader).unwrap() + 1;
        let writer = leader.clone();
        let waits = tokio::spawn(async move { writer.client_write(add).await });
        for other in &others {
            self.nodes[other].wait(PATIENCE).log_index_at_least(Some(at), "taken").await.unwrap();
        }
        (at, waits)
    }

    /// Waits until a node leads and has committed an entry of its own.
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

    /// Cuts `id` off and leaves it out of the nodes; returns it and the leader of the rest.
    pub async fn depose(&mut self, id: u64) -> (Node, Node) {
        self.router.isolate(id);
        let old = self.nodes.remove(&id).unwrap();
        (old, self.leader().await)
    }

    /// The nodes that are not `leader`.
    pub fn others(&self, leader: &Node) -> Vec<u64> {
        self.nodes.keys().copied().filter(|id| id != leader.node_id()).collect()
    }

    /// Waits until all nodes have applied up to `index`.
    pub async fn applied(&self, index: u64) {
        for node in self.nodes.values() {
            node.wait(PATIENCE).applied_index_at_least(Some(index), "applied").await.unwrap();
        }
    }

    pub fn sum(&self, id: u64) -> u64 {
        self.disks[&id].machine.sum()
    }
}

/// So many writes of one; the index of the last.
pub async fn write(leader: &Node, count: u64) -> u64 {
    for _ in 0..count {
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    last_log(leader).unwrap()
}

/// Builds a snapshot of all that is applied, and waits for it.
pub async fn build(node: &Node) -> Id {
    let applied = node.metrics().borrow_watched().last_applied.unwrap();
    node.trigger().snapshot().await.unwrap();
    node.wait(PATIENCE).snapshot(applied, "built").await.unwrap();
    applied
}

/// The same, and waits until the log behind it is purged.
pub async fn compact(node: &Node) -> u64 {
    let applied = build(node).await;
    node.wait(PATIENCE).purged(Some(applied), "purged").await.unwrap();
    applied.index
}

/// Waits until a quorum has answered the leader lately.
pub async fn acknowledged(leader: &Node) {
    let lately = |m: &quorate::RaftMetrics<Types>| {
        m.last_quorum_acked.is_some_and(|acked| acked.elapsed() < Duration::from_millis(100))
    };
    leader.wait(PATIENCE).metrics(lately, "a quorum answers").await.unwrap();
}

/// The term that a node is in.
pub fn term(node: &Node) -> u64 {
    node.metrics().borrow_watched().current_term
}

/// The index of the last entry of a node's log.
pub fn last_log(node: &Node) -> Option<u64> {
    node.metrics().borrow_watched().last_log_index
}

//! Nodes of the key-value store in one process, for the examples of the guide.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use quorate::{BasicNode, Config, Raft};
use quorate_guide::{LogStore, Network, Node, Router, StateMachine};

/// Longer than anything takes in an example that works.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

/// Some nodes, what they keep, and the wires between them.
#[derive(Default)]
pub struct Cluster {
    /// The wires.
    pub router: Router,
    /// The nodes.
    pub nodes: BTreeMap<u64, Node>,
    /// Their logs.
    pub logs: BTreeMap<u64, LogStore>,
    /// Their state machines.
    pub machines: BTreeMap<u64, StateMachine>,
}

impl Cluster {
    /// Starts the nodes `1` to `count` and founds a cluster of them; returns when all have applied its first entries.
    pub async fn of(count: u64) -> Result<Self, Box<dyn Error>> {
        let mut cluster = Self::default();
        let mut members = BTreeMap::new();
        for id in 1..=count {
            cluster.start(id).await?;
            members.insert(id, BasicNode::new(format!("node-{id}")));
        }
        let founder = cluster.nodes.get(&1).ok_or("a cluster has a node")?;
        founder.initialize(members).await?;
        for node in cluster.nodes.values() {
            node.wait(PATIENCE).applied_index_at_least(Some(1), "founded").await?;
        }
        Ok(cluster)
    }

    /// Starts a node, from what it kept if it ran before. A new one belongs to no cluster yet.
    pub async fn start(&mut self, id: u64) -> Result<Node, Box<dyn Error>> {
        self.start_with(id, Config { enable_pre_vote: Some(true), ..Config::default() }).await
    }

    /// Like [`start`](Self::start), with settings of one's own.
    pub async fn start_with(&mut self, id: u64, config: Config) -> Result<Node, Box<dyn Error>> {
        let log = self.logs.entry(id).or_default().clone();
        let machine = self.machines.entry(id).or_default().clone();
        let network = Network { from: id, router: self.router.clone() };
        let node = Raft::new(id, Arc::new(config.validate()?), network, log, machine).await?;
        self.router.listen(id, node.clone());
        self.nodes.insert(id, node.clone());
        Ok(node)
    }

    /// The node that leads; waits until one does that can be reached, and has committed an entry of its own.
    pub async fn leader(&self) -> Result<Node, Box<dyn Error>> {
        let nodes = self.nodes.iter().filter(|(id, _)| !self.router.is_cut_off(**id));
        let waits = nodes.map(|(_, node)| {
            Box::pin(async move {
                let wait = node.wait(PATIENCE);
                wait.metrics(|m| m.state.is_leader() && m.cluster_committed.is_some(), "leads").await?;
                Ok::<_, Box<dyn Error>>(node.clone())
            })
        });
        Ok(futures_util::future::select_ok(waits).await?.0)
    }

    /// The nodes that do not lead, in the order of their ids.
    pub async fn followers(&self) -> Result<Vec<Node>, Box<dyn Error>> {
        let leader = *self.leader().await?.node_id();
        Ok(self.nodes.values().filter(|node| *node.node_id() != leader).cloned().collect())
    }
}

//! A replicated key-value store over HTTP: what an application of the library consists of.
//!
//! - the types that it chooses, a log store and a state machine: those of `example-mem-store`;
//! - [`network`]: how nodes reach each other, from both sides;
//! - [`api`]: what operators and clients ask of a node;
//! - [`client`]: one that finds the leader.
#![forbid(unsafe_code)]

use std::sync::Arc;

use axum::Router;
use example_mem_store::LogStore;
use example_mem_store::StateMachine;
use example_mem_store::TypeConfig;
use openraft::Config;
use openraft::SnapshotPolicy;

pub mod api;
pub mod client;
pub mod network;

/// What names a node.
pub type NodeId = u64;

/// A node of the cluster.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// What every request can reach.
#[derive(Clone)]
pub struct App {
    /// Who this node is.
    pub id: NodeId,
    /// Where it is reached: `host:port`.
    pub addr: String,
    /// What replicates.
    pub raft: Raft,
    /// What it leads to: the map, to be read from.
    pub machine: StateMachine,
}

impl App {
    /// Starts a node, which belongs to no cluster yet.
    ///
    /// Fails if the settings contradict each other, or the stores themselves; these are in memory and new.
    pub async fn start(id: NodeId, addr: String) -> Result<Self, Box<dyn std::error::Error>> {
        let config = Config {
            heartbeat_interval: 250,
            election_timeout_min: 1000,
            election_timeout_max: 2000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(1000),
            ..Config::default()
        };
        let config = Arc::new(config.validate()?);
        let machine = StateMachine::default();
        let (network, log) = (network::Network::default(), LogStore::default());
        let raft = Raft::new(id, config, network, log, machine.clone()).await?;
        Ok(Self { id, addr, raft, machine })
    }

    /// All that the node answers to, to be served at its address.
    pub fn router(&self) -> Router {
        network::routes().merge(api::routes()).with_state(self.clone())
    }
}

//! A network of version 1: snapshots travel in chunks, one call each.
//!
//! [`network`] has both sides of it. Everything else is as with any other network.
#![forbid(unsafe_code)]

use std::sync::Arc;

use example_mem_store::LogStore;
use example_mem_store::StateMachine;
use example_mem_store::TypeConfig;
use openraft::Config;
use openraft::SnapshotPolicy;

pub mod network;

use network::Router;

/// What names a node.
pub type NodeId = u64;

/// A node of the cluster.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// The size of a chunk, in bytes. So small that a small snapshot shows it.
pub const CHUNK_BYTES: u64 = 64;

/// Starts a node, which other nodes reach by `router`; returns it with its map.
///
/// Fails if the settings contradict each other, or the stores themselves; these are in memory and new.
pub async fn start(id: NodeId, router: &Router) -> Result<(Raft, StateMachine), Box<dyn std::error::Error>> {
    let config = Config {
        snapshot_max_chunk_size: CHUNK_BYTES,
        // A chunk must be answered within this time, or it is sent again.
        install_snapshot_timeout: 500,
        // Snapshots are built, and entries purged, when the operator says so.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    };
    let config = Arc::new(config.validate()?);
    let machine = StateMachine::default();
    let raft = Raft::new(id, config, router.clone(), LogStore::default(), machine.clone()).await?;
    router.connect(id, raft.clone());
    Ok((raft, machine))
}

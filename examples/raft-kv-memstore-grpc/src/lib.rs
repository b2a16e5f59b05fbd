//! A replicated key-value store over gRPC.
//!
//! - the types that it chooses, a log store and a state machine: those of `example-mem-store`;
//! - [`network`]: how nodes reach each other, the side that calls;
//! - [`raft_service`]: the side that is called;
//! - [`kv_service`]: what operators and clients ask of a node.
#![forbid(unsafe_code)]

use std::sync::Arc;

use example_mem_store::LogStore;
use example_mem_store::StateMachine;
use example_mem_store::TypeConfig;
use openraft::Config;
use openraft::SnapshotPolicy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub mod kv_service;
pub mod network;
pub mod raft_service;

/// What `proto/kv.proto` compiles to.
pub mod proto {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::restriction)]
    tonic::include_proto!("kv");
}

use proto::Message;
use proto::kv_server::KvServer;
use proto::raft_server::RaftServer;

/// What names a node.
pub type NodeId = u64;

/// A node of the cluster.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// The longest request of a client, in bytes.
const REQUEST_BYTES_MAX: usize = 32 * 1024;

/// The longest message between nodes, in bytes: as many clients' requests as go into one (`Config::max_payload_entries`)
/// have to fit, also if JSON writes each of their bytes as `\u0001`.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

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
        let raft = Raft::new(id, config, network::Network, LogStore::default(), machine.clone()).await?;
        Ok(Self { id, addr, raft, machine })
    }

    /// Serves both services until the process ends.
    pub async fn serve(self, listener: TcpListener) -> Result<(), tonic::transport::Error> {
        let raft = RaftServer::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let kv = KvServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX);
        Server::builder()
            .add_service(raft)
            .add_service(kv)
            .serve_with_incoming(TcpIncoming::from(listener))
            .await
    }
}

/// A value of the library as a message.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Message, Status> {
    let data = serde_json::to_vec(value).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Message { data })
}

/// A message as a value of the library.
pub(crate) fn decode<T: DeserializeOwned>(message: &Message) -> Result<T, Status> {
    serde_json::from_slice(&message.data).map_err(|error| Status::invalid_argument(error.to_string()))
}

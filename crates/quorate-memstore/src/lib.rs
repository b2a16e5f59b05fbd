//! A log store and a state machine in memory, for tests of applications and of the library.
//!
//! Nothing outlives the process. What a real store does and these do too: entries and snapshots are kept encoded, so
//! that whatever does not survive encoding shows. What only they do: fail, block and panic when a test says so.
#![forbid(unsafe_code)]

use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

mod block;
mod log_store;
mod state_machine;

pub use block::BlockConfig;
pub use block::BlockOperation;
pub use log_store::MemLogStore;
pub use state_machine::MemStateMachine;
pub use state_machine::MemStoreSnapshot;
pub use state_machine::MemStoreStateMachine;

/// What names a node.
pub type MemNodeId = u64;

#[cfg(not(feature = "single-term-leader"))]
openraft::declare_raft_types!(
    /// The types of the stores. A term can have several leaders, unless the feature `single-term-leader` is on.
    pub TypeConfig:
        D = ClientRequest,
        R = ClientResponse,
        NodeId = MemNodeId,
        Node = (),
);

#[cfg(feature = "single-term-leader")]
openraft::declare_raft_types!(
    /// The types of the stores. A term has at most one leader.
    pub TypeConfig:
        D = ClientRequest,
        R = ClientResponse,
        NodeId = MemNodeId,
        Node = (),
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

/// Sets the status of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRequest {
    /// Whose status it is.
    pub client: String,
    /// The client's own number of the request. The state machine does not look at it.
    pub serial: u64,
    /// The status from now on.
    pub status: String,
}

impl Display for ClientRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { client, serial, status } = self;
        write!(f, "ClientRequest{{client: {client}, serial: {serial}, status: {status}}}")
    }
}

/// Makes requests for tests that do not care what is written.
pub trait IntoMemClientRequest<T> {
    /// The request number `serial` of the client `client_id`.
    fn make_request(client_id: impl ToString, serial: u64) -> T;
}

impl IntoMemClientRequest<ClientRequest> for ClientRequest {
    fn make_request(client_id: impl ToString, serial: u64) -> Self {
        Self { client: client_id.to_string(), serial, status: format!("request-{serial}") }
    }
}

/// The status that the client had before the request, if any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientResponse(pub Option<String>);

/// An empty log store and an empty state machine, which a test can block together.
pub fn new_mem_store() -> (Arc<MemLogStore>, Arc<MemStateMachine>) {
    let block = BlockConfig::default();
    (Arc::new(MemLogStore::new(block.clone())), Arc::new(MemStateMachine::new(block)))
}

//! Both sides of the network. In place of a wire there are function calls with JSON in and out.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use example_mem_store::TypeConfig;
use openraft::BasicNode;
use openraft::RaftNetworkFactory;
use openraft::errors::NetworkError;
use openraft::errors::RPCError;
use openraft::errors::RaftError;
use openraft::errors::RemoteError;
use openraft::errors::Unreachable;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use openraft_legacy::network_v1::Adapter;
use openraft_legacy::network_v1::ChunkedSnapshotReceiver;
use openraft_legacy::network_v1::InstallSnapshotError;
use openraft_legacy::network_v1::InstallSnapshotRequest;
use openraft_legacy::network_v1::InstallSnapshotResponse;
use openraft_legacy::network_v1::RaftNetwork;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::NodeId;
use crate::Raft;

/// Reaches every node of this process.
#[derive(Clone, Default)]
pub struct Router {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<NodeId, Raft>,
    calls: BTreeMap<&'static str, u64>,
}

impl Router {
    /// From now on `node` is reached as `id`.
    pub fn connect(&self, id: NodeId, node: Raft) {
        self.lock().nodes.insert(id, node);
    }

    /// How many calls went to a path.
    pub fn calls(&self, path: &str) -> u64 {
        self.lock().calls.get(path).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// --- The side that calls.

impl RaftNetworkFactory<TypeConfig> for Router {
    /// The library speaks version 2; the adapter makes that out of version 1.
    type Network = Adapter<TypeConfig, Peer, Cursor<Vec<u8>>>;

    async fn new_client(&mut self, target: NodeId, _node: &BasicNode) -> Self::Network {
        Peer { router: self.clone(), target }.into_v2()
    }
}

/// A client to one node.
pub struct Peer {
    router: Router,
    target: NodeId,
}

type CallError<E> = RPCError<TypeConfig, RaftError<TypeConfig, E>>;

impl Peer {
    /// Sends a request and reads the answer: the place for a connection to another machine.
    async fn call<Request, Answer, E>(
        &self,
        path: &'static str,
        request: &Request,
    ) -> Result<Answer, CallError<E>>
    where
        Request: Serialize,
        Answer: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        let node = {
            let mut inner = self.router.lock();
            *inner.calls.entry(path).or_default() += 1;
            inner.nodes.get(&self.target).cloned()
        };
        let node = node.ok_or_else(|| Unreachable::from_string(format!("no node {}", self.target)))?;
        let request = serde_json::to_vec(request).map_err(|error| NetworkError::new(&error))?;
        let answer = serve(&node, path, &request).await.map_err(|error| NetworkError::new(&error))?;
        let answer: Result<Answer, RaftError<TypeConfig, E>> =
            serde_json::from_slice(&answer).map_err(|error| NetworkError::new(&error))?;
        // What the node itself answered is kept apart from what went wrong on the way.
        Ok(answer.map_err(|error| RemoteError::new(self.target, error))?)
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig, RaftError<TypeConfig>>> {
        self.call("append", &rpc).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig, RaftError<TypeConfig>>> {
        self.call("vote", &rpc).await
    }

    /// Sends one chunk. The adapter cuts the snapshot, sends again what is lost, and starts over where it must.
    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<TypeConfig>,
        RPCError<TypeConfig, RaftError<TypeConfig, InstallSnapshotError>>,
    > {
        self.call("snapshot", &rpc).await
    }
}

// --- The side that is called.

async fn serve(node: &Raft, path: &str, request: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    match path {
        "append" => serde_json::to_vec(&node.append_entries(serde_json::from_slice(request)?).await),
        "vote" => serde_json::to_vec(&node.vote(serde_json::from_slice(request)?).await),
        // `ChunkedSnapshotReceiver` gives a node this call: it puts the chunks together.
        "snapshot" => serde_json::to_vec(&node.install_snapshot(serde_json::from_slice(request)?).await),
        _ => Err(serde::de::Error::custom(format!("no path {path}"))),
    }
}

//! One connection from each process to each other one, for all groups. In place of sockets there are queues, which carry
//! frames of JSON.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use example_mem_store::TypeConfig;
use openraft::BasicNode;
use openraft::RaftNetworkFactory;
use openraft::async_runtime::Select2;
use openraft::errors::Fatal;
use openraft::errors::NetworkError;
use openraft::errors::RPCError;
use openraft::errors::RaftError;
use openraft::errors::ReplicationClosed;
use openraft::errors::StreamingError;
use openraft::errors::Unreachable;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::SnapshotResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use openraft::storage::Snapshot;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::VoteOf;
use openraft_multi::GroupNetworkAdapter;
use openraft_multi::GroupNetworkFactory;
use openraft_multi::GroupRouter;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::GroupId;
use crate::NodeId;
use crate::Process;
use crate::Raft;

/// Frames that wait in a connection.
const FRAMES_MAX: usize = 1024;

/// A call on its way.
struct Frame {
    group: GroupId,
    path: &'static str,
    request: Vec<u8>,
    answer: oneshot::Sender<Vec<u8>>,
}

// --- The wire: where processes listen, and how they are connected to.

/// The processes that can be reached.
#[derive(Clone, Default)]
pub struct Net {
    processes: Arc<Mutex<BTreeMap<NodeId, Process>>>,
}

impl Net {
    /// From now on `process` is reached as `id`.
    pub fn listen(&self, id: NodeId, process: Process) {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, process);
    }

    /// Opens a connection, at the other end of which the process serves.
    fn connect(&self, id: NodeId) -> Option<mpsc::Sender<Frame>> {
        let process = self.processes.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()?;
        let (frames, queue) = mpsc::channel(FRAMES_MAX);
        tokio::spawn(serve(process, queue));
        Some(frames)
    }
}

/// Answers calls, each in a task of its own: one group's snapshot must not hold up another group's heartbeat.
async fn serve(process: Process, mut frames: mpsc::Receiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        // A group that is not here does not answer: the answer's sender is dropped.
        let Some(raft) = process.raft(&frame.group) else { continue };
        tokio::spawn(async move {
            if let Ok(answer) = call(&raft, frame.path, &frame.request).await {
                // The caller may have gone.
                let _ = frame.answer.send(answer);
            }
        });
    }
}

async fn call(raft: &Raft, path: &str, request: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    match path {
        "append" => serde_json::to_vec(&raft.append_entries(serde_json::from_slice(request)?).await),
        "vote" => serde_json::to_vec(&raft.vote(serde_json::from_slice(request)?).await),
        "pre-vote" => serde_json::to_vec(&raft.pre_vote(serde_json::from_slice(request)?).await),
        "snapshot" => {
            let message: SnapshotMessage = serde_json::from_slice(request)?;
            let snapshot = Snapshot { meta: message.meta, snapshot: Cursor::new(message.data) };
            serde_json::to_vec(&raft.install_full_snapshot(message.vote, snapshot).await)
        }
        _ => Err(serde::de::Error::custom(format!("no path {path}"))),
    }
}

// --- The router of a process, which all its groups share.

/// Knows the connections of a process. Clones share them.
#[derive(Clone)]
pub struct Router {
    net: Net,
    connections: Arc<Mutex<BTreeMap<NodeId, mpsc::Sender<Frame>>>>,
}

impl Router {
    /// Without a connection yet.
    pub fn new(net: Net) -> Self {
        Self { net, connections: Arc::default() }
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.lock().len()
    }

    /// The connection to a process, which is opened when it is first needed.
    fn connection(&self, target: NodeId) -> Option<mpsc::Sender<Frame>> {
        let mut connections = self.lock();
        if let Some(connection) = connections.get(&target) {
            return Some(connection.clone());
        }
        let connection = self.net.connect(target)?;
        connections.insert(target, connection.clone());
        Some(connection)
    }

    async fn call<Request, Answer, Error>(
        &self,
        target: NodeId,
        group: GroupId,
        path: &'static str,
        request: &Request,
        option: RPCOption,
    ) -> Result<Answer, RPCError<TypeConfig>>
    where
        Request: Serialize,
        Answer: DeserializeOwned,
        Error: std::error::Error + DeserializeOwned + 'static,
    {
        let gone = || Unreachable::from_string(format!("group {group} of process {target} does not answer"));
        let connection = self.connection(target).ok_or_else(gone)?;
        let request = serde_json::to_vec(request).map_err(|error| NetworkError::new(&error))?;
        let (answer, answered) = oneshot::channel();
        let frame = Frame { group: group.clone(), path, request, answer };
        connection.send(frame).await.map_err(|_| gone())?;
        let answer = TypeConfig::timeout(option.hard_ttl(), answered).await;
        let answer = answer.map_err(|late| NetworkError::new(&late))?.map_err(|_| gone())?;
        let answer: Result<Answer, Error> =
            serde_json::from_slice(&answer).map_err(|error| NetworkError::new(&error))?;
        // A node that answers with an error of its own has stopped.
        Ok(answer.map_err(|error| Unreachable::new(&error))?)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, mpsc::Sender<Frame>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupRouter<TypeConfig, GroupId> for Router {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn append_entries(
        &self,
        target: NodeId,
        group_id: GroupId,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call::<_, _, RaftError<TypeConfig>>(target, group_id, "append", &rpc, option).await
    }

    async fn vote(
        &self,
        target: NodeId,
        group_id: GroupId,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call::<_, _, RaftError<TypeConfig>>(target, group_id, "vote", &rpc, option).await
    }

    async fn pre_vote(
        &self,
        target: NodeId,
        group_id: GroupId,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call::<_, _, RaftError<TypeConfig>>(target, group_id, "pre-vote", &rpc, option).await
    }

    async fn full_snapshot(
        &self,
        target: NodeId,
        group_id: GroupId,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Cursor<Vec<u8>>>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let message = SnapshotMessage { vote, meta: snapshot.meta, data: snapshot.snapshot.into_inner() };
        let sending = self.call::<_, _, Fatal<TypeConfig>>(target, group_id, "snapshot", &message, option);
        match TypeConfig::select2(cancel, sending).await {
            Select2::First(closed) => Err(closed.into()),
            Select2::Second(answer) => Ok(answer?),
        }
    }
}

/// A snapshot on its way.
#[derive(Serialize, Deserialize)]
struct SnapshotMessage {
    vote: VoteOf<TypeConfig>,
    meta: SnapshotMetaOf<TypeConfig>,
    data: Vec<u8>,
}

// --- What the library gets: for each group, a network of its own over the shared router.

/// The network of one group in one process.
pub struct GroupNetwork(pub GroupNetworkFactory<Router, GroupId>);

impl RaftNetworkFactory<TypeConfig> for GroupNetwork {
    type Network = GroupNetworkAdapter<TypeConfig, GroupId, Router>;

    async fn new_client(&mut self, target: NodeId, _node: &BasicNode) -> Self::Network {
        GroupNetworkAdapter::new(self.0.factory.clone(), target, self.0.group_id.clone())
    }
}

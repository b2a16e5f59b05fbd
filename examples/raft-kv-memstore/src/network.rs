//! How nodes reach each other: one POST for each call, with a JSON body.

use std::io::Cursor;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::State;
use axum::routing::post;
use example_mem_store::TypeConfig;
use openraft::BasicNode;
use openraft::RaftNetworkFactory;
use openraft::RaftNetworkV2;
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
use openraft::raft::TransferLeaderRequest;
use openraft::raft::TransferLeaderResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use openraft::storage::Snapshot;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::VoteOf;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::App;
use crate::NodeId;

/// The longest body of a call, in bytes. A snapshot has to fit, which goes in one piece here, and as many clients'
/// requests as go into one call (`Config::max_payload_entries`).
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

// --- The side that calls.

/// Makes clients to other nodes, which share their connections.
#[derive(Clone, Default)]
pub struct Network {
    http: reqwest::Client,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    // The address comes from the membership: it was given when the node was added. Nothing is connected here yet.
    async fn new_client(&mut self, _target: NodeId, node: &BasicNode) -> Peer {
        Peer { http: self.http.clone(), addr: node.addr.clone() }
    }
}

/// A client to one node.
pub struct Peer {
    http: reqwest::Client,
    addr: String,
}

impl Peer {
    /// Calls the node, which has `ttl` to answer.
    ///
    /// Of the errors, `Unreachable` keeps the library from trying again at once; the others do not.
    async fn call<Request, Answer, Error>(
        &self,
        path: &str,
        request: &Request,
        ttl: Duration,
    ) -> Result<Answer, RPCError<TypeConfig>>
    where
        Request: Serialize,
        Answer: DeserializeOwned,
        Error: std::error::Error + DeserializeOwned + 'static,
    {
        let url = format!("http://{}/{path}", self.addr);
        let sent = self.http.post(url).timeout(ttl).json(request).send().await;
        let answer = sent.map_err(|error| match error.is_connect() {
            true => RPCError::Unreachable(Unreachable::new(&error)),
            false => RPCError::Network(NetworkError::new(&error)),
        })?;
        let answer =
            answer.json::<Result<Answer, Error>>().await.map_err(|error| NetworkError::new(&error))?;
        // A node that answers with an error of its own has stopped.
        Ok(answer.map_err(|error| Unreachable::new(&error))?)
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call::<_, _, RaftError<TypeConfig>>("append", &rpc, option.hard_ttl()).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call::<_, _, RaftError<TypeConfig>>("vote", &rpc, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call::<_, _, RaftError<TypeConfig>>("pre-vote", &rpc, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Cursor<Vec<u8>>>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let message = SnapshotMessage { vote, meta: snapshot.meta, data: snapshot.snapshot.into_inner() };
        let sending = self.call::<_, _, Fatal<TypeConfig>>("snapshot", &message, option.hard_ttl());
        match TypeConfig::select2(cancel, sending).await {
            Select2::First(closed) => Err(closed.into()),
            Select2::Second(answer) => Ok(answer?),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call::<_, _, Fatal<TypeConfig>>("transfer-leader", &req, option.hard_ttl()).await
    }
}

/// A snapshot on its way.
#[derive(Serialize, Deserialize)]
struct SnapshotMessage {
    vote: VoteOf<TypeConfig>,
    meta: SnapshotMetaOf<TypeConfig>,
    data: Vec<u8>,
}

// --- The side that is called: each request goes to the node as it is, and so does the answer back.

type Answer<T, E = RaftError<TypeConfig>> = Json<Result<T, E>>;

/// The calls of other nodes.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/append", post(append))
        .route("/vote", post(vote))
        .route("/pre-vote", post(pre_vote))
        .route("/snapshot", post(snapshot))
        .route("/transfer-leader", post(transfer_leader))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

async fn append(
    State(app): State<App>,
    Json(rpc): Json<AppendEntriesRequest<TypeConfig>>,
) -> Answer<AppendEntriesResponse<TypeConfig>> {
    Json(app.raft.append_entries(rpc).await)
}

async fn vote(
    State(app): State<App>,
    Json(rpc): Json<VoteRequest<TypeConfig>>,
) -> Answer<VoteResponse<TypeConfig>> {
    Json(app.raft.vote(rpc).await)
}

async fn pre_vote(
    State(app): State<App>,
    Json(rpc): Json<VoteRequest<TypeConfig>>,
) -> Answer<VoteResponse<TypeConfig>> {
    Json(app.raft.pre_vote(rpc).await)
}

async fn snapshot(
    State(app): State<App>,
    Json(message): Json<SnapshotMessage>,
) -> Answer<SnapshotResponse<TypeConfig>, Fatal<TypeConfig>> {
    let snapshot = Snapshot { meta: message.meta, snapshot: Cursor::new(message.data) };
    Json(app.raft.install_full_snapshot(message.vote, snapshot).await)
}

async fn transfer_leader(
    State(app): State<App>,
    Json(req): Json<TransferLeaderRequest<TypeConfig>>,
) -> Answer<TransferLeaderResponse<TypeConfig>, Fatal<TypeConfig>> {
    Json(app.raft.handle_transfer_leader(req).await)
}

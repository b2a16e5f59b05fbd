//! What operators and clients ask of a node. Answers are `{"Ok": …}` or `{"Err": …}`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use axum::Json;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::State;
use axum::routing::get;
use axum::routing::post;
use example_mem_store::Request;
use example_mem_store::TypeConfig;
use openraft::BasicNode;
use openraft::RaftMetrics;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::errors::Infallible;
use openraft::errors::InitializeError;
use openraft::errors::LinearizableReadError;
use openraft::errors::RaftError;
use openraft::raft::ClientWriteResponse;

use crate::App;
use crate::NodeId;

/// The longest request, in bytes.
const REQUEST_BYTES_MAX: usize = 128 * 1024;

type Answer<T, E> = Json<Result<T, RaftError<TypeConfig, E>>>;
type Written = Answer<ClientWriteResponse<TypeConfig>, ClientWriteError<TypeConfig>>;

/// The calls of operators and clients.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/init", post(init))
        .route("/add-learner", post(add_learner))
        .route("/change-membership", post(change_membership))
        .route("/metrics", get(metrics))
        .route("/write", post(write))
        .route("/read", post(read))
        .route("/linearizable_read", post(linearizable_read))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
}

// --- Operators.

/// Founds a cluster of `[[id, "host:port"], …]`; of this node alone if the list is empty.
async fn init(
    State(app): State<App>,
    Json(members): Json<Vec<(NodeId, String)>>,
) -> Answer<(), InitializeError<TypeConfig>> {
    let members = if members.is_empty() { vec![(app.id, app.addr)] } else { members };
    let members = members.into_iter().map(|(id, addr)| (id, BasicNode::new(addr)));
    Json(app.raft.initialize(members.collect::<BTreeMap<_, _>>()).await)
}

/// Lets a node, `[id, "host:port"]`, receive the log. It does not vote yet.
async fn add_learner(State(app): State<App>, Json((id, addr)): Json<(NodeId, String)>) -> Written {
    Json(app.raft.add_learner(id, BasicNode::new(addr), true).await)
}

/// Makes these nodes, `[id, …]`, the voters, and the others leave. They have to be learners before.
async fn change_membership(State(app): State<App>, Json(voters): Json<BTreeSet<NodeId>>) -> Written {
    Json(app.raft.change_membership(voters, false).await)
}

/// All that the node tells of itself.
async fn metrics(State(app): State<App>) -> Answer<RaftMetrics<TypeConfig>, Infallible> {
    Json(Ok(app.raft.metrics().borrow_watched().clone()))
}

// --- Clients.

/// Changes the map: `{"Set": {"key": …, "value": …}}`. Answers when this node, the leader, has applied it.
async fn write(State(app): State<App>, Json(request): Json<Request>) -> Written {
    Json(app.raft.client_write(request).await)
}

/// The value of a key on this node, which may be behind.
async fn read(State(app): State<App>, Json(key): Json<String>) -> Answer<Option<String>, Infallible> {
    Json(Ok(app.machine.get(&key)))
}

/// The value of a key with all that was written before the question. For the leader.
async fn linearizable_read(
    State(app): State<App>,
    Json(key): Json<String>,
) -> Answer<Option<String>, LinearizableReadError<TypeConfig>> {
    let ready = app.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
    Json(ready.map(|_| app.machine.get(&key)))
}

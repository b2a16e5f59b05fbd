//! The admin API: found, join, change the members, hand over, take a snapshot, and look.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::Uri;
use axum::routing::post;
use axum::{Json, Router};
use quorate_node::{Member, NodeId};

use super::App;
use super::error::ApiError;
use super::query::Params;
use crate::api::{
    Done, JoinRequest, MemberId, NewMember, ReplaceRequest, SnapshotReply, StatusReply, VotersRequest,
};

type Body<T> = Result<Json<T>, JsonRejection>;
type Answer<T> = Result<Json<T>, ApiError>;

const DONE: Json<Done> = Json(Done { ok: true });

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/init", post(init))
        .route("/join", post(join))
        .route("/add-learner", post(add_learner))
        .route("/promote", post(promote))
        .route("/remove", post(remove))
        .route("/replace", post(replace))
        .route("/change-membership", post(change_membership))
        .route("/transfer-leader", post(transfer_leader))
        .route("/snapshot", post(snapshot))
}

/// The node as it sees itself; with `leader=true`, the members as the leader sees them.
pub(super) async fn status(State(app): State<App>, uri: Uri) -> Answer<StatusReply> {
    let mut params = Params::of(&uri)?;
    let from_leader = params.flag("leader")?;
    params.finish()?;
    let members = if from_leader { app.node.members_of_leader().await? } else { app.node.members() };
    let (keys, revision) = app.node.read_stale(|machine| (machine.len() as u64, machine.revision()));
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Json(StatusReply { version, node: app.node.status(), members, keys, revision }))
}

async fn init(State(app): State<App>) -> Answer<Done> {
    app.node.init().await?;
    Ok(DONE)
}

async fn join(State(app): State<App>, body: Body<JoinRequest>) -> Answer<Done> {
    app.node.join(&body?.member).await?;
    Ok(DONE)
}

async fn add_learner(State(app): State<App>, body: Body<NewMember>) -> Answer<Done> {
    let (id, member) = described(body?.0);
    app.node.add_learner(id, member).await?;
    Ok(DONE)
}

async fn promote(State(app): State<App>, body: Body<MemberId>) -> Answer<Done> {
    app.node.promote(body?.id).await?;
    Ok(DONE)
}

async fn remove(State(app): State<App>, body: Body<MemberId>) -> Answer<Done> {
    app.node.remove(body?.id).await?;
    Ok(DONE)
}

async fn replace(State(app): State<App>, body: Body<ReplaceRequest>) -> Answer<Done> {
    let Json(ReplaceRequest { old, new }) = body?;
    let (id, member) = described(new);
    app.node.replace(old, id, member).await?;
    Ok(DONE)
}

async fn change_membership(State(app): State<App>, body: Body<VotersRequest>) -> Answer<Done> {
    let Json(VotersRequest { voters }) = body?;
    app.node.set_voters(voters).await?;
    Ok(DONE)
}

async fn transfer_leader(State(app): State<App>, body: Body<MemberId>) -> Answer<Done> {
    app.node.transfer_leader(body?.id).await?;
    Ok(DONE)
}

async fn snapshot(State(app): State<App>) -> Answer<SnapshotReply> {
    let index = app.node.snapshot().await?;
    Ok(Json(SnapshotReply { index }))
}

fn described(new: NewMember) -> (NodeId, Member) {
    let NewMember { id, uid, peer_addr, client_addr } = new;
    (id, Member { uid, peer_addr, client_addr })
}

//! Tells one peer that this node leads, on a client of its own: entries and snapshots never stand in front of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use quorate_core::message::AppendReply;
use quorate_core::work::SendHeartbeat;

use crate::counting::CommandName;
use crate::counting::NotificationName;
use crate::host::Host;
use crate::network::NetStreamAppend;
use crate::network::RPCOption;
use crate::network::RaftNetworkFactory;
use crate::peer::Peer;
use crate::rpc::AppendEntriesRequest;
use crate::rpc::StreamAppendError;
use crate::runtime::Mutex;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::MutexOf;
use crate::type_config::alias::VoteOf;
use crate::vote::RaftVote;

/// Runs until the peer leaves or the node stops. One heartbeat is under way at a time, for an interval at most.
pub(crate) async fn run<C, NF>(host: Arc<Host<C>>, peer: Arc<Peer<C>>, factory: Arc<MutexOf<C, NF>>)
where
    C: RaftTypeConfig,
    NF: RaftNetworkFactory<C>,
{
    let ttl = host.config.heartbeat_interval();
    let mut client = factory.lock().await.new_heartbeat_client(peer.id.clone(), &peer.node).await;
    while !peer.is_closed() {
        let Some(heartbeat) = host.step(|state, now| state.replica.next_heartbeat(now, &peer.id)) else {
            peer.heartbeat.wait().await;
            continue;
        };
        host.counting.command(CommandName::BroadcastHeartbeat);
        let ticket = heartbeat.ticket;
        let patience = if quorate_core::mutant!(105) { Duration::MAX } else { ttl };
        let reply = C::timeout(patience, send(&mut client, heartbeat, ttl)).await.ok().flatten();
        match &reply {
            Some(AppendReply::HigherVote(_)) => host.counting.notification(NotificationName::HigherVote),
            Some(_) => host.counting.notification(NotificationName::HeartbeatProgress),
            None => {}
        }
        host.step(|state, now| state.replica.heartbeat_answer(now, &peer.id, &ticket, reply.as_ref()));
    }
}

/// The peer's answer; `None` if there is none.
async fn send<C, N>(
    client: &mut N,
    heartbeat: SendHeartbeat<C::LeaderId>,
    ttl: Duration,
) -> Option<AppendReply<C::LeaderId>>
where
    C: RaftTypeConfig,
    N: NetStreamAppend<C>,
{
    let request = AppendEntriesRequest {
        vote: VoteOf::<C>::from_leader_id(heartbeat.vote.leader_id, heartbeat.vote.committed),
        prev_log_id: heartbeat.prev,
        entries: Vec::new(),
        leader_commit: heartbeat.commit,
    };
    let input = stream::iter([request]);
    let mut output = client.stream_append(input, RPCOption::new(ttl)).await.ok()?;
    match output.next().await?.ok()? {
        Ok(matched) => Some(AppendReply::Success(matched)),
        Err(StreamAppendError::Conflict(_)) => Some(AppendReply::Conflict),
        Err(StreamAppendError::HigherVote(vote)) => Some(AppendReply::HigherVote(vote.to_owned_vote())),
    }
}

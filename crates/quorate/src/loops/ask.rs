//! Asks one peer for its pre-vote or vote, and tells it of a transfer of leadership.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::message::Transfer;
use quorate_core::message::VoteReply;
use quorate_core::work::Ask;

use crate::counting::CommandName;
use crate::counting::NotificationName;
use crate::errors::RPCError;
use crate::host::Host;
use crate::loops::clock::dice;
use crate::network::NetTransferLeader;
use crate::network::NetVote;
use crate::network::RPCOption;
use crate::network::RaftNetworkFactory;
use crate::peer::Peer;
use crate::rpc::TransferLeaderRequest;
use crate::rpc::VoteRequest;
use crate::rpc::VoteResponse;
use crate::runtime::Mutex;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::MutexOf;
use crate::type_config::alias::VoteOf;
use crate::vote::RaftVote;

/// Runs until the peer leaves or the node stops. A client per question, each bounded by the election timeout.
pub(crate) async fn run<C, NF>(host: Arc<Host<C>>, peer: Arc<Peer<C>>, factory: Arc<MutexOf<C, NF>>)
where
    C: RaftTypeConfig,
    NF: RaftNetworkFactory<C>,
{
    let ttl = Duration::from_millis(host.config.election_timeout_min);
    while !peer.is_closed() {
        let Some(ask) = host.step(|state, _| state.replica.next_ask(&peer.id)) else {
            peer.ask.wait().await;
            continue;
        };
        let client = factory.lock().await.new_client(peer.id.clone(), &peer.node).await;
        // A peer that does not answer in time has not answered.
        let _ = C::timeout(ttl, put(&host, &peer, client, ask, ttl)).await;
    }
}

async fn put<C, N>(host: &Host<C>, peer: &Peer<C>, mut client: N, ask: Ask<C::LeaderId>, ttl: Duration)
where
    C: RaftTypeConfig,
    N: NetVote<C> + NetTransferLeader<C>,
{
    let option = RPCOption::new(ttl);
    let (asked, pre, answer) = match ask {
        Ask::PreVote(request) => {
            host.counting.command(CommandName::SendPreVote);
            let asked = request.vote.clone();
            (asked, true, client.pre_vote(request_of(request), option).await)
        }
        Ask::Vote(request) => {
            host.counting.command(CommandName::SendVote);
            let asked = request.vote.clone();
            (asked, false, client.vote(request_of(request), option).await)
        }
        Ask::Transfer(transfer) => {
            host.counting.command(CommandName::BroadcastTransferLeader);
            if let Err(error) = client.transfer_leader(transfer_of(transfer), option).await {
                tracing::debug!(id = %host.id, peer = %peer.id, %error, "the transfer of leadership was not told");
            }
            return;
        }
    };
    match answer {
        Ok(response) => {
            host.counting.notification(match pre {
                true => NotificationName::PreVoteResponse,
                false => NotificationName::VoteResponse,
            });
            let (dice, reply) = (dice::<C>(), reply_of(response));
            host.step(|state, now| {
                if pre {
                    state.replica.pre_vote_answer(now, dice, &peer.id, &asked, &reply);
                } else {
                    state.replica.vote_answer(now, &peer.id, &asked, &reply);
                }
            });
        }
        Err(error) => unanswered(host, peer, &error),
    }
}

fn unanswered<C: RaftTypeConfig>(host: &Host<C>, peer: &Peer<C>, error: &RPCError<C>) {
    tracing::debug!(id = %host.id, peer = %peer.id, %error, "a request for a vote was not answered");
}

fn request_of<C: RaftTypeConfig>(request: quorate_core::message::VoteRequest<C::LeaderId>) -> VoteRequest<C> {
    let vote = VoteOf::<C>::from_leader_id(request.vote.leader_id, request.vote.committed);
    VoteRequest { vote, last_log_id: request.last, leadership_transfer: request.transfer }
}

fn reply_of<C: RaftTypeConfig>(response: VoteResponse<C>) -> VoteReply<C::LeaderId> {
    let vote = response.vote.to_owned_vote();
    VoteReply { vote, granted: response.vote_granted, last: response.last_log_id }
}

fn transfer_of<C: RaftTypeConfig>(transfer: Transfer<C::LeaderId>) -> TransferLeaderRequest<C> {
    let from = VoteOf::<C>::from_leader_id(transfer.from.leader_id, transfer.from.committed);
    TransferLeaderRequest::new(from, transfer.to, transfer.last)
}

//! What other nodes ask of this one: the calls that an RPC server passes on.

use std::sync::PoisonError;

use futures_util::Stream;
use futures_util::StreamExt;
use quorate_core::Install;
use quorate_core::Placed;
use quorate_core::Time;
use quorate_core::message::Append;
use quorate_core::message::AppendReply;
use quorate_core::message::EntryIds;
use quorate_core::message::Reply;
use quorate_core::message::Transfer;
use quorate_core::message::TransferRefusal;
use quorate_core::message::VoteReply;

use std::sync::Arc;
use std::time::Duration;

use crate::base::OptionalSend;
use crate::counting::RaftMsgName;
use crate::entry::RaftEntry;
use crate::errors::Fatal;
use crate::errors::RaftError;
use crate::errors::StorageError;
use crate::host::Host;
use crate::host::Pending;
use crate::host::State;
use crate::host::ids_of;
use crate::host::placed_of;
use crate::log_id::LogIdOptionExt;
use crate::loops::apply::Incoming;
use crate::loops::apply::Offer;
use crate::loops::clock::dice;
use crate::membership::Membership;
use crate::publish::fatal_of;
use crate::raft::Raft;
use crate::rpc::AppendEntriesRequest;
use crate::rpc::AppendEntriesResponse;
use crate::rpc::SnapshotResponse;
use crate::rpc::StreamAppendError;
use crate::rpc::StreamAppendResult;
use crate::rpc::TransferLeaderError;
use crate::rpc::TransferLeaderRequest;
use crate::rpc::TransferLeaderResponse;
use crate::rpc::VoteRequest;
use crate::rpc::VoteResponse;
use crate::runtime::AsyncRuntime;
use crate::runtime::Mutex;
use crate::runtime::Select2;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::MutexOf;
use crate::type_config::alias::SmSnapshotOf;
use crate::type_config::alias::VoteOf;
use crate::vote::RaftVote;
use crate::vote::Vote;

/// Requests of one stream that are accepted and wait to be durable.
const STREAM_INFLIGHT_MAX: usize = 64;

impl<C, SM> Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// Entries, or a sign of life, from a leader (thesis §3.5). Answers when they are durable.
    ///
    /// Cancel safe: what was accepted is written all the same.
    pub async fn append_entries(
        &self,
        rpc: AppendEntriesRequest<C>,
    ) -> Result<AppendEntriesResponse<C>, RaftError<C>> {
        let host = &self.inner.host;
        let Reply { message, after } = accept(host, rpc).map_err(RaftError::Fatal)?;
        host.flushed(after).await.map_err(RaftError::Fatal)?;
        Ok(match message {
            AppendReply::Success(_) => AppendEntriesResponse::Success,
            AppendReply::Conflict => AppendEntriesResponse::Conflict,
            AppendReply::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_of::<C>(vote)),
        })
    }

    /// A leader's stream of requests. Each is accepted as it comes, answered in order when it is durable, and the
    /// answers end after the first that is not a success.
    pub fn stream_append<S>(
        &self,
        stream: S,
    ) -> impl Stream<Item = Result<StreamAppendResult<C>, Fatal<C>>> + OptionalSend + 'static
    where
        S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + 'static,
    {
        let host = self.inner.host.clone();
        let answers = stream.map(move |rpc| {
            let prev = rpc.prev_log_id.clone();
            let accepted = accept(&host, rpc);
            answer_when_durable(host.clone(), prev, accepted)
        });
        answers.buffered(STREAM_INFLIGHT_MAX).scan(false, |ended, answer| {
            let goes_on = !*ended;
            *ended |= !matches!(answer, Ok(Ok(_)));
            std::future::ready(goes_on.then_some(answer))
        })
    }

    /// A candidate asks for this node's vote (thesis §3.4). Answers when the vote is durable.
    ///
    /// A node that hears a leader refuses, unless that leader wished the election (thesis §4.2.3, §3.10). Cancel safe: what
    /// was granted is granted.
    pub async fn vote(&self, rpc: VoteRequest<C>) -> Result<VoteResponse<C>, RaftError<C>> {
        let host = &self.inner.host;
        host.recording.tell(|recorder| recorder.increment_vote());
        host.counting.message(RaftMsgName::RequestVote);
        let request = vote_request_of(rpc);
        let Reply { message, after } = step(host, |state, now| state.replica.vote_request(now, &request))?;
        host.flushed(if quorate_core::mutant!(109) { 0 } else { after }).await.map_err(RaftError::Fatal)?;
        Ok(vote_response_of(message))
    }

    /// A node asks whether it would get this node's vote (thesis §9.6). Nothing changes by it.
    pub async fn pre_vote(&self, rpc: VoteRequest<C>) -> Result<VoteResponse<C>, RaftError<C>> {
        self.inner.host.counting.message(RaftMsgName::RequestPreVote);
        let request = vote_request_of(rpc);
        let reply = step(&self.inner.host, |state, now| state.replica.pre_vote_request(now, &request))?;
        Ok(vote_response_of(reply))
    }

    /// A leader sends its snapshot (thesis §5). Answers with this node's vote when it is installed, or need not be.
    ///
    /// A vote that is greater than the sender's tells it that it no longer leads. A call that is dropped does not undo what
    /// was begun.
    ///
    /// Snapshots are taken one at a time. A snapshot that no leader can have sent is an error and changes nothing.
    pub async fn install_full_snapshot(
        &self,
        vote: VoteOf<C>,
        snapshot: SmSnapshotOf<C, SM>,
    ) -> Result<SnapshotResponse<C>, Fatal<C>> {
        let inner = &self.inner;
        inner.host.counting.message(RaftMsgName::InstallSnapshot);
        let parts = (inner.host.clone(), inner.installing.clone(), inner.incoming.clone());
        // In a task of its own: a caller that goes away must not leave the next one without its turn. It holds no
        // handle: a node without one stops, also while it installs.
        let installed = C::spawn(install(parts, vote.to_owned_vote(), snapshot));
        match installed.await {
            Ok(result) => result,
            Err(_) => Err(fatal_of(&self.inner.host)),
        }
    }

    /// The leader hands leadership to some node. If it is this one, it waits for the leader's log and campaigns (thesis
    /// §3.10); it waits for [`Config::election_timeout_min`](crate::Config::election_timeout_min) at most.
    pub async fn handle_transfer_leader(
        &self,
        req: TransferLeaderRequest<C>,
    ) -> Result<TransferLeaderResponse<C>, Fatal<C>> {
        let host = &self.inner.host;
        host.counting.message(RaftMsgName::HandleTransferLeader);
        let request = Transfer {
            from: req.from_leader().to_owned_vote(),
            to: req.to_node_id().clone(),
            last: req.last_log_id().cloned(),
        };
        step(host, |state, _| state.replica.transfer_request(&request)).map_err(RaftError::unwrap_fatal)?;
        if request.to != host.id {
            return Ok(Ok(()));
        }
        let deadline = C::now() + Duration::from_millis(host.config.election_timeout_min);
        loop {
            let dice = dice::<C>();
            let (outcome, flushed) = step(host, |state, now| {
                let outcome = state.replica.transfer_outcome(&request);
                if outcome == Some(Ok(())) {
                    state.replica.take_over(now, dice);
                }
                (outcome, state.replica.flushed_seq())
            })
            .map_err(RaftError::unwrap_fatal)?;
            match outcome {
                Some(outcome) => return Ok(outcome.map_err(|refusal| transfer_error(&request, refusal))),
                None => {
                    // What is awaited, a vote or entries, comes by a write.
                    let next = host.flushed(flushed.saturating_add(1));
                    let Ok(Ok(())) = C::timeout_at(deadline, next).await else { break };
                }
            }
        }
        let flushed = host.look(|state, _| state.replica.flush_point().last.clone());
        Ok(Err(transfer_error(&request, TransferRefusal::LogNotFlushed(flushed))))
    }
}

fn step<C: RaftTypeConfig, T>(
    host: &Host<C>,
    f: impl FnOnce(&mut State<C>, Time) -> T,
) -> Result<T, RaftError<C>> {
    host.step(|state, now| match &state.stopped {
        Some(fatal) => Err(RaftError::Fatal(fatal.clone())),
        None => Ok(f(state, now)),
    })
}

/// Offers a snapshot to the replica, when it is its turn, and waits until it is installed.
async fn install<C, SM>(
    (host, installing, incoming): (Arc<Host<C>>, Arc<MutexOf<C, ()>>, Incoming<C, SM>),
    vote: Vote<C::LeaderId>,
    snapshot: SmSnapshotOf<C, SM>,
) -> Result<SnapshotResponse<C>, Fatal<C>>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    let _turn = installing.lock().await;
    let placed = placed_of::<C>(&snapshot.meta.last_membership);
    let Some(last) = snapshot.meta.last_log_id.clone() else {
        return Ok(SnapshotResponse::new(host.look(|state, _| vote_of::<C>(state.replica.vote().clone()))));
    };
    let (tx, rx) = C::oneshot();
    let mut offer = Some(Offer { snapshot, done: tx });
    let outcome = step(&host, |state, now| {
        let outcome = state.replica.install(now, &vote, &last, placed);
        if outcome == Install::Accepted {
            *incoming.lock().unwrap_or_else(PoisonError::into_inner) = offer.take();
        }
        outcome
    })
    .map_err(RaftError::unwrap_fatal)?;
    let reply = match outcome {
        Install::Accepted => match C::AsyncRuntime::select2(rx, host.until_stopped()).await {
            Select2::First(Ok(Some(reply))) => reply,
            Select2::First(_) => return Err(host.lost_answer().await),
            Select2::Second(()) => return Err(fatal_of(&host)),
        },
        Install::HigherVote(reply) if reply.message == vote => {
            // This node's own vote would read as a yes.
            return Err(refused(&last, "it came back to its sender; an address in the membership is wrong"));
        }
        Install::Covered(reply) | Install::HigherVote(reply) => reply,
        Install::Busy => {
            return Err(refused(&last, "another snapshot is being installed; send it again"));
        }
        Install::Impossible(why) => return Err(refused(&last, why)),
    };
    host.flushed(reply.after).await?;
    Ok(SnapshotResponse::new(vote_of::<C>(reply.message)))
}

/// Takes a leader's request into the log; what is to be answered waits for the disk.
fn accept<C: RaftTypeConfig>(
    host: &Host<C>,
    rpc: AppendEntriesRequest<C>,
) -> Result<Reply<AppendReply<C::LeaderId>>, Fatal<C>> {
    host.recording.tell(|recorder| recorder.increment_append());
    host.counting.message(RaftMsgName::AppendEntries);
    let AppendEntriesRequest { vote, prev_log_id, entries, leader_commit } = rpc;
    let vote = vote.to_owned_vote();
    let first = prev_log_id.next_index();
    let mut ids = EntryIds::empty(first);
    let mut memberships: Vec<(LogIdOf<C>, Membership<C::NodeId, C::Node>)> = Vec::new();
    for entry in &entries {
        let log_id = entry.log_id();
        if let Some(membership) = entry.get_membership() {
            memberships.push((log_id.clone(), membership));
        }
        if ids.push(log_id).is_err() {
            // No leader sends that. Nothing of it is taken; the sender is told that it does not fit.
            tracing::error!(id = %host.id, prev = ?prev_log_id, "entries of a request are not consecutive; refused");
            return Ok(Reply { message: AppendReply::Conflict, after: 0 });
        }
    }
    let placed =
        memberships.iter().map(|(log_id, m)| Placed::new(Some(log_id.clone()), ids_of::<C>(m))).collect();
    let append = Append { vote, prev: prev_log_id, entries: ids, memberships: placed, commit: leader_commit };
    host.step(move |state, now| {
        if let Some(fatal) = &state.stopped {
            return Err(fatal.clone());
        }
        let appended = state.replica.append(now, &append);
        if let Some(new_from) = appended.new_from {
            let known = usize::try_from(new_from.saturating_sub(first)).unwrap_or(usize::MAX);
            state.pending.extend(entries.into_iter().skip(known).map(Pending::Entry));
            for (log_id, membership) in memberships {
                if log_id.index >= new_from {
                    state.push_membership(log_id, membership);
                }
            }
        }
        Ok(appended.reply)
    })
}

async fn answer_when_durable<C: RaftTypeConfig>(
    host: Arc<Host<C>>,
    prev: Option<LogIdOf<C>>,
    accepted: Result<Reply<AppendReply<C::LeaderId>>, Fatal<C>>,
) -> Result<StreamAppendResult<C>, Fatal<C>> {
    let Reply { message, after } = accepted?;
    host.flushed(if quorate_core::mutant!(108) { 0 } else { after }).await?;
    Ok(match message {
        AppendReply::Success(matched) => Ok(matched),
        AppendReply::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_of::<C>(vote))),
        AppendReply::Conflict => match prev {
            Some(prev) => Err(StreamAppendError::Conflict(prev)),
            // Nothing can conflict with the start of the log; the request was malformed.
            None => return Err(Fatal::StorageError(malformed())),
        },
    })
}

fn malformed<C: RaftTypeConfig>() -> StorageError<C> {
    StorageError::write_logs(C::err_from_string(
        "a leader's request is malformed: its entries are not consecutive",
    ))
}

fn refused<C: RaftTypeConfig>(last: &LogIdOf<C>, why: &str) -> Fatal<C> {
    let text = format!("snapshot up to {last} refused: {why}");
    Fatal::StorageError(StorageError::write_snapshot(None, C::err_from_string(text)))
}

fn transfer_error<C: RaftTypeConfig>(
    request: &Transfer<C::LeaderId>,
    refusal: TransferRefusal<C::LeaderId>,
) -> TransferLeaderError<C> {
    match refusal {
        TransferRefusal::VoteChanged(actual) => TransferLeaderError::VoteChanged {
            expected: vote_of::<C>(request.from.clone()),
            actual: vote_of::<C>(actual),
        },
        TransferRefusal::LogNotFlushed(actual) => {
            TransferLeaderError::LogNotFlushed { expected: request.last.clone(), actual }
        }
    }
}

pub(crate) fn vote_of<C: RaftTypeConfig>(vote: Vote<C::LeaderId>) -> VoteOf<C> {
    VoteOf::<C>::from_leader_id(vote.leader_id, vote.committed)
}

fn vote_request_of<C: RaftTypeConfig>(
    rpc: VoteRequest<C>,
) -> quorate_core::message::VoteRequest<C::LeaderId> {
    quorate_core::message::VoteRequest {
        vote: rpc.vote.to_owned_vote(),
        last: rpc.last_log_id,
        transfer: rpc.leadership_transfer,
    }
}

fn vote_response_of<C: RaftTypeConfig>(reply: VoteReply<C::LeaderId>) -> VoteResponse<C> {
    VoteResponse { vote: vote_of::<C>(reply.vote), vote_granted: reply.granted, last_log_id: reply.last }
}

//! Writing many payloads as one.

use futures_util::stream;
use quorate_core::Time;

use crate::base::BoxStream;
use crate::client::ClientWriteResult;
use crate::client::WriteResponse;
use crate::client::WriteResult;
use crate::entry::RaftPayload;
use crate::errors::ClientWriteError;
use crate::errors::Fatal;
use crate::errors::RaftError;
use crate::host::Pending;
use crate::host::State;
use crate::log_id::LogId;
use crate::raft::Raft;
use crate::raft::forward_of;
use crate::responder::CoreResponder;
use crate::runtime::OneshotSender;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::OneshotReceiverOf;
use crate::type_config::alias::OneshotSenderOf;
use crate::write::propose_when_there_is_room;

/// The results of many writes, in their order, each when it is there.
type Results<C> = BoxStream<'static, Result<WriteResult<C>, Fatal<C>>>;

/// A payload, and the way back to who wrote it.
type Write<C> = (<C as RaftTypeConfig>::Payload, OneshotSenderOf<C, ClientWriteResult<C>>);

impl<C, SM> Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// Proposes all of `app_data` in one step: their entries have consecutive log ids, and nobody's stand between.
    ///
    /// Returns when they are proposed; the stream then gives one result for each, in order, as it is applied here. A
    /// node that takes no proposals gives each the same [`ForwardToLeader`](crate::errors::ForwardToLeader), and nothing
    /// is proposed. If the node stops, the stream gives [`Fatal::Stopped`] and ends; whether the entries that are left
    /// will be applied is open then. Without any data the stream is empty.
    ///
    /// Waits, like [`client_write`](Self::client_write), until less than
    /// [`Config::api_channel_size`](crate::Config::api_channel_size) writes are under way, and then proposes the whole
    /// of it, however much it is: so at most that many, and one call's more, are held in memory at a time.
    ///
    /// Dropping the call before it returns proposes nothing. Dropping the stream takes nothing back.
    pub async fn client_write_many(
        &self,
        app_data: impl IntoIterator<Item = C::D>,
    ) -> Result<Results<C>, Fatal<C>> {
        let (mut writes, results): (Vec<Write<C>>, Vec<_>) = app_data
            .into_iter()
            .map(|data| {
                let (tx, rx) = C::oneshot();
                ((C::Payload::normal(data), tx), rx)
            })
            .unzip();
        if !writes.is_empty() {
            let proposed = propose_when_there_is_room(&self.inner.host, |state, now| {
                propose_all(state, now, &mut writes)
            });
            match proposed.await {
                Ok(()) => {}
                Err(RaftError::Fatal(fatal)) => return Err(fatal),
                Err(RaftError::APIError(refused)) => {
                    for (_, client) in writes {
                        // The other end is in `results`.
                        let _ = client.send(Err(refused.clone()));
                    }
                }
            }
        }
        Ok(in_order(results))
    }
}

/// Takes all of `writes` into the log, and leaves them empty; `None` if there is no room for any now.
fn propose_all<C: RaftTypeConfig>(
    state: &mut State<C>,
    now: Time,
    writes: &mut Vec<Write<C>>,
) -> Option<Result<(), RaftError<C, ClientWriteError<C>>>> {
    if let Some(fatal) = &state.stopped {
        return Some(Err(RaftError::Fatal(fatal.clone())));
    }
    if !state.has_room() {
        return None;
    }
    let last = match state.replica.propose(now, writes.len() as u64) {
        Ok(last) => last,
        Err(refusal) => {
            let forward = forward_of(state, &refusal);
            return Some(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))));
        }
    };
    let end = last.index.saturating_add(1);
    let first = end.saturating_sub(writes.len() as u64);
    for (index, (payload, client)) in (first..end).zip(writes.drain(..)) {
        state.clients.push(index, Some(CoreResponder::Oneshot(client)));
        state.pending.push_back(Pending::Payload(LogId::new(last.leader_id.clone(), index), payload));
    }
    Some(Ok(()))
}

/// A result that never comes is the last thing that the stream tells.
fn in_order<C: RaftTypeConfig>(results: Vec<OneshotReceiverOf<C, ClientWriteResult<C>>>) -> Results<C> {
    Box::pin(stream::unfold(results.into_iter(), |mut results| async move {
        match results.next()?.await {
            Ok(result) => Some((Ok(result.map(WriteResponse::from)), results)),
            Err(_) => Some((Err(Fatal::Stopped), Vec::new().into_iter())),
        }
    }))
}

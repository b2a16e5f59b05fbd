//! Writing: a client's payload on its way into the leader's log.

use std::future::IntoFuture;

use quorate_core::Time;

use crate::base::BoxFuture;
use crate::client::ClientWriteResponse;
use crate::counting::RaftMsgName;
use crate::entry::RaftPayload;
use crate::errors::ClientWriteError;
use crate::errors::Fatal;
use crate::errors::RaftError;
use crate::host::Host;
use crate::host::Pending;
use crate::host::State;
use crate::raft::Raft;
use crate::raft::forward_of;
use crate::responder::CoreResponder;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::CommittedLeaderIdOf;
use crate::type_config::alias::WriteResponderOf;

/// What is offered to the log, and who waits for it; what is taken is gone.
struct Offer<C: RaftTypeConfig> {
    payload: Option<C::Payload>,
    client: Option<CoreResponder<C>>,
    /// It is for this leader alone.
    leader: Option<CommittedLeaderIdOf<C>>,
}

impl<C, SM> Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// Proposes `app_data` and waits until it is applied here (thesis §3.5).
    ///
    /// By then a quorum has it on their disks; the answer is the state machine's. Entries of one caller that waits for each
    /// are in order; of several calls that are under way at a time, in the order in which they were first polled.
    ///
    /// [`ForwardToLeader`](crate::errors::ForwardToLeader) means that nothing was proposed;
    /// [`ClientWriteError::LogEntryDiscarded`] and [`RaftError::Fatal`] leave open whether it will be applied
    /// elsewhere. Not cancel safe in that sense: a dropped call may have proposed.
    pub async fn client_write(
        &self,
        app_data: C::D,
    ) -> Result<ClientWriteResponse<C>, RaftError<C, ClientWriteError<C>>> {
        self.write_payload(C::Payload::normal(app_data)).await
    }

    /// Proposes an entry without data and waits until it is applied here.
    pub async fn write_blank(&self) -> Result<ClientWriteResponse<C>, RaftError<C, ClientWriteError<C>>> {
        self.write_payload(C::Payload::blank()).await
    }

    /// Proposes `app_data` and returns when that is done; `responder`, if there is one, is told what becomes of it.
    ///
    /// Waits for room like [`client_write`](Self::client_write). If the node stops, the responder is dropped untold.
    pub async fn client_write_ff(
        &self,
        app_data: C::D,
        responder: Option<WriteResponderOf<C>>,
    ) -> Result<(), Fatal<C>> {
        fire(&self.inner.host, app_data, responder, None).await
    }

    /// Like [`client_write_ff`](Self::client_write_ff), with conditions; await the result.
    pub fn write(&self, app_data: C::D) -> WriteRequest<'_, C> {
        WriteRequest { host: &self.inner.host, app_data, responder: None, leader: None }
    }

    async fn write_payload(
        &self,
        payload: C::Payload,
    ) -> Result<ClientWriteResponse<C>, RaftError<C, ClientWriteError<C>>> {
        let (tx, rx) = C::oneshot();
        let client = Some(CoreResponder::Oneshot(tx));
        let mut offer = Offer { payload: Some(payload), client, leader: None };
        propose_when_there_is_room(&self.inner.host, |state, now| propose(state, now, &mut offer)).await?;
        match rx.await {
            Ok(result) => result.map_err(RaftError::APIError),
            Err(_) => Err(RaftError::Fatal(self.inner.host.lost_answer().await)),
        }
    }
}

/// Proposes, and leaves the outcome to the responder.
async fn fire<C: RaftTypeConfig>(
    host: &Host<C>,
    app_data: C::D,
    responder: Option<WriteResponderOf<C>>,
    leader: Option<CommittedLeaderIdOf<C>>,
) -> Result<(), Fatal<C>> {
    let payload = Some(C::Payload::normal(app_data));
    let mut offer = Offer { payload, client: responder.map(CoreResponder::User), leader };
    match propose_when_there_is_room(host, |state, now| propose(state, now, &mut offer)).await {
        Ok(()) => Ok(()),
        Err(RaftError::Fatal(fatal)) => Err(fatal),
        Err(RaftError::APIError(refused)) => {
            if let Some(client) = offer.client {
                client.on_complete(Err(refused));
            }
            Ok(())
        }
    }
}

/// Calls `propose` at once, and again whenever there is room, until it does not say `None`.
pub(crate) async fn propose_when_there_is_room<C: RaftTypeConfig, T>(
    host: &Host<C>,
    mut propose: impl FnMut(&mut State<C>, Time) -> Option<T>,
) -> T {
    host.counting.message(RaftMsgName::ClientWrite);
    if let Some(proposed) = host.step_write(&mut propose) {
        return proposed;
    }
    let proposed = host.park(0, State::room_waiters, |state| propose(state, host.now())).await;
    host.log_work.raise();
    proposed
}

/// Takes what is offered into the log, with the client that waits for it; `None` if there is no room for it now.
fn propose<C: RaftTypeConfig>(
    state: &mut State<C>,
    now: Time,
    offer: &mut Offer<C>,
) -> Option<Result<(), RaftError<C, ClientWriteError<C>>>> {
    if let Some(fatal) = &state.stopped {
        return Some(Err(RaftError::Fatal(fatal.clone())));
    }
    if !state.has_room() {
        return None;
    }
    let leading = state.replica.leading().map(|leader| &leader.first().leader_id);
    if offer.leader.is_some() && leading.is_some() && offer.leader.as_ref() != leading {
        let forward = state.forward_to_leader();
        return Some(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))));
    }
    Some(match state.replica.propose(now, 1) {
        Ok(log_id) => {
            if let Some(payload) = offer.payload.take() {
                state.clients.push(log_id.index, offer.client.take());
                state.pending.push_back(Pending::Payload(log_id, payload));
            }
            Ok(())
        }
        Err(refusal) => {
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward_of(state, &refusal))))
        }
    })
}

/// A write that is not proposed yet: `raft.write(data).responder(who).await`.
#[must_use = "nothing is proposed until it is awaited"]
pub struct WriteRequest<'a, C: RaftTypeConfig> {
    host: &'a Host<C>,
    app_data: C::D,
    responder: Option<WriteResponderOf<C>>,
    leader: Option<CommittedLeaderIdOf<C>>,
}

impl<C: RaftTypeConfig> WriteRequest<'_, C> {
    /// Who is told what becomes of it.
    pub fn responder(mut self, responder: WriteResponderOf<C>) -> Self {
        self.responder = Some(responder);
        self
    }

    /// Only if this leader leads; else the responder is sent to the one who does, which may be this very node.
    pub fn with_leader(mut self, leader: impl Into<CommittedLeaderIdOf<C>>) -> Self {
        self.leader = Some(leader.into());
        self
    }
}

impl<'a, C: RaftTypeConfig> IntoFuture for WriteRequest<'a, C> {
    type Output = Result<(), Fatal<C>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { host, app_data, responder, leader } = self;
        Box::pin(fire(host, app_data, responder, leader))
    }
}

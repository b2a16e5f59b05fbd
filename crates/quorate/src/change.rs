//! Changing who is a member.

use std::time::Duration;

use quorate_core::ChangeRefusal;
use quorate_core::Time;

use crate::change_members::next;
use crate::client::ChangeMembershipOutcome;
use crate::client::ChangeMembershipRequest;
use crate::client::ClientWriteResponse;
use crate::client::ClientWriteResult;
use crate::client::Precondition;
use crate::counting::RaftMsgName;
use crate::errors::ChangeMembershipError;
use crate::errors::ClientWriteError;
use crate::errors::InProgress;
use crate::errors::RaftError;
use crate::errors::UncommittedLeaderLog;
use crate::errors::UnsupportedMembershipTransition;
use crate::host::Pending;
use crate::host::State;
use crate::host::ids_of;
use crate::membership::ChangeMembers;
use crate::membership::Membership;
use crate::publish::fatal_of;
use crate::raft::Raft;
use crate::raft::forward_of;
use crate::responder::CoreResponder;
use crate::runtime::WatchReceiver;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::OneshotReceiverOf;
use crate::type_config::alias::OneshotSenderOf;

pub(crate) type Written<C> = Result<ClientWriteResponse<C>, RaftError<C, ClientWriteError<C>>>;
pub(crate) type Refused<C> = RaftError<C, ClientWriteError<C>>;

/// Where the result of one entry arrives.
pub(crate) type Answer<C> = OneshotReceiverOf<C, ClientWriteResult<C>>;

/// Where the results of one change arrive: of its first entry, and, if that is joint, of the uniform one behind it.
struct Steps<C: RaftTypeConfig> {
    first: Answer<C>,
    uniform: Option<Answer<C>>,
}

impl<C, SM> Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// Adds a learner: a node that gets the log and does not vote.
    ///
    /// With `blocking`, waits until it lags by no more than
    /// [`Config::replication_lag_threshold`](crate::Config::replication_lag_threshold) entries, or left, or this node no
    /// longer leads; for a node that cannot be reached that is for ever, so put a timeout around it: dropping the call leaves
    /// the learner. A node that is known keeps its data; the entry is written all the same.
    pub async fn add_learner(&self, id: C::NodeId, node: C::Node, blocking: bool) -> Written<C> {
        let change = ChangeMembers::AddNodes([(id.clone(), node)].into());
        let written = self.change_membership(change, true).await?;
        if blocking {
            self.wait_for_learner(&id).await?;
        }
        Ok(written)
    }

    /// Changes the membership, through a joint one where voters change, and waits until the last entry is applied.
    ///
    /// Voters that leave become learners with `retain`, and leave altogether without. The leader finishes the change
    /// by itself once it has begun, also if this call is dropped, and so does a leader after it (thesis §4.3).
    ///
    /// `members` is a [`ChangeMembers`], or a list of ids: these are the voters then, and no others. The answer is that of
    /// the last entry. [Dynamic membership](crate::docs::dynamic_membership) has examples, and the conditions in their
    /// order. A new leader may have to commit an entry of its own first: the call waits for that, for a lease at most.
    ///
    /// # Errors
    ///
    /// [`ForwardToLeader`](crate::errors::ForwardToLeader), [`PreconditionFailed`](crate::errors::PreconditionFailed) and
    /// [`ChangeMembershipError`] say that nothing was written. [`ClientWriteError::LogEntryDiscarded`] and
    /// [`RaftError::Fatal`] leave open whether the change will be made.
    pub async fn change_membership(
        &self,
        members: impl Into<ChangeMembers<C::NodeId, C::Node>>,
        retain: bool,
    ) -> Written<C> {
        let outcome =
            self.change_membership_with_payload(ChangeMembershipRequest::new(members, retain)).await?;
        Ok(outcome.uniform)
    }

    /// Like [`change_membership`](Self::change_membership), if all `preconditions` hold when the change begins.
    pub async fn change_membership_if(
        &self,
        members: impl Into<ChangeMembers<C::NodeId, C::Node>>,
        retain: bool,
        preconditions: impl IntoIterator<Item = Precondition<C>>,
    ) -> Written<C> {
        let request = ChangeMembershipRequest::new(members, retain).with_preconditions(preconditions);
        Ok(self.change_membership_with_payload(request).await?.uniform)
    }

    /// Like [`change_membership`](Self::change_membership), with all that a request may say; answers for both entries.
    ///
    /// The leader that began the change puts the payloads into its entries. A uniform entry that a later leader
    /// writes in its place carries none.
    pub async fn change_membership_with_payload(
        &self,
        request: ChangeMembershipRequest<C>,
    ) -> Result<ChangeMembershipOutcome<C>, Refused<C>> {
        self.wait_until_settled().await?;
        self.inner.host.counting.message(RaftMsgName::ChangeMembership);
        let Steps { first, uniform } = self.inner.host.step(|state, now| begin(state, now, request))?;
        let written = self.result_of(first).await?;
        Ok(match uniform {
            Some(uniform) => {
                ChangeMembershipOutcome { joint: Some(written), uniform: self.result_of(uniform).await? }
            }
            None => ChangeMembershipOutcome { joint: None, uniform: written },
        })
    }

    /// A new leader first commits an entry of its own; a change waits for that, for a lease's time at most.
    async fn wait_until_settled(&self) -> Result<(), Refused<C>> {
        let host = &self.inner.host;
        let unsettled =
            || host.look(|state, _| state.stopped.is_none() && state.replica.uncommitted_first().is_some());
        let mut metrics = self.metrics();
        let deadline = C::now() + Duration::from_millis(host.config.election_timeout_max);
        while unsettled() {
            let Ok(Ok(())) = C::timeout_at(deadline, metrics.changed()).await else { return Ok(()) };
        }
        Ok(())
    }

    pub(crate) async fn result_of(&self, result: Answer<C>) -> Written<C> {
        match result.await {
            Ok(result) => result.map_err(RaftError::APIError),
            Err(_) => Err(RaftError::Fatal(self.inner.host.lost_answer().await)),
        }
    }

    async fn wait_for_learner(&self, id: &C::NodeId) -> Result<(), Refused<C>> {
        let host = &self.inner.host;
        let mut metrics = self.metrics();
        loop {
            // The metrics may be older than the entry that added the learner; what they tell is that something changed.
            let lag = host.look(|state, _| match &state.stopped {
                Some(fatal) => Err(RaftError::Fatal(fatal.clone())),
                None => Ok(lag_of(state, id)),
            })?;
            if lag.is_none_or(|lag| lag <= host.config.replication_lag_threshold) {
                return Ok(());
            }
            if metrics.changed().await.is_err() {
                return Err(RaftError::Fatal(fatal_of(host)));
            }
        }
    }
}

/// How many entries of its leader, this node, a peer lacks; `None` if this node does not lead, or not that peer.
fn lag_of<C: RaftTypeConfig>(state: &State<C>, id: &C::NodeId) -> Option<u64> {
    let (_, progress) = state.replica.leading()?.peers().find(|(peer, _)| *peer == id)?;
    let matched = progress.matched().map_or(0, |matched| matched.index.saturating_add(1));
    Some(state.replica.log().next_index().saturating_sub(matched))
}

/// Puts the first entry of a change into the log.
fn begin<C: RaftTypeConfig>(
    state: &mut State<C>,
    now: Time,
    request: ChangeMembershipRequest<C>,
) -> Result<Steps<C>, Refused<C>> {
    if let Some(fatal) = &state.stopped {
        return Err(RaftError::Fatal(fatal.clone()));
    }
    let ChangeMembershipRequest { members, retain, payloads, preconditions } = request;
    let effective = state.effective_membership();
    let current = effective.membership();
    // Whether this node leads, what the caller demands, and whether a change is under way, comes before whether this
    // one makes sense; whether a quorum is heard, which time alone may mend, comes last.
    if let Some(refusal) = state.replica.role_refusal() {
        return Err(refused(state, ChangeRefusal::Refused(refusal), current, current));
    }
    ensure_satisfied(state, &preconditions)?;
    if state.replica.is_changing() {
        return Err(refused(state, ChangeRefusal::InProgress, current, current));
    }
    let membership = next(current, members, retain)
        .map_err(|error| RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))?;
    let ids = ids_of::<C>(&membership);
    let joint = ids.is_joint();
    let log_id = match state.replica.propose_membership(now, ids, joint.then_some(retain)) {
        Ok(log_id) => log_id,
        Err(refusal) => return Err(refused(state, refusal, current, &membership)),
    };
    let (joint_payload, uniform_payload) = payloads.unzip();
    let (payload, later) = if joint { (joint_payload, uniform_payload) } else { (uniform_payload, None) };
    let first = enter(state, log_id, membership, payload);
    let uniform = joint.then(|| {
        state.finish_payload = later;
        let (tx, uniform): (OneshotSenderOf<C, _>, _) = C::oneshot();
        state.finish_client = Some(CoreResponder::Oneshot(tx));
        uniform
    });
    Ok(Steps { first, uniform })
}

/// Whether all that the caller demands holds on this leader.
pub(crate) fn ensure_satisfied<C: RaftTypeConfig>(
    state: &State<C>,
    preconditions: &[Precondition<C>],
) -> Result<(), Refused<C>> {
    let effective = state.effective_membership();
    let leader = state.replica.leading().map(|leader| &leader.first().leader_id);
    for precondition in preconditions {
        let failed = precondition.check(leader, state.replica.log().last(), effective.log_id().as_ref());
        failed.map_err(|failed| RaftError::APIError(ClientWriteError::PreconditionFailed(failed)))?;
    }
    Ok(())
}

/// A membership that the replica took into its log, on its way there; its result comes back by what is returned.
pub(crate) fn enter<C: RaftTypeConfig>(
    state: &mut State<C>,
    log_id: LogIdOf<C>,
    membership: Membership<C::NodeId, C::Node>,
    payload: Option<C::Payload>,
) -> Answer<C> {
    let (tx, answer) = C::oneshot();
    state.clients.push(log_id.index, Some(CoreResponder::Oneshot(tx)));
    state.push_membership(log_id.clone(), membership.clone());
    state.pending.push_back(Pending::Membership(log_id, membership, payload));
    answer
}

pub(crate) fn refused<C: RaftTypeConfig>(
    state: &State<C>,
    refusal: ChangeRefusal<C::LeaderId>,
    current: &Membership<C::NodeId, C::Node>,
    proposed: &Membership<C::NodeId, C::Node>,
) -> Refused<C> {
    let error = match refusal {
        ChangeRefusal::Refused(refusal) => {
            return RaftError::APIError(ClientWriteError::ForwardToLeader(forward_of(state, &refusal)));
        }
        ChangeRefusal::InProgress => ChangeMembershipError::InProgress(InProgress {
            committed: state.replica.committed_membership().log_id.clone(),
            membership_log_id: state.replica.effective_membership().log_id.clone(),
        }),
        ChangeRefusal::UncommittedLeader { first } => {
            let committed = state.replica.cluster_committed().cloned();
            ChangeMembershipError::UncommittedLeaderLog(UncommittedLeaderLog {
                committed,
                leader_log_id: first,
            })
        }
        ChangeRefusal::Unsafe => {
            let previous = current.get_joint_config().clone();
            let proposed = proposed.get_joint_config().clone();
            ChangeMembershipError::UnsupportedMembershipTransition(UnsupportedMembershipTransition {
                previous,
                proposed,
            })
        }
    };
    RaftError::APIError(ClientWriteError::ChangeMembershipError(error))
}

//! Changing who is a member by one entry, of the caller's own making.

use quorate_core::ChangeRefusal;
use quorate_core::Time;

use crate::change::Answer;
use crate::change::Refused;
use crate::change::Written;
use crate::change::ensure_satisfied;
use crate::change::enter;
use crate::change::refused;
use crate::client::Precondition;
use crate::counting::RaftMsgName;
use crate::errors::ChangeMembershipError;
use crate::errors::ClientWriteError;
use crate::errors::EmptyMembership;
use crate::errors::NodeMetadataChanged;
use crate::errors::RaftError;
use crate::host::State;
use crate::host::ids_of;
use crate::membership::Membership;
use crate::raft::Raft;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::CommittedLeaderIdOf;

type Unfit<C> = ChangeMembershipError<CommittedLeaderIdOf<C>, <C as RaftTypeConfig>::NodeId>;

impl<C, SM> Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// Writes `membership` as it is, in exactly one entry that carries `payload` too, and waits until it is applied.
    ///
    /// For callers that manage memberships themselves: nothing is put before or after the entry, and a joint membership
    /// stays until the caller replaces it (or this node no longer leads: the next leader ends a joint membership that it
    /// finds). One membership may follow another if both have one voter set and these differ by at most one voter, or
    /// if they share a voter set: then any two quorums meet.
    ///
    /// # Errors
    ///
    /// The first that applies, and nothing is written:
    ///
    /// 1. [`ForwardToLeader`](crate::errors::ForwardToLeader): this node does not lead, or hands leadership over, or has
    ///    not heard from a quorum for a lease.
    /// 2. [`PreconditionFailed`](crate::errors::PreconditionFailed): one of `preconditions` does not hold.
    /// 3. [`UncommittedLeaderLog`](crate::errors::UncommittedLeaderLog): this leader has not committed an entry of its
    ///    own yet. Try again in a moment.
    /// 4. [`InProgress`](crate::errors::InProgress): the membership before is not committed yet.
    /// 5. [`EmptyMembership`], or [`LearnerNotFound`](crate::errors::LearnerNotFound) for a voter that is not a node.
    /// 6. [`NodeMetadataChanged`]: a node that there is would become another.
    /// 7. [`UnsupportedMembershipTransition`](crate::errors::UnsupportedMembershipTransition): some quorum of the one
    ///    need not meet some quorum of the other.
    ///
    /// [`ClientWriteError::LogEntryDiscarded`] and [`RaftError::Fatal`] leave open whether it was written. So does
    /// dropping the call.
    pub async fn append_membership(
        &self,
        membership: Membership<C::NodeId, C::Node>,
        payload: C::Payload,
        preconditions: impl IntoIterator<Item = Precondition<C>>,
    ) -> Written<C> {
        let preconditions: Vec<Precondition<C>> = preconditions.into_iter().collect();
        self.inner.host.counting.message(RaftMsgName::AppendMembership);
        let answer =
            self.inner.host.step(|state, now| append(state, now, membership, payload, &preconditions))?;
        self.result_of(answer).await
    }
}

fn append<C: RaftTypeConfig>(
    state: &mut State<C>,
    now: Time,
    membership: Membership<C::NodeId, C::Node>,
    payload: C::Payload,
    preconditions: &[Precondition<C>],
) -> Result<Answer<C>, Refused<C>> {
    if let Some(fatal) = &state.stopped {
        return Err(RaftError::Fatal(fatal.clone()));
    }
    let effective = state.effective_membership();
    let current = effective.membership();
    let unable = |state: &State<C>, refusal| Err(refused(state, refusal, current, &membership));
    if let Some(refusal) = state.replica.refusal(now) {
        return unable(state, ChangeRefusal::Refused(refusal));
    }
    ensure_satisfied(state, preconditions)?;
    if let Some(first) = state.replica.uncommitted_first().cloned() {
        return unable(state, ChangeRefusal::UncommittedLeader { first });
    }
    if state.replica.is_changing() {
        return unable(state, ChangeRefusal::InProgress);
    }
    ensure_fits::<C>(current, &membership)
        .map_err(|error| RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))?;
    match state.replica.propose_membership(now, ids_of::<C>(&membership), None) {
        Ok(log_id) => Ok(enter(state, log_id, membership, Some(payload))),
        Err(refusal) => unable(state, refusal),
    }
}

/// Errors if `next` is no membership, or makes another node of one that `current` has.
fn ensure_fits<C: RaftTypeConfig>(
    current: &Membership<C::NodeId, C::Node>,
    next: &Membership<C::NodeId, C::Node>,
) -> Result<(), Unfit<C>> {
    if next.get_joint_config().is_empty() {
        return Err(EmptyMembership {}.into());
    }
    next.ensure_valid()?;
    let changed =
        |(id, node): &(&C::NodeId, &C::Node)| current.get_node(id).is_some_and(|known| known != *node);
    match next.nodes().find(changed) {
        Some((node_id, _)) => Err(NodeMetadataChanged { node_id: node_id.clone() }.into()),
        None => Ok(()),
    }
}

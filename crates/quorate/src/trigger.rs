//! What an operator may set off by hand.

use std::sync::Arc;

use crate::counting::ExternalCommandName;
use crate::counting::RaftMsgName;
use crate::errors::AllowNextRevertError;
use crate::errors::Fatal;
use crate::errors::NodeNotFound;
use crate::errors::Operation;
use crate::host::Host;
use crate::host::State;
use crate::loops::clock::dice;
use crate::raft::forward_of;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::VoteOf;
use crate::vote::RaftVote;

/// Sets off what otherwise time or a policy does. Every call returns when it is set off, not when it is done.
pub struct Trigger<'r, C: RaftTypeConfig> {
    host: &'r Arc<Host<C>>,
}

impl<'r, C: RaftTypeConfig> Trigger<'r, C> {
    pub(crate) fn new(host: &'r Arc<Host<C>>) -> Self {
        Self { host }
    }

    /// Campaigns at once, after a round of pre-votes if `pre_vote`. Does nothing on a leader or a learner.
    pub async fn elect(&self, pre_vote: bool) -> Result<(), Fatal<C>> {
        let dice = dice::<C>();
        self.step(ExternalCommandName::Elect, |state, now| state.replica.elect(now, dice, pre_vote))
    }

    /// Sends a heartbeat to every peer, also where heartbeats by time are switched off. Does nothing unless this node
    /// leads.
    pub async fn heartbeat(&self) -> Result<(), Fatal<C>> {
        let leads = self.step(ExternalCommandName::Heartbeat, |state, _| {
            state.replica.heartbeat_now();
            state.replica.leading().is_some()
        })?;
        if leads {
            self.host.recording.tell(|recorder| recorder.increment_heartbeat());
        }
        Ok(())
    }

    /// Builds a snapshot of what is applied.
    pub async fn snapshot(&self) -> Result<(), Fatal<C>> {
        self.step(ExternalCommandName::Snapshot, |state, _| state.replica.snapshot_now())
    }

    /// Purges the log up to `upto`, as far as a snapshot covers it.
    pub async fn purge_log(&self, upto: u64) -> Result<(), Fatal<C>> {
        self.step(ExternalCommandName::PurgeLog, |state, _| state.replica.purge(upto))
    }

    /// Hands leadership to the voter `to`. Does nothing unless this node leads.
    pub async fn transfer_leader(&self, to: C::NodeId) -> Result<(), Fatal<C>> {
        let reset = self.host.config.reset_backoff_on_transfer_leader.unwrap_or(true);
        self.step(ExternalCommandName::TriggerTransferLeader, |state, now| {
            if let Some(peer) = state.peers.get(&to).filter(|_| reset) {
                peer.retry();
            }
            state.replica.transfer(now, to);
        })
    }

    /// Tries these peers again at once, if a backoff holds them back; all peers if none is named.
    pub async fn reset_backoff(&self, nodes: impl IntoIterator<Item = C::NodeId>) -> Result<(), Fatal<C>> {
        let nodes: Vec<C::NodeId> = nodes.into_iter().collect();
        self.step(ExternalCommandName::ResetBackoff, |state, _| {
            for (id, peer) in &state.peers {
                if nodes.is_empty() || nodes.contains(id) {
                    peer.retry();
                }
            }
        })
    }

    /// Lets the peer `to` lose its log once without a complaint.
    pub async fn allow_next_revert(
        &self,
        to: &C::NodeId,
        allow: bool,
    ) -> Result<Result<(), AllowNextRevertError<C>>, Fatal<C>> {
        self.step(ExternalCommandName::AllowNextRevert, |state, now| {
            if state.replica.leading().is_none() {
                let refusal = state.replica.refusal(now);
                let forward = refusal.map(|refusal| forward_of(state, &refusal));
                return Err(AllowNextRevertError::ForwardToLeader(
                    forward.unwrap_or_else(crate::errors::ForwardToLeader::empty),
                ));
            }
            if state.replica.allow_reversion(to, allow) {
                return Ok(());
            }
            Err(AllowNextRevertError::NodeNotFound(NodeNotFound::new(to.clone(), Operation::AllowNextRevert)))
        })
    }

    /// Lets a leader go that the committed membership no longer holds, where
    /// [`StepDownPolicy::Never`](crate::StepDownPolicy) keeps it in office. Anyone else stays what it is.
    ///
    /// The call is for the node as the caller saw it: if `vote` is given and is not this node's vote, or
    /// `membership_log_id` is given and is not the entry of the effective membership, nothing happens.
    pub async fn refresh_server_state(
        &self,
        vote: Option<VoteOf<C>>,
        membership_log_id: Option<LogIdOf<C>>,
    ) -> Result<(), Fatal<C>> {
        let vote = vote.map(|vote| vote.to_owned_vote());
        self.step(ExternalCommandName::RefreshServerState, |state, _| {
            let effective = &state.replica.effective_membership().log_id;
            let as_seen = vote.is_none_or(|vote| vote == *state.replica.vote())
                && membership_log_id.is_none_or(|log_id| Some(&log_id) == effective.as_ref());
            if as_seen {
                state.replica.refresh();
            }
        })
    }

    fn step<T>(
        &self,
        name: ExternalCommandName,
        f: impl FnOnce(&mut State<C>, quorate_core::Time) -> T,
    ) -> Result<T, Fatal<C>> {
        self.host.counting.message(RaftMsgName::ExternalCommand(name));
        match self.host.stopped() {
            Some(fatal) => Err(fatal),
            None => Ok(self.host.step(f)),
        }
    }
}

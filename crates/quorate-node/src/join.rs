//! Becoming a member: a fresh node founds a cluster, or asks a cluster to take it in; one that moved tells its new address.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use quorate::errors::{InitializeError, RaftError};
use quorate_grpc::HandshakeError;
use tokio::time::Instant;

use crate::ask::{Answer, Ask, Asked};
use crate::command::{decode, encode};
use crate::error::{InitError, JoinError, MembershipError, StopReason};
use crate::forward::Failure;
use crate::inner::Inner;
use crate::member::{ClusterId, Member, NodeId};
use crate::roster::{adopt, stop_reason};
use crate::state_machine::StateMachine;

/// The pause before the first retry; it doubles from one to the next.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long one attempt may take: a leader that hangs must not take all of the time.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);

impl<S: StateMachine> Inner<S> {
    /// Founds the cluster of this node, unless that is done; returns when it leads.
    pub(crate) async fn init(&self) -> Result<(), InitError> {
        if let Some(reason) = self.stop_reason() {
            return Err(InitError::Stopped(reason));
        }
        let (ours, founder) = {
            let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            (identity.founding_cluster_id(), identity.is_founder())
        };
        // Durable before the log says so: a crash in between leaves a founder that has yet to initialize.
        let cluster = adopt(&self.identity, ours, true)
            .await
            .map_err(|error| InitError::Io { cause: error.to_string() })?;
        if cluster != ours {
            return Err(InitError::AlreadyInitialized { cluster });
        }
        let members: BTreeMap<NodeId, Member> = [(self.options.id, self.member.clone())].into();
        match self.raft.initialize(members).await {
            Ok(()) => tracing::info!(%cluster, "founded a cluster"),
            Err(RaftError::APIError(_)) if founder => return Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => return Ok(()),
            Err(error) => return Err(InitError::Stopped(StopReason::Fatal { cause: error.to_string() })),
        }
        let waited = self.options.request_timeout;
        let (mut leader, mut stopped) = (self.leader.subscribe(), self.stopped.subscribe());
        tokio::select! {
            _ = leader.wait_for(Option::is_some) => Ok(()),
            reason = stopped.wait_for(Option::is_some) => {
                let reason = reason.ok().and_then(|reason| reason.clone());
                Err(InitError::Stopped(reason.unwrap_or(StopReason::Shutdown)))
            }
            () = tokio::time::sleep(waited) => Err(InitError::NotLeading { waited }),
        }
    }

    /// Asks the cluster behind `addr` to take this node in, and makes the cluster's id durable here.
    pub(crate) async fn join(&self, addr: &str) -> Result<(), JoinError> {
        if addr == self.member.peer_addr {
            return Err(JoinError::SelfConnection { addr: addr.to_owned() });
        }
        let theirs = self.ask_to_join(addr).await?;
        let adopted = adopt(&self.identity, theirs, false).await;
        let ours = adopted.map_err(|error| JoinError::Io { cause: error.to_string() })?;
        if ours != theirs {
            return Err(JoinError::WrongCluster { addr: addr.to_owned(), ours, theirs });
        }
        Ok(())
    }

    async fn ask_to_join(&self, addr: &str) -> Result<ClusterId, JoinError> {
        let within = self.options.join_timeout;
        let deadline = Instant::now() + within;
        let mut pause = PAUSE_MIN;
        let mut whom = addr.to_owned();
        loop {
            if let Some(reason) = self.stop_reason() {
                return Err(JoinError::Stopped(reason));
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            let (next, cause) = match self.join_attempt(addr, &whom, remaining.min(ATTEMPT_MAX)).await? {
                Answer::Joined(cluster_id) => return Ok(cluster_id),
                Answer::Elsewhere { leader: Some((_, leader)), cause } => (Some(leader.peer_addr), cause),
                Answer::Elsewhere { leader: None, cause } => (None, cause),
                // A change that is under way ends by itself; a member that waits for its own cluster may get one.
                Answer::Changed(Err(
                    error @ (MembershipError::ChangeInProgress { .. }
                    | MembershipError::NotAccepted(_)
                    | MembershipError::OutcomeUnknown(_)
                    | MembershipError::Uninitialized),
                )) => (None, error.to_string()),
                Answer::Changed(Err(error)) => return Err(JoinError::Refused(error)),
                other => (None, format!("an unexpected answer: {other:?}")),
            };
            if deadline <= Instant::now() {
                return Err(JoinError::Unreachable { addr: addr.to_owned(), waited: within, cause });
            }
            tracing::info!(%addr, %cause, "has not joined yet; trying again");
            whom = next.unwrap_or_else(|| addr.to_owned());
            tokio::time::sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    /// One question and its answer; a failure that may pass counts as being sent elsewhere.
    async fn join_attempt(&self, addr: &str, whom: &str, within: Duration) -> Result<Answer, JoinError> {
        let ask = Ask::Join { id: self.options.id, member: self.member.clone() };
        let elsewhere = |cause| Answer::Elsewhere { leader: None, cause };
        let body = match encode(&Asked { within, ask }) {
            Ok(body) => body,
            Err(cause) => return Ok(elsewhere(cause)),
        };
        match self.call_address(whom, body, within).await {
            Ok(answer) => Ok(decode(&answer).unwrap_or_else(elsewhere)),
            Err(failure) => match self.final_refusal(addr, &failure, within) {
                Some(error) => Err(error),
                None => Ok(elsewhere(failure.cause)),
            },
        }
    }

    /// The refusals of a connection that waiting does not change.
    fn final_refusal(&self, addr: &str, failure: &Failure, waited: Duration) -> Option<JoinError> {
        let addr = addr.to_owned();
        match failure.handshake.clone()? {
            HandshakeError::SelfConnection { .. } => Some(JoinError::SelfConnection { addr }),
            HandshakeError::WrongCluster { expected, found } => {
                Some(JoinError::WrongCluster { addr, ours: ClusterId(expected), theirs: ClusterId(found) })
            }
            HandshakeError::DuplicateNode { addr_a, addr_b, .. } => {
                Some(MembershipError::DuplicateNode { id: self.options.id, addr_a, addr_b }.into())
            }
            refusal @ (HandshakeError::WrongProtocol { .. } | HandshakeError::VersionSkew { .. }) => {
                Some(JoinError::Unreachable { addr, waited, cause: refusal.to_string() })
            }
            refusal => stop_reason(&refusal).map(JoinError::Stopped),
        }
    }

    /// Tells the cluster that this node is reached at another address than the membership says.
    ///
    /// Goes on until a leader took it in: until then nobody can reach this node.
    pub(crate) async fn announce_move(&self) {
        let mut pause = PAUSE_MIN;
        while self.stop_reason().is_none() {
            let roll = self.shared.roll();
            if roll.membership.get_node(&self.options.id).is_none_or(|known| *known == self.member) {
                return;
            }
            for (_, member) in roll.membership.nodes().filter(|(id, _)| **id != self.options.id) {
                let asked = self.join_attempt(&member.peer_addr, &member.peer_addr, ATTEMPT_MAX).await;
                if let Ok(Answer::Elsewhere { leader: Some((_, leader)), .. }) = asked {
                    // What it answers shows in the membership, which is looked at again.
                    let _ = self.join_attempt(&leader.peer_addr, &leader.peer_addr, ATTEMPT_MAX).await;
                }
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }
}

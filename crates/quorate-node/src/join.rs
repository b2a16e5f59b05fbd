//! Becoming a member: a fresh node asks a cluster to take it in; one that moved tells its new address.

use std::time::Duration;

use tokio::time::Instant;

use crate::ask::{Answer, Ask, Asked};
use crate::command::{decode, encode};
use crate::error::{JoinError, MembershipError};
use crate::inner::Inner;
use crate::member::{ClusterId, Member, NodeId};
use crate::state_machine::StateMachine;

/// The pause before the first retry; it doubles from one to the next.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long one attempt may take: a leader that hangs must not take all of the time.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);

/// Who is asked: at first only an address is known, later the leader that was named there.
enum Whom {
    Addr(String),
    Leader(NodeId, Member),
}

impl<S: StateMachine> Inner<S> {
    /// Asks the cluster behind `addr` to take this node in, and makes the cluster's id durable here.
    pub(crate) async fn join(&self, addr: &str) -> Result<(), JoinError> {
        if addr == self.member.peer_addr {
            return Err(JoinError::SelfConnection { addr: addr.to_owned() });
        }
        let theirs = self.ask_to_join(addr).await?;
        let ours = self.adopt(theirs).await.map_err(|cause| JoinError::Io { cause })?;
        if ours != theirs {
            return Err(JoinError::WrongCluster { addr: addr.to_owned(), ours, theirs });
        }
        Ok(())
    }

    async fn ask_to_join(&self, addr: &str) -> Result<ClusterId, JoinError> {
        let within = self.options.join_timeout;
        let deadline = Instant::now() + within;
        let mut pause = PAUSE_MIN;
        let mut whom = Whom::Addr(addr.to_owned());
        loop {
            if let Some(reason) = self.stop_reason() {
                return Err(JoinError::Stopped(reason));
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            let (next, cause) = match self.join_attempt(addr, &whom, remaining.min(ATTEMPT_MAX)).await? {
                Answer::Joined(cluster_id) => return Ok(cluster_id),
                Answer::Elsewhere { leader: Some((id, member)), cause } => (Some(Whom::Leader(id, member)), cause),
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
            whom = next.unwrap_or_else(|| Whom::Addr(addr.to_owned()));
            tokio::time::sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    /// One question and its answer; a failure that may pass counts as being sent elsewhere.
    async fn join_attempt(&self, addr: &str, whom: &Whom, within: Duration) -> Result<Answer, JoinError> {
        let ask = Ask::Join { id: self.options.id, member: self.member.clone() };
        let elsewhere = |cause| Answer::Elsewhere { leader: None, cause };
        let body = match encode(&Asked { within, ask }) {
            Ok(body) => body,
            Err(cause) => return Ok(elsewhere(cause)),
        };
        let answer = match whom {
            Whom::Addr(at) => self.call_address(at, body, within).await,
            Whom::Leader(id, member) => self.call(*id, member, body, within).await,
        };
        match answer {
            Ok(answer) => Ok(decode(&answer).unwrap_or_else(elsewhere)),
            Err(failure) => match self.final_refusal(addr, &failure) {
                Some(error) => Err(error),
                None => Ok(elsewhere(failure.cause)),
            },
        }
    }
}

//! Finding the leader: an ask goes to whoever leads, and is retried for as long as that is safe and in time.

use std::time::Duration;

use bytes::Bytes;
use quorate_grpc::{CallError, HandshakeError, TransportError};
use rand::RngExt as _;
use tokio::time::Instant;

use crate::ask::{Answer, Ask, Asked, CALL_KIND};
use crate::command::{decode, encode};
use crate::config::NodeConfig;
use crate::error::{MembershipError, NotAccepted, OutcomeUnknown, ProposeError, ReadError, StopReason};
use crate::inner::Inner;
use crate::member::{Member, NodeId};
use crate::state_machine::StateMachine;

/// The pause before the first retry; it doubles from one to the next.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// The longest pause between two retries.
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// Why an ask got no answer from a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unanswered {
    NotAccepted(NotAccepted),
    OutcomeUnknown(OutcomeUnknown),
    Uninitialized,
    Stopped(StopReason),
}

impl<S: StateMachine> Inner<S> {
    /// Asks the leader, wherever it is, and follows it when it changes.
    pub(crate) async fn ask_leader(&self, ask: Ask, within: Duration) -> Result<Answer, Unanswered> {
        let mut attempts = Attempts::new(within);
        let mut hint = None;
        loop {
            if let Some(reason) = self.stop_reason() {
                return Err(Unanswered::Stopped(reason));
            }
            if self.cluster_id().is_none() {
                return Err(Unanswered::Uninitialized);
            }
            let Some((leader, member)) = hint.take().or_else(|| self.known_leader()) else {
                self.wait_for_leader(attempts.remaining()).await;
                attempts.check()?;
                continue;
            };
            attempts.leader = Some(leader);
            match self.ask_one(leader, &member, ask.clone(), &attempts).await {
                Ok(Answer::Elsewhere { leader: next, cause }) => {
                    attempts.cause = cause;
                    // A hint may be as stale as what is known here; it is followed at once only if it leads on.
                    hint = next.filter(|(id, _)| *id != leader);
                }
                Ok(answer) => return Ok(answer),
                Err(failure) if failure.delivered && !ask.is_repeatable() => {
                    return Err(Unanswered::OutcomeUnknown(failure.into_unknown(leader, within)));
                }
                Err(failure) => {
                    attempts.in_doubt |= failure.delivered && ask.is_change();
                    attempts.cause = failure.cause;
                }
            }
            attempts.pause().await?;
        }
    }

    async fn ask_one(
        &self,
        leader: NodeId,
        member: &Member,
        ask: Ask,
        attempts: &Attempts,
    ) -> Result<Answer, Failure> {
        let within = if ask.is_repeatable() {
            // A silent leader may have been replaced: look again after a while, rather than waiting for it alone.
            attempts.remaining().min(self.options.election_max.saturating_mul(2))
        } else {
            attempts.remaining()
        };
        if leader == self.options.id {
            return Ok(self.answer(Asked { within: attempts.remaining(), ask }).await);
        }
        if let Ask::Propose(payload) = ask {
            return self.lanes.propose(&self.transport, (leader, member), payload, within).await;
        }
        let body = encode(&Asked { within, ask }).map_err(Failure::undelivered)?;
        let answer = self.call(leader, member, body, within).await?;
        decode(&answer).map_err(|cause| Failure::unanswered(&cause, false))
    }

    /// Calls a member and gives its answer, still encoded.
    pub(crate) async fn call(
        &self,
        id: NodeId,
        member: &Member,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, Failure> {
        Ok(self.transport.call::<NodeConfig>(&id, member, CALL_KIND, body, within).await?)
    }

    /// Calls whoever is at an address.
    pub(crate) async fn call_address(
        &self,
        addr: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, Failure> {
        Ok(self.transport.call_address(addr, CALL_KIND, body, within).await?)
    }

    async fn wait_for_leader(&self, within: Duration) {
        let mut leader = self.leader.subscribe();
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            _ = leader.wait_for(|leader| leader.as_ref().is_some_and(|leader| leader.member.is_some())) => {}
            _ = stopped.wait_for(Option::is_some) => {}
            () = tokio::time::sleep(within) => {}
        }
    }
}

/// Why one attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The refusal of the connection, if that was it.
    pub(crate) handshake: Option<HandshakeError>,
    /// Whether the peer may have acted on it, or may do so yet.
    pub(crate) delivered: bool,
    pub(crate) timed_out: bool,
    pub(crate) cause: String,
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let reason = error.reason();
        let handshake = match reason {
            TransportError::Handshake(handshake) => Some(handshake.clone()),
            _ => None,
        };
        Self {
            handshake,
            delivered: matches!(error, CallError::OutcomeUnknown(_)),
            timed_out: matches!(reason, TransportError::TimedOut(_)),
            cause: reason.to_string(),
        }
    }
}

impl Failure {
    pub(crate) fn undelivered(cause: String) -> Self {
        Self { handshake: None, delivered: false, timed_out: false, cause }
    }

    /// The peer may have acted on it.
    pub(crate) fn unanswered(cause: &str, timed_out: bool) -> Self {
        Self { handshake: None, delivered: true, timed_out, cause: cause.to_owned() }
    }

    fn into_unknown(self, leader: NodeId, waited: Duration) -> OutcomeUnknown {
        if self.timed_out {
            OutcomeUnknown::Timeout { waited }
        } else {
            OutcomeUnknown::ConnectionLost { leader, cause: self.cause }
        }
    }
}

/// The attempts of one ask: its deadline, its pauses, and what it ran into last.
struct Attempts {
    within: Duration,
    deadline: Instant,
    pause: Duration,
    leader: Option<NodeId>,
    cause: String,
    /// Whether an attempt may have changed something.
    in_doubt: bool,
}

impl Attempts {
    fn new(within: Duration) -> Self {
        let deadline = Instant::now() + within.min(Duration::from_secs(86_400));
        Self { within, deadline, pause: BACKOFF_MIN, leader: None, cause: String::new(), in_doubt: false }
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether there is time for another attempt.
    fn check(&self) -> Result<(), Unanswered> {
        if self.remaining() > Duration::ZERO {
            return Ok(());
        }
        if self.in_doubt {
            return Err(Unanswered::OutcomeUnknown(OutcomeUnknown::Timeout { waited: self.within }));
        }
        Err(Unanswered::NotAccepted(match self.leader {
            None => NotAccepted::NoLeader { waited: self.within },
            Some(leader) => {
                NotAccepted::LeaderUnreachable { leader, waited: self.within, cause: self.cause.clone() }
            }
        }))
    }

    async fn pause(&mut self) -> Result<(), Unanswered> {
        // Spread over half of the pause, so that those who failed together do not come back together.
        let pause = self.pause.mul_f64(rand::rng().random_range(0.5..1.0));
        self.pause = self.pause.saturating_mul(2).min(BACKOFF_MAX);
        tokio::time::sleep(pause.min(self.remaining())).await;
        self.check()
    }
}

impl From<Unanswered> for ProposeError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NotAccepted(reason) => Self::NotAccepted(reason),
            Unanswered::OutcomeUnknown(reason) => Self::OutcomeUnknown(reason),
            Unanswered::Uninitialized => Self::Uninitialized,
            Unanswered::Stopped(reason) => Self::Stopped(reason),
        }
    }
}

impl From<Unanswered> for MembershipError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NotAccepted(reason) => Self::NotAccepted(reason),
            Unanswered::OutcomeUnknown(reason) => Self::OutcomeUnknown(reason),
            Unanswered::Uninitialized => Self::Uninitialized,
            Unanswered::Stopped(reason) => Self::Stopped(reason),
        }
    }
}

impl From<Unanswered> for ReadError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NotAccepted(reason) => Self::NoLeader(reason),
            // Reads leave no doubt, see `Ask::is_change`.
            Unanswered::OutcomeUnknown(_) => Self::NoLeader(NotAccepted::NoLeader { waited: Duration::ZERO }),
            Unanswered::Uninitialized => Self::Uninitialized,
            Unanswered::Stopped(reason) => Self::Stopped(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said when there is no time left.
    fn end(change: impl FnOnce(&mut Attempts)) -> Unanswered {
        let mut attempts = Attempts::new(Duration::ZERO);
        attempts.cause = "refused".to_owned();
        change(&mut attempts);
        attempts.check().expect_err("there is no time left")
    }

    #[test]
    fn the_time_is_over_in_one_of_three_ways() {
        let waited = Duration::ZERO;
        assert_eq!(ProposeError::from(end(|_| {})), NotAccepted::NoLeader { waited }.into());
        let unreachable = NotAccepted::LeaderUnreachable { leader: 3, waited, cause: "refused".into() };
        assert_eq!(MembershipError::from(end(|attempts| attempts.leader = Some(3))), unreachable.into());
        let doubt = end(|attempts| (attempts.leader, attempts.in_doubt) = (Some(3), true));
        assert_eq!(ProposeError::from(doubt), OutcomeUnknown::Timeout { waited }.into());
        assert!(Attempts::new(Duration::MAX).check().is_ok());
    }

    #[test]
    fn a_change_that_was_delivered_is_in_doubt_and_a_read_never_is() {
        let waited = Duration::from_millis(5);
        let late = Failure::unanswered("no answer in time", true).into_unknown(2, waited);
        assert_eq!(late, OutcomeUnknown::Timeout { waited });
        let broken = Failure::unanswered("reset", false).into_unknown(2, waited);
        assert_eq!(broken, OutcomeUnknown::ConnectionLost { leader: 2, cause: "reset".into() });
        assert_eq!(MembershipError::from(Unanswered::OutcomeUnknown(broken.clone())), broken.clone().into());
        let read = ReadError::from(Unanswered::OutcomeUnknown(broken));
        assert!(matches!(read, ReadError::NoLeader(NotAccepted::NoLeader { .. })), "{read}");
    }
}

//! Linearizable reads: many readers share one question to the leader.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use crate::ask::{Answer, Ask};
use crate::error::{NotAccepted, ReadError, StopReason};
use crate::forward::Unanswered;
use crate::inner::Inner;
use crate::state_machine::StateMachine;

/// How much longer than its own time a reader waits for its round: an error of the one that asks says more.
const GRACE: Duration = Duration::from_millis(50);

type Round = Arc<OnceCell<Result<u64, Unanswered>>>;

/// Groups readers into rounds: each round asks the leader once, after all of its readers have come.
#[derive(Debug, Default)]
pub(crate) struct ReadRounds {
    /// The round that has not asked yet, and takes whoever comes.
    gathering: Mutex<Round>,
    /// Held by the round that is asking; meanwhile the next one gathers.
    asking: tokio::sync::Mutex<()>,
}

impl ReadRounds {
    fn join(&self) -> Round {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn close(&self, round: &Round) {
        let mut gathering = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&gathering, round) {
            *gathering = Round::default();
        }
    }
}

impl<S: StateMachine> Inner<S> {
    /// Waits until every command acknowledged before this call is applied here.
    pub(crate) async fn wait_linearizable(&self, within: Duration) -> Result<(), ReadError> {
        let deadline = Instant::now() + within.min(Duration::from_secs(86_400));
        let remaining = || deadline.saturating_duration_since(Instant::now());
        let wanted = loop {
            match timeout(remaining() + GRACE, self.read_index(remaining())).await {
                Ok(Ok(wanted)) => break wanted,
                // The time that was over may have been that of another reader in the round.
                Ok(Err(Unanswered::NotAccepted(
                    NotAccepted::NoLeader { .. } | NotAccepted::LeaderUnreachable { .. },
                ))) if remaining() > Duration::ZERO => {}
                Ok(Err(unanswered)) => return Err(unanswered.into()),
                Err(_) => return Err(NotAccepted::NoLeader { waited: within }.into()),
            }
        };
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            biased;
            () = self.shared.wait_applied(wanted) => Ok(()),
            _ = stopped.wait_for(Option::is_some) => {
                Err(ReadError::Stopped(self.stop_reason().unwrap_or(StopReason::Shutdown)))
            }
            () = tokio::time::sleep(remaining()) => {
                Err(ReadError::Lagging { wanted, applied: self.shared.applied(), waited: within })
            }
        }
    }

    /// The index that a read which begins now must see.
    async fn read_index(&self, within: Duration) -> Result<u64, Unanswered> {
        let round = self.reads.join();
        // If the reader that asks is dropped, another one of the round asks in its place.
        let asked = round.get_or_init(|| async {
            let _turn = self.reads.asking.lock().await;
            self.reads.close(&round);
            match self.ask_leader(Ask::ReadIndex, within).await? {
                Answer::ReadIndex(index) => Ok(index),
                other => {
                    let cause = format!("the leader answered something else: {other:?}");
                    Err(Unanswered::NotAccepted(NotAccepted::Invalid { cause }))
                }
            }
        });
        asked.await.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_asks_takes_nobody_in() {
        let rounds = ReadRounds::default();
        let (first, second) = (rounds.join(), rounds.join());
        assert!(Arc::ptr_eq(&first, &second), "those who come before it asks share a round");
        rounds.close(&first);
        let third = rounds.join();
        assert!(!Arc::ptr_eq(&first, &third), "who comes later must not be given an older answer");
        rounds.close(&second);
        assert!(Arc::ptr_eq(&third, &rounds.join()), "a round is closed once");
    }
}

//! How eagerly a peer that fails is tried again.

use std::time::Duration;

use crate::errors::RPCError;
use crate::network::Backoff;
use crate::type_config::RaftTypeConfig;

/// Failures up to this weight are retried at once.
const RANK_MAX: u32 = 20;

/// The peer is down, or said so.
const WEIGHT_DOWN: u32 = 100;

/// The failure may pass.
const WEIGHT_PASSING: u32 = 2;

/// The wait where a backoff has run out.
const DELAY_LAST: Duration = Duration::from_millis(500);

/// Weighs failures since the last success; beyond a bound, each retry waits for the next delay of a backoff.
#[derive(Default)]
pub(crate) struct Pace {
    rank: u32,
    delays: Option<Backoff>,
}

impl Pace {
    /// The peer answered: nothing is held against it any more.
    pub(crate) fn succeeded(&mut self) {
        self.rank = 0;
        self.delays = None;
    }

    /// A request failed.
    pub(crate) fn failed<C: RaftTypeConfig>(&mut self, error: &RPCError<C>) {
        self.rank = self.rank.saturating_add(match error {
            RPCError::Unreachable(_) | RPCError::RemoteError(_) => WEIGHT_DOWN,
            RPCError::Timeout(_) | RPCError::Network(_) => WEIGHT_PASSING,
        });
    }

    /// Requests were not answered at all.
    pub(crate) fn silent(&mut self) {
        self.rank = self.rank.saturating_add(WEIGHT_DOWN);
    }

    /// How long to wait before the next attempt; `None` is not at all.
    pub(crate) fn next_delay(&mut self, delays: impl FnOnce() -> Backoff) -> Option<Duration> {
        if self.rank <= RANK_MAX {
            return None;
        }
        let delays = self.delays.get_or_insert_with(delays);
        Some(delays.next().unwrap_or(DELAY_LAST))
    }
}

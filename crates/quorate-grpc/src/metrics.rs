//! What the transport counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{HANDSHAKE_CODES, HandshakeError, TransportError, name_of};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }
}

/// Counters of one [`Transport`](crate::Transport) since its creation.
#[derive(Debug, Default)]
pub struct TransportMetrics {
    /// Connections accepted from others after a good handshake.
    pub accepted: Counter,
    /// Attempts to connect to others.
    pub dials: Counter,
    /// Those of them that failed for any reason.
    pub dial_failures: Counter,
    /// Requests to others that got no answer in time.
    pub timeouts: Counter,
    /// Requests to others that failed otherwise.
    pub failures: Counter,
    /// Messages that could not be read, from anyone.
    pub malformed: Counter,
    /// Messages refused for their size, ours by others and others' by us.
    pub oversize: Counter,
    /// Append requests sent on streams, each with a batch of entries.
    pub append_requests: Counter,
    /// Snapshot bytes sent.
    pub snapshot_bytes_sent: Counter,
    /// Snapshot bytes received and stored.
    pub snapshot_bytes_received: Counter,
    /// Snapshot transfers received that went on where an earlier one had stopped.
    pub snapshots_resumed: Counter,
    /// Pieces of snapshots refused for a wrong checksum, whole snapshots included.
    pub snapshots_corrupt: Counter,
    refused: [Counter; HANDSHAKE_CODES],
}

impl TransportMetrics {
    /// How many handshakes ended with this kind of error, on either end.
    pub fn refused(&self, error: &HandshakeError) -> u64 {
        self.slot(error.code()).map_or(0, Counter::get)
    }

    /// The name and count of each kind of handshake error.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let known =
            self.refused.iter().zip(0_u32..).skip(1).map(|(counter, code)| (name_of(code), counter.get()));
        known.chain(self.refused.first().map(|counter| (name_of(0), counter.get())))
    }

    pub(crate) fn count_refusal(&self, error: &HandshakeError) {
        if let Some(counter) = self.slot(error.code()) {
            counter.increment();
        }
    }

    /// Counts a request to a peer that failed.
    pub(crate) fn count_failure(&self, error: &TransportError) {
        match error {
            TransportError::TimedOut(_) => self.timeouts.increment(),
            TransportError::TooLarge { .. } | TransportError::RefusedSize { .. } => self.oversize.increment(),
            TransportError::Malformed { .. } => self.malformed.increment(),
            _ => self.failures.increment(),
        }
    }

    /// Slot 0 takes the codes that this version does not know.
    fn slot(&self, code: u32) -> Option<&Counter> {
        let known = usize::try_from(code).ok().and_then(|code| self.refused.get(code));
        known.or_else(|| self.refused.first())
    }
}

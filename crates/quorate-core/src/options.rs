//! What an operator may choose, and the time that a replica is told.

use core::fmt::Debug;
use core::fmt::Display;
use core::fmt::Formatter;
use core::fmt::Result;
use core::ops::Add;
use core::time::Duration;

/// A moment on the caller's monotonic clock, as the time since an origin that the caller chose.
///
/// A replica never reads a clock: every door that depends on time takes one of these. Arithmetic saturates.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    /// The origin.
    pub const ZERO: Time = Time(Duration::ZERO);

    /// The moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Time(Duration::from_millis(millis))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(duration))
    }
}

impl Debug for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Debug::fmt(&self.0, f)
    }
}

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

/// The settings of one replica. Durations are real time; counts are log entries unless they say bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Shortest wait of a follower without a leader before it campaigns.
    pub election_timeout_min: Duration,
    /// Longest such wait, exclusive; each wait is drawn anew.
    pub election_timeout_max: Duration,
    /// How long a follower that hears a leader refuses to vote for another (thesis §4.2.3, §6.4.1).
    pub lease: Duration,
    /// How often a leader tells every peer that it leads.
    pub heartbeat_interval: Duration,
    /// A heartbeat is left out for a peer that acknowledged anything sent within this time; zero sends all.
    pub heartbeat_min_interval: Duration,
    /// After the lease is lost, a leader alternates this long without heartbeats and this long with them.
    pub quorum_loss_probe_interval: Option<Duration>,
    /// Parts in a million by which a clock may run fast or slow; lease reads shrink the lease by it (thesis §6.4.1).
    pub clock_drift_ppm: u32,
    /// Ask for pre-votes before a campaign that a timeout started (thesis §9.6).
    pub pre_vote: bool,
    /// Whether a timeout may start a campaign at all.
    pub elect: bool,
    /// Whether a leader sends heartbeats by time.
    pub heartbeat: bool,
    /// Whether a replica that was leader when it stopped leads again at once, in the same term.
    ///
    /// Only without [`send_unflushed`](Self::send_unflushed): else an entry that peers hold could be missing here
    /// after a crash, and its id be given out twice.
    pub restore_leader: bool,
    /// Send entries to peers while the leader's own disk still writes them (thesis §10.2.1).
    pub send_unflushed: bool,
    /// Whether a leader that inherits a joint configuration proposes the uniform one that ends it.
    pub finish_joint: bool,
    /// Accept silently that a peer lost entries it had acknowledged; otherwise it is told as an event.
    pub allow_log_reversion: bool,
    /// How long a leader that was removed from the committed configuration goes on leading; `None` is for ever.
    pub removed_leader_step_down: Option<Duration>,
    /// A leader whose own disk has made nothing durable for so long, with writes waiting, steps down: it still sends
    /// heartbeats, so nobody else would lead, and it can commit nothing. `None` leads on.
    pub disk_stall_max: Option<Duration>,
    /// Most entries in one append request.
    pub payload_entries_max: u64,
    /// Most entries sent to one peer and not acknowledged.
    pub inflight_entries_max: u64,
    /// Most bytes sent to one peer and not acknowledged; one request may go over.
    pub inflight_bytes_max: u64,
    /// Most entries handed to the state machine at once.
    pub apply_entries_max: u64,
    /// Most entries handed to the log store at once.
    pub write_entries_max: u64,
    /// Most proposals handed to the log store at once; no more than `write_entries_max` in any case.
    pub proposals_together_max: u64,
    /// Build a snapshot when this many entries were committed since the last; `None` builds on demand alone.
    pub snapshot_after: Option<u64>,
    /// Entries kept behind the snapshot for peers that lag a little.
    pub keep_in_log: u64,
    /// Fewest entries worth one purge.
    pub purge_batch: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            election_timeout_min: Duration::from_millis(150),
            election_timeout_max: Duration::from_millis(300),
            lease: Duration::from_millis(300),
            heartbeat_interval: Duration::from_millis(50),
            heartbeat_min_interval: Duration::ZERO,
            quorum_loss_probe_interval: None,
            clock_drift_ppm: 50_000,
            pre_vote: false,
            elect: true,
            heartbeat: true,
            restore_leader: true,
            send_unflushed: false,
            finish_joint: true,
            allow_log_reversion: false,
            removed_leader_step_down: Some(Duration::from_millis(150)),
            disk_stall_max: None,
            payload_entries_max: 300,
            inflight_entries_max: 16_384,
            inflight_bytes_max: 16 << 20,
            apply_entries_max: 4096,
            write_entries_max: 4096,
            proposals_together_max: 4096,
            snapshot_after: Some(5000),
            keep_in_log: 1000,
            purge_batch: 1,
        }
    }
}

impl Options {
    /// The wait before the next campaign, drawn by `dice` from the configured range.
    pub(crate) fn election_timeout(&self, dice: u64) -> Duration {
        let range = self.election_timeout_max.saturating_sub(self.election_timeout_min).as_nanos();
        let range = u64::try_from(range).unwrap_or(u64::MAX).max(1);
        self.election_timeout_min.saturating_add(Duration::from_nanos(dice % range))
    }

    /// How long after its sending an acknowledged request lets a leader read without asking again.
    ///
    /// The leader's clock may be slow by the drift while a voter's is fast by it.
    pub(crate) fn read_lease(&self) -> Duration {
        let drift = u128::from(self.clock_drift_ppm.min(1_000_000));
        let nanos = self.lease.as_nanos().saturating_mul(1_000_000_u128.saturating_sub(drift));
        let nanos = nanos / 1_000_000_u128.saturating_add(drift);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn time_is_printed_in_milliseconds() {
        let time = Time::ZERO + Duration::from_millis(1500);
        assert_eq!(format!("{time} {time:?}"), "1500ms 1.5s");
    }
}

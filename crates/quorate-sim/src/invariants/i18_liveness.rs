//! I18: when faults end for a majority, the rest staying broken, the cluster comes back without help, and stays calm.
//!
//! Times are counted in election timeouts: the longest that a follower waits for a leader before it campaigns.

/// Until somebody leads, in election timeouts.
pub const LEADER_TIMEOUTS_MAX: u64 = 10;
/// Until a write is acknowledged that came after the faults.
pub const WRITE_TIMEOUTS_MAX: u64 = 20;
/// Until all have applied it, and no joint membership is in force.
pub const IN_STEP_TIMEOUTS_MAX: u64 = 40;
/// How long the leader stays from then on.
pub const CALM_TIMEOUTS: u64 = 100;

/// How far a recovery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The faults have ended.
    Healed,
    /// Somebody leads.
    Led,
    /// A write was acknowledged.
    Written,
    /// All have applied it, and no joint membership is in force.
    InStep,
}

/// The clock of a recovery.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    began_us: u64,
    timeout_us: u64,
    stage: Stage,
}

impl Recovery {
    /// Faults end now, for a majority at least.
    pub fn new(now_us: u64, timeout_us: u64) -> Self {
        Self { began_us: now_us, timeout_us, stage: Stage::Healed }
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// It has come so far; and it is in time for what comes next.
    pub fn reaches(&mut self, stage: Stage, now_us: u64) {
        self.stage = self.stage.max(stage);
        let (timeouts, what) = match self.stage {
            Stage::Healed => (LEADER_TIMEOUTS_MAX, "leader"),
            Stage::Led => (WRITE_TIMEOUTS_MAX, "write"),
            Stage::Written => (IN_STEP_TIMEOUTS_MAX, "agreement of all"),
            Stage::InStep => return,
        };
        let late = now_us.saturating_sub(self.began_us) > timeouts.saturating_mul(self.timeout_us);
        assert!(!late, "I18: no {what} within {timeouts} election timeouts of {} ms", self.timeout_us / 1000);
    }
}

/// A leader that nothing disturbs.
#[derive(Clone, Copy, Debug)]
pub struct Calm {
    until_us: u64,
    leader: (u64, u64),
    changes: u64,
    changes_max: u64,
}

impl Calm {
    /// All are in step now, behind this leader: a node and its term. Nodes that come back with a term of their own may
    /// yet depose it, each once: `changes_max`.
    pub fn new(now_us: u64, timeout_us: u64, leader: (u64, u64), changes_max: u64) -> Self {
        Self { until_us: now_us + CALM_TIMEOUTS * timeout_us, leader, changes: 0, changes_max }
    }

    /// Whether it lasted long enough.
    pub fn is_over(&self, now_us: u64) -> bool {
        now_us >= self.until_us
    }

    /// Who leads now.
    pub fn led_by(&mut self, leader: (u64, u64)) {
        if leader != self.leader {
            self.changes += 1;
            let (before, now) = (self.leader, leader);
            let calm = self.changes <= self.changes_max;
            assert!(calm, "I18: {before:?} is followed by {now:?} although nothing goes wrong");
            self.leader = leader;
        }
    }

    /// So many requests were sent, of which `most` are as many as there is reason for.
    pub fn requests(&self, sent: u64, most: u64) {
        assert!(sent <= most, "I18: a storm of messages: {sent}, {most} at the most");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_in_time() {
        let mut recovery = Recovery::new(1_000, 100);
        recovery.reaches(Stage::Healed, 2_000);
        recovery.reaches(Stage::Led, 2_000);
        recovery.reaches(Stage::Healed, 3_000);
        recovery.reaches(Stage::Written, 3_000);
        recovery.reaches(Stage::InStep, 5_000);
        recovery.reaches(Stage::InStep, 50_000);
        assert_eq!(recovery.stage(), Stage::InStep);
    }

    #[test]
    #[should_panic(expected = "I18: no leader within 10")]
    fn no_leader_is_seen() {
        Recovery::new(1_000, 100).reaches(Stage::Healed, 2_001);
    }

    #[test]
    #[should_panic(expected = "I18: no write within 20")]
    fn no_write_is_seen() {
        Recovery::new(1_000, 100).reaches(Stage::Led, 3_001);
    }

    #[test]
    #[should_panic(expected = "I18: no agreement of all within 40")]
    fn a_node_that_lags_for_ever_is_seen() {
        Recovery::new(1_000, 100).reaches(Stage::Written, 5_001);
    }

    #[test]
    fn calm_lasts_for_some_time() {
        let mut calm = Calm::new(1_000, 100, (1, 4), 1);
        calm.led_by((1, 4));
        calm.led_by((2, 5));
        calm.led_by((2, 5));
        calm.requests(7, 7);
        assert!(!calm.is_over(10_999) && calm.is_over(11_000));
    }

    #[test]
    #[should_panic(expected = "I18: (1, 4) is followed by (2, 5)")]
    fn another_leader_is_seen() {
        Calm::new(1_000, 100, (1, 4), 0).led_by((2, 5));
    }

    #[test]
    #[should_panic(expected = "I18: a storm")]
    fn a_storm_is_seen() {
        Calm::new(1_000, 100, (1, 4), 0).requests(8, 7);
    }
}

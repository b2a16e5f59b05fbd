//! What a seed draws: how many nodes, how they are set, what goes wrong and how often, and what clients do.

use std::time::Duration;

use quorate::Config;
use quorate::SnapshotPolicy;
use quorate::StepDownPolicy;
use quorate_log::Options;

use crate::dice::Dice;
use crate::tier_b::client::Habits;
use crate::tier_b::net::NetFaults;

/// What the core allows clocks to run off by, in parts per million, with a little to spare.
const DRIFT_PPM_MAX: u64 = 40_000;
const MS: u64 = 1_000_000;

/// What a seed draws besides the configuration of the nodes.
#[derive(Debug)]
pub struct Settings {
    pub voters: u64,
    /// Machines that are there to be added.
    pub spares: u64,
    /// How long things go wrong, in nanoseconds.
    pub storm_ns: u64,
    /// The time between two acts, at most.
    pub act_ns_max: u64,
    pub faults: Faults,
    /// The snapshots of a leader rot when a node that was cut off is about to be sent one.
    pub rot_sent: bool,
    pub net: NetFaults,
    pub habits: Habits,
    /// How long a disk takes for a write, at most.
    pub disk_ns: u64,
    /// How long a state machine may take to begin with a batch.
    pub slow_ns: u64,
    pub parts_bytes: usize,
    pub drift_ppm_max: u64,
    /// Clocks run off by the most, or not at all.
    pub drift_extreme: bool,
}

impl Settings {
    /// How far a clock runs off, in parts per million.
    pub fn draw_drift(&self, dice: &mut Dice) -> i64 {
        let max = self.drift_ppm_max;
        let above = if self.drift_extreme { max * dice.below(3) } else { dice.below(2 * max + 1) };
        above as i64 - max as i64
    }
}

/// What happens, and how often: each in 1,000 acts.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub crash: u64,
    /// All at once.
    pub blackout: u64,
    /// The power fails in the middle of what a disk does.
    pub cut: u64,
    pub pause: u64,
    pub partition: u64,
    pub slow_link: u64,
    /// A leader is cut off with what it has begun, until another one leads.
    pub strand: u64,
    pub jump: u64,
    pub change: u64,
    pub transfer: u64,
    pub elect: u64,
    pub snapshot: u64,
    pub purge: u64,
    /// A write or a sync fails.
    pub disk_error: u64,
    pub disk_full: u64,
    pub disk_slow: u64,
    pub disk_hang: u64,
    /// What a disk holds is damaged, or is not what was written.
    pub rot: u64,
}

/// Once in so many times a number below `then`, else one below `usual`.
fn now_and_then(dice: &mut Dice, times: u64, then: u64, usual: u64) -> u64 {
    let end = if dice.chance(1, times) { then } else { usual };
    dice.below(end)
}

/// Rolls the settings of a seed.
pub fn settings(dice: &mut Dice) -> Settings {
    let mut rate = |often: u64, max: u64| if dice.chance(often, 10) { 1 + dice.below(2 * max) } else { 0 };
    let mut faults = Faults {
        crash: rate(7, 40),
        blackout: rate(2, 4),
        cut: rate(6, 40),
        pause: rate(5, 20),
        partition: rate(6, 40),
        slow_link: rate(3, 20),
        strand: rate(4, 20),
        jump: rate(3, 10),
        change: rate(6, 40),
        transfer: rate(4, 30),
        elect: rate(2, 10),
        snapshot: rate(4, 20),
        purge: rate(3, 20),
        disk_error: rate(4, 20),
        disk_full: rate(3, 15),
        disk_slow: rate(4, 30),
        disk_hang: rate(3, 15),
        rot: rate(4, 20),
    };
    let net = NetFaults {
        lose: rate(6, 150),
        duplicate: rate(5, 200),
        delay: rate(6, 150),
        flip: rate(4, 30),
        spoil: rate(4, 30),
        hang: rate(3, 50),
        latency_ns: 50_000 + dice.below(2 * MS),
        delay_ns_max: 5 * MS + dice.below(3_000 * MS),
    };
    let rot_sent = dice.chance(1, 4);
    if faults.rot > 0 || rot_sent {
        // Which machines can be done without is only known where operators replace damaged ones and change nothing else.
        faults.change = 0;
    }
    // A clock that jumps breaks the promise that lease reads rest on, and so does an election by order.
    let lease_reads = faults.jump == 0 && faults.elect == 0;
    let habits = Habits {
        clients: 1 + dice.below(5),
        keys: 1 + dice.below(5),
        writes: 2 + dice.below(8),
        lease_reads,
        follower_reads: dice.chance(1, 2),
        pause_ns_max: 5 * MS + dice.below(100 * MS),
        timeout: Duration::from_millis(300 + now_and_then(dice, 5, 10_000, 2_000)),
        value_bytes_max: 16 + dice.below(400),
    };
    Settings {
        voters: 1 + dice.below(5) + if dice.chance(1, 5) { dice.below(3) } else { 0 },
        spares: dice.below(3),
        storm_ns: 3_000 * MS + dice.below(27_000 * MS),
        act_ns_max: 10 * MS + dice.below(200 * MS),
        faults,
        rot_sent,
        net,
        habits,
        disk_ns: 20_000 + now_and_then(dice, 4, 30 * MS, MS),
        slow_ns: if dice.chance(1, 4) { dice.below(100 * MS) } else { 0 },
        // A compare-and-set of two values, or a joint membership of nine, must fit.
        parts_bytes: if dice.chance(1, 3) { 2_000 + dice.below(2_000) as usize } else { 64 * 1024 },
        drift_ppm_max: match dice.below(6) {
            0..=1 => dice.below(DRIFT_PPM_MAX),
            2 => DRIFT_PPM_MAX,
            _ => 0,
        },
        drift_extreme: dice.chance(1, 3),
    }
}

/// Rolls the configuration of the nodes.
pub fn config(dice: &mut Dice) -> Config {
    let heartbeat = 20 + dice.below(60);
    let election_min = heartbeat * 3 + dice.below(100);
    let eager = dice.chance(1, 2);
    Config {
        cluster_name: "sim".to_owned(),
        heartbeat_interval: heartbeat,
        election_timeout_min: election_min,
        election_timeout_max: election_min + 10 + now_and_then(dice, 3, 20, 340),
        install_snapshot_timeout: 200 + dice.below(1_000),
        max_payload_entries: 1 + now_and_then(dice, 2, 8, 300),
        max_append_entries: Some(1 + now_and_then(dice, 3, 8, 4_096)),
        replication_lag_threshold: 1 + dice.below(50),
        snapshot_policy: match dice.below(4) {
            0 => SnapshotPolicy::Never,
            _ => SnapshotPolicy::LogsSinceLast(5 + dice.below(100)),
        },
        snapshot_max_chunk_size: 64 + dice.below(4_096),
        max_in_snapshot_log_to_keep: dice.below(40),
        purge_batch_size: 1 + dice.below(4),
        api_channel_size: Some(1 + now_and_then(dice, 4, 4, 1_000)),
        api_batch_capacity: 1 + dice.below(100),
        api_batch_linger_ms: if dice.chance(1, 8) { dice.below(5) } else { 0 },
        state_machine_channel_size: Some(1 + dice.below(100)),
        broadcast_submitted_on_append: Some(eager),
        // A leader that sends what its own disk does not have may not go on in its term after a restart.
        enable_leader_restore: Some(!eager && dice.chance(1, 2)),
        removed_leader_step_down: match dice.below(4) {
            0 => StepDownPolicy::Never,
            _ => StepDownPolicy::After(100 + dice.below(300)),
        },
        enable_pre_vote: Some(dice.chance(1, 2)),
        backoff: format!("{}ms", 10 + dice.below(200)),
        ..Config::default()
    }
}

/// Rolls the options of the logs: the smallest segments that there are, more often than not.
pub fn log_options(dice: &mut Dice) -> Options {
    Options {
        segment_bytes: (64 * 1024) << dice.below(2),
        tail_bytes: 512 + dice.below(64 * 1024),
        queue_bytes: 4_096 + dice.below(1 << 20),
    }
}

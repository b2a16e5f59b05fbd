//! What a seed draws: which faults it has and how often, over how many nodes, with which settings and clocks.

use std::time::Duration;

use quorate_core::Options;

use crate::dice::Dice;
use crate::tier_a::node::Clock;

/// Bounds on clock drift that clusters are told, in parts in a million.
const DRIFT_BOUNDS_PPM: [u32; 4] = [500, 10_000, 50_000, 200_000];
/// Drift of clocks that keep to no bound.
const DRIFT_WILD_PPM: u64 = 400_000;

/// What goes wrong in one run, and how often: each in 1000 steps, if it does not say otherwise.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Time goes from deadline to deadline, and slowly, so that much happens between two of them.
    pub(crate) siege: bool,
    /// Four voters, of which every new leader at once wants one more or one less: the size at which the quorums of two
    /// single steps from the same membership can miss each other (raft-dev, July 2015).
    pub(crate) hasty: bool,
    pub(crate) drop: u64,
    pub(crate) duplicate: u64,
    pub(crate) give_up: u64,
    pub(crate) crash: u64,
    /// How many in 10 crashes take a majority, or all, at once.
    pub(crate) blackout: u64,
    /// How many in 10 restarts end in another crash, a few effects later.
    pub(crate) crash_on_start: u64,
    /// How many in 10 leaders crash right after they have counted a quorum, before anyone hears of it.
    pub(crate) ambush: u64,
    pub(crate) partition: u64,
    pub(crate) heal: u64,
    /// A link comes and goes.
    pub(crate) flap: u64,
    /// A link that needs long for everything.
    pub(crate) slow_link: u64,
    /// A message is held back, perhaps until another leads.
    pub(crate) hold: u64,
    /// A node stands still and goes on later, with what has gathered meanwhile.
    pub(crate) pause: u64,
    /// A node's timers do not run, all else does.
    pub(crate) starve: u64,
    /// A disk hangs, for a while or for ever.
    pub(crate) hang: u64,
    /// A node's clock leaps.
    pub(crate) leap: u64,
    /// Clocks keep to no bound: nobody may read by a lease.
    pub(crate) wild_clocks: bool,
    /// A disk is lost for good, and its node with it; another takes its place.
    pub(crate) wipe: u64,
    pub(crate) change: u64,
    pub(crate) transfer: u64,
    pub(crate) elect: u64,
    pub(crate) snapshot: u64,
    /// A leader and one other lose each other, and the rest goes on.
    pub(crate) rebel: u64,
    /// Two nodes lead in turn, and neither gets far.
    pub(crate) duel: u64,
    /// Two leaders change the members, each with somebody to talk to.
    pub(crate) rivals: u64,
    /// What was on its way when leadership moved arrives after that: answers, news of a transfer, a leader itself.
    pub(crate) late: u64,
    /// The disk of a leader hangs for ever while all else works.
    pub(crate) stuck_leader: u64,
    /// How many times in 10 a client that wants something wants to write.
    pub(crate) writes: u64,
    /// How many times in 10 a node does all its work at once instead of one effect.
    pub(crate) eager: u64,
    /// How many times in 10 its disk is slower than everything else.
    pub(crate) slow_disk: u64,
    /// How many times in 10 time jumps to what one node waits for, instead of passing for all.
    pub(crate) impatience: u64,
    /// How many times in 10 the oldest message is delivered instead of any.
    pub(crate) in_order: u64,
    /// Whether a state machine survives a crash by itself.
    pub(crate) durable_state: bool,
}

pub(crate) fn faults(dice: &mut Dice) -> Faults {
    let mut rate = |often: u64, max: u64| if dice.chance(often, 10) { 1 + dice.below(2 * max) } else { 0 };
    let (drop, duplicate, give_up) = (rate(6, 100), rate(5, 60), rate(5, 30));
    let (crash, partition) = (rate(7, 20), rate(6, 12));
    let (change, transfer, elect) = (rate(6, 20), rate(4, 15), rate(2, 10));
    let snapshot = rate(5, 20);
    let (flap, slow_link, hold) = (rate(2, 8), rate(2, 5), rate(3, 15));
    let (pause, starve, hang) = (rate(3, 4), rate(2, 4), rate(3, 4));
    let (leap, wipe) = (rate(1, 4), rate(2, 2));
    let (duel, rivals, stuck_leader) = (rate(1, 1), rate(1, 1), rate(1, 1));
    let late = rate(3, 2);
    let siege = dice.chance(1, 4);
    let hasty = siege && dice.chance(1, 2);
    let wild_clocks = dice.chance(1, 8);
    let faults = Faults {
        siege: false,
        hasty: false,
        drop,
        duplicate,
        give_up,
        crash,
        blackout: dice.below(3),
        crash_on_start: if dice.chance(1, 3) { dice.below(6) } else { 0 },
        ambush: if dice.chance(1, 5) { 1 + dice.below(3) } else { 0 },
        partition,
        heal: 1 + dice.below(12),
        flap,
        slow_link,
        hold,
        pause,
        starve,
        hang,
        leap,
        wild_clocks,
        wipe,
        change,
        transfer,
        elect,
        snapshot,
        rebel: if dice.chance(1, 4) { 1 + dice.below(5) } else { 0 },
        duel,
        rivals,
        late,
        stuck_leader,
        // Without writes, also a node that was away for long has a log that wins elections.
        writes: if dice.chance(1, 3) { dice.below(2) } else { 6 },
        eager: dice.below(10),
        slow_disk: dice.below(10),
        impatience: dice.below(8),
        in_order: dice.below(11),
        durable_state: dice.chance(1, 2),
    };
    if !siege {
        return faults;
    }
    // All works well and swiftly, but for links that stay cut for long: two leaders, each with somebody to talk to.
    let partition = 10 + dice.below(20);
    let quiet = Faults { flap: 0, slow_link: 0, pause: 0, starve: 0, hang: 0, wipe: 0, ..faults };
    Faults { siege, hasty, drop: 0, crash: 0, partition, heal: 2, eager: 8, ..quiet }
}

/// Settings within the rules that `Config::validate` of the library keeps.
pub(crate) fn options(dice: &mut Dice) -> Options {
    let least = 50 + dice.below(250);
    // Where the range is too narrow, two candidates may meet for very long.
    let most = least + least / 2 + dice.below(least);
    let heartbeat = (least / (2 + dice.below(6))).max(5);
    let rarely = if dice.chance(1, 3) { dice.below((least - heartbeat).max(2) - 1) } else { 0 };
    let millis = Duration::from_millis;
    Options {
        election_timeout_min: millis(least),
        election_timeout_max: millis(most),
        // The library takes the greatest timeout. A leader needs one that is longer than it takes to hear from everyone.
        lease: millis(if dice.chance(3, 4) { most } else { least + dice.below(2 * most) }),
        heartbeat_interval: millis(heartbeat),
        heartbeat_min_interval: millis(rarely),
        quorum_loss_probe_interval: dice.chance(1, 8).then(|| millis((2 + dice.below(3)) * most)),
        clock_drift_ppm: *dice.pick(&DRIFT_BOUNDS_PPM).unwrap(),
        disk_stall_max: dice.chance(3, 4).then_some(millis(2 * most)),
        pre_vote: dice.chance(1, 2),
        restore_leader: dice.chance(1, 2),
        send_unflushed: dice.chance(1, 2),
        removed_leader_step_down: dice.chance(3, 4).then_some(millis(150)),
        payload_entries_max: 1 + dice.below(8),
        inflight_entries_max: 1 + dice.below(16),
        inflight_bytes_max: 100 * (1 + dice.below(16)),
        apply_entries_max: 1 + dice.below(8),
        write_entries_max: 1 + dice.below(8),
        proposals_together_max: 1 + dice.below(8),
        snapshot_after: dice.chance(2, 3).then(|| 3 + dice.below(20)),
        keep_in_log: dice.below(8),
        purge_batch: 1 + dice.below(3),
        ..Options::default()
    }
}

/// A clock that keeps to the bound that the cluster was told, or to none.
pub(crate) fn clock(dice: &mut Dice, options: &Options, wild: bool) -> Clock {
    // A little less than the bound, since the simulated clock counts in whole microseconds.
    let most = if wild { DRIFT_WILD_PPM } else { u64::from(options.clock_drift_ppm) * 9 / 10 };
    let drift_ppm = dice.below(2 * most + 1) as i64 - most as i64;
    Clock { drift_ppm, offset_us: dice.below(1_000_000_000) }
}

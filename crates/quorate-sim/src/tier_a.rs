//! Tier A: the core alone. Replicas as values over simulated disks and a list of messages; every effect is a step of
//! its own (one write, one flush, one message), so a schedule can put a crash between any two.

pub mod actions;
pub mod bars;
pub mod client;
pub mod cluster;
pub mod deliver;
pub mod node;
pub mod script;
pub mod wire;

mod acts;
mod checks;
mod late;
mod mishaps;
mod recovery;
mod settings;
mod swarm;

pub use crate::ids::Adv;
pub use crate::ids::Ids;
pub use crate::ids::Std;
pub use cluster::Cluster;

use crate::dice::Dice;
use crate::plan::Plan;
use crate::run::Outcome;
use crate::tier_a::swarm::Chaos;
use crate::trace::Trace;

/// Steps of a seed: at least, and how many more there may be.
const STEPS_MIN: u64 = 300;
const STEPS_MORE: u64 = 2500;
/// One in so many seeds is so many times as long: some bugs show only in an old cluster.
const LONG_ONE_IN: u64 = 8;
const LONG_TIMES: u64 = 10;

/// Runs one seed to its end, and panics where an invariant is broken.
pub fn run_seed(seed: u64, plan: &Plan, trace: Option<Trace>) -> Outcome {
    let mut dice = Dice(seed);
    if dice.chance(1, 2) {
        run_as::<Adv>(seed, plan, dice, trace)
    } else {
        run_as::<Std>(seed, plan, dice, trace)
    }
}

fn run_as<L: Ids>(seed: u64, plan: &Plan, dice: Dice, trace: Option<Trace>) -> Outcome {
    let mut chaos: Chaos<L> = Chaos::new(seed, dice, plan, trace);
    let mut steps = STEPS_MIN + chaos.dice.below(STEPS_MORE);
    if chaos.dice.chance(1, LONG_ONE_IN) {
        steps *= LONG_TIMES;
    }
    let steps = plan.steps(steps);
    for _ in 0..steps {
        chaos.step();
    }
    chaos.recover();
    let acts = chaos.acts;
    let cluster = chaos.cluster;
    let mut tally = cluster.tally;
    tally.elections = cluster.ghost.elections;
    tally.commits = cluster.ghost.canon.end();
    tally.changes = cluster.ghost.changes;
    tally.simulated_us = cluster.now_us;
    Outcome { tally, hash: cluster.hash, steps, acts }
}

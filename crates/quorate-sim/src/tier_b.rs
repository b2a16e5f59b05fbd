//! Tier B: the whole library. The real loops, codec, log, snapshot files, state machine and clients, on a runtime with
//! virtual time, over a simulated disk and a simulated network; one thread, one seed, the same trace every time.

pub mod atlas;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod frames;
pub mod net;
pub mod network;
pub mod node;
pub mod observer;
pub mod recovery;
pub mod runtime;
pub mod schemes;
pub mod server;
pub mod settings;
pub mod swarm;
pub mod types;
pub mod watched;
pub mod world;

use crate::dice::Dice;
use crate::plan::Plan;
use crate::run::Outcome;
use crate::tier_b::swarm::Swarm;
use crate::tier_b::types::Adv;
use crate::tier_b::types::Std;
use crate::tier_b::types::Types;
use crate::tier_b::world::World;
use crate::trace::Trace;

/// Ends the world of a run, however the run ends.
struct WorldGuard;

impl Drop for WorldGuard {
    fn drop(&mut self) {
        world::end();
    }
}

/// Runs one seed to its end, and panics where an invariant is broken.
pub fn run_seed(seed: u64, plan: &Plan, trace: Option<Trace>) -> Outcome {
    let mut dice = Dice(seed ^ 0xB);
    world::install(World::new(dice.roll(), false));
    let _guard = WorldGuard;
    if dice.chance(1, 2) {
        run_as::<Adv>(seed, plan, dice, trace)
    } else {
        run_as::<Std>(seed, plan, dice, trace)
    }
}

fn run_as<C: Types>(seed: u64, plan: &Plan, dice: Dice, trace: Option<Trace>) -> Outcome {
    let mut swarm: Swarm<C> = Swarm::new(seed, dice, plan.clone(), trace);
    swarm.found();
    let steps = swarm.storm();
    swarm.recover();
    swarm.judge();
    let (_, hash) = world::progress();
    Outcome { tally: swarm.tally(), hash, steps, acts: swarm.acts() }
}

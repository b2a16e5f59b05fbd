//! Tier S: what one node keeps, alone. The real log, snapshots and state machine over a simulated disk, against a model
//! of what was acknowledged; hundreds of seeds a second.
//!
//! What was acknowledged is there after any crash; what was not is there or not, and nothing else ever is. Opening is
//! refused only where the disk was damaged, or left garbage where it was writing.

use std::cell::Cell;

use crate::dice::Dice;
use crate::plan::Plan;
use crate::run::Outcome;
use crate::tier_b::world;
use crate::tier_b::world::World;
use crate::tier_s::chaos::Chaos;
use crate::trace::Trace;

pub mod chaos;
pub mod machine;
pub mod mischief;
pub mod model;
pub mod node;

/// Runs one seed to its end, and panics where an invariant is broken.
pub fn run_seed(seed: u64, plan: &Plan, trace: Option<Trace>) -> Outcome {
    world::install(World::new(seed, false));
    let _ended = Ended(Cell::new(()));
    let mut dice = Dice(seed);
    let steps = plan.steps(20 + dice.below(150));
    let mut chaos = Chaos::new(seed, dice, trace);
    for step in 0..steps {
        if chaos.is_over() {
            break;
        }
        plan.begin_step();
        // Each step has dice of its own, so that one that is left out does not change the others.
        chaos.dice = Dice(seed ^ (step + 1).rotate_left(40));
        if plan.does(step) {
            chaos.step();
        }
    }
    chaos.finish();
    Outcome { tally: chaos.tally.clone(), hash: chaos.hash(), steps, acts: steps }
}

/// Ends the world of this thread, also when an invariant was broken.
struct Ended(Cell<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        world::end();
    }
}

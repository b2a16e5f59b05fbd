//! What of a seed's run is to be left out: how a failing run is made shorter.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// A part of a run. The dice are rolled as in the whole run; only what they ask for is not done.
///
/// A tier asks it before each step and each act: a fault, what a client or an operator does, what a node does next.
/// The number of an act must not depend on which others were left out, as far as that can be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// End the schedule after so many steps, and recover then.
    pub steps_max: Option<u64>,
    /// The numbers of the acts that are left out.
    pub without: BTreeSet<u64>,
    done: Option<Rc<RefCell<Done>>>,
}

/// What a run did, up to where it failed if it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Steps that were begun.
    pub steps: u64,
    /// The numbers of the acts that were not left out, in order.
    pub acts: Vec<u64>,
}

impl Plan {
    /// The same, ended after so many steps.
    pub fn ended_after(&self, steps: u64) -> Self {
        Self { steps_max: Some(steps), ..self.clone() }
    }

    /// The same plan, which keeps a record of what is done. It survives a panic.
    pub fn recorded(&self) -> Self {
        Self { done: Some(Rc::default()), ..self.clone() }
    }

    /// How many steps a run has that has `drawn` as a whole.
    pub fn steps(&self, drawn: u64) -> u64 {
        self.steps_max.map_or(drawn, |max| drawn.min(max))
    }

    /// A step begins.
    pub fn begin_step(&self) {
        if let Some(done) = &self.done {
            done.borrow_mut().steps += 1;
        }
    }

    /// Whether the act with this number is done, now that the dice asked for it.
    pub fn does(&self, act: u64) -> bool {
        let does = self.without.is_empty() || !self.without.contains(&act);
        if let Some(done) = self.done.as_ref().filter(|_| does) {
            done.borrow_mut().acts.push(act);
        }
        does
    }

    /// What was done so far, if this plan keeps a record.
    pub fn done(&self) -> Done {
        self.done.as_ref().map(|done| done.borrow().clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_leaves_out_and_keeps_a_record() {
        let mut plan = Plan::default().ended_after(7).recorded();
        plan.without.insert(2);
        assert_eq!((plan.steps(9), plan.steps(5)), (7, 5));
        plan.begin_step();
        assert_eq!([1, 2, 3].map(|act| plan.does(act)), [true, false, true]);
        assert_eq!(plan.done(), Done { steps: 1, acts: vec![1, 3] });
        assert_eq!(Plan::default().done(), Done::default());
    }
}

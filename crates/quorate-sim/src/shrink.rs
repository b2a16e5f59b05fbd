//! Makes a failing run shorter: first its steps, then its acts, as long as the same invariant fails.

use crate::plan::Done;
use crate::plan::Plan;
use crate::run;
use crate::run::Violation;
use crate::tier::Tier;

/// The shortest failing run that was found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What is left out of the seed's run.
    pub plan: Plan,
    /// What fails.
    pub violation: Violation,
    /// What the whole run did, and what is left of it.
    pub whole: Done,
    /// What the short run does.
    pub left: Done,
    /// Runs that it took.
    pub runs: u64,
}

/// One seed that fails, and the shortest failing part of its run so far.
struct Search<'a> {
    run: &'a dyn Fn(&Plan) -> Option<Violation>,
    runs_max: u64,
    best: Shrunk,
}

/// Shrinks a seed's run; `None` if it does not fail.
pub fn shrink(tier: Tier, seed: u64) -> Option<Shrunk> {
    shrink_by(tier.shrink_runs(), &|plan| run::check_seed(tier, seed, plan, None).err())
}

/// Shrinks what `run` does, with so many runs at the most.
fn shrink_by(runs_max: u64, run: &dyn Fn(&Plan) -> Option<Violation>) -> Option<Shrunk> {
    let plan = Plan::default().recorded();
    let violation = run(&plan)?;
    let whole = plan.done();
    let best = Shrunk { plan: Plan::default(), violation, left: whole.clone(), whole, runs: 1 };
    let mut search = Search { run, runs_max, best };
    search.shorten();
    search.thin_out();
    search.shorten();
    Some(search.best)
}

impl Search<'_> {
    /// Fewest steps, by halving. A run that failed before its end needs no more than it had begun.
    fn shorten(&mut self) {
        let (mut least, mut most) = (0, self.best.left.steps);
        self.fails(self.best.plan.ended_after(most));
        while least < most {
            let middle = least + (most - least) / 2;
            if self.fails(self.best.plan.ended_after(middle)) {
                most = middle;
            } else {
                least = middle + 1;
            }
        }
    }

    /// Fewest acts: leaves out ever smaller parts of them (delta debugging), the last first.
    fn thin_out(&mut self) {
        let mut part = self.best.left.acts.len().div_ceil(2);
        while part > 0 {
            let mut left_out = false;
            let mut end = self.best.left.acts.len();
            while end > 0 && self.best.runs < self.runs_max {
                let begin = end.saturating_sub(part);
                let mut plan = self.best.plan.clone();
                plan.without.extend(self.best.left.acts.iter().skip(begin).take(end - begin));
                left_out |= self.fails(plan);
                // Without some acts, there may be fewer, or others.
                end = begin.min(self.best.left.acts.len());
            }
            if part == 1 && !left_out {
                return;
            }
            part = if left_out { part.min(self.best.left.acts.len()) } else { part / 2 };
            if self.best.runs >= self.runs_max {
                return;
            }
        }
    }

    /// Whether the same fails in this part of the run; then it is the best.
    fn fails(&mut self, plan: Plan) -> bool {
        if self.best.runs >= self.runs_max {
            return false;
        }
        self.best.runs += 1;
        let recorded = plan.recorded();
        let violation = (self.run)(&recorded).filter(|violation| is_same(violation, &self.best.violation));
        let fails = violation.is_some();
        if let Some(violation) = violation {
            let runs = self.best.runs;
            self.best =
                Shrunk { left: recorded.done(), plan, violation, whole: self.best.whole.clone(), runs };
        }
        fails
    }
}

/// The same invariant, or the same place in the source where none is named.
fn is_same(one: &Violation, other: &Violation) -> bool {
    let place = |violation: &Violation| violation.what.rsplit_once(" (").map(|(_, place)| place.to_owned());
    one.invariant() == other.invariant() && (one.invariant() != "panic" || place(one) == place(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of 1000 steps, an act in each, that fails as soon as the acts 100, 250 and 700 were done.
    fn needs_three(plan: &Plan) -> Option<Violation> {
        let mut found = 0;
        for step in 0..plan.steps(1000) {
            plan.begin_step();
            found += u64::from(plan.does(step) && [100, 250, 700].contains(&step));
            if found == 3 {
                return Some(Violation { seed: 1, what: format!("I7: at {step}") });
            }
        }
        // Another failure, which is not to be taken for the one.
        (found == 2).then(|| Violation { seed: 1, what: "I9: two".to_owned() })
    }

    #[test]
    fn only_what_is_needed_is_left() {
        let shrunk = shrink_by(1000, &needs_three).unwrap();
        assert_eq!(shrunk.left, Done { steps: 701, acts: vec![100, 250, 700] });
        assert_eq!((shrunk.whole.steps, shrunk.violation.invariant()), (701, "I7"));
        assert!(shrunk.runs < 200, "{}", shrunk.runs);
        assert_eq!(needs_three(&shrunk.plan).unwrap().invariant(), "I7");
    }

    #[test]
    fn runs_are_bounded_and_what_holds_is_left_alone() {
        let shrunk = shrink_by(10, &needs_three).unwrap();
        assert_eq!((shrunk.runs, shrunk.violation.invariant()), (10, "I7"));
        assert!(shrink_by(10, &|_| None).is_none());
    }

    #[test]
    fn another_panic_is_another_failure() {
        let at = |what: &str| Violation { seed: 1, what: what.to_owned() };
        assert!(is_same(&at("I7: x (a.rs:1)"), &at("I7: y (b.rs:2)")));
        assert!(is_same(&at("oops 1 (a.rs:1)"), &at("oops 2 (a.rs:1)")));
        assert!(!is_same(&at("oops (a.rs:1)"), &at("oops (a.rs:2)")));
    }
}

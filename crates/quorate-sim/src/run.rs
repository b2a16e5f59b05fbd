//! Runs seeds: one, with its trace; or many, on several threads, with counts and the violations they found.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::Once;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::plan::Plan;
use crate::tally::Tally;
use crate::tier::Tier;
use crate::trace::Trace;
use crate::trace::TraceLine;

/// One seed in so many runs twice, to see that it repeats itself.
const REPEAT_EVERY: u64 = 100;
/// Violations after which a search ends by itself.
pub const VIOLATIONS_MAX: usize = 10;

thread_local! {
    /// What the last panic of this thread said; kept by the hook, shown by whoever caught it.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A seed that broke an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The seed.
    pub seed: u64,
    /// The message, which begins with the number of the invariant.
    pub what: String,
}

impl Violation {
    /// The number of the invariant, as in `I7`; `panic` if the product failed by itself.
    pub fn invariant(&self) -> &str {
        let numbered = |word: &&str| {
            word.strip_prefix('I')
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        };
        self.what.split(|c: char| !c.is_ascii_alphanumeric()).find(numbered).unwrap_or("panic")
    }
}

/// What one seed did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What happened, counted.
    pub tally: Tally,
    /// A hash over every step: two runs that differ anywhere differ here.
    pub hash: u64,
    /// How many steps its schedule had.
    pub steps: u64,
    /// How many acts it had: what a [`Plan`] can leave out.
    pub acts: u64,
}

/// Which seeds to run, and when to stop.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// What is simulated.
    pub tier: Tier,
    /// The first seed; the others follow it.
    pub first: u64,
    /// How many seeds; `u64::MAX` for as many as the time allows.
    pub seeds: u64,
    /// For how long at the most; what is under way then is finished.
    pub time: Option<Duration>,
    /// Threads.
    pub jobs: usize,
    /// Stop at this many violations.
    pub violations: usize,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Seeds that ran to their end.
    pub seeds: u64,
    /// Seeds of which a second run did the same.
    pub repeated: u64,
    /// What happened in them, counted.
    pub tally: Tally,
    /// What broke, by seed.
    pub violations: Vec<Violation>,
    /// How long it took.
    pub took: Duration,
}

/// Runs one seed; a broken invariant is a violation. Says nothing on the console.
pub fn check_seed(tier: Tier, seed: u64, plan: &Plan, trace: Option<Trace>) -> Result<Outcome, Violation> {
    keep_panics_quiet();
    catch_unwind(AssertUnwindSafe(|| tier.run(seed, plan, trace)))
        .map_err(|_| Violation { seed, what: LAST_PANIC.with_borrow(String::clone) })
}

/// Panics of simulations are kept as text, since they are expected where a bug is looked for.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text =
                text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
            let at = info.location().map_or(String::new(), |at| format!(" ({}:{})", at.file(), at.line()));
            LAST_PANIC.set(format!("{text}{at}"));
        }));
    });
}

/// The trace of a seed, and what it broke, if it did.
pub fn explain(tier: Tier, seed: u64, plan: &Plan) -> (Vec<TraceLine>, Result<Outcome, Violation>) {
    let trace = Trace::default();
    let outcome = check_seed(tier, seed, plan, Some(trace.clone()));
    let lines = trace.take();
    (lines, outcome)
}

impl Search {
    /// Runs the seeds; `progress` is called now and then with what is known so far.
    pub fn run(&self, progress: impl Fn(&Found) + Sync) -> Found {
        let began = Instant::now();
        let next = AtomicU64::new(self.first);
        let found = Mutex::new(Found::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while !self.is_over(began, &found) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed - self.first >= self.seeds {
                            return;
                        }
                        let outcome = check_twice(self.tier, seed);
                        let mut found = found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                        found.note(seed, outcome);
                        found.took = began.elapsed();
                        progress(&found);
                    }
                });
            }
        });
        let mut found = found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        found.took = began.elapsed();
        found.violations.sort_by_key(|violation| violation.seed);
        found
    }

    fn is_over(&self, began: Instant, found: &Mutex<Found>) -> bool {
        let found = found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        found.violations.len() >= self.violations || self.time.is_some_and(|time| began.elapsed() >= time)
    }
}

impl Found {
    fn note(&mut self, seed: u64, outcome: Result<Outcome, Violation>) {
        self.seeds += 1;
        self.repeated += u64::from(is_repeated(seed));
        match outcome {
            Ok(outcome) => self.tally.add(&outcome.tally),
            Err(violation) => self.violations.push(violation),
        }
    }
}

fn is_repeated(seed: u64) -> bool {
    seed.is_multiple_of(REPEAT_EVERY)
}

/// I20: the same seed does the same again, to the last step.
fn check_twice(tier: Tier, seed: u64) -> Result<Outcome, Violation> {
    let whole = Plan::default();
    let outcome = check_seed(tier, seed, &whole, None)?;
    if is_repeated(seed) && check_seed(tier, seed, &whole, None)? != outcome {
        return Err(Violation { seed, what: "I20: a second run went another way".to_owned() });
    }
    Ok(outcome)
}

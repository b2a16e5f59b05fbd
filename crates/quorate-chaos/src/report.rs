//! What a run did and found.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// Why a run ends before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The servers did what they must not.
    Violation(String),
    /// The run itself does not work here.
    Cannot(String),
}

/// What happened, counted.
#[derive(Default)]
pub(crate) struct Tally {
    counts: Mutex<BTreeMap<String, u64>>,
    longest: Mutex<BTreeMap<&'static str, Duration>>,
}

impl Tally {
    pub(crate) fn add(&self, what: &str) {
        self.add_many(what, 1);
    }

    pub(crate) fn add_many(&self, what: &str, count: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what.to_owned()).or_default() += count;
    }

    /// Notes how long something took, if nothing took longer.
    pub(crate) fn longest(&self, what: &'static str, took: Duration) {
        let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = longest.entry(what).or_default();
        *known = took.max(*known);
    }

    pub(crate) fn count(&self, what: &str) -> u64 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).get(what).copied().unwrap_or(0)
    }

    /// All counts that begin with this, together.
    pub(crate) fn sum(&self, prefix: &str) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().filter(|(what, _)| what.starts_with(prefix)).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in self.counts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            writeln!(f, "{count:>10}  {what}")?;
        }
        for (what, took) in self.longest.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            writeln!(f, "{:>8.1} s  {what}", took.as_secs_f64())?;
        }
        Ok(())
    }
}

//! What happened in a run, line by line, with enough beside each line to lay a timeline out.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// The lines of a run; shared, so that they survive a panic.
pub type Trace = Rc<RefCell<Vec<TraceLine>>>;

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// Simulated microseconds since the run began.
    pub at_us: u64,
    /// Whom it happened to; `None` for the cluster as a whole.
    pub node: Option<u64>,
    /// What that node was by then, where the tier can tell.
    pub look: Option<Look>,
    /// What happened. It names its nodes, so that it can be read alone.
    pub text: String,
}

/// A node as a timeline shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Microseconds on the node's own clock.
    pub clock_us: u64,
    /// What it is to the others, in a word: `leader`, `follower`, …, or `down`.
    pub role: &'static str,
    /// The term of its vote.
    pub term: u64,
    /// How many entries it knows to be committed.
    pub commit: u64,
}

impl fmt::Display for TraceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10.3} ms  {}", self.at_us as f64 / 1000.0, self.text)
    }
}

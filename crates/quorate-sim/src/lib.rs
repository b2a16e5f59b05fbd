//! A simulated cluster: replicas over disks that lose what was not flushed and a network that does what it is told,
//! watched by an observer that knows everything.
//!
//! Every effect is a step of its own (one write, one flush, one message), so a schedule can put a crash between any
//! two. A schedule is a script ([`script`]), a test that calls a [`Cluster`], or a seed ([`run`]). What must hold is
//! asserted after every step, and the assertion begins with the number of the invariant: a violation is a panic.

// It is a test from one end to the other: a panic is how it reports, and its parts are read rather than called.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod actions;
pub mod bars;
pub mod client;
pub mod cluster;
pub mod deliver;
pub mod dice;
pub mod ghost;
pub mod mutants;
pub mod node;
pub mod quorum;
pub mod run;
pub mod script;
pub mod tally;
pub mod wire;

mod acts;
mod swarm;

pub use cluster::Cluster;
pub use wire::Adv;
pub use wire::Ids;
pub use wire::Std;

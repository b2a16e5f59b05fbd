//! The simulator: clusters in one thread, from one seed, watched by an observer that knows everything.
//!
//! [`tier_a`] runs the core alone. A schedule is a script ([`tier_a::script`]), a test that calls a
//! [`tier_a::Cluster`], or a seed ([`run`]). What must hold is asserted after every step, and the assertion begins with
//! the number of the invariant: a violation is a panic.

// It is a test from one end to the other: a panic is how it reports.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod dice;
pub mod ids;
pub mod invariants;
#[allow(missing_docs, reason = "the fields say what they are")]
pub mod linearizability;
pub mod mutants;
pub mod plan;
pub mod run;
pub mod shrink;
pub mod tally;
pub mod tier;
#[allow(missing_docs, reason = "its parts are read rather than called")]
pub mod tier_a;
#[cfg(feature = "library")]
#[allow(missing_docs, reason = "its parts are read rather than called")]
pub mod tier_b;
#[cfg(feature = "library")]
#[allow(missing_docs, reason = "its parts are read rather than called")]
pub mod tier_s;
pub mod timeline;
pub mod trace;

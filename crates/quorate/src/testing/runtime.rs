//! What a runtime must do for a node, as tests for people's own runtimes.

pub use quorate_rt::testing::Suite;

//! A simulated cluster: replicas over disks that lose what was not flushed and a network that does what it is told,
//! watched by an observer that knows everything.
//!
//! Every effect is a step of its own (one write, one flush, one message), so a test can put a crash between any two.

// Each test crate uses its own part of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

pub mod actions;
pub mod bars;
pub mod client;
pub mod cluster;
pub mod deliver;
pub mod dice;
pub mod ghost;
pub mod node;
pub mod script;
pub mod wire;

pub use cluster::Cluster;
pub use wire::Adv;
pub use wire::Ids;
pub use wire::Std;

//! The application that the guide of `quorate` builds, step by step: a replicated key-value store in one process.
//!
//! The guide (`quorate::docs::getting_started`) shows these files as they are, and its other chapters run their
//! examples on [`Cluster`].
#![forbid(unsafe_code)]

// So that the guide can show these files as programs that compile outside of this crate, too.
extern crate self as quorate_guide;

mod cluster;
mod log_store;
mod network;
mod state_machine;
mod types;

pub use cluster::Cluster;
pub use log_store::LogStore;
pub use network::{Connection, Network, Router};
pub use state_machine::StateMachine;
pub use types::{Node, Set, Types};

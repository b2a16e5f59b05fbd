//! What a node does, in sentences: over stores in memory and a network of function calls, on a paused clock.
#![cfg(not(feature = "single-threaded"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(unreachable_pub, reason = "shared by the modules of one test binary, or of two")]

mod broken_stores;
mod calls;
mod changes;
mod cluster;
mod compaction;
mod doors;
mod elections;
mod everyday;
mod failures;
mod following;
mod hangs;
mod inspecting;
mod leading;
mod looking;
mod membership;
mod messages;
mod metrics;
mod network;
mod reads;
mod recorder;
mod replication;
mod restarts;
mod settings;
mod single_steps;
mod snapshots;
mod startup;
#[cfg(feature = "runtime-stats")]
mod stats;
mod stores;
mod suite;
mod table;
#[allow(dead_code, reason = "the polls are counted elsewhere")]
#[path = "../custom/thin.rs"]
mod thin;
mod threads;
mod triggers;
mod votes;
mod watching;
mod writes;

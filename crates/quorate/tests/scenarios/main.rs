//! Schedules that broke other implementations, played against the whole library: those of the numbered scenarios that
//! take more than the core. `crates/quorate-sim/SCENARIOS.md` lists all of them, with the text scripts.
#![cfg(not(feature = "single-threaded"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(unreachable_pub, reason = "shared by the modules of one test binary, or of two")]

#[allow(dead_code, reason = "each of the two test binaries uses a part")]
#[path = "../behaviour/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "each of the two test binaries uses a part")]
#[path = "../behaviour/network.rs"]
mod network;
#[allow(dead_code, reason = "each of the two test binaries uses a part")]
#[path = "../behaviour/stores.rs"]
mod stores;
#[allow(dead_code, reason = "the polls are counted elsewhere")]
#[path = "../custom/thin.rs"]
mod thin;

mod clients;
mod combined;
mod compaction;
mod load;
mod logs;
mod restarts;
mod transfers;

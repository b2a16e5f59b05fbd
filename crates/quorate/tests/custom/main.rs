//! Types of one's own, everywhere: clusters that live on them, on a paused clock.
#![cfg(not(feature = "single-threaded"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(unreachable_pub, reason = "shared by the modules of one test binary")]

mod life;
mod names;
mod numbers;
mod own;
mod seats;
mod seeds;
mod thin;
mod wakes;
mod world;

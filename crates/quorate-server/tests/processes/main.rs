//! The command `quorate` as an operator meets it: real processes, real disks, real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bad_input;
mod cluster;
mod commands;
mod disasters;
mod life;

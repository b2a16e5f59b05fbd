//! The Raft protocol as a pure, synchronous value.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bounds;
pub mod ids;

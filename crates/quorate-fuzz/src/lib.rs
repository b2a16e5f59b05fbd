//! Fuzz targets: one function for each decoder of what comes from a wire, a disk or an operator, and two in which nodes
//! talk with a peer that lies.
//!
//! A target takes any bytes and panics where the product breaks a promise: what is not understood is a typed error and
//! never a panic, memory is set aside for what is there and not for what is claimed, and what was read is read the same
//! when it is written again. The same functions run in `fuzz/` under a fuzzer, which looks for inputs, and in this
//! crate's tests, which run every input of `corpus/` and some thousands that are made of them.
//!
//! An input that once broke something stays in the corpus under a name that tells of it. The files named `seed-…` are
//! what [`seeds`] writes with the encoders of today.

// It is a test from one end to the other: a panic is how it reports.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![forbid(unsafe_code)]

pub mod conversation;
pub mod dice;
pub mod family;
pub mod input;
pub mod log;
pub mod node;
pub mod patches;
pub mod raft;
pub mod seeds;
pub mod server;
pub mod types;
pub mod wire;

/// One fuzz target.
pub struct Target {
    /// Its name: of its file in `fuzz/fuzz_targets`, and of its folder in `corpus`.
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// The memory in bytes that one input may hold at a time: twice the limit that the code declares for such input.
    pub memory_max: usize,
    /// How many mutations of each file of the corpus the tests try: fewer where an input takes long.
    pub mutants: u32,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const fn target(name: &'static str, run: fn(&[u8]), memory_max: usize, mutants: u32) -> Target {
    Target { name, run, memory_max, mutants }
}

pub const TARGETS: &[Target] = &[
    target("wire_append", wire::append, MIB, 3000),
    target("wire_message", wire::message, MIB, 2000),
    target("wire_snapshot", wire::snapshot, MIB, 2000),
    target("wire_hello", wire::hello, MIB, 3000),
    target("wire_handshake", wire::handshake, MIB, 500),
    target("wire_call", wire::call, MIB, 2000),
    target("log_codec", log::codec, MIB, 3000),
    target("log_directory", log::directory, 8 * MIB, 40),
    target("log_votes", log::votes, 8 * MIB, 60),
    target("snapshot_file", log::snapshot, 4 * MIB, 100),
    target("snapshot_content", node::snapshot_content, 8 * MIB, 1000),
    target("node_identity", node::identity, MIB, 3000),
    target("node_call", node::call, MIB, 3000),
    target("node_entries", node::entries, 8 * MIB, 1000),
    target("server_config", server::config, MIB, 300),
    target("server_request", server::request, MIB, 2000),
    target("family_forms", family::forms, MIB, 1000),
    target("family_chunk", family::chunk, MIB, 2000),
    target("conversation", conversation::run, 8 * MIB, 300),
    target("raft_doors", raft::doors, 16 * MIB, 30),
];

/// The target of this name.
pub fn target_named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

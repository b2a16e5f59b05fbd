//! The guide: how to build an application on this library, and why things are the way they are.
//!
//! These modules hold text alone. Every example in them is compiled and, but for a few that say so, run by the tests of
//! this library; where one begins with a running cluster, that is the cluster of [`getting_started`].
//!
//! **Begin here**
//!
//! - [`getting_started`]: a replicated key-value store, step by step
//! - [`cluster_formation`]: from empty nodes to a cluster; restarting; starting over
//! - [`coming_from_openraft`]: what is the same, and what is better, name by name
//!
//! **Using a cluster**
//!
//! - [`writing`]: responders, pipelining, retries, and writes whose outcome is unknown
//! - [`linearizable_reads`]: reading what was written, on any node
//! - [`dynamic_membership`]: adding, removing and replacing nodes
//! - [`leadership_transfer`]: choosing who leads
//! - [`snapshots`]: cutting the log short
//! - [`errors`]: what each one means, and what to do
//!
//! **Bringing your parts**
//!
//! - [`storage_contract`]: what the library relies on in a log store and a state machine
//! - [`network_contract`]: what it relies on in a network
//! - [`runtime`]: other async runtimes; a single thread
//! - [`testing`]: the suites for stores and networks; testing an application
//!
//! **Running it**
//!
//! - [`configuration`]: every setting, and how to tune
//! - [`monitoring`]: metrics, waits, watches, recorders
//! - [`upgrading`]: from older versions and other formats
//! - [`faq`]: questions and answers
//!
//! **How it works**
//!
//! - [`log_pointers`]: committed, applied, flushed, purged: who is ahead of whom
//! - [`vote_and_leader_id`]: one leader per term, or several; your own leader id
//! - [`extended_joint_membership`] and [`single_step_membership`]: which change may follow which

/// Builds a replicated key-value store, step by step, and runs it on three nodes.
///
#[doc = include_str!("../docs/getting_started/1_types.md")]
#[doc = "```"]
#[doc = include_str!("../docs/app/types.rs")]
#[doc = "```"]
#[doc = include_str!("../docs/getting_started/2_log_store.md")]
#[doc = "```"]
#[doc = include_str!("../docs/app/log_store.rs")]
#[doc = "```"]
#[doc = include_str!("../docs/getting_started/3_state_machine.md")]
#[doc = "```"]
#[doc = include_str!("../docs/app/state_machine.rs")]
#[doc = "```"]
#[doc = include_str!("../docs/getting_started/4_network.md")]
#[doc = "```"]
#[doc = include_str!("../docs/app/network.rs")]
#[doc = "```"]
#[doc = include_str!("../docs/getting_started/5_run.md")]
pub mod getting_started {}

#[doc = include_str!("../docs/cluster_formation.md")]
pub mod cluster_formation {}

#[doc = include_str!("../docs/writing.md")]
pub mod writing {}

#[doc = include_str!("../docs/linearizable_reads.md")]
pub mod linearizable_reads {}

#[doc = include_str!("../docs/dynamic_membership.md")]
pub mod dynamic_membership {}

#[doc = include_str!("../docs/leadership_transfer.md")]
pub mod leadership_transfer {}

#[doc = include_str!("../docs/snapshots.md")]
pub mod snapshots {}

#[doc = include_str!("../docs/storage_contract.md")]
pub mod storage_contract {}

#[doc = include_str!("../docs/network_contract.md")]
pub mod network_contract {}

#[doc = include_str!("../docs/runtime.md")]
pub mod runtime {}

#[doc = include_str!("../docs/log_pointers.md")]
pub mod log_pointers {}

#[doc = include_str!("../docs/vote_and_leader_id.md")]
pub mod vote_and_leader_id {}

#[doc = include_str!("../docs/extended_joint_membership.md")]
pub mod extended_joint_membership {}

#[doc = include_str!("../docs/single_step_membership.md")]
pub mod single_step_membership {}

#[doc = include_str!("../docs/configuration.md")]
pub mod configuration {}

#[doc = include_str!("../docs/monitoring.md")]
pub mod monitoring {}

#[doc = include_str!("../docs/errors.md")]
pub mod errors {}

#[doc = include_str!("../docs/upgrading.md")]
pub mod upgrading {}

#[doc = include_str!("../docs/faq.md")]
pub mod faq {}

#[doc = include_str!("../docs/coming_from_openraft.md")]
pub mod coming_from_openraft {}

#[doc = include_str!("../docs/testing.md")]
pub mod testing {}

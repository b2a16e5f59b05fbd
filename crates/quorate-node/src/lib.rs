//! The front door: bring one state machine, get a replicated service.
//!
//! Write what a command does to your state, and how the state is written to a file and read back. The rest is here:
//! a durable log, elections, replication, snapshots, a transport between the nodes, and the forwarding of every
//! request to whoever leads. This is a whole replicated counter:
//!
//! ```
//! use std::io::{self, Read, Write};
//! use quorate_node::{Node, StateMachine};
//!
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     type Command = u64;
//!     type Response = u64;
//!     type Frozen = u64;
//!     fn apply(&mut self, _index: u64, add: u64) -> u64 {
//!         self.0 += add;
//!         self.0
//!     }
//!     fn freeze(&self) -> u64 {
//!         self.0
//!     }
//!     fn write_snapshot(count: u64, out: &mut dyn Write) -> io::Result<()> {
//!         out.write_all(&count.to_le_bytes())
//!     }
//!     fn read_snapshot(&self, input: &mut dyn Read) -> io::Result<Self> {
//!         let mut count = [0; 8];
//!         input.read_exact(&mut count)?;
//!         Ok(Self(u64::from_le_bytes(count)))
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let dir = tempfile::tempdir()?;
//!     let one = Node::<Counter>::builder(1, dir.path().join("1"), "127.0.0.1:0").found().start(Counter(0)).await?;
//!     let addr = &one.member().peer_addr;
//!     let two = Node::<Counter>::builder(2, dir.path().join("2"), "127.0.0.1:0").join(addr).start(Counter(0)).await?;
//!     one.propose(40).await?;
//!     assert_eq!(two.propose(2).await?, 42);
//!     assert_eq!(two.read(|counter| counter.0).await?, 42);
//!     two.shutdown().await;
//!     one.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! # What to know
//!
//! - **Any node takes any request.** It asks the leader on your behalf, follows it when it changes, and retries for as
//!   long as that is safe and in time.
//! - **An error tells whether the command may have been applied.** [`ProposeError::NotAccepted`] and its kin are safe
//!   to retry; after [`ProposeError::OutcomeUnknown`], look first.
//! - **Reads are linearizable** on every node ([`Node::read`]); [`Node::read_stale`] does without the network.
//! - **A joined node is a learner.** It counts for nothing until [`Node::promote`] makes it a voter, which is refused
//!   until it has caught up. Three or five voters are what most clusters want.
//! - **Who a node is lives in its data directory**: an id that is never used twice, and a random uid. A node that
//!   comes back with an empty disk is not the node that it was, and is told so.
//! - **What the state machine does must depend on the commands alone**; see [`StateMachine`].
//!
//! Nodes must be started inside of a Tokio runtime with time and I/O enabled, on several threads for anything serious.
#![forbid(unsafe_code)]
// What the simulator uses can be reached with the feature `testing` only.
#![cfg_attr(not(feature = "testing"), allow(unreachable_pub))]

mod ask;
mod builder;
mod command;
mod config;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod decoders;
mod error;
mod forward;
mod identity;
mod inner;
mod join;
mod lanes;
mod leadership;
mod limits;
mod listen;
mod machine;
mod member;
mod members;
mod node;
mod place;
mod plan;
mod read;
mod roster;
mod service;
mod shared;
mod snapshots;
mod start;
mod state_machine;
mod status;
mod storage;
mod supervise;

pub use builder::Builder;
pub use error::{
    ConfigError, InitError, JoinError, MembershipError, NotAccepted, OutcomeUnknown, ProposeError, ReadError,
    StartError, StopReason,
};
pub use leadership::{Leader, LeadershipWatch};
pub use member::{ClusterId, Member, NodeId, Uid};
pub use node::Node;
pub use state_machine::StateMachine;
pub use status::{MemberKind, MemberStatus, Members, PeerCounters, Role, Status, Tombstone};

/// What a node keeps its state in, for the simulator.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing {
    pub use crate::command::{Command, Reply, decode, encode};
    pub use crate::config::NodeTypes;
    pub use crate::machine::Machine;
    pub use crate::shared::{Position, Roll, Shared};
    pub use crate::snapshots::{SnapshotFile, Snapshots, Stored};
}

/// The README's example is compiled and run like any other.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

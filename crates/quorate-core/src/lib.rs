//! The Raft protocol as a pure, synchronous value.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bounds;
pub mod ids;
pub mod log;
pub mod membership;
pub mod message;
pub mod options;
pub mod quorum;
pub mod work;

mod compact;
mod election;
mod follower;
mod leader;
mod progress;
mod read;
mod reconfigure;
mod replica;
mod replication;
mod transfer;

pub use election::InitializeRefusal;
pub use follower::Appended;
pub use follower::Install;
pub use leader::Leader;
pub use leader::Refusal;
pub use membership::Membership;
pub use membership::Placed;
pub use options::Options;
pub use options::Time;
pub use progress::Mode;
pub use progress::Progress;
pub use read::Read;
pub use reconfigure::ChangeRefusal;
pub use replica::Broken;
pub use replica::Replica;
pub use replica::ServerState;
pub use replica::Stored;

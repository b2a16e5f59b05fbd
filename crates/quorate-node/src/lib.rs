//! The front door: bring one state machine, get a replicated service.

mod ask;
mod builder;
mod command;
mod config;
mod error;
mod forward;
mod identity;
mod inner;
mod join;
mod leadership;
mod limits;
mod listen;
mod machine;
mod member;
mod members;
mod node;
mod plan;
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
pub use status::{MemberKind, MemberStatus, Members, Role, Status, Tombstone};

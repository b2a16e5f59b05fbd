//! The front door: bring one state machine, get a replicated service.

mod builder;
mod command;
mod error;
mod identity;
mod leadership;
mod limits;
mod listen;
mod member;
mod node;
mod plan;
mod state_machine;
mod status;

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

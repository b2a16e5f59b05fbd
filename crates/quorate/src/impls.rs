//! The types that [`declare_raft_types!`](crate::declare_raft_types) fills in, and others to choose.

pub use crate::batch::InlineBatch;
pub use crate::entry::Entry;
pub use crate::entry::EntryPayload;
pub use crate::errors::BoxedErrorSource;
pub use crate::log_id::LogId;
pub use crate::node::BasicNode;
pub use crate::node::EmptyNode;
pub use crate::node::NodeInfo;
pub use crate::responder::OneshotResponder;
pub use crate::responder::ProgressResponder;
pub use crate::vote::Vote;
pub use crate::vote::leader_id_adv;
pub use crate::vote::leader_id_std;
#[cfg(feature = "tokio-rt")]
#[deprecated(note = "depend on `quorate-rt-tokio`")]
pub use quorate_rt_tokio::TokioRuntime;

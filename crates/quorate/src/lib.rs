//! Raft consensus: a log that a group of nodes agree on, applied to a state machine on each.
//!
//! An application chooses its types with [`declare_raft_types!`] and brings a log store ([`RaftLogStorage`]), a
//! state machine ([`RaftStateMachine`]) and a network ([`RaftNetworkFactory`]). What it gets is a [`Raft`], the handle of a
//! node.
//!
//! **[The guide](docs)** builds an application [step by step](docs::getting_started), and explains everything else, from
//! [writing](docs::writing) and [reading](docs::linearizable_reads) to the contracts for [stores](docs::storage_contract)
//! and [networks](docs::network_contract), with a page of [questions](docs::faq) and one for those who are
//! [coming from openraft](docs::coming_from_openraft).
//!
//! [`RaftLogStorage`]: storage::RaftLogStorage
//! [`RaftStateMachine`]: storage::RaftStateMachine
#![forbid(unsafe_code)]

mod declare;
mod removed_features;

mod append_membership;
mod backoff;
pub mod base;
pub mod batch;
mod boot;
mod change;
mod change_members;
mod client;
mod clients;
#[cfg(feature = "compat")]
pub mod compat;
mod config;
mod counting;
mod deprecated;
mod display;
// Its examples run on tokio as it usually is, without the `LocalSet` that a single thread takes.
#[cfg(not(all(doctest, feature = "single-threaded")))]
pub mod docs;
mod doors;
mod driver;
pub mod entry;
pub mod errors;
mod extensions;
mod host;
pub mod impls;
mod inspect;
mod leader;
mod leader_change;
pub mod log_id;
#[cfg(feature = "runtime-stats")]
mod log_stages;
mod loops;
pub mod membership;
pub mod metrics;
pub mod network;
mod node;
mod peer;
mod progress;
mod publish;
pub mod raft;
mod raft_state;
mod read;
mod recording;
mod responder;
mod rpc;
mod runtime_config;
mod signal;
#[cfg(feature = "runtime-stats")]
pub mod stats;
pub mod storage;
pub mod testing;
mod trigger;
pub mod type_config;
mod types;
pub mod vote;
mod waiters;
mod waiting_reads;
mod write;
mod write_many;

/// The former name of [`errors`].
#[deprecated(note = "use `errors`")]
pub mod error {
    pub use crate::errors::*;
}

pub extern crate quorate_macros as macros;
pub extern crate quorate_rt as rt;

pub use anyerror;
pub use anyerror::AnyError;
#[deprecated(note = "use `macros`")]
pub use quorate_macros as openraft_macros;
pub use quorate_macros::add_async_trait;
pub use quorate_rt::AsyncRuntime;
pub use quorate_rt::Instant;
pub use quorate_rt::WatchSender;
#[cfg(feature = "tokio-rt")]
#[deprecated(note = "depend on `quorate-rt-tokio`")]
pub use quorate_rt_tokio::TokioInstant;
#[cfg(feature = "tokio-rt")]
#[deprecated(note = "depend on `quorate-rt-tokio`")]
pub use quorate_rt_tokio::TokioRuntime;

pub use crate::base::AppData;
pub use crate::base::AppDataResponse;
pub use crate::base::OptionalSend;
pub use crate::base::OptionalSerde;
pub use crate::base::OptionalSync;
pub use crate::base::TryAsRef;
pub use crate::change_members::ChangeMembers;
pub use crate::client::LinearizerOption;
pub use crate::client::Precondition;
pub use crate::client::ReadPolicy;
pub use crate::config::Config;
pub use crate::config::ConfigError;
pub use crate::config::SnapshotPolicy;
pub use crate::config::StepDownPolicy;
#[expect(deprecated, reason = "kept for those who still use it")]
pub use crate::deprecated::RaftNetwork;
#[expect(deprecated, reason = "kept for those who still use it")]
pub use crate::deprecated::SnapshotSegmentId;
pub use crate::display::MessageSummary;
pub use crate::entry::Entry;
pub use crate::entry::EntryPayload;
pub use crate::errors::ErrorSubject;
pub use crate::errors::ErrorVerb;
pub use crate::errors::StorageError;
#[expect(deprecated, reason = "kept for those who still use it")]
pub use crate::errors::StorageIOError;
pub use crate::errors::ToStorageResult;
pub use crate::extensions::Extensions;
pub use crate::log_id::LogId;
pub use crate::log_id::LogIdOptionExt;
pub use crate::log_id::LogIndexOptionExt;
pub use crate::membership::Membership;
pub use crate::membership::MembershipState;
pub use crate::membership::StoredMembership;
pub use crate::metrics::RaftMetrics;
pub use crate::network::RPCTypes;
pub use crate::network::RaftNetworkFactory;
pub use crate::network::RaftNetworkV2;
pub use crate::node::BasicNode;
pub use crate::node::EmptyNode;
pub use crate::node::Node;
pub use crate::node::NodeId;
pub use crate::node::NodeInfo;
pub use crate::raft::Raft;
pub use crate::raft::WatchChangeHandle;
pub use crate::raft_state::RaftState;
pub use crate::storage::LogState;
pub use crate::storage::RaftLogReader;
pub use crate::storage::RaftSnapshotBuilder;
pub use crate::storage::StorageHelper;
pub use crate::type_config::RaftTypeConfig;
#[cfg(feature = "type-alias")]
pub use crate::type_config::alias;
pub use crate::type_config::async_runtime;
pub use crate::types::ServerState;
pub use crate::types::Snapshot;
pub use crate::types::SnapshotId;
pub use crate::types::SnapshotMeta;
pub use crate::vote::Vote;

// What the library itself calls it.
use quorate_rt as runtime;

//! A key-value store that stays on one thread: no `Arc`, no lock, and data that is not `Send`.
//!
//! The feature `single-threaded` takes `Send` and `Sync` out of the library's traits. On tokio, its tasks are then local
//! ones: they need a `LocalSet`.
#![forbid(unsafe_code)]

use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;
use std::rc::Rc;

use openraft::Config;

mod network;
mod store;

pub use network::Router;
pub use store::LogStore;
pub use store::StateMachine;

/// What names a node.
pub type NodeId = u64;

/// A node of the cluster. It cannot leave its thread either.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

openraft::declare_raft_types!(
    /// The types of the store.
    pub TypeConfig:
        D = Request,
        R = Response,
        Node = (),
);

/// Gives a key a value. Both are shared by all who hold them, on this one thread.
#[derive(Debug, Clone)]
pub struct Request {
    /// The key.
    pub key: Rc<str>,
    /// Its value from now on.
    pub value: Rc<str>,
}

impl Request {
    /// Gives `key` the value `value`.
    pub fn set(key: &str, value: &str) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

impl Display for Request {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "set {} to {}", self.key, self.value)
    }
}

/// The value that the key had before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response(pub Option<Rc<str>>);

/// Starts a node, which other nodes reach by `router`; returns it with its map.
///
/// Fails if the settings contradict each other, or the stores themselves; these are in memory and new.
pub async fn start(id: NodeId, router: &Router) -> Result<(Raft, StateMachine), Box<dyn std::error::Error>> {
    // The library itself asks for an `Arc` here: the same type with and without the feature.
    let config = std::sync::Arc::new(Config::default().validate()?);
    let machine = StateMachine::default();
    let raft = Raft::new(id, config, router.clone(), LogStore::default(), machine.clone()).await?;
    router.connect(id, raft.clone());
    Ok((raft, machine))
}

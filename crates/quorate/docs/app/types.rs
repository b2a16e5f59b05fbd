//! What is written, what comes back, and the types that everything else is built from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A write: this key gets this value. It is an entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// The key.
    pub key: String,
    /// Its new value.
    pub value: String,
}

impl Set {
    /// `key` gets `value`.
    pub fn new(key: impl ToString, value: impl ToString) -> Self {
        Self { key: key.to_string(), value: value.to_string() }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

quorate::declare_raft_types!(
    /// The types of the key-value store.
    pub Types:
        D = Set,
        // The answer to a write: what the key held before.
        R = Option<String>,
);

/// A node of the cluster.
pub type Node = quorate::Raft<Types, quorate_guide::StateMachine>;

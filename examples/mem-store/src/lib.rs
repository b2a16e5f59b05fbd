//! What the examples keep their data in: a log store and a key-value state machine, both in memory.
#![forbid(unsafe_code)]

use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;

use serde::Deserialize;
use serde::Serialize;

mod log_store;
mod state_machine;

pub use log_store::LogStore;
pub use state_machine::StateMachine;

openraft::declare_raft_types!(
    /// The types of a key-value store. What is not named is what most applications use: ids are `u64`, nodes have an
    /// address, entries and votes are those of the library.
    pub TypeConfig:
        D = Request,
        R = Response,
        Node = openraft::BasicNode,
);

/// What a client wants done to the map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Gives a key a value.
    Set {
        /// The key.
        key: String,
        /// Its value from now on.
        value: String,
    },
}

impl Request {
    /// Gives `key` the value `value`.
    pub fn set(key: impl ToString, value: impl ToString) -> Self {
        Self::Set { key: key.to_string(), value: value.to_string() }
    }
}

impl Display for Request {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { key, value } => write!(f, "set {key} to {value}"),
        }
    }
}

/// What the map answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The value that the key has now. There is none in the answer to an entry of the library's own.
    pub value: Option<String>,
}

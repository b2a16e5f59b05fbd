//! Who a node is on the wire, and what the transport asks of the node that it serves.

use std::fmt;
use std::io;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::error::HandshakeError;

/// This node, as it introduces itself to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node id, in its `Display` form.
    pub node_id: String,
    /// Names the data directory: random, made when it was formatted, never changed.
    pub uid: u128,
    /// Grows durably with each start on that data directory, so that a copy of it can be told from the original.
    pub incarnation: u64,
    /// Where others reach this node; told to an operator when two nodes claim one id.
    pub address: String,
}

/// A node on the other end of a connection, as it introduced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its node id, in `Display` form.
    pub node_id: String,
    /// Its data directory.
    pub uid: u128,
    /// Which start on that data directory.
    pub incarnation: u64,
    /// Which process; random for each.
    pub boot: u128,
    /// Where it says that it can be reached.
    pub address: String,
}

/// A node id, with the uid where it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeTag {
    /// The node id, in its `Display` form.
    pub node_id: String,
    /// The uid of its data directory, if known.
    pub uid: Option<u128>,
}

impl fmt::Display for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "node {} ({uid:032x})", self.node_id),
            None => write!(f, "node {}", self.node_id),
        }
    }
}

/// What a membership says of a node id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: the id is in no membership that this node has seen, which may just lag.
    Unknown,
    /// It is a member.
    Member {
        /// The uid that the membership holds for it, if it holds uids.
        uid: Option<u128>,
    },
    /// It was a member, and has been removed for good.
    Removed {
        /// The uid that it had, if the membership holds uids.
        uid: Option<u128>,
        /// The log index of the membership that left it out.
        index: u64,
    },
}

/// What the transport asks of the node that it serves. Called often; must neither block nor wait.
pub trait Roster: Send + Sync + 'static {
    /// The cluster this node belongs to; `None` until it founded or joined one.
    fn cluster_id(&self) -> Option<u128>;

    /// What the newest known membership says of `node_id` (in `Display` form).
    fn standing(&self, node_id: &str) -> Standing;

    /// Makes `cluster_id` the cluster of this node, durably, before the returned future is done.
    ///
    /// Called when this node belongs to no cluster and a member addresses it by its id and uid.
    ///
    /// # Errors
    /// What kept it from being stored; the connection is then refused.
    fn adopt_cluster(&self, cluster_id: u128) -> BoxFuture<'_, io::Result<()>>;

    /// The node at `address` refused this one. Told once per refused connection, for a node that wants to act on it,
    /// such as one that learns of its removal.
    fn refused(&self, address: &str, error: &HandshakeError) {
        let _ = (address, error);
    }
}

/// How the transport finds a node in what the membership keeps of it.
pub trait PeerAddress {
    /// Where it is reached, `host:port`.
    fn peer_address(&self) -> String;

    /// The uid of its data directory. `None` if the membership keeps none: then only its id is checked.
    fn uid(&self) -> Option<u128> {
        None
    }
}

impl PeerAddress for quorate::BasicNode {
    fn peer_address(&self) -> String {
        self.addr.clone()
    }
}

//! What is kept of a node besides its id.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;

pub use quorate_core::ids::NodeId;

use crate::base::OptionalFeatures;

/// What a membership keeps of a node, such as its address.
pub trait Node: OptionalFeatures + Eq + PartialEq + Debug + Clone + 'static {}
impl<T> Node for T where T: OptionalFeatures + Eq + PartialEq + Debug + Clone + 'static {}

/// A node of which the id says it all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EmptyNode {}

impl EmptyNode {
    /// The only one there is.
    pub fn new() -> Self {
        Self {}
    }
}

impl Display for EmptyNode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("{}")
    }
}

/// A node and where to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BasicNode {
    /// The address, in whatever form the network understands.
    pub addr: String,
}

impl BasicNode {
    /// The node at `addr`.
    pub fn new(addr: impl ToString) -> Self {
        Self { addr: addr.to_string() }
    }
}

impl Default for BasicNode {
    fn default() -> Self {
        Self { addr: "localhost".to_string() }
    }
}

impl Display for BasicNode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.addr)
    }
}

/// A node, where its peers reach it, and what the application keeps with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeInfo {
    /// Where peers reach it.
    pub raft_addr: String,
    /// What the application keeps with it.
    pub data: String,
}

impl NodeInfo {
    /// The node at `raft_addr`.
    pub fn new(raft_addr: impl ToString, data: impl ToString) -> Self {
        Self { raft_addr: raft_addr.to_string(), data: data.to_string() }
    }
}

impl Default for NodeInfo {
    fn default() -> Self {
        Self::new("localhost", "")
    }
}

impl Display for NodeInfo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "raft_addr: {}, data: {}", self.raft_addr, self.data)
    }
}

/// What can be given where nodes by id are asked for.
pub trait IntoNodes<NID: NodeId, N: Node> {
    /// The nodes by id.
    fn into_nodes(self) -> BTreeMap<NID, N>;
}

impl<NID: NodeId, N: Node> IntoNodes<NID, N> for () {
    fn into_nodes(self) -> BTreeMap<NID, N> {
        BTreeMap::new()
    }
}

impl<NID: NodeId> IntoNodes<NID, ()> for BTreeSet<NID> {
    fn into_nodes(self) -> BTreeMap<NID, ()> {
        self.into_iter().map(|id| (id, ())).collect()
    }
}

impl<NID: NodeId> IntoNodes<NID, EmptyNode> for BTreeSet<NID> {
    fn into_nodes(self) -> BTreeMap<NID, EmptyNode> {
        self.into_iter().map(|id| (id, EmptyNode::new())).collect()
    }
}

impl<NID: NodeId, N: Node> IntoNodes<NID, N> for BTreeMap<NID, N> {
    fn into_nodes(self) -> BTreeMap<NID, N> {
        self
    }
}

impl<NID: NodeId, N: Node> IntoNodes<NID, N> for HashMap<NID, N> {
    fn into_nodes(self) -> BTreeMap<NID, N> {
        self.into_iter().collect()
    }
}

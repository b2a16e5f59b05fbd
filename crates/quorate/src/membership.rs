//! Who belongs to a cluster: voters in one or more configurations, and learners.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;
use std::sync::Arc;

pub use crate::change_members::ChangeMembers;
use crate::display::Opt;
use crate::display::comma_separated;
use crate::errors::EmptyMembership;
use crate::errors::MembershipError;
use crate::errors::NodeNotFound;
use crate::errors::Operation;
use crate::log_id::LogId;
pub use crate::node::IntoNodes;
use crate::node::Node;
use crate::node::NodeId;
use crate::vote::RaftCommittedLeaderId;

/// The members of a cluster.
///
/// Voters are in at least one of the configurations. A change from one voter set to another goes through a joint
/// membership that holds both, and in which a quorum is a majority of each (thesis §4.3). A node in no
/// configuration is a learner: it receives the log and does not vote.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct Membership<NID: NodeId, N: Node> {
    configs: Vec<BTreeSet<NID>>,
    nodes: BTreeMap<NID, N>,
}

impl<NID: NodeId, N: Node> Membership<NID, N> {
    /// The membership with these voter configurations, of `nodes`. Nodes that are in no configuration are learners.
    ///
    /// Errors if a configuration is empty, or if a voter is not among the nodes.
    pub fn new<T>(config: Vec<BTreeSet<NID>>, nodes: T) -> Result<Self, MembershipError<NID>>
    where
        T: IntoNodes<NID, N>,
    {
        let membership = Self::from_parts(config, nodes.into_nodes());
        membership.ensure_valid()?;
        Ok(membership)
    }

    /// The membership with these voter configurations, in which the voters and `nodes` are default nodes. It is not
    /// checked: a configuration may be empty.
    pub fn new_with_defaults<T>(config: Vec<BTreeSet<NID>>, nodes: T) -> Self
    where
        T: IntoIterator<Item = NID>,
        N: Default,
    {
        let ids = config.iter().flatten().cloned().chain(nodes);
        let nodes = ids.map(|id| (id, N::default())).collect();
        Self::from_parts(config, nodes)
    }

    pub(crate) fn from_parts(configs: Vec<BTreeSet<NID>>, nodes: BTreeMap<NID, N>) -> Self {
        Self { configs, nodes }
    }

    /// The voter configurations, the newest last: one when it is uniform, more when it is joint.
    pub fn get_joint_config(&self) -> &Vec<BTreeSet<NID>> {
        &self.configs
    }

    /// All nodes, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (&NID, &N)> {
        self.nodes.iter()
    }

    /// A node by its id.
    pub fn get_node(&self, node_id: &NID) -> Option<&N> {
        self.nodes.get(node_id)
    }

    /// Who votes in any configuration, each once, in order.
    pub fn voter_ids(&self) -> impl Iterator<Item = NID> {
        self.configs.iter().flatten().cloned().collect::<BTreeSet<_>>().into_iter()
    }

    /// The nodes that are in no configuration, in order.
    pub fn learner_ids(&self) -> impl Iterator<Item = NID> + '_ {
        self.nodes.keys().filter(|id| !self.is_voter(id)).cloned()
    }

    /// Whether the node votes in any configuration.
    pub(crate) fn is_voter(&self, node_id: &NID) -> bool {
        self.configs.iter().any(|config| config.contains(node_id))
    }

    /// The nodes by id.
    pub(crate) fn node_map(&self) -> &BTreeMap<NID, N> {
        &self.nodes
    }

    /// Errors if a configuration is empty, or if a voter is not among the nodes.
    pub(crate) fn ensure_valid(&self) -> Result<(), MembershipError<NID>> {
        if self.configs.iter().any(BTreeSet::is_empty) {
            return Err(EmptyMembership {}.into());
        }
        match self.voter_ids().find(|id| !self.nodes.contains_key(id)) {
            Some(node_id) => Err(NodeNotFound::new(node_id, Operation::None).into()),
            None => Ok(()),
        }
    }
}

impl<NID: NodeId, N: Node> Default for Membership<NID, N> {
    fn default() -> Self {
        Self::from_parts(Vec::new(), BTreeMap::new())
    }
}

impl<NID: NodeId, N: Node> From<BTreeMap<NID, N>> for Membership<NID, N> {
    /// All nodes as voters of one configuration.
    fn from(nodes: BTreeMap<NID, N>) -> Self {
        Self::from_parts(vec![nodes.keys().cloned().collect()], nodes)
    }
}

impl<NID: NodeId, N: Node> Display for Membership<NID, N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let write_node = |f: &mut Formatter<'_>, id: &NID| match self.nodes.get(id) {
            Some(node) => write!(f, "{id}:{node:?}"),
            None => write!(f, "{id}:None"),
        };
        f.write_str("{voters:[")?;
        comma_separated(f, &self.configs, |f, config| {
            f.write_str("{")?;
            comma_separated(f, config, write_node)?;
            f.write_str("}")
        })?;
        f.write_str("], learners:[")?;
        let learners = self.nodes.keys().filter(|id| !self.is_voter(id));
        comma_separated(f, learners, write_node)?;
        f.write_str("]}")
    }
}

/// A membership and the log entry that it comes from; without an entry, it is the empty one of a new node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct StoredMembership<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> {
    log_id: Option<LogId<CLID>>,
    membership: Membership<NID, N>,
}

impl<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> StoredMembership<CLID, NID, N> {
    /// The membership that the entry at `log_id` holds.
    pub fn new(log_id: Option<LogId<CLID>>, membership: Membership<NID, N>) -> Self {
        Self { log_id, membership }
    }

    /// The entry that it comes from.
    pub fn log_id(&self) -> &Option<LogId<CLID>> {
        &self.log_id
    }

    /// The membership.
    pub fn membership(&self) -> &Membership<NID, N> {
        &self.membership
    }

    /// Like [`Membership::voter_ids`].
    pub fn voter_ids(&self) -> impl Iterator<Item = NID> {
        self.membership.voter_ids()
    }

    /// Like [`Membership::get_node`].
    pub fn get_node(&self, node_id: &NID) -> Option<&N> {
        self.membership.get_node(node_id)
    }

    /// Like [`Membership::nodes`].
    pub fn nodes(&self) -> impl Iterator<Item = (&NID, &N)> {
        self.membership.nodes()
    }

    /// Like [`Membership::get_joint_config`].
    pub fn get_joint_config(&self) -> &Vec<BTreeSet<NID>> {
        self.membership.get_joint_config()
    }
}

impl<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> Default for StoredMembership<CLID, NID, N> {
    fn default() -> Self {
        Self::new(None, Membership::default())
    }
}

impl<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> Display for StoredMembership<CLID, NID, N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{{log_id:{}, {}}}", Opt(&self.log_id), self.membership)
    }
}

/// The two memberships that a node goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipState<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> {
    committed: Arc<StoredMembership<CLID, NID, N>>,
    effective: Arc<StoredMembership<CLID, NID, N>>,
}

impl<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> MembershipState<CLID, NID, N> {
    pub(crate) fn new(
        committed: Arc<StoredMembership<CLID, NID, N>>,
        effective: Arc<StoredMembership<CLID, NID, N>>,
    ) -> Self {
        Self { committed, effective }
    }

    /// The last one known to be committed.
    pub fn committed(&self) -> &Arc<StoredMembership<CLID, NID, N>> {
        &self.committed
    }

    /// The last one in the log, committed or not: the one in force (thesis §4.1).
    pub fn effective(&self) -> &Arc<StoredMembership<CLID, NID, N>> {
        &self.effective
    }
}

impl<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> Default for MembershipState<CLID, NID, N> {
    fn default() -> Self {
        Self { committed: Arc::default(), effective: Arc::default() }
    }
}

impl<CLID: RaftCommittedLeaderId, NID: NodeId, N: Node> Display for MembershipState<CLID, NID, N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "MembershipState{{committed: {}, effective: {}}}", self.committed, self.effective)
    }
}

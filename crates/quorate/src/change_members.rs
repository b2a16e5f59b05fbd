//! Requests to change a membership, and the next step towards what they ask for.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;

use crate::display::List;
use crate::display::comma_separated;
use crate::errors::ChangeMembershipError;
use crate::membership::Membership;
use crate::node::Node;
use crate::node::NodeId;
use crate::vote::RaftCommittedLeaderId;

/// What to change in a membership.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum ChangeMembers<NID: NodeId, N: Node> {
    /// Makes learners voters.
    AddVoterIds(BTreeSet<NID>),
    /// Adds nodes as voters. A node that is known keeps its data.
    AddVoters(BTreeMap<NID, N>),
    /// Takes the vote from voters.
    RemoveVoters(BTreeSet<NID>),
    /// Makes these the voters, and no others. They must be known nodes.
    ReplaceAllVoters(BTreeSet<NID>),
    /// Adds nodes as learners. A node that is known keeps its data.
    AddNodes(BTreeMap<NID, N>),
    /// Adds nodes, or replaces the data of known ones. To send two nodes to one address splits the cluster.
    SetNodes(BTreeMap<NID, N>),
    /// Removes learners.
    RemoveNodes(BTreeSet<NID>),
    /// Makes these the nodes, and no others. All voters must be among them.
    ReplaceAllNodes(BTreeMap<NID, N>),
    /// Several changes, one after the other.
    Batch(Vec<ChangeMembers<NID, N>>),
}

/// The membership that follows `current` on the way to what `change` asks for.
///
/// If the voters change, the result is joint, and the same call on it (with a change of nothing) leads to the
/// uniform one. `retain` says whether voters that lose their vote stay as learners; otherwise they go with the last
/// configuration that names them.
pub fn next<CLID, NID, N>(
    current: &Membership<NID, N>,
    change: ChangeMembers<NID, N>,
    retain: bool,
) -> Result<Membership<NID, N>, ChangeMembershipError<CLID, NID>>
where
    CLID: RaftCommittedLeaderId,
    NID: NodeId,
    N: Node,
{
    let mut voters = current.get_joint_config().last().cloned().unwrap_or_default();
    let mut nodes = current.node_map().clone();
    change.apply(&mut voters, &mut nodes);

    // From any configuration of a joint membership, one step reaches a uniform one: its quorums are part of both.
    let configs = match current.get_joint_config().last() {
        Some(last) if !current.get_joint_config().contains(&voters) => vec![last.clone(), voters],
        _ => vec![voters],
    };
    if !retain {
        nodes.retain(|id, _| !current.is_voter(id) || configs.iter().any(|config| config.contains(id)));
    }
    let membership = Membership::from_parts(configs, nodes);
    membership.ensure_valid()?;
    Ok(membership)
}

impl<NID: NodeId, N: Node> ChangeMembers<NID, N> {
    fn apply(self, voters: &mut BTreeSet<NID>, nodes: &mut BTreeMap<NID, N>) {
        match self {
            Self::AddVoterIds(ids) => voters.extend(ids),
            Self::AddVoters(added) => {
                voters.extend(added.keys().cloned());
                add_missing(nodes, added);
            }
            Self::RemoveVoters(ids) => voters.retain(|id| !ids.contains(id)),
            Self::ReplaceAllVoters(ids) => *voters = ids,
            Self::AddNodes(added) => add_missing(nodes, added),
            Self::SetNodes(set) => nodes.extend(set),
            Self::RemoveNodes(ids) => nodes.retain(|id, _| !ids.contains(id)),
            Self::ReplaceAllNodes(all) => *nodes = all,
            Self::Batch(changes) => {
                for change in changes {
                    change.apply(voters, nodes);
                }
            }
        }
    }
}

fn add_missing<NID: NodeId, N: Node>(nodes: &mut BTreeMap<NID, N>, added: BTreeMap<NID, N>) {
    for (id, node) in added {
        nodes.entry(id).or_insert(node);
    }
}

impl<NID: NodeId, N: Node, I: IntoIterator<Item = NID>> From<I> for ChangeMembers<NID, N> {
    /// These ids as the voters, and no others.
    fn from(ids: I) -> Self {
        Self::ReplaceAllVoters(ids.into_iter().collect())
    }
}

/// How many changes of a batch are printed.
const BATCH_ITEMS: usize = 1024;

impl<NID: NodeId, N: Node> Display for ChangeMembers<NID, N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (name, nodes) = match self {
            Self::AddVoterIds(ids) => return write!(f, "AddVoterIds({})", List::short(ids.iter())),
            Self::RemoveVoters(ids) => return write!(f, "RemoveVoters({})", List::short(ids.iter())),
            Self::ReplaceAllVoters(ids) => return write!(f, "ReplaceAllVoters({})", List::short(ids.iter())),
            Self::RemoveNodes(ids) => return write!(f, "RemoveNodes({})", List::short(ids.iter())),
            Self::Batch(changes) => {
                return write!(f, "Batch({})", List::up_to(BATCH_ITEMS, changes.iter()));
            }
            Self::AddVoters(nodes) => ("AddVoters", nodes),
            Self::AddNodes(nodes) => ("AddNodes", nodes),
            Self::SetNodes(nodes) => ("SetNodes", nodes),
            Self::ReplaceAllNodes(nodes) => ("ReplaceAllNodes", nodes),
        };
        write!(f, "{name}(")?;
        comma_separated(f, nodes, |f, (id, node)| write!(f, "{id}:{node:?}"))?;
        f.write_str(")")
    }
}

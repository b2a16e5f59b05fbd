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
pub(crate) fn next<CLID, NID, N>(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::EmptyMembership;
    use crate::errors::LearnerNotFound;

    type Change = ChangeMembers<u64, char>;
    type Error = ChangeMembershipError<u64, u64>;

    fn ids(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    fn nodes(of: &[u64]) -> BTreeMap<u64, char> {
        of.iter().map(|id| (*id, 'n')).collect()
    }

    /// Voter configurations, and nodes 1 to 4.
    fn membership(configs: &[&[u64]]) -> Membership<u64, char> {
        let configs = configs.iter().map(|config| ids(config)).collect();
        Membership::from_parts(configs, nodes(&[1, 2, 3, 4]))
    }

    /// The voter configurations and the ids of the nodes that come next.
    fn step(configs: &[&[u64]], change: Change, retain: bool) -> Result<(Vec<Vec<u64>>, Vec<u64>), Error> {
        let next = next(&membership(configs), change, retain)?;
        let configs = next.get_joint_config().iter().map(|config| config.iter().copied().collect()).collect();
        Ok((configs, next.node_map().keys().copied().collect()))
    }

    fn voters(configs: &[&[u64]], change: impl Into<Change>) -> Vec<Vec<u64>> {
        step(configs, change.into(), true).unwrap().0
    }

    #[test]
    fn a_change_of_voters_goes_through_a_joint_membership() {
        assert_eq!(voters(&[&[1, 2]], [3]), [vec![1, 2], vec![3]]);
        assert_eq!(voters(&[&[1, 2], &[3]], [3]), [vec![3]]);
        assert_eq!(voters(&[&[1, 2], &[2]], [1, 2]), [vec![1, 2]]);
        assert_eq!(voters(&[&[1], &[2]], [3]), [vec![2], vec![3]]);
        assert_eq!(voters(&[&[1, 2], &[3]], Change::AddVoterIds(ids(&[]))), [vec![3]]);
        assert_eq!(voters(&[&[1, 2]], [2, 1]), [vec![1, 2]]);
    }

    #[test]
    fn each_change_does_what_it_says() {
        let one = |change| step(&[&[1, 2]], change, true).unwrap();
        assert_eq!(one(Change::AddVoterIds(ids(&[3]))).0, [vec![1, 2], vec![1, 2, 3]]);
        assert_eq!(
            one(Change::AddVoters(nodes(&[5]))),
            (vec![vec![1, 2], vec![1, 2, 5]], vec![1, 2, 3, 4, 5])
        );
        assert_eq!(one(Change::RemoveVoters(ids(&[2, 9]))).0, [vec![1, 2], vec![1]]);
        assert_eq!(one(Change::RemoveVoters(ids(&[9]))).0, [vec![1, 2]]);
        assert_eq!(one(Change::AddNodes(nodes(&[5]))), (vec![vec![1, 2]], vec![1, 2, 3, 4, 5]));
        assert_eq!(one(Change::RemoveNodes(ids(&[3, 9]))), (vec![vec![1, 2]], vec![1, 2, 4]));
        assert_eq!(one(Change::ReplaceAllNodes(nodes(&[1, 2, 7]))), (vec![vec![1, 2]], vec![1, 2, 7]));
        let batch = vec![Change::AddNodes(nodes(&[5])), Change::AddVoterIds(ids(&[5])), [5].into()];
        assert_eq!(one(Change::Batch(batch)).0, [vec![1, 2], vec![5]]);
    }

    #[test]
    fn nodes_are_set_whether_they_are_known_or_not() {
        let one = |change| step(&[&[1, 2]], change, true).unwrap();
        assert_eq!(one(Change::SetNodes(nodes(&[2, 5]))), (vec![vec![1, 2]], vec![1, 2, 3, 4, 5]));
        // All nodes but the voters may be replaced, and so may the data of all.
        let all = Change::ReplaceAllNodes([(1, 'o'), (2, 'o')].into());
        let next = next::<u64, _, _>(&membership(&[&[1, 2]]), all, true).unwrap();
        assert_eq!(*next.node_map(), BTreeMap::from([(1, 'o'), (2, 'o')]));
        let without = Change::ReplaceAllNodes(nodes(&[1, 3]));
        assert_eq!(step(&[&[1, 2]], without, true), Err(LearnerNotFound { node_id: 2 }.into()));
    }

    #[test]
    fn a_batch_is_applied_in_order_and_judged_as_a_whole() {
        let batch = |changes| step(&[&[1, 2]], Change::Batch(changes), true);
        let (add, remove) = (|| Change::AddNodes(nodes(&[5])), || Change::RemoveNodes(ids(&[5])));
        assert_eq!(batch(vec![add(), remove()]).unwrap().1, [1, 2, 3, 4]);
        assert_eq!(batch(vec![remove(), add()]).unwrap().1, [1, 2, 3, 4, 5]);
        // A node may be a voter before it is a node, and a voter set empty, as long as it ends well.
        let early = vec![Change::from([]), Change::AddVoterIds(ids(&[1, 5])), add()];
        assert_eq!(batch(early).unwrap().0, [vec![1, 2], vec![1, 5]]);
        let nested = vec![Change::Batch(vec![add()]), Change::Batch(vec![]), Change::RemoveVoters(ids(&[2]))];
        assert_eq!(batch(nested).unwrap(), (vec![vec![1, 2], vec![1]], vec![1, 2, 3, 4, 5]));
        assert_eq!(batch(vec![]).unwrap().0, [vec![1, 2]]);
        assert_eq!(
            batch(vec![Change::from([9]), Change::from([1])]).unwrap().0,
            [vec![1, 2], vec![1]],
            "only where it ends counts"
        );
        assert_eq!(batch(vec![Change::RemoveVoters(ids(&[1, 2]))]), Err(EmptyMembership {}.into()));
    }

    #[test]
    fn learners_are_never_dropped_by_a_change_of_voters() {
        assert_eq!(step(&[&[1], &[2]], Change::from([2]), false).unwrap(), (vec![vec![2]], vec![2, 3, 4]));
        // From one joint membership to another, whoever is in no set any more goes.
        let moved = step(&[&[1], &[2]], Change::from([3]), false).unwrap();
        assert_eq!(moved, (vec![vec![2], vec![3]], vec![2, 3, 4]));
    }

    #[test]
    fn only_set_nodes_changes_a_known_node() {
        let other = BTreeMap::from([(1, 'o')]);
        let node = |change| {
            let next = next::<u64, _, _>(&membership(&[&[1, 2]]), change, true).unwrap();
            *next.get_node(&1).unwrap()
        };
        assert_eq!(node(Change::AddNodes(other.clone())), 'n');
        assert_eq!(node(Change::AddVoters(other.clone())), 'n');
        assert_eq!(node(Change::SetNodes(other)), 'o');
    }

    #[test]
    fn voters_that_go_stay_as_learners_if_retained() {
        let to_two = || Change::from([2]);
        // Not at the joint step, which still counts them.
        assert_eq!(step(&[&[1, 2]], to_two(), false).unwrap().1, [1, 2, 3, 4]);
        assert_eq!(step(&[&[1, 2], &[2]], to_two(), false).unwrap().1, [2, 3, 4]);
        assert_eq!(step(&[&[1, 2], &[2]], to_two(), true).unwrap().1, [1, 2, 3, 4]);
    }

    #[test]
    fn a_membership_without_voters_or_with_unknown_ones_is_refused() {
        assert_eq!(step(&[&[1, 2]], Change::from([]), true), Err(EmptyMembership {}.into()));
        assert_eq!(step(&[&[1]], Change::from([1, 9, 8]), true), Err(LearnerNotFound { node_id: 8 }.into()));
        assert_eq!(
            step(&[&[1, 2]], Change::RemoveNodes(ids(&[2])), true),
            Err(LearnerNotFound { node_id: 2 }.into())
        );
        let of_nobody = Membership::<u64, char>::default();
        let refused = next::<u64, _, _>(&of_nobody, Change::AddNodes(nodes(&[1])), true);
        assert_eq!(refused, Err(EmptyMembership {}.into()));
    }
}

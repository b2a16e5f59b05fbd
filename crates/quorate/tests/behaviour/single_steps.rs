//! Memberships that an application appends by itself, one entry each.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use quorate::BasicNode;
use quorate::Config;
use quorate::EntryPayload;
use quorate::Membership;
use quorate::ServerState;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::ChangeMembershipError;
use quorate::errors::ClientWriteError;
use quorate::errors::ForwardReason;
use quorate::errors::PreconditionFailed;
use quorate::errors::RaftError;
use quorate::raft::ClientWriteResponse;
use quorate::raft::Precondition;
use quorate::type_config::alias::CommittedLeaderIdOf;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::network::Kind;
use crate::network::Node;
use crate::stores::Add;
use crate::stores::Types;

type Members = Membership<u64, BasicNode>;
type Refused = RaftError<Types, ClientWriteError<Types>>;

fn node(id: u64) -> BasicNode {
    BasicNode::new(format!("node {id}"))
}

/// These voter sets, of the nodes 1 to `nodes`.
fn members(configs: &[&[u64]], nodes: u64) -> Members {
    let configs = configs.iter().map(|voters| voters.iter().copied().collect::<BTreeSet<u64>>()).collect();
    Membership::new(configs, (1..=nodes).map(|id| (id, node(id))).collect::<BTreeMap<_, _>>()).unwrap()
}

async fn append(leader: &Node, membership: Members) -> Result<ClientWriteResponse<Types>, Refused> {
    append_if(leader, membership, []).await
}

async fn append_if(
    leader: &Node,
    membership: Members,
    preconditions: impl IntoIterator<Item = Precondition<Types>>,
) -> Result<ClientWriteResponse<Types>, Refused> {
    soon(leader.append_membership(membership, EntryPayload::Blank, preconditions)).await
}

fn change_error(error: Refused) -> ChangeMembershipError<CommittedLeaderIdOf<Types>, u64> {
    match error {
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => error,
        other => panic!("not about the membership: {other}"),
    }
}

fn forwarded(error: &Refused) -> (Option<u64>, ForwardReason) {
    let forward = error.forward_to_leader().unwrap();
    (forward.leader_id, forward.reason)
}

fn reads(node: &Node) -> Vec<Vec<u64>> {
    let metrics = node.metrics().borrow_watched().clone();
    let configs = metrics.membership_config.get_joint_config().clone();
    configs.into_iter().map(|config| config.into_iter().collect()).collect()
}

/// Three voters of which the node 4 is a learner that runs.
async fn founded() -> (Cluster, Node) {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    cluster.start(4).await;
    soon(leader.add_learner(4, node(4), true)).await.unwrap();
    (cluster, leader)
}

#[tokio::test(start_paused = true)]
async fn a_membership_takes_exactly_one_entry_whatever_it_is() {
    let (cluster, leader) = founded().await;
    let end = last_log(&leader).unwrap();
    // One voter more, a joint one, another joint one that shares a set with it, and back to one set.
    let steps: [&[&[u64]]; 4] =
        [&[&[1, 2, 3, 4]], &[&[1, 2, 3, 4], &[1, 2]], &[&[1, 2], &[1, 2, 3]], &[&[1, 2, 3]]];
    for (at, configs) in (end + 1..).zip(steps) {
        let wanted = members(configs, 4);
        let written = append(&leader, wanted.clone()).await.unwrap();
        assert_eq!((written.log_id.index, written.membership), (at, Some(wanted)));
        elapse(LONG).await;
        assert_eq!(last_log(&leader), Some(at), "nobody ends a joint membership for the caller");
        assert_eq!(reads(&leader), configs.iter().map(|config| config.to_vec()).collect::<Vec<_>>());
    }
    cluster.applied(end + 4).await;
    assert_eq!(cluster.nodes[&4].metrics().borrow_watched().state, ServerState::Learner);
    soon(leader.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_next_leader_ends_a_joint_membership_that_it_finds() {
    let (mut cluster, leader) = founded().await;
    append(&leader, members(&[&[1, 2, 3], &[1, 2, 3, 4]], 4)).await.unwrap();
    let (_, new) = cluster.depose(*leader.node_id()).await;
    new.wait(PATIENCE).voter_ids([1, 2, 3, 4], "all four").await.unwrap();
    new.wait(PATIENCE)
        .metrics(|m| m.membership_config.get_joint_config().len() == 1, "uniform")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_a_leader_that_a_quorum_hears_appends() {
    let (cluster, leader) = founded().await;
    let others = cluster.others(&leader);
    let follower = &cluster.nodes[&others[0]];
    // Where this node does not lead, nothing else is looked at.
    let stale = Precondition::LastLogId { last_log_id: None };
    let refused = append_if(follower, Membership::default(), [stale.clone()]).await.unwrap_err();
    assert_eq!(forwarded(&refused), (Some(*leader.node_id()), ForwardReason::NotLeader));
    others.iter().for_each(|id| cluster.router.isolate(*id));
    elapse(LONG).await;
    let refused = append_if(&leader, Membership::default(), [stale]).await.unwrap_err();
    assert_eq!(forwarded(&refused), (None, ForwardReason::LeaseExpired));
    assert_eq!(reads(&leader), [[1, 2, 3]]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_hands_over_appends_nothing() {
    let (cluster, leader) = founded().await;
    let heir = cluster.others(&leader)[0];
    cluster.router.hang_kind(heir, Kind::Transfer);
    leader.trigger().transfer_leader(heir).await.unwrap();
    let refused = append(&leader, members(&[&[1, 2, 3, 4]], 4)).await.unwrap_err();
    assert_eq!(forwarded(&refused), (Some(heir), ForwardReason::LeadershipTransfer));
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_demands_comes_before_what_it_proposes() {
    let (cluster, leader) = founded().await;
    let last = cluster.disks[leader.node_id()].log.last();
    let end = last_log(&leader);
    let stale = Precondition::LastLogId { last_log_id: None };
    let refused = append_if(&leader, Membership::default(), [stale]).await.unwrap_err();
    let RaftError::APIError(ClientWriteError::PreconditionFailed(refused)) = refused else { panic!() };
    assert_eq!(refused, PreconditionFailed::LastLogIdMismatch { expected: None, actual: last });
    assert_eq!(last_log(&leader), end);
    let membership = *leader.metrics().borrow_watched().membership_config.log_id();
    let hold = [
        Precondition::CommittedLeaderId { committed_leader_id: last.unwrap().leader_id },
        Precondition::LastLogId { last_log_id: last },
        Precondition::LastMembershipLogId { last_membership_log_id: membership },
    ];
    append_if(&leader, members(&[&[1, 2, 3, 4]], 4), hold).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_first_commits_an_entry_of_its_own() {
    let mut cluster = Cluster::new(Config { enable_heartbeat: false, enable_elect: false, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    let heir = cluster.nodes[&others[0]].clone();
    // It is elected; then nothing that it sends arrives.
    for id in [*leader.node_id(), others[1]] {
        cluster.router.hang_kind(id, Kind::Append);
    }
    elapse(LONG).await;
    heir.trigger().elect(false).await.unwrap();
    heir.wait(PATIENCE).state(ServerState::Leader, "elected").await.unwrap();
    // An empty membership is not even looked at.
    let refused = append(&heir, Membership::default()).await.unwrap_err();
    let ChangeMembershipError::UncommittedLeaderLog(refused) = change_error(refused) else { panic!() };
    assert_eq!(Some(refused.leader_log_id.index), last_log(&heir));
    assert!(refused.committed.is_none_or(|committed| committed < refused.leader_log_id));
}

#[tokio::test(start_paused = true)]
async fn one_membership_follows_another_when_it_is_committed() {
    let (cluster, leader) = founded().await;
    for id in [1, 2, 3, 4].into_iter().filter(|id| id != leader.node_id()) {
        cluster.router.hang_kind(id, Kind::Append);
    }
    let first = leader.clone();
    let first = tokio::spawn(async move { append(&first, members(&[&[1, 2, 3, 4]], 4)).await });
    let end = last_log(&leader).unwrap();
    leader.wait(PATIENCE).log_index(Some(end + 1), "under way").await.unwrap();
    let refused = append(&leader, Membership::default()).await.unwrap_err();
    let ChangeMembershipError::InProgress(refused) = change_error(refused) else { panic!() };
    assert_eq!(refused.membership_log_id.map(|log_id| log_id.index), Some(end + 1));
    (1..=4).for_each(|id| cluster.router.restore(id));
    soon(first).await.unwrap().unwrap();
    append(&leader, members(&[&[1, 2, 3]], 4)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_no_membership_or_does_not_follow_is_refused() {
    let (_cluster, leader) = founded().await;
    let end = last_log(&leader);
    let refused = async |membership| change_error(append(&leader, membership).await.unwrap_err());
    assert!(matches!(refused(Membership::default()).await, ChangeMembershipError::EmptyMembership(_)));
    let hollow = Membership::new_with_defaults(vec![BTreeSet::new()], [1]);
    assert!(matches!(refused(hollow).await, ChangeMembershipError::EmptyMembership(_)));
    // Whether a node stays the same comes before whether the step is too wide.
    let mut moved: BTreeMap<u64, BasicNode> = (1..=4).map(|id| (id, node(id))).collect();
    moved.insert(3, BasicNode::new("elsewhere"));
    let moved = Membership::new(vec![BTreeSet::from([4])], moved).unwrap();
    let ChangeMembershipError::NodeMetadataChanged(moved) = refused(moved).await else { panic!() };
    assert_eq!(moved.node_id, 3);
    for wide in [members(&[&[1, 4]], 4), members(&[&[1, 2, 3, 4, 5]], 5), members(&[&[1, 2], &[3, 4]], 4)] {
        let ChangeMembershipError::UnsupportedMembershipTransition(far) = refused(wide.clone()).await else {
            panic!("{wide}")
        };
        assert_eq!(far.previous, [BTreeSet::from([1, 2, 3])]);
        assert_eq!(far.proposed, *wide.get_joint_config());
    }
    assert_eq!(last_log(&leader), end, "nothing was written");
    assert_eq!(reads(&leader), [[1, 2, 3]]);
}

/// Only what comes from outside can name a voter without a node.
#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn a_voter_that_is_no_node_is_refused() {
    let (_cluster, leader) = founded().await;
    let unknown: Members =
        serde_json::from_str(r#"{"configs":[[1,2,3,9]],"nodes":{"1":{"addr":"node 1"}}}"#).unwrap();
    let refused = change_error(append(&leader, unknown).await.unwrap_err());
    let ChangeMembershipError::LearnerNotFound(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.node_id, 2);
}

#[tokio::test(start_paused = true)]
async fn nodes_come_and_go_with_their_membership() {
    let (mut cluster, leader) = founded().await;
    append(&leader, members(&[&[1, 2, 3]], 5)).await.unwrap();
    cluster.start(5).await;
    append(&leader, members(&[&[1, 2, 3]], 3)).await.unwrap();
    let metrics = leader.metrics().borrow_watched().clone();
    assert_eq!(metrics.replication.unwrap().keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(metrics.membership_config.nodes().count(), 3);
}

//! Who is a member, and how that changes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use quorate::BasicNode;
use quorate::ChangeMembers;
use quorate::Config;
use quorate::ServerState;
use quorate::StepDownPolicy;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::ChangeMembershipError;
use quorate::errors::ClientWriteError;
use quorate::errors::ForwardReason;
use quorate::errors::InitializeError;
use quorate::errors::PreconditionFailed;
use quorate::errors::RaftError;
use quorate::raft::ChangeMembershipRequest;
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

fn node(id: u64) -> BasicNode {
    BasicNode::new(format!("node {id}"))
}

fn ids(ids: &[u64]) -> BTreeSet<u64> {
    ids.iter().copied().collect()
}

fn change_error(
    error: RaftError<Types, ClientWriteError<Types>>,
) -> ChangeMembershipError<CommittedLeaderIdOf<Types>, u64> {
    match error {
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => error,
        other => panic!("not about the membership: {other}"),
    }
}

fn configs(node: &Node) -> Vec<BTreeSet<u64>> {
    node.metrics().borrow_watched().membership_config.membership().get_joint_config().clone()
}

#[tokio::test(start_paused = true)]
async fn adding_a_learner_returns_before_it_caught_up_unless_told_to_wait() {
    let mut cluster = Cluster::new(Config { replication_lag_threshold: 0, ..config() });
    let leader = cluster.found([1]).await;
    for _ in 0..100 {
        leader.client_write(Add(1)).await.unwrap();
    }
    let added = soon(leader.add_learner(2, node(2), false)).await.unwrap();
    let metrics = leader.metrics().borrow_watched().clone();
    assert_eq!(metrics.replication.unwrap().get(&2), Some(&None), "node 2 does not run yet");
    assert_eq!(added.membership.unwrap().get_node(&2), Some(&node(2)));
    let waiter = leader.clone();
    let blocking = tokio::spawn(async move { waiter.add_learner(2, node(2), true).await });
    elapse(LONG).await;
    assert!(!blocking.is_finished());
    cluster.start(2).await;
    soon(blocking).await.unwrap().unwrap();
    let matched = leader.metrics().borrow_watched().replication.clone().unwrap()[&2].unwrap().index;
    assert!(matched >= 100, "{matched}");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_learner_ends_when_it_is_removed_or_leadership_is_lost() {
    let mut cluster = Cluster::new(Config { replication_lag_threshold: 0, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    let waiter = leader.clone();
    let blocking = tokio::spawn(async move { waiter.add_learner(8, node(8), true).await });
    leader.wait(PATIENCE).applied_index_at_least(Some(2), "added").await.unwrap();
    leader.change_membership(ChangeMembers::RemoveNodes(ids(&[8])), false).await.unwrap();
    soon(blocking).await.unwrap().unwrap();

    let waiter = leader.clone();
    let blocking = tokio::spawn(async move { waiter.add_learner(9, node(9), true).await });
    leader.wait(PATIENCE).applied_index_at_least(Some(4), "added").await.unwrap();
    let (old, _) = cluster.depose(*leader.node_id()).await;
    cluster.router.restore(*old.node_id());
    soon(blocking).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_known_node_keeps_its_address_unless_it_is_set() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    leader.add_learner(2, node(2), false).await.unwrap();
    let again = leader.add_learner(2, BasicNode::new("elsewhere"), false).await.unwrap();
    assert_eq!(again.membership.unwrap().get_node(&2), Some(&node(2)));
    let moved = BTreeMap::from([(2, BasicNode::new("elsewhere"))]);
    let set = leader.change_membership(ChangeMembers::SetNodes(moved), false).await.unwrap();
    assert_eq!(set.membership.unwrap().get_node(&2), Some(&BasicNode::new("elsewhere")));
    cluster.start(2).await;
    cluster.applied(last_log(&leader).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn voters_come_and_go_in_every_way() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    for id in [2, 3, 4] {
        cluster.start(id).await;
    }
    let added = BTreeMap::from([(2, node(2)), (3, node(3)), (4, node(4))]);
    let end = last_log(&leader).unwrap();
    leader.change_membership(ChangeMembers::AddNodes(added), false).await.unwrap();
    assert_eq!(last_log(&leader), Some(end + 1), "learners need no joint membership");
    leader.change_membership(ChangeMembers::AddVoterIds(ids(&[2, 3])), false).await.unwrap();
    assert_eq!(last_log(&leader), Some(end + 3), "voters do");
    let retained = leader.change_membership(ChangeMembers::RemoveVoters(ids(&[3])), true).await.unwrap();
    let membership = retained.membership.unwrap();
    assert_eq!(membership.get_joint_config().as_slice(), [ids(&[1, 2])]);
    assert_eq!(membership.learner_ids().collect::<Vec<_>>(), [3, 4]);
    let replaced = leader.change_membership([1, 3], false).await.unwrap().membership.unwrap();
    assert_eq!(replaced.get_joint_config().as_slice(), [ids(&[1, 3])]);
    assert_eq!(replaced.get_node(&2), None);
    leader.change_membership(ChangeMembers::RemoveNodes(ids(&[4])), false).await.unwrap();
    assert_eq!(leader.learner_ids().count(), 0);
    let before = last_log(&leader).unwrap();
    leader.change_membership([1, 3], false).await.unwrap();
    assert_eq!(last_log(&leader), Some(before + 1), "a change of nothing is one entry");
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let before = last_log(&leader);
    let nobody = leader.change_membership(ids(&[]), false).await.unwrap_err();
    assert!(matches!(change_error(nobody), ChangeMembershipError::EmptyMembership(_)));
    let unknown = leader.change_membership([1, 2, 9, 8], false).await.unwrap_err();
    let ChangeMembershipError::LearnerNotFound(unknown) = change_error(unknown) else { panic!() };
    assert_eq!(unknown.node_id, 8);
    let voter = leader.change_membership(ChangeMembers::RemoveNodes(ids(&[2])), false).await.unwrap_err();
    assert!(matches!(change_error(voter), ChangeMembershipError::LearnerNotFound(_)));
    assert_eq!(last_log(&leader), before);
    let follower = cluster.others(&leader)[0];
    let refused = cluster.nodes[&follower].change_membership(ids(&[]), false).await.unwrap_err();
    assert_eq!(refused.forward_to_leader().unwrap().leader_id, Some(*leader.node_id()));
}

#[tokio::test(start_paused = true)]
async fn of_two_changes_at_once_one_is_refused() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    for other in cluster.others(&leader) {
        cluster.router.isolate(other);
    }
    let first = leader.clone();
    let first = tokio::spawn(async move { first.add_learner(4, node(4), false).await });
    let added = last_log(&leader).map(|last| last + 1);
    leader.wait(PATIENCE).log_index(added, "the first is on its way").await.unwrap();
    let second = leader.add_learner(5, node(5), false).await.unwrap_err();
    let ChangeMembershipError::InProgress(in_progress) = change_error(second) else { panic!() };
    assert_eq!(in_progress.membership_log_id.map(|id| id.index), added);
    assert!(in_progress.committed < in_progress.membership_log_id);
    for other in cluster.others(&leader) {
        cluster.router.restore(other);
    }
    soon(first).await.unwrap().unwrap();
    soon(leader.add_learner(5, node(5), false)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_ends_though_nobody_waits_for_it() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    for other in &others {
        cluster.router.isolate(*other);
    }
    let changer = leader.clone();
    let voters = ids(&[*leader.node_id(), others[0]]);
    let (wanted, end) = (voters.clone(), last_log(&leader).unwrap());
    let change = tokio::spawn(async move { changer.change_membership(wanted, false).await });
    leader.wait(PATIENCE).log_index(Some(end + 1), "joint").await.unwrap();
    change.abort();
    assert_eq!(configs(&leader).len(), 2);
    for other in &others {
        cluster.router.restore(*other);
    }
    leader.wait(PATIENCE).applied_index_at_least(Some(end + 2), "uniform").await.unwrap();
    assert_eq!(configs(&leader), [voters]);
}

#[tokio::test(start_paused = true)]
async fn a_joint_membership_left_behind_by_a_crashed_leader_is_ended_by_the_next() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let old = *leader.node_id();
    let others = cluster.others(&leader);
    for id in [4, 5] {
        cluster.start(id).await;
        leader.add_learner(id, node(id), true).await.unwrap();
    }
    // The followers take the joint entry, but their answers do not come back: the leader dies in the middle.
    let end = last_log(&leader).unwrap();
    for id in [others[0], others[1], 4, 5] {
        cluster.router.cut(id, old);
    }
    let changer = leader.clone();
    let target = [others[0], 4, 5];
    let change = tokio::spawn(async move { changer.change_membership(target, false).await });
    for id in [others[0], 4, 5] {
        cluster.nodes[&id].wait(PATIENCE).log_index(Some(end + 1), "joint").await.unwrap();
    }
    cluster.crash(old).await;
    assert!(soon(change).await.unwrap().is_err());
    let next = cluster.leader().await;
    next.wait(PATIENCE).voter_ids(target, "uniform").await.unwrap();
    next.wait(PATIENCE).metrics(|m| m.membership_config == m.committed_membership_config, "").await.unwrap();
    assert_eq!(configs(&next), [ids(&target)]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_removed_steps_down_and_the_others_elect() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    leader.change_membership([others[0], others[1]], false).await.unwrap();
    leader.wait(PATIENCE).state(ServerState::Learner, "removed").await.unwrap();
    let refused = leader.client_write(Add(1)).await.unwrap_err();
    assert!(refused.forward_to_leader().is_some(), "{refused}");
    cluster.nodes.remove(leader.node_id());
    let next = cluster.leader().await;
    assert!(others.contains(next.node_id()));
    soon(next.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_removed_leads_on_if_it_never_steps_down() {
    let never = StepDownPolicy::Never;
    let mut cluster = Cluster::new(Config { removed_leader_step_down: never, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    leader.change_membership([others[0], others[1]], false).await.unwrap();
    elapse(LONG).await;
    assert!(leader.is_leader());
    soon(leader.client_write(Add(1))).await.unwrap();
    let told = cluster.nodes[&others[0]].client_write(Add(1)).await.unwrap_err();
    assert_eq!(told.forward_to_leader().unwrap().leader_id, None, "nobody is sent to who is no member");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stays_as_a_learner_leads_on() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    leader.change_membership([others[0], others[1]], true).await.unwrap();
    elapse(LONG).await;
    assert!(leader.is_leader());
    soon(leader.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn removing_a_hung_peer_does_not_block() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    cluster.router.hang(others[0]);
    leader.client_write(Add(1)).await.unwrap();
    soon(leader.change_membership([*leader.node_id(), others[1]], false)).await.unwrap();
    soon(leader.client_write(Add(1))).await.unwrap();
    let asked = || {
        [Kind::Append, Kind::Heartbeat].map(|kind| cluster.router.count(others[0], kind)).iter().sum::<u64>()
    };
    elapse(LONG).await;
    let before = asked();
    elapse(LONG).await;
    assert_eq!(asked(), before, "it is left alone");
    assert!(!leader.metrics().borrow_watched().replication.clone().unwrap().contains_key(&others[0]));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_founded_once_and_by_a_member() {
    let mut cluster = Cluster::new(config());
    let first = cluster.start(1).await;
    assert!(!first.is_initialized().await.unwrap());
    assert!(first.client_write(Add(1)).await.unwrap_err().forward_to_leader().is_some());
    let foreign = first.initialize(BTreeMap::from([(2, node(2))])).await.unwrap_err();
    let RaftError::APIError(InitializeError::NotInMembers(foreign)) = foreign else { panic!("{foreign}") };
    assert_eq!(foreign.node_id, 1);
    assert!(!first.is_initialized().await.unwrap());
    first.initialize(BTreeMap::from([(1, node(1))])).await.unwrap();
    assert!(first.is_initialized().await.unwrap());
    first.wait(PATIENCE).applied_index(Some(1), "membership and blank").await.unwrap();
    let again = first.initialize(BTreeMap::from([(1, node(1))])).await.unwrap_err();
    let RaftError::APIError(InitializeError::NotAllowed(again)) = again else { panic!("{again}") };
    assert_eq!(again.last_log_id.map(|id| id.index), Some(1));
    assert_eq!(again.vote.leader_id.term, 1);
    assert!(again.vote.committed);
}

#[tokio::test(start_paused = true)]
async fn two_nodes_may_found_the_same_cluster() {
    let mut cluster = Cluster::new(config());
    for id in [1, 2, 3] {
        cluster.start(id).await;
    }
    let members: BTreeMap<_, _> = [1, 2, 3].map(|id| (id, node(id))).into();
    let (first, second) = (cluster.nodes[&1].clone(), cluster.nodes[&2].clone());
    let both = tokio::join!(first.initialize(members.clone()), second.initialize(members));
    both.0.unwrap();
    both.1.unwrap();
    let last = soon(cluster.leader().await.client_write(Add(1))).await.unwrap().log_id.index;
    cluster.applied(last).await;
    assert_eq!([1, 2, 3].map(|id| cluster.sum(id)), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_change_may_set_conditions() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    let metrics = leader.metrics().borrow_watched().clone();
    let last = cluster.disks[leader.node_id()].log.last();
    let membership = *metrics.membership_config.log_id();
    let target = [*leader.node_id(), others[0]];
    let stale = Precondition::LastLogId { last_log_id: membership };
    let refused = leader.change_membership_if(target, false, [stale]).await.unwrap_err();
    let RaftError::APIError(ClientWriteError::PreconditionFailed(refused)) = refused else {
        panic!("{refused}")
    };
    assert_eq!(refused, PreconditionFailed::LastLogIdMismatch { expected: membership, actual: last });
    let hold = [
        Precondition::CommittedLeaderId { committed_leader_id: last.unwrap().leader_id },
        Precondition::LastLogId { last_log_id: last },
        Precondition::LastMembershipLogId { last_membership_log_id: membership },
    ];
    leader.change_membership_if(target, false, hold).await.unwrap();
    let follower = &cluster.nodes[&others[0]];
    let elsewhere = follower.change_membership_if(target, false, []).await.unwrap_err();
    assert!(elsewhere.forward_to_leader().is_some(), "who leads comes first");
}

#[tokio::test(start_paused = true)]
async fn a_change_answers_for_both_of_its_entries() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let target = [*leader.node_id(), cluster.others(&leader)[0]];
    let blank = quorate::EntryPayload::Blank;
    let request = ChangeMembershipRequest::new(target, false).with_payload(blank.clone(), blank.clone());
    let outcome = leader.change_membership_with_payload(request).await.unwrap();
    let joint = outcome.joint.unwrap();
    assert_eq!(joint.log_id.index + 1, outcome.uniform.log_id.index);
    assert_eq!(joint.membership.unwrap().get_joint_config().len(), 2);
    assert_eq!(outcome.uniform.membership.unwrap().get_joint_config().as_slice(), [ids(&target)]);
    let request = ChangeMembershipRequest::new(target, false).with_payload(blank.clone(), blank);
    assert!(leader.change_membership_with_payload(request).await.unwrap().joint.is_none());
}

#[tokio::test(start_paused = true)]
async fn whether_a_change_makes_sense_comes_before_whether_a_quorum_is_heard() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    for id in cluster.others(&leader) {
        cluster.router.isolate(id);
    }
    elapse(LONG).await;
    let end = last_log(&leader);
    let stale = Precondition::LastLogId { last_log_id: None };
    let refused = leader.change_membership_if(ids(&[]), false, [stale]).await.unwrap_err();
    assert!(matches!(refused, RaftError::APIError(ClientWriteError::PreconditionFailed(_))), "{refused}");
    let nobody = leader.change_membership(ids(&[]), false).await.unwrap_err();
    assert!(matches!(change_error(nobody), ChangeMembershipError::EmptyMembership(_)));
    let unheard = leader.change_membership([1, 2], false).await.unwrap_err();
    let forward = unheard.forward_to_leader().unwrap();
    assert_eq!((forward.leader_id, forward.reason), (None, ForwardReason::LeaseExpired));
    assert_eq!(last_log(&leader), end, "nothing was written");
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_comes_before_whether_a_change_makes_sense() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    for id in cluster.others(&leader) {
        cluster.router.isolate(id);
    }
    let changer = leader.clone();
    let first = tokio::spawn(async move { changer.add_learner(4, node(4), false).await });
    let end = last_log(&leader).unwrap();
    leader.wait(PATIENCE).log_index(Some(end + 1), "under way").await.unwrap();
    elapse(LONG).await;
    let nobody = leader.change_membership(ids(&[]), false).await.unwrap_err();
    assert!(matches!(change_error(nobody), ChangeMembershipError::InProgress(_)), "also without a quorum");
    for id in cluster.others(&leader) {
        cluster.router.restore(id);
    }
    soon(first).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_while_leadership_moves_is_sent_to_the_heir() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let heir = cluster.others(&leader)[0];
    cluster.router.hang_kind(heir, Kind::Transfer);
    leader.trigger().transfer_leader(heir).await.unwrap();
    let stale = Precondition::LastLogId { last_log_id: None };
    let refused = leader.change_membership_if(ids(&[]), false, [stale]).await.unwrap_err();
    let forward = refused.forward_to_leader().unwrap();
    assert_eq!((forward.leader_id, forward.reason), (Some(heir), ForwardReason::LeadershipTransfer));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_one_leader_is_not_finished_on_the_terms_of_another() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3, 4]).await;
    let others = cluster.others(&leader);
    // Nobody's answer comes back: the joint membership is in everyone's log, and not committed.
    for id in &others {
        cluster.router.cut(*id, *leader.node_id());
    }
    let changer = leader.clone();
    let target = [*leader.node_id(), others[0], others[1]];
    let change = tokio::spawn(async move { changer.change_membership(target, true).await });
    let end = last_log(&leader).unwrap();
    for id in &others {
        cluster.nodes[id].wait(PATIENCE).log_index(Some(end + 1), "joint").await.unwrap();
    }
    let (old, new) = cluster.depose(*leader.node_id()).await;
    cluster.router.restore(*old.node_id());
    let refused = soon(change).await.unwrap().unwrap_err();
    assert!(refused.forward_to_leader().is_some(), "{refused}");
    let uniform = |m: &quorate::RaftMetrics<_>| m.membership_config.get_joint_config().len() == 1;
    new.wait(PATIENCE).metrics(uniform, "the new leader ends it").await.unwrap();
    assert_eq!(configs(&new), [ids(&target)]);
}

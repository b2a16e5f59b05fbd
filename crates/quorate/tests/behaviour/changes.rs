//! A change of members on its way: who must agree, who is told what, and what those who leave may still do.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate::BasicNode;
use quorate::ChangeMembers;
use quorate::Config;
use quorate::ServerState;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::ClientWriteError;
use quorate::errors::RaftError;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::acknowledged;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::cluster::term;
use crate::network::Kind;
use crate::network::Node;
use crate::stores::Add;

fn configs(node: &Node) -> Vec<BTreeSet<u64>> {
    node.metrics().borrow_watched().membership_config.membership().get_joint_config().clone()
}

/// Three voters, and two learners that are up to date.
async fn found(config: Config) -> (Cluster, Node, [u64; 2]) {
    let mut cluster = Cluster::new(config);
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    for id in [4, 5] {
        cluster.start(id).await;
        soon(leader.add_learner(id, BasicNode::new(format!("node {id}")), true)).await.unwrap();
    }
    cluster.applied(last_log(&leader).unwrap()).await;
    (cluster, leader, [others[0], others[1]])
}

#[tokio::test(start_paused = true)]
async fn a_joint_membership_needs_a_majority_of_the_old_and_of_the_new_voters() {
    for (cut, what) in [([4, 5], "the new"), ([0, 0], "the old")] {
        let (cluster, leader, others) = found(config()).await;
        let cut = if cut == [0, 0] { others } else { cut };
        for id in cut {
            cluster.router.isolate(id);
        }
        let (changer, target) = (leader.clone(), [*leader.node_id(), 4, 5]);
        let end = last_log(&leader).unwrap();
        let change = tokio::spawn(async move { changer.change_membership(target, false).await });
        elapse(Duration::from_millis(200)).await;
        assert!(!change.is_finished(), "without {what} voters");
        assert_eq!((configs(&leader).len(), last_log(&leader)), (2, Some(end + 1)), "{what}");
        let metrics = leader.metrics().borrow_watched().clone();
        assert_eq!(metrics.committed_membership_config.get_joint_config().len(), 1, "not committed yet");
        assert_eq!(metrics.local_committed.map(|last| last.index), Some(end));
        for id in cut {
            cluster.router.restore(id);
        }
        let changed = soon(change).await.unwrap().unwrap();
        assert_eq!(changed.log_id.index, end + 2);
        assert_eq!(configs(&leader), [BTreeSet::from(target)]);
    }
}

#[tokio::test(start_paused = true)]
async fn replication_shows_every_member_as_soon_as_it_is_in_the_log() {
    let (cluster, leader, others) = found(config()).await;
    for id in others {
        cluster.router.isolate(id);
    }
    let changer = leader.clone();
    drop(tokio::spawn(async move { changer.add_learner(6, BasicNode::new("node 6"), false).await }));
    let end = last_log(&leader).unwrap();
    leader.wait(PATIENCE).log_index(Some(end + 1), "in the log").await.unwrap();
    let metrics = leader.metrics().borrow_watched().clone();
    assert_eq!(metrics.replication.unwrap().keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(metrics.heartbeat.unwrap().keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(metrics.committed_membership_config.get_node(&6).is_none());
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_change_where_none_can_be_made_is_told_where_to_go() {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    for refused in [
        node.change_membership([1, 2], false).await.unwrap_err(),
        node.add_learner(2, BasicNode::new("two"), true).await.unwrap_err(),
        node.change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([9])), false).await.unwrap_err(),
    ] {
        assert_eq!(refused.forward_to_leader().unwrap().leader_id, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_outvoted_in_the_middle_of_a_change_says_so_and_the_next_ends_it() {
    let (mut cluster, leader, others) = found(config()).await;
    // The joint entry reaches the others, and their answers do not come back.
    for id in [others[0], others[1], 4, 5] {
        cluster.router.cut(id, *leader.node_id());
    }
    let (changer, target) = (leader.clone(), [*leader.node_id(), others[0], 4]);
    let change = tokio::spawn(async move { changer.change_membership(target, false).await });
    let end = last_log(&leader).unwrap();
    for id in [others[0], others[1], 4, 5] {
        cluster.nodes[&id].wait(PATIENCE).log_index(Some(end + 1), "joint").await.unwrap();
    }
    let (old, next) = cluster.depose(*leader.node_id()).await;
    next.wait(PATIENCE).voter_ids(target, "ended").await.unwrap();
    cluster.router.restore(*old.node_id());
    let failed = soon(change).await.unwrap().unwrap_err();
    let told = matches!(
        &failed,
        RaftError::APIError(ClientWriteError::ForwardToLeader(_) | ClientWriteError::LogEntryDiscarded(_))
    );
    assert!(told, "{failed}");
}

#[tokio::test(start_paused = true)]
async fn a_removed_voter_that_campaigns_disturbs_nobody() {
    for pre_vote in [false, true] {
        let (cluster, leader, others) = found(Config { enable_pre_vote: Some(pre_vote), ..config() }).await;
        let before = term(&leader);
        let removed = cluster.nodes[&others[0]].clone();
        // It hears of the joint membership and not of the uniform one.
        soon(leader.change_membership([*leader.node_id(), others[1], 4], false)).await.unwrap();
        elapse(LONG).await;
        soon(leader.client_write(Add(1))).await.unwrap();
        assert_eq!((term(&leader), leader.is_leader()), (before, true));
        let state = removed.metrics().borrow_watched().state;
        assert!(!state.is_leader(), "{state:?}");
        if state != ServerState::Learner {
            assert!(
                cluster.router.sent(others[0], Kind::Vote) + cluster.router.sent(others[0], Kind::PreVote)
                    > 0
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_removes_itself_leads_until_that_is_committed_and_then_hands_over() {
    let (cluster, leader, others) = found(config()).await;
    let id = *leader.node_id();
    for other in others {
        cluster.router.isolate(other);
    }
    let (changer, before) = (leader.clone(), term(&leader));
    let change = tokio::spawn(async move { changer.change_membership(others, false).await });
    elapse(Duration::from_millis(200)).await;
    assert_eq!((leader.is_leader(), change.is_finished()), (true, false));
    for other in others {
        cluster.router.restore(other);
    }
    soon(change).await.unwrap().unwrap();
    assert!(leader.is_leader(), "for a while");
    let metrics = leader.wait(PATIENCE).state(ServerState::Learner, "leaves").await.unwrap();
    assert_eq!(metrics.current_term, before, "it is not outvoted, it goes");
    assert!(cluster.router.sent(id, Kind::Transfer) > 0);
    let heir = others[0];
    let led = |m: &quorate::RaftMetrics<_>| m.current_leader.is_some_and(|leads| others.contains(&leads));
    let metrics = cluster.nodes[&heir].wait(PATIENCE).metrics(led, "one of the others leads").await.unwrap();
    let next = cluster.nodes[&metrics.current_leader.unwrap()].clone();
    acknowledged(&next).await;
    soon(next.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_hands_over_to_who_has_the_most_of_the_log() {
    let (cluster, leader, [behind, ahead]) = found(config()).await;
    soon(leader.change_membership([behind, ahead, 4], false)).await.unwrap();
    cluster.disks[&behind].log.append_gate.close();
    soon(leader.client_write(Add(1))).await.unwrap();
    leader.wait(PATIENCE).state(ServerState::Learner, "leaves").await.unwrap();
    cluster.disks[&behind].log.append_gate.open();
    let led =
        |m: &quorate::RaftMetrics<_>| m.current_leader.is_some_and(|leads| leads == ahead || leads == 4);
    cluster.nodes[&ahead].wait(PATIENCE).metrics(led, "who has it all leads").await.unwrap();
    let asks = cluster.router.votes();
    assert!(asks.iter().any(|asked| asked.leadership_transfer), "by a transfer, not by a timeout");
}

#[tokio::test(start_paused = true)]
async fn no_change_at_all_is_one_entry_and_keeps_everyone() {
    let (cluster, leader, _) = found(config()).await;
    let (end, before) =
        (last_log(&leader).unwrap(), leader.metrics().borrow_watched().membership_config.clone());
    let same = leader.change_membership([1, 2, 3], false).await.unwrap();
    assert_eq!(same.log_id.index, end + 1);
    assert_eq!(same.membership.as_ref(), Some(before.membership()));
    let nobody =
        leader.change_membership(ChangeMembers::RemoveVoters(BTreeSet::from([77])), false).await.unwrap();
    assert_eq!((nobody.log_id.index, nobody.membership.as_ref()), (end + 2, Some(before.membership())));
    cluster.applied(end + 2).await;
}

//! What an operator may set off by hand.

use quorate::Config;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::AllowNextRevertError;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::acknowledged;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::cluster::term;
use crate::network::Kind;
use crate::network::Node;
use crate::stores::Add;

#[tokio::test(start_paused = true)]
async fn a_heartbeat_by_hand_goes_out_though_the_clock_sends_none() {
    let quiet = Config { enable_heartbeat: false, enable_elect: false, ..config() };
    let mut cluster = Cluster::new(quiet);
    let leader = cluster.found([1, 2, 3]).await;
    elapse(LONG).await;
    let peers = cluster.others(&leader);
    let count = || peers.iter().map(|id| cluster.router.count(*id, Kind::Heartbeat)).sum::<u64>();
    let before = count();
    elapse(LONG).await;
    assert_eq!(count(), before);
    assert!(leader.client_write(Add(1)).await.is_err(), "no quorum has answered for long");
    leader.trigger().heartbeat().await.unwrap();
    acknowledged(&leader).await;
    assert_eq!(count(), before + 2);
    soon(leader.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_may_be_told_that_a_peer_lost_its_log() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let peer = cluster.others(&leader)[0];
    leader.trigger().allow_next_revert(&peer, true).await.unwrap().unwrap();
    let unknown = leader.trigger().allow_next_revert(&9, true).await.unwrap().unwrap_err();
    assert!(matches!(unknown, AllowNextRevertError::NodeNotFound(_)), "{unknown}");
    let elsewhere = cluster.nodes[&peer].trigger().allow_next_revert(&1, true).await.unwrap().unwrap_err();
    let AllowNextRevertError::ForwardToLeader(forward) = elsewhere else { panic!("{elsewhere}") };
    assert_eq!(forward.leader_id, Some(*leader.node_id()));
}

#[tokio::test(start_paused = true)]
async fn a_follower_made_to_campaign_wins_once_the_leader_is_gone() {
    let still = Config { enable_elect: false, ..config() };
    let mut cluster = Cluster::new(still);
    let leader = cluster.found([1, 2, 3]).await;
    let before = term(&leader);
    let heir = cluster.others(&leader)[0];
    cluster.router.isolate(*leader.node_id());
    elapse(LONG).await;
    assert_eq!(cluster.nodes[&heir].metrics().borrow_watched().current_term, before);
    cluster.nodes[&heir].trigger().elect(true).await.unwrap();
    cluster.nodes[&heir].wait(PATIENCE).state(quorate::ServerState::Leader, "elected").await.unwrap();
    assert_eq!(term(&cluster.nodes[&heir]), before + 1);
}

#[tokio::test(start_paused = true)]
async fn what_only_a_leader_does_is_nothing_elsewhere() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let before = term(&leader);
    let follower = cluster.nodes[&cluster.others(&leader)[0]].clone();
    follower.trigger().heartbeat().await.unwrap();
    follower.trigger().transfer_leader(*leader.node_id()).await.unwrap();
    leader.trigger().transfer_leader(*leader.node_id()).await.unwrap();
    leader.trigger().transfer_leader(99).await.unwrap();
    elapse(LONG).await;
    assert!(leader.is_leader());
    assert_eq!(term(&leader), before);
    soon(leader.client_write(Add(1))).await.unwrap();
}

/// A leader that was removed and never steps down by itself.
async fn removed() -> (Cluster, Node) {
    let never = quorate::StepDownPolicy::Never;
    let mut cluster = Cluster::new(Config { removed_leader_step_down: never, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    leader.change_membership([others[0], others[1]], false).await.unwrap();
    elapse(LONG).await;
    assert!(leader.is_leader());
    (cluster, leader)
}

#[tokio::test(start_paused = true)]
async fn a_removed_leader_goes_when_told_by_whoever_sees_it_as_it_is() {
    let (cluster, leader) = removed().await;
    let metrics = leader.metrics().borrow_watched().clone();
    let (vote, membership) = (metrics.vote, *metrics.membership_config.log_id());
    let stale_vote = quorate::Vote { committed: false, ..vote };
    let stale = *metrics.committed_membership_config.log_id();
    let stale = stale.map(|id| quorate::LogId { index: id.index - 1, ..id });
    leader.trigger().refresh_server_state(Some(stale_vote), None).await.unwrap();
    leader.trigger().refresh_server_state(Some(vote), stale).await.unwrap();
    leader.trigger().refresh_server_state(None, stale).await.unwrap();
    elapse(LONG).await;
    assert!(leader.is_leader(), "told about another state than its own");
    leader.trigger().refresh_server_state(Some(vote), membership).await.unwrap();
    leader.wait(PATIENCE).state(quorate::ServerState::Learner, "it goes").await.unwrap();
    assert_eq!(term(&leader), metrics.current_term);
    cluster.router.isolate(*leader.node_id());
    let others = cluster.others(&leader);
    for id in &others {
        let led = |m: &quorate::RaftMetrics<_>| m.current_leader.is_some_and(|id| others.contains(&id));
        cluster.nodes[id].wait(PATIENCE).metrics(led, "one of the rest leads").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_leader_may_be_told_without_conditions() {
    let (_cluster, leader) = removed().await;
    leader.trigger().refresh_server_state(None, None).await.unwrap();
    leader.wait(PATIENCE).state(quorate::ServerState::Learner, "it goes").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_a_member_stays_what_it_is() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    for node in cluster.nodes.values() {
        node.trigger().refresh_server_state(None, None).await.unwrap();
    }
    elapse(LONG).await;
    assert!(leader.is_leader());
    assert_eq!(term(&leader), 1);
}

#[tokio::test(start_paused = true)]
async fn on_a_stopped_node_nothing_can_be_set_off() {
    let mut cluster = Cluster::new(config());
    let node = cluster.found([1]).await;
    soon(node.shutdown()).await.unwrap();
    let trigger = node.trigger();
    let stopped = Err(quorate::errors::Fatal::Stopped);
    assert_eq!(trigger.elect(true).await, stopped);
    assert_eq!(trigger.heartbeat().await, stopped);
    assert_eq!(trigger.snapshot().await, stopped);
    assert_eq!(trigger.purge_log(1).await, stopped);
    assert_eq!(trigger.transfer_leader(2).await, stopped);
    assert_eq!(trigger.reset_backoff([]).await, stopped);
    assert_eq!(trigger.refresh_server_state(None, None).await, stopped);
    assert!(trigger.allow_next_revert(&2, true).await.is_err());
    let switches = node.runtime_config();
    switches.tick(true);
    switches.elect(true);
    switches.heartbeat(true);
    switches.pre_vote(true);
}

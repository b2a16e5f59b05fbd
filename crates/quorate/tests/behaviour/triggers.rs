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

//! How calls to peers are made: over which clients, for how long, and how often after failures.

use std::time::Duration;

use quorate::Config;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::by_hand;
use crate::cluster::compact;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::network::Failure;
use crate::network::Kind;
use crate::network::Purpose;
use crate::stores::Add;

#[tokio::test(start_paused = true)]
async fn each_call_is_told_how_long_it_may_take() {
    let (cluster, leader, [away, to]) = Cluster::of_three(by_hand()).await;
    cluster.router.isolate(away);
    soon(leader.client_write(Add(1))).await.unwrap();
    compact(&leader).await;
    cluster.router.restore(away);
    cluster.applied(2).await;
    leader.trigger().transfer_leader(to).await.unwrap();
    cluster.nodes[&to].wait(PATIENCE).metrics(|m| m.state.is_leader(), "leads").await.unwrap();
    cluster.router.isolate(to);
    cluster.nodes[&away].wait(PATIENCE).metrics(|m| m.current_term > 2, "elected anew").await.unwrap();
    let ttl = |kind| cluster.router.option(kind).hard_ttl().as_millis();
    let config = Config::default();
    for kind in [Kind::Append, Kind::Heartbeat] {
        assert_eq!(ttl(kind), u128::from(config.heartbeat_interval), "{kind:?}");
    }
    for kind in [Kind::Vote, Kind::PreVote, Kind::Transfer] {
        assert_eq!(ttl(kind), u128::from(config.election_timeout_min), "{kind:?}");
    }
    assert_eq!(ttl(Kind::Snapshot), u128::from(config.install_snapshot_timeout));
    let chunk = cluster.router.option(Kind::Snapshot).snapshot_chunk_size();
    assert_eq!(chunk, Some(config.snapshot_max_chunk_size as usize));
    assert_eq!(cluster.router.option(Kind::Append).snapshot_chunk_size(), None);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_and_snapshots_have_clients_of_their_own_and_a_stream_has_one_for_its_life() {
    let (cluster, leader, [away, other]) = Cluster::of_three(by_hand()).await;
    let clients = |id| cluster.router.clients(id, Purpose::Any);
    let before = clients(other);
    for _ in 0..20 {
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    assert_eq!(clients(other), before, "no new client for an append");
    cluster.router.isolate(away);
    soon(leader.client_write(Add(1))).await.unwrap();
    compact(&leader).await;
    elapse(LONG).await;
    let tried = cluster.router.count(away, Kind::Snapshot);
    assert!(tried > 1);
    assert_eq!(cluster.router.clients(away, Purpose::Snapshot), tried, "one for each transfer");
    cluster.router.restore(away);
    cluster.applied(22).await;
    assert_eq!(cluster.router.over(Purpose::Heartbeats), [Kind::Heartbeat]);
    assert_eq!(cluster.router.over(Purpose::Snapshot), [Kind::Snapshot]);
}

#[tokio::test(start_paused = true)]
async fn each_vote_is_asked_for_over_a_client_of_its_own() {
    let (cluster, leader, [one, other]) = Cluster::of_three(config()).await;
    let id = *leader.node_id();
    cluster.router.isolate(id);
    let asked = || {
        [one, other]
            .map(|from| cluster.router.sent(from, Kind::PreVote) + cluster.router.sent(from, Kind::Vote))
            .iter()
            .sum::<u64>()
    };
    let made = || [1, 2, 3].map(|to| cluster.router.clients(to, Purpose::Any)).iter().sum::<u64>();
    let before = (asked(), made());
    cluster.nodes[&one]
        .wait(PATIENCE)
        .metrics(|m| m.current_term > 1 && m.current_leader.is_some(), "elected")
        .await
        .unwrap();
    elapse(Duration::from_millis(10)).await;
    assert_eq!(made() - before.1, asked() - before.0);
}

#[tokio::test(start_paused = true)]
async fn failures_that_may_pass_are_retried_at_once_some_ten_times_and_then_at_a_measured_pace() {
    for failure in [Failure::Network, Failure::Timeout] {
        let (cluster, leader, [bad, _]) = Cluster::of_three(config()).await;
        cluster.router.fail(bad, failure);
        let now = tokio::time::Instant::now();
        soon(leader.client_write(Add(1))).await.unwrap();
        elapse(Duration::from_millis(1)).await;
        let at_once = cluster.router.count(bad, Kind::Append);
        assert!((10..=13).contains(&at_once), "{failure:?}: {at_once} at once, in {:?}", now.elapsed());
        // 200, 400, 800, then 1000 ms each.
        elapse(LONG).await;
        let later = cluster.router.count(bad, Kind::Append) - at_once;
        assert!((4..=8).contains(&later), "{failure:?}: {later} in five seconds");
        // A success clears it all.
        cluster.router.restore(bad);
        cluster.applied(2).await;
        cluster.router.fail(bad, failure);
        let before = cluster.router.count(bad, Kind::Append);
        soon(leader.client_write(Add(1))).await.unwrap();
        elapse(Duration::from_millis(1)).await;
        assert!(cluster.router.count(bad, Kind::Append) - before >= 10, "{failure:?}");
        cluster.router.restore(bad);
        cluster.applied(3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_reached_is_left_in_peace_while_others_write() {
    let quiet = Config {
        heartbeat_interval: 5_000,
        election_timeout_min: 20_000,
        election_timeout_max: 30_000,
        ..config()
    };
    let (cluster, leader, [down, _]) = Cluster::of_three(quiet).await;
    cluster.router.isolate(down);
    let before = cluster.router.count(down, Kind::Append);
    for _ in 0..10 {
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    assert!(cluster.router.count(down, Kind::Append) - before <= 3);
    cluster.router.restore(down);
    // Leadership handed to it cuts the wait short.
    leader.trigger().transfer_leader(down).await.unwrap();
    let now = tokio::time::Instant::now();
    cluster.nodes[&down].wait(PATIENCE).metrics(|m| m.state.is_leader(), "leads").await.unwrap();
    assert!(now.elapsed() < Duration::from_millis(200), "{:?}", now.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_lost_on_its_way_is_sent_again_at_once_some_ten_times() {
    let (cluster, leader, [bad, _]) = Cluster::of_three(by_hand()).await;
    cluster.router.isolate(bad);
    soon(leader.client_write(Add(1))).await.unwrap();
    compact(&leader).await;
    elapse(LONG).await;
    cluster.router.restore(bad);
    cluster.router.fail(bad, Failure::Network);
    let before = cluster.router.count(bad, Kind::Snapshot);
    leader.trigger().reset_backoff([bad]).await.unwrap();
    elapse(Duration::from_millis(1100)).await;
    let tried = cluster.router.count(bad, Kind::Snapshot) - before;
    assert!((1..=20).contains(&tried), "{tried}");
    cluster.router.restore(bad);
    cluster.applied(2).await;
}

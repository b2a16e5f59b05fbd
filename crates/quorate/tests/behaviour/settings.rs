//! What each number of a config does, those that other chapters do not need; and what can be switched while running.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use quorate::Config;
use quorate::ServerState;
use quorate::SnapshotPolicy;
use quorate::async_runtime::WatchReceiver;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::cluster::term;
use crate::network::Kind;
use crate::network::Node;
use crate::network::Router;
use crate::stores::Add;

async fn write(leader: &Node, count: u64) {
    let results = leader.client_write_many((0..count).map(|_| Add(1))).await.unwrap();
    let results: Vec<_> = soon(results.collect()).await;
    assert!(results.iter().all(|result| result.as_ref().is_ok_and(Result::is_ok)), "{results:?}");
}

#[tokio::test(start_paused = true)]
async fn an_append_to_the_log_store_holds_no_more_entries_than_set() {
    let mut cluster = Cluster::new(Config { max_append_entries: Some(4), ..config() });
    let leader = cluster.found([1]).await;
    let log = cluster.disks[&1].log.clone();
    let before = log.appends();
    write(&leader, 10).await;
    assert_eq!(log.appends(), before + 3);

    let mut cluster = Cluster::new(Config { max_append_entries: None, api_batch_capacity: 5, ..config() });
    let leader = cluster.found([1]).await;
    let log = cluster.disks[&1].log.clone();
    let before = log.appends();
    write(&leader, 10).await;
    assert_eq!(log.appends(), before + 2);
}

#[tokio::test(start_paused = true)]
async fn few_entries_are_not_worth_a_purge() {
    let mut cluster = Cluster::new(Config {
        snapshot_policy: SnapshotPolicy::LogsSinceLast(20),
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 50,
        ..config()
    });
    let leader = cluster.found([1]).await;
    while last_log(&leader) < Some(45) {
        write(&leader, 1).await;
    }
    elapse(LONG).await;
    let metrics = leader.metrics().borrow_watched().clone();
    assert!(metrics.snapshot.is_some_and(|snapshot| snapshot.index >= 39));
    assert_eq!(metrics.purged, None);
    write(&leader, 20).await;
    let purged = |m: &quorate::RaftMetrics<_>| m.purged.is_some_and(|purged| purged.index >= 49);
    leader.wait(PATIENCE).metrics(purged, "enough for one").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn so_many_closures_wait_for_the_state_machine_and_further_callers_wait_for_room() {
    let mut cluster = Cluster::new(Config { state_machine_channel_size: Some(2), ..config() });
    let leader = cluster.found([1]).await;
    let gate = cluster.disks[&1].machine.apply_gate.clone();
    gate.close();
    leader.client_write_ff(Add(1), None).await.unwrap();
    elapse(Duration::from_millis(1)).await;
    for _ in 0..2 {
        soon(leader.external_state_machine_request(|_| Box::pin(async {}))).await.unwrap();
    }
    let third = leader.external_state_machine_request(|_| Box::pin(async {}));
    assert!(tokio::time::timeout(LONG, third).await.is_err());
    gate.open();
    soon(leader.with_state_machine(|_| Box::pin(async {}))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn entries_go_out_before_the_leaders_disk_has_them_only_if_set() {
    for early in [true, false] {
        let mut cluster = Cluster::new(Config { broadcast_submitted_on_append: Some(early), ..config() });
        let leader = cluster.found([1, 2, 3]).await;
        cluster.disks[leader.node_id()].log.fail(|faults| faults.withhold = true);
        // Less than it takes for a leader to give up on its disk.
        let written = tokio::time::timeout(Duration::from_millis(300), leader.client_write(Add(1))).await;
        assert_eq!(written.is_ok(), early, "{written:?}");
    }
}

/// A voter that was away until its leader tries it only every ten seconds, and is back now.
async fn given_up(reset: Option<bool>) -> (Cluster, Node, u64) {
    let backoff = "10s ..10s".to_string();
    let mut cluster = Cluster::new(Config { backoff, reset_backoff_on_transfer_leader: reset, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.others(&leader)[0];
    cluster.router.isolate(away);
    write(&leader, 5).await;
    elapse(Duration::from_millis(100)).await;
    cluster.router.restore(away);
    elapse(Duration::from_millis(100)).await;
    assert!(cluster.sum(away) < 5, "nobody tries it yet");
    (cluster, leader, away)
}

#[tokio::test(start_paused = true)]
async fn whoever_is_to_lead_is_tried_again_at_once_unless_set_otherwise() {
    for reset in [None, Some(true)] {
        let (cluster, leader, heir) = given_up(reset).await;
        leader.trigger().transfer_leader(heir).await.unwrap();
        elapse(Duration::from_millis(100)).await;
        assert!(cluster.nodes[&heir].is_leader(), "{reset:?}");
    }
    let (cluster, leader, heir) = given_up(Some(false)).await;
    leader.trigger().transfer_leader(heir).await.unwrap();
    elapse(Duration::from_millis(100)).await;
    assert!(!cluster.nodes[&heir].is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_learner_that_lags_a_little_is_up_to_date() {
    let mut cluster = Cluster::new(Config { replication_lag_threshold: 200, ..config() });
    let leader = cluster.found([1]).await;
    write(&leader, 100).await;
    soon(leader.add_learner(2, quorate::BasicNode::new("nowhere"), true)).await.unwrap();
    write(&leader, 200).await;
    let waiter = leader.clone();
    let waits =
        tokio::spawn(async move { waiter.add_learner(3, quorate::BasicNode::new("nowhere"), true).await });
    elapse(LONG).await;
    assert!(!waits.is_finished());
    waits.abort();
}

// --- Numbers that contradict each other.

/// A cluster that runs with a config as it is.
fn unchecked(config: Config) -> Cluster {
    Cluster {
        router: Router::default(),
        config: Arc::new(config),
        nodes: BTreeMap::new(),
        disks: BTreeMap::new(),
    }
}

fn absurd() -> Config {
    Config {
        heartbeat_interval: 0,
        max_payload_entries: 0,
        max_append_entries: Some(0),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(0),
        purge_batch_size: 0,
        api_channel_size: Some(0),
        api_batch_capacity: 0,
        state_machine_channel_size: Some(0),
        install_snapshot_timeout: 0,
        backoff: "nonsense".to_string(),
        ..Config::default()
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_of_nothing_are_put_up_with() {
    assert!(absurd().validate().is_err());
    let mut cluster = unchecked(absurd());
    let leader = cluster.found([1, 2, 3]).await;
    write(&leader, 20).await;
    cluster.applied(last_log(&leader).unwrap()).await;
    elapse(LONG).await;
    write(&cluster.leader().await, 1).await;
}

#[tokio::test(start_paused = true)]
async fn election_timeouts_that_contradict_each_other_hang_nobody() {
    for (election_timeout_min, election_timeout_max) in [(0, 0), (1, 0), (u64::MAX, 1), (1, 1)] {
        let (heartbeat_min_interval, quorum_loss_probe_interval) = (Some(u64::MAX), Some(0));
        let timeouts = Config {
            election_timeout_min,
            election_timeout_max,
            heartbeat_min_interval,
            quorum_loss_probe_interval,
            ..absurd()
        };
        assert!(timeouts.clone().validate().is_err());
        let mut cluster = unchecked(timeouts);
        for id in [1, 2, 3] {
            cluster.start(id).await;
        }
        let members = [1, 2, 3].map(|id| (id, quorate::BasicNode::new(id)));
        soon(cluster.nodes[&1].initialize(BTreeMap::from(members))).await.unwrap();
        elapse(Duration::from_millis(200)).await;
        for node in cluster.nodes.values() {
            assert_eq!(node.metrics().borrow_watched().running_state, Ok(()));
            // Whatever it says, it says something.
            let _ = tokio::time::timeout(LONG, node.client_write(Add(1))).await;
            soon(node.shutdown()).await.unwrap();
        }
    }
    let endless = Config { election_timeout_max: u64::MAX, ..absurd() };
    let mut cluster = unchecked(endless);
    let leader = cluster.found([1]).await;
    write(&leader, 1).await;
}

// --- Switches.

fn heartbeats(cluster: &Cluster) -> u64 {
    [1, 2, 3].map(|id| cluster.router.count(id, Kind::Heartbeat)).iter().sum()
}

#[tokio::test(start_paused = true)]
async fn without_ticks_nothing_happens_by_time_until_they_are_switched_on() {
    let mut cluster = Cluster::new(Config { enable_tick: false, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    elapse(LONG).await;
    let before = heartbeats(&cluster);
    elapse(LONG).await;
    assert_eq!(heartbeats(&cluster), before, "no heartbeats");
    leader.runtime_config().tick(true);
    elapse(LONG).await;
    assert!(heartbeats(&cluster) > before + 2 * LONG.as_millis() as u64 / 60);

    let (_, others) = (cluster.router.isolate(*leader.node_id()), cluster.others(&leader));
    elapse(LONG).await;
    let silent = others.iter().all(|id| term(&cluster.nodes[id]) == 1);
    assert!(silent, "no elections");
    cluster.nodes[&others[0]].runtime_config().tick(true);
    cluster.nodes[&others[0]].wait(PATIENCE).state(ServerState::Leader, "its time has come").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn ticks_may_be_switched_off_on_a_running_node() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    for node in cluster.nodes.values() {
        node.runtime_config().tick(false);
    }
    let before = heartbeats(&cluster);
    elapse(LONG).await;
    assert!(heartbeats(&cluster) <= before + 2, "at most those that were due already");
    assert_eq!([1, 2, 3].map(|id| term(&cluster.nodes[&id])), [1, 1, 1]);
    assert!(leader.is_leader());
}

#[tokio::test(start_paused = true)]
async fn heartbeats_may_be_switched_off_and_on() {
    let mut cluster = Cluster::new(Config { enable_elect: false, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    leader.runtime_config().heartbeat(false);
    elapse(Duration::from_millis(10)).await;
    let before = heartbeats(&cluster);
    elapse(LONG).await;
    assert_eq!(heartbeats(&cluster), before);
    assert!(leader.client_write(Add(1)).await.unwrap_err().forward_to_leader().is_some(), "no lease");
    leader.runtime_config().heartbeat(true);
    elapse(Duration::from_millis(60)).await;
    assert!(heartbeats(&cluster) >= before + 2, "at once, not when something else wakes it");
    write(&leader, 1).await;
}

#[tokio::test(start_paused = true)]
async fn elections_by_time_may_be_switched_off_and_on() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    for id in &others {
        cluster.nodes[id].runtime_config().elect(false);
    }
    cluster.router.isolate(*leader.node_id());
    elapse(LONG).await;
    assert!(others.iter().all(|id| term(&cluster.nodes[id]) == 1));
    cluster.nodes[&others[1]].runtime_config().elect(true);
    cluster.nodes[&others[1]].wait(PATIENCE).state(ServerState::Leader, "it may now").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pre_votes_may_be_switched_off_and_on() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.nodes[&cluster.others(&leader)[0]].clone();
    cluster.router.isolate(*away.node_id());
    elapse(LONG).await;
    assert_eq!(term(&away), 1, "it asks first, and nobody answers");
    away.runtime_config().pre_vote(false);
    elapse(LONG).await;
    let later = term(&away);
    assert!(later > 1);
    away.runtime_config().pre_vote(true);
    elapse(Duration::from_secs(1)).await;
    let settled = term(&away);
    elapse(LONG).await;
    assert_eq!(term(&away), settled);
    assert_eq!(away.config().enable_pre_vote, Some(true), "what it was started with");
}

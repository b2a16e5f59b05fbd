//! What becomes of a write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use quorate::BasicNode;
use quorate::Config;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::ClientWriteError;
use quorate::errors::RaftError;
use quorate::raft::responder::ProgressResponder;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::cluster::term;
use crate::network::Kind;
use crate::stores::Add;

#[tokio::test(start_paused = true)]
async fn a_write_that_another_leader_replaces_is_discarded() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let old = *leader.node_id();
    cluster.router.isolate(old);
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(100)).await });
    let (_, next) = cluster.depose(old).await;
    let last = next.client_write(Add(1)).await.unwrap().log_id.index;
    assert!(!write.is_finished(), "it may still be committed");
    cluster.router.restore(old);
    let error = soon(write).await.unwrap().unwrap_err();
    let RaftError::APIError(ClientWriteError::LogEntryDiscarded(forward)) = error else { panic!("{error}") };
    assert_eq!(forward.leader_id, Some(*next.node_id()));
    leader.wait(PATIENCE).applied_index_at_least(Some(last), "follows").await.unwrap();
    for id in [1, 2, 3] {
        cluster.disks[&id].machine.sum();
    }
    assert_eq!(cluster.disks[&old].machine.seen(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_survives_its_leader_is_acknowledged_once_applied_and_applied_once() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let old = *leader.node_id();
    let (at, write) = cluster.write_unanswered(&leader, Add(7)).await;
    let (_, next) = cluster.depose(old).await;
    assert!(term(&next) > term(&leader));
    cluster.router.restore(old);
    let written = soon(write).await.unwrap().unwrap();
    assert_eq!((written.log_id.index, written.data), (at, 7));
    cluster.applied(at).await;
    for id in [1, 2, 3] {
        assert_eq!(cluster.disks[&id].machine.seen(), [7]);
    }
}

#[tokio::test(start_paused = true)]
async fn many_clients_at_once_are_answered_each_with_its_own() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let writes = (0..1000).map(|_| leader.client_write(Add(1)));
    let mut answers: Vec<u64> = Vec::new();
    for write in soon(futures_util::future::join_all(writes)).await {
        let write = write.unwrap();
        assert_eq!(write.log_id.index, write.data + 1);
        answers.push(write.data);
    }
    assert_eq!(answers, (1..=1000).collect::<Vec<_>>());
    assert!(cluster.disks[leader.node_id()].log.appends() < 50, "written in batches");
}

#[tokio::test(start_paused = true)]
async fn entries_go_out_in_batches_no_larger_than_configured() {
    let mut cluster = Cluster::new(Config { max_payload_entries: 10, ..config() });
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = sizes.clone();
    cluster.router.listen(move |_, _, rpc| seen.lock().unwrap().push(rpc.entries.len()));
    let leader = cluster.found([1, 2, 3]).await;
    let writes = (0..200).map(|_| leader.client_write(Add(1)));
    soon(futures_util::future::join_all(writes)).await;
    cluster.applied(201).await;
    assert_eq!(sizes.lock().unwrap().iter().max(), Some(&10));
}

#[tokio::test(start_paused = true)]
async fn replication_waits_for_no_heartbeat() {
    let mut cluster = Cluster::new(Config {
        heartbeat_interval: 2_000,
        election_timeout_min: 10_000,
        election_timeout_max: 20_000,
        ..config()
    });
    let leader = cluster.found([1, 2, 3]).await;
    let now = tokio::time::Instant::now();
    for _ in 0..10 {
        let index = leader.client_write(Add(1)).await.unwrap().log_id.index;
        cluster.applied(index).await;
    }
    assert!(now.elapsed() < Duration::from_millis(100), "{:?}", now.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_network_that_loses_and_delays_costs_time_and_nothing_else() {
    for pipelined in [false, true] {
        let mut cluster = Cluster::new(config());
        if pipelined {
            cluster.router.pipeline();
        }
        let leader = cluster.found([1, 2, 3]).await;
        cluster.router.delay(Duration::from_millis(3));
        cluster.router.lose_every(7);
        for n in 1..=100 {
            assert_eq!(soon(leader.client_write(Add(1))).await.unwrap().data, n);
        }
        cluster.router.lose_every(0);
        cluster.applied(101).await;
        for id in [1, 2, 3] {
            assert_eq!(cluster.disks[&id].machine.seen(), [1; 100]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pipelined_network_carries_several_requests_at_a_time() {
    let mut cluster = Cluster::new(Config { max_payload_entries: 4, ..config() });
    cluster.router.pipeline();
    let leader = cluster.found([1, 2, 3]).await;
    let stuck = cluster.others(&leader)[0];
    cluster.disks[&stuck].log.fail(|faults| faults.withhold = true);
    let writes = (0..40).map(|_| leader.client_write(Add(1)));
    soon(futures_util::future::join_all(writes)).await;
    let all = last_log(&leader);
    cluster.nodes[&stuck].wait(PATIENCE).log_index(all, "sent though nothing is answered").await.unwrap();
    cluster.disks[&stuck].log.release();
    cluster.applied(all.unwrap()).await;
    assert_eq!(cluster.sum(stuck), 40);
}

#[tokio::test(start_paused = true)]
async fn a_leader_outvoted_by_an_answer_steps_down() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.others(&leader)[0];
    cluster.router.isolate(away);
    for _ in 0..3 {
        cluster.nodes[&away].trigger().elect(false).await.unwrap();
        elapse(Duration::from_millis(400)).await;
    }
    let higher = term(&cluster.nodes[&away]);
    assert!(higher > term(&leader));
    cluster.router.restore(away);
    leader.wait(PATIENCE).metrics(|m| m.current_term >= higher, "hears of the term").await.unwrap();
    let next = cluster.leader().await;
    soon(next.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wiped_follower_is_fed_anew_and_no_leader_falls_over() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    for _ in 0..50 {
        leader.client_write(Add(1)).await.unwrap();
    }
    cluster.applied(51).await;
    let wiped = cluster.others(&leader)[0];
    cluster.stop(wiped).await;
    cluster.disks.remove(&wiped);
    cluster.start(wiped).await;
    let last = soon(leader.client_write(Add(1))).await.unwrap().log_id.index;
    cluster.applied(last).await;
    assert_eq!(cluster.sum(wiped), 51);
    assert!(leader.is_leader());
    assert!(leader.metrics().borrow_watched().running_state.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_peer_whose_address_is_the_leaders_own_is_nobody() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let other = cluster.others(&leader)[0];
    cluster.router.misroute(other, *leader.node_id());
    let before = term(&leader);
    for _ in 0..20 {
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    elapse(LONG).await;
    assert!(leader.is_leader());
    assert_eq!(term(&leader), before);
    // Alone with itself it is no quorum, however often it answers itself.
    cluster.router.isolate(cluster.others(&leader)[1]);
    elapse(LONG).await;
    assert!(leader.client_write(Add(1)).await.is_err());
    assert!(leader.metrics().borrow_watched().running_state.is_ok());
    for id in cluster.others(&leader) {
        cluster.router.restore(id);
    }
    elapse(LONG).await;
    let leader = cluster.leader().await;
    let last = soon(leader.client_write(Add(1))).await.unwrap().log_id.index;
    cluster.applied(last).await;
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_asks_itself_wins_nothing() {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    cluster.router.misroute(2, 1);
    cluster.router.misroute(3, 1);
    let members: BTreeMap<_, _> = [1, 2, 3].map(|id| (id, BasicNode::new("same"))).into();
    node.initialize(members).await.unwrap();
    elapse(LONG).await;
    assert!(!node.is_leader());
    assert!(node.metrics().borrow_watched().running_state.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_down_is_not_asked_without_end() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let down = cluster.others(&leader)[0];
    cluster.router.isolate(down);
    leader.client_write(Add(1)).await.unwrap();
    let before = cluster.router.count(down, Kind::Append);
    elapse(LONG).await;
    let asked = cluster.router.count(down, Kind::Append) - before;
    assert!(asked <= LONG.as_millis() as u64 / 100, "{asked} requests");
    cluster.router.restore(down);
    leader.trigger().reset_backoff([down]).await.unwrap();
    let now = tokio::time::Instant::now();
    cluster.applied(2).await;
    assert!(now.elapsed() < Duration::from_millis(100), "the backoff is over: {:?}", now.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_write_may_be_left_to_a_responder_or_to_nobody() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    leader.client_write_ff(Add(1), None).await.unwrap();
    let (responder, committed, completed) = ProgressResponder::new();
    leader.client_write_ff(Add(2), Some(responder)).await.unwrap();
    let log_id = soon(committed).await.unwrap();
    let answer = soon(completed).await.unwrap().unwrap();
    assert_eq!((answer.log_id, answer.data), (log_id, 3));

    let (responder, _, completed) = ProgressResponder::new();
    let follower = cluster.nodes[&cluster.others(&leader)[0]].clone();
    follower.client_write_ff(Add(4), Some(responder)).await.unwrap();
    let refused = soon(completed).await.unwrap().unwrap_err();
    let ClientWriteError::ForwardToLeader(forward) = refused else { panic!("{refused}") };
    assert_eq!(forward.leader_id, Some(*leader.node_id()));
}

#[tokio::test(start_paused = true)]
async fn a_write_may_be_for_one_leader_alone() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let here = leader.client_write(Add(1)).await.unwrap().log_id.leader_id;
    let (responder, completed) = ProgressResponder::complete_only();
    leader.write(Add(1)).with_leader(here).responder(responder).await.unwrap();
    assert_eq!(soon(completed).await.unwrap().unwrap().data, 2);
    let other = quorate::impls::leader_id_adv::LeaderId { term: 77, node_id: 1 };
    let (responder, completed) = ProgressResponder::complete_only();
    leader.write(Add(1)).with_leader(other).responder(responder).await.unwrap();
    let refused = soon(completed).await.unwrap().unwrap_err();
    let ClientWriteError::ForwardToLeader(forward) = refused else { panic!("{refused}") };
    assert_eq!(forward.leader_id, Some(1));
    assert_eq!(leader.client_write(Add(1)).await.unwrap().data, 3);
}

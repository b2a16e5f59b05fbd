//! What a leader does: heartbeats, commits, handing over; and what it keeps when nobody answers.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use quorate::Config;
use quorate::ReadPolicy;
use quorate::ServerState;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::ForwardReason;
use quorate::raft::TransferLeaderRequest;

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

/// Writes without waiting for the outcome, and returns when the entry is in the leader's log.
async fn begin_write(leader: &Node) -> tokio::task::JoinHandle<bool> {
    let (writer, at) = (leader.clone(), last_log(leader).map(|last| last + 1));
    let write = tokio::spawn(async move { writer.client_write(Add(1)).await.is_ok() });
    leader.wait(PATIENCE).log_index_at_least(at, "in the log").await.unwrap();
    write
}

#[tokio::test(start_paused = true)]
async fn voters_and_learners_get_a_heartbeat_each_interval() {
    let (mut cluster, leader, [one, other]) = Cluster::of_three(config()).await;
    cluster.start(4).await;
    soon(leader.add_learner(4, quorate::BasicNode::new("node 4"), true)).await.unwrap();
    elapse(Duration::from_millis(200)).await;
    let beats = || [one, other, 4].map(|id| cluster.router.count(id, Kind::Heartbeat));
    let before = beats();
    elapse(Duration::from_secs(1)).await;
    for (before, after) in before.iter().zip(beats()) {
        assert!((19..=21).contains(&(after - before)), "{before} {after} in a second of 50 ms each");
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_says_what_is_known_to_match_and_no_more() {
    let (cluster, leader, [one, other]) = Cluster::of_three(config()).await;
    soon(leader.client_write(Add(1))).await.unwrap();
    cluster.applied(2).await;
    cluster.disks[&one].log.append_gate.close();
    let beats = Arc::new(Mutex::new(Vec::new()));
    let heard = beats.clone();
    cluster.router.listen(move |_, to, rpc| {
        if rpc.entries.is_empty() {
            heard.lock().unwrap().push((to, rpc.prev_log_id.map(|prev| prev.index)));
        }
    });
    soon(leader.client_write(Add(1))).await.unwrap();
    elapse(Duration::from_secs(1)).await;
    let prevs = |id| -> Vec<_> {
        beats.lock().unwrap().iter().filter(|(to, _)| *to == id).map(|(_, p)| *p).collect()
    };
    assert!(prevs(one).len() > 5 && prevs(one).iter().all(|prev| *prev == Some(2)), "{:?}", prevs(one));
    assert_eq!(prevs(other).last(), Some(&Some(3)));
    assert!(leader.is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_has_one_heartbeat_under_way_at_a_time() {
    let (cluster, _leader, [one, _]) = Cluster::of_three(config()).await;
    cluster.router.hang_kind(one, Kind::Heartbeat);
    let before = cluster.router.count(one, Kind::Heartbeat);
    elapse(Duration::from_secs(1)).await;
    let asked = cluster.router.count(one, Kind::Heartbeat) - before;
    assert!((15..=21).contains(&asked), "{asked}: each is given up after an interval");
}

#[tokio::test(start_paused = true)]
async fn after_the_quorum_is_lost_heartbeats_and_silence_alternate() {
    let probing = Config { quorum_loss_probe_interval: Some(1000), ..config() };
    let (cluster, leader, [one, other]) = Cluster::of_three(probing).await;
    for id in [one, other] {
        cluster.router.cut(id, *leader.node_id());
    }
    let sent = || cluster.router.sent(*leader.node_id(), Kind::Heartbeat);
    // What is still heard keeps the others from leading.
    elapse(Duration::from_millis(300)).await;
    let mut windows = Vec::new();
    for _ in 0..6 {
        elapse(Duration::from_millis(200)).await;
        let before = sent();
        elapse(Duration::from_millis(600)).await;
        windows.push(sent() - before > 0);
        elapse(Duration::from_millis(200)).await;
        if !leader.is_leader() {
            break;
        }
    }
    assert!(!windows[0], "first it is silent: {windows:?}");
    assert!(windows.len() < 3 || windows[1], "{windows:?}");
    for id in [one, other] {
        cluster.router.restore(id);
    }
    soon(cluster.leader()).await;
}

#[tokio::test(start_paused = true)]
async fn a_network_that_takes_a_part_of_a_request_gets_the_rest_next() {
    let (cluster, leader, _) = Cluster::of_three(config()).await;
    cluster.router.partial(3);
    let writes = (0..50).map(|_| leader.client_write(Add(1)));
    for write in soon(futures_util::future::join_all(writes)).await {
        write.unwrap();
    }
    cluster.applied(51).await;
    assert_eq!([1, 2, 3].map(|id| cluster.sum(id)), [50; 3]);
    assert!(leader.is_leader());
}

#[tokio::test(start_paused = true)]
async fn calls_one_after_the_other_carry_all_that_has_gathered_meanwhile() {
    let (cluster, leader, [one, _]) = Cluster::of_three(config()).await;
    cluster.router.delay(Duration::from_millis(10));
    let before = cluster.router.count(one, Kind::Append);
    let under_way = Arc::new(Mutex::new((0_u64, 0_usize)));
    let seen = under_way.clone();
    cluster.router.listen(move |_, to, rpc| {
        if to == one && !rpc.entries.is_empty() {
            let mut seen = seen.lock().unwrap();
            assert!(rpc.entries[0].log_id.index >= seen.0, "in order");
            *seen = (rpc.entries[0].log_id.index + rpc.entries.len() as u64, seen.1.max(rpc.entries.len()));
        }
    });
    let writers: Vec<_> = (0..100)
        .map(|_| {
            let writer = leader.clone();
            tokio::spawn(async move {
                for _ in 0..3 {
                    writer.client_write(Add(1)).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        soon(writer).await.unwrap();
    }
    cluster.applied(301).await;
    let calls = cluster.router.count(one, Kind::Append) - before;
    assert!(calls <= 10, "{calls} calls for three rounds of a hundred entries");
    assert!(under_way.lock().unwrap().1 >= 100);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_applied_before_the_commit_is_saved() {
    let (cluster, leader, _) = Cluster::of_three(config()).await;
    let log = cluster.disks[leader.node_id()].log.clone();
    log.commit_gate.close();
    let write = begin_write(&leader).await;
    elapse(Duration::from_millis(100)).await;
    let metrics = leader.metrics().borrow_watched().clone();
    assert_eq!(metrics.local_committed.map(|last| last.index), Some(2), "a quorum has it");
    assert_eq!((metrics.last_applied.map(|last| last.index), write.is_finished()), (Some(1), false));
    assert_eq!(cluster.sum(*leader.node_id()), 0);
    log.commit_gate.open();
    assert!(soon(write).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_follower_applies_what_is_committed_though_its_own_disk_is_behind() {
    let (cluster, leader, [one, _]) = Cluster::of_three(config()).await;
    cluster.disks[&one].log.fail(|faults| faults.withhold = true);
    soon(leader.client_write(Add(1))).await.unwrap();
    cluster.applied(2).await;
    assert_eq!(cluster.sum(one), 1);
    let flushed = |node: &Node| node.metrics().borrow_watched().replication.clone().unwrap()[&one];
    assert!(flushed(&leader).is_some_and(|matched| matched.index < 2), "it has not acknowledged it");
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_quorum_keeps_what_is_pending_and_goes_on_when_it_is_back() {
    let (cluster, leader, others) = Cluster::of_three(config()).await;
    let before = term(&leader);
    // They hear it, so that no other leads, and it does not hear them.
    for id in others {
        cluster.router.cut(id, *leader.node_id());
    }
    let write = begin_write(&leader).await;
    elapse(Duration::from_secs(1)).await;
    assert_eq!(leader.metrics().borrow_watched().state, ServerState::Leader);
    let end = last_log(&leader);
    let refused = leader.client_write(Add(1)).await.unwrap_err();
    let refused = refused.forward_to_leader().unwrap();
    assert_eq!((refused.leader_id, refused.reason), (None, ForwardReason::LeaseExpired));
    let refused = leader.change_membership([1, 2], false).await.unwrap_err();
    assert_eq!(refused.forward_to_leader().unwrap().reason, ForwardReason::LeaseExpired);
    assert_eq!(
        (last_log(&leader), write.is_finished()),
        (end, false),
        "nothing is appended, nothing is lost"
    );
    for id in others {
        cluster.router.mend(id, *leader.node_id());
    }
    assert!(soon(write).await.unwrap());
    assert_eq!(term(&leader), before);
}

#[tokio::test(start_paused = true)]
async fn a_lone_voter_needs_no_lease() {
    let mut cluster = Cluster::new(Config { enable_heartbeat: false, ..config() });
    let leader = cluster.found([1]).await;
    elapse(LONG).await;
    soon(leader.client_write(Add(1))).await.unwrap();
    let now = tokio::time::Instant::now();
    soon(leader.ensure_linearizable(ReadPolicy::ReadIndex)).await.unwrap();
    soon(leader.ensure_linearizable(ReadPolicy::LeaseRead)).await.unwrap();
    assert_eq!(now.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn while_leadership_is_handed_over_nothing_is_let_in_and_no_heartbeat_leaves() {
    let (cluster, leader, [to, other]) = Cluster::of_three(config()).await;
    cluster.router.hang_kind(to, Kind::Transfer);
    cluster.router.hang_kind(other, Kind::Transfer);
    leader.trigger().transfer_leader(to).await.unwrap();
    let beats = || [to, other].map(|id| cluster.router.count(id, Kind::Heartbeat)).iter().sum::<u64>();
    elapse(Duration::from_millis(60)).await;
    let before = beats();
    let check = |forward: &quorate::errors::ForwardToLeader<_>| {
        assert_eq!((forward.leader_id, forward.reason), (Some(to), ForwardReason::LeadershipTransfer));
    };
    check(leader.client_write(Add(1)).await.unwrap_err().forward_to_leader().unwrap());
    check(leader.ensure_linearizable(ReadPolicy::ReadIndex).await.unwrap_err().forward_to_leader().unwrap());
    check(leader.ensure_linearizable(ReadPolicy::LeaseRead).await.unwrap_err().forward_to_leader().unwrap());
    check(leader.change_membership([1, 2], false).await.unwrap_err().forward_to_leader().unwrap());
    leader.trigger().heartbeat().await.unwrap();
    elapse(Duration::from_millis(200)).await;
    assert_eq!(beats(), before);
    assert_eq!(cluster.router.sent(*leader.node_id(), Kind::Transfer), 2, "all other voters are told");
}

/// The contract lets the leader wait for ever to be outvoted.
#[tokio::test(start_paused = true)]
async fn a_transfer_that_nobody_takes_up_is_given_up() {
    let (cluster, leader, others) = Cluster::of_three(Config { enable_elect: false, ..config() }).await;
    for id in others {
        cluster.router.hang_kind(id, Kind::Transfer);
    }
    leader.trigger().transfer_leader(others[0]).await.unwrap();
    elapse(Duration::from_millis(590)).await;
    assert!(leader.client_write(Add(1)).await.is_err());
    elapse(Duration::from_millis(20)).await;
    acknowledged(&leader).await;
    soon(leader.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_learner_that_is_told_to_lead_refuses_or_does_nothing() {
    let (mut cluster, leader, _) = Cluster::of_three(config()).await;
    cluster.start(4).await;
    soon(leader.add_learner(4, quorate::BasicNode::new("node 4"), true)).await.unwrap();
    cluster.applied(last_log(&leader).unwrap()).await;
    let before = term(&leader);
    leader.trigger().transfer_leader(4).await.unwrap();
    soon(leader.client_write(Add(1))).await.unwrap();
    // Told by a leader that has promoted it in an entry that it has not got.
    let from = leader.metrics().borrow_watched().vote;
    let mut last = cluster.disks[leader.node_id()].log.last().unwrap();
    last.index += 1;
    let answer =
        soon(cluster.nodes[&4].handle_transfer_leader(TransferLeaderRequest::new(from, 4, Some(last)))).await;
    assert!(answer.unwrap().is_err());
    elapse(LONG).await;
    assert_eq!((term(&leader), term(&cluster.nodes[&4])), (before, before));
}

#[tokio::test(start_paused = true)]
async fn an_old_leader_shows_no_peers_and_a_new_one_shows_all() {
    let (mut cluster, leader, _) = Cluster::of_three(config()).await;
    let id = *leader.node_id();
    assert_eq!(leader.metrics().borrow_watched().replication.as_ref().unwrap().len(), 3);
    let (old, next) = cluster.depose(id).await;
    let shown = next.metrics().borrow_watched().clone();
    assert_eq!(shown.replication.unwrap().keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(shown.heartbeat.unwrap()[&id], None, "it has not answered");
    cluster.router.restore(id);
    let metrics = old.wait(PATIENCE).metrics(|m| !m.state.is_leader(), "steps down").await.unwrap();
    assert_eq!((metrics.replication, metrics.heartbeat), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_wiped_follower_is_found_by_heartbeats_and_fed_anew() {
    let (mut cluster, leader, [wiped, _]) = Cluster::of_three(config()).await;
    for _ in 0..20 {
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    cluster.applied(21).await;
    cluster.stop(wiped).await;
    cluster.disks.remove(&wiped);
    let node = cluster.start(wiped).await;
    // Nothing is written: only heartbeats can tell.
    node.wait(PATIENCE).applied_index(Some(21), "fed anew").await.unwrap();
    assert_eq!(cluster.sum(wiped), 20);
    assert!(leader.is_leader() && leader.metrics().borrow_watched().running_state.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wiped_follower_counts_for_no_quorum_until_it_is_fed() {
    let (mut cluster, leader, [wiped, other]) = Cluster::of_three(config()).await;
    soon(leader.client_write(Add(1))).await.unwrap();
    cluster.applied(2).await;
    cluster.stop(wiped).await;
    cluster.disks.remove(&wiped);
    cluster.router.isolate(other);
    let node = cluster.start(wiped).await;
    let log = cluster.disks[&wiped].log.clone();
    log.append_gate.close();
    let write = begin_write(&leader).await;
    elapse(Duration::from_millis(200)).await;
    assert!(!write.is_finished(), "what it had acknowledged in its former life is not there");
    log.append_gate.open();
    assert!(soon(write).await.unwrap());
    node.wait(PATIENCE).applied_index(Some(3), "fed").await.unwrap();
}

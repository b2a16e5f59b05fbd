//! Linearizable reads: never stale, and never for ever.

use std::time::Duration;

use quorate::Config;
use quorate::ReadPolicy;
use quorate::errors::LinearizableReadError;
use quorate::errors::RaftError;
use quorate::raft::linearizable_read::LinearizerOption;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::acknowledged;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::network::Kind;
use crate::stores::Add;

/// As long as answers count; less than followers wait before they campaign.
const LEASE: Duration = Duration::from_millis(300);

#[tokio::test(start_paused = true)]
async fn a_cut_off_leader_gives_no_read() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    leader.client_write(Add(1)).await.unwrap();
    let (old, next) = cluster.depose(*leader.node_id()).await;
    next.client_write(Add(1)).await.unwrap();
    for policy in [ReadPolicy::ReadIndex, ReadPolicy::LeaseRead] {
        let refused = soon(old.ensure_linearizable(policy)).await.unwrap_err();
        let RaftError::APIError(LinearizableReadError::QuorumNotEnough(refused)) = refused else {
            panic!("{refused}")
        };
        assert!(refused.got.contains(old.node_id()));
        assert!(refused.got.len() < 2, "{:?}", refused.got);
    }
    cluster.router.restore(*old.node_id());
    let last = next.client_write(Add(1)).await.unwrap().log_id.index;
    old.wait(PATIENCE).applied_index_at_least(Some(last), "follows").await.unwrap();
    let refused = old.ensure_linearizable(ReadPolicy::ReadIndex).await.unwrap_err();
    assert_eq!(refused.forward_to_leader().unwrap().leader_id, Some(*next.node_id()));
}

#[tokio::test(start_paused = true)]
async fn a_read_under_way_when_leadership_ends_is_sent_to_the_new_leader() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let (old, next) = cluster.depose(*leader.node_id()).await;
    let reader = old.clone();
    let patient = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(LONG);
    let read = tokio::spawn(async move { reader.ensure_linearizable(patient).await });
    elapse(Duration::from_millis(10)).await;
    cluster.router.restore(*old.node_id());
    let refused = soon(read).await.unwrap().unwrap_err();
    assert_eq!(refused.forward_to_leader().unwrap().leader_id, Some(*next.node_id()));
}

#[tokio::test(start_paused = true)]
async fn a_lease_read_asks_nobody_and_is_refused_after_the_lease() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    acknowledged(&leader).await;
    for other in cluster.others(&leader) {
        cluster.router.isolate(other);
    }
    leader.ensure_linearizable(ReadPolicy::LeaseRead).await.unwrap();
    elapse(Duration::from_millis(310)).await;
    let refused = leader.ensure_linearizable(ReadPolicy::LeaseRead).await.unwrap_err();
    assert!(matches!(refused, RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_impatient_read_by_index_fails_at_once() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let now = tokio::time::Instant::now();
    let impatient = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(Duration::ZERO);
    let refused = leader.ensure_linearizable(impatient).await.unwrap_err();
    assert!(matches!(refused, RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))), "{refused}");
    assert_eq!(now.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_follower_reads_what_the_leader_had_acknowledged() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let slow = cluster.others(&leader)[0];
    cluster.disks[&slow].machine.apply_gate.close();
    leader.client_write(Add(5)).await.unwrap();
    let linearizer = leader.get_read_linearizer(ReadPolicy::ReadIndex).await.unwrap();
    let follower = cluster.nodes[&slow].clone();
    let early =
        linearizer.clone().try_await_ready(&follower, Some(Duration::from_millis(100))).await.unwrap();
    let unready = early.unwrap_err();
    assert!(unready.applied().is_none_or(|applied| applied.index < unready.read_log_id().index()));
    cluster.disks[&slow].machine.apply_gate.open();
    let ready = soon(linearizer.await_ready(&follower)).await.unwrap();
    assert_eq!(*ready.node_id(), slow);
    assert_eq!(cluster.sum(slow), 5);
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_until_the_leader_itself_has_applied() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let machine = cluster.disks[&1].machine.clone();
    machine.apply_gate.close();
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(5)).await });
    leader.wait(PATIENCE).committed_index_at_least(Some(2), "committed").await.unwrap();
    let reader = leader.clone();
    let read = tokio::spawn(async move { reader.ensure_linearizable(ReadPolicy::ReadIndex).await });
    elapse(LONG).await;
    assert!(!read.is_finished());
    machine.apply_gate.open();
    assert_eq!(soon(read).await.unwrap().unwrap().index(), 2);
    assert_eq!(machine.sum(), 5);
    soon(write).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_hung_peer_does_not_hold_up_reads() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    cluster.router.hang(cluster.others(&leader)[0]);
    let now = tokio::time::Instant::now();
    for _ in 0..20 {
        soon(leader.ensure_linearizable(ReadPolicy::ReadIndex)).await.unwrap();
    }
    assert!(now.elapsed() < Duration::from_millis(50), "{:?}", now.elapsed());
}

#[tokio::test(start_paused = true)]
async fn reads_at_one_time_share_heartbeats() {
    let mut cluster = Cluster::new(Config { enable_heartbeat: false, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    let peer = cluster.others(&leader)[0];
    let before = cluster.router.count(peer, Kind::Heartbeat);
    let reads = (0..100).map(|_| leader.ensure_linearizable(ReadPolicy::ReadIndex));
    for read in soon(futures_util::future::join_all(reads)).await {
        read.unwrap();
    }
    let asked = cluster.router.count(peer, Kind::Heartbeat) - before;
    assert!(asked <= 3, "{asked} heartbeats for 100 reads");
}

#[tokio::test(start_paused = true)]
async fn a_read_does_with_an_answer_as_old_as_it_allows() {
    let mut cluster = Cluster::new(Config { enable_heartbeat: false, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    leader.client_write(Add(1)).await.unwrap();
    leader.wait(PATIENCE).leader_with_quorum_acked(None, "answers").await.unwrap();
    elapse(Duration::from_millis(100)).await;
    let old = Duration::from_millis(150);
    let young = Duration::from_millis(50);
    let at_once = |age| LinearizerOption::new(Some(age), false).with_wait_timeout(Duration::ZERO);
    leader.ensure_linearizable(at_once(old)).await.unwrap();
    let refused = leader.ensure_linearizable(at_once(young)).await.unwrap_err();
    assert!(matches!(refused, RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))), "{refused}");
    elapse(LEASE).await;
    let ancient = leader.ensure_linearizable(at_once(10 * LEASE)).await.unwrap_err();
    let refused = matches!(ancient, RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)));
    assert!(refused, "no answer does that is older than the lease: {ancient}");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_waits_takes_any_answer_that_is_young_enough() {
    let mut cluster = Cluster::new(Config { enable_heartbeat: false, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    elapse(LEASE).await;
    cluster.router.delay(Duration::from_millis(20));
    let asked = cluster.router.count(cluster.others(&leader)[0], Kind::Heartbeat);
    leader.trigger().heartbeat().await.unwrap();
    elapse(Duration::from_millis(5)).await;
    // It comes in after the heartbeats were sent; so their answers do not tell whether this node led then.
    let strict =
        LinearizerOption::new(Some(Duration::ZERO), false).with_wait_timeout(Duration::from_millis(100));
    let lenient = LinearizerOption::new(Some(Duration::from_millis(100)), false)
        .with_wait_timeout(Duration::from_millis(100));
    let leased = LinearizerOption::new(None, false).with_wait_timeout(Duration::from_millis(100));
    let (strict, lenient, leased) = tokio::join!(
        leader.ensure_linearizable(strict),
        leader.ensure_linearizable(lenient),
        leader.ensure_linearizable(leased),
    );
    let refused = strict.unwrap_err();
    assert!(matches!(refused, RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))), "{refused}");
    assert_eq!(lenient.unwrap(), leased.unwrap());
    assert_eq!(
        cluster.router.count(cluster.others(&leader)[0], Kind::Heartbeat),
        asked + 1,
        "none was asked for"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_read_says_which_voters_answered() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3, 4, 5]).await;
    let own = *leader.node_id();
    cluster.start(6).await;
    leader.add_learner(6, quorate::BasicNode::new("f"), true).await.unwrap();
    let others = cluster.others(&leader);
    for other in others.iter().filter(|id| **id != 6).skip(1) {
        cluster.router.isolate(*other);
    }
    elapse(LONG).await;
    for policy in [ReadPolicy::ReadIndex, ReadPolicy::LeaseRead] {
        let refused = soon(leader.ensure_linearizable(policy)).await.unwrap_err();
        let RaftError::APIError(LinearizableReadError::QuorumNotEnough(refused)) = refused else {
            panic!("{refused}")
        };
        assert_eq!(refused.got, [own, others[0]].into(), "a learner counts for nothing");
        let voters =
            (1..=5).map(|id| format!("{id}:BasicNode {{ addr: \"node {id}\" }}")).collect::<Vec<_>>();
        let cluster =
            format!("{{voters:[{{{}}}], learners:[6:BasicNode {{ addr: \"f\" }}]}}", voters.join(","));
        assert_eq!(refused.cluster, cluster);
        assert!(refused.to_string().starts_with("not enough for a quorum, cluster: {voters:["), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_hands_over_or_leaves_sends_reads_to_the_next() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    acknowledged(&leader).await;
    let to = cluster.others(&leader)[0];
    cluster.router.hang(to);
    leader.trigger().transfer_leader(to).await.unwrap();
    for policy in [ReadPolicy::ReadIndex, ReadPolicy::LeaseRead] {
        let refused = soon(leader.get_read_log_id(policy)).await.unwrap_err();
        let forward = refused.forward_to_leader().unwrap();
        assert_eq!(forward.leader_id, Some(to));
        assert_eq!(forward.reason, quorate::errors::ForwardReason::LeadershipTransfer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_sees_the_first_entry_of_its_leader_and_all_that_is_committed() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let (blank, applied) = leader.get_read_log_id(ReadPolicy::ReadIndex).await.unwrap();
    assert_eq!((blank.index(), applied.unwrap().index), (1, 1));
    assert_eq!(
        (*blank.committed_leader_id(), blank.to_string()),
        (blank.log_id().leader_id, "T1-N1.1".into())
    );
    let last = leader.client_write(Add(1)).await.unwrap().log_id;
    let (read, applied) = leader.get_read_log_id(ReadPolicy::LeaseRead).await.unwrap();
    assert_eq!((*read.log_id(), applied), (last, Some(last)), "alone, it is its own quorum");
    let linearizer = leader.get_read_linearizer(ReadPolicy::ReadIndex).await.unwrap();
    assert_eq!((linearizer.read_log_id().index(), *linearizer.node_id()), (last.index, 1));
    let ready = linearizer.await_ready(&leader).await.unwrap();
    let text = "LinearizeState[id=1]{ read_log_id: T1-N1.2, applied: T1-N1.2 }";
    assert_eq!(ready.to_string(), text);
}

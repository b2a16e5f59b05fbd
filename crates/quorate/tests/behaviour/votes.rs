//! Who gets a vote, what a refusal teaches, and when a campaign begins.

use std::time::Duration;

use quorate::Config;
use quorate::ServerState;
use quorate::Vote;
use quorate::async_runtime::WatchReceiver;
use quorate::raft::AppendEntriesRequest;
use quorate::raft::TransferLeaderRequest;
use quorate::raft::VoteRequest;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::cluster::term;
use crate::network::Failure;
use crate::network::Kind;
use crate::stores::Add;
use crate::stores::Types;

/// The lease, and the longest election timeout.
const LEASE: Duration = Duration::from_millis(300);

/// Elections without a round of pre-votes before them.
fn plain() -> Config {
    Config { enable_pre_vote: Some(false), ..config() }
}

#[tokio::test(start_paused = true)]
async fn a_lease_forbids_a_vote_unless_leadership_is_handed_over() {
    let (cluster, leader, [voter, heir]) = Cluster::of_three(config()).await;
    let (node, last) = (cluster.nodes[&voter].clone(), cluster.disks[&voter].log.last());
    let candidate = Vote::new(term(&leader) + 1, heir);
    let asked = VoteRequest::new(candidate, last);
    let refused = node.vote(asked.clone()).await.unwrap();
    assert!(!refused.vote_granted && !refused.is_granted_to(&candidate));
    assert_eq!(refused.vote, leader.metrics().borrow_watched().vote, "its own vote");
    assert_eq!(refused.last_log_id, last);
    assert!(!node.pre_vote(asked.clone()).await.unwrap().vote_granted);
    // Nor does the leader itself, while a quorum answers it.
    assert!(!leader.vote(asked.clone()).await.unwrap().vote_granted);
    assert!(!leader.pre_vote(asked.clone()).await.unwrap().vote_granted);
    assert!(leader.is_leader());
    let handed = VoteRequest { leadership_transfer: true, ..asked };
    let granted = node.vote(handed).await.unwrap();
    assert!(granted.vote_granted && granted.is_granted_to(&candidate));
    assert_eq!(cluster.disks[&voter].log.vote(), Some(candidate));
}

#[tokio::test(start_paused = true)]
async fn who_is_told_of_a_transfer_may_vote_for_the_heir_at_once() {
    let (cluster, leader, [voter, heir]) = Cluster::of_three(config()).await;
    let (node, last) = (cluster.nodes[&voter].clone(), cluster.disks[&voter].log.last());
    let from = leader.metrics().borrow_watched().vote;
    let asked = VoteRequest::new(Vote::new(term(&leader) + 1, heir), last);
    let wrong = TransferLeaderRequest::new(Vote::new_committed(0, 9), heir, last);
    assert_eq!(node.handle_transfer_leader(wrong).await.unwrap(), Ok(()));
    assert!(!node.vote(asked.clone()).await.unwrap().vote_granted, "that was another leader's wish");
    let told = TransferLeaderRequest::new(from, heir, last);
    assert_eq!(node.handle_transfer_leader(told).await.unwrap(), Ok(()));
    assert!(node.vote(asked).await.unwrap().vote_granted);
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_quorum_may_give_its_vote_and_steps_down() {
    let (cluster, leader, others) = Cluster::of_three(config()).await;
    for id in others {
        cluster.router.isolate(id);
    }
    elapse(LEASE * 2).await;
    assert!(leader.is_leader(), "it leads on in its own eyes");
    let candidate = Vote::new(term(&leader) + 1, others[0]);
    let asked = VoteRequest::new(candidate, cluster.disks[leader.node_id()].log.last());
    assert!(leader.vote(asked).await.unwrap().vote_granted);
    let metrics = leader.wait(PATIENCE).state(ServerState::Follower, "steps down").await.unwrap();
    assert_eq!((metrics.vote, metrics.current_leader), (candidate, None));
    assert_eq!((metrics.replication, metrics.heartbeat), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_vote_is_answered_when_it_is_durable() {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    let log = cluster.disks[&1].log.clone();
    log.vote_gate.close();
    let voter = node.clone();
    let answer = tokio::spawn(async move { voter.vote(VoteRequest::new(Vote::new(5, 2), None)).await });
    elapse(LONG).await;
    assert!(!answer.is_finished() && log.vote().is_none());
    let metrics = node.metrics().borrow_watched().clone();
    assert_eq!((metrics.current_term, metrics.vote), (5, Vote::new(0, 1)), "`vote` is the durable one");
    log.vote_gate.open();
    assert!(soon(answer).await.unwrap().unwrap().vote_granted);
    assert_eq!(log.vote(), Some(Vote::new(5, 2)));
}

/// The contract lets the requests go out beside the write. A candidate that crashes in between could come back without
/// its vote, and give the same term's vote to another.
#[tokio::test(start_paused = true)]
async fn a_candidate_asks_when_its_own_vote_is_durable() {
    let (mut cluster, leader, [one, other]) = Cluster::of_three(plain()).await;
    cluster.stop(*leader.node_id()).await;
    let log = cluster.disks[&one].log.clone();
    cluster.disks[&other].log.vote_gate.close();
    log.vote_gate.close();
    cluster.nodes[&one].trigger().elect(false).await.unwrap();
    elapse(LONG).await;
    assert_eq!(cluster.router.sent(one, Kind::Vote), 0);
    assert_eq!(cluster.nodes[&one].metrics().borrow_watched().state, ServerState::Candidate);
    log.vote_gate.open();
    elapse(Duration::from_millis(10)).await;
    assert!(cluster.router.sent(one, Kind::Vote) >= 1);
    cluster.disks[&other].log.vote_gate.open();
    cluster.leader().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_with_a_higher_vote_teaches_its_term() {
    for pre_vote in [false, true] {
        let quiet = Config { enable_elect: false, ..plain() };
        let (mut cluster, leader, [one, other]) = Cluster::of_three(quiet).await;
        cluster.stop(*leader.node_id()).await;
        elapse(LEASE * 2).await;
        let higher = Vote::new(77, 99);
        let last = cluster.disks[&other].log.last();
        assert!(cluster.nodes[&other].vote(VoteRequest::new(higher, last)).await.unwrap().vote_granted);
        let node = cluster.nodes[&one].clone();
        node.trigger().elect(pre_vote).await.unwrap();
        let metrics = node.wait(PATIENCE).metrics(|m| m.current_term == 77, "hears of it").await.unwrap();
        assert_eq!((metrics.state, metrics.current_leader), (ServerState::Follower, None));
        node.wait(PATIENCE).vote(higher, "not committed").await.unwrap();
        // The next campaign outbids it.
        node.trigger().elect(pre_vote).await.unwrap();
        node.wait(PATIENCE).state(ServerState::Leader, "wins").await.unwrap();
        assert_eq!(term(&node), 78);
    }
}

#[tokio::test(start_paused = true)]
async fn a_campaign_begins_after_the_lease_and_an_election_timeout() {
    let (cluster, leader, others) = Cluster::of_three(plain()).await;
    let campaigns = || others.map(|id| cluster.router.sent(id, Kind::Vote)).iter().sum::<u64>();
    let before = campaigns();
    cluster.router.isolate(*leader.node_id());
    // A heartbeat was heard less than an interval ago; the shortest timeout is 150 ms.
    elapse(LEASE + Duration::from_millis(150 - 50)).await;
    assert_eq!(campaigns(), before, "too early");
    elapse(Duration::from_millis(50 + 150 + 1)).await;
    assert!(campaigns() > before, "the longest is 300 ms");
}

#[tokio::test(start_paused = true)]
async fn who_knows_of_a_greater_log_lets_its_holder_go_first() {
    let (mut cluster, leader, [behind, ahead]) = Cluster::of_three(plain()).await;
    cluster.router.isolate(behind);
    soon(leader.client_write(Add(1))).await.unwrap();
    cluster.stop(*leader.node_id()).await;
    cluster.nodes[&ahead].runtime_config().elect(false);
    elapse(LEASE * 2).await;
    cluster.router.restore(behind);
    cluster.nodes[&behind].trigger().elect(false).await.unwrap();
    elapse(Duration::from_millis(10)).await;
    let asked = cluster.router.sent(behind, Kind::Vote);
    // It waits for its election timeout, and for two of the longest besides; then not again.
    elapse(LEASE * 2).await;
    assert_eq!(cluster.router.sent(behind, Kind::Vote), asked, "it waits");
    cluster.router.isolate(ahead);
    elapse(LEASE * 3).await;
    let asked_later = cluster.router.sent(behind, Kind::Vote);
    assert!(asked_later > asked, "not for ever");
    elapse(LEASE * 2).await;
    assert!(cluster.router.sent(behind, Kind::Vote) > asked_later, "once");
    cluster.router.restore(ahead);
    cluster.nodes[&ahead].runtime_config().elect(true);
    assert_eq!(*cluster.leader().await.node_id(), ahead);
}

#[tokio::test(start_paused = true)]
async fn a_follower_told_to_campaign_beats_a_leader_whose_lease_has_passed() {
    let (cluster, leader, [heir, _]) = Cluster::of_three(Config { enable_heartbeat: false, ..plain() }).await;
    let before = term(&leader);
    // Within the lease it is refused.
    cluster.nodes[&heir].trigger().elect(false).await.unwrap();
    elapse(Duration::from_millis(10)).await;
    assert!(!cluster.nodes[&heir].is_leader());
    let node = loop {
        elapse(LEASE).await;
        cluster.nodes[&heir].trigger().elect(false).await.unwrap();
        elapse(Duration::from_millis(20)).await;
        if cluster.nodes[&heir].is_leader() {
            break cluster.nodes[&heir].clone();
        }
    };
    assert!(term(&node) > before);
    leader.wait(PATIENCE).current_leader(heir, "follows").await.unwrap();
    assert!(!leader.is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_winner_writes_a_blank_entry_at_once_and_feeds_voters_and_learners() {
    let (mut cluster, leader, _) = Cluster::of_three(config()).await;
    cluster.start(4).await;
    soon(leader.add_learner(4, quorate::BasicNode::new("node 4"), true)).await.unwrap();
    let end = crate::cluster::last_log(&leader).unwrap();
    cluster.applied(end).await;
    cluster.stop(*leader.node_id()).await;
    let next = cluster.leader().await;
    cluster.applied(end + 1).await;
    for id in cluster.nodes.keys() {
        let last = cluster.disks[id].log.entries().pop().unwrap();
        assert_eq!((last.log_id.index, last.log_id.leader_id.term), (end + 1, term(&next)));
        assert_eq!(last.payload, quorate::EntryPayload::Blank);
    }
}

#[tokio::test(start_paused = true)]
async fn pre_votes_that_are_not_granted_change_nothing_and_are_tried_again() {
    let (cluster, leader, [one, other]) = Cluster::of_three(config()).await;
    let before = term(&leader);
    cluster.router.isolate(*leader.node_id());
    for failure in [Some(Failure::Network), Some(Failure::Timeout), None] {
        for id in [one, other] {
            match failure {
                Some(failure) => cluster.router.fail(id, failure),
                None => cluster.router.isolate(id),
            }
        }
        elapse(LONG).await;
        let asked = cluster.router.sent(one, Kind::PreVote);
        elapse(LONG).await;
        assert!(cluster.router.sent(one, Kind::PreVote) > asked + 3, "{failure:?}: it tries again");
        for id in [one, other] {
            assert_eq!(term(&cluster.nodes[&id]), before, "{failure:?}");
            assert_eq!(cluster.disks[&id].log.vote().unwrap().leader_id.term, before, "nothing is saved");
            assert_eq!(cluster.router.sent(id, Kind::Vote), 0, "{failure:?} is no grant");
        }
    }
    for id in [one, other] {
        cluster.router.restore(id);
    }
    let asks = cluster.router.votes().pop().unwrap();
    assert_eq!(asks.vote.leader_id.term, before + 1, "asked at the next term");
    let elected = |m: &quorate::RaftMetrics<Types>| m.current_term > before && m.current_leader.is_some();
    cluster.nodes[&one].wait(PATIENCE).metrics(elected, "one of them leads").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_live_leader_refuses_its_own_pre_vote() {
    let (cluster, leader, [one, _]) = Cluster::of_three(config()).await;
    let before = term(&leader);
    cluster.nodes[&one].trigger().elect(true).await.unwrap();
    elapse(LONG).await;
    assert_eq!(cluster.router.sent(one, Kind::PreVote), 0);
    assert_eq!((term(&leader), leader.is_leader()), (before, true));
}

#[tokio::test(start_paused = true)]
async fn a_lone_voter_needs_no_pre_vote() {
    let mut cluster = Cluster::new(config());
    cluster.found([1]).await;
    assert_eq!(cluster.router.sent(1, Kind::PreVote), 0);
}

#[tokio::test(start_paused = true)]
async fn hearing_the_leader_is_enough_though_nobody_is_reached() {
    let (cluster, leader, [one, other]) = Cluster::of_three(plain()).await;
    let before = term(&leader);
    let heard = || cluster.nodes[&one].metrics().borrow_watched().current_leader;
    for id in [other, *leader.node_id()] {
        cluster.router.cut(one, id);
    }
    elapse(LONG).await;
    assert_eq!((term(&cluster.nodes[&one]), heard()), (before, Some(*leader.node_id())));
    assert_eq!(cluster.router.sent(one, Kind::Vote), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_greater_leader_ends_a_candidacy_and_a_leadership() {
    let (cluster, leader, others) = Cluster::of_three(plain()).await;
    let greater = Vote::new_committed(50, 77);
    let beat =
        AppendEntriesRequest { vote: greater, prev_log_id: None, entries: Vec::new(), leader_commit: None };
    assert!(leader.append_entries(beat.clone()).await.unwrap().is_success());
    let metrics = leader.wait(PATIENCE).vote(greater, "follows").await.unwrap();
    assert_eq!((metrics.state, metrics.current_leader), (ServerState::Follower, Some(77)));
    assert_eq!(cluster.disks[leader.node_id()].log.vote(), Some(greater));

    let node = cluster.nodes[&others[0]].clone();
    for id in [1, 2, 3] {
        cluster.router.isolate(id);
    }
    node.wait(PATIENCE).state(ServerState::Candidate, "campaigns").await.unwrap();
    let greater = Vote::new_committed(500, 77);
    assert!(node.append_entries(AppendEntriesRequest { vote: greater, ..beat }).await.unwrap().is_success());
    let metrics = node.wait(PATIENCE).vote(greater, "follows").await.unwrap();
    assert_eq!((metrics.state, metrics.current_leader), (ServerState::Follower, Some(77)));
}

//! Requests from other nodes that are late, repeated or malformed: a correct answer, and no harm.

use futures_util::StreamExt;
use futures_util::stream;
use quorate::ServerState;
use quorate::SnapshotMeta;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::Fatal;
use quorate::raft::AppendEntriesRequest;
use quorate::raft::AppendEntriesResponse;
use quorate::raft::StreamAppendError;
use quorate::raft::TransferLeaderError;
use quorate::raft::TransferLeaderRequest;
use quorate::raft::VoteRequest;
use quorate::type_config::alias::VoteOf;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::cluster::term;
use crate::messages::entry;
use crate::messages::id;
use crate::messages::request;
use crate::messages::vote;
use crate::network::Node;
use crate::stores::Add;
use crate::stores::Id;
use crate::stores::Types;

/// A node that no other runs beside; the test plays the leader, node 9.
async fn alone() -> (Cluster, Node) {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    (cluster, node)
}

#[tokio::test(start_paused = true)]
async fn a_repeated_or_late_request_takes_nothing_away() {
    let (cluster, node) = alone().await;
    for _ in 0..2 {
        let answer = node.append_entries(request(None, 0..10)).await.unwrap();
        assert_eq!(answer, AppendEntriesResponse::Success);
    }
    assert_eq!(node.append_entries(request(None, 0..3)).await.unwrap(), AppendEntriesResponse::Success);
    assert_eq!(node.append_entries(request(Some(2), 3..5)).await.unwrap(), AppendEntriesResponse::Success);
    assert_eq!(node.append_entries(request(Some(4), [])).await.unwrap(), AppendEntriesResponse::Success);
    assert_eq!(cluster.disks[&1].log.last(), Some(id(3, 9, 9)));
    assert_eq!(cluster.disks[&1].log.appends(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_from_the_future_conflicts() {
    let (cluster, node) = alone().await;
    node.append_entries(request(None, 0..3)).await.unwrap();
    for early in [request(Some(7), 8..10), request(Some(u64::MAX - 1), []), request(Some(u64::MAX), [])] {
        assert_eq!(soon(node.append_entries(early)).await.unwrap(), AppendEntriesResponse::Conflict);
    }
    assert_eq!(cluster.disks[&1].log.last(), Some(id(3, 9, 2)));
    assert_eq!(node.append_entries(request(Some(2), 3..4)).await.unwrap(), AppendEntriesResponse::Success);
}

#[tokio::test(start_paused = true)]
async fn entries_that_no_leader_sends_are_refused_whole() {
    let (cluster, node) = alone().await;
    node.append_entries(request(None, 0..3)).await.unwrap();
    let mut shrinking = request(Some(2), 3..5);
    shrinking.entries[1].log_id = id(1, 9, 4);
    let mut newer = request(Some(2), 3..5);
    newer.entries[1].log_id = id(8, 9, 4);
    let malformed = [
        request(Some(2), [3, 5]),
        request(Some(2), [3, 3]),
        request(Some(2), [5]),
        request(Some(2), [1]),
        request(None, [u64::MAX]),
        request(Some(2), [3, u64::MAX]),
        shrinking,
        newer,
    ];
    for bad in malformed {
        assert_eq!(soon(node.append_entries(bad)).await.unwrap(), AppendEntriesResponse::Conflict);
    }
    assert_eq!(cluster.disks[&1].log.last(), Some(id(3, 9, 2)));
    assert_eq!(node.append_entries(request(Some(2), 3..4)).await.unwrap(), AppendEntriesResponse::Success);
    assert!(node.metrics().borrow_watched().running_state.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_is_no_leader_is_told_of_the_higher_vote() {
    let (cluster, node) = alone().await;
    node.append_entries(request(None, 0..3)).await.unwrap();
    for wrong in [vote(2, 9, true), vote(3, 8, true), vote(3, 9, false), vote(0, 0, false)] {
        let answer =
            node.append_entries(AppendEntriesRequest { vote: wrong, ..request(Some(2), 3..9) }).await;
        assert_eq!(answer.unwrap(), AppendEntriesResponse::HigherVote(vote(3, 9, true)), "{wrong}");
    }
    assert_eq!(cluster.disks[&1].log.last(), Some(id(3, 9, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_newer_leader_replaces_what_conflicts() {
    let (cluster, node) = alone().await;
    node.append_entries(request(None, 0..10)).await.unwrap();
    let newer = AppendEntriesRequest {
        vote: vote(4, 8, true),
        prev_log_id: Some(id(3, 9, 4)),
        entries: vec![entry(id(4, 8, 5))],
        leader_commit: Some(id(4, 8, 5)),
    };
    assert_eq!(node.append_entries(newer).await.unwrap(), AppendEntriesResponse::Success);
    assert_eq!(cluster.disks[&1].log.last(), Some(id(4, 8, 5)));
    cluster.applied(5).await;
    // The old leader's late entries no longer count, and what is committed stays for good.
    let late = node.append_entries(request(Some(4), 5..9)).await.unwrap();
    assert_eq!(late, AppendEntriesResponse::HigherVote(vote(4, 8, true)));
    let rewriting = AppendEntriesRequest {
        vote: vote(5, 7, true),
        prev_log_id: Some(id(3, 9, 1)),
        entries: vec![entry(id(5, 7, 2))],
        leader_commit: None,
    };
    assert_eq!(soon(node.append_entries(rewriting)).await.unwrap(), AppendEntriesResponse::Conflict);
    assert_eq!(cluster.disks[&1].log.last(), Some(id(4, 8, 5)));
    assert!(node.metrics().borrow_watched().running_state.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_answered_in_order_each_when_durable_and_ends_at_the_first_error() {
    let (cluster, node) = alone().await;
    let log = cluster.disks[&1].log.clone();
    log.fail(|faults| faults.withhold = true);
    let requests =
        [request(None, 0..3), request(Some(2), 3..6), request(Some(9), 10..11), request(Some(5), 6..7)];
    let mut answers = Box::pin(node.stream_append(stream::iter(requests)));
    let early = tokio::time::timeout(LONG, answers.next()).await;
    assert!(early.is_err(), "nothing is durable yet");
    assert!(last_log(&node) >= Some(5), "but it is under way");
    log.release();
    assert_eq!(soon(answers.next()).await.unwrap().unwrap(), Ok(Some(id(3, 9, 2))));
    assert_eq!(soon(answers.next()).await.unwrap().unwrap(), Ok(Some(id(3, 9, 5))));
    let conflict = soon(answers.next()).await.unwrap().unwrap();
    assert_eq!(conflict, Err(StreamAppendError::Conflict(id(3, 9, 9))));
    assert!(soon(answers.next()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_the_disk_but_not_for_ever_once_the_node_stops() {
    let (mut cluster, node) = alone().await;
    cluster.disks[&1].log.fail(|faults| faults.withhold = true);
    let sender = node.clone();
    let append = tokio::spawn(async move { sender.append_entries(request(None, 0..3)).await });
    elapse(LONG).await;
    assert!(!append.is_finished());
    cluster.stop(1).await;
    assert_eq!(soon(append).await.unwrap().unwrap_err().fatal(), Some(&Fatal::Stopped));
}

#[tokio::test(start_paused = true)]
async fn votes_go_to_whose_log_is_not_behind_and_to_one_a_term() {
    let (_cluster, node) = alone().await;
    node.append_entries(request(None, 0..3)).await.unwrap();
    elapse(LONG).await;
    let ask = async |vote: VoteOf<Types>, last: Option<Id>| {
        node.vote(VoteRequest { vote, last_log_id: last, leadership_transfer: false })
            .await
            .unwrap()
            .vote_granted
    };
    assert!(!ask(vote(9, 2, false), None).await, "its log is behind");
    assert!(!ask(vote(2, 2, false), Some(id(3, 9, 2))).await, "its term is behind");
    assert!(!ask(vote(9, 2, true), Some(id(3, 9, 2))).await, "a committed vote asks for nothing");
    assert!(ask(vote(9, 2, false), Some(id(3, 9, 2))).await);
    assert!(ask(vote(9, 2, false), Some(id(3, 9, 2))).await, "asked again");
    assert!(!ask(vote(9, 1, false), Some(id(3, 9, 2))).await, "a smaller id in the same term");
    let pre =
        VoteRequest { vote: vote(20, 2, false), last_log_id: Some(id(3, 9, 2)), leadership_transfer: false };
    assert!(node.pre_vote(pre).await.unwrap().vote_granted);
    assert_eq!(term(&node), 9, "a pre-vote changes nothing");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_is_taken_up_or_refused_with_the_reason() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let from = leader.metrics().borrow_watched().vote;
    let others = cluster.others(&leader);
    let target = cluster.nodes[&others[0]].clone();
    let last = cluster.disks[leader.node_id()].log.last();

    let other = TransferLeaderRequest::new(from, others[1], last);
    assert_eq!(target.handle_transfer_leader(other).await.unwrap(), Ok(()));
    let beyond = TransferLeaderRequest::new(from, others[0], Some(id(1, from.leader_id.node_id, 1000)));
    let refused = soon(target.handle_transfer_leader(beyond)).await.unwrap().unwrap_err();
    let TransferLeaderError::LogNotFlushed { actual, .. } = refused else { panic!("{refused}") };
    assert_eq!(actual, last);
    let old = TransferLeaderRequest::new(vote(0, 3, true), others[0], last);
    let refused = soon(target.handle_transfer_leader(old)).await.unwrap().unwrap_err();
    let TransferLeaderError::VoteChanged { actual, .. } = refused else { panic!("{refused}") };
    assert_eq!(actual, from);

    let good = TransferLeaderRequest::new(from, others[0], last);
    assert_eq!(soon(target.handle_transfer_leader(good)).await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_target_of_a_transfer_waits_for_its_own_disk() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let from = leader.metrics().borrow_watched().vote;
    let target = cluster.others(&leader)[0];
    let log = cluster.disks[&target].log.clone();
    log.fail(|faults| faults.withhold = true);
    let last = soon(leader.client_write(Add(1))).await.unwrap().log_id;
    let node = cluster.nodes[&target].clone();
    node.wait(crate::cluster::PATIENCE).applied_index(Some(last.index), "taken").await.unwrap();
    let request = TransferLeaderRequest::new(from, target, Some(last));
    let transfer = tokio::spawn(async move { node.handle_transfer_leader(request).await });
    elapse(std::time::Duration::from_millis(20)).await;
    log.release();
    assert_eq!(soon(transfer).await.unwrap().unwrap(), Ok(()), "flushed in time");
}

#[tokio::test(start_paused = true)]
async fn a_learner_that_is_to_lead_says_no() {
    let (_cluster, node) = alone().await;
    let request = TransferLeaderRequest::new(vote(3, 9, true), 1, Some(id(3, 9, 5)));
    let refused = soon(node.handle_transfer_leader(request)).await.unwrap().unwrap_err();
    assert!(matches!(refused, TransferLeaderError::LogNotFlushed { .. }), "{refused}");
    assert_eq!(node.metrics().borrow_watched().state, ServerState::Learner);
}

#[tokio::test(start_paused = true)]
async fn snapshots_that_no_leader_sends_are_refused_and_change_nothing() {
    let (cluster, node) = alone().await;
    let append = AppendEntriesRequest { leader_commit: Some(id(3, 9, 5)), ..request(None, 0..10) };
    node.append_entries(append).await.unwrap();
    cluster.applied(5).await;
    let offer = |last| quorate::Snapshot {
        meta: SnapshotMeta { last_log_id: Some(last), last_membership: Default::default() },
        snapshot: 77,
    };
    let lower = soon(node.install_full_snapshot(vote(2, 9, true), offer(id(2, 9, 20)))).await.unwrap();
    assert_eq!(lower.vote, vote(3, 9, true));
    let covered = soon(node.install_full_snapshot(vote(3, 9, true), offer(id(3, 9, 4)))).await.unwrap();
    assert_eq!(covered.vote, vote(3, 9, true));
    for impossible in [id(4, 9, 20), id(3, 9, u64::MAX), id(2, 9, 8)] {
        let refused = soon(node.install_full_snapshot(vote(3, 9, true), offer(impossible))).await;
        assert!(matches!(refused, Err(Fatal::StorageError(_))), "{impossible}: {refused:?}");
    }
    let own = soon(node.install_full_snapshot(vote(3, 1, true), offer(id(3, 1, 20)))).await;
    assert!(own.is_ok_and(|own| own.vote == vote(3, 9, true)), "its own id, another vote");
    assert_eq!(cluster.sum(1), 6);
    assert!(node.metrics().borrow_watched().running_state.is_ok());
    let installed = soon(node.install_full_snapshot(vote(3, 9, true), offer(id(3, 9, 20)))).await.unwrap();
    assert_eq!(installed.vote, vote(3, 9, true));
    assert_eq!(cluster.sum(1), 77);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_comes_back_to_its_sender_is_no_success() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let own = leader.metrics().borrow_watched().vote;
    leader.trigger().snapshot().await.unwrap();
    leader.wait(crate::cluster::PATIENCE).metrics(|m| m.snapshot.is_some(), "built").await.unwrap();
    let snapshot = leader.get_snapshot().await.unwrap().unwrap();
    assert!(soon(leader.install_full_snapshot(own, snapshot)).await.is_err());
    soon(leader.client_write(Add(1))).await.unwrap();
}

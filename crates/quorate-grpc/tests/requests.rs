//! Votes, heartbeats, append streams and calls between nodes over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use futures_util::{StreamExt, stream};
use quorate::errors::RPCError;
use quorate::network::RPCOption;
use quorate::raft::{AppendEntriesResponse, StreamAppendError, TransferLeaderRequest, VoteRequest};
use quorate::{RaftNetworkV2, Vote};
use quorate_grpc::{CallError, CallRefusal, HandshakeError, TransportError, TransportOptions};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

fn ttl() -> RPCOption {
    RPCOption::new(PATIENCE)
}

fn ask() -> VoteRequest<Types> {
    VoteRequest::new(Vote::new(2, 1), Some(log_id(7)))
}

#[tokio::test]
async fn single_requests_get_their_answers() {
    let (a, b) = (Node::start(1, options()).await, Node::start(2, options()).await);
    let mut network = a.network_to(&b).await;
    let granted = network.vote(ask(), ttl()).await.unwrap();
    assert!(granted.vote_granted && granted.last_log_id == Some(log_id(7)));
    assert!(!network.pre_vote(ask(), ttl()).await.unwrap().vote_granted);
    let beaten = network.append_entries(heartbeat(), ttl()).await.unwrap();
    assert_eq!(beaten, AppendEntriesResponse::Success);
    let transfer = TransferLeaderRequest::new(vote(), 2, None);
    let stopped = network.transfer_leader(transfer, ttl()).await.unwrap_err();
    assert!(matches!(&stopped, RPCError::Unreachable(_)), "{stopped:?}");
    assert!(stopped.to_string().contains("raft stopped"), "{stopped}");
}

#[tokio::test]
async fn a_stream_keeps_requests_in_flight_and_answers_in_order() {
    let (a, mut b) = (Node::start(1, options()).await, Node::start(2, options()).await);
    b.raft.answers.forget_permits(Semaphore::MAX_PERMITS);
    let mut network = a.network_to(&b).await;
    let input = stream::iter((1..=20).map(|index| append(index, index, 10)));
    let mut answers = network.stream_append(input, ttl()).await.unwrap();
    // All twenty arrive before the first is answered.
    for index in 1..=20 {
        assert_eq!(b.seen.recv().await.unwrap(), (Some(index - 1), 1));
    }
    b.raft.answers.add_permits(20);
    for index in 1..=20 {
        assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(index))));
    }
    assert!(answers.next().await.is_none(), "ends with the requests");
}

#[tokio::test]
async fn a_stream_is_bounded_in_requests_and_in_bytes() {
    let few = TransportOptions { append_in_flight_max: 3, ..options() };
    let small = TransportOptions { append_in_flight_bytes_max: 2500, ..options() };
    for options in [few, small] {
        let (a, mut b) = (Node::start(1, options).await, Node::start(2, common::options()).await);
        b.raft.answers.forget_permits(Semaphore::MAX_PERMITS);
        let (taken, mut takes) = mpsc::unbounded_channel();
        let input = stream::iter(1..=10).map(move |index| {
            taken.send(index).unwrap();
            append(index, index, 1000)
        });
        let mut network = a.network_to(&b).await;
        let mut answers = network.stream_append(input, ttl()).await.unwrap();
        for _ in 0..3 {
            b.seen.recv().await.unwrap();
        }
        // The three that have arrived are all that were taken from the log.
        assert_eq!([takes.recv().await, takes.recv().await, takes.recv().await], [Some(1), Some(2), Some(3)]);
        assert!(takes.try_recv().is_err());
        b.raft.answers.add_permits(1);
        assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(1))));
        assert_eq!(b.seen.recv().await.unwrap(), (Some(3), 1));
    }
}

#[tokio::test]
async fn a_conflict_ends_the_stream() {
    let (a, b) = (Node::start(1, options()).await, Node::start(2, options()).await);
    *b.raft.conflict_at.lock().unwrap() = Some(1);
    let mut network = a.network_to(&b).await;
    let input = stream::iter((1..=3).map(|index| append(index, index, 10))).chain(stream::pending());
    let mut answers = network.stream_append(input, ttl()).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(1))));
    assert_eq!(answers.next().await.unwrap().unwrap(), Err(StreamAppendError::Conflict(log_id(1))));
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_batch_larger_than_a_message_goes_in_parts_and_is_one_answer() {
    let (a, mut b) = (Node::start(1, options()).await, Node::start(2, options()).await);
    let mut network = a.network_to(&b).await;
    let size = 300 * 1024;
    let input = stream::iter([append(1, 7, size), append(8, 8, 10)]);
    let answers = network.stream_append(input, ttl()).await.unwrap();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap()).collect().await;
    assert_eq!(answers, [Ok(Some(log_id(7))), Ok(Some(log_id(8)))]);
    let parts = [(Some(0), 3), (Some(3), 3), (Some(6), 1), (Some(7), 1)];
    for part in parts {
        assert_eq!(b.seen.recv().await.unwrap(), part);
    }
    // A single request sends what fits, and says how far that is.
    let taken = network.append_entries(append(1, 7, size), ttl()).await.unwrap();
    assert_eq!(taken, AppendEntriesResponse::PartialSuccess(Some(log_id(3))));
}

#[tokio::test]
async fn the_smaller_limit_of_the_two_ends_counts() {
    let small = TransportOptions { message_size_max: 64 * 1024, ..options() };
    let (a, b) = (Node::start(1, options()).await, Node::start(2, small).await);
    let mut network = a.network_to(&b).await;
    let taken = network.append_entries(append(1, 4, 20 * 1024), ttl()).await.unwrap();
    assert_eq!(taken, AppendEntriesResponse::PartialSuccess(Some(log_id(3))));
}

#[tokio::test]
async fn an_entry_larger_than_a_message_is_a_typed_error() {
    let (a, mut b) = (Node::start(1, options()).await, Node::start(2, options()).await);
    let mut network = a.network_to(&b).await;
    let input = stream::iter([append(1, 1, 10), append(2, 2, 2 * 1024 * 1024)]);
    let mut answers = network.stream_append(input, ttl()).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(1))));
    let error = answers.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the entry T1-N1.2 of 20971"), "{error}");
    assert!(answers.next().await.is_none());
    drop(answers);
    let error = network.append_entries(append(2, 2, 2 * 1024 * 1024), ttl()).await.unwrap_err();
    assert!(matches!(error, RPCError::Unreachable(_)), "to try again at once is of no use");
    assert_eq!(b.seen.recv().await, Some((Some(0), 1)));
    assert!(b.seen.try_recv().is_err(), "nothing else has arrived");
    assert_eq!(a.transport.metrics().oversize.get(), 2);
}

#[tokio::test]
async fn calls_reach_the_application_and_come_back() {
    let (a, b) = (Node::start(1, options()).await, Node::start(2, options()).await);
    let call = |kind, body| a.transport.call::<Types>(&b.id, &b.member, kind, body, PATIENCE);
    assert_eq!(call(1, Bytes::from_static(b"hello")).await.unwrap(), "hello");
    assert_eq!(call(2, Bytes::new()).await.unwrap(), "1 true");
    let unknown = CallRefusal::UnknownKind { kind: 9 };
    let error = call(9, Bytes::new()).await.unwrap_err();
    assert_eq!(error, CallError::NotDelivered(TransportError::Refused(unknown)));
    let overloaded = CallRefusal::Overloaded { retry_after: Duration::from_millis(7) };
    let error = call(5, Bytes::new()).await.unwrap_err();
    assert_eq!(error, CallError::NotDelivered(TransportError::Refused(overloaded)));
    let error = call(1, vec![0; 2 * 1024 * 1024].into()).await.unwrap_err();
    assert!(matches!(error, CallError::NotDelivered(TransportError::TooLarge { .. })), "{error:?}");
    let error = call(4, Bytes::new()).await.unwrap_err();
    assert!(matches!(error, CallError::OutcomeUnknown(_)), "the handler has acted: {error:?}");
}

#[tokio::test]
async fn a_call_without_an_answer_in_time_has_an_unknown_outcome() {
    let (a, b) = (Node::start(1, options()).await, Node::start(2, options()).await);
    let short = Duration::from_millis(20);
    // A first call makes the connection, so that the second is on its way for sure.
    a.transport.call::<Types>(&b.id, &b.member, 1, Bytes::new(), PATIENCE).await.unwrap();
    let error = a.transport.call::<Types>(&b.id, &b.member, 3, Bytes::new(), short).await.unwrap_err();
    assert!(matches!(error, CallError::OutcomeUnknown(_)), "{error:?}");
    let nobody = unused_address().await;
    let error = a.transport.call_address(&nobody, 1, Bytes::new(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, CallError::NotDelivered(TransportError::Connect { .. })), "{error:?}");
}

#[tokio::test]
async fn a_node_without_a_cluster_may_call_by_address() {
    let fresh = Node::start_in(1, None, options(), "127.0.0.1:0").await;
    let b = Node::start(2, options()).await;
    let answer = fresh.transport.call_address(&b.member.address, 2, Bytes::new(), PATIENCE).await.unwrap();
    assert_eq!(answer, "1 false");
    let mut network = fresh.network_to(&b).await;
    let error = network.vote(ask(), ttl()).await.unwrap_err();
    assert!(error.to_string().contains("node 1 belongs to no cluster yet"), "{error}");
    assert_eq!(b.raft.votes(), 0);
}

#[tokio::test]
async fn a_wrong_cluster_is_refused_on_both_ends_and_no_vote_is_looked_at() {
    let a = Node::start(1, options()).await;
    let b = Node::start_in(2, Some(0xc2), options(), "127.0.0.1:0").await;
    let wrong = HandshakeError::WrongCluster { expected: CLUSTER, found: 0xc2 };
    let mut network = a.network_to(&b).await;
    let error = network.vote(ask(), ttl()).await.unwrap_err();
    assert!(matches!(&error, RPCError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains(&wrong.to_string()), "{error}");
    assert_eq!(b.raft.votes(), 0);
    assert_eq!(a.transport.metrics().refused(&wrong), 1);
    assert_eq!(*a.roster.refusals.lock().unwrap(), std::slice::from_ref(&wrong));
    until(|| b.transport.metrics().refused(&wrong) == 1).await;
}

#[tokio::test]
async fn a_hung_peer_costs_its_time_and_nobody_elses() {
    let (a, b, c) =
        (Node::start(1, options()).await, Node::start(2, options()).await, Node::start(3, options()).await);
    b.raft.is_hanging.store(true, Ordering::SeqCst);
    let (mut to_b, mut to_c) = (a.network_to(&b).await, a.network_to(&c).await);
    let mut hung = Box::pin(to_b.vote(ask(), ttl()));
    tokio::select! {
        answer = &mut hung => panic!("{answer:?}"),
        () = b.raft.hung.notified() => {}
    }
    // While that one hangs, others are served, and so is the same peer.
    assert!(to_c.vote(ask(), ttl()).await.unwrap().vote_granted);
    let mut again = a.network_to(&b).await;
    assert!(!again.pre_vote(ask(), ttl()).await.unwrap().vote_granted);
    drop(hung);
    let error = to_b.vote(ask(), RPCOption::new(Duration::from_millis(20))).await.unwrap_err();
    assert!(matches!(error, RPCError::Timeout(_)), "{error:?}");
}

#[tokio::test]
async fn a_stream_without_answers_ends_with_a_timeout() {
    let brisk = TransportOptions { append_stall_timeout: Duration::from_millis(20), ..options() };
    let (a, b) = (Node::start(1, brisk).await, Node::start(2, options()).await);
    b.raft.answers.forget_permits(Semaphore::MAX_PERMITS);
    let mut network = a.network_to(&b).await;
    // With the connection made, nothing but the answer can be late.
    a.transport.call::<Types>(&b.id, &b.member, 1, Bytes::new(), PATIENCE).await.unwrap();
    let input = stream::iter([append(1, 1, 10)]).chain(stream::pending());
    let error = match network.stream_append(input, RPCOption::new(Duration::from_millis(20))).await {
        Ok(mut answers) => answers.next().await.unwrap().unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, RPCError::Timeout(_)), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_is_given_up() {
    let brisk = TransportOptions { handshake_timeout: Duration::from_millis(20), ..options() };
    let a = Node::start(1, brisk).await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let member = TestNode { address: mute.local_addr().unwrap().to_string(), uid: uid(2) };
    let mut network = a.network_to_member(2, &member).await;
    let error = network.vote(ask(), ttl()).await.unwrap_err();
    assert!(matches!(&error, RPCError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains("no handshake within 20ms"), "{error}");
}

#[tokio::test]
async fn shutdown_ends_although_a_stream_is_open() {
    let (a, b) = (Node::start(1, options()).await, Node::start(2, options()).await);
    let mut network = a.network_to(&b).await;
    let input = stream::iter([append(1, 1, 10)]).chain(stream::pending());
    let mut answers = network.stream_append(input, ttl()).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(1))));
    b.shutdown().await;
    let error = answers.next().await.unwrap().unwrap_err();
    assert!(matches!(error, RPCError::Network(_)), "{error:?}");
}

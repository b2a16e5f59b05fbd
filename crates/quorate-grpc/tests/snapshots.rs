//! Snapshots between nodes over loopback: whole, interrupted, damaged, cancelled, slow to install.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use quorate::errors::{ReplicationClosed, StreamingError};
use quorate::network::RPCOption;
use quorate::raft::SnapshotResponse;
use quorate::type_config::alias::SnapshotOf;
use quorate::{RaftNetworkV2, Snapshot, SnapshotMeta, StoredMembership};
use quorate_grpc::TransportOptions;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Many pieces, the last of them a small one.
const LENGTH: usize = 40 * PIECE + 77;
const PIECE: usize = 64 * 1024;

fn pieces() -> TransportOptions {
    TransportOptions { snapshot_chunk_max: PIECE, ..options() }
}

/// The time that the library gives by default; a transfer may take longer.
fn ttl() -> RPCOption {
    RPCOption::new(Duration::from_millis(200))
}

fn content() -> Arc<Vec<u8>> {
    Arc::new((0..LENGTH).map(|at| if at % 1024 < 16 { (at / 1024 % 251) as u8 } else { FILLER }).collect())
}

fn snapshot(index: u64, checksum: Option<u32>) -> SnapshotOf<Types, TestSnapshot> {
    let last_membership = StoredMembership::default();
    let meta = SnapshotMeta { last_log_id: Some(log_id(index)), last_membership };
    Snapshot { meta, snapshot: TestSnapshot { content: content(), checksum } }
}

async fn send(from: &Node, to: &Node, index: u64) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
    from.network_to(to).await.full_snapshot(vote(), snapshot(index, None), pending(), ttl()).await
}

#[tokio::test]
async fn a_snapshot_arrives_whole_in_many_pieces() {
    let (a, b) = (Node::start(1, pieces()).await, Node::start(2, pieces()).await);
    let response = send(&a, &b, 9).await.unwrap();
    assert_eq!(response.vote, vote());
    assert_eq!(*b.raft.installed.lock().unwrap(), [content().to_vec()]);
    assert_eq!(b.transport.metrics().snapshot_bytes_received.get(), LENGTH as u64);
}

#[tokio::test]
async fn an_empty_snapshot_arrives() {
    let (a, b) = (Node::start(1, pieces()).await, Node::start(2, pieces()).await);
    let mut empty = snapshot(9, None);
    empty.snapshot.content = Arc::default();
    a.network_to(&b).await.full_snapshot(vote(), empty, pending(), ttl()).await.unwrap();
    assert_eq!(*b.raft.installed.lock().unwrap(), [Vec::<u8>::new()]);
}

#[tokio::test]
async fn an_interrupted_transfer_goes_on_where_it_stopped() {
    let meddler = Meddler::new();
    let a = Node::start_meddled(1, pieces(), meddler.clone()).await;
    let b = Node::start(2, pieces()).await;
    meddler.set(Meddling::CutAfter(LENGTH / 2));
    let error = send(&a, &b, 9).await.unwrap_err();
    assert!(matches!(error, StreamingError::Network(_)), "{error:?}");
    assert!(b.raft.installed.lock().unwrap().is_empty());
    meddler.set(Meddling::Nothing);
    while send(&a, &b, 9).await.is_err() {
        // The connection may be left alone for a moment.
        tokio::task::yield_now().await;
    }
    assert_eq!(*b.raft.installed.lock().unwrap(), [content().to_vec()]);
    assert_eq!(b.transport.metrics().snapshots_resumed.get(), 1);
    assert_eq!(b.snapshots.created.load(Ordering::SeqCst), 1);
    // Not a byte was stored twice.
    assert_eq!(b.transport.metrics().snapshot_bytes_received.get(), LENGTH as u64);
}

#[tokio::test]
async fn another_snapshot_begins_anew() {
    let meddler = Meddler::new();
    let a = Node::start_meddled(1, pieces(), meddler.clone()).await;
    let b = Node::start(2, pieces()).await;
    meddler.set(Meddling::CutAfter(LENGTH / 2));
    send(&a, &b, 9).await.unwrap_err();
    meddler.set(Meddling::Nothing);
    while send(&a, &b, 10).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*b.raft.installed.lock().unwrap(), [content().to_vec()]);
    assert_eq!(b.transport.metrics().snapshots_resumed.get(), 0);
    assert_eq!(b.snapshots.created.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_damaged_piece_is_refused_and_sent_again() {
    let meddler = Meddler::new();
    let a = Node::start_meddled(1, pieces(), meddler.clone()).await;
    let b = Node::start(2, pieces()).await;
    meddler.set(Meddling::Flip);
    let error = send(&a, &b, 9).await.unwrap_err();
    assert!(matches!(error, StreamingError::Network(_)), "worth trying again at once: {error:?}");
    assert!(error.to_string().contains("snapshot damaged on its way"), "{error}");
    assert_eq!(b.transport.metrics().snapshots_corrupt.get(), 1);
    assert!(b.raft.installed.lock().unwrap().is_empty());
    send(&a, &b, 9).await.unwrap();
    assert_eq!(*b.raft.installed.lock().unwrap(), [content().to_vec()]);
}

#[tokio::test]
async fn a_snapshot_that_is_not_what_was_announced_is_refused_whole() {
    let (a, b) = (Node::start(1, pieces()).await, Node::start(2, pieces()).await);
    let wrong = snapshot(9, Some(crc32c::crc32c(&content()) ^ 1));
    let sent = a.network_to(&b).await.full_snapshot(vote(), wrong, pending(), ttl()).await;
    let error = sent.unwrap_err();
    assert!(error.to_string().contains("snapshot damaged on its way"), "{error}");
    assert_eq!(b.transport.metrics().snapshots_corrupt.get(), 1);
    assert!(b.raft.installed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_cancelled_transfer_ends_and_can_go_on_later() {
    let (a, b) = (Node::start(1, pieces()).await, Node::start(2, pieces()).await);
    let (stored, mut progress) = mpsc::unbounded_channel();
    *b.snapshots.stored.lock().unwrap() = Some(stored);
    let (cancel, cancelled) = oneshot::channel::<()>();
    let cancelling = async move {
        let _ = cancelled.await;
        ReplicationClosed::new("the leader stepped down")
    };
    let mut network = a.network_to(&b).await;
    let sending = network.full_snapshot(vote(), snapshot(9, None), cancelling, ttl());
    let watching = async {
        progress.recv().await.unwrap();
        cancel.send(()).unwrap();
    };
    let (result, ()) = tokio::join!(sending, watching);
    assert!(matches!(result, Err(StreamingError::Closed(_))), "{result:?}");
    assert!(b.raft.installed.lock().unwrap().is_empty());
    send(&a, &b, 9).await.unwrap();
    assert_eq!(*b.raft.installed.lock().unwrap(), [content().to_vec()]);
    assert_eq!(b.transport.metrics().snapshots_resumed.get(), 1);
}

#[tokio::test]
async fn a_slow_installation_is_waited_for_beyond_the_stall_timeout() {
    let stall = Duration::from_millis(200);
    let sender = TransportOptions { snapshot_stall_timeout: stall, ..pieces() };
    let receiver = TransportOptions { installing_interval: Duration::from_millis(1), ..pieces() };
    let (a, b) = (Node::start(1, sender).await, Node::start(2, receiver).await);
    b.raft.installs.forget_permits(Semaphore::MAX_PERMITS);
    let mut network = a.network_to(&b).await;
    let mut sending = Box::pin(network.full_snapshot(vote(), snapshot(9, None), pending(), ttl()));
    // While it installs, a call that is never answered uses up more time than a transfer may stand still.
    let slow = async {
        b.raft.installing.notified().await;
        let unanswered = a.transport.call::<Types>(&b.id, &b.member, 3, Bytes::new(), stall * 2);
        unanswered.await.unwrap_err();
    };
    tokio::select! {
        result = &mut sending => panic!("{result:?}"),
        () = slow => {}
    }
    b.raft.installs.add_permits(1);
    sending.await.unwrap();
    assert_eq!(b.raft.installed.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_sender_that_comes_back_finds_its_installation_under_way() {
    let (a, b) = (Node::start(1, pieces()).await, Node::start(2, pieces()).await);
    b.raft.installs.forget_permits(Semaphore::MAX_PERMITS);
    let first = send(&a, &b, 9);
    tokio::select! {
        result = first => panic!("{result:?}"),
        () = b.raft.installing.notified() => {}
    }
    // The first has left. The second sends nothing again, and gets the answer.
    let second = send(&a, &b, 9);
    b.raft.installs.add_permits(1);
    second.await.unwrap();
    assert_eq!(b.raft.installed.lock().unwrap().len(), 1);
    assert_eq!(b.transport.metrics().snapshot_bytes_received.get(), LENGTH as u64);
}

#[tokio::test]
async fn a_heartbeat_and_a_vote_pass_a_transfer_that_stands_still() {
    let (a, b) = (Node::start(1, pieces()).await, Node::start(2, pieces()).await);
    b.raft.installs.forget_permits(Semaphore::MAX_PERMITS);
    let mut network = a.network_to(&b).await;
    let mut sending = Box::pin(network.full_snapshot(vote(), snapshot(9, None), pending(), ttl()));
    tokio::select! {
        result = &mut sending => panic!("{result:?}"),
        () = b.raft.installing.notified() => {}
    }
    let mut other = a.network_to(&b).await;
    let beaten = other.append_entries(heartbeat(), RPCOption::new(PATIENCE)).await.unwrap();
    assert!(beaten.is_success());
    b.raft.installs.add_permits(1);
    sending.await.unwrap();
}

#[tokio::test]
async fn a_frozen_connection_is_given_up_and_replaced() {
    let brisk = TransportOptions {
        keep_alive_interval: Duration::from_millis(20),
        keep_alive_timeout: Duration::from_millis(20),
        snapshot_stall_timeout: Duration::from_millis(50),
        ..pieces()
    };
    let meddler = Meddler::new();
    let a = Node::start_meddled(1, brisk, meddler.clone()).await;
    let b = Node::start(2, pieces()).await;
    let (stored, mut progress) = mpsc::unbounded_channel();
    *b.snapshots.stored.lock().unwrap() = Some(stored);
    let mut network = a.network_to(&b).await;
    let sending = network.full_snapshot(vote(), snapshot(9, None), pending(), RPCOption::new(Duration::ZERO));
    let freezing = async {
        progress.recv().await.unwrap();
        meddler.set(Meddling::Freeze);
    };
    let (result, ()) = tokio::join!(sending, freezing);
    let error = result.unwrap_err();
    assert!(matches!(error, StreamingError::Timeout(_) | StreamingError::Network(_)), "{error:?}");
    meddler.set(Meddling::Nothing);
    while send(&a, &b, 9).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*b.raft.installed.lock().unwrap(), [content().to_vec()]);
    assert_eq!(b.transport.metrics().snapshots_resumed.get(), 1);
}

#[tokio::test]
async fn a_snapshot_larger_than_the_receiver_takes_is_refused_by_its_length() {
    let small = TransportOptions { snapshot_size_max: LENGTH as u64 - 1, ..pieces() };
    let (a, b) = (Node::start(1, pieces()).await, Node::start(2, small).await);
    let error = send(&a, &b, 9).await.unwrap_err();
    assert!(matches!(error, StreamingError::Unreachable(_)), "{error:?}");
    assert_eq!(b.snapshots.created.load(Ordering::SeqCst), 0);
    assert_eq!(b.transport.metrics().oversize.get(), 1);
}

//! The tokio runtime behind the runtime trait, on tokio's paused clock.

use std::future::pending;
use std::future::ready;
use std::time::Duration;

use futures_util::StreamExt;
use quorate::AsyncRuntime;
use quorate::Instant;
use quorate::TokioRuntime;
use quorate::batch::Batch;
use quorate::impls::InlineBatch;
use quorate::raft::responder::OneshotResponder;
use quorate::raft::responder::ProgressResponder;
use quorate::raft::responder::Responder;
use quorate::rt::*;
use quorate::type_config::TypeConfigExt;

use crate::types::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_runtime_runs_a_future_that_need_not_be_sent() {
    let value = std::rc::Rc::new(1);
    assert_eq!(Adv::run(async { *value + 1 }), 2);
    assert_eq!(TokioRuntime::new(0).block_on(async { Adv::spawn(async { 3 }).await.unwrap() }), 3);
}

#[tokio::test]
async fn tasks_end_with_a_value_or_a_panic() {
    assert_eq!(Adv::spawn(async { 1 }).await.unwrap(), 1);
    let panicked = Adv::spawn(async { panic!("on purpose") }).await.unwrap_err();
    assert!(TokioRuntime::is_panic(&panicked));
}

#[tokio::test(start_paused = true)]
async fn time_passes() {
    let (pass, pass_until) = (Adv::sleep, Adv::sleep_until);
    let start = Adv::now();
    pass(SECOND).await;
    assert_eq!(start.elapsed(), SECOND);
    pass_until(start + 3 * SECOND).await;
    assert_eq!(start.elapsed(), 3 * SECOND);
    assert_eq!(start.saturating_duration_since(Adv::now()), Duration::ZERO);
    assert!(Adv::timeout(SECOND, pending::<()>()).await.is_err());
    assert_eq!(Adv::timeout(SECOND, ready(1)).await.unwrap(), 1);
    assert!(Adv::timeout_at(Adv::now() + SECOND, pending::<()>()).await.is_err());
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_ready_futures_wins() {
    let after = Adv::sleep;
    assert_eq!(Adv::select2(ready(1), ready(2)).await, Select2::First(1));
    assert_eq!(Adv::select2(pending::<()>(), ready(2)).await, Select2::Second(2));
    assert_eq!(Adv::select3(pending::<()>(), after(SECOND), ready(3)).await, Select3::Third(3));
    assert_eq!(
        Adv::select4(pending::<()>(), pending::<()>(), after(2 * SECOND), after(SECOND)).await,
        Select4::Fourth(())
    );
}

#[tokio::test(start_paused = true)]
async fn queues() {
    let (tx, mut rx) = Adv::mpsc::<u64>(1);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    tx.send(1).await.unwrap();
    assert!(Adv::timeout(SECOND, tx.send(2)).await.is_err(), "there is room for one");
    assert_eq!(rx.recv().await, Some(1));
    let deadline = Adv::now() + SECOND;
    assert_eq!(TokioRuntime::mpsc_recv_deadline(&mut rx, deadline).await, Err(TryRecvError::Empty));
    tx.send(3).await.unwrap();
    assert_eq!(TokioRuntime::mpsc_recv_deadline(&mut rx, deadline).await, Ok(3));

    let weak = tx.downgrade();
    assert!(weak.upgrade().is_some());
    drop(tx);
    assert!(weak.upgrade().is_none());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(TokioRuntime::mpsc_recv_deadline(&mut rx, deadline).await, Err(TryRecvError::Disconnected));
    assert_eq!(rx.recv().await, None);

    let (tx, rx) = Adv::mpsc::<u64>(4);
    let mut rx = rx.peekable();
    assert_eq!(rx.peek(), Err(TryRecvError::Empty));
    for item in 1..=3 {
        tx.send(item).await.unwrap();
    }
    assert_eq!((rx.peek().copied(), rx.peek().copied()), (Ok(1), Ok(1)));
    assert_eq!((rx.recv().await, rx.try_recv()), (Some(1), Ok(2)));
    drop(rx);
    assert_eq!(tx.send(4).await.unwrap_err().to_string(), "channel closed");

    let (tx, rx) = Adv::mpsc::<u64>(4);
    tx.send(1).await.unwrap();
    tx.send(2).await.unwrap();
    drop(tx);
    assert_eq!(Adv::mpsc_to_stream(rx).collect::<Vec<_>>().await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn latest_values() {
    let (tx, mut rx) = Adv::watch_channel(1_u64);
    assert!(Adv::timeout(SECOND, rx.changed()).await.is_err(), "the first value is seen already");
    assert!(tx.send_if_greater(3) && !tx.send_if_greater(2));
    assert!(!tx.send_if_different(3) && tx.send_if_different(2));
    rx.changed().await.unwrap();
    assert_eq!((*rx.borrow_watched(), *tx.borrow_watched()), (2, 2));
    assert_eq!(rx.wait_until_ge(&2).await, Ok(2));
    let mut other = tx.subscribe();
    let waiter = Adv::spawn(async move { other.wait_until(|value| *value == 9).await });
    for value in [5, 9] {
        tokio::task::yield_now().await;
        tx.send(value).unwrap();
    }
    assert_eq!(waiter.await.unwrap(), Ok(9));
    drop(tx);
    assert_eq!(rx.wait_until(|value| *value == 9).await, Ok(9), "the last value still counts");
    assert_eq!(rx.wait_until_ge(&10).await, Err(RecvError(())));
    let (tx, rx) = Adv::watch_channel(1);
    drop(rx);
    assert_eq!(tx.send(2), Err(watch::SendError(2)));
}

#[tokio::test]
async fn single_values_and_locks() {
    let (tx, rx) = Adv::oneshot();
    tx.send(1).unwrap();
    assert_eq!(rx.await.unwrap(), 1);
    let (tx, rx) = Adv::oneshot::<u64>();
    drop(tx);
    assert!(rx.await.is_err());
    let (tx, rx) = Adv::oneshot();
    drop(rx);
    assert_eq!(tx.send(1), Err(1));
    let mutex = Adv::mutex(1);
    *mutex.lock().await += 1;
    assert_eq!(*mutex.lock().await, 2);
}

#[tokio::test]
async fn blocking_closures() {
    assert_eq!(Adv::spawn_blocking(|| 1).await.unwrap(), 1);
    assert!(Adv::spawn_blocking(|| panic!("on purpose")).await.is_err());
}

#[tokio::test]
async fn responders_tell_of_commit_and_result() {
    let (mut responder, committed, completed) = ProgressResponder::<Adv, u64>::new();
    responder.on_commit(log_id(1, 2, 3));
    assert_eq!(committed.await.unwrap(), log_id(1, 2, 3));
    responder.on_complete(7);
    assert_eq!(completed.await.unwrap(), 7);
    let (responder, completed) = ProgressResponder::<Adv, u64>::complete_only();
    responder.on_complete(8);
    assert_eq!(completed.await.unwrap(), 8);
    let (mut responder, completed) = OneshotResponder::<Adv, u64>::new_pair();
    responder.on_commit(log_id(1, 2, 3));
    responder.on_complete(9);
    assert_eq!(completed.await.unwrap(), 9);
}

#[test]
fn batches() {
    let mut batch = InlineBatch::of([1]);
    batch.extend([2, 3]);
    assert_eq!((batch.len(), batch.last(), batch.is_empty()), (3, Some(&3), false));
    assert_eq!(batch.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert!(<Vec<u8> as Batch<u8>>::of([]).is_empty());
}

#[test]
fn extensions_keep_one_value_of_each_type() {
    let extensions = quorate::Extensions::default();
    assert!(!extensions.contains::<u64>());
    let counter = extensions.get::<std::sync::Arc<std::sync::Mutex<u64>>>();
    *counter.lock().unwrap() = 5;
    let again = extensions.get::<std::sync::Arc<std::sync::Mutex<u64>>>();
    assert_eq!(*again.lock().unwrap(), 5);
    assert_eq!(format!("{extensions:?}"), "Extensions { count: 1 }");
    assert_eq!(extensions.get::<u64>(), 0);
    assert_eq!((extensions.remove::<u64>(), extensions.remove::<u64>()), (Some(0), None));
}

//! Channels that keep the latest value only.

use super::BRIEF;
use super::Suite;
use super::join;
use super::waits;
use crate::AsyncRuntime;
use crate::RecvError;
use crate::Watch;
use crate::WatchReceiver;
use crate::WatchSender;
use crate::watch::SendError;

impl<Rt: AsyncRuntime> Suite<Rt> {
    /// The first value is there for all, and is seen already.
    pub async fn test_watch_init_value() {
        let (tx, mut rx) = Rt::Watch::channel(1_u64);
        assert_eq!((sent::<Rt>(&tx), seen::<Rt>(&rx)), (1, 1));
        assert!(waits(rx.changed()).await, "the first value is seen already");
    }

    /// A value that is sent takes the place of the one before.
    pub async fn test_watch_overwrite_init_value() {
        let (tx, mut rx) = Rt::Watch::channel(1_u64);
        assert_eq!((tx.send(2), tx.send(3)), (Ok(()), Ok(())));
        assert_eq!((sent::<Rt>(&tx), seen::<Rt>(&rx)), (3, 3));
        assert_eq!(rx.changed().await, Ok(()));
        assert_eq!(*rx.borrow_and_update(), 3, "the latest value counts");
    }

    /// Without a receiver, the value comes back.
    pub async fn test_watch_send_error_no_receiver() {
        let (tx, rx) = Rt::Watch::channel(1_u64);
        let other = rx.clone();
        drop(rx);
        assert_eq!(tx.send(2), Ok(()), "one receiver is enough");
        drop(other);
        assert_eq!(tx.send(3), Err(SendError(3)));
    }

    /// Receivers are told of a change if the closure says that it made one.
    pub async fn test_watch_send_if_modified() {
        let (tx, mut rx) = Rt::Watch::channel(1_u64);
        assert!(!tx.send_if_modified(|_| false), "it returns what the closure does");
        assert!(waits(rx.changed()).await, "nobody is told of what was not changed");
        let modified = tx.send_if_modified(|value| {
            *value += 1;
            true
        });
        assert!(modified, "it returns what the closure does");
        assert_eq!(rx.changed().await, Ok(()));
        assert_eq!(seen::<Rt>(&rx), 2);
    }

    /// The same value again is no change.
    pub async fn test_watch_send_if_different() {
        let (tx, mut rx) = Rt::Watch::channel(1_u64);
        assert!(!tx.send_if_different(1));
        assert!(waits(rx.changed()).await, "the same value is no change");
        assert!(tx.send_if_different(2));
        assert_eq!(rx.changed().await, Ok(()));
        assert_eq!(seen::<Rt>(&rx), 2);
    }

    /// A value that is not greater is no change.
    pub async fn test_watch_send_if_greater() {
        let (tx, mut rx) = Rt::Watch::channel(2_u64);
        assert!(!tx.send_if_greater(1) && !tx.send_if_greater(2));
        assert!(waits(rx.changed()).await, "a value that is not greater is no change");
        assert!(tx.send_if_greater(3));
        assert_eq!(rx.changed().await, Ok(()));
        assert_eq!(seen::<Rt>(&rx), 3);
    }

    /// A receiver waits for a value that it likes; the present one counts.
    pub async fn test_watch_wait_until() {
        let (tx, mut rx) = Rt::Watch::channel(1_u64);
        assert_eq!(rx.wait_until(|value| *value == 1).await, Ok(1), "the present value counts");
        let mut other = rx.clone();
        let waiter = Rt::spawn(async move { other.wait_until(|value| value.is_multiple_of(5)).await });
        for value in [2, 3, 5] {
            Rt::sleep(BRIEF).await;
            assert_eq!(tx.send(value), Ok(()));
        }
        assert_eq!(join::<Rt, _>(waiter).await, Ok(5));
        drop(tx);
        assert_eq!(rx.wait_until(|value| *value == 5).await, Ok(5), "the last value still counts");
        assert_eq!(rx.wait_until(|value| *value == 1).await, Err(RecvError(())), "no other can come");
    }

    /// A receiver waits for a value that is as great or greater; the present one counts.
    pub async fn test_watch_wait_until_ge() {
        let (tx, mut rx) = Rt::Watch::channel(3_u64);
        assert_eq!((rx.wait_until_ge(&2).await, rx.wait_until_ge(&3).await), (Ok(3), Ok(3)));
        let mut other = rx.clone();
        let waiter = Rt::spawn(async move { other.wait_until_ge(&6).await });
        for value in [5, 7] {
            Rt::sleep(BRIEF).await;
            assert_eq!(tx.send(value), Ok(()));
        }
        assert_eq!(join::<Rt, _>(waiter).await, Ok(7));
        drop(tx);
        assert_eq!(rx.wait_until_ge(&8).await, Err(RecvError(())), "no greater value can come");
    }

    /// A wait for a change marks the value as seen, and ends with the last sender.
    pub async fn test_watch_changed_marks_as_seen() {
        let (tx, mut rx) = Rt::Watch::channel(1_u64);
        assert_eq!(tx.send(2), Ok(()));
        assert_eq!(rx.changed().await, Ok(()));
        assert!(waits(rx.changed()).await, "a change is told once");
        let other = tx.clone();
        drop(tx);
        assert!(waits(rx.changed()).await, "one sender is enough");
        drop(other);
        assert_eq!(rx.changed().await, Err(RecvError(())), "no other value can come");
    }

    /// A value that was not seen yet ends the wait at once; a later one wakes who waits.
    pub async fn test_watch_changed_returns_immediately_when_unseen() {
        let (tx, mut rx) = Rt::Watch::channel(1_u64);
        assert_eq!(tx.send(2), Ok(()));
        assert!(!waits(rx.changed()).await, "there is a value that was not seen");
        let waiter = Rt::spawn(async move {
            let changed = rx.changed().await;
            (changed, seen::<Rt>(&rx))
        });
        Rt::sleep(BRIEF).await;
        assert_eq!(tx.send(3), Ok(()));
        assert_eq!(join::<Rt, _>(waiter).await, (Ok(()), 3));
    }

    /// A look that updates marks the value as seen.
    pub async fn test_watch_borrow_and_update_marks_seen() {
        let (tx, mut rx) = Rt::Watch::channel(1_u64);
        assert_eq!(tx.send(2), Ok(()));
        assert_eq!(*rx.borrow_and_update(), 2);
        assert!(waits(rx.changed()).await, "the value was seen");
    }

    /// A mere look does not mark the value as seen, however often.
    pub async fn test_watch_multiple_borrow_then_changed() {
        let (tx, mut rx) = Rt::Watch::channel(1_u64);
        assert_eq!(tx.send(2), Ok(()));
        assert_eq!((seen::<Rt>(&rx), seen::<Rt>(&rx)), (2, 2));
        assert!(!waits(rx.changed()).await, "the value is still to be told");
        assert!(waits(rx.changed()).await, "a change is told once");
    }

    /// Each receiver is told of each change, and has seen what the one it was cloned from has.
    pub async fn test_watch_multiple_receivers() {
        let (tx, mut first) = Rt::Watch::channel(1_u64);
        let mut second = first.clone();
        assert_eq!(tx.send(2), Ok(()));
        assert_eq!((first.changed().await, second.changed().await), (Ok(()), Ok(())));
        assert_eq!((seen::<Rt>(&first), seen::<Rt>(&second)), (2, 2));
        assert_eq!(tx.clone().send(3), Ok(()));
        assert_eq!(*first.borrow_and_update(), 3);
        assert!(!waits(second.changed()).await, "what one has seen, the other has not");
        assert!(waits(first.clone().changed()).await, "a clone has seen what the receiver had");
    }

    /// A receiver that comes later has seen the present value, and is told of the next.
    pub async fn test_watch_subscribe() {
        let (tx, rx) = Rt::Watch::channel(1_u64);
        assert_eq!(tx.send(2), Ok(()));
        drop(rx);
        let mut late = tx.subscribe();
        assert_eq!(seen::<Rt>(&late), 2);
        assert!(waits(late.changed()).await, "a new receiver has seen the present value");
        assert_eq!(tx.send(3), Ok(()));
        assert_eq!(late.changed().await, Ok(()));
        assert_eq!(seen::<Rt>(&late), 3);
    }

    /// To look, and to wait for a change if that was not it, misses no value that stays.
    pub async fn test_watch_wait_loop_pattern() {
        const LAST: u64 = 100;
        let (tx, mut rx) = Rt::Watch::channel(0_u64);
        let sender = Rt::spawn(async move {
            for value in 1..=LAST {
                if value.is_multiple_of(25) {
                    Rt::sleep(BRIEF).await;
                }
                assert_eq!(tx.send(value), Ok(()));
            }
            tx
        });
        let mut latest = *rx.borrow_and_update();
        while latest < LAST {
            assert_eq!(rx.changed().await, Ok(()));
            let value = *rx.borrow_and_update();
            assert!(value > latest, "values follow each other");
            latest = value;
        }
        drop(join::<Rt, _>(sender).await);
    }
}

/// The value as a receiver has it. The view is gone at once: it may hold a lock.
fn seen<Rt: AsyncRuntime>(rx: &<Rt::Watch as Watch>::Receiver<u64>) -> u64 {
    *rx.borrow_watched()
}

/// The value as a sender has it.
fn sent<Rt: AsyncRuntime>(tx: &<Rt::Watch as Watch>::Sender<u64>) -> u64 {
    *tx.borrow_watched()
}

//! Bounded queues, and channels for a single value.

use super::BRIEF;
use super::LONG;
use super::Suite;
use super::join;
use super::waits;
use crate::AsyncRuntime;
use crate::Instant;
use crate::Mpsc;
use crate::MpscReceiver;
use crate::MpscSender;
use crate::MpscWeakSender;
use crate::Oneshot;
use crate::OneshotSender;
use crate::SendError;
use crate::TryRecvError;

/// Room of a queue in most tests.
const BUFFER: usize = 4;
/// How many more items than asked for a queue may hold: some keep one in hand for each sender.
const SLACK: usize = 16;

impl<Rt: AsyncRuntime> Suite<Rt> {
    /// An empty queue makes wait as long as there is a sender.
    pub async fn test_mpsc_recv_empty() {
        let (tx, mut rx) = Rt::Mpsc::channel::<u64>(BUFFER);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert!(waits(rx.recv()).await, "an empty queue makes wait");
        assert_eq!(tx.send(1).await, Ok(()));
        assert_eq!(rx.recv().await, Some(1), "a wait that was given up loses no item");
    }

    /// Without a sender the queue ends, after what is left in it.
    pub async fn test_mpsc_recv_channel_closed() {
        let (tx, mut rx) = Rt::Mpsc::channel::<u64>(BUFFER);
        let other = tx.clone();
        assert_eq!(tx.send(1).await, Ok(()));
        drop(tx);
        assert_eq!(other.send(2).await, Ok(()), "a queue stays open while one sender lives");
        drop(other);
        assert_eq!((rx.recv().await, rx.try_recv()), (Some(1), Ok(2)), "what was sent arrives");
        assert_eq!((rx.recv().await, rx.try_recv()), (None, Err(TryRecvError::Disconnected)));

        let (tx, mut rx) = Rt::Mpsc::channel::<u64>(BUFFER);
        let waiter = Rt::spawn(async move { rx.recv().await });
        Rt::sleep(BRIEF).await;
        drop(tx);
        assert_eq!(join::<Rt, _>(waiter).await, None, "the end of the queue wakes who waits");
    }

    /// Whatever the senders send arrives, in the order of each.
    pub async fn test_mpsc_send() {
        const SENDERS: u64 = 4;
        const ITEMS: u64 = 25;
        let (tx, mut rx) = Rt::Mpsc::channel::<(u64, u64)>(BUFFER);
        for sender in 0..SENDERS {
            let tx = tx.clone();
            drop(Rt::spawn(async move {
                for item in 0..ITEMS {
                    assert_eq!(tx.send((sender, item)).await, Ok(()));
                }
            }));
        }
        drop(tx);
        let mut received = Vec::new();
        while let Some(item) = rx.recv().await {
            received.push(item);
        }
        for sender in 0..SENDERS {
            let of_one = received.iter().filter(|(from, _)| *from == sender).map(|(_, item)| *item);
            assert!(of_one.eq(0..ITEMS), "the items of a sender arrive, each once and in order");
        }
    }

    /// Without a receiver, the item comes back.
    pub async fn test_mpsc_send_to_closed_channel() {
        let (tx, rx) = Rt::Mpsc::channel::<u64>(BUFFER);
        drop(rx);
        assert_eq!(tx.send(1).await, Err(SendError(1)));
    }

    /// A full queue makes senders wait until there is room.
    pub async fn test_mpsc_backpressure() {
        let (tx, mut rx) = Rt::Mpsc::channel::<usize>(BUFFER);
        let mut sent = 0;
        while !waits(tx.send(sent)).await {
            sent += 1;
            assert!(sent <= BUFFER + SLACK, "a full queue makes wait");
        }
        assert!(sent >= BUFFER, "there is as much room as was asked for");
        let late = tx.clone();
        let sender = Rt::spawn(async move { late.send(sent).await });
        for item in 0..=sent {
            assert_eq!(rx.recv().await, Some(item), "a wait for room that was given up sends nothing");
        }
        assert_eq!(join::<Rt, _>(sender).await, Ok(()), "room wakes who waits for it");
    }

    /// A weak sender becomes a sender while the queue is open.
    pub async fn test_mpsc_weak_sender_upgrade() {
        let (tx, mut rx) = Rt::Mpsc::channel::<u64>(BUFFER);
        let weak = tx.downgrade();
        let Some(upgraded) = weak.clone().upgrade() else {
            super::fail("a weak sender becomes a sender while another one lives");
        };
        drop(tx);
        assert_eq!(upgraded.send(1).await, Ok(()), "the new sender keeps the queue open");
        assert_eq!(rx.recv().await, Some(1));
        drop(upgraded);
        assert!(weak.upgrade().is_none(), "a weak sender does not open a queue again");
    }

    /// A weak sender does not keep the queue open.
    pub async fn test_mpsc_weak_sender_wont_prevent_channel_close() {
        let (tx, mut rx) = Rt::Mpsc::channel::<u64>(BUFFER);
        let weak = tx.downgrade();
        drop(tx);
        assert_eq!((rx.recv().await, rx.try_recv()), (None, Err(TryRecvError::Disconnected)));
        assert!(weak.upgrade().is_none(), "a weak sender does not open a queue again");
    }

    /// A look at the next item leaves it where it is.
    pub(super) async fn a_peek_leaves_the_item() {
        let (tx, rx) = Rt::Mpsc::channel::<u64>(BUFFER);
        let mut rx = rx.peekable();
        assert_eq!(rx.peek(), Err(TryRecvError::Empty));
        assert_eq!((tx.send(1).await, tx.send(2).await), (Ok(()), Ok(())));
        drop(tx);
        assert_eq!((rx.peek().copied(), rx.peek().copied()), (Ok(1), Ok(1)));
        assert_eq!((rx.recv().await, rx.peek().copied(), rx.try_recv()), (Some(1), Ok(2), Ok(2)));
        assert_eq!((rx.peek().copied(), rx.recv().await), (Err(TryRecvError::Disconnected), None));
    }

    /// A receiver waits until a deadline, and tells an empty queue from one that has ended.
    pub(super) async fn a_receiver_waits_until_a_deadline() {
        let (tx, mut rx) = Rt::Mpsc::channel::<u64>(BUFFER);
        let deadline = Rt::Instant::now() + BRIEF;
        assert_eq!(Rt::mpsc_recv_deadline(&mut rx, deadline).await, Err(TryRecvError::Empty));
        assert!(Rt::Instant::now() >= deadline, "a receiver waits until the deadline");
        assert_eq!(tx.send(1).await, Ok(()));
        let far = Rt::Instant::now() + LONG;
        assert_eq!(Rt::mpsc_recv_deadline(&mut rx, far).await, Ok(1));
        drop(tx);
        assert_eq!(Rt::mpsc_recv_deadline(&mut rx, far).await, Err(TryRecvError::Disconnected));
    }

    /// The value arrives, whoever comes first.
    pub async fn test_oneshot() {
        let (tx, rx) = Rt::Oneshot::channel::<u64>();
        assert_eq!(tx.send(1), Ok(()));
        assert_eq!(rx.await.ok(), Some(1));

        let (tx, mut rx) = Rt::Oneshot::channel::<u64>();
        assert!(waits(&mut rx).await, "a channel without a value makes wait");
        assert_eq!(tx.send(2), Ok(()));
        assert_eq!(rx.await.ok(), Some(2));
    }

    /// The value wakes who waits for it in another task.
    pub async fn test_oneshot_send_from_another_task() {
        let (tx, rx) = Rt::Oneshot::channel::<u64>();
        let sender = Rt::spawn(async move {
            Rt::sleep(BRIEF).await;
            tx.send(1)
        });
        assert_eq!(rx.await.ok(), Some(1));
        assert_eq!(join::<Rt, _>(sender).await, Ok(()));
    }

    /// A sender that is dropped without sending is an error, and wakes who waits.
    pub async fn test_oneshot_drop_tx() {
        let (tx, rx) = Rt::Oneshot::channel::<u64>();
        drop(tx);
        assert!(rx.await.is_err(), "no value can come");

        let (tx, rx) = Rt::Oneshot::channel::<u64>();
        let waiter = Rt::spawn(async move { rx.await.is_err() });
        Rt::sleep(BRIEF).await;
        drop(tx);
        assert!(join::<Rt, _>(waiter).await, "the end of the sender wakes who waits");
    }

    /// Without a receiver, the value comes back.
    pub async fn test_oneshot_send_to_dropped_rx() {
        let (tx, rx) = Rt::Oneshot::channel::<u64>();
        drop(rx);
        assert_eq!(tx.send(1), Err(1));
    }
}

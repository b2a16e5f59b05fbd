//! One other node, as the host and the peer's loops share it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use quorate_core::work::PeerReady;

use crate::loops::flight::Flight;
use crate::signal::Signal;
use crate::type_config::RaftTypeConfig;

/// Who it is, where it is, and what its loops are woken by.
pub(crate) struct Peer<C: RaftTypeConfig> {
    pub(crate) id: C::NodeId,
    pub(crate) node: C::Node,
    /// Entries to send, while no stream is open.
    pub(crate) append: Signal,
    /// The stream that is open: its sending side is woken by a signal of its own, since the network may go on polling
    /// it from elsewhere when the next one is open already.
    flight: Mutex<Option<Arc<Flight<C>>>>,
    /// What is under way to the peer no longer counts.
    pub(crate) append_ended: Signal,
    pub(crate) heartbeat: Signal,
    pub(crate) ask: Signal,
    pub(crate) snapshot: Signal,
    pub(crate) snapshot_ended: Signal,
    /// Someone knows that the peer is reachable again.
    pub(crate) append_retry: Signal,
    pub(crate) snapshot_retry: Signal,
    /// The stream that counts now; 0 for none.
    session: AtomicU64,
    closed: AtomicBool,
}

impl<C: RaftTypeConfig> Peer<C> {
    pub(crate) fn new(id: C::NodeId, node: C::Node) -> Self {
        Self {
            id,
            node,
            append: Signal::default(),
            flight: Mutex::new(None),
            append_ended: Signal::default(),
            heartbeat: Signal::default(),
            ask: Signal::default(),
            snapshot: Signal::default(),
            snapshot_ended: Signal::default(),
            append_retry: Signal::default(),
            snapshot_retry: Signal::default(),
            session: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Wakes the loops that have something to pull, and ends what no longer counts.
    pub(crate) fn raise(&self, ready: &PeerReady) {
        if self.session.load(Ordering::Relaxed) != ready.session {
            self.session.store(ready.session, Ordering::Release);
            self.raise_append();
            self.append_ended.raise();
            self.snapshot_ended.raise();
        }
        if ready.append {
            self.raise_append();
        }
        if ready.heartbeat {
            self.heartbeat.raise();
        }
        if ready.ask {
            self.ask.raise();
        }
        if ready.snapshot {
            self.snapshot.raise();
        }
    }

    fn raise_append(&self) {
        match &*self.lock_flight() {
            Some(flight) => flight.more.raise(),
            None => self.append.raise(),
        }
    }

    /// From now on the sending side of `flight` is woken when there are entries to send.
    pub(crate) fn open(&self, flight: &Arc<Flight<C>>) {
        *self.lock_flight() = Some(flight.clone());
    }

    /// No stream is open any more: its sending side ends, and the loop itself is woken again.
    pub(crate) fn close_flight(&self) {
        if let Some(flight) = self.lock_flight().take() {
            flight.end();
        }
    }

    fn lock_flight(&self) -> MutexGuard<'_, Option<Arc<Flight<C>>>> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts short the waits between attempts.
    pub(crate) fn retry(&self) {
        self.append_retry.raise();
        self.snapshot_retry.raise();
    }

    /// The stream that counts now; 0 for none.
    pub(crate) fn session(&self) -> u64 {
        self.session.load(Ordering::Acquire)
    }

    /// The node has left the membership, or moved, or this one stops: its loops end.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.session.store(0, Ordering::Release);
        self.close_flight();
        self.retry();
        for signal in [
            &self.append,
            &self.append_ended,
            &self.heartbeat,
            &self.ask,
            &self.snapshot,
            &self.snapshot_ended,
        ] {
            signal.raise();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

#[cfg(all(test, feature = "tokio-rt"))]
mod tests {
    use std::pin::pin;
    use std::task::Context;
    use std::task::Wake;
    use std::task::Waker;

    use super::*;

    crate::declare_raft_types!(Types: R = ());

    #[derive(Default)]
    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A network may poll the requests of a stream from elsewhere long after the next stream was opened. Where both
    /// waited for one signal, the next stream was never woken again, and its peer starved until the leader changed.
    #[test]
    fn a_stream_that_is_over_takes_no_wake_from_the_next() {
        let peer = Peer::<Types>::new(2, crate::BasicNode::default());
        let (old, new) = (Arc::new(Flight::new(1)), Arc::new(Flight::new(2)));
        let (stale, counted) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (stale_waker, waker) = (Waker::from(stale.clone()), Waker::from(counted.clone()));
        let (mut stale_cx, mut cx) = (Context::from_waker(&stale_waker), Context::from_waker(&waker));

        peer.open(&old);
        let mut stale_wait = pin!(old.more.wait());
        assert!(stale_wait.as_mut().poll(&mut stale_cx).is_pending());
        peer.close_flight();
        peer.open(&new);
        let mut wait = pin!(new.more.wait());
        assert!(wait.as_mut().poll(&mut cx).is_pending());
        // Only now does the network get round to the old stream: it learns that it is over, and that is all.
        assert!(stale_wait.as_mut().poll(&mut stale_cx).is_ready() && old.has_ended());

        peer.raise(&PeerReady { append: true, ..PeerReady::default() });
        assert_eq!(counted.0.load(Ordering::SeqCst), 1);
        assert!(wait.as_mut().poll(&mut cx).is_ready());
    }
}

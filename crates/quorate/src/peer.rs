//! One other node, as the host and the peer's loops share it.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use quorate_core::work::PeerReady;

use crate::signal::Signal;
use crate::type_config::RaftTypeConfig;

/// Who it is, where it is, and what its loops are woken by.
pub(crate) struct Peer<C: RaftTypeConfig> {
    pub(crate) id: C::NodeId,
    pub(crate) node: C::Node,
    /// Entries to send; or the stream has ended.
    pub(crate) append: Signal,
    /// What is under way to the peer no longer counts.
    pub(crate) append_ended: Signal,
    pub(crate) heartbeat: Signal,
    pub(crate) ask: Signal,
    pub(crate) snapshot: Signal,
    pub(crate) snapshot_ended: Signal,
    /// The network was told to stop sending a snapshot, and may not listen.
    pub(crate) snapshot_abandoned: Signal,
    /// Someone knows that the peer is reachable again.
    pub(crate) backoff_reset: Signal,
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
            append_ended: Signal::default(),
            heartbeat: Signal::default(),
            ask: Signal::default(),
            snapshot: Signal::default(),
            snapshot_ended: Signal::default(),
            snapshot_abandoned: Signal::default(),
            backoff_reset: Signal::default(),
            session: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Wakes the loops that have something to pull, and ends what no longer counts.
    pub(crate) fn raise(&self, ready: &PeerReady) {
        if self.session.load(Ordering::Relaxed) != ready.session {
            self.session.store(ready.session, Ordering::Release);
            self.append.raise();
            self.append_ended.raise();
            self.snapshot_ended.raise();
            self.snapshot_abandoned.raise();
        }
        if ready.append {
            self.append.raise();
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

    /// The stream that counts now; 0 for none.
    pub(crate) fn session(&self) -> u64 {
        self.session.load(Ordering::Acquire)
    }

    /// The node has left the membership, or moved, or this one stops: its loops end.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.session.store(0, Ordering::Release);
        let signals = [&self.append, &self.append_ended, &self.heartbeat, &self.ask, &self.snapshot];
        for signal in
            signals.into_iter().chain([&self.snapshot_ended, &self.snapshot_abandoned, &self.backoff_reset])
        {
            signal.raise();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

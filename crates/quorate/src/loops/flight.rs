//! The requests of one stream that are not answered yet, shared by the side that sends and the side that listens.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use quorate_core::message::Ticket;

use crate::signal::Signal;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::LogIdOf;

/// What a request needs when its answer comes: its ticket and the entry that it stands behind.
type Sent<C> = (Ticket, Option<LogIdOf<C>>);

/// The requests under way, oldest first: answers come in the same order.
pub(crate) struct Flight<C: RaftTypeConfig> {
    session: u64,
    /// There are entries to send, or the stream is over: waited for by the sending side of this stream alone.
    pub(crate) more: Signal,
    sent: Mutex<VecDeque<Sent<C>>>,
    answered: AtomicU64,
    /// How many answers there were when it was last asked whether the stream stalls.
    seen: AtomicU64,
    ended: AtomicBool,
    /// The log store gave no entries where there must be some.
    starved: AtomicBool,
}

impl<C: RaftTypeConfig> Flight<C> {
    pub(crate) fn new(session: u64) -> Self {
        Self {
            session,
            more: Signal::default(),
            sent: Mutex::new(VecDeque::new()),
            answered: AtomicU64::new(0),
            // Unequal to the number of answers: the first look never finds a stall.
            seen: AtomicU64::new(u64::MAX),
            ended: AtomicBool::new(false),
            starved: AtomicBool::new(false),
        }
    }

    /// The replica's number of this stream.
    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    pub(crate) fn push(&self, ticket: Ticket, prev: Option<LogIdOf<C>>) {
        self.lock().push_back((ticket, prev));
    }

    /// The oldest request is answered.
    pub(crate) fn pop(&self) -> Option<Sent<C>> {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.lock().pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether requests are under way, and none was answered since the last call.
    pub(crate) fn has_stalled(&self) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        let before = self.seen.swap(answered, Ordering::Relaxed);
        before == answered && !self.is_empty()
    }

    /// No further request is made.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.more.raise();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn starve(&self) {
        self.starved.store(true, Ordering::Release);
    }

    pub(crate) fn has_starved(&self) -> bool {
        self.starved.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sent<C>>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Latest-value channels whose values can be held without holding anybody up.
//!
//! A view of tokio's own watch is a read lock: while one is held, the sender blocks its thread, and so does everyone
//! who looks after that. Here a channel keeps its value behind a pointer, and a view is that pointer: who sends puts
//! another in its place, and never waits for those who look.

use std::fmt;
use std::fmt::Debug;
use std::fmt::Formatter;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;

use quorate_rt::OptionalSend;
use quorate_rt::OptionalSync;
use quorate_rt::RecvError;
use quorate_rt::Watch;
use quorate_rt::WatchReceiver;
use quorate_rt::WatchSender;
use quorate_rt::watch::SendError;
use tokio::sync::watch;

/// Latest-value channels of tokio.
pub struct TokioWatch;

/// Replaces the value of a tokio channel.
pub struct TokioWatchSender<T> {
    channel: Arc<watch::Sender<Arc<T>>>,
    views: Arc<Views>,
}

/// Reads the value of a tokio channel and waits for others.
pub struct TokioWatchReceiver<T> {
    channel: watch::Receiver<Arc<T>>,
    views: Arc<Views>,
}

/// The value as it was when it was looked at.
///
/// It may be held for any time: a sender that replaces the value does not wait for it. Only
/// [`send_if_modified`](WatchSender::send_if_modified), which changes the value in its place, does.
pub struct TokioWatchRef<'a, T> {
    // Dropped in this order: who is woken finds the value free.
    value: Arc<T>,
    changed: bool,
    _view: View<'a>,
}

/// A view that is held.
struct View<'a>(&'a Views);

/// Wakes who waits for views to be dropped.
#[derive(Default)]
struct Views {
    dropped: Mutex<u64>,
    waker: Condvar,
}

impl Views {
    /// How many were dropped so far.
    fn dropped(&self) -> u64 {
        *self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks the thread while only `seen` were dropped.
    fn wait(&self, seen: u64) {
        let dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.waker.wait_while(dropped, |dropped| *dropped == seen));
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let mut dropped = self.0.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        *dropped = dropped.wrapping_add(1);
        drop(dropped);
        self.0.waker.notify_all();
    }
}

impl<'a, T> TokioWatchRef<'a, T> {
    fn new(value: &watch::Ref<'_, Arc<T>>, views: &'a Views) -> Self {
        Self { value: Arc::clone(value), changed: value.has_changed(), _view: View(views) }
    }

    /// Whether the receiver had not seen this value yet when it was looked at.
    pub fn has_changed(&self) -> bool {
        self.changed
    }
}

impl<T> Deref for TokioWatchRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Debug> Debug for TokioWatchRef<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokioWatchRef").field(&self.value).finish()
    }
}

impl<T> Clone for TokioWatchSender<T> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), views: self.views.clone() }
    }
}

impl<T> Clone for TokioWatchReceiver<T> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), views: self.views.clone() }
    }
}

impl Watch for TokioWatch {
    type Sender<T: OptionalSend + OptionalSync> = TokioWatchSender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = TokioWatchReceiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = TokioWatchRef<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Self::Sender<T>, Self::Receiver<T>) {
        let (tx, rx) = watch::channel(Arc::new(init));
        let views = Arc::new(Views::default());
        let receiver = TokioWatchReceiver { channel: rx, views: views.clone() };
        (TokioWatchSender { channel: Arc::new(tx), views }, receiver)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<TokioWatch, T> for TokioWatchSender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.channel.receiver_count() == 0 {
            return Err(SendError(value));
        }
        self.channel.send_replace(Arc::new(value));
        Ok(())
    }

    /// While a view is held, this blocks the thread: the value may be one that cannot be cloned.
    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let mut modify = Some(modify);
        loop {
            let dropped = self.views.dropped();
            let mut modified = None;
            self.channel.send_if_modified(|value| {
                let Some(value) = Arc::get_mut(value) else { return false };
                modified = modify.take().map(|modify| modify(value));
                modified == Some(true)
            });
            match modified {
                Some(modified) => return modified,
                None => self.views.wait(dropped),
            }
        }
    }

    fn borrow_watched(&self) -> TokioWatchRef<'_, T> {
        TokioWatchRef::new(&self.channel.borrow(), &self.views)
    }

    fn subscribe(&self) -> TokioWatchReceiver<T> {
        TokioWatchReceiver { channel: self.channel.subscribe(), views: self.views.clone() }
    }

    fn send_if_different(&self, value: T) -> bool
    where
        T: PartialEq,
    {
        self.replace_if(value, |current, value| current != value)
    }

    fn send_if_greater(&self, value: T) -> bool
    where
        T: PartialOrd,
    {
        self.replace_if(value, |current, value| value > current)
    }
}

impl<T> TokioWatchSender<T> {
    /// Puts `value` in place of the present one if `condition` holds of both, whoever looks at that.
    fn replace_if(&self, value: T, condition: impl FnOnce(&T, &T) -> bool) -> bool {
        self.channel.send_if_modified(|current| {
            let replaces = condition(current, &value);
            if replaces {
                *current = Arc::new(value);
            }
            replaces
        })
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<TokioWatch, T> for TokioWatchReceiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        self.channel.changed().await.map_err(|_| RecvError(()))
    }

    fn borrow_watched(&self) -> TokioWatchRef<'_, T> {
        TokioWatchRef::new(&self.channel.borrow(), &self.views)
    }

    fn borrow_and_update(&mut self) -> TokioWatchRef<'_, T> {
        TokioWatchRef::new(&self.channel.borrow_and_update(), &self.views)
    }
}

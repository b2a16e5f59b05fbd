//! Channels that keep the latest value only.

use std::error::Error;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;
use std::ops::Deref;

use crate::OptionalSend;
use crate::OptionalSync;

/// Makes channels that keep the latest value only.
pub trait Watch: Sized {
    /// Replaces the value.
    type Sender<T: OptionalSend + OptionalSync>: WatchSender<Self, T>;
    /// Reads the value and waits for others.
    type Receiver<T: OptionalSend + OptionalSync>: WatchReceiver<Self, T>;
    /// A view of the value.
    ///
    /// Best, it is the value as it was, and senders do not wait for it. If it holds a lock, a node stands still while
    /// an application holds a view of its metrics.
    type Ref<'a, T: OptionalSend + 'a>: Deref<Target = T> + 'a;

    /// A channel that holds `init`, which its receiver has seen already.
    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Self::Sender<T>, Self::Receiver<T>);
}

/// Replaces the value of a channel.
pub trait WatchSender<W: Watch, T: OptionalSend + OptionalSync>: OptionalSend + Clone {
    /// Replaces the value, or gives it back if no receiver is left.
    fn send(&self, value: T) -> Result<(), SendError<T>>;

    /// Lets `modify` change the value; receivers are told if it returns true, which is returned.
    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool;

    /// The present value.
    fn borrow_watched(&self) -> W::Ref<'_, T>;

    /// Another receiver, which has seen the present value.
    fn subscribe(&self) -> W::Receiver<T>;

    /// Replaces the value if `value` differs from it, and says whether it did.
    fn send_if_different(&self, value: T) -> bool
    where
        T: PartialEq,
    {
        self.send_if_modified(|current| {
            let differs = *current != value;
            if differs {
                *current = value;
            }
            differs
        })
    }

    /// Replaces the value if `value` is greater, and says whether it did.
    fn send_if_greater(&self, value: T) -> bool
    where
        T: PartialOrd,
    {
        self.send_if_modified(|current| {
            let greater = value > *current;
            if greater {
                *current = value;
            }
            greater
        })
    }
}

/// Reads the value of a channel and waits for others.
pub trait WatchReceiver<W: Watch, T: OptionalSend + OptionalSync>:
    OptionalSend + OptionalSync + Clone
{
    /// Waits for a value that was not seen yet, and marks it as seen. Errors when all senders are gone.
    fn changed(&mut self) -> impl Future<Output = Result<(), RecvError>> + OptionalSend;

    /// The present value.
    fn borrow_watched(&self) -> W::Ref<'_, T>;

    /// The present value, marked as seen.
    fn borrow_and_update(&mut self) -> W::Ref<'_, T>;

    /// Waits until the value is at least `least`; the present value counts. Errors when all senders are gone.
    fn wait_until_ge(&mut self, least: &T) -> impl Future<Output = Result<T, RecvError>> + OptionalSend
    where
        T: PartialOrd + Clone,
    {
        self.wait_until(move |value| value >= least)
    }

    /// Waits until `condition` holds of the value; the present value counts. Errors when all senders are gone.
    fn wait_until<F>(&mut self, condition: F) -> impl Future<Output = Result<T, RecvError>> + OptionalSend
    where
        T: Clone,
        F: Fn(&T) -> bool + OptionalSend,
    {
        async move {
            loop {
                let met = {
                    let value = self.borrow_and_update();
                    condition(&value).then(|| value.clone())
                };
                if let Some(value) = met {
                    return Ok(value);
                }
                self.changed().await?;
            }
        }
    }
}

/// No receiver is left; holds the value that could not be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> Debug for SendError<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").finish_non_exhaustive()
    }
}

impl<T> Display for SendError<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("watch channel closed")
    }
}

impl<T> Error for SendError<T> {}

/// All senders are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvError(pub ());

impl Display for RecvError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("watch channel closed")
    }
}

impl Error for RecvError {}

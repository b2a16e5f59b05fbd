//! Bounded queues from many senders to one receiver.

use std::error::Error;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;

use crate::OptionalSend;
use crate::OptionalSync;

/// Makes bounded queues.
pub trait Mpsc: Sized {
    /// Puts items in; the queue stays open while one lives.
    type Sender<T: OptionalSend>: MpscSender<Self, T>;
    /// Takes items out.
    type Receiver<T: OptionalSend>: MpscReceiver<T>;
    /// A sender that does not keep the queue open.
    type WeakSender<T: OptionalSend>: MpscWeakSender<Self, T>;

    /// A queue with room for `buffer` items.
    fn channel<T: OptionalSend>(buffer: usize) -> (Self::Sender<T>, Self::Receiver<T>);
}

/// Puts items into a queue.
pub trait MpscSender<MU: Mpsc, T: OptionalSend>: OptionalSend + OptionalSync + Clone {
    /// Waits for room, then puts `item` in. Errors, giving the item back, if the receiver is gone.
    ///
    /// If the future is dropped before it ends, the item is not put in.
    fn send(&self, item: T) -> impl Future<Output = Result<(), SendError<T>>> + OptionalSend;

    /// A sender that does not keep the queue open.
    fn downgrade(&self) -> MU::WeakSender<T>;
}

/// Takes items out of a queue.
pub trait MpscReceiver<T>: OptionalSend {
    /// Waits for the next item; `None` when all senders are gone and nothing is left.
    ///
    /// If the future is dropped before it ends, no item is lost.
    fn recv(&mut self) -> impl Future<Output = Option<T>> + OptionalSend;

    /// The next item, if one is there.
    fn try_recv(&mut self) -> Result<T, TryRecvError>;

    /// A receiver that can look at the next item without taking it.
    fn peekable(self) -> PeekableReceiver<Self, T>
    where
        Self: Sized,
        T: OptionalSend,
    {
        PeekableReceiver::new(self)
    }
}

/// A sender that does not keep the queue open.
pub trait MpscWeakSender<MU: Mpsc, T: OptionalSend>: OptionalSend + OptionalSync + Clone {
    /// A sender, unless the queue is closed already.
    fn upgrade(&self) -> Option<MU::Sender<T>>;
}

/// A receiver that can look at the next item without taking it.
pub struct PeekableReceiver<R, T>
where
    R: MpscReceiver<T>,
    T: OptionalSend,
{
    inner: R,
    next: Option<T>,
}

impl<R, T> PeekableReceiver<R, T>
where
    R: MpscReceiver<T>,
    T: OptionalSend,
{
    /// Around a receiver.
    pub fn new(inner: R) -> Self {
        Self { inner, next: None }
    }

    /// The next item, if one is there, left in place.
    pub fn peek(&mut self) -> Result<&T, TryRecvError> {
        let next = match self.next.take() {
            Some(item) => item,
            None => self.inner.try_recv()?,
        };
        Ok(self.next.insert(next))
    }
}

impl<R, T> MpscReceiver<T> for PeekableReceiver<R, T>
where
    R: MpscReceiver<T>,
    T: OptionalSend,
{
    async fn recv(&mut self) -> Option<T> {
        match self.next.take() {
            Some(item) => Some(item),
            None => self.inner.recv().await,
        }
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.next.take().map_or_else(|| self.inner.try_recv(), Ok)
    }
}

/// The receiver is gone; holds the item that could not be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> Debug for SendError<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").finish_non_exhaustive()
    }
}

impl<T> Display for SendError<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("channel closed")
    }
}

impl<T> Error for SendError<T> {}

/// Why no item could be taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// None is there yet.
    Empty,
    /// None is there and none can come.
    Disconnected,
}

impl Display for TryRecvError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "receiving on an empty channel",
            Self::Disconnected => "receiving on a closed channel",
        })
    }
}

impl Error for TryRecvError {}

//! Channels for a single value.

use std::error::Error;

use crate::OptionalSend;

/// Makes channels for a single value.
pub trait Oneshot {
    /// Sends the value.
    type Sender<T: OptionalSend>: OneshotSender<T>;
    /// Waits for the value; an error if the sender was dropped without sending.
    type Receiver<T: OptionalSend>: OptionalSend + Future<Output = Result<T, Self::ReceiverError>> + Unpin;
    /// The sender was dropped without sending.
    type ReceiverError: Error + OptionalSend;

    /// A channel for one `T`.
    fn channel<T: OptionalSend>() -> (Self::Sender<T>, Self::Receiver<T>);
}

/// Sends a single value.
pub trait OneshotSender<T: OptionalSend>: OptionalSend + Sized {
    /// Sends `value`, or gives it back if the receiver is gone.
    fn send(self, value: T) -> Result<(), T>;
}

//! A lock that may be held across an await.

use std::ops::DerefMut;

use crate::OptionalSend;
use crate::OptionalSync;

/// A lock that may be held across an await.
pub trait Mutex<T: OptionalSend + 'static>: OptionalSend + OptionalSync + 'static {
    /// Holds the lock until dropped.
    type Guard<'a>: DerefMut<Target = T> + OptionalSend
    where
        Self: 'a;

    /// An open lock around `value`.
    fn new(value: T) -> Self;

    /// Waits for the lock. If the future is dropped before it ends, the lock is not taken.
    fn lock(&self) -> impl Future<Output = Self::Guard<'_>> + OptionalSend;
}

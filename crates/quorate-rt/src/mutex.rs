//! A lock that may be held across an await.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ops::DerefMut;
use std::sync::Arc;

use ouroboros::self_referencing;

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

    /// Like [`lock`](Self::lock), with a guard that keeps the lock alive and so can go anywhere.
    fn lock_owned(self: Arc<Self>) -> impl Future<Output = OwnedGuard<Self, T>> + OptionalSend
    where
        Self: Sized,
    {
        OwnedGuard::new(self)
    }
}

/// Holds the lock until dropped, and keeps it alive.
pub struct OwnedGuard<M, T>(Held<M, T>)
where
    M: Mutex<T>,
    T: OptionalSend + 'static;

#[self_referencing]
struct Held<M, T>
where
    M: Mutex<T>,
    T: OptionalSend + 'static,
{
    value: PhantomData<T>,
    mutex: Arc<M>,
    #[borrows(mutex)]
    #[not_covariant]
    guard: M::Guard<'this>,
}

impl<M, T> OwnedGuard<M, T>
where
    M: Mutex<T>,
    T: OptionalSend + 'static,
{
    #[cfg(not(feature = "single-threaded"))]
    async fn new(mutex: Arc<M>) -> Self {
        let guard =
            HeldAsyncSendBuilder { value: PhantomData, mutex, guard_builder: |mutex| Box::pin(mutex.lock()) };
        Self(guard.build().await)
    }

    #[cfg(feature = "single-threaded")]
    async fn new(mutex: Arc<M>) -> Self {
        let guard =
            HeldAsyncBuilder { value: PhantomData, mutex, guard_builder: |mutex| Box::pin(mutex.lock()) };
        Self(guard.build().await)
    }
}

impl<M, T> Deref for OwnedGuard<M, T>
where
    M: Mutex<T>,
    T: OptionalSend + 'static,
{
    type Target = T;

    fn deref(&self) -> &T {
        self.0.with_guard(|guard| &**guard)
    }
}

impl<M, T> DerefMut for OwnedGuard<M, T>
where
    M: Mutex<T>,
    T: OptionalSend + 'static,
{
    fn deref_mut(&mut self) -> &mut T {
        self.0.with_guard_mut(|guard| &mut **guard)
    }
}

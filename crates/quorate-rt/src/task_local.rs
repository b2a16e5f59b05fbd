//! Values that belong to a task instead of a thread, on any runtime.
//!
//! A key is declared by [`task_local!`](crate::task_local!) and has a value while a future that was put into its
//! [`scope`](LocalKey::scope) is polled. Tasks that such a future spawns do not inherit it.
//!
//! ```
//! quorate_rt::task_local! {
//!     static REQUEST: u64;
//! }
//!
//! let answer = REQUEST.sync_scope(7, || REQUEST.with(|request| request + 1));
//! assert_eq!(answer, 8);
//! assert!(REQUEST.try_get().is_err());
//! ```

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;
use std::mem;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::thread;

use pin_project_lite::pin_project;

/// Declares keys of values that belong to a task: `static NAME: Type;`, with attributes and visibility as usual.
///
/// Each is a [`LocalKey`](crate::task_local::LocalKey).
#[macro_export]
macro_rules! task_local {
    ($( $(#[$attribute:meta])* $vis:vis static $name:ident: $type:ty );* $(;)?) => {$(
        $(#[$attribute])*
        $vis static $name: $crate::task_local::LocalKey<$type> = {
            ::std::thread_local! {
                static SLOT: $crate::task_local::Slot<$type> = const { $crate::task_local::Slot::new(None) };
            }
            $crate::task_local::LocalKey::__new(&SLOT)
        };
    )*};
}

/// Where the value lies while it can be seen.
#[doc(hidden)]
pub type Slot<T> = RefCell<Option<T>>;

/// The key of a value that belongs to a task.
pub struct LocalKey<T: 'static> {
    slot: &'static thread::LocalKey<Slot<T>>,
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn __new(slot: &'static thread::LocalKey<Slot<T>>) -> Self {
        Self { slot }
    }

    /// `future`, which sees `value` whenever it is polled, and when it is dropped.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled from inside [`with`](Self::with) of the same key.
    pub fn scope<F: Future>(&'static self, value: T, future: F) -> TaskLocalFuture<T, F> {
        TaskLocalFuture { key: self, value: Some(value), future: Some(future) }
    }

    /// Calls `f`, which sees `value`.
    ///
    /// # Panics
    ///
    /// If called from inside [`with`](Self::with) of the same key.
    pub fn sync_scope<F, R>(&'static self, value: T, f: F) -> R
    where
        F: FnOnce() -> R,
    {
        self.enter(&mut Some(value), f).unwrap_or_else(|no_entry| no_entry.panic())
    }

    /// Calls `f` on the value.
    ///
    /// # Panics
    ///
    /// If the key has no value here; [`try_with`](Self::try_with) says so instead.
    pub fn with<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        self.try_with(f).unwrap_or_else(|error| error.panic())
    }

    /// Calls `f` on the value, if the key has one here.
    pub fn try_with<F, R>(&'static self, f: F) -> Result<R, AccessError>
    where
        F: FnOnce(&T) -> R,
    {
        let found = self.slot.try_with(|slot| slot.borrow().as_ref().map(f));
        found.ok().flatten().ok_or(AccessError { _private: () })
    }

    /// Calls `f` with the value in sight, and takes it back.
    fn enter<R>(&'static self, value: &mut Option<T>, f: impl FnOnce() -> R) -> Result<R, NoEntry> {
        /// Takes the value back, even from a panic.
        struct Leave<'a, T: 'static> {
            key: &'static LocalKey<T>,
            value: &'a mut Option<T>,
        }

        impl<T> Drop for Leave<'_, T> {
            fn drop(&mut self) {
                let taken_back = self.key.exchange(self.value);
                debug_assert!(taken_back.is_ok(), "views of the value end before the closure does");
            }
        }

        self.exchange(value)?;
        let _leave = Leave { key: self, value };
        Ok(f())
    }

    /// Swaps `value` and what is seen. An outer scope's value waits in place of the inner one.
    fn exchange(&'static self, value: &mut Option<T>) -> Result<(), NoEntry> {
        let swap = |slot: &Slot<T>| {
            let mut seen = slot.try_borrow_mut().map_err(|_| NoEntry::InUse)?;
            mem::swap(&mut *seen, value);
            Ok(())
        };
        self.slot.try_with(swap).unwrap_or(Err(NoEntry::ThreadEnds))
    }
}

impl<T: Clone + 'static> LocalKey<T> {
    /// A copy of the value.
    ///
    /// # Panics
    ///
    /// If the key has no value here; [`try_get`](Self::try_get) says so instead.
    pub fn get(&'static self) -> T {
        self.with(T::clone)
    }

    /// A copy of the value, if the key has one here.
    pub fn try_get(&'static self) -> Result<T, AccessError> {
        self.try_with(T::clone)
    }
}

impl<T: 'static> Debug for LocalKey<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

pin_project! {
    /// A future that sees a value whenever it is polled, and when it is dropped.
    pub struct TaskLocalFuture<T, F>
    where
        T: 'static,
    {
        key: &'static LocalKey<T>,
        value: Option<T>,
        // None when it has ended.
        #[pin]
        future: Option<F>,
    }

    impl<T, F> PinnedDrop for TaskLocalFuture<T, F>
    where
        T: 'static,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let mut future = this.future;
            // What the future holds may ask for the value when it is dropped. Where it can't, it is dropped all the
            // same, with the fields.
            let _ = this.key.enter(this.value, || future.set(None));
        }
    }
}

impl<T: 'static, F> TaskLocalFuture<T, F> {
    /// The value, which the future does not see any more; `None` if it was taken before.
    pub fn take_value(self: Pin<&mut Self>) -> Option<T> {
        self.project().value.take()
    }
}

impl<T: 'static, F: Future> Future for TaskLocalFuture<T, F> {
    type Output = F::Output;

    /// # Panics
    ///
    /// If the future has ended, or is polled from inside [`LocalKey::with`] of the same key.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut future = this.future;
        let polled = this.key.enter(this.value, || {
            let polled = future.as_mut().as_pin_mut().map(|future| future.poll(cx));
            if matches!(polled, Some(Poll::Ready(_))) {
                future.set(None);
            }
            polled
        });
        let polled = polled.and_then(|polled| polled.ok_or(NoEntry::Ended));
        polled.unwrap_or_else(|no_entry| no_entry.panic())
    }
}

impl<T, F> Debug for TaskLocalFuture<T, F>
where
    T: Debug + 'static,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLocalFuture").field("value", &self.value).finish_non_exhaustive()
    }
}

/// The key has no value here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessError {
    _private: (),
}

impl AccessError {
    #[expect(clippy::panic, reason = "the caller chose the function that panics over the one that says so")]
    fn panic(self) -> ! {
        panic!("{self}: run inside `LocalKey::scope`, or use `try_with`");
    }
}

impl Display for AccessError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("the task-local key has no value here")
    }
}

impl Error for AccessError {}

/// Why a scope could not be entered: a mistake of the caller's in all cases.
#[derive(Debug)]
enum NoEntry {
    InUse,
    ThreadEnds,
    Ended,
}

impl NoEntry {
    #[expect(clippy::panic, reason = "there is no result to give, and no error in the signature")]
    fn panic(self) -> ! {
        match self {
            Self::InUse => {
                panic!("a scope of a task-local key was entered from inside `with` of the same key")
            }
            Self::ThreadEnds => panic!("a scope of a task-local key was entered while its thread ends"),
            Self::Ended => panic!("a future in the scope of a task-local key was polled after it had ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    crate::task_local! {
        /// A number.
        static NUMBER: u64;
        pub(crate) static TEXT: String
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn scopes_nest_and_keys_are_apart() {
        let seen = NUMBER.sync_scope(1, || {
            let inner = NUMBER.sync_scope(2, || NUMBER.get());
            let text = TEXT.sync_scope("a".into(), || format!("{}{}", TEXT.get(), NUMBER.get()));
            (inner, NUMBER.get(), text)
        });
        assert_eq!(seen, (2, 1, "a1".into()));
        assert_eq!(NUMBER.try_get().unwrap_err().to_string(), "the task-local key has no value here");
    }

    #[test]
    fn a_panic_leaves_the_scope() {
        let panicked = std::panic::catch_unwind(|| NUMBER.sync_scope(1, || panic!("on purpose")));
        assert!(panicked.is_err() && NUMBER.try_get().is_err());
    }

    #[test]
    fn a_future_sees_the_value_when_it_is_dropped() {
        struct Asks;
        impl Drop for Asks {
            fn drop(&mut self) {
                TEXT.with(|_| NUMBER.with(|number| assert_eq!(*number, 3)));
            }
        }
        let asks = Asks;
        let future = NUMBER.scope(3, async move {
            let _asks = asks;
            std::future::pending::<()>().await;
        });
        TEXT.sync_scope(String::new(), || drop(future));
    }

    #[test]
    fn the_value_can_be_taken_back() {
        let mut future = pin!(NUMBER.scope(4, async { NUMBER.try_get().ok() }));
        assert_eq!(format!("{future:?}"), "TaskLocalFuture { value: Some(4), .. }");
        assert_eq!(poll(future.as_mut()), Poll::Ready(Some(4)));
        assert_eq!((future.as_mut().take_value(), future.as_mut().take_value()), (Some(4), None));
        let mut future = pin!(NUMBER.scope(4, async { NUMBER.try_get().ok() }));
        assert_eq!((future.as_mut().take_value(), poll(future)), (Some(4), Poll::Ready(None)));
    }

    #[test]
    #[should_panic(expected = "after it had ended")]
    fn a_future_ends_once() {
        let mut future = pin!(NUMBER.scope(1, ready(())));
        let _ = (poll(future.as_mut()), poll(future.as_mut()));
    }

    #[test]
    #[should_panic(expected = "from inside `with`")]
    fn no_scope_inside_a_view() {
        NUMBER.sync_scope(1, || NUMBER.with(|_| NUMBER.sync_scope(2, || ())));
    }

    #[test]
    #[should_panic(expected = "has no value here")]
    fn no_value_outside() {
        NUMBER.get();
    }
}

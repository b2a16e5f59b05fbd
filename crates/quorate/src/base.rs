//! Bounds that cargo features switch, and boxed futures, streams and closures that follow them.

use std::fmt::Debug;
use std::fmt::Display;

pub use quorate_core::bounds::OptionalFeatures;
pub use quorate_core::bounds::OptionalSend;
pub use quorate_core::bounds::OptionalSerde;
pub use quorate_core::bounds::OptionalSync;

#[cfg(not(feature = "single-threaded"))]
mod boxes {
    use std::any::Any;
    use std::pin::Pin;

    use futures_util::Stream;

    /// A boxed value of any type.
    pub type BoxAny = Box<dyn Any + Send>;
    /// A boxed iterator.
    pub type BoxIterator<'a, T> = Box<dyn Iterator<Item = T> + Send + 'a>;
    /// A boxed future.
    pub type BoxFuture<'a, T = ()> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
    /// A boxed stream.
    pub type BoxStream<'a, T> = Pin<Box<dyn Stream<Item = T> + Send + 'a>>;
    /// A boxed closure that is called once on `&A`.
    pub type BoxOnce<'a, A, T = ()> = Box<dyn FnOnce(&A) -> T + Send + 'a>;
    /// A boxed closure that is called once on `&mut A` and answers with a future.
    pub type BoxAsyncOnceMut<'a, A, T = ()> = Box<dyn FnOnce(&mut A) -> BoxFuture<'_, T> + Send + 'a>;
    /// Like [`BoxAsyncOnceMut`], but it may have nothing left to wait for.
    pub type BoxMaybeAsyncOnceMut<'a, A, T = ()> =
        Box<dyn FnOnce(&mut A) -> Option<BoxFuture<'_, T>> + Send + 'a>;
    /// A boxed closure that takes its argument by value, once.
    pub(crate) type BoxCall<A> = Box<dyn FnOnce(A) + Send + Sync>;
}

#[cfg(feature = "single-threaded")]
mod boxes {
    use std::any::Any;
    use std::pin::Pin;

    use futures_util::Stream;

    /// A boxed value of any type.
    pub type BoxAny = Box<dyn Any>;
    /// A boxed iterator.
    pub type BoxIterator<'a, T> = Box<dyn Iterator<Item = T> + 'a>;
    /// A boxed future.
    pub type BoxFuture<'a, T = ()> = Pin<Box<dyn Future<Output = T> + 'a>>;
    /// A boxed stream.
    pub type BoxStream<'a, T> = Pin<Box<dyn Stream<Item = T> + 'a>>;
    /// A boxed closure that is called once on `&A`.
    pub type BoxOnce<'a, A, T = ()> = Box<dyn FnOnce(&A) -> T + 'a>;
    /// A boxed closure that is called once on `&mut A` and answers with a future.
    pub type BoxAsyncOnceMut<'a, A, T = ()> = Box<dyn FnOnce(&mut A) -> BoxFuture<'_, T> + 'a>;
    /// Like [`BoxAsyncOnceMut`], but it may have nothing left to wait for.
    pub type BoxMaybeAsyncOnceMut<'a, A, T = ()> = Box<dyn FnOnce(&mut A) -> Option<BoxFuture<'_, T>> + 'a>;
    /// A boxed closure that takes its argument by value, once.
    pub(crate) type BoxCall<A> = Box<dyn FnOnce(A)>;
}

pub use boxes::BoxAny;
pub use boxes::BoxAsyncOnceMut;
pub(crate) use boxes::BoxCall;
pub use boxes::BoxFuture;
pub use boxes::BoxIterator;
pub use boxes::BoxMaybeAsyncOnceMut;
pub use boxes::BoxOnce;
pub use boxes::BoxStream;

/// What an application writes to the log.
pub trait AppData: OptionalFeatures + Debug + Display + 'static {}
impl<T> AppData for T where T: OptionalFeatures + Debug + Display + 'static {}

/// What applying an entry answers.
pub trait AppDataResponse: OptionalFeatures + 'static {}
impl<T> AppDataResponse for T where T: OptionalFeatures + 'static {}

/// A view of a value as another one that it may hold.
pub trait TryAsRef<T> {
    /// The held value, if it is there.
    fn try_as_ref(&self) -> Option<&T>;
}

pub(crate) mod finalized {
    /// Holds for every type: as a bound on a provided method it keeps implementors from overriding it.
    pub trait Final {}
    impl<T: ?Sized> Final for T {}
}

//! Boxed values, futures, streams and closures, which can be sent unless the feature `single-threaded` is on.

#[cfg(not(feature = "single-threaded"))]
mod aliases {
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
}

#[cfg(feature = "single-threaded")]
mod aliases {
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
}

pub use aliases::BoxAny;
pub use aliases::BoxAsyncOnceMut;
pub use aliases::BoxFuture;
pub use aliases::BoxIterator;
pub use aliases::BoxMaybeAsyncOnceMut;
pub use aliases::BoxOnce;
pub use aliases::BoxStream;

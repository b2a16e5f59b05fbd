//! Bounds that cargo features switch, and boxed futures, streams and closures that follow them.

use std::fmt::Debug;
use std::fmt::Display;

pub use quorate_core::bounds::OptionalFeatures;
pub use quorate_core::bounds::OptionalSend;
pub use quorate_core::bounds::OptionalSerde;
pub use quorate_core::bounds::OptionalSync;
pub use quorate_rt::BoxAny;
pub use quorate_rt::BoxAsyncOnceMut;
pub use quorate_rt::BoxFuture;
pub use quorate_rt::BoxIterator;
pub use quorate_rt::BoxMaybeAsyncOnceMut;
pub use quorate_rt::BoxOnce;
pub use quorate_rt::BoxStream;

/// A boxed closure that takes its argument by value, once.
#[cfg(not(feature = "single-threaded"))]
pub(crate) type BoxCall<A> = Box<dyn FnOnce(A) + Send + Sync>;
/// A boxed closure that takes its argument by value, once.
#[cfg(feature = "single-threaded")]
pub(crate) type BoxCall<A> = Box<dyn FnOnce(A)>;

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

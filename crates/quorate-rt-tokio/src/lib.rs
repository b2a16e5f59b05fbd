//! The runtime traits of `quorate-rt` on tokio: [`TokioRuntime`].
//!
//! Time is tokio's, so that its paused clock works in tests.
//!
//! ```
//! use quorate_rt::AsyncRuntime;
//! use quorate_rt_tokio::TokioRuntime;
//!
//! let sum = TokioRuntime::run(async {
//!     let task = TokioRuntime::spawn(async { 1 });
//!     task.await.map_or(0, |one| one + 1)
//! });
//! assert_eq!(sum, 2);
//! ```
#![forbid(unsafe_code)]

use std::fmt;
use std::fmt::Debug;
use std::fmt::Formatter;
use std::io;
use std::ops::Add;
use std::ops::AddAssign;
use std::ops::Sub;
use std::ops::SubAssign;
use std::time::Duration;

use quorate_rt::AsyncRuntime;
use quorate_rt::Instant;
use quorate_rt::Mpsc;
use quorate_rt::MpscReceiver;
use quorate_rt::MpscSender;
use quorate_rt::MpscWeakSender;
use quorate_rt::Mutex;
use quorate_rt::Oneshot;
use quorate_rt::OneshotSender;
use quorate_rt::OptionalSend;
use quorate_rt::SendError;
use quorate_rt::TryRecvError;
use tokio::sync;
use tokio::task;
use tokio::time;

mod watch;

pub use watch::TokioWatch;
pub use watch::TokioWatchReceiver;
pub use watch::TokioWatchRef;
pub use watch::TokioWatchSender;

/// The tokio runtime.
///
/// With the feature `single-threaded`, tasks are local: they run only inside a `tokio::task::LocalSet`, such as
/// the one that [`block_on`](AsyncRuntime::block_on) sets up.
pub struct TokioRuntime {
    runtime: tokio::runtime::Runtime,
}

impl Debug for TokioRuntime {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioRuntime").finish_non_exhaustive()
    }
}

impl AsyncRuntime for TokioRuntime {
    type JoinError = task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = task::JoinHandle<T>;
    type Sleep = time::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = time::Timeout<T>;
    type ThreadLocalRng = rand::rngs::ThreadRng;
    type Mpsc = TokioMpsc;
    type Watch = TokioWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    #[track_caller]
    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        #[cfg(not(feature = "single-threaded"))]
        return task::spawn(future);
        #[cfg(feature = "single-threaded")]
        return task::spawn_local(future);
    }

    #[track_caller]
    fn sleep(duration: Duration) -> Self::Sleep {
        time::sleep(duration)
    }

    #[track_caller]
    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        time::sleep_until(deadline.0)
    }

    #[track_caller]
    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        time::timeout(duration, future)
    }

    #[track_caller]
    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        time::timeout_at(deadline.0, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        join_error.is_panic()
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        rand::rng()
    }

    /// # Panics
    ///
    /// If the operating system gives no threads or no event queue.
    #[expect(
        clippy::expect_used,
        reason = "the contract returns no error, and a process has nothing to go on with"
    )]
    fn new(threads: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .enable_all()
            .build()
            .expect("start the tokio runtime");
        Self { runtime }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        #[cfg(not(feature = "single-threaded"))]
        return self.runtime.block_on(future);
        #[cfg(feature = "single-threaded")]
        return task::LocalSet::new().block_on(&self.runtime, future);
    }

    async fn spawn_blocking<F, T>(f: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        task::spawn_blocking(f).await.map_err(io::Error::other)
    }
}

/// A point in tokio's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokioInstant(time::Instant);

impl Add<Duration> for TokioInstant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0 + rhs)
    }
}

impl AddAssign<Duration> for TokioInstant {
    fn add_assign(&mut self, rhs: Duration) {
        self.0 += rhs;
    }
}

impl Sub<Duration> for TokioInstant {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0 - rhs)
    }
}

impl Sub<Self> for TokioInstant {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        self.0 - rhs.0
    }
}

impl SubAssign<Duration> for TokioInstant {
    fn sub_assign(&mut self, rhs: Duration) {
        self.0 -= rhs;
    }
}

impl Instant for TokioInstant {
    fn now() -> Self {
        Self(time::Instant::now())
    }
}

/// Bounded queues of tokio.
pub struct TokioMpsc;

/// Puts items into a tokio queue.
pub struct TokioMpscSender<T>(sync::mpsc::Sender<T>);

/// Takes items out of a tokio queue.
pub struct TokioMpscReceiver<T>(sync::mpsc::Receiver<T>);

/// A sender that does not keep a tokio queue open.
pub struct TokioMpscWeakSender<T>(sync::mpsc::WeakSender<T>);

impl<T> Clone for TokioMpscSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for TokioMpscWeakSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Mpsc for TokioMpsc {
    type Sender<T: OptionalSend> = TokioMpscSender<T>;
    type Receiver<T: OptionalSend> = TokioMpscReceiver<T>;
    type WeakSender<T: OptionalSend> = TokioMpscWeakSender<T>;

    fn channel<T: OptionalSend>(buffer: usize) -> (Self::Sender<T>, Self::Receiver<T>) {
        let (tx, rx) = sync::mpsc::channel(buffer.max(1));
        (TokioMpscSender(tx), TokioMpscReceiver(rx))
    }
}

impl<T: OptionalSend> MpscSender<TokioMpsc, T> for TokioMpscSender<T> {
    async fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.0.send(item).await.map_err(|e| SendError(e.0))
    }

    fn downgrade(&self) -> TokioMpscWeakSender<T> {
        TokioMpscWeakSender(self.0.downgrade())
    }
}

impl<T: OptionalSend> MpscReceiver<T> for TokioMpscReceiver<T> {
    async fn recv(&mut self) -> Option<T> {
        self.0.recv().await
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_recv().map_err(|e| match e {
            sync::mpsc::error::TryRecvError::Empty => TryRecvError::Empty,
            sync::mpsc::error::TryRecvError::Disconnected => TryRecvError::Disconnected,
        })
    }
}

impl<T: OptionalSend> MpscWeakSender<TokioMpsc, T> for TokioMpscWeakSender<T> {
    fn upgrade(&self) -> Option<TokioMpscSender<T>> {
        self.0.upgrade().map(TokioMpscSender)
    }
}

/// One-value channels of tokio.
pub struct TokioOneshot;

/// Sends the single value of a tokio channel.
pub struct TokioOneshotSender<T>(sync::oneshot::Sender<T>);

impl Oneshot for TokioOneshot {
    type Sender<T: OptionalSend> = TokioOneshotSender<T>;
    type Receiver<T: OptionalSend> = sync::oneshot::Receiver<T>;
    type ReceiverError = sync::oneshot::error::RecvError;

    fn channel<T: OptionalSend>() -> (Self::Sender<T>, Self::Receiver<T>) {
        let (tx, rx) = sync::oneshot::channel();
        (TokioOneshotSender(tx), rx)
    }
}

impl<T: OptionalSend> OneshotSender<T> for TokioOneshotSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }
}

/// The tokio lock that may be held across an await.
pub struct TokioMutex<T>(sync::Mutex<T>);

impl<T: OptionalSend + 'static> Mutex<T> for TokioMutex<T> {
    type Guard<'a> = sync::MutexGuard<'a, T>;

    fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    async fn lock(&self) -> Self::Guard<'_> {
        self.0.lock().await
    }
}

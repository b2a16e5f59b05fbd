//! What a runtime is.

use std::fmt::Debug;
use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::Instant;
use crate::Mpsc;
use crate::MpscReceiver;
use crate::Mutex;
use crate::Oneshot;
use crate::OptionalSend;
use crate::TryRecvError;
use crate::Watch;
use crate::blocking;

/// Worker threads of a runtime that [`AsyncRuntime::run`] makes for one future.
const RUN_THREADS: usize = 8;

/// Tasks, time, dice and channels of an async runtime.
///
/// Functions without a receiver act on the runtime that the calling task runs on.
pub trait AsyncRuntime: Debug + 'static {
    /// Why a task gave no result.
    type JoinError: Debug + Display + OptionalSend;

    /// Waits for a task; dropping it leaves the task running.
    type JoinHandle<T: OptionalSend + 'static>: Future<Output = Result<T, Self::JoinError>>
        + OptionalSend
        + Unpin;

    /// Ends at a point in time.
    type Sleep: Future<Output = ()> + OptionalSend;

    /// A point in the runtime's time.
    type Instant: Instant;

    /// Says that time ran out.
    type TimeoutError: Debug + Display + OptionalSend;

    /// A future with a deadline.
    type Timeout<R, T: Future<Output = R> + OptionalSend>: Future<Output = Result<R, Self::TimeoutError>>
        + OptionalSend;

    /// Where random numbers come from.
    type ThreadLocalRng: rand::Rng;

    /// Bounded queues.
    type Mpsc: Mpsc;

    /// Latest-value channels.
    type Watch: Watch;

    /// One-value channels.
    type Oneshot: Oneshot;

    /// A lock that may be held across an await.
    type Mutex<T: OptionalSend + 'static>: Mutex<T>;

    /// Starts a task.
    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static;

    /// Ends after `duration`.
    fn sleep(duration: Duration) -> Self::Sleep;

    /// Ends at `deadline`.
    fn sleep_until(deadline: Self::Instant) -> Self::Sleep;

    /// `future`, given up after `duration`.
    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F)
    -> Self::Timeout<R, F>;

    /// `future`, given up at `deadline`.
    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F>;

    /// Whether the task ended by a panic.
    fn is_panic(join_error: &Self::JoinError) -> bool;

    /// A source of random numbers, used at once and not kept.
    fn thread_rng() -> Self::ThreadLocalRng;

    /// A runtime with `threads` worker threads.
    fn new(threads: usize) -> Self;

    /// Runs `future` to its end on this runtime, blocking the calling thread.
    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>;

    /// The output of whichever ends first, the earlier one in the list if both are ready; the other is dropped.
    fn select2<A, B>(a: A, b: B) -> impl Future<Output = Select2<A::Output, B::Output>> + OptionalSend
    where
        A: Future + OptionalSend,
        B: Future + OptionalSend,
    {
        async move {
            let (mut a, mut b) = (pin!(a), pin!(b));
            poll_fn(|cx| {
                if let Poll::Ready(out) = a.as_mut().poll(cx) {
                    return Poll::Ready(Select2::First(out));
                }
                b.as_mut().poll(cx).map(Select2::Second)
            })
            .await
        }
    }

    /// Like [`select2`](Self::select2), of three.
    fn select3<A, B, C>(
        a: A,
        b: B,
        c: C,
    ) -> impl Future<Output = Select3<A::Output, B::Output, C::Output>> + OptionalSend
    where
        A: Future + OptionalSend,
        B: Future + OptionalSend,
        C: Future + OptionalSend,
    {
        async move {
            let (mut a, mut b, mut c) = (pin!(a), pin!(b), pin!(c));
            poll_fn(|cx| {
                if let Poll::Ready(out) = a.as_mut().poll(cx) {
                    return Poll::Ready(Select3::First(out));
                }
                if let Poll::Ready(out) = b.as_mut().poll(cx) {
                    return Poll::Ready(Select3::Second(out));
                }
                c.as_mut().poll(cx).map(Select3::Third)
            })
            .await
        }
    }

    /// Like [`select2`](Self::select2), of four.
    fn select4<A, B, C, D>(
        a: A,
        b: B,
        c: C,
        d: D,
    ) -> impl Future<Output = Select4<A::Output, B::Output, C::Output, D::Output>> + OptionalSend
    where
        A: Future + OptionalSend,
        B: Future + OptionalSend,
        C: Future + OptionalSend,
        D: Future + OptionalSend,
    {
        async move {
            let (mut a, mut b, mut c, mut d) = (pin!(a), pin!(b), pin!(c), pin!(d));
            poll_fn(|cx| {
                if let Poll::Ready(out) = a.as_mut().poll(cx) {
                    return Poll::Ready(Select4::First(out));
                }
                if let Poll::Ready(out) = b.as_mut().poll(cx) {
                    return Poll::Ready(Select4::Second(out));
                }
                if let Poll::Ready(out) = c.as_mut().poll(cx) {
                    return Poll::Ready(Select4::Third(out));
                }
                d.as_mut().poll(cx).map(Select4::Fourth)
            })
            .await
        }
    }

    /// Runs `future` to its end on a runtime made for it, blocking the calling thread.
    fn run<F, T>(future: F) -> T
    where
        Self: Sized,
        F: Future<Output = T>,
    {
        Self::new(RUN_THREADS).block_on(future)
    }

    /// Runs a closure that may block, away from the threads that poll tasks.
    ///
    /// By default each call has a thread of its own. Errors if no thread can be had or the closure panics. If the
    /// future is dropped, the closure still runs to its end.
    fn spawn_blocking<F, T>(f: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        blocking::on_thread(f)
    }

    /// The next item of `rx`, [`TryRecvError::Empty`] if none came until `deadline`, or
    /// [`TryRecvError::Disconnected`] if none can come any more.
    fn mpsc_recv_deadline<T: OptionalSend>(
        rx: &mut <Self::Mpsc as Mpsc>::Receiver<T>,
        deadline: Self::Instant,
    ) -> impl Future<Output = Result<T, TryRecvError>> + OptionalSend {
        async move {
            match Self::select2(rx.recv(), Self::sleep_until(deadline)).await {
                Select2::First(item) => item.ok_or(TryRecvError::Disconnected),
                Select2::Second(()) => Err(TryRecvError::Empty),
            }
        }
    }
}

/// Which of two futures ended first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select2<A, B> {
    /// The first one.
    First(A),
    /// The second one.
    Second(B),
}

/// Which of three futures ended first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select3<A, B, C> {
    /// The first one.
    First(A),
    /// The second one.
    Second(B),
    /// The third one.
    Third(C),
}

/// Which of four futures ended first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select4<A, B, C, D> {
    /// The first one.
    First(A),
    /// The second one.
    Second(B),
    /// The third one.
    Third(C),
    /// The fourth one.
    Fourth(D),
}

//! The runtime of a type config, in short.

use std::error::Error;
use std::io;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;

use super::RaftTypeConfig;
use super::alias::AsyncRuntimeOf;
use super::alias::ErrorSourceOf;
use super::alias::InstantOf;
use super::alias::JoinHandleOf;
use super::alias::MpscOf;
use super::alias::MpscReceiverOf;
use super::alias::MpscSenderOf;
use super::alias::MutexOf;
use super::alias::OneshotOf;
use super::alias::OneshotReceiverOf;
use super::alias::OneshotSenderOf;
use super::alias::SleepOf;
use super::alias::TimeoutOf;
use super::alias::WatchOf;
use super::alias::WatchReceiverOf;
use super::alias::WatchSenderOf;
use crate::base::OptionalSend;
use crate::base::OptionalSync;
use crate::errors::ErrorSource;
use crate::runtime::AsyncRuntime;
use crate::runtime::Instant;
use crate::runtime::Mpsc;
use crate::runtime::MpscReceiver;
use crate::runtime::Mutex;
use crate::runtime::Oneshot;
use crate::runtime::Select2;
use crate::runtime::Select3;
use crate::runtime::Select4;
use crate::runtime::Watch;

/// The runtime of a type config, in short.
pub trait TypeConfigExt: RaftTypeConfig {
    /// The present.
    fn now() -> InstantOf<Self> {
        InstantOf::<Self>::now()
    }

    /// Ends after `duration`.
    #[track_caller]
    fn sleep(duration: Duration) -> SleepOf<Self> {
        AsyncRuntimeOf::<Self>::sleep(duration)
    }

    /// Lets other tasks run: a sleep of a nanosecond.
    #[track_caller]
    fn yield_now() -> SleepOf<Self> {
        Self::sleep(Duration::from_nanos(1))
    }

    /// Ends at `deadline`.
    #[track_caller]
    fn sleep_until(deadline: InstantOf<Self>) -> SleepOf<Self> {
        AsyncRuntimeOf::<Self>::sleep_until(deadline)
    }

    /// `future`, given up after `duration`.
    #[track_caller]
    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> TimeoutOf<Self, R, F> {
        AsyncRuntimeOf::<Self>::timeout(duration, future)
    }

    /// `future`, given up at `deadline`.
    #[track_caller]
    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: InstantOf<Self>,
        future: F,
    ) -> TimeoutOf<Self, R, F> {
        AsyncRuntimeOf::<Self>::timeout_at(deadline, future)
    }

    /// Like [`AsyncRuntime::select2`].
    fn select2<A, B>(a: A, b: B) -> impl Future<Output = Select2<A::Output, B::Output>> + OptionalSend
    where
        A: Future + OptionalSend,
        B: Future + OptionalSend,
    {
        AsyncRuntimeOf::<Self>::select2(a, b)
    }

    /// Like [`AsyncRuntime::select3`].
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
        AsyncRuntimeOf::<Self>::select3(a, b, c)
    }

    /// Like [`AsyncRuntime::select4`].
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
        AsyncRuntimeOf::<Self>::select4(a, b, c, d)
    }

    /// A channel for one `T`.
    fn oneshot<T: OptionalSend>() -> (OneshotSenderOf<Self, T>, OneshotReceiverOf<Self, T>) {
        OneshotOf::<Self>::channel()
    }

    /// A queue with room for `buffer` items.
    fn mpsc<T: OptionalSend>(buffer: usize) -> (MpscSenderOf<Self, T>, MpscReceiverOf<Self, T>) {
        MpscOf::<Self>::channel(buffer)
    }

    /// The items of a queue as a stream, which ends when the queue is closed.
    fn mpsc_to_stream<T: OptionalSend>(rx: MpscReceiverOf<Self, T>) -> impl Stream<Item = T> {
        stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|item| (item, rx)) })
    }

    /// A channel that keeps the latest value only.
    fn watch_channel<T: OptionalSend + OptionalSync>(
        init: T,
    ) -> (WatchSenderOf<Self, T>, WatchReceiverOf<Self, T>) {
        WatchOf::<Self>::channel(init)
    }

    /// A lock that may be held across an await.
    fn mutex<T: OptionalSend>(value: T) -> MutexOf<Self, T> {
        MutexOf::<Self, T>::new(value)
    }

    /// Starts a task.
    #[track_caller]
    fn spawn<T>(future: T) -> JoinHandleOf<Self, T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        AsyncRuntimeOf::<Self>::spawn(future)
    }

    /// Runs `future` to its end on a runtime made for it, blocking the calling thread.
    fn run<F, T>(future: F) -> T
    where
        F: Future<Output = T>,
    {
        AsyncRuntimeOf::<Self>::run(future)
    }

    /// Like [`AsyncRuntime::spawn_blocking`].
    fn spawn_blocking<F, T>(f: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        AsyncRuntimeOf::<Self>::spawn_blocking(f)
    }

    /// The cause of an error, from its text.
    fn err_from_string(text: impl ToString) -> ErrorSourceOf<Self> {
        ErrorSourceOf::<Self>::from_string(text)
    }

    /// The cause of an error, from another error.
    fn err_from_error<E: Error + 'static>(error: &E) -> ErrorSourceOf<Self> {
        ErrorSourceOf::<Self>::from_error(error)
    }
}

impl<T: RaftTypeConfig> TypeConfigExt for T {}

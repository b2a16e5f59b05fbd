//! The runtime that the library runs on in tier B: one thread, virtual time, and dice that a seed repeats.

use std::convert::Infallible;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;
use std::future::poll_fn;
use std::io;
use std::ops::Add;
use std::ops::AddAssign;
use std::ops::Sub;
use std::ops::SubAssign;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Wake;
use std::task::Waker;
use std::task::ready;
use std::time::Duration;

use futures_util::FutureExt;
use pin_project_lite::pin_project;
use quorate_rt::AsyncRuntime;
use quorate_rt::Instant;
use quorate_rt::OptionalSend;
use quorate_rt_tokio::TokioMpsc;
use quorate_rt_tokio::TokioMutex;
use quorate_rt_tokio::TokioOneshot;
use quorate_rt_tokio::TokioWatch;
use rand::TryRng;
use tokio::sync::oneshot;

use crate::dice::Dice;
use crate::tier_b::world;
use crate::tier_b::world::World;

/// The longest that a closure which may block takes.
const BLOCKING_NS_MAX: u64 = 3_000_000;

/// The simulated runtime. Its functions act on the [world] of the calling thread.
///
/// Channels and locks are tokio's, which need no runtime of tokio's.
pub struct SimRuntime {
    /// The world between two calls of `block_on`.
    world: Option<World>,
}

impl Debug for SimRuntime {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRuntime").finish_non_exhaustive()
    }
}

impl AsyncRuntime for SimRuntime {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = SimInstant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = SimRng;
    type Mpsc = TokioMpsc;
    type Watch = TokioWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let (tx, rx) = oneshot::channel();
        world::spawn(async move {
            let outcome = AssertUnwindSafe(future).catch_unwind().await.map_err(|panic| {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                world::note_panic(text.unwrap_or_default());
                JoinError { panicked: true }
            });
            // Nobody may wait for it.
            let _ = tx.send(outcome);
        });
        JoinHandle(rx)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Self::sleep_until(SimInstant::now() + duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Sleep { node: world::current_node(), deadline, number: None }
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Timeout { future, sleep: Self::sleep(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Timeout { future, sleep: Self::sleep_until(deadline) }
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        join_error.panicked
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SimRng(Dice(world::roll()))
    }

    fn new(_threads: usize) -> Self {
        Self { world: Some(World::new(0, true)) }
    }

    /// # Panics
    ///
    /// If the future waits for something that cannot happen any more.
    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        world::install(self.world.take().unwrap_or_else(|| World::new(0, true)));
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        let out = loop {
            if woken.0.swap(false, Ordering::Relaxed) {
                if let Poll::Ready(out) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    break out;
                }
            } else if world::poll_one().is_none() {
                assert!(
                    world::awaits_time(),
                    "a deadlock: no task is ready, and none waits for time to pass"
                );
                world::advance(u64::MAX);
            }
        };
        self.world = world::uninstall();
        out
    }

    /// In a simulation the closure runs on the spot, a drawn time later, also if the caller has gone by then.
    async fn spawn_blocking<F, T>(f: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if world::uses_threads() {
            return std::thread::spawn(f).join().map_err(|_| io::Error::other("the closure panicked"));
        }
        let delay = Duration::from_nanos(world::below(BLOCKING_NS_MAX));
        let task = Self::spawn(async move {
            Self::sleep(delay).await;
            f()
        });
        task.await.map_err(io::Error::other)
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits for a task.
#[derive(Debug)]
pub struct JoinHandle<T>(oneshot::Receiver<Result<T, JoinError>>);

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(outcome.unwrap_or(Err(JoinError { panicked: false })))
    }
}

/// A task ended without a result: it panicked, or was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinError {
    panicked: bool,
}

impl Display for JoinError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.panicked { "the task panicked" } else { "the task was killed" })
    }
}

impl std::error::Error for JoinError {}

/// Ends at a time on the clock of the node that made it.
#[derive(Debug)]
pub struct Sleep {
    node: u64,
    deadline: SimInstant,
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline.0;
        if world::local_ns_of(self.node) >= deadline {
            self.forget();
            return Poll::Ready(());
        }
        let renewed =
            self.number.is_some_and(|number| world::renew_timer(self.node, deadline, number, cx.waker()));
        if !renewed {
            self.number = Some(world::add_timer(self.node, deadline, cx.waker().clone()));
        }
        Poll::Pending
    }
}

impl Sleep {
    fn forget(&mut self) {
        if let Some(number) = self.number.take() {
            world::remove_timer(self.node, self.deadline.0, number);
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

pin_project! {
    /// A future with a deadline; if both are there at once, the future counts.
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(out) = this.future.poll(cx) {
            return Poll::Ready(Ok(out));
        }
        Pin::new(this.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

/// Time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl Display for Elapsed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("time ran out")
    }
}

impl std::error::Error for Elapsed {}

/// Random numbers that follow from the seed.
#[derive(Debug)]
pub struct SimRng(Dice);

impl TryRng for SimRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0.roll() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.roll())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.roll().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A moment on the clock of a node, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimInstant(pub u64);

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for SimInstant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

impl AddAssign<Duration> for SimInstant {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for SimInstant {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(rhs)))
    }
}

impl Sub<Self> for SimInstant {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(rhs.0))
    }
}

impl SubAssign<Duration> for SimInstant {
    fn sub_assign(&mut self, rhs: Duration) {
        *self = *self - rhs;
    }
}

impl Instant for SimInstant {
    fn now() -> Self {
        Self(world::local_now_ns())
    }
}

/// Lets every other task that is ready have a turn first, more or less.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use quorate_rt::testing::DetsimSuite;
    use quorate_rt::testing::Suite;

    use super::*;

    #[test]
    fn it_does_what_a_node_relies_on() {
        Suite::<SimRuntime>::test_all();
    }

    #[test]
    fn its_dice_repeat() {
        DetsimSuite::<SimRuntime>::test_all();
    }

    #[test]
    fn a_killed_node_stops_at_an_await_and_leaves_nothing_behind() {
        let mut runtime = SimRuntime::new(1);
        runtime.block_on(async {
            let (tx, rx) = oneshot::channel::<u8>();
            let done = Arc::new(AtomicBool::new(false));
            let seen = done.clone();
            world::spawn_on(7, async move {
                SimRuntime::sleep(Duration::from_millis(10)).await;
                seen.store(true, Ordering::Relaxed);
                drop(tx);
            });
            SimRuntime::sleep(Duration::from_millis(5)).await;
            world::kill(7);
            assert!(rx.await.is_err(), "what a killed task held is dropped");
            SimRuntime::sleep(Duration::from_millis(20)).await;
            assert!(!done.load(Ordering::Relaxed), "a killed task does not go on");
        });
    }

    #[test]
    fn a_paused_node_stands_still_and_goes_on() {
        let mut runtime = SimRuntime::new(1);
        runtime.block_on(async {
            let (tx, mut rx) = oneshot::channel::<u64>();
            world::spawn_on(7, async move {
                SimRuntime::sleep(Duration::from_millis(10)).await;
                let _ = tx.send(world::now_ns());
            });
            world::set_paused(7, true);
            SimRuntime::sleep(Duration::from_millis(50)).await;
            assert!(rx.try_recv().is_err());
            world::set_paused(7, false);
            assert!(rx.await.unwrap() >= 50_000_000);
        });
    }

    #[test]
    fn a_fast_clock_ends_a_sleep_early() {
        let mut runtime = SimRuntime::new(1);
        runtime.block_on(async {
            let (tx, rx) = oneshot::channel::<u64>();
            world::set_drift(7, 1_000_000);
            world::spawn_on(7, async move {
                SimRuntime::sleep(Duration::from_millis(10)).await;
                let _ = tx.send(world::now_ns());
            });
            let woke = rx.await.unwrap();
            assert!((5_000_000..6_000_000).contains(&woke), "{woke}");
        });
    }

    #[test]
    #[should_panic(expected = "a deadlock")]
    fn a_deadlock_is_told() {
        SimRuntime::new(1).block_on(std::future::pending::<()>());
    }
}

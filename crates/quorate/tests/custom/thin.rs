//! A runtime of one's own, that counts the polls of its tasks and rolls the same dice in every run.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use quorate::AsyncRuntime;
use quorate::OptionalSend;
use quorate::TokioRuntime;
use rand::SeedableRng;
use rand::rngs::SmallRng;

type Inner = TokioRuntime;

thread_local! {
    /// The polls of every task that was started on this thread, in the order of their start.
    static POLLS: RefCell<Vec<Arc<AtomicU64>>> = const { RefCell::new(Vec::new()) };
    static SEED: Cell<u64> = const { Cell::new(1) };
}

/// tokio, with the polls of each task counted, and with dice that depend on nothing.
#[derive(Debug)]
pub struct Thin(TokioRuntime);

impl Thin {
    /// The polls of the tasks started on this thread since the last [`forget`](Self::forget).
    pub fn polls() -> Vec<Arc<AtomicU64>> {
        POLLS.with_borrow(Clone::clone)
    }

    pub fn forget() {
        POLLS.with_borrow_mut(Vec::clear);
    }
}

struct Counted<T> {
    polls: Arc<AtomicU64>,
    task: Pin<Box<T>>,
}

impl<T: Future> Future for Counted<T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Output> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.task.as_mut().poll(cx)
    }
}

impl AsyncRuntime for Thin {
    type JoinError = <Inner as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Inner as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Inner as AsyncRuntime>::Sleep;
    type Instant = <Inner as AsyncRuntime>::Instant;
    type TimeoutError = <Inner as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Inner as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <Inner as AsyncRuntime>::Mpsc;
    type Watch = <Inner as AsyncRuntime>::Watch;
    type Oneshot = <Inner as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Inner as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(task: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let polls = Arc::new(AtomicU64::new(0));
        POLLS.with_borrow_mut(|all| all.push(polls.clone()));
        Inner::spawn(Counted { polls, task: Box::pin(task) })
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        (<Inner as AsyncRuntime>::sleep)(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        (<Inner as AsyncRuntime>::sleep_until)(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Inner::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Inner::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        Inner::is_panic(error)
    }

    fn thread_rng() -> SmallRng {
        SEED.set(SEED.get() + 1);
        SmallRng::seed_from_u64(SEED.get())
    }

    fn new(threads: usize) -> Self {
        Self(Inner::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }
}

#[test]
fn a_runtime_of_ones_own_is_put_to_the_test() {
    quorate::testing::runtime::Suite::<Thin>::test_all();
}

//! Dice that fall the same way in each run.

use std::cell::Cell;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Formatter;
use std::io;
use std::pin::pin;
use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::AsyncRuntime;
use crate::Mpsc;
use crate::OptionalSend;
use crate::Select2;
use crate::Select3;
use crate::Select4;
use crate::TryRecvError;
use crate::task_local::AccessError;
use crate::task_local::TaskLocalFuture;

crate::task_local! {
    // What the next source of random numbers of the task is made from.
    static SEED: Cell<u64>;
}

/// A runtime whose random numbers follow from a seed; all else is that of the runtime inside.
///
/// The seed belongs to the task. Each [`thread_rng`](AsyncRuntime::thread_rng) uses it and moves it on, and a spawned
/// task starts from a seed of its own that is drawn from its parent's: so what a task draws depends on what its
/// forebears and itself did before, and on no other task.
///
/// [`block_on`](AsyncRuntime::block_on) and [`run`](AsyncRuntime::run) set the seed, and so does
/// [`scope`](Self::scope) for futures that something else polls.
pub struct DeterministicRng<RT>
where
    RT: AsyncRuntime,
{
    inner: RT,
    seed: u64,
}

impl<RT> DeterministicRng<RT>
where
    RT: AsyncRuntime,
{
    /// The seed of a runtime that was given none.
    const FIRST_SEED: u64 = 0;

    /// Sets the seed for the next [`block_on`](AsyncRuntime::block_on); unless set, it goes on from where the last
    /// one ended.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// `future`, which draws its random numbers from `seed` whoever polls it.
    pub fn scope<F>(seed: u64, future: F) -> TaskLocalFuture<Cell<u64>, F>
    where
        F: Future,
    {
        SEED.scope(Cell::new(seed), future)
    }

    /// Uses the task's seed and moves it on.
    fn draw() -> Result<SmallRng, AccessError> {
        SEED.try_with(|seed| {
            let mut rng = SmallRng::seed_from_u64(seed.get());
            seed.set(rng.next_u64());
            rng
        })
    }
}

impl<RT> Debug for DeterministicRng<RT>
where
    RT: AsyncRuntime,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeterministicRng").field("inner", &self.inner).field("seed", &self.seed).finish()
    }
}

impl<RT> AsyncRuntime for DeterministicRng<RT>
where
    RT: AsyncRuntime,
{
    type JoinError = RT::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = RT::JoinHandle<T>;
    type Sleep = RT::Sleep;
    type Instant = RT::Instant;
    type TimeoutError = RT::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = RT::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = RT::Mpsc;
    type Watch = RT::Watch;
    type Oneshot = RT::Oneshot;
    type Mutex<T: OptionalSend + 'static> = RT::Mutex<T>;

    #[track_caller]
    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match Self::draw() {
            Ok(mut rng) => RT::spawn(Self::scope(rng.next_u64(), future)),
            Err(AccessError { .. }) => RT::spawn(future),
        }
    }

    #[track_caller]
    fn sleep(duration: Duration) -> Self::Sleep {
        RT::sleep(duration)
    }

    #[track_caller]
    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        RT::sleep_until(deadline)
    }

    #[track_caller]
    fn timeout<R, F>(duration: Duration, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        RT::timeout(duration, future)
    }

    #[track_caller]
    fn timeout_at<R, F>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        RT::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        RT::is_panic(join_error)
    }

    /// # Panics
    ///
    /// If the task has no seed, since it was started neither by this runtime nor in a [`scope`](Self::scope):
    /// whatever came instead would not fall the same way in the next run.
    #[expect(clippy::panic, reason = "the contract returns no error")]
    fn thread_rng() -> Self::ThreadLocalRng {
        let Ok(rng) = Self::draw() else {
            panic!(
                "this task has no seed: start it by `spawn`, `block_on` or `run` of `DeterministicRng`, or in its `scope`"
            )
        };
        rng
    }

    fn new(threads: usize) -> Self {
        Self { inner: RT::new(threads), seed: Self::FIRST_SEED }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        let mut scoped = pin!(Self::scope(self.seed, future));
        let output = self.inner.block_on(scoped.as_mut());
        if let Some(seed) = scoped.take_value() {
            self.seed = seed.get();
        }
        output
    }

    fn select2<A, B>(a: A, b: B) -> impl Future<Output = Select2<A::Output, B::Output>> + OptionalSend
    where
        A: Future + OptionalSend,
        B: Future + OptionalSend,
    {
        RT::select2(a, b)
    }

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
        RT::select3(a, b, c)
    }

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
        RT::select4(a, b, c, d)
    }

    fn run<F, T>(future: F) -> T
    where
        F: Future<Output = T>,
    {
        RT::run(Self::scope(Self::FIRST_SEED, future))
    }

    /// The closure gets a seed of its own, as a task does.
    fn spawn_blocking<F, T>(f: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let seed = Self::draw().map(|mut rng| rng.next_u64());
        RT::spawn_blocking(move || match seed {
            Ok(seed) => SEED.sync_scope(Cell::new(seed), f),
            Err(AccessError { .. }) => f(),
        })
    }

    fn mpsc_recv_deadline<T: OptionalSend>(
        rx: &mut <Self::Mpsc as Mpsc>::Receiver<T>,
        deadline: Self::Instant,
    ) -> impl Future<Output = Result<T, TryRecvError>> + OptionalSend {
        RT::mpsc_recv_deadline(rx, deadline)
    }
}

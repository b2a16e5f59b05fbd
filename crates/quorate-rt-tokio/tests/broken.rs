//! The suite finds what is wrong with a runtime that sleeps too little, gives up too soon, rolls one number only, and
//! says that it sent what nobody can receive.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::any::Any;
use std::convert::Infallible;
use std::future::Ready;
use std::future::ready;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use quorate_rt::AsyncRuntime;
use quorate_rt::Oneshot;
use quorate_rt::OneshotSender;
use quorate_rt::OptionalSend;
use quorate_rt::testing::Suite;
use quorate_rt_tokio::TokioInstant;
use quorate_rt_tokio::TokioMpsc;
use quorate_rt_tokio::TokioMutex;
use quorate_rt_tokio::TokioOneshot;
use quorate_rt_tokio::TokioOneshotSender;
use quorate_rt_tokio::TokioRuntime;
use quorate_rt_tokio::TokioWatch;
use rand::TryRng;

#[derive(Debug)]
struct Broken(TokioRuntime);

impl AsyncRuntime for Broken {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = Ready<()>;
    type Instant = TokioInstant;
    type TimeoutError = &'static str;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = GivesUp<R>;
    type ThreadLocalRng = AlwaysOne;
    type Mpsc = TokioMpsc;
    type Watch = TokioWatch;
    type Oneshot = Claims;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(_duration: Duration) -> Self::Sleep {
        ready(())
    }

    fn sleep_until(_deadline: Self::Instant) -> Self::Sleep {
        ready(())
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        _duration: Duration,
        _future: F,
    ) -> Self::Timeout<R, F> {
        GivesUp(PhantomData)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        _deadline: Self::Instant,
        _future: F,
    ) -> Self::Timeout<R, F> {
        GivesUp(PhantomData)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        AlwaysOne
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

/// A timeout that runs out at once.
struct GivesUp<R>(PhantomData<fn() -> R>);

impl<R> Future for GivesUp<R> {
    type Output = Result<R, &'static str>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Err("too late"))
    }
}

struct AlwaysOne;

impl TryRng for AlwaysOne {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(1)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(1)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(1);
        Ok(())
    }
}

/// Channels whose sender always says that all went well.
struct Claims;

struct ClaimsSender<T>(TokioOneshotSender<T>);

impl Oneshot for Claims {
    type Sender<T: OptionalSend> = ClaimsSender<T>;
    type Receiver<T: OptionalSend> = <TokioOneshot as Oneshot>::Receiver<T>;
    type ReceiverError = <TokioOneshot as Oneshot>::ReceiverError;

    fn channel<T: OptionalSend>() -> (Self::Sender<T>, Self::Receiver<T>) {
        let (tx, rx) = TokioOneshot::channel();
        (ClaimsSender(tx), rx)
    }
}

impl<T: OptionalSend> OneshotSender<T> for ClaimsSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        let _ = self.0.send(value);
        Ok(())
    }
}

/// What a test says of the broken runtime; `None` if it passes.
fn verdict(test: impl Future<Output = ()>) -> Option<String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| Broken::new(1).block_on(test)));
    outcome.err().map(|panic| text(&*panic))
}

fn text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap().to_string())
}

#[test]
fn each_fault_is_found() {
    type Tests = Suite<Broken>;
    assert_eq!(verdict(Tests::test_sleep()).unwrap(), "a sleep lasts as long as it should");
    assert_eq!(verdict(Tests::test_sleep_until()).unwrap(), "a sleep lasts until its deadline");
    assert_eq!(verdict(Tests::test_timeout()).unwrap(), "it is not given up early");
    assert_eq!(verdict(Tests::test_timeout_at()).unwrap(), "it is not given up early");
    let found = verdict(Tests::test_thread_rng()).unwrap();
    assert_eq!(found, "one source of random numbers gives different ones");
    assert!(verdict(Tests::test_oneshot_send_to_dropped_rx()).unwrap().contains("Err(1)"));
    assert!(catch_unwind(Tests::test_all).is_err());
}

#[test]
fn what_is_whole_passes() {
    type Tests = Suite<Broken>;
    assert_eq!(verdict(Tests::test_watch_subscribe()), None);
    assert_eq!(verdict(Tests::test_mpsc_backpressure()), None);
    assert_eq!(verdict(Tests::test_instant_arithmetic()), None);
}

//! How often the tasks of a node are polled for one write: what a change of the route must not raise.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use quorate::AsyncRuntime;
use quorate::Entry;
use quorate::TokioRuntime;

use crate::cluster::elapse;
use crate::cluster::soon;
use crate::small::Copied;
use crate::small::found;

type Inner = TokioRuntime;

thread_local! {
    /// The polls of every task that was started on this thread, in the order of their start.
    static POLLS: RefCell<Vec<Arc<AtomicU64>>> = const { RefCell::new(Vec::new()) };
}

/// tokio, with the polls of each task counted.
#[derive(Debug)]
pub struct Counting(TokioRuntime);

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

impl AsyncRuntime for Counting {
    type JoinError = <Inner as AsyncRuntime>::JoinError;
    type JoinHandle<T: Send + 'static> = <Inner as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Inner as AsyncRuntime>::Sleep;
    type Instant = <Inner as AsyncRuntime>::Instant;
    type TimeoutError = <Inner as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + Send> = <Inner as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <Inner as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <Inner as AsyncRuntime>::Mpsc;
    type Watch = <Inner as AsyncRuntime>::Watch;
    type Oneshot = <Inner as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <Inner as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(task: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
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

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        Inner::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Inner::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        Inner::is_panic(error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        Inner::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(Inner::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }
}

quorate::declare_raft_types!(pub Metered: R = u64, AsyncRuntime = Counting);

impl Copied for Metered {
    fn copy(entry: &Self::Entry) -> Self::Entry {
        Entry { log_id: entry.log_id, payload: entry.payload.clone() }
    }
}

/// A node's tasks are started together: its driver, and its state machine's.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Polls {
    driver: f64,
    apply: f64,
}

/// The polls of each node's tasks per write, the leader first, with so many clients at a time.
async fn polls_per_write(clients: usize, rounds: u64) -> Vec<Polls> {
    POLLS.with_borrow_mut(Vec::clear);
    let nodes = found::<Metered>(&[1, 2, 3]).await;
    let counters = POLLS.with_borrow(Clone::clone);
    let now = || -> Vec<u64> { counters.iter().map(|polls| polls.load(Ordering::Relaxed)).collect() };
    elapse(Duration::from_millis(75)).await;
    let before = now();
    for _ in 0..rounds {
        let writes = (0..clients).map(|n| nodes[0].client_write(n.to_string()));
        for write in soon(futures_util::future::join_all(writes)).await {
            write.unwrap();
        }
    }
    let writes = (rounds * clients as u64) as f64;
    let per_write: Vec<f64> =
        before.iter().zip(now()).map(|(before, after)| (after - before) as f64 / writes).collect();
    let of = |id: u64| {
        let at = (id as usize - 1) * 2;
        Polls { driver: per_write[at], apply: per_write[at + 1] }
    };
    nodes.iter().map(|node| of(*node.node_id())).collect()
}

#[tokio::test(start_paused = true)]
async fn one_write_wakes_few_tasks() {
    let polls = polls_per_write(1, 200).await;
    println!("one client at a time: leader {:?}, followers {:?}", polls[0], &polls[1..]);
    assert!(polls[0].driver <= 3.1 && polls[0].apply <= 1.1, "{polls:?}");
    for follower in &polls[1..] {
        assert!(follower.driver <= 3.1 && follower.apply <= 1.1, "{polls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn writes_at_one_time_share_their_wakes() {
    let polls = polls_per_write(64, 20).await;
    println!("64 clients at a time: leader {:?}, followers {:?}", polls[0], &polls[1..]);
    for node in &polls {
        assert!(node.driver <= 0.1 && node.apply <= 0.1, "{polls:?}");
    }
}

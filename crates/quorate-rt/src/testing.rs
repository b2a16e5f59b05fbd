//! What a runtime must do for a node, as tests for people's own runtimes.
//!
//! ```
//! # use quorate_rt::AsyncRuntime;
//! use quorate_rt::testing::Suite;
//!
//! fn conforms<MyRuntime: AsyncRuntime>() {
//!     Suite::<MyRuntime>::test_all();
//! }
//! ```
//!
//! A test that fails panics, and says what the runtime should have done. Time is asked for in milliseconds and is never
//! too long for a test: no clock is expected to be exact.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::AsyncRuntime;

mod channels;
mod detsim;
mod tasks;
mod time;
mod watch;

pub use detsim::DetsimSuite;

/// A time that a test waits out.
const BRIEF: Duration = Duration::from_millis(5);
/// A time that no test waits out.
const LONG: Duration = Duration::from_secs(3_600);
/// Worker threads of a runtime that the suite makes.
const THREADS: usize = 4;

/// The tests that a runtime must pass. All functions panic where the runtime falls short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Suite<Rt: AsyncRuntime> {
    runtime: PhantomData<fn() -> Rt>,
}

impl<Rt: AsyncRuntime> Suite<Rt> {
    /// Runs all tests on a runtime made for them.
    #[track_caller]
    pub fn test_all() {
        Self::test_all_on(&mut Rt::new(THREADS));
    }

    /// Runs all tests on `rt`, one after another.
    #[track_caller]
    pub fn test_all_on(rt: &mut Rt) {
        Self::block_on_takes_what_cannot_be_sent(rt);
        rt.block_on(Self::all_tasks());
        rt.block_on(Self::all_times());
        rt.block_on(Self::all_channels());
        rt.block_on(Self::all_watches());
    }

    #[track_caller]
    fn block_on_takes_what_cannot_be_sent(rt: &mut Rt) {
        let shared = Rc::new(1);
        let outside = shared.clone();
        let output = rt.block_on(async move {
            Rt::sleep(BRIEF).await;
            *shared + 1
        });
        assert_eq!(output, 2, "`block_on` returns what the future does");
        assert_eq!(Rc::strong_count(&outside), 1, "`block_on` drops the future");
    }

    async fn all_tasks() {
        Self::test_spawn_join_handle().await;
        Self::test_thread_rng().await;
        Self::select_prefers_the_earlier().await;
        Self::select_gives_back_what_it_borrowed().await;
        Self::select_drops_what_it_owns().await;
        Self::blocking_closures_end_elsewhere().await;
        Self::test_task_local().await;
        Self::test_task_local_get_value().await;
        Self::test_task_local_take_value().await;
        Self::test_task_local_poll_after_take_value().await;
        Self::test_task_local_on_completion_drop().await;
        Self::test_mutex().await;
        Self::test_mutex_contention().await;
        Self::test_mutex_lock_owned().await;
    }

    async fn all_times() {
        Self::test_instant().await;
        Self::test_instant_arithmetic().await;
        Self::test_instant_ord().await;
        Self::test_instant_sub_instant().await;
        Self::test_instant_saturating_duration_since().await;
        Self::test_sleep().await;
        Self::test_sleep_until().await;
        Self::test_timeout().await;
        Self::test_timeout_at().await;
    }

    async fn all_channels() {
        Self::test_mpsc_recv_empty().await;
        Self::test_mpsc_recv_channel_closed().await;
        Self::test_mpsc_send().await;
        Self::test_mpsc_send_to_closed_channel().await;
        Self::test_mpsc_backpressure().await;
        Self::test_mpsc_weak_sender_upgrade().await;
        Self::test_mpsc_weak_sender_wont_prevent_channel_close().await;
        Self::a_peek_leaves_the_item().await;
        Self::a_receiver_waits_until_a_deadline().await;
        Self::test_oneshot().await;
        Self::test_oneshot_send_from_another_task().await;
        Self::test_oneshot_drop_tx().await;
        Self::test_oneshot_send_to_dropped_rx().await;
    }

    async fn all_watches() {
        Self::test_watch_init_value().await;
        Self::test_watch_overwrite_init_value().await;
        Self::test_watch_send_error_no_receiver().await;
        Self::test_watch_send_if_modified().await;
        Self::test_watch_send_if_different().await;
        Self::test_watch_send_if_greater().await;
        Self::test_watch_wait_until().await;
        Self::test_watch_wait_until_ge().await;
        Self::test_watch_changed_marks_as_seen().await;
        Self::test_watch_changed_returns_immediately_when_unseen().await;
        Self::test_watch_borrow_and_update_marks_seen().await;
        Self::test_watch_multiple_borrow_then_changed().await;
        Self::test_watch_multiple_receivers().await;
        Self::test_watch_subscribe().await;
        Self::test_watch_wait_loop_pattern().await;
    }
}

/// Whether `future` has to wait when it is polled for the first time. It is dropped then.
async fn waits<F: Future>(future: F) -> bool {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// Waits for a task that must not panic.
async fn join<Rt: AsyncRuntime, T: crate::OptionalSend + 'static>(handle: Rt::JoinHandle<T>) -> T {
    match handle.await {
        Ok(output) => output,
        Err(error) => fail(&format!("a task should have ended with its output, not with: {error}")),
    }
}

/// Ends the test.
#[track_caller]
#[expect(clippy::panic, reason = "it is how a test fails")]
fn fail(why: &str) -> ! {
    panic!("{why}")
}

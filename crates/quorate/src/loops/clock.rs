//! Sleeps until the replica's deadline, then steps a timeout.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use quorate_core::Time;
use rand::Rng;

use crate::counting::NotificationName;
use crate::host::Host;
use crate::runtime::AsyncRuntime;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;

/// Shortest time between two timeouts. Timeouts of zero, which nobody is kept from configuring, would else never let
/// the node's other loops run.
const TIMEOUT_SPACING_MIN: Duration = Duration::from_millis(1);

/// Runs until the node stops.
pub(crate) async fn run<C: RaftTypeConfig>(host: Arc<Host<C>>) {
    let mut earliest = Time::ZERO;
    let mut rounds_told: u64 = 0;
    while let Some(deadline) = host.arm_clock() {
        let Some(deadline) = deadline else {
            host.clock_work.wait().await;
            continue;
        };
        let deadline = deadline.max(earliest);
        if host.now() < deadline {
            let mut sleep = pin!(C::sleep_until(host.instant_of(deadline)));
            // An earlier deadline came up meanwhile, or the node stops.
            std::future::poll_fn(|cx| match host.clock_work.poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => sleep.as_mut().poll(cx),
            })
            .await;
        }
        if host.tick_enabled.load(Ordering::Acquire) && host.now() >= earliest {
            host.counting.notification(NotificationName::Tick);
            let dice = dice::<C>();
            let (now, rounds) = host.step(|state, now| {
                state.replica.timeout(now, dice);
                (now, state.replica.heartbeat_rounds())
            });
            earliest = now + TIMEOUT_SPACING_MIN;
            for _ in rounds_told..rounds {
                host.recording.tell(|recorder| recorder.increment_heartbeat());
            }
            rounds_told = rounds;
        }
    }
}

/// A fresh random number, rolled outside the lock.
pub(crate) fn dice<C: RaftTypeConfig>() -> u64 {
    C::AsyncRuntime::thread_rng().next_u64()
}

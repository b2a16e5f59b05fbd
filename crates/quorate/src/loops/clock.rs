//! Sleeps until the replica's deadline, then steps a timeout.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use rand::Rng;

use crate::host::Host;
use crate::runtime::AsyncRuntime;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;

/// Runs until the node stops.
pub(crate) async fn run<C: RaftTypeConfig>(host: Arc<Host<C>>) {
    while let Some(deadline) = host.arm_clock() {
        let Some(deadline) = deadline else {
            host.clock_work.wait().await;
            continue;
        };
        if host.now() < deadline {
            let mut sleep = pin!(C::sleep_until(host.instant_of(deadline)));
            // An earlier deadline came up meanwhile, or the node stops.
            std::future::poll_fn(|cx| match host.clock_work.poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => sleep.as_mut().poll(cx),
            })
            .await;
        }
        if host.tick_enabled.load(Ordering::Acquire) {
            let dice = dice::<C>();
            host.step(|state, now| state.replica.timeout(now, dice));
        }
    }
}

/// A fresh random number, rolled outside the lock.
pub(crate) fn dice<C: RaftTypeConfig>() -> u64 {
    C::AsyncRuntime::thread_rng().next_u64()
}

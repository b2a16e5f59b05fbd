//! A closure on a thread of its own, awaited.

use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Poll;
use std::task::Waker;

/// What the thread leaves for the one who waits.
struct Slot<T> {
    result: Option<Result<T, io::Error>>,
    waker: Option<Waker>,
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread when first polled, and ends with what the closure returned.
pub(super) async fn on_thread<F, T>(f: F) -> Result<T, io::Error>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let slot = Arc::new(Mutex::new(Slot { result: None, waker: None }));
    let filled = slot.clone();
    std::thread::Builder::new().name("quorate-blocking".into()).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(f));
        let result = result.map_err(|_| io::Error::other("the blocking closure panicked"));
        let waker = {
            let mut slot = lock(&filled);
            slot.result = Some(result);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    })?;
    poll_fn(move |cx| {
        let mut slot = lock(&slot);
        match slot.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::on_thread;

    #[tokio::test]
    async fn the_result_comes_back() {
        let here = std::thread::current().id();
        let there = on_thread(|| std::thread::current().id()).await.unwrap();
        assert_ne!(here, there);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let error = on_thread(|| panic!("on purpose")).await.unwrap_err();
        assert_eq!(error.to_string(), "the blocking closure panicked");
    }
}

//! Futures that wait for the host's state to change, and are forgotten when they are dropped.

use std::task::Waker;

/// Who waits, each from a mark on: a write's number, or nothing in particular.
///
/// A waiter holds its place by a number, so that one that is polled often, or dropped, leaves nothing behind.
#[derive(Default)]
pub(crate) struct Waiters {
    next: u64,
    waiting: Vec<Waiter>,
}

struct Waiter {
    place: u64,
    mark: u64,
    waker: Waker,
}

impl Waiters {
    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Wakes `waker` when the mark is reached, in the place taken before, if any.
    pub(crate) fn wait(&mut self, place: &mut Option<u64>, mark: u64, waker: &Waker) {
        match self.waiting.iter_mut().find(|waiter| Some(waiter.place) == *place) {
            Some(waiter) => waiter.waker.clone_from(waker),
            None => {
                *place = Some(self.next);
                self.waiting.push(Waiter { place: self.next, mark, waker: waker.clone() });
                self.next = self.next.wrapping_add(1);
            }
        }
    }

    /// Whoever had this place no longer waits.
    pub(crate) fn forget(&mut self, place: u64) {
        self.waiting.retain(|waiter| waiter.place != place);
    }

    /// Takes out everyone whose mark is reached at `upto`.
    pub(crate) fn reached(&mut self, upto: u64) -> Vec<Waker> {
        self.waiting.extract_if(.., |waiter| waiter.mark <= upto).map(|waiter| waiter.waker).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_again_or_leaves_takes_no_second_place() {
        let (mut waiters, waker) = (Waiters::default(), Waker::noop());
        let (mut first, mut second) = (None, None);
        for _ in 0..10 {
            waiters.wait(&mut first, 5, waker);
            waiters.wait(&mut second, 7, waker);
        }
        assert_eq!(waiters.waiting.len(), 2);
        assert_eq!(waiters.reached(6).len(), 1);
        waiters.forget(second.unwrap());
        assert!(waiters.is_empty());
        waiters.wait(&mut first, 8, waker);
        assert_eq!(waiters.reached(8).len(), 1);
    }
}

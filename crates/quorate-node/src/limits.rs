//! Admission: how many proposals may be on their way, in number and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::ProposeError;

/// What a caller is told to wait when there is no room; the time in which a healthy cluster finishes a batch.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Counts proposals from their admission to their answer.
#[derive(Debug)]
pub(crate) struct InFlight {
    proposals: AtomicUsize,
    bytes: AtomicUsize,
    proposals_max: usize,
    bytes_max: usize,
}

impl InFlight {
    pub(crate) fn new(proposals_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            proposals: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            proposals_max,
            bytes_max,
        })
    }

    /// Lets a proposal in until the result is dropped, or refuses it.
    pub(crate) fn admit(self: &Arc<Self>, bytes: usize) -> Result<Admitted, ProposeError> {
        // Counted first and checked after: two that race for the last place may both be refused, never both let in.
        let admitted = Admitted { in_flight: self.clone(), bytes };
        let proposals = self.proposals.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if proposals >= self.proposals_max || bytes_before.saturating_add(bytes) > self.bytes_max {
            return Err(ProposeError::Overloaded { retry_after: RETRY_AFTER });
        }
        Ok(admitted)
    }

    /// The proposals in flight, and their bytes.
    pub(crate) fn usage(&self) -> (usize, usize) {
        (self.proposals.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// The place of one proposal; free again when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    in_flight: Arc<InFlight>,
    bytes: usize,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.in_flight.proposals.fetch_sub(1, Ordering::Relaxed);
        self.in_flight.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_is_refused_and_leaves_no_trace() {
        let in_flight = InFlight::new(2, 100);
        let first = in_flight.admit(10).unwrap();
        let _second = in_flight.admit(10).unwrap();
        let refused = in_flight.admit(10).unwrap_err();
        assert_eq!(refused, ProposeError::Overloaded { retry_after: RETRY_AFTER });
        assert_eq!(in_flight.usage(), (2, 20));
        drop(first);
        assert_eq!(in_flight.usage(), (1, 10));
        assert!(in_flight.admit(10).is_ok());
    }

    #[test]
    fn bytes_are_limited_too() {
        let in_flight = InFlight::new(10, 100);
        let _most = in_flight.admit(100).unwrap();
        assert!(in_flight.admit(1).is_err());
        assert!(in_flight.admit(usize::MAX).is_err());
    }
}

//! How long to leave a peer alone that is down.

use std::time::Duration;

use rand::RngExt as _;

/// Delays that double from `min` to `max`, each with up to half of it taken off at random, so that nodes that lost a
/// peer at the same moment do not come back to it at the same moment.
pub(crate) fn delays(min: Duration, max: Duration) -> impl Iterator<Item = Duration> + Send + 'static {
    let mut next = min.min(max);
    std::iter::repeat_with(move || {
        let whole = next;
        next = next.saturating_mul(2).min(max);
        jittered(whole)
    })
}

/// The delay after `failures` failures in a row, at least one.
pub(crate) fn delay_after(failures: u32, min: Duration, max: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    jittered(min.saturating_mul(1 << doublings).min(max))
}

fn jittered(whole: Duration) -> Duration {
    whole.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_up_to_the_longest_and_keep_at_least_half() {
        let wholes = [50, 100, 200, 400, 800, 1000, 1000].map(Duration::from_millis);
        for (delay, whole) in delays(MIN, MAX).zip(wholes) {
            assert!(delay <= whole && delay >= whole / 2, "{delay:?} for {whole:?}");
        }
    }

    #[test]
    fn any_number_of_failures_has_a_delay() {
        for failures in [0, 1, 2, 5, 6, 100, u32::MAX] {
            let delay = delay_after(failures, MIN, MAX);
            assert!(delay >= MIN / 2 && delay <= MAX, "{delay:?} after {failures}");
        }
    }
}

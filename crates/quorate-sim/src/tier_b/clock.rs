//! A node's clock, which runs a little fast or slow.

const MILLION: i64 = 1_000_000;

/// A clock that shows `local_ns` at the true time `base_ns`, and runs off by `drift_ppm` from there on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    base_ns: u64,
    local_ns: u64,
    drift_ppm: i64,
}

impl Clock {
    /// A true clock that starts from `epoch_ns`.
    pub fn new(now_ns: u64, epoch_ns: u64) -> Self {
        Self { base_ns: now_ns, local_ns: epoch_ns + now_ns, drift_ppm: 0 }
    }

    fn rate(&self) -> u128 {
        (MILLION + self.drift_ppm).max(1) as u128
    }

    /// What it shows at a true time.
    pub fn at(&self, now_ns: u64) -> u64 {
        let passed = now_ns.saturating_sub(self.base_ns);
        if self.drift_ppm == 0 {
            return self.local_ns + passed;
        }
        self.local_ns + (u128::from(passed) * self.rate() / MILLION as u128) as u64
    }

    /// The first true time at which it shows `local_ns`.
    pub fn when(&self, local_ns: u64) -> u64 {
        let missing = local_ns.saturating_sub(self.local_ns);
        if self.drift_ppm == 0 {
            return self.base_ns.saturating_add(missing);
        }
        let passed = (u128::from(missing) * MILLION as u128).div_ceil(self.rate());
        self.base_ns.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Runs off by so much from now on.
    pub fn set_drift(&mut self, now_ns: u64, drift_ppm: i64) {
        self.local_ns = self.at(now_ns);
        self.base_ns = now_ns;
        self.drift_ppm = drift_ppm;
    }

    /// Shows so much more from now on.
    pub fn jump(&mut self, by_ns: u64) {
        self.local_ns += by_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_reaches_a_moment_exactly_when_it_says() {
        for drift_ppm in [-200_000, -40_000, -1, 0, 1, 7, 40_000, 200_000] {
            let mut clock = Clock::new(17, 1_000);
            clock.set_drift(123, drift_ppm);
            for local in [2_000, 12_345, 999_999_999, 3_600_000_000_001] {
                let when = clock.when(local);
                assert!(clock.at(when) >= local, "{drift_ppm} {local}");
                assert!(clock.at(when - 1) < local, "{drift_ppm} {local}");
            }
        }
    }

    #[test]
    fn a_clock_that_changes_its_pace_or_jumps_never_goes_back() {
        let mut clock = Clock::new(0, 0);
        clock.set_drift(1_000, 500_000);
        assert_eq!((clock.at(1_000), clock.at(2_000)), (1_000, 2_500));
        clock.jump(10_000);
        clock.set_drift(2_000, -500_000);
        assert_eq!((clock.at(2_000), clock.at(4_000)), (12_500, 13_500));
    }
}

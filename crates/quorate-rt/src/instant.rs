//! Points in a runtime's time.

use std::fmt::Debug;
use std::ops::Add;
use std::ops::AddAssign;
use std::ops::Sub;
use std::ops::SubAssign;
use std::panic::RefUnwindSafe;
use std::panic::UnwindSafe;
use std::time::Duration;

use crate::OptionalSend;
use crate::OptionalSync;

/// A point in time that never runs backwards, of a clock that a simulation may replace.
pub trait Instant:
    Add<Duration, Output = Self>
    + AddAssign<Duration>
    + Sub<Duration, Output = Self>
    + Sub<Self, Output = Duration>
    + SubAssign<Duration>
    + Clone
    + Copy
    + Debug
    + Eq
    + Ord
    + PartialEq
    + PartialOrd
    + RefUnwindSafe
    + UnwindSafe
    + OptionalSend
    + OptionalSync
    + Unpin
    + 'static
{
    /// The present.
    fn now() -> Self;

    /// How long ago this was; zero if it is still to come.
    fn elapsed(&self) -> Duration {
        Self::now().saturating_duration_since(*self)
    }

    /// How much later than `earlier` this is; zero if it is not later.
    fn saturating_duration_since(&self, earlier: Self) -> Duration {
        if *self > earlier { *self - earlier } else { Duration::ZERO }
    }
}

impl Instant for std::time::Instant {
    fn now() -> Self {
        Self::now()
    }
}

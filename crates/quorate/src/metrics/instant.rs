//! Points in a runtime's time that can be sent and printed.

use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;
use std::ops::Deref;
#[cfg(feature = "serde")]
use std::time::Duration;
use std::time::SystemTime;

use chrono::DateTime;
use chrono::Local;

use crate::runtime::Instant;

/// A point in a runtime's time that can be sent and printed.
///
/// Sent, it is the nanoseconds since 1970 by the wall clock: as exact as the wall clocks of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SerdeInstant<I: Instant> {
    inner: I,
}

impl<I: Instant> SerdeInstant<I> {
    /// Of a point in time.
    pub fn new(inner: I) -> Self {
        Self { inner }
    }

    /// The point in time.
    pub fn into_inner(self) -> I {
        self.inner
    }

    /// By the wall clock; its epoch if the time is out of its range.
    fn wall_time(&self) -> SystemTime {
        let (runtime_now, now) = (I::now(), SystemTime::now());
        let ahead = self.inner.saturating_duration_since(runtime_now);
        let ago = runtime_now.saturating_duration_since(self.inner);
        now.checked_add(ahead).and_then(|time| time.checked_sub(ago)).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    #[cfg(feature = "serde")]
    fn from_wall_time(time: SystemTime) -> Self {
        let (runtime_now, now) = (I::now(), SystemTime::now());
        let ahead = time.duration_since(now).unwrap_or(Duration::ZERO).min(DISTANCE_MAX);
        let ago = now.duration_since(time).unwrap_or(Duration::ZERO).min(DISTANCE_MAX);
        Self { inner: runtime_now + ahead - ago }
    }
}

#[cfg(feature = "serde")]
/// How far from the present a received time may be, so that it can be told in the runtime's time.
const DISTANCE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl<I: Instant> Deref for SerdeInstant<I> {
    type Target = I;

    fn deref(&self) -> &I {
        &self.inner
    }
}

impl<I: Instant> From<I> for SerdeInstant<I> {
    fn from(inner: I) -> Self {
        Self { inner }
    }
}

impl<I: Instant> Display for SerdeInstant<I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let time: DateTime<Local> = self.wall_time().into();
        write!(f, "{}", time.format("%H:%M:%S%.6f"))
    }
}

#[cfg(feature = "serde")]
mod wire {
    use std::time::Duration;
    use std::time::SystemTime;

    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serialize;
    use serde::Serializer;

    use super::Instant;
    use super::SerdeInstant;

    impl<I: Instant> Serialize for SerdeInstant<I> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let since_epoch = self.wall_time().duration_since(SystemTime::UNIX_EPOCH);
            // A wall clock that is set to before 1970, or to after 2554, must not keep metrics from being sent.
            let nanos = since_epoch.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
            nanos.serialize(to)
        }
    }

    impl<'de, I: Instant> Deserialize<'de> for SerdeInstant<I> {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let nanos = u64::deserialize(from)?;
            Ok(Self::from_wall_time(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)))
        }
    }
}

//! Points in time, sleeps and deadlines.

use std::cmp::Ordering;
use std::future::pending;
use std::future::ready;
use std::time::Duration;

use super::BRIEF;
use super::LONG;
use super::Suite;
use super::waits;
use crate::AsyncRuntime;
use crate::Instant;

/// A time that every clock can tell from none.
const SECOND: Duration = Duration::from_secs(1);

impl<Rt: AsyncRuntime> Suite<Rt> {
    /// Time does not run backwards.
    pub async fn test_instant() {
        let before = Rt::Instant::now();
        Rt::sleep(BRIEF).await;
        let after = Rt::Instant::now();
        assert!(after > before, "time passes in a sleep");
        assert!(before.elapsed() >= after - before, "`elapsed` counts up to the present");
        assert_eq!(
            (before + LONG).elapsed(),
            Duration::ZERO,
            "nothing has elapsed since what is still to come"
        );
    }

    /// A duration that is added and taken away again changes nothing.
    pub async fn test_instant_arithmetic() {
        let start = Rt::Instant::now();
        assert_eq!(start + SECOND - SECOND, start);
        assert_eq!(start + SECOND + SECOND, start + 2 * SECOND);
        let mut moved = start;
        moved += SECOND;
        assert_eq!(moved, start + SECOND, "`+=` does what `+` does");
        moved -= SECOND;
        assert_eq!(moved, start, "`-=` does what `-` does");
    }

    /// Points in time are ordered as they follow each other.
    pub async fn test_instant_ord() {
        let start = Rt::Instant::now();
        let later = start + SECOND;
        assert_eq!((start.cmp(&later), later.cmp(&start)), (Ordering::Less, Ordering::Greater));
        assert_eq!((start.cmp(&start), start.partial_cmp(&later)), (Ordering::Equal, Some(Ordering::Less)));
        assert_eq!((start.max(later), start.min(later)), (later, start));
    }

    /// The difference of two points is what lies between them.
    pub async fn test_instant_sub_instant() {
        let start = Rt::Instant::now();
        assert_eq!((start + SECOND) - start, SECOND);
        let same = start;
        assert_eq!(start - same, Duration::ZERO);
    }

    /// What is not later is later by nothing.
    pub async fn test_instant_saturating_duration_since() {
        let start = Rt::Instant::now();
        let later = start + SECOND;
        assert_eq!(later.saturating_duration_since(start), SECOND);
        assert_eq!(start.saturating_duration_since(later), Duration::ZERO);
        assert_eq!(start.saturating_duration_since(start), Duration::ZERO);
    }

    /// A sleep does not end early.
    pub async fn test_sleep() {
        let start = Rt::Instant::now();
        Rt::sleep(BRIEF).await;
        assert!(start.elapsed() >= BRIEF, "a sleep lasts as long as it should");
        assert!(waits(Rt::sleep(LONG)).await, "a sleep makes wait");
    }

    /// A sleep does not end before its deadline, and one whose deadline has passed ends.
    pub async fn test_sleep_until() {
        let deadline = Rt::Instant::now() + BRIEF;
        Rt::sleep_until(deadline).await;
        assert!(Rt::Instant::now() >= deadline, "a sleep lasts until its deadline");
        Rt::sleep_until(deadline).await;
        assert!(waits(Rt::sleep_until(deadline + LONG)).await, "a sleep makes wait");
    }

    /// What takes too long is given up, not before its time; what does not gives its output.
    pub async fn test_timeout() {
        let start = Rt::Instant::now();
        let outcome = Rt::timeout(BRIEF, pending::<()>()).await;
        assert!(outcome.is_err(), "what never ends is given up");
        assert!(start.elapsed() >= BRIEF, "it is not given up early");
        assert_eq!(Rt::timeout(LONG, ready(1)).await.ok(), Some(1));
        assert_eq!(
            Rt::timeout(LONG, Rt::sleep(BRIEF)).await.ok(),
            Some(()),
            "what ends in time is not given up"
        );
    }

    /// Like [`test_timeout`](Self::test_timeout), with a point in time.
    pub async fn test_timeout_at() {
        let deadline = Rt::Instant::now() + BRIEF;
        let outcome = Rt::timeout_at(deadline, pending::<()>()).await;
        assert!(outcome.is_err(), "what never ends is given up");
        assert!(Rt::Instant::now() >= deadline, "it is not given up early");
        assert!(
            Rt::timeout_at(deadline, pending::<()>()).await.is_err(),
            "a deadline may have passed already"
        );
        let far = Rt::Instant::now() + LONG;
        assert_eq!(Rt::timeout_at(far, ready(1)).await.ok(), Some(1));
        assert_eq!(
            Rt::timeout_at(far, Rt::sleep(BRIEF)).await.ok(),
            Some(()),
            "what ends in time is not given up"
        );
    }
}

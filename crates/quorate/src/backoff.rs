//! Series of delays as a line of text, such as `"10ms 20ms ..1s"`.

use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;
use std::time::Duration;

use thiserror::Error as ThisError;

/// What delays that go on beyond the listed ones grow to, unless the text says otherwise.
const DELAY_MAX_DEFAULT: Duration = Duration::from_secs(1);

/// Delays that are listed, and go on the way the last of them went.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BackoffSeries {
    listed: Vec<Duration>,
    growth: Growth,
    max: Duration,
}

/// How delays go on after the listed ones.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Growth {
    Flat,
    By(Duration),
    Times(f64),
}

/// Why a text is no series of delays.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("invalid backoff series {text:?}: {reason}")]
pub struct ParseError {
    text: String,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    Duration,
    Empty,
    MaxNotLast,
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duration => "expected a duration like '200ms' or '1.5s'",
            Self::Empty => "expected at least one duration before the maximum",
            Self::MaxNotLast => "expected the maximum, which starts with '..', at the end",
        })
    }
}

impl BackoffSeries {
    /// Reads durations separated by commas or blanks; the last may be a maximum, which starts with `..` or `...`.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        let error = |reason| ParseError { text: text.to_string(), reason };
        let mut listed = Vec::new();
        let mut max = None;
        for item in text.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty()) {
            if max.is_some() {
                return Err(error(Reason::MaxNotLast));
            }
            let cap = item.strip_prefix("...").or_else(|| item.strip_prefix(".."));
            let duration = parse_duration(cap.unwrap_or(item)).ok_or_else(|| error(Reason::Duration))?;
            match cap {
                Some(_) => max = Some(duration),
                None => listed.push(duration),
            }
        }
        let Some(last) = listed.last() else {
            return Err(error(if max.is_none() { Reason::Duration } else { Reason::Empty }));
        };
        let max = max.unwrap_or_else(|| DELAY_MAX_DEFAULT.max(*last));
        let growth = Growth::of(&listed);
        Ok(Self { listed, growth, max })
    }

    /// The delays, without an end.
    pub(crate) fn delays(self) -> impl Iterator<Item = Duration> {
        let Self { listed, growth, max } = self;
        let last = listed.last().copied().unwrap_or(DELAY_MAX_DEFAULT);
        let next = move |delay: &Duration| Some(growth.after(*delay).min(max));
        let beyond = std::iter::successors(next(&last), next);
        listed.into_iter().map(move |delay| delay.min(max)).chain(beyond)
    }
}

impl Growth {
    /// How a series goes on that ends like `listed`: by steps or by a factor, whichever fits better.
    fn of(listed: &[Duration]) -> Self {
        let factor = |a: Duration, b: Duration| {
            if a.is_zero() || b <= a { Self::Flat } else { Self::Times(b.as_secs_f64() / a.as_secs_f64()) }
        };
        match *listed {
            [] => Self::Flat,
            [_] => Self::Times(2.0),
            [a, b] => factor(a, b),
            [.., a, b, c] if a < b && b < c => {
                let (step, next_step) = (b - a, c - b);
                let by_step = b + step;
                let by_factor = factor(a, b).after(b);
                if c.abs_diff(by_step) <= c.abs_diff(by_factor) { Self::By(next_step) } else { factor(b, c) }
            }
            // What does not grow steadily stays as it ends: to grow from there would be a guess.
            [.., b, c] => {
                if c > b {
                    factor(b, c)
                } else {
                    Self::Flat
                }
            }
        }
    }

    fn after(self, delay: Duration) -> Duration {
        match self {
            Self::Flat => delay,
            Self::By(step) => delay.saturating_add(step),
            Self::Times(factor) => {
                Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(Duration::MAX)
            }
        }
    }
}

/// A number, with decimals or without, and one of the units `ns`, `us`, `ms`, `s`, `m` and `h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ns: u64 = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit_ns).map(Duration::from_nanos);
    }
    let number: f64 = number.parse().ok()?;
    let seconds = number * Duration::from_nanos(unit_ns).as_secs_f64();
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str, count: usize) -> Vec<u128> {
        let series = BackoffSeries::parse(text).unwrap();
        series.delays().take(count).map(|delay| delay.as_millis()).collect()
    }

    #[test]
    fn a_single_delay_doubles_up_to_a_second() {
        assert_eq!(millis("200ms", 6), [200, 400, 800, 1000, 1000, 1000]);
    }

    #[test]
    fn equal_delays_stay() {
        assert_eq!(millis("10ms, 10ms", 5), [10, 10, 10, 10, 10]);
    }

    #[test]
    fn equal_steps_go_on() {
        assert_eq!(millis("1ms 2ms 3ms ...1500ms", 6), [1, 2, 3, 4, 5, 6]);
        let series = BackoffSeries::parse("1ms 2ms 3ms ...1500ms").unwrap();
        assert_eq!(series.delays().nth(5_000).unwrap(), Duration::from_millis(1500));
    }

    #[test]
    fn equal_factors_go_on() {
        assert_eq!(millis("1ms,3ms,9ms", 6), [1, 3, 9, 27, 81, 243]);
        assert_eq!(millis("10ms 30ms ..5s", 6), [10, 30, 90, 270, 810, 2430]);
    }

    #[test]
    fn falling_delays_stay_at_the_last() {
        assert_eq!(millis("30ms 20ms 10ms", 5), [30, 20, 10, 10, 10]);
    }

    #[test]
    fn a_maximum_holds_for_all() {
        assert_eq!(millis("100ms ..300ms", 4), [100, 200, 300, 300]);
        assert_eq!(millis("2s", 3), [2000, 2000, 2000]);
        assert_eq!(millis("2s ..1s", 2), [1000, 1000]);
    }

    #[test]
    fn units_and_decimals() {
        assert_eq!(millis("1.5s ..1h", 2), [1500, 3000]);
        assert_eq!(millis("1m ..1h", 2), [60_000, 120_000]);
        assert_eq!(parse_duration("7ns"), Some(Duration::from_nanos(7)));
        assert_eq!(parse_duration("7us"), Some(Duration::from_micros(7)));
    }

    #[test]
    fn what_is_no_series_says_why() {
        let said = |text: &str| BackoffSeries::parse(text).unwrap_err().to_string();
        assert_eq!(said("x"), "invalid backoff series \"x\": expected a duration like '200ms' or '1.5s'");
        assert!(said("").contains("expected a duration"));
        assert!(said("10").contains("expected a duration"));
        assert!(said("1e400s").contains("expected a duration"));
        assert!(said("99999999999999999999h").contains("expected a duration"));
        assert!(said("..1s").contains("before the maximum"));
        assert!(said("10ms ..1s 20ms").contains("at the end"));
    }
}

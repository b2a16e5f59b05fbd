//! How optional values, lists and maps are printed, and one-line summaries.

use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;

/// Prints the value, or `None`.
pub(crate) struct Opt<'a, T>(pub(crate) &'a Option<T>);

impl<T: Display> Display for Opt<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("None"),
        }
    }
}

/// How many items of a list are printed in full; of a longer one, all but the last of that many, `..` and the last.
const LIST_ITEMS: usize = 5;

/// Prints `[a,b,c]`, or `[a,b,c,d,..,z]` if longer than its limit.
pub(crate) struct List<I> {
    items: I,
    limit: usize,
}

impl<I> List<I> {
    /// With the usual limit.
    pub(crate) fn short(items: I) -> Self {
        Self { items, limit: LIST_ITEMS }
    }

    /// With a limit of its own.
    pub(crate) fn up_to(limit: usize, items: I) -> Self {
        Self { items, limit }
    }
}

impl<I> Display for List<I>
where
    I: ExactSizeIterator + Clone,
    I::Item: Display,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let len = self.items.len();
        f.write_str("[")?;
        for (i, item) in self.items.clone().enumerate() {
            let last = i.saturating_add(1) == len;
            if len > self.limit && i.saturating_add(1) >= self.limit && !last {
                continue;
            }
            if i > 0 {
                f.write_str(if len > self.limit && last { ",..," } else { "," })?;
            }
            item.fmt(f)?;
        }
        f.write_str("]")
    }
}

/// Prints what a closure writes.
pub(crate) struct With<F>(pub(crate) F);

impl<F: Fn(&mut Formatter<'_>) -> fmt::Result> Display for With<F> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

/// Writes items separated by commas.
pub(crate) fn comma_separated<T>(
    f: &mut Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            f.write_str(",")?;
        }
        write(f, item)?;
    }
    Ok(())
}

/// A summary on one line.
pub trait MessageSummary<M> {
    /// The value on one line; long lists are shortened to their first and last item.
    fn summary(&self) -> String;
}

impl<T: Display> MessageSummary<T> for T {
    fn summary(&self) -> String {
        self.to_string()
    }
}

impl<T: MessageSummary<T>> MessageSummary<T> for &[T] {
    fn summary(&self) -> String {
        match self {
            [] => "{}".to_string(),
            [first, .., last] if self.len() > LIST_ITEMS => {
                format!("{} ... {}", first.summary(), last.summary())
            }
            items => items.iter().map(MessageSummary::summary).collect::<Vec<_>>().join(","),
        }
    }
}

impl<T: MessageSummary<T>> MessageSummary<T> for Option<T> {
    fn summary(&self) -> String {
        match self {
            Some(value) => format!("Some({})", value.summary()),
            None => "None".to_string(),
        }
    }
}

//! How the cause of an error is kept.

use std::error::Error;
use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;

use anyerror::AnyError;

use crate::base::OptionalSend;
use crate::base::OptionalSerde;
use crate::base::OptionalSync;

/// The cause of an error, kept in a form that can be cloned, compared and sent.
pub trait ErrorSource:
    Error + Clone + PartialEq + Eq + OptionalSend + OptionalSync + OptionalSerde + 'static
{
    /// From another error.
    fn from_error<E: Error + 'static>(error: &E) -> Self;

    /// From a text.
    fn from_string(text: impl ToString) -> Self;

    /// Whether it knows where it came from.
    fn has_backtrace(&self) -> bool {
        false
    }

    /// Writes where it came from, if it knows.
    fn fmt_backtrace(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl ErrorSource for AnyError {
    fn from_error<E: Error + 'static>(error: &E) -> Self {
        AnyError::new(error)
    }

    fn from_string(text: impl ToString) -> Self {
        AnyError::error(text)
    }

    fn has_backtrace(&self) -> bool {
        self.backtrace().is_some()
    }

    fn fmt_backtrace(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.backtrace().map_or(Ok(()), |backtrace| f.write_str(backtrace))
    }
}

/// An [`AnyError`] behind a pointer, which keeps results small.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BoxedErrorSource {
    inner: Box<AnyError>,
}

impl Display for BoxedErrorSource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Error for BoxedErrorSource {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner.source()
    }
}

impl ErrorSource for BoxedErrorSource {
    fn from_error<E: Error + 'static>(error: &E) -> Self {
        Self { inner: Box::new(AnyError::from_error(error)) }
    }

    fn from_string(text: impl ToString) -> Self {
        Self { inner: Box::new(AnyError::from_string(text)) }
    }

    fn has_backtrace(&self) -> bool {
        self.inner.has_backtrace()
    }

    fn fmt_backtrace(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.inner.fmt_backtrace(f)
    }
}

/// Prints where an error came from, or nothing.
pub struct BacktraceDisplay<'a, E: ErrorSource>(pub &'a E);

impl<E: ErrorSource> Display for BacktraceDisplay<'_, E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt_backtrace(f)
    }
}

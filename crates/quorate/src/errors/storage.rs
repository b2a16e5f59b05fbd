//! What failed in the log store or the state machine.

use std::error::Error;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;
use std::io;

use super::ErrorSource;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::SnapshotSignatureOf;

/// The log store or the state machine failed: what was to be done, to what, and why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct StorageError<C: RaftTypeConfig> {
    subject: ErrorSubject<C>,
    verb: ErrorVerb,
    source: C::ErrorSource,
}

impl<C: RaftTypeConfig> StorageError<C> {
    /// To do `verb` to `subject` failed for `source`.
    pub fn new(subject: ErrorSubject<C>, verb: ErrorVerb, source: C::ErrorSource) -> Self {
        Self { subject, verb, source }
    }

    /// To do `verb` to `subject` failed for `error`.
    pub fn from_io_error(subject: ErrorSubject<C>, verb: ErrorVerb, error: io::Error) -> Self {
        Self::new(subject, verb, C::ErrorSource::from_error(&error))
    }

    /// An entry could not be written.
    pub fn write_log_entry(log_id: LogIdOf<C>, source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::Log(log_id), ErrorVerb::Write, source)
    }

    /// The entry at an index could not be read.
    pub fn read_log_at_index(index: u64, source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::LogIndex(index), ErrorVerb::Read, source)
    }

    /// An entry could not be read.
    pub fn read_log_entry(log_id: LogIdOf<C>, source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::Log(log_id), ErrorVerb::Read, source)
    }

    /// Entries could not be written.
    pub fn write_logs(source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::Logs, ErrorVerb::Write, source)
    }

    /// Entries could not be read.
    pub fn read_logs(source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::Logs, ErrorVerb::Read, source)
    }

    /// The vote could not be written.
    pub fn write_vote(source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::Vote, ErrorVerb::Write, source)
    }

    /// The vote could not be read.
    pub fn read_vote(source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::Vote, ErrorVerb::Read, source)
    }

    /// An entry could not be applied.
    pub fn apply(log_id: LogIdOf<C>, source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::Apply(log_id), ErrorVerb::Write, source)
    }

    /// The state machine could not be written.
    pub fn write_state_machine(source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::StateMachine, ErrorVerb::Write, source)
    }

    /// The state machine could not be read.
    pub fn read_state_machine(source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::StateMachine, ErrorVerb::Read, source)
    }

    /// A snapshot could not be written.
    pub fn write_snapshot(signature: Option<SnapshotSignatureOf<C>>, source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::Snapshot(signature), ErrorVerb::Write, source)
    }

    /// A snapshot could not be read.
    pub fn read_snapshot(signature: Option<SnapshotSignatureOf<C>>, source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::Snapshot(signature), ErrorVerb::Read, source)
    }

    /// The store could not be read.
    pub fn read(source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::Store, ErrorVerb::Read, source)
    }

    /// The store could not be written.
    pub fn write(source: C::ErrorSource) -> Self {
        Self::new(ErrorSubject::Store, ErrorVerb::Write, source)
    }

    /// The same. It once took one kind of storage error out of several.
    #[deprecated(note = "there is one kind of storage error")]
    pub fn into_io(self) -> Option<Self> {
        Some(self)
    }
}

impl<C: RaftTypeConfig> Display for StorageError<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "when {:?} {:?}: {}", self.verb, self.subject, self.source)
    }
}

impl<C: RaftTypeConfig> Error for StorageError<C> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

impl<C: RaftTypeConfig> From<StorageError<C>> for io::Error {
    fn from(error: StorageError<C>) -> Self {
        Self::other(error.to_string())
    }
}

/// The former name of [`StorageError`].
#[deprecated(note = "use `StorageError`")]
pub type StorageIOError<C> = StorageError<C>;

/// What was to be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum ErrorSubject<C: RaftTypeConfig> {
    /// The store as a whole.
    Store,
    /// The vote.
    Vote,
    /// Entries.
    Logs,
    /// One entry.
    Log(LogIdOf<C>),
    /// The entry at an index.
    LogIndex(u64),
    /// One entry, on its way into the state machine.
    Apply(LogIdOf<C>),
    /// The state machine.
    StateMachine,
    /// A snapshot.
    Snapshot(Option<SnapshotSignatureOf<C>>),
    /// Nothing in particular.
    None,
}

/// What was to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ErrorVerb {
    /// To read.
    Read,
    /// To write.
    Write,
    /// To find a place.
    Seek,
    /// To delete.
    Delete,
}

impl Display for ErrorVerb {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(self, f)
    }
}

/// Gives an I/O error what it was about.
pub trait ToStorageResult<C: RaftTypeConfig, T> {
    /// The same result; `f` says what was to be done to what, and is called on an error only.
    fn sto_res<F>(self, f: F) -> Result<T, StorageError<C>>
    where
        F: FnOnce() -> (ErrorSubject<C>, ErrorVerb);
}

impl<C: RaftTypeConfig, T> ToStorageResult<C, T> for Result<T, io::Error> {
    fn sto_res<F>(self, f: F) -> Result<T, StorageError<C>>
    where
        F: FnOnce() -> (ErrorSubject<C>, ErrorVerb),
    {
        self.map_err(|error| {
            let (subject, verb) = f();
            StorageError::from_io_error(subject, verb, error)
        })
    }
}

//! What a user writes: the state, and how a command changes it.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A state that is replicated by applying the same commands in the same order on every node.
///
/// [`apply`](Self::apply) must be a function of the state and the command alone: no clock, no dice, no iteration
/// order of a hash map, nothing read from outside. Whatever differs between two nodes stays different for ever.
///
/// The state lives in memory behind a lock that readers share. Its durable form is the log together with the newest
/// snapshot; on a restart the snapshot is read back and the commands after it are applied again, so `apply` must not
/// act on the outside world in a way that may not be repeated.
///
/// # Example
///
/// ```
/// use std::io::{self, Read, Write};
///
/// #[derive(Default)]
/// struct Counter(u64);
///
/// impl quorate_node::StateMachine for Counter {
///     type Command = u64;
///     type Response = u64;
///     type Frozen = u64;
///     fn apply(&mut self, _index: u64, add: u64) -> u64 {
///         self.0 = self.0.wrapping_add(add);
///         self.0
///     }
///     fn freeze(&self) -> u64 {
///         self.0
///     }
///     fn write_snapshot(frozen: u64, out: &mut dyn Write) -> io::Result<()> {
///         out.write_all(&frozen.to_le_bytes())
///     }
///     fn read_snapshot(&self, input: &mut dyn Read) -> io::Result<Self> {
///         let mut bytes = [0; 8];
///         input.read_exact(&mut bytes)?;
///         Ok(Counter(u64::from_le_bytes(bytes)))
///     }
/// }
/// ```
pub trait StateMachine: Sized + Send + Sync + 'static {
    /// What is proposed, stored in the log of every node, and applied.
    ///
    /// It is stored in postcard's format, which is not self-describing: add new variants at the end of an enum, and
    /// never change the meaning of an old one while logs that hold it are around.
    type Command: Serialize + DeserializeOwned + Send + 'static;

    /// What [`apply`](Self::apply) answers to the one who proposed.
    type Response: Serialize + DeserializeOwned + Send + 'static;

    /// A view of the state that later commands do not change, cheap to take (a number, an `Arc`, a persistent map).
    type Frozen: Send + 'static;

    /// Changes the state by one command and answers it.
    ///
    /// `index` is the position of the command in the replicated log: it grows with each command, the same on every
    /// node, with gaps where the log holds entries of its own. It can serve as a revision number.
    ///
    /// It runs under the lock that readers share, so it should take microseconds. A panic stops the node, at this
    /// index, with [`StopReason::Fatal`](crate::StopReason::Fatal).
    fn apply(&mut self, index: u64, command: Self::Command) -> Self::Response;

    /// Takes a view of the state as it is now; a snapshot is written from it while commands go on.
    ///
    /// It runs under the lock that readers share.
    fn freeze(&self) -> Self::Frozen;

    /// Writes a frozen view, on a thread where blocking is allowed.
    ///
    /// Equal states should give equal bytes, so that two nodes' snapshots of one index can be compared.
    /// `out` is buffered, checksummed and made durable by the caller.
    ///
    /// # Errors
    ///
    /// Those of `out`, handed on. The node then goes on with the snapshot before and more of the log, and tries again
    /// later; without a snapshot before, it stops with [`StopReason::Fatal`](crate::StopReason::Fatal).
    fn write_snapshot(frozen: Self::Frozen, out: &mut dyn io::Write) -> io::Result<()>;

    /// Reads the state that [`write_snapshot`](Self::write_snapshot) wrote, on a thread where blocking is allowed.
    ///
    /// `self` is the state that is about to be replaced: take over from it what is not replicated (a channel of
    /// watchers, a path), and nothing else. `input` is buffered, and its checksum was verified before.
    ///
    /// # Errors
    ///
    /// Those of `input`, and `InvalidData` for bytes that are no snapshot. The node then stops with
    /// [`StopReason::Fatal`](crate::StopReason::Fatal) rather than going on from an empty state.
    fn read_snapshot(&self, input: &mut dyn io::Read) -> io::Result<Self>;
}

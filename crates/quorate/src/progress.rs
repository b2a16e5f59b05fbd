//! How far a node has come, one number at a time: what is durable, committed, applied and in a snapshot.

use std::fmt;
use std::fmt::Debug;
use std::fmt::Formatter;

use crate::base::OptionalSend;
use crate::base::OptionalSync;
use crate::client::FlushPoint;
use crate::raft::Raft;
use crate::runtime::RecvError;
use crate::runtime::WatchReceiver;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::WatchReceiverOf;
use crate::vote::Vote;

/// Looks at one number that only grows, and waits for it.
///
/// It is brought up to date after steps of the node, many steps at a time: a value in between may never be seen. The
/// value is `None` until the node runs and there is one. Every wait can be dropped at any time, and ends with
/// [`RecvError`] when the node has stopped, once the last value was seen.
pub struct WatchProgress<C, T>
where
    C: RaftTypeConfig,
    T: OptionalSend + OptionalSync,
{
    rx: WatchReceiverOf<C, T>,
}

/// What is durable.
pub(crate) type LogProgress<C> = WatchProgress<C, Option<FlushPoint<C>>>;

/// The durable vote.
pub(crate) type VoteProgress<C> = WatchProgress<C, Option<Vote<<C as RaftTypeConfig>::LeaderId>>>;

/// The last entry of some kind.
pub(crate) type LogIdProgress<C> = WatchProgress<C, Option<LogIdOf<C>>>;

impl<C, T> Clone for WatchProgress<C, T>
where
    C: RaftTypeConfig,
    T: OptionalSend + OptionalSync,
{
    fn clone(&self) -> Self {
        Self { rx: self.rx.clone() }
    }
}

impl<C, T> Debug for WatchProgress<C, T>
where
    C: RaftTypeConfig,
    T: OptionalSend + OptionalSync + Debug,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchProgress").field(&*self.rx.borrow_watched()).finish()
    }
}

impl<C, T> WatchProgress<C, T>
where
    C: RaftTypeConfig,
    T: OptionalSend + OptionalSync + Clone,
{
    pub(crate) fn new(rx: WatchReceiverOf<C, T>) -> Self {
        Self { rx }
    }

    /// The present value. It does not count as seen.
    pub fn get(&self) -> T {
        self.rx.borrow_watched().clone()
    }

    /// The present value, which counts as seen.
    pub(crate) fn see(&mut self) -> T {
        self.rx.borrow_and_update().clone()
    }

    /// Waits until the value is `least` or greater, and returns it; the present value counts.
    pub async fn wait_until_ge(&mut self, least: &T) -> Result<T, RecvError>
    where
        T: PartialOrd,
    {
        self.rx.wait_until_ge(least).await
    }

    /// Waits until `condition` holds of the value, and returns it; the present value counts.
    pub async fn wait_until<F>(&mut self, condition: F) -> Result<T, RecvError>
    where
        F: Fn(&T) -> bool + OptionalSend,
    {
        self.rx.wait_until(condition).await
    }

    /// Waits for a value that was not seen yet, and counts it as seen.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        self.rx.changed().await
    }

    /// Waits for a value that was not seen yet, and returns it.
    pub async fn next(&mut self) -> Result<T, RecvError> {
        self.changed().await?;
        Ok(self.see())
    }
}

impl<C, SM> Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// The last durable entry and the vote under which it was written.
    ///
    /// Entries may be applied before they are durable here, when a quorum of others has them.
    pub fn watch_log_progress(&self) -> LogProgress<C> {
        self.inner.receivers.progress.log.clone()
    }

    /// The last durable vote.
    pub fn watch_vote_progress(&self) -> VoteProgress<C> {
        self.inner.receivers.progress.vote.clone()
    }

    /// The last entry that this node knows to be committed and has itself.
    pub fn watch_commit_progress(&self) -> LogIdProgress<C> {
        self.inner.receivers.progress.commit.clone()
    }

    /// The last entry of the newest snapshot that was built or installed here, once that is complete.
    pub fn watch_snapshot_progress(&self) -> LogIdProgress<C> {
        self.inner.receivers.progress.snapshot.clone()
    }

    /// The last entry that the state machine has applied.
    pub fn watch_apply_progress(&self) -> LogIdProgress<C> {
        self.inner.receivers.progress.apply.clone()
    }
}

//! Recent changes, kept for those who watch.
//!
//! There is one bounded buffer for all watchers and none for each: a watcher remembers only how far it has come.
//! Who is too slow, or asks for changes from before the buffer, is told so and can read the state anew.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

/// The most changes that are kept.
pub const CHANGES_MAX: usize = 65_536;

/// The most bytes of keys and values that are kept.
pub const CHANGES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The most changes that a watcher looks through at once.
const BATCH_MAX: usize = 1024;

/// The recent changes, as the state machine feeds them.
#[derive(Debug)]
pub(crate) struct Feed {
    recent: Arc<Mutex<Recent>>,
    newest: Arc<watch::Sender<u64>>,
}

/// One key that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Arc<str>,
    /// Its new value; none if it was deleted.
    pub value: Option<Bytes>,
    /// The log index of the command that changed it.
    pub revision: u64,
}

/// Follows the changes of the keys with one prefix.
#[derive(Debug)]
pub struct Watcher {
    recent: Arc<Mutex<Recent>>,
    newest: watch::Receiver<u64>,
    prefix: String,
    after: u64,
}

/// Why a watch ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The changes wanted are no longer kept: the watcher was too slow, or began too far back.
    #[error(
        "changes after revision {after} are no longer kept here, only those after {oldest}: read the range anew and watch from its revision"
    )]
    Dropped {
        /// The revision that the watcher had come to.
        after: u64,
        /// All changes after this revision are kept.
        oldest: u64,
    },
    /// The node stopped.
    #[error("the node stopped: watch another one, from the revision that you have come to")]
    Stopped,
}

#[derive(Debug, Default)]
struct Recent {
    changes: VecDeque<Change>,
    bytes: usize,
    /// Every change with a revision above this one is in `changes`.
    complete_after: u64,
}

impl Feed {
    /// A feed that knows of nothing up to this revision.
    pub(crate) fn starting_after(revision: u64) -> Self {
        let recent = Recent { complete_after: revision, ..Recent::default() };
        Self { recent: Arc::new(Mutex::new(recent)), newest: Arc::new(watch::Sender::new(revision)) }
    }

    /// The feed of a state that takes over from this one: the same watchers, who hear that changes are missing.
    pub(crate) fn restart(&self, revision: u64) -> Self {
        *lock(&self.recent) = Recent { complete_after: revision, ..Recent::default() };
        self.newest.send_replace(revision);
        Self { recent: self.recent.clone(), newest: self.newest.clone() }
    }

    /// Adds a change, and forgets the oldest beyond the limits.
    pub(crate) fn push(&self, change: Change) {
        let revision = change.revision;
        lock(&self.recent).push(change);
        self.newest.send_replace(revision);
    }

    pub(crate) fn watcher(&self, prefix: String, after: u64) -> Watcher {
        Watcher { recent: self.recent.clone(), newest: self.newest.subscribe(), prefix, after }
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self::starting_after(0)
    }
}

impl Recent {
    fn push(&mut self, change: Change) {
        self.bytes = self.bytes.saturating_add(weight(&change));
        self.changes.push_back(change);
        while self.changes.len() > CHANGES_MAX || self.bytes > CHANGES_BYTES_MAX {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(weight(&oldest));
            self.complete_after = oldest.revision;
        }
    }
}

impl Watcher {
    /// Waits for the next changes, in the order in which they were applied; never an empty list.
    ///
    /// Cancellation safe: a change is passed over only when it has been returned.
    ///
    /// # Errors
    ///
    /// [`WatchError`] when the changes that follow are no longer to be had from here.
    pub async fn next(&mut self) -> Result<Vec<Change>, WatchError> {
        loop {
            let found = self.take()?;
            if !found.is_empty() {
                return Ok(found);
            }
            let after = self.after;
            self.newest.wait_for(|newest| *newest > after).await.map_err(|_| WatchError::Stopped)?;
        }
    }

    /// The revision up to which all changes have been returned.
    pub fn revision(&self) -> u64 {
        self.after
    }

    fn take(&mut self) -> Result<Vec<Change>, WatchError> {
        let recent = lock(&self.recent);
        if self.after < recent.complete_after {
            return Err(WatchError::Dropped { after: self.after, oldest: recent.complete_after });
        }
        let from = recent.changes.partition_point(|change| change.revision <= self.after);
        let mut found = Vec::new();
        for change in recent.changes.range(from..).take(BATCH_MAX) {
            self.after = change.revision;
            if change.key.starts_with(&self.prefix) {
                found.push(change.clone());
            }
        }
        Ok(found)
    }
}

fn weight(change: &Change) -> usize {
    change.key.len().saturating_add(change.value.as_ref().map_or(0, Bytes::len))
}

fn lock(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, revision: u64, bytes: usize) -> Change {
        Change { key: key.into(), value: Some(vec![0; bytes].into()), revision }
    }

    fn revisions(changes: Vec<Change>) -> Vec<u64> {
        changes.into_iter().map(|change| change.revision).collect()
    }

    #[tokio::test]
    async fn a_watcher_gets_what_came_after_its_revision_and_what_comes_later() {
        let feed = Feed::default();
        for revision in [1, 4, 6] {
            feed.push(change("a/x", revision, 1));
        }
        feed.push(change("b", 7, 1));
        let mut watcher = feed.watcher("a/".into(), 1);
        assert_eq!(revisions(watcher.next().await.unwrap()), [4, 6]);
        let waiting = tokio::spawn(async move { watcher.next().await });
        feed.push(change("b", 8, 1));
        feed.push(change("a/y", 9, 1));
        assert_eq!(revisions(waiting.await.unwrap().unwrap()), [9]);
    }

    #[tokio::test]
    async fn a_slow_watcher_is_told_that_it_was_dropped() {
        let feed = Feed::default();
        feed.push(change("a", 1, 1));
        let mut slow = feed.watcher(String::new(), 0);
        for revision in 2..=CHANGES_MAX as u64 + 1 {
            feed.push(change("a", revision, 1));
        }
        assert_eq!(slow.next().await, Err(WatchError::Dropped { after: 0, oldest: 1 }));
        let mut quick = feed.watcher(String::new(), 1);
        assert_eq!(quick.next().await.unwrap().len(), BATCH_MAX);
    }

    #[test]
    fn the_changes_kept_are_bounded_in_bytes() {
        let feed = Feed::default();
        let size = CHANGES_BYTES_MAX / 8;
        for revision in 1..=20 {
            feed.push(change("k", revision, size));
        }
        let recent = lock(&feed.recent);
        assert!(recent.bytes <= CHANGES_BYTES_MAX, "{} bytes kept", recent.bytes);
        assert_eq!((recent.changes.len(), recent.complete_after), (7, 13));
    }

    #[tokio::test]
    async fn a_watcher_hears_that_a_snapshot_skipped_changes_and_goes_on_after_it() {
        let feed = Feed::default();
        feed.push(change("a", 3, 1));
        let mut behind = feed.watcher(String::new(), 3);
        let mut there = feed.watcher(String::new(), 9);
        let feed = feed.restart(9);
        assert_eq!(behind.next().await, Err(WatchError::Dropped { after: 3, oldest: 9 }));
        feed.push(change("a", 10, 1));
        assert_eq!(revisions(there.next().await.unwrap()), [10]);
    }

    #[tokio::test]
    async fn a_watcher_hears_when_the_node_is_gone() {
        let feed = Feed::starting_after(5);
        let mut watcher = feed.watcher(String::new(), 5);
        drop(feed);
        assert_eq!(watcher.next().await, Err(WatchError::Stopped));
    }
}

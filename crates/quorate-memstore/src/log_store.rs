//! The log and the vote.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use openraft::LogState;
use openraft::OptionalSend;
use openraft::RaftLogReader;
use openraft::entry::RaftEntry;
use openraft::storage::IOFlushed;
use openraft::storage::RaftLogStorage;
use openraft::type_config::alias::EntryOf;
use openraft::type_config::alias::LogIdOf;
use openraft::type_config::alias::VoteOf;

use crate::BlockConfig;
use crate::BlockOperation;
use crate::TypeConfig;

/// A log in memory. What is appended is durable at once, as far as memory is.
#[derive(Debug)]
pub struct MemLogStore {
    inner: Mutex<Inner>,
    block: BlockConfig,
    /// Whether what is committed is kept. It is, unless a test says otherwise.
    pub enable_saving_committed: AtomicBool,
    /// Whether limited reads return nothing, whatever is there.
    pub return_empty_limited_get: AtomicBool,
    /// Whether the next limited read fails. It is reset by that.
    pub fail_next_limited_get: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    vote: Option<VoteOf<TypeConfig>>,
    committed: Option<LogIdOf<TypeConfig>>,
    purged: Option<LogIdOf<TypeConfig>>,
    /// Each entry as JSON.
    entries: BTreeMap<u64, String>,
}

impl MemLogStore {
    /// An empty log, purging of which takes as long as `block` says.
    pub fn new(block: BlockConfig) -> Self {
        Self {
            inner: Mutex::default(),
            block,
            enable_saving_committed: AtomicBool::new(true),
            return_empty_limited_get: AtomicBool::new(false),
            fail_next_limited_get: AtomicBool::new(false),
        }
    }

    /// Whether limited reads return nothing from now on.
    pub fn set_return_empty_limited_get(&self, return_empty: bool) {
        self.return_empty_limited_get.store(return_empty, Ordering::Relaxed);
    }

    /// Whether the next limited read fails.
    pub fn set_fail_next_limited_get(&self, fail: bool) {
        self.fail_next_limited_get.store(fail, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn decode(json: &str) -> Result<EntryOf<TypeConfig>, io::Error> {
    Ok(serde_json::from_str(json)?)
}

impl RaftLogReader<TypeConfig> for Arc<MemLogStore> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        let inner = self.lock();
        let mut next = None;
        let entries = inner.entries.range(range).map(|(&index, json)| {
            if let Some(expected) = next.replace(index.saturating_add(1))
                && index != expected
            {
                return Err(io::Error::other(format!("entry {expected} is missing, {index} is there")));
            }
            decode(json)
        });
        entries.collect()
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        if self.fail_next_limited_get.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("the test wants this read to fail"));
        }
        if self.return_empty_limited_get.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        self.try_get_log_entries(start..end).await
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<TypeConfig>>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for Arc<MemLogStore> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let inner = self.lock();
        let last = inner.entries.values().next_back().map(|json| decode(json)).transpose()?;
        let last_log_id = last.map(|entry| entry.log_id()).or(inner.purged);
        Ok(LogState { last_purged_log_id: inner.purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TypeConfig>) -> Result<(), io::Error> {
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        if self.enable_saving_committed.load(Ordering::Relaxed) {
            self.lock().committed = committed;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<TypeConfig>>, io::Error> {
        let enabled = self.enable_saving_committed.load(Ordering::Relaxed);
        Ok(self.lock().committed.filter(|_| enabled))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let encoded = entries.into_iter().map(|entry| Ok((entry.index(), serde_json::to_string(&entry)?)));
        let encoded = encoded.collect::<Result<Vec<_>, io::Error>>()?;
        self.lock().entries.extend(encoded);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        let first = last_log_id.map_or(0, |last| last.index.saturating_add(1));
        self.lock().entries.split_off(&first);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogIdOf<TypeConfig>) -> Result<(), io::Error> {
        self.block.wait(BlockOperation::PurgeLog).await;
        let mut inner = self.lock();
        if inner.purged > Some(log_id) {
            let purged = inner.purged.map_or_else(String::new, |purged| purged.to_string());
            return Err(io::Error::other(format!("purge up to {log_id} after a purge up to {purged}")));
        }
        inner.purged = Some(log_id);
        inner.entries = inner.entries.split_off(&log_id.index.saturating_add(1));
        Ok(())
    }
}

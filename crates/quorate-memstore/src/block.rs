//! What a test wants to take long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use openraft::type_config::TypeConfigExt;

use crate::TypeConfig;

/// A step that can be made to take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockOperation {
    /// Building a snapshot, while entries are applied beside it.
    DelayBuildingSnapshot,
    /// Building a snapshot, while nothing can be applied.
    BuildSnapshot,
    /// Purging entries.
    PurgeLog,
}

/// How long each step takes. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct BlockConfig {
    delays: Arc<Mutex<BTreeMap<BlockOperation, Duration>>>,
}

impl BlockConfig {
    /// From now on, `block` takes this long.
    pub fn set_blocking(&self, block: BlockOperation, duration: Duration) {
        self.lock().insert(block, duration);
    }

    /// How long `block` takes, if it was set.
    pub fn get_blocking(&self, block: &BlockOperation) -> Option<Duration> {
        self.lock().get(block).copied()
    }

    /// From now on, `block` takes no longer than it must.
    pub fn clear_blocking(&mut self, block: BlockOperation) {
        self.lock().remove(&block);
    }

    /// Waits as long as `block` takes.
    pub(crate) async fn wait(&self, block: BlockOperation) {
        if let Some(delay) = self.get_blocking(&block) {
            TypeConfig::sleep(delay).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BlockOperation, Duration>> {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What a node keeps in its data directory: the log and the snapshots, each in a directory of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate::storage::RaftLogStorage as _;
use quorate_log::{DiskDirectory, LogError, LogStore, Options};
use tokio::task::spawn_blocking;

use crate::config::NodeConfig;
use crate::error::StartError;
use crate::snapshots::Snapshots;

/// The open log and snapshots.
pub(crate) struct Storage {
    pub(crate) log: LogStore<NodeConfig>,
    pub(crate) snapshots: Arc<Snapshots>,
}

impl Storage {
    /// Opens both, or makes them. Reads and checks the log and the newest snapshot.
    pub(crate) async fn open(data_dir: &Path) -> Result<Self, StartError> {
        let data_dir = data_dir.to_owned();
        let opened = spawn_blocking(move || Self::open_blocking(&data_dir)).await;
        let mut storage = opened.unwrap_or_else(|error| Err(unusable(&error)))?;
        let state = storage.log.get_log_state().await.map_err(|error| unusable(&error))?;
        let reach = storage.snapshots.check_reach(state.last_purged_log_id.as_ref());
        reach.map_err(|error| unusable(&error))?;
        Ok(storage)
    }

    fn open_blocking(data_dir: &Path) -> Result<Self, StartError> {
        let log_dir = data_dir.join("log");
        let log = LogStore::open(&log_dir, Options::default()).map_err(|error| refusal(error, &log_dir))?;
        if let Some(cut) = &log.report().cut {
            tracing::warn!(
                ?cut,
                "the end of the log was torn by a crash and is cut; nothing acknowledged is lost"
            );
        }
        let snapshot_dir = data_dir.join("snapshots");
        let directory = DiskDirectory::open(&snapshot_dir)
            .map_err(|error| StartError::io("open", &snapshot_dir, &error))?;
        let snapshots = <Snapshots>::open(directory).map_err(|error| match error.downcast() {
            Ok(error) => refusal(error, &snapshot_dir),
            Err(error) => unusable(&error),
        })?;
        Ok(Self { log, snapshots: Arc::new(snapshots) })
    }
}

fn unusable(error: &dyn std::error::Error) -> StartError {
    StartError::Storage { cause: error.to_string() }
}

fn refusal(error: LogError, dir: &Path) -> StartError {
    match error {
        LogError::DataDirLocked { pid, .. } => StartError::DataDirLocked { dir: dir.to_owned(), pid },
        LogError::FormatTooNew { file, found, max, .. } => {
            StartError::FormatTooNew { file: dir.join(PathBuf::from(file)), found, max }
        }
        LogError::NoSpace { .. } => StartError::NoSpace { path: dir.to_owned() },
        error => unusable(&error),
    }
}

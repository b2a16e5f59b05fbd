//! The state: the status of each client.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Formatter;
use std::io;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use futures_util::Stream;
use futures_util::StreamExt;
use openraft::EntryPayload;
use openraft::OptionalSend;
use openraft::RaftSnapshotBuilder;
use openraft::SnapshotMeta;
use openraft::StoredMembership;
use openraft::async_runtime::Mutex;
use openraft::storage::EntryResponder;
use openraft::storage::RaftStateMachine;
use openraft::storage::Snapshot;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::EntryOf;
use openraft::type_config::alias::LogIdOf;
use openraft::type_config::alias::MutexOf;
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::StoredMembershipOf;
use openraft_legacy::network_v1::SnapshotReceiverFactory;
use serde::Deserialize;
use serde::Serialize;

use crate::BlockConfig;
use crate::BlockOperation;
use crate::ClientResponse;
use crate::TypeConfig;

/// What the entries applied so far have led to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemStoreStateMachine {
    /// The last entry that was applied.
    pub last_applied_log: Option<LogIdOf<TypeConfig>>,
    /// The last membership that was applied.
    pub last_membership: StoredMembershipOf<TypeConfig>,
    /// The status of each client.
    pub client_status: HashMap<String, String>,
}

impl MemStoreStateMachine {
    fn apply(&mut self, entry: EntryOf<TypeConfig>) -> ClientResponse {
        self.last_applied_log = Some(entry.log_id);
        ClientResponse(match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(request) => self.client_status.insert(request.client, request.status),
            EntryPayload::Membership(membership) => {
                self.last_membership = StoredMembership::new(Some(entry.log_id), membership);
                None
            }
        })
    }
}

/// A state as of some entry.
#[derive(Debug, Clone, PartialEq)]
pub struct MemStoreSnapshot {
    /// What it covers.
    pub meta: SnapshotMetaOf<TypeConfig>,
    /// The state as JSON.
    pub data: Vec<u8>,
}

impl From<MemStoreSnapshot> for SnapshotOf<TypeConfig, Cursor<Vec<u8>>> {
    fn from(snapshot: MemStoreSnapshot) -> Self {
        Snapshot { meta: snapshot.meta, snapshot: Cursor::new(snapshot.data) }
    }
}

/// A state machine in memory.
pub struct MemStateMachine {
    state: MutexOf<TypeConfig, MemStoreStateMachine>,
    /// The state when a builder was asked for. The builder is this very state machine, which has moved on since.
    to_build: StdMutex<Option<MemStoreStateMachine>>,
    current_snapshot: StdMutex<Option<MemStoreSnapshot>>,
    snapshots_allowed: AtomicBool,
    panic_on_apply: AtomicBool,
    /// What a test wants to take long.
    pub block: BlockConfig,
    /// How many times a snapshot builder was asked for.
    pub try_create_snapshot_builder_count: Arc<AtomicU64>,
}

impl MemStateMachine {
    /// An empty state, the snapshots of which take as long to build as `block` says.
    pub fn new(block: BlockConfig) -> Self {
        Self {
            state: TypeConfig::mutex(MemStoreStateMachine::default()),
            to_build: StdMutex::default(),
            current_snapshot: StdMutex::default(),
            snapshots_allowed: AtomicBool::new(true),
            panic_on_apply: AtomicBool::new(false),
            block,
            try_create_snapshot_builder_count: Arc::default(),
        }
    }

    /// Whether snapshots may be built; if not, only those that the node cannot go on without.
    pub fn allow_build_snapshot(&self, allow: bool) {
        self.snapshots_allowed.store(allow, Ordering::Relaxed);
    }

    /// Whether applying entries panics.
    pub fn panic_on_apply(&self, panic: bool) {
        self.panic_on_apply.store(panic, Ordering::Relaxed);
    }

    /// How many times a snapshot builder was asked for since this was last called.
    pub fn take_try_create_snapshot_builder_count(&self) -> u64 {
        self.try_create_snapshot_builder_count.swap(0, Ordering::Relaxed)
    }

    /// Forgets the current snapshot.
    pub async fn drop_snapshot(&self) {
        self.current().take();
    }

    /// A copy of the state.
    pub async fn get_state_machine(&self) -> MemStoreStateMachine {
        self.state.lock().await.clone()
    }

    /// Forgets the state, as if nothing had been applied. The current snapshot stays.
    pub async fn clear_state_machine(&self) {
        *self.state.lock().await = MemStoreStateMachine::default();
    }

    fn current(&self) -> MutexGuard<'_, Option<MemStoreSnapshot>> {
        self.current_snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_build(&self) -> MutexGuard<'_, Option<MemStoreStateMachine>> {
        self.to_build.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for MemStateMachine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemStateMachine").field("block", &self.block).finish_non_exhaustive()
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Arc<MemStateMachine> {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Cursor<Vec<u8>>>, io::Error> {
        self.block.wait(BlockOperation::DelayBuildingSnapshot).await;
        let state = {
            let state = self.state.lock().await;
            self.block.wait(BlockOperation::BuildSnapshot).await;
            self.to_build().take().unwrap_or_else(|| state.clone())
        };
        let meta = SnapshotMeta {
            last_log_id: state.last_applied_log,
            last_membership: state.last_membership.clone(),
        };
        let snapshot = MemStoreSnapshot { meta, data: serde_json::to_vec(&state)? };
        let mut current = self.current();
        // One that came from the leader meanwhile may cover more.
        if current.as_ref().is_none_or(|current| current.meta.last_log_id <= snapshot.meta.last_log_id) {
            *current = Some(snapshot.clone());
        }
        Ok(snapshot.into())
    }
}

impl RaftStateMachine<TypeConfig> for Arc<MemStateMachine> {
    type SnapshotData = Cursor<Vec<u8>>;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        let state = self.state.lock().await;
        Ok((state.last_applied_log, state.last_membership.clone()))
    }

    #[expect(clippy::panic, reason = "a test asks for it")]
    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.next().await.transpose()? {
            if self.panic_on_apply.load(Ordering::Relaxed) {
                panic!("the test wants applying {entry} to panic");
            }
            let response = self.state.lock().await.apply(entry);
            if let Some(responder) = responder {
                responder.send(response);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self::SnapshotBuilder> {
        self.try_create_snapshot_builder_count.fetch_add(1, Ordering::Relaxed);
        if force || self.snapshots_allowed.load(Ordering::Relaxed) {
            Some(self.get_snapshot_builder().await)
        } else {
            None
        }
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        let state = self.get_state_machine().await;
        *self.to_build() = Some(state);
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: Cursor<Vec<u8>>,
    ) -> Result<(), io::Error> {
        let snapshot = MemStoreSnapshot { meta: meta.clone(), data: snapshot.into_inner() };
        let state: MemStoreStateMachine = serde_json::from_slice(&snapshot.data)?;
        // What the snapshot covers is for the library to say.
        *self.state.lock().await = MemStoreStateMachine {
            last_applied_log: meta.last_log_id,
            last_membership: meta.last_membership.clone(),
            client_status: state.client_status,
        };
        *self.current() = Some(snapshot);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, Cursor<Vec<u8>>>>, io::Error> {
        Ok(self.current().clone().map(Into::into))
    }
}

impl SnapshotReceiverFactory<TypeConfig> for Arc<MemStateMachine> {
    type SnapshotReceiver = Cursor<Vec<u8>>;

    async fn begin_receiving_snapshot(&mut self) -> Result<Cursor<Vec<u8>>, io::Error> {
        Ok(Cursor::new(Vec::new()))
    }
}

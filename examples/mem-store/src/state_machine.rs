//! The state: a map from text to text.

use std::collections::BTreeMap;
use std::io;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use futures_util::Stream;
use futures_util::StreamExt;
use openraft::EntryPayload;
use openraft::OptionalSend;
use openraft::RaftSnapshotBuilder;
use openraft::SnapshotMeta;
use openraft::StoredMembership;
use openraft::storage::EntryResponder;
use openraft::storage::RaftStateMachine;
use openraft::storage::Snapshot;
use openraft::type_config::alias::LogIdOf;
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::StoredMembershipOf;

use crate::Request;
use crate::Response;
use crate::TypeConfig;

/// A map in memory. Clones are the same map, so that an application can keep one to read from.
#[derive(Debug, Clone, Default)]
pub struct StateMachine {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    applied: Option<LogIdOf<TypeConfig>>,
    membership: StoredMembershipOf<TypeConfig>,
    map: BTreeMap<String, String>,
    snapshot: Option<SnapshotOf<TypeConfig, Cursor<Vec<u8>>>>,
}

impl StateMachine {
    /// The value of a key, as far as this node has applied.
    pub fn get(&self, key: &str) -> Option<String> {
        self.lock().map.get(key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Encodes the map as it was when the builder was made, while entries are applied to the machine.
#[derive(Debug)]
pub struct SnapshotBuilder {
    machine: StateMachine,
    meta: SnapshotMetaOf<TypeConfig>,
    map: BTreeMap<String, String>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Cursor<Vec<u8>>>, io::Error> {
        let data = Cursor::new(serde_json::to_vec(&self.map)?);
        let snapshot = Snapshot { meta: self.meta.clone(), snapshot: data };
        self.machine.lock().snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Cursor<Vec<u8>>;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        let inner = self.lock();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.next().await.transpose()? {
            let mut inner = self.lock();
            inner.applied = Some(entry.log_id);
            let value = match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(Request::Set { key, value }) => {
                    inner.map.insert(key, value.clone());
                    Some(value)
                }
                EntryPayload::Membership(membership) => {
                    inner.membership = StoredMembership::new(Some(entry.log_id), membership);
                    None
                }
            };
            // There is one only where the client waits: on the leader that it asked.
            if let Some(responder) = responder {
                responder.send(Response { value });
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let inner = self.lock();
        let meta = SnapshotMeta { last_log_id: inner.applied, last_membership: inner.membership.clone() };
        SnapshotBuilder { machine: self.clone(), meta, map: inner.map.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: Cursor<Vec<u8>>,
    ) -> Result<(), io::Error> {
        let map = serde_json::from_slice(snapshot.get_ref())?;
        *self.lock() = Inner {
            applied: meta.last_log_id,
            membership: meta.last_membership.clone(),
            map,
            snapshot: Some(Snapshot { meta: meta.clone(), snapshot }),
        };
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, Cursor<Vec<u8>>>>, io::Error> {
        Ok(self.lock().snapshot.clone())
    }
}

/// For a network of version 1 alone: where the chunks of a snapshot are written to.
#[cfg(feature = "network-v1")]
impl openraft_legacy::network_v1::SnapshotReceiverFactory<TypeConfig> for StateMachine {
    type SnapshotReceiver = Cursor<Vec<u8>>;

    async fn begin_receiving_snapshot(&mut self) -> Result<Cursor<Vec<u8>>, io::Error> {
        Ok(Cursor::new(Vec::new()))
    }
}

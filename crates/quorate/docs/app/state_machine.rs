//! The state that the log leads to: a map.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, StreamExt};
use quorate::entry::RaftEntry;
use quorate::storage::{EntryResponder, RaftStateMachine};
use quorate::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use quorate::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StoredMembership};
use quorate_guide::{Set, Types};

#[derive(Default)]
struct State {
    values: BTreeMap<String, String>,
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    snapshot: Option<SnapshotOf<Types, BTreeMap<String, String>>>,
}

/// The key-value map. Its clones are the same map: one is the node's, another one the application reads.
#[derive(Clone, Default)]
pub struct StateMachine {
    state: Arc<Mutex<State>>,
}

impl StateMachine {
    /// The value of `key` as of what is applied here. Linearizable only behind `Raft::ensure_linearizable`.
    pub fn get(&self, key: &str) -> Option<String> {
        self.state().values.get(key).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = BTreeMap<String, String>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        let state = self.state();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, client) = item?;
            let log_id = entry.log_id();
            let mut state = self.state();
            let before = match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(Set { key, value }) => state.values.insert(key, value),
                EntryPayload::Membership(membership) => {
                    state.membership = StoredMembership::new(Some(log_id), membership);
                    None
                }
            };
            state.applied = Some(log_id);
            drop(state);
            if let Some(client) = client {
                client.send(before);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let state = self.state();
        let meta = SnapshotMeta { last_log_id: state.applied, last_membership: state.membership.clone() };
        let snapshot = Snapshot { meta, snapshot: state.values.clone() };
        Builder { machine: self.clone(), snapshot }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        values: BTreeMap<String, String>,
    ) -> io::Result<()> {
        let mut state = self.state();
        state.values = values.clone();
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.snapshot = Some(Snapshot { meta: meta.clone(), snapshot: values });
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<Types, BTreeMap<String, String>>>> {
        Ok(self.state().snapshot.clone())
    }
}

/// Holds a copy of the map as it was when the builder was made, so that applying can go on while it is stored.
pub struct Builder {
    machine: StateMachine,
    snapshot: SnapshotOf<Types, BTreeMap<String, String>>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = BTreeMap<String, String>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, BTreeMap<String, String>>> {
        self.machine.state().snapshot = Some(self.snapshot.clone());
        Ok(self.snapshot.clone())
    }
}

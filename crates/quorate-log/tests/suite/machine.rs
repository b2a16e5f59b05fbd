//! A state machine that keeps what the contract asks for and nothing else, in memory.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::{Stream, StreamExt};
use quorate::entry::RaftEntry;
use quorate::storage::{EntryResponder, RaftStateMachine};
use quorate::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use quorate::{RaftSnapshotBuilder, RaftTypeConfig, Snapshot, SnapshotMeta, StoredMembership};

/// Counts the entries; its clones share the count.
pub struct Machine<C: RaftTypeConfig>(Arc<Mutex<State<C>>>);

struct State<C: RaftTypeConfig> {
    applied: Option<LogIdOf<C>>,
    membership: StoredMembershipOf<C>,
    count: u64,
    snapshot: Option<SnapshotOf<C, u64>>,
}

impl<C: RaftTypeConfig> Default for Machine<C> {
    fn default() -> Self {
        let membership = StoredMembership::default();
        Self(Arc::new(Mutex::new(State { applied: None, membership, count: 0, snapshot: None })))
    }
}

impl<C: RaftTypeConfig> Machine<C> {
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.0.lock().unwrap()
    }
}

impl<C: RaftTypeConfig> RaftSnapshotBuilder<C> for Machine<C> {
    type SnapshotData = u64;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<C, u64>, io::Error> {
        let mut state = self.lock();
        let meta =
            SnapshotMeta { last_log_id: state.applied.clone(), last_membership: state.membership.clone() };
        let snapshot = Snapshot { meta, snapshot: state.count };
        state.snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }
}

impl<C: RaftTypeConfig<R = String>> RaftStateMachine<C> for Machine<C> {
    type SnapshotData = u64;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<C>>, StoredMembershipOf<C>), io::Error> {
        let state = self.lock();
        Ok((state.applied.clone(), state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + Send,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let mut state = self.lock();
            state.applied = Some(entry.log_id());
            state.count += 1;
            if let Some(membership) = entry.get_membership() {
                state.membership = StoredMembership::new(Some(entry.log_id()), membership);
            }
            if let Some(responder) = responder {
                responder.send(state.count.to_string());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        Self(Arc::clone(&self.0))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<C>, count: u64) -> Result<(), io::Error> {
        let mut state = self.lock();
        state.applied = meta.last_log_id.clone();
        state.membership = meta.last_membership.clone();
        state.count = count;
        state.snapshot = Some(Snapshot { meta: meta.clone(), snapshot: count });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<C, u64>>, io::Error> {
        Ok(self.lock().snapshot.clone())
    }
}

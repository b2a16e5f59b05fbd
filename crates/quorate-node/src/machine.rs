//! The user's state machine as the Raft library sees it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, StreamExt as _};
use quorate::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use quorate::type_config::TypeConfigExt as _;
use quorate::{OptionalSend, Snapshot, SnapshotMeta};
use quorate_log::{Directory, DiskDirectory};

use crate::config::{LogId, NodeConfig, NodeTypes, SnapshotMetaOf, SnapshotOf, StoredMembership};
use crate::shared::{Frozen, Position, Shared, invalid};
use crate::snapshots::{SnapshotFile, Snapshots, Stored};
use crate::state_machine::StateMachine;

/// Applies entries to the shared state, and keeps its snapshots in files.
pub struct Machine<S, C: NodeTypes = NodeConfig, D: Directory = DiskDirectory> {
    shared: Arc<Shared<S, C>>,
    snapshots: Arc<Snapshots<C, D>>,
}

impl<S: StateMachine, C: NodeTypes, D: Directory> Machine<S, C, D> {
    /// Applies to `shared`, and keeps snapshots of it in `snapshots`.
    pub fn new(shared: Arc<Shared<S, C>>, snapshots: Arc<Snapshots<C, D>>) -> Self {
        Self { shared, snapshots }
    }
}

impl<S: StateMachine, C: NodeTypes, D: Directory> RaftStateMachine<C> for Machine<S, C, D> {
    type SnapshotData = SnapshotFile<C, D>;
    type SnapshotBuilder = Builder<S, C, D>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId<C>>, StoredMembership<C>)> {
        let position = self.shared.read().position.clone();
        Ok((position.applied, position.roll.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<C>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let reply = self.shared.apply(entry)?;
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        Builder { frozen: Mutex::new(Some(self.shared.freeze())), snapshots: self.snapshots.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<C>,
        snapshot: SnapshotFile<C, D>,
    ) -> io::Result<()> {
        let (shared, snapshots) = (self.shared.clone(), self.snapshots.clone());
        let expected = meta.last_log_id.clone();
        let installed = C::spawn_blocking(move || {
            // Durable first: the library drops the log that this snapshot stands for once this returns.
            let stored = snapshots.keep(snapshot)?;
            shared.install(expected, &mut stored.read())
        });
        installed.await?
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<SnapshotFile<C, D>, C>>> {
        Ok(self.snapshots.newest().map(snapshot_of))
    }
}

/// Writes one frozen view to a file.
pub struct Builder<S: StateMachine, C: NodeTypes = NodeConfig, D: Directory = DiskDirectory> {
    frozen: Mutex<Option<Frozen<S, C>>>,
    snapshots: Arc<Snapshots<C, D>>,
}

impl<S: StateMachine, C: NodeTypes, D: Directory> RaftSnapshotBuilder<C> for Builder<S, C, D> {
    type SnapshotData = SnapshotFile<C, D>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<SnapshotFile<C, D>, C>> {
        let frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner).take();
        let frozen = frozen.ok_or_else(|| invalid("this snapshot was built already"))?;
        let snapshots = self.snapshots.clone();
        let built = C::spawn_blocking(move || {
            let position = frozen.position.clone();
            let mut writer = snapshots.begin()?;
            frozen.write(&mut writer)?;
            snapshots.publish(writer, &position)
        });
        let built = built.await.and_then(|built| built);
        match (built, self.snapshots.newest()) {
            (Ok(stored), _) => Ok(snapshot_of(stored)),
            (Err(error), Some(before)) => {
                // An error would stop the node. The log is all there, so the snapshot before will do until the next.
                tracing::error!(%error, "a snapshot could not be taken; keeping the one before, and more of the log");
                Ok(snapshot_of(before))
            }
            (Err(error), None) => Err(error),
        }
    }
}

fn snapshot_of<C: NodeTypes, D: Directory>(stored: Stored<C, D>) -> SnapshotOf<SnapshotFile<C, D>, C> {
    let Position { applied, roll } = &stored.position;
    let meta = SnapshotMeta { last_log_id: applied.clone(), last_membership: roll.membership.clone() };
    Snapshot { meta, snapshot: SnapshotFile::Stored(stored) }
}

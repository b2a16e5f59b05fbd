//! The receiver's end of a transfer: puts chunks together.

use std::io;
use std::io::SeekFrom;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::Raft;
use openraft::RaftTypeConfig;
use openraft::SnapshotId;
use openraft::async_runtime::Mutex;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::errors::RaftError;
use openraft::errors::StorageError;
use openraft::storage::RaftStateMachine;
use openraft::storage::Snapshot;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::InstantOf;
use openraft::type_config::alias::MutexOf;
use openraft::type_config::alias::SnapshotDataOf;
use tokio::io::AsyncSeek;
use tokio::io::AsyncSeekExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use super::InstallSnapshotError;
use super::InstallSnapshotRequest;
use super::InstallSnapshotResponse;
use super::SnapshotMeta;
use super::SnapshotMismatch;

/// How long an unfinished snapshot is kept after its last chunk, at least.
const IDLE_MIN: Duration = Duration::from_secs(60);
/// The same, at most.
const IDLE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// For how many times what a chunk may take it is kept, within these bounds.
const IDLE_CHUNKS: u32 = 4;

/// A state machine that has a place for a snapshot that comes in chunks.
pub trait SnapshotReceiverFactory<C>: RaftStateMachine<C>
where
    C: RaftTypeConfig,
{
    /// Where the chunks are written to.
    type SnapshotReceiver: OptionalSend + 'static;

    /// An empty place for a snapshot.
    fn begin_receiving_snapshot(
        &mut self,
    ) -> impl Future<Output = Result<Self::SnapshotReceiver, io::Error>> + OptionalSend;
}

/// What takes snapshots in chunks: [`Raft`].
pub trait ChunkedSnapshotReceiver<C>: private::Sealed<C>
where
    C: RaftTypeConfig,
{
    /// Where the chunks are written to.
    type SnapshotData: OptionalSend + 'static;

    /// Takes a chunk of a leader's snapshot, and installs the snapshot with the last one.
    ///
    /// A node receives one snapshot at a time: a first chunk with another name takes the place of what came before,
    /// which is also forgotten when no chunk came for a while. A chunk that follows nothing that is there is a
    /// [`SnapshotMismatch`], which says where the sender can go on. The answer carries this node's vote; the sender's
    /// is looked at when the snapshot is whole.
    ///
    /// Cancel safe: the same chunk may be sent again.
    fn install_snapshot(
        &self,
        req: InstallSnapshotRequest<C>,
    ) -> impl Future<Output = Result<InstallSnapshotResponse<C>, RaftError<C, InstallSnapshotError>>> + OptionalSend;
}

mod private {
    use super::*;

    pub trait Sealed<C: RaftTypeConfig> {}

    impl<C, SM> Sealed<C> for Raft<C, SM>
    where
        C: RaftTypeConfig,
        SM: SnapshotReceiverFactory<C, SnapshotReceiver = SnapshotDataOf<C, SM>>,
        SnapshotDataOf<C, SM>: AsyncWrite + AsyncSeek + Unpin,
    {
    }
}

impl<C, SM> ChunkedSnapshotReceiver<C> for Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: SnapshotReceiverFactory<C, SnapshotReceiver = SnapshotDataOf<C, SM>>,
    SnapshotDataOf<C, SM>: AsyncWrite + AsyncSeek + Unpin,
{
    type SnapshotData = SM::SnapshotData;

    async fn install_snapshot(
        &self,
        req: InstallSnapshotRequest<C>,
    ) -> Result<InstallSnapshotResponse<C>, RaftError<C, InstallSnapshotError>> {
        tracing::debug!(id = %self.node_id(), %req, "a chunk of a snapshot came");
        let inbox = self.extensions().get::<Inbox<C, SM::SnapshotData>>();
        let mut slot = inbox.slot.lock().await;
        let id = &req.meta.snapshot_id;
        // The last chunk was sent again, because the answer took long or was lost.
        if req.done && slot.installed.as_ref() == Some(id) {
            return Ok(InstallSnapshotResponse { vote: self.metrics().borrow_watched().vote.clone() });
        }
        if slot.unfinished.as_ref().is_none_or(|unfinished| unfinished.id != *id) {
            if req.offset != 0 {
                return Err(mismatch(&req, 0));
            }
            let receiver = self.with_state_machine(|machine| Box::pin(machine.begin_receiving_snapshot()));
            let data = receiver.await?.map_err(|error| unwritable(&req.meta, error))?;
            slot.unfinished = Some(Unfinished { id: id.clone(), data, end: 0, touched: C::now() });
            let chunks_ms = self.config().install_snapshot_timeout.saturating_mul(IDLE_CHUNKS.into());
            let idle = Duration::from_millis(chunks_ms).clamp(IDLE_MIN, IDLE_MAX);
            drop(C::spawn(forget_when_idle::<C, _>(Arc::downgrade(&inbox.slot), id.clone(), idle)));
        }
        let Some(unfinished) = &mut slot.unfinished else { return Err(mismatch(&req, 0)) };
        // What is written must not have a hole, however it is sent.
        if req.offset > unfinished.end {
            return Err(mismatch(&req, unfinished.end));
        }
        if let Err(error) = unfinished.write(&req).await {
            slot.unfinished = None;
            return Err(unwritable(&req.meta, error));
        }
        match slot.unfinished.take_if(|_| req.done) {
            Some(whole) => {
                let name = req.meta.snapshot_id.clone();
                let snapshot = Snapshot { meta: req.meta.into_meta(), snapshot: whole.data };
                let response = self.install_full_snapshot(req.vote.clone(), snapshot).await?;
                slot.installed = Some(name).filter(|_| response.vote == req.vote);
                Ok(response.into())
            }
            None => Ok(InstallSnapshotResponse { vote: self.metrics().borrow_watched().vote.clone() }),
        }
    }
}

/// Where a node keeps the snapshot that it receives.
struct Inbox<C, SD>
where
    C: RaftTypeConfig,
    SD: OptionalSend + 'static,
{
    slot: Arc<MutexOf<C, Slot<C, SD>>>,
}

impl<C, SD> Clone for Inbox<C, SD>
where
    C: RaftTypeConfig,
    SD: OptionalSend + 'static,
{
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone() }
    }
}

impl<C, SD> Default for Inbox<C, SD>
where
    C: RaftTypeConfig,
    SD: OptionalSend + 'static,
{
    fn default() -> Self {
        Self { slot: Arc::new(C::mutex(Slot { unfinished: None, installed: None })) }
    }
}

struct Slot<C: RaftTypeConfig, SD> {
    unfinished: Option<Unfinished<C, SD>>,
    /// The name of the snapshot that was installed last.
    installed: Option<SnapshotId>,
}

/// A snapshot of which the bytes before `end` are there.
struct Unfinished<C: RaftTypeConfig, SD> {
    id: SnapshotId,
    data: SD,
    end: u64,
    touched: InstantOf<C>,
}

impl<C, SD> Unfinished<C, SD>
where
    C: RaftTypeConfig,
    SD: AsyncWrite + AsyncSeek + Unpin + OptionalSend,
{
    async fn write(&mut self, req: &InstallSnapshotRequest<C>) -> Result<(), io::Error> {
        self.data.seek(SeekFrom::Start(req.offset)).await?;
        self.data.write_all(&req.data).await?;
        self.end = self.end.max(req.offset.saturating_add(req.data.len() as u64));
        self.touched = C::now();
        if req.done {
            self.data.shutdown().await?;
            // As if it had come in one piece: who installs it reads from the start.
            self.data.seek(SeekFrom::Start(0)).await?;
        }
        Ok(())
    }
}

/// Forgets the snapshot `id` when no chunk of it came for `idle`: its sender has gone.
async fn forget_when_idle<C, SD>(slot: Weak<MutexOf<C, Slot<C, SD>>>, id: SnapshotId, idle: Duration)
where
    C: RaftTypeConfig,
    SD: OptionalSend + 'static,
{
    while let Some(slot) = slot.upgrade() {
        let deadline = {
            let mut slot = slot.lock().await;
            let Some(unfinished) = slot.unfinished.as_ref().filter(|unfinished| unfinished.id == id) else {
                return;
            };
            let deadline = unfinished.touched + idle;
            if C::now() >= deadline {
                tracing::warn!(id, "no chunk of a snapshot came for {idle:?}; what is there is forgotten");
                slot.unfinished = None;
                return;
            }
            deadline
        };
        drop(slot);
        C::sleep_until(deadline).await;
    }
}

fn mismatch<C: RaftTypeConfig>(
    req: &InstallSnapshotRequest<C>,
    end: u64,
) -> RaftError<C, InstallSnapshotError> {
    let id = &req.meta.snapshot_id;
    let mismatch = SnapshotMismatch { expect: (id, end).into(), got: (id, req.offset).into() };
    RaftError::APIError(mismatch.into())
}

fn unwritable<C: RaftTypeConfig>(
    meta: &SnapshotMeta<C>,
    error: io::Error,
) -> RaftError<C, InstallSnapshotError> {
    let error = StorageError::write_snapshot(Some(meta.signature()), C::err_from_error(&error));
    RaftError::Fatal(Fatal::StorageError(error))
}

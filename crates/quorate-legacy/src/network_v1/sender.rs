//! The sender's end of a transfer: cuts a snapshot into chunks.

use std::future::poll_fn;
use std::io;
use std::io::SeekFrom;
use std::process;
use std::task::Poll;
use std::time::Duration;
use std::time::SystemTime;

use openraft::OptionalSend;
use openraft::RaftTypeConfig;
use openraft::errors::NetworkError;
use openraft::errors::RPCError;
use openraft::errors::StorageError;
use openraft::errors::StreamingError;
use openraft::errors::decompose::DecomposeResult;
use openraft::network::Backoff;
use openraft::network::RPCOption;
use openraft::raft::SnapshotResponse;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::VoteOf;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncSeek;
use tokio::io::AsyncSeekExt;

use super::InstallSnapshotError;
use super::InstallSnapshotRequest;
use super::InstallSnapshotResponse;
use super::RaftNetwork;
use super::SnapshotMeta;
use super::SnapshotMismatch;

/// Bytes of a chunk, where the caller names no number.
const CHUNK_SIZE_DEFAULT: usize = 3 * 1024 * 1024;
/// Failures of one chunk, in a row, after which it is sent again without a pause.
const RETRIES_AT_ONCE_MAX: u32 = 3;
/// Failures of one chunk, in a row, after which the transfer is given up. The library begins another one by and by.
const FAILURES_MAX: u32 = 20;
/// How often the receiver may send this one back to an earlier chunk.
const RESTARTS_MAX: u32 = 8;
/// The pause when a backoff is exhausted.
const BACKOFF_LAST: Duration = Duration::from_millis(500);

/// What became of a chunk: an answer, a chunk that does not fit, or no answer.
type Outcome<C> = Result<Result<InstallSnapshotResponse<C>, InstallSnapshotError>, RPCError<C>>;

/// A snapshot on its way to a node.
pub(super) struct Transfer<'a, C, N, SD>
where
    C: RaftTypeConfig,
{
    network: &'a mut N,
    vote: VoteOf<C>,
    meta: SnapshotMeta<C>,
    data: SD,
    option: RPCOption,
    /// Where the next chunk begins.
    offset: u64,
    failures: u32,
    restarts: u32,
    delays: Option<Backoff>,
}

impl<'a, C, N, SD> Transfer<'a, C, N, SD>
where
    C: RaftTypeConfig,
    N: RaftNetwork<C>,
    SD: AsyncRead + AsyncSeek + Unpin + OptionalSend,
{
    pub(super) fn new(
        network: &'a mut N,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, SD>,
        option: RPCOption,
    ) -> Self
    where
        SD: 'static,
    {
        let id = name_of::<C>(&snapshot.meta);
        let meta = SnapshotMeta::new(snapshot.meta, id);
        let data = snapshot.snapshot;
        Self { network, vote, meta, data, option, offset: 0, failures: 0, restarts: 0, delays: None }
    }

    /// Sends one chunk after the other, to the end, or until the receiver has a greater vote.
    pub(super) async fn run(mut self) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let end = self.data.seek(SeekFrom::End(0)).await.map_err(|error| self.unreadable(error))?;
        loop {
            let data = self.read(end).await.map_err(|error| self.unreadable(error))?;
            let next = self.offset.saturating_add(data.len() as u64);
            let done = next >= end;
            match self.send(data, done).await {
                Ok(Ok(answer)) if done || answer.vote != self.vote => {
                    return Ok(SnapshotResponse::new(answer.vote));
                }
                Ok(Ok(_)) => {
                    self.offset = next;
                    (self.failures, self.delays) = (0, None);
                    yield_once().await;
                }
                Ok(Err(InstallSnapshotError::SnapshotMismatch(mismatch))) => self.restart(mismatch).await?,
                Err(error) => self.pause(error.into()).await?,
            }
        }
    }

    /// The chunk at the present offset. Empty only at the end.
    async fn read(&mut self, end: u64) -> Result<Vec<u8>, io::Error> {
        let size = self.option.snapshot_chunk_size().unwrap_or(CHUNK_SIZE_DEFAULT).max(1);
        let left = usize::try_from(end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let mut chunk = vec![0; size.min(left)];
        self.data.seek(SeekFrom::Start(self.offset)).await?;
        self.data.read_exact(&mut chunk).await?;
        Ok(chunk)
    }

    async fn send(&mut self, data: Vec<u8>, done: bool) -> Outcome<C> {
        let request = InstallSnapshotRequest {
            vote: self.vote.clone(),
            meta: self.meta.clone(),
            offset: self.offset,
            data,
            done,
        };
        let ttl = self.option.hard_ttl();
        #[expect(deprecated, reason = "version 1 sends chunks")]
        let sending = self.network.install_snapshot(request, self.option.clone());
        match C::timeout(ttl, sending).await {
            Ok(answer) => answer.decompose(),
            Err(_) => {
                let late = format!("a chunk of snapshot {} had no answer within {ttl:?}", self.place());
                Err(NetworkError::from_string(late).into())
            }
        }
    }

    /// Goes back to where the receiver can go on, or to the start.
    async fn restart(&mut self, mismatch: SnapshotMismatch) -> Result<(), StreamingError<C>> {
        tracing::info!(%mismatch, "the receiver of a snapshot lacks what was sent before");
        let error = NetworkError::new(&mismatch).into();
        self.restarts = self.restarts.saturating_add(1);
        if self.restarts > RESTARTS_MAX {
            return Err(error);
        }
        let SnapshotMismatch { expect, .. } = mismatch;
        let resumes = expect.id == self.meta.snapshot_id && expect.offset < self.offset;
        self.offset = if resumes { expect.offset } else { 0 };
        self.pause(error).await
    }

    /// Waits before the next attempt, or gives up.
    async fn pause(&mut self, error: StreamingError<C>) -> Result<(), StreamingError<C>> {
        self.failures = self.failures.saturating_add(1);
        if self.failures > FAILURES_MAX {
            return Err(error);
        }
        tracing::debug!(%error, chunk = self.place(), failures = self.failures, "a chunk was not taken");
        if self.failures <= RETRIES_AT_ONCE_MAX {
            yield_once().await;
        } else {
            let delays = self.delays.get_or_insert_with(|| self.network.backoff());
            C::sleep(delays.next().unwrap_or(BACKOFF_LAST)).await;
        }
        Ok(())
    }

    fn place(&self) -> String {
        format!("{}+{}", self.meta.snapshot_id, self.offset)
    }

    fn unreadable(&self, error: io::Error) -> StreamingError<C> {
        StorageError::read_snapshot(Some(self.meta.signature()), C::err_from_error(&error)).into()
    }
}

/// A name that no other transfer has: the last index, the process, the time.
fn name_of<C: RaftTypeConfig>(meta: &SnapshotMetaOf<C>) -> String {
    let index = meta.last_log_id.as_ref().map_or(0, |last| last.index);
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{index}-{}-{}", process::id(), time.as_nanos())
}

/// Lets others run: a network that answers at once must not keep its thread for a whole snapshot.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

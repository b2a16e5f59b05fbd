//! Receives snapshots: into a partial file per sender that an interrupted transfer goes on with, then into the state
//! machine, for as long as that takes.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quorate::RaftTypeConfig;
use quorate::storage::{Snapshot, SnapshotMeta};
use quorate::type_config::alias::VoteOf;
use quorate::type_config::alias::{CommittedLeaderIdOf, SnapshotMetaOf};
use tokio::sync::{MutexGuard, mpsc, watch};
use tokio::time::timeout;
use tonic::Streaming;

use crate::codec;
use crate::error::TransportError;
use crate::network::write_message;
use crate::service::PeerService;
use crate::snapshot::{SnapshotFiles, SnapshotSink};
use crate::transport::Inner;
use crate::wire;

/// How many senders may have a partial file here.
const SENDERS_MAX: usize = 8;

pub(crate) type Down = mpsc::Sender<Result<wire::SnapshotDown, tonic::Status>>;

/// All snapshots that arrive, one per sender.
pub(crate) struct Inbox<C, P, F: SnapshotFiles> {
    inner: Arc<Inner>,
    raft: Arc<P>,
    files: Arc<F>,
    slots: Mutex<HashMap<String, Arc<Slot<F::Sink>>>>,
    config: std::marker::PhantomData<fn() -> C>,
}

/// What arrives from one sender. The newest transfer has its turn: an older one, which may hang on a dead connection,
/// gives way and leaves the partial file behind.
struct Slot<W> {
    turn: watch::Sender<u64>,
    stage: tokio::sync::Mutex<Stage<W>>,
}

enum Stage<W> {
    Empty,
    Receiving(Partial<W>),
    Installing(Key, Outcome),
}

type Outcome = watch::Receiver<Option<Result<wire::Message, TransportError>>>;

/// What makes two transfers one: the sender's vote, the snapshot's meta data, and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    vote: Bytes,
    meta: Bytes,
    length: u64,
    checksum: u32,
}

struct Partial<W> {
    key: Key,
    sink: W,
    received: u64,
    checksum: u32,
}

impl<C, P, F> Inbox<C, P, F>
where
    C: RaftTypeConfig,
    P: PeerService<C, SnapshotData = F::Data>,
    F: SnapshotFiles,
{
    pub(crate) fn new(inner: Arc<Inner>, raft: Arc<P>, files: Arc<F>) -> Self {
        Self { inner, raft, files, slots: Mutex::default(), config: std::marker::PhantomData }
    }

    /// Receives one transfer, and answers on `down` until it is done or fails.
    pub(crate) async fn receive(&self, from: &str, up: Streaming<wire::SnapshotUp>, down: Down) {
        let outcome = match self.begin(from, up, &down).await {
            Ok(outcome) => self.wait_installed(outcome, &down).await,
            Err(error) => Err(error),
        };
        let last = match outcome {
            Ok(answer) => Ok(wire::SnapshotDown { part: Some(wire::snapshot_down::Part::Done(answer)) }),
            Err(error) => {
                self.count(&error);
                Err(error.to_status())
            }
        };
        let _ = down.send(last).await;
    }

    /// Takes the turn, and gets all bytes of the snapshot to the state machine's door.
    async fn begin(
        &self,
        from: &str,
        mut up: Streaming<wire::SnapshotUp>,
        down: &Down,
    ) -> Result<Outcome, TransportError> {
        let header = match self.next(&mut up).await? {
            Some(wire::snapshot_up::Part::Header(header)) => header,
            _ => return Err(malformed("a snapshot without a header")),
        };
        let (vote, meta) = read_header::<C>(&header)?;
        let (size, max) = (header.length, self.inner.options.snapshot_size_max);
        if size > max {
            let (size, max) =
                (usize::try_from(size).unwrap_or(usize::MAX), usize::try_from(max).unwrap_or(usize::MAX));
            return Err(TransportError::TooLarge { what: "a snapshot".into(), size, max });
        }
        let key =
            Key { vote: header.vote, meta: header.meta, length: header.length, checksum: header.checksum };
        let slot = self.slot(from)?;
        let mut turn = slot.turn.subscribe();
        slot.turn.send_modify(|turn| *turn = turn.wrapping_add(1));
        let ours = *turn.borrow_and_update();
        let mut stage = slot.stage.lock().await;
        if *turn.borrow_and_update() != ours {
            return Err(TransportError::Superseded);
        }
        if let Stage::Installing(installing, outcome) = &*stage
            && *installing == key
            && !matches!(&*outcome.borrow(), Some(Err(_)))
        {
            return Ok(outcome.clone());
        }
        self.open(&mut stage, key, from).await?;
        self.transfer(&mut stage, &mut up, down, &mut turn).await?;
        self.install(&mut stage, vote, meta).await
    }

    /// Goes on with the partial file of the same snapshot, or begins one in place of whatever there was.
    async fn open(
        &self,
        stage: &mut MutexGuard<'_, Stage<F::Sink>>,
        key: Key,
        from: &str,
    ) -> Result<(), TransportError> {
        if let Stage::Receiving(partial) = &**stage
            && partial.key == key
        {
            if partial.received > 0 {
                self.inner.metrics.snapshots_resumed.increment();
            }
            return Ok(());
        }
        let former = std::mem::replace(&mut **stage, Stage::Empty);
        let (files, from, length) = (Arc::clone(&self.files), from.to_string(), key.length);
        let created = blocking(move || {
            drop(former);
            files.create(&from, length)
        });
        let sink = created.await?;
        **stage = Stage::Receiving(Partial { key, sink, received: 0, checksum: 0 });
        Ok(())
    }

    /// Receives the pieces that are missing, unless the sender leaves or begins again: then what came so far stays.
    async fn transfer(
        &self,
        stage: &mut Stage<F::Sink>,
        up: &mut Streaming<wire::SnapshotUp>,
        down: &Down,
        turn: &mut watch::Receiver<u64>,
    ) -> Result<(), TransportError> {
        let (mut received, length) = match stage {
            Stage::Receiving(partial) => (partial.received, partial.key.length),
            _ => (0, 0),
        };
        acknowledge(down, received).await;
        while received < length {
            let part = tokio::select! {
                biased;
                _ = turn.changed() => return Err(TransportError::Superseded),
                () = down.closed() => None,
                part = self.next(up) => part?,
            };
            let chunk = match part {
                Some(wire::snapshot_up::Part::Chunk(chunk)) => chunk,
                Some(wire::snapshot_up::Part::Header(_)) => return Err(malformed("a second header")),
                None => return Err(TransportError::Lost { message: "the sender left".into() }),
            };
            check_chunk(&chunk, received, length)?;
            received = self.store(stage, chunk.data).await?;
            acknowledge(down, received).await;
        }
        Ok(())
    }

    async fn store(&self, stage: &mut Stage<F::Sink>, data: Bytes) -> Result<u64, TransportError> {
        let Stage::Receiving(mut partial) = std::mem::replace(stage, Stage::Empty) else {
            return Err(malformed("a piece without a snapshot"));
        };
        let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
        partial = blocking(move || {
            partial.sink.write(&data)?;
            partial.checksum = crc32c::crc32c_append(partial.checksum, &data);
            partial.received = partial.received.saturating_add(size);
            Ok(partial)
        })
        .await?;
        self.inner.metrics.snapshot_bytes_received.add(size);
        let received = partial.received;
        *stage = Stage::Receiving(partial);
        Ok(received)
    }

    /// Hands a complete snapshot to the library, in a task of its own: the sender's leaving does not stop it.
    async fn install(
        &self,
        stage: &mut Stage<F::Sink>,
        vote: VoteOf<C>,
        meta: SnapshotMeta<CommittedLeaderIdOf<C>, C::NodeId, C::Node>,
    ) -> Result<Outcome, TransportError> {
        let Stage::Receiving(partial) = std::mem::replace(stage, Stage::Empty) else {
            return Err(malformed("an end without a snapshot"));
        };
        let Partial { key, sink, checksum: found, .. } = partial;
        if found != key.checksum {
            return Err(TransportError::CorruptSnapshot { offset: 0, expected: key.checksum, found });
        }
        let snapshot = blocking(move || sink.finish()).await?;
        let (sender, outcome) = watch::channel(None);
        *stage = Stage::Installing(key, outcome.clone());
        let raft = Arc::clone(&self.raft);
        tokio::spawn(async move {
            let installed = raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await;
            let answer: Result<wire::Message, TransportError> = match installed {
                Ok(response) => write_message("an answer", &response),
                Err(fatal) => Err(TransportError::Stopped { message: fatal.to_string() }),
            };
            let _ = sender.send(Some(answer));
        });
        Ok(outcome)
    }

    /// Tells the sender now and then that the state machine is at it.
    async fn wait_installed(
        &self,
        mut outcome: Outcome,
        down: &Down,
    ) -> Result<wire::Message, TransportError> {
        let vanished = || TransportError::Stopped { message: "the installation was given up".into() };
        loop {
            let installed =
                async { outcome.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone()) };
            match timeout(self.inner.options.installing_interval, installed).await {
                Ok(answer) => return answer.unwrap_or_else(|| Err(vanished())),
                Err(_) => {
                    let part = wire::snapshot_down::Part::Installing(true);
                    if down.send(Ok(wire::SnapshotDown { part: Some(part) })).await.is_err() {
                        return Err(TransportError::Lost { message: "the sender left".into() });
                    }
                }
            }
        }
    }

    async fn next(
        &self,
        up: &mut Streaming<wire::SnapshotUp>,
    ) -> Result<Option<wire::snapshot_up::Part>, TransportError> {
        let stall = self.inner.options.snapshot_stall_timeout;
        match timeout(stall, up.message()).await {
            Ok(Ok(message)) => Ok(message.and_then(|message| message.part)),
            Ok(Err(status)) => Err(TransportError::from_status(&status)),
            Err(_) => Err(TransportError::TimedOut(stall)),
        }
    }

    fn slot(&self, from: &str) -> Result<Arc<Slot<F::Sink>>, TransportError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(from) {
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= SENDERS_MAX {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        if slots.len() >= SENDERS_MAX {
            return Err(TransportError::NotStored {
                message: "too many snapshots are being received".into(),
            });
        }
        let slot = Arc::new(Slot { turn: watch::channel(0).0, stage: tokio::sync::Mutex::new(Stage::Empty) });
        slots.insert(from.to_string(), Arc::clone(&slot));
        Ok(slot)
    }

    fn count(&self, error: &TransportError) {
        match error {
            TransportError::CorruptSnapshot { .. } => self.inner.metrics.snapshots_corrupt.increment(),
            TransportError::Malformed { .. } => self.inner.metrics.malformed.increment(),
            TransportError::TooLarge { .. } | TransportError::RefusedSize { .. } => {
                self.inner.metrics.oversize.increment();
            }
            _ => {}
        }
    }
}

/// The sender's vote, and what the snapshot is.
pub(crate) fn read_header<C: RaftTypeConfig>(
    header: &wire::SnapshotHeader,
) -> Result<(VoteOf<C>, SnapshotMetaOf<C>), TransportError> {
    codec::check_encoding(header.encoding)?;
    codec::check_group(header.group)?;
    let vote = codec::decode("a vote", &header.vote)?;
    let meta = codec::decode("the meta data of a snapshot", &header.meta)?;
    Ok((vote, meta))
}

/// Whether a piece is the one that comes after `received` of `length` bytes, and whole.
pub(crate) fn check_chunk(
    chunk: &wire::SnapshotChunk,
    received: u64,
    length: u64,
) -> Result<(), TransportError> {
    let size = u64::try_from(chunk.data.len()).unwrap_or(u64::MAX);
    if chunk.offset != received || size == 0 || size > length.saturating_sub(received) {
        let what = format!("a piece of {size} bytes at {} instead of {received} of {length}", chunk.offset);
        return Err(TransportError::Malformed { what });
    }
    let found = crc32c::crc32c(&chunk.data);
    if found != chunk.checksum {
        return Err(TransportError::CorruptSnapshot {
            offset: chunk.offset,
            expected: chunk.checksum,
            found,
        });
    }
    Ok(())
}

/// A sender that does not listen any more is noticed elsewhere.
async fn acknowledge(down: &Down, received: u64) {
    let part = Some(wire::snapshot_down::Part::Received(received));
    let _ = down.send(Ok(wire::SnapshotDown { part })).await;
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, TransportError> {
    let failed = |error: io::Error| TransportError::NotStored { message: error.to_string() };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(failed),
        Err(error) => Err(failed(io::Error::other(error))),
    }
}

fn malformed(what: &str) -> TransportError {
    TransportError::Malformed { what: what.into() }
}

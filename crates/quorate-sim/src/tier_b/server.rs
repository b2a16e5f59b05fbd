//! A node as others reach it: what comes over the wire is decoded and handed to the library, and its answer sent back.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use quorate::Snapshot;
use quorate::raft::StreamAppendResult;
use quorate_grpc::SnapshotFiles;
use quorate_grpc::SnapshotSink;
use quorate_grpc::testing as codec;
use quorate_grpc::testing::SnapshotAnswer;
use quorate_grpc::testing::SnapshotPart;
use quorate_log::sim_disk::SimDisk;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::tier_b::client;
use crate::tier_b::frames;
use crate::tier_b::frames::Kind;
use crate::tier_b::net::Broken;
use crate::tier_b::net::Net;
use crate::tier_b::net::Pipe;
use crate::tier_b::net::PipeReceiver;
use crate::tier_b::observer::Watch;
use crate::tier_b::types::Raft;
use crate::tier_b::types::Shared;
use crate::tier_b::types::Snapshots;
use crate::tier_b::types::Types;
use crate::tier_b::world;

/// A node that is up.
pub struct Server<C: Types> {
    pub id: u64,
    pub raft: Raft<C>,
    pub shared: Arc<Shared<C>>,
    pub snapshots: Arc<Snapshots<C>>,
    pub watch: Watch<C>,
    pub power: Power,
}

/// When a machine loses its power: right after so many operations of its disk. Clones tell of the same machine.
#[derive(Clone)]
pub struct Power {
    disk: SimDisk,
    cut_at: Arc<AtomicU64>,
}

impl Power {
    pub fn new(disk: SimDisk) -> Self {
        Self { disk, cut_at: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Lets it fail after so many more operations of the disk.
    pub fn fail_after(&self, operations: u64) {
        let at = self.disk.changes().saturating_add(operations);
        self.cut_at.store(at, Ordering::Relaxed);
        self.disk.cut_power_at(Some(at));
    }

    /// It is there again, or will not fail after all.
    pub fn restore(&self) {
        self.cut_at.store(u64::MAX, Ordering::Relaxed);
        self.disk.cut_power_at(None);
    }

    /// Whether it has failed, and what runs may not have been ended yet.
    pub fn is_gone(&self) -> bool {
        let cut_at = self.cut_at.load(Ordering::Relaxed);
        cut_at != u64::MAX && self.disk.changes() >= cut_at
    }
}

impl<C: Types> Server<C> {
    /// Whether the power has failed, and what runs has not been ended yet.
    pub fn has_lost_power(&self) -> bool {
        self.power.is_gone()
    }
}

/// Answers one question that came to `server`.
pub async fn answer<C: Types>(
    net: Net<C>,
    server: Arc<Server<C>>,
    from: u64,
    to: u64,
    frame: Bytes,
    tx: Option<oneshot::Sender<Result<Bytes, Broken>>>,
) {
    let answer = match frames::open(&frame) {
        Some((kind, message)) => server.handle(kind, &message).await,
        None => Err(Broken::Reset),
    };
    let answer = answer.map(|message| frames::seal(Kind::Answer, &message));
    net.reply(to, from, answer, tx);
}

fn written<T: Serialize>(value: &T) -> Result<Bytes, Broken> {
    codec::write_value(value).map_err(|_| Broken::Reset)
}

fn unreadable(_: quorate_grpc::TransportError) -> Broken {
    Broken::Reset
}

impl<C: Types> Server<C> {
    async fn handle(&self, kind: Kind, message: &[u8]) -> Result<Bytes, Broken> {
        let raft = &self.raft;
        match kind {
            Kind::Vote => {
                let request = codec::read_value(message).map_err(unreadable)?;
                let answer = raft.vote(request).await.map_err(|_| Broken::Reset)?;
                if answer.vote_granted {
                    self.watch.granted(self.id, &answer.vote);
                }
                written(&answer)
            }
            Kind::PreVote => {
                let request = codec::read_value(message).map_err(unreadable)?;
                written(&raft.pre_vote(request).await.map_err(|_| Broken::Reset)?)
            }
            Kind::Append => {
                let request = codec::read_append::<C>(message).map_err(unreadable)?;
                let prev = request.prev_log_id.clone();
                let last = request.entries.last().map(|entry| entry.log_id.clone()).or_else(|| prev.clone());
                let answer = raft.append_entries(request).await.map_err(|_| Broken::Reset)?;
                let answer: StreamAppendResult<C> = answer.into_stream_result(prev, last);
                written(&answer)
            }
            Kind::Transfer => {
                let request = codec::read_value(message).map_err(unreadable)?;
                written(&raft.handle_transfer_leader(request).await.map_err(|_| Broken::Reset)?)
            }
            Kind::Client => client::answer(self, message).await,
            Kind::Snapshot | Kind::Answer => Err(Broken::Reset),
        }
    }
}

/// Serves one connection, for whatever its first frame says.
pub async fn serve<C: Types>(net: Net<C>, server: Arc<Server<C>>, mut up: PipeReceiver, down: Arc<Pipe>) {
    let Some(Ok(first)) = up.recv().await else { return down.close() };
    let served = match frames::open(&first) {
        Some((Kind::Append, message)) => appends(&net, &server, message, up, &down).await,
        Some((Kind::Snapshot, message)) => receive(&net, &server, &message, up, &down).await,
        _ => Err(Broken::Reset),
    };
    match served {
        Ok(()) => down.close(),
        Err(why) => world::call_after(world::below(1_000_000), move || down.end(why)),
    }
}

/// A stream of append requests. What cannot be read ends it.
async fn appends<C: Types>(
    net: &Net<C>,
    server: &Server<C>,
    first: Bytes,
    up: PipeReceiver,
    down: &Arc<Pipe>,
) -> Result<(), Broken> {
    let first = codec::read_append::<C>(&first).map_err(unreadable)?;
    let rest = stream::unfold(up, |mut up| async move {
        let (kind, message) = frames::open(&up.recv().await?.ok()?)?;
        let request = codec::read_append::<C>(&message).ok().filter(|_| kind == Kind::Append)?;
        Some((request, up))
    });
    let requests = stream::iter([first]).chain(rest);
    let mut answers = Box::pin(server.raft.stream_append(Box::pin(requests)));
    while let Some(answer) = answers.next().await {
        let answer: StreamAppendResult<C> = answer.map_err(|_| Broken::Reset)?;
        net.send(down, frames::seal(Kind::Answer, &written(&answer)?));
    }
    Ok(())
}

/// A snapshot in pieces.
async fn receive<C: Types>(
    net: &Net<C>,
    server: &Server<C>,
    head: &[u8],
    mut up: PipeReceiver,
    down: &Arc<Pipe>,
) -> Result<(), Broken> {
    let head = codec::read_snapshot_part::<C>(head).map_err(unreadable)?;
    let SnapshotPart::Head { vote, meta, length, checksum } = head else { return Err(Broken::Reset) };
    let tell = |answer: SnapshotAnswer<C>| -> Result<(), Broken> {
        let message = codec::write_snapshot_answer(&answer).map_err(unreadable)?;
        net.send(down, frames::seal(Kind::Answer, &message));
        Ok(())
    };
    let mut sink = server.snapshots.create("a peer", length).map_err(|_| Broken::Reset)?;
    let (mut received, mut running) = (0, 0);
    tell(SnapshotAnswer::Received(0))?;
    while received < length {
        let frame = up.recv().await.ok_or(Broken::Reset)??;
        let Some((Kind::Snapshot, message)) = frames::open(&frame) else { return Err(Broken::Reset) };
        let part = codec::read_snapshot_part::<C>(&message).map_err(unreadable)?;
        let SnapshotPart::Piece(piece) = part else { return Err(Broken::Reset) };
        piece.check(received, length).map_err(unreadable)?;
        sink.write(piece.data()).map_err(|_| Broken::Reset)?;
        running = crc32c::crc32c_append(running, piece.data());
        received += piece.data().len() as u64;
        tell(SnapshotAnswer::Received(received))?;
    }
    if running != checksum {
        return Err(Broken::Reset);
    }
    let snapshot = Snapshot { meta, snapshot: sink.finish().map_err(|_| Broken::Reset)? };
    tell(SnapshotAnswer::Installing)?;
    let response = server.raft.install_full_snapshot(vote, snapshot).await.map_err(|_| Broken::Reset)?;
    tell(SnapshotAnswer::Done(response))
}

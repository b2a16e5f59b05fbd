//! The network as the library uses it: clients to other nodes, over the real codec and the simulated wire.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use quorate::RPCTypes;
use quorate::RaftNetworkFactory;
use quorate::RaftNetworkV2;
use quorate::base::BoxFuture;
use quorate::base::BoxStream;
use quorate::errors::NetworkError;
use quorate::errors::RPCError;
use quorate::errors::ReplicationClosed;
use quorate::errors::StreamingError;
use quorate::errors::Timeout;
use quorate::errors::Unreachable;
use quorate::network::RPCOption;
use quorate::raft::AppendEntriesRequest;
use quorate::raft::AppendEntriesResponse;
use quorate::raft::SnapshotResponse;
use quorate::raft::StreamAppendResult;
use quorate::raft::TransferLeaderRequest;
use quorate::raft::TransferLeaderResponse;
use quorate::raft::VoteRequest;
use quorate::raft::VoteResponse;
use quorate::type_config::alias::SnapshotOf;
use quorate_grpc::SnapshotFiles;
use quorate_grpc::SnapshotSource;
use quorate_grpc::testing as codec;
use quorate_grpc::testing::AppendPart;
use quorate_grpc::testing::SnapshotAnswer;
use quorate_node::Member;
use quorate_rt::AsyncRuntime;
use quorate_rt::Select2;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::tier_b::frames;
use crate::tier_b::frames::Kind;
use crate::tier_b::net::Broken;
use crate::tier_b::net::Net;
use crate::tier_b::net::Pipe;
use crate::tier_b::net::PipeReceiver;
use crate::tier_b::observer::Watch;
use crate::tier_b::observer::hash_of;
use crate::tier_b::runtime::SimRuntime;
use crate::tier_b::types::SnapshotFile;
use crate::tier_b::types::Snapshots;
use crate::tier_b::types::Types;
use crate::tier_b::types::Vote;

/// Append requests of one stream that are sent ahead of their answers.
const WINDOW_MAX: usize = 16;
/// A snapshot whose receiver shows no progress for so long is given up.
pub const SNAPSHOT_STALL: Duration = Duration::from_secs(3);

/// Makes the clients of one node.
pub struct Factory<C: Types> {
    pub id: u64,
    pub net: Net<C>,
    pub snapshots: Arc<Snapshots<C>>,
    pub watch: Watch<C>,
}

impl<C: Types> RaftNetworkFactory<C> for Factory<C> {
    type Network = Client<C>;

    async fn new_client(&mut self, target: u64, _node: &Member) -> Client<C> {
        let (net, snapshots, watch) = (self.net.clone(), self.snapshots.clone(), self.watch.clone());
        Client { id: self.id, target, net, snapshots, watch }
    }
}

/// A client to one node.
pub struct Client<C: Types> {
    id: u64,
    target: u64,
    net: Net<C>,
    snapshots: Arc<Snapshots<C>>,
    watch: Watch<C>,
}

impl<C: Types> Client<C> {
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: Kind,
        question: &Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<C>> {
        let message = codec::write_value(question).map_err(|error| unreadable(&error))?;
        self.exchange(kind, &message, option).await
    }

    async fn exchange<A: DeserializeOwned>(
        &self,
        kind: Kind,
        message: &[u8],
        option: &RPCOption,
    ) -> Result<A, RPCError<C>> {
        let frame = frames::seal(kind, message);
        let answer = self.net.call(self.id, self.target, frame, option.hard_ttl()).await;
        let answer = answer.map_err(|broken| self.failed(broken, kind, option.hard_ttl()))?;
        match frames::open(&answer) {
            Some((Kind::Answer, message)) => codec::read_value(&message).map_err(|error| unreadable(&error)),
            _ => Err(self.failed(Broken::Reset, kind, option.hard_ttl())),
        }
    }

    fn failed(&self, broken: Broken, kind: Kind, timeout: Duration) -> RPCError<C> {
        let action = match kind {
            Kind::Vote | Kind::PreVote => RPCTypes::Vote,
            Kind::Snapshot => RPCTypes::InstallSnapshot,
            Kind::Transfer => RPCTypes::TransferLeader,
            Kind::Append | Kind::Client | Kind::Answer => RPCTypes::AppendEntries,
        };
        match broken {
            Broken::Refused => Unreachable::from_string("connection refused").into(),
            Broken::Reset => NetworkError::from_string("connection reset").into(),
            Broken::Silent => Timeout { action, id: self.id, target: self.target, timeout }.into(),
        }
    }
}

fn unreadable<C: Types>(error: &quorate_grpc::TransportError) -> RPCError<C> {
    NetworkError::new(error).into()
}

impl<C: Types> RaftNetworkV2<C> for Client<C> {
    type SnapshotData = SnapshotFile<C>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        let mut parts = codec::write_append(rpc, usize::MAX).map_err(|error| unreadable(&error))?;
        let part = parts.pop().map(|part| part.bytes).unwrap_or_default();
        let result: StreamAppendResult<C> = self.exchange(Kind::Append, &part, &option).await?;
        Ok(result.into())
    }

    async fn vote(&mut self, rpc: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        // Its own vote, by which it asks for those of others.
        self.watch.granted(self.id, &rpc.vote);
        self.ask(Kind::Vote, &rpc, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.ask(Kind::PreVote, &rpc, &option).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        self.ask(Kind::Transfer, &req, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<C>,
        snapshot: SnapshotOf<C, SnapshotFile<C>>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let piece_bytes = option.snapshot_chunk_size().unwrap_or(1 << 20).max(1);
        let (up, down) = self.net.open(self.id, self.target);
        let up = Open(up);
        let sending = self.send_snapshot(&vote, &snapshot, &up, down, piece_bytes);
        match SimRuntime::select2(sending, cancel).await {
            Select2::First(sent) => sent,
            Select2::Second(closed) => Err(closed.into()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
    {
        let (up, down) = self.net.open(self.id, self.target);
        let answers = Answers {
            client: self,
            ttl: option.hard_ttl(),
            input: Some(input),
            parts: VecDeque::new(),
            sent: VecDeque::new(),
            up: Open(up),
            down,
            is_over: false,
        };
        Box::pin(async move { Ok(Box::pin(answers) as BoxStream<'s, _>) })
    }
}

impl<C: Types> Client<C> {
    async fn send_snapshot(
        &self,
        vote: &Vote<C>,
        snapshot: &SnapshotOf<C, SnapshotFile<C>>,
        up: &Open,
        mut down: PipeReceiver,
        piece_bytes: usize,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let read = |error: std::io::Error| -> StreamingError<C> { NetworkError::new(&error).into() };
        let mut source = self.snapshots.open(&snapshot.snapshot).map_err(read)?;
        let length = source.length();
        let mut content = vec![0; length as usize];
        source.read_at(0, &mut content).map_err(read)?;
        let checksum = source.checksum().unwrap_or_else(|| crc32c::crc32c(&content));
        let head = codec::write_snapshot_head::<C>(vote, &snapshot.meta, length, checksum);
        let head = head.map_err(|error| unreadable(&error))?;
        self.net.send(&up.0, frames::seal(Kind::Snapshot, &head));
        let mut pieces = content.chunks(piece_bytes).zip((0_u64..).step_by(piece_bytes));
        loop {
            // The next piece goes out when the one before has arrived: what was received is told each time.
            let answer = SimRuntime::timeout(SNAPSHOT_STALL, down.recv()).await;
            let broken = |broken| self.failed(broken, Kind::Snapshot, SNAPSHOT_STALL);
            let frame = match answer {
                Err(_) => return Err(broken(Broken::Silent).into()),
                Ok(None) => return Err(broken(Broken::Reset).into()),
                Ok(Some(frame)) => frame.map_err(broken)?,
            };
            let Some((Kind::Answer, message)) = frames::open(&frame) else {
                return Err(broken(Broken::Reset).into());
            };
            match codec::read_snapshot_answer::<C>(&message).map_err(|error| unreadable(&error))? {
                SnapshotAnswer::Done(response) => return Ok(response),
                SnapshotAnswer::Installing => {}
                SnapshotAnswer::Received(_) => {
                    if let Some((piece, offset)) = pieces.next() {
                        let piece = codec::write_snapshot_piece(offset, Bytes::copy_from_slice(piece));
                        self.net.send(&up.0, frames::seal(Kind::Snapshot, &piece));
                    }
                }
            }
        }
    }
}

/// An end of a connection, which closes when it is dropped.
struct Open(Arc<Pipe>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The answers to a stream of append requests; requests go out as the window has room.
struct Answers<'s, C: Types, S> {
    client: &'s Client<C>,
    ttl: Duration,
    input: Option<S>,
    /// What is left of the request that is being sent.
    parts: VecDeque<AppendPart<C>>,
    /// What was sent and not answered.
    sent: VecDeque<AppendPart<C>>,
    up: Open,
    down: PipeReceiver,
    is_over: bool,
}

impl<C: Types, S> Unpin for Answers<'_, C, S> {}

impl<C, S> Answers<'_, C, S>
where
    C: Types,
    S: Stream<Item = AppendEntriesRequest<C>> + Unpin,
{
    /// Sends what there is to send, as far as there is room.
    fn feed(&mut self, cx: &mut Context<'_>) -> Result<(), RPCError<C>> {
        while self.sent.len() < WINDOW_MAX {
            if let Some(mut part) = self.parts.pop_front() {
                let frame = frames::seal(Kind::Append, &part.bytes);
                self.client.net.send(&self.up.0, frame);
                part.bytes = Bytes::new();
                self.sent.push_back(part);
                continue;
            }
            let Some(input) = &mut self.input else { return Ok(()) };
            match Pin::new(input).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => {
                    self.input = None;
                    self.up.0.close();
                }
                Poll::Ready(Some(request)) => {
                    let watch = &self.client.watch;
                    watch.leads(self.client.id, &request.vote);
                    let ids = request.entries.iter().map(|entry| (entry.log_id.clone(), hash_of::<C>(entry)));
                    watch.published(self.client.id, ids);
                    let parts = codec::write_append(request, self.client.net.parts_bytes());
                    self.parts = parts.map_err(|error| unreadable(&error))?.into();
                }
            }
        }
        Ok(())
    }

    /// The answer in a frame; none if it is that to a part which is not the last of its request.
    fn read(&mut self, frame: Result<Bytes, Broken>) -> Result<Option<StreamAppendResult<C>>, RPCError<C>> {
        let failed = |broken| self.client.failed(broken, Kind::Append, self.ttl);
        let frame = frame.map_err(failed)?;
        let Some((Kind::Answer, message)) = frames::open(&frame) else { return Err(failed(Broken::Reset)) };
        let answer: StreamAppendResult<C> =
            codec::read_value(&message).map_err(|error| unreadable(&error))?;
        let part =
            self.sent.pop_front().ok_or_else(|| self.client.failed(Broken::Reset, Kind::Append, self.ttl))?;
        let goes_on = !part.is_final && matches!(&answer, Ok(log_id) if *log_id == part.last_log_id);
        Ok((!goes_on).then_some(answer))
    }
}

impl<C, S> Stream for Answers<'_, C, S>
where
    C: Types,
    S: Stream<Item = AppendEntriesRequest<C>> + Unpin,
{
    type Item = Result<StreamAppendResult<C>, RPCError<C>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.is_over {
                return Poll::Ready(None);
            }
            if let Err(error) = this.feed(cx) {
                this.is_over = true;
                return Poll::Ready(Some(Err(error)));
            }
            let frame = match std::task::ready!(this.down.poll_recv(cx)) {
                Some(frame) => frame,
                None => {
                    this.is_over = true;
                    return Poll::Ready(None);
                }
            };
            match this.read(frame) {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    this.is_over = answer.is_err();
                    return Poll::Ready(Some(Ok(answer)));
                }
                Err(error) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

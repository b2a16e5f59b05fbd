//! The network that the Raft library is given.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use quorate::RaftTypeConfig;
use quorate::base::{BoxFuture, BoxStream};
use quorate::errors::{
    NetworkError, RPCError, ReplicationClosed, StorageError, StreamingError, Timeout, Unreachable,
};
use quorate::network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use quorate::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate::type_config::TypeConfigExt;
use quorate::type_config::alias::{SnapshotOf, VoteOf};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::append::{Cutter, Outbound, Sent, Window};
use crate::backoff;
use crate::codec;
use crate::error::TransportError;
use crate::identity::PeerAddress;
use crate::peer::{LaneKind, Link, Peer, bounded};
use crate::snapshot::SnapshotFiles;
use crate::snapshot_send::{SendError, Transfer};
use crate::transport::Transport;
use crate::wire;

/// Makes a [`GrpcNetwork`] to each node that the Raft library wants to reach. Made by [`Transport::network`].
pub struct GrpcNetworkFactory<C: RaftTypeConfig, F> {
    transport: Transport,
    id: C::NodeId,
    snapshots: Arc<F>,
}

impl<C: RaftTypeConfig, F> GrpcNetworkFactory<C, F> {
    pub(crate) fn new(transport: Transport, id: C::NodeId, snapshots: Arc<F>) -> Self {
        Self { transport, id, snapshots }
    }
}

impl<C, F> RaftNetworkFactory<C> for GrpcNetworkFactory<C, F>
where
    C: RaftTypeConfig,
    C::Node: PeerAddress,
    F: SnapshotFiles,
{
    type Network = GrpcNetwork<C, F>;

    async fn new_client(&mut self, target: C::NodeId, node: &C::Node) -> GrpcNetwork<C, F> {
        GrpcNetwork {
            peer: self.transport.peer::<C>(&target, node),
            transport: self.transport.clone(),
            id: self.id.clone(),
            target,
            snapshots: Arc::clone(&self.snapshots),
        }
    }
}

/// The way to one node. All ways to a node share its connections.
pub struct GrpcNetwork<C: RaftTypeConfig, F> {
    transport: Transport,
    peer: Arc<Peer>,
    id: C::NodeId,
    target: C::NodeId,
    snapshots: Arc<F>,
}

impl<C, F> RaftNetworkV2<C> for GrpcNetwork<C, F>
where
    C: RaftTypeConfig,
    C::Node: PeerAddress,
    F: SnapshotFiles,
{
    type SnapshotData = F::Data;

    /// A heartbeat goes where no long message can hold it up. Of a batch that does not fit into one message, the
    /// part that fits is sent.
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        let lane = if rpc.entries.is_empty() { LaneKind::Control } else { LaneKind::Bulk };
        let sent = self.send_append(rpc, lane, option.hard_ttl()).await;
        sent.map_err(|error| self.rpc_error(RPCTypes::AppendEntries, error, option.hard_ttl()))
    }

    /// One stream that keeps several requests in flight. An answer that is owed must come within the TTL or
    /// [`append_stall_timeout`](crate::TransportOptions::append_stall_timeout), whichever is longer.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
    {
        let stall = option.hard_ttl().max(self.transport.inner.options.append_stall_timeout);
        Box::pin(async move {
            let opened = self.open_stream(input, option.hard_ttl(), stall).await;
            let answers = opened.map_err(|error| self.rpc_error(RPCTypes::AppendEntries, error, stall))?;
            Ok(self.answers(answers))
        })
    }

    async fn vote(&mut self, rpc: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        self.unary(RPCTypes::Vote, &rpc, &option, |mut link, request| async move {
            link.client.vote(request).await
        })
        .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        let send = |mut link: Link, request| async move { link.client.pre_vote(request).await };
        self.unary(RPCTypes::Vote, &rpc, &option, send).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        let send = |mut link: Link, request| async move { link.client.transfer_leader(request).await };
        self.unary(RPCTypes::TransferLeader, &req, &option, send).await
    }

    /// Lives as long as bytes move or the receiver is installing; only a standstill ends it. What the receiver has of
    /// this snapshot already is not sent again.
    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, F::Data>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let signature = snapshot.meta.signature();
        let stall = option.hard_ttl().max(self.transport.inner.options.snapshot_stall_timeout);
        let send = pin!(self.send_snapshot(vote, snapshot, stall, option.snapshot_chunk_size()));
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = send => sent.map_err(|error| match error {
                SendError::Transport(error) => {
                    self.peer.note_failure(&error);
                    self.rpc_error(RPCTypes::InstallSnapshot, error, stall).into()
                }
                SendError::Read(error) => {
                    StorageError::read_snapshot(Some(signature), C::err_from_error(&error)).into()
                }
            }),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let options = &self.transport.inner.options;
        Some(Backoff::new(backoff::delays(options.reconnect_delay_min, options.reconnect_delay_max)))
    }
}

impl<C, F> GrpcNetwork<C, F>
where
    C: RaftTypeConfig,
    C::Node: PeerAddress,
    F: SnapshotFiles,
{
    async fn unary<Q, A, R>(
        &self,
        action: RPCTypes,
        question: &Q,
        option: &RPCOption,
        send: impl FnOnce(Link, tonic::Request<wire::Message>) -> R,
    ) -> Result<A, RPCError<C>>
    where
        Q: Serialize,
        A: DeserializeOwned,
        R: Future<Output = Result<tonic::Response<wire::Message>, tonic::Status>>,
    {
        let ttl = option.hard_ttl();
        let answer = async {
            let request = bounded(write_message("a request", question)?, ttl);
            let answer = self.peer.request(LaneKind::Control, ttl, |link| send(link, request)).await?;
            read_message(&answer)
        };
        answer.await.map_err(|error| self.rpc_error(action, error, ttl))
    }

    async fn send_append(
        &self,
        rpc: AppendEntriesRequest<C>,
        lane: LaneKind,
        ttl: Duration,
    ) -> Result<AppendEntriesResponse<C>, TransportError> {
        let deadline = Instant::now().checked_add(ttl).unwrap_or_else(Instant::now);
        let link = self.peer.link(lane, deadline).await.inspect_err(|error| self.peer.note_failure(error))?;
        let mut cutter = Cutter::new(rpc, link.session.message_size_max);
        let part = cutter.next_part().inspect_err(|error| self.peer.note_failure(error))?;
        let Some(part) = part else { return Ok(AppendEntriesResponse::Success) };
        let request = bounded(part.message, ttl);
        let send = |mut link: Link| async move { link.client.append_entries(request).await };
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = read_message(&self.peer.request(lane, left, send).await?)?;
        Ok(match answer {
            AppendEntriesResponse::Success if !part.is_final => {
                AppendEntriesResponse::PartialSuccess(part.last_log_id)
            }
            answer => answer,
        })
    }

    async fn open_stream<S>(
        &self,
        input: S,
        ttl: Duration,
        stall: Duration,
    ) -> Result<Answers<C>, TransportError>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
    {
        let inner = &self.transport.inner;
        let options = &inner.options;
        let window = Window::new(options.append_in_flight_max, options.append_in_flight_bytes_max);
        let metrics = Arc::clone(&inner.metrics);
        let for_requests = Arc::clone(&window);
        let open = |mut link: Link| async move {
            let size_max = link.session.message_size_max;
            let count = move || metrics.append_requests.increment();
            link.client.stream_append(Outbound::new(input, for_requests, size_max, count)).await
        };
        let inbound = self.peer.request(LaneKind::Bulk, ttl.max(stall), open).await?;
        Ok(Answers { inbound, window, stall })
    }

    /// The answers as the library wants them: one per request, up to the first that is an error.
    fn answers<'s>(
        &'s self,
        answers: Answers<C>,
    ) -> BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>> {
        Box::pin(stream::unfold(Some(answers), move |answers| async move {
            let mut answers = answers?;
            match answers.next().await {
                Ok(None) => None,
                Ok(Some(Ok(log_id))) => Some((Ok(Ok(log_id)), Some(answers))),
                Ok(Some(Err(end))) => Some((Ok(Err(end)), None)),
                Err(error) => {
                    self.peer.note_failure(&error);
                    let error = self.rpc_error(RPCTypes::AppendEntries, error, answers.stall);
                    Some((Err(error), None))
                }
            }
        }))
    }

    async fn send_snapshot(
        &self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, F::Data>,
        stall: Duration,
        chunk_size: Option<usize>,
    ) -> Result<SnapshotResponse<C>, SendError> {
        let inner = &self.transport.inner;
        let piece_max = inner.options.snapshot_chunk_max.min(inner.options.message_size_max);
        let transfer = Transfer {
            inner: Arc::clone(inner),
            peer: Arc::clone(&self.peer),
            files: Arc::clone(&self.snapshots),
            vote: codec::encode("a vote", &vote)?,
            meta: codec::encode("the meta data of a snapshot", &snapshot.meta)?,
            piece_max: chunk_size.unwrap_or(piece_max).clamp(1, piece_max.max(1)),
            stall,
        };
        let answer = transfer.run(snapshot.snapshot).await?;
        Ok(read_message(&answer)?)
    }

    fn rpc_error(&self, action: RPCTypes, error: TransportError, timeout: Duration) -> RPCError<C> {
        match error {
            TransportError::TimedOut(_) => {
                Timeout { action, id: self.id.clone(), target: self.target.clone(), timeout }.into()
            }
            error @ (TransportError::Lost { .. }
            | TransportError::Superseded
            | TransportError::CorruptSnapshot { .. }
            | TransportError::Other { .. }) => NetworkError::new(&error).into(),
            error => Unreachable::new(&error).into(),
        }
    }
}

/// The answers of one append stream.
struct Answers<C: RaftTypeConfig> {
    inbound: tonic::Streaming<wire::Message>,
    window: Arc<Window<Sent<C>>>,
    stall: Duration,
}

impl<C: RaftTypeConfig> Answers<C> {
    /// The answer to the next request, `None` when all requests are answered.
    async fn next(&mut self) -> Result<Option<StreamAppendResult<C>>, TransportError> {
        loop {
            let message = tokio::select! {
                biased;
                message = self.inbound.message() => {
                    message.map_err(|status| self.window.take_error().unwrap_or_else(|| TransportError::from_status(&status)))?
                }
                () = self.window.stalled(self.stall) => return Err(TransportError::TimedOut(self.stall)),
            };
            let Some(message) = message else {
                return match self.window.take_error() {
                    Some(error) => Err(error),
                    None if self.window.is_empty() => Ok(None),
                    None => {
                        Err(TransportError::Lost { message: "the stream ended before its answers".into() })
                    }
                };
            };
            let result: StreamAppendResult<C> = read_message(&message)?;
            let Some(sent) = self.window.pop() else {
                return Err(TransportError::Malformed { what: "an answer that was not asked for".into() });
            };
            match result {
                Ok(log_id) if !sent.is_final && log_id == sent.last_log_id => {}
                result => return Ok(Some(result)),
            }
        }
    }
}

/// A value of the library as a message.
pub(crate) fn write_message<T: Serialize>(
    what: &'static str,
    value: &T,
) -> Result<wire::Message, TransportError> {
    let payload = codec::encode(what, value)?;
    Ok(wire::Message { encoding: codec::ENCODING, group: 0, payload })
}

pub(crate) fn read_message<T: DeserializeOwned>(message: &wire::Message) -> Result<T, TransportError> {
    codec::check_encoding(message.encoding)?;
    codec::check_group(message.group)?;
    codec::decode("a message", &message.payload)
}

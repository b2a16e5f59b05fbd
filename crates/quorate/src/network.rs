//! What an application brings to reach other nodes.

use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;

use crate::base::BoxFuture;
use crate::base::BoxIterator;
use crate::base::BoxStream;
use crate::base::OptionalSend;
use crate::base::OptionalSync;
use crate::entry::RaftEntry;
use crate::errors::RPCError;
use crate::errors::ReplicationClosed;
use crate::errors::StreamingError;
use crate::errors::Unreachable;
use crate::rpc::AppendEntriesRequest;
use crate::rpc::AppendEntriesResponse;
use crate::rpc::SnapshotResponse;
use crate::rpc::StreamAppendResult;
use crate::rpc::TransferLeaderRequest;
use crate::rpc::TransferLeaderResponse;
use crate::rpc::VoteRequest;
use crate::rpc::VoteResponse;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::SnapshotOf;
use crate::type_config::alias::VoteOf;

#[expect(deprecated, reason = "kept for those who still use it")]
pub use crate::deprecated::RaftNetwork;

/// Makes clients to other nodes.
///
/// [The guide](crate::docs::network_contract) says what a network is relied upon for, and which error to return when;
/// [`testing::network`](crate::testing::network) checks it.
pub trait RaftNetworkFactory<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// A client to one node.
    type Network: NetBackoff<C> + NetStreamAppend<C> + NetVote<C> + NetSnapshot<C> + NetTransferLeader<C>;

    /// A client to the node `target`, of which the membership knows `node`. It connects when it is first used, not here: this
    /// cannot fail. It must reach `target` and nobody else.
    fn new_client(
        &mut self,
        target: C::NodeId,
        node: &C::Node,
    ) -> impl Future<Output = Self::Network> + OptionalSend;

    /// A client for heartbeats, which must not wait behind large messages. By default one like any other.
    fn new_heartbeat_client(
        &mut self,
        target: C::NodeId,
        node: &C::Node,
    ) -> impl Future<Output = Self::Network> + OptionalSend {
        self.new_client(target, node)
    }

    /// A client for one snapshot. By default one like any other.
    fn new_snapshot_client(
        &mut self,
        target: C::NodeId,
        node: &C::Node,
    ) -> impl Future<Output = Self::Network> + OptionalSend {
        self.new_client(target, node)
    }
}

/// A client to one node: all of the `Net` traits at once.
///
/// Calls may fail in any way and be repeated; their futures may be dropped at any point. Return
/// [`Unreachable`] if to try again at once is of no use, and [`NetworkError`](crate::errors::NetworkError) if it is.
pub trait RaftNetworkV2<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// The content of a snapshot.
    type SnapshotData: OptionalSend + 'static;

    /// Sends entries or a heartbeat; the peer's [`Raft::append_entries`](crate::Raft::append_entries) answers.
    fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> impl Future<Output = Result<AppendEntriesResponse<C>, RPCError<C>>> + OptionalSend;

    /// Asks for a vote; the peer's [`Raft::vote`](crate::Raft::vote) answers.
    fn vote(
        &mut self,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> impl Future<Output = Result<VoteResponse<C>, RPCError<C>>> + OptionalSend;

    /// Sends a snapshot to its end, unless `cancel` ends first; the peer's
    /// [`Raft::install_full_snapshot`](crate::Raft::install_full_snapshot) answers. It may take as long as it takes.
    fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, Self::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> impl Future<Output = Result<SnapshotResponse<C>, StreamingError<C>>> + OptionalSend;

    /// Sends append requests one after the other, and answers in the same order.
    ///
    /// The answers end with the requests or after the first error. By default each request waits for the answer to
    /// the one before.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
    {
        stream_append_sequential(self, input, option)
    }

    /// Asks whether a vote would be granted; the peer's [`Raft::pre_vote`](crate::Raft::pre_vote) answers. By default it
    /// would, without asking: write this if you turn [`Config::enable_pre_vote`](crate::Config::enable_pre_vote) on.
    fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        _option: RPCOption,
    ) -> impl Future<Output = Result<VoteResponse<C>, RPCError<C>>> + OptionalSend {
        async move { Ok(grant(rpc)) }
    }

    /// Asks the node to take over; the peer's [`Raft::handle_transfer_leader`](crate::Raft::handle_transfer_leader) answers.
    /// By default it is unreachable for that.
    fn transfer_leader(
        &mut self,
        _req: TransferLeaderRequest<C>,
        _option: RPCOption,
    ) -> impl Future<Output = Result<TransferLeaderResponse<C>, RPCError<C>>> + OptionalSend {
        async { Err(Unreachable::from_string("transfer_leader not implemented").into()) }
    }

    /// How long to wait between attempts when the node is unreachable; none for what the config says.
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

/// What a node answers that would grant any vote.
fn grant<C: RaftTypeConfig>(request: VoteRequest<C>) -> VoteResponse<C> {
    VoteResponse { vote: request.vote, vote_granted: true, last_log_id: None }
}

/// Sends entries. See [`RaftNetworkV2::append_entries`].
pub trait NetAppend<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// See [`RaftNetworkV2::append_entries`].
    fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> impl Future<Output = Result<AppendEntriesResponse<C>, RPCError<C>>> + OptionalSend;
}

impl<C: RaftTypeConfig, T: RaftNetworkV2<C> + ?Sized> NetAppend<C> for T {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        RaftNetworkV2::append_entries(self, rpc, option).await
    }
}

/// Sends a stream of entries. See [`RaftNetworkV2::stream_append`].
pub trait NetStreamAppend<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// See [`RaftNetworkV2::stream_append`].
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static;
}

impl<C: RaftTypeConfig, T: RaftNetworkV2<C> + ?Sized> NetStreamAppend<C> for T {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
    {
        RaftNetworkV2::stream_append(self, input, option)
    }
}

/// Asks for votes. See [`RaftNetworkV2::vote`].
pub trait NetVote<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// See [`RaftNetworkV2::vote`].
    fn vote(
        &mut self,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> impl Future<Output = Result<VoteResponse<C>, RPCError<C>>> + OptionalSend;

    /// See [`RaftNetworkV2::pre_vote`].
    fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        _option: RPCOption,
    ) -> impl Future<Output = Result<VoteResponse<C>, RPCError<C>>> + OptionalSend {
        async move { Ok(grant(rpc)) }
    }
}

impl<C: RaftTypeConfig, T: RaftNetworkV2<C> + ?Sized> NetVote<C> for T {
    async fn vote(&mut self, rpc: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        RaftNetworkV2::vote(self, rpc, option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        RaftNetworkV2::pre_vote(self, rpc, option).await
    }
}

/// Sends snapshots. See [`RaftNetworkV2::full_snapshot`].
pub trait NetSnapshot<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// The content of a snapshot.
    type SnapshotData: OptionalSend + 'static;

    /// See [`RaftNetworkV2::full_snapshot`].
    fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, Self::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> impl Future<Output = Result<SnapshotResponse<C>, StreamingError<C>>> + OptionalSend;
}

impl<C: RaftTypeConfig, T: RaftNetworkV2<C> + ?Sized> NetSnapshot<C> for T {
    type SnapshotData = <T as RaftNetworkV2<C>>::SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, Self::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        RaftNetworkV2::full_snapshot(self, vote, snapshot, cancel, option).await
    }
}

/// Hands leadership over. See [`RaftNetworkV2::transfer_leader`].
pub trait NetTransferLeader<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// See [`RaftNetworkV2::transfer_leader`].
    fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> impl Future<Output = Result<TransferLeaderResponse<C>, RPCError<C>>> + OptionalSend;
}

impl<C: RaftTypeConfig, T: RaftNetworkV2<C> + ?Sized> NetTransferLeader<C> for T {
    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        RaftNetworkV2::transfer_leader(self, req, option).await
    }
}

/// Spaces attempts. See [`RaftNetworkV2::backoff`].
pub trait NetBackoff<C: RaftTypeConfig>: OptionalSend + OptionalSync + 'static {
    /// See [`RaftNetworkV2::backoff`].
    fn backoff(&self) -> Option<Backoff>;
}

impl<C: RaftTypeConfig, T: RaftNetworkV2<C> + ?Sized> NetBackoff<C> for T {
    fn backoff(&self) -> Option<Backoff> {
        RaftNetworkV2::backoff(self)
    }
}

/// A stream of append requests over single calls: each waits for the answer to the one before.
///
/// The answers end with the requests, after an error of the network, or after an answer that is not the whole
/// request taken.
pub fn stream_append_sequential<'s, C, N, S>(
    network: &'s mut N,
    input: S,
    option: RPCOption,
) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>>, RPCError<C>>>
where
    C: RaftTypeConfig,
    N: NetAppend<C> + ?Sized,
    S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
{
    let answers = stream::unfold(Some((network, input)), move |open| {
        let option = option.clone();
        async move {
            let (network, mut input) = open?;
            let request = input.next().await?;
            let prev = request.prev_log_id.clone();
            let last = request.entries.last().map(RaftEntry::log_id).or_else(|| prev.clone());
            let answer = network.append_entries(request, option).await;
            let result = answer.map(|answer| answer.into_stream_result(prev, last.clone()));
            let whole = matches!(&result, Ok(Ok(taken)) if *taken == last);
            Some((result, whole.then_some((network, input))))
        }
    });
    let answers: BoxStream<'s, _> = Box::pin(answers);
    Box::pin(async move { Ok(answers) })
}

/// What a call may take.
#[derive(Debug, Clone)]
pub struct RPCOption {
    hard_ttl: Duration,
    snapshot_chunk_size: Option<usize>,
}

impl RPCOption {
    /// It may take `hard_ttl`.
    pub fn new(hard_ttl: Duration) -> Self {
        Self { hard_ttl, snapshot_chunk_size: None }
    }

    /// With the size of the chunks that a snapshot is sent in, in bytes.
    pub(crate) fn with_snapshot_chunk_size(mut self, bytes: usize) -> Self {
        self.snapshot_chunk_size = Some(bytes);
        self
    }

    /// After this time the caller has given up.
    pub fn hard_ttl(&self) -> Duration {
        self.hard_ttl
    }

    /// After this time, three quarters of the other, an attempt should be given up, so that an answer still helps.
    pub fn soft_ttl(&self) -> Duration {
        self.hard_ttl / 4 * 3
    }

    /// The size of the chunks that a snapshot should be sent in, in bytes.
    pub fn snapshot_chunk_size(&self) -> Option<usize> {
        self.snapshot_chunk_size
    }
}

/// Delays between attempts, the shortest first.
pub struct Backoff {
    delays: BoxIterator<'static, Duration>,
}

impl Backoff {
    /// These delays. When they are exhausted, half a second is used.
    pub fn new(delays: impl Iterator<Item = Duration> + OptionalSend + 'static) -> Self {
        Self { delays: Box::new(delays) }
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.delays.next()
    }
}

impl Debug for Backoff {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff").finish_non_exhaustive()
    }
}

/// The calls between nodes, as errors name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum RPCTypes {
    /// Asking for a vote.
    Vote,
    /// Sending entries.
    AppendEntries,
    /// Sending a snapshot.
    InstallSnapshot,
    /// Handing leadership over.
    TransferLeader,
}

impl Display for RPCTypes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(self, f)
    }
}

/// `RaftNetworkV2` by its former path.
pub mod v2 {
    pub use super::RaftNetworkV2;
}

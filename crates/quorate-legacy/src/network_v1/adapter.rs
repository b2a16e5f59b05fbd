//! A network of version 1 as one of version 2.

use std::fmt;
use std::fmt::Debug;
use std::fmt::Formatter;
use std::marker::PhantomData;

use openraft::OptionalSend;
use openraft::RaftNetworkV2;
use openraft::RaftTypeConfig;
use openraft::async_runtime::Select2;
use openraft::errors::RPCError;
use openraft::errors::ReplicationClosed;
use openraft::errors::StreamingError;
use openraft::errors::decompose::DecomposeResult;
use openraft::network::Backoff;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::SnapshotResponse;
use openraft::raft::TransferLeaderRequest;
use openraft::raft::TransferLeaderResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::VoteOf;
use tokio::io::AsyncRead;
use tokio::io::AsyncSeek;
use tokio::io::AsyncWrite;

use super::RaftNetwork;
use super::sender::Transfer;

/// A network of version 1 as one of version 2, which sends snapshots of the type `SD` in chunks.
///
/// Version 1 has no pre-vote: a node is asked for its vote at once. A node that answers that it has stopped counts as
/// unreachable.
pub struct Adapter<C, N, SD> {
    inner: N,
    types: PhantomData<fn(C) -> SD>,
}

impl<C, N, SD> Adapter<C, N, SD>
where
    C: RaftTypeConfig,
    N: RaftNetwork<C>,
    SD: OptionalSend + 'static,
{
    /// Speaks by `network`.
    pub fn new(network: N) -> Self {
        Self { inner: network, types: PhantomData }
    }

    /// The network of version 1.
    pub fn inner(&self) -> &N {
        &self.inner
    }

    /// The network of version 1.
    pub fn inner_mut(&mut self) -> &mut N {
        &mut self.inner
    }

    /// The network of version 1.
    pub fn into_inner(self) -> N {
        self.inner
    }
}

impl<C, N: Debug, SD> Debug for Adapter<C, N, SD> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Adapter").field(&self.inner).finish()
    }
}

impl<C, N, SD> RaftNetworkV2<C> for Adapter<C, N, SD>
where
    C: RaftTypeConfig,
    N: RaftNetwork<C>,
    SD: AsyncRead + AsyncWrite + AsyncSeek + Unpin + OptionalSend + 'static,
{
    type SnapshotData = SD;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        self.inner.append_entries(rpc, option).await.decompose_infallible()
    }

    async fn vote(&mut self, rpc: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        self.inner.vote(rpc, option).await.decompose_infallible()
    }

    /// Sends the snapshot chunk by chunk. Cancel safe: the receiver forgets an unfinished transfer.
    ///
    /// A lost chunk is sent again, by and by with the pauses of [`RaftNetwork::backoff`]; after a number of failures in
    /// a row, or too many fresh starts, the last error is returned.
    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, SD>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let transfer = Transfer::new(&mut self.inner, vote, snapshot, option);
        match C::select2(cancel, transfer.run()).await {
            Select2::First(closed) => Err(StreamingError::Closed(closed)),
            Select2::Second(answer) => answer,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        self.inner.transfer_leader(req, option).await
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(self.inner.backoff())
    }
}

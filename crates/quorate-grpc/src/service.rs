//! What the transport hands requests to.

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use quorate::RaftTypeConfig;
use quorate::errors::{Fatal, RaftError};
use quorate::raft::{
    AppendEntriesRequest, AppendEntriesResponse, Raft, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate::storage::RaftStateMachine;
use quorate::type_config::alias::{SnapshotOf, VoteOf};

use crate::error::CallRefusal;
use crate::identity::PeerIdentity;

/// The Raft that peers talk to: the protocol handlers of the library's `Raft`, or a stand-in in a test.
///
/// A request that its sender gives up is dropped, so each future may be dropped at any of its waits.
pub trait PeerService<C: RaftTypeConfig>: Send + Sync + 'static {
    /// The content of a snapshot.
    type SnapshotData: Send + 'static;

    /// Takes entries, or a heartbeat.
    fn append_entries(
        &self,
        rpc: AppendEntriesRequest<C>,
    ) -> impl Future<Output = Result<AppendEntriesResponse<C>, Fatal<C>>> + Send;

    /// Takes a stream of entries, and answers in the order of the requests, the last answer being the first error.
    fn stream_append<S>(
        &self,
        input: S,
    ) -> impl Stream<Item = Result<StreamAppendResult<C>, Fatal<C>>> + Send + 'static
    where
        S: Stream<Item = AppendEntriesRequest<C>> + Send + 'static;

    /// Grants a vote or not.
    fn vote(&self, rpc: VoteRequest<C>) -> impl Future<Output = Result<VoteResponse<C>, Fatal<C>>> + Send;

    /// Says whether a vote would be granted.
    fn pre_vote(&self, rpc: VoteRequest<C>)
    -> impl Future<Output = Result<VoteResponse<C>, Fatal<C>>> + Send;

    /// Takes the place of the leader, or makes way for another.
    fn handle_transfer_leader(
        &self,
        req: TransferLeaderRequest<C>,
    ) -> impl Future<Output = Result<TransferLeaderResponse<C>, Fatal<C>>> + Send;

    /// Puts a snapshot in place of the state machine. Runs to its end even if the sender goes away.
    fn install_full_snapshot(
        &self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, Self::SnapshotData>,
    ) -> impl Future<Output = Result<SnapshotResponse<C>, Fatal<C>>> + Send;
}

impl<C, SM> PeerService<C> for Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    type SnapshotData = SM::SnapshotData;

    async fn append_entries(
        &self,
        rpc: AppendEntriesRequest<C>,
    ) -> Result<AppendEntriesResponse<C>, Fatal<C>> {
        Raft::append_entries(self, rpc).await.map_err(RaftError::unwrap_fatal)
    }

    fn stream_append<S>(
        &self,
        input: S,
    ) -> impl Stream<Item = Result<StreamAppendResult<C>, Fatal<C>>> + Send + 'static
    where
        S: Stream<Item = AppendEntriesRequest<C>> + Send + 'static,
    {
        Raft::stream_append(self, input)
    }

    async fn vote(&self, rpc: VoteRequest<C>) -> Result<VoteResponse<C>, Fatal<C>> {
        Raft::vote(self, rpc).await.map_err(RaftError::unwrap_fatal)
    }

    async fn pre_vote(&self, rpc: VoteRequest<C>) -> Result<VoteResponse<C>, Fatal<C>> {
        Raft::pre_vote(self, rpc).await.map_err(RaftError::unwrap_fatal)
    }

    async fn handle_transfer_leader(
        &self,
        req: TransferLeaderRequest<C>,
    ) -> Result<TransferLeaderResponse<C>, Fatal<C>> {
        Raft::handle_transfer_leader(self, req).await
    }

    async fn install_full_snapshot(
        &self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, SM::SnapshotData>,
    ) -> Result<SnapshotResponse<C>, Fatal<C>> {
        Raft::install_full_snapshot(self, vote, snapshot).await
    }
}

/// What is known of whoever makes a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is, as it says itself.
    pub peer: PeerIdentity,
    /// Whether the connection may carry Raft messages: the caller belongs to this cluster and has not been removed.
    pub is_member: bool,
}

/// The application's side of calls, such as forwarded proposals or a request to join.
pub trait CallHandler: Send + Sync + 'static {
    /// Answers a call. The future is dropped when the caller's time is over.
    ///
    /// # Errors
    /// A refusal says that nothing was done. The application's own errors belong into the answer.
    fn call(&self, caller: Caller, kind: u32, body: Bytes) -> BoxFuture<'_, Result<Bytes, CallRefusal>>;
}

/// Takes no calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCalls;

impl CallHandler for NoCalls {
    fn call(&self, _caller: Caller, kind: u32, _body: Bytes) -> BoxFuture<'_, Result<Bytes, CallRefusal>> {
        Box::pin(std::future::ready(Err(CallRefusal::UnknownKind { kind })))
    }
}

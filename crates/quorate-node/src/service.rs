//! The Raft library as the transport hands requests to it.

use futures_util::Stream;
use quorate::errors::{Fatal, RaftError};
use quorate::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate_grpc::PeerService;

use crate::config::{NodeConfig, Raft, SnapshotOf, Vote};
use crate::snapshots::SnapshotFile;
use crate::state_machine::StateMachine;

/// The protocol doors of the library.
pub(crate) struct RaftDoors<S: StateMachine>(pub(crate) Raft<S>);

impl<S: StateMachine> PeerService<NodeConfig> for RaftDoors<S> {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &self,
        rpc: AppendEntriesRequest<NodeConfig>,
    ) -> Result<AppendEntriesResponse<NodeConfig>, Fatal<NodeConfig>> {
        self.0.append_entries(rpc).await.map_err(RaftError::unwrap_fatal)
    }

    fn stream_append<I>(
        &self,
        input: I,
    ) -> impl Stream<Item = Result<StreamAppendResult<NodeConfig>, Fatal<NodeConfig>>> + Send + 'static
    where
        I: Stream<Item = AppendEntriesRequest<NodeConfig>> + Send + 'static,
    {
        self.0.stream_append(input)
    }

    async fn vote(
        &self,
        rpc: VoteRequest<NodeConfig>,
    ) -> Result<VoteResponse<NodeConfig>, Fatal<NodeConfig>> {
        self.0.vote(rpc).await.map_err(RaftError::unwrap_fatal)
    }

    async fn pre_vote(
        &self,
        rpc: VoteRequest<NodeConfig>,
    ) -> Result<VoteResponse<NodeConfig>, Fatal<NodeConfig>> {
        self.0.pre_vote(rpc).await.map_err(RaftError::unwrap_fatal)
    }

    async fn handle_transfer_leader(
        &self,
        req: TransferLeaderRequest<NodeConfig>,
    ) -> Result<TransferLeaderResponse<NodeConfig>, Fatal<NodeConfig>> {
        self.0.handle_transfer_leader(req).await
    }

    async fn install_full_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<SnapshotFile>,
    ) -> Result<SnapshotResponse<NodeConfig>, Fatal<NodeConfig>> {
        self.0.install_full_snapshot(vote, snapshot).await
    }
}

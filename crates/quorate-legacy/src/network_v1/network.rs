//! What an application brings to reach another node, in version 1.

use std::iter;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::OptionalSync;
use openraft::RaftTypeConfig;
use openraft::errors::RPCError;
use openraft::errors::RaftError;
use openraft::errors::Unreachable;
use openraft::network::Backoff;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::TransferLeaderRequest;
use openraft::raft::TransferLeaderResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;

use super::Adapter;
use super::InstallSnapshotError;
use super::InstallSnapshotRequest;
use super::InstallSnapshotResponse;

/// Between attempts to reach a node, unless the network says otherwise.
const BACKOFF_DEFAULT: Duration = Duration::from_millis(200);

/// A client to one node.
pub trait RaftNetwork<C>: OptionalSend + OptionalSync + 'static
where
    C: RaftTypeConfig,
{
    /// Sends entries or a heartbeat.
    fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> impl Future<Output = Result<AppendEntriesResponse<C>, RPCError<C, RaftError<C>>>> + OptionalSend;

    /// Sends a chunk of a snapshot.
    #[deprecated(
        note = "send whole snapshots: implement `RaftNetworkV2::full_snapshot` instead of this trait"
    )]
    fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<C>,
        option: RPCOption,
    ) -> impl Future<
        Output = Result<InstallSnapshotResponse<C>, RPCError<C, RaftError<C, InstallSnapshotError>>>,
    > + OptionalSend;

    /// Asks for a vote.
    fn vote(
        &mut self,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> impl Future<Output = Result<VoteResponse<C>, RPCError<C, RaftError<C>>>> + OptionalSend;

    /// Asks the node to take over. By default it cannot be asked.
    fn transfer_leader(
        &mut self,
        _req: TransferLeaderRequest<C>,
        _option: RPCOption,
    ) -> impl Future<Output = Result<TransferLeaderResponse<C>, RPCError<C>>> + OptionalSend {
        async { Err(Unreachable::from_string("transfer_leader not implemented").into()) }
    }

    /// How long to wait between attempts when the node is unreachable. By default 200 ms each time.
    fn backoff(&self) -> Backoff {
        Backoff::new(iter::repeat(BACKOFF_DEFAULT))
    }

    /// The same as a network of version 2, which sends snapshots of the type `SD`.
    fn into_v2<SD>(self) -> Adapter<C, Self, SD>
    where
        Self: Sized,
        SD: OptionalSend + 'static,
    {
        Adapter::new(self)
    }
}

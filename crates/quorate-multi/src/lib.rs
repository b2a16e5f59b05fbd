//! Many groups over few connections.
//!
//! A process that keeps nodes of many groups needs no connection of each group's own: calls of all groups to one
//! process can share one, if each says which group it is for. The application brings a [`GroupRouter`], which knows the
//! connections and takes a group with each call; [`GroupNetworkAdapter`] ties it to one target and one group, and is
//! then a network like any other to the [`Raft`](openraft::Raft) of that group. The groups know nothing of each other.
//!
//! What makes the adapters is the application's
//! [`RaftNetworkFactory`](openraft::RaftNetworkFactory); [`GroupNetworkFactory`] can carry what that needs.
#![forbid(unsafe_code)]

use std::fmt;
use std::fmt::Debug;
use std::fmt::Formatter;
use std::marker::PhantomData;

use openraft::OptionalSend;
use openraft::OptionalSync;
use openraft::RaftNetworkV2;
use openraft::RaftTypeConfig;
use openraft::errors::RPCError;
use openraft::errors::ReplicationClosed;
use openraft::errors::StreamingError;
use openraft::errors::Unreachable;
use openraft::network::Backoff;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::SnapshotResponse;
use openraft::raft::TransferLeaderRequest;
use openraft::raft::TransferLeaderResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::VoteOf;

/// Sends a call to a node of a group.
///
/// Calls of several groups are under way at a time, and those of one group too. A call that takes long, such as a
/// snapshot, must not hold up those of other groups: what carries them has to interleave them.
pub trait GroupRouter<C, G>: Clone + OptionalSend + OptionalSync + 'static
where
    C: RaftTypeConfig,
{
    /// The content of a snapshot.
    type SnapshotData: OptionalSend + 'static;

    /// Sends entries or a heartbeat.
    fn append_entries(
        &self,
        target: C::NodeId,
        group_id: G,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> impl Future<Output = Result<AppendEntriesResponse<C>, RPCError<C>>> + OptionalSend;

    /// Asks for a vote.
    fn vote(
        &self,
        target: C::NodeId,
        group_id: G,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> impl Future<Output = Result<VoteResponse<C>, RPCError<C>>> + OptionalSend;

    /// Asks whether a vote would be granted.
    fn pre_vote(
        &self,
        target: C::NodeId,
        group_id: G,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> impl Future<Output = Result<VoteResponse<C>, RPCError<C>>> + OptionalSend;

    /// Sends a snapshot to its end, unless `cancel` ends first.
    fn full_snapshot(
        &self,
        target: C::NodeId,
        group_id: G,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, Self::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> impl Future<Output = Result<SnapshotResponse<C>, StreamingError<C>>> + OptionalSend;

    /// Asks the node to take over. By default it cannot be asked.
    fn transfer_leader(
        &self,
        _target: C::NodeId,
        _group_id: G,
        _req: TransferLeaderRequest<C>,
        _option: RPCOption,
    ) -> impl Future<Output = Result<TransferLeaderResponse<C>, RPCError<C>>> + OptionalSend {
        async { Err(Unreachable::from_string("transfer_leader not implemented").into()) }
    }

    /// How long to wait between attempts when a node is unreachable; none for what the config says.
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

/// A client to one node of one group, over a router that all groups share.
pub struct GroupNetworkAdapter<C, G, N>
where
    C: RaftTypeConfig,
    N: GroupRouter<C, G>,
{
    router: N,
    target: C::NodeId,
    group_id: G,
    config: PhantomData<C>,
}

impl<C, G, N> GroupNetworkAdapter<C, G, N>
where
    C: RaftTypeConfig,
    N: GroupRouter<C, G>,
{
    /// To the node `target` of the group `group_id`, by `router`.
    pub fn new(router: N, target: C::NodeId, group_id: G) -> Self {
        Self { router, target, group_id, config: PhantomData }
    }

    /// The node.
    pub fn target(&self) -> &C::NodeId {
        &self.target
    }

    /// The group.
    pub fn group_id(&self) -> &G {
        &self.group_id
    }
}

impl<C, G, N> Clone for GroupNetworkAdapter<C, G, N>
where
    C: RaftTypeConfig,
    G: Clone,
    N: GroupRouter<C, G>,
{
    fn clone(&self) -> Self {
        Self::new(self.router.clone(), self.target.clone(), self.group_id.clone())
    }
}

impl<C, G, N> Debug for GroupNetworkAdapter<C, G, N>
where
    C: RaftTypeConfig,
    G: Debug,
    N: GroupRouter<C, G>,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupNetworkAdapter")
            .field("target", &self.target)
            .field("group_id", &self.group_id)
            .finish_non_exhaustive()
    }
}

impl<C, G, N> RaftNetworkV2<C> for GroupNetworkAdapter<C, G, N>
where
    C: RaftTypeConfig,
    G: Clone + OptionalSend + OptionalSync + 'static,
    N: GroupRouter<C, G>,
{
    type SnapshotData = N::SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        self.router.append_entries(self.target.clone(), self.group_id.clone(), rpc, option).await
    }

    async fn vote(&mut self, rpc: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        self.router.vote(self.target.clone(), self.group_id.clone(), rpc, option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.router.pre_vote(self.target.clone(), self.group_id.clone(), rpc, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, N::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let (target, group_id) = (self.target.clone(), self.group_id.clone());
        self.router.full_snapshot(target, group_id, vote, snapshot, cancel, option).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        self.router.transfer_leader(self.target.clone(), self.group_id.clone(), req, option).await
    }

    fn backoff(&self) -> Option<Backoff> {
        self.router.backoff()
    }
}

/// What a network factory of one group can be made of: what all groups share, and the group.
///
/// It is no [`RaftNetworkFactory`](openraft::RaftNetworkFactory) itself: how a node's address becomes a target is the
/// application's to say, which implements it for a type of its own around this.
#[derive(Debug, Clone)]
pub struct GroupNetworkFactory<F, G> {
    /// What all groups share, such as the router.
    pub factory: F,
    /// The group.
    pub group_id: G,
}

impl<F, G> GroupNetworkFactory<F, G> {
    /// Of the group `group_id`.
    pub fn new(factory: F, group_id: G) -> Self {
        Self { factory, group_id }
    }
}

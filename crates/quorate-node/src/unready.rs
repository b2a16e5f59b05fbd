//! Stands in for the handle of the library until that is there.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
use quorate::errors::*;
use quorate::membership::IntoNodes;
use quorate::metrics::*;
use quorate::network::*;
use quorate::rpc::*;
use quorate::storage::*;
use quorate::type_config::alias::*;
use quorate::*;
use quorate::{LinearizerOption, Precondition};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
pub struct Raft<C: RaftTypeConfig, SM>(PhantomData<fn() -> (C, SM)>);
impl<C: RaftTypeConfig, SM> Clone for Raft<C, SM> {
    fn clone(&self) -> Self {
        Raft(PhantomData)
    }
}
pub struct Trigger<C>(PhantomData<C>);
impl<C: RaftTypeConfig> Trigger<C> {
    pub async fn snapshot(&self) -> Result<(), Fatal<C>> {
        unreachable_yet()
    }
    pub async fn transfer_leader(&self, _: C::NodeId) -> Result<(), Fatal<C>> {
        unreachable_yet()
    }
}
impl<C: RaftTypeConfig, SM: RaftStateMachine<C>> Raft<C, SM> {
    pub async fn new<LS: RaftLogStorage<C>, N: RaftNetworkFactory<C>>(
        _: C::NodeId,
        _: Arc<Config>,
        _: N,
        _: LS,
        _: SM,
    ) -> Result<Self, Fatal<C>>
    where
        N::Network: NetSnapshot<C, SnapshotData = SM::SnapshotData>,
    {
        Err(Fatal::Stopped)
    }
    pub async fn client_write(
        &self,
        _: C::D,
    ) -> Result<ClientWriteResponse<C>, RaftError<C, ClientWriteError<C>>> {
        unreachable_yet()
    }
    pub async fn get_read_log_id(
        &self,
        _: impl Into<LinearizerOption>,
    ) -> Result<(ReadLogId<C>, Option<LogIdOf<C>>), RaftError<C, LinearizableReadError<C>>> {
        unreachable_yet()
    }
    pub fn is_leader(&self) -> bool {
        false
    }
    pub fn metrics(&self) -> WatchReceiverOf<C, RaftMetrics<C>> {
        unreachable_yet()
    }
    pub fn server_metrics(&self) -> WatchReceiverOf<C, RaftServerMetrics<C>> {
        unreachable_yet()
    }
    pub fn wait(&self, _: Option<Duration>) -> Wait<C> {
        unreachable_yet()
    }
    pub fn trigger(&self) -> Trigger<C> {
        Trigger(PhantomData)
    }
    pub async fn initialize<T: IntoNodes<C::NodeId, C::Node>>(
        &self,
        _: T,
    ) -> Result<(), RaftError<C, InitializeError<C>>> {
        unreachable_yet()
    }
    pub async fn change_membership_if(
        &self,
        _: impl Into<ChangeMembers<C::NodeId, C::Node>>,
        _: bool,
        _: impl IntoIterator<Item = Precondition<C>>,
    ) -> Result<ClientWriteResponse<C>, RaftError<C, ClientWriteError<C>>> {
        unreachable_yet()
    }
    pub async fn shutdown(&self) -> Result<(), JoinErrorOf<C>> {
        unreachable_yet()
    }
}
pub struct ReadLogId<C>(PhantomData<C>);
impl<C> ReadLogId<C> {
    pub fn index(&self) -> u64 {
        0
    }
}
impl<C: RaftTypeConfig, SM: RaftStateMachine<C>> Raft<C, SM> {}
fn unreachable_yet<T>() -> T {
    loop {
        std::thread::park();
    }
}

//! Nodes of one thread reach each other by function calls; what they say is shared, not copied.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use openraft::RaftNetworkFactory;
use openraft::RaftNetworkV2;
use openraft::errors::RPCError;
use openraft::errors::ReplicationClosed;
use openraft::errors::StreamingError;
use openraft::errors::Unreachable;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::SnapshotResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::VoteOf;

use crate::NodeId;
use crate::Raft;
use crate::TypeConfig;
use crate::store::Map;

/// Reaches every node of this thread.
#[derive(Clone, Default)]
pub struct Router {
    nodes: Rc<RefCell<BTreeMap<NodeId, Raft>>>,
}

impl Router {
    /// From now on `node` is reached as `id`.
    pub fn connect(&self, id: NodeId, node: Raft) {
        self.nodes.borrow_mut().insert(id, node);
    }

    /// From now on nobody reaches `id`.
    pub fn disconnect(&self, id: NodeId) {
        self.nodes.borrow_mut().remove(&id);
    }
}

impl RaftNetworkFactory<TypeConfig> for Router {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, _node: &()) -> Peer {
        Peer { router: self.clone(), target }
    }
}

/// A client to one node.
pub struct Peer {
    router: Router,
    target: NodeId,
}

impl Peer {
    fn node(&self) -> Result<Raft, Unreachable<TypeConfig>> {
        let node = self.router.nodes.borrow().get(&self.target).cloned();
        node.ok_or_else(|| Unreachable::from_string(format!("no node {}", self.target)))
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Map;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.node()?.append_entries(rpc).await.map_err(|error| Unreachable::new(&error))?)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.node()?.vote(rpc).await.map_err(|error| Unreachable::new(&error))?)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.node()?.pre_vote(rpc).await.map_err(|error| Unreachable::new(&error))?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Map>,
        _cancel: impl Future<Output = ReplicationClosed> + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let answer = self.node()?.install_full_snapshot(vote, snapshot).await;
        Ok(answer.map_err(|error| Unreachable::new(&error))?)
    }
}

//! How nodes reach each other: here by function calls, in earnest by whatever carries requests and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use quorate::network::RPCOption;
use quorate::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate::type_config::alias::{SnapshotOf, VoteOf};
use quorate::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use quorate_guide::{Node, Types};

#[derive(Default)]
struct Wires {
    nodes: BTreeMap<u64, Node>,
    cut_off: BTreeSet<u64>,
}

/// Knows every node. It stands for the listening sockets of a real network.
#[derive(Clone, Default)]
pub struct Router {
    wires: Arc<Mutex<Wires>>,
}

impl Router {
    /// From now on, requests to `id` go to `node`: what a server does that listens for its peers.
    pub fn listen(&self, id: u64, node: Node) {
        self.wires().nodes.insert(id, node);
    }

    /// Nothing reaches `id` or comes from it any more, or everything again.
    pub fn cut_off(&self, id: u64, cut_off: bool) {
        let mut wires = self.wires();
        if cut_off {
            wires.cut_off.insert(id)
        } else {
            wires.cut_off.remove(&id)
        };
    }

    /// Whether [`cut_off`](Self::cut_off) holds for `id`.
    pub fn is_cut_off(&self, id: u64) -> bool {
        self.wires().cut_off.contains(&id)
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The network of one node: makes connections to the others.
pub struct Network {
    /// Whose network it is.
    pub from: u64,
    /// Who is where.
    pub router: Router,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Connection {
        // A real one keeps the address, `_node.addr`, and connects when it is first used.
        Connection { from: self.from, to: target, router: self.router.clone() }
    }
}

/// A connection to one node.
pub struct Connection {
    from: u64,
    to: u64,
    router: Router,
}

impl Connection {
    fn peer(&self) -> Result<Node, Unreachable<Types>> {
        let wires = self.router.wires();
        let cut = wires.cut_off.contains(&self.from) || wires.cut_off.contains(&self.to);
        let node = wires.nodes.get(&self.to).filter(|_| !cut).cloned();
        node.ok_or_else(|| Unreachable::from_string(format!("no route to node {}", self.to)))
    }
}

/// The peer has stopped: for the sender that is as if it were not there.
fn down(error: impl Error + 'static) -> Unreachable<Types> {
    Unreachable::new(&error)
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = BTreeMap<String, String>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Ok(self.peer()?.append_entries(rpc).await.map_err(down)?)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Ok(self.peer()?.vote(rpc).await.map_err(down)?)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Ok(self.peer()?.pre_vote(rpc).await.map_err(down)?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, BTreeMap<String, String>>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Ok(self.peer()?.install_full_snapshot(vote, snapshot).await.map_err(down)?)
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        Ok(self.peer()?.handle_transfer_leader(req).await.map_err(down)?)
    }
}

//! What operators and clients ask of a node.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use example_mem_store::TypeConfig;
use openraft::BasicNode;
use openraft::ReadPolicy;
use openraft::TryAsRef;
use openraft::errors::ForwardToLeader;
use openraft::errors::RaftError;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::App;
use crate::proto::Empty;
use crate::proto::Key;
use crate::proto::KeyValue;
use crate::proto::LogIndex;
use crate::proto::Node;
use crate::proto::Value;
use crate::proto::Voters;
use crate::proto::kv_server::Kv;

/// Names the leader in the metadata of an error.
pub const LEADER_ADDR: &str = "leader-addr";

#[tonic::async_trait]
impl Kv for App {
    /// Founds a cluster of this node.
    async fn init(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        let members = BTreeMap::from([(self.id, BasicNode::new(&self.addr))]);
        self.raft
            .initialize(members)
            .await
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(Empty {}))
    }

    /// Lets a node receive the log. It does not vote yet.
    async fn add_learner(&self, request: Request<Node>) -> Result<Response<Empty>, Status> {
        let Node { id, addr } = request.into_inner();
        self.raft.add_learner(id, BasicNode::new(addr), true).await.map_err(|error| refused(&error))?;
        Ok(Response::new(Empty {}))
    }

    /// Makes these nodes the voters, and the others leave. They have to be learners before.
    async fn change_membership(&self, request: Request<Voters>) -> Result<Response<Empty>, Status> {
        let voters = BTreeSet::from_iter(request.into_inner().ids);
        self.raft.change_membership(voters, false).await.map_err(|error| refused(&error))?;
        Ok(Response::new(Empty {}))
    }

    /// Changes the map. Answers when this node, the leader, has applied it.
    async fn set(&self, request: Request<KeyValue>) -> Result<Response<LogIndex>, Status> {
        let KeyValue { key, value } = request.into_inner();
        let written = self.raft.client_write(example_mem_store::Request::Set { key, value }).await;
        let index = written.map_err(|error| refused(&error))?.log_id.index;
        Ok(Response::new(LogIndex { index }))
    }

    async fn read(&self, request: Request<Key>) -> Result<Response<Value>, Status> {
        Ok(Response::new(Value { value: self.machine.get(&request.get_ref().key) }))
    }

    async fn linearizable_read(&self, request: Request<Key>) -> Result<Response<Value>, Status> {
        self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await.map_err(|error| refused(&error))?;
        self.read(request).await
    }
}

/// Why a request was refused, and who leads if that is known.
fn refused<E>(error: &RaftError<TypeConfig, E>) -> Status
where
    E: std::error::Error + TryAsRef<ForwardToLeader<TypeConfig>>,
{
    let mut status = Status::failed_precondition(error.to_string());
    let leader = error.forward_to_leader().and_then(|forward| forward.leader_node.as_ref());
    if let Some(addr) = leader.and_then(|leader| leader.addr.parse().ok()) {
        status.metadata_mut().insert(LEADER_ADDR, addr);
    }
    status
}

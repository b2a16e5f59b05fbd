//! A client that finds the leader.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Mutex;
use std::sync::PoisonError;

use example_mem_store::Request;
use example_mem_store::TypeConfig;
use openraft::RaftMetrics;
use openraft::TryAsRef;
use openraft::errors::ClientWriteError;
use openraft::errors::ForwardToLeader;
use openraft::errors::Infallible;
use openraft::errors::InitializeError;
use openraft::errors::LinearizableReadError;
use openraft::errors::NetworkError;
use openraft::errors::RPCError;
use openraft::errors::RaftError;
use openraft::errors::RemoteError;
use openraft::raft::ClientWriteResponse;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::NodeId;

/// How many nodes are asked for one thing.
const ATTEMPTS_MAX: usize = 3;

/// Why a call failed: on the way, or by the node's own answer.
pub type CallError<E> = RPCError<TypeConfig, RaftError<TypeConfig, E>>;
type Written = Result<ClientWriteResponse<TypeConfig>, CallError<ClientWriteError<TypeConfig>>>;

/// Asks the node that led when it was last heard of.
pub struct Client {
    http: reqwest::Client,
    leader: Mutex<(NodeId, String)>,
}

impl Client {
    /// Asks this node first.
    pub fn new(id: NodeId, addr: String) -> Self {
        Self { http: reqwest::Client::new(), leader: Mutex::new((id, addr)) }
    }

    /// Founds a cluster of the node that is asked.
    pub async fn init(&self) -> Result<(), CallError<InitializeError<TypeConfig>>> {
        self.call("init", Some(&Vec::<(NodeId, String)>::new())).await
    }

    /// Lets a node receive the log.
    pub async fn add_learner(&self, id: NodeId, addr: &str) -> Written {
        self.to_leader("add-learner", &(id, addr)).await
    }

    /// Makes these nodes the voters.
    pub async fn change_membership(&self, voters: &BTreeSet<NodeId>) -> Written {
        self.to_leader("change-membership", voters).await
    }

    /// All that the node tells of itself.
    pub async fn metrics(&self) -> Result<RaftMetrics<TypeConfig>, CallError<Infallible>> {
        self.call("metrics", None::<&()>).await
    }

    /// Changes the map.
    pub async fn write(&self, request: &Request) -> Written {
        self.to_leader("write", request).await
    }

    /// The value of a key on the node that is asked, which may be behind.
    pub async fn read(&self, key: &str) -> Result<Option<String>, CallError<Infallible>> {
        self.call("read", Some(key)).await
    }

    /// The value of a key with all that was written before.
    pub async fn linearizable_read(
        &self,
        key: &str,
    ) -> Result<Option<String>, CallError<LinearizableReadError<TypeConfig>>> {
        self.to_leader("linearizable_read", key).await
    }

    /// Asks, and asks the leader if the node says who that is.
    async fn to_leader<Body, Answer, E>(&self, path: &str, body: &Body) -> Result<Answer, CallError<E>>
    where
        Body: Serialize + ?Sized,
        Answer: DeserializeOwned,
        E: Error + DeserializeOwned + TryAsRef<ForwardToLeader<TypeConfig>>,
    {
        for _ in 1..ATTEMPTS_MAX {
            let answer = self.call(path, Some(body)).await;
            let forward = answer.as_ref().err().and_then(CallError::<E>::forward_to_leader);
            match forward.and_then(|forward| forward.leader_id.zip(forward.leader_node.as_ref())) {
                Some((id, node)) => *self.leader() = (id, node.addr.clone()),
                None => return answer,
            }
        }
        self.call(path, Some(body)).await
    }

    /// POSTs a body, or GETs without one.
    async fn call<Body, Answer, E>(&self, path: &str, body: Option<&Body>) -> Result<Answer, CallError<E>>
    where
        Body: Serialize + ?Sized,
        Answer: DeserializeOwned,
        E: Error + DeserializeOwned,
    {
        let (id, addr) = self.leader().clone();
        let url = format!("http://{addr}/{path}");
        let request = match body {
            Some(body) => self.http.post(url).json(body),
            None => self.http.get(url),
        };
        let answer = request.send().await.map_err(|error| NetworkError::new(&error))?;
        let answer: Result<Answer, _> = answer.json().await.map_err(|error| NetworkError::new(&error))?;
        Ok(answer.map_err(|error| RemoteError::new(id, error))?)
    }

    fn leader(&self) -> std::sync::MutexGuard<'_, (NodeId, String)> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

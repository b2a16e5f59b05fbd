//! Three nodes on real sockets: they form a cluster, agree, change their members, and survive the loss of one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use example_mem_store::Request;
use openraft::errors::RPCError;
use raft_kv_memstore::App;
use raft_kv_memstore::NodeId;
use raft_kv_memstore::client::Client;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A deadline that only a hang can miss.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

struct Node {
    app: App,
    server: JoinHandle<()>,
}

impl Node {
    async fn start(id: NodeId) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let app = App::start(id, addr).await.unwrap();
        let router = app.router();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { app, server }
    }

    fn client(&self) -> Client {
        Client::new(self.app.id, self.app.addr.clone())
    }

    /// Waits until the node has applied up to `index`.
    async fn applied(&self, index: u64) {
        self.app.raft.wait(PATIENCE).applied_index_at_least(Some(index), "applied").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three() {
    let mut nodes = BTreeMap::new();
    for id in 1..=3 {
        nodes.insert(id, Node::start(id).await);
    }

    // One node founds the cluster, the others learn the log, then all vote.
    let client = nodes[&1].client();
    client.init().await.unwrap();
    nodes[&1].app.raft.wait(PATIENCE).current_leader(1, "it leads").await.unwrap();
    for id in [2, 3] {
        client.add_learner(id, &nodes[&id].app.addr).await.unwrap();
    }
    client.change_membership(&BTreeSet::from([1, 2, 3])).await.unwrap();
    let voters: Vec<_> = client.metrics().await.unwrap().membership_config.voter_ids().collect();
    assert_eq!(voters, [1, 2, 3]);

    // What is written through any node is read on all.
    let answer = nodes[&2].client().write(&Request::set("foo", "bar")).await.unwrap();
    assert_eq!(answer.data.value.as_deref(), Some("bar"));
    for node in nodes.values() {
        node.applied(answer.log_id.index).await;
        assert_eq!(node.client().read("foo").await.unwrap().as_deref(), Some("bar"));
        assert_eq!(node.client().linearizable_read("foo").await.unwrap().as_deref(), Some("bar"));
    }
    assert_eq!(nodes[&1].client().linearizable_read("nothing").await.unwrap(), None);

    // A node that leaves gets no more of the log.
    client.change_membership(&BTreeSet::from([1, 2])).await.unwrap();
    let answer = client.write(&Request::set("foo", "baz")).await.unwrap();
    nodes[&2].applied(answer.log_id.index).await;
    assert_eq!(nodes[&2].client().read("foo").await.unwrap().as_deref(), Some("baz"));
    assert_eq!(nodes[&3].client().read("foo").await.unwrap().as_deref(), Some("bar"));
    client.add_learner(3, &nodes[&3].app.addr).await.unwrap();
    client.change_membership(&BTreeSet::from([1, 2, 3])).await.unwrap();

    // The leader dies; the other two elect one of them.
    let dead = nodes.remove(&1).unwrap();
    dead.server.abort();
    dead.app.raft.shutdown().await.unwrap();
    let elected = |m: &openraft::RaftMetrics<_>| m.current_leader.is_some_and(|leader| leader != 1);
    nodes[&2].app.raft.wait(PATIENCE).metrics(elected, "another leader").await.unwrap();
    let client = nodes[&2].client();
    let answer = client.write(&Request::set("foo", "still here")).await.unwrap();
    nodes[&3].applied(answer.log_id.index).await;
    assert_eq!(nodes[&3].client().read("foo").await.unwrap().as_deref(), Some("still here"));
}

#[tokio::test]
async fn a_node_without_a_cluster_says_so() {
    let node = Node::start(1).await;
    let error = node.client().write(&Request::set("foo", "bar")).await.unwrap_err();
    assert!(error.forward_to_leader().is_some_and(|forward| forward.leader_id.is_none()), "{error}");
    node.server.abort();
    node.app.raft.shutdown().await.unwrap();
    let error = node.client().write(&Request::set("foo", "bar")).await.unwrap_err();
    assert!(matches!(error, RPCError::Network(_) | RPCError::RemoteError(_)), "{error}");
}

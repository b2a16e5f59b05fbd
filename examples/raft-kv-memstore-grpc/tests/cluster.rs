//! Three nodes on real sockets: they form a cluster, agree, and survive the loss of one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use raft_kv_memstore_grpc::App;
use raft_kv_memstore_grpc::NodeId;
use raft_kv_memstore_grpc::kv_service::LEADER_ADDR;
use raft_kv_memstore_grpc::proto::Empty;
use raft_kv_memstore_grpc::proto::Key;
use raft_kv_memstore_grpc::proto::KeyValue;
use raft_kv_memstore_grpc::proto::Voters;
use raft_kv_memstore_grpc::proto::kv_client::KvClient;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::Channel;

/// A deadline that only a hang can miss.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

struct Node {
    app: App,
    server: JoinHandle<()>,
    client: KvClient<Channel>,
}

impl Node {
    async fn start(id: NodeId) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let app = App::start(id, addr.clone()).await.unwrap();
        let serving = app.clone().serve(listener);
        let server = tokio::spawn(async move { serving.await.unwrap() });
        let client = KvClient::new(Channel::from_shared(format!("http://{addr}")).unwrap().connect_lazy());
        Self { app, server, client }
    }

    /// Writes, and returns the index of the entry.
    async fn set(&mut self, value: &str) -> u64 {
        let request = KeyValue { key: "foo".to_string(), value: value.to_string() };
        self.client.set(request).await.unwrap().into_inner().index
    }

    /// Waits until the node has applied up to `index`, and reads.
    async fn read(&mut self, index: u64) -> Option<String> {
        self.app.raft.wait(PATIENCE).applied_index_at_least(Some(index), "applied").await.unwrap();
        self.client.read(Key { key: "foo".to_string() }).await.unwrap().into_inner().value
    }

    async fn add_learner(&mut self, learner: &App) {
        let node = raft_kv_memstore_grpc::proto::Node { id: learner.id, addr: learner.addr.clone() };
        self.client.add_learner(node).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three() {
    let mut one = Node::start(1).await;
    one.client.init(Empty {}).await.unwrap();
    one.app.raft.wait(PATIENCE).current_leader(1, "it leads").await.unwrap();
    one.set("alone").await;

    // The entries so far are gone: the others get a snapshot.
    let last = one.app.raft.metrics().borrow_watched().last_applied.unwrap();
    one.app.raft.trigger().snapshot().await.unwrap();
    one.app.raft.wait(PATIENCE).snapshot(last, "a snapshot").await.unwrap();
    one.app.raft.trigger().purge_log(last.index).await.unwrap();
    one.app.raft.wait(PATIENCE).purged(Some(last), "the entries are gone").await.unwrap();
    let mut others = BTreeMap::new();
    for id in [2, 3] {
        let mut node = Node::start(id).await;
        one.add_learner(&node.app).await;
        assert_eq!(node.read(last.index).await.as_deref(), Some("alone"));
        others.insert(id, node);
    }
    one.client.change_membership(Voters { ids: vec![1, 2, 3] }).await.unwrap();

    // What the leader took is read on all; a follower says who leads.
    let index = one.set("together").await;
    for node in others.values_mut() {
        assert_eq!(node.read(index).await.as_deref(), Some("together"));
        let refused = node.client.linearizable_read(Key { key: "foo".to_string() }).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(refused.metadata().get(LEADER_ADDR).unwrap().to_str().unwrap(), one.app.addr);
    }
    let read = one.client.linearizable_read(Key { key: "foo".to_string() }).await.unwrap();
    assert_eq!(read.into_inner().value.as_deref(), Some("together"));

    // Many writes at a time go out as one stream.
    let raft = &one.app.raft;
    let writes = (0..500).map(|i| raft.client_write(example_mem_store::Request::set("foo", i)));
    futures_util::future::try_join_all(writes).await.unwrap();
    let index = one.set("after many").await;
    for node in others.values_mut() {
        assert_eq!(node.read(index).await.as_deref(), Some("after many"));
    }

    // The leader dies; the other two elect one of them.
    one.server.abort();
    one.app.raft.shutdown().await.unwrap();
    let elected = |m: &openraft::RaftMetrics<_>| m.current_leader.is_some_and(|leader| leader != 1);
    let metrics = others[&2].app.raft.wait(PATIENCE).metrics(elected, "another leader").await.unwrap();
    let leader = others.get_mut(&metrics.current_leader.unwrap()).unwrap();
    let index = leader.set("still here").await;
    for node in others.values_mut() {
        assert_eq!(node.read(index).await.as_deref(), Some("still here"));
    }
}

#[tokio::test]
async fn an_address_that_makes_no_sense_is_unreachable() {
    let mut one = Node::start(1).await;
    one.client.init(Empty {}).await.unwrap();
    one.app.raft.wait(PATIENCE).current_leader(1, "it leads").await.unwrap();
    let node = openraft::BasicNode::new("no address at all");
    one.app.raft.add_learner(2, node, false).await.unwrap();
    one.set("the leader goes on").await;
}

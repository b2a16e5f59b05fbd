//! A new node gets the leader's snapshot in chunks, and goes on from there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use example_mem_store::Request;
use openraft::BasicNode;
use openraft::async_runtime::WatchReceiver;
use raft_kv_memstore_network_v1::CHUNK_BYTES;
use raft_kv_memstore_network_v1::network::Router;
use raft_kv_memstore_network_v1::start;

/// A deadline that only a hang can miss.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

#[tokio::test(start_paused = true)]
async fn a_new_node_gets_the_snapshot_in_chunks() {
    let router = Router::default();
    let (leader, _) = start(1, &router).await.unwrap();
    leader.initialize(BTreeMap::from([(1, BasicNode::default())])).await.unwrap();
    leader.wait(PATIENCE).current_leader(1, "it leads").await.unwrap();
    for i in 0..20 {
        leader.client_write(Request::set(format!("key {i}"), format!("value {i}"))).await.unwrap();
    }
    let last = leader.metrics().borrow_watched().last_applied.unwrap();
    leader.trigger().snapshot().await.unwrap();
    leader.wait(PATIENCE).snapshot(last, "a snapshot").await.unwrap();
    leader.trigger().purge_log(last.index).await.unwrap();
    leader.wait(PATIENCE).purged(Some(last), "the entries are gone").await.unwrap();

    let (learner, map) = start(2, &router).await.unwrap();
    leader.add_learner(2, BasicNode::default(), true).await.unwrap();
    learner.wait(PATIENCE).snapshot(last, "the snapshot came").await.unwrap();
    assert_eq!(map.get("key 7").as_deref(), Some("value 7"));
    let bytes = leader.get_snapshot().await.unwrap().unwrap().snapshot.into_inner().len() as u64;
    assert!(router.calls("snapshot") >= bytes.div_ceil(CHUNK_BYTES), "{} calls", router.calls("snapshot"));

    // From there on it gets entries, and votes like any other.
    leader.change_membership(BTreeSet::from([1, 2]), false).await.unwrap();
    let written = leader.client_write(Request::set("key 7", "new")).await.unwrap();
    learner.wait(PATIENCE).applied_index_at_least(Some(written.log_id.index), "applied").await.unwrap();
    assert_eq!(map.get("key 7").as_deref(), Some("new"));
}

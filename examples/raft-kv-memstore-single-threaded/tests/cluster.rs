//! Three nodes on one thread agree, and share what they agree on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use raft_kv_memstore_single_threaded::Request;
use raft_kv_memstore_single_threaded::Response;
use raft_kv_memstore_single_threaded::Router;
use raft_kv_memstore_single_threaded::start;
use tokio::task::LocalSet;

/// A deadline that only a hang can miss.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

#[tokio::test(start_paused = true)]
async fn three_nodes_share_what_they_agree_on() {
    LocalSet::new().run_until(cluster()).await;
}

async fn cluster() {
    let router = Router::default();
    let mut nodes = BTreeMap::new();
    for id in 1..=3 {
        nodes.insert(id, start(id, &router).await.unwrap());
    }
    let leader = nodes[&1].0.clone();
    leader.initialize(BTreeMap::from([(1, ()), (2, ()), (3, ())])).await.unwrap();
    leader.wait(PATIENCE).current_leader(1, "it leads").await.unwrap();
    let written = leader.client_write(Request::set("foo", "bar")).await.unwrap();
    assert_eq!(written.data, Response(None));
    let written = leader.client_write(Request::set("foo", "baz")).await.unwrap();
    assert_eq!(written.data, Response(Some("bar".into())));

    let text = nodes[&1].1.get("foo").unwrap();
    for (node, map) in nodes.values() {
        node.wait(PATIENCE).applied_index_at_least(Some(written.log_id.index), "applied").await.unwrap();
        assert!(Rc::ptr_eq(&map.get("foo").unwrap(), &text), "one text for all");
    }

    // A new node gets a snapshot, whose texts are the same too.
    let last = leader.metrics().borrow_watched().last_applied.unwrap();
    leader.trigger().snapshot().await.unwrap();
    leader.wait(PATIENCE).snapshot(last, "a snapshot").await.unwrap();
    leader.trigger().purge_log(last.index).await.unwrap();
    leader.wait(PATIENCE).purged(Some(last), "the entries are gone").await.unwrap();
    let (learner, map) = start(4, &router).await.unwrap();
    leader.add_learner(4, (), true).await.unwrap();
    learner.wait(PATIENCE).snapshot(last, "the snapshot came").await.unwrap();
    assert!(Rc::ptr_eq(&map.get("foo").unwrap(), &text));

    // The leader goes away; the others elect one of them.
    leader.change_membership(BTreeSet::from([1, 2, 3, 4]), false).await.unwrap();
    router.disconnect(1);
    leader.shutdown().await.unwrap();
    let elected = |m: &openraft::RaftMetrics<_>| m.current_leader.is_some_and(|leader| leader != 1);
    let metrics = learner.wait(PATIENCE).metrics(elected, "another leader").await.unwrap();
    nodes.insert(4, (learner, map));
    let leader = &nodes[&metrics.current_leader.unwrap()].0;
    let written = leader.client_write(Request::set("foo", "still here")).await.unwrap();
    assert_eq!(written.data, Response(Some("baz".into())));
}

//! Numbers for an exporter, told as they change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;

use futures_util::FutureExt;
use futures_util::StreamExt;
use quorate::Config;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::Fatal;
use quorate::metrics::MetricsRecorder;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::network::Node;
use crate::stores::Add;

/// Keeps what it is told, and asks its node something every time: it would hang if it were called under the lock.
#[derive(Default)]
struct Book {
    last: Mutex<BTreeMap<&'static str, u64>>,
    sums: Mutex<BTreeMap<&'static str, u64>>,
    node: OnceLock<Node>,
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Book")
    }
}

impl Book {
    fn note(&self, name: &'static str, value: u64) {
        if let Some(node) = self.node.get() {
            assert!(node.is_initialized().now_or_never().is_some());
        }
        self.last.lock().unwrap().insert(name, value);
        *self.sums.lock().unwrap().entry(name).or_default() += value;
    }

    fn last(&self, name: &str) -> Option<u64> {
        self.last.lock().unwrap().get(name).copied()
    }

    fn sum(&self, name: &str) -> u64 {
        self.sums.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

impl MetricsRecorder for Book {
    fn record_apply_batch(&self, entries: u64) {
        self.note("applied", entries);
    }
    fn record_append_batch(&self, entries: u64) {
        self.note("appended", entries);
    }
    fn record_write_batch(&self, writes: u64) {
        self.note("written", writes);
    }
    fn set_current_term(&self, term: u64) {
        self.note("term", term);
    }
    fn set_last_log_index(&self, index: u64) {
        self.note("last log", index);
    }
    fn set_committed_index(&self, index: u64) {
        self.note("committed", index);
    }
    fn set_applied_index(&self, index: u64) {
        self.note("applied index", index);
    }
    fn set_snapshot_index(&self, index: u64) {
        self.note("snapshot", index);
    }
    fn set_purged_index(&self, index: u64) {
        self.note("purged", index);
    }
    fn set_server_state(&self, state: u8) {
        self.note("state", u64::from(state));
    }
    fn increment_vote(&self) {
        self.note("votes", 1);
    }
    fn increment_heartbeat(&self) {
        self.note("heartbeats", 1);
    }
    fn increment_append(&self) {
        self.note("appends", 1);
    }
}

async fn recorded(node: &Node) -> Arc<Book> {
    let book = Arc::new(Book::default());
    let _ = book.node.set(node.clone());
    node.set_metrics_recorder(Some(book.clone())).await.unwrap();
    // The gauges are told by the node's own task.
    elapse(std::time::Duration::from_millis(1)).await;
    book
}

#[tokio::test(start_paused = true)]
async fn a_leaders_recorder_is_told_of_batches_and_positions() {
    let mut cluster = Cluster::new(Config { max_in_snapshot_log_to_keep: 0, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    let book = recorded(&leader).await;
    assert_eq!((book.last("state"), book.last("term")), (Some(3), Some(1)), "what there is, is told at once");
    assert_eq!(book.last("snapshot"), None, "what there is not, is not");
    let results = leader.client_write_many((0..100).map(|_| Add(1))).await.unwrap();
    assert_eq!(soon(results.count()).await, 100);
    assert_eq!((book.sum("written"), book.sum("appended"), book.sum("applied")), (100, 100, 100));
    soon(leader.add_learner(9, quorate::BasicNode::new("nowhere"), false)).await.unwrap();
    assert_eq!((book.sum("written"), book.sum("appended"), book.sum("applied")), (100, 101, 101));
    leader.trigger().snapshot().await.unwrap();
    let purged = |m: &quorate::RaftMetrics<_>| m.purged.is_some();
    leader.wait(crate::cluster::PATIENCE).metrics(purged, "purged").await.unwrap();
    elapse(LONG).await;
    let last = leader.metrics().borrow_watched().last_log_index;
    for name in ["last log", "committed", "applied index", "snapshot", "purged"] {
        assert_eq!(book.last(name), last, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_appends_and_votes_are_counted_where_they_happen() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let follower = cluster.nodes[&cluster.others(&leader)[0]].clone();
    let (book, other) = (recorded(&leader).await, recorded(&follower).await);
    let before = book.sum("heartbeats");
    elapse(LONG).await;
    let expected = LONG.as_millis() as u64 / leader.config().heartbeat_interval;
    let told = book.sum("heartbeats") - before;
    assert!((expected - 1..=expected + 1).contains(&told), "{told} of {expected}");
    assert!(other.sum("appends") >= expected - 1);
    assert_eq!((book.sum("appends"), other.sum("heartbeats")), (0, 0));
    leader.runtime_config().heartbeat(false);
    elapse(std::time::Duration::from_millis(1)).await;
    let before = book.sum("heartbeats");
    leader.trigger().heartbeat().await.unwrap();
    follower.trigger().heartbeat().await.unwrap();
    assert_eq!((book.sum("heartbeats"), other.sum("heartbeats")), (before + 1, 0));
    leader.runtime_config().heartbeat(true);

    let (votes, appended) = (other.sum("votes"), other.sum("appended"));
    let (_, new) = cluster.depose(*leader.node_id()).await;
    assert!(new.node_id() == follower.node_id() || other.sum("votes") > votes);
    assert!(other.sum("appended") > appended, "the new leader's first entry");
}

#[tokio::test(start_paused = true)]
async fn a_recorder_may_be_taken_away_and_is_told_of_the_end() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let (first, second) = (recorded(&leader).await, recorded(&leader).await);
    let before = first.sum("written");
    soon(leader.client_write(Add(1))).await.unwrap();
    assert_eq!((first.sum("written"), second.sum("written")), (before, 1));
    leader.set_metrics_recorder(None).await.unwrap();
    soon(leader.client_write(Add(1))).await.unwrap();
    assert_eq!(second.sum("written"), 1);
    let third = recorded(&leader).await;
    soon(leader.shutdown()).await.unwrap();
    assert_eq!(third.last("state"), Some(4));
    assert_eq!(leader.set_metrics_recorder(None).await, Err(Fatal::Stopped));
}

//! A node builds a snapshot and forgets its entries; a new node gets the snapshot in chunks.

use std::collections::BTreeMap;
use std::time::Duration;

use example_mem_store::Request;
use openraft::BasicNode;
use openraft::async_runtime::WatchReceiver;
use raft_kv_memstore_network_v1::network::Router;
use raft_kv_memstore_network_v1::start;

/// A deadline that only a hang can miss.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::default();
    let (leader, _) = start(1, &router).await?;
    leader.initialize(BTreeMap::from([(1, BasicNode::default())])).await?;
    leader.wait(PATIENCE).current_leader(1, "it leads").await?;
    for i in 0..20 {
        leader.client_write(Request::set(format!("key {i}"), format!("value {i}"))).await?;
    }

    let last = leader.metrics().borrow_watched().last_applied.ok_or("nothing is applied")?;
    leader.trigger().snapshot().await?;
    leader.wait(PATIENCE).snapshot(last, "a snapshot").await?;
    leader.trigger().purge_log(last.index).await?;
    leader.wait(PATIENCE).purged(Some(last), "the entries are gone").await?;

    let (learner, map) = start(2, &router).await?;
    leader.add_learner(2, BasicNode::default(), true).await?;
    learner.wait(PATIENCE).snapshot(last, "the snapshot came").await?;
    println!("node 2 has key 7: {:?}", map.get("key 7"));
    println!("its snapshot came in {} chunks", router.calls("snapshot"));
    Ok(())
}

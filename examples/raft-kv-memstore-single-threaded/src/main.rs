//! A cluster of three on one thread.

use std::collections::BTreeMap;
use std::time::Duration;

use raft_kv_memstore_single_threaded::Request;
use raft_kv_memstore_single_threaded::Router;
use raft_kv_memstore_single_threaded::start;
use tokio::task::LocalSet;

/// A deadline that only a hang can miss.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Tasks of the library are local: they run within this set.
    LocalSet::new().run_until(cluster()).await
}

async fn cluster() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::default();
    let mut nodes = BTreeMap::new();
    for id in 1..=3 {
        nodes.insert(id, start(id, &router).await?);
    }
    let (first, _) = nodes.get(&1).ok_or("no node")?;
    first.initialize(BTreeMap::from([(1, ()), (2, ()), (3, ())])).await?;
    first.wait(PATIENCE).current_leader(1, "it leads").await?;
    let written = first.client_write(Request::set("foo", "bar")).await?;
    for (id, (node, map)) in &nodes {
        node.wait(PATIENCE).applied_index_at_least(Some(written.log_id.index), "applied").await?;
        println!("node {id} has foo: {:?}", map.get("foo"));
    }
    Ok(())
}

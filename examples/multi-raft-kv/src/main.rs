//! Three processes, two groups: one keeps users, the other orders.

use std::collections::BTreeMap;
use std::time::Duration;

use example_mem_store::Request;
use multi_raft_kv::Process;
use multi_raft_kv::network::Net;
use openraft::BasicNode;

/// A deadline that only a hang can miss.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let net = Net::default();
    let processes: Vec<_> = (1..=3).map(|id| Process::new(id, &net)).collect();
    let members: BTreeMap<_, _> = (1..=3).map(|id| (id, BasicNode::default())).collect();

    for group in ["users", "orders"] {
        let mut nodes = BTreeMap::new();
        for (id, process) in (1..).zip(&processes) {
            nodes.insert(id, process.start(group).await?);
        }
        let first = nodes.get(&1).ok_or("no node")?;
        first.initialize(members.clone()).await?;
        let metrics = first.wait(PATIENCE).metrics(|m| m.current_leader.is_some(), "a leader").await?;
        let leader = metrics.current_leader.and_then(|leader| nodes.get(&leader)).ok_or("no leader")?;
        let written = leader.client_write(Request::set("one", format!("the first of the {group}"))).await?;
        for node in nodes.values() {
            node.wait(PATIENCE).applied_index_at_least(Some(written.log_id.index), "applied").await?;
        }
    }
    for (id, process) in (1..).zip(&processes) {
        let values = ["users", "orders"].map(|group| process.get(group, "one"));
        println!("process {id} has {values:?}, and opened {} connections", process.connections());
    }
    Ok(())
}

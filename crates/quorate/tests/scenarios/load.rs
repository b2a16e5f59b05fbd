//! Clients that read and write while a test makes trouble, and what must hold of all they were told.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate::ReadPolicy;
use quorate::errors::ClientWriteError;
use quorate::errors::RaftError;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::network::Node;
use crate::stores::Add;
use crate::stores::Machine;

/// How long a client waits between what it does.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a client waits for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// What the clients know.
#[derive(Default)]
struct Known {
    stop: AtomicBool,
    /// The nodes that are up.
    up: Mutex<BTreeMap<u64, (Node, Machine)>>,
    next: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
    /// Written, with an unknown outcome.
    unknown: Mutex<BTreeSet<u64>>,
    /// The greatest state that anyone was told of.
    floor: AtomicU64,
    reads: AtomicU64,
}

impl Known {
    fn one(&self, id: u64) -> Option<(Node, Machine)> {
        self.up.lock().unwrap().get(&id).cloned()
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Clients under way.
#[derive(Default)]
pub struct Load {
    known: Arc<Known>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts writers, and for each of the nodes a reader of each kind.
    pub fn start(cluster: &Cluster, writers: u64) -> Self {
        let mut load = Self::default();
        load.see(cluster);
        let ids: Vec<u64> = cluster.nodes.keys().copied().collect();
        for first in 0..writers {
            load.clients.spawn(writes(load.known.clone(), ids.clone(), first as usize));
        }
        for id in ids {
            for policy in [ReadPolicy::ReadIndex, ReadPolicy::LeaseRead] {
                load.clients.spawn(reads(load.known.clone(), id, policy));
            }
        }
        load
    }

    /// Nodes may have stopped and started.
    pub fn see(&self, cluster: &Cluster) {
        let up = cluster.nodes.iter().map(|(id, node)| {
            let machine = cluster.disks[id].machine.clone();
            (*id, (node.clone(), machine))
        });
        *self.known.up.lock().unwrap() = up.collect();
    }

    /// Ends the clients, and checks what they were told against what the nodes of the cluster have applied: each
    /// acknowledged write once, each refused one not at all, no other more than once. Returns how many writes were
    /// acknowledged, and how many reads answered.
    pub async fn finish(mut self, cluster: &Cluster) -> (usize, u64) {
        self.known.stop.store(true, Ordering::SeqCst);
        while let Some(client) = soon(self.clients.join_next()).await {
            client.unwrap();
        }
        let last = soon(cluster.leader().await.client_write(Add(0))).await.unwrap().log_id.index;
        cluster.applied(last).await;
        let seen = cluster.disks.values().next().unwrap().machine.seen();
        for (id, disk) in &cluster.disks {
            assert_eq!(disk.machine.seen(), seen, "{id}");
        }
        let written: Vec<u64> = seen.into_iter().filter(|n| *n > 0).collect();
        let once: BTreeSet<u64> = written.iter().copied().collect();
        assert_eq!(once.len(), written.len(), "each once");
        let acknowledged = self.known.acknowledged.lock().unwrap();
        assert!(acknowledged.is_subset(&once), "lost: {:?}", acknowledged.difference(&once));
        let explained: BTreeSet<u64> =
            acknowledged.union(&self.known.unknown.lock().unwrap()).copied().collect();
        assert!(once.is_subset(&explained), "refused, and written: {:?}", once.difference(&explained));
        (acknowledged.len(), self.known.reads.load(Ordering::SeqCst))
    }
}

/// Writes ever new numbers, each once, to whoever is said to lead.
async fn writes(known: Arc<Known>, ids: Vec<u64>, mut at: usize) {
    while !known.is_over() {
        let id = ids[at % ids.len()];
        let Some((node, _)) = known.one(id) else {
            at += 1;
            elapse(PAUSE).await;
            continue;
        };
        let n = known.next.fetch_add(1, Ordering::SeqCst) + 1;
        match tokio::time::timeout(ANSWER, node.client_write(Add(n))).await {
            Ok(Ok(written)) => {
                known.acknowledged.lock().unwrap().insert(n);
                known.floor.fetch_max(written.data, Ordering::SeqCst);
                elapse(PAUSE).await;
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                // Nothing was written.
                let to = forward.leader_id.and_then(|leader| ids.iter().position(|id| *id == leader));
                at = to.unwrap_or(at + 1);
                elapse(PAUSE).await;
            }
            _ => {
                known.unknown.lock().unwrap().insert(n);
                at += 1;
                elapse(PAUSE).await;
            }
        }
    }
}

/// Reads from a node whenever that lets it: a read sees whatever anyone saw before it began.
async fn reads(known: Arc<Known>, id: u64, policy: ReadPolicy) {
    while !known.is_over() {
        let floor = known.floor.load(Ordering::SeqCst);
        if let Some((node, machine)) = known.one(id)
            && let Ok(Ok(_)) = tokio::time::timeout(ANSWER, node.ensure_linearizable(policy.clone())).await
        {
            let seen = machine.sum();
            assert!(seen >= floor, "{id}: a read saw {seen}, others {floor} before");
            known.floor.fetch_max(seen, Ordering::SeqCst);
            known.reads.fetch_add(1, Ordering::SeqCst);
        }
        elapse(PAUSE).await;
    }
}

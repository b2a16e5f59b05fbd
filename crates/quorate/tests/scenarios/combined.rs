//! Everything at once: scenario 40.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate::BasicNode;
use quorate::Config;
use quorate::ServerState;
use quorate::SnapshotPolicy;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::ClientWriteError;
use quorate::errors::RaftError;

use crate::cluster::Cluster;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::load::Load;
use crate::network::Node;
use crate::stores::Machine;
use crate::stores::Types;

const NODES: u64 = 5;

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn node(&mut self) -> u64 {
        1 + self.below(NODES)
    }

    /// At least three of the nodes.
    fn voters(&mut self) -> BTreeSet<u64> {
        let mut voters: BTreeSet<u64> = (1..=NODES).collect();
        for _ in 0..2 {
            let node = self.node();
            voters.remove(&node);
        }
        voters
    }
}

/// Whoever is to vote votes, and all others learn. A leader that ends a change of the one before it lets those that voted
/// go: they have to come back as learners first.
async fn make_voters(
    leader: &Node,
    voters: BTreeSet<u64>,
) -> Result<(), RaftError<Types, ClientWriteError<Types>>> {
    let known = leader.metrics().borrow_watched().membership_config.membership().clone();
    for id in voters.iter().filter(|id| known.get_node(id).is_none()) {
        leader.add_learner(*id, BasicNode::new(format!("node {id}")), false).await?;
    }
    leader.change_membership(voters, true).await.map(drop)
}

struct Trouble {
    cluster: Cluster,
    load: Load,
    dice: Dice,
    changes: tokio::task::JoinSet<bool>,
}

impl Trouble {
    /// The node does nothing, and nothing reaches it, until [`heal`](Self::heal).
    fn pause(&mut self, id: u64) {
        self.cluster.router.hang(id);
        for peer in 1..=NODES {
            self.cluster.router.cut(id, peer);
        }
        let disk = &self.cluster.disks[&id];
        disk.log.append_gate.close();
        disk.log.vote_gate.close();
        disk.machine.apply_gate.close();
    }

    async fn kill(&mut self, id: u64) {
        if self.cluster.nodes.contains_key(&id) {
            // What a closed gate holds back is lost with the power.
            let machine = self.cluster.disks[&id].machine.clone();
            machine.apply_gate.open();
            self.cluster.disks[&id].log.append_gate.open();
            self.cluster.disks[&id].log.vote_gate.open();
            self.cluster.crash(id).await;
            if self.dice.below(2) == 0 {
                self.cluster.disks.get_mut(&id).unwrap().machine = Machine::default();
            }
            self.load.see(&self.cluster);
        }
    }

    async fn heal(&mut self) {
        for id in 1..=NODES {
            self.cluster.router.restore(id);
            let disk = &self.cluster.disks[&id];
            disk.log.append_gate.open();
            disk.log.vote_gate.open();
            disk.machine.apply_gate.open();
            if !self.cluster.nodes.contains_key(&id) {
                self.cluster.start(id).await;
            }
        }
        self.load.see(&self.cluster);
    }

    fn leaders(&self) -> Vec<Node> {
        self.cluster.nodes.values().filter(|node| node.is_leader()).cloned().collect()
    }

    async fn round(&mut self) {
        for _ in 0..=self.dice.below(2) {
            let id = self.dice.node();
            match self.dice.below(7) {
                0 => self.cluster.router.isolate(id),
                1 => self.cluster.router.cut(id, 1 + id % NODES),
                2 => self.kill(id).await,
                3 => self.pause(id),
                4 => {
                    for leader in self.leaders() {
                        leader.trigger().transfer_leader(id).await.unwrap();
                    }
                }
                _ => {
                    for leader in self.leaders() {
                        let voters = self.dice.voters();
                        self.changes.spawn(async move {
                            let change = make_voters(&leader, voters);
                            let changed = tokio::time::timeout(Duration::from_secs(2), change).await;
                            changed.is_ok_and(|changed| changed.is_ok())
                        });
                    }
                }
            }
        }
        elapse(Duration::from_millis(50 + self.dice.below(700))).await;
        if self.dice.below(3) == 0 {
            self.heal().await;
            elapse(Duration::from_millis(self.dice.below(1500))).await;
        }
    }

    /// All nodes vote again.
    async fn everyone(&mut self) {
        let all: BTreeSet<u64> = (1..=NODES).collect();
        let changed = async {
            loop {
                let leader = self.cluster.leader().await;
                match make_voters(&leader, all.clone()).await {
                    Ok(_) => return,
                    Err(RaftError::Fatal(fatal)) => panic!("{fatal}"),
                    Err(_) => elapse(Duration::from_millis(100)).await,
                }
            }
        };
        soon(changed).await;
    }
}

/// Members change, links are cut, nodes are killed and stand still, leadership is handed over, all at a time and in any
/// order, while clients write and read: nothing acknowledged is lost, nothing is applied twice, all nodes agree, and when
/// it is over the cluster works again.
#[tokio::test(start_paused = true)]
async fn scenario_40_changes_partitions_kills_and_pauses_together_lose_and_fork_nothing() {
    let mut done = (0, 0, 0);
    for seed in 1..=4 {
        // All that was ever written can be applied anew.
        let settings = Config { snapshot_policy: SnapshotPolicy::Never, ..config() };
        let mut cluster = Cluster::new(settings);
        cluster.router.delay(Duration::from_millis(1 + seed % 3));
        cluster.found(1..=NODES).await;
        let load = Load::start(&cluster, 3);
        let mut trouble = Trouble { cluster, load, dice: Dice(seed), changes: Default::default() };
        for _ in 0..25 {
            trouble.round().await;
        }
        trouble.heal().await;
        trouble.everyone().await;
        while let Some(changed) = soon(trouble.changes.join_next()).await {
            done.0 += u64::from(changed.unwrap());
        }
        let (writes, reads) = trouble.load.finish(&trouble.cluster).await;
        done = (done.0, done.1 + writes, done.2 + reads);
        for node in trouble.cluster.nodes.values() {
            node.wait(PATIENCE)
                .metrics(|m| m.state != ServerState::Learner && m.running_state.is_ok(), "a voter, and well")
                .await
                .unwrap();
        }
    }
    let (changes, writes, reads) = done;
    assert!(changes > 5 && writes > 1000 && reads > 1000, "they got somewhere: {done:?}");
}

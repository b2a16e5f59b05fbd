//! What a run ends with: the faults stop, for all or for a majority; the cluster has to come back and stay calm, and what
//! clients saw must fit together.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_log::sim_disk::PowerCut;
use quorate_rt::AsyncRuntime;

use crate::linearizability;
use crate::linearizability::Verdict;
use crate::tier_b::client::Op;
use crate::tier_b::network::SNAPSHOT_STALL;
use crate::tier_b::runtime::SimRuntime;
use crate::tier_b::swarm::MS;
use crate::tier_b::swarm::Swarm;
use crate::tier_b::types::Types;
use crate::tier_b::world;

/// Beyond all machines and addresses of clients: who judges at the end.
const JUDGE: u64 = 99;
/// Configurations that the search for an order may take for one key.
const CONFIGURATIONS_MAX: usize = 2_000_000;
/// Until somebody leads, in the longest election timeouts. Over 1,803 seeds it took 6.5 at the most.
const LEADER_TIMEOUTS_MAX: u64 = 15;
/// Until a write is acknowledged after that; it took 12.7.
const WRITE_TIMEOUTS_MAX: u64 = 25;
/// Until all are in step after that; it took 9.1.
const IN_STEP_TIMEOUTS_MAX: u64 = 25;
/// One in so many seeds waits for a long calm.
const CALM_ONE_IN: u64 = 3;
/// Election timeouts after a recovery until calm is asked for.
const SETTLE_TIMEOUTS: u64 = 5;
/// Election timeouts for which it is.
const CALM_TIMEOUTS: u64 = 20;

impl<C: Types> Swarm<C> {
    /// Machines that stay as broken as they are when the rest is healed: never so many that a quorum is missing.
    fn left_broken(&mut self) -> BTreeSet<u64> {
        let mut broken: BTreeSet<u64> = BTreeSet::new();
        let newest = self.cluster.ids().into_iter().filter_map(|id| self.cluster.metrics(id));
        let memberships: Vec<_> = newest.map(|metrics| metrics.membership_config).collect();
        // Which membership is in force is only known when all are heard: whoever counts anywhere counts.
        let unknown = memberships.len() < self.cluster.ids().len() || Arc::strong_count(&self.changes) > 1;
        if self.dice.chance(1, 2) || unknown || self.is_unfounded() {
            return broken;
        }
        for id in self.cluster.ids() {
            let may_go =
                memberships.iter().flat_map(|membership| membership.get_joint_config()).all(|voters| {
                    let others = voters.iter().filter(|voter| {
                        **voter != id && !broken.contains(*voter) && !self.cluster.is_damaged(**voter)
                    });
                    others.count() > voters.len() / 2
                });
            if may_go && self.dice.chance(1, 2) {
                broken.insert(id);
            }
        }
        broken
    }

    fn is_unfounded(&self) -> bool {
        self.cluster.watch.committed_end() == 0
    }

    /// I18: when faults end, for a majority at least, the cluster comes back by itself.
    pub fn recover(&mut self) {
        self.retire_damaged();
        let broken = self.left_broken();
        let core: BTreeSet<u64> = self.cluster.ids().into_iter().filter(|id| !broken.contains(id)).collect();
        self.cluster.net.set_storm(false);
        self.cluster.net.mend(|_| true);
        self.cluster.say(None, || format!("all is healed but {broken:?}"));
        // Whoever only has a disk that hangs may lead until something is to be written.
        let mut reached = core.clone();
        for id in &broken {
            match self.dice.below(4) {
                3 => {
                    self.cluster.machine(*id).pace.stop();
                    reached.insert(*id);
                }
                0 => self.cluster.crash(*id, PowerCut::LoseAll),
                1 if self.cluster.is_up(*id) => self.cluster.set_paused(*id, true),
                _ => core.iter().for_each(|other| {
                    self.cluster.net.cut(*id, *other);
                    self.cluster.net.cut(*other, *id);
                }),
            }
        }
        for id in &core {
            self.cluster.machine(*id).power.restore();
            self.cluster.machine(*id).disk.heal();
            self.mend_disk(*id);
            if self.cluster.machine(*id).paused {
                self.cluster.set_paused(*id, false);
            }
            self.cluster.start(*id);
        }
        if self.is_unfounded() {
            // Whoever was asked to found the cluster may have lost its power over that: an operator asks again.
            self.cluster.run_for(200 * MS);
            self.initialize();
        }
        let timeout = self.cluster.config.election_timeout_max;
        // Nodes that start first wait as long as a leader they knew could still count on them.
        let leads = reached.clone();
        self.wait("leader", LEADER_TIMEOUTS_MAX * timeout, &core, |swarm, _| {
            swarm.cluster.leader(&leads).is_some()
        });
        let mut probe = self.client(JUDGE);
        // Longer than a write takes, and not much: it may ask one whose disk hangs.
        probe.habits.timeout = Duration::from_millis(4 * timeout);
        probe.nodes = reached.into_iter().collect();
        let (told, heard) = std::sync::mpsc::channel();
        world::spawn(async move {
            while !probe.write(0).await {
                SimRuntime::sleep(Duration::from_millis(20)).await;
            }
            let _ = told.send(());
        });
        // A snapshot that was on its way when all was healed may have to be given up first (seed 2813).
        let stall = SNAPSHOT_STALL.as_millis() as u64;
        self.wait("new entry", WRITE_TIMEOUTS_MAX * timeout + stall, &core, move |_, _| {
            heard.try_recv().is_ok()
        });
        self.wait("agreement", IN_STEP_TIMEOUTS_MAX * timeout + stall, &core, |swarm, core| {
            swarm.is_in_step(core)
        });
        self.cluster.history.end();
        if self.dice.chance(1, CALM_ONE_IN) {
            self.stay_calm(&core);
        }
    }

    /// I18: when nobody asks for anything, whoever leads goes on to.
    fn stay_calm(&mut self, core: &BTreeSet<u64>) {
        let timeout = self.cluster.config.election_timeout_max;
        // What is on its way still has its effect first, and a leader that was removed its end.
        self.cluster.run_for(self.settings.net.delay_ns_max + SETTLE_TIMEOUTS * timeout * MS);
        let leads = |swarm: &Self| {
            let leader = swarm.cluster.leader(core);
            leader.map(|id| (id, swarm.cluster.metrics(id).map(|metrics| metrics.current_term)))
        };
        let before = leads(self);
        for _ in 0..CALM_TIMEOUTS {
            self.cluster.run_for(timeout * MS);
            let now = leads(self);
            assert!(before == now, "I18: {before:?} led, and {now:?} does although nothing goes wrong");
        }
        for id in core {
            let Some(metrics) = self.cluster.metrics(*id) else { continue };
            let applied = metrics.last_applied.as_ref().map_or(0, |last| last.index + 1);
            self.cluster.watch.acts_on(*id, applied, metrics.membership_config.get_joint_config());
        }
    }

    fn wait(
        &mut self,
        what: &str,
        ms_max: u64,
        core: &BTreeSet<u64>,
        met: impl Fn(&Self, &BTreeSet<u64>) -> bool,
    ) {
        let end = world::now_ns() + ms_max * MS;
        while !met(self, core) {
            self.cluster.run_for(20 * MS);
            // A disk that failed before all was healed may be noticed only now: then the node is started once more.
            core.iter().for_each(|id| self.cluster.start(*id));
            if world::now_ns() < end {
                continue;
            }
            for id in self.cluster.ids() {
                let metrics = self.cluster.metrics(id).map(|metrics| metrics.to_string());
                self.cluster.say(Some(id), || format!("{id} {metrics:?}"));
            }
            panic!("I18: no {what} within {ms_max} ms after all is healed");
        }
    }

    /// Whether the leader's members have applied all that it knows to be committed, and no change is half done.
    fn is_in_step(&self, core: &BTreeSet<u64>) -> bool {
        let Some(leader) = self.cluster.leader(core).and_then(|id| self.cluster.metrics(id)) else {
            return false;
        };
        let membership = &leader.membership_config;
        membership.get_joint_config().len() == 1
            && leader.last_applied.is_some()
            && leader.last_applied.as_ref().map(|last| last.index)
                >= leader.last_log_index.map(|last| last.saturating_sub(20))
            && membership.nodes().filter(|(id, _)| core.contains(id)).all(|(id, _)| {
                let metrics = self.cluster.metrics(*id);
                metrics.is_some_and(|metrics| {
                    metrics.last_applied.as_ref().map(|last| last.index + 20)
                        >= leader.last_applied.as_ref().map(|last| last.index)
                })
            })
    }

    /// I14: what all clients saw fits into one order, key by key.
    pub fn judge(&mut self) {
        let mut keys: BTreeMap<u64, Vec<Op>> = BTreeMap::new();
        for operation in self.cluster.history.operations() {
            keys.entry(operation.key).or_default().push(operation);
        }
        for history in keys.values() {
            self.keys += 1;
            match linearizability::check_within(history, CONFIGURATIONS_MAX) {
                Verdict::Linearizable => {}
                Verdict::Undecided { .. } => self.undecided += 1,
                Verdict::Violation(example) => panic!("I14: {example}"),
            }
        }
        // A run that proves nothing of most of its keys is no proof.
        assert!(
            2 * self.undecided <= self.keys,
            "I14: nobody knows of {} histories of {}",
            self.undecided,
            self.keys
        );
    }
}

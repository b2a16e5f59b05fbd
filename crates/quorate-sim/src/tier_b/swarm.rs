//! A random run per seed: faults, clients and operators at the same time; then all that matters is healed, and the
//! cluster must come back and what clients saw must fit together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate::ChangeMembers;
use quorate_log::sim_disk::Fault;
use quorate_log::sim_disk::Left;
use quorate_log::sim_disk::PowerCut;
use quorate_rt::AsyncRuntime;

use crate::dice::Dice;
use crate::linearizability;
use crate::linearizability::Verdict;
use crate::plan::Plan;
use crate::tally::Tally;
use crate::tier_b::client;
use crate::tier_b::client::History;
use crate::tier_b::cluster::Cluster;
use crate::tier_b::cluster::member;
use crate::tier_b::net::Net;
use crate::tier_b::observer::Watch;
use crate::tier_b::runtime::SimRuntime;
use crate::tier_b::settings;
use crate::tier_b::settings::Faults;
use crate::tier_b::settings::Settings;
use crate::tier_b::types::Types;
use crate::tier_b::world;
use crate::trace::Trace;

const MS: u64 = 1_000_000;
/// Beyond all machines and addresses of clients: who judges at the end.
const JUDGE: u64 = 99;
/// Configurations that the search for an order may take for one key.
const CONFIGURATIONS_MAX: usize = 200_000;

/// More than there are kinds of acts.
const ACTS_MAX: u64 = 32;

/// What can happen in a step, once.
#[derive(Clone, Copy)]
enum Act {
    Crash,
    Blackout,
    PowerCut,
    Pause,
    Partition,
    SlowLink,
    Jump,
    Change,
    Transfer,
    Elect,
    Snapshot,
    Purge,
    DiskError,
    DiskFull,
    DiskSlow,
    DiskHang,
}

/// One run.
pub struct Swarm<C: Types> {
    pub cluster: Cluster<C>,
    dice: Dice,
    plan: Plan,
    settings: Settings,
    /// Acts so far.
    acts: u64,
    steps: u64,
    storm: bool,
    pauses: u64,
    cuts: u64,
    jumps: u64,
    power_cuts: u64,
    blackouts: u64,
    slow_links: u64,
    disk_errors: u64,
    full_disks: u64,
    slow_disks: u64,
    hung_disks: u64,
    transfers: u64,
    orders: u64,
    /// Each change of members that an operator waits for holds a clone.
    changes: Arc<()>,
}

impl<C: Types> Swarm<C> {
    pub fn new(seed: u64, mut dice: Dice, plan: Plan, trace: Option<Trace>) -> Self {
        let config = settings::config(&mut dice);
        let settings = settings::settings(&mut dice);
        let log = settings::log_options(&mut dice);
        let config = config.validate().unwrap_or_else(|error| panic!("seed {seed} draws {error}"));
        let net = Net::new(settings.net.clone());
        net.set_parts_bytes(settings.parts_bytes);
        let cluster = Cluster {
            net,
            watch: Watch::default(),
            history: History::default(),
            config: Arc::new(config),
            log,
            machines: Default::default(),
            trace,
            slow_ns: settings.slow_ns,
            crashes: 0,
            stops: 0,
        };
        cluster.say(None, || format!("{:?} {:?}", cluster.config, cluster.log));
        cluster.say(None, || format!("{settings:?}"));
        Self {
            cluster,
            dice,
            plan,
            settings,
            acts: 0,
            steps: 0,
            storm: false,
            pauses: 0,
            cuts: 0,
            jumps: 0,
            power_cuts: 0,
            blackouts: 0,
            slow_links: 0,
            disk_errors: 0,
            full_disks: 0,
            slow_disks: 0,
            hung_disks: 0,
            transfers: 0,
            orders: 0,
            changes: Arc::default(),
        }
    }

    pub fn acts(&self) -> u64 {
        self.acts
    }

    /// Starts the machines, founds the cluster and lets the clients go.
    pub fn found(&mut self) {
        let all = self.settings.voters + self.settings.spares;
        for _ in 0..all {
            let id = self.cluster.add(self.settings.disk_ns);
            let drift = self.settings.drift_ppm_max;
            world::set_drift(id, self.dice.below(2 * drift + 1) as i64 - drift as i64);
            self.cluster.start(id);
        }
        self.cluster.run_for(200 * MS);
        let members: std::collections::BTreeMap<_, _> =
            (1..=self.settings.voters).map(|id| (id, member(id))).collect();
        if self.settings.faults.change == 0 {
            self.cluster.watch.set_voters((1..=self.settings.voters).collect());
        }
        let raft = self.cluster.raft(1).expect("a node starts with an empty disk");
        world::spawn_on(1, async move {
            let founded = raft.initialize(members).await;
            assert!(founded.is_ok(), "{founded:?}");
        });
        for number in 1..=self.settings.habits.clients {
            world::spawn(self.client(number).run());
        }
    }

    fn client(&self, number: u64) -> client::Client<C> {
        client::Client {
            number,
            net: self.cluster.net.clone(),
            history: self.cluster.history.clone(),
            habits: self.settings.habits.clone(),
            nodes: self.cluster.ids(),
            leader: None,
        }
    }

    /// Whether the act that was rolled is done: not if the plan leaves it out. Its number is that of the step and of its
    /// kind, so that it does not depend on what was left out before.
    fn is_done(&mut self, kind: Act) -> bool {
        self.acts += 1;
        self.plan.does(self.steps * ACTS_MAX + kind as u64)
    }

    /// Everything at the same time, for a while. Returns how many steps that were.
    pub fn storm(&mut self) -> u64 {
        let end = world::now_ns() + self.settings.storm_ns;
        let steps_max = self.plan.steps(u64::MAX);
        while world::now_ns() < end && self.steps < steps_max {
            self.plan.begin_step();
            let wait = self.dice.below(self.settings.act_ns_max);
            self.cluster.run_for(wait);
            self.step();
            self.steps += 1;
        }
        self.steps
    }

    fn step(&mut self) {
        let faults = self.settings.faults.clone();
        if self.dice.chance(30, 1000) {
            self.storm = !self.storm;
            self.cluster.net.set_storm(self.storm);
        }
        self.operator();
        if !self.storm {
            return self.mend();
        }
        if self.dice.chance(faults.crash, 1000) {
            self.crash();
        }
        if self.dice.chance(faults.blackout, 1000) && self.is_done(Act::Blackout) {
            self.blackouts += 1;
            for id in self.cluster.ids() {
                let cut = self.power_cut();
                self.cluster.crash(id, cut);
            }
        }
        if self.dice.chance(faults.cut, 1000) {
            self.cut_power();
        }
        if self.dice.chance(faults.pause, 1000) {
            let id = self.any();
            if self.is_done(Act::Pause) && self.cluster.is_up(id) {
                self.pauses += 1;
                self.cluster.set_paused(id, true);
            }
        }
        if self.dice.chance(faults.partition, 1000) {
            self.partition();
        }
        if self.dice.chance(faults.slow_link, 1000) {
            let (from, to) = (self.any(), self.any());
            if self.is_done(Act::SlowLink) {
                self.slow_links += 1;
                self.cluster.net.slow(from, to);
            }
        }
        if self.dice.chance(faults.jump, 1000) {
            let (id, by) = (self.any(), self.dice.below(2_000 * MS));
            if self.is_done(Act::Jump) {
                self.jumps += 1;
                world::jump(id, by);
            }
        }
        self.spoil_disks(&faults);
        if self.dice.chance(1, 4) {
            self.mend();
        }
    }

    /// Disks that fail, fill up, get slow or hang.
    fn spoil_disks(&mut self, faults: &Faults) {
        if self.dice.chance(faults.disk_error, 1000) {
            let (id, after) = (self.any(), self.dice.below(20));
            let fault = match self.dice.below(3) {
                0 => Fault::FailWrite(std::io::ErrorKind::Other),
                _ => Fault::FailSync,
            };
            if self.is_done(Act::DiskError) {
                self.disk_errors += 1;
                let machine = self.cluster.machine(id);
                machine.failing = true;
                machine.disk.fault_at(machine.disk.changes() + after, fault);
                self.cluster.say(Some(id), || format!("{id} will have a disk error: {fault:?}"));
            }
        }
        if self.dice.chance(faults.disk_full, 1000) {
            let (id, room) = (self.any(), self.dice.below(200_000));
            if self.is_done(Act::DiskFull) {
                self.full_disks += 1;
                let machine = self.cluster.machine(id);
                machine.failing = true;
                machine.disk.set_capacity(Some(room));
                self.cluster.say(Some(id), || format!("{id} has a disk of {room} bytes"));
            }
        }
        if self.dice.chance(faults.disk_slow, 1000) {
            let (id, times) = (self.any(), 10 + self.dice.below(990));
            if self.is_done(Act::DiskSlow) {
                self.slow_disks += 1;
                self.cluster
                    .machine(id)
                    .pace
                    .set(self.settings.disk_ns.saturating_mul(times).min(5_000 * MS));
                self.cluster.say(Some(id), || format!("{id} has a disk that is {times} times slower"));
            }
        }
        if self.dice.chance(faults.disk_hang, 1000) {
            let id = self.any();
            if self.is_done(Act::DiskHang) {
                self.hung_disks += 1;
                self.cluster.machine(id).pace.stop();
                self.cluster.say(Some(id), || format!("{id} has a disk that hangs"));
            }
        }
    }

    fn mend_disk(&mut self, id: u64) {
        let disk_ns = self.settings.disk_ns;
        let machine = self.cluster.machine(id);
        machine.disk.set_capacity(None);
        machine.pace.set(disk_ns);
    }

    fn any(&mut self) -> u64 {
        let ids = self.cluster.ids();
        *self.dice.pick(&ids).unwrap_or(&1)
    }

    fn any_leader(&mut self) -> Option<u64> {
        let all: BTreeSet<u64> = self.cluster.ids().into_iter().collect();
        self.cluster.leader(&all)
    }

    fn power_cut(&mut self) -> PowerCut {
        let left = if self.dice.chance(1, 2) { Left::Old } else { Left::Zeroes };
        match self.dice.below(4) {
            0 => PowerCut::LoseAll,
            1 => PowerCut::KeepAll,
            2 => PowerCut::Tear { sector: 512, left },
            _ => PowerCut::Tear { sector: 4096, left },
        }
    }

    fn crash(&mut self) {
        let id = if self.dice.chance(1, 4) { self.any_leader() } else { None };
        let id = match id {
            Some(id) => id,
            None => self.any(),
        };
        let cut = self.power_cut();
        if self.is_done(Act::Crash) {
            self.cluster.crash(id, cut);
        }
    }

    /// The power of a machine will fail between two operations of its disk.
    fn cut_power(&mut self) {
        let (id, after, cut) = (self.any(), self.dice.below(12), self.power_cut());
        if self.is_done(Act::PowerCut) && self.cluster.is_up(id) {
            self.power_cuts += 1;
            let machine = self.cluster.machine(id);
            machine.cut = cut;
            machine.power.fail_after(after);
            self.cluster.say(Some(id), || format!("{id} will lose its power: {cut:?}"));
        }
    }

    fn partition(&mut self) {
        let ids = self.cluster.ids();
        let mut links = Vec::new();
        match self.dice.below(4) {
            // Two halves.
            0 => {
                let side: Vec<u64> = ids.iter().copied().filter(|_| self.dice.chance(1, 2)).collect();
                for from in &ids {
                    for to in &ids {
                        if side.contains(from) != side.contains(to) {
                            links.push((*from, *to));
                        }
                    }
                }
            }
            // One alone.
            1 => {
                let one = self.any();
                links.extend(ids.iter().flat_map(|id| [(one, *id), (*id, one)]));
            }
            // One that is heard and does not hear, or the other way round.
            2 => {
                let (one, deaf) = (self.any(), self.dice.chance(1, 2));
                links.extend(ids.iter().map(|id| if deaf { (*id, one) } else { (one, *id) }));
            }
            // One link, in one direction: not transitive.
            _ => links.push((self.any(), self.any())),
        }
        if self.is_done(Act::Partition) {
            self.cluster.say(None, || format!("these links are cut: {links:?}"));
            self.cuts += links.len() as u64;
            for (from, to) in links {
                if from != to {
                    self.cluster.net.cut(from, to);
                }
            }
        }
    }

    /// Some of what is broken comes back.
    fn mend(&mut self) {
        for id in self.cluster.ids() {
            if self.dice.chance(1, 10) {
                self.cluster.start(id);
            }
            if self.dice.chance(1, 15) {
                self.mend_disk(id);
            }
            if self.cluster.machine(id).paused && self.dice.chance(1, 10) {
                self.cluster.set_paused(id, false);
            }
        }
        if self.dice.chance(1, 12) {
            self.cluster.net.mend(|_| true);
        }
    }

    /// What operators do, whatever else goes on.
    fn operator(&mut self) {
        let faults = self.settings.faults.clone();
        if self.dice.chance(faults.change, 1000) {
            self.change();
        }
        let Some(leader) = self.any_leader() else { return };
        if self.dice.chance(faults.transfer, 1000) {
            let to = self.any();
            if self.is_done(Act::Transfer)
                && let Some(raft) = self.cluster.raft(leader)
            {
                self.transfers += 1;
                self.cluster.say(Some(leader), || format!("{leader} is to hand over to {to}"));
                world::spawn_on(leader, async move {
                    let _ = raft.trigger().transfer_leader(to).await;
                });
            }
        }
        if self.dice.chance(faults.elect, 1000) {
            let (id, pre) = (self.any(), self.dice.chance(1, 2));
            if self.is_done(Act::Elect)
                && let Some(raft) = self.cluster.raft(id)
            {
                self.orders += 1;
                world::spawn_on(id, async move {
                    let _ = raft.trigger().elect(pre).await;
                });
            }
        }
        if self.dice.chance(faults.snapshot, 1000) {
            let id = self.any();
            if self.is_done(Act::Snapshot)
                && let Some(raft) = self.cluster.raft(id)
            {
                world::spawn_on(id, async move {
                    let _ = raft.trigger().snapshot().await;
                });
            }
        }
        if self.dice.chance(faults.purge, 1000) {
            let (id, upto) = (self.any(), self.cluster.watch.committed_end());
            if self.is_done(Act::Purge)
                && let Some(raft) = self.cluster.raft(id)
            {
                world::spawn_on(id, async move {
                    let _ = raft.trigger().purge_log(upto).await;
                });
            }
        }
    }

    /// A change of the membership, by whoever leads.
    fn change(&mut self) {
        let ids = self.cluster.ids();
        let some: BTreeSet<u64> = ids.iter().copied().filter(|_| self.dice.chance(3, 5)).collect();
        let (one, retain) = (self.any(), self.dice.chance(1, 2));
        let change = match self.dice.below(5) {
            0 => ChangeMembers::AddNodes([(one, member(one))].into()),
            1 => ChangeMembers::RemoveNodes([one].into()),
            2 => ChangeMembers::AddVoters([(one, member(one))].into()),
            3 => ChangeMembers::RemoveVoters([one].into()),
            _ if some.is_empty() => ChangeMembers::AddVoterIds([one].into()),
            _ => ChangeMembers::AddVoters(some.into_iter().map(|id| (id, member(id))).collect()),
        };
        let Some(leader) = self.any_leader() else { return };
        if self.is_done(Act::Change)
            && let Some(raft) = self.cluster.raft(leader)
        {
            self.cluster.say(Some(leader), || format!("{leader} is asked to change members: {change:?}"));
            let under_way = self.changes.clone();
            world::spawn_on(leader, async move {
                let _ = raft.change_membership(change, retain).await;
                drop(under_way);
            });
        }
    }

    /// Machines that stay as broken as they are when the rest is healed: never so many that a quorum is missing.
    fn left_broken(&mut self) -> BTreeSet<u64> {
        let mut broken = BTreeSet::new();
        let newest = self.cluster.ids().into_iter().filter_map(|id| self.cluster.metrics(id));
        let memberships: Vec<_> = newest.map(|metrics| metrics.membership_config).collect();
        // Which membership is in force is only known when all are heard: whoever counts anywhere counts.
        let unknown = memberships.len() < self.cluster.machines.len() || Arc::strong_count(&self.changes) > 1;
        if self.dice.chance(1, 2) || unknown {
            return broken;
        }
        for id in self.cluster.ids() {
            let may_go =
                memberships.iter().flat_map(|membership| membership.get_joint_config()).all(|voters| {
                    let others = voters.iter().filter(|voter| **voter != id && !broken.contains(*voter));
                    others.count() > voters.len() / 2
                });
            if may_go && self.dice.chance(1, 2) {
                broken.insert(id);
            }
        }
        broken
    }

    /// I18: when faults end, for a majority at least, the cluster comes back by itself.
    pub fn recover(&mut self) {
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
        let timeout = self.cluster.config.election_timeout_max;
        // Nodes that start first wait as long as a leader they knew could still count on them.
        let leads = reached.clone();
        self.wait("leader", 40 * timeout, &core, |swarm, _| swarm.cluster.leader(&leads).is_some());
        let mut probe = self.client(JUDGE);
        probe.nodes = reached.into_iter().collect();
        let (told, heard) = std::sync::mpsc::channel();
        world::spawn(async move {
            while !probe.write(0).await {
                SimRuntime::sleep(Duration::from_millis(20)).await;
            }
            let _ = told.send(());
        });
        self.wait("new entry", 60 * timeout, &core, move |_, _| heard.try_recv().is_ok());
        self.wait("agreement", 200 * timeout, &core, |swarm, core| swarm.is_in_step(core));
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

    /// I14: what all clients saw fits into one order.
    pub fn judge(&mut self) {
        let history = self.cluster.history.operations();
        match linearizability::check_within(&history, CONFIGURATIONS_MAX) {
            Verdict::Linearizable | Verdict::Undecided { .. } => {}
            Verdict::Violation(example) => panic!("I14: {example}"),
        }
    }

    pub fn tally(&self) -> Tally {
        let seen = self.cluster.watch.tally();
        let net = self.cluster.net.tally();
        let clients = self.cluster.history.tally();
        let (polls, _) = world::progress();
        Tally {
            events: polls,
            simulated_us: world::now_ns() / 1_000,
            elections: seen.elections,
            commits: seen.commits,
            changes: seen.changes,
            writes: clients.writes,
            reads: clients.reads,
            leased: clients.leased,
            built: seen.built,
            installed: seen.installed,
            crashes: self.cluster.crashes,
            dropped: net.lost,
            duplicated: net.duplicated,
            late: net.late,
            cuts: self.cuts,
            stalls: self.slow_disks,
            hangs: self.hung_disks,
            blackouts: self.blackouts,
            pauses: self.pauses,
            leaps: self.jumps,
            slow_links: self.slow_links,
            power_cuts: self.power_cuts,
            disk_errors: self.disk_errors,
            full_disks: self.full_disks,
            corrupted: net.flipped + net.spoiled,
            unanswered: net.hung + net.half_open,
            transfers: self.transfers,
            orders: self.orders,
            ..Tally::default()
        }
    }
}

//! A random run per seed: faults, clients and operators at the same time; then all that matters is healed, and the
//! cluster must come back and what clients saw must fit together.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use quorate::ChangeMembers;
use quorate_log::sim_disk::Fault;
use quorate_log::sim_disk::Left;
use quorate_log::sim_disk::PowerCut;

use crate::dice::Dice;
use crate::plan::Plan;
use crate::tally::Tally;
use crate::tier_b::client;
use crate::tier_b::cluster::Cluster;
use crate::tier_b::cluster::member;
use crate::tier_b::net::Net;
use crate::tier_b::schemes::Stranded;
use crate::tier_b::settings;
use crate::tier_b::settings::Faults;
use crate::tier_b::settings::Settings;
use crate::tier_b::types::Types;
use crate::tier_b::world;
use crate::trace::Trace;

pub(super) const MS: u64 = 1_000_000;

/// More than there are kinds of acts.
const ACTS_MAX: u64 = 32;

/// What can happen in a step, once.
#[derive(Clone, Copy)]
pub(super) enum Act {
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
    Strand,
    Rot,
}

/// One run.
pub struct Swarm<C: Types> {
    pub cluster: Cluster<C>,
    pub(super) dice: Dice,
    pub(super) plan: Plan,
    pub(super) settings: Settings,
    /// Acts so far.
    pub(super) acts: u64,
    pub(super) steps: u64,
    pub(super) storm: bool,
    pub(super) pauses: u64,
    pub(super) cuts: u64,
    pub(super) jumps: u64,
    pub(super) power_cuts: u64,
    pub(super) blackouts: u64,
    pub(super) slow_links: u64,
    pub(super) disk_errors: u64,
    pub(super) full_disks: u64,
    pub(super) slow_disks: u64,
    pub(super) hung_disks: u64,
    pub(super) transfers: u64,
    pub(super) orders: u64,
    pub(super) stranded: Option<Stranded>,
    pub(super) strandings: u64,
    pub(super) damages: u64,
    pub(super) replacements: u64,
    /// Who is to take the place of a machine that is switched off.
    pub(super) successors: BTreeMap<u64, u64>,
    /// Keys whose history was checked, and those of which nobody knows.
    pub(super) keys: u64,
    pub(super) undecided: u64,
    /// Each change of members that an operator waits for holds a clone.
    pub(super) changes: Arc<()>,
}

impl<C: Types> Swarm<C> {
    pub fn new(seed: u64, mut dice: Dice, plan: Plan, trace: Option<Trace>) -> Self {
        let config = settings::config(&mut dice);
        let settings = settings::settings(&mut dice);
        let log = settings::log_options(&mut dice);
        let config = config.validate().unwrap_or_else(|error| panic!("seed {seed} draws {error}"));
        let net = Net::new(settings.net.clone());
        net.set_parts_bytes(settings.parts_bytes);
        let mut cluster = Cluster::new(net, config, log);
        cluster.trace = trace;
        cluster.slow_ns = settings.slow_ns;
        cluster.lease_reads = settings.habits.lease_reads;
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
            stranded: None,
            strandings: 0,
            damages: 0,
            replacements: 0,
            successors: BTreeMap::new(),
            keys: 0,
            undecided: 0,
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
            let drift_ppm = self.settings.draw_drift(&mut self.dice);
            world::set_drift(id, drift_ppm);
            self.cluster.start(id);
        }
        self.cluster.run_for(200 * MS);
        self.initialize();
        for number in 1..=self.settings.habits.clients {
            world::spawn(self.client(number).run());
        }
    }

    /// Asks the first machine to found the cluster, if it is up. Once it is founded, that is refused.
    pub(super) fn initialize(&self) {
        let members: BTreeMap<_, _> = (1..=self.settings.voters).map(|id| (id, member(id))).collect();
        let Some(raft) = self.cluster.raft(1) else { return };
        world::spawn_on(1, async move {
            let founded = raft.initialize(members).await;
            let known = founded.as_ref().err().is_none_or(|error| error.api_error().is_some());
            assert!(known, "{founded:?}");
        });
    }

    pub(super) fn client(&self, number: u64) -> client::Client<C> {
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
    pub(super) fn is_done(&mut self, kind: Act) -> bool {
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
        self.rescue();
        self.replace();
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
        if self.dice.chance(faults.strand, 1000) && self.stranded.is_none() && self.is_done(Act::Strand) {
            self.strand();
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
        if self.dice.chance(faults.rot, 1000) && self.is_done(Act::Rot) {
            self.spoil();
        }
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

    pub(super) fn mend_disk(&mut self, id: u64) {
        let disk_ns = self.settings.disk_ns;
        let machine = self.cluster.machine(id);
        machine.disk.set_capacity(None);
        machine.pace.set(disk_ns);
    }

    pub(super) fn any(&mut self) -> u64 {
        let ids = self.cluster.ids();
        *self.dice.pick(&ids).unwrap_or(&1)
    }

    pub(super) fn any_leader(&mut self) -> Option<u64> {
        let all: BTreeSet<u64> = self.cluster.ids().into_iter().collect();
        self.cluster.leader(&all)
    }

    pub(super) fn power_cut(&mut self) -> PowerCut {
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
            strandings: self.strandings,
            damages: self.damages,
            wiped: self.cluster.retired,
            refused: self.cluster.refused,
            untold: self.cluster.untold,
            probes: seen.probes,
            keys: self.keys,
            undecided: self.undecided,
            transfers: self.transfers,
            orders: self.orders,
            ..Tally::default()
        }
    }
}

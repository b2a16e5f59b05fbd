//! Damage to what disks hold: never on more machines at a time than the cluster can do without.
//!
//! A machine counts as damaged from the first fault on, found or not, until it is switched off for good and a new one,
//! with an id of its own, has taken its place. While too few others would be left in some voter set that is in force, or
//! may yet be, nothing more is damaged: a copy of every committed entry is left in every quorum of the others.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use quorate::ChangeMembers;
use quorate_log::Directory;
use quorate_log::sim_disk::Fault;
use quorate_log::sim_disk::PowerCut;

use crate::dice::Dice;
use crate::tier_b::cluster::Damage;
use crate::tier_b::cluster::member;
use crate::tier_b::swarm::Swarm;
use crate::tier_b::types::Types;
use crate::tier_b::world;

/// Machines that take the place of damaged ones, in one run.
const REPLACEMENTS_MAX: u64 = 4;
/// A damaged machine that nobody noticed is replaced once in so many steps.
const SUSPECTED_ONE_IN: u64 = 60;
/// How often a lost machine is to be replaced, of ten steps.
const REPLACED: u64 = 3;
/// Blocks that one damage covers at the most.
const BLOCKS_MAX: u64 = 4;

impl<C: Types> Swarm<C> {
    /// Whether every quorum of the others has what is committed, and there is one, without this machine.
    fn may_lose(&self, id: u64) -> bool {
        let lost = |voter: u64| voter == id || self.cluster.is_damaged(voter);
        let sets = self.cluster.watch.voter_sets();
        !sets.is_empty()
            && sets.iter().all(|voters| {
                let lost = voters.iter().filter(|voter| lost(**voter)).count();
                2 * lost < voters.len()
            })
    }

    /// Something happens to what a disk holds, or is to hold.
    pub(super) fn spoil(&mut self) {
        let id = self.any();
        let kind = self.dice.below(12);
        let before = self.cluster.machine(id).damage;
        // One write that went astray may be told from the rest of the disk; who knows of two.
        let lying = kind < 3;
        if before == Damage::Lying || (lying && before != Damage::None) || !self.may_lose(id) {
            return;
        }
        let disk = self.cluster.machine(id).disk.clone();
        let text = match kind {
            0..=2 => {
                let fault = if kind == 0 { Fault::LoseWrite } else { Fault::Misdirect };
                let at = disk.changes() + self.dice.below(30);
                disk.fault_at(at, fault);
                format!("{id} will have a disk that lies: {fault:?}")
            }
            _ => {
                let names = disk.list().unwrap_or_default();
                let files = names.into_iter().filter_map(|name| {
                    let len = disk.contents(&name)?.len() as u64;
                    (len > 0).then_some((name, len))
                });
                let files: Vec<(String, u64)> = files.collect();
                let Some((name, len)) = self.dice.pick(&files).cloned() else { return };
                let used = disk.contents(&name).unwrap_or_default();
                let used = used.iter().rposition(|byte| *byte != 0).map_or(1, |at| at as u64 + 1);
                let at = self.dice.below((used + 600).min(len));
                self.rot(id, &name, at, kind)
            }
        };
        let machine = self.cluster.machine(id);
        machine.damage = if lying { Damage::Lying } else { Damage::Rotten };
        self.damages += 1;
        self.cluster.say(Some(id), || text);
        if self.dice.chance(1, 3) {
            // Most of it is found by the next start alone.
            let cut = self.power_cut();
            self.cluster.crash(id, cut);
        }
    }

    /// The snapshots of whoever leads rot, as it is about to send one.
    pub(super) fn spoil_snapshots(&mut self) {
        let Some(id) = self.any_leader().filter(|id| self.may_lose(*id)) else { return };
        let disk = self.cluster.machine(id).disk.clone();
        let names = disk.list().unwrap_or_default();
        for name in names.iter().filter(|name| name.ends_with(".snap")) {
            let len = disk.contents(name).map_or(0, |bytes| bytes.len() as u64);
            // Behind the header: of the state itself.
            let at = len.saturating_sub(1 + self.dice.below(100));
            disk.rot(name, at, |byte| byte ^ 1);
            self.cluster.say(Some(id), || format!("{id}: a bit of {name} flips at {at}"));
        }
        if self.cluster.machine(id).damage == Damage::None {
            self.cluster.machine(id).damage = Damage::Rotten;
        }
        self.damages += 1;
    }

    /// Damages a file around a place.
    fn rot(&mut self, id: u64, name: &str, at: u64, kind: u64) -> String {
        let disk = self.cluster.machine(id).disk.clone();
        let block = if self.dice.chance(1, 2) { 512 } else { 4096 };
        let begin = at / block * block;
        let range = begin..begin + block * (1 + self.dice.below(BLOCKS_MAX));
        let (bit, mut noise) = (1 << self.dice.below(8), Dice(self.dice.roll()));
        match kind {
            3..=5 => {
                disk.rot(name, at, |byte| byte ^ bit);
                format!("{id}: a bit of {name} flips at {at}")
            }
            6 => {
                disk.rot_all(name, range.clone(), |_, _| 0);
                format!("{id}: {name} is zero at {range:?}")
            }
            7 | 8 => {
                disk.rot_all(name, range.clone(), |_, _| noise.roll() as u8);
                format!("{id}: {name} is garbage at {range:?}")
            }
            9 => {
                // Whoever has it open reads on.
                let _ = disk.remove(name).and_then(|()| disk.sync());
                format!("{id}: {name} is gone")
            }
            _ => {
                let times = if kind == 10 { 1 } else { u64::MAX };
                disk.fail_reads(name, range.clone(), times);
                format!("{id}: {name} cannot be read at {range:?}, {times} times")
            }
        }
    }

    /// What an operator does about damaged machines: switches them off for good, and lets others take their place.
    pub(super) fn replace(&mut self) {
        for id in self.cluster.ids() {
            if self.cluster.is_damaged(id) && self.dice.chance(1, SUSPECTED_ONE_IN) {
                self.cluster.retire(id);
            }
        }
        let sets = self.cluster.watch.voter_sets();
        // One change at a time, and only from a membership that all know of.
        let [voters] = sets.as_slice() else { return };
        let gone =
            voters.iter().find(|id| self.cluster.machines.get(id).is_some_and(|machine| machine.retired));
        let Some(gone) = gone.copied().filter(|_| self.dice.chance(REPLACED, 10)) else { return };
        let Some(leader) = self.any_leader() else { return };
        let Some(raft) = self.cluster.raft(leader) else { return };
        let new = match self.successors.get(&gone) {
            Some(new) if !self.cluster.is_damaged(*new) => *new,
            _ if self.replacements == REPLACEMENTS_MAX => return,
            _ => {
                self.replacements += 1;
                let new = self.cluster.add(self.settings.disk_ns);
                self.successors.insert(gone, new);
                self.cluster.start(new);
                new
            }
        };
        let voters: BTreeSet<u64> =
            voters.iter().map(|voter| if *voter == gone { new } else { *voter }).collect();
        self.cluster.say(Some(leader), || format!("{leader} is to replace {gone} by {new}"));
        world::spawn_on(leader, async move {
            let added = ChangeMembers::AddNodes(BTreeMap::from([(new, member(new))]));
            if raft.change_membership(added, true).await.is_ok() {
                let _ = raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), false).await;
            }
        });
    }

    /// The damaged machines are switched off: what is to come back does so without them.
    pub(super) fn retire_damaged(&mut self) {
        for id in self.cluster.ids() {
            if self.cluster.is_damaged(id) {
                self.cluster.retire(id);
            }
        }
    }
}

impl<C: Types> crate::tier_b::cluster::Cluster<C> {
    /// Whether something has happened to what its disk holds.
    pub fn is_damaged(&self, id: u64) -> bool {
        self.machines.get(&id).is_some_and(|machine| machine.retired || machine.damage != Damage::None)
    }

    /// Switches a machine off for good.
    pub fn retire(&mut self, id: u64) {
        self.crash(id, PowerCut::LoseAll);
        self.machine(id).retired = true;
        self.retired += 1;
        self.say(Some(id), || format!("{id} is switched off for good"));
    }
}

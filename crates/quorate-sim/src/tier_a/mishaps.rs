//! What befalls nodes, disks, clocks and links: the faults of a schedule, each as it strikes.

use std::collections::BTreeSet;

use quorate_core::Membership;
use quorate_core::mutant;

use crate::invariants::quorum::is_quorum;
use crate::tier_a::Ids;
use crate::tier_a::settings;
use crate::tier_a::swarm::Chaos;
use crate::tier_a::wire::Body;
use crate::tier_a::wire::Disk;
use crate::tier_a::wire::Envelope;

/// Most messages held back at a time.
const HELD_MAX: usize = 4;
/// Most nodes that a run ever has: what is checked of memberships tries out all sets of nodes.
const NODES_MAX: usize = 12;
/// Effects of a node between its start and its next crash, at most.
const EFFECTS_BEFORE_CRASH_MAX: u64 = 12;
/// The shortest pause, hang or leap, and how often it may double.
const SHORTEST_US: u64 = 100_000;
const DOUBLINGS: u64 = 8;

/// A message that somebody holds back.
pub(crate) struct Held<L: Ids> {
    pub(crate) envelope: Envelope<L>,
    /// It goes on at this time, or when another than this leads, if that is said.
    until_us: u64,
    leader: Option<u64>,
}

impl<L: Ids> Chaos<L> {
    /// Everything that befalls a cluster during a storm, beside crashes, partitions and operators.
    pub(crate) fn mishaps(&mut self) {
        if self.strikes(self.faults.pause) {
            self.pause();
        }
        if self.strikes(self.faults.starve) {
            self.starve();
        }
        if self.strikes(self.faults.hang) {
            self.hang();
        }
        if self.strikes(self.faults.leap) {
            self.leap();
        }
        if self.strikes(self.faults.hold) {
            self.hold();
        }
        if self.strikes(self.faults.flap + self.faults.slow_link) {
            self.spoil_link();
        }
        if self.strikes(self.faults.wipe) {
            self.wipe();
        }
        self.flap();
    }

    /// From a tenth of a second to half a minute, and short rather than long.
    fn while_us(&mut self) -> u64 {
        let longest = SHORTEST_US << self.dice.below(DOUBLINGS + 1);
        SHORTEST_US + self.dice.below(longest)
    }

    /// A leader rather than anyone.
    fn victim(&mut self) -> Option<u64> {
        let leader = self.any_leader().filter(|_| self.dice.chance(1, 2));
        leader.or_else(|| self.any_up())
    }

    fn pause(&mut self) {
        let (Some(id), us) = (self.victim(), self.while_us()) else { return };
        self.cluster.tell(id, || format!("{id} is paused for {} ms", us / 1000));
        self.cluster.tally.pauses += 1;
        self.cluster.node_mut(id).paused_until = self.cluster.now_us + us;
    }

    fn starve(&mut self) {
        let (Some(id), us) = (self.victim(), self.while_us()) else { return };
        self.cluster.tell(id, || format!("the timers of {id} stand still for {} ms", us / 1000));
        self.cluster.tally.starved += 1;
        self.cluster.node_mut(id).starved_until = self.cluster.now_us + us;
    }

    /// A disk hangs for a while, or until somebody sees to it.
    fn hang(&mut self) {
        let (Some(id), us) = (self.victim(), self.while_us()) else { return };
        let until = if self.dice.chance(1, 3) { u64::MAX } else { self.cluster.now_us + us };
        self.cluster.tell(id, || format!("the disk of {id} hangs"));
        self.cluster.tally.hangs += 1;
        self.cluster.node_mut(id).disk_hangs_until = until;
    }

    /// Somebody sees to the disks that hang for ever.
    pub(crate) fn mend_disks(&mut self) {
        for node in self.cluster.nodes.values_mut() {
            node.disk_hangs_until = 0;
        }
    }

    /// A clock leaps forward, as after a machine stood still. On a node that may have promised a leader not to vote,
    /// this is more than any bound on drift allows, so nobody may read by a lease from then on; on a leader it only
    /// ends its own lease early.
    fn leap(&mut self) {
        let (Some(id), us) = (self.victim(), self.while_us()) else { return };
        self.cluster.tell(id, || format!("the clock of {id} leaps by {} ms", us / 1000));
        self.cluster.tally.leaps += 1;
        self.cluster.lease_reads &= self.cluster.node(id).replica.leading().is_some();
        self.cluster.node_mut(id).clock.offset_us += us;
    }

    // --- Crashes.

    /// Some crashes hit a leader, some a node that is writing or taking a snapshot, some a majority at once.
    pub(crate) fn crash(&mut self) {
        if self.dice.chance(self.faults.blackout, 10) {
            return self.black_out();
        }
        let leader = self.any_leader().filter(|_| self.dice.chance(1, 3));
        let busy = self.cluster.nodes.values().filter(|node| {
            node.up && (!node.behind.is_empty() || node.offered.is_some() || node.building.is_some())
        });
        let busy: Vec<u64> = busy.map(|node| node.id).collect();
        let busy = self.dice.pick(&busy).copied().filter(|_| self.dice.chance(1, 2));
        let Some(id) = leader.or(busy).or_else(|| self.any_up()) else { return };
        self.crash_one(id);
        if self.dice.chance(1, 3) {
            self.restart(id);
        }
    }

    pub(crate) fn crash_one(&mut self, id: u64) {
        let behind = self.cluster.node(id).behind.len() as u64;
        let keep = self.dice.below(behind + 1) as usize;
        self.cluster.tell(id, || format!("{id} crashes, {keep} of {behind} writes kept"));
        self.cluster.crash(id, keep, self.faults.durable_state);
    }

    /// The power goes for all, or for more than half.
    fn black_out(&mut self) {
        let up: Vec<u64> = self.cluster.nodes.values().filter(|node| node.up).map(|node| node.id).collect();
        let spared = if self.dice.chance(1, 2) { 0 } else { self.dice.below(up.len() as u64 / 2 + 1) };
        self.cluster.tally.blackouts += 1;
        let mut hit = up;
        for _ in 0..spared.min(hit.len() as u64) {
            hit.swap_remove(self.dice.below(hit.len() as u64) as usize);
        }
        hit.iter().for_each(|id| self.crash_one(*id));
        for id in hit {
            if self.dice.chance(1, 2) {
                self.restart(id);
            }
        }
    }

    /// A node comes back, perhaps to crash again soon.
    pub(crate) fn restart(&mut self, id: u64) {
        self.cluster.tell(id, || format!("{id} restarts"));
        self.cluster.restart(id);
        if self.dice.chance(self.faults.crash_on_start, 10) {
            for _ in 0..self.dice.below(EFFECTS_BEFORE_CRASH_MAX) {
                self.effect(id);
            }
            self.crash_one(id);
        }
    }

    /// Something was committed: whoever counted it may be gone before anyone hears of it.
    pub(crate) fn ambush(&mut self) {
        if let Some(leader) = self.cluster.leader() {
            self.crash_one(leader);
        }
    }

    /// A voter without its disk is no voter: its votes and acknowledgements were promises. `quorate-node` gives every
    /// data directory an id and a uid of its own and lets nobody in whose uid is another, so the node that replaces it
    /// has a new id, and comes in through the membership.
    fn wipe(&mut self) {
        let ids = self.cluster.ids();
        let Some(id) = self.dice.pick(&ids).copied() else { return };
        let left = |other: u64| other != id && !self.cluster.node(other).gone;
        let nodes = self.cluster.nodes.values();
        let enough = nodes
            .flat_map(|node| [node.replica.effective_membership(), node.replica.committed_membership()])
            .all(|placed| placed.log_id.is_none() || is_quorum(placed.membership.configs(), left));
        let founded = self.cluster.ghost.canon.end() > 0;
        if !founded || self.cluster.node(id).gone || !enough || ids.len() >= NODES_MAX {
            return;
        }
        self.cluster.tell(id, || format!("{id} loses its disk"));
        self.cluster.wipe(id);
        if mutant!(36) {
            let node = self.cluster.node_mut(id);
            (node.gone, node.durable, node.snapshot) = (false, Disk::empty(), None);
            self.cluster.restart(id);
            return;
        }
        let clock = settings::clock(&mut self.dice, &self.cluster.options, self.faults.wild_clocks);
        let new = self.cluster.add_node(clock);
        self.cluster.tell(new, || format!("{new} is to take the place of {id}"));
    }

    /// A member that is gone for good is replaced by a node that is no member yet.
    pub(crate) fn replace_gone(&mut self) {
        let Some(leader) = self.any_leader() else { return };
        let membership = self.cluster.node(leader).replica.effective_membership().membership.clone();
        let [voters] = membership.configs() else { return };
        let (mut next, mut learners) = (voters.clone(), membership.learners().clone());
        next.retain(|id| !self.cluster.node(*id).gone);
        learners.retain(|id| !self.cluster.node(*id).gone);
        if next == *voters && learners == *membership.learners() {
            return;
        }
        let spare = |id: &u64| !self.cluster.node(*id).gone && !membership.is_voter(id);
        let spare: Vec<u64> = self.cluster.ids().into_iter().filter(spare).collect();
        next.extend(self.dice.pick(&spare));
        let next = Membership::new(vec![voters.clone(), next], learners);
        self.propose_members(leader, next, Some(false));
    }

    // --- Links.

    pub(crate) fn partition(&mut self) {
        self.cluster.tally.cuts += 1;
        let ids = self.cluster.ids();
        let one = *self.dice.pick(&ids).unwrap();
        let leader = self.any_leader().unwrap_or(one);
        let kind = self.dice.below(8);
        self.cluster.say(|| format!("a partition of kind {kind} around {leader} and {one}"));
        match kind {
            // One direction of one link.
            0 | 1 => {
                let to = *self.dice.pick(&ids).unwrap();
                self.cluster.cut.insert((one, to));
            }
            // A leader and one other lose each other; the rest hears both.
            2 | 3 => self.cluster.cut.extend([(leader, one), (one, leader)]),
            // A leader hears nobody, or nobody hears it.
            4 if self.dice.chance(1, 2) => self.cluster.cut.extend(ids.iter().map(|from| (*from, leader))),
            4 => self.cluster.cut.extend(ids.iter().map(|to| (leader, *to))),
            // Two halves that only one node still connects.
            5 => {
                let half = self.half(&ids);
                self.cluster.partition(&half);
                self.cluster.cut.retain(|(from, to)| *from != one && *to != one);
            }
            _ => {
                let half = self.half(&ids);
                self.cluster.partition(&half);
            }
        }
    }

    fn half(&mut self, ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().filter(|_| self.dice.chance(1, 2)).collect()
    }

    /// A link is slow from now on, or comes and goes.
    fn spoil_link(&mut self) {
        let ids = self.cluster.ids();
        let (from, to) = (*self.dice.pick(&ids).unwrap(), *self.dice.pick(&ids).unwrap());
        self.cluster.tally.slow_links += 1;
        if self.dice.chance(self.faults.flap, self.faults.flap + self.faults.slow_link) {
            self.cluster.flapping.extend([(from, to), (to, from)]);
        } else {
            self.cluster.slow.insert((from, to));
        }
    }

    fn flap(&mut self) {
        if self.cluster.flapping.is_empty() || !self.strikes(50) {
            return;
        }
        let flapping: Vec<_> = self.cluster.flapping.iter().copied().collect();
        let link = *self.dice.pick(&flapping).unwrap();
        if !self.cluster.cut.remove(&link) {
            self.cluster.cut.insert(link);
        }
    }

    /// Holds back a message, an append rather than another. Who waits for an answer may give up meanwhile.
    fn hold(&mut self) {
        let net = &self.cluster.net;
        if self.held.len() >= HELD_MAX || net.is_empty() {
            return;
        }
        let append = net.iter().position(|envelope| matches!(&envelope.body, Body::Append { .. }));
        let any = self.dice.below(net.len() as u64) as usize;
        let at = append.filter(|_| self.dice.chance(1, 2)).unwrap_or(any);
        self.hold_at(at);
    }

    /// Holds back what is on its way to `to`.
    pub(crate) fn hold_for(&mut self, to: u64) {
        while let Some(at) = self.cluster.net.iter().position(|envelope| envelope.to == to) {
            let envelope = self.cluster.net.remove(at);
            self.held.push(Held { envelope, until_us: u64::MAX, leader: None });
        }
    }

    pub(crate) fn hold_at(&mut self, at: usize) {
        if matches!(self.cluster.net[at].body, Body::Lost) {
            return;
        }
        let mut envelope = self.cluster.net.remove(at);
        self.cluster.say(|| format!("{}->{} {} is held back", envelope.from, envelope.to, envelope.body));
        self.cluster.tally.held += 1;
        if envelope.body.is_request() && self.dice.chance(2, 3) {
            let lost = Envelope { from: envelope.to, to: envelope.from, req: envelope.req, body: Body::Lost };
            self.cluster.net.push(lost);
            envelope.req = 0;
        }
        let until_us = self.cluster.now_us + self.while_us();
        let leader = self.cluster.leader().filter(|_| self.dice.chance(1, 2));
        self.held.push(Held { envelope, until_us, leader });
    }

    pub(crate) fn release_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (now, leader) = (self.cluster.now_us, self.cluster.leader());
        let due = |held: &Held<L>| {
            now >= held.until_us || held.leader.is_some() && leader.is_some() && leader != held.leader
        };
        let (free, held): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held).into_iter().partition(due);
        self.held = held;
        self.cluster.net.extend(free.into_iter().map(|held| held.envelope));
    }

    /// Nothing is held back any longer.
    pub(crate) fn release_all(&mut self) {
        self.cluster.net.extend(self.held.drain(..).map(|held| held.envelope));
    }

    /// The answer to a vote arrives twice.
    pub(crate) fn deliver_twice(&mut self, at: usize) {
        let again = self.cluster.net[at].clone();
        let context = self.cluster.node(again.to).contexts.get(&again.req).cloned();
        self.cluster.tally.duplicated += 1;
        self.cluster.deliver(at);
        if let Some(context) = context {
            self.cluster.node_mut(again.to).contexts.insert(again.req, context);
            self.cluster.net.push(again);
            if self.dice.chance(1, 2) {
                self.cluster.deliver(self.cluster.net.len() - 1);
            }
        }
    }
}

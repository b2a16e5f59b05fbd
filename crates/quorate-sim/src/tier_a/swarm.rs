//! A random schedule per seed: crashes between any two effects, loss, duplication, reordering, partitions, slow
//! disks, drifting clocks, membership changes, transfers and snapshots; then everything is healed and must recover.
//!
//! Each seed draws which of these it has, how often, over how many nodes, and with which settings.

use std::collections::BTreeSet;

use quorate_core::Membership;

use crate::dice::Dice;
use crate::invariants::quorum::is_quorum;
use crate::plan::Plan;
use crate::tier_a::Cluster;
use crate::tier_a::Ids;
use crate::tier_a::mishaps::Held;
use crate::tier_a::settings;
use crate::tier_a::settings::Faults;
use crate::tier_a::wire::Body;
use crate::tier_a::wire::Envelope;
use crate::trace::Trace;

/// Effects that a node tries in turn until it finds one to do.
const TRIES: u64 = 8;
/// Most reads that wait at one node.
const READS_MAX: usize = 8;

/// Parts that a step has at the most, of which each rolls dice of its own; the first of them that is no part of what
/// happens anyway.
const PARTS_MAX: u64 = 256;
const FAULTS_FROM: u64 = 32;

pub(crate) struct Chaos<L: Ids> {
    pub(crate) cluster: Cluster<L>,
    seed: u64,
    plan: Plan,
    step: u64,
    part: u64,
    /// Acts that were done.
    pub(crate) acts: u64,
    pub(crate) dice: Dice,
    pub(crate) faults: Faults,
    /// Messages that are held back.
    pub(crate) held: Vec<Held<L>>,
    /// Faults come in storms; in the calm between them the cluster gets somewhere.
    pub(crate) storm: bool,
    /// Some joint membership is left to the operator to end.
    pub(crate) by_hand: bool,
}

impl<L: Ids> Chaos<L> {
    pub(crate) fn new(seed: u64, mut dice: Dice, plan: &Plan, trace: Option<Trace>) -> Self {
        let (options, faults) = (settings::options(&mut dice), settings::faults(&mut dice));
        let mut cluster: Cluster<L> = Cluster::new(options, seed, trace);
        cluster.say(|| format!("{:?}", cluster.options));
        cluster.say(|| format!("{faults:?}"));
        let voters = if faults.hasty { 4 } else { 1 + dice.below(7) };
        for _ in 0..voters + dice.below(3) {
            let clock = settings::clock(&mut dice, &cluster.options, faults.wild_clocks);
            cluster.add_node(clock);
        }
        cluster.lease_reads = !faults.wild_clocks;
        let members: BTreeSet<u64> = (1..=voters).collect();
        cluster.initialize(1, members.clone());
        if dice.chance(1, 4) && voters > 1 {
            cluster.initialize(2, members);
        }
        Self {
            cluster,
            seed,
            plan: plan.clone(),
            step: 0,
            part: 0,
            acts: 0,
            dice,
            faults,
            held: Vec::new(),
            storm: false,
            by_hand: false,
        }
    }

    /// Dice of their own for the next part of this step: a part that is left out changes nothing for the others.
    fn next_part(&mut self) {
        self.part += 1;
        self.dice = Dice::of(self.seed, self.step, self.part);
    }

    /// The dice of what comes after all steps, however many there were.
    pub(crate) fn begin_recovery(&mut self) {
        (self.step, self.part) = (u64::MAX / PARTS_MAX, 0);
        self.next_part();
        self.cluster.dice = Dice::of(self.seed, self.step, PARTS_MAX);
    }

    /// Whether an act is done now, which is so `rate` times in 1000, if the plan does not leave it out.
    pub(crate) fn strikes(&mut self, rate: u64) -> bool {
        if rate == 0 {
            return false;
        }
        self.next_part();
        let strikes = self.dice.chance(rate, 1000) && self.plan.does(self.step * PARTS_MAX + self.part);
        self.acts += u64::from(strikes);
        strikes
    }

    /// A node that does something now.
    pub(crate) fn any_up(&mut self) -> Option<u64> {
        self.dice.pick(&self.cluster.awake()).copied()
    }

    pub(crate) fn step(&mut self) {
        self.plan.begin_step();
        (self.step, self.part) = (self.step + 1, 0);
        self.cluster.dice = Dice::of(self.seed, self.step, PARTS_MAX);
        let committed = self.cluster.ghost.canon.end();
        if self.strikes(1000) {
            self.go_on();
        }
        self.part = FAULTS_FROM;
        if self.cluster.ghost.canon.end() > committed && self.strikes(100 * self.faults.ambush) {
            self.ambush();
        }
        self.fault();
        if self.strikes(50) {
            self.read_everywhere();
        }
    }

    /// What happens anyway: a message arrives, a node works, time passes, a client wants something.
    fn go_on(&mut self) {
        let roll = self.dice.below(1000);
        match roll {
            0..500 => self.deliver(),
            500..820 => self.work(),
            820..900 if self.faults.siege && roll > 840 => self.work(),
            820..900 => self.pass_time(),
            _ => self.client(),
        }
    }

    /// Whoever believes to lead reads: by its lease if it has one, or by asking a quorum.
    fn read_everywhere(&mut self) {
        for id in self.cluster.ids() {
            if !self.cluster.is_awake(id) {
                continue;
            }
            if self.cluster.lease_reads {
                self.cluster.read_leased(id);
            }
            if self.cluster.node(id).reads.len() < READS_MAX && self.dice.chance(1, 4) {
                let _ = self.cluster.read(id);
            }
        }
    }

    pub(crate) fn deliver(&mut self) {
        let count = self.cluster.net.len() as u64;
        if count == 0 {
            return;
        }
        let at = if self.dice.chance(self.faults.in_order, 10) { 0 } else { self.dice.below(count) as usize };
        let link = (self.cluster.net[at].from, self.cluster.net[at].to);
        if self.cluster.slow.contains(&link) && !self.dice.chance(1, 16) {
            let waits = self.cluster.net.remove(at);
            self.cluster.net.push(waits);
            return;
        }
        let droppable = !matches!(self.cluster.net[at].body, Body::Lost);
        if droppable && self.storm && self.strikes(self.faults.drop) {
            let envelope = self.cluster.net.remove(at);
            self.cluster.tell(envelope.to, || {
                format!("{}->{} {} is dropped", envelope.from, envelope.to, envelope.body)
            });
            self.cluster.tally.dropped += 1;
            self.cluster.lose(envelope);
            return;
        }
        let is_request = self.cluster.net[at].body.is_request();
        if is_request && self.strikes(self.faults.duplicate) {
            // The copy comes some time later; nobody waits for its answer.
            let copy = Envelope { req: 0, ..self.cluster.net[at].clone() };
            self.cluster.tally.duplicated += 1;
            self.cluster.net.push(copy);
        }
        if matches!(self.cluster.net[at].body, Body::VoteReply(_)) && self.strikes(self.faults.duplicate) {
            return self.deliver_twice(at);
        }
        let Envelope { from, to, req, .. } = self.cluster.net[at];
        if is_request && req != 0 && self.strikes(self.faults.give_up) {
            self.cluster.tally.late += 1;
            self.cluster.net[at].req = 0;
            self.cluster.net.push(Envelope { from: to, to: from, req, body: Body::Lost });
            return;
        }
        self.cluster.deliver(at);
    }

    pub(crate) fn work(&mut self) {
        let Some(id) = self.any_up() else { return };
        let cluster = &mut self.cluster;
        if self.dice.chance(self.faults.eager, 10) {
            // A slow disk makes nothing durable meanwhile.
            let slow = self.dice.chance(self.faults.slow_disk, 10);
            cluster.node_mut(id).disk_hangs = slow;
            cluster.tally.stalls += u64::from(slow);
            cluster.work(id);
            cluster.node_mut(id).disk_hangs = false;
            return;
        }
        for _ in 0..TRIES {
            if self.effect(id) {
                return;
            }
        }
    }

    /// One effect of a node, if it has that one to do.
    pub(crate) fn effect(&mut self, id: u64) -> bool {
        let cluster = &mut self.cluster;
        let peers = cluster.nodes.len() as u64;
        let peer = 1 + self.dice.below(peers);
        match self.dice.below(16) {
            0..3 => cluster.write(id),
            3..5 => cluster.flush(id, 1 + self.dice.below(4) as usize),
            5 => cluster.apply_begin(id),
            6 => cluster.apply_end(id),
            7 => cluster.install_begin(id) | cluster.build_begin(id),
            8 => cluster.install_end(id),
            9 => cluster.build_end(id),
            10 => cluster.take_over(id),
            11 if peer != id => cluster.ask(id, peer),
            12 if peer != id => cluster.heartbeat(id, peer),
            13 if peer != id => cluster.append_begin(id, peer),
            14 => cluster.append_end(id, self.dice.below(3)),
            15 if peer != id => cluster.send_snapshot(id, peer),
            _ => false,
        }
    }

    fn pass_time(&mut self) {
        if self.faults.siege {
            return self.wake_next();
        }
        if self.dice.chance(self.faults.impatience, 10) {
            return self.wake_one();
        }
        self.cluster.now_us += match self.dice.below(10) {
            0..6 => self.dice.below(10_000),
            6..9 => self.dice.below(60_000),
            _ => self.dice.below(400_000),
        };
        for id in self.cluster.ids() {
            if self.dice.chance(4, 5) {
                self.cluster.timeout(id);
            }
        }
    }

    /// Time jumps to what one node waits for; the others learn of it later.
    fn wake_one(&mut self) {
        let Some(id) = self.any_up() else { return };
        let Some(missing) = self.missing_us(id) else { return };
        self.cluster.now_us += missing;
        self.cluster.timeout(id);
    }

    /// Time goes on to the next deadline there is.
    fn wake_next(&mut self) {
        let missing =
            self.cluster.awake().into_iter().filter_map(|id| Some((self.missing_us(id)?, id))).min();
        let Some((missing, id)) = missing else { return };
        self.cluster.now_us += missing;
        self.cluster.timeout(id);
    }

    /// How long until a node's deadline, which counts on its own clock.
    pub(crate) fn missing_us(&self, id: u64) -> Option<u64> {
        let node = self.cluster.node(id);
        let missing = node.replica.deadline()?.since(node.clock.at(self.cluster.now_us)).as_micros() as u64;
        let rate = 1_000_000_u64.saturating_add_signed(node.clock.drift_ppm);
        Some(missing * 1_000_000 / rate + 2_000)
    }

    /// A node that believes to lead, whoever else does.
    pub(crate) fn any_leader(&mut self) -> Option<u64> {
        let mut leading = self.cluster.awake();
        leading.retain(|id| self.cluster.node(*id).replica.leading().is_some());
        self.dice.pick(&leading).copied()
    }

    fn client(&mut self) {
        let Some(any) = self.any_up() else { return };
        let id = if self.dice.chance(1, 10) { any } else { self.any_leader().unwrap_or(any) };
        match self.dice.below(10) {
            roll if roll < self.faults.writes => {
                let count = 1 + self.dice.below(6);
                let _ = self.cluster.propose(id, count);
            }
            0..8 => {
                let _ = self.cluster.read(id);
            }
            _ if self.cluster.lease_reads => {
                self.cluster.read_leased(id);
            }
            _ => {}
        }
    }

    fn fault(&mut self) {
        self.release_held();
        self.acts();
        self.next_part();
        if self.dice.chance(15, 1000) {
            self.storm = !self.storm;
        }
        if !self.storm {
            return self.mend();
        }
        if self.strikes(self.faults.crash) {
            self.crash();
        }
        if self.strikes(self.faults.partition) {
            self.partition();
        }
        if self.faults.hasty {
            self.haste();
        }
        self.mishaps();
        self.operator();
        self.next_part();
        if self.dice.chance(1, 3) {
            self.mend();
        }
    }

    /// Some of what is broken comes back.
    fn mend(&mut self) {
        if self.strikes(40) {
            let down = self.cluster.nodes.values().filter(|node| !node.up && !node.gone).map(|node| node.id);
            let down: Vec<u64> = down.collect();
            if let Some(id) = self.dice.pick(&down).copied() {
                self.restart(id);
            }
        }
        if self.strikes(5) {
            self.mend_disks();
        }
        if self.strikes(self.faults.heal) {
            self.cluster.heal();
        }
    }

    fn operator(&mut self) {
        if self.strikes(self.faults.change) {
            self.change();
        }
        if self.strikes(10 * self.faults.wipe) {
            self.replace_gone();
        }
        if self.strikes(self.faults.transfer)
            && let Some(leader) = self.any_leader()
        {
            let to = *self.dice.pick(&self.cluster.ids()).unwrap();
            self.cluster.transfer(leader, to);
        }
        if self.strikes(self.faults.elect)
            && let Some(id) = self.any_up()
        {
            let pre_vote = self.dice.chance(1, 2);
            self.cluster.elect(id, pre_vote);
        }
        if self.strikes(self.faults.change)
            && let Some(leader) = self.any_leader()
        {
            self.cluster.refresh(leader);
        }
        if self.strikes(self.faults.snapshot)
            && let Some(id) = self.any_up()
        {
            self.cluster.replica(id).snapshot_now();
            if self.dice.chance(1, 2) {
                let upto = self.dice.below(40);
                self.cluster.replica(id).purge(upto);
                self.cluster.settle(id);
            }
        }
    }

    /// One voter more or less, as soon as someone leads.
    fn haste(&mut self) {
        let Some(leader) = self.any_leader() else { return };
        let new = self.cluster.node(leader).replica.uncommitted_first().is_some();
        if self.strikes(if new { 500 } else { 5 }) {
            let effective = &self.cluster.node(leader).replica.effective_membership().membership;
            let (voters, learners) = (effective.voters(), effective.learners().clone());
            let next = Membership::new(vec![self.one_apart(voters)], learners);
            self.propose_members(leader, next, None);
        }
    }

    pub(crate) fn one_apart(&mut self, mut voters: BTreeSet<u64>) -> BTreeSet<u64> {
        let node = *self.dice.pick(&self.cluster.ids()).unwrap();
        if !voters.remove(&node) {
            voters.insert(node);
        }
        voters
    }

    /// A change that leaves a quorum to those that are not gone for good.
    pub(crate) fn propose_members(&mut self, leader: u64, next: Membership<u64>, finish: Option<bool>) {
        if is_quorum(next.configs(), |id| !self.cluster.node(id).gone) {
            self.by_hand |= next.is_joint() && finish.is_none();
            let _ = self.cluster.change(leader, next, finish);
        }
    }

    fn change(&mut self) {
        let Some(leader) = self.any_leader() else { return };
        let effective = self.cluster.node(leader).replica.effective_membership().membership.clone();
        let ids: Vec<u64> =
            self.cluster.ids().into_iter().filter(|id| !self.cluster.node(*id).gone).collect();
        let mut some =
            || -> BTreeSet<u64> { ids.iter().filter(|_| self.dice.chance(1, 2)).copied().collect() };
        let (target, learners) = (some(), some());
        let Some(current) = effective.configs().last().cloned() else { return };
        if target.is_empty() {
            return;
        }
        let next = match self.dice.below(6) {
            0 | 1 => Membership::new(vec![self.one_apart(current)], learners),
            // Refused, unless by chance it is one of the others.
            5 => Membership::new(vec![target], learners),
            2 => effective.to_uniform(true),
            3 => {
                // One of the sets that there are, or one more beside them.
                let mut sets = effective.configs().to_vec();
                let at = self.dice.below(sets.len() as u64) as usize;
                if self.dice.chance(1, 2) {
                    sets = vec![sets.swap_remove(at)]
                } else {
                    sets.push(target)
                }
                Membership::new(sets, learners)
            }
            _ => Membership::new(vec![current, target], learners),
        };
        let retain = self.dice.chance(1, 2);
        // What an operator appends in single steps, the leader does not end by itself.
        let finish = (next.is_joint() && self.dice.chance(3, 4)).then_some(retain);
        self.propose_members(leader, next, finish);
    }
}

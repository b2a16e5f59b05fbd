//! What a schedule ends with: the faults stop, for all or for a majority, and the cluster has to come back.

use std::collections::BTreeSet;

use quorate_core::ServerState;

use crate::invariants::i18_liveness::Calm;
use crate::invariants::i18_liveness::Recovery;
use crate::invariants::i18_liveness::Stage;
use crate::invariants::quorum::is_quorum;
use crate::tier_a::Ids;
use crate::tier_a::deliver::BACKOFF_US;
use crate::tier_a::swarm::Chaos;

/// The longest that time goes on at once, so that whoever was left alone is asked again in time.
const PASS_MAX_US: u64 = 20_000;
/// One in so many seeds waits for a long calm.
const CALM_ONE_IN: u64 = 100;
/// Election timeouts after a recovery until calm is asked for.
const SETTLE_TIMEOUTS: u64 = 5;
/// How often a recovery may begin anew because a node that comes and goes won an election.
const DESERTED_MAX: u64 = 20;
/// Requests in a calm beside those that have a reason of their own: what is left to catch up on.
const REQUESTS_SPARE: u64 = 1000;

/// Who has to come back, and what is wrong with the others.
struct Sides {
    core: BTreeSet<u64>,
    /// Nodes whose links to the core come and go, and when they do next.
    flapping: Vec<(u64, u64)>,
    /// Nodes that are not down, and that the core does not hear, or that do not hear it.
    lost: u64,
    /// How often one of those that come and go was the leader when it went.
    deserted: u64,
}

impl<L: Ids> Chaos<L> {
    /// I18: a leader, a write, everyone in step, and calm.
    pub(crate) fn recover(&mut self) {
        self.begin_recovery();
        self.release_all();
        self.cluster.calm();
        for id in self.cluster.ids() {
            if !self.cluster.node(id).up {
                self.cluster.restart(id);
            }
        }
        let mut nodes = self.cluster.nodes.values();
        if !nodes.any(|node| node.replica.effective_membership().log_id.is_some()) {
            return;
        }
        let mut sides = self.sides();
        self.come_back(&mut sides);
        if !self.faults.wild_clocks && self.dice.chance(1, CALM_ONE_IN) {
            self.stay_calm(&mut sides);
        }
    }

    /// Half of the seeds heal all; the others a core that is a quorum of every voter set that counts, or may yet.
    fn sides(&mut self) -> Sides {
        let mut others: Vec<u64> = self.cluster.ids();
        others.retain(|id| !self.cluster.node(*id).gone);
        let mut sides = Sides { core: BTreeSet::new(), flapping: Vec::new(), lost: 0, deserted: 0 };
        // A membership that is not committed may be known to its founder alone.
        let founded = self.cluster.ghost.canon.end() > 0;
        if self.dice.chance(1, 2) || !founded {
            sides.core.extend(others);
            self.cluster.say(|| "all heals".to_string());
            return sides;
        }
        let voter_sets = self.voter_sets();
        while !others.is_empty() && !is_quorum(&voter_sets, |id| sides.core.contains(&id)) {
            sides.core.insert(others.swap_remove(self.dice.below(others.len() as u64) as usize));
        }
        self.cluster.say(|| format!("all heals for {:?}", sides.core));
        for id in others {
            self.break_off(id, &mut sides);
        }
        sides
    }

    /// Those of the last committed membership, and of whatever stands in a log behind it.
    fn voter_sets(&self) -> Vec<BTreeSet<u64>> {
        let canon = &self.cluster.ghost.canon;
        let mut sets = canon.config_at(canon.end()).map_or(Vec::new(), |config| config.configs().to_vec());
        for node in self.cluster.nodes.values().filter(|node| !node.gone) {
            let effective = node.replica.effective_membership();
            if effective.log_id.as_ref().is_some_and(|log_id| !canon.has(log_id)) {
                sets.extend(effective.membership.configs().iter().cloned());
            }
        }
        sets
    }

    /// What stays wrong with a node that is not of the core.
    fn break_off(&mut self, id: u64, sides: &mut Sides) {
        let core: Vec<u64> = sides.core.iter().copied().collect();
        let (from, to) = (core.iter().map(|peer| (id, *peer)), core.iter().map(|peer| (*peer, id)));
        match self.dice.below(if self.may_be_deaf(id) { 5 } else { 4 }) {
            0 => {
                self.cluster.tell(id, || format!("{id} stays down"));
                self.cluster.crash(id, 0, self.faults.durable_state);
                return;
            }
            1 => {
                self.cluster.tell(id, || format!("{id} stays cut off"));
                self.cluster.cut.extend(from.chain(to));
            }
            2 => {
                self.cluster.tell(id, || format!("{id} stays unheard"));
                self.cluster.cut.extend(from);
            }
            3 => {
                self.cluster.tell(id, || format!("{id} comes and goes"));
                sides.flapping.push((id, self.cluster.now_us));
            }
            _ => {
                self.cluster.tell(id, || format!("{id} stays deaf"));
                self.cluster.cut.extend(to);
            }
        }
        sides.lost += 1;
    }

    /// Whether the others can do without a node that they hear, and that does not hear them. Without pre-votes, it takes
    /// their votes for ever; and a leader, which a candidate may be with the next answer, keeps them quiet if it does not
    /// fall silent itself, for longer than they wait.
    fn may_be_deaf(&self, id: u64) -> bool {
        let options = &self.cluster.options;
        let state = self.cluster.node(id).replica.server_state();
        let leads = matches!(state, ServerState::Leader | ServerState::Candidate);
        let exact = options.clock_drift_ppm <= 10_000 && !self.faults.wild_clocks;
        let silent = options.quorum_loss_probe_interval.is_some_and(|silence| {
            exact && options.lease + options.election_timeout_max + 2 * options.heartbeat_interval <= silence
        });
        options.pre_vote && (!leads || silent)
    }

    /// The longest that a follower waits before it campaigns, by the slowest clock.
    fn timeout_us(&self) -> u64 {
        let options = &self.cluster.options;
        let slowest = self.cluster.nodes.values().map(|node| node.clock.drift_ppm).min().unwrap_or(0);
        let rate = 1_000_000_u64.saturating_add_signed(slowest).max(1);
        let waits = options.lease + options.election_timeout_max;
        waits.as_micros() as u64 * 1_000_000 / rate
    }

    /// Who leads the core, and its term.
    fn leader_among(&self, core: &BTreeSet<u64>) -> Option<(u64, u64)> {
        let nodes = core.iter().map(|id| self.cluster.node(*id));
        let leading = nodes.filter(|node| node.up && node.replica.leading().is_some());
        leading.map(|node| (node.replica.vote().leader_id.term(), node.id)).max().map(|(term, id)| (id, term))
    }

    /// Until somebody leads, a new write is acknowledged, all have it, and no joint membership is in force.
    fn come_back(&mut self, sides: &mut Sides) {
        let mut recovery = Recovery::new(self.cluster.now_us, self.timeout_us());
        let (mut goal, mut deserted) = (None, 0);
        while recovery.stage() < Stage::InStep {
            self.pass(sides);
            if deserted < sides.deserted && deserted < DESERTED_MAX {
                // It won an election and was gone again: time runs anew.
                deserted = sides.deserted;
                recovery = Recovery::new(self.cluster.now_us, self.timeout_us());
            }
            let mut stage = Stage::Healed;
            if let Some((leader, _)) = self.leader_among(&sides.core) {
                let written = goal.as_ref().is_some_and(|goal| self.cluster.ghost.canon.has(goal));
                let lost =
                    goal.as_ref().is_none_or(|goal| !self.cluster.node(leader).replica.log().has(goal));
                stage = if written { Stage::Written } else { Stage::Led };
                if let Some(goal) = goal.as_ref().filter(|_| written) {
                    if self.is_in_step(leader, goal.index, &sides.core) {
                        stage = Stage::InStep;
                    }
                } else if lost {
                    goal = self.cluster.propose(leader, 1).ok();
                }
            }
            recovery.reaches(stage, self.cluster.now_us);
        }
    }

    /// Whether all of the core that are members have applied the entry at `goal`, in no joint membership.
    fn is_in_step(&mut self, leader: u64, goal: u64, core: &BTreeSet<u64>) -> bool {
        let membership = self.cluster.node(leader).replica.effective_membership().membership.clone();
        if membership.is_joint() && self.by_hand {
            // An operator who goes in single steps is to end them.
            let _ = self.cluster.change(leader, membership.to_uniform(true), None);
        }
        let mut members = core.iter().filter(|id| membership.contains(id)).map(|id| self.cluster.node(*id));
        !membership.is_joint() && members.all(|node| node.sm.next() > goal)
    }

    /// Nobody else leads for long, and no more is sent than there is reason for.
    fn stay_calm(&mut self, sides: &mut Sides) {
        let (options, timeout_us) = (self.cluster.options.clone(), self.timeout_us());
        if !options.pre_vote && !sides.flapping.is_empty() {
            // Without pre-votes, whoever comes and goes deposes every leader that it meets.
            return;
        }
        // A leader that is no member any more, or a transfer under way, has its end first.
        let settled = self.cluster.now_us + SETTLE_TIMEOUTS * timeout_us;
        while self.cluster.now_us < settled {
            self.pass(sides);
        }
        let mut recovery = Recovery::new(self.cluster.now_us, timeout_us);
        let leader = loop {
            match self.leader_among(&sides.core) {
                Some(leader) => break leader,
                None => self.pass(sides),
            }
            recovery.reaches(Stage::Healed, self.cluster.now_us);
        };
        let changes_max = sides.flapping.len() as u64;
        let mut calm = Calm::new(self.cluster.now_us, timeout_us, leader, changes_max);
        let (began_us, sent_before) = (self.cluster.now_us, self.cluster.requests);
        while !calm.is_over(self.cluster.now_us) {
            self.pass(sides);
            if let Some(leader) = self.leader_among(&sides.core) {
                calm.led_by(leader);
            }
        }
        let elapsed_us = self.cluster.now_us - began_us;
        let nodes = self.cluster.nodes.len() as u64;
        let heartbeats = nodes * elapsed_us / options.heartbeat_interval.as_micros() as u64;
        // Over a broken link goes as much as may be under way, and again when that is lost.
        let broken = (nodes - sides.core.len() as u64) * nodes;
        let again = broken * options.inflight_entries_max * elapsed_us / BACKOFF_US;
        let asks = sides.lost * nodes * elapsed_us / options.election_timeout_min.as_micros() as u64;
        let most = 2 * (heartbeats + again + asks) + REQUESTS_SPARE;
        calm.requests(self.cluster.requests - sent_before, most);
    }

    /// Time goes on to the next deadline that somebody has, and everything follows that does.
    fn pass(&mut self, sides: &mut Sides) {
        let awake = self.cluster.awake();
        let missing = awake.iter().filter_map(|id| self.missing_us(*id)).min();
        self.cluster.now_us += missing.unwrap_or(PASS_MAX_US).clamp(1_000, PASS_MAX_US);
        self.come_and_go(sides);
        for id in awake {
            self.cluster.timeout(id);
        }
        self.cluster.stabilize();
    }

    fn come_and_go(&mut self, sides: &mut Sides) {
        let (now, timeout_us) = (self.cluster.now_us, self.timeout_us());
        for (id, next) in sides.flapping.iter_mut().filter(|(_, next)| *next <= now) {
            let links = sides.core.iter().flat_map(|peer| [(*id, *peer), (*peer, *id)]);
            let cut = sides.core.first().is_some_and(|peer| self.cluster.cut.contains(&(*id, *peer)));
            for link in links {
                if cut {
                    self.cluster.cut.remove(&link);
                } else {
                    self.cluster.cut.insert(link);
                }
            }
            let leads = self.cluster.nodes.get(id).is_some_and(|node| node.replica.leading().is_some());
            sides.deserted += u64::from(leads && !cut);
            *next = now + timeout_us / 2 + self.dice.below(3 * timeout_us);
        }
    }
}

//! Short acts within a random schedule, for what chance alone seldom brings about.

use std::collections::BTreeSet;

use quorate_core::Membership;

use crate::tier_a::Cluster;
use crate::tier_a::Ids;
use crate::tier_a::swarm::Chaos;

/// Most rounds that a cluster gets to do what an act waits for.
pub(crate) const ROUNDS_MAX: u64 = 60;
/// The shortest and the longest round.
const ROUND_US: (u64, u64) = (2_000, 30_000);

impl<L: Ids> Chaos<L> {
    /// Begins one of the acts, now and then.
    pub(crate) fn acts(&mut self) {
        if self.strikes(self.faults.rebel) {
            self.rebel();
        }
        if self.strikes(self.faults.duel) {
            self.duel();
        }
        if self.strikes(self.faults.rivals) {
            self.rivals();
        }
        if self.strikes(self.faults.late) {
            self.late();
        }
        if self.strikes(self.faults.stuck_leader) {
            self.stuck_leader();
        }
    }

    /// Everyone works swiftly until something is so, or for some rounds; says whether it is.
    pub(crate) fn swiftly(&mut self, rounds: u64, done: impl Fn(&Cluster<L>) -> bool) -> bool {
        for _ in 0..rounds {
            let (least, most) = ROUND_US;
            self.cluster.now_us += least + self.dice.below(most - least);
            for id in self.cluster.awake() {
                self.cluster.timeout(id);
                self.cluster.work(id);
                if done(&self.cluster) {
                    return true;
                }
            }
            // What is sent meanwhile waits for the next round.
            for _ in 0..self.cluster.net.len() {
                let at = self.dice.below(self.cluster.net.len() as u64) as usize;
                self.cluster.deliver(at);
                if done(&self.cluster) {
                    return true;
                }
            }
        }
        false
    }

    /// A leader and one other lose each other while all else works swiftly: the other will want to lead although those
    /// that it asks hear the leader well. This is what leases are for.
    fn rebel(&mut self) {
        let ids = self.cluster.ids();
        let (Some(leader), Some(other)) = (self.any_leader(), self.dice.pick(&ids).copied()) else { return };
        if leader == other {
            return;
        }
        self.cluster.say(|| format!("{leader} and {other} lose each other"));
        self.cluster.tally.cuts += 1;
        self.cluster.cut.extend([(leader, other), (other, leader)]);
        let rounds = 20 + self.dice.below(ROUNDS_MAX);
        self.swiftly(rounds, |_| false);
        if self.dice.chance(1, 2) {
            // Those that hear both start anew at once: what they promised the leader holds.
            self.cut_off(leader);
            for id in ids {
                if id != leader && id != other && self.cluster.is_awake(id) {
                    self.crash_one(id);
                    self.cluster.restart(id);
                }
            }
            self.swiftly(rounds, |_| false);
        }
    }

    /// `id` neither hears anyone nor is heard.
    pub(crate) fn cut_off(&mut self, id: u64) {
        self.cluster.tally.cuts += 1;
        self.cluster.partition(&BTreeSet::from([id]));
    }

    /// A client reads there, in each way there is.
    pub(crate) fn read_at(&mut self, id: u64) {
        if self.cluster.is_awake(id) {
            let _ = self.cluster.read(id);
            if self.cluster.lease_reads {
                self.cluster.read_leased(id);
            }
        }
    }

    /// Two nodes lead in turn; each hands its entries to few others before it is cut off again (thesis, figure 3.7).
    fn duel(&mut self) {
        let ids = self.cluster.awake();
        let (Some(mut one), Some(mut other)) = (self.dice.pick(&ids).copied(), self.dice.pick(&ids).copied())
        else {
            return;
        };
        for _ in 0..2 + self.dice.below(4) {
            self.cluster.say(|| format!("{one} is to lead without {other}"));
            self.cluster.tally.cuts += 1;
            self.cluster.heal();
            self.cluster.partition(&BTreeSet::from([other]));
            self.swiftly(ROUNDS_MAX, |cluster| cluster.leader() == Some(one));
            self.release_all();
            if self.cluster.is_awake(one) {
                let away: BTreeSet<u64> = ids.iter().copied().filter(|_| self.dice.chance(1, 2)).collect();
                self.cluster.cut.extend(away.into_iter().map(|to| (one, to)));
                let _ = self.cluster.propose(one, 1 + self.dice.below(3));
                let rounds = self.dice.below(4);
                self.swiftly(rounds, |_| false);
                self.read_at(other);
                self.hold_for(one);
            }
            std::mem::swap(&mut one, &mut other);
        }
        self.cluster.heal();
    }

    /// An old leader changes the members on one side of a partition. On the other a new one is elected and changes
    /// them at once, and loses sight of some who voted for it; those meet the old leader again. Where the two changes
    /// follow the same membership, their quorums need not meet (raft-dev, July 2015).
    fn rivals(&mut self) {
        let ids = self.cluster.ids();
        let (Some(old), Some(friend)) = (self.any_leader(), self.dice.pick(&ids).copied()) else { return };
        let side = BTreeSet::from([old, friend]);
        self.cluster.say(|| format!("{side:?} are on their own"));
        self.cluster.tally.cuts += 1;
        self.cluster.heal();
        self.cluster.partition(&side);
        self.change_by_one(old, friend);
        let rounds = self.dice.below(3);
        self.swiftly(rounds, |_| false);
        let is_new = |cluster: &Cluster<L>| cluster.leader().is_some_and(|leader| !side.contains(&leader));
        if !self.swiftly(ROUNDS_MAX, is_new) {
            return self.cluster.heal();
        }
        let Some(new) = self.cluster.leader() else { return };
        let rest: BTreeSet<u64> = ids.iter().copied().filter(|id| *id != new && !side.contains(id)).collect();
        let mut kept = BTreeSet::from([new]);
        kept.extend(rest.into_iter().filter(|_| self.dice.chance(1, 2)));
        self.cluster.say(|| format!("{new} leads, and only {kept:?} stay together"));
        self.cluster.partition(&kept);
        self.change_by_one(new, old);
        let rounds = 2 + self.dice.below(4);
        self.swiftly(rounds, |_| false);
        self.cluster.heal();
        self.cluster.partition(&kept);
        self.swiftly(ROUNDS_MAX, |cluster| cluster.leader().is_some_and(|leader| !kept.contains(&leader)));
        self.cluster.heal();
    }

    /// `leader` wants one voter more or less: that one, if the dice do not want another.
    fn change_by_one(&mut self, leader: u64, that: u64) {
        let membership = self.cluster.node(leader).replica.effective_membership().membership.clone();
        let [voters] = membership.configs() else { return };
        let mut next = voters.clone();
        if self.dice.chance(1, 3) {
            next = self.one_apart(next);
        } else if !next.remove(&that) {
            next.insert(that);
        }
        self.propose_members(leader, Membership::new(vec![next], membership.learners().clone()), None);
    }

    /// I18: a leader whose disk hangs for ever loses leadership within its bound; else nobody could write.
    fn stuck_leader(&mut self) {
        let options = self.cluster.options.clone();
        let (Some(most), Some(id)) = (options.disk_stall_max, self.any_leader()) else { return };
        let leads_on = |cluster: &Cluster<L>| {
            let replica = &cluster.node(id).replica;
            let alone = replica.effective_membership().membership.is_sole_voter(&id);
            let moves = replica.leading().is_none_or(|leader| leader.transferring_to().is_some());
            cluster.is_awake(id) && !alone && !moves
        };
        let vote = self.cluster.node(id).replica.vote().clone();
        self.cluster.node_mut(id).disk_hangs_until = u64::MAX;
        self.cluster.node_mut(id).starved_until = 0;
        let _ = self.cluster.propose(id, 1);
        self.cluster.work(id);
        let waits = self.cluster.node(id).behind.iter().any(|(seq, _)| seq.is_some());
        // It counts on its own clock, and looks when a heartbeat is due.
        let rate = 1_000_000_u64.saturating_add_signed(self.cluster.node(id).clock.drift_ppm);
        let bound = (most + 3 * options.heartbeat_interval).as_micros() as u64 * 1_000_000 / rate;
        let until = self.cluster.now_us + bound + 4 * ROUND_US.1;
        self.cluster.tell(id, || format!("the disk of {id} hangs for ever"));
        self.cluster.tally.hangs += 1;
        while waits && self.cluster.now_us < until {
            self.swiftly(1, |_| false);
            if !leads_on(&self.cluster) {
                break;
            }
        }
        let still = leads_on(&self.cluster) && *self.cluster.node(id).replica.vote() == vote;
        assert!(!(waits && still), "I18: {id} leads on without a disk");
        self.cluster.node_mut(id).disk_hangs_until = 0;
    }
}

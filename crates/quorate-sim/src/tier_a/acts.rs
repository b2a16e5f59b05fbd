//! Short acts within a random schedule, for what chance alone seldom brings about.

use crate::tier_a::Ids;
use crate::tier_a::swarm::Chaos;

/// Most rounds of an act; each is some milliseconds.
const ROUNDS_MAX: u64 = 40;

impl<L: Ids> Chaos<L> {
    /// A leader and one other lose each other while all else works swiftly: the other will want to lead although those
    /// that it asks hear the leader well. This is what leases are for.
    pub(crate) fn rebel(&mut self) {
        let ids = self.cluster.ids();
        let (Some(leader), Some(other)) = (self.any_leader(), self.dice.pick(&ids).copied()) else { return };
        if leader == other {
            return;
        }
        self.cluster.say(|| format!("{leader} and {other} lose each other"));
        self.cluster.tally.cuts += 1;
        self.cluster.cut.extend([(leader, other), (other, leader)]);
        for _ in 0..10 + self.dice.below(ROUNDS_MAX - 10) {
            self.cluster.now_us += 5_000 + self.dice.below(40_000);
            for id in ids.iter().copied() {
                if self.cluster.node(id).up {
                    self.cluster.timeout(id);
                    self.cluster.work(id);
                }
            }
            // What is sent meanwhile waits for the next round.
            for _ in 0..self.cluster.net.len() {
                let at = self.dice.below(self.cluster.net.len() as u64) as usize;
                self.cluster.deliver(at);
            }
        }
    }
}

//! What was on its way when leadership moved, and arrives after that: answers, votes, the news of a transfer, or a
//! leader itself. Promises are to the one they were made to, and what was said to a leader is not said to the next.

use crate::tier_a::Cluster;
use crate::tier_a::Ids;
use crate::tier_a::acts::ROUNDS_MAX;
use crate::tier_a::swarm::Chaos;
use crate::tier_a::wire::Body;
use crate::tier_a::wire::Envelope;

impl<L: Ids> Chaos<L> {
    pub(crate) fn late(&mut self) {
        match self.dice.below(8) {
            0 | 1 => self.late_answers(),
            2 => self.comeback(),
            3 => self.handover(),
            4 | 5 => self.late_news(),
            6 => self.two_heirs(),
            _ => self.late_wish(),
        }
    }

    /// A leader is cut off while answers to it are on their way. They arrive when another has led and committed: they
    /// speak for the time when they were asked for, and for nothing later.
    fn late_answers(&mut self) {
        let Some(old) = self.any_leader() else { return };
        self.cluster.say(|| format!("answers to {old} will be late"));
        self.cluster.heal();
        let rounds = 1 + self.dice.below(3);
        self.swiftly(rounds, |_| false);
        for _ in 0..1 + self.dice.below(4) {
            self.read_at(old);
        }
        self.cluster.work(old);
        let requests = self.cluster.net.iter().filter(|envelope| envelope.from == old).count();
        for _ in 0..requests {
            if let Some(at) = self.cluster.net.iter().position(|envelope| envelope.from == old) {
                self.cluster.deliver(at);
            }
        }
        for id in self.cluster.awake() {
            self.cluster.work(id);
        }
        self.hold_for(old);
        self.cut_off(old);
        self.swiftly(ROUNDS_MAX, |cluster| cluster.leader() != Some(old));
        if let Some(new) = self.cluster.leader() {
            let _ = self.cluster.propose(new, 1);
        }
        self.swiftly(4, |_| false);
        self.cluster.heal();
        if self.dice.chance(1, 2) {
            return self.second_office(old);
        }
        self.read_at(old);
        while let Some(held) = self.held.pop() {
            self.cluster.net.push(held.envelope);
            self.cluster.deliver(self.cluster.net.len() - 1);
        }
        self.read_at(old);
    }

    /// A leader leads again, and hears then what was said to it when it led before. When it is cut off once more, that
    /// must confirm no read.
    fn second_office(&mut self, again: u64) {
        if let Some(between) = self.cluster.leader() {
            self.cut_off(between);
        }
        self.swiftly(ROUNDS_MAX, |cluster| cluster.leader() == Some(again));
        self.swiftly(2, |_| false);
        self.release_all();
        self.cluster.heal();
        self.swiftly(3, |_| false);
        self.cut_off(again);
        self.swiftly(ROUNDS_MAX, |cluster| cluster.leader() != Some(again));
        if let Some(new) = self.cluster.leader() {
            let _ = self.cluster.propose(new, 1);
        }
        self.swiftly(4, |_| false);
        self.read_at(again);
        self.cluster.heal();
    }

    /// A leader crashes and is back at once, perhaps in office, and is asked before it has heard from anyone.
    fn comeback(&mut self) {
        let Some(id) = self.any_leader() else { return };
        let _ = self.cluster.propose(id, 1 + self.dice.below(3));
        let rounds = 1 + self.dice.below(4);
        self.swiftly(rounds, |_| false);
        self.crash_one(id);
        self.cluster.tell(id, || format!("{id} restarts"));
        self.cluster.restart(id);
        self.read_at(id);
        for _ in 0..ROUNDS_MAX {
            self.deliver();
            self.work();
            self.read_at(id);
        }
    }

    /// A leader hands over, perhaps to two nodes one after the other, while some of the news, and of the votes that
    /// follow, is late; perhaps the leader crashes and is back in office, or one that it chose is no longer heard.
    fn handover(&mut self) {
        let ids = self.cluster.ids();
        let Some(old) = self.any_leader() else { return };
        let late = |body: &Body<L>| matches!(body, Body::Transfer(_) | Body::Vote(_));
        self.cluster.heal();
        for _ in 0..1 + self.dice.below(2) {
            let Some(to) = self.heir(old) else { return };
            self.cluster.tell(old, || format!("{old} hands over to {to}"));
            self.cluster.transfer(old, to);
            self.cluster.work(old);
        }
        let what_comes = self.dice.below(4);
        for round in 0..ROUNDS_MAX {
            let slow = self.dice.pick(&ids).copied().filter(|_| self.dice.chance(1, 2)).unwrap_or(old);
            self.cluster.node_mut(slow).disk_hangs = true;
            self.swiftly(1, |_| false);
            self.cluster.node_mut(slow).disk_hangs = false;
            let at = self.cluster.net.iter().position(|envelope| late(&envelope.body));
            if let Some(at) = at.filter(|_| self.dice.chance(1, 2)) {
                self.hold_at(at);
            }
            if round == 2 && what_comes == 0 && self.cluster.is_awake(old) {
                self.crash_one(old);
                self.cluster.restart(old);
            }
            if self.dice.chance(1, 15)
                && let Some(leader) = self.cluster.leader()
            {
                let other = *self.dice.pick(&ids).unwrap();
                self.cluster.cut.extend([(leader, other), (other, leader)]);
            }
            if self.dice.chance(1, 10) {
                self.release_all();
            }
        }
        self.cluster.heal();
    }

    /// Another voter, for a leader to hand over to.
    fn heir(&mut self, leader: u64) -> Option<u64> {
        let voters = self.cluster.node(leader).replica.effective_membership().membership.voters();
        let voters: Vec<u64> = voters.into_iter().filter(|id| *id != leader).collect();
        self.dice.pick(&voters).copied()
    }

    /// Takes what matches off the network, to be given back later.
    fn take(&mut self, which: impl Fn(&Envelope<L>) -> bool) -> Vec<Envelope<L>> {
        let (taken, left) = std::mem::take(&mut self.cluster.net).into_iter().partition(which);
        self.cluster.net = left;
        taken
    }

    /// Gives back what was taken, and delivers it at once.
    fn give(&mut self, late: Vec<Envelope<L>>) {
        for envelope in late {
            self.cluster.tally.held += 1;
            self.cluster.net.push(envelope);
            self.cluster.deliver(self.cluster.net.len() - 1);
        }
    }

    /// A leader tells that it hands over. All but one learn of it when another leads, whom one of them has lost: they
    /// have promised something to that one.
    fn late_news(&mut self) {
        let ids = self.cluster.ids();
        let Some(old) = self.any_leader() else { return };
        let (Some(heir), Some(lost)) = (self.heir(old), self.dice.pick(&ids).copied()) else { return };
        self.cluster.heal();
        self.cluster.tell(old, || format!("{old} hands over to {heir}, and the news is late"));
        self.cluster.transfer(old, heir);
        for peer in ids.iter().filter(|peer| **peer != old) {
            self.cluster.ask(old, *peer);
        }
        let stays = self.dice.chance(1, 2);
        let news =
            self.take(|letter| matches!(letter.body, Body::Transfer(_)) && (stays || letter.to != heir));
        if stays {
            // It crashes, is back, perhaps in office, and hears from a quorum before the news arrives.
            self.crash_one(old);
            self.cluster.restart(old);
            let rounds = 2 + self.dice.below(3);
            self.swiftly(rounds, |_| false);
            self.give(news);
            self.cut_off(old);
            self.swiftly(20, |_| false);
            return self.cluster.heal();
        }
        self.swiftly(ROUNDS_MAX, |cluster| cluster.leader().is_some_and(|leader| leader != old));
        self.swiftly(2, |_| false);
        let Some(new) = self.cluster.leader().filter(|new| *new != old && *new != lost) else { return };
        self.cluster.cut.extend([(new, lost), (lost, new)]);
        let asks = |cluster: &Cluster<L>| {
            let asks = |letter: &Envelope<L>| matches!(letter.body, Body::Vote(_) | Body::PreVote(_));
            cluster.net.iter().any(|letter| letter.from == lost && asks(letter))
        };
        self.swiftly(2 * ROUNDS_MAX, asks);
        self.cut_off(new);
        self.give(news);
        while let Some(at) = self.cluster.net.iter().position(|letter| letter.from == lost) {
            if !self.cluster.deliver(at) {
                break;
            }
        }
        self.swiftly(20, |_| false);
        self.cluster.heal();
    }

    /// A leader hands over to one, then to another. Both campaign in the same term; where a term may have several
    /// leaders, the votes that the first asks for arrive when the second leads.
    fn two_heirs(&mut self) {
        let Some(old) = self.any_leader() else { return };
        let (Some(one), Some(other)) = (self.heir(old), self.heir(old)) else { return };
        self.cluster.heal();
        self.cluster.cut.extend([(one, other), (other, one)]);
        for heir in [one, other] {
            self.cluster.tell(old, || format!("{old} hands over to {heir}"));
            self.cluster.transfer(old, heir);
            self.cluster.work(old);
        }
        // Its entries are slow, its signs of life are not: the votes are asked of those that have promised it something
        // and have nothing of it yet.
        let (mut late, mut entries) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let led = self.cluster.leader() == Some(other);
            self.cluster.now_us += 5_000;
            for id in self.cluster.awake() {
                self.cluster.timeout(id);
                self.cluster.work(id);
            }
            late.extend(self.take(|letter| letter.from == one && matches!(letter.body, Body::Vote(_))));
            entries.extend(
                self.take(|letter| letter.from == other && matches!(letter.body, Body::Append { .. })),
            );
            for _ in 0..self.cluster.net.len() {
                self.cluster.deliver(0);
            }
            if led {
                break;
            }
        }
        // The one that leads hears no more; whom it has heard from until now has promised it something.
        self.cut_off(other);
        self.give(late);
        self.swiftly(20, |_| false);
        self.give(entries);
        self.cluster.heal();
    }

    /// A disk is slower than leadership moves: its node has heard another leader when it learns that the one before
    /// wants it to lead.
    fn late_wish(&mut self) {
        let Some(old) = self.any_leader() else { return };
        let Some(heir) = self.heir(old) else { return };
        self.cluster.heal();
        self.cluster.transfer(old, heir);
        self.cluster.ask(old, heir);
        let wish = self.take(|letter| letter.to == heir);
        self.cut_off(heir);
        self.swiftly(ROUNDS_MAX, |cluster| cluster.leader().is_some_and(|leader| leader != old));
        self.cluster.heal();
        self.cluster.node_mut(heir).disk_hangs = true;
        let rounds = 2 + self.dice.below(3);
        self.swiftly(rounds, |_| false);
        self.give(wish);
        self.cluster.take_over(heir);
        self.cluster.node_mut(heir).disk_hangs = false;
        if let Some(new) = self.cluster.leader() {
            self.cut_off(new);
        }
        self.swiftly(20, |_| false);
        self.cluster.heal();
    }
}

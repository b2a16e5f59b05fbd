//! What clients and operators do to a cluster, and what befalls it.

use std::collections::BTreeSet;

use quorate_core::ChangeRefusal;
use quorate_core::Membership;
use quorate_core::Refusal;

use crate::tier_a::cluster::Cluster;
use crate::tier_a::node::Reading;
use crate::tier_a::wire::Body;
use crate::tier_a::wire::Entry;
use crate::tier_a::wire::Envelope;
use crate::tier_a::wire::Id;
use crate::tier_a::wire::Ids;
use crate::tier_a::wire::Members;
use crate::tier_a::wire::Payload;

impl<L: Ids> Cluster<L> {
    pub fn initialize(&mut self, id: u64, voters: BTreeSet<u64>) -> bool {
        let (now, dice) = (self.node(id).clock.at(self.now_us), self.dice.roll());
        let membership = Membership::new(vec![voters], []);
        let Ok(log_id) = self.replica(id).initialize(now, dice, membership.clone()) else { return false };
        self.note_proposal(id, Entry { id: log_id, payload: Payload::Config(membership) });
        self.settle(id);
        true
    }

    pub fn propose(&mut self, id: u64, count: u64) -> Result<Id<L>, Refusal<L>> {
        let now = self.node(id).clock.at(self.now_us);
        let last = self.replica(id).propose(now, count)?;
        for index in last.index + 1 - count..=last.index {
            self.ops += 1;
            let entry =
                Entry { id: Id::<L>::new(last.leader_id.clone(), index), payload: Payload::Op(self.ops) };
            self.node_mut(id).clients.push(entry.id.clone());
            self.note_proposal(id, entry);
        }
        self.settle(id);
        Ok(last)
    }

    pub fn change(
        &mut self,
        id: u64,
        next: Membership<u64>,
        finish: Option<bool>,
    ) -> Result<Id<L>, ChangeRefusal<L>> {
        let now = self.node(id).clock.at(self.now_us);
        let log_id = self.replica(id).propose_membership(now, next.clone(), finish)?;
        self.tell(id, || format!("{id} proposes {}", Members(&next)));
        self.check_proposed_membership(id, &log_id);
        self.note_proposal(id, Entry { id: log_id.clone(), payload: Payload::Config(next) });
        self.settle(id);
        Ok(log_id)
    }

    /// A read that asks a quorum.
    pub fn read(&mut self, id: u64) -> Result<(), Refusal<L>> {
        let floor = self.ghost.reads.begins();
        let read = self.replica(id).read()?;
        self.replica(id).heartbeat_now();
        self.node_mut(id).reads.push(Reading { read, floor, leased: false });
        self.settle(id);
        Ok(())
    }

    /// A read by the lease alone; false if there is none.
    pub fn read_leased(&mut self, id: u64) -> bool {
        let now = self.node(id).clock.at(self.now_us);
        let floor = self.ghost.reads.begins();
        if !self.node(id).replica.read_leased(now, None) {
            return false;
        }
        let Ok(read) = self.replica(id).read() else { return false };
        self.node_mut(id).reads.push(Reading { read, floor, leased: true });
        self.settle(id);
        true
    }

    pub fn transfer(&mut self, id: u64, to: u64) {
        let now = self.node(id).clock.at(self.now_us);
        self.tally.transfers += 1;
        self.replica(id).transfer(now, to);
        self.settle(id);
    }

    /// The operator wants a removed leader to go.
    pub fn refresh(&mut self, id: u64) {
        self.replica(id).refresh();
        self.settle(id);
    }

    pub fn elect(&mut self, id: u64, pre_vote: bool) {
        let (now, dice) = (self.node(id).clock.at(self.now_us), self.dice.roll());
        self.tally.orders += 1;
        // Such an election breaks the promise to the leader before.
        self.lease_reads &= pre_vote;
        self.replica(id).elect(now, dice, pre_vote);
        self.settle(id);
    }

    /// Stops a node; of the writes on their way to its disk, the first `keep` made it.
    pub fn crash(&mut self, id: u64, keep: usize, keep_state: bool) {
        self.tally.crashes += 1;
        self.node_mut(id).crash(keep, keep_state);
        self.ghost.append_only.leads_no_more(id);
        // Whoever asked it, or was to be answered by it, will not hear from it.
        let waiting: Vec<(u64, u64)> = self
            .nodes
            .values()
            .flat_map(|node| node.contexts.iter().map(|(req, (peer, _))| (node.id, *req, *peer)))
            .filter(|(_, _, peer)| *peer == id)
            .map(|(asker, req, _)| (asker, req))
            .collect();
        for (asker, req) in waiting {
            let answered = self.net.iter().any(|envelope| envelope.req == req && envelope.to == asker);
            let under_way = self.net.iter().any(|envelope| envelope.req == req && envelope.to == id);
            if !answered && !under_way {
                self.net.push(Envelope { from: id, to: asker, req, body: Body::Lost });
            }
        }
    }

    /// A disk is lost for good: its node never comes back. Another may take its place in the membership.
    ///
    /// What it had acknowledged goes on counting where it was counted: it never votes again.
    pub fn wipe(&mut self, id: u64) {
        self.crash(id, 0, false);
        self.tally.wiped += 1;
        self.node_mut(id).gone = true;
    }

    pub fn restart(&mut self, id: u64) {
        if self.node(id).gone {
            return;
        }
        let (now, dice, options) = (self.now_us, self.dice.roll(), self.options.clone());
        self.node_mut(id).restart(options, now, dice);
        self.check_restarted(id);
        self.settle(id);
    }

    /// Cuts every link between two groups, in both directions.
    pub fn partition(&mut self, one: &BTreeSet<u64>) {
        let ids = self.ids();
        for (from, to) in ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to))) {
            if one.contains(&from) != one.contains(&to) {
                self.cut.insert((from, to));
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        self.flapping.clear();
        self.slow.clear();
    }

    /// Ends everything that makes a node or a link slow; who is down stays down.
    pub fn calm(&mut self) {
        self.heal();
        for node in self.nodes.values_mut() {
            (node.disk_hangs_until, node.paused_until, node.starved_until) = (0, 0, 0);
        }
    }

    /// Delivers everything and does all work until nothing is left to do, time standing still.
    pub fn stabilize(&mut self) {
        for _ in 0..10_000 {
            let mut did = false;
            for id in self.ids() {
                did |= self.work(id);
            }
            let under_way = self.net.len();
            for _ in 0..under_way {
                did |= self.deliver(0);
            }
            if !did {
                return;
            }
        }
        panic!("I18: a storm of messages that does not end");
    }

    /// Lets `ms` pass, in steps of a few milliseconds, with timeouts and everything that follows.
    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(5) {
            self.now_us += 5_000;
            for id in self.ids() {
                if self.node(id).up {
                    self.timeout(id);
                }
            }
            self.stabilize();
        }
    }
}

//! The cluster as a whole: nodes, messages under way, time; and what is checked after every step.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use quorate_core::Options;
use quorate_core::Replica;
use quorate_core::log::next_index;
use quorate_core::work::Born;
use quorate_core::work::Event;

use crate::dice::Dice;
use crate::invariants::Ghost;
use crate::tally::Tally;
use crate::tier_a::node::Clock;
use crate::tier_a::node::Node;
use crate::tier_a::wire::Body;
use crate::tier_a::wire::Entry;
use crate::tier_a::wire::Envelope;
use crate::tier_a::wire::Ids;
use crate::tier_a::wire::Members;
use crate::tier_a::wire::Payload;
use crate::trace::Trace;
use crate::trace::TraceLine;

/// Most messages that wait for a node that is paused.
const WAITING_MAX: usize = 64;

pub struct Cluster<L: Ids> {
    pub nodes: BTreeMap<u64, Node<L>>,
    pub net: Vec<Envelope<L>>,
    /// Links that are cut, from and to.
    pub cut: BTreeSet<(u64, u64)>,
    /// Links that come and go, and links that need long for everything.
    pub flapping: BTreeSet<(u64, u64)>,
    pub slow: BTreeSet<(u64, u64)>,
    pub now_us: u64,
    pub options: Options,
    pub ghost: Ghost<L>,
    pub dice: Dice,
    pub trace: Option<Trace>,
    pub requests: u64,
    /// Whether the promises hold that lease reads rest on: no operator orders elections, no clock is worse than told.
    pub lease_reads: bool,
    /// What happened so far.
    pub tally: Tally,
    /// A hash over every step: two runs of a seed that differ anywhere differ here.
    pub hash: u64,
    pub ops: u64,
}

impl<L: Ids> Cluster<L> {
    pub fn new(options: Options, seed: u64, trace: Option<Trace>) -> Self {
        Self {
            nodes: BTreeMap::new(),
            net: Vec::new(),
            cut: BTreeSet::new(),
            flapping: BTreeSet::new(),
            slow: BTreeSet::new(),
            now_us: 0,
            options,
            ghost: Ghost::default(),
            dice: Dice(seed),
            trace,
            requests: 0,
            lease_reads: true,
            tally: Tally::default(),
            hash: 0,
            ops: 0,
        }
    }

    pub fn add_node(&mut self, clock: Clock) -> u64 {
        let id = self.nodes.len() as u64 + 1;
        let dice = self.dice.roll();
        self.nodes.insert(id, Node::new(id, self.options.clone(), clock, self.now_us, dice));
        id
    }

    /// Notes in the trace what happened to the cluster as a whole.
    pub fn say(&self, line: impl FnOnce() -> String) {
        self.note(None, line);
    }

    /// Notes in the trace what happened to a node.
    pub fn tell(&self, node: u64, line: impl FnOnce() -> String) {
        self.note(Some(node), line);
    }

    fn note(&self, node: Option<u64>, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let look = node.and_then(|id| self.nodes.get(&id)).map(|node| node.look(self.now_us));
            let line = TraceLine { at_us: self.now_us, node, look, text: line() };
            trace.borrow_mut().push(line);
        }
    }

    pub fn node(&self, id: u64) -> &Node<L> {
        &self.nodes[&id]
    }

    pub fn node_mut(&mut self, id: u64) -> &mut Node<L> {
        self.nodes.get_mut(&id).unwrap()
    }

    pub fn replica(&mut self, id: u64) -> &mut Replica<L> {
        &mut self.node_mut(id).replica
    }

    /// Whether a node does anything now: it is up, and not paused.
    pub fn is_awake(&self, id: u64) -> bool {
        let node = self.node(id);
        node.up && self.now_us >= node.paused_until
    }

    /// The nodes that do something now.
    pub fn awake(&self) -> Vec<u64> {
        self.nodes.keys().copied().filter(|id| self.is_awake(*id)).collect()
    }

    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// The node that leads with the greatest vote.
    pub fn leader(&self) -> Option<u64> {
        let leading = self.nodes.values().filter(|node| node.up && node.replica.leading().is_some());
        leading.max_by_key(|node| node.replica.vote().leader_id.term()).map(|node| node.id)
    }

    /// After each step of a node: its new entries stand in line, its replies leave, and all invariants hold.
    pub fn settle(&mut self, id: u64) {
        if !self.node(id).up {
            return;
        }
        self.tally.events += 1;
        self.mix(id);
        self.take_born(id);
        for event in self.replica(id).take_events() {
            self.note_event(id, event);
        }
        self.release_replies(id);
        self.note_commit(id);
        self.check_node(id);
        self.finish_reads(id);
        if let Err(broken) = self.node(id).replica.check() {
            panic!("{id}: {broken}");
        }
    }

    /// Takes the step of this node into the hash of the run.
    fn mix(&mut self, id: u64) {
        let replica = &self.node(id).replica;
        let vote = replica.vote();
        let words = [
            id,
            self.now_us,
            replica.flushed_seq(),
            replica.log().next_index(),
            next_index(replica.committed()),
            vote.leader_id.term() << 1 | u64::from(vote.committed),
            self.net.len() as u64,
            self.dice.0,
        ];
        self.hash = words
            .iter()
            .fold(self.hash, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }

    fn take_born(&mut self, id: u64) {
        for born in self.replica(id).take_born() {
            let entry = match born {
                Born::Blank(log_id) => Entry { id: log_id, payload: Payload::Blank },
                Born::Membership(log_id, membership) => {
                    self.tell(id, || format!("{id} proposes {}", Members(&membership)));
                    self.check_proposed_membership(id, &log_id);
                    Entry { id: log_id, payload: Payload::Config((*membership).clone()) }
                }
            };
            self.note_proposal(id, entry);
        }
    }

    /// An entry that a node proposes waits to be written.
    pub(crate) fn note_proposal(&mut self, id: u64, entry: Entry<L>) {
        self.ghost.bytes.proposed(&entry.id, entry.payload.print());
        let node = self.node_mut(id);
        node.config_moved |= entry.config().is_some();
        node.pending.push_back(entry);
    }

    fn note_event(&mut self, id: u64, event: Event<L>) {
        match event {
            Event::Campaign { vote, pre } => {
                let word = if pre { "asks for pre-votes" } else { "campaigns" };
                self.tell(id, || format!("{id} {word} {}", vote.leader_id));
            }
            Event::Leading(vote) => {
                self.tell(id, || format!("{id} leads {}", vote.leader_id));
                let Self { ghost, nodes, .. } = self;
                ghost.leads(id, &vote, |entry| nodes[&id].replica.log().has(entry));
                let node = self.node(id);
                let own = node.durable.vote.as_ref().is_some_and(|own| own.leader_id == vote.leader_id);
                let membership = &node.replica.effective_membership().membership;
                self.ghost.votes.elected(&vote, own, membership.configs());
            }
            Event::SteppedDown(vote) => self.tell(id, || format!("{id} steps down for {vote}")),
            Event::Truncated(index) => {
                self.tell(id, || format!("{id} truncates from {index}"));
                let node = self.node_mut(id);
                node.config_moved = true;
                node.clients.retain(|client| client.index < index);
            }
            Event::Installed(last) => {
                self.tally.installed += 1;
                self.tell(id, || format!("{id} installed {last}"));
                let node = self.node_mut(id);
                node.seen_committed = node.seen_committed.max(last.index + 1);
                node.config_moved = true;
                node.clients.retain(|client| client.index > last.index);
                self.check_committed_membership(id);
            }
            Event::Reverted { peer, .. } => panic!("I13: {id}: {peer} lost entries that no crash took"),
            Event::Contradiction(index) => panic!("I5: {id}: a leader contradicts the commit at {index}"),
            Event::TransferAbandoned(to) => self.tell(id, || format!("{id} gives up the transfer to {to}")),
        }
    }

    /// Replies leave when what they wait for is durable. I1 counts what left.
    pub fn release_replies(&mut self, id: u64) {
        let flushed = self.node(id).replica.flushed_seq();
        let (free, wait) =
            self.node_mut(id).replies.drain(..).partition(|(after, _): &(u64, _)| *after <= flushed);
        self.node_mut(id).replies = wait;
        let free: Vec<(u64, Envelope<L>)> = free;
        for (_, envelope) in free {
            if let Body::VoteReply(reply) = &envelope.body
                && reply.granted
            {
                self.ghost.votes.vote_leaves(id, &reply.vote);
            }
            self.post(envelope);
        }
    }

    /// Puts a message on its way, or loses it where the link is cut: then whoever asked learns of it some time.
    pub fn post(&mut self, envelope: Envelope<L>) {
        let to = envelope.to;
        let waits = |envelope: &&Envelope<L>| envelope.to == to && !matches!(envelope.body, Body::Lost);
        let full = !self.is_awake(to) && self.net.iter().filter(waits).count() >= WAITING_MAX;
        if full || self.cut.contains(&(envelope.from, to)) {
            self.lose(envelope);
        } else {
            self.net.push(envelope);
        }
    }

    /// The message is gone. Whoever waits for an answer will be told.
    pub fn lose(&mut self, envelope: Envelope<L>) {
        let Envelope { from, to, req, body } = envelope;
        if req == 0 {
            return;
        }
        let lost = match body {
            Body::Lost => Envelope { from, to, req, body },
            body if body.is_request() => Envelope { from: to, to: from, req, body: Body::Lost },
            _ => Envelope { from, to, req, body: Body::Lost },
        };
        self.net.push(lost);
    }

    fn note_commit(&mut self, id: u64) {
        let node = self.node(id);
        let (from, end) = (node.seen_committed, next_index(node.replica.committed()));
        if end == from {
            return;
        }
        let leads = node.replica.leading().is_some();
        if leads {
            self.check_counted(id);
        }
        let by = self.node(id).replica.vote().leader_id.to_committed();
        for index in from..end {
            let node = self.node(id);
            let log_id = node.replica.log().get(index);
            let entry = log_id.and_then(|log_id| node.entry(&log_id)).cloned();
            let Some(entry) = entry else { panic!("I5: {id}: committed {index} is not held") };
            self.ghost.committed(&entry.view(), &by);
        }
        self.ghost.monotonic.commits_to(id, end, self.ghost.canon.end());
        for other in self.ids().into_iter().filter(|other| self.node(*other).up) {
            self.check_lease(other);
        }
        self.node_mut(id).seen_committed = end;
        self.check_committed_membership(id);
        let node = self.node(id);
        let commit = node.replica.committed().cloned();
        self.tell(id, || format!("{id} commits {}", commit.unwrap()));
    }

    /// I14: a read that completes has seen whatever anyone saw before it began.
    fn finish_reads(&mut self, id: u64) {
        let reads = std::mem::take(&mut self.node_mut(id).reads);
        for reading in reads {
            let node = self.node(id);
            let confirmed = reading.leased || node.replica.read_confirmed(&reading.read) == Some(true);
            let lost = !reading.leased && node.replica.read_confirmed(&reading.read).is_none();
            let seen = node.sm.next();
            if confirmed && seen > reading.read.log_id.index {
                if reading.leased {
                    self.ghost.lease.reads(id, reading.floor, seen);
                }
                self.ghost.reads.completes(reading.floor, seen);
                *(if reading.leased { &mut self.tally.leased } else { &mut self.tally.reads }) += 1;
                self.tell(id, || format!("{id} reads up to {}", seen - 1));
            } else if lost {
                self.tell(id, || format!("{id} fails a read"));
            } else {
                self.node_mut(id).reads.push(reading);
            }
        }
    }
}

//! What happens when a message arrives.

use quorate_core::Install;
use quorate_core::Placed;
use quorate_core::ids::Vote;
use quorate_core::log::next_index;
use quorate_core::message::Append;
use quorate_core::message::AppendReply;
use quorate_core::message::EntryIds;

use crate::tier_a::cluster::Cluster;
use crate::tier_a::wire::Body;
use crate::tier_a::wire::Context;
use crate::tier_a::wire::Entry;
use crate::tier_a::wire::Envelope;
use crate::tier_a::wire::Id;
use crate::tier_a::wire::Ids;
use crate::tier_a::wire::Image;
use crate::tier_a::wire::Payload;

/// How long a peer that did not answer is left alone.
pub(crate) const BACKOFF_US: u64 = 20_000;

/// Most requests to take over that a node remembers.
const TAKEOVERS_MAX: usize = 4;

impl<L: Ids> Cluster<L> {
    /// Takes the message at `at` off the network and hands it to its node; if that one is paused, the message waits on,
    /// behind all others.
    pub fn deliver(&mut self, at: usize) -> bool {
        let envelope = self.net.remove(at);
        if self.node(envelope.to).up && !self.is_awake(envelope.to) {
            self.net.push(envelope);
            return false;
        }
        let cut = self.cut.contains(&(envelope.from, envelope.to));
        if !matches!(envelope.body, Body::Lost) && (cut || !self.node(envelope.to).up) {
            self.tell(envelope.to, || {
                format!("{}->{} {} is lost", envelope.from, envelope.to, envelope.body)
            });
            self.lose(envelope);
            return true;
        }
        if !self.node(envelope.to).up {
            return true;
        }
        self.tell(envelope.to, || format!("{}->{} {}", envelope.from, envelope.to, envelope.body));
        let to = envelope.to;
        if envelope.body.is_request() {
            self.requested(envelope);
        } else {
            self.answered(envelope);
        }
        self.settle(to);
        true
    }

    fn requested(&mut self, envelope: Envelope<L>) {
        let Envelope { from, to, req, body } = envelope;
        let now = self.node(to).clock.at(self.now_us);
        let reply = |body| Envelope { from: to, to: from, req, body };
        let node = self.node_mut(to);
        let (after, body) = match body {
            Body::PreVote(request) => {
                let answer = node.replica.pre_vote_request(now, &request);
                self.post(reply(Body::VoteReply(answer)));
                return;
            }
            Body::Vote(request) => {
                let answer = node.replica.vote_request(now, &request);
                (answer.after, Body::VoteReply(answer.message))
            }
            Body::Transfer(transfer) => {
                node.replica.transfer_request(&transfer);
                if transfer.to == to {
                    node.takeovers.push(transfer);
                    node.takeovers.truncate(TAKEOVERS_MAX);
                }
                (0, Body::Lost)
            }
            Body::Append { vote, prev, entries, commit } => self.append(to, vote, prev, entries, commit),
            Body::Heartbeat { vote, prev, commit } => self.append(to, vote, prev, Vec::new(), commit),
            Body::Snapshot { vote, image } => {
                let Some(answer) = self.offer(to, from, req, &vote, image) else { return };
                answer
            }
            _ => unreachable!("an answer is no request"),
        };
        self.node_mut(to).replies.push((after, reply(body)));
    }

    fn append(
        &mut self,
        to: u64,
        vote: Vote<L>,
        prev: Option<Id<L>>,
        entries: Vec<Entry<L>>,
        commit: Option<Id<L>>,
    ) -> (u64, Body<L>) {
        let now = self.node(to).clock.at(self.now_us);
        let mut ids = EntryIds::empty(next_index(prev.as_ref()));
        let mut memberships = Vec::new();
        for entry in &entries {
            self.ghost.bytes.received(to, &entry.view());
            ids.push(entry.id.clone()).unwrap();
            if let Payload::Config(membership) = &entry.payload {
                memberships.push(Placed::new(Some(entry.id.clone()), membership.clone()));
            }
        }
        let request = Append { vote, prev, entries: ids, memberships, commit };
        let node = self.node_mut(to);
        let appended = node.replica.append(now, &request);
        if let Some(from) = appended.new_from {
            node.config_moved |= entries.iter().any(|entry| entry.config().is_some());
            node.pending.extend(entries.into_iter().filter(|entry| entry.id.index >= from));
        }
        (appended.reply.after, Body::AppendReply(appended.reply.message))
    }

    fn offer(
        &mut self,
        to: u64,
        from: u64,
        req: u64,
        vote: &Vote<L>,
        image: Image<L>,
    ) -> Option<(u64, Body<L>)> {
        let now = self.node(to).clock.at(self.now_us);
        self.ghost.bytes.received_snapshot(to, image.next(), image.hash, &self.ghost.canon);
        let node = self.node_mut(to);
        let last = image.last.clone().unwrap();
        match node.replica.install(now, vote, &last, image.membership.clone()) {
            Install::Accepted => {
                node.offered = Some((image, from, req));
                None
            }
            Install::Covered(reply) | Install::HigherVote(reply) => {
                Some((reply.after, Body::SnapshotReply(reply.message)))
            }
            Install::Busy => Some((0, Body::Lost)),
            Install::Impossible(why) => panic!("I17: {to}: {why}"),
        }
    }

    fn answered(&mut self, envelope: Envelope<L>) {
        let Envelope { from: _, to, req, body } = envelope;
        let Some((peer, context)) = self.node_mut(to).contexts.remove(&req) else { return };
        let (now, dice) = (self.node(to).clock.at(self.now_us), self.dice.roll());
        if matches!(body, Body::Lost) {
            let until = self.now_us + BACKOFF_US;
            self.node_mut(to).backoff.insert(peer, until);
        }
        let replica = self.replica(to);
        match (context, body) {
            (Context::PreVote(asked), Body::VoteReply(reply)) => {
                replica.pre_vote_answer(now, dice, &peer, &asked, &reply);
            }
            (Context::Vote(asked), Body::VoteReply(reply)) => {
                replica.vote_answer(now, &peer, &asked, &reply);
            }
            (Context::Heartbeat(ticket), Body::AppendReply(reply)) => {
                replica.heartbeat_answer(now, &peer, &ticket, Some(&reply));
            }
            (Context::Heartbeat(ticket), _) => replica.heartbeat_answer(now, &peer, &ticket, None),
            (Context::Snapshot { ticket, last }, Body::SnapshotReply(vote)) => {
                replica.snapshot_answer(now, &peer, &ticket, last.as_ref(), &vote);
            }
            (Context::Snapshot { ticket, .. }, _) => replica.peer_lost(&peer, &ticket),
            (context @ Context::Append { .. }, Body::AppendReply(reply)) => {
                self.node_mut(to).contexts.insert(req, (peer, context));
                self.append_answered(to, peer, req, reply);
            }
            (Context::Append { ticket, .. }, _) => replica.peer_lost(&peer, &ticket),
            _ => {}
        }
    }

    /// Answers count in the order of their requests.
    fn append_answered(&mut self, to: u64, peer: u64, req: u64, reply: AppendReply<L>) {
        let now = self.node(to).clock.at(self.now_us);
        let node = self.node_mut(to);
        let Some(stream) = node.streams.get_mut(&peer) else { return };
        if !stream.requests.iter().any(|(number, _)| *number == req) {
            // Of a stream that is over. The core must see that by itself.
            if let Some((_, Context::Append { ticket, prev, .. })) = node.contexts.remove(&req) {
                node.replica.append_answer(now, &peer, &ticket, prev.as_ref(), &reply);
            }
            return;
        }
        if let Some((_, answer)) = stream.requests.iter_mut().find(|(number, _)| *number == req) {
            *answer = Some(reply);
        }
        while let Some((number, Some(reply))) =
            node.streams.get(&peer).and_then(|s| s.requests.front()).cloned()
        {
            node.streams.get_mut(&peer).unwrap().requests.pop_front();
            if let Some((_, Context::Append { ticket, prev, .. })) = node.contexts.remove(&number) {
                node.replica.append_answer(now, &peer, &ticket, prev.as_ref(), &reply);
            }
        }
    }
}

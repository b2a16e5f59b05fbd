//! What a node's loops do, one effect at a time. Each says whether there was anything to do.

use quorate_core::log::next_index;
use quorate_core::work::Ask;
use quorate_core::work::Write;

use crate::invariants::i17_snapshot;
use crate::invariants::i19_resources;
use crate::invariants::i19_resources::within;
use crate::tier_a::cluster::Cluster;
use crate::tier_a::node::Stream;
use crate::tier_a::wire::Body;
use crate::tier_a::wire::Context;
use crate::tier_a::wire::DiskOp;
use crate::tier_a::wire::Envelope;
use crate::tier_a::wire::Ids;
use crate::tier_a::wire::Opt;

/// What each entry is said to weigh.
const ENTRY_BYTES: u64 = 100;

impl<L: Ids> Cluster<L> {
    /// Pulls one write and does it: readers see it, a crash may still take it.
    pub fn write(&mut self, id: u64) -> bool {
        let most = self.options.write_entries_max.max(1);
        let node = self.node_mut(id);
        let Some(write) = node.replica.next_write() else { return false };
        let (seq, op) = match write {
            Write::Vote { seq, vote } => (Some(seq), DiskOp::Vote(vote)),
            Write::Append { seq, first, last } => {
                within(id, "entries in a write", last.index + 1 - first, most);
                let entries: Vec<_> = node.pending.drain(..(last.index - first + 1) as usize).collect();
                assert_eq!(
                    entries.first().unwrap().id.index,
                    first,
                    "I4: appends come in the order of their entries"
                );
                assert_eq!(entries.last().unwrap().id, last, "I4: an append ends where it says");
                (Some(seq), DiskOp::Append(entries))
            }
            Write::Truncate { seq, after } => (Some(seq), DiskOp::Truncate(after)),
            Write::Purge { upto } => (None, DiskOp::Purge(upto)),
            Write::Committed { commit } => (None, DiskOp::Committed(commit)),
        };
        node.view.apply(&op);
        if let Some(seq) = seq {
            node.replica.written(seq);
        }
        match &op {
            DiskOp::Purge(upto) => node.replica.purge_finished(upto),
            DiskOp::Committed(commit) => node.replica.commit_saved(commit.clone()),
            _ => {}
        }
        node.behind.push_back((seq, op));
        self.settle(id);
        true
    }

    /// The first `count` writes that were done become durable.
    pub fn flush(&mut self, id: u64, count: usize) -> bool {
        let mut seq = None;
        let hangs = self.node(id).disk_hangs || self.now_us < self.node(id).disk_hangs_until;
        let count = if hangs { 0 } else { count };
        for _ in 0..count {
            let Some((number, op)) = self.node_mut(id).behind.pop_front() else { break };
            match &op {
                DiskOp::Vote(vote) => self.ghost.monotonic.vote_durable(id, vote),
                DiskOp::Append(entries) => {
                    let first = entries.first().map_or(0, |entry| entry.id.index);
                    let durable = &self.node(id).durable;
                    let prev = first.checked_sub(1).and_then(|index| durable.get(index));
                    let prev = prev.map(|entry| entry.id.clone()).or_else(|| durable.purged.clone());
                    let entries = entries.clone();
                    self.note_entries(&entries, prev.as_ref());
                }
                DiskOp::Truncate(after) => {
                    let keep = next_index(after.as_ref());
                    let durable = &self.node(id).durable;
                    let (entries, vote) = (&durable.entries, durable.vote.as_ref());
                    let leader = vote
                        .expect("I9: a leader's vote is saved before it truncates")
                        .leader_id
                        .to_committed();
                    for entry in entries.iter().filter(|entry| entry.id.index >= keep) {
                        self.ghost.canon.removed(id, &entry.id, &leader);
                    }
                }
                DiskOp::Purge(upto) => self.check_purge(id, upto),
                _ => {}
            }
            let node = self.node_mut(id);
            node.durable.apply(&op);
            seq = number.or(seq);
        }
        let Some(seq) = seq else { return false };
        let now = self.node(id).clock.at(self.now_us);
        self.replica(id).flushed(now, seq);
        self.settle(id);
        true
    }

    /// Hands the next committed entries to the state machine.
    pub fn apply_begin(&mut self, id: u64) -> bool {
        let most = self.options.apply_entries_max.max(1);
        let node = self.node_mut(id);
        if node.applying.is_some() || node.installing {
            return false;
        }
        node.applying = node.replica.next_apply();
        if let Some(apply) = &node.applying {
            within(id, "entries handed to the state machine", apply.last.index + 1 - apply.first, most);
        }
        let some = node.applying.is_some();
        self.settle(id);
        some
    }

    /// The state machine has applied them; clients get their answers.
    pub fn apply_end(&mut self, id: u64) -> bool {
        let Some(apply) = self.node_mut(id).applying.take() else { return false };
        let Self { nodes, ghost, .. } = self;
        let node = nodes.get_mut(&id).unwrap();
        for index in apply.first..=apply.last.index {
            let entry =
                node.view.get(index).unwrap_or_else(|| panic!("I11: {id}: entry {index} cannot be read"));
            ghost.applied.applies(id, &entry.view(), &ghost.canon);
            node.sm.apply(entry);
        }
        assert_eq!(node.sm.last.as_ref(), Some(&apply.last), "I10: {id}: another entry was applied");
        let end = apply.last.index + 1;
        node.replica.applied_to(apply.last);
        let (done, waiting) = node.clients.drain(..).partition(|client| client.index < end);
        node.clients = waiting;
        let done: Vec<_> = done;
        for client in done {
            let Self { ghost, nodes, .. } = self;
            ghost.acknowledged(&client, |node| nodes[&node].keeps(&client));
            self.tally.writes += 1;
        }
        self.check_image(&self.node(id).sm);
        self.settle(id);
        true
    }

    pub fn install_begin(&mut self, id: u64) -> bool {
        let node = self.node_mut(id);
        if node.installing || node.replica.next_install().is_none() {
            return false;
        }
        assert!(node.applying.is_none(), "I17: nothing is applied while a snapshot is installed");
        node.installing = true;
        true
    }

    pub fn install_end(&mut self, id: u64) -> bool {
        let node = self.node_mut(id);
        if !node.installing {
            return false;
        }
        node.installing = false;
        let (image, from, req) = node.offered.take().unwrap();
        i17_snapshot::check_install(id, node.sm.next(), image.next());
        node.sm = image.clone();
        node.snapshot = Some(image);
        if let Some(reply) = node.replica.installed() {
            let body = Body::SnapshotReply(reply.message);
            node.replies.push((reply.after, Envelope { from: id, to: from, req, body }));
        }
        let Self { ghost, nodes, .. } = self;
        ghost.applied.stands_at(id, nodes[&id].sm.next(), nodes[&id].sm.hash, &ghost.canon);
        self.settle(id);
        true
    }

    pub fn build_begin(&mut self, id: u64) -> bool {
        let node = self.node_mut(id);
        if !node.replica.next_build() {
            return false;
        }
        node.building = Some(node.sm.clone());
        self.settle(id);
        true
    }

    pub fn build_end(&mut self, id: u64) -> bool {
        let Some(image) = self.node_mut(id).building.take() else { return false };
        self.check_image(&image);
        self.ghost.snapshots.built(image.next(), image.hash);
        self.tally.built += 1;
        let node = self.node_mut(id);
        let last = image.last.clone();
        if image.next() > node.snapshot.as_ref().map_or(0, |snapshot| snapshot.next()) {
            node.snapshot = Some(image);
        }
        let before = node.replica.snapshot().cloned();
        node.replica.built(last.clone());
        self.tell(id, || format!("{id} builds a snapshot up to {}", Opt(last.as_ref())));
        self.settle(id);
        let node = self.node(id);
        if node.sends.is_empty() && before.as_ref() != node.replica.snapshot() {
            i19_resources::check_log(&node.replica, &self.options);
        }
        true
    }

    fn request(&mut self, from: u64, to: u64, context: Context<L>, body: Body<L>) {
        self.requests += 1;
        let req = self.requests;
        self.node_mut(from).contexts.insert(req, (to, context));
        self.post(Envelope { from, to, req, body });
    }

    pub fn ask(&mut self, id: u64, peer: u64) -> bool {
        let Some(ask) = self.replica(id).next_ask(&peer) else { return false };
        let (context, body) = match ask {
            Ask::PreVote(request) => (Context::PreVote(request.vote.clone()), Body::PreVote(request)),
            Ask::Vote(request) => {
                self.ghost.votes.vote_leaves(id, &request.vote);
                (Context::Vote(request.vote.clone()), Body::Vote(request))
            }
            Ask::Transfer(transfer) => (Context::Transfer, Body::Transfer(transfer)),
        };
        self.request(id, peer, context, body);
        self.settle(id);
        true
    }

    pub fn heartbeat(&mut self, id: u64, peer: u64) -> bool {
        let now = self.node(id).clock.at(self.now_us);
        let Some(send) = self.replica(id).next_heartbeat(now, &peer) else { return false };
        let body = Body::Heartbeat { vote: send.vote, prev: send.prev, commit: send.commit };
        self.request(id, peer, Context::Heartbeat(send.ticket), body);
        self.settle(id);
        true
    }

    /// Pulls an append for `peer`; its entries are read later.
    pub fn append_begin(&mut self, id: u64, peer: u64) -> bool {
        let now = self.node(id).clock.at(self.now_us);
        let had = self.node(id).replica.has_append(&peer);
        let send = self.replica(id).next_append(now, &peer);
        if let Some(send) = send {
            let most = self.options.payload_entries_max.max(1);
            within(id, "entries in a request", send.end - send.first, most);
            assert_eq!(
                next_index(send.prev.as_ref()),
                send.first,
                "I4: an append stands behind an entry, or at the start"
            );
            self.node_mut(id).sends.push((peer, send));
        }
        self.settle(id);
        had
    }

    /// Reads the entries of the oldest append that was pulled, all but the last `short`, and sends it.
    pub fn append_end(&mut self, id: u64, short: u64) -> bool {
        if self.node(id).sends.is_empty() {
            return false;
        }
        let (peer, send) = self.node_mut(id).sends.remove(0);
        let node = self.node_mut(id);
        let session = node.replica.peer_ready(&peer).session;
        let least = send.end.min(send.first + 1);
        let end = send.end.saturating_sub(short).max(least);
        let entries: Option<Vec<_>> = (send.first..end).map(|index| node.view.get(index).cloned()).collect();
        let known = end.checked_sub(1).and_then(|last| node.replica.log().get(last));
        let stale = !node.replica.sent(&peer, &send.ticket, end, ENTRY_BYTES * (end - send.first));
        i19_resources::check(&self.node(id).replica, &self.options, ENTRY_BYTES);
        if stale {
            self.settle(id);
            return true;
        }
        let entries =
            entries.unwrap_or_else(|| panic!("I11: {id}: entries {}..{end} cannot be read", send.first));
        if let Some(last) = entries.last() {
            assert_eq!(known.as_ref(), Some(&last.id), "I4: {id}: a stale entry was read");
        }
        self.note_entries(&entries, send.prev.as_ref());
        let context = Context::Append { ticket: send.ticket, session, prev: send.prev.clone() };
        let body = Body::Append { vote: send.vote, prev: send.prev, entries, commit: send.commit };
        let req = self.requests + 1;
        let streams = &mut self.node_mut(id).streams;
        let stream = streams.entry(peer).or_insert_with(|| Stream { session, requests: Default::default() });
        if stream.session != session {
            *stream = Stream { session, requests: Default::default() };
        }
        stream.requests.push_back((req, None));
        self.request(id, peer, context, body);
        self.settle(id);
        true
    }

    /// The log store cannot read the entries of the oldest append that was pulled.
    pub fn fail_read(&mut self, id: u64) {
        let (peer, send) = self.node_mut(id).sends.remove(0);
        self.replica(id).peer_lost(&peer, &send.ticket);
        self.settle(id);
    }

    pub fn send_snapshot(&mut self, id: u64, peer: u64) -> bool {
        let now = self.node(id).clock.at(self.now_us);
        let Some(send) = self.replica(id).next_snapshot(now, &peer) else { return false };
        let image =
            self.node(id).snapshot.clone().unwrap_or_else(|| panic!("I17: {id}: no snapshot to send"));
        let context = Context::Snapshot { ticket: send.ticket, last: image.last.clone() };
        self.request(id, peer, context, Body::Snapshot { vote: send.vote, image });
        self.settle(id);
        true
    }

    /// Tells the replica that its deadline has come, if it has.
    pub fn timeout(&mut self, id: u64) -> bool {
        if !self.is_awake(id) || self.now_us < self.node(id).starved_until {
            return false;
        }
        let now = self.node(id).clock.at(self.now_us);
        if self.node(id).replica.deadline().is_none_or(|deadline| now < deadline) {
            return false;
        }
        let dice = self.dice.roll();
        self.replica(id).timeout(now, dice);
        self.settle(id);
        true
    }

    /// A node that shall take over does so as soon as it can, or gives up.
    pub fn take_over(&mut self, id: u64) -> bool {
        let Some(transfer) = self.node(id).takeovers.first().cloned() else { return false };
        let Some(outcome) = self.node(id).replica.transfer_outcome(&transfer) else { return false };
        self.node_mut(id).takeovers.remove(0);
        if outcome.is_ok() {
            let (now, dice) = (self.node(id).clock.at(self.now_us), self.dice.roll());
            self.replica(id).take_over(now, dice);
        }
        self.settle(id);
        true
    }

    /// Everything that the node can do by itself now, once.
    pub fn work(&mut self, id: u64) -> bool {
        if !self.is_awake(id) {
            return false;
        }
        let mut did = false;
        while self.write(id) {
            did = true;
        }
        did |= self.flush(id, usize::MAX);
        did |= self.apply_begin(id) | self.apply_end(id);
        did |= self.install_begin(id) | self.install_end(id);
        did |= self.build_begin(id) | self.build_end(id);
        did |= self.take_over(id);
        for peer in self.ids().into_iter().filter(|peer| *peer != id) {
            did |= self.ask(id, peer);
            did |= self.heartbeat(id, peer);
            let rests = self.node(id).backoff.get(&peer).is_some_and(|until| self.now_us < *until);
            while !rests && self.append_begin(id, peer) {
                did = true;
                while self.append_end(id, 0) {}
            }
            while self.append_end(id, 0) {
                did = true;
            }
            did |= !rests && self.send_snapshot(id, peer);
        }
        did
    }
}

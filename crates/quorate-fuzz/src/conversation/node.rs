//! One replica with a log store and a state machine that remember nothing but what the replica asks of them.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::ids::{LogId, Vote};
use quorate_core::log::next_index;
use quorate_core::message::{Append, EntryIds};
use quorate_core::work::{Ask, Born, SendAppend, Write};
use quorate_core::{Install, Membership, Options, Placed, Replica, Stored, Time};

use super::{Body, Context, Entry, Id, L, Message};
use crate::conversation::lies;
use crate::input::Input;

/// Most replies that wait for the disk; more are lost.
const REPLIES_MAX: usize = 64;

pub(super) struct Node {
    id: u64,
    pub(super) replica: Replica<L>,
    /// Writes that are done and not durable yet.
    unflushed: VecDeque<u64>,
    /// Replies that wait for a write to be durable.
    replies: Vec<(u64, Message)>,
    /// The memberships that it has seen, by the entry that holds them.
    memberships: BTreeMap<u64, (Id, Membership<u64>)>,
    /// The snapshot that was accepted, and whom to answer when it is installed.
    offered: Option<(Message, Option<Id>, Membership<u64>)>,
    /// What its newest snapshot covers.
    snapshot: Option<Id>,
    transfers: Vec<quorate_core::message::Transfer<L>>,
}

impl Node {
    pub(super) fn new(id: u64, options: Options) -> Self {
        let now = Time(std::time::Duration::from_millis(1000));
        Self {
            id,
            replica: Replica::new(id, options, Stored::default(), now, id),
            unflushed: VecDeque::new(),
            replies: Vec::new(),
            memberships: BTreeMap::new(),
            offered: None,
            snapshot: None,
            transfers: Vec::new(),
        }
    }

    /// A node that knows of a broken invariant is stopped by its shell.
    fn is_stopped(&self) -> bool {
        self.replica.broken().is_some()
    }

    pub(super) fn initialize(&mut self, now: Time) {
        let members = Membership::new(vec![[1, 2, 3].into()], []);
        if let Ok(id) = self.replica.initialize(now, 7, members.clone()) {
            self.memberships.insert(id.index, (id, members));
        }
    }

    pub(super) fn propose(&mut self, now: Time, count: u64) {
        let _ = self.replica.propose(now, count);
    }

    pub(super) fn timeout(&mut self, now: Time, dice: u64) {
        if !self.is_stopped() && self.replica.deadline().is_some_and(|deadline| deadline <= now) {
            self.replica.timeout(now, dice);
        }
    }

    /// What an application may want of it.
    pub(super) fn client(&mut self, now: Time, input: &mut Input) {
        if self.is_stopped() {
            return;
        }
        match input.below(9) {
            0..=2 => self.propose(now, 1 + u64::from(input.byte() % 8)),
            3 => {
                let members = lies::membership(input);
                // The shell lets no invalid membership through to here.
                if members.is_valid()
                    && let Ok(id) = self.replica.propose_membership(now, members.clone(), Some(input.flag()))
                {
                    self.memberships.insert(id.index, (id, members));
                }
            }
            4 => drop(self.replica.read()),
            5 => self.replica.elect(now, input.number(), input.flag()),
            6 => self.replica.transfer(now, u64::from(input.byte() % 5)),
            7 => self.replica.purge(input.number()),
            _ => self.replica.snapshot_now(),
        }
    }

    pub(super) fn flush_one(&mut self, now: Time) {
        if let Some(seq) = self.unflushed.pop_front() {
            self.replica.flushed(now, seq);
        }
    }

    /// Does all that the replica asks for, and returns what is to be sent.
    pub(super) fn work(&mut self, now: Time) -> Vec<Message> {
        let from = self.id;
        let mut out = Vec::new();
        if self.is_stopped() {
            return out;
        }
        self.note_born();
        self.write(now);
        while let Some(apply) = self.replica.next_apply() {
            self.replica.applied_to(apply.last);
        }
        self.install(&mut out);
        if self.replica.next_build() {
            let applied = self.replica.applied().copied();
            self.replica.built(applied);
            self.snapshot = self.snapshot.max(applied);
        }
        self.write(now);
        for transfer in std::mem::take(&mut self.transfers) {
            if let Some(Ok(())) = self.replica.transfer_outcome(&transfer) {
                self.replica.take_over(now, 3);
            }
        }
        for peer in lies::NODES.into_iter().filter(|peer| *peer != from) {
            self.send(now, peer, &mut out);
        }
        self.note_born();
        drop(self.replica.take_events());
        let flushed = self.replica.flushed_seq();
        let (free, wait) =
            std::mem::take(&mut self.replies).into_iter().partition(|(after, _)| *after <= flushed);
        self.replies = wait;
        let free: Vec<(u64, Message)> = free;
        out.extend(free.into_iter().map(|(_, message)| message));
        out
    }

    fn note_born(&mut self) {
        for born in self.replica.take_born() {
            if let Born::Membership(id, members) = born {
                self.memberships.insert(id.index, (id, (*members).clone()));
            }
        }
    }

    fn write(&mut self, now: Time) {
        while let Some(write) = self.replica.next_write() {
            match write {
                Write::Vote { seq, .. } | Write::Append { seq, .. } | Write::Truncate { seq, .. } => {
                    self.replica.written(seq);
                    self.unflushed.push_back(seq);
                }
                Write::Purge { upto } => self.replica.purge_finished(&upto),
                Write::Committed { commit } => self.replica.commit_saved(commit),
            }
        }
        while !self.unflushed.is_empty() {
            self.flush_one(now);
        }
    }

    fn install(&mut self, out: &mut Vec<Message>) {
        let Some(last) = self.replica.next_install() else { return };
        let Some((mut answer, at, members)) = self.offered.take() else {
            panic!("a snapshot that nobody offered")
        };
        let Some(reply) = self.replica.installed() else { return };
        self.snapshot = self.snapshot.max(Some(last));
        if let Some(at) = at {
            self.memberships.insert(at.index, (at, members));
        }
        answer.body = Body::SnapshotReply(reply.message);
        out.push(answer);
    }

    fn send(&mut self, now: Time, peer: u64, out: &mut Vec<Message>) {
        let from = self.id;
        let mut post = |context, body| out.push(Message { from, to: peer, body, context });
        match self.replica.next_ask(&peer) {
            Some(Ask::PreVote(request)) => post(Context::PreVote(request.vote), Body::PreVote(request)),
            Some(Ask::Vote(request)) => post(Context::Vote(request.vote), Body::Vote(request)),
            Some(Ask::Transfer(transfer)) => post(Context::None, Body::Transfer(transfer)),
            None => {}
        }
        if let Some(send) = self.replica.next_heartbeat(now, &peer) {
            let body =
                Body::Append { vote: send.vote, prev: send.prev, entries: Vec::new(), commit: send.commit };
            post(Context::Heartbeat(send.ticket), body);
        }
        while let Some(send) = self.replica.next_append(now, &peer) {
            let Some(entries) = self.read(&send) else {
                self.replica.peer_lost(&peer, &send.ticket);
                break;
            };
            if !self.replica.sent(&peer, &send.ticket, send.end, entries.len() as u64) {
                break;
            }
            let context = Context::Append { ticket: send.ticket, prev: send.prev };
            post(context, Body::Append { vote: send.vote, prev: send.prev, entries, commit: send.commit });
        }
        if let Some(send) = self.replica.next_snapshot(now, &peer) {
            match self.snapshot {
                Some(last) => {
                    let held = self.memberships.range(..=last.index).next_back();
                    let (at, membership) = held
                        .map_or((None, Membership::default()), |(_, (at, held))| (Some(*at), held.clone()));
                    let context = Context::Snapshot { ticket: send.ticket, last: Some(last) };
                    post(context, Body::Snapshot { vote: send.vote, last, at, membership });
                }
                None => self.replica.peer_lost(&peer, &send.ticket),
            }
        }
    }

    fn read(&self, send: &SendAppend<L>) -> Option<Vec<Entry>> {
        let entry = |index| {
            let id = self.replica.log().get(index)?;
            let held = self.memberships.get(&index).filter(|(at, _)| *at == id);
            Some((id, held.map(|(_, members)| members.clone())))
        };
        (send.first..send.end).map(entry).collect()
    }

    /// Takes a message, and answers it if it is a request.
    pub(super) fn receive(&mut self, now: Time, message: Message) -> Option<Message> {
        if self.is_stopped() {
            return None;
        }
        let Message { from, body, context, .. } = message;
        let answer = Message { from: self.id, to: from, body: Body::Lost, context: context.clone() };
        match body {
            Body::PreVote(request) => {
                let reply = self.replica.pre_vote_request(now, &request);
                Some(Message { body: Body::VoteReply(reply), ..answer })
            }
            Body::Vote(request) => {
                let reply = self.replica.vote_request(now, &request);
                self.later(reply.after, Message { body: Body::VoteReply(reply.message), ..answer })
            }
            Body::Transfer(request) => {
                self.replica.transfer_request(&request);
                if request.to == self.id && self.transfers.len() < REPLIES_MAX {
                    self.transfers.push(request);
                }
                None
            }
            Body::Append { vote, prev, entries, commit } => {
                self.append(now, vote, prev, entries, commit, answer)
            }
            Body::Snapshot { vote, last, at, membership } => {
                match self.replica.install(now, &vote, &last, Placed::new(at, membership.clone())) {
                    Install::Accepted => {
                        self.offered = Some((answer, at, membership));
                        None
                    }
                    Install::Covered(reply) | Install::HigherVote(reply) => self
                        .later(reply.after, Message { body: Body::SnapshotReply(reply.message), ..answer }),
                    Install::Busy | Install::Impossible(_) => Some(answer),
                }
            }
            body => {
                self.answered(now, from, context, body);
                None
            }
        }
    }

    fn later(&mut self, after: u64, message: Message) -> Option<Message> {
        if self.replies.len() < REPLIES_MAX {
            self.replies.push((after, message));
        }
        None
    }

    /// As the shell does: entries that do not follow each other are refused before the replica sees them.
    fn append(
        &mut self,
        now: Time,
        vote: Vote<L>,
        prev: Option<LogId<L>>,
        entries: Vec<Entry>,
        commit: Option<LogId<L>>,
        answer: Message,
    ) -> Option<Message> {
        let mut ids = EntryIds::empty(next_index(prev.as_ref()));
        let mut memberships = Vec::new();
        for (id, membership) in &entries {
            if ids.push(*id).is_err() {
                let body = Body::AppendReply(quorate_core::message::AppendReply::Conflict);
                return Some(Message { body, ..answer });
            }
            memberships.extend(membership.clone().map(|membership| Placed::new(Some(*id), membership)));
        }
        let appended = self.replica.append(now, &Append { vote, prev, entries: ids, memberships, commit });
        if let Some(new_from) = appended.new_from {
            let new = entries.into_iter().filter(|(id, _)| id.index >= new_from);
            self.memberships.extend(new.filter_map(|(id, held)| held.map(|held| (id.index, (id, held)))));
        }
        self.later(
            appended.reply.after,
            Message { body: Body::AppendReply(appended.reply.message), ..answer },
        )
    }

    fn answered(&mut self, now: Time, peer: u64, context: Context, body: Body) {
        let replica = &mut self.replica;
        match (context, body) {
            (Context::PreVote(asked), Body::VoteReply(reply)) => {
                replica.pre_vote_answer(now, 5, &peer, &asked, &reply);
            }
            (Context::Vote(asked), Body::VoteReply(reply)) => replica.vote_answer(now, &peer, &asked, &reply),
            (Context::Heartbeat(ticket), Body::AppendReply(reply)) => {
                replica.heartbeat_answer(now, &peer, &ticket, Some(&reply));
            }
            (Context::Heartbeat(ticket), _) => replica.heartbeat_answer(now, &peer, &ticket, None),
            (Context::Append { ticket, prev }, Body::AppendReply(reply)) => {
                replica.append_answer(now, &peer, &ticket, prev.as_ref(), &reply);
            }
            (Context::Snapshot { ticket, last }, Body::SnapshotReply(vote)) => {
                replica.snapshot_answer(now, &peer, &ticket, last.as_ref(), &vote);
            }
            (Context::Append { ticket, .. } | Context::Snapshot { ticket, .. }, _) => {
                replica.peer_lost(&peer, &ticket);
            }
            _ => {}
        }
    }
}

//! Messages that no honest node sends, and what a liar changes in those that one does.

use std::collections::BTreeSet;

use quorate_core::Membership;
use quorate_core::ids::{LogId, Vote};
use quorate_core::message::{AppendReply, Transfer, VoteReply, VoteRequest};

use super::{Body, Context, Entry, Id, L, Message};
use crate::input::Input;

/// Most entries of a made up request.
const ENTRIES_MAX: usize = 6;

/// Whom memberships may name; there are three nodes, 1 to 3.
pub(super) const NODES: [u64; 6] = [0, 1, 2, 3, 4, 5];

fn leader(input: &mut Input) -> L {
    L { term: input.number(), node_id: u64::from(input.byte() % 5) }
}

fn vote(input: &mut Input) -> Vote<L> {
    let leader_id = leader(input);
    Vote { leader_id, committed: input.flag() }
}

fn id(input: &mut Input) -> Id {
    LogId::new(leader(input), input.number())
}

fn maybe_id(input: &mut Input) -> Option<Id> {
    if input.below(4) == 0 { None } else { Some(id(input)) }
}

/// Any membership, also one that is none: no voters, more than two sets, sets that share nobody.
pub(super) fn membership(input: &mut Input) -> Membership<u64> {
    let set = |bits: u8| NODES.into_iter().filter(|id| bits >> id & 1 == 1).collect::<BTreeSet<u64>>();
    let configs = (0..input.below(4)).map(|_| set(input.byte())).collect();
    Membership::new(configs, set(input.byte()))
}

/// Entries that follow `prev`, for the most part.
fn entries(prev: Option<&Id>, input: &mut Input) -> Vec<Entry> {
    let mut next = prev.map_or(0, |prev| prev.index.wrapping_add(1));
    let mut leader_id = prev.map_or(L { term: 0, node_id: 1 }, |prev| prev.leader_id);
    let mut entries = Vec::new();
    for _ in 0..input.below(ENTRIES_MAX) {
        let kind = input.byte();
        if kind & 3 == 3 {
            leader_id = leader(input);
        }
        if kind & 0x1c == 0x1c {
            next = input.number();
        }
        let held = (kind & 0x60 == 0x60).then(|| membership(input));
        entries.push((LogId::new(leader_id, next), held));
        next = next.wrapping_add(1);
    }
    entries
}

/// A request of anybody, to anybody.
pub(super) fn request(input: &mut Input) -> Message {
    let body = match input.below(6) {
        0 => Body::PreVote(vote_request(input)),
        1 => Body::Vote(vote_request(input)),
        2 => Body::Transfer(Transfer { from: vote(input), to: input.number(), last: maybe_id(input) }),
        3 | 4 => {
            let prev = maybe_id(input);
            let mut vote = vote(input);
            vote.committed |= input.below(8) != 0;
            Body::Append { vote, prev, entries: entries(prev.as_ref(), input), commit: maybe_id(input) }
        }
        _ => {
            let mut vote = vote(input);
            vote.committed |= input.below(8) != 0;
            Body::Snapshot { vote, last: id(input), at: maybe_id(input), membership: membership(input) }
        }
    };
    Message { from: u64::from(input.byte() % 5), to: 0, body, context: Context::None }
}

fn vote_request(input: &mut Input) -> VoteRequest<L> {
    VoteRequest { vote: vote(input), last: maybe_id(input), transfer: input.flag() }
}

/// An answer to anything.
pub(super) fn answer(input: &mut Input) -> Body {
    match input.below(6) {
        0 => Body::VoteReply(VoteReply { vote: vote(input), granted: input.flag(), last: maybe_id(input) }),
        1 => Body::AppendReply(AppendReply::Success(maybe_id(input))),
        2 => Body::AppendReply(AppendReply::Conflict),
        3 => Body::AppendReply(AppendReply::HigherVote(vote(input))),
        4 => Body::SnapshotReply(vote(input)),
        _ => Body::Lost,
    }
}

/// Changes one thing in a message.
pub(super) fn change(message: &mut Message, input: &mut Input) {
    if input.below(16) == 0 {
        message.from = u64::from(input.byte() % 5);
    }
    match &mut message.body {
        Body::PreVote(request) | Body::Vote(request) => match input.below(4) {
            0 => change_vote(&mut request.vote, input),
            1 => change_maybe(&mut request.last, input),
            2 => request.transfer ^= true,
            _ => *request = vote_request(input),
        },
        Body::Transfer(transfer) => match input.below(3) {
            0 => change_vote(&mut transfer.from, input),
            1 => transfer.to = input.number(),
            _ => change_maybe(&mut transfer.last, input),
        },
        Body::Append { vote, prev, entries: sent, commit } => match input.below(5) {
            0 => change_vote(vote, input),
            1 => change_maybe(prev, input),
            2 => change_maybe(commit, input),
            3 => change_entries(sent, input),
            _ => *sent = entries(prev.as_ref(), input),
        },
        Body::Snapshot { vote, last, at, membership: members } => match input.below(4) {
            0 => change_vote(vote, input),
            1 => change_id(last, input),
            2 => change_maybe(at, input),
            _ => *members = membership(input),
        },
        Body::VoteReply(reply) => match input.below(3) {
            0 => change_vote(&mut reply.vote, input),
            1 => reply.granted ^= true,
            _ => change_maybe(&mut reply.last, input),
        },
        Body::AppendReply(AppendReply::Success(matched)) if input.flag() => change_maybe(matched, input),
        Body::SnapshotReply(vote) => change_vote(vote, input),
        body @ (Body::AppendReply(_) | Body::Lost) => *body = answer(input),
    }
}

fn change_entries(entries: &mut Vec<Entry>, input: &mut Input) {
    let Some(at) = usize::from(input.byte()).checked_rem(entries.len()) else { return };
    match input.below(4) {
        0 => drop(entries.remove(at)),
        1 => entries.insert(at, entries[at].clone()),
        2 => change_id(&mut entries[at].0, input),
        _ => entries[at].1 = Some(membership(input)),
    }
}

fn change_vote(vote: &mut Vote<L>, input: &mut Input) {
    match input.below(3) {
        0 => vote.committed ^= true,
        1 => vote.leader_id.node_id = u64::from(input.byte() % 5),
        _ => vote.leader_id.term = near(vote.leader_id.term, input),
    }
}

fn change_id(id: &mut Id, input: &mut Input) {
    match input.below(3) {
        0 => id.index = near(id.index, input),
        1 => id.leader_id.term = near(id.leader_id.term, input),
        _ => id.leader_id.node_id = u64::from(input.byte() % 5),
    }
}

fn change_maybe(id: &mut Option<Id>, input: &mut Input) {
    match id {
        Some(id) if input.below(4) != 0 => change_id(id, input),
        id => *id = maybe_id(input),
    }
}

/// One more, one less, or anything.
fn near(number: u64, input: &mut Input) -> u64 {
    match input.below(3) {
        0 => number.saturating_add(1),
        1 => number.saturating_sub(1),
        _ => input.number(),
    }
}

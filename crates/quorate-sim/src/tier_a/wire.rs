//! What travels and what is stored: entries with payload, disks that lose what was not flushed, envelopes.

use std::collections::VecDeque;
use std::fmt;

use quorate_core::Membership;
use quorate_core::Placed;
use quorate_core::ids::RaftLeaderId;
use quorate_core::ids::Vote;
use quorate_core::log::Log;
use quorate_core::log::next_index;
use quorate_core::message::AppendReply;
use quorate_core::message::Ticket;
use quorate_core::message::Transfer;
use quorate_core::message::VoteReply;
use quorate_core::message::VoteRequest;

pub type Config<L> = Placed<<L as RaftLeaderId>::Committed, u64>;

pub use crate::ids::Id;
pub use crate::ids::Ids;
use crate::invariants::EntryView;
use crate::invariants::i05_canon::chain;

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Blank,
    Op(u64),
    Config(Membership<u64>),
}

impl Payload {
    /// A fingerprint of it.
    pub fn print(&self) -> u64 {
        match self {
            Payload::Blank => 1,
            Payload::Op(op) => op + 3,
            Payload::Config(membership) => {
                let sets = membership.configs().iter().chain([membership.learners()]);
                sets.fold(2, |print, set| {
                    set.iter().fold(chain(print, 1 << 32), |print, id| chain(print, *id))
                })
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<L: Ids> {
    pub id: Id<L>,
    pub payload: Payload,
}

impl<L: Ids> Entry<L> {
    pub fn config(&self) -> Option<&Membership<u64>> {
        match &self.payload {
            Payload::Config(membership) => Some(membership),
            _ => None,
        }
    }

    /// The entry as the observer knows it.
    pub fn view(&self) -> EntryView<'_, L> {
        EntryView { id: &self.id, print: self.payload.print(), config: self.config() }
    }
}

/// One thing done to a disk.
#[derive(Clone, Debug)]
pub enum DiskOp<L: Ids> {
    Vote(Vote<L>),
    Append(Vec<Entry<L>>),
    Truncate(Option<Id<L>>),
    Purge(Id<L>),
    Committed(Id<L>),
}

/// A log store: either what a reader sees, or what is left after a crash.
#[derive(Clone, Debug)]
pub struct Disk<L: Ids> {
    pub vote: Option<Vote<L>>,
    pub purged: Option<Id<L>>,
    pub entries: VecDeque<Entry<L>>,
    pub committed: Option<Id<L>>,
}

impl<L: Ids> Disk<L> {
    pub fn empty() -> Self {
        Self { vote: None, purged: None, entries: VecDeque::new(), committed: None }
    }

    pub fn first(&self) -> u64 {
        next_index(self.purged.as_ref())
    }

    pub fn end(&self) -> u64 {
        self.first() + self.entries.len() as u64
    }

    pub fn get(&self, index: u64) -> Option<&Entry<L>> {
        let at = index.checked_sub(self.first())?;
        self.entries.get(at as usize)
    }

    /// Whether the entry with this id is here, or behind a purged end that covers it.
    pub fn holds(&self, id: &Id<L>) -> bool {
        id.index < self.first() || self.get(id.index).is_some_and(|entry| entry.id == *id)
    }

    pub fn apply(&mut self, op: &DiskOp<L>) {
        match op {
            DiskOp::Vote(vote) => self.vote = Some(vote.clone()),
            DiskOp::Append(entries) => {
                for entry in entries {
                    assert_eq!(entry.id.index, self.end(), "I4: an append leaves no hole");
                    self.entries.push_back(entry.clone());
                }
            }
            DiskOp::Truncate(after) => {
                let keep = next_index(after.as_ref()).saturating_sub(self.first());
                self.entries.truncate(keep as usize);
            }
            DiskOp::Purge(upto) => {
                while self.entries.front().is_some_and(|entry| entry.id.index <= upto.index) {
                    self.entries.pop_front();
                }
                if Some(upto) > self.purged.as_ref() {
                    self.purged = Some(upto.clone());
                }
            }
            DiskOp::Committed(commit) => self.committed = Some(commit.clone()),
        }
    }

    pub fn shape(&self) -> Log<L::Committed> {
        Log::new(self.purged.clone(), self.entries.iter().map(|entry| entry.id.clone()))
    }
}

/// A state machine's whole state, which is also what a snapshot holds: a chain of hashes over all it has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<L: Ids> {
    pub last: Option<Id<L>>,
    pub hash: u64,
    pub membership: Config<L>,
}

impl<L: Ids> Image<L> {
    pub fn empty() -> Self {
        Self { last: None, hash: 0, membership: Placed::new(None, Membership::default()) }
    }

    pub fn next(&self) -> u64 {
        next_index(self.last.as_ref())
    }

    pub fn apply(&mut self, entry: &Entry<L>) {
        self.hash = chain(self.hash, entry.payload.print());
        self.last = Some(entry.id.clone());
        if let Payload::Config(membership) = &entry.payload {
            self.membership = Placed::new(Some(entry.id.clone()), membership.clone());
        }
    }
}

/// A message on its way, and the request that it is, or answers; 0 if nobody waits for an answer.
#[derive(Clone, Debug)]
pub struct Envelope<L: Ids> {
    pub from: u64,
    pub to: u64,
    pub req: u64,
    pub body: Body<L>,
}

#[derive(Clone, Debug)]
pub enum Body<L: Ids> {
    PreVote(VoteRequest<L>),
    Vote(VoteRequest<L>),
    Transfer(Transfer<L>),
    Append {
        vote: Vote<L>,
        prev: Option<Id<L>>,
        entries: Vec<Entry<L>>,
        commit: Option<Id<L>>,
    },
    Heartbeat {
        vote: Vote<L>,
        prev: Option<Id<L>>,
        commit: Option<Id<L>>,
    },
    Snapshot {
        vote: Vote<L>,
        image: Image<L>,
    },
    VoteReply(VoteReply<L>),
    AppendReply(AppendReply<L>),
    SnapshotReply(Vote<L>),
    /// Nobody will answer: the request or its answer is lost, or took too long.
    Lost,
}

impl<L: Ids> Body<L> {
    pub fn is_request(&self) -> bool {
        !matches!(self, Body::VoteReply(_) | Body::AppendReply(_) | Body::SnapshotReply(_) | Body::Lost)
    }
}

/// What the asking node remembers of a request until it is answered.
#[derive(Clone, Debug)]
pub enum Context<L: Ids> {
    PreVote(Vote<L>),
    Vote(Vote<L>),
    Transfer,
    Append { ticket: Ticket, session: u64, prev: Option<Id<L>> },
    Heartbeat(Ticket),
    Snapshot { ticket: Ticket, last: Option<Id<L>> },
}

/// Shows an optional id: `-` for none.
pub struct Opt<'a, T>(pub Option<&'a T>);

impl<T: fmt::Display> fmt::Display for Opt<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => write!(f, "-"),
        }
    }
}

/// Shows entries as `[1.4 x, 1.5 b]`.
pub struct Entries<'a, L: Ids>(pub &'a [Entry<L>]);

impl<L: Ids> fmt::Display for Entries<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => write!(f, "[]"),
            [one] => write!(f, "[{}]", one.id),
            [first, .., last] => write!(f, "[{}..{}]", first.id, last.id),
        }
    }
}

/// Shows a membership as `(1,2)(2,3) learners (4)`.
pub struct Members<'a>(pub &'a Membership<u64>);

impl fmt::Display for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &std::collections::BTreeSet<u64>| {
            ids.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(",")
        };
        for voters in self.0.configs() {
            write!(f, "({})", list(voters))?;
        }
        if !self.0.learners().is_empty() {
            write!(f, " learners ({})", list(self.0.learners()))?;
        }
        Ok(())
    }
}

impl<L: Ids> fmt::Display for Body<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::PreVote(request) => {
                write!(f, "pre-vote {} last={}", request.vote.leader_id, Opt(request.last.as_ref()))
            }
            Body::Vote(request) => {
                let transfer = if request.transfer { " (transfer)" } else { "" };
                write!(f, "vote {} last={}{transfer}", request.vote.leader_id, Opt(request.last.as_ref()))
            }
            Body::Transfer(transfer) => {
                write!(f, "transfer to {} at {}", transfer.to, Opt(transfer.last.as_ref()))
            }
            Body::Append { vote, prev, entries, commit } => write!(
                f,
                "append {} prev={} {} commit={}",
                vote.leader_id,
                Opt(prev.as_ref()),
                Entries(entries),
                Opt(commit.as_ref())
            ),
            Body::Heartbeat { vote, prev, commit } => write!(
                f,
                "heartbeat {} prev={} commit={}",
                vote.leader_id,
                Opt(prev.as_ref()),
                Opt(commit.as_ref())
            ),
            Body::Snapshot { vote, image } => {
                write!(f, "snapshot {} {}", vote.leader_id, Opt(image.last.as_ref()))
            }
            Body::VoteReply(reply) => {
                let word = if reply.granted { "granted" } else { "refused" };
                write!(f, "{word} {} last={}", reply.vote, Opt(reply.last.as_ref()))
            }
            Body::AppendReply(AppendReply::Success(matched)) => {
                write!(f, "matches {}", Opt(matched.as_ref()))
            }
            Body::AppendReply(AppendReply::Conflict) => write!(f, "conflict"),
            Body::AppendReply(AppendReply::HigherVote(vote)) => write!(f, "higher vote {vote}"),
            Body::SnapshotReply(vote) => write!(f, "installed {vote}"),
            Body::Lost => write!(f, "lost"),
        }
    }
}

//! What replicas say to each other, without payload: log ids, votes and memberships only.

use alloc::vec::Vec;

use crate::ids::LogId;
use crate::ids::RaftCommittedLeaderId;
use crate::ids::RaftLeaderId;
use crate::ids::Vote;
use crate::membership::Placed;
use crate::options::Time;

/// The ids of consecutive entries, kept as the last id of each leader run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryIds<C: RaftCommittedLeaderId> {
    first_index: u64,
    runs: Vec<LogId<C>>,
}

/// An entry that does not follow the one before it: the sender is broken, or lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotConsecutive;

impl<C: RaftCommittedLeaderId> EntryIds<C> {
    /// No entries, at `first_index`.
    pub fn empty(first_index: u64) -> Self {
        Self { first_index, runs: Vec::new() }
    }

    /// Adds the next entry's id: its index is the next one, its leader not smaller than the one before.
    pub fn push(&mut self, log_id: LogId<C>) -> Result<(), NotConsecutive> {
        if log_id.index != self.end() || log_id.index == u64::MAX {
            return Err(NotConsecutive);
        }
        match self.runs.last_mut() {
            Some(run) if run.leader_id == log_id.leader_id => run.index = log_id.index,
            Some(run) if run.leader_id > log_id.leader_id => return Err(NotConsecutive),
            _ => self.runs.push(log_id),
        }
        Ok(())
    }

    /// The index of the first entry.
    pub fn first_index(&self) -> u64 {
        self.first_index
    }

    /// The index after the last entry.
    pub fn end(&self) -> u64 {
        self.runs.last().map_or(self.first_index, |run| run.index.saturating_add(1))
    }

    /// The last id of each leader run.
    pub fn runs(&self) -> &[LogId<C>] {
        &self.runs
    }

    /// The leader of the entry at `index`, if it is one of these.
    pub fn leader_at(&self, index: u64) -> Option<&C> {
        let run = self.runs.iter().find(|run| run.index >= index);
        run.filter(|_| index >= self.first_index).map(|run| &run.leader_id)
    }

    /// The id of the first entry.
    pub fn first(&self) -> Option<LogId<C>> {
        self.runs.first().map(|run| LogId::new(run.leader_id.clone(), self.first_index))
    }

    /// The id of the last entry.
    pub fn last(&self) -> Option<&LogId<C>> {
        self.runs.last()
    }
}

/// Entries, or the news that none are due, from a leader (thesis §3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append<L: RaftLeaderId> {
    /// The leader's committed vote.
    pub vote: Vote<L>,
    /// The id of the entry right before these.
    pub prev: Option<LogId<L::Committed>>,
    /// The ids of the entries.
    pub entries: EntryIds<L::Committed>,
    /// The memberships among the entries.
    pub memberships: Vec<Placed<L::Committed, L::NodeId>>,
    /// The leader's commit.
    pub commit: Option<LogId<L::Committed>>,
}

/// The answer to [`Append`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendReply<L: RaftLeaderId> {
    /// The log agrees with the sender's up to this id, durably.
    Success(Option<LogId<L::Committed>>),
    /// The entry before the sent ones is not in this log.
    Conflict,
    /// The sender is not, or no longer, the leader: this is the vote that says so.
    HigherVote(Vote<L>),
}

/// The wish for a vote or a pre-vote (thesis §3.4, §9.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteRequest<L: RaftLeaderId> {
    /// The candidate's vote, not committed.
    pub vote: Vote<L>,
    /// The last entry of the candidate's log.
    pub last: Option<LogId<L::Committed>>,
    /// Whether the leader itself asked for this election, so that its lease does not forbid it.
    pub transfer: bool,
}

/// The answer to [`VoteRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteReply<L: RaftLeaderId> {
    /// The voter's vote, after the request.
    pub vote: Vote<L>,
    /// Whether it was granted.
    pub granted: bool,
    /// The last entry of the voter's log.
    pub last: Option<LogId<L::Committed>>,
}

/// A leader tells a voter that it wants `to` to lead next (thesis §3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer<L: RaftLeaderId> {
    /// The leader's vote.
    pub from: Vote<L>,
    /// Who is to lead.
    pub to: L::NodeId,
    /// The log that `to` must hold first.
    pub last: Option<LogId<L::Committed>>,
}

/// Why a node will not take over leadership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferRefusal<L: RaftLeaderId> {
    /// Another leader or candidate is known by now.
    VoteChanged(Vote<L>),
    /// The log did not arrive in time; this is what is durable.
    LogNotFlushed(Option<LogId<L::Committed>>),
}

/// What a leader remembers of a request it sent, to be given back with the answer.
///
/// An answer with a ticket of another session (leadership, or a peer's stream, that has ended) is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Which leadership it belongs to.
    pub(crate) leadership: u64,
    /// Which stream of the peer it belongs to.
    pub(crate) session: u64,
    /// The newest read round that was open when it was sent.
    pub(crate) round: u64,
    /// When it was sent.
    pub(crate) sent: Time,
}

/// A reply and the write that must be durable before it may leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<T> {
    /// What to say.
    pub message: T,
    /// Not before this write, and all before it, are flushed.
    pub after: WriteSeq,
}

/// The number of a write to the log store; 0 stands for "nothing to wait for".
pub type WriteSeq = u64;

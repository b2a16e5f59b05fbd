//! What nodes say to each other: requests that carry entries, votes and snapshots, and their answers.

use std::borrow::Borrow;
use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;

use thiserror::Error as ThisError;

use crate::display::List;
use crate::display::Opt;
use crate::entry::RaftEntry;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::VoteOf;

/// The leader's entries, or its heartbeat when there are none (thesis §3.5).
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct AppendEntriesRequest<C: RaftTypeConfig> {
    /// The leader's committed vote.
    pub vote: VoteOf<C>,
    /// The entry right before the first of `entries`.
    pub prev_log_id: Option<LogIdOf<C>>,
    /// Entries in order, without holes.
    pub entries: Vec<C::Entry>,
    /// What the leader knows to be committed.
    pub leader_commit: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> Clone for AppendEntriesRequest<C>
where
    C::Entry: Clone,
{
    fn clone(&self) -> Self {
        Self {
            vote: self.vote.clone(),
            prev_log_id: self.prev_log_id.clone(),
            entries: self.entries.clone(),
            leader_commit: self.leader_commit.clone(),
        }
    }
}

impl<C: RaftTypeConfig> Display for AppendEntriesRequest<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "vote={}, prev_log_id={}, leader_commit={}, entries={}",
            self.vote,
            Opt(&self.prev_log_id),
            Opt(&self.leader_commit),
            List::short(self.entries.iter())
        )
    }
}

/// What became of an [`AppendEntriesRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum AppendEntriesResponse<C: RaftTypeConfig> {
    /// All entries are durable on the follower.
    Success,
    /// The entries up to this one are; the others were not taken.
    PartialSuccess(Option<LogIdOf<C>>),
    /// The follower does not have the entry right before them.
    Conflict,
    /// The follower has seen a greater vote: the sender leads no more.
    HigherVote(VoteOf<C>),
}

impl<C: RaftTypeConfig> AppendEntriesResponse<C> {
    /// Whether all entries were taken.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success)
    }

    /// Whether the follower does not have the entry right before them.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict)
    }

    /// The same for a request of the entries after `prev_log_id` up to `last_log_id`.
    ///
    /// The position before the first entry conflicts with nothing; a node that says it does has taken nothing.
    pub fn into_stream_result(
        self,
        prev_log_id: Option<LogIdOf<C>>,
        last_log_id: Option<LogIdOf<C>>,
    ) -> StreamAppendResult<C> {
        match self {
            Self::Success => Ok(last_log_id),
            Self::PartialSuccess(log_id) => Ok(log_id),
            Self::Conflict => prev_log_id.map_or(Ok(None), |prev| Err(StreamAppendError::Conflict(prev))),
            Self::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
        }
    }
}

impl<C: RaftTypeConfig> From<StreamAppendResult<C>> for AppendEntriesResponse<C> {
    fn from(result: StreamAppendResult<C>) -> Self {
        match result {
            Ok(log_id) => Self::PartialSuccess(log_id),
            Err(StreamAppendError::Conflict(_)) => Self::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => Self::HigherVote(vote),
        }
    }
}

impl<C: RaftTypeConfig> Display for AppendEntriesResponse<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("Success"),
            Self::PartialSuccess(log_id) => write!(f, "PartialSuccess({})", Opt(log_id)),
            Self::Conflict => f.write_str("Conflict"),
            Self::HigherVote(vote) => write!(f, "Higher vote, {vote}"),
        }
    }
}

/// How far a stream of append requests got with one of them: the last entry that is durable on the follower.
pub type StreamAppendResult<C> = Result<Option<LogIdOf<C>>, StreamAppendError<C>>;

/// What ends a stream of append requests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum StreamAppendError<C: RaftTypeConfig> {
    /// The follower does not have this entry, which comes right before the request's.
    Conflict(LogIdOf<C>),
    /// The follower has seen a greater vote: the sender leads no more.
    HigherVote(VoteOf<C>),
}

impl<C: RaftTypeConfig> Display for StreamAppendError<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(log_id) => write!(f, "Conflict({log_id})"),
            Self::HigherVote(vote) => write!(f, "HigherVote({vote})"),
        }
    }
}

/// Consecutive entries and the one right before them.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct LogSegment<C: RaftTypeConfig> {
    /// The entry right before the first.
    pub prev_log_id: Option<LogIdOf<C>>,
    /// The entries.
    pub entries: Vec<C::Entry>,
}

impl<C: RaftTypeConfig> LogSegment<C> {
    /// The entries after `prev_log_id`.
    pub fn new(prev_log_id: Option<LogIdOf<C>>, entries: Vec<C::Entry>) -> Self {
        Self { prev_log_id, entries }
    }

    /// The last entry or, if there is none, the one before.
    pub fn last(&self) -> Option<LogIdOf<C>> {
        self.entries.last().map(RaftEntry::log_id).or_else(|| self.prev_log_id.clone())
    }
}

impl<C: RaftTypeConfig> Display for LogSegment<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "prev:{}, entries:{}", Opt(&self.prev_log_id), List::short(self.entries.iter()))
    }
}

/// A candidate asks for a vote (thesis §3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct VoteRequest<C: RaftTypeConfig> {
    /// The vote to be granted.
    pub vote: VoteOf<C>,
    /// The candidate's last entry.
    pub last_log_id: Option<LogIdOf<C>>,
    /// Whether the leader asked the candidate to take over: it may be granted although the leader is alive.
    #[cfg_attr(feature = "serde", serde(default))]
    pub leadership_transfer: bool,
}

impl<C: RaftTypeConfig> VoteRequest<C> {
    /// A request of a candidate that no leader asked to take over.
    pub fn new(vote: VoteOf<C>, last_log_id: Option<LogIdOf<C>>) -> Self {
        Self { vote, last_log_id, leadership_transfer: false }
    }
}

impl<C: RaftTypeConfig> Display for VoteRequest<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let last_log = Opt(&self.last_log_id);
        write!(
            f,
            "{{vote:{}, last_log:{last_log}, leadership_transfer:{}}}",
            self.vote, self.leadership_transfer
        )
    }
}

/// What became of a [`VoteRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct VoteResponse<C: RaftTypeConfig> {
    /// The voter's vote: the candidate's if it was granted.
    pub vote: VoteOf<C>,
    /// Whether it was granted.
    pub vote_granted: bool,
    /// The voter's last entry.
    pub last_log_id: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> VoteResponse<C> {
    /// The answer of a voter whose vote is `vote` now.
    pub fn new(vote: impl Borrow<VoteOf<C>>, last_log_id: Option<LogIdOf<C>>, granted: bool) -> Self {
        Self { vote: vote.borrow().clone(), vote_granted: granted, last_log_id }
    }

    /// Whether the voter's vote is `vote`.
    pub fn is_granted_to(&self, vote: &VoteOf<C>) -> bool {
        self.vote == *vote
    }
}

impl<C: RaftTypeConfig> Display for VoteResponse<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}, last_log:{:?}}}", self.vote, self.last_log_id.as_ref().map(ToString::to_string))
    }
}

/// What became of a snapshot that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct SnapshotResponse<C: RaftTypeConfig> {
    /// The receiver's vote; if it is greater than the sender's, the snapshot was refused.
    pub vote: VoteOf<C>,
}

impl<C: RaftTypeConfig> SnapshotResponse<C> {
    /// The answer of a receiver whose vote is `vote`.
    pub fn new(vote: VoteOf<C>) -> Self {
        Self { vote }
    }
}

impl<C: RaftTypeConfig> Display for SnapshotResponse<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotResponse{{vote:{}}}", self.vote)
    }
}

/// The leader asks a node to take over (thesis §3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct TransferLeaderRequest<C: RaftTypeConfig> {
    from_leader: VoteOf<C>,
    to_node_id: C::NodeId,
    last_log_id: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> TransferLeaderRequest<C> {
    /// The leader with the vote `from` asks `to` to take over when its log reaches `last_log_id`.
    pub fn new(from: VoteOf<C>, to: C::NodeId, last_log_id: Option<LogIdOf<C>>) -> Self {
        Self { from_leader: from, to_node_id: to, last_log_id }
    }

    /// The vote of the leader that asks.
    pub fn from_leader(&self) -> &VoteOf<C> {
        &self.from_leader
    }

    /// Who is to take over.
    pub fn to_node_id(&self) -> &C::NodeId {
        &self.to_node_id
    }

    /// The entry that the node has to have first.
    pub fn last_log_id(&self) -> Option<&LogIdOf<C>> {
        self.last_log_id.as_ref()
    }
}

impl<C: RaftTypeConfig> Display for TransferLeaderRequest<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "(from_leader={}, to={}, last_log_id={})",
            self.from_leader,
            self.to_node_id,
            Opt(&self.last_log_id)
        )
    }
}

/// What became of a [`TransferLeaderRequest`].
pub type TransferLeaderResponse<C> = Result<(), TransferLeaderError<C>>;

/// Why a node did not take over.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub enum TransferLeaderError<C: RaftTypeConfig> {
    /// It follows another leader.
    #[error("transfer leader rejected because vote changed; expected: {expected:?}, actual: {actual:?}")]
    VoteChanged {
        /// The vote of the leader that asked.
        expected: VoteOf<C>,
        /// The node's vote.
        actual: VoteOf<C>,
    },
    /// It did not have the leader's entries in time.
    #[error(
        "transfer leader rejected because log is not flushed; expected: {expected:?}, actual: {actual:?}"
    )]
    LogNotFlushed {
        /// The leader's last entry.
        expected: Option<LogIdOf<C>>,
        /// The node's last durable entry.
        actual: Option<LogIdOf<C>>,
    },
}

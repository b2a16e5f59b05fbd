//! What a replica asks its caller to do, and what it tells about itself.

use alloc::sync::Arc;

use crate::ids::LogId;
use crate::ids::RaftLeaderId;
use crate::ids::Vote;
use crate::membership::Membership;
use crate::message::Ticket;
use crate::message::Transfer;
use crate::message::VoteRequest;
use crate::message::WriteSeq;

/// One thing to do in the log store. They are to be done in the order in which they were pulled.
///
/// Where there is a `seq`, the caller reports [`written`](crate::Replica::written) when a reader would see the change,
/// and [`flushed`](crate::Replica::flushed) when it, *and every write with a smaller number*, is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write<L: RaftLeaderId> {
    /// Save the vote durably.
    Vote {
        /// Its number.
        seq: WriteSeq,
        /// The vote.
        vote: Vote<L>,
    },
    /// Append the entries from `first` to `last`: the oldest that the caller holds and has not appended yet.
    ///
    /// An append is never taken back once it is queued: entries that are truncated meanwhile are appended, and removed
    /// by the truncation that follows. So the caller keeps entries in the order in which they came.
    Append {
        /// Its number.
        seq: WriteSeq,
        /// The index of the first entry.
        first: u64,
        /// The id of the last entry.
        last: LogId<L::Committed>,
    },
    /// Remove all entries after this one, durably; `None` removes all.
    Truncate {
        /// Its number.
        seq: WriteSeq,
        /// The last entry to keep.
        after: Option<LogId<L::Committed>>,
    },
    /// Forget the entries up to this one.
    Purge {
        /// The last entry to forget, possibly beyond the end of the log.
        upto: LogId<L::Committed>,
    },
    /// Remember the commit; need not be durable. Report [`commit_saved`](crate::Replica::commit_saved).
    Committed {
        /// The last committed entry.
        commit: LogId<L::Committed>,
    },
}

/// How far the log store is known to be durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushPoint<L: RaftLeaderId> {
    /// The vote that is durable.
    pub vote: Vote<L>,
    /// The last entry that is durable.
    pub last: Option<LogId<L::Committed>>,
}

/// A question to one peer that is answered once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask<L: RaftLeaderId> {
    /// Would it vote for us?
    PreVote(VoteRequest<L>),
    /// Its vote.
    Vote(VoteRequest<L>),
    /// That it lets another lead, or leads itself.
    Transfer(Transfer<L>),
}

/// A request with entries to read and send to one peer, or with none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendAppend<L: RaftLeaderId> {
    /// To be given back with [`sent`](crate::Replica::sent) and with the answer.
    pub ticket: Ticket,
    /// The leader's vote.
    pub vote: Vote<L>,
    /// The entry before the first.
    pub prev: Option<LogId<L::Committed>>,
    /// The index of the first entry to read.
    pub first: u64,
    /// The index after the last entry to read, at most; equal to `first` when there is none.
    pub end: u64,
    /// The leader's commit.
    pub commit: Option<LogId<L::Committed>>,
}

/// A sign of life to one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendHeartbeat<L: RaftLeaderId> {
    /// To be given back with the answer.
    pub ticket: Ticket,
    /// The leader's vote.
    pub vote: Vote<L>,
    /// The last entry known to match.
    pub prev: Option<LogId<L::Committed>>,
    /// The leader's commit.
    pub commit: Option<LogId<L::Committed>>,
}

/// A snapshot to send to one peer: the newest there is when the transfer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendSnapshot<L: RaftLeaderId> {
    /// To be given back with the answer.
    pub ticket: Ticket,
    /// The leader's vote.
    pub vote: Vote<L>,
}

/// A stretch of committed entries to apply, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply<C: crate::ids::RaftCommittedLeaderId> {
    /// The index of the first entry.
    pub first: u64,
    /// The id of the last entry.
    pub last: LogId<C>,
}

/// An entry that the replica itself put into its log; the caller makes the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Born<L: RaftLeaderId> {
    /// The first entry of a new leader.
    Blank(LogId<L::Committed>),
    /// The uniform configuration that ends a joint one.
    Membership(LogId<L::Committed>, Arc<Membership<L::NodeId>>),
}

/// Something worth telling an operator, or that ends what clients wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<L: RaftLeaderId> {
    /// A campaign began; `pre` if it is only asked about.
    Campaign {
        /// The vote that is campaigned for.
        vote: Vote<L>,
        /// Whether it is a pre-vote.
        pre: bool,
    },
    /// This node leads now.
    Leading(Vote<L>),
    /// This node no longer leads, because of this vote.
    SteppedDown(Vote<L>),
    /// All entries from this index on were removed from the log.
    Truncated(u64),
    /// A snapshot replaced the log up to this entry.
    Installed(LogId<L::Committed>),
    /// A peer lost entries that it had acknowledged.
    Reverted {
        /// The peer.
        peer: L::NodeId,
        /// What it had acknowledged.
        matched: Option<LogId<L::Committed>>,
    },
    /// A leader sent, at this index, another entry than the one committed here: two clusters, or a broken peer.
    Contradiction(u64),
    /// The transfer of leadership to this node was given up.
    TransferAbandoned(L::NodeId),
}

/// Which of the caller's loops have something to pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// [`next_write`](crate::Replica::next_write) has something.
    pub write: bool,
    /// [`next_apply`](crate::Replica::next_apply) has something.
    pub apply: bool,
    /// [`next_install`](crate::Replica::next_install) has something.
    pub install: bool,
    /// [`next_build`](crate::Replica::next_build) has something.
    pub build: bool,
}

/// What there is to pull for one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerReady {
    /// [`next_append`](crate::Replica::next_append) has something.
    pub append: bool,
    /// [`next_heartbeat`](crate::Replica::next_heartbeat) has something.
    pub heartbeat: bool,
    /// [`next_ask`](crate::Replica::next_ask) has something.
    pub ask: bool,
    /// [`next_snapshot`](crate::Replica::next_snapshot) has something.
    pub snapshot: bool,
    /// The stream that counts now; 0 while this node does not lead. What belongs to another one can be dropped.
    pub session: u64,
}

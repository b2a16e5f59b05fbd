//! What one node asks of another, beyond Raft itself. Travels as a call of the transport.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{MembershipError, ProposeError};
use crate::member::{ClusterId, Member, NodeId};
use crate::plan::Change;
use crate::status::Members;

/// The kind of call under which [`Asked`] travels.
pub(crate) const CALL_KIND: u32 = 1;

/// A question, and how long the one who asks is going to wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) within: Duration,
    pub(crate) ask: Ask,
}

/// New questions are added at the end: the position of a variant is its number on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Put this encoded command of the application into the log.
    Propose(Bytes),
    /// Up to which index must one have applied for a linearizable read?
    ReadIndex,
    /// Who are the members, and how far are they?
    Members,
    /// Change the membership.
    Change(Change),
    /// Hand leadership over.
    TransferLeader { to: NodeId },
    /// Take this node in as a learner, or confirm that it is a member.
    Join { id: NodeId, member: Member },
    /// Put these encoded commands of the application into the log, in any order.
    ProposeMany(Vec<Bytes>),
}

impl Ask {
    /// Whether one may ask this who is not known to be a member.
    pub(crate) fn is_for_strangers(&self) -> bool {
        matches!(self, Self::Join { .. })
    }

    /// Whether it changes anything, so that an answer that never came leaves doubt.
    pub(crate) fn is_change(&self) -> bool {
        !matches!(self, Self::ReadIndex | Self::Members)
    }

    /// Whether asking twice does what asking once does, so that a lost answer may be asked for again.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Propose(_) | Self::ProposeMany(_))
    }
}

/// New answers are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Not done, and will not be: this node does not lead, or cannot at the moment. Ask the leader, if one is named.
    Elsewhere { leader: Option<(NodeId, Member)>, cause: String },
    /// What became of a command: the encoded response of the application.
    Proposed(Result<Bytes, ProposeError>),
    /// The index that must be applied first.
    ReadIndex(u64),
    /// The members.
    Members(Members),
    /// What became of a change of the membership or of the leader.
    Changed(Result<(), MembershipError>),
    /// The node is a member of this cluster.
    Joined(ClusterId),
    /// What became of each of many commands, in their order.
    Many(Vec<Outcome>),
}

/// What became of one command of many, by the numbers that [`Answer`] has for it.
///
/// Not an answer itself: then a peer could nest answers as deep as it likes, and reading them would run out of stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// As in [`Answer`].
    Elsewhere { leader: Option<(NodeId, Member)>, cause: String },
    /// As in [`Answer`].
    Proposed(Result<Bytes, ProposeError>),
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Elsewhere { leader, cause } => Self::Elsewhere { leader, cause },
            Outcome::Proposed(result) => Self::Proposed(result),
        }
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Elsewhere { leader, cause } => Self::Elsewhere { leader, cause },
            Answer::Proposed(result) => Self::Proposed(result),
            other => Self::Elsewhere { leader: None, cause: format!("no answer to a proposal: {other:?}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{decode, encode};

    #[test]
    fn what_became_of_a_command_is_written_the_same_alone_and_among_many() {
        let elsewhere = Outcome::Elsewhere { leader: None, cause: "not here".to_owned() };
        for outcome in [elsewhere, Outcome::Proposed(Ok(Bytes::from_static(b"done")))] {
            let alone = encode(&Answer::from(outcome.clone())).unwrap();
            assert_eq!(alone, encode(&outcome).unwrap());
            let many = encode(&Answer::Many(vec![outcome.clone()])).unwrap();
            assert_eq!(many[2..], alone);
            assert_eq!(decode::<Answer>(&many), Ok(Answer::Many(vec![outcome])));
        }
    }

    #[test]
    fn answers_within_answers_are_refused() {
        assert!(decode::<Answer>(&[6, 1].repeat(500_000)).is_err());
    }
}

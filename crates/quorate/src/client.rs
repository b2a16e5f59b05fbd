//! What clients ask of a node and get from it.

use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;
use std::time::Duration;

use crate::change_members::ChangeMembers;
use crate::display::Opt;
use crate::errors::ClientWriteError;
use crate::errors::PreconditionFailed;
use crate::membership::Membership;
use crate::raft_state::RaftState;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::CommittedLeaderIdOf;
use crate::type_config::alias::LogIdOf;
use crate::vote::RaftLeaderId;
use crate::vote::RaftVote;
use crate::vote::Vote;

/// What applying a write answered.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct ClientWriteResponse<C: RaftTypeConfig> {
    /// The entry.
    pub log_id: LogIdOf<C>,
    /// What applying it answered.
    pub data: C::R,
    /// The membership that the entry carries.
    pub membership: Option<Membership<C::NodeId, C::Node>>,
}

impl<C: RaftTypeConfig> ClientWriteResponse<C> {
    /// The entry.
    pub fn log_id(&self) -> &LogIdOf<C> {
        &self.log_id
    }

    /// What applying it answered.
    pub fn response(&self) -> &C::R {
        &self.data
    }

    /// The membership that the entry carries.
    pub fn membership(&self) -> &Option<Membership<C::NodeId, C::Node>> {
        &self.membership
    }
}

impl<C: RaftTypeConfig> Display for ClientWriteResponse<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ClientWriteResponse{{log_id:{}, membership:{}}}", self.log_id, Opt(&self.membership))
    }
}

/// What became of a write or a membership change.
pub type ClientWriteResult<C> = Result<ClientWriteResponse<C>, ClientWriteError<C>>;

/// What applying one of many writes answered.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct WriteResponse<C: RaftTypeConfig> {
    /// The entry.
    pub log_id: LogIdOf<C>,
    /// What applying it answered.
    pub response: C::R,
}

impl<C: RaftTypeConfig> From<ClientWriteResponse<C>> for WriteResponse<C> {
    fn from(response: ClientWriteResponse<C>) -> Self {
        Self { log_id: response.log_id, response: response.data }
    }
}

/// What became of one of many writes.
pub type WriteResult<C> = Result<WriteResponse<C>, ClientWriteError<C>>;

/// A change of the membership, with what its entries carry besides.
pub struct ChangeMembershipRequest<C: RaftTypeConfig> {
    pub(crate) members: ChangeMembers<C::NodeId, C::Node>,
    pub(crate) retain: bool,
    /// What the joint and the uniform entry carry besides the membership.
    pub(crate) payloads: Option<(C::Payload, C::Payload)>,
    pub(crate) preconditions: Vec<Precondition<C>>,
}

impl<C: RaftTypeConfig> ChangeMembershipRequest<C> {
    /// To do `members`; with `retain`, voters that lose their vote stay as learners.
    pub fn new(members: impl Into<ChangeMembers<C::NodeId, C::Node>>, retain: bool) -> Self {
        Self { members: members.into(), retain, payloads: None, preconditions: Vec::new() }
    }

    /// With what the joint entry, if there is one, and the uniform entry carry besides the membership.
    pub fn with_payload(mut self, joint: C::Payload, uniform: C::Payload) -> Self {
        self.payloads = Some((joint, uniform));
        self
    }

    /// With conditions that must hold on the leader.
    pub fn with_preconditions(mut self, preconditions: impl IntoIterator<Item = Precondition<C>>) -> Self {
        self.preconditions = preconditions.into_iter().collect();
        self
    }
}

/// The answers to the entries of a membership change.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct ChangeMembershipOutcome<C: RaftTypeConfig> {
    /// To the joint one, if it took one.
    pub joint: Option<ClientWriteResponse<C>>,
    /// To the uniform one.
    pub uniform: ClientWriteResponse<C>,
}

impl<C: RaftTypeConfig> Debug for ChangeMembershipOutcome<C>
where
    C::R: Debug,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeMembershipOutcome")
            .field("joint", &self.joint)
            .field("uniform", &self.uniform)
            .finish()
    }
}

/// What must hold on the leader for a membership change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition<C: RaftTypeConfig> {
    /// This leader leads.
    CommittedLeaderId {
        /// The leader.
        committed_leader_id: CommittedLeaderIdOf<C>,
    },
    /// The log ends with this entry.
    LastLogId {
        /// The last entry.
        last_log_id: Option<LogIdOf<C>>,
    },
    /// The effective membership is of this entry.
    LastMembershipLogId {
        /// The entry.
        last_membership_log_id: Option<LogIdOf<C>>,
    },
}

impl<C: RaftTypeConfig> Precondition<C> {
    /// Whether it holds in `state`; the error says what is there instead.
    ///
    /// A leader is meant only if it is established: a quorum granted its vote.
    pub fn ensure_satisfied(&self, state: &RaftState<C>) -> Result<(), PreconditionFailed<C>> {
        let vote = state.vote_ref();
        let leader = vote.is_committed().then(|| vote.leader_id().to_committed());
        let effective = state.membership_state.effective();
        self.check(leader.as_ref(), state.log_ids.last(), effective.log_id().as_ref())
    }

    /// Whether it holds on a node that is led by `leader`, whose log ends with `last_log_id`, and whose effective
    /// membership is of the entry `membership_log_id`.
    pub(crate) fn check(
        &self,
        leader: Option<&CommittedLeaderIdOf<C>>,
        last_log_id: Option<&LogIdOf<C>>,
        membership_log_id: Option<&LogIdOf<C>>,
    ) -> Result<(), PreconditionFailed<C>> {
        match self {
            Self::CommittedLeaderId { committed_leader_id: expected } if Some(expected) != leader => {
                Err(PreconditionFailed::CommittedLeaderIdMismatch {
                    expected: expected.clone(),
                    actual: leader.cloned(),
                })
            }
            Self::LastLogId { last_log_id: expected } if expected.as_ref() != last_log_id => {
                Err(PreconditionFailed::LastLogIdMismatch {
                    expected: expected.clone(),
                    actual: last_log_id.cloned(),
                })
            }
            Self::LastMembershipLogId { last_membership_log_id: expected }
                if expected.as_ref() != membership_log_id =>
            {
                Err(PreconditionFailed::LastMembershipLogIdMismatch {
                    expected: expected.clone(),
                    actual: membership_log_id.cloned(),
                })
            }
            _ => Ok(()),
        }
    }
}

impl<C: RaftTypeConfig> Display for Precondition<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommittedLeaderId { committed_leader_id } => {
                write!(f, "CommittedLeaderId({committed_leader_id})")
            }
            Self::LastLogId { last_log_id } => write!(f, "LastLogId({})", Opt(last_log_id)),
            Self::LastMembershipLogId { last_membership_log_id } => {
                write!(f, "LastMembershipLogId({})", Opt(last_membership_log_id))
            }
        }
    }
}

/// How far a node's log is durable, under which vote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd)]
pub struct FlushPoint<C: RaftTypeConfig> {
    /// The vote.
    pub vote: Vote<C::LeaderId>,
    /// The last durable entry.
    pub last_log_id: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> FlushPoint<C> {
    /// Durable up to `last_log_id` under `vote`.
    pub fn new(vote: Vote<C::LeaderId>, last_log_id: Option<LogIdOf<C>>) -> Self {
        Self { vote, last_log_id }
    }
}

impl<C: RaftTypeConfig> Display for FlushPoint<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "FlushPoint({}, {})", self.vote, Opt(&self.last_log_id))
    }
}

/// How a leader makes sure that it still leads before it answers a read (thesis §6.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadPolicy {
    /// It trusts its lease, and the clocks with it.
    LeaseRead,
    /// It asks a quorum.
    ReadIndex,
}

impl Display for ReadPolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(self, f)
    }
}

/// [`ReadPolicy`] in detail.
#[derive(Debug, Clone)]
pub struct LinearizerOption {
    /// How old the answer of a quorum may be; none for as old as the lease lasts.
    pub(crate) max_quorum_ack_age: Option<Duration>,
    /// Whether to ask the quorum if the answer is older.
    pub(crate) heartbeat_if_quorum_ack_stale: bool,
    /// How long to wait for a younger answer; none for as long as the lease lasts.
    pub(crate) wait_timeout: Option<Duration>,
}

impl LinearizerOption {
    /// The answer of a quorum may be as old as `max_quorum_ack_age`, or as the lease lasts if there is none given;
    /// if it is older, `heartbeat_if_quorum_ack_stale` says whether to ask the quorum or only to wait.
    pub fn new(max_quorum_ack_age: Option<Duration>, heartbeat_if_quorum_ack_stale: bool) -> Self {
        Self { max_quorum_ack_age, heartbeat_if_quorum_ack_stale, wait_timeout: None }
    }

    /// With how long to wait for the answer of a quorum.
    pub fn with_wait_timeout(mut self, wait_timeout: Duration) -> Self {
        self.wait_timeout = Some(wait_timeout);
        self
    }
}

impl From<ReadPolicy> for LinearizerOption {
    fn from(policy: ReadPolicy) -> Self {
        match policy {
            ReadPolicy::ReadIndex => Self::new(Some(Duration::ZERO), true),
            ReadPolicy::LeaseRead => Self::new(None, false).with_wait_timeout(Duration::ZERO),
        }
    }
}

impl Display for LinearizerOption {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(self, f)
    }
}

#[cfg(all(test, feature = "tokio-rt"))]
mod tests {
    use super::*;
    use crate::vote::leader_id_adv::LeaderId;

    crate::declare_raft_types!(Config);

    fn leader(term: u64) -> LeaderId<u64, u64> {
        LeaderId { term, node_id: 1 }
    }

    fn log_id(index: u64) -> LogIdOf<Config> {
        LogIdOf::<Config>::new(leader(1), index)
    }

    #[test]
    fn a_precondition_holds_or_says_what_is_there() {
        let (here, last, membership) = (leader(1), log_id(5), log_id(2));
        let check = |precondition: Precondition<Config>| {
            precondition.check(Some(&here), Some(&last), Some(&membership))
        };
        let leads = |committed_leader_id| Precondition::CommittedLeaderId { committed_leader_id };
        assert_eq!(check(leads(here)), Ok(()));
        assert_eq!(
            check(leads(leader(2))),
            Err(PreconditionFailed::CommittedLeaderIdMismatch { expected: leader(2), actual: Some(here) })
        );
        let ends = |last_log_id| Precondition::LastLogId { last_log_id };
        assert_eq!(check(ends(Some(last))), Ok(()));
        assert_eq!(
            check(ends(None)),
            Err(PreconditionFailed::LastLogIdMismatch { expected: None, actual: Some(last) })
        );
        let of = |last_membership_log_id| Precondition::LastMembershipLogId { last_membership_log_id };
        assert_eq!(check(of(Some(membership))), Ok(()));
        assert_eq!(
            check(of(Some(last))),
            Err(PreconditionFailed::LastMembershipLogIdMismatch {
                expected: Some(last),
                actual: Some(membership)
            })
        );
    }
}

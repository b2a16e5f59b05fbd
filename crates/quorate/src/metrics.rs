//! What a node tells of itself, and waiting for it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;
use std::sync::Arc;

pub use instant::SerdeInstant;
pub use recorder::MetricsRecorder;
pub use recorder::forward_metrics;
pub use wait::Wait;
pub use wait::WaitError;

use crate::display::Opt;
use crate::display::With;
use crate::display::comma_separated;
use crate::errors::Fatal;
use crate::log_id::LogIdOptionExt;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::InstantOf;
#[cfg(feature = "metrics-logids")]
use crate::type_config::alias::LogIdListOf;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::NodeIdOf;
use crate::type_config::alias::SerdeInstantOf;
use crate::type_config::alias::StoredMembershipOf;
use crate::type_config::alias::VoteOf;
use crate::types::ServerState;
use crate::vote::RaftLeaderId;
use crate::vote::RaftLeaderIdExt;
use crate::vote::RaftVote;

mod instant;
pub mod recorder;
mod wait;

/// Everything that a node tells of itself, from [`Raft::metrics`](crate::Raft::metrics).
///
/// It is told after the fact, many steps at a time: what it says did happen, and what happened may not be said yet. The
/// fields that are for the leader are `None` on every other node. [Log pointers](crate::docs::log_pointers) explains who is
/// ahead of whom, and [monitoring](crate::docs::monitoring) what to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct RaftMetrics<C: RaftTypeConfig> {
    /// Whether it runs, or what stopped it.
    pub running_state: Result<(), Fatal<C>>,
    /// Its id.
    pub id: C::NodeId,
    /// Its term: that of its present vote, durable or not.
    pub current_term: C::Term,
    /// Its last durable vote: whom it follows or wants to lead, and whether a quorum has agreed.
    pub vote: VoteOf<C>,
    /// The index of its last entry, durable or not.
    pub last_log_index: Option<u64>,
    /// The last entry that it knows to be committed and has itself. After a restart it begins with what is applied.
    pub local_committed: Option<LogIdOf<C>>,
    /// The last entry that a leader has said to be committed, or that it committed as leader, since it was started; `None`
    /// until then.
    pub cluster_committed: Option<LogIdOf<C>>,
    /// The same as `local_committed`.
    #[deprecated(note = "use `local_committed`")]
    pub committed: Option<LogIdOf<C>>,
    /// The last entry that the state machine applied: when it is seen here, the state machine has it.
    pub last_applied: Option<LogIdOf<C>>,
    /// The last entry that a completed snapshot covers.
    pub snapshot: Option<LogIdOf<C>>,
    /// The last entry that was removed from the log, because a snapshot covers it.
    pub purged: Option<LogIdOf<C>>,
    /// The ids of all entries of the log. It is not sent.
    #[cfg(feature = "metrics-logids")]
    #[cfg_attr(feature = "serde", serde(skip))]
    pub log_id_list: LogIdListOf<C>,
    /// Its role. A leader that is cut off says `Leader` until it hears of another.
    pub state: ServerState,
    /// The leader that it follows, or itself; `None` while its vote is not granted by a quorum.
    pub current_leader: Option<C::NodeId>,
    /// How long ago a quorum was heard of when this was published, in milliseconds; on the leader.
    #[deprecated(note = "use `last_quorum_acked`")]
    pub millis_since_quorum_ack: Option<u64>,
    /// When the leader last sent something that a quorum has answered; on the leader. It was not replaced before that time.
    pub last_quorum_acked: Option<SerdeInstantOf<C>>,
    /// The effective membership: the last one in the log, committed or not, which is in force (thesis §4.1).
    pub membership_config: Arc<StoredMembershipOf<C>>,
    /// The last committed membership.
    pub committed_membership_config: Arc<StoredMembershipOf<C>>,
    /// When the leader last sent each node something that the node has answered, by heartbeat or otherwise, itself included;
    /// on the leader. `None` for a node that has not answered it yet.
    pub heartbeat: Option<BTreeMap<NodeIdOf<C>, Option<SerdeInstantOf<C>>>>,
    /// The last entry that each node is known to have on its disk, itself included; on the leader. `None` for a node of which
    /// nothing is known yet.
    pub replication: Option<BTreeMap<NodeIdOf<C>, Option<LogIdOf<C>>>>,
}

impl<C: RaftTypeConfig> RaftMetrics<C> {
    /// Of a new node.
    #[expect(deprecated, reason = "all fields are set")]
    pub fn new_initial(id: C::NodeId) -> Self {
        let leader_id = C::LeaderId::new_with_default_term(id.clone());
        Self {
            running_state: Ok(()),
            id,
            current_term: leader_id.term(),
            vote: VoteOf::<C>::from_leader_id(leader_id, false),
            last_log_index: None,
            local_committed: None,
            cluster_committed: None,
            committed: None,
            last_applied: None,
            snapshot: None,
            purged: None,
            #[cfg(feature = "metrics-logids")]
            log_id_list: Default::default(),
            state: ServerState::Learner,
            current_leader: None,
            millis_since_quorum_ack: None,
            last_quorum_acked: None,
            membership_config: Arc::default(),
            committed_membership_config: Arc::default(),
            heartbeat: None,
            replication: None,
        }
    }
}

impl<C: RaftTypeConfig> Display for RaftMetrics<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Metrics{{id:{}, {:?}, term:{}, vote:{}, last_log:{}, local_committed:{}, cluster_committed:{}, \
             last_applied:{}, leader:{}({}), membership:{}, committed_membership:{}, snapshot:{}, purged:{}, \
             replication:{{{}}}, heartbeat:{{{}}}}}",
            self.id,
            self.state,
            self.current_term,
            self.vote,
            Opt(&self.last_log_index),
            Opt(&self.local_committed),
            Opt(&self.cluster_committed),
            Opt(&self.last_applied),
            Opt(&self.current_leader),
            quorum_acked::<C>(&self.last_quorum_acked),
            self.membership_config,
            self.committed_membership_config,
            Opt(&self.snapshot),
            Opt(&self.purged),
            by_node(&self.replication),
            by_node(&self.heartbeat),
        )
    }
}

/// Prints when a quorum was heard of, and how long ago that is.
fn quorum_acked<C: RaftTypeConfig>(acked: &Option<SerdeInstantOf<C>>) -> impl Display + '_ {
    use crate::runtime::Instant;

    With(move |f: &mut Formatter<'_>| {
        write!(f, "quorum_acked_time:{}", Opt(acked))?;
        acked.as_ref().map_or(Ok(()), |acked| write!(f, ", {:?} ago", InstantOf::<C>::elapsed(acked)))
    })
}

/// Prints what is known of each node.
fn by_node<NID: Display, T: Display>(nodes: &Option<BTreeMap<NID, Option<T>>>) -> impl Display + '_ {
    With(move |f: &mut Formatter<'_>| match nodes {
        Some(nodes) => comma_separated(f, nodes, |f, (id, value)| write!(f, "{id}:{}", Opt(value))),
        None => f.write_str("None"),
    })
}

/// What a node tells of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct RaftDataMetrics<C: RaftTypeConfig> {
    /// Its last entry, durable or not.
    pub last_log: Option<LogIdOf<C>>,
    /// The last entry that it knows to be committed and has itself.
    pub local_committed: Option<LogIdOf<C>>,
    /// The last entry that it knows to be committed since it was started.
    pub cluster_committed: Option<LogIdOf<C>>,
    /// The same as `local_committed`.
    #[deprecated(note = "use `local_committed`")]
    pub committed: Option<LogIdOf<C>>,
    /// The last entry that the state machine applied.
    pub last_applied: Option<LogIdOf<C>>,
    /// The last entry that a completed snapshot covers.
    pub snapshot: Option<LogIdOf<C>>,
    /// The last entry that was removed from the log.
    pub purged: Option<LogIdOf<C>>,
    /// The ids of all entries of the log. It is not sent.
    #[cfg(feature = "metrics-logids")]
    #[cfg_attr(feature = "serde", serde(skip))]
    pub log_id_list: LogIdListOf<C>,
    /// How long ago a quorum was heard of when this was published, in milliseconds; on the leader.
    #[deprecated(note = "use `last_quorum_acked`")]
    pub millis_since_quorum_ack: Option<u64>,
    /// When the leader last sent something that a quorum has answered; on the leader.
    pub last_quorum_acked: Option<SerdeInstant<InstantOf<C>>>,
    /// The last entry that each node is known to have; on the leader.
    pub replication: Option<BTreeMap<NodeIdOf<C>, Option<LogIdOf<C>>>>,
    /// When the leader last sent each node something that the node has answered; on the leader.
    pub heartbeat: Option<BTreeMap<NodeIdOf<C>, Option<SerdeInstantOf<C>>>>,
}

impl<C: RaftTypeConfig> Default for RaftDataMetrics<C> {
    #[expect(deprecated, reason = "all fields are set")]
    fn default() -> Self {
        Self {
            last_log: None,
            local_committed: None,
            cluster_committed: None,
            committed: None,
            last_applied: None,
            snapshot: None,
            purged: None,
            #[cfg(feature = "metrics-logids")]
            log_id_list: Default::default(),
            millis_since_quorum_ack: None,
            last_quorum_acked: None,
            replication: None,
            heartbeat: None,
        }
    }
}

impl<C: RaftTypeConfig> Display for RaftDataMetrics<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DataMetrics{{last_log:{}, local_committed:{}, cluster_committed:{}, last_applied:{}, snapshot:{}, \
             purged:{}, {}, replication:{{{}}}, heartbeat:{{{}}}}}",
            Opt(&self.last_log),
            Opt(&self.local_committed),
            Opt(&self.cluster_committed),
            Opt(&self.last_applied),
            Opt(&self.snapshot),
            Opt(&self.purged),
            quorum_acked::<C>(&self.last_quorum_acked),
            by_node(&self.replication),
            by_node(&self.heartbeat),
        )
    }
}

/// What a node tells of its role.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct RaftServerMetrics<C: RaftTypeConfig> {
    /// Its id.
    pub id: C::NodeId,
    /// Its last durable vote.
    pub vote: VoteOf<C>,
    /// Its role.
    pub state: ServerState,
    /// The leader that it follows, or itself.
    pub current_leader: Option<C::NodeId>,
    /// The effective membership: the last one in the log.
    pub membership_config: Arc<StoredMembershipOf<C>>,
    /// The last committed membership.
    pub committed_membership_config: Arc<StoredMembershipOf<C>>,
}

impl<C: RaftTypeConfig> Display for RaftServerMetrics<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ServerMetrics{{id:{}, {:?}, vote:{}, leader:{}, membership:{}, committed_membership:{}}}",
            self.id,
            self.state,
            self.vote,
            Opt(&self.current_leader),
            self.membership_config,
            self.committed_membership_config,
        )
    }
}

/// One of the things that a node tells of itself, to compare with.
#[derive(Debug)]
pub enum Metric<C: RaftTypeConfig> {
    /// The term.
    Term(C::Term),
    /// The vote.
    Vote(VoteOf<C>),
    /// The index of the last entry.
    LastLogIndex(Option<u64>),
    /// The last committed entry.
    Committed(Option<LogIdOf<C>>),
    /// The last applied entry.
    Applied(Option<LogIdOf<C>>),
    /// The index of the last applied entry.
    AppliedIndex(Option<u64>),
    /// The last entry of the snapshot.
    Snapshot(Option<LogIdOf<C>>),
    /// The last removed entry.
    Purged(Option<LogIdOf<C>>),
}

impl<C: RaftTypeConfig> Metric<C> {
    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Term(_) => "term",
            Self::Vote(_) => "vote",
            Self::LastLogIndex(_) => "last_log_index",
            Self::Committed(_) => "committed",
            Self::Applied(_) => "applied",
            Self::AppliedIndex(_) => "applied_index",
            Self::Snapshot(_) => "snapshot",
            Self::Purged(_) => "purged",
        }
    }

    /// Its value.
    pub(crate) fn value(&self) -> impl Display + '_ {
        With(move |f: &mut Formatter<'_>| match self {
            Self::Term(term) => Display::fmt(term, f),
            Self::Vote(vote) => Display::fmt(vote, f),
            Self::LastLogIndex(index) | Self::AppliedIndex(index) => Opt(index).fmt(f),
            Self::Committed(log_id)
            | Self::Applied(log_id)
            | Self::Snapshot(log_id)
            | Self::Purged(log_id) => Opt(log_id).fmt(f),
        })
    }
}

impl<C: RaftTypeConfig> PartialEq<Metric<C>> for RaftMetrics<C> {
    fn eq(&self, other: &Metric<C>) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl<C: RaftTypeConfig> PartialOrd<Metric<C>> for RaftMetrics<C> {
    fn partial_cmp(&self, other: &Metric<C>) -> Option<Ordering> {
        match other {
            Metric::Term(term) => Some(self.current_term.cmp(term)),
            Metric::Vote(vote) => RaftVote::partial_cmp(&self.vote, vote),
            Metric::LastLogIndex(index) => Some(self.last_log_index.cmp(index)),
            Metric::Committed(log_id) => Some(self.local_committed.cmp(log_id)),
            Metric::Applied(log_id) => Some(self.last_applied.cmp(log_id)),
            Metric::AppliedIndex(index) => Some(LogIdOptionExt::index(&self.last_applied).cmp(index)),
            Metric::Snapshot(log_id) => Some(self.snapshot.cmp(log_id)),
            Metric::Purged(log_id) => Some(self.purged.cmp(log_id)),
        }
    }
}

//! What a node is at one moment, as a value.

use std::fmt::Debug;

use quorate_core::log::Log;

use crate::host::Host;
use crate::host::State;
use crate::log_id::LogId;
use crate::membership::MembershipState;
use crate::publish::server_state;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::InstantOf;
use crate::type_config::alias::LogIdListOf;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::MembershipStateOf;
use crate::type_config::alias::SnapshotMetaOf;
use crate::type_config::alias::VoteOf;
use crate::types::ServerState;
use crate::types::SnapshotMeta;
use crate::vote::RaftCommittedLeaderId;
use crate::vote::RaftLeaderIdExt;
use crate::vote::RaftVote;

/// What a node is at one moment: its vote, the shape of its log, its memberships, and how far all of it is committed.
///
/// [`StorageHelper`](crate::StorageHelper) makes one from what storage holds; a running node makes one when it is
/// asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftState<C: RaftTypeConfig> {
    /// The ids of all entries of the log.
    pub log_ids: LogIdListOf<C>,
    /// The committed membership, and the one in force.
    pub membership_state: MembershipStateOf<C>,
    /// What the current snapshot covers; nothing if there is none.
    pub snapshot_meta: SnapshotMetaOf<C>,
    /// The role.
    pub server_state: ServerState,
    pub(crate) vote: VoteOf<C>,
    pub(crate) vote_last_modified: Option<InstantOf<C>>,
    pub(crate) local_committed: Option<LogIdOf<C>>,
    pub(crate) cluster_committed: Option<LogIdOf<C>>,
    pub(crate) applied: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> RaftState<C> {
    /// The state of a running node, as seen under its lock.
    pub(crate) fn of_node(host: &Host<C>, state: &State<C>) -> Self {
        let replica = &state.replica;
        let vote = replica.vote().clone();
        Self {
            log_ids: LogIdList { log: replica.log().clone() },
            membership_state: MembershipState::new(
                state.committed_membership(),
                state.effective_membership(),
            ),
            snapshot_meta: state.snapshot_meta.clone(),
            server_state: server_state(state),
            vote: VoteOf::<C>::from_leader_id(vote.leader_id, vote.committed),
            vote_last_modified: replica.vote_heard().map(|time| host.instant_of(time)),
            local_committed: replica.committed().cloned(),
            cluster_committed: replica.cluster_committed().cloned(),
            applied: replica.applied().cloned(),
        }
    }

    /// A state that knows nothing but its vote.
    pub(crate) fn fresh(vote: VoteOf<C>) -> Self {
        Self {
            log_ids: LogIdList::default(),
            membership_state: MembershipState::default(),
            snapshot_meta: SnapshotMeta::default(),
            server_state: ServerState::default(),
            vote,
            vote_last_modified: None,
            local_committed: None,
            cluster_committed: None,
            applied: None,
        }
    }

    /// The vote, which may not be durable yet.
    pub fn vote_ref(&self) -> &VoteOf<C> {
        &self.vote
    }

    /// When the vote changed or its leader was last heard of; none before the node has started.
    pub fn vote_last_modified(&self) -> Option<InstantOf<C>> {
        self.vote_last_modified
    }

    /// The last entry that this node knows to be committed and holds.
    pub fn local_committed(&self) -> Option<&LogIdOf<C>> {
        self.local_committed.as_ref()
    }

    /// The last entry that a leader said is committed since this node started; the node may not hold it yet.
    pub fn cluster_committed(&self) -> Option<&LogIdOf<C>> {
        self.cluster_committed.as_ref()
    }

    /// The former name of [`local_committed`](Self::local_committed).
    #[deprecated(note = "use `local_committed()`")]
    pub fn committed(&self) -> Option<&LogIdOf<C>> {
        self.local_committed()
    }
}

impl<C> Default for RaftState<C>
where
    C: RaftTypeConfig,
    C::NodeId: Default,
{
    /// The state of a fresh node with the default id.
    fn default() -> Self {
        let leader_id = C::LeaderId::new_with_default_term(C::NodeId::default());
        Self::fresh(VoteOf::<C>::from_leader_id(leader_id, false))
    }
}

/// The ids of all entries of a log, kept as one id for each leader that wrote some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogIdList<CLID: RaftCommittedLeaderId> {
    pub(crate) log: Log<CLID>,
}

impl<CLID: RaftCommittedLeaderId> LogIdList<CLID> {
    /// A log whose entries up to `purged` are gone; `key_log_ids` are the last ids of each leader after that.
    pub fn new(purged: Option<LogId<CLID>>, key_log_ids: impl IntoIterator<Item = LogId<CLID>>) -> Self {
        Self { log: Log::new(purged, key_log_ids) }
    }

    /// The last entry that was purged.
    pub fn purged(&self) -> Option<&LogId<CLID>> {
        self.log.purged()
    }

    /// The id of the entry at `index`: of those that are there, and of the last purged.
    pub fn get(&self, index: u64) -> Option<LogId<CLID>> {
        self.log.get(index)
    }

    /// The last entry, purged or not.
    pub fn last(&self) -> Option<&LogId<CLID>> {
        self.log.last()
    }

    /// The last id of each leader, oldest first.
    pub(crate) fn key_log_ids(&self) -> impl Iterator<Item = &LogId<CLID>> {
        self.log.runs()
    }
}

impl<CLID: RaftCommittedLeaderId> Default for LogIdList<CLID> {
    fn default() -> Self {
        Self { log: Log::default() }
    }
}

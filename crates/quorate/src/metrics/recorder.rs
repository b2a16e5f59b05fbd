//! A door for exporters of metrics.

use std::fmt::Debug;

use super::RaftMetrics;
use crate::log_id::LogIdOptionExt;
use crate::type_config::RaftTypeConfig;
use crate::types::ServerState;
use crate::vote::RaftTerm;

/// Is told numbers as they change, once [`Raft::set_metrics_recorder`](crate::Raft::set_metrics_recorder) named it.
///
/// Its methods are called by the node's own tasks, and by those that bring it requests of other nodes; never under a
/// lock of the node. They must not block, and a panic in one stops the node or fails the request.
pub trait MetricsRecorder: Send + Sync + Debug {
    /// The state machine applied so many entries in one call.
    fn record_apply_batch(&self, entries: u64);
    /// So many entries go to the log store in one append.
    fn record_append_batch(&self, entries: u64);
    /// So many of them are writes of clients of this node, at least one.
    fn record_write_batch(&self, writes: u64);
    /// The term. This and the other positions are told whenever the metrics are brought up to date, changed or not.
    fn set_current_term(&self, term: u64);
    /// The index of the last entry.
    fn set_last_log_index(&self, index: u64);
    /// The index of the last committed entry that the node has.
    fn set_committed_index(&self, index: u64);
    /// The index of the last applied entry.
    fn set_applied_index(&self, index: u64);
    /// The index of the last entry of the snapshot.
    fn set_snapshot_index(&self, index: u64);
    /// The index of the last removed entry.
    fn set_purged_index(&self, index: u64);
    /// The role: 0 for a learner, 1 a follower, 2 a candidate, 3 a leader, 4 when stopped.
    fn set_server_state(&self, state: u8);
    /// A request for this node's vote came in; a pre-vote is none.
    fn increment_vote(&self);
    /// Heartbeats to all peers came due, by time or by [`Trigger::heartbeat`](crate::raft::Trigger::heartbeat).
    fn increment_heartbeat(&self);
    /// An append request came in, with entries or without.
    fn increment_append(&self);
}

/// Tells a recorder the present values; those that there are none of yet, or that fit no `u64`, are left out.
pub fn forward_metrics<C: RaftTypeConfig>(metrics: &RaftMetrics<C>, recorder: &dyn MetricsRecorder) {
    let tell = |index: Option<u64>, set: &dyn Fn(u64)| {
        if let Some(index) = index {
            set(index);
        }
    };
    tell(metrics.current_term.as_u64(), &|term| recorder.set_current_term(term));
    tell(metrics.last_log_index, &|index| recorder.set_last_log_index(index));
    tell(metrics.local_committed.index(), &|index| recorder.set_committed_index(index));
    tell(metrics.last_applied.index(), &|index| recorder.set_applied_index(index));
    tell(metrics.snapshot.index(), &|index| recorder.set_snapshot_index(index));
    tell(metrics.purged.index(), &|index| recorder.set_purged_index(index));
    recorder.set_server_state(match metrics.state {
        ServerState::Learner => 0,
        ServerState::Follower => 1,
        ServerState::Candidate => 2,
        ServerState::Leader => 3,
        ServerState::Shutdown => 4,
    });
}

//! Waiting for a node to get somewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use thiserror::Error as ThisError;

use super::Metric;
use super::RaftMetrics;
use crate::base::OptionalSend;
use crate::display::Opt;
use crate::log_id::LogIdOptionExt;
use crate::runtime::WatchReceiver;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::InstantOf;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::VoteOf;
use crate::type_config::alias::WatchReceiverOf;
use crate::types::ServerState;

/// Waits for a node's metrics to say something.
///
/// Each method returns the metrics that say it, at once if the present ones do, and is given a message that the
/// error repeats. They can be dropped at any time.
pub struct Wait<C: RaftTypeConfig> {
    /// How long to wait; none for as long as it takes.
    pub timeout: Option<Duration>,
    /// Where the metrics come from.
    pub rx: WatchReceiverOf<C, RaftMetrics<C>>,
}

/// The metrics did not come to say it.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum WaitError {
    /// Not in time: how long that was, what was waited for, and the latest metrics.
    #[error("timeout after {0:?} when {1}")]
    Timeout(Duration, String),
    /// The node was shut down.
    #[error("raft is shutting down")]
    ShuttingDown,
}

/// The metrics that were waited for.
type Waited<C> = Result<RaftMetrics<C>, WaitError>;

impl<C: RaftTypeConfig> Wait<C> {
    /// For `condition` to hold.
    #[tracing::instrument(level = "trace", skip_all)]
    pub async fn metrics<T>(&self, condition: T, msg: impl ToString) -> Waited<C>
    where
        T: Fn(&RaftMetrics<C>) -> bool + OptionalSend,
    {
        let msg = msg.to_string();
        let mut rx = self.rx.clone();
        let waited = {
            let met = rx.wait_until(condition);
            match self.timeout {
                None => Ok(met.await),
                Some(timeout) => C::timeout(timeout, met).await.map_err(|_| timeout),
            }
        };
        match waited {
            Ok(Ok(metrics)) => Ok(metrics),
            Ok(Err(_)) => Err(WaitError::ShuttingDown),
            Err(timeout) => {
                Err(WaitError::Timeout(timeout, format!("{msg} latest: {}", *rx.borrow_watched())))
            }
        }
    }

    /// For the vote to be `vote`.
    pub async fn vote(&self, vote: VoteOf<C>, msg: impl ToString) -> Waited<C> {
        self.eq(Metric::Vote(vote), msg).await
    }

    /// For the node to follow `leader_id`.
    pub async fn current_leader(&self, leader_id: C::NodeId, msg: impl ToString) -> Waited<C> {
        let msg = format!("{} .current_leader == {leader_id}", msg.to_string());
        self.metrics(|metrics| metrics.current_leader.as_ref() == Some(&leader_id), msg).await
    }

    /// For the last entry to be at `index`, and the last applied one too.
    #[deprecated(note = "use `log_index` and `applied_index`")]
    pub async fn log(&self, index: Option<u64>, msg: impl ToString) -> Waited<C> {
        let msg = msg.to_string();
        self.log_index(index, &msg).await?;
        self.applied_index(index, &msg).await
    }

    /// For the last entry to be at `index` or later, and the last applied one too.
    #[deprecated(note = "use `log_index_at_least` and `applied_index_at_least`")]
    pub async fn log_at_least(&self, index: Option<u64>, msg: impl ToString) -> Waited<C> {
        let msg = msg.to_string();
        self.log_index_at_least(index, &msg).await?;
        self.applied_index_at_least(index, &msg).await
    }

    /// For the last entry to be at `index`.
    pub async fn log_index(&self, index: Option<u64>, msg: impl ToString) -> Waited<C> {
        self.eq(Metric::LastLogIndex(index), msg).await
    }

    /// For the last entry to be at `index` or later.
    pub async fn log_index_at_least(&self, index: Option<u64>, msg: impl ToString) -> Waited<C> {
        self.ge(Metric::LastLogIndex(index), msg).await
    }

    /// For the last applied entry to be at `index`; one later is not enough.
    pub async fn applied_index(&self, index: Option<u64>, msg: impl ToString) -> Waited<C> {
        self.eq(Metric::AppliedIndex(index), msg).await
    }

    /// For the last applied entry to be at `index` or later.
    pub async fn applied_index_at_least(&self, index: Option<u64>, msg: impl ToString) -> Waited<C> {
        self.ge(Metric::AppliedIndex(index), msg).await
    }

    /// For the last committed entry that the node has to be at `index`.
    pub async fn committed_index(&self, index: Option<u64>, msg: impl ToString) -> Waited<C> {
        let msg = format!("{} .committed_index == {}", msg.to_string(), Opt(&index));
        self.metrics(|metrics| metrics.local_committed.index() == index, msg).await
    }

    /// For the last committed entry that the node has to be at `index` or later.
    pub async fn committed_index_at_least(&self, index: Option<u64>, msg: impl ToString) -> Waited<C> {
        let msg = format!("{} .committed_index >= {}", msg.to_string(), Opt(&index));
        self.metrics(|metrics| metrics.local_committed.index() >= index, msg).await
    }

    /// For the role to be `state`.
    pub async fn state(&self, state: ServerState, msg: impl ToString) -> Waited<C> {
        let msg = format!("{} .state == {state:?}", msg.to_string());
        self.metrics(|metrics| metrics.state == state, msg).await
    }

    /// For the voters of the effective membership to be these.
    #[deprecated(note = "use `voter_ids`")]
    pub async fn members(&self, members: BTreeSet<C::NodeId>, msg: impl ToString) -> Waited<C> {
        self.voter_ids(members, msg).await
    }

    /// For the voters of the effective membership to be these.
    pub async fn voter_ids(
        &self,
        voter_ids: impl IntoIterator<Item = C::NodeId>,
        msg: impl ToString,
    ) -> Waited<C> {
        let voter_ids = voter_ids.into_iter().collect::<BTreeSet<_>>();
        let msg = format!("{} .voter_ids == {voter_ids:?}", msg.to_string());
        self.metrics(|metrics| metrics.membership_config.voter_ids().eq(voter_ids.iter().cloned()), msg).await
    }

    /// For the snapshot to end with `snapshot_last_log_id`.
    pub async fn snapshot(&self, snapshot_last_log_id: LogIdOf<C>, msg: impl ToString) -> Waited<C> {
        self.eq(Metric::Snapshot(Some(snapshot_last_log_id)), msg).await
    }

    /// For the last removed entry to be `want`.
    pub async fn purged(&self, want: Option<LogIdOf<C>>, msg: impl ToString) -> Waited<C> {
        self.eq(Metric::Purged(want), msg).await
    }

    /// For the node to lead and to have heard from a quorum, at `not_before` or later.
    pub async fn leader_with_quorum_acked(
        &self,
        not_before: Option<InstantOf<C>>,
        msg: impl ToString,
    ) -> Waited<C> {
        let msg = format!("{} .leader_with_quorum_acked >= {not_before:?}", msg.to_string());
        let acked = |metrics: &RaftMetrics<C>| {
            let acked = metrics.last_quorum_acked.map(|acked| acked.into_inner());
            metrics.state.is_leader() && acked.is_some() && acked >= not_before
        };
        self.metrics(acked, msg).await
    }

    /// For a metric to be this or greater.
    pub async fn ge(&self, metric: Metric<C>, msg: impl ToString) -> Waited<C> {
        let msg = format!("{} .{} >= {}", msg.to_string(), metric.name(), metric.value());
        self.metrics(|metrics| *metrics >= metric, msg).await
    }

    /// For a metric to be this.
    pub async fn eq(&self, metric: Metric<C>, msg: impl ToString) -> Waited<C> {
        let msg = format!("{} .{} == {}", msg.to_string(), metric.name(), metric.value());
        self.metrics(|metrics| *metrics == metric, msg).await
    }
}

//! What the node shows of itself: watches, brought up to date after steps, many steps at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use quorate_core::Leader;
use quorate_core::Time;

use crate::client::FlushPoint;
use crate::errors::Fatal;
use crate::host::Host;
use crate::host::State;
use crate::metrics::RaftDataMetrics;
use crate::metrics::RaftMetrics;
use crate::metrics::RaftServerMetrics;
use crate::metrics::SerdeInstant;
use crate::metrics::forward_metrics;
use crate::progress::LogIdProgress;
use crate::progress::LogProgress;
use crate::progress::VoteProgress;
use crate::progress::WatchProgress;
#[cfg(feature = "metrics-logids")]
use crate::raft_state::LogIdList;
use crate::runtime::WatchSender;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::SerdeInstantOf;
use crate::type_config::alias::VoteOf;
use crate::type_config::alias::WatchReceiverOf;
use crate::type_config::alias::WatchSenderOf;
use crate::types::ServerState;
use crate::vote::RaftLeaderId;
use crate::vote::RaftVote;
use crate::vote::Vote;

/// The watches of a node.
pub(crate) struct Watches<C: RaftTypeConfig> {
    senders: Mutex<Senders<C>>,
    // A watch without a receiver refuses new values.
    receivers: Receivers<C>,
}

/// The sending ends. A runtime's sender need not be `Sync`, so they stand under a lock that is held for no time.
struct Senders<C: RaftTypeConfig> {
    metrics: WatchSenderOf<C, RaftMetrics<C>>,
    data: WatchSenderOf<C, RaftDataMetrics<C>>,
    server: WatchSenderOf<C, RaftServerMetrics<C>>,
    log: WatchSenderOf<C, Option<FlushPoint<C>>>,
    vote: WatchSenderOf<C, Option<Vote<C::LeaderId>>>,
    commit: WatchSenderOf<C, Option<LogIdOf<C>>>,
    snapshot: WatchSenderOf<C, Option<LogIdOf<C>>>,
    apply: WatchSenderOf<C, Option<LogIdOf<C>>>,
}

/// The receiving ends that every handle copies.
pub(crate) struct Receivers<C: RaftTypeConfig> {
    pub(crate) metrics: WatchReceiverOf<C, RaftMetrics<C>>,
    pub(crate) data: WatchReceiverOf<C, RaftDataMetrics<C>>,
    pub(crate) server: WatchReceiverOf<C, RaftServerMetrics<C>>,
    pub(crate) progress: Progress<C>,
}

/// One number each, that only grows.
pub(crate) struct Progress<C: RaftTypeConfig> {
    pub(crate) log: LogProgress<C>,
    pub(crate) vote: VoteProgress<C>,
    pub(crate) commit: LogIdProgress<C>,
    pub(crate) snapshot: LogIdProgress<C>,
    pub(crate) apply: LogIdProgress<C>,
}

impl<C: RaftTypeConfig> Clone for Receivers<C> {
    fn clone(&self) -> Self {
        let Self { metrics, data, server, progress } = self;
        let progress = Progress {
            log: progress.log.clone(),
            vote: progress.vote.clone(),
            commit: progress.commit.clone(),
            snapshot: progress.snapshot.clone(),
            apply: progress.apply.clone(),
        };
        Self { metrics: metrics.clone(), data: data.clone(), server: server.clone(), progress }
    }
}

impl<C: RaftTypeConfig> Watches<C> {
    pub(crate) fn new(id: C::NodeId) -> Self {
        let initial = RaftMetrics::new_initial(id);
        let (server, server_rx) = C::watch_channel(server_of(&initial));
        let (data, data_rx) = C::watch_channel(RaftDataMetrics::default());
        let (metrics, metrics_rx) = C::watch_channel(initial);
        let (log, log_rx) = C::watch_channel(None);
        let (vote, vote_rx) = C::watch_channel(None);
        let (commit, commit_rx) = C::watch_channel(None);
        let (snapshot, snapshot_rx) = C::watch_channel(None);
        let (apply, apply_rx) = C::watch_channel(None);
        let progress = Progress {
            log: WatchProgress::new(log_rx),
            vote: WatchProgress::new(vote_rx),
            commit: WatchProgress::new(commit_rx),
            snapshot: WatchProgress::new(snapshot_rx),
            apply: WatchProgress::new(apply_rx),
        };
        let receivers = Receivers { metrics: metrics_rx, data: data_rx, server: server_rx, progress };
        let senders = Senders { metrics, data, server, log, vote, commit, snapshot, apply };
        Self { senders: Mutex::new(senders), receivers }
    }

    pub(crate) fn receivers(&self) -> Receivers<C> {
        self.receivers.clone()
    }

    /// Shows the state of `host` as it is now.
    pub(crate) fn publish(&self, host: &Host<C>) {
        let (metrics, last_log) =
            host.look(|state, now| (metrics_of(host, state, now), state.replica.log().last().cloned()));
        host.recording.tell(|recorder| forward_metrics(&metrics, recorder));
        let data = data_of(&metrics, last_log);
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.data.send_if_different(data);
        senders.server.send_if_different(server_of(&metrics));
        // Like a clock's tick: also when nothing is new. There is a receiver as long as there is a sender.
        let _ = senders.metrics.send(metrics);
    }

    /// Shows how far `host` has come; what would go back is not shown.
    fn publish_progress(&self, host: &Host<C>) {
        let (point, commit, snapshot, applied) = host.look(|state, _| {
            let replica = &state.replica;
            let copy = |log_id: Option<&LogIdOf<C>>| log_id.cloned();
            let point = replica.flush_point().clone();
            (point, copy(replica.committed()), copy(replica.snapshot()), copy(replica.applied()))
        });
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.vote.send_if_greater(Some(point.vote.clone()));
        senders.log.send_if_greater(Some(FlushPoint::new(point.vote, point.last)));
        senders.commit.send_if_greater(commit);
        senders.snapshot.send_if_greater(snapshot);
        senders.apply.send_if_greater(applied);
    }
}

/// Publishes whenever a step was made, until the node stops.
pub(crate) async fn run<C: RaftTypeConfig>(host: Arc<Host<C>>, watches: Arc<Watches<C>>) {
    loop {
        watches.publish(&host);
        watches.publish_progress(&host);
        if host.stopped().is_some() {
            return;
        }
        host.publish_work.wait().await;
    }
}

#[expect(deprecated, reason = "all fields are set")]
fn metrics_of<C: RaftTypeConfig>(host: &Host<C>, state: &State<C>, now: Time) -> RaftMetrics<C> {
    let replica = &state.replica;
    let leading = replica.leading();
    let instant = |time: Time| SerdeInstant::new(host.instant_of(time));
    let acked = replica.quorum_acked(now);
    let flushed = replica.flush_point().vote.clone();
    RaftMetrics {
        running_state: state.stopped.clone().map_or(Ok(()), Err),
        id: host.id.clone(),
        current_term: replica.vote().leader_id.term(),
        vote: VoteOf::<C>::from_leader_id(flushed.leader_id, flushed.committed),
        last_log_index: replica.log().last().map(|last| last.index),
        local_committed: replica.committed().cloned(),
        cluster_committed: replica.cluster_committed().cloned(),
        committed: replica.committed().cloned(),
        last_applied: replica.applied().cloned(),
        snapshot: replica.snapshot().cloned(),
        purged: replica.purged().cloned(),
        #[cfg(feature = "metrics-logids")]
        log_id_list: LogIdList { log: replica.log().clone() },
        state: server_state(state),
        current_leader: replica.leader().cloned(),
        millis_since_quorum_ack: acked.map(|acked| now.since(acked).as_millis() as u64),
        last_quorum_acked: acked.map(instant),
        membership_config: state.effective_membership(),
        committed_membership_config: state.committed_membership(),
        heartbeat: leading.map(|leader| heartbeats(host, leader, acked)),
        replication: leading.map(|leader| replication(host, state, leader)),
    }
}

/// The role that a node shows.
pub(crate) fn server_state<C: RaftTypeConfig>(state: &State<C>) -> ServerState {
    if state.stopped.is_some() {
        return ServerState::Shutdown;
    }
    match state.replica.server_state() {
        quorate_core::ServerState::Learner => ServerState::Learner,
        quorate_core::ServerState::Follower => ServerState::Follower,
        quorate_core::ServerState::Candidate => ServerState::Candidate,
        quorate_core::ServerState::Leader => ServerState::Leader,
    }
}

fn heartbeats<C: RaftTypeConfig>(
    host: &Host<C>,
    leader: &Leader<C::LeaderId>,
    quorum_acked: Option<Time>,
) -> BTreeMap<C::NodeId, Option<SerdeInstantOf<C>>> {
    let instant = |time: Time| SerdeInstant::new(host.instant_of(time));
    let peers = leader.peers().map(|(id, progress)| (id.clone(), progress.acked_time().map(instant)));
    // A quorum of its own is as fresh as can be; else nothing is, before a peer answers.
    let newest = leader.peers().map(|(_, progress)| progress.acked_time()).max().flatten();
    peers.chain([(host.id.clone(), newest.max(quorum_acked).map(instant))]).collect()
}

fn replication<C: RaftTypeConfig>(
    host: &Host<C>,
    state: &State<C>,
    leader: &Leader<C::LeaderId>,
) -> BTreeMap<C::NodeId, Option<LogIdOf<C>>> {
    let peers = leader.peers().map(|(id, progress)| (id.clone(), progress.matched().cloned()));
    peers.chain([(host.id.clone(), state.replica.flush_point().last.clone())]).collect()
}

#[expect(deprecated, reason = "all fields are set")]
fn data_of<C: RaftTypeConfig>(metrics: &RaftMetrics<C>, last_log: Option<LogIdOf<C>>) -> RaftDataMetrics<C> {
    RaftDataMetrics {
        last_log,
        local_committed: metrics.local_committed.clone(),
        cluster_committed: metrics.cluster_committed.clone(),
        committed: metrics.committed.clone(),
        last_applied: metrics.last_applied.clone(),
        snapshot: metrics.snapshot.clone(),
        purged: metrics.purged.clone(),
        #[cfg(feature = "metrics-logids")]
        log_id_list: metrics.log_id_list.clone(),
        millis_since_quorum_ack: metrics.millis_since_quorum_ack,
        last_quorum_acked: metrics.last_quorum_acked,
        replication: metrics.replication.clone(),
        heartbeat: metrics.heartbeat.clone(),
    }
}

fn server_of<C: RaftTypeConfig>(metrics: &RaftMetrics<C>) -> RaftServerMetrics<C> {
    RaftServerMetrics {
        id: metrics.id.clone(),
        vote: metrics.vote.clone(),
        state: metrics.state,
        current_leader: metrics.current_leader.clone(),
        membership_config: metrics.membership_config.clone(),
        committed_membership_config: metrics.committed_membership_config.clone(),
    }
}

/// A node that stopped by its own decision says so; one that stopped by a fault names the fault.
pub(crate) fn fatal_of<C: RaftTypeConfig>(host: &Host<C>) -> Fatal<C> {
    host.stopped().unwrap_or(Fatal::Stopped)
}

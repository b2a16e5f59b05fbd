//! The one task of a node that watches: who leads, whether all is well, and when to stop.

use quorate::ServerState;
use quorate::async_runtime::WatchReceiver as _;
use quorate::metrics::RaftServerMetrics;
use tokio::sync::watch;

use crate::config::NodeConfig;
use crate::error::StopReason;
use crate::inner::Inner;
use crate::leadership::Leader;
use crate::state_machine::StateMachine;

impl<S: StateMachine> Inner<S> {
    /// Stops the node for a reason, unless it stops for another already.
    pub(crate) fn stop(&self, reason: StopReason) {
        stop(&self.stopped, reason);
    }

    /// Watches until the node is to stop or has no handle left, and then ends the library and all connections.
    pub(crate) async fn supervise(&self, mut handles: watch::Receiver<()>) {
        let mut stopped = self.stopped.subscribe();
        let mut server = self.raft.server_metrics();
        loop {
            let state = server.borrow_and_update().clone();
            self.publish_leader(&state);
            if state.state == ServerState::Shutdown {
                self.stop(self.cause_of_death());
            }
            tokio::select! {
                () = async { drop(stopped.wait_for(Option::is_some).await) } => break,
                // Nothing is ever sent: the channel ends with the last handle.
                _ = handles.changed() => self.stop(StopReason::Shutdown),
                changed = server.changed() => {
                    if changed.is_err() {
                        self.stop(self.cause_of_death());
                    }
                }
            }
        }
        self.take_down().await;
    }

    fn cause_of_death(&self) -> StopReason {
        match self.metrics().running_state {
            Ok(()) => StopReason::Shutdown,
            Err(error) => StopReason::Fatal { cause: error.to_string() },
        }
    }

    fn publish_leader(&self, metrics: &RaftServerMetrics<NodeConfig>) {
        let term = metrics.vote.leader_id.term;
        let leader = metrics.current_leader.map(|id| Leader {
            term,
            id,
            member: metrics.membership_config.get_node(&id).cloned(),
            here: id == self.options.id,
        });
        let changed =
            self.leader.send_if_modified(|known| std::mem::replace(known, leader.clone()) != leader);
        if changed {
            match leader {
                Some(leader) => tracing::info!(leader = leader.id, term = leader.term, "a leader is known"),
                None => tracing::info!(term, "no leader is known"),
            }
        }
    }

    async fn take_down(&self) {
        if let Some(reason) = self.stop_reason()
            && reason != StopReason::Shutdown
        {
            tracing::error!(%reason, "the node stops");
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the Raft library did not end in order");
        }
        self.leader.send_replace(None);
        self.lanes.clear();
        self.transport.close();
    }
}

/// Sets why a node stops. The first reason is the one that counts.
pub(crate) fn stop(stopped: &watch::Sender<Option<StopReason>>, reason: StopReason) {
    stopped.send_if_modified(|stopped| {
        let first = stopped.is_none();
        if first {
            *stopped = Some(reason);
        }
        first
    });
}

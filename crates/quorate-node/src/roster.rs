//! What the transport wants to know of this node: its cluster, and who may speak to it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use quorate_grpc::{HandshakeError, PeerAddress, Roster, Standing};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::error::StopReason;
use crate::identity::Identity;
use crate::member::{ClusterId, Member, NodeId};
use crate::shared::Shared;
use crate::state_machine::StateMachine;
use crate::supervise::stop;

impl PeerAddress for Member {
    fn peer_address(&self) -> String {
        self.peer_addr.clone()
    }

    fn uid(&self) -> Option<u128> {
        Some(self.uid.0)
    }
}

/// Answers the transport from the identity on disk and the membership that is applied here.
pub(crate) struct NodeRoster<S> {
    pub(crate) identity: Arc<Mutex<Identity>>,
    pub(crate) shared: Arc<Shared<S>>,
    pub(crate) stopped: watch::Sender<Option<StopReason>>,
}

/// Makes a cluster this node's own, durably. Returns the cluster that it belongs to afterwards.
pub(crate) async fn adopt(
    identity: &Arc<Mutex<Identity>>,
    cluster_id: ClusterId,
    founder: bool,
) -> io::Result<ClusterId> {
    let identity = identity.clone();
    // Synced to disk, so not on a thread that serves others.
    let adopted = spawn_blocking(move || {
        identity.lock().unwrap_or_else(PoisonError::into_inner).adopt(cluster_id, founder)
    });
    adopted.await.map_err(io::Error::other)?
}

impl<S: StateMachine> Roster for NodeRoster<S> {
    fn cluster_id(&self) -> Option<u128> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).cluster_id().map(|id| id.0)
    }

    fn standing(&self, node_id: &str) -> Standing {
        let Ok(id) = node_id.parse::<NodeId>() else { return Standing::Unknown };
        let roll = self.shared.roll();
        if let Some(member) = roll.membership.get_node(&id) {
            return Standing::Member { uid: Some(member.uid.0) };
        }
        match roll.tombstones.get(&id) {
            Some(grave) => Standing::Removed { uid: Some(grave.uid.0), index: grave.index },
            None => Standing::Unknown,
        }
    }

    fn adopt_cluster(&self, cluster_id: u128) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let found = adopt(&self.identity, ClusterId(cluster_id), false).await?;
            if found.0 == cluster_id {
                return Ok(());
            }
            Err(io::Error::other(format!("this node has become a part of cluster {found} meanwhile")))
        })
    }

    fn refused(&self, address: &str, error: &HandshakeError) {
        let Some(reason) = stop_reason(error) else { return };
        tracing::error!(%address, %error, "the cluster does not let this node in; stopping");
        stop(&self.stopped, reason);
    }
}

/// Which refusals mean that this node must not go on; all others may pass, or concern one connection only.
pub(crate) fn stop_reason(error: &HandshakeError) -> Option<StopReason> {
    match error {
        HandshakeError::Removed { index, .. } => Some(StopReason::Removed { index: *index }),
        HandshakeError::Fenced { .. } => Some(StopReason::Fenced { cause: error.to_string() }),
        HandshakeError::UnknownNode { .. } => Some(StopReason::UnknownNode { cause: error.to_string() }),
        _ => None,
    }
}

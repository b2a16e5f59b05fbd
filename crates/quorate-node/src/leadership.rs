//! Leadership as a stream of events.

use tokio::sync::watch;

use crate::error::StopReason;
use crate::member::{Member, NodeId};

/// A leader that a node has heard of.
///
/// Two leaders compare by term first, and in no cluster do two of them share a term and an id: the pair is a fencing
/// token that only grows. Hand it to whatever must not take orders from a leader of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The term that it leads.
    pub term: u64,
    /// Its node id.
    pub id: NodeId,
    /// Its addresses, if the membership known here lists it.
    pub member: Option<Member>,
    /// Whether it is the node that was asked.
    pub here: bool,
}

impl Leader {
    /// The fencing token: `(term, id)`, greater for each later leader.
    pub fn token(&self) -> (u64, NodeId) {
        (self.term, self.id)
    }
}

/// Follows who leads, as one node sees it.
///
/// Only the newest value is kept, so a slow reader misses changes in between, never the last one.
#[derive(Debug, Clone)]
pub struct LeadershipWatch {
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    pub(crate) stopped: watch::Receiver<Option<StopReason>>,
}

impl LeadershipWatch {
    /// The leader known now; `None` during an election, or when the node is not initialized.
    pub fn current(&self) -> Option<Leader> {
        self.leader.borrow().clone()
    }

    /// Waits until the leader is another than at the last call, and gives it.
    ///
    /// Cancellation safe: a change is marked as seen only when it is returned.
    ///
    /// # Errors
    ///
    /// The reason for which the node stopped, if it did: no leader will be known any more.
    pub async fn changed(&mut self) -> Result<Option<Leader>, StopReason> {
        tokio::select! {
            biased;
            reason = self.stopped.wait_for(Option::is_some) => {
                Err(reason.ok().and_then(|reason| reason.clone()).unwrap_or(StopReason::Shutdown))
            }
            changed = self.leader.changed() => match changed {
                Ok(()) => Ok(self.leader.borrow_and_update().clone()),
                Err(_) => Err(StopReason::Shutdown),
            },
        }
    }
}

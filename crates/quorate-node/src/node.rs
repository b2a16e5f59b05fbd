//! The handle of a running node.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::ask::{Answer, Ask};
use crate::builder::Builder;
use crate::command::{decode, encode};
use crate::error::{
    InitError, JoinError, MembershipError, NotAccepted, OutcomeUnknown, ProposeError, ReadError, StopReason,
};
use crate::inner::Inner;
use crate::leadership::LeadershipWatch;
use crate::member::{Member, NodeId};
use crate::plan::Change;
use crate::state_machine::StateMachine;
use crate::status::{Members, PeerCounters, Status};

/// A running node. Clones are handles of the same node; when the last one is dropped, the node stops at once, as if
/// it had crashed. [`shutdown`](Self::shutdown) is the polite way.
pub struct Node<S: StateMachine> {
    inner: Arc<Inner<S>>,
    /// Nothing is sent: that it is gone tells the node's task that no handle is left.
    _handles: Arc<watch::Sender<()>>,
    down: watch::Receiver<bool>,
}

impl<S: StateMachine> Node<S> {
    /// Begins to describe a node: its number (unique in the cluster, never used twice, not zero), its data directory,
    /// and the address on which it listens for other members (`host:port`; port 0 lets the system choose).
    pub fn builder(id: NodeId, data_dir: impl Into<PathBuf>, listen_addr: impl Into<String>) -> Builder {
        Builder::new(id, data_dir.into(), listen_addr.into())
    }

    pub(crate) fn new(inner: Arc<Inner<S>>, handles: watch::Sender<()>, down: watch::Receiver<bool>) -> Self {
        Self { inner, _handles: Arc::new(handles), down }
    }

    /// Who this node is: its uid and the addresses that it advertises, with the port that it got.
    pub fn member(&self) -> &Member {
        &self.inner.member
    }

    /// Proposes a command, on any node: the leader is found, followed, and retried with backoff while that is safe.
    /// Returns the response of the state machine once a majority holds the command on disk and the leader applied it.
    ///
    /// Takes at most the builder's `request_timeout`. Dropping the future gives up the answer, not the command.
    ///
    /// # Errors
    ///
    /// [`ProposeError`], which tells a command that was not accepted from one whose outcome is unknown.
    pub async fn propose(&self, command: S::Command) -> Result<S::Response, ProposeError> {
        self.propose_within(command, self.inner.options.request_timeout).await
    }

    /// As [`propose`](Self::propose), within the given time.
    ///
    /// # Errors
    ///
    /// As [`propose`](Self::propose).
    pub async fn propose_within(
        &self,
        command: S::Command,
        within: Duration,
    ) -> Result<S::Response, ProposeError> {
        let payload = encode(&command).map_err(|cause| NotAccepted::Invalid { cause })?;
        drop(command);
        let response = self.inner.propose(payload, within).await?;
        decode(&response).map_err(|cause| OutcomeUnknown::Unreadable { cause }.into())
    }

    /// Reads the state as it is after every command that was acknowledged before this call, on any node.
    ///
    /// The leader confirms that it still leads and tells how far one must have applied; then this node waits until it
    /// has, and `read` runs on the state. Keep `read` short: commands wait for it. Takes at most the builder's
    /// `request_timeout`. Cancellation safe.
    ///
    /// # Errors
    ///
    /// [`ReadError`]. `read` did not run then.
    pub async fn read<T>(&self, read: impl FnOnce(&S) -> T) -> Result<T, ReadError> {
        self.read_within(read, self.inner.options.request_timeout).await
    }

    /// As [`read`](Self::read), within the given time.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_within<T>(&self, read: impl FnOnce(&S) -> T, within: Duration) -> Result<T, ReadError> {
        self.inner.wait_linearizable(within).await?;
        Ok(self.read_stale(read))
    }

    /// Reads the state as this node has it now, which may be older than what others have acknowledged.
    ///
    /// Never waits for the network, and works without a leader. Keep `read` short: commands wait for it.
    pub fn read_stale<T>(&self, read: impl FnOnce(&S) -> T) -> T {
        read(&self.inner.shared.read().machine)
    }

    /// What this node knows about itself.
    pub fn status(&self) -> Status {
        self.inner.status()
    }

    /// What its connections to other nodes have counted.
    pub fn peer_counters(&self) -> PeerCounters {
        PeerCounters::from(self.inner.transport.metrics().as_ref())
    }

    /// The membership as this node knows it. Progress of each member is known on the leader only.
    pub fn members(&self) -> Members {
        self.inner.members()
    }

    /// The membership as the leader knows it, with the progress of each member.
    ///
    /// # Errors
    ///
    /// [`ReadError`], as for a linearizable read.
    pub async fn members_of_leader(&self) -> Result<Members, ReadError> {
        match self.inner.ask_leader(Ask::Members, self.inner.options.request_timeout).await? {
            Answer::Members(members) => Ok(members),
            _ => Err(NotAccepted::Invalid { cause: "not the answer to this question".to_owned() }.into()),
        }
    }

    /// Follows who leads, with a fencing token.
    pub fn leadership(&self) -> LeadershipWatch {
        let (leader, stopped) = (self.inner.leader.subscribe(), self.inner.stopped.subscribe());
        LeadershipWatch { leader, stopped }
    }

    /// Founds a cluster of which this node is the only member, and returns when it leads.
    ///
    /// Idempotent: a node that founded its cluster answers with success again.
    ///
    /// # Errors
    ///
    /// [`InitError::AlreadyInitialized`] on a node that joined a cluster; the others as documented there.
    pub async fn init(&self) -> Result<(), InitError> {
        self.inner.init().await
    }

    /// Joins, as a learner, the cluster of the member at `addr` (`host:port`), retrying for the builder's
    /// `join_timeout`. Idempotent.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub async fn join(&self, addr: &str) -> Result<(), JoinError> {
        self.inner.join(addr).await
    }

    /// Adds a member that receives the log and does not vote. On any node; the leader decides. Idempotent: the same
    /// member again is a success, and may bring new addresses.
    ///
    /// # Errors
    ///
    /// [`MembershipError::DuplicateNode`], [`IdReused`](MembershipError::IdReused),
    /// [`AddressInUse`](MembershipError::AddressInUse), [`Invalid`](MembershipError::Invalid),
    /// [`ChangeInProgress`](MembershipError::ChangeInProgress).
    pub async fn add_learner(&self, id: NodeId, member: Member) -> Result<(), MembershipError> {
        self.inner.change(Ask::Change(Change::AddLearner { id, member })).await
    }

    /// Makes a learner a voter, if it has caught up. On any node; the leader decides. Idempotent.
    ///
    /// # Errors
    ///
    /// [`MembershipError::LearnerNotReady`], [`UnknownNode`](MembershipError::UnknownNode),
    /// [`ChangeInProgress`](MembershipError::ChangeInProgress).
    pub async fn promote(&self, id: NodeId) -> Result<(), MembershipError> {
        self.inner.change(Ask::Change(Change::Promote { id })).await
    }

    /// As [`promote`](Self::promote), but waits for the learner to catch up, for as long as it comes nearer within
    /// each `within`.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote); [`MembershipError::LearnerNotReady`] when the time is over.
    pub async fn promote_within(&self, id: NodeId, within: Duration) -> Result<(), MembershipError> {
        self.inner.change_when_ready(Change::Promote { id }, within).await
    }

    /// Removes a voter or a learner for good: its number can never be used again. On any node; the leader decides. A
    /// leader may remove itself: it hands over and steps down. Idempotent.
    ///
    /// # Errors
    ///
    /// [`MembershipError::EmptyVoters`], [`WouldLoseQuorum`](MembershipError::WouldLoseQuorum),
    /// [`UnknownNode`](MembershipError::UnknownNode), [`ChangeInProgress`](MembershipError::ChangeInProgress).
    pub async fn remove(&self, id: NodeId) -> Result<(), MembershipError> {
        self.inner.change(Ask::Change(Change::Remove { id })).await
    }

    /// Replaces member `old`, dead or alive, by the node `new`: adds it as a learner, waits until it has caught up,
    /// and then swaps the two in one change. On any node. The learner may take as long as it makes progress: each
    /// `request_timeout` it must have come nearer. Idempotent.
    ///
    /// # Errors
    ///
    /// Those of [`add_learner`](Self::add_learner), [`promote`](Self::promote) and [`remove`](Self::remove).
    pub async fn replace(&self, old: NodeId, new: NodeId, member: Member) -> Result<(), MembershipError> {
        self.inner.replace(old, new, member).await
    }

    /// Makes exactly these members the voters, in one joint change. Voters that are not named leave the cluster for
    /// good; learners that are not named stay learners. On any node; the leader decides. Idempotent.
    ///
    /// # Errors
    ///
    /// Those of [`promote`](Self::promote) and [`remove`](Self::remove).
    pub async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), MembershipError> {
        self.inner.change(Ask::Change(Change::SetVoters { voters })).await
    }

    /// Hands leadership to a voter, and returns when it leads. On any node.
    ///
    /// # Errors
    ///
    /// [`MembershipError::UnknownNode`], [`NotVoter`](MembershipError::NotVoter), and
    /// [`NotAccepted`](MembershipError::NotAccepted) if the voter did not take over in time.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), MembershipError> {
        self.inner.change(Ask::TransferLeader { to }).await
    }

    /// Takes a snapshot on this node now, and returns the index that it covers when it is durable.
    ///
    /// # Errors
    ///
    /// [`ReadError::Lagging`] if it took longer than the builder's `request_timeout` (it goes on), or the node's end.
    pub async fn snapshot(&self) -> Result<u64, ReadError> {
        self.inner.snapshot().await
    }

    /// Waits until the node has stopped, for whatever reason, and gives the reason. Cancellation safe.
    pub async fn stopped(&self) -> StopReason {
        let mut stopped = self.inner.stopped.subscribe();
        let reason = stopped.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        self.wait_down().await;
        reason.unwrap_or(StopReason::Shutdown)
    }

    /// Stops the node in order: a leader hands over to the voter that is furthest, then everything stops. Takes at
    /// most two election timeouts and the time to finish what is being written. Idempotent. Proposals still in flight
    /// end with an unknown outcome.
    pub async fn shutdown(&self) {
        self.inner.hand_over().await;
        self.abort().await;
    }

    /// Stops the node at once, without handing leadership over, as a crash would; returns when its files and its port
    /// are free. Idempotent.
    pub async fn abort(&self) {
        self.inner.stop(StopReason::Shutdown);
        self.wait_down().await;
    }

    async fn wait_down(&self) {
        // An error means that the task is gone, and so is the node.
        let _ = self.down.clone().wait_for(|down| *down).await;
    }
}

impl<S: StateMachine> Clone for Node<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), _handles: self._handles.clone(), down: self.down.clone() }
    }
}

impl<S: StateMachine> std::fmt::Debug for Node<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("id", &self.inner.options.id).finish_non_exhaustive()
    }
}

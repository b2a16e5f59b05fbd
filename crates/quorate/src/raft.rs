//! The handle of a node.

use std::fmt;
use std::fmt::Debug;
use std::fmt::Formatter;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::sync::PoisonError;
use std::time::Duration;

use quorate_core::Refusal;
use quorate_core::Replica;

use crate::base::BoxFuture;
use crate::base::OptionalSend;
use crate::boot::StorageHelper;
use crate::boot::options_of;
use crate::boot::stored_of;
pub use crate::client::ChangeMembershipOutcome;
pub use crate::client::ChangeMembershipRequest;
pub use crate::client::ClientWriteResponse;
pub use crate::client::ClientWriteResult;
pub use crate::client::FlushPoint;
pub use crate::client::Precondition;
pub use crate::client::ReadPolicy;
pub use crate::client::WriteResponse;
pub use crate::client::WriteResult;
use crate::config::Config;
use crate::counting::CommandName;
use crate::counting::ExternalCommandName;
use crate::counting::RaftMsgName;
use crate::counting::SMCommandName;
#[expect(deprecated, reason = "kept for those who still use it")]
pub use crate::deprecated::InstallSnapshotRequest;
#[expect(deprecated, reason = "kept for those who still use it")]
pub use crate::deprecated::InstallSnapshotResponse;
use crate::driver::Driver;
use crate::errors::Fatal;
use crate::errors::ForwardReason;
use crate::errors::ForwardToLeader;
use crate::errors::InitializeError;
use crate::errors::NotAllowed;
use crate::errors::NotInMembers;
use crate::errors::RaftError;
use crate::extensions::Extensions;
use crate::host::Host;
use crate::host::Pending;
use crate::host::State;
use crate::host::ids_of;
pub use crate::leader::Leader;
pub use crate::leader_change::WatchChangeHandle;
use crate::log_id::LogIdOptionExt;
use crate::loops::apply::Applier;
use crate::loops::apply::Command;
use crate::loops::apply::Incoming;
use crate::loops::apply::MACHINE_STOP_MAX;
use crate::loops::clock::dice;
use crate::loops::snapshot::current_snapshot;
use crate::membership::IntoNodes;
use crate::membership::Membership;
use crate::metrics::Metric;
use crate::metrics::MetricsRecorder;
use crate::metrics::RaftDataMetrics;
use crate::metrics::RaftMetrics;
use crate::metrics::RaftServerMetrics;
use crate::metrics::Wait;
use crate::metrics::WaitError;
use crate::network::NetSnapshot;
use crate::network::RaftNetworkFactory;
use crate::publish::Receivers;
use crate::publish::Watches;
use crate::publish::fatal_of;
pub use crate::rpc::AppendEntriesRequest;
pub use crate::rpc::AppendEntriesResponse;
pub use crate::rpc::LogSegment;
pub use crate::rpc::SnapshotResponse;
pub use crate::rpc::StreamAppendError;
pub use crate::rpc::StreamAppendResult;
pub use crate::rpc::TransferLeaderError;
pub use crate::rpc::TransferLeaderRequest;
pub use crate::rpc::TransferLeaderResponse;
pub use crate::rpc::VoteRequest;
pub use crate::rpc::VoteResponse;
use crate::runtime::Instant;
use crate::runtime::MpscSender;
use crate::runtime::OneshotSender;
use crate::runtime::WatchReceiver;
use crate::storage::RaftLogStorage;
use crate::storage::RaftStateMachine;
pub use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::JoinErrorOf;
use crate::type_config::alias::JoinHandleOf;
use crate::type_config::alias::MpscSenderOf;
use crate::type_config::alias::MutexOf;
use crate::type_config::alias::SmSnapshotOf;
use crate::type_config::alias::VoteOf;
use crate::type_config::alias::WatchReceiverOf;
use crate::vote::RaftVote;

pub use crate::runtime_config::RuntimeConfigHandle;
pub use crate::trigger::Trigger;
pub use crate::write::WriteRequest;

/// Linearizable reads.
pub mod linearizable_read {
    pub use crate::client::LinearizerOption;
    pub use crate::read::LinearizeState;
    pub use crate::read::Linearizer;
    pub use crate::read::ReadLogId;
}

/// Who is told what became of a write.
pub mod responder {
    pub use crate::responder::OneshotResponder;
    pub use crate::responder::ProgressResponder;
    pub use crate::responder::Responder;
}

/// What an operator may set off by hand.
pub mod trigger {
    pub use crate::trigger::Trigger;
}

/// Most closures that wait for the state machine, where the configuration names no number.
const COMMANDS_MAX: usize = 1024;

type Tasks<C> = (JoinHandleOf<C, ()>, JoinHandleOf<C, ()>);

#[cfg(not(feature = "single-threaded"))]
type Start<C> = Box<dyn FnOnce() -> Tasks<C> + Send>;
#[cfg(feature = "single-threaded")]
type Start<C> = Box<dyn FnOnce() -> Tasks<C>>;

/// What all handles of a node share. The node stops when the last one is dropped.
pub(crate) struct Inner<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    pub(crate) host: Arc<Host<C>>,
    pub(crate) commands: MpscSenderOf<C, Command<SM>>,
    pub(crate) incoming: Incoming<C, SM>,
    /// Held while a snapshot is received: the replica takes one at a time.
    pub(crate) installing: Arc<MutexOf<C, ()>>,
    /// Held while a closure looks at the state.
    pub(crate) inspecting: MutexOf<C, ()>,
    pub(crate) receivers: Receivers<C>,
    extensions: Extensions,
    start: StdMutex<Option<Start<C>>>,
    started: StdMutex<Option<Tasks<C>>>,
}

impl<C, SM> Drop for Inner<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    fn drop(&mut self) {
        self.host.stop(Fatal::Stopped);
    }
}

/// A node of a cluster: the handle by which applications, RPC servers and operators talk to it.
///
/// Cheap to clone; all clones are the same node. When the last one is dropped, the node stops as if by
/// [`shutdown`](Self::shutdown), without waiting for it.
pub struct Raft<C, SM = ()>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    pub(crate) inner: Arc<Inner<C, SM>>,
}

impl<C, SM> Clone for Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<C, SM> Debug for Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raft").field("id", &self.inner.host.id).finish_non_exhaustive()
    }
}

impl<C, SM> Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    // --- Starting and stopping.

    /// Starts a node from what its stores hold: [`build`](Self::build) and [`run`](Self::run).
    ///
    /// `network` makes the clients to the other nodes; requests that *come* are yours to pass on, to
    /// [`append_entries`](Self::append_entries) and its like. `config` is taken as it is; validate it before.
    ///
    /// What a crash left half done is made good first: a snapshot that is newer than the state machine is installed, what
    /// is known to be committed is applied again, what stands below a snapshot is removed.
    ///
    /// # Errors
    ///
    /// [`Fatal::StorageError`] if a store cannot be read, or contradicts itself or the other one;
    /// [the guide](crate::docs::storage_contract#what-stops-a-node-at-the-start) lists how. If the call is dropped, no node
    /// runs, and the stores may be opened again.
    pub async fn new<LS, N>(
        id: C::NodeId,
        config: Arc<Config>,
        network: N,
        log_store: LS,
        state_machine: SM,
    ) -> Result<Self, Fatal<C>>
    where
        N: RaftNetworkFactory<C>,
        N::Network: NetSnapshot<C, SnapshotData = SM::SnapshotData>,
        LS: RaftLogStorage<C>,
    {
        let raft = Self::build(id, config, network, log_store, state_machine).await?;
        raft.run();
        Ok(raft)
    }

    /// Reads the stores and rebuilds the node; nothing runs before [`run`](Self::run).
    ///
    /// So a server can be given the handle before the first message leaves. Errors and cancellation are those of
    /// [`new`](Self::new).
    pub async fn build<LS, N>(
        id: C::NodeId,
        config: Arc<Config>,
        network: N,
        mut log_store: LS,
        mut state_machine: SM,
    ) -> Result<Self, Fatal<C>>
    where
        N: RaftNetworkFactory<C>,
        N::Network: NetSnapshot<C, SnapshotData = SM::SnapshotData>,
        LS: RaftLogStorage<C>,
    {
        let mut helper = StorageHelper::new(&mut log_store, &mut state_machine).with_id(id.clone());
        let state = helper.get_initial_state().await?;
        let reader = log_store.get_log_reader().await;
        let origin = C::now();
        let options = options_of(&config);
        let now = quorate_core::Time::ZERO;
        let replica = Replica::new(id.clone(), options, stored_of(&state), now, dice::<C>());
        let queue = config.state_machine_channel_size.map_or(COMMANDS_MAX, |size| size.max(1) as usize);
        let host = Arc::new(Host::new(config, origin, replica, &state.membership_state, state.snapshot_meta));
        let watches = Arc::new(Watches::new(id));
        watches.publish(&host);
        let receivers = watches.receivers();
        let (commands, command_rx) = C::mpsc(queue);
        let incoming: Incoming<C, SM> = Arc::default();
        let applier = Applier {
            host: host.clone(),
            machine: state_machine,
            reader,
            commands: command_rx,
            incoming: incoming.clone(),
        };
        let factory = Arc::new(C::mutex(network));
        let driver =
            Driver { host: host.clone(), watches, factory, store: log_store, commands: commands.clone() };
        let start: Start<C> = Box::new(move || (C::spawn(driver.run()), C::spawn(applier.run())));
        Ok(Self {
            inner: Arc::new(Inner {
                host,
                commands,
                incoming,
                installing: Arc::new(C::mutex(())),
                inspecting: C::mutex(()),
                receivers,
                extensions: Extensions::default(),
                start: StdMutex::new(Some(start)),
                started: StdMutex::new(None),
            }),
        })
    }

    /// Starts the tasks of a node that was only built. Calling it again does nothing.
    pub fn run(&self) {
        let start = self.inner.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(start) = start
            && self.inner.host.stopped().is_none()
        {
            let tasks = start();
            *self.inner.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(tasks);
        }
    }

    /// Stops the node and waits until its tasks have ended and its stores are closed.
    ///
    /// Clients that wait get [`Fatal::Stopped`], and so does every later call. A state machine that is busy is waited
    /// for a few seconds. Cancel safe: the node stops all the same.
    pub async fn shutdown(&self) -> Result<(), JoinErrorOf<C>> {
        let inner = &self.inner;
        inner.host.stop(Fatal::Stopped);
        drop(inner.start.lock().unwrap_or_else(PoisonError::into_inner).take());
        let started = inner.started.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((driver, applier)) = started {
            // A task that panicked has stopped too.
            let _ = driver.await;
            let _ = C::timeout(MACHINE_STOP_MAX * 2, applier).await;
        }
        Ok(())
    }

    /// The settings that the node was started with.
    pub fn config(&self) -> &Arc<Config> {
        &self.inner.host.config
    }

    /// This node.
    pub fn node_id(&self) -> &C::NodeId {
        &self.inner.host.id
    }

    /// What an operator may set off by hand.
    pub fn trigger(&self) -> Trigger<'_, C> {
        Trigger::new(&self.inner.host)
    }

    /// What an operator may switch on and off while the node runs.
    pub fn runtime_config(&self) -> RuntimeConfigHandle<'_, C> {
        RuntimeConfigHandle::new(&self.inner.host)
    }

    /// Tells `recorder` the node's numbers from now on, or nobody; see
    /// [`MetricsRecorder`] for which and when.
    pub async fn set_metrics_recorder(
        &self,
        recorder: Option<Arc<dyn MetricsRecorder>>,
    ) -> Result<(), Fatal<C>> {
        let host = &self.inner.host;
        if let Some(fatal) = host.stopped() {
            return Err(fatal);
        }
        host.counting.message(RaftMsgName::ExternalCommand(ExternalCommandName::SetMetricsRecorder));
        host.recording.set(recorder);
        // The gauges that are there already are told at once.
        host.publish_work.raise();
        Ok(())
    }

    /// A map by type, for what applications and add-ons keep beside a node.
    pub fn extensions(&self) -> &Extensions {
        &self.inner.extensions
    }

    /// The value of type `T` among the [`extensions`](Self::extensions), put in as its default if there was none.
    pub fn extension<T>(&self) -> T
    where
        T: OptionalSend + Clone + Default + 'static,
    {
        self.inner.extensions.get()
    }

    /// What this node did and how long it took, since it started.
    #[cfg(feature = "runtime-stats")]
    pub async fn runtime_stats(&self) -> Result<crate::stats::RuntimeStats<C>, Fatal<C>> {
        let host = &self.inner.host;
        host.counting.message(RaftMsgName::GetRuntimeStats);
        match host.stopped() {
            Some(fatal) => Err(fatal),
            None => Ok(host.counting.snapshot()),
        }
    }

    // --- Founding.

    /// Founds a cluster of `members` on this node, which must be one of them and hold nothing yet.
    ///
    /// Returns when the membership is durable here; an election follows at once. Call it on one node of the cluster, or on
    /// several with the same members. [Cluster formation](crate::docs::cluster_formation) has examples.
    ///
    /// # Errors
    ///
    /// [`NotAllowed`] if there is a log or a vote here, [`NotInMembers`] if this node is not among the members. Either way
    /// nothing was written. If the call is dropped, the cluster may be founded all the same.
    pub async fn initialize<T>(&self, members: T) -> Result<(), RaftError<C, InitializeError<C>>>
    where
        T: IntoNodes<C::NodeId, C::Node> + Debug,
    {
        let membership = Membership::from(members.into_nodes());
        let ids = ids_of::<C>(&membership);
        let (host, dice) = (&self.inner.host, dice::<C>());
        host.counting.message(RaftMsgName::Initialize);
        let written = host.step(|state, now| {
            if let Some(fatal) = &state.stopped {
                return Err(RaftError::Fatal(fatal.clone()));
            }
            let pristine = state.replica.log().last().is_none();
            match state.replica.initialize(now, dice, ids) {
                Ok(log_id) => {
                    state.push_membership(log_id.clone(), membership.clone());
                    state.pending.push_back(Pending::Membership(log_id, membership, None));
                    Ok(state.replica.vote_write())
                }
                Err(quorate_core::InitializeRefusal::NotInMembers) if pristine => {
                    let node_id = host.id.clone();
                    Err(RaftError::APIError(InitializeError::NotInMembers(NotInMembers {
                        node_id,
                        membership,
                    })))
                }
                Err(_) => {
                    let vote = state.replica.vote().clone();
                    let vote = VoteOf::<C>::from_leader_id(vote.leader_id, vote.committed);
                    let last_log_id = state.replica.log().last().cloned();
                    Err(RaftError::APIError(InitializeError::NotAllowed(NotAllowed { last_log_id, vote })))
                }
            }
        })?;
        host.flushed(written).await.map_err(RaftError::Fatal)
    }

    /// Whether this node holds a log or a vote: it belongs to a cluster.
    pub async fn is_initialized(&self) -> Result<bool, Fatal<C>> {
        self.inner.host.look(|state, _| match &state.stopped {
            Some(fatal) => Err(fatal.clone()),
            None => Ok(!state.replica.is_pristine()),
        })
    }

    // --- Looking.

    /// The leader as far as this node knows; `None` if it follows nobody. It may have been replaced by now.
    pub async fn current_leader(&self) -> Option<C::NodeId> {
        self.inner.host.look(|state, _| state.replica.leader().cloned())
    }

    /// Whether this node leads, as of the last published metrics. Another one may lead by now: to be sure, confirm a
    /// [read](Self::ensure_linearizable).
    pub fn is_leader(&self) -> bool {
        self.inner.receivers.server.borrow_watched().state.is_leader()
    }

    /// The voters of the effective membership, as of the last published metrics.
    pub fn voter_ids(&self) -> impl Iterator<Item = C::NodeId> {
        self.inner
            .receivers
            .server
            .borrow_watched()
            .membership_config
            .voter_ids()
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The learners of the effective membership, as of the last published metrics.
    pub fn learner_ids(&self) -> impl Iterator<Item = C::NodeId> {
        let config = self.inner.receivers.server.borrow_watched().membership_config.clone();
        config.membership().learner_ids().collect::<Vec<_>>().into_iter()
    }

    /// All that a node tells of itself, and its changes: a watch, which keeps the newest value.
    ///
    /// It is brought up to date after steps of the node, many steps at a time, so a value in between may never be seen.
    /// [Monitoring](crate::docs::monitoring) shows its uses.
    ///
    #[cfg_attr(all(feature = "tokio-rt", not(feature = "single-threaded")), doc = "```")]
    #[cfg_attr(not(all(feature = "tokio-rt", not(feature = "single-threaded"))), doc = "```text")]
    /// # use quorate_guide::Cluster;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::of(1).await?;
    /// # let raft = cluster.leader().await?;
    /// use quorate::async_runtime::WatchReceiver;
    ///
    /// let mut metrics = raft.metrics();
    /// println!("{}", metrics.borrow_watched().clone());
    /// let leads = metrics.wait_until(|metrics| metrics.state.is_leader()).await?;
    /// # assert_eq!(leads.current_leader, Some(1));
    /// # Ok(()) }
    /// ```
    pub fn metrics(&self) -> WatchReceiverOf<C, RaftMetrics<C>> {
        self.inner.receivers.metrics.clone()
    }

    /// Where the log, the commit and the state machine are, and their changes: a watch that is told of nothing else.
    pub fn data_metrics(&self) -> WatchReceiverOf<C, RaftDataMetrics<C>> {
        self.inner.receivers.data.clone()
    }

    /// What the node is to the others, and its changes: a watch that stays quiet while entries flow.
    pub fn server_metrics(&self) -> WatchReceiverOf<C, RaftServerMetrics<C>> {
        self.inner.receivers.server.clone()
    }

    /// Waits for the metrics to become something, for `timeout` at most, or for as long as it takes.
    ///
    /// `raft.wait(None).applied_index_at_least(Some(7), "entry 7 is applied").await`; see [`Wait`] for what else.
    pub fn wait(&self, timeout: Option<Duration>) -> Wait<C> {
        Wait { timeout, rx: self.metrics() }
    }

    /// Waits, for `timeout` at most, until this node has caught up after its start: it has heard from a leader that all
    /// of its log is committed, or removed what is not, and has applied all that was committed then.
    pub async fn wait_for_recovery(&self, timeout: Option<Duration>) -> Result<RaftMetrics<C>, WaitError> {
        let began = C::now();
        let settled = |metrics: &RaftMetrics<C>| {
            metrics.cluster_committed.is_some() && metrics.cluster_committed.index() >= metrics.last_log_index
        };
        let settled = self.wait(timeout).metrics(settled, "all of the log is committed").await?;
        let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
        self.wait(left).ge(Metric::Applied(settled.cluster_committed), "what was committed is applied").await
    }

    // --- The state machine.

    /// Runs `f` with the state machine, between two batches of entries, and returns what it returns.
    ///
    /// For whatever your state machine can do besides: no entry is applied meanwhile, so keep it short. It is not a
    /// linearizable read by itself; see [`ensure_linearizable`](Self::ensure_linearizable).
    ///
    /// If `f` panics, the call fails with [`Fatal::Stopped`] after a moment, and the node goes on. A call that is dropped
    /// may have run, or may run yet.
    pub async fn with_state_machine<F, V>(&self, f: F) -> Result<V, Fatal<C>>
    where
        SM: OptionalSend + 'static,
        F: FnOnce(&mut SM) -> BoxFuture<'_, V> + OptionalSend + 'static,
        V: OptionalSend + 'static,
    {
        let (tx, rx) = C::oneshot();
        self.external_state_machine_request(move |machine| {
            Box::pin(async move {
                // Whoever asked may have gone.
                let _ = tx.send(f(machine).await);
            })
        })
        .await?;
        match rx.await {
            Ok(value) => Ok(value),
            Err(_) => Err(self.inner.host.lost_answer().await),
        }
    }

    /// Runs `f` with the state machine, between two batches of entries; returns when it is queued.
    pub async fn external_state_machine_request<F>(&self, f: F) -> Result<(), Fatal<C>>
    where
        SM: OptionalSend + 'static,
        F: FnOnce(&mut SM) -> BoxFuture<'_, ()> + OptionalSend + 'static,
    {
        let command = Command(Box::new(f));
        let host = &self.inner.host;
        host.counting.command(CommandName::StateMachine(SMCommandName::ExternalFunc));
        self.inner.commands.send(command).await.map_err(|_| fatal_of(host))?;
        host.apply_work.raise();
        match host.stopped() {
            Some(fatal) => Err(fatal),
            None => Ok(()),
        }
    }

    /// The state machine's current snapshot, if it has one: that which was built or installed last.
    pub async fn get_snapshot(&self) -> Result<Option<SmSnapshotOf<C, SM>>, RaftError<C>> {
        let host = &self.inner.host;
        let snapshot = current_snapshot::<C, SM>(host, &self.inner.commands).await;
        match (snapshot, host.stopped()) {
            (None, Some(fatal)) => Err(RaftError::Fatal(fatal)),
            (snapshot, _) => Ok(snapshot),
        }
    }
}

/// Where a client should go instead, and why.
pub(crate) fn forward_of<C: RaftTypeConfig>(
    state: &State<C>,
    refusal: &Refusal<C::LeaderId>,
) -> ForwardToLeader<C> {
    match refusal {
        Refusal::NotLeader(None) => ForwardToLeader::empty(),
        Refusal::NotLeader(Some(_)) => state.forward_to_leader(),
        Refusal::Transferring(to) => {
            let membership = state.effective_membership();
            let node = membership.get_node(to);
            let forward = node.map(|node| ForwardToLeader::new(to.clone(), node.clone()));
            forward.unwrap_or_else(ForwardToLeader::empty).with_reason(ForwardReason::LeadershipTransfer)
        }
        Refusal::LeaseExpired | Refusal::LogFull => {
            ForwardToLeader::empty().with_reason(ForwardReason::LeaseExpired)
        }
    }
}

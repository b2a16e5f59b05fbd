//! Linearizable reads: a leader says what a read must see, and any node waits until it has applied that.

use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;
use std::ops::Deref;
use std::time::Duration;

use quorate_core::Read;

use crate::client::LinearizerOption;
use crate::counting::NotificationName;
use crate::counting::RaftMsgName;
use crate::display::Opt;
use crate::errors::Fatal;
use crate::errors::ForwardToLeader;
use crate::errors::LinearizableReadError;
use crate::errors::QuorumNotEnough;
use crate::errors::RaftError;
use crate::host::Host;
use crate::host::State;
use crate::metrics::WaitError;
use crate::publish::fatal_of;
use crate::raft::Raft;
use crate::raft::forward_of;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::CommittedLeaderIdOf;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::OneshotReceiverOf;

/// The entry that a read must see the effect of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "", transparent))]
pub struct ReadLogId<C: RaftTypeConfig> {
    log_id: LogIdOf<C>,
}

impl<C: RaftTypeConfig> Copy for ReadLogId<C> where LogIdOf<C>: Copy {}

impl<C: RaftTypeConfig> ReadLogId<C> {
    /// A read that must see the effect of `log_id`.
    pub fn from_log_id(log_id: LogIdOf<C>) -> Self {
        Self { log_id }
    }

    /// The entry.
    pub fn log_id(&self) -> &LogIdOf<C> {
        &self.log_id
    }

    /// The leader that proposed the entry.
    pub fn committed_leader_id(&self) -> &CommittedLeaderIdOf<C> {
        self.log_id.committed_leader_id()
    }

    /// The position of the entry.
    pub fn index(&self) -> u64 {
        self.log_id.index
    }
}

impl<C: RaftTypeConfig> Display for ReadLogId<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.log_id, f)
    }
}

/// What a read must see, and what a node had applied when it last looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearizeState<C: RaftTypeConfig> {
    node_id: C::NodeId,
    read_log_id: ReadLogId<C>,
    applied: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> LinearizeState<C> {
    /// The node that looked.
    pub fn node_id(&self) -> &C::NodeId {
        &self.node_id
    }

    /// What the read must see.
    pub fn read_log_id(&self) -> &ReadLogId<C> {
        &self.read_log_id
    }

    /// What the node had applied.
    pub fn applied(&self) -> Option<&LogIdOf<C>> {
        self.applied.as_ref()
    }

    fn is_ready(&self) -> bool {
        quorate_core::mutant!(110)
            || self.applied.as_ref().is_some_and(|applied| applied.index >= self.read_log_id.index())
    }
}

impl<C: RaftTypeConfig> Display for LinearizeState<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { node_id, read_log_id, applied } = self;
        write!(f, "LinearizeState[id={node_id}]{{ read_log_id: {read_log_id}, applied: {} }}", Opt(applied))
    }
}

/// A read that a leader let in: wait until this or another node has applied what it must see, then read there.
#[must_use = "the read is linearizable only after `await_ready`"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linearizer<C: RaftTypeConfig> {
    state: LinearizeState<C>,
}

impl<C: RaftTypeConfig> Linearizer<C> {
    /// A read that must see `read_log_id`; `node_id` had applied `applied`.
    pub fn new(node_id: C::NodeId, read_log_id: ReadLogId<C>, applied: Option<LogIdOf<C>>) -> Self {
        Self { state: LinearizeState { node_id, read_log_id, applied } }
    }

    /// Waits until `raft` has applied what the read must see.
    pub async fn await_ready<SM>(self, raft: &Raft<C, SM>) -> Result<LinearizeState<C>, Fatal<C>>
    where
        SM: RaftStateMachine<C>,
    {
        match self.try_await_ready(raft, None).await? {
            Ok(state) => Ok(state),
            Err(_) => Err(fatal_of(&raft.inner.host)),
        }
    }

    /// Like [`await_ready`](Self::await_ready), for `timeout` at most; the inner error is the state at that time.
    pub async fn try_await_ready<SM>(
        mut self,
        raft: &Raft<C, SM>,
        timeout: Option<Duration>,
    ) -> Result<Result<LinearizeState<C>, LinearizeState<C>>, Fatal<C>>
    where
        SM: RaftStateMachine<C>,
    {
        let host = &raft.inner.host;
        self.state.node_id = host.id.clone();
        self.state.applied = host.look(|state, _| state.replica.applied().cloned());
        if !self.state.is_ready() {
            let index = self.state.read_log_id.index();
            let waited = raft.wait(timeout).applied_index_at_least(Some(index), "the read is ready").await;
            if let Err(WaitError::ShuttingDown) = waited {
                return Err(fatal_of(host));
            }
            self.state.applied = host.look(|state, _| state.replica.applied().cloned());
        }
        if let Some(fatal) = host.stopped() {
            return Err(fatal);
        }
        Ok(if self.state.is_ready() { Ok(self.state) } else { Err(self.state) })
    }
}

impl<C: RaftTypeConfig> Deref for Linearizer<C> {
    type Target = LinearizeState<C>;

    fn deref(&self) -> &LinearizeState<C> {
        &self.state
    }
}

type Refused<C> = RaftError<C, LinearizableReadError<C>>;

/// A read at the leader.
struct Asked<C: RaftTypeConfig> {
    read: Read<C::LeaderId>,
    applied: Option<LogIdOf<C>>,
    confirmed: Confirmed<C>,
}

/// When it is known whether this node still leads.
enum Confirmed<C: RaftTypeConfig> {
    Already,
    Later(OneshotReceiverOf<C, bool>),
    /// The caller does not wait, or too many do.
    Never,
}

/// A read that waits; if its caller gives up, the node forgets it.
struct Waiting<'a, C: RaftTypeConfig> {
    host: &'a Host<C>,
    read: Option<Read<C::LeaderId>>,
}

impl<C: RaftTypeConfig> Drop for Waiting<'_, C> {
    fn drop(&mut self) {
        if let Some(read) = self.read.take() {
            self.host.step(|state, _| state.reads.forget(&read));
        }
    }
}

impl<C, SM> Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// Makes sure that a read of the state machine after this call sees every write that was acknowledged before it
    /// (thesis §6.4).
    ///
    /// Only the leader can; a follower asks it for a [`Linearizer`], see
    /// [linearizable reads](crate::docs::linearizable_reads). It changes nothing: it may be dropped, and repeated.
    ///
    /// # Errors
    ///
    /// [`ForwardToLeader`] if this node does not lead or hands over; [`QuorumNotEnough`] if no quorum confirmed in time that
    /// it leads; [`RaftError::Fatal`] if it stopped.
    pub async fn ensure_linearizable(
        &self,
        option: impl Into<LinearizerOption>,
    ) -> Result<ReadLogId<C>, RaftError<C, LinearizableReadError<C>>> {
        let ready =
            self.get_read_linearizer(option).await?.await_ready(self).await.map_err(RaftError::Fatal)?;
        Ok(ready.read_log_id)
    }

    /// Makes sure that this node leads, and tells what a read must see.
    ///
    /// By the read index, a quorum is asked after this call; by the lease, it is enough that one answered lately.
    pub async fn get_read_linearizer(
        &self,
        option: impl Into<LinearizerOption>,
    ) -> Result<Linearizer<C>, RaftError<C, LinearizableReadError<C>>> {
        let option = self.without_lease(option.into());
        let host = &self.inner.host;
        let lease = Duration::from_millis(host.config.election_timeout_max);
        let wait = option.wait_timeout.unwrap_or(lease);
        host.counting.message(RaftMsgName::GetLinearizer);
        let Asked { read, applied, confirmed } = host.step(|state, now| ask(state, now, &option))?;
        let read_log_id = ReadLogId::from_log_id(read.log_id.clone());
        match confirmed {
            Confirmed::Already => {}
            Confirmed::Never => return Err(host.look(|state, now| no_quorum(state, now, &read, &option))),
            Confirmed::Later(confirmed) => {
                let mut waiting = Waiting { host, read: Some(read.clone()) };
                let outcome = C::timeout(wait, confirmed).await;
                let Ok(outcome) = outcome else {
                    host.counting.notification(NotificationName::PendingReadDeadlineReached);
                    return Err(host.look(|state, now| no_quorum(state, now, &read, &option)));
                };
                waiting.read = None;
                match outcome {
                    Ok(true) => {}
                    Ok(false) => return Err(host.look(|state, now| not_leading(state, now))),
                    Err(_) => return Err(RaftError::Fatal(fatal_of(host))),
                }
            }
        }
        Ok(Linearizer::new(host.id.clone(), read_log_id, applied))
    }

    /// A leader that gave its lease back, or that resumed after a restart and cannot know whether it had, asks a quorum
    /// instead, also for a caller who would not have waited.
    fn without_lease(&self, option: LinearizerOption) -> LinearizerOption {
        if self.inner.host.look(|state, _| state.replica.leading().is_none() || state.replica.has_lease()) {
            return option;
        }
        LinearizerOption {
            max_quorum_ack_age: Some(Duration::ZERO),
            heartbeat_if_quorum_ack_stale: true,
            wait_timeout: option.wait_timeout.filter(|wait| !wait.is_zero()),
        }
    }

    /// Like [`get_read_linearizer`](Self::get_read_linearizer): what a read must see, and what is applied here.
    pub async fn get_read_log_id(
        &self,
        option: impl Into<LinearizerOption>,
    ) -> Result<(ReadLogId<C>, Option<LogIdOf<C>>), RaftError<C, LinearizableReadError<C>>> {
        let linearizer = self.get_read_linearizer(option).await?;
        Ok((linearizer.state.read_log_id, linearizer.state.applied))
    }
}

/// Lets a read in; it waits for a quorum unless the option's age, or this node alone, is enough.
fn ask<C: RaftTypeConfig>(
    state: &mut State<C>,
    now: quorate_core::Time,
    option: &LinearizerOption,
) -> Result<Asked<C>, Refused<C>> {
    if let Some(fatal) = &state.stopped {
        return Err(RaftError::Fatal(fatal.clone()));
    }
    let applied = state.replica.applied().cloned();
    let read = match state.replica.read() {
        Ok(read) => read,
        Err(refusal) => {
            return Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward_of(
                state, &refusal,
            ))));
        }
    };
    if state.replica.read_leased(now, option.max_quorum_ack_age)
        || state.replica.read_confirmed(&read) == Some(true)
    {
        return Ok(Asked { read, applied, confirmed: Confirmed::Already });
    }
    let (tx, rx) = C::oneshot();
    let waits = option.wait_timeout.is_none_or(|wait| !wait.is_zero())
        && state.reads.wait(read.clone(), option.max_quorum_ack_age, tx);
    if waits && option.heartbeat_if_quorum_ack_stale {
        state.replica.heartbeat_now();
    }
    let confirmed = if waits { Confirmed::Later(rx) } else { Confirmed::Never };
    Ok(Asked { read, applied, confirmed })
}

/// Too few voters have answered a request that would do for the read.
fn no_quorum<C: RaftTypeConfig>(
    state: &State<C>,
    now: quorate_core::Time,
    read: &Read<C::LeaderId>,
    option: &LinearizerOption,
) -> Refused<C> {
    let cluster = state.effective_membership().membership().to_string();
    let mut got = state.replica.read_supporters(now, read, option.max_quorum_ack_age);
    got.insert(state.replica.id().clone());
    RaftError::APIError(LinearizableReadError::QuorumNotEnough(QuorumNotEnough { cluster, got }))
}

fn not_leading<C: RaftTypeConfig>(state: &State<C>, now: quorate_core::Time) -> Refused<C> {
    if let Some(fatal) = &state.stopped {
        return RaftError::Fatal(fatal.clone());
    }
    let refusal = state.replica.refusal(now);
    let forward = refusal.map_or_else(ForwardToLeader::empty, |refusal| forward_of(state, &refusal));
    RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))
}

//! Counts what a node does, where the feature `runtime-stats` asks for it; without it, every call here is nothing.
#![cfg_attr(not(feature = "runtime-stats"), allow(dead_code, unreachable_pub))]

use std::marker::PhantomData;
#[cfg(feature = "runtime-stats")]
use std::sync::Mutex;
#[cfg(feature = "runtime-stats")]
use std::sync::PoisonError;

use quorate_core::Replica;
use quorate_core::work::Event;
use quorate_macros::VariantName;

#[cfg(feature = "runtime-stats")]
use crate::stats::RuntimeStats;
#[cfg(feature = "runtime-stats")]
use crate::stats::Stage;
use crate::type_config::RaftTypeConfig;
#[cfg(feature = "runtime-stats")]
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::InstantOf;

/// Where the node's loops and doors say what they do.
pub(crate) struct Counting<C: RaftTypeConfig> {
    #[cfg(feature = "runtime-stats")]
    stats: Mutex<RuntimeStats<C>>,
    types: PhantomData<fn() -> C>,
}

/// What is done in batches.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BatchOf {
    Applied,
    Appended,
    Replicated,
    Written,
}

#[cfg(feature = "runtime-stats")]
impl<C: RaftTypeConfig> Counting<C> {
    /// `next` is the index of the first entry that is not in the log yet.
    pub(crate) fn new(next: u64, log_stage_capacity: Option<u64>) -> Self {
        Self { stats: Mutex::new(RuntimeStats::new(next, log_stage_capacity)), types: PhantomData }
    }

    fn with<T>(&self, f: impl FnOnce(&mut RuntimeStats<C>) -> T) -> T {
        f(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn command(&self, name: CommandName) {
        self.with(|stats| stats.record_command(name));
    }

    pub(crate) fn message(&self, name: RaftMsgName) {
        self.with(|stats| stats.record_raft_msg(name));
    }

    pub(crate) fn notification(&self, name: NotificationName) {
        self.with(|stats| stats.record_notification(name));
    }

    pub(crate) fn batch(&self, of: BatchOf, entries: u64) {
        if entries == 0 {
            return;
        }
        self.with(|stats| match of {
            BatchOf::Applied => stats.apply_batch.record(entries),
            BatchOf::Appended => stats.append_batch.record(entries),
            BatchOf::Replicated => stats.replicate_batch.record(entries),
            BatchOf::Written => stats.write_batch.record(entries),
        });
    }

    /// Entries before `end` were handed to the log store.
    pub(crate) fn submitted(&self, end: u64) {
        self.with(|stats| stats.record_log_stage_now(Stage::Submitted, end));
    }

    /// A step that began at `began` was made: entries may have come in, become durable, committed or applied.
    pub(crate) fn stepped(
        &self,
        began: InstantOf<C>,
        replica: &Replica<C::LeaderId>,
        events: &[Event<C::LeaderId>],
    ) {
        let now = C::now();
        self.with(|stats| {
            for event in events {
                match event {
                    Event::Truncated(index) => stats.log_stage.truncate(*index),
                    Event::Installed(last) => stats.log_stage.restart(last.index.saturating_add(1)),
                    _ => {}
                }
            }
            let reached = [
                (Stage::Proposed, began, replica.log().last()),
                (Stage::Received, now, replica.log().last()),
                (Stage::Persisted, now, replica.flush_point().last.as_ref()),
                (Stage::Committed, now, replica.committed()),
                (Stage::Applied, now, replica.applied()),
            ];
            for (stage, at, last) in reached {
                if let Some(last) = last {
                    stats.record_log_stage(stage, last.index.saturating_add(1), at);
                }
            }
        });
    }

    /// What was counted so far, with the histograms of the stages.
    pub(crate) fn snapshot(&self) -> RuntimeStats<C> {
        let mut stats = self.with(|stats| stats.clone());
        stats.build_log_stage_histograms();
        stats
    }
}

#[cfg(not(feature = "runtime-stats"))]
impl<C: RaftTypeConfig> Counting<C> {
    pub(crate) fn new(_next: u64, _log_stage_capacity: Option<u64>) -> Self {
        Self { types: PhantomData }
    }

    pub(crate) fn command(&self, _name: CommandName) {}

    pub(crate) fn message(&self, _name: RaftMsgName) {}

    pub(crate) fn notification(&self, _name: NotificationName) {}

    pub(crate) fn batch(&self, _of: BatchOf, _entries: u64) {}

    pub(crate) fn submitted(&self, _end: u64) {}

    pub(crate) fn stepped(
        &self,
        _began: InstantOf<C>,
        _replica: &Replica<C::LeaderId>,
        _events: &[Event<C::LeaderId>],
    ) {
    }
}

/// What a node did on its own account or for its peers.
///
/// The names are the contract's. Where this library has no such step, the count is that of the nearest thing, which
/// the variant says, or stays zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantName)]
pub enum CommandName {
    /// The log store called entries durable.
    UpdateIOProgress,
    /// Entries were handed to the log store.
    AppendEntries,
    /// A request without entries told one peer of the commit.
    ReplicateCommitted,
    /// A heartbeat was sent to one peer.
    BroadcastHeartbeat,
    /// A new commit was handed to the log store, which comes before applying.
    SaveCommittedAndApply,
    /// A request with entries was made for one peer.
    Replicate,
    /// A snapshot was begun to be sent to one peer.
    ReplicateSnapshot,
    /// One voter was told that leadership is handed over.
    BroadcastTransferLeader,
    /// The peers of a node that left were let go.
    CloseReplicationStreams,
    /// A waiting read was refused.
    FailPendingReads,
    /// The loops of a new peer were started.
    RebuildReplicationStreams,
    /// A vote was handed to the log store.
    SaveVote,
    /// One voter was asked for its vote.
    SendVote,
    /// One voter was asked for its pre-vote.
    SendPreVote,
    /// Entries were purged.
    PurgeLog,
    /// Entries were truncated.
    TruncateLog,
    /// Something was asked of the state machine.
    StateMachine(SMCommandName),
    /// A client was told what became of its entry, without the state machine.
    Respond,
}

/// What was asked of the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantName)]
#[variant_name(prefix = "SM::")]
pub enum SMCommandName {
    /// Begin to build a snapshot.
    BuildSnapshot,
    /// Hand out the current snapshot.
    GetSnapshot,
    /// Install a snapshot.
    InstallFullSnapshot,
    /// Apply entries.
    Apply,
    /// Run a closure.
    ExternalFunc,
}

/// What was asked of a node through its handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantName)]
pub enum RaftMsgName {
    /// A leader's request to append, a heartbeat included.
    AppendEntries,
    /// A candidate's request for a vote.
    RequestVote,
    /// A request for a pre-vote.
    RequestPreVote,
    /// A leader's snapshot.
    InstallSnapshot,
    /// A client's write.
    ClientWrite,
    /// A linearizable read.
    GetLinearizer,
    /// The first membership of a cluster.
    Initialize,
    /// A change of the membership.
    ChangeMembership,
    /// A membership as it stands, in one entry.
    AppendMembership,
    /// A request to take, or let be taken, the leadership.
    HandleTransferLeader,
    /// A closure that looks at the state.
    WithRaftState,
    /// Something set off by hand.
    ExternalCommand(ExternalCommandName),
    /// A look at these counts.
    GetRuntimeStats,
}

/// What an operator set off by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantName)]
#[variant_name(prefix = "External::")]
pub enum ExternalCommandName {
    /// An election.
    Elect,
    /// A heartbeat to everyone.
    Heartbeat,
    /// A snapshot.
    Snapshot,
    /// Purging entries.
    PurgeLog,
    /// Handing over the leadership.
    TriggerTransferLeader,
    /// Trying failing peers at once.
    ResetBackoff,
    /// Letting a peer come back without its log.
    AllowNextRevert,
    /// Another metrics recorder.
    SetMetricsRecorder,
    /// Looking again at what this node should be.
    RefreshServerState,
}

/// What a node was told by its own loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantName)]
pub enum NotificationName {
    /// A voter's answer.
    VoteResponse,
    /// A voter's answer to a pre-vote.
    PreVoteResponse,
    /// A peer has a higher vote.
    HigherVote,
    /// A store failed.
    StorageError,
    /// The log store finished a write.
    LocalIO,
    /// A peer's answer to a request to append.
    ReplicationProgress,
    /// A peer's answer to a heartbeat.
    HeartbeatProgress,
    /// The state machine finished something.
    StateMachine,
    /// A deadline of the node's clock.
    Tick,
    /// A read waited in vain.
    PendingReadDeadlineReached,
}

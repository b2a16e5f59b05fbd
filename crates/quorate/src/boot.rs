//! Reads what storage holds and makes good what a crash left half done: what a node starts from.

use quorate_core::Options;
use quorate_core::Stored;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use crate::config::Config;
use crate::config::SnapshotPolicy;
use crate::config::StepDownPolicy;
use crate::display::List;
use crate::entry::RaftEntry;
use crate::errors::ErrorSubject;
use crate::errors::ErrorVerb;
use crate::errors::StorageError;
use crate::errors::ToStorageResult;
use crate::host::placed_of;
use crate::log_id::LogIdOptionExt;
use crate::membership::MembershipState;
use crate::membership::StoredMembership;
use crate::raft_state::LogIdList;
use crate::raft_state::RaftState;
use crate::storage::EntryResponder;
use crate::storage::RaftLogReader;
use crate::storage::RaftLogReaderExt;
use crate::storage::RaftLogStorage;
use crate::storage::RaftSnapshotBuilder;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::MembershipStateOf;
use crate::type_config::alias::SnapshotMetaOf;
use crate::type_config::alias::StoredMembershipOf;
use crate::type_config::alias::VoteOf;
use crate::types::LogState;
use crate::vote::RaftLeaderIdExt;
use crate::vote::RaftVote;

/// Entries looked at together on the way back through the log.
const SCAN_ENTRIES: u64 = 64;

/// Most entries in one append to the log store where the configuration names no number.
const APPEND_ENTRIES_MAX: u64 = 4096;

/// Entries applied again together.
const REAPPLY_ENTRIES: u64 = 64;

/// What the two stores of a node amount to: the state that the node starts from.
///
/// A node reads its stores through this when it starts; a tool or a test may do so too, while no node runs on them.
pub struct StorageHelper<'a, C, LS, SM>
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
    SM: RaftStateMachine<C>,
{
    log: &'a mut LS,
    machine: &'a mut SM,
    id: Option<C::NodeId>,
}

impl<'a, C, LS, SM> StorageHelper<'a, C, LS, SM>
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
    SM: RaftStateMachine<C>,
{
    /// Looks at these two stores.
    pub fn new(log: &'a mut LS, machine: &'a mut SM) -> Self {
        Self { log, machine, id: None }
    }

    /// Says whose stores they are, which [`get_initial_state`](Self::get_initial_state) must know where no vote is
    /// saved yet.
    pub fn with_id(mut self, id: C::NodeId) -> Self {
        self.id = Some(id);
        self
    }

    /// The state that a node starts from.
    ///
    /// It makes good on the way what a crash left half done: the state machine is brought up to what is known to be
    /// committed, by its current snapshot and by applying entries again; a log that ends before the state machine is
    /// purged up to there; and a log whose start is gone gets a snapshot that stands for it.
    ///
    /// Errors if a store fails, or if the stores contradict each other or themselves; what was repaired until then
    /// stays repaired. The same goes for a call that is dropped: it can be made again.
    pub async fn get_initial_state(&mut self) -> Result<RaftState<C>, StorageError<C>> {
        let mut reader = self.log.get_log_reader().await;
        let vote = self.vote(&mut reader).await?;
        let committed = self.log.read_committed().await.sto_res(|| (ErrorSubject::Store, ErrorVerb::Read))?;
        let LogState { last_purged_log_id: mut purged, last_log_id: mut last } = self.log_state().await?;
        if last < purged {
            return Err(inverted(&last, &purged));
        }
        let snapshot = self.catch_up_by_snapshot().await?;
        let applied = self.reapply(&mut reader, committed, &purged, &last).await?;
        let memberships = self.get_membership().await?;
        if last < applied
            && let Some(applied) = applied.clone()
        {
            if last.index() >= Some(applied.index) {
                return Err(inverted(&last, &Some(applied)));
            }
            // The log ends before what a snapshot brought: a crash came between its installation and the purge.
            self.log.purge(applied.clone()).await.sto_res(|| (ErrorSubject::Logs, ErrorVerb::Delete))?;
            (purged, last) = (Some(applied.clone()), Some(applied));
        }
        let snapshot = match (snapshot, &purged) {
            (None, Some(_)) => self.build_missing_snapshot().await?,
            (snapshot, _) => snapshot,
        };
        let mut state = RaftState::fresh(vote);
        state.vote_last_modified = Some(C::now());
        state.log_ids = LogIdList::new(purged.clone(), key_log_ids(&mut reader, &purged, &last).await?);
        state.membership_state = memberships;
        state.snapshot_meta = snapshot.unwrap_or_default();
        state.local_committed = applied.clone();
        state.applied = applied;
        Ok(state)
    }

    /// The last membership that the state machine has applied and those behind it in the log: of these, the last is
    /// in force, and the one before it is committed.
    pub async fn get_membership(&mut self) -> Result<MembershipStateOf<C>, StorageError<C>> {
        let (applied, of_machine) = self.applied_state().await?;
        let mut in_log = self.last_membership_in_log(applied.next_index()).await?;
        let effective = Arc::new(in_log.pop().unwrap_or_else(|| of_machine.clone()));
        // A membership is proposed only when the one before it is committed.
        let committed = Arc::new(in_log.pop().unwrap_or(of_machine));
        Ok(MembershipState::new(committed, effective))
    }

    /// The last two memberships in the log at `since_index` or behind, the older one first; fewer if there are fewer.
    pub async fn last_membership_in_log(
        &mut self,
        since_index: u64,
    ) -> Result<Vec<StoredMembershipOf<C>>, StorageError<C>> {
        let mut reader = self.log.get_log_reader().await;
        let state = self.log_state().await?;
        let begin = since_index.max(state.last_purged_log_id.next_index());
        let (mut found, mut end) = (Vec::new(), state.last_log_id.next_index());
        while begin < end && found.len() < 2 {
            let start = begin.max(end.saturating_sub(SCAN_ENTRIES));
            let entries = reader.try_get_log_entries(start..end).await;
            let entries = entries.sto_res(|| (ErrorSubject::Logs, ErrorVerb::Read))?;
            for entry in entries.iter().rev() {
                if let Some(membership) = entry.get_membership()
                    && found.len() < 2
                {
                    found.insert(0, StoredMembership::new(Some(entry.log_id()), membership));
                }
            }
            end = start;
        }
        Ok(found)
    }

    async fn vote(&self, reader: &mut LS::LogReader) -> Result<VoteOf<C>, StorageError<C>> {
        let saved = reader.read_vote().await.sto_res(|| (ErrorSubject::Vote, ErrorVerb::Read))?;
        match (saved, &self.id) {
            (Some(vote), _) if !quorate_core::mutant!(111) => Ok(vote),
            (_, Some(id)) => {
                let leader_id = C::LeaderId::new_with_default_term(id.clone());
                Ok(VoteOf::<C>::from_leader_id(leader_id, false))
            }
            (_, None) => {
                let text = "no vote is saved and whose stores these are is not known: call `with_id`";
                Err(StorageError::read_vote(C::err_from_string(text)))
            }
        }
    }

    async fn log_state(&mut self) -> Result<LogState<C>, StorageError<C>> {
        self.log.get_log_state().await.sto_res(|| (ErrorSubject::Logs, ErrorVerb::Read))
    }

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<C>>, StoredMembershipOf<C>), StorageError<C>> {
        self.machine.applied_state().await.sto_res(|| (ErrorSubject::StateMachine, ErrorVerb::Read))
    }

    /// A snapshot that is newer than the state machine is installed into it. Returns what the snapshot covers.
    async fn catch_up_by_snapshot(&mut self) -> Result<Option<SnapshotMetaOf<C>>, StorageError<C>> {
        let current = self.machine.get_current_snapshot().await;
        let Some(snapshot) = current.sto_res(|| (ErrorSubject::Snapshot(None), ErrorVerb::Read))? else {
            return Ok(None);
        };
        let meta = snapshot.meta;
        let (applied, _) = self.applied_state().await?;
        if meta.last_log_id > applied {
            let installed = self.machine.install_snapshot(&meta, snapshot.snapshot).await;
            installed.sto_res(|| (ErrorSubject::Snapshot(Some(meta.signature())), ErrorVerb::Write))?;
        }
        Ok(Some(meta))
    }

    /// Entries known to be committed that the state machine has not kept are applied again. Returns the last applied
    /// entry.
    async fn reapply(
        &mut self,
        reader: &mut LS::LogReader,
        committed: Option<LogIdOf<C>>,
        purged: &Option<LogIdOf<C>>,
        last: &Option<LogIdOf<C>>,
    ) -> Result<Option<LogIdOf<C>>, StorageError<C>> {
        let (applied, _) = self.applied_state().await?;
        // What was saved as committed may have been ahead of what was durable in the log.
        let end = committed.min(last.clone()).next_index();
        let mut first = applied.next_index();
        if first >= end {
            return Ok(applied);
        }
        if first < purged.next_index() {
            let text = format!(
                "Cannot re-apply logs: need logs from index {first}, but purged up to {}",
                purged.index().unwrap_or_default()
            );
            return Err(StorageError::read_logs(C::err_from_string(text)));
        }
        tracing::info!(first, end, "applies committed entries again");
        while first < end {
            let until = end.min(first.saturating_add(REAPPLY_ENTRIES));
            self.reapply_some(reader, first, until).await?;
            first = until;
        }
        let (applied, _) = self.applied_state().await?;
        Ok(applied)
    }

    async fn reapply_some(
        &mut self,
        reader: &mut LS::LogReader,
        first: u64,
        end: u64,
    ) -> Result<(), StorageError<C>> {
        let mut expected = first;
        let entries = reader.entries_stream(first..end).await.map(|entry| -> Result<EntryResponder<C>, _> {
            let entry = entry?;
            if entry.index() != expected {
                return Err(io::Error::other(format!(
                    "log entry {expected} is missing; found {}",
                    entry.index()
                )));
            }
            expected = expected.saturating_add(1);
            Ok((entry, None))
        });
        let applied = self.machine.apply(Box::pin(entries)).await;
        applied.sto_res(|| (ErrorSubject::StateMachine, ErrorVerb::Write))?;
        if expected < end {
            let text = format!("log entry {expected} is missing; it is committed and must be applied again");
            return Err(StorageError::read_log_at_index(expected, C::err_from_string(text)));
        }
        Ok(())
    }

    /// Entries are gone and nothing stands for them: a peer could not be brought up to date.
    async fn build_missing_snapshot(&mut self) -> Result<Option<SnapshotMetaOf<C>>, StorageError<C>> {
        let Some(mut builder) = self.machine.try_create_snapshot_builder(true).await else { return Ok(None) };
        let built = builder.build_snapshot().await;
        let snapshot = built.sto_res(|| (ErrorSubject::Snapshot(None), ErrorVerb::Write))?;
        Ok(Some(snapshot.meta))
    }
}

/// The last log id of each leader in the log.
async fn key_log_ids<C, LR>(
    reader: &mut LR,
    purged: &Option<LogIdOf<C>>,
    last: &Option<LogIdOf<C>>,
) -> Result<Vec<LogIdOf<C>>, StorageError<C>>
where
    C: RaftTypeConfig,
    LR: RaftLogReader<C>,
{
    let first = purged.next_index();
    let Some(last) = last.clone().filter(|last| last.index >= first) else { return Ok(Vec::new()) };
    let first = reader.get_log_id(first).await?;
    let found = reader.get_key_log_ids(first.clone()..=last.clone()).await;
    let found = found.sto_res(|| (ErrorSubject::Logs, ErrorVerb::Read))?;
    let grows = |pair: &[LogIdOf<C>]| match pair {
        [one, next] => one.leader_id < next.leader_id && one.index < next.index,
        _ => true,
    };
    if found.first() < Some(&first) || found.last() != Some(&last) || !found.windows(2).all(grows) {
        let found = List::short(found.iter());
        let text = format!("the log store holds {first} to {last}, and says that its leaders end at {found}");
        return Err(StorageError::read_logs(C::err_from_string(text)));
    }
    Ok(found)
}

fn inverted<C: RaftTypeConfig>(last: &Option<LogIdOf<C>>, other: &Option<LogIdOf<C>>) -> StorageError<C> {
    let text = format!("inverted log order in log store: last log id {last:?} is before {other:?}");
    StorageError::read_logs(C::err_from_string(text))
}

/// What the replica starts from.
pub(crate) fn stored_of<C: RaftTypeConfig>(state: &RaftState<C>) -> Stored<C::LeaderId> {
    let (committed, effective) = (state.membership_state.committed(), state.membership_state.effective());
    Stored {
        vote: Some(state.vote.to_owned_vote()),
        log: state.log_ids.log.clone(),
        applied: state.applied.clone(),
        committed: placed_of::<C>(committed),
        effective: (effective != committed).then(|| placed_of::<C>(effective)),
        snapshot: state.snapshot_meta.last_log_id.clone(),
    }
}

/// The replica's settings out of the node's.
pub(crate) fn options_of(config: &Config) -> Options {
    let millis = Duration::from_millis;
    Options {
        election_timeout_min: millis(config.election_timeout_min),
        election_timeout_max: millis(config.election_timeout_max),
        lease: millis(config.election_timeout_max),
        heartbeat_interval: config.heartbeat_interval(),
        heartbeat_min_interval: millis(config.heartbeat_min_interval.unwrap_or(0)),
        quorum_loss_probe_interval: config.quorum_loss_probe_interval.map(millis),
        pre_vote: config.enable_pre_vote.unwrap_or(false),
        elect: config.enable_elect,
        heartbeat: config.enable_heartbeat,
        restore_leader: config.enable_leader_restore.unwrap_or(true),
        send_unflushed: config.broadcast_submitted_on_append.unwrap_or(false),
        allow_log_reversion: config.allow_log_reversion.unwrap_or(false),
        removed_leader_step_down: match config.removed_leader_step_down {
            StepDownPolicy::Never => None,
            StepDownPolicy::After(after) => Some(millis(after)),
        },
        // A leader whose disk hangs still sends heartbeats: without this, nobody else would ever lead.
        disk_stall_max: Some(millis(config.election_timeout_max).saturating_mul(2)),
        payload_entries_max: config.max_payload_entries,
        write_entries_max: config.max_append_entries.unwrap_or(APPEND_ENTRIES_MAX),
        proposals_together_max: config.api_batch_capacity,
        snapshot_after: match config.snapshot_policy {
            SnapshotPolicy::LogsSinceLast(entries) => Some(entries),
            SnapshotPolicy::Never => None,
        },
        keep_in_log: config.max_in_snapshot_log_to_keep,
        purge_batch: config.purge_batch_size,
        ..Options::default()
    }
}

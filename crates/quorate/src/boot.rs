//! Reads what storage holds, makes good what a crash left half done, and rebuilds the replica from it.

use quorate_core::Options;
use quorate_core::Placed;
use quorate_core::Stored;
use quorate_core::log::Log;

use std::io;
use std::time::Duration;

use futures_util::StreamExt;

use crate::config::Config;
use crate::config::SnapshotPolicy;
use crate::config::StepDownPolicy;
use crate::entry::RaftEntry;
use crate::errors::ErrorSubject;
use crate::errors::ErrorVerb;
use crate::errors::StorageError;
use crate::errors::ToStorageResult;
use crate::host::placed_of;
use crate::log_id::LogIdOptionExt;
use crate::membership::StoredMembership;
use crate::storage::EntryResponder;
use crate::storage::RaftLogReader;
use crate::storage::RaftLogStorage;
use crate::storage::RaftSnapshotBuilder;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::StoredMembershipOf;
use crate::vote::RaftVote;

/// Entries looked at together on the way back through the log.
const SCAN_ENTRIES: u64 = 64;

/// Entries applied again together.
const REAPPLY_ENTRIES: u64 = 64;

/// What a node starts from: for its replica, and the memberships with their nodes' data.
pub(crate) struct Booted<C: RaftTypeConfig> {
    pub(crate) stored: Stored<C::LeaderId>,
    pub(crate) memberships: Vec<StoredMembershipOf<C>>,
}

/// The two stores of a node, while it starts.
pub(crate) struct Boot<'a, C, LS, SM>
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
    SM: RaftStateMachine<C>,
{
    log: &'a mut LS,
    reader: LS::LogReader,
    machine: &'a mut SM,
    applied: Option<LogIdOf<C>>,
    membership: StoredMembershipOf<C>,
}

impl<'a, C, LS, SM> Boot<'a, C, LS, SM>
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
    SM: RaftStateMachine<C>,
{
    /// Opens both stores.
    pub(crate) async fn new(log: &'a mut LS, machine: &'a mut SM) -> Result<Self, StorageError<C>> {
        let reader = log.get_log_reader().await;
        let applied = machine.applied_state().await;
        let (applied, membership) = applied.sto_res(|| (ErrorSubject::StateMachine, ErrorVerb::Read))?;
        Ok(Self { log, reader, machine, applied, membership })
    }

    /// Brings the state machine up to what is known to be committed, and tells what the replica starts from.
    pub(crate) async fn load(mut self) -> Result<Booted<C>, StorageError<C>> {
        let vote = self.reader.read_vote().await.sto_res(|| (ErrorSubject::Vote, ErrorVerb::Read))?;
        let committed = self.log.read_committed().await.sto_res(|| (ErrorSubject::Store, ErrorVerb::Read))?;
        let state = self.log.get_log_state().await.sto_res(|| (ErrorSubject::Logs, ErrorVerb::Read))?;
        let (mut purged, mut last) = (state.last_purged_log_id, state.last_log_id);
        if last < purged {
            return Err(inverted(&last, &purged));
        }
        let snapshot = self.catch_up_by_snapshot().await?;
        self.reapply(committed, &purged, &last).await?;
        let memberships = self.memberships(&purged, &last).await?;
        if last < self.applied
            && let Some(applied) = self.applied.clone()
        {
            if last.index() >= Some(applied.index) {
                return Err(inverted(&last, &self.applied));
            }
            // The log ends before what a snapshot brought: a crash came between its installation and the purge.
            self.log.purge(applied.clone()).await.sto_res(|| (ErrorSubject::Logs, ErrorVerb::Delete))?;
            (purged, last) = (Some(applied.clone()), Some(applied));
        }
        let snapshot = match (snapshot, &purged) {
            (None, Some(_)) => self.build_missing_snapshot().await?,
            (snapshot, _) => snapshot,
        };
        let log = Log::new(purged.clone(), self.runs(&purged, &last).await?);
        let mut placed = memberships.iter().map(placed_of::<C>);
        let committed =
            placed.next().unwrap_or_else(|| Placed::new(None, quorate_core::Membership::default()));
        let effective = placed.next();
        let vote = vote.map(|vote| vote.to_owned_vote());
        let stored = Stored { vote, log, applied: self.applied, committed, effective, snapshot };
        Ok(Booted { stored, memberships })
    }

    /// A snapshot that is newer than the state machine is installed into it. Returns the snapshot's last entry.
    async fn catch_up_by_snapshot(&mut self) -> Result<Option<LogIdOf<C>>, StorageError<C>> {
        let current = self.machine.get_current_snapshot().await;
        let Some(snapshot) = current.sto_res(|| (ErrorSubject::Snapshot(None), ErrorVerb::Read))? else {
            return Ok(None);
        };
        let meta = snapshot.meta;
        if meta.last_log_id > self.applied {
            let installed = self.machine.install_snapshot(&meta, snapshot.snapshot).await;
            installed.sto_res(|| (ErrorSubject::Snapshot(Some(meta.signature())), ErrorVerb::Write))?;
            self.applied = meta.last_log_id.clone();
            self.membership = meta.last_membership;
        }
        Ok(meta.last_log_id)
    }

    /// Entries known to be committed that the state machine has not kept are applied again.
    async fn reapply(
        &mut self,
        committed: Option<LogIdOf<C>>,
        purged: &Option<LogIdOf<C>>,
        last: &Option<LogIdOf<C>>,
    ) -> Result<(), StorageError<C>> {
        // What was saved as committed may have been ahead of what was durable in the log.
        let end = committed.min(last.clone()).next_index();
        let mut first = self.applied.next_index();
        if first >= end {
            return Ok(());
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
            self.reapply_some(first, until).await?;
            first = until;
        }
        let applied = self.machine.applied_state().await;
        (self.applied, self.membership) =
            applied.sto_res(|| (ErrorSubject::StateMachine, ErrorVerb::Read))?;
        Ok(())
    }

    async fn reapply_some(&mut self, first: u64, end: u64) -> Result<(), StorageError<C>> {
        let mut expected = first;
        let entries =
            self.reader.entries_stream(first..end).await.map(|entry| -> Result<EntryResponder<C>, _> {
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

    /// The committed membership, and the one after it that is in the log, if any.
    async fn memberships(
        &mut self,
        purged: &Option<LogIdOf<C>>,
        last: &Option<LogIdOf<C>>,
    ) -> Result<Vec<StoredMembershipOf<C>>, StorageError<C>> {
        let begin = self.applied.next_index().max(purged.next_index());
        let mut found = last_memberships(&mut self.reader, begin, last.next_index()).await?;
        if found.len() < 2 {
            found.insert(0, self.membership.clone());
        }
        Ok(found)
    }

    /// The last log id of each leader in the log.
    async fn runs(
        &mut self,
        purged: &Option<LogIdOf<C>>,
        last: &Option<LogIdOf<C>>,
    ) -> Result<Vec<LogIdOf<C>>, StorageError<C>> {
        let first = purged.next_index();
        let Some(last) = last.clone().filter(|last| last.index >= first) else { return Ok(Vec::new()) };
        let about = || (ErrorSubject::LogIndex(first), ErrorVerb::Read);
        let entries = self.reader.try_get_log_entries(first..=first).await.sto_res(about)?;
        let Some(entry) = entries.first() else {
            return Err(StorageError::read_log_at_index(first, C::err_from_string("log entry not found")));
        };
        let runs = self.reader.get_key_log_ids(entry.log_id()..=last).await;
        runs.sto_res(|| (ErrorSubject::Logs, ErrorVerb::Read))
    }

    /// Entries are gone and nothing stands for them: a peer could not be brought up to date.
    async fn build_missing_snapshot(&mut self) -> Result<Option<LogIdOf<C>>, StorageError<C>> {
        let Some(mut builder) = self.machine.try_create_snapshot_builder(true).await else { return Ok(None) };
        let built = builder.build_snapshot().await;
        let snapshot = built.sto_res(|| (ErrorSubject::Snapshot(None), ErrorVerb::Write))?;
        Ok(snapshot.meta.last_log_id)
    }
}

/// The two newest memberships among the entries from `begin` on, oldest first, looked for from the end.
async fn last_memberships<C, LR>(
    reader: &mut LR,
    begin: u64,
    end: u64,
) -> Result<Vec<StoredMembershipOf<C>>, StorageError<C>>
where
    C: RaftTypeConfig,
    LR: RaftLogReader<C>,
{
    let (mut found, mut end) = (Vec::new(), end);
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

fn inverted<C: RaftTypeConfig>(last: &Option<LogIdOf<C>>, other: &Option<LogIdOf<C>>) -> StorageError<C> {
    let text = format!("inverted log order in log store: last log id {last:?} is before {other:?}");
    StorageError::read_logs(C::err_from_string(text))
}

/// The replica's settings out of the node's.
pub(crate) fn options_of(config: &Config) -> Options {
    let millis = Duration::from_millis;
    Options {
        election_timeout_min: millis(config.election_timeout_min),
        election_timeout_max: millis(config.election_timeout_max),
        lease: millis(config.election_timeout_max),
        heartbeat_interval: millis(config.heartbeat_interval),
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
        snapshot_after: match config.snapshot_policy {
            SnapshotPolicy::LogsSinceLast(entries) => Some(entries),
            SnapshotPolicy::Never => None,
        },
        keep_in_log: config.max_in_snapshot_log_to_keep,
        purge_batch: config.purge_batch_size,
        ..Options::default()
    }
}

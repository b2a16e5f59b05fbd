//! When to build a snapshot, and which entries may go once there is one (thesis §5.1).

use crate::ids::LogId;
use crate::ids::RaftLeaderId;
use crate::log::next_index;
use crate::mutant;
use crate::replica::Replica;
use crate::replica::Role;
use crate::work::Write;

impl<L: RaftLeaderId> Replica<L> {
    /// The policy is asked at every commit: enough entries since the last snapshot, or the last attempt at one?
    pub(crate) fn want_snapshot_by_policy(&mut self) {
        let Some(after) = self.options.snapshot_after else { return };
        let since = next_index(self.snapshot.as_ref()).max(self.snapshot_tried);
        // A policy of no entries at all would build without end.
        let due = next_index(self.committed.as_ref()) >= since.saturating_add(after.max(1));
        self.snapshot_wanted |= due;
    }

    /// Build a snapshot of what is applied, whatever the policy says.
    pub fn snapshot_now(&mut self) {
        self.snapshot_wanted = true;
    }

    pub(crate) fn build_is_due(&self) -> bool {
        self.snapshot_wanted && !self.snapshot_building && self.installing.is_none() && self.applied.is_some()
    }

    /// Whether a snapshot is to be built now. It is built beside everything else; report
    /// [`built`](Self::built) when it is done, or given up.
    pub fn next_build(&mut self) -> bool {
        if !self.build_is_due() {
            return false;
        }
        self.snapshot_wanted = false;
        self.snapshot_building = true;
        self.snapshot_tried = next_index(self.applied.as_ref());
        if mutant!(27) {
            self.snapshot = self.applied.clone();
            self.purge_by_policy();
        }
        true
    }

    /// A snapshot up to `last` is stored, or none was built: `None`.
    pub fn built(&mut self, last: Option<LogId<L::Committed>>) {
        self.snapshot_building = false;
        // A builder that writes the state machine as it is by then may cover entries of which this replica has not
        // heard yet that they are applied. Nothing is purged for its sake until it has.
        if last > self.applied && last <= self.applying {
            self.built_ahead = self.built_ahead.take().max(last);
        } else if last <= self.applied {
            self.take_snapshot(last);
        }
        self.want_snapshot_by_policy();
    }

    /// A snapshot that was built ahead counts from when what it covers is applied.
    pub(crate) fn take_built_ahead(&mut self) {
        if self.built_ahead.is_some() && self.built_ahead <= self.applied {
            let last = self.built_ahead.take();
            self.take_snapshot(last);
        }
    }

    fn take_snapshot(&mut self, last: Option<LogId<L::Committed>>) {
        if last > self.snapshot {
            self.snapshot = last;
            self.purge_by_policy();
        }
    }

    /// What the snapshot covers may go, but for a few entries kept for peers that lag a little.
    fn purge_by_policy(&mut self) {
        let end = next_index(self.snapshot.as_ref()).saturating_sub(self.options.keep_in_log);
        let enough = self.purge_end.saturating_add(self.options.purge_batch.max(1)) <= end;
        if enough {
            self.purge_end = end;
            self.pump_purge();
        }
    }

    /// The operator wants the entries up to `upto` gone; those that no snapshot covers stay.
    pub fn purge(&mut self, upto: u64) {
        let end = upto.saturating_add(1).min(next_index(self.snapshot.as_ref()));
        if end > self.purge_end {
            self.purge_end = end;
            self.pump_purge();
        }
    }

    /// Purges what is scheduled, except what is being read for a peer at this moment.
    ///
    /// No new reading begins below the scheduled end, so this waits for one read per peer at the most.
    pub(crate) fn pump_purge(&mut self) {
        let reading = match &self.role {
            Role::Leader(leader) if !mutant!(68) => {
                leader.peers.values().filter_map(|progress| progress.reading).min()
            }
            _ => None,
        };
        let end = self.purge_end.min(reading.unwrap_or(u64::MAX));
        if end <= self.log.first_index() {
            return;
        }
        if let Some(upto) = self.log.before(end) {
            debug_assert!(
                Some(&upto) <= self.snapshot.as_ref(),
                "I11: only what a snapshot covers is purged"
            );
            self.log.purge(upto.clone());
            self.writes.push_back(Write::Purge { upto });
        }
    }
}

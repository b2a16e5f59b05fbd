//! The shape of the log: which leader proposed which entries, and how far each kind of work has come.

use alloc::collections::VecDeque;

use crate::ids::LogId;
use crate::ids::RaftCommittedLeaderId;
use crate::message::EntryIds;
use crate::mutant;

/// The ids of all entries, kept as one id per leader run, and the ends of the log.
///
/// A run is a stretch of entries proposed by one leader; it is kept as the id of its *last* entry. Leaders along a
/// log only grow, so the list is sorted, and a log of a million entries is a few ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log<C: RaftCommittedLeaderId> {
    purged: Option<LogId<C>>,
    runs: VecDeque<LogId<C>>,
}

impl<C: RaftCommittedLeaderId> Default for Log<C> {
    fn default() -> Self {
        Self { purged: None, runs: VecDeque::new() }
    }
}

impl<C: RaftCommittedLeaderId> Log<C> {
    /// A log whose entries up to `purged` are gone, with the last log id of each leader after that.
    pub fn new(purged: Option<LogId<C>>, last_of_each_leader: impl IntoIterator<Item = LogId<C>>) -> Self {
        let mut log = Self { purged, runs: VecDeque::new() };
        for log_id in last_of_each_leader {
            if Some(&log_id) > log.purged.as_ref() {
                log.extend_to(log_id);
            }
        }
        log
    }

    /// The last entry that was purged: its id is still known, the entry is not.
    pub fn purged(&self) -> Option<&LogId<C>> {
        self.purged.as_ref()
    }

    /// The id of the last entry, purged or not.
    pub fn last(&self) -> Option<&LogId<C>> {
        self.runs.back().or(self.purged.as_ref())
    }

    /// The index after the last entry's.
    pub fn next_index(&self) -> u64 {
        next_index(self.last())
    }

    /// The index of the first entry that can be read.
    pub fn first_index(&self) -> u64 {
        next_index(self.purged())
    }

    /// The last log id of each leader, oldest first.
    pub fn runs(&self) -> impl Iterator<Item = &LogId<C>> {
        self.runs.iter()
    }

    /// The id of the entry at `index`: known for those that can be read, and for the last purged.
    pub fn get(&self, index: u64) -> Option<LogId<C>> {
        if let Some(purged) = &self.purged
            && index <= purged.index
        {
            return (index == purged.index).then(|| purged.clone());
        }
        let at = self.runs.partition_point(|run| run.index < index);
        self.runs.get(at).map(|run| LogId::new(run.leader_id.clone(), index))
    }

    /// Whether the entry with this very id is, or was, in this log.
    ///
    /// Of what was purged only the last id is known; anything below it is taken as present, since only committed
    /// entries are purged.
    pub fn has(&self, log_id: &LogId<C>) -> bool {
        match &self.purged {
            Some(purged) if log_id.index < purged.index => true,
            _ => self.get(log_id.index).as_ref() == Some(log_id),
        }
    }

    /// The id before `index`, or `None` at the start of the log.
    pub fn before(&self, index: u64) -> Option<LogId<C>> {
        index.checked_sub(1).and_then(|index| self.get(index))
    }

    /// Adds entries of one leader up to `last`.
    pub(crate) fn extend_to(&mut self, last: LogId<C>) {
        debug_assert!(self.last().is_none_or(|own| *own < last), "a log only grows upwards");
        match self.runs.back_mut() {
            Some(run) if run.leader_id == last.leader_id => run.index = last.index,
            _ => self.runs.push_back(last),
        }
    }

    /// Drops all entries from `index` on.
    pub(crate) fn truncate_from(&mut self, index: u64) {
        while let Some(run) = self.runs.back()
            && run.index >= index
        {
            let leader_id = run.leader_id.clone();
            self.runs.pop_back();
            let start = next_index(self.last());
            if start < index {
                self.runs.push_back(LogId::new(leader_id, index.saturating_sub(1)));
                return;
            }
        }
    }

    /// Forgets the entries up to `upto`, which may lie beyond the end.
    pub(crate) fn purge(&mut self, upto: LogId<C>) {
        while self.runs.front().is_some_and(|run| run.index <= upto.index) {
            self.runs.pop_front();
        }
        self.purged = Some(upto);
    }

    /// The index of the first of `entries` that this log does not hold with the same id.
    ///
    /// Of what was purged, only the last can be compared; what stands below it is taken as held.
    pub(crate) fn first_missing(&self, entries: &EntryIds<C>) -> Option<u64> {
        if let Some(purged) = &self.purged
            && entries.leader_at(purged.index).is_some_and(|leader_id| *leader_id != purged.leader_id)
        {
            return Some(purged.index);
        }
        let mut index = entries.first_index().max(self.first_index());
        for run in entries.runs() {
            while index <= run.index {
                let at = self.runs.partition_point(|own| own.index < index);
                match self.runs.get(at) {
                    Some(own) if own.leader_id == run.leader_id || mutant!(65) => {
                        index = own.index.min(run.index).saturating_add(1);
                    }
                    _ => return Some(index),
                }
            }
        }
        None
    }
}

/// The index after `log_id`'s; 0 for none.
pub fn next_index<C: RaftCommittedLeaderId>(log_id: Option<&LogId<C>>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index.saturating_add(1))
}

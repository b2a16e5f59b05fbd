//! Where each entry is: a map from index to segment and position, bounded in memory.

use std::collections::VecDeque;

/// At most so many checkpoints are kept; beyond, every other one is dropped (16 bytes each).
const CHECKPOINTS_MAX: usize = 64 * 1024;
/// At first, a checkpoint is kept for each so many bytes of records.
const STRIDE_BYTES: u64 = 64 * 1024;

/// The entries that are in the log, as runs of adjoining indexes.
///
/// A run lies in one segment and has no deleted entries between its own, so an entry is found by
/// walking records from the checkpoint before it.
#[derive(Debug)]
pub(crate) struct Index {
    runs: VecDeque<Run>,
    /// The index that the next entry has, as far as is known.
    next: Option<u64>,
    /// The next entry may have any index: nothing was ever purged, and there is no entry.
    loose: bool,
    purged: Option<u64>,
    /// The next entry begins a new run, since deleted entries lie before it.
    broken: bool,
    stride: u64,
    checkpoints: usize,
}

#[derive(Debug)]
struct Run {
    segment: u64,
    first: u64,
    last: u64,
    /// Ascending; the first is at or before `first`, so there is always one.
    checkpoints: Vec<(u64, u32)>,
}

/// Where to look for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    /// Position in the file of the entry `index`, at or before the one looked for.
    pub(crate) position: u64,
    pub(crate) index: u64,
    /// The last entry of the run.
    pub(crate) last: u64,
}

impl Index {
    /// Nothing yet. `next` is what the log had come to, where its oldest segments are gone: a truncation may reach
    /// back before that, and a purge that follows must not.
    pub(crate) fn new(next: Option<u64>) -> Self {
        Self {
            runs: VecDeque::new(),
            next,
            loose: true,
            purged: None,
            broken: false,
            stride: STRIDE_BYTES,
            checkpoints: 0,
        }
    }

    /// The index that the next entry must have; any if `None`.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next.filter(|_| !self.loose)
    }

    /// What [`Index::new`] is to be given, should the log begin here.
    pub(crate) fn next_known(&self) -> Option<u64> {
        self.next
    }

    pub(crate) fn purged(&self) -> Option<u64> {
        self.purged
    }

    /// The first and last index that is present.
    pub(crate) fn bounds(&self) -> Option<(u64, u64)> {
        Some((self.runs.front()?.first, self.runs.back()?.last))
    }

    /// The oldest segment that holds an entry that is present.
    pub(crate) fn first_segment(&self) -> Option<u64> {
        self.runs.front().map(|run| run.segment)
    }

    /// Adds an entry at the end; the caller has checked it against [`Index::next`].
    pub(crate) fn push(&mut self, index: u64, segment: u64, position: u64) {
        debug_assert!(self.next().is_none_or(|next| next == index), "entries adjoin");
        let at = u32::try_from(position).unwrap_or(u32::MAX);
        self.loose = false;
        self.next = index.checked_add(1);
        let stride = self.stride;
        match self.runs.back_mut() {
            Some(run) if run.segment == segment && !self.broken => {
                run.last = index;
                let far = run
                    .checkpoints
                    .last()
                    .is_none_or(|(_, before)| u64::from(at.saturating_sub(*before)) >= stride);
                if far {
                    run.checkpoints.push((index, at));
                    self.checkpoints = self.checkpoints.saturating_add(1);
                }
            }
            _ => {
                self.runs.push_back(Run {
                    segment,
                    first: index,
                    last: index,
                    checkpoints: vec![(index, at)],
                });
                self.checkpoints = self.checkpoints.saturating_add(1);
            }
        }
        self.broken = false;
        if self.checkpoints > CHECKPOINTS_MAX {
            self.thin();
        }
    }

    /// Deletes all entries from `from` on.
    pub(crate) fn truncate(&mut self, from: u64) {
        let from = self.purged.map_or(from, |purged| from.max(purged.saturating_add(1)));
        if self.next.is_none_or(|next| from >= next) {
            return;
        }
        while self.runs.back().is_some_and(|run| run.first >= from) {
            self.runs.pop_back();
        }
        if let Some(run) = self.runs.back_mut()
            && run.last >= from
        {
            run.last = from.saturating_sub(1);
            run.checkpoints.retain(|(index, _)| *index < from);
        }
        self.broken = !quorate_core::mutant!(90);
        self.next = Some(from);
        // An empty log that never purged may begin anywhere.
        self.loose = self.runs.is_empty() && self.purged.is_none();
        self.count();
    }

    /// Deletes all entries up to and including `upto`.
    pub(crate) fn purge(&mut self, upto: u64) {
        if self.purged.is_some_and(|purged| purged >= upto) {
            return;
        }
        self.purged = Some(upto);
        let first = upto.saturating_add(1);
        while self.runs.front().is_some_and(|run| run.last <= upto) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut()
            && run.first < first
        {
            run.first = first;
            let before = run.checkpoints.partition_point(|(index, _)| *index <= first).saturating_sub(1);
            run.checkpoints.drain(..before);
        }
        self.next = Some(self.next.map_or(first, |next| next.max(first)));
        self.loose = false;
        self.count();
    }

    /// The run that holds `index`, and the checkpoint to walk from.
    pub(crate) fn locate(&self, index: u64) -> Option<Place> {
        let at = self.runs.partition_point(|run| run.last < index);
        let run = self.runs.get(at).filter(|run| run.first <= index)?;
        let before = run.checkpoints.partition_point(|(at, _)| *at <= index).checked_sub(1)?;
        let (start, position) = *run.checkpoints.get(before)?;
        Some(Place { segment: run.segment, position: u64::from(position), index: start, last: run.last })
    }

    /// Drops every other checkpoint, and keeps them half as dense from now on.
    fn thin(&mut self) {
        self.stride = self.stride.saturating_mul(2);
        for run in &mut self.runs {
            let mut keep = false;
            run.checkpoints.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.count();
    }

    fn count(&mut self) {
        self.checkpoints = self.runs.iter().map(|run| run.checkpoints.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(range: std::ops::Range<u64>) -> Index {
        let mut index = Index::new(None);
        for i in range {
            index.push(i, 1 + i / 100, (i % 100) * 10_000);
        }
        index
    }

    #[test]
    fn entries_are_found_from_the_checkpoint_before_them() {
        let index = filled(0..250);
        assert_eq!(index.bounds(), Some((0, 249)));
        let place = index.locate(120).unwrap();
        assert_eq!((place.segment, place.last), (2, 199));
        assert!(place.index <= 120 && place.index > 110);
        assert_eq!(place.position, (place.index % 100) * 10_000);
        assert_eq!(index.locate(250), None);
    }

    #[test]
    fn truncation_begins_a_new_run_and_purge_drops_whole_ones() {
        let mut index = filled(0..250);
        index.truncate(205);
        assert_eq!((index.bounds(), index.next()), (Some((0, 204)), Some(205)));
        index.push(205, 3, 900_000);
        assert_eq!(index.locate(205).unwrap().position, 900_000);
        assert_eq!(index.locate(204).unwrap().last, 204);
        index.purge(150);
        assert_eq!((index.bounds(), index.first_segment()), (Some((151, 205)), Some(2)));
        assert_eq!(index.locate(150), None);
        assert!(index.locate(151).unwrap().index <= 151);
        index.purge(1000);
        assert_eq!((index.bounds(), index.next(), index.purged()), (None, Some(1001), Some(1000)));
        index.truncate(0);
        assert_eq!(index.next(), Some(1001), "what is purged stays purged");
    }

    #[test]
    fn an_emptied_log_may_begin_anywhere_unless_it_was_purged() {
        let mut index = filled(5..9);
        index.truncate(0);
        assert_eq!((index.bounds(), index.next()), (None, None));
        index.purge(3);
        assert_eq!(index.next(), Some(4));
    }

    #[test]
    fn a_log_whose_beginning_is_gone_comes_to_the_same_next_entry() {
        let (mut whole, mut rest) = (filled(0..50), Index::new(Some(50)));
        for index in [&mut whole, &mut rest] {
            index.push(50, 2, 0);
            index.truncate(45);
            index.purge(40);
            assert_eq!(index.next(), Some(45));
            index.push(45, 2, 100);
            index.truncate(42);
            index.purge(41);
            assert_eq!((index.next(), index.next_known()), (Some(42), Some(42)));
        }
        let mut emptied = filled(5..9);
        emptied.truncate(5);
        let mut rest = Index::new(emptied.next_known());
        emptied.purge(3);
        rest.purge(3);
        assert_eq!((emptied.next(), rest.next()), (Some(5), Some(5)));
    }

    #[test]
    fn memory_stays_bounded_by_thinning() {
        let mut index = Index::new(None);
        for i in 0..200_000u64 {
            index.push(i, i / 1000, (i % 1000) * STRIDE_BYTES);
        }
        assert!(index.checkpoints <= CHECKPOINTS_MAX);
        for i in [0, 1, 999, 1000, 123_456, 199_999] {
            let place = index.locate(i).unwrap();
            assert!(place.index <= i && place.last >= i);
            assert_eq!(place.position, (place.index % 1000) * STRIDE_BYTES);
        }
    }
}

//! When each entry reached each stage of its life, kept for ranges of entries: batches move together.

use std::collections::VecDeque;
use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;
use std::ops::Range;
use std::time::Duration;

use base2histogram::Histogram;

use crate::runtime::Instant;

/// A stage in the life of an entry, in the order in which entries reach them.
///
/// An entry may be committed, and applied, before this node's own disk has it: then its persistence counts as zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// A client called, or a leader's request came in.
    Proposed,
    /// It has its log id.
    Received,
    /// It was handed to the log store.
    Submitted,
    /// The log store called it durable.
    Persisted,
    /// It is committed, as far as this node knows.
    Committed,
    /// The state machine has it.
    Applied,
}

impl Stage {
    /// How many stages there are.
    pub const COUNT: usize = 6;

    const ALL: [Self; Self::COUNT] =
        [Self::Proposed, Self::Received, Self::Submitted, Self::Persisted, Self::Committed, Self::Applied];
}

/// Entries that share the same moments: `values[i]` is when all of `range` reached stage `i`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeValues<Bound, V, const N: usize> {
    /// The indexes of the entries, the end exclusive.
    pub range: Range<Bound>,
    /// One value a stage, in the order of the stages.
    pub values: [V; N],
}

/// The moments of one stage: the entries up to `end`, from where the mark before ends, reached it at `at`.
#[derive(Debug, Clone)]
struct Mark<I> {
    end: u64,
    at: I,
}

/// One stage's newest marks.
#[derive(Debug, Clone)]
struct Marks<I> {
    /// Where the oldest mark begins.
    begin: u64,
    marks: VecDeque<Mark<I>>,
}

impl<I: Copy> Marks<I> {
    fn end(&self) -> u64 {
        self.marks.back().map_or(self.begin, |mark| mark.end)
    }

    fn record(&mut self, end: u64, at: I, capacity: usize) {
        if end <= self.end() {
            return;
        }
        if self.marks.len() >= capacity
            && let Some(oldest) = self.marks.pop_front()
        {
            self.begin = oldest.end;
        }
        self.marks.push_back(Mark { end, at });
    }

    /// Forgets the entries from `end` on.
    fn truncate(&mut self, end: u64) {
        while self.marks.back().is_some_and(|last| last.end > end) {
            let start = self.marks.iter().nth_back(1).map_or(self.begin, |mark| mark.end);
            match self.marks.back_mut() {
                Some(last) if start < end => last.end = end,
                _ => drop(self.marks.pop_back()),
            }
        }
        self.begin = self.begin.min(end);
    }

    /// The range with its moment that `index` belongs to.
    fn find(&self, index: u64) -> Option<(Range<u64>, I)> {
        if index < self.begin {
            return None;
        }
        let at = self.marks.partition_point(|mark| mark.end <= index);
        let mark = self.marks.get(at)?;
        let start = match at.checked_sub(1).and_then(|before| self.marks.get(before)) {
            Some(before) => before.end,
            None => self.begin,
        };
        Some((start..mark.end, mark.at))
    }
}

/// When the newest entries reached each [`Stage`]: at most `log_stage_capacity` ranges a stage
/// (see [`Config`](crate::Config)), so its size has a bound.
#[derive(Debug, Clone)]
pub struct LogStages<I: Instant> {
    stages: [Marks<I>; Stage::COUNT],
    capacity: usize,
}

impl<I: Instant> LogStages<I> {
    /// Nothing known yet; `next` is the first index that will be recorded.
    pub(crate) fn new(next: u64, capacity: usize) -> Self {
        let stages = Stage::ALL.map(|_| Marks { begin: next, marks: VecDeque::new() });
        Self { stages, capacity: capacity.max(1) }
    }

    /// All entries before `end` have reached `stage` by now; those that are known to have stay as they are.
    pub(crate) fn record(&mut self, stage: Stage, end: u64, at: I) {
        let capacity = self.capacity;
        if let Some(marks) = self.stages.get_mut(stage as usize) {
            marks.record(end, at, capacity);
        }
    }

    /// The entries from `end` on were taken back.
    pub(crate) fn truncate(&mut self, end: u64) {
        self.stages.iter_mut().for_each(|marks| marks.truncate(end));
    }

    /// Forgets all; `next` is the first index that will be recorded.
    pub(crate) fn restart(&mut self, next: u64) {
        *self = Self::new(next, self.capacity);
    }

    /// The entries that have been through all stages, oldest first, in ranges that share all their moments.
    pub fn segments(&self) -> impl Iterator<Item = RangeValues<u64, I, { Stage::COUNT }>> + '_ {
        let mut next = self.stages.iter().map(|marks| marks.begin).max().unwrap_or_default();
        std::iter::from_fn(move || {
            let begin = next;
            let [proposed, received, submitted, persisted, committed, applied] =
                self.stages.each_ref().map(|marks| marks.find(begin));
            let found = [proposed?, received?, submitted?, persisted?, committed?, applied?]
                .map(|(range, at)| (range.end, at));
            next = found.iter().map(|(end, _)| *end).min()?;
            Some(RangeValues { range: begin..next, values: found.map(|(_, at)| at) })
        })
    }

    /// How long the stages took, one sample per entry, in microseconds.
    pub fn compute_histograms(&self) -> LogStageHistograms {
        let mut histograms = LogStageHistograms::default();
        for RangeValues { range, values } in self.segments() {
            let count = range.end.saturating_sub(range.start);
            let [proposed, received, submitted, persisted, committed, applied] = values;
            let spans = [
                (&mut histograms.proposed_to_received, proposed, received),
                (&mut histograms.received_to_submitted, received, submitted),
                (&mut histograms.submitted_to_persisted, submitted, persisted),
                (&mut histograms.persisted_to_committed, persisted, committed),
                (&mut histograms.committed_to_applied, committed, applied),
                (&mut histograms.proposed_to_applied, proposed, applied),
            ];
            for (histogram, from, to) in spans {
                histogram.record_n(micros(to.saturating_duration_since(from)), count);
            }
        }
        histograms
    }

    /// One line a range: its indexes, and the microseconds from each stage to the next.
    pub fn display_lines(&self) -> impl Iterator<Item = String> + '_ {
        self.segments().map(|segment| segment.to_string())
    }
}

impl<I: Instant> Display for LogStages<I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.segments().try_for_each(|segment| writeln!(f, "{segment}"))
    }
}

impl<I: Instant> Display for RangeValues<u64, I, { Stage::COUNT }> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Range { start, end } = &self.range;
        write!(f, "[{start}, {end}):")?;
        let names = ["received", "submitted", "persisted", "committed", "applied"];
        for (name, (from, to)) in names.iter().zip(self.values.iter().zip(self.values.iter().skip(1))) {
            write!(f, " {name} +{}us", micros(to.saturating_duration_since(*from)))?;
        }
        Ok(())
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// How long entries took from stage to stage: one sample an entry, in microseconds.
#[derive(Debug, Clone, Default)]
pub struct LogStageHistograms {
    /// Waiting for the node to take the proposal.
    pub proposed_to_received: Histogram,
    /// Waiting to be handed to the log store.
    pub received_to_submitted: Histogram,
    /// Being made durable.
    pub submitted_to_persisted: Histogram,
    /// Waiting for a quorum.
    pub persisted_to_committed: Histogram,
    /// Waiting for the state machine, and its work.
    pub committed_to_applied: Histogram,
    /// All of it.
    pub proposed_to_applied: Histogram,
}

impl Display for LogStageHistograms {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let named = [
            ("proposed_to_received", &self.proposed_to_received),
            ("received_to_submitted", &self.received_to_submitted),
            ("submitted_to_persisted", &self.submitted_to_persisted),
            ("persisted_to_committed", &self.persisted_to_committed),
            ("committed_to_applied", &self.committed_to_applied),
            ("proposed_to_applied", &self.proposed_to_applied),
        ];
        for (at, (name, histogram)) in named.into_iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{name}: {}", histogram.percentile_stats())?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is what is expected")]
mod tests {
    use std::time::Instant;

    use super::*;

    fn at(origin: Instant, ms: u64) -> Instant {
        origin + Duration::from_millis(ms)
    }

    /// Entries 5 and 6 proposed apart, stored and committed together, applied apart.
    fn two_entries(origin: Instant) -> LogStages<Instant> {
        let mut stages = LogStages::new(5, 16);
        stages.record(Stage::Proposed, 6, at(origin, 0));
        stages.record(Stage::Proposed, 7, at(origin, 1));
        for (stage, ms) in
            [(Stage::Received, 1), (Stage::Submitted, 2), (Stage::Persisted, 4), (Stage::Committed, 7)]
        {
            stages.record(stage, 7, at(origin, ms));
        }
        stages.record(Stage::Applied, 6, at(origin, 11));
        stages
    }

    #[test]
    fn ranges_are_cut_where_any_stage_is() {
        let origin = Instant::now();
        let mut stages = two_entries(origin);
        let ranges = |stages: &LogStages<Instant>| stages.segments().map(|s| s.range).collect::<Vec<_>>();
        assert_eq!(ranges(&stages), [5..6], "entry 6 is not applied yet");
        stages.record(Stage::Applied, 7, at(origin, 16));
        assert_eq!(ranges(&stages), [5..6, 6..7]);
        assert_eq!(
            stages.display_lines().next().unwrap(),
            "[5, 6): received +1000us submitted +1000us persisted +2000us committed +3000us applied +4000us"
        );
    }

    #[test]
    fn each_entry_is_one_sample() {
        let origin = Instant::now();
        let mut stages = two_entries(origin);
        stages.record(Stage::Applied, 7, at(origin, 16));
        let histograms = stages.compute_histograms();
        assert_eq!(histograms.proposed_to_applied.total(), 2);
        assert_eq!(histograms.submitted_to_persisted.total(), 2);
    }

    #[test]
    fn a_stage_that_was_reached_is_not_reached_again() {
        let origin = Instant::now();
        let mut stages = two_entries(origin);
        stages.record(Stage::Applied, 6, at(origin, 99));
        assert_eq!(stages.segments().next().unwrap().values[5], at(origin, 11));
    }

    #[test]
    fn entries_taken_back_are_forgotten() {
        let origin = Instant::now();
        let mut stages = two_entries(origin);
        stages.truncate(6);
        stages.record(Stage::Applied, 7, at(origin, 16));
        assert_eq!(stages.segments().map(|s| s.range).collect::<Vec<_>>(), [5..6]);
        // Written anew, it has new moments.
        for stage in [Stage::Proposed, Stage::Received, Stage::Submitted, Stage::Persisted, Stage::Committed]
        {
            stages.record(stage, 7, at(origin, 20));
        }
        assert_eq!(stages.segments().map(|s| s.range).collect::<Vec<_>>(), [5..6, 6..7]);
        stages.truncate(0);
        assert_eq!(stages.segments().count(), 0);
    }

    #[test]
    fn the_oldest_go_when_the_ring_is_full() {
        let origin = Instant::now();
        let mut stages = LogStages::new(1, 2);
        for index in 1..=4 {
            for stage in Stage::ALL {
                stages.record(stage, index + 1, at(origin, index));
            }
        }
        assert_eq!(stages.segments().map(|s| s.range).collect::<Vec<_>>(), [3..4, 4..5]);
    }
}

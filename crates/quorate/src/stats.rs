//! What a node did and how long it took (feature `runtime-stats`).
//!
//! Counted all the time, at the price of one short lock a step and a look at the clock a write; taken by
//! [`Raft::runtime_stats`](crate::Raft::runtime_stats).

use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;

pub use base2histogram::Histogram;
pub use base2histogram::PercentileStats;

pub use crate::counting::CommandName;
pub use crate::counting::ExternalCommandName;
pub use crate::counting::NotificationName;
pub use crate::counting::RaftMsgName;
pub use crate::counting::SMCommandName;
pub use crate::log_stages::LogStageHistograms;
pub use crate::log_stages::LogStages;
pub use crate::log_stages::RangeValues;
pub use crate::log_stages::Stage;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::InstantOf;

/// Ranges kept for each stage where the configuration names no number.
const LOG_STAGE_CAPACITY: usize = 1024;

/// Counts and distributions since the node started.
///
/// The histograms of sizes have one sample a batch; those of [`log_stage_histograms`](Self::log_stage_histograms) one
/// an entry, in microseconds. A caller's own task steps the node, so there is no queue of messages with a budget: the
/// histograms of budgets and their usage are part of the contract and stay empty.
#[derive(Debug, Clone)]
pub struct RuntimeStats<C: RaftTypeConfig> {
    /// Entries applied at once.
    pub apply_batch: Histogram,
    /// Entries handed to the log store at once.
    pub append_batch: Histogram,
    /// Entries sent to a peer in one request.
    pub replicate_batch: Histogram,
    /// Messages handled at once.
    pub raft_msg_per_run: Histogram,
    /// Clients' entries handed to the log store at once.
    pub write_batch: Histogram,
    /// Always empty.
    pub raft_msg_budget: Histogram,
    /// Always empty.
    pub notification_budget: Histogram,
    /// Always empty.
    pub raft_msg_usage_permille: Histogram,
    /// Always empty.
    pub notification_usage_permille: Histogram,
    /// How often each [`CommandName`] was done, by its `index()`.
    pub command_counts: Vec<u64>,
    /// How often each [`RaftMsgName`] came in, by its `index()`.
    pub raft_msg_counts: Vec<u64>,
    /// How often each [`NotificationName`] was told, by its `index()`.
    pub notification_counts: Vec<u64>,
    /// When the newest entries reached each stage.
    pub log_stage: LogStages<InstantOf<C>>,
    /// How long the stages took, as of the last [`build_log_stage_histograms`](Self::build_log_stage_histograms).
    pub log_stage_histograms: LogStageHistograms,
}

impl<C: RaftTypeConfig> Default for RuntimeStats<C> {
    fn default() -> Self {
        Self::new(0, None)
    }
}

impl<C: RaftTypeConfig> RuntimeStats<C> {
    /// Nothing counted yet; `next` is the index of the next entry.
    pub(crate) fn new(next: u64, log_stage_capacity: Option<u64>) -> Self {
        let capacity = log_stage_capacity.map_or(LOG_STAGE_CAPACITY, |capacity| capacity as usize);
        Self {
            apply_batch: Histogram::new(),
            append_batch: Histogram::new(),
            replicate_batch: Histogram::new(),
            raft_msg_per_run: Histogram::new(),
            write_batch: Histogram::new(),
            raft_msg_budget: Histogram::new(),
            notification_budget: Histogram::new(),
            raft_msg_usage_permille: Histogram::new(),
            notification_usage_permille: Histogram::new(),
            command_counts: vec![0; CommandName::COUNT],
            raft_msg_counts: vec![0; RaftMsgName::COUNT],
            notification_counts: vec![0; NotificationName::COUNT],
            log_stage: LogStages::new(next, capacity),
            log_stage_histograms: LogStageHistograms::default(),
        }
    }

    /// Counts one thing done.
    pub fn record_command(&mut self, name: CommandName) {
        count(&mut self.command_counts, name.index());
    }

    /// Counts one thing asked.
    pub fn record_raft_msg(&mut self, name: RaftMsgName) {
        self.raft_msg_per_run.record(1);
        count(&mut self.raft_msg_counts, name.index());
    }

    /// Counts one thing told.
    pub fn record_notification(&mut self, name: NotificationName) {
        count(&mut self.notification_counts, name.index());
    }

    /// All entries before `end` have reached `stage` at `at`.
    pub fn record_log_stage(&mut self, stage: Stage, end: u64, at: InstantOf<C>) {
        self.log_stage.record(stage, end, at);
    }

    /// All entries before `end` have reached `stage` by now.
    pub fn record_log_stage_now(&mut self, stage: Stage, end: u64) {
        self.record_log_stage(stage, end, C::now());
    }

    /// Brings [`log_stage_histograms`](Self::log_stage_histograms) up to date with [`log_stage`](Self::log_stage).
    pub fn build_log_stage_histograms(&mut self) {
        self.log_stage_histograms = self.log_stage.compute_histograms();
    }

    /// For people: on one line until told otherwise.
    pub fn display(&self) -> RuntimeStatsDisplay<C> {
        RuntimeStatsDisplay { stats: self.clone(), mode: DisplayMode::Compact }
    }
}

fn count(counts: &mut [u64], index: usize) {
    if let Some(count) = counts.get_mut(index) {
        *count = count.saturating_add(1);
    }
}

/// How [`RuntimeStatsDisplay`] shows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DisplayMode {
    /// On one line.
    #[default]
    Compact,
    /// One line a distribution, and one a group of counts.
    Multiline,
    /// A heading a group, one line an item, what was never counted left out.
    HumanReadable,
}

/// [`RuntimeStats`] as text.
#[derive(Debug, Clone)]
#[must_use = "it shows itself when it is formatted"]
pub struct RuntimeStatsDisplay<C: RaftTypeConfig> {
    stats: RuntimeStats<C>,
    mode: DisplayMode,
}

impl<C: RaftTypeConfig> RuntimeStatsDisplay<C> {
    /// On one line.
    pub fn compact(self) -> Self {
        self.mode(DisplayMode::Compact)
    }

    /// One line a distribution, and one a group of counts.
    pub fn multiline(self) -> Self {
        self.mode(DisplayMode::Multiline)
    }

    /// A heading a group, one line an item, what was never counted left out.
    pub fn human_readable(self) -> Self {
        self.mode(DisplayMode::HumanReadable)
    }

    /// In this way.
    pub fn mode(mut self, mode: DisplayMode) -> Self {
        self.mode = mode;
        self
    }

    fn sizes(&self) -> [(&'static str, &Histogram); 5] {
        let stats = &self.stats;
        [
            ("apply_batch", &stats.apply_batch),
            ("append_batch", &stats.append_batch),
            ("replicate_batch", &stats.replicate_batch),
            ("write_batch", &stats.write_batch),
            ("raft_msg_per_run", &stats.raft_msg_per_run),
        ]
    }

    fn counts(&self) -> [(&'static str, Vec<(&'static str, u64)>); 3] {
        fn named<T>(all: &[T], name: fn(&T) -> &'static str, counts: &[u64]) -> Vec<(&'static str, u64)> {
            all.iter().map(name).zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
        }
        let stats = &self.stats;
        [
            ("commands", named(CommandName::ALL, CommandName::as_str, &stats.command_counts)),
            ("messages", named(RaftMsgName::ALL, RaftMsgName::as_str, &stats.raft_msg_counts)),
            (
                "notifications",
                named(NotificationName::ALL, NotificationName::as_str, &stats.notification_counts),
            ),
        ]
    }
}

impl<C: RaftTypeConfig> Display for RuntimeStatsDisplay<C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (between, item, heading) = match self.mode {
            DisplayMode::Compact => (", ", " ", ""),
            DisplayMode::Multiline => ("\n", " ", ""),
            DisplayMode::HumanReadable => ("\n", "\n  ", "\n"),
        };
        let mut separator = "";
        for (name, histogram) in self.sizes() {
            if histogram.total() > 0 || self.mode != DisplayMode::HumanReadable {
                write!(f, "{separator}{name}:{item}{}", histogram.percentile_stats())?;
                separator = between;
            }
        }
        for (name, counts) in self.counts() {
            write!(f, "{separator}{heading}{name}:")?;
            for (name, count) in counts {
                write!(f, "{item}{name}={count}")?;
            }
            separator = between;
        }
        write!(f, "{separator}{heading}log_stage_us:{item}{}", self.stats.log_stage_histograms)
    }
}

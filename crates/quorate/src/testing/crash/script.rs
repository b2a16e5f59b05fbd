//! What the suite has a store do, and what the store may hold after a crash in the midst of it.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::entry::RaftEntry;
use crate::log_id::LogIdOptionExt;
use crate::runtime::OneshotSender;
use crate::storage::IOFlushed;
use crate::storage::RaftLogReader;
use crate::storage::RaftLogStorage;
use crate::testing::crash::StoreOpener;
use crate::testing::log_id;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::OneshotReceiverOf;
use crate::type_config::alias::VoteOf;
use crate::vote::RaftLeaderId;
use crate::vote::RaftVote;

/// How long a store may take to call back.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node that writes all entries.
const NODE: u64 = 1;

/// One call of the store.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Saves a vote: term, node, and whether a quorum granted it.
    Vote(u64, u64, bool),
    /// Appends entries of a term: the first index, how many, and about how many bytes each has. The callback is not
    /// waited for.
    Append(u64, u64, u64, usize),
    /// Waits for the callbacks of all appends.
    Settle,
    /// Removes what is behind an entry, given by its term and index, or everything.
    Truncate(Option<(u64, u64)>),
    /// Purges up to an entry, given by its term and index.
    Purge(u64, u64),
    /// Saves what is committed: a term and an index.
    Committed(u64, u64),
}

use Step::Append;
use Step::Committed;
use Step::Purge;
use Step::Settle;
use Step::Truncate;
use Step::Vote;

/// What is run, each script on an empty store.
#[rustfmt::skip]
pub(super) const SCRIPTS: &[(&str, &[Step])] = &[
    ("votes", &[Vote(1, 1, false), Vote(1, 1, true), Vote(2, 3, false), Vote(4, 2, true)]),
    (
        "appends",
        &[
            Append(1, 0, 1, 10), Settle, Append(1, 1, 3, 100), Settle, Append(2, 4, 1, 9000), Settle,
            Append(2, 5, 4, 700), Settle,
        ],
    ),
    (
        "appends_in_flight",
        &[
            Append(1, 0, 2, 10), Append(1, 2, 3, 900), Append(1, 5, 1, 10), Append(2, 6, 2, 3000), Settle,
            Append(2, 8, 1, 10), Vote(3, 1, false), Append(2, 9, 1, 2000), Committed(2, 7), Append(2, 10, 1, 10),
        ],
    ),
    (
        "truncations",
        &[
            Append(1, 0, 10, 300), Settle, Truncate(Some((1, 6))), Append(2, 7, 2, 500), Settle,
            Append(2, 9, 3, 100), Truncate(Some((2, 8))), Append(3, 9, 1, 100), Settle, Truncate(Some((1, 0))),
            Append(5, 1, 2, 100), Settle, Truncate(None), Append(6, 0, 3, 100), Settle,
        ],
    ),
    (
        "purges",
        &[
            Append(1, 0, 8, 300), Settle, Purge(1, 2), Append(1, 8, 2, 300), Settle, Purge(1, 5), Purge(1, 9),
            Append(2, 10, 3, 300), Settle, Purge(3, 20), Append(4, 21, 2, 300), Settle,
        ],
    ),
    (
        "committed",
        &[
            Append(1, 0, 4, 50), Settle, Committed(1, 1), Append(1, 4, 2, 50), Settle, Committed(1, 4),
            Truncate(Some((1, 4))), Append(2, 5, 1, 50), Settle, Committed(2, 5),
        ],
    ),
    (
        "everything",
        &[
            Vote(1, 1, false), Vote(1, 1, true), Append(1, 0, 5, 3000), Append(1, 5, 5, 6000), Settle,
            Committed(1, 3), Append(1, 10, 4, 9000), Purge(1, 4), Vote(2, 2, false), Truncate(Some((1, 11))),
            Append(2, 12, 6, 4000), Settle, Committed(2, 12), Purge(1, 11), Append(2, 18, 2, 10), Settle,
            Truncate(Some((2, 12))), Vote(5, 1, true), Append(5, 13, 3, 9000), Append(5, 16, 1, 10), Settle,
            Purge(5, 14), Append(5, 17, 1, 10), Settle,
        ],
    ),
];

/// What a log holds: the last purged entry, and the entries with their text.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Held<C: RaftTypeConfig> {
    purged: Option<LogIdOf<C>>,
    entries: Vec<(LogIdOf<C>, String)>,
}

impl<C: RaftTypeConfig> Held<C> {
    /// The index behind the last entry.
    pub(super) fn end(&self) -> u64 {
        self.entries.last().map(|(id, _)| id).or(self.purged.as_ref()).cloned().next_index()
    }

    fn show(&self) -> String {
        let entries = match (self.entries.first(), self.entries.last()) {
            (Some((first, _)), Some((last, _))) => {
                format!("entries {first} to {last}")
            }
            _ => "no entries".to_string(),
        };
        self.purged.as_ref().map_or(entries.clone(), |purged| format!("{entries}, purged up to {purged}"))
    }
}

/// All that a store shows when it is opened.
pub(super) struct Found<C: RaftTypeConfig> {
    vote: Option<VoteOf<C>>,
    committed: Option<LogIdOf<C>>,
    pub(super) held: Held<C>,
}

impl<C: RaftTypeConfig> Found<C> {
    /// Reads it all, and sees that it fits together.
    pub(super) async fn read<LS: RaftLogStorage<C>>(store: &mut LS) -> Result<Self, String> {
        let failed = |what: &str| {
            let what = what.to_string();
            move |error: io::Error| format!("{what} cannot be read: {error}")
        };
        let mut reader = store.get_log_reader().await;
        let vote = reader.read_vote().await.map_err(failed("the vote"))?;
        let committed = store.read_committed().await.map_err(failed("what is committed"))?;
        let state = store.get_log_state().await.map_err(failed("the state of the log"))?;
        let entries = reader.try_get_log_entries(..).await.map_err(failed("the entries"))?;
        let held = Held { purged: state.last_purged_log_id, entries: texts::<C>(&entries) };
        let first = held.purged.next_index();
        for ((id, _), index) in held.entries.iter().zip(first..) {
            if id.index != index {
                return Err(format!("there is a hole: index {index} is due in the log, and there is {id}"));
            }
        }
        let last = held.entries.last().map(|(id, _)| id.clone()).or(held.purged.clone());
        if last != state.last_log_id {
            let (says, is) = (shown(&state.last_log_id), shown(&last));
            return Err(format!("the log says that it ends with {says}, and it ends with {is}"));
        }
        Ok(Self { vote, committed, held })
    }
}

/// One version of a value: from when on it may be on the disk, and from when on it must be.
struct Version<T> {
    begun: usize,
    /// `usize::MAX` for never.
    done: Arc<AtomicUsize>,
    value: T,
}

/// All versions of a value, oldest first. What was there before is version 0, or the first that is kept.
struct Versions<T> {
    all: Vec<Version<T>>,
    last: T,
}

impl<T: Clone + PartialEq> Versions<T> {
    fn new(first: T) -> Self {
        Self { all: vec![Version { begun: 0, done: Arc::default(), value: first.clone() }], last: first }
    }

    fn push(&mut self, begun: usize, value: T) -> Arc<AtomicUsize> {
        let done = Arc::new(AtomicUsize::new(usize::MAX));
        self.last = value.clone();
        self.all.push(Version { begun, done: done.clone(), value });
        done
    }

    /// What may have reached the disk within `now` changes.
    fn begun(&self, now: usize) -> &[Version<T>] {
        let until = self.all.partition_point(|version| version.begun < now).max(1);
        self.all.get(..until).unwrap_or_default()
    }

    /// What may be there after `now` changes: the last version that is done, and those begun behind it.
    fn possible(&self, now: usize) -> &[Version<T>] {
        let from =
            self.all.iter().rposition(|version| version.done.load(Ordering::SeqCst) <= now).unwrap_or(0);
        // What is done without any change is done all the same.
        let until = self.begun(now).len().max(from.saturating_add(1));
        self.all.get(from..until).unwrap_or_default()
    }
}

/// What was written to a log. A purge may become durable late: the entries come back, and nothing else.
#[derive(Clone, PartialEq, Eq)]
struct Written<C: RaftTypeConfig> {
    /// What is purged for good: entries behind it could not follow those before it.
    floor: Option<LogIdOf<C>>,
    /// Other purges.
    purges: Vec<LogIdOf<C>>,
    /// All behind the floor, purged or not.
    entries: Vec<(LogIdOf<C>, String)>,
}

impl<C: RaftTypeConfig> Written<C> {
    fn purge(&mut self, upto: LogIdOf<C>) {
        if self.entries.last().is_some_and(|(last, _)| last.index >= upto.index) {
            self.purges.push(upto);
        } else {
            *self = Self { floor: Some(upto), purges: Vec::new(), entries: Vec::new() };
        }
    }

    /// What the log holds if it is purged up to there; none if it never was.
    fn purged_to(&self, purged: &Option<LogIdOf<C>>) -> Option<Held<C>> {
        let was = *purged == self.floor || self.purges.iter().any(|upto| Some(upto) == purged.as_ref());
        let first = purged.next_index();
        let entries = self.entries.iter().filter(|(id, _)| id.index >= first).cloned();
        was.then(|| Held { purged: purged.clone(), entries: entries.collect() })
    }

    /// What the log holds when every purge is durable.
    fn held(&self) -> Held<C> {
        let purged = self.purges.last().or(self.floor.as_ref()).cloned();
        self.purged_to(&purged).unwrap_or(Held { purged, entries: Vec::new() })
    }
}

fn texts<C: RaftTypeConfig>(entries: &[C::Entry]) -> Vec<(LogIdOf<C>, String)> {
    entries.iter().map(|entry| (entry.log_id(), format!("{entry:?}"))).collect()
}

/// What was done to a store, and when.
pub(super) struct History<C: RaftTypeConfig> {
    votes: Versions<Option<VoteOf<C>>>,
    committed: Versions<Option<LogIdOf<C>>>,
    logs: Versions<Written<C>>,
    appends: Vec<OneshotReceiverOf<C, io::Result<()>>>,
}

/// Tells how many changes the disk has seen.
pub(super) type Clock = Arc<dyn Fn() -> usize + Send + Sync>;

impl<C> History<C>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
    C::Node: Default,
{
    /// Nothing was done to an empty store.
    pub(super) fn new() -> Self {
        Self::since(Found { vote: None, committed: None, held: Held { purged: None, entries: Vec::new() } })
    }

    /// Nothing was done to a store in which this was found.
    pub(super) fn since(found: Found<C>) -> Self {
        Self {
            votes: Versions::new(found.vote),
            committed: Versions::new(found.committed),
            logs: Versions::new(Written {
                floor: found.held.purged,
                purges: Vec::new(),
                entries: found.held.entries,
            }),
            appends: Vec::new(),
        }
    }

    /// Whether the callbacks of all appends were waited for.
    pub(super) fn is_settled(&self) -> bool {
        self.appends.is_empty()
    }

    /// Does one step, and notes when it was begun and done.
    pub(super) async fn take<LS, O>(
        &mut self,
        step: Step,
        store: &mut LS,
        opener: &O,
        clock: &Clock,
    ) -> io::Result<()>
    where
        LS: RaftLogStorage<C>,
        O: StoreOpener<C, LS>,
    {
        let id = |term: u64, index: u64| log_id::<C>(term, NODE.into(), index);
        let begun = clock();
        let mut written = self.logs.last.clone();
        let done = match step {
            Vote(term, node, committed) => {
                let leader_id = C::LeaderId::new(term.into(), node.into());
                let vote = VoteOf::<C>::from_leader_id(leader_id, committed);
                let done = self.votes.push(begun, Some(vote.clone()));
                store.save_vote(&vote).await?;
                done
            }
            Committed(term, index) => {
                // It need not be durable, ever.
                self.committed.push(begun, Some(id(term, index)));
                return store.save_committed(Some(id(term, index))).await;
            }
            Settle => return self.settle().await,
            Append(term, first, count, bytes) => {
                let entries: Vec<_> =
                    (0..count).map(|nth| opener.entry(id(term, first + nth), bytes)).collect();
                written.entries.extend(texts::<C>(&entries));
                let done = self.logs.push(begun, written);
                let (tx, flushed) = C::oneshot();
                self.appends.push(flushed);
                let tx = Mutex::new(Some(tx));
                let clock = clock.clone();
                let callback = IOFlushed::notify(move |outcome: io::Result<()>| {
                    if outcome.is_ok() {
                        done.store(clock(), Ordering::SeqCst);
                    }
                    if let Some(tx) = tx.lock().unwrap_or_else(PoisonError::into_inner).take() {
                        // The suite has given up on this store.
                        let _ = tx.send(outcome);
                    }
                });
                return store.append(entries, callback).await;
            }
            Truncate(after) => {
                let end = after.map_or(0, |(_, index)| index + 1);
                written.entries.retain(|(id, _)| id.index < end);
                let done = self.logs.push(begun, written);
                store.truncate_after(after.map(|(term, index)| id(term, index))).await?;
                done
            }
            Purge(term, index) => {
                // It must be durable when something behind it is.
                written.purge(id(term, index));
                self.logs.push(begun, written);
                return store.purge(id(term, index)).await;
            }
        };
        done.store(clock(), Ordering::SeqCst);
        Ok(())
    }

    /// Waits for the callbacks of all appends.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        for flushed in self.appends.drain(..) {
            match C::timeout(PATIENCE, flushed).await {
                Ok(Ok(outcome)) => outcome?,
                Ok(Err(_)) => {
                    return Err(io::Error::other("the callback of an append was dropped and not called"));
                }
                Err(_) => return Err(io::Error::other("the callback of an append was not called in time")),
            }
        }
        Ok(())
    }

    /// Errors unless what was found may be there if the power failed after `now` changes.
    pub(super) fn check(&self, now: usize, found: &Found<C>) -> Result<(), String> {
        let votes = self.votes.possible(now);
        if !votes.iter().any(|version| version.value == found.vote) {
            let asked = votes.iter().map(|version| shown(&version.value)).collect::<Vec<_>>().join(" or ");
            return Err(format!("the vote: {asked} is due, the store has {}", shown(&found.vote)));
        }
        let mut saved = self.committed.begun(now).iter().map(|version| &version.value);
        if found.committed.is_some() && !saved.any(|value| *value == found.committed) {
            return Err(format!("what is committed: {} was never saved", shown(&found.committed)));
        }
        let logs = self.logs.possible(now);
        let purged = &found.held.purged;
        let held: Vec<_> = logs.iter().map(|version| version.value.purged_to(purged)).collect();
        let is_there = held.iter().flatten().any(|held| *held == found.held);
        let is_between = |(before, after): (&Option<Held<C>>, &Option<Held<C>>)| match (before, after) {
            (Some(before), Some(after)) => found.held.is_between(before, after),
            _ => false,
        };
        if is_there || held.iter().zip(held.iter().skip(1)).any(is_between) {
            return Ok(());
        }
        let asked = logs.iter().map(|version| version.value.held().show()).collect::<Vec<_>>().join(", or ");
        let longest = logs.iter().map(|version| &version.value.entries).max_by_key(|entries| entries.len());
        Err(format!("the log: {asked} is due, the store has {}", found.held.show_beside(longest)))
    }
}

impl<C: RaftTypeConfig> Held<C> {
    /// Whether part of an append or of a truncation leads here: an entry is there or not, from the first on.
    fn is_between(&self, before: &Self, after: &Self) -> bool {
        let (short, long) =
            if before.entries.len() < after.entries.len() { (before, after) } else { (after, before) };
        long.entries.starts_with(&short.entries)
            && long.entries.starts_with(&self.entries)
            && self.entries.len() >= short.entries.len()
    }

    /// Like [`show`](Self::show), and says which entry differs in its content alone.
    fn show_beside(&self, asked: Option<&Vec<(LogIdOf<C>, String)>>) -> String {
        let asked = asked.map(Vec::as_slice).unwrap_or_default();
        let differs = |(id, text): &&(LogIdOf<C>, String)| {
            asked.iter().any(|(asked_id, asked_text)| asked_id == id && asked_text != text)
        };
        match self.entries.iter().find(differs) {
            Some((id, _)) => format!("{}, of which {id} has another content", self.show()),
            None => self.show(),
        }
    }
}

fn shown<T: Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".to_string(), ToString::to_string)
}

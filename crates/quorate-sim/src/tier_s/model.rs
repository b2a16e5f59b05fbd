//! What the log of a node must hold: each state that a crash may leave, from the last one that was acknowledged on.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use quorate::RaftLogReader;
use quorate::storage::RaftLogStorage;

use crate::tier_s::machine::Entry;
use crate::tier_s::machine::LogId;
use crate::tier_s::machine::Vote;
use crate::tier_s::node::Node;
use crate::tier_s::node::drive;

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    pub purged: Option<LogId>,
    pub entries: VecDeque<Entry>,
}

impl Contents {
    pub fn first(&self) -> u64 {
        self.purged.as_ref().map_or(0, |purged| purged.index + 1)
    }

    /// The index that the next entry has.
    pub fn next(&self) -> u64 {
        self.first() + self.entries.len() as u64
    }

    pub fn last(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.log_id).or(self.purged)
    }

    pub fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.first())? as usize)
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(entry) => self.entries.push_back(entry.clone()),
            Op::Truncate(from) => self.entries.truncate(from.saturating_sub(self.first()) as usize),
            Op::Purge(id) => {
                let gone = (id.index + 1).saturating_sub(self.first()).min(self.entries.len() as u64);
                self.entries.drain(..gone as usize);
                self.purged = Some(*id);
            }
        }
    }

    /// Reads a log whole.
    pub fn read(node: &mut Node) -> std::io::Result<Self> {
        let Node { log, writer, .. } = node;
        drive(writer, async {
            let purged = log.get_log_state().await?.last_purged_log_id;
            let mut reader = log.get_log_reader().await;
            let entries = reader.try_get_log_entries(..).await?.into();
            Ok(Self { purged, entries })
        })
    }
}

/// What was done to a log; each entry by itself, since a crash may come between any two.
#[derive(Clone, Debug)]
pub enum Op {
    Append(Entry),
    Truncate(u64),
    Purge(LogId),
}

#[derive(Default)]
pub struct Model {
    /// The last state that was acknowledged.
    base: Contents,
    /// What was done since, numbered.
    ops: VecDeque<(u64, Op)>,
    numbers: u64,
    /// The state after all that.
    pub now: Contents,
    /// Every entry that there ever was, by index.
    ever: BTreeMap<u64, Vec<Entry>>,
    votes: Vec<Option<Vote>>,
    vote_acknowledged: usize,
    pub marks: Vec<Option<LogId>>,
}

impl Model {
    pub fn new() -> Self {
        Self { votes: vec![None], marks: vec![None], ..Self::default() }
    }

    /// Notes what is done; gives the number to acknowledge it by.
    pub fn did(&mut self, op: Op) -> u64 {
        if let Op::Append(entry) = &op {
            self.ever.entry(entry.log_id.index).or_default().push(entry.clone());
        }
        self.now.apply(&op);
        self.numbers += 1;
        self.ops.push_back((self.numbers, op));
        self.numbers
    }

    /// Notes that all up to this number is acknowledged.
    pub fn acknowledged(&mut self, number: u64) {
        while let Some((at, op)) = self.ops.front()
            && *at <= number
        {
            self.base.apply(op);
            self.ops.pop_front();
        }
    }

    /// The index after the last that is acknowledged, and that nobody has begun to remove.
    pub fn safe_next(&self) -> u64 {
        let begun = |(_, op): &(u64, Op)| if let Op::Truncate(from) = op { Some(*from) } else { None };
        self.ops.iter().filter_map(begun).fold(self.base.next(), u64::min)
    }

    pub fn votes(&mut self, vote: Vote) -> usize {
        self.votes.push(Some(vote));
        self.votes.len() - 1
    }

    pub fn vote_acknowledged(&mut self, number: usize) {
        self.vote_acknowledged = self.vote_acknowledged.max(number);
    }

    /// I13, I16: what a log holds after a crash is what was acknowledged, and perhaps some of what came after, in
    /// order. Where a damage cannot be told (`lenient`), it is at least nothing that never was.
    pub fn check_log(&mut self, found: Contents, lenient: bool) {
        let mut state = self.base.clone();
        let mut fits = state == found;
        for (_, op) in &self.ops {
            if fits {
                break;
            }
            state.apply(op);
            fits = state.purged == found.purged && state.next() == found.next() && state == found;
        }
        if !fits {
            for (index, entry) in (found.first()..).zip(&found.entries) {
                let known = self.ever.get(&index).is_some_and(|all| all.contains(entry));
                assert!(known, "I16: entry {index} is one that never was: {:?}", entry.log_id);
            }
            assert!(
                lenient,
                "I13: the log holds {:?} to {:?}, acknowledged was {:?} to {:?}, written {:?}",
                found.purged,
                found.last(),
                self.base.purged,
                self.base.last(),
                self.now.last(),
            );
        }
        self.ops.clear();
        self.base = found.clone();
        self.now = found;
    }

    /// I9: a vote that was acknowledged is not forgotten for an older one; where the disk has lied about both copies
    /// (`lenient`), it is at least one that was given.
    pub fn check_vote(&mut self, found: Option<Vote>, lenient: bool) {
        let allowed = if lenient { 0 } else { self.vote_acknowledged };
        let fits = self.votes[allowed..].iter().rposition(|vote| *vote == found);
        let acknowledged = &self.votes[self.vote_acknowledged];
        assert!(fits.is_some(), "I9: the vote is {found:?}, acknowledged was {acknowledged:?}");
        // What was given and is not there any more may not come back.
        self.vote_acknowledged = allowed + fits.unwrap_or_default();
        self.votes.truncate(self.vote_acknowledged + 1);
    }

    /// The commit mark is one that was given.
    pub fn check_mark(&self, found: Option<LogId>) {
        assert!(self.marks.contains(&found), "I16: the commit mark {found:?} was never given");
    }
}

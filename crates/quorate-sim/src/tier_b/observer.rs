//! Who sees everything: what every node appends, votes and applies, over its crashes; and what must hold of it.
//!
//! A violation is noted, not thrown: what it happens in may be a task that catches panics.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use quorate::EntryPayload;
use quorate::vote::RaftLeaderId;
use quorate_core::Membership;
use quorate_node::testing::Command;
use quorate_node::testing::encode;

use crate::invariants::quorum;

use crate::tier_b::cluster::Damage;
use crate::tier_b::types::LogId;
use crate::tier_b::types::Types;
use crate::tier_b::types::Vote;

/// The observer, shared by all that is watched.
pub struct Watch<C: Types>(Arc<Mutex<Observer<C>>>);

impl<C: Types> Clone for Watch<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// An entry that somebody applied.
struct Committed<C: Types> {
    log_id: LogId<C>,
    hash: u64,
    /// Its command, if it holds one.
    command: Option<u64>,
    /// The greatest vote on any disk by then: whoever committed it, with or without a word to others, had no greater.
    by: Option<Vote<C>>,
}

/// How often nodes were asked for one command, refused it, and applied it in a place of its own.
#[derive(Clone, Copy, Default)]
struct Asked {
    asked: u64,
    refused: u64,
    applied: u64,
}

impl Asked {
    fn is_sound(self) -> bool {
        self.applied + self.refused <= self.asked
    }
}

type VoterSets = Vec<BTreeSet<u64>>;

struct Observer<C: Types> {
    /// I5: what was applied at each index, by whomever first.
    canon: BTreeMap<u64, Committed<C>>,
    /// I4: every entry that any log ever held.
    written: BTreeMap<LogId<C>, u64>,
    /// I1: the greatest vote that each node gave away.
    granted: BTreeMap<u64, Vote<C>>,
    /// I9: the greatest vote that each node has on its disk.
    saved: BTreeMap<u64, Vote<C>>,
    /// I7, I13: the entries that each node said are on its disk, and were not removed since.
    durable: BTreeMap<u64, BTreeMap<u64, LogId<C>>>,
    /// I2: who leads by which vote.
    leaders: BTreeMap<(u64, u64), Vote<C>>,
    /// I10: what each node applied last.
    applied: BTreeMap<u64, Option<u64>>,
    /// I17: the checksum of the snapshot at each index.
    images: BTreeMap<u64, u32>,
    /// I7: how far the snapshots of each node reach that have taken the place of its log.
    covered: BTreeMap<u64, u64>,
    /// I7, I12: the voter sets of every membership that stands in the canon, by index.
    memberships: BTreeMap<u64, VoterSets>,
    /// I7: those of every membership that any log ever held.
    proposed: BTreeMap<LogId<C>, VoterSets>,
    /// I11: the index after the last entry of each node's newest durable snapshot.
    snapshots: BTreeMap<u64, u64>,
    /// I13: what became of the commands that nodes were asked for.
    commands: BTreeMap<u64, Asked>,
    /// I14: the index after the last entry whose effect any client has seen.
    seen: u64,
    /// The newest leader that committed anything.
    newest: Option<LogId<C>>,
    /// Whether a client was told of a write, or a newer leader committed something, since somebody asked.
    news: bool,
    violation: Option<String>,
    tally: SeenTally,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenTally {
    pub elections: u64,
    pub commits: u64,
    pub changes: u64,
    pub built: u64,
    pub installed: u64,
    pub appended: u64,
    pub truncated: u64,
    pub purged: u64,
    pub probes: u64,
}

impl<C: Types> Default for Watch<C> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Observer {
            canon: BTreeMap::new(),
            written: BTreeMap::new(),
            granted: BTreeMap::new(),
            saved: BTreeMap::new(),
            durable: BTreeMap::new(),
            leaders: BTreeMap::new(),
            applied: BTreeMap::new(),
            images: BTreeMap::new(),
            covered: BTreeMap::new(),
            memberships: BTreeMap::new(),
            proposed: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            commands: BTreeMap::new(),
            seen: 0,
            newest: None,
            news: false,
            violation: None,
            tally: SeenTally::default(),
        })))
    }
}

/// What a node that starts does not have, though its disk had.
pub struct Lost {
    pub text: String,
    /// The last entries of its log, and nothing else.
    is_tail: bool,
}

impl Lost {
    /// Whether a disk with such damage may forget it without a trace: what was written last, or, where the disk lied,
    /// what it was written over.
    pub fn is_untold(&self, damage: Damage) -> bool {
        match damage {
            Damage::None => false,
            Damage::Rotten => self.is_tail,
            Damage::Lying => true,
        }
    }
}

/// Whether a node that had voted for `before` may vote for `vote`.
fn may_follow<C: Types>(before: &Vote<C>, vote: &Vote<C>) -> bool {
    matches!(before.partial_cmp(vote), Some(Ordering::Less | Ordering::Equal))
}

/// A hash over all of an entry.
pub fn hash_of<C: Types>(entry: &C::Entry) -> u64 {
    hash(&encode(entry).unwrap_or_default())
}

/// A hash over a command.
pub fn hash_of_command(command: &Command) -> u64 {
    hash(&encode(command).unwrap_or_default())
}

fn hash(bytes: &[u8]) -> u64 {
    u64::from(crc32c::crc32c(bytes)) << 32 | bytes.len() as u64
}

impl<C: Types> Observer<C> {
    /// Whether a node's disk has this entry, or a snapshot that covers it, be the node up or down.
    fn holds(&self, node: u64, log_id: &LogId<C>) -> bool {
        let entry = self.durable.get(&node).and_then(|durable| durable.get(&log_id.index));
        entry == Some(log_id) || self.covered.get(&node) >= Some(&log_id.index)
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(text());
        }
    }

    /// An entry is applied for the first time.
    fn commit(&mut self, entry: &C::Entry, hash: u64) {
        self.tally.commits += 1;
        let log_id = entry.log_id.clone();
        if self.newest.as_ref().is_none_or(|newest| newest.leader_id < log_id.leader_id) {
            self.newest = Some(log_id.clone());
            self.news = true;
        }
        let rank = |vote: &&Vote<C>| (vote.leader_id().term(), *vote.leader_id().node_id());
        let by = self.saved.values().max_by_key(rank).cloned();
        let mut command = None;
        match &entry.payload {
            EntryPayload::Membership(membership) => {
                self.tally.changes += 1;
                self.commit_membership(log_id.index, membership.get_joint_config().clone());
            }
            EntryPayload::Normal(content) => {
                let content = hash_of_command(content);
                self.tells(content, |asked| asked.applied += 1);
                command = Some(content);
            }
            EntryPayload::Blank => {}
        }
        self.canon.insert(log_id.index, Committed { log_id, hash, command, by });
    }

    /// I13: a write that a client was told is not made is not.
    fn tells(&mut self, command: u64, news: impl FnOnce(&mut Asked)) {
        let asked = self.commands.entry(command).or_default();
        news(asked);
        if !asked.is_sound() {
            self.note(|| "I13: a client is told that a write is not made, which is".to_owned());
        }
    }

    /// I6: whoever leads holds all that lesser leaders committed.
    fn check_complete(&mut self, node: u64, vote: &Vote<C>) {
        let covered = self.covered.get(&node).map_or(0, |covered| covered + 1);
        let lesser = |by: &Vote<C>| matches!(by.partial_cmp(vote), Some(Ordering::Less));
        let missing = self
            .canon
            .range(covered..)
            .map(|(_, entry)| entry)
            .find(|entry| entry.by.as_ref().is_some_and(lesser) && !self.holds(node, &entry.log_id));
        if let Some(missing) = missing {
            let text = format!("I6: leader {vote} lacks {}", missing.log_id);
            self.note(|| text);
        }
    }

    /// I12: quorums of memberships that follow each other meet.
    fn commit_membership(&mut self, index: u64, sets: VoterSets) {
        if let Some((_, before)) = self.memberships.range(..index).next_back() {
            let as_membership = |sets: &VoterSets| Membership::new(sets.clone(), []);
            if !quorum::intersect(&as_membership(before), &as_membership(&sets)) {
                let text = format!("I12: the voters {before:?} are followed by {sets:?} at {index}");
                self.note(|| text);
            }
        }
        self.memberships.insert(index, sets);
    }
}

impl<C: Types> Watch<C> {
    fn lock(&self) -> MutexGuard<'_, Observer<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was broken first.
    pub fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    pub fn tally(&self) -> SeenTally {
        self.lock().tally.clone()
    }

    /// How many entries are known to be committed.
    pub fn committed_end(&self) -> u64 {
        self.lock().canon.last_key_value().map_or(0, |(index, _)| index + 1)
    }

    /// I1, and I9 of what leaves a node: a vote is given once, over crashes too.
    pub fn granted(&self, node: u64, vote: &Vote<C>) {
        let mut observer = self.lock();
        let before = observer.granted.get(&node).cloned();
        if let Some(before) = before {
            let ordered = before.leader_id().partial_cmp(vote.leader_id());
            if !matches!(ordered, Some(Ordering::Less | Ordering::Equal)) {
                let text = format!("I1: node {node} voted for {vote} after it had voted for {before}");
                observer.violation.get_or_insert(text);
            }
        }
        let saved = observer.saved.get(&node);
        if !saved.is_some_and(|saved| may_follow::<C>(vote, saved)) {
            let text = format!("I1: node {node} votes for {vote}, and its disk has {saved:?}");
            observer.violation.get_or_insert(text);
        }
        observer.granted.insert(node, vote.clone());
    }

    /// I9: a node's durable vote never goes back.
    pub fn saved(&self, node: u64, vote: &Vote<C>) {
        let mut observer = self.lock();
        let before = observer.saved.insert(node, vote.clone());
        if let Some(before) = before.filter(|before| !may_follow::<C>(before, vote)) {
            let text = format!("I9: node {node} saved the vote {vote} over {before}");
            observer.violation.get_or_insert(text);
        }
    }

    /// I9, I13: a node that starts has its vote, and all that it said was on its disk. Gives what is lost.
    pub fn started(
        &self,
        node: u64,
        vote: Option<&Vote<C>>,
        has: &BTreeMap<u64, LogId<C>>,
        purged: u64,
    ) -> Option<Lost> {
        let mut observer = self.lock();
        let observer = &mut *observer;
        observer.applied.insert(node, None);
        let saved = observer.saved.get(&node).cloned();
        if let Some(saved) = saved.filter(|saved| vote.is_none_or(|vote| !may_follow::<C>(saved, vote))) {
            let text = format!("I9: node {node} came back with the vote {vote:?}, it had {saved}");
            return Some(Lost { text, is_tail: false });
        }
        observer.saved.extend(vote.map(|vote| (node, vote.clone())));
        let durable = observer.durable.entry(node).or_default();
        let lost = durable.range(purged..).find(|(index, log_id)| has.get(index) != Some(log_id));
        let lost = lost.map(|(index, log_id)| {
            let found = has.get(index);
            let text =
                format!("I13: node {node} had {log_id} on its disk, and comes back with {found:?} there");
            Lost { text, is_tail: found.is_none() }
        });
        // What is found is made durable before it counts for anything, known to be flushed before or not.
        *durable = has.clone();
        lost
    }

    /// Something is broken.
    pub fn violated(&self, text: String) {
        self.lock().note(|| text);
    }

    /// The voter sets of every membership that is in force, or may yet be.
    pub fn voter_sets(&self) -> Vec<BTreeSet<u64>> {
        let observer = self.lock();
        let last = observer.memberships.last_key_value();
        let end = last.map_or(0, |(index, _)| index + 1);
        let open = observer.proposed.iter().filter(|(id, _)| id.index >= end).map(|(_, sets)| sets);
        let sets: BTreeSet<_> =
            last.map(|(_, sets)| sets).into_iter().chain(open).flatten().cloned().collect();
        sets.into_iter().collect()
    }

    /// I4: entries of one id are one, once they have left the memory of who made them: for another node, or its disk.
    pub fn published(&self, node: u64, entries: impl IntoIterator<Item = (LogId<C>, u64)>) {
        let mut observer = self.lock();
        for (log_id, hash) in entries {
            let known = *observer.written.entry(log_id.clone()).or_insert(hash);
            if known != hash {
                let text = format!("I4: node {node} has another entry {log_id} than there was");
                observer.violation.get_or_insert(text);
            }
        }
    }

    /// A node writes a membership into its log.
    pub fn proposed(&self, log_id: &LogId<C>, sets: &[BTreeSet<u64>]) {
        self.lock().proposed.insert(log_id.clone(), sets.to_vec());
    }

    /// These entries are on the node's disk.
    pub fn flushed(&self, node: u64, entries: Vec<(LogId<C>, u64)>) {
        self.published(node, entries.iter().cloned());
        let mut observer = self.lock();
        observer.tally.appended += entries.len() as u64;
        let durable = observer.durable.entry(node).or_default();
        durable.extend(entries.into_iter().map(|(log_id, _)| (log_id.index, log_id)));
    }

    /// A node is about to remove its entries from an index on.
    pub fn truncates(&self, node: u64, from: u64) {
        let mut observer = self.lock();
        observer.tally.truncated += 1;
        observer.durable.entry(node).or_default().split_off(&from);
        let committed = observer.applied.get(&node).copied().flatten();
        if committed.is_some_and(|applied| from <= applied) {
            let text = format!("I5: node {node} removes what it has applied, from {from} on");
            observer.violation.get_or_insert(text);
        }
    }

    /// A node is about to remove its entries up to an index.
    pub fn purges(&self, node: u64, upto: u64) {
        let mut observer = self.lock();
        let observer = &mut *observer;
        observer.tally.purged += 1;
        let snapshot = observer.snapshots.get(&node).copied().unwrap_or_default();
        if upto >= snapshot {
            let text = format!("I11: node {node} purges up to {upto}, its snapshot ends before {snapshot}");
            observer.note(|| text);
        }
        let durable = observer.durable.entry(node).or_default();
        *durable = durable.split_off(&(upto + 1));
        let covered = observer.covered.entry(node).or_default();
        *covered = upto.max(*covered);
    }

    /// I5, I10: every node applies the same entries, one after the other.
    pub fn applied(&self, node: u64, entry: &C::Entry) {
        let mut observer = self.lock();
        let observer = &mut *observer;
        let (index, hash) = (entry.log_id.index, hash_of::<C>(entry));
        let last = observer.applied.entry(node).or_default();
        let next = last.map_or(0, |last| last + 1);
        if index != next {
            let text = format!("I10: node {node} applies {}, next is {next}", entry.log_id);
            observer.violation.get_or_insert(text);
        }
        *last = Some(index);
        match observer.canon.get(&index) {
            Some(canon) if canon.log_id != entry.log_id || canon.hash != hash => {
                let text =
                    format!("I5: node {node} applies {}, another one applied {}", entry.log_id, canon.log_id);
                observer.violation.get_or_insert(text);
            }
            Some(_) => {}
            None => observer.commit(entry, hash),
        }
    }

    /// I17: a snapshot never takes a state back, and is of what is committed.
    pub fn installed(&self, node: u64, last: &LogId<C>) {
        let mut observer = self.lock();
        let observer = &mut *observer;
        observer.tally.installed += 1;
        let applied = observer.applied.entry(node).or_default();
        if applied.is_some_and(|applied| applied > last.index) {
            let text = format!("I17: node {node} goes back from {applied:?} to a snapshot of {last}");
            observer.violation.get_or_insert(text);
        }
        *applied = Some(last.index);
        let covered = observer.covered.entry(node).or_default();
        *covered = last.index.max(*covered);
        observer.snapshots.insert(node, last.index + 1);
        if observer.canon.get(&last.index).is_none_or(|canon| canon.log_id != *last) {
            let text = format!("I17: node {node} installs a snapshot of {last}, which nobody applied");
            observer.violation.get_or_insert(text);
        }
    }

    /// I16, I17: what a node has installed is what was built.
    pub fn holds_snapshot(&self, node: u64, last: &LogId<C>, checksum: u32) {
        let mut observer = self.lock();
        let known = observer.images.get(&last.index).copied();
        if known.is_some_and(|known| known != checksum) {
            observer.note(|| format!("I17: node {node} installs another snapshot of {last} than was built"));
        }
    }

    /// I17: snapshots of one index are the same, byte by byte.
    pub fn built(&self, node: u64, last: &LogId<C>, checksum: u32) {
        let mut observer = self.lock();
        observer.tally.built += 1;
        observer.snapshots.insert(node, last.index + 1);
        let known = *observer.images.entry(last.index).or_insert(checksum);
        if known != checksum {
            let text = format!("I17: node {node} builds another snapshot of {last} than others did");
            observer.violation.get_or_insert(text);
        }
    }

    /// I2: who sends entries by a vote is who it names, and there is one.
    pub fn leads(&self, node: u64, vote: &Vote<C>) {
        let leader = vote.leader_id();
        let key = (leader.term(), *leader.node_id());
        let mut observer = self.lock();
        if key.1 != node {
            let text = format!("I2: node {node} leads by the vote {vote}");
            observer.violation.get_or_insert(text);
        }
        if observer.leaders.contains_key(&key) {
            return;
        }
        observer.tally.elections += 1;
        let same_term = observer.leaders.range((key.0, 0)..=(key.0, u64::MAX));
        // With leaders that are ordered by their node too, a term may have several.
        let other =
            same_term.map(|(_, other)| other).find(|other| other.leader_id().partial_cmp(leader).is_none());
        if let Some(other) = other.cloned() {
            let text = format!("I2: {vote} leads, and so did {other}");
            observer.violation.get_or_insert(text);
        }
        observer.check_complete(node, vote);
        observer.leaders.insert(key, vote.clone());
    }

    /// A node is asked for a command.
    pub fn asked(&self, command: u64) {
        self.lock().tells(command, |asked| asked.asked += 1);
    }

    /// A node tells a client that it did not make a write and will not.
    pub fn refused(&self, command: u64) {
        self.lock().tells(command, |asked| asked.refused += 1);
    }

    /// I7: an entry that a client is about to be told of is on the disks of a quorum of a membership that may be in force
    /// at its leader: that of its place, or one behind it. Gives who has it, if it is not.
    pub fn lacks_quorum(&self, log_id: &LogId<C>) -> Option<BTreeSet<u64>> {
        let observer = self.lock();
        let at = observer.memberships.range(..=log_id.index).next_back().map(|(_, sets)| sets);
        let later = observer.proposed.iter().filter(|(id, _)| id.index > log_id.index).map(|(_, sets)| sets);
        let mut sets = at.into_iter().chain(later);
        if sets.any(|sets| quorum::is_quorum(sets, |id| observer.holds(id, log_id))) {
            return None;
        }
        Some(observer.durable.keys().copied().filter(|id| observer.holds(*id, log_id)).collect())
    }

    /// I13: what a client was told is done is applied somewhere, and is what it asked for.
    pub fn acknowledged(&self, log_id: &LogId<C>, command: u64) {
        let mut observer = self.lock();
        let observer = &mut *observer;
        match observer.canon.get(&log_id.index).filter(|canon| canon.log_id == *log_id) {
            None => {
                observer
                    .note(|| format!("I13: a client is told that {log_id} is done, which nobody applied"));
            }
            Some(canon) if canon.command != Some(command) => {
                observer
                    .note(|| format!("I13: a client is told that {log_id} is done, which is not its write"));
            }
            Some(_) => {}
        }
        observer.seen = observer.seen.max(log_id.index + 1);
        observer.news = true;
    }

    /// What a read that begins now must see.
    pub fn floor(&self) -> u64 {
        self.lock().seen
    }

    /// I14: a read that began with `floor` is to wait for what is below `end`. Nobody has seen that yet: a new leader's
    /// reads wait for an entry of its own that may never be committed.
    pub fn awaits(&self, node: u64, floor: u64, end: u64) {
        if end < floor {
            let text = format!("I14: a read of node {node} is to see {end}, others had seen {floor}");
            self.lock().note(|| text);
        }
    }

    /// I14: a read that began with `floor` sees what is below `seen`, and others after it will.
    pub fn read(&self, node: u64, floor: u64, seen: u64) {
        self.awaits(node, floor, seen);
        let mut observer = self.lock();
        observer.seen = observer.seen.max(seen);
    }

    /// A read by the lease of a node begins, to see what it comes to: what it must see, and by which leader others have
    /// committed something.
    pub fn probe(&self) -> (u64, Option<LogId<C>>) {
        let mut observer = self.lock();
        observer.tally.probes += 1;
        (observer.seen, observer.newest.clone())
    }

    /// I15: a read by a node's lease may see `read`. It began when others had seen what is below `floor`, and when
    /// `newest` was the newest leader that had committed anything.
    pub fn leased(&self, node: u64, (floor, newest): (u64, Option<LogId<C>>), read: &LogId<C>) {
        if let Some(newest) = newest.filter(|newest| read.leader_id < newest.leader_id) {
            let text = format!("I15: node {node} reads {read} by its lease, and {newest} was committed");
            self.lock().note(|| text);
        }
        if read.index + 1 < floor {
            let text = format!("I15: node {node} reads {read} by its lease, others had seen {floor}");
            self.lock().note(|| text);
        }
    }

    /// Whether leases are worth a look, since this was asked last.
    pub fn take_news(&self) -> bool {
        std::mem::take(&mut self.lock().news)
    }

    /// I12: a node that has applied all that is committed acts on the last membership among it.
    pub fn acts_on(&self, node: u64, applied: u64, sets: &[BTreeSet<u64>]) {
        let mut observer = self.lock();
        let observer = &mut *observer;
        let end = observer.canon.last_key_value().map_or(0, |(index, _)| index + 1);
        let last = observer.memberships.last_key_value().map(|(_, last)| last.clone());
        if let Some(last) = last.filter(|last| applied == end && last.as_slice() != sets) {
            observer.note(|| format!("I12: node {node} acts on the voters {sets:?}, the last are {last:?}"));
        }
    }

    /// The snapshot that a node starts from.
    pub fn has_snapshot(&self, node: u64, end: u64) {
        self.lock().snapshots.insert(node, end);
    }
}

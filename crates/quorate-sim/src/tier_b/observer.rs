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
use quorate_node::testing::encode;

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

struct Observer<C: Types> {
    /// I5: what was applied at each index, by whomever first.
    canon: BTreeMap<u64, (LogId<C>, u64)>,
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
    /// I7: the voters, where they never change.
    voters: BTreeSet<u64>,
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
            voters: BTreeSet::new(),
            violation: None,
            tally: SeenTally::default(),
        })))
    }
}

/// Whether a node that had voted for `before` may vote for `vote`.
fn may_follow<C: Types>(before: &Vote<C>, vote: &Vote<C>) -> bool {
    matches!(before.partial_cmp(vote), Some(Ordering::Less | Ordering::Equal))
}

/// A hash over all of an entry.
pub fn hash_of<C: Types>(entry: &C::Entry) -> u64 {
    let bytes = encode(entry).unwrap_or_default();
    u64::from(crc32c::crc32c(&bytes)) << 32 | bytes.len() as u64
}

impl<C: Types> Watch<C> {
    fn lock(&self) -> MutexGuard<'_, Observer<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was broken first.
    pub fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    /// These are the voters, and will be.
    pub fn set_voters(&self, voters: BTreeSet<u64>) {
        self.lock().voters = voters;
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

    /// I9, I13: a node that starts has its vote, and all that it said was on its disk.
    pub fn started(&self, node: u64, vote: Option<&Vote<C>>, has: &BTreeMap<u64, LogId<C>>, purged: u64) {
        let mut observer = self.lock();
        observer.applied.insert(node, None);
        let saved = observer.saved.get(&node).cloned();
        if let Some(saved) = saved.filter(|saved| vote.is_none_or(|vote| !may_follow::<C>(saved, vote))) {
            let text = format!("I9: node {node} came back with the vote {vote:?}, it had {saved}");
            observer.violation.get_or_insert(text);
        }
        let durable = observer.durable.entry(node).or_default();
        let lost = durable.range(purged..).find(|(index, log_id)| has.get(index) != Some(log_id));
        let lost = lost.map(|(index, log_id)| {
            format!(
                "I13: node {node} had {log_id} on its disk, and comes back with {:?} there",
                has.get(index)
            )
        });
        // What is found is made durable before it counts for anything, known to be flushed before or not.
        *durable = has.clone();
        if let Some(text) = lost {
            observer.violation.get_or_insert(text);
        }
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
        observer.tally.purged += 1;
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
            Some(canon) if *canon != (entry.log_id.clone(), hash) => {
                let text =
                    format!("I5: node {node} applies {}, another one applied {}", entry.log_id, canon.0);
                observer.violation.get_or_insert(text);
            }
            Some(_) => {}
            None => {
                observer.tally.commits += 1;
                observer.tally.changes += u64::from(matches!(entry.payload, EntryPayload::Membership(_)));
                observer.canon.insert(index, (entry.log_id.clone(), hash));
            }
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
        if observer.canon.get(&last.index).is_none_or(|(canon, _)| canon != last) {
            let text = format!("I17: node {node} installs a snapshot of {last}, which nobody applied");
            observer.violation.get_or_insert(text);
        }
    }

    /// I17: snapshots of one index are the same, byte by byte.
    pub fn built(&self, node: u64, last: &LogId<C>, checksum: u32) {
        let mut observer = self.lock();
        observer.tally.built += 1;
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
        observer.leaders.insert(key, vote.clone());
    }

    /// I13: what a client was told is done is applied somewhere.
    pub fn acknowledged(&self, log_id: &LogId<C>) {
        let mut observer = self.lock();
        if observer.canon.get(&log_id.index).is_none_or(|(canon, _)| canon != log_id) {
            let text = format!("I13: a client is told that {log_id} is done, which nobody applied");
            observer.violation.get_or_insert(text);
        }
        // I7: a quorum has it on its disks, or in a snapshot there.
        let having = observer.voters.iter().filter(|id| {
            let entry = observer.durable.get(id).and_then(|durable| durable.get(&log_id.index));
            entry == Some(log_id) || observer.covered.get(id) >= Some(&log_id.index)
        });
        let (having, all) = (having.count(), observer.voters.len());
        if all > 0 && having <= all / 2 {
            let text = format!("I7: {log_id} is acknowledged, and is on {having} disks of {all}");
            observer.violation.get_or_insert(text);
        }
    }
}

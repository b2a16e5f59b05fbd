//! A random schedule for one node's storage: what the library does to it, crashes and restarts.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;

use futures_util::FutureExt;
use futures_util::stream;
use quorate::Membership;
use quorate::RaftLogReader;
use quorate::RaftSnapshotBuilder;
use quorate::SnapshotMeta;
use quorate::storage::IOFlushed;
use quorate::storage::RaftLogStorage;
use quorate::storage::RaftStateMachine;
use quorate_log::LogError;
use quorate_log::Options;
use quorate_log::sim_disk::Left;
use quorate_log::sim_disk::PowerCut;
use quorate_log::sim_disk::SimDisk;
use quorate_node::Member;
use quorate_node::Uid;
use quorate_node::testing::Command;
use quorate_node::testing::encode;
use quorate_rt::Oneshot;
use quorate_rt_tokio::TokioOneshot;

use crate::dice::Dice;
use crate::tally::Tally;
use crate::tier_b::world;
use crate::tier_s::machine::Entry;
use crate::tier_s::machine::LogId;
use crate::tier_s::machine::Machine;
use crate::tier_s::machine::Payload;
use crate::tier_s::machine::Types;
use crate::tier_s::machine::Vote;
use crate::tier_s::machine::linked;
use crate::tier_s::machine::log_id;
use crate::tier_s::mischief::Class;
use crate::tier_s::mischief::draw_cut;
use crate::tier_s::model::Contents;
use crate::tier_s::model::Model;
use crate::tier_s::model::Op;
use crate::tier_s::node::Node;
use crate::tier_s::node::Refused;
use crate::tier_s::node::drive;
use crate::tier_s::node::finish;
use crate::trace::Trace;
use crate::trace::TraceLine;

/// How often a node is started after a failure that may pass.
const STARTS_MAX: usize = 20;

type Builder = <Machine as RaftStateMachine<Types>>::SnapshotBuilder;
type Flushed = <TokioOneshot as Oneshot>::Receiver<io::Result<()>>;

/// What applying an entry led to.
#[derive(Clone, Debug, PartialEq)]
struct Applied {
    id: LogId,
    hash: u64,
    membership: Option<LogId>,
}

pub struct Chaos {
    pub dice: Dice,
    pub tally: Tally,
    pub disk: SimDisk,
    pub class: Class,
    /// Operations may fail, and a start may, for the moment.
    pub ailing: bool,
    /// A start may be refused.
    pub damaged: bool,
    /// What was acknowledged may be gone, where that cannot be told.
    pub lenient: bool,
    options: Options,
    node: Option<Node>,
    model: Model,
    waiting: Vec<(u64, Flushed)>,
    term: u64,
    has_voted: bool,
    /// The next index to commit, and to apply.
    commit: u64,
    applied: u64,
    history: BTreeMap<u64, Applied>,
    /// What the snapshot covers that is being installed, beyond what is committed here.
    ahead: Option<(LogId, BTreeMap<u64, Applied>)>,
    /// The newest snapshot that is acknowledged.
    snapshot: Option<LogId>,
    /// All that were ever begun.
    begun: BTreeSet<LogId>,
    slow: Option<Builder>,
    /// Bytes staged since the step before the last, at most.
    staged: u64,
    written: u64,
    over: bool,
    trace: Option<Trace>,
}

impl Chaos {
    pub fn new(seed: u64, mut dice: Dice, trace: Option<Trace>) -> Self {
        let options = Options {
            segment_bytes: 64 * 1024,
            tail_bytes: dice.below(8 * 1024),
            queue_bytes: 2_000 + dice.below(60_000),
        };
        let class = Class::draw(&mut dice);
        let mut chaos = Self {
            class,
            dice,
            tally: Tally::default(),
            disk: SimDisk::new(seed),
            ailing: false,
            damaged: false,
            lenient: false,
            options,
            node: None,
            model: Model::new(),
            waiting: Vec::new(),
            term: 1,
            has_voted: false,
            commit: 0,
            applied: 0,
            history: BTreeMap::new(),
            ahead: None,
            snapshot: None,
            begun: BTreeSet::new(),
            slow: None,
            staged: 0,
            written: 0,
            over: false,
            trace,
        };
        chaos.say(|| format!("seed {seed}, class {class:?}"));
        chaos.start();
        // No node writes entries before it has saved a vote.
        while !chaos.has_voted {
            if let Err(error) = chaos.vote() {
                chaos.failed(&error);
            }
            chaos.disk.cut_power_at(None);
        }
        chaos
    }

    pub fn say(&self, text: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let at_us = world::now_ns() / 1000;
            trace.borrow_mut().push(TraceLine { at_us, node: None, look: None, text: text() });
        }
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    pub fn hash(&self) -> u64 {
        let (polls, hash) = world::progress();
        hash ^ polls.rotate_left(32) ^ self.dice.0 ^ self.disk.changes().rotate_left(16)
    }

    /// How much was written last, and is in no earlier batch, at most.
    pub fn recent_bytes(&self) -> u64 {
        self.written + self.staged
    }

    /// One step of the schedule.
    pub fn step(&mut self) {
        self.tally.events += 1;
        let what = self.dice.below(100);
        if self.dice.chance(1, 30) {
            self.disk.cut_power_at(Some(self.disk.changes() + self.dice.below(25)));
        }
        let done = match what {
            0..=29 => self.append(),
            30..=46 => self.write(),
            47..=52 => self.idle(),
            53..=58 => self.truncate(),
            59..=64 => self.vote(),
            65..=74 => self.apply(),
            75..=79 => self.build(),
            80..=84 => self.purge(),
            85..=86 => self.install(),
            87..=92 => self.read(),
            93..=95 => {
                self.trouble();
                Ok(())
            }
            _ => {
                let cut = draw_cut(&mut self.dice);
                self.restart(cut);
                Ok(())
            }
        };
        if let Err(error) = done {
            self.failed(&error);
        }
        if self.disk.is_gone() {
            let cut = draw_cut(&mut self.dice);
            self.restart(cut);
        }
        self.collect();
    }

    /// Ends the schedule: closes the log in order, and starts once more.
    pub fn finish(&mut self) {
        if self.over {
            return;
        }
        self.disk.cut_power_at(None);
        self.disk.heal();
        let cut = draw_cut(&mut self.dice);
        self.restart(cut);
    }

    fn node(&mut self) -> &mut Node {
        self.node.as_mut().expect("a node is up between the steps")
    }

    /// An operation failed. Where that may be, the process is started anew.
    fn failed(&mut self, error: &io::Error) {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<LogError>());
        if matches!(inner, Some(LogError::NoSpace { .. })) && self.ailing {
            return;
        }
        if self.disk.is_gone() {
            return;
        }
        assert!(self.ailing || self.damaged, "I18: {error} on a sound disk");
        self.say(|| format!("failed: {error}"));
        let cut = draw_cut(&mut self.dice);
        self.restart(cut);
    }

    /// Takes what became durable into the model.
    fn collect(&mut self) {
        for (number, mut flushed) in std::mem::take(&mut self.waiting) {
            match (&mut flushed).now_or_never() {
                Some(Ok(Ok(()))) => {
                    self.model.acknowledged(number);
                    self.tally.writes += 1;
                }
                Some(_) => {}
                None => self.waiting.push((number, flushed)),
            }
        }
    }

    fn entry(&mut self, index: u64) -> Entry {
        let payload = match self.dice.below(20) {
            0 => Payload::Blank,
            1 => {
                let member = |id| {
                    (
                        id,
                        Member {
                            uid: Uid(u128::from(id)),
                            peer_addr: format!("host{id}"),
                            client_addr: String::new(),
                        },
                    )
                };
                let count = 1 + self.dice.below(3);
                Payload::Membership(Membership::from((1..=count).map(member).collect::<BTreeMap<_, _>>()))
            }
            _ => {
                let len = match self.dice.below(8) {
                    0..=3 => 8,
                    4..=5 => 100,
                    6 => 600,
                    _ => self.dice.below(3000),
                };
                let mut bytes = vec![0; len as usize];
                let mut noise = Dice(self.dice.roll());
                bytes
                    .chunks_mut(8)
                    .for_each(|chunk| chunk.copy_from_slice(&noise.roll().to_le_bytes()[..chunk.len()]));
                Payload::Normal(Command::new(encode(&bytes).expect("bytes")))
            }
        };
        Entry { log_id: log_id(self.term, index), payload }
    }

    fn append(&mut self) -> io::Result<()> {
        let first = self.model.now.next();
        let count = 1 + self.dice.below(6);
        let entries: Vec<Entry> = (first..first + count).map(|index| self.entry(index)).collect();
        let (tx, rx) = TokioOneshot::channel();
        let Node { log, writer, .. } = self.node.as_mut().expect("up");
        let appended = drive(writer, log.append(entries.clone(), IOFlushed::signal(tx)));
        self.say(|| format!("append {first}..{}: {appended:?}", first + count));
        appended?;
        let mut number = 0;
        for entry in entries {
            self.staged += 300 + if let Payload::Normal(_) = &entry.payload { 3000 } else { 0 };
            number = self.model.did(Op::Append(entry));
        }
        self.waiting.push((number, rx));
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        (self.written, self.staged) = (std::mem::take(&mut self.staged), 0);
        let stepped = self.node().writer.step();
        self.say(|| format!("step: {stepped:?}"));
        stepped.map(|_| ()).map_err(io::Error::from)
    }

    fn idle(&mut self) -> io::Result<()> {
        self.write()?;
        self.node().writer.idle().map_err(io::Error::from)
    }

    fn id_before(&self, index: u64) -> Option<LogId> {
        let before = index.checked_sub(1)?;
        self.model.now.get(before).map(|entry| entry.log_id).or(self.model.now.purged)
    }

    fn truncate(&mut self) -> io::Result<()> {
        let lowest = self.commit.max(self.model.now.first());
        let from = self.model.now.next().saturating_sub(self.dice.below(6)).max(lowest);
        self.truncate_to(from)
    }

    fn truncate_to(&mut self, from: u64) -> io::Result<()> {
        let last = self.id_before(from);
        let number = self.model.did(Op::Truncate(from));
        self.say(|| format!("truncate from {from}"));
        self.term += 1;
        self.staged += 100;
        let Node { log, writer, .. } = self.node.as_mut().expect("up");
        let call = log.truncate_after(last);
        drive(writer, call)?;
        self.model.acknowledged(number);
        Ok(())
    }

    fn vote(&mut self) -> io::Result<()> {
        self.term += 1;
        let vote = Vote::new(self.term, 1 + self.dice.below(3));
        let number = self.model.votes(vote);
        self.say(|| format!("vote {vote}"));
        let Node { log, writer, .. } = self.node.as_mut().expect("up");
        let mut call = std::pin::pin!(log.save_vote(&vote));
        if self.dice.chance(1, 5) {
            // Who asked has gone; it is done all the same, some time.
            let _ = call.as_mut().now_or_never();
            return Ok(());
        }
        drive(writer, call)?;
        self.model.vote_acknowledged(number);
        self.has_voted = true;
        Ok(())
    }

    /// Commits some more, and applies it as it is read from the log.
    fn apply(&mut self) -> io::Result<()> {
        let room = self.model.safe_next().saturating_sub(self.commit);
        let upto = self.commit + self.dice.below(room + 1);
        self.commit_to(upto);
        if upto > 0 && self.dice.chance(2, 3) {
            let mark = self.history.get(&(upto - 1)).map(|applied| applied.id);
            self.model.marks.push(mark);
            self.staged += 100;
            let Node { log, writer, .. } = self.node.as_mut().expect("up");
            drive(writer, log.save_committed(mark))?;
        }
        self.apply_committed()
    }

    fn commit_to(&mut self, upto: u64) {
        while self.commit < upto {
            let entry = self.model.now.get(self.commit).expect("what is committed is in the log").clone();
            self.note(&entry);
        }
    }

    /// Notes what applying the next entry leads to.
    fn note(&mut self, entry: &Entry) {
        let before = self.commit.checked_sub(1).and_then(|before| self.history.get(&before)).cloned();
        let (mut hash, mut membership) = before.map_or((0, None), |before| (before.hash, before.membership));
        match &entry.payload {
            Payload::Normal(command) => {
                let command: Vec<u8> = command.decode().expect("bytes");
                hash = linked(hash, entry.log_id.index, &command);
            }
            Payload::Membership(_) => membership = Some(entry.log_id),
            Payload::Blank => {}
        }
        self.history.insert(self.commit, Applied { id: entry.log_id, hash, membership });
        self.commit += 1;
        self.tally.commits += 1;
    }

    fn apply_committed(&mut self) -> io::Result<()> {
        let (from, to) = (self.applied, self.commit);
        let Node { log, writer, machine, .. } = self.node.as_mut().expect("up");
        let entries = drive(writer, async {
            let mut reader = log.get_log_reader().await;
            reader.try_get_log_entries(from..to).await
        })?;
        assert_eq!(entries.len() as u64, to - from, "I16: entries {from}..{to} are committed");
        finish(machine.apply(stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))))?;
        self.applied = to;
        self.check_state();
        Ok(())
    }

    /// I10, I17: the state is what the committed entries led to, and says so.
    fn check_state(&self) {
        let node = self.node.as_ref().expect("up");
        let state = node.shared.read();
        let found = state.position.applied.map(|id| Applied {
            id,
            hash: state.machine.hash,
            membership: *state.position.roll.membership.log_id(),
        });
        let expected = self.applied.checked_sub(1).and_then(|last| self.history.get(&last)).cloned();
        let same_id = found.as_ref().map(|found| found.id) == expected.as_ref().map(|expected| expected.id);
        assert!(same_id, "I10: the state says {found:?}, and should be {expected:?}");
        assert!(found == expected, "I17: the state is {found:?}, and should be {expected:?}");
        assert!(state.machine.is_whole(), "I16: the state machine's text is not what was written");
    }

    fn build(&mut self) -> io::Result<()> {
        let Some(last) = self.node().shared.read().position.applied else { return Ok(()) };
        self.begun.insert(last);
        let fresh = finish(self.node().machine.get_snapshot_builder());
        let mut builder = match self.slow.take() {
            Some(slow) => {
                if self.dice.chance(1, 2) {
                    self.slow = Some(fresh);
                }
                slow
            }
            None if self.dice.chance(1, 3) => {
                self.slow = Some(fresh);
                return Ok(());
            }
            None => fresh,
        };
        let built = finish(builder.build_snapshot())?;
        let position = built.meta.last_log_id;
        assert!(
            position >= self.snapshot,
            "I17: the newest snapshot is {position:?} after {:?}",
            self.snapshot
        );
        self.snapshot = position;
        self.say(|| format!("snapshot of {position:?}"));
        self.tally.built += 1;
        Ok(())
    }

    fn purge(&mut self) -> io::Result<()> {
        let Some(snapshot) = self.snapshot else { return Ok(()) };
        let first = self.model.now.first();
        if snapshot.index < first {
            return Ok(());
        }
        let upto = first + self.dice.below(snapshot.index + 1 - first);
        let id = if upto == snapshot.index {
            Some(snapshot)
        } else {
            self.model.now.get(upto).map(|entry| entry.log_id)
        };
        let Some(id) = id else { return Ok(()) };
        self.purge_to(id)
    }

    fn purge_to(&mut self, id: LogId) -> io::Result<()> {
        let number = self.model.did(Op::Purge(id));
        self.say(|| format!("purge to {id}"));
        self.staged += 100;
        let Node { log, writer, .. } = self.node.as_mut().expect("up");
        drive(writer, log.purge(id))?;
        self.model.acknowledged(number);
        Ok(())
    }

    /// A leader sends a snapshot that covers more than is committed here.
    fn install(&mut self) -> io::Result<()> {
        self.apply_committed()?;
        let disk = SimDisk::new(1);
        let leader =
            Node::open(&disk, Options::default()).map_err(|error| io::Error::other(error.to_string()))?;
        let mut copy = Machine::new(self.node().shared.clone(), leader.snapshots.clone());
        let mut machine = leader.machine;
        if self.applied > 0 {
            let built = finish(async { copy.get_snapshot_builder().await.build_snapshot().await })?;
            finish(machine.install_snapshot(&built.meta, built.snapshot))?;
        }
        let (begin, same) = (self.commit, self.dice.chance(1, 2));
        let mut entries = Vec::new();
        self.term += 1;
        for index in begin..=begin + self.dice.below(8) {
            let ours = self.model.now.get(index).filter(|_| same).cloned();
            entries.push(ours.unwrap_or_else(|| self.entry(index)));
        }
        finish(machine.apply(stream::iter(entries.clone().into_iter().map(|entry| Ok((entry, None))))))?;
        let built = finish(async { machine.get_snapshot_builder().await.build_snapshot().await })?;
        for entry in &entries {
            self.note(entry);
        }
        // It is committed elsewhere; here it counts once it is installed.
        self.commit = begin;
        let ahead = self.history.split_off(&begin);
        self.ahead = built.meta.last_log_id.map(|last| (last, ahead));
        let received = self.receive(&built.snapshot)?;
        self.take_over(&built.meta, received)
    }

    fn receive(
        &mut self,
        snapshot: &crate::tier_s::machine::SnapshotFile,
    ) -> io::Result<crate::tier_s::machine::SnapshotFile> {
        use quorate_grpc::SnapshotFiles;
        use quorate_grpc::SnapshotSink;
        use quorate_grpc::SnapshotSource;
        let snapshots = self.node().snapshots.clone();
        let mut source = snapshots.open(snapshot)?;
        let length = source.length();
        let mut sink = snapshots.create("leader", length)?;
        let piece = 100 + self.dice.below(3000);
        let mut at = 0;
        while at < length {
            let mut bytes = vec![0; piece.min(length - at) as usize];
            source.read_at(at, &mut bytes)?;
            sink.write(&bytes)?;
            at += bytes.len() as u64;
        }
        sink.finish()
    }

    fn take_over(
        &mut self,
        meta: &quorate::type_config::alias::SnapshotMetaOf<Types>,
        snapshot: crate::tier_s::machine::SnapshotFile,
    ) -> io::Result<()> {
        let Some(last) = meta.last_log_id else { return Ok(()) };
        let known = self.model.now.get(last.index).map(|entry| entry.log_id);
        if known.is_some_and(|known| known != last) {
            // What stands from there on belongs to another history.
            self.truncate_to(last.index)?;
        }
        self.begun.insert(last);
        self.say(|| format!("install a snapshot of {last}"));
        let meta =
            SnapshotMeta { last_log_id: meta.last_log_id, last_membership: meta.last_membership.clone() };
        finish(self.node().machine.install_snapshot(&meta, snapshot))?;
        self.catch_up(last);
        self.snapshot = Some(last);
        self.applied = last.index + 1;
        self.tally.installed += 1;
        self.check_state();
        self.purge_to(last)
    }

    /// If this is the snapshot that was being installed, what it covers is committed here too.
    fn catch_up(&mut self, snapshot: LogId) {
        if let Some((_, ahead)) = self.ahead.take_if(|(id, _)| *id == snapshot) {
            self.history.extend(ahead);
            self.commit = snapshot.index + 1;
        }
    }

    /// I16: what is read is what was written.
    fn read(&mut self) -> io::Result<()> {
        let (first, next) = (self.model.now.first(), self.model.now.next());
        let from = first.saturating_sub(1) + self.dice.below(next - first + 2);
        let to = from + self.dice.below(12);
        let Node { log, writer, .. } = self.node.as_mut().expect("up");
        let found = drive(writer, async {
            let mut reader = log.get_log_reader().await;
            reader.try_get_log_entries(from..to).await
        })?;
        let expected: Vec<Entry> =
            (from..to).filter_map(|index| self.model.now.get(index).cloned()).collect();
        assert!(found == expected, "I16: entries {from}..{to} are read otherwise than they were written");
        let state = self.node().log.get_log_state().now_or_never().expect("at once")?;
        assert_eq!(state.last_log_id, self.model.now.last(), "I16: the last entry");
        assert_eq!(state.last_purged_log_id, self.model.now.purged, "I16: the last purged entry");
        self.tally.log_reads += 1;
        Ok(())
    }

    /// The process or the machine goes down and comes up.
    fn restart(&mut self, cut: PowerCut) {
        self.collect();
        self.say(|| format!("restart {cut:?}"));
        self.tally.crashes += 1;
        // What destructors do to the disk comes to nothing.
        self.disk.cut_power();
        self.slow = None;
        self.node = None;
        self.waiting.clear();
        self.disk.restart(cut);
        let garbage = matches!(cut, PowerCut::Tear { left: Left::Garbage, .. });
        let damaged = self.damaged;
        self.damaged |= garbage;
        self.trouble_down();
        self.start();
        // Once it is up, what the power cut left is gone.
        self.damaged = damaged || self.damaged && !garbage;
    }

    fn start(&mut self) {
        for _ in 0..STARTS_MAX {
            if self.dice.chance(1, 6) {
                self.disk.cut_power_at(Some(self.disk.changes() + self.dice.below(12)));
            }
            let opened = Node::open(&self.disk, self.options.clone());
            let opened = opened.and_then(|node| {
                self.node = Some(node);
                self.found().map_err(Refused::Snapshots)
            });
            if self.disk.is_gone() {
                self.node = None;
                let mut cut = draw_cut(&mut self.dice);
                if let PowerCut::Tear { left, .. } = &mut cut {
                    *left = Left::Old;
                }
                self.say(|| format!("the power fails while it starts: {cut:?}"));
                self.disk.restart(cut);
                continue;
            }
            self.disk.cut_power_at(None);
            let Err(refused) = opened else { return };
            self.node = None;
            self.say(|| format!("refuses to start: {refused}"));
            if self.ailing && refused.is_passing() {
                self.disk.heal();
                continue;
            }
            assert!(self.damaged, "I18: {refused}, on a sound disk");
            self.tally.refused += 1;
            self.over = true;
            return;
        }
        panic!("I18: the node does not start");
    }

    /// Looks at what a start found, and brings the state machine up as the library does.
    fn found(&mut self) -> io::Result<()> {
        let node = self.node.as_mut().expect("up");
        let mut reader = node.log.get_log_reader().now_or_never().expect("at once");
        let vote = reader.read_vote().now_or_never().expect("at once")?;
        let mark = node.log.read_committed().now_or_never().expect("at once")?;
        let contents = Contents::read(node)?;
        let newest = node.snapshots.newest().map(|stored| stored.position);
        let current = finish(node.machine.get_current_snapshot())?;
        self.say(|| format!("starts with {:?} to {:?}", contents.purged, contents.last()));
        self.model.check_log(contents, self.lenient);
        self.model.check_vote(vote);
        self.model.check_mark(mark);
        let last = newest.as_ref().and_then(|position| position.applied);
        assert!(
            last >= self.snapshot || self.damaged,
            "I13: the newest snapshot is {last:?}, acknowledged was {:?}",
            self.snapshot
        );
        assert!(last.is_none_or(|last| self.begun.contains(&last)), "I17: snapshot {last:?} never was");
        let purged = self.model.now.purged;
        if purged.map(|id| id.index) > last.map(|id| id.index) {
            assert!(self.damaged, "I13: purged up to {purged:?}, and the newest snapshot is {last:?}");
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        self.snapshot = last;
        self.applied = 0;
        if let Some(last) = last {
            self.catch_up(last);
        }
        self.ahead = None;
        if let (Some(snapshot), Some(last)) = (current, last) {
            finish(self.node().machine.install_snapshot(&snapshot.meta, snapshot.snapshot))?;
            self.applied = last.index + 1;
            self.check_state();
            let known = self.model.now.get(last.index).map(|entry| entry.log_id);
            if self.model.now.next() <= last.index || known.is_some_and(|known| known != last) {
                self.purge_to(last)?;
            }
        }
        if self.lenient {
            self.commit = self.commit.min(self.model.now.next()).max(self.applied);
            self.history.retain(|index, _| *index < self.commit);
        }
        assert!(self.commit <= self.model.now.next(), "I13: what was committed is gone");
        self.term += 1;
        self.apply_committed()
    }
}

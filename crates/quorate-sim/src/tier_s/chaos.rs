//! A random schedule for one node's storage: what the library does to it, crashes and restarts.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream;
use quorate::Membership;
use quorate::RaftLogReader;
use quorate::RaftSnapshotBuilder;
use quorate::SnapshotMeta;
use quorate::storage::IOFlushed;
use quorate::storage::RaftLogStorage;
use quorate::storage::RaftStateMachine;
use quorate_log::Codec;
use quorate_log::LogError;
use quorate_log::Options;
use quorate_log::Postcard;
use quorate_log::sim_disk::Fault;
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
use crate::tier_s::machine::Chain;
use crate::tier_s::machine::Entry;
use crate::tier_s::machine::LogId;
use crate::tier_s::machine::Machine;
use crate::tier_s::machine::Payload;
use crate::tier_s::machine::Shared;
use crate::tier_s::machine::Snapshots;
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
use crate::tier_s::node::unless_dropped;
use crate::trace::Trace;
use crate::trace::TraceLine;

/// How often a node is started after a failure that may pass.
const STARTS_MAX: usize = 20;

/// Bytes of a segment: mostly so few that a schedule goes through several.
fn draw_segment_bytes(dice: &mut Dice) -> u64 {
    if dice.chance(3, 4) { 16 * 1024 } else { 64 * 1024 }
}

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
    /// The last power cut left garbage where the disk was writing, which may look like damage to the log.
    garbage: bool,
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
    /// What the snapshots cover whose installing was begun, beyond what is committed here.
    ahead: BTreeMap<LogId, BTreeMap<u64, Applied>>,
    /// The newest snapshot that is acknowledged.
    snapshot: Option<LogId>,
    /// All that were ever begun.
    begun: BTreeSet<LogId>,
    slow: Option<Builder>,
    /// Bytes staged since the last step that wrote, and before it since the one before, at most.
    staged: u64,
    written: u64,
    /// How many more failures the process lives through; none has happened yet if there is no number.
    patience: Option<u64>,
    /// The newest segment when the node was started last.
    pub sealed: String,
    /// The copies of the vote that the disk has lied about.
    vote_lies: Vec<String>,
    over: bool,
    trace: Option<Trace>,
}

impl Chaos {
    pub fn new(seed: u64, mut dice: Dice, trace: Option<Trace>) -> Self {
        let options = Options {
            segment_bytes: draw_segment_bytes(&mut dice),
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
            garbage: false,
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
            ahead: BTreeMap::new(),
            snapshot: None,
            begun: BTreeSet::new(),
            slow: None,
            staged: 0,
            written: 0,
            patience: None,
            sealed: String::new(),
            vote_lies: Vec::new(),
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
            0..=26 => self.append(6),
            27..=29 => self.append(30),
            30..=46 => self.write(),
            47..=50 => self.idle(),
            51..=52 => self.quiet(),
            53..=58 => self.truncate(),
            59..=64 => self.vote(),
            65..=74 => self.apply(),
            75..=77 => self.build(),
            78..=79 => self.compact(),
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
            self.tally.power_cuts += 1;
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

    /// An operation failed. Where that may be, the process is started anew, at once or when more has failed: what
    /// failed for good must not go on.
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
        let drawn = if self.dice.chance(1, 3) { 1 + self.dice.below(5) } else { 0 };
        let left = self.patience.unwrap_or(drawn);
        self.patience = left.checked_sub(1);
        if self.patience.is_some() {
            return;
        }
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

    fn append(&mut self, most: u64) -> io::Result<()> {
        let first = self.model.now.next();
        let count = 1 + self.dice.below(most);
        let entries: Vec<Entry> = (first..first + count).map(|index| self.entry(index)).collect();
        let (tx, rx) = TokioOneshot::channel();
        let Node { log, writer, .. } = self.node.as_mut().expect("up");
        let appended = drive(writer, log.append(entries.clone(), IOFlushed::signal(tx)));
        self.say(|| format!("append {first}..{}: {appended:?}", first + count));
        appended?;
        let mut number = 0;
        for entry in entries {
            self.staged += 100 + <Postcard as Codec<Types>>::entry_size(&entry);
            number = self.model.did(Op::Append(entry));
        }
        self.waiting.push((number, rx));
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let stepped = self.node().writer.step();
        self.say(|| format!("step: {stepped:?}"));
        if stepped? {
            self.written = std::mem::take(&mut self.staged);
        }
        Ok(())
    }

    fn idle(&mut self) -> io::Result<()> {
        self.write()?;
        let noted = self.node().writer.idle();
        self.say(|| format!("idle: {noted:?}"));
        noted.map_err(io::Error::from)
    }

    /// Nothing but commit marks and the notes of an idle log: much is written, and nothing synced, when the power fails.
    fn quiet(&mut self) -> io::Result<()> {
        self.say(|| "nothing but marks".to_owned());
        for _ in 0..1 + self.dice.below(12) {
            self.mark(self.applied)?;
            self.node().writer.idle()?;
        }
        if self.dice.chance(1, 2) {
            let cut = draw_cut(&mut self.dice);
            self.restart(cut);
        }
        Ok(())
    }

    /// Saves the commit mark before this index, if there is one.
    fn mark(&mut self, before: u64) -> io::Result<()> {
        let Some(last) = before.checked_sub(1) else { return Ok(()) };
        let mark = self.history.get(&last).map(|applied| applied.id);
        self.model.marks.push(mark);
        self.staged += 100;
        let Node { log, writer, .. } = self.node.as_mut().expect("up");
        drive(writer, log.save_committed(mark))
    }

    fn id_before(&self, index: u64) -> Option<LogId> {
        let before = index.checked_sub(1)?;
        self.model.now.get(before).map(|entry| entry.log_id).or(self.model.now.purged)
    }

    fn truncate(&mut self) -> io::Result<()> {
        let lowest = self.commit.max(self.model.now.first());
        let from = self.model.now.next().saturating_sub(self.dice.below(6)).max(lowest);
        let patient = !self.dice.chance(1, 4);
        self.truncate_to(from, patient)
    }

    fn truncate_to(&mut self, from: u64, patient: bool) -> io::Result<()> {
        let last = self.id_before(from);
        let number = self.model.did(Op::Truncate(from));
        self.say(|| format!("truncate from {from}"));
        self.term += 1;
        self.staged += 100;
        let Node { log, writer, .. } = self.node.as_mut().expect("up");
        if unless_dropped(patient, writer, log.truncate_after(last))? {
            self.model.acknowledged(number);
        }
        Ok(())
    }

    fn vote(&mut self) -> io::Result<()> {
        self.term += 1;
        let vote = Vote::new(self.term, 1 + self.dice.below(3));
        let number = self.model.votes(vote);
        self.say(|| format!("vote {vote}"));
        let patient = !self.dice.chance(1, 5);
        let Node { log, writer, .. } = self.node.as_mut().expect("up");
        if unless_dropped(patient, writer, log.save_vote(&vote))? {
            self.model.vote_acknowledged(number);
            self.has_voted = true;
        }
        Ok(())
    }

    /// Commits some more, and applies it as it is read from the log.
    fn apply(&mut self) -> io::Result<()> {
        let room = self.model.safe_next().saturating_sub(self.commit);
        let upto = self.commit + self.dice.below(room + 1);
        self.commit_to(upto);
        if self.dice.chance(2, 3) {
            self.mark(upto)?;
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
        self.cut_soon();
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

    /// All that can be is committed, applied, in a snapshot and purged; and then the log goes on, where the purge may be
    /// the last thing in a segment that is not needed any more.
    fn compact(&mut self) -> io::Result<()> {
        self.write()?;
        self.collect();
        self.commit_to(self.model.safe_next());
        self.apply_committed()?;
        self.slow = None;
        self.build()?;
        let Some(snapshot) = self.snapshot.filter(|last| last.index >= self.model.now.first()) else {
            return Ok(());
        };
        self.purge_to(snapshot, false)?;
        self.append(30)
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
        self.cut_soon();
        let patient = self.dice.chance(1, 2);
        self.purge_to(id, patient)?;
        // What follows may begin a segment in the same batch, so that the one with the purge goes.
        if patient { Ok(()) } else { self.append(30) }
    }

    fn purge_to(&mut self, id: LogId, patient: bool) -> io::Result<()> {
        let number = self.model.did(Op::Purge(id));
        self.say(|| format!("purge to {id}"));
        self.staged += 100;
        let Node { log, writer, .. } = self.node.as_mut().expect("up");
        if unless_dropped(patient, writer, log.purge(id))? {
            self.model.acknowledged(number);
        }
        Ok(())
    }

    /// Lets the power fail amid what comes next, now and then.
    fn cut_soon(&mut self) {
        if self.dice.chance(1, 5) {
            self.disk.cut_power_at(Some(self.disk.changes() + self.dice.below(8)));
        }
    }

    /// A leader sends a snapshot that covers more than is committed here.
    fn install(&mut self) -> io::Result<()> {
        self.apply_committed()?;
        let leader = Arc::new(Snapshots::open(SimDisk::new(1))?);
        let mut copy = Machine::new(self.node().shared.clone(), leader.clone());
        let mut machine = Machine::new(Shared::new(Chain::default()), leader);
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
        self.ahead.extend(built.meta.last_log_id.map(|last| (last, ahead)));
        self.cut_soon();
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
            self.truncate_to(last.index, true)?;
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
        self.purge_to(last, true)
    }

    /// If this is the snapshot that was being installed, what it covers is committed here too.
    fn catch_up(&mut self, snapshot: LogId) {
        if let Some(ahead) = self.ahead.remove(&snapshot) {
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
        self.patience = None;
        self.waiting.clear();
        self.disk.restart(cut);
        self.garbage = matches!(cut, PowerCut::Tear { left: Left::Garbage, .. });
        self.trouble_down();
        if self.dice.chance(1, 8) {
            self.options.segment_bytes = draw_segment_bytes(&mut self.dice);
        }
        self.start();
        // Once it is up, what the power cut left is gone.
        self.garbage = false;
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
            let Err(refused) = opened else {
                self.sealed = self.last_segment();
                return;
            };
            self.node = None;
            self.say(|| format!("refuses to start: {refused}"));
            if self.ailing && refused.is_passing() {
                self.disk.heal();
                continue;
            }
            // Of the two copies of the vote, one is never in the making.
            let unsure = self.garbage && !matches!(refused, Refused::Log(LogError::VoteLost { .. }));
            assert!(self.damaged || unsure, "I18: {refused}, on a sound disk");
            self.tally.refused += 1;
            self.over = true;
            return;
        }
        panic!("I18: the node does not start");
    }

    /// Whether the disk has lied about the vote in a way that two copies cannot make good. They can where one write of the
    /// first copy was lost, since the second is written after it.
    fn is_vote_unsure(&mut self) -> bool {
        let lies = self.disk.take_happened().into_iter();
        let lies = lies.filter(|lie| matches!(lie.fault, Some(Fault::LoseWrite | Fault::Misdirect)));
        self.vote_lies.extend(lies.map(|lie| lie.file).filter(|file| file.starts_with("vote")));
        !self.vote_lies.is_empty() && self.vote_lies != ["vote.0"]
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
        let lenient = self.is_vote_unsure();
        self.model.check_vote(vote, lenient);
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
        let lost = last.map(|last| last.index) < self.snapshot.map(|snapshot| snapshot.index);
        self.snapshot = last;
        self.applied = 0;
        if let Some(last) = last {
            self.catch_up(last);
        }
        self.ahead.clear();
        if let (Some(snapshot), Some(last)) = (current, last) {
            finish(self.node().machine.install_snapshot(&snapshot.meta, snapshot.snapshot))?;
            self.applied = last.index + 1;
            self.check_state();
            let known = self.model.now.get(last.index).map(|entry| entry.log_id);
            let differs = known.is_some_and(|known| known != last);
            if differs {
                self.truncate_to(last.index, true)?;
            }
            if differs || self.model.now.next() <= last.index {
                self.purge_to(last, true)?;
            }
        }
        if self.lenient || lost {
            let kept = |index: &u64| {
                let entry = self.model.now.get(*index).map(|entry| entry.log_id);
                entry.is_some() && entry == self.history.get(index).map(|applied| applied.id)
            };
            let kept = (self.applied..self.commit).take_while(kept).count() as u64;
            self.commit = self.applied + kept;
            self.history.retain(|index, _| *index < self.commit);
        }
        assert!(self.commit <= self.model.now.next(), "I13: what was committed is gone");
        self.term += 1;
        self.apply_committed()
    }
}

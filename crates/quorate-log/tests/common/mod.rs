//! A model of what a log must hold, and a workload drawn from a seed.
#![allow(dead_code, unreachable_pub)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use quorate_log::sim_disk::SimDisk;
use quorate_log::{Completion, EntryBatch, Log, LogError, Opened, Options, Writer};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command(pub Vec<u8>);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

quorate::declare_raft_types!(
    pub Types:
        D = Command,
        R = (),
);

/// Small segments and little memory, so that every path is taken soon.
pub fn small() -> Options {
    Options { segment_bytes: 64 * 1024, tail_bytes: 8 * 1024, ..Options::default() }
}

pub fn open(disk: &SimDisk) -> Result<Opened<SimDisk>, LogError> {
    quorate_log::open(disk.clone(), small())
}

pub fn ignore() -> Completion {
    Box::new(|_| {})
}

/// Dice (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// A payload that tells which write of which index it is.
pub fn payload(index: u64, write: u64, len: usize) -> Vec<u8> {
    let mut bytes = format!("entry {index} of write {write} ").into_bytes();
    let mut dice = Dice(index ^ (write << 32));
    let noise: Vec<u8> = (0..64).map(|_| dice.roll(256) as u8).collect();
    while bytes.len() < len {
        bytes.extend_from_slice(&noise);
    }
    bytes.truncate(len.max(30));
    bytes
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub purged: Option<u64>,
    pub first: u64,
    pub entries: Vec<Bytes>,
}

impl Contents {
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub fn of(log: &Log<SimDisk>) -> Result<Self, LogError> {
        let bounds = log.bounds()?;
        let purged = bounds.purged.map(|(index, id)| {
            assert_eq!(id, format!("id {index}"));
            index
        });
        let Some((low, high)) = bounds.entries else {
            return Ok(Self { purged, first: purged.map_or(0, |purged| purged + 1), entries: Vec::new() });
        };
        let (first, entries) = log.read(0..u64::MAX, u64::MAX)?;
        assert_eq!((first, first + entries.len() as u64 - 1), (low, high));
        Ok(Self { purged, first, entries })
    }
}

/// Runs writes against a log and a model; knows each state that a crash may leave.
pub struct Workload {
    pub dice: Dice,
    pub states: Vec<Contents>,
    pub votes: Vec<Option<Vec<u8>>>,
    pub acknowledged: Arc<AtomicUsize>,
    pub acknowledged_vote: Arc<AtomicUsize>,
    writes: u64,
}

impl Workload {
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed),
            states: vec![Contents::default()],
            votes: vec![None],
            acknowledged: Arc::default(),
            acknowledged_vote: Arc::default(),
            writes: 0,
        }
    }

    pub fn now(&self) -> &Contents {
        self.states.last().unwrap()
    }

    fn done(&self) -> Completion {
        acknowledge(&self.acknowledged, self.states.len() - 1)
    }

    /// One write or one step of the writer.
    pub fn act(&mut self, log: &Log<SimDisk>, writer: &mut Writer<SimDisk>) -> Result<(), LogError> {
        self.writes += 1;
        match self.dice.roll(16) {
            0..=5 => self.append(log)?,
            6 => {
                let from = self.now().next().saturating_sub(self.dice.roll(4));
                let mut after = self.now().clone();
                let from = from.max(after.first);
                after.entries.truncate((from - after.first) as usize);
                self.states.push(after);
                log.truncate(from, self.done())?;
            }
            7 => {
                let upto = self.now().first + self.dice.roll(self.now().entries.len() as u64 + 2);
                let mut after = self.now().clone();
                after.purged = Some(upto);
                let gone = ((upto + 1 - after.first) as usize).min(after.entries.len());
                after.entries.drain(..gone);
                after.first = upto + 1;
                self.states.push(after);
                log.purge(upto, format!("id {upto}").as_bytes(), self.done())?;
            }
            8 => {
                let vote = format!("vote {}", self.votes.len()).into_bytes();
                self.votes.push(Some(vote.clone()));
                log.save_vote(&vote, acknowledge(&self.acknowledged_vote, self.votes.len() - 1))?;
            }
            9 => log.save_committed(Some(format!("committed {}", self.writes).as_bytes()))?,
            10 => writer.idle()?,
            _ => {
                writer.step()?;
            }
        }
        Ok(())
    }

    pub fn append(&mut self, log: &Log<SimDisk>) -> Result<(), LogError> {
        let mut batch = EntryBatch::new();
        for _ in 0..=self.dice.roll(6) {
            let index = self.now().next();
            let len = self.dice.roll(3000) as usize;
            let bytes = payload(index, self.writes, len);
            batch.push(index, 7, &bytes);
            let mut after = self.now().clone();
            after.entries.push(bytes.into());
            self.states.push(after);
        }
        log.append(&batch, self.done())
    }
}

fn acknowledge(cell: &Arc<AtomicUsize>, value: usize) -> Completion {
    let cell = Arc::clone(cell);
    Box::new(move |outcome| {
        if outcome.is_ok() {
            cell.fetch_max(value, Ordering::SeqCst);
        }
    })
}

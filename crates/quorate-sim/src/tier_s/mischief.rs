//! What goes wrong with the disk, beyond its power: each seed keeps to one class.

use std::io;

use quorate_log::Directory;
use quorate_log::sim_disk::Fault;
use quorate_log::sim_disk::Left;
use quorate_log::sim_disk::PowerCut;

use crate::dice::Dice;
use crate::tier_s::chaos::Chaos;

/// What a seed's disk does besides losing its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing.
    Sound,
    /// Reads, writes and syncs fail.
    Failing,
    /// It is full at times.
    Full,
    /// What is on it changes or goes away.
    Rotten,
    /// Writes are lost or land elsewhere.
    Lying,
}

impl Class {
    pub fn draw(dice: &mut Dice) -> Self {
        match dice.below(10) {
            0..=3 => Self::Sound,
            4..=5 => Self::Failing,
            6 => Self::Full,
            7..=8 => Self::Rotten,
            _ => Self::Lying,
        }
    }
}

/// What a power cut does. Garbage is what a log may take for damage.
pub fn draw_cut(dice: &mut Dice) -> PowerCut {
    let sector = if dice.chance(1, 2) { 512 } else { 4096 };
    let left = match dice.below(8) {
        0 => Left::Zeroes,
        1 => Left::Garbage,
        _ => Left::Old,
    };
    match dice.below(6) {
        0 => PowerCut::LoseAll,
        1 | 2 => PowerCut::KeepAll,
        _ => PowerCut::Tear { sector, left },
    }
}

impl Chaos {
    /// Something goes wrong while the node is up.
    pub fn trouble(&mut self) {
        let soon = self.disk.changes() + self.dice.below(12);
        match self.class {
            Class::Sound => {}
            Class::Failing => {
                self.ailing = true;
                self.tally.disk_errors += 1;
                match self.dice.below(8) {
                    0..=3 => self.disk.fault_at(soon, Fault::FailSync),
                    4 => self.disk.fault_at(soon, Fault::FailWrite(io::ErrorKind::Other)),
                    5 => self.disk.fault_at(soon, Fault::FailWrite(io::ErrorKind::StorageFull)),
                    6 => self.fail_some_reads(1),
                    _ => self.fail_some_reads(u64::MAX),
                }
            }
            Class::Full => {
                self.ailing = true;
                self.tally.full_disks += 1;
                self.say(|| "the disk is full, or is not".to_owned());
                let used: usize = self.files().into_iter().map(|(_, len)| len as usize).sum();
                let room = self.dice.below(70_000);
                self.disk.set_capacity(self.dice.chance(2, 3).then_some(used as u64 + room));
            }
            Class::Rotten if self.dice.chance(1, 4) => self.damage(),
            Class::Rotten => {}
            Class::Lying => {
                (self.damaged, self.lenient) = (true, true);
                self.tally.damages += 1;
                let fault = if self.dice.chance(1, 2) { Fault::LoseWrite } else { Fault::Misdirect };
                self.disk.fault_at(soon, fault);
            }
        }
    }

    /// Something goes wrong while the node is down.
    pub fn trouble_down(&mut self) {
        match self.class {
            Class::Rotten if self.dice.chance(1, 2) => self.damage(),
            Class::Failing if self.dice.chance(1, 4) => {
                self.ailing = true;
                self.tally.disk_errors += 1;
                (0..1 + self.dice.below(3)).for_each(|_| self.fail_some_reads(1));
            }
            _ => {}
        }
    }

    /// Lets reads of a part of some file fail, so often.
    fn fail_some_reads(&mut self, times: u64) {
        let files = self.files();
        let Some((name, len)) = self.dice.pick(&files).cloned() else { return };
        let from = self.dice.below(len);
        self.say(|| format!("reads of {name} from {from} on fail"));
        self.disk.fail_reads(&name, from..from + 4096, times);
    }

    fn names(&self) -> Vec<String> {
        self.disk.list().unwrap_or_default()
    }

    /// The newest segment.
    pub fn last_segment(&self) -> String {
        self.names().into_iter().rfind(|name| name.ends_with(".seg")).unwrap_or_default()
    }

    fn files(&self) -> Vec<(String, u64)> {
        self.names().into_iter().filter_map(|name| Some((name.clone(), self.disk.file_len(&name)?))).collect()
    }

    /// Damages one place of one file. One at a time: an opening mends what it can, or refuses.
    fn damage(&mut self) {
        if self.damaged {
            return;
        }
        let files = self.files();
        let segments: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".seg")).cloned().collect();
        let chosen = if self.dice.chance(1, 2) { &segments } else { &files };
        let Some((name, len)) = self.dice.pick(chosen).cloned() else { return };
        self.damaged = true;
        self.tally.damages += 1;
        let is_last = segments.last().is_some_and(|(last, _)| *last == name);
        if self.dice.chance(1, 8) {
            // The seal of the segment before is synced by the next start; until then nothing may tell of the last one.
            self.lenient |= is_last && name != self.sealed;
            self.say(|| format!("{name} is gone"));
            let _ = self.disk.remove(&name);
            let _ = self.disk.sync();
            return;
        }
        let bytes = self.disk.contents(&name).unwrap_or_default();
        // What is in use, and a little more.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |at| at as u64 + 1);
        let (from, to) = if name.ends_with(".seg") && self.dice.chance(1, 4) {
            self.damage_record(&name, &bytes)
        } else {
            self.damage_place(&name, (end + 600).min(len).max(1))
        };
        // Damage to what was written last looks like a write that did not arrive, unless more is behind it.
        if is_last && to + self.recent_bytes() + 512 > end {
            self.lenient = true;
        }
        self.say(|| format!("{name} is damaged at {from}..{to} of {end}"));
    }

    /// Flips a bit of what a record says of itself.
    fn damage_record(&mut self, name: &str, bytes: &[u8]) -> (u64, u64) {
        let records = records(bytes);
        let record = self.dice.pick(&records).copied().unwrap_or(SEGMENT_HEADER);
        let (byte, bit) = match self.dice.below(3) {
            0 => (RECORD_KIND, self.dice.below(3)),
            _ => (self.dice.below(RECORD_HEADER as u64) as usize, self.dice.below(8)),
        };
        let at = (record + byte) as u64;
        self.disk.rot(name, at, |byte| byte ^ 1 << bit);
        (at, at + 1)
    }

    /// Changes a byte or a block somewhere before `reach`: often near it, where it was written last.
    fn damage_place(&mut self, name: &str, reach: u64) -> (u64, u64) {
        let at = if self.dice.chance(1, 3) {
            reach - 1 - self.dice.below(reach.min(1500))
        } else {
            self.dice.below(reach)
        };
        let block = if self.dice.chance(1, 2) { 512 } else { 4096 };
        let (from, to) = match self.dice.below(3) {
            0 => (at, at + 1),
            _ => (at / block * block, (at / block + 1) * block),
        };
        let mode = self.dice.below(3);
        let mut noise = Dice(self.dice.roll());
        let bit = 1 << self.dice.below(8);
        let one = to - from == 1;
        self.disk.rot_all(name, from..to, |_, byte| match mode {
            _ if one => byte ^ bit,
            0 | 1 => 0,
            _ => noise.roll() as u8,
        });
        (from, to)
    }
}

/// Where in a segment its records begin, and how long a record is without its payload.
const SEGMENT_HEADER: usize = 4096;
const RECORD_HEADER: usize = 48;
/// Where in a segment the offset of its first record is.
const SEGMENT_START: usize = 48;
/// Where in a record the length of its payload, its offset in the log and its kind are.
const RECORD_LEN: usize = 8;
const RECORD_OFFSET: usize = 16;
const RECORD_KIND: usize = 44;

/// Where the records of a segment begin, one after the other.
fn records(bytes: &[u8]) -> Vec<usize> {
    let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let mut found = Vec::new();
    let mut at = SEGMENT_HEADER;
    while let (Some(start), Some(offset), Some(len)) =
        (word(SEGMENT_START), word(at + RECORD_OFFSET), word(at + RECORD_LEN))
        && offset == start + (at - SEGMENT_HEADER) as u64
        && bytes.get(at + RECORD_KIND).is_some_and(|kind| *kind != 0)
    {
        found.push(at);
        at += (RECORD_HEADER + (len as u32) as usize).next_multiple_of(8);
    }
    found
}

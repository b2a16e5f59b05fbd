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
                    kind => {
                        let Some((name, len)) = self.some_file() else { return };
                        let from = self.dice.below(len);
                        let times = if kind == 6 { 1 + self.dice.below(3) } else { u64::MAX };
                        self.disk.fail_reads(&name, from..from + 4096, times);
                    }
                }
            }
            Class::Full => {
                self.ailing = true;
                self.tally.disk_errors += 1;
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
        if self.class == Class::Rotten && self.dice.chance(1, 2) {
            self.damage();
        }
    }

    fn files(&self) -> Vec<(String, u64)> {
        let names = self.disk.list().unwrap_or_default();
        names
            .into_iter()
            .filter_map(|name| {
                let len = self.disk.contents(&name)?.len() as u64;
                Some((name, len))
            })
            .collect()
    }

    fn some_file(&mut self) -> Option<(String, u64)> {
        let files = self.files();
        self.dice.pick(&files).cloned()
    }

    /// Damages one place of one file. One at a time: an opening mends what it can, or refuses.
    fn damage(&mut self) {
        if self.damaged {
            return;
        }
        let files = self.files();
        let segments: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".seg")).cloned().collect();
        let last = segments.last().map(|(name, _)| name.clone()).unwrap_or_default();
        let chosen = if self.dice.chance(1, 2) { &segments } else { &files };
        let Some((name, len)) = self.dice.pick(chosen).cloned() else { return };
        self.damaged = true;
        self.tally.damages += 1;
        let bytes = self.disk.contents(&name).unwrap_or_default();
        // What is in use, and a little more.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |at| at as u64 + 1);
        if self.dice.chance(1, 20) {
            self.say(|| format!("{name} is gone"));
            let _ = self.disk.remove(&name);
            let _ = self.disk.sync();
            return;
        }
        // Half the time what is written last; else anywhere.
        let reach = (end + 600).min(len).max(1);
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
        self.disk.rot_all(&name, from..to, |_, byte| match mode {
            _ if one => byte ^ bit,
            0 | 1 => 0,
            _ => noise.roll() as u8,
        });
        // Damage to what was written last looks like a write that did not arrive, unless more is behind it.
        let recent = self.recent_bytes() + 512;
        if name == last && to + recent > end {
            self.lenient = true;
        }
        self.say(|| format!("{name} is damaged at {from}..{to} of {end}"));
    }
}

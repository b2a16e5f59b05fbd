//! What is left when the power fails.

use std::collections::BTreeMap;

use super::{SimDisk, World, put};

/// What a restart of the machine, or of the process alone, does to writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// All are lost.
    LoseAll,
    /// Only the process dies: all can be read still, and is no more durable than before.
    KeepAll,
    /// Each sector of this many bytes is kept or lost by lot.
    Tear {
        /// Bytes that are written whole or not at all.
        sector: usize,
        /// What is found where a write did not arrive.
        left: Left,
    },
}

/// What a write leaves that did not arrive whole, in the bytes that it was to change and nowhere else.
///
/// A disk that also loses what a write was to leave as it is would take from the log what an opening writes once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// What was there before.
    Old,
    /// Zeroes; but what was there before, where the write was to leave some of that as it is: a disk does not clear
    /// single bytes.
    Zeroes,
    /// Anything.
    Garbage,
}

impl SimDisk {
    /// Restarts the machine after a power cut, or the process: what was not synced is treated as `cut` says.
    /// Handles and the lock of before are dead.
    pub fn restart(&self, cut: PowerCut) {
        let mut world = self.world();
        world.boot = world.boot.saturating_add(1);
        world.locked = false;
        world.cut_at = None;
        world.gone = false;
        if cut == PowerCut::KeepAll {
            return;
        }
        let changes = std::mem::take(&mut world.name_changes);
        let mut names = world.durable_names.clone();
        // A file system keeps the order of its own records: what survives of them is a prefix.
        let kept = match cut {
            PowerCut::LoseAll | PowerCut::KeepAll => 0,
            PowerCut::Tear { .. } => world.roll(changes.len().saturating_add(1)),
        };
        for change in changes.into_iter().take(kept) {
            change.apply(&mut names);
        }
        world.names = names.clone();
        world.durable_names = names;
        let inodes: Vec<u64> = world.files.keys().copied().collect();
        for inode in inodes {
            let Some(mut file) = world.files.remove(&inode) else { continue };
            if !world.names.values().any(|used| *used == inode) {
                continue;
            }
            let unsynced = std::mem::take(&mut file.unsynced);
            if let PowerCut::Tear { sector, left } = cut {
                world.tear(&mut file.durable, &unsynced, sector, left);
            }
            file.current = file.durable.clone();
            world.files.insert(inode, file);
        }
    }
}

impl World {
    /// Of the writes that touch a sector, lets the first few arrive, by lot: sectors reach the disk in
    /// any order, but each one as it was at some moment.
    fn tear(&mut self, file: &mut Vec<u8>, writes: &[(u64, Vec<u8>)], sector: usize, left: Left) {
        let sector = sector.max(1) as u64;
        let mut pieces: BTreeMap<u64, Vec<(u64, &[u8])>> = BTreeMap::new();
        for (offset, bytes) in writes {
            let (mut at, mut rest) = (*offset, bytes.as_slice());
            while !rest.is_empty() {
                let number = at.checked_div(sector).unwrap_or(0);
                let room = number.saturating_add(1).saturating_mul(sector).saturating_sub(at);
                let (here, after) =
                    rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
                pieces.entry(number).or_default().push((at, here));
                at = at.saturating_add(here.len() as u64);
                rest = after;
            }
        }
        let mode = self.roll(4);
        for pieces in pieces.into_values() {
            let arrive = match mode {
                0 => 0,
                1 => pieces.len(),
                _ => self.roll(pieces.len().saturating_add(1)),
            };
            for (number, (at, bytes)) in pieces.into_iter().enumerate() {
                if number < arrive {
                    put(file, at, bytes);
                } else if left != Left::Old {
                    let garbage = left == Left::Garbage;
                    let from = usize::try_from(at).unwrap_or(usize::MAX);
                    let stays = |at: usize, byte: u8| byte != 0 && file.get(at) == Some(&byte);
                    if !garbage && (from..).zip(bytes).any(|(at, byte)| stays(at, *byte)) {
                        continue;
                    }
                    let mess: Vec<u8> = (from..)
                        .zip(bytes)
                        .map(|(at, byte)| match file.get(at) {
                            Some(was) if was == byte => *byte,
                            _ if garbage => self.roll(256) as u8,
                            _ => 0,
                        })
                        .collect();
                    put(file, at, &mess);
                }
            }
        }
    }
}

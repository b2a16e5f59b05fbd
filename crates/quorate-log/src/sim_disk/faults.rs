//! What goes wrong while the disk is in use: on demand, or by lot.

use std::io;
use std::ops::Range;

use super::{SimDisk, World, put};

/// What goes wrong with one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A write fails, and a part of it has arrived.
    FailWrite(io::ErrorKind),
    /// A sync fails. What it was to make durable never will be, whatever later syncs say, as on the usual file
    /// systems; it can be read until the power fails. Changes of names wait for the next sync of the directory.
    FailSync,
    /// A write says that it is done, and so does the sync after it; the disk keeps the old bytes.
    LoseWrite,
    /// The bytes of a write go to another place of the same file or of another one; where they belong, the old ones
    /// stay.
    Misdirect,
}

/// How often each fault happens by itself, in a million operations that it applies to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Odds {
    /// Reads that fail; the next attempt may succeed.
    pub failed_reads: u32,
    /// [`Fault::FailWrite`].
    pub failed_writes: u32,
    /// [`Fault::FailSync`].
    pub failed_syncs: u32,
    /// [`Fault::LoseWrite`].
    pub lost_writes: u32,
    /// [`Fault::Misdirect`].
    pub misdirected_writes: u32,
}

/// A fault that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Which; none for a read that failed.
    pub fault: Option<Fault>,
    /// The number of the operation; for a read, that of the next change.
    pub change: u64,
    /// The file; empty for the directory.
    pub file: String,
}

/// Bytes of a file that cannot be read, or not be written.
pub(super) struct BadBytes {
    inode: u64,
    bytes: Range<u64>,
    kind: io::ErrorKind,
    reads: bool,
    /// How often still.
    times: u64,
}

#[derive(Default)]
pub(super) struct Faults {
    due: Vec<(u64, Fault)>,
    odds: Odds,
    bad: Vec<BadBytes>,
    happened: Vec<Happened>,
}

impl SimDisk {
    /// Lets a fault happen to the first operation that it applies to, from the one of this number on.
    pub fn fault_at(&self, change: u64, fault: Fault) {
        self.world().faults.due.push((change, fault));
    }

    /// Lets faults happen by themselves from now on.
    pub fn set_odds(&self, odds: Odds) {
        self.world().faults.odds = odds;
    }

    /// Lets the next `times` reads of some of these bytes of a file fail; `u64::MAX` for all to come.
    pub fn fail_reads(&self, name: &str, bytes: Range<u64>, times: u64) {
        self.add_bad(name, bytes, io::ErrorKind::Other, true, times);
    }

    /// Lets the next `times` writes to some of these bytes of a file fail with an error of this kind.
    pub fn fail_writes(&self, name: &str, bytes: Range<u64>, kind: io::ErrorKind, times: u64) {
        self.add_bad(name, bytes, kind, false, times);
    }

    fn add_bad(&self, name: &str, bytes: Range<u64>, kind: io::ErrorKind, reads: bool, times: u64) {
        let mut world = self.world();
        let Some(inode) = world.names.get(name).copied() else { return };
        world.faults.bad.push(BadBytes { inode, bytes, kind, reads, times });
    }

    /// Ends all faults that last, and those to come. What is damaged stays so.
    pub fn heal(&self) {
        let mut world = self.world();
        world.capacity = None;
        world.faults = Faults { happened: std::mem::take(&mut world.faults.happened), ..Faults::default() };
    }

    /// The faults that have happened since this was asked last.
    pub fn take_happened(&self) -> Vec<Happened> {
        std::mem::take(&mut self.world().faults.happened)
    }

    /// Changes bytes of a file, also on the platter: `change` is given each position and what is there.
    pub fn rot_all(&self, name: &str, bytes: Range<u64>, mut change: impl FnMut(u64, u8) -> u8) {
        let mut world = self.world();
        let Some(inode) = world.names.get(name).copied() else { return };
        let Some(file) = world.files.get_mut(&inode) else { return };
        for offset in bytes {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let Some(was) = file.current.get(at).copied() else { return };
            let is = change(offset, was);
            for bytes in [&mut file.current, &mut file.durable] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = is;
                }
            }
        }
    }

    /// Changes a byte of a file, also on the platter.
    pub fn rot(&self, name: &str, offset: u64, change: impl Fn(u8) -> u8) {
        self.rot_all(name, offset..offset.saturating_add(1), |_, byte| change(byte));
    }
}

impl World {
    /// Whether the operation at hand meets a fault of which `applies` holds; else by lot.
    fn meet(&mut self, applies: impl Fn(Fault) -> bool, lots: &[(u32, Fault)]) -> Option<Fault> {
        let number = self.changes.saturating_sub(1);
        let due = self.faults.due.iter().position(|(from, fault)| *from <= number && applies(*fault));
        if let Some(at) = due {
            return Some(self.faults.due.swap_remove(at).1);
        }
        lots.iter()
            .find_map(|(odds, fault)| (*odds > 0 && self.roll(1_000_000) < *odds as usize).then_some(*fault))
    }

    fn note_fault(&mut self, fault: Option<Fault>, inode: u64) {
        let named = self.names.iter().find(|(_, used)| **used == inode);
        let file = named.map(|(name, _)| name.clone()).unwrap_or_default();
        let change = if fault.is_some() { self.changes.saturating_sub(1) } else { self.changes };
        self.faults.happened.push(Happened { fault, change, file });
    }

    /// The error of an access to bytes that are bad.
    fn bad(&mut self, inode: u64, bytes: &Range<u64>, reads: bool) -> Option<io::Error> {
        let bad = self.faults.bad.iter_mut().find(|bad| {
            let meets = bad.bytes.start < bytes.end && bytes.start < bad.bytes.end;
            bad.inode == inode && bad.reads == reads && bad.times > 0 && meets
        })?;
        bad.times = bad.times.saturating_sub(1);
        let error = io::Error::new(bad.kind, "input/output error");
        let fault = (!reads).then_some(Fault::FailWrite(bad.kind));
        self.note_fault(fault, inode);
        Some(error)
    }

    pub(super) fn read_fault(&mut self, inode: u64, bytes: &Range<u64>) -> io::Result<()> {
        if let Some(error) = self.bad(inode, bytes, true) {
            return Err(error);
        }
        let odds = self.faults.odds.failed_reads;
        if odds > 0 && self.roll(1_000_000) < odds as usize {
            self.note_fault(None, inode);
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }

    /// Whether a sync of this file, or of the directory (0), fails.
    pub(super) fn sync_fails(&mut self, inode: u64) -> bool {
        let lots = [(self.faults.odds.failed_syncs, Fault::FailSync)];
        let fails = self.meet(|fault| fault == Fault::FailSync, &lots).is_some();
        if fails {
            self.note_fault(Some(Fault::FailSync), inode);
        }
        fails
    }

    /// Writes, as well as faults let it.
    pub(super) fn write(&mut self, inode: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        if let Some(error) = self.bad(inode, &(offset..end), false) {
            self.put_part(inode, offset, bytes);
            return Err(error);
        }
        let odds = self.faults.odds;
        let lots = [
            (odds.failed_writes, Fault::FailWrite(io::ErrorKind::Other)),
            (odds.lost_writes, Fault::LoseWrite),
            (odds.misdirected_writes, Fault::Misdirect),
        ];
        let Some(fault) = self.meet(|fault| fault != Fault::FailSync, &lots) else {
            self.put(inode, offset, bytes, true);
            return Ok(());
        };
        self.note_fault(Some(fault), inode);
        match fault {
            Fault::FailWrite(kind) => {
                self.put_part(inode, offset, bytes);
                return Err(io::Error::new(kind, "input/output error"));
            }
            Fault::Misdirect => self.misdirect(inode, offset, bytes),
            Fault::LoseWrite | Fault::FailSync => {}
        }
        // The operating system's memory may hold what the disk does not.
        if self.roll(2) == 0 {
            self.put(inode, offset, bytes, false);
        }
        Ok(())
    }

    /// A write that fails may have arrived in part.
    fn put_part(&mut self, inode: u64, offset: u64, bytes: &[u8]) {
        let len = self.roll(bytes.len());
        self.put(inode, offset, bytes.get(..len).unwrap_or_default(), true);
    }

    fn put(&mut self, inode: u64, offset: u64, bytes: &[u8], arrives: bool) {
        if let Some(file) = self.files.get_mut(&inode) {
            put(&mut file.current, offset, bytes);
            if arrives {
                file.unsynced.push((offset, bytes.to_vec()));
            }
        }
    }

    /// Puts the bytes where they do not belong, at a multiple of eight within a file.
    fn misdirect(&mut self, inode: u64, offset: u64, bytes: &[u8]) {
        let inodes: Vec<u64> = self.names.values().copied().collect();
        let other = inodes.get(self.roll(inodes.len())).copied().unwrap_or(inode);
        let target = if self.roll(2) == 0 { inode } else { other };
        let Some(len) = self.files.get(&target).map(|file| file.durable.len()) else { return };
        let Some(room) = len.checked_sub(bytes.len()) else { return };
        // Often near where it belongs, since that is where there is something to hit.
        let near = usize::try_from(offset).unwrap_or(usize::MAX);
        let reach = if self.roll(2) == 0 { room } else { room.min(near) };
        let at = self.roll(reach.saturating_add(1)) & !7;
        if let Some(file) = self.files.get_mut(&target) {
            put(&mut file.current, at as u64, bytes);
            put(&mut file.durable, at as u64, bytes);
        }
    }
}

//! A disk in memory that does what disks do on bad days, deterministically, from a seed.
//!
//! Writes that were not synced are lost or torn by a power cut, sector by sector and in any order;
//! so are names that were not synced. Reads, writes and syncs can be made to fail, the disk can
//! fill up, and any byte can be made to rot.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::{Directory, LockFailure, StoredFile};

/// A simulated directory; clones share it.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

/// An open file of a [`SimDisk`].
pub struct SimFile {
    world: Arc<Mutex<World>>,
    inode: u64,
    /// Power cuts that the disk had seen when the file was opened: older handles are dead.
    boot: u64,
}

/// The claim on a [`SimDisk`].
pub struct SimLock {
    world: Arc<Mutex<World>>,
    boot: u64,
}

/// What a power cut does to writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// All are lost.
    LoseAll,
    /// All are kept, as when only the process dies.
    KeepAll,
    /// Each sector of this many bytes is kept or lost by lot.
    Tear {
        /// Bytes that are written whole or not at all.
        sector: usize,
    },
}

struct World {
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names that were not synced, oldest first.
    name_changes: Vec<NameChange>,
    files: BTreeMap<u64, FileState>,
    next_inode: u64,
    dice: u64,
    boot: u64,
    locked: bool,
    /// Operations that change the disk, so far.
    changes: u64,
    cut_at: Option<u64>,
    fail_sync_at: Option<u64>,
    syncs: u64,
    capacity: Option<u64>,
    bad_reads: Vec<(String, u64)>,
}

#[derive(Clone)]
enum NameChange {
    Set(String, u64),
    Unset(String),
}

#[derive(Default)]
struct FileState {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Writes that were not synced, oldest first.
    unsynced: Vec<(u64, Vec<u8>)>,
}

impl SimDisk {
    /// An empty disk whose dice start from `seed`.
    pub fn new(seed: u64) -> Self {
        let world = World {
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            files: BTreeMap::new(),
            next_inode: 1,
            dice: seed,
            boot: 0,
            locked: false,
            changes: 0,
            cut_at: None,
            fail_sync_at: None,
            syncs: 0,
            capacity: None,
            bad_reads: Vec::new(),
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// How many operations have changed the disk: writes, syncs, and changes of names.
    pub fn changes(&self) -> u64 {
        self.world().changes
    }

    /// Lets the power fail at the operation of this number: it and all later ones fail.
    pub fn cut_power_at(&self, change: Option<u64>) {
        self.world().cut_at = change;
    }

    /// How many syncs there were.
    pub fn syncs(&self) -> u64 {
        self.world().syncs
    }

    /// Lets the sync of this number fail, once; what it was to sync is lost for good, as on the
    /// usual file systems, whatever later syncs say.
    pub fn fail_sync_at(&self, sync: Option<u64>) {
        self.world().fail_sync_at = sync;
    }

    /// Limits the bytes of all files together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    /// Lets reads of this byte of a file fail.
    pub fn fail_read(&self, name: &str, offset: u64) {
        self.world().bad_reads.push((name.to_string(), offset));
    }

    /// Changes a byte of a file, also on the platter.
    pub fn rot(&self, name: &str, offset: u64, change: impl Fn(u8) -> u8) {
        let mut world = self.world();
        let Some(inode) = world.names.get(name).copied() else { return };
        let Some(file) = world.files.get_mut(&inode) else { return };
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        for bytes in [&mut file.current, &mut file.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = change(*byte);
            }
        }
    }

    /// The contents of a file as a reader sees them.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        Some(world.files.get(world.names.get(name)?)?.current.clone())
    }

    /// Restarts the machine after a power cut: what was not synced is treated as `cut` says.
    /// Handles and the lock of before are dead.
    pub fn restart(&self, cut: PowerCut) {
        let mut world = self.world();
        world.boot = world.boot.saturating_add(1);
        world.locked = false;
        world.cut_at = None;
        let changes = std::mem::take(&mut world.name_changes);
        let mut names = world.durable_names.clone();
        // A file system keeps the order of its own records: what survives of them is a prefix.
        let kept = match cut {
            PowerCut::LoseAll => 0,
            PowerCut::KeepAll => changes.len(),
            PowerCut::Tear { .. } => world.roll(changes.len().saturating_add(1)),
        };
        for change in changes.into_iter().take(kept) {
            change.apply(&mut names);
        }
        world.names = names.clone();
        world.durable_names = names;
        let inodes: Vec<u64> = world.files.keys().copied().collect();
        for inode in inodes {
            if !world.names.values().any(|used| *used == inode) {
                world.files.remove(&inode);
                continue;
            }
            let Some(mut file) = world.files.remove(&inode) else { continue };
            let unsynced = std::mem::take(&mut file.unsynced);
            match cut {
                PowerCut::LoseAll => {}
                PowerCut::KeepAll => {
                    unsynced.iter().for_each(|(at, bytes)| put(&mut file.durable, *at, bytes))
                }
                PowerCut::Tear { sector } => world.tear(&mut file.durable, &unsynced, sector),
            }
            file.current = file.durable.clone();
            world.files.insert(inode, file);
        }
    }
}

impl World {
    /// A number below `sides`, from a small generator (splitmix64).
    fn roll(&mut self, sides: usize) -> usize {
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        usize::try_from(z.checked_rem(sides.max(1) as u64).unwrap_or(0)).unwrap_or(0)
    }

    /// Of the writes that touch a sector, lets the first few arrive, by lot: sectors reach the disk in
    /// any order, but each one as it was at some moment.
    fn tear(&mut self, file: &mut Vec<u8>, writes: &[(u64, Vec<u8>)], sector: usize) {
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
            pieces.into_iter().take(arrive).for_each(|(at, bytes)| put(file, at, bytes));
        }
    }

    /// Counts a change, and fails it if the power is gone by then.
    fn change(&mut self) -> io::Result<()> {
        if self.cut_at.is_some_and(|cut| self.changes >= cut) {
            return Err(io::Error::other("the power is gone"));
        }
        self.changes = self.changes.saturating_add(1);
        Ok(())
    }

    fn note(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|inode| self.files.get(inode))
            .map(|file| file.current.len() as u64)
            .sum()
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(name, inode) => {
                // A rename moves the file: one file has one name here.
                names.retain(|_, used| used != inode);
                names.insert(name.clone(), *inode);
            }
            Self::Unset(name) => {
                names.remove(name);
            }
        }
    }
}

impl Directory for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut world = self.world();
        if world.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.change()?;
        let inode = world.next_inode;
        world.next_inode = inode.saturating_add(1);
        world.files.insert(inode, FileState::default());
        world.note(NameChange::Set(name.to_string(), inode));
        Ok(SimFile { world: Arc::clone(&self.world), inode, boot: world.boot })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let world = self.world();
        let inode = world.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(SimFile { world: Arc::clone(&self.world), inode, boot: world.boot })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        world.change()?;
        world.note(NameChange::Set(to.to_string(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        if !world.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change()?;
        world.note(NameChange::Unset(name.to_string()));
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.world().names.keys().cloned().collect())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world();
        world.change()?;
        world.name_changes.clear();
        world.durable_names = world.names.clone();
        Ok(())
    }

    fn lock(&self) -> Result<SimLock, LockFailure> {
        let mut world = self.world();
        if std::mem::replace(&mut world.locked, true) {
            return Err(LockFailure::Held { pid: None });
        }
        Ok(SimLock { world: Arc::clone(&self.world), boot: world.boot })
    }

    fn new_id(&self) -> u128 {
        let mut world = self.world();
        let (high, low) = (world.roll(usize::MAX), world.roll(usize::MAX));
        ((high as u128) << 64) | low as u128
    }

    fn location(&self) -> String {
        "the simulated disk".into()
    }
}

impl StoredFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = lock(&self.world);
        let end = offset.saturating_add(buf.len() as u64);
        let bad = world
            .bad_reads
            .iter()
            .any(|(name, at)| world.names.get(name) == Some(&self.inode) && (offset..end).contains(at));
        if bad {
            return Err(io::Error::other("input/output error"));
        }
        let bytes = world.files.get(&self.inode).map(|file| file.current.as_slice()).unwrap_or_default();
        let rest = bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(len)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut world = lock(&self.world);
        self.alive(&world)?;
        world.change()?;
        let room = world.capacity.map(|capacity| capacity.saturating_sub(world.used()));
        let Some(file) = world.files.get_mut(&self.inode) else { return Err(io::ErrorKind::NotFound.into()) };
        let end = offset.saturating_add(buf.len() as u64);
        let growth = end.saturating_sub(file.current.len() as u64);
        if growth > 0 && room.is_some_and(|room| growth > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(&mut file.current, offset, buf);
        file.unsynced.push((offset, buf.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = lock(&self.world);
        self.alive(&world)?;
        world.change()?;
        let fails = world.fail_sync_at == Some(world.syncs);
        world.syncs = world.syncs.saturating_add(1);
        let Some(file) = world.files.get_mut(&self.inode) else { return Ok(()) };
        let unsynced = std::mem::take(&mut file.unsynced);
        if fails {
            return Err(io::Error::other("input/output error"));
        }
        for (offset, bytes) in unsynced {
            put(&mut file.durable, offset, &bytes);
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.world).files.get(&self.inode).map_or(0, |file| file.current.len() as u64))
    }
}

impl SimFile {
    fn alive(&self, world: &World) -> io::Result<()> {
        if world.boot == self.boot { Ok(()) } else { Err(io::Error::other("a handle of before the restart")) }
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = lock(&self.world);
        if world.boot == self.boot {
            world.locked = false;
        }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = at.saturating_add(bytes.len());
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

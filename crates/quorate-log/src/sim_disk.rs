//! A disk in memory that does what disks do on bad days, deterministically, from a seed.
//!
//! Writes that were not synced are lost or torn by a power cut, sector by sector and in any order;
//! so are names that were not synced. Reads, writes and syncs can be made to fail, writes to be lost
//! or to land elsewhere, the disk can fill up, and any byte can be made to rot.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::faults::Faults;
pub use self::faults::{Fault, Happened, Odds};
pub use self::power::{Left, PowerCut};
use crate::files::{Directory, LockFailure, StoredFile};

mod faults;
mod power;

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
    /// The power has failed, and nobody has restarted the machine yet.
    gone: bool,
    syncs: u64,
    capacity: Option<u64>,
    faults: Faults,
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
            gone: false,
            syncs: 0,
            capacity: None,
            faults: Faults::default(),
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

    /// Lets the power fail now: from here on everything fails, until the machine is restarted.
    pub fn cut_power(&self) {
        self.world().gone = true;
    }

    /// Whether the power has failed and the machine was not restarted yet.
    pub fn is_gone(&self) -> bool {
        self.world().gone
    }

    /// How many syncs there were.
    pub fn syncs(&self) -> u64 {
        self.world().syncs
    }

    /// Limits the bytes of all files together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    /// How long a file is, as a reader sees it.
    pub fn file_len(&self, name: &str) -> Option<u64> {
        let world = self.world();
        Some(world.files.get(world.names.get(name)?)?.current.len() as u64)
    }

    /// The contents of a file as a reader sees them.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        Some(world.files.get(world.names.get(name)?)?.current.clone())
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

    /// Counts a change, and fails it if the power is gone by then.
    fn change(&mut self) -> io::Result<()> {
        self.gone |= self.cut_at.is_some_and(|cut| self.changes >= cut);
        self.powered()?;
        self.changes = self.changes.saturating_add(1);
        Ok(())
    }

    fn powered(&self) -> io::Result<()> {
        if self.gone { Err(io::Error::other("the power is gone")) } else { Ok(()) }
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
        world.powered()?;
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
        let world = self.world();
        world.powered()?;
        Ok(world.names.keys().cloned().collect())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world();
        world.change()?;
        if world.sync_fails(0) {
            return Err(io::Error::other("input/output error"));
        }
        let World { name_changes, durable_names, .. } = &mut *world;
        name_changes.drain(..).for_each(|change| change.apply(durable_names));
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
        let mut world = lock(&self.world);
        let end = offset.saturating_add(buf.len() as u64);
        world.powered()?;
        world.read_fault(self.inode, &(offset..end))?;
        let bytes = world.files.get(&self.inode).map(|file| file.current.as_slice()).unwrap_or_default();
        let rest = bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut world = lock(&self.world);
        self.alive(&world)?;
        world.change()?;
        let room = world.capacity.map(|capacity| capacity.saturating_sub(world.used()));
        let Some(file) = world.files.get(&self.inode) else { return Err(io::ErrorKind::NotFound.into()) };
        let end = offset.saturating_add(buf.len() as u64);
        let growth = end.saturating_sub(file.current.len() as u64);
        if growth > 0 && room.is_some_and(|room| growth > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        world.write(self.inode, offset, buf)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = lock(&self.world);
        self.alive(&world)?;
        world.change()?;
        world.syncs = world.syncs.saturating_add(1);
        let fails = world.sync_fails(self.inode);
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

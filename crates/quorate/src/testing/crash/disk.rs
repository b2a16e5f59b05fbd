//! A disk in memory that remembers every change, so that it can show what a power cut at any moment may leave.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Display;
use std::fmt::Formatter;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// The directory under which all disks appear to be: one that no real file system can have.
const ROOT: &str = "/dev/null/quorate-disk";

/// The disks that are in use, by number: a path is all that [`fs`](super::fs) is given.
static DISKS: Mutex<BTreeMap<u64, Weak<World>>> = Mutex::new(BTreeMap::new());

static NEXT_DISK: AtomicU64 = AtomicU64::new(0);

/// A disk in memory. Programs reach it by [`path`](Self::path) through [`fs`](super::fs), until it is dropped and the
/// last open file is closed.
///
/// It promises what POSIX does and no more. A write is durable after a sync of its file. A name (a file created, renamed
/// or removed) is durable after a sync of its directory, and not by that of the file. Changes of names survive in
/// order; writes survive in any order, sector by sector.
#[derive(Clone)]
pub struct Disk {
    world: Arc<World>,
}

/// What a power cut does to changes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// They are gone.
    All,
    /// They are there, as when only the process died.
    Nothing,
    /// Each sector of a write is there or not, by lot, and so are the names from some change on.
    Some {
        /// Bytes that a disk writes whole or not at all.
        sector: usize,
        /// What the lots are drawn from.
        seed: u64,
    },
}

impl Display for Loss {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all that was not synced is lost"),
            Self::Nothing => f.write_str("nothing that was written is lost"),
            Self::Some { sector, seed } => {
                write!(f, "some sectors of {sector} bytes and some names are lost (seed {seed})")
            }
        }
    }
}

pub(super) struct World {
    number: u64,
    state: Mutex<State>,
}

struct State {
    /// What was there at first, durable.
    first: Tree,
    /// What programs see.
    live: Tree,
    /// All that was done since.
    changes: Vec<(Change, PathBuf)>,
    /// The sync that fails, counted from the first.
    failing_sync: Option<usize>,
    syncs: usize,
    next_node: u64,
}

/// Numbers a file or directory.
pub(super) type NodeId = u64;

/// The top directory.
const TOP: NodeId = 0;

#[derive(Clone, PartialEq)]
struct Tree {
    /// Shared between disks until one of them changes it.
    files: BTreeMap<NodeId, Arc<Vec<u8>>>,
    dirs: BTreeMap<NodeId, BTreeMap<String, NodeId>>,
}

#[derive(Clone)]
enum Change {
    Data(NodeId, DataChange),
    Name(NameChange),
    Sync(Node),
    /// What it was to make durable never will be, whatever later syncs say.
    FailedSync(Node),
}

#[derive(Clone)]
enum DataChange {
    Write(u64, Arc<[u8]>),
    SetLen(u64),
}

/// Takes a name away, gives a name, or both at once.
#[derive(Clone)]
struct NameChange {
    unset: Option<(NodeId, String)>,
    set: Option<(NodeId, String, NodeId)>,
}

/// What is found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(NodeId),
    Dir(NodeId),
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::with(Tree { files: BTreeMap::new(), dirs: BTreeMap::from([(TOP, BTreeMap::new())]) })
    }

    fn with(tree: Tree) -> Self {
        let number = NEXT_DISK.fetch_add(1, Ordering::Relaxed);
        let next_node =
            tree.files.keys().chain(tree.dirs.keys()).max().map_or(1, |last| last.saturating_add(1));
        let (first, changes) = (tree.clone(), Vec::new());
        let state = State { first, live: tree, changes, failing_sync: None, syncs: 0, next_node };
        let world = Arc::new(World { number, state: Mutex::new(state) });
        let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
        disks.retain(|_, disk| disk.strong_count() > 0);
        disks.insert(number, Arc::downgrade(&world));
        Self { world }
    }

    /// Where it appears to be.
    pub fn path(&self) -> PathBuf {
        Path::new(ROOT).join(self.world.number.to_string())
    }

    /// How many changes were made and syncs done so far.
    pub fn changes(&self) -> usize {
        self.world.lock().changes.len()
    }

    /// How many syncs were done so far.
    pub fn syncs(&self) -> usize {
        self.world.lock().syncs
    }

    /// Lets the sync of this number fail, counted from the first. As on the usual file systems, what it was to make
    /// durable can be read until the power fails and is lost then: another sync succeeds, and does nothing for it.
    pub fn fail_sync(&self, sync: usize) {
        self.world.lock().failing_sync = Some(sync);
    }

    /// Whether a program sees the same on both.
    pub(super) fn shows_the_same(&self, other: &Self) -> bool {
        let live = self.world.lock().live.clone();
        live == other.world.lock().live
    }

    /// What the change of this number did, in words.
    pub fn describe(&self, change: usize) -> String {
        self.world.lock().changes.get(change).map_or_else(
            || "the end".to_string(),
            |(change, path)| {
                let path = path.display();
                match change {
                    Change::Data(_, DataChange::Write(at, bytes)) => {
                        format!("a write of {} bytes at {at} of `{path}`", bytes.len())
                    }
                    Change::Data(_, DataChange::SetLen(len)) => {
                        format!("setting the length of `{path}` to {len}")
                    }
                    Change::Sync(Node::File(_)) => format!("the sync of `{path}`"),
                    Change::Sync(Node::Dir(_)) => format!("the sync of the directory `{path}`"),
                    Change::FailedSync(_) => format!("the failed sync of `{path}`"),
                    Change::Name(NameChange { set: None, .. }) => format!("the removal of `{path}`"),
                    Change::Name(NameChange { unset: None, .. }) => format!("the creation of `{path}`"),
                    Change::Name(_) => format!("the renaming to `{path}`"),
                }
            },
        )
    }

    /// Another disk, with what this one may hold if the power fails after the first `changes` changes.
    pub fn after_power_cut(&self, changes: usize, loss: Loss) -> Self {
        let state = self.world.lock();
        let mut platter = Platter { tree: state.first.clone(), data: BTreeMap::new(), names: Vec::new() };
        for (change, _) in state.changes.iter().take(changes) {
            platter.take(change);
        }
        drop(state);
        Self::with(platter.settle(loss))
    }
}

/// What is durable, and what is not yet.
struct Platter {
    tree: Tree,
    data: BTreeMap<NodeId, Vec<DataChange>>,
    names: Vec<NameChange>,
}

impl Platter {
    fn take(&mut self, change: &Change) {
        match change {
            Change::Data(file, change) => self.data.entry(*file).or_default().push(change.clone()),
            Change::Name(change) => self.names.push(change.clone()),
            Change::FailedSync(Node::File(file)) => drop(self.data.remove(file)),
            Change::FailedSync(Node::Dir(dir)) => self.names.retain(|change| !change.touches(*dir)),
            Change::Sync(Node::File(file)) => {
                let content = Arc::make_mut(self.tree.files.entry(*file).or_default());
                self.data.remove(file).unwrap_or_default().iter().for_each(|change| change.apply(content));
            }
            Change::Sync(Node::Dir(dir)) => {
                let (synced, rest) = self.names.drain(..).partition(|change| change.touches(*dir));
                self.names = rest;
                self.tree.rename_all(synced);
            }
        }
    }

    fn settle(mut self, loss: Loss) -> Tree {
        let mut dice = Dice(match loss {
            Loss::Some { seed, .. } => seed,
            Loss::All | Loss::Nothing => 0,
        });
        let kept = match loss {
            Loss::All => 0,
            Loss::Nothing => self.names.len(),
            Loss::Some { .. } => dice.roll(self.names.len().saturating_add(1)),
        };
        self.names.truncate(kept);
        self.tree.rename_all(self.names);
        for (file, changes) in self.data {
            let content = Arc::make_mut(self.tree.files.entry(file).or_default());
            match loss {
                Loss::All => {}
                Loss::Nothing => changes.iter().for_each(|change| change.apply(content)),
                Loss::Some { sector, .. } => tear(content, &changes, sector, &mut dice),
            }
        }
        self.tree.forget_nameless();
        self.tree
    }
}

/// Lets some sectors of some writes arrive. Of the writes that touch a sector the first few arrive: a sector is on the
/// disk as it was at some moment. Of the changes of the length, the first few take place.
fn tear(content: &mut Vec<u8>, changes: &[DataChange], sector: usize, dice: &mut Dice) {
    let sector = sector.max(1) as u64;
    let lengths = changes.iter().filter(|change| matches!(change, DataChange::SetLen(_))).count();
    let mut lengths = dice.roll(lengths.saturating_add(1));
    // In a third of the cases each, all or none of the writes arrive: what is lost are names or lengths then.
    let mood = dice.roll(6);
    let mut stopped = BTreeMap::new();
    for change in changes {
        match change {
            DataChange::SetLen(_) => {
                if let Some(left) = lengths.checked_sub(1) {
                    lengths = left;
                    change.apply(content);
                }
            }
            DataChange::Write(at, bytes) => {
                let (mut at, mut rest) = (*at, &**bytes);
                while !rest.is_empty() {
                    let number = at.checked_div(sector).unwrap_or(0);
                    let room = number.saturating_add(1).saturating_mul(sector).saturating_sub(at);
                    let (piece, after) =
                        rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(rest.len())));
                    let stop = stopped.entry(number).or_insert(false);
                    *stop = *stop || mood == 0 || (mood > 1 && dice.roll(2) == 0);
                    if !*stop {
                        put(content, at, piece);
                    }
                    at = at.saturating_add(piece.len() as u64);
                    rest = after;
                }
            }
        }
    }
}

impl DataChange {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => put(content, *at, bytes),
            Self::SetLen(len) => content.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0),
        }
    }
}

impl NameChange {
    fn touches(&self, dir: NodeId) -> bool {
        self.unset.as_ref().is_some_and(|(at, _)| *at == dir)
            || self.set.as_ref().is_some_and(|(at, _, _)| *at == dir)
    }
}

impl Tree {
    fn rename_all(&mut self, changes: Vec<NameChange>) {
        for NameChange { unset, set } in changes {
            if let Some((dir, name)) = unset {
                self.dirs.entry(dir).or_default().remove(&name);
            }
            if let Some((dir, name, node)) = set {
                self.dirs.entry(dir).or_default().insert(name, node);
            }
        }
    }

    /// Files and directories without a name are gone once nobody has them open.
    fn forget_nameless(&mut self) {
        let (mut named, mut next) = (vec![TOP], 0);
        while let Some(node) = named.get(next) {
            named.extend(
                self.dirs.get(node).into_iter().flat_map(BTreeMap::values).copied().collect::<Vec<_>>(),
            );
            next = next.saturating_add(1);
        }
        self.files.retain(|node, _| named.contains(node));
        self.dirs.retain(|node, _| named.contains(node));
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk that a path leads to, and the way from its top; none for a path of the real file system.
    pub(super) fn find(path: &Path) -> Option<io::Result<(Arc<Self>, Vec<String>)>> {
        let mut parts = path.strip_prefix(ROOT).ok()?.components();
        let number = parts.next()?.as_os_str().to_str()?.parse().ok()?;
        let world = DISKS.lock().unwrap_or_else(PoisonError::into_inner).get(&number).and_then(Weak::upgrade);
        let Some(world) = world else { return Some(Err(io::ErrorKind::NotFound.into())) };
        let way = parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        Some(Ok((world, way)))
    }

    pub(super) fn node(&self, way: &[String]) -> io::Result<Node> {
        self.lock().live.node(way)
    }

    /// Gives a new file or directory its name.
    pub(super) fn create(&self, way: &[String], is_dir: bool) -> io::Result<NodeId> {
        let mut state = self.lock();
        let (dir, name) = state.live.place(way)?;
        if state.live.node(way).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = state.next_node;
        state.next_node = node.saturating_add(1);
        let State { live, first, .. } = &mut *state;
        for tree in [live, first] {
            // An empty file or directory without a name, until the change of names takes place.
            if is_dir {
                tree.dirs.insert(node, BTreeMap::new());
            } else {
                tree.files.insert(node, Arc::default());
            }
        }
        state.change_names(NameChange { unset: None, set: Some((dir, name, node)) }, way);
        Ok(node)
    }

    pub(super) fn rename(&self, from: &[String], to: &[String]) -> io::Result<()> {
        let mut state = self.lock();
        let (Node::File(node) | Node::Dir(node)) = state.live.node(from)?;
        let (from_dir, from_name) = state.live.place(from)?;
        let (to_dir, to_name) = state.live.place(to)?;
        let change = NameChange { unset: Some((from_dir, from_name)), set: Some((to_dir, to_name, node)) };
        state.change_names(change, to);
        Ok(())
    }

    pub(super) fn remove(&self, way: &[String]) -> io::Result<()> {
        let mut state = self.lock();
        if let Node::Dir(dir) = state.live.node(way)?
            && state.live.dirs.get(&dir).is_some_and(|names| !names.is_empty())
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let place = state.live.place(way)?;
        state.change_names(NameChange { unset: Some(place), set: None }, way);
        Ok(())
    }

    pub(super) fn list(&self, dir: NodeId) -> Vec<String> {
        self.lock().live.dirs.get(&dir).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    pub(super) fn len(&self, file: NodeId) -> u64 {
        self.lock().live.files.get(&file).map_or(0, |content| content.len() as u64)
    }

    pub(super) fn read(&self, file: NodeId, buf: &mut [u8], at: u64) -> usize {
        let state = self.lock();
        let content = state.live.files.get(&file).map(|content| content.as_slice()).unwrap_or_default();
        let rest = content.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        count
    }

    pub(super) fn write(&self, file: NodeId, bytes: &[u8], at: u64) {
        self.lock().change_data(file, DataChange::Write(at, bytes.into()));
    }

    pub(super) fn set_len(&self, file: NodeId, len: u64) {
        self.lock().change_data(file, DataChange::SetLen(len));
    }

    pub(super) fn sync(&self, node: Node) -> io::Result<()> {
        let mut state = self.lock();
        let (Node::File(id) | Node::Dir(id)) = node;
        let path = state.live.path_of(id);
        let fails = state.failing_sync == Some(state.syncs);
        state.syncs = state.syncs.saturating_add(1);
        state.changes.push((if fails { Change::FailedSync(node) } else { Change::Sync(node) }, path));
        if fails { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }
}

impl State {
    fn change_names(&mut self, change: NameChange, way: &[String]) {
        self.live.rename_all(vec![change.clone()]);
        self.changes.push((Change::Name(change), way.iter().collect()));
    }

    fn change_data(&mut self, file: NodeId, change: DataChange) {
        change.apply(Arc::make_mut(self.live.files.entry(file).or_default()));
        let path = self.live.path_of(file);
        self.changes.push((Change::Data(file, change), path));
    }
}

impl Tree {
    fn node(&self, way: &[String]) -> io::Result<Node> {
        let mut node = TOP;
        for name in way {
            let names = self.dirs.get(&node).ok_or(io::ErrorKind::NotADirectory)?;
            node = *names.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(if self.dirs.contains_key(&node) { Node::Dir(node) } else { Node::File(node) })
    }

    /// The directory that a path ends in, and the last name.
    fn place(&self, way: &[String]) -> io::Result<(NodeId, String)> {
        let (name, dir) = way.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        match self.node(dir)? {
            Node::Dir(dir) => Ok((dir, name.clone())),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// For people to read.
    fn path_of(&self, node: NodeId) -> PathBuf {
        for (dir, names) in &self.dirs {
            if let Some((name, _)) = names.iter().find(|(_, at)| **at == node) {
                return self.path_of(*dir).join(name);
            }
        }
        if node == TOP { PathBuf::new() } else { PathBuf::from("(removed)") }
    }
}

/// Puts bytes into a file, which grows if it must.
fn put(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    if content.len() < at {
        content.resize(at, 0);
    }
    let (inside, beyond) = bytes.split_at(bytes.len().min(content.len().saturating_sub(at)));
    if let Some(place) = content.get_mut(at..at.saturating_add(inside.len())) {
        place.copy_from_slice(inside);
    }
    content.extend_from_slice(beyond);
}

/// Dice that fall the same for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        usize::try_from(z.checked_rem(sides.max(1) as u64).unwrap_or(0)).unwrap_or(0)
    }
}

//! As much of `std::fs` as a store needs, on a [`Disk`](super::Disk) whose power may fail.
//!
//! Names and meaning are those of the standard library, so a store changes one line to be tested:
//!
//! ```
//! #[cfg(test)]
//! use quorate::testing::crash::fs;
//! #[cfg(not(test))]
//! use std::fs;
//! # fs::exists("/").unwrap();
//! ```
//!
//! A path on a disk leads there; any other path leads to the real file system, so that the store's other tests run as
//! before. The methods of `std::os::unix::fs::FileExt` are [`File`]'s own. What is missing (links, permissions, memory
//! maps, locks) a store must do without while it is tested.

use std::ffi::OsString;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
#[cfg(unix)]
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use super::disk::Node;
use super::disk::World;

/// An open file, or an open directory to be synced.
#[derive(Debug)]
pub struct File {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Real(std::fs::File),
    Disk(OnDisk),
}

struct OnDisk {
    world: Arc<World>,
    node: Node,
    at: Arc<Mutex<u64>>,
    access: OpenOptions,
}

impl std::fmt::Debug for OnDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnDisk").field("node", &self.node).finish_non_exhaustive()
    }
}

impl File {
    /// Opens a file for reading.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing, empty: it is created, or all that it held is removed.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Creates a file for reading and writing; errors if there is one.
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// How a file is to be opened.
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Makes all that was written durable; of a directory, the names in it.
    pub fn sync_all(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.sync_all(),
            Inner::Disk(file) => file.world.sync(file.node),
        }
    }

    /// Like [`sync_all`](Self::sync_all).
    pub fn sync_data(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.sync_data(),
            Inner::Disk(_) => self.sync_all(),
        }
    }

    /// Cuts the file off, or makes it longer by zeroes.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => file.set_len(len),
            Inner::Disk(file) => {
                file.world.set_len(file.to_write()?, len);
                Ok(())
            }
        }
    }

    /// What is known of the file.
    pub fn metadata(&self) -> io::Result<Metadata> {
        match &self.inner {
            Inner::Real(file) => file.metadata().map(Metadata::real),
            Inner::Disk(file) => Ok(Metadata::of(&file.world, file.node)),
        }
    }

    /// Another handle, with the same place in the file.
    pub fn try_clone(&self) -> io::Result<Self> {
        let inner = match &self.inner {
            Inner::Real(file) => Inner::Real(file.try_clone()?),
            Inner::Disk(OnDisk { world, node, at, access }) => Inner::Disk(OnDisk {
                world: world.clone(),
                node: *node,
                at: at.clone(),
                access: access.clone(),
            }),
        };
        Ok(Self { inner })
    }
}

#[cfg(unix)]
impl File {
    /// Reads from `offset` on; returns how many bytes were read.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.inner {
            Inner::Real(file) => FileExt::read_at(file, buf, offset),
            Inner::Disk(file) => Ok(file.world.read(file.to_read()?, buf, offset)),
        }
    }

    /// Fills `buf` from `offset` on, or errors.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => FileExt::read_exact_at(file, buf, offset),
            Inner::Disk(_) if self.read_at(buf, offset)? < buf.len() => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Inner::Disk(_) => Ok(()),
        }
    }

    /// Writes at `offset`; returns how many bytes were written.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        match &self.inner {
            Inner::Real(file) => FileExt::write_at(file, buf, offset),
            Inner::Disk(file) => {
                file.world.write(file.to_write()?, buf, offset);
                Ok(buf.len())
            }
        }
    }

    /// Writes all of `buf` at `offset`.
    pub fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        match &self.inner {
            Inner::Real(file) => FileExt::write_all_at(file, buf, offset),
            Inner::Disk(_) => self.write_at(buf, offset).map(drop),
        }
    }
}

impl OnDisk {
    fn file(&self, allowed: bool) -> io::Result<u64> {
        match self.node {
            Node::File(file) if allowed => Ok(file),
            Node::File(_) => Err(io::ErrorKind::PermissionDenied.into()),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn to_read(&self) -> io::Result<u64> {
        self.file(self.access.read)
    }

    fn to_write(&self) -> io::Result<u64> {
        self.file(self.access.write || self.access.append)
    }

    fn at(&self) -> MutexGuard<'_, u64> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.inner {
            Inner::Real(file) => (&mut &*file).read(buf),
            Inner::Disk(file) => {
                let mut at = file.at();
                let count = file.world.read(file.to_read()?, buf, *at);
                *at = at.saturating_add(count as u64);
                Ok(count)
            }
        }
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &self.inner {
            Inner::Real(file) => (&mut &*file).write(buf),
            Inner::Disk(file) => {
                let node = file.to_write()?;
                let mut at = file.at();
                if file.access.append {
                    *at = file.world.len(node);
                }
                file.world.write(node, buf, *at);
                *at = at.saturating_add(buf.len() as u64);
                Ok(buf.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &self.inner {
            Inner::Real(file) => (&mut &*file).seek(to),
            Inner::Disk(file) => {
                let mut at = file.at();
                let found = match to {
                    SeekFrom::Start(offset) => Some(offset),
                    SeekFrom::End(offset) => file.world.len(file.file(true)?).checked_add_signed(offset),
                    SeekFrom::Current(offset) => at.checked_add_signed(offset),
                };
                *at = found.ok_or(io::ErrorKind::InvalidInput)?;
                Ok(*at)
            }
        }
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

/// How a file is to be opened. As in the standard library, each setting is off at first.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
}

impl OpenOptions {
    /// Nothing is set.
    pub fn new() -> Self {
        Self::default()
    }

    /// For reading.
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// For writing.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// For writing at the end.
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// What it holds is removed.
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// It is created if there is none.
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// It is created, and there must be none.
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// Opens the file.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let Some(found) = World::find(path) else { return self.open_real(path) };
        let (world, way) = found?;
        let node = match world.node(&way) {
            Ok(_) if self.create_new => return Err(io::ErrorKind::AlreadyExists.into()),
            Ok(node) => node,
            Err(error) if error.kind() == io::ErrorKind::NotFound && (self.create || self.create_new) => {
                Node::File(world.create(&way, false)?)
            }
            Err(error) => return Err(error),
        };
        let file = OnDisk { world, node, at: Arc::default(), access: self.clone() };
        if self.truncate && file.world.len(file.to_write()?) > 0 {
            file.world.set_len(file.to_write()?, 0);
        }
        Ok(File { inner: Inner::Disk(file) })
    }

    fn open_real(&self, path: &Path) -> io::Result<File> {
        let mut options = std::fs::OpenOptions::new();
        options.read(self.read).write(self.write).append(self.append);
        options.truncate(self.truncate).create(self.create).create_new(self.create_new);
        Ok(File { inner: Inner::Real(options.open(path)?) })
    }
}

/// What is known of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    len: u64,
    is_dir: bool,
}

impl Metadata {
    fn real(metadata: std::fs::Metadata) -> Self {
        Self { len: metadata.len(), is_dir: metadata.is_dir() }
    }

    fn of(world: &World, node: Node) -> Self {
        match node {
            Node::File(file) => Self { len: world.len(file), is_dir: false },
            Node::Dir(_) => Self { len: 0, is_dir: true },
        }
    }

    /// The length of a file in bytes.
    #[expect(clippy::len_without_is_empty, reason = "as in the standard library")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        !self.is_dir
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.is_dir
    }
}

/// A name in a directory.
#[derive(Debug, Clone)]
pub struct DirEntry {
    path: PathBuf,
}

impl DirEntry {
    /// The directory's path with the name.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The name.
    pub fn file_name(&self) -> OsString {
        self.path.file_name().unwrap_or_default().to_os_string()
    }

    /// What is known of what has the name.
    pub fn metadata(&self) -> io::Result<Metadata> {
        metadata(&self.path)
    }

    /// Like [`metadata`](Self::metadata): tells a file from a directory.
    pub fn file_type(&self) -> io::Result<Metadata> {
        self.metadata()
    }
}

/// The names in a directory.
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<impl Iterator<Item = io::Result<DirEntry>>> {
    let path = path.as_ref();
    let names: Vec<io::Result<DirEntry>> = match World::find(path) {
        None => std::fs::read_dir(path)?.map(|entry| Ok(DirEntry { path: entry?.path() })).collect(),
        Some(found) => {
            let (world, way) = found?;
            let Node::Dir(dir) = world.node(&way)? else { return Err(io::ErrorKind::NotADirectory.into()) };
            world.list(dir).into_iter().map(|name| Ok(DirEntry { path: path.join(name) })).collect()
        }
    };
    Ok(names.into_iter())
}

/// What is known of what is at `path`.
pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    let Some(found) = World::find(path) else { return std::fs::metadata(path).map(Metadata::real) };
    let (world, way) = found?;
    Ok(Metadata::of(&world, world.node(&way)?))
}

/// Whether there is something at `path`.
pub fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    match metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// All that a file holds.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.read_to_end(&mut content)?;
    Ok(content)
}

/// All that a file holds, which must be text.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Replaces what a file holds, or creates it. Nothing is synced.
pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> io::Result<()> {
    File::create(path)?.write_all(content.as_ref())
}

/// Gives a file or directory another name, which whatever had it before loses.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    match (World::find(from), World::find(to)) {
        (None, None) => std::fs::rename(from, to),
        (Some(from), Some(to)) => {
            let ((world, from), (other, to)) = (from?, to?);
            if Arc::ptr_eq(&world, &other) {
                world.rename(&from, &to)
            } else {
                Err(io::ErrorKind::CrossesDevices.into())
            }
        }
        _ => Err(io::ErrorKind::CrossesDevices.into()),
    }
}

/// Removes a file.
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let Some(found) = World::find(path) else { return std::fs::remove_file(path) };
    let (world, way) = found?;
    match world.node(&way)? {
        Node::File(_) => world.remove(&way),
        Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
    }
}

/// Removes an empty directory.
pub fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let Some(found) = World::find(path) else { return std::fs::remove_dir(path) };
    let (world, way) = found?;
    match world.node(&way)? {
        Node::Dir(_) => world.remove(&way),
        Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
    }
}

/// Removes a directory and all that is in it, one after the other.
pub fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    for entry in read_dir(&path)? {
        let entry = entry?;
        if entry.metadata()?.is_dir() { remove_dir_all(entry.path())? } else { remove_file(entry.path())? }
    }
    remove_dir(path)
}

/// Creates a directory; errors if there is something of that name.
pub fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let Some(found) = World::find(path) else { return std::fs::create_dir(path) };
    let (world, way) = found?;
    world.create(&way, true).map(drop)
}

/// Creates a directory and those that it is in, where they do not exist.
pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    match metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => {
            if let Some(parent) = path.parent() {
                create_dir_all(parent)?;
            }
            create_dir(path)
        }
    }
}

/// Copies what a file holds into another; returns the number of bytes.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    let content = read(from)?;
    write(to, &content)?;
    Ok(content.len() as u64)
}

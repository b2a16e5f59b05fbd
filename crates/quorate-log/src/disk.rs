//! The real disk: a directory of the operating system.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use crate::files::{Directory, LockFailure, StoredFile};

/// The name of the file whose lock stands for the whole directory; it holds the owner's process id.
const LOCK_FILE: &str = "LOCK";

/// A directory of the operating system, made with mode 0700 where it does not exist.
#[derive(Debug, Clone)]
pub struct DiskDirectory {
    path: Arc<Path>,
}

impl DiskDirectory {
    /// Opens the directory at `path`, creating it and its parents where needed.
    ///
    /// # Errors
    /// Whatever the operating system says, for example that the path is a file.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path: PathBuf = path.into();
        let existed = path.is_dir();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        if !existed && let Some(parent) = path.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { path: path.into() })
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Directory for DiskDirectory {
    type File = File;
    type Lock = DirectoryLock;

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn lock(&self) -> Result<DirectoryLock, LockFailure> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.join(LOCK_FILE))
            .map_err(LockFailure::Io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                return Err(LockFailure::Held { pid: text.trim().parse().ok() });
            }
            Err(errno) => return Err(LockFailure::Io(errno.into())),
        }
        // The process id is for the message that a second opener prints; the lock itself is flock's.
        file.set_len(0).map_err(LockFailure::Io)?;
        writeln!(file, "{}", std::process::id()).map_err(LockFailure::Io)?;
        Ok(DirectoryLock { _file: file })
    }

    fn new_id(&self) -> u128 {
        // The standard library keys each of these from the operating system's random source.
        let draw = || u128::from(RandomState::new().build_hasher().finish());
        (draw() << 64) | draw()
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

/// The claim of this process on a [`DiskDirectory`], given up on drop or when the process dies.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl StoredFile for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..)
            && !rest.is_empty()
        {
            match FileExt::read_at(self, rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

//! A small disk that can be filled: a file system of its own, in a file or in memory, where this machine lets us mount
//! one.

use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Room for a few segments of the log and a snapshot.
const DISK_BYTES: u64 = 192 * 1024 * 1024;

const CHUNK_BYTES: usize = 1024 * 1024;

/// A mounted disk; unmounted when dropped.
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts a real file system (ext4), which lives in a file beside the empty directory.
    ///
    /// # Errors
    ///
    /// Why not, in words of the system: that only root may, or that there is no such file system here.
    pub(crate) fn in_file(path: &Path) -> Result<Self, String> {
        let image = path.with_extension("ext4");
        File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).map_err(|error| error.to_string())?;
        // No blocks are set aside for root: full is full.
        obey(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        obey(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(path))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Mounts one in memory on an empty directory.
    ///
    /// # Errors
    ///
    /// Why not, in words of the system: most often that only root may.
    pub(crate) fn in_memory(path: &Path) -> Result<Self, String> {
        let size = format!("size={DISK_BYTES}");
        obey(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "quorate-chaos"]).arg(path))?;
        Ok(Self { path: path.to_owned() })
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Leaves no room, to the last byte that the system gives.
    pub(crate) fn fill(&self) -> io::Result<()> {
        let mut file = File::create(self.filler())?;
        let mut chunk = vec![0x55; CHUNK_BYTES];
        loop {
            match file.write(&chunk) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(_) if chunk.len() > 1 => chunk.truncate(chunk.len() / 2),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the room back.
    pub(crate) fn free(&self) -> io::Result<()> {
        match std::fs::remove_file(self.filler()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn obey(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, should a process still be on its way out. It may fail for good only if somebody else unmounted it.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

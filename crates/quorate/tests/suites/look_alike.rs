//! The look-alike of `std::fs` answers as the real one does: each operation runs on both, side by side.

use std::fmt::Debug;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use quorate::testing::crash::Disk;
use quorate::testing::crash::fs;

/// A directory on the look-alike, and one on the real disk.
struct Both {
    disk: Disk,
    real: tempfile::TempDir,
}

impl Both {
    fn new() -> Self {
        Self { disk: Disk::new(), real: tempfile::tempdir().unwrap() }
    }

    /// Does the same in both; gives what came of it, which must be the same, errors by their kind.
    fn same<T: Debug + PartialEq>(&self, act: impl Fn(&Path) -> io::Result<T>) -> Result<T, io::ErrorKind> {
        let outcomes = [self.disk.path(), self.real.path().to_owned()];
        let [ours, real] = outcomes.map(|dir| act(&dir).map_err(|error| error.kind()));
        assert_eq!(ours, real, "the look-alike, and the real one");
        ours
    }
}

/// A file with ten bytes.
fn ten(dir: &Path) -> PathBuf {
    let path = dir.join("ten");
    fs::write(&path, "0123456789").unwrap();
    path
}

#[test]
fn files_are_created_found_and_removed() {
    use io::ErrorKind::*;
    let both = Both::new();
    assert_eq!(both.same(|dir| fs::exists(dir.join("a"))), Ok(false));
    assert_eq!(both.same(|dir| fs::File::open(dir.join("a")).map(|_| ())), Err(NotFound));
    assert_eq!(both.same(|dir| fs::File::create_new(dir.join("a")).map(|_| ())), Ok(()));
    assert_eq!(both.same(|dir| fs::File::create_new(dir.join("a")).map(|_| ())), Err(AlreadyExists));
    assert_eq!(both.same(|dir| fs::exists(dir.join("a"))), Ok(true));
    assert_eq!(both.same(|dir| fs::remove_dir(dir.join("a"))), Err(NotADirectory));
    assert_eq!(both.same(|dir| fs::create_dir_all(dir.join("a"))), Err(AlreadyExists));
    assert_eq!(both.same(|dir| fs::create_dir_all(dir.join("d/e"))), Ok(()));
    assert_eq!(both.same(|dir| fs::create_dir_all(dir.join("d/e"))), Ok(()));
    assert_eq!(both.same(|dir| fs::remove_dir(dir.join("d"))), Err(DirectoryNotEmpty));
    assert_eq!(both.same(|dir| fs::remove_dir(dir.join("d/e"))), Ok(()));
    assert_eq!(both.same(|dir| fs::remove_file(dir.join("a"))), Ok(()));
    assert_eq!(both.same(|dir| fs::remove_file(dir.join("a"))), Err(NotFound));
    assert!(both.same(|dir| fs::remove_file(dir.join("d"))).is_err(), "a directory is no file");
}

#[test]
fn a_directory_lists_what_is_in_it() {
    let both = Both::new();
    let list = |dir: &Path| {
        fs::create_dir_all(dir.join("d"))?;
        ten(dir);
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (kind, metadata) = (entry.file_type()?, entry.metadata()?);
            assert_eq!(entry.path(), dir.join(entry.file_name()));
            let len = if metadata.is_file() { metadata.len() } else { 0 };
            found.push((entry.file_name(), kind.is_file(), kind.is_dir(), len));
        }
        found.sort();
        Ok(found)
    };
    let found = both.same(list).unwrap();
    assert_eq!(found, [("d".into(), false, true, 0), ("ten".into(), true, false, 10)]);
}

#[test]
fn handles_read_and_write_where_they_stand() {
    let both = Both::new();
    let seek = |dir: &Path| {
        let mut file = fs::File::options().read(true).write(true).open(ten(dir))?;
        let mut other = file.try_clone()?;
        assert_eq!(file.seek(SeekFrom::Start(4))?, 4);
        let mut two = [0; 2];
        other.read_exact(&mut two)?;
        let place = file.seek(SeekFrom::Current(-1))?;
        other.write_all(b"abc")?;
        other.flush()?;
        let end = file.seek(SeekFrom::End(-2))?;
        let mut rest = String::new();
        file.read_to_string(&mut rest)?;
        Ok((two, place, end, rest, file.metadata()?.len(), fs::read_to_string(dir.join("ten"))?))
    };
    let found = both.same(seek).unwrap();
    assert_eq!(found, (*b"45", 5, 8, "89".into(), 10, "01234abc89".into()), "both handles share one place");
    let before = |dir: &Path| fs::File::open(ten(dir))?.seek(SeekFrom::Current(-1));
    assert_eq!(both.same(before), Err(io::ErrorKind::InvalidInput));
}

#[cfg(unix)]
#[test]
fn places_are_read_and_written_directly() {
    let both = Both::new();
    let at = |dir: &Path| {
        let file = fs::File::options().read(true).write(true).open(ten(dir))?;
        let mut three = [0; 3];
        file.read_exact_at(&mut three, 2)?;
        let mut tail = [0; 8];
        let got = file.read_at(&mut tail, 7)?;
        file.write_all_at(b"xyz", 12)?;
        let written = file.write_at(b"-", 0)?;
        Ok((three, got, written, fs::read(dir.join("ten"))?))
    };
    let found = both.same(at).unwrap();
    assert_eq!(found, (*b"234", 3, 1, b"-123456789\0\0xyz".to_vec()), "a gap is read as zeroes");
    let beyond = |dir: &Path| fs::File::open(ten(dir))?.read_exact_at(&mut [0; 3], 8);
    assert_eq!(both.same(beyond), Err(io::ErrorKind::UnexpectedEof));
}

#[test]
fn files_are_copied_and_renamed_over_others_but_not_between_disks() {
    let both = Both::new();
    let act = |dir: &Path| {
        let copied = fs::copy(ten(dir), dir.join("copy"))?;
        fs::write(dir.join("ten"), "new")?;
        fs::rename(dir.join("ten"), dir.join("copy"))?;
        Ok((copied, fs::read_to_string(dir.join("copy"))?, fs::exists(dir.join("ten"))?))
    };
    assert_eq!(both.same(act), Ok((10, "new".into(), false)));
    let (ours, other) = (ten(&both.disk.path()), Disk::new());
    for to in [other.path().join("x"), both.real.path().join("x")] {
        let error = fs::rename(&ours, to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::CrossesDevices);
    }
    assert_eq!(fs::read_to_string(ours).unwrap(), "0123456789");
}

#[test]
fn a_handle_does_only_what_it_was_opened_for() {
    let disk = Disk::new();
    let path = ten(&disk.path());
    let mut reads = fs::File::open(&path).unwrap();
    assert_eq!(reads.write(b"x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    let mut writes = fs::OpenOptions::new().write(true).open(&path).unwrap();
    assert_eq!(writes.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    let mut dir = fs::File::open(disk.path()).unwrap();
    assert_eq!(dir.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert_eq!(fs::read(path).unwrap(), b"0123456789");
}

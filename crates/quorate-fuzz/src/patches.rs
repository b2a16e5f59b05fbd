//! Directories that a real log or snapshot store wrote, and what an input does to their files.

use std::collections::BTreeMap;

use quorate_log::sim_disk::SimDisk;
use quorate_log::{Directory, StoredFile, testing};

use crate::input::Input;

/// Most changes of one input.
const CHANGES_MAX: usize = 16;
/// The longest file that a change makes, in bytes.
const FILE_BYTES_MAX: usize = 512 * 1024;
/// What a disk has room for beside the files: a segment that says how long it was made is filled up, on a disk that is
/// memory.
const ROOM_BYTES: u64 = 1024 * 1024;

/// The files of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    pub fn of(disk: &SimDisk) -> Self {
        let names = disk.list().unwrap();
        Self(names.into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect())
    }

    /// A disk with these files.
    pub fn disk(&self) -> SimDisk {
        let disk = SimDisk::new(7);
        for (name, bytes) in &self.0 {
            let file = disk.create(name).unwrap();
            file.write_at(bytes, 0).unwrap();
            file.sync_data().unwrap();
        }
        disk.sync().unwrap();
        let used: usize = self.0.values().map(Vec::len).sum();
        disk.set_capacity(Some(used as u64 + ROOM_BYTES));
        disk
    }

    /// The files whose name begins like this.
    pub fn starting(&self, prefix: &str) -> Self {
        let files = self.0.iter().filter(|(name, _)| name.starts_with(prefix));
        Self(files.map(|(name, bytes)| (name.clone(), bytes.clone())).collect())
    }

    /// Makes the changes that the input says, to the files whose name begins with `prefix`. With `sealed`, the
    /// checksums are those of the bytes afterwards.
    pub fn patch(&mut self, input: &mut Input, prefix: &str, sealed: bool) {
        for _ in 0..CHANGES_MAX {
            let names: Vec<String> = self.0.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
            if input.is_empty() || names.is_empty() {
                break;
            }
            let (change, name) = (input.byte(), &names[input.below(names.len())]);
            self.change(change, name, &names, input);
        }
        if sealed {
            for (name, bytes) in &mut self.0 {
                testing::seal(name, bytes);
            }
        }
    }

    fn change(&mut self, change: u8, name: &str, names: &[String], input: &mut Input) {
        let Some(bytes) = self.0.get_mut(name) else { return };
        match change % 8 {
            // Overwritten: where records are, at their grain; elsewhere at any byte.
            0 | 1 => {
                let at = usize::from(input.two()) * if change.is_multiple_of(8) { 1 } else { 8 };
                overwrite(bytes, at, input.piece());
            }
            // One bit.
            2 => {
                let at = usize::from(input.two());
                let bit = input.byte() % 8;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            3 => bytes.truncate(usize::from(input.two()) * 8),
            4 => drop(self.0.remove(name)),
            // Under another name: of a file that is there, or of one that comes behind.
            5 => {
                let copy = bytes.clone();
                let other = names[input.below(names.len())].clone();
                let other = if input.flag() { following(&other) } else { other };
                self.0.insert(other, copy);
            }
            6 => {
                let (at, length) = (usize::from(input.two()), usize::from(input.two()));
                overwrite(bytes, at, &vec![0; length]);
            }
            // Moved within the file: a misdirected write.
            _ => {
                let (from, to) = (usize::from(input.two()) * 8, usize::from(input.two()) * 8);
                let length = usize::from(input.byte()) * 8;
                let piece = bytes.get(from..(from + length).min(bytes.len())).unwrap_or_default().to_vec();
                overwrite(bytes, to, &piece);
            }
        }
    }
}

/// Writes at an offset, and makes the file longer where it ends before.
fn overwrite(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let end = at + piece.len();
    if end > FILE_BYTES_MAX || piece.is_empty() {
        return;
    }
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(piece);
}

/// The same name with the next greater number in it.
fn following(name: &str) -> String {
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    let number: u64 = digits.parse().unwrap_or(0);
    name.replace(&digits, &format!("{:0width$}", number.saturating_add(1), width = digits.len()))
}

//! Who a data directory is: one small file, written whole or not at all.
//!
//! `identity` holds, in this order: the magic `QRNI`, the format version (u32), the length of the body (u32), the body
//! in postcard, and the CRC-32C of all before it; numbers are little-endian. Every later version keeps the magic, the
//! version and the trailing checksum in these places, so that damage and a newer format can be told apart.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::StartError;
use crate::member::{ClusterId, NodeId, Uid};

const FILE: &str = "identity";
const FILE_NEW: &str = "identity.new";
const LOCK_FILE: &str = "lock";
const MAGIC: [u8; 4] = *b"QRNI";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 12;
const CRC_BYTES: usize = 4;
/// An identity takes tens of bytes; whatever is longer is none.
const FILE_BYTES_MAX: u64 = 4096;

/// The identity of an open data directory, and the lock that keeps other processes out of it.
#[derive(Debug)]
pub(crate) struct Identity {
    dir: PathBuf,
    body: Body,
    lock: Option<DirLock>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    node_id: NodeId,
    uid: Uid,
    incarnation: u64,
    cluster_id: Option<ClusterId>,
    /// Whether this node founded its cluster itself, and so has to initialize it.
    founder: bool,
}

impl Identity {
    /// Whether the directory was formatted before. Changes nothing.
    pub(crate) fn exists(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    /// Locks the directory, formats it if `format` allows and it is empty, and counts this start as an incarnation.
    ///
    /// The new incarnation is durable on return.
    pub(crate) fn open(dir: &Path, node_id: NodeId, format: bool) -> Result<Self, StartError> {
        if !format && !Self::exists(dir) {
            refuse_orphaned_data(dir)?;
            return Err(StartError::NoData { dir: dir.to_owned() });
        }
        create_private_dir(dir)?;
        let lock = DirLock::acquire(dir)?;
        let mut body = match load(&dir.join(FILE))? {
            Some(body) => body,
            None => {
                refuse_orphaned_data(dir)?;
                Body { node_id, uid: Uid(rand::random()), incarnation: 0, cluster_id: None, founder: false }
            }
        };
        if body.node_id != node_id {
            return Err(StartError::WrongNode {
                dir: dir.to_owned(),
                expected: node_id,
                found: body.node_id,
            });
        }
        body.incarnation = body.incarnation.saturating_add(1);
        let mut identity = Self { dir: dir.to_owned(), body: body.clone(), lock: Some(lock) };
        identity.store(body).map_err(|error| StartError::io("write", &dir.join(FILE), &error))?;
        Ok(identity)
    }

    pub(crate) fn uid(&self) -> Uid {
        self.body.uid
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.body.incarnation
    }

    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        self.body.cluster_id
    }

    pub(crate) fn is_founder(&self) -> bool {
        self.body.founder
    }

    /// Makes this directory a part of a cluster, durably, for good. `founder` tells whether it founded it.
    ///
    /// Returns the cluster that it belongs to afterwards, which is another one if it belonged to one before.
    pub(crate) fn adopt(&mut self, cluster_id: ClusterId, founder: bool) -> io::Result<ClusterId> {
        if let Some(present) = self.body.cluster_id {
            return Ok(present);
        }
        self.store(Body { cluster_id: Some(cluster_id), founder, ..self.body.clone() })?;
        Ok(cluster_id)
    }

    /// Lets another process use the directory. Nothing may be written to it from here on.
    pub(crate) fn release(&mut self) {
        self.lock = None;
    }

    /// The id of the cluster that this node would found: a digest of the founding record, that is, of who founds it.
    ///
    /// The uid in it is random, so no two directories found the same cluster, and one founds the same one twice.
    pub(crate) fn founding_cluster_id(&self) -> ClusterId {
        let record = [&self.body.node_id.to_le_bytes()[..], &self.body.uid.0.to_le_bytes()[..]].concat();
        ClusterId(fnv1a(b"quorate founding record 1", &record))
    }

    fn store(&mut self, body: Body) -> io::Result<()> {
        if self.lock.is_none() {
            return Err(io::Error::other("the node has stopped"));
        }
        let bytes = encode(&body)?;
        let new = self.dir.join(FILE_NEW);
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, self.dir.join(FILE))?;
        File::open(&self.dir)?.sync_all()?;
        self.body = body;
        Ok(())
    }
}

fn encode(body: &Body) -> io::Result<Vec<u8>> {
    let body = postcard::to_stdvec(body).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len() + CRC_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&body);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

fn load(file: &Path) -> Result<Option<Body>, StartError> {
    let mut bytes = Vec::new();
    match File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(_) => decode(&bytes, file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StartError::io("read", file, &error)),
    }
}

fn decode(bytes: &[u8], file: &Path) -> Result<Body, StartError> {
    let corrupt =
        |cause: &str| StartError::CorruptIdentity { file: file.to_owned(), cause: cause.to_owned() };
    let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or_else(|| corrupt("it is too short"))?;
    let (magic, rest) = content.split_first_chunk::<4>().ok_or_else(|| corrupt("it is too short"))?;
    if *magic != MAGIC {
        return Err(corrupt("it does not begin as an identity file does"));
    }
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return Err(corrupt("its checksum does not match"));
    }
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(|| corrupt("it is too short"))?;
    let found = u32::from_le_bytes(*version);
    if found > FORMAT {
        return Err(StartError::FormatTooNew { file: file.to_owned(), found, max: FORMAT });
    }
    let (length, body) = rest.split_first_chunk::<4>().ok_or_else(|| corrupt("it is too short"))?;
    if usize::try_from(u32::from_le_bytes(*length)) != Ok(body.len()) {
        return Err(corrupt("its length does not match"));
    }
    postcard::from_bytes(body).map_err(|error| corrupt(&format!("its body cannot be read: {error}")))
}

/// The file with these bytes as it is written again, for fuzzers.
#[cfg(feature = "testing")]
pub(crate) fn rewrite(bytes: &[u8], file: &Path) -> Result<Vec<u8>, StartError> {
    encode(&decode(bytes, file)?).map_err(|error| StartError::io("write", file, &error))
}

/// A log without an identity is a lost identity, not a fresh directory: it must not be formatted over.
fn refuse_orphaned_data(dir: &Path) -> Result<(), StartError> {
    for part in ["log", "snapshots"] {
        if fs::read_dir(dir.join(part)).is_ok_and(|mut entries| entries.next().is_some()) {
            let cause = format!("it is missing, while {part}/ holds data");
            return Err(StartError::CorruptIdentity { file: dir.join(FILE), cause });
        }
    }
    Ok(())
}

fn create_private_dir(dir: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| StartError::io("create", dir, &error))
}

/// Folds bytes into 128 bits (FNV-1a). Spreads, and protects against nobody: the input is random already.
fn fnv1a(domain: &[u8], bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    domain.iter().chain(bytes).fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

/// Exclusive use of a directory for as long as it lives; the system ends it with the process.
#[derive(Debug)]
struct DirLock {
    _file: File,
}

impl DirLock {
    fn acquire(dir: &Path) -> Result<Self, StartError> {
        let path = dir.join(LOCK_FILE);
        let failed = |error: io::Error| StartError::io("lock", &path, &error);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let read = (&file).take(20).read_to_string(&mut pid);
                let pid = read.ok().and_then(|_| pid.trim().parse().ok());
                return Err(StartError::DataDirLocked { dir: dir.to_owned(), pid });
            }
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_start_counts_and_the_uid_stays() {
        let dir = dir();
        let first = Identity::open(dir.path(), 7, true).unwrap();
        let uid = first.uid();
        assert_eq!((first.incarnation(), first.cluster_id()), (1, None));
        drop(first);
        let second = Identity::open(dir.path(), 7, false).unwrap();
        assert_eq!((second.incarnation(), second.uid()), (2, uid));
    }

    #[test]
    fn the_first_cluster_is_adopted_for_good() {
        let dir = dir();
        let mut identity = Identity::open(dir.path(), 7, true).unwrap();
        assert_eq!(identity.adopt(ClusterId(1), true).unwrap(), ClusterId(1));
        assert_eq!(identity.adopt(ClusterId(2), false).unwrap(), ClusterId(1));
        drop(identity);
        let identity = Identity::open(dir.path(), 7, false).unwrap();
        assert_eq!((identity.cluster_id(), identity.is_founder()), (Some(ClusterId(1)), true));
    }

    #[test]
    fn row_10_a_directory_without_data_is_not_guessed_about() {
        let dir = dir();
        let path = dir.path().join("absent");
        let error = Identity::open(&path, 7, false).unwrap_err();
        assert_eq!(error, StartError::NoData { dir: path.clone() });
        assert!(error.to_string().contains("--found") && error.to_string().contains("--join"));
        assert!(!path.exists(), "nothing may be created");
    }

    #[test]
    fn row_24_two_users_of_a_directory_are_one_too_many() {
        let dir = dir();
        let _first = Identity::open(dir.path(), 7, true).unwrap();
        let error = Identity::open(dir.path(), 7, true).unwrap_err();
        let pid = Some(std::process::id());
        assert_eq!(error, StartError::DataDirLocked { dir: dir.path().to_owned(), pid });
    }

    #[test]
    fn another_nodes_directory_is_refused() {
        let dir = dir();
        drop(Identity::open(dir.path(), 7, true).unwrap());
        let error = Identity::open(dir.path(), 8, true).unwrap_err();
        assert_eq!(error, StartError::WrongNode { dir: dir.path().to_owned(), expected: 8, found: 7 });
    }

    #[test]
    fn row_32_a_newer_format_is_refused_and_left_alone() {
        let dir = dir();
        drop(Identity::open(dir.path(), 7, true).unwrap());
        let file = dir.path().join(FILE);
        let mut bytes = fs::read(&file).unwrap();
        bytes.truncate(bytes.len() - CRC_BYTES);
        bytes[4] = 9;
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        fs::write(&file, &bytes).unwrap();
        let error = Identity::open(dir.path(), 7, true).unwrap_err();
        assert_eq!(error, StartError::FormatTooNew { file: file.clone(), found: 9, max: FORMAT });
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }

    #[test]
    fn a_flipped_bit_or_a_lost_tail_anywhere_is_damage_and_never_a_panic() {
        let dir = dir();
        drop(Identity::open(dir.path(), 7, true).unwrap());
        let file = dir.path().join(FILE);
        let bytes = fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(
                matches!(decode(&flipped, &file), Err(StartError::CorruptIdentity { .. })),
                "flip at {at}"
            );
            assert!(
                matches!(decode(&bytes[..at], &file), Err(StartError::CorruptIdentity { .. })),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn a_log_without_an_identity_is_not_formatted_over() {
        let dir = dir();
        fs::create_dir(dir.path().join("log")).unwrap();
        fs::write(dir.path().join("log/segment"), b"data").unwrap();
        for format in [false, true] {
            let error = Identity::open(dir.path(), 7, format).unwrap_err();
            assert!(matches!(error, StartError::CorruptIdentity { .. }), "{error}");
        }
    }
}

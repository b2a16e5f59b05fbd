//! The vote, kept twice: two files, each written and synced in turn, so that a torn write or rot
//! of one leaves the other.

use std::io;

use crate::error::LogError;
use crate::files::{Directory, StoredFile};
use crate::format::{FILE_HEADER, decode_block, encode_block, take_u32, take_u64, take_u128};
use crate::segment::TEMPORARY;

const MAGIC: [u8; 8] = *b"QRTVOTE\n";
const NAMES: [&str; 2] = ["vote.0", "vote.1"];
/// The largest vote, in bytes, that a copy holds.
pub(crate) const VOTE_MAX: usize = 2048;

/// The two copies, open for writing.
pub(crate) struct VoteFiles<D: Directory> {
    directory: D,
    copies: [D::File; 2],
    log_id: u128,
    sequence: u64,
}

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredVote {
    pub(crate) log_id: u128,
    pub(crate) sequence: u64,
    pub(crate) vote: Option<Vec<u8>>,
}

/// One copy as found.
enum Copy {
    Missing,
    Bad(LogError),
    Good(StoredVote),
}

impl<D: Directory> VoteFiles<D> {
    /// Writes both copies for a log that has no vote yet.
    pub(crate) fn create(directory: &D, log_id: u128) -> Result<Self, LogError> {
        let none = StoredVote { log_id, sequence: 0, vote: None };
        let [first, second] = NAMES;
        let copies = [write_new(directory, first, &none)?, write_new(directory, second, &none)?];
        Ok(Self { directory: directory.clone(), copies, log_id, sequence: 0 })
    }

    /// Reads the copies; `None` if there is neither. One that is damaged is rewritten from the other
    /// (then the last value is its name).
    #[allow(clippy::type_complexity)]
    pub(crate) fn load(directory: &D) -> Result<Option<(Self, StoredVote, Option<&'static str>)>, LogError> {
        let [first_name, second_name] = NAMES;
        let (first, second) = (read_copy(directory, first_name)?, read_copy(directory, second_name)?);
        let (best, bad) = match (first, second) {
            (Copy::Missing, Copy::Missing) => return Ok(None),
            (Copy::Good(a), Copy::Good(b)) => {
                if a.log_id != b.log_id {
                    return Err(LogError::SegmentForeign {
                        file: second_name.into(),
                        what: "the two copies of the vote come from different logs".into(),
                    });
                }
                // A crash between the two writes leaves them apart; only the newer can be what was promised.
                let behind = match a.sequence.cmp(&b.sequence) {
                    std::cmp::Ordering::Less => Some(first_name),
                    std::cmp::Ordering::Equal => None,
                    std::cmp::Ordering::Greater => Some(second_name),
                };
                (if a.sequence >= b.sequence || quorate_core::mutant!(97) { a } else { b }, behind)
            }
            (Copy::Good(a), _) => (a, Some(second_name)),
            (_, Copy::Good(b)) => (b, Some(first_name)),
            // What cannot be read for the moment is not lost: the next attempt may find it.
            (Copy::Bad(error @ LogError::Io { .. }), _) | (_, Copy::Bad(error @ LogError::Io { .. })) => {
                return Err(error);
            }
            (first, second) => {
                let what = format!("{}; {}", first.describe(first_name), second.describe(second_name));
                return Err(LogError::VoteLost { directory: directory.location(), what });
            }
        };
        if let Some(bad) = bad.filter(|_| !quorate_core::mutant!(79)) {
            write_new(directory, bad, &best)?;
        }
        let open = |name: &str| directory.open(name).map_err(|error| LogError::io("opening", name, &error));
        let files = Self {
            directory: directory.clone(),
            copies: [open(first_name)?, open(second_name)?],
            log_id: best.log_id,
            sequence: best.sequence,
        };
        // What a killed process wrote is read from memory here, and may be on the disk in one copy only, if the sync of the
        // other failed: so write both once more before anyone relies on it. In place, which a full disk allows too.
        files.write(&best.encode())?;
        Ok(Some((files, best, bad)))
    }

    /// Makes `vote` durable in both copies, one after the other: never are both in the making.
    pub(crate) fn save(&mut self, vote: &[u8]) -> Result<(), LogError> {
        let sequence = self.sequence.saturating_add(1);
        let stored = StoredVote { log_id: self.log_id, sequence, vote: Some(vote.to_vec()) };
        let block = stored.encode();
        if quorate_core::mutant!(72) {
            self.copies.iter().for_each(|copy| drop(copy.write_at(&block, 0)))
        }
        self.write(&block)?;
        self.sequence = sequence;
        Ok(())
    }

    fn write(&self, block: &[u8]) -> Result<(), LogError> {
        for (copy, name) in self.copies.iter().zip(NAMES) {
            let synced =
                || if quorate_core::mutant!(17) && name != "vote.0" { Ok(()) } else { copy.sync_data() };
            copy.write_at(block, 0).and_then(|()| synced()).map_err(|error| {
                LogError::io("writing", format!("{}/{name}", self.directory.location()), &error)
            })?;
        }
        Ok(())
    }
}

impl StoredVote {
    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64);
        body.extend_from_slice(&self.log_id.to_le_bytes());
        body.extend_from_slice(&self.sequence.to_le_bytes());
        let vote = self.vote.as_deref();
        // Zero says that there is no vote; otherwise the length plus one.
        let len = vote.map_or(0, |vote| u32::try_from(vote.len()).unwrap_or(u32::MAX).saturating_add(1));
        body.extend_from_slice(&len.to_le_bytes());
        body.extend_from_slice(vote.unwrap_or_default());
        encode_block(MAGIC, &body)
    }

    fn decode(name: &str, block: &[u8]) -> Result<Self, LogError> {
        let (mut body, _) = decode_block(name, MAGIC, block)?;
        let mut read = || {
            let log_id = take_u128(&mut body)?;
            let sequence = take_u64(&mut body)?;
            let vote = match take_u32(&mut body)?.checked_sub(1) {
                None => None,
                Some(len) => Some(body.get(..len as usize)?.to_vec()),
            };
            Some(Self { log_id, sequence, vote })
        };
        read().ok_or_else(|| LogError::corrupt(name, 0, "the vote is longer than its file"))
    }
}

impl Copy {
    fn describe(&self, name: &str) -> String {
        match self {
            Self::Missing => format!("{name} is missing"),
            Self::Bad(error) => error.to_string(),
            Self::Good(_) => format!("{name} is intact"),
        }
    }
}

/// Reads a copy. A newer format is an error, since what is newer must not be overwritten.
fn read_copy<D: Directory>(directory: &D, name: &str) -> Result<Copy, LogError> {
    let file = match directory.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Copy::Missing),
        Err(error) => return Err(LogError::io("opening", name, &error)),
    };
    let mut block = vec![0u8; FILE_HEADER];
    let len = match file.read_at(&mut block, 0) {
        Ok(len) => len,
        Err(error) => return Ok(Copy::Bad(LogError::io("reading", name, &error))),
    };
    block.truncate(len);
    match StoredVote::decode(name, &block) {
        Ok(vote) => Ok(Copy::Good(vote)),
        Err(error @ (LogError::FormatTooNew { .. } | LogError::UnknownFeatures { .. })) => Err(error),
        Err(error) => Ok(Copy::Bad(error)),
    }
}

/// Writes a copy as a whole new file: beside, synced, renamed.
fn write_new<D: Directory>(directory: &D, name: &str, vote: &StoredVote) -> Result<D::File, LogError> {
    let temporary = format!("{name}{TEMPORARY}");
    let written = || {
        match directory.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = directory.create(&temporary)?;
        file.write_at(&vote.encode(), 0)?;
        file.sync_data()?;
        directory.rename(&temporary, name)?;
        directory.sync()?;
        Ok(file)
    };
    written().map_err(|error: io::Error| LogError::io_or_full("writing", name, directory, &error))
}

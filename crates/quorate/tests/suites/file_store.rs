//! A log in three small files, sound or with one mistake.
//!
//! `log` holds a record for each entry; `vote` and `purged` are replaced as a whole. What is purged stays in `log`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use quorate::EntryPayload;
use quorate::LogState;
use quorate::RaftLogReader;
use quorate::Vote;
use quorate::entry::RaftEntry;
use quorate::storage::IOFlushed;
use quorate::storage::RaftLogStorage;
use quorate::testing::crash::StoreOpener;
use quorate::testing::crash::fs;
use quorate::testing::log_id;
use quorate::type_config::alias::EntryOf;
use quorate::type_config::alias::LogIdOf;
use quorate::type_config::alias::VoteOf;

use crate::Adv;

/// One mistake of a store that writes files, as people make them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileBug {
    BadRecordIsSkipped,
    CallbackComesBeforeSync,
    ChecksumIsIgnored,
    CreationIsNotSynced,
    EntriesAreBuffered,
    EntriesAreNotSynced,
    FileIsNotSyncedBeforeRename,
    PurgeIsForgotten,
    /// This one is allowed.
    PurgeIsLazy,
    RenameIsNotSynced,
    SyncErrorIsIgnored,
    SyncIsTriedAgain,
    TailIsNotCut,
    TornTailPanics,
    TornTailIsRefused,
    TruncationIsForgotten,
    TruncationIsNotSynced,
    VoteIsForgotten,
    VoteIsReplacedInPlace,
}

/// Opens stores with the same mistake, or none.
pub struct Opener(pub Option<FileBug>);

impl StoreOpener<Adv, FileLog> for Opener {
    async fn open(&self, dir: &Path) -> io::Result<FileLog> {
        Ok(FileLog(Arc::new(Mutex::new(Files::open(dir, self.0)?))))
    }

    fn entry(&self, log_id: LogIdOf<Adv>, bytes: usize) -> EntryOf<Adv> {
        EntryOf::<Adv>::new_normal(log_id, format!("{log_id} ").repeat(bytes / 10))
    }
}

/// The log; clones share it.
#[derive(Clone)]
pub struct FileLog(Arc<Mutex<Files>>);

struct Files {
    bug: Option<FileBug>,
    dir: PathBuf,
    log: fs::File,
    end: u64,
    /// What a mistaken store has not written yet.
    buffered: Vec<u8>,
    /// Each entry, and where its record begins.
    entries: BTreeMap<u64, (u64, EntryOf<Adv>)>,
    purged: Option<LogIdOf<Adv>>,
    vote: Option<VoteOf<Adv>>,
}

impl Files {
    fn open(dir: &Path, bug: Option<FileBug>) -> io::Result<Self> {
        let log = fs::OpenOptions::new().read(true).write(true).create(true).open(dir.join("log"))?;
        if bug != Some(FileBug::CreationIsNotSynced) {
            fs::File::open(dir)?.sync_all()?;
        }
        let mut files = Self {
            bug,
            dir: dir.to_path_buf(),
            log,
            end: 0,
            buffered: Vec::new(),
            entries: BTreeMap::new(),
            purged: None,
            vote: None,
        };
        if let Some([term, node, index]) = files.read("purged")? {
            files.purged = Some(log_id::<Adv>(term, node, index));
        }
        if let Some([term, node, committed]) = files.read("vote")? {
            files.vote = Some(Vote { committed: committed == 1, ..Vote::new(term, node) });
        }
        files.read_log()?;
        Ok(files)
    }

    fn read_log(&mut self) -> io::Result<()> {
        let bytes = fs::read(self.dir.join("log"))?;
        let mut at = 0;
        while let Some(header) = bytes[at..].first_chunk::<12>() {
            let len = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
            let sum = u64::from_le_bytes(header[4..].try_into().unwrap());
            let Some(payload) = bytes.get(at + 12..at + 12 + len).filter(|_| len > 0) else { break };
            let is_sound = sum == checksum(payload) || self.bug == Some(FileBug::ChecksumIsIgnored);
            if is_sound {
                let entry = decode(payload)?;
                self.entries.insert(entry.index(), (at as u64, entry));
            } else if self.bug != Some(FileBug::BadRecordIsSkipped) {
                break;
            }
            at += 12 + len;
        }
        let keep = self.purged.map_or(0, |purged| purged.index + 1);
        self.entries = self.entries.split_off(&keep);
        self.end = at as u64;
        assert!(
            at == bytes.len() || self.bug != Some(FileBug::TornTailPanics),
            "the log ends in a broken record"
        );
        if at < bytes.len() && self.bug == Some(FileBug::TornTailIsRefused) {
            return Err(io::Error::other("the log ends in a broken record"));
        }
        if self.bug == Some(FileBug::TailIsNotCut) {
            self.end = bytes.len() as u64;
            return Ok(());
        }
        self.log.set_len(self.end)?;
        self.log.sync_all()
    }

    fn append(&mut self, entries: Vec<EntryOf<Adv>>, callback: IOFlushed<Adv>) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.buffered);
        let begin = self.end - bytes.len() as u64;
        for entry in entries {
            let payload = encode(&entry);
            bytes.extend((payload.len() as u32).to_le_bytes());
            bytes.extend(checksum(&payload).to_le_bytes());
            bytes.extend(payload);
            let at = std::mem::replace(&mut self.end, begin + bytes.len() as u64);
            self.entries.insert(entry.index(), (at, entry));
        }
        if self.bug == Some(FileBug::EntriesAreBuffered) {
            self.buffered = bytes;
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.log.write_all_at(&bytes, begin)?;
        if self.bug == Some(FileBug::CallbackComesBeforeSync) {
            callback.io_completed(Ok(()));
            return self.log.sync_data();
        }
        match self.bug {
            Some(FileBug::EntriesAreNotSynced) => {}
            Some(FileBug::SyncErrorIsIgnored) => drop(self.log.sync_data()),
            Some(FileBug::SyncIsTriedAgain) => self.log.sync_data().or_else(|_| self.log.sync_data())?,
            _ => self.log.sync_data()?,
        }
        callback.io_completed(Ok(()));
        Ok(())
    }

    fn truncate_from(&mut self, first: u64) -> io::Result<()> {
        let Some((_, (at, _))) = self.entries.split_off(&first).pop_first() else { return Ok(()) };
        self.end = at;
        if self.bug != Some(FileBug::TruncationIsForgotten) {
            self.log.set_len(at)?;
        }
        if self.bug == Some(FileBug::TruncationIsNotSynced) { Ok(()) } else { self.log.sync_all() }
    }

    /// Replaces a small file as a whole: three numbers and a checksum.
    fn replace(&self, name: &str, numbers: [u64; 3]) -> io::Result<()> {
        let mut content: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        content.extend(checksum(&content).to_le_bytes());
        let (temporary, name) = (self.dir.join("new"), self.dir.join(name));
        if self.bug == Some(FileBug::VoteIsReplacedInPlace) {
            fs::write(&name, &content)?;
            fs::File::open(name)?.sync_all()?;
            return fs::File::open(&self.dir)?.sync_all();
        }
        fs::write(&temporary, &content)?;
        if self.bug != Some(FileBug::FileIsNotSyncedBeforeRename) {
            fs::File::open(&temporary)?.sync_all()?;
        }
        fs::rename(temporary, name)?;
        if self.bug == Some(FileBug::RenameIsNotSynced) {
            Ok(())
        } else {
            fs::File::open(&self.dir)?.sync_all()
        }
    }

    fn read(&self, name: &str) -> io::Result<Option<[u64; 3]>> {
        if !fs::exists(self.dir.join(name))? {
            return Ok(None);
        }
        let content = fs::read(self.dir.join(name))?;
        let numbers: Vec<u64> =
            content.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().unwrap())).collect();
        match numbers[..] {
            [a, b, c, sum] if sum == checksum(&content[..24]) => Ok(Some([a, b, c])),
            _ => Err(io::Error::other(format!("`{name}` is broken"))),
        }
    }
}

fn encode(entry: &EntryOf<Adv>) -> Vec<u8> {
    let EntryPayload::Normal(text) = &entry.payload else { panic!("only data is appended: {entry}") };
    let id = entry.log_id;
    format!("{} {} {} {text}", id.leader_id.term, id.leader_id.node_id, id.index).into_bytes()
}

fn decode(payload: &[u8]) -> io::Result<EntryOf<Adv>> {
    let text = String::from_utf8_lossy(payload);
    let mut parts = text.splitn(4, ' ');
    let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or(io::ErrorKind::InvalidData);
    let id = log_id::<Adv>(number()?, number()?, number()?);
    Ok(EntryOf::<Adv>::new_normal(id, parts.next().unwrap_or_default().to_string()))
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
}

impl FileLog {
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap()
    }
}

impl RaftLogReader<Adv> for FileLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Adv>>, io::Error> {
        Ok(self.lock().entries.range(range).map(|(_, (_, entry))| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Adv>>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Adv> for FileLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Adv>, io::Error> {
        let files = self.lock();
        let last = files.entries.values().next_back().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id: files.purged, last_log_id: last.or(files.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Adv>) -> Result<(), io::Error> {
        let mut files = self.lock();
        files.vote = Some(*vote);
        if files.bug == Some(FileBug::VoteIsForgotten) {
            return Ok(());
        }
        files.replace("vote", [vote.leader_id.term, vote.leader_id.node_id, vote.committed.into()])
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Adv>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Adv>> + Send,
        I::IntoIter: Send,
    {
        let entries = entries.into_iter().collect();
        self.lock().append(entries, callback)
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Adv>>) -> Result<(), io::Error> {
        self.lock().truncate_from(last.map_or(0, |last| last.index + 1))
    }

    async fn purge(&mut self, upto: LogIdOf<Adv>) -> Result<(), io::Error> {
        let mut files = self.lock();
        let last = files.entries.keys().next_back().copied();
        files.entries = files.entries.split_off(&(upto.index + 1));
        let is_due = match files.bug {
            Some(FileBug::PurgeIsForgotten) => false,
            Some(FileBug::PurgeIsLazy) => last < Some(upto.index),
            _ => true,
        };
        if is_due {
            files.replace("purged", [upto.leader_id.term, upto.leader_id.node_id, upto.index])?;
        }
        files.purged = Some(upto);
        Ok(())
    }
}

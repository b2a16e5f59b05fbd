//! The log store holds what it acknowledged, whenever the power fails; one whose syncs do nothing does not.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use quorate::LogState;
use quorate::storage::{IOFlushed, RaftLogStorage};
use quorate::testing::crash::{StoreOpener, Suite, fs};
use quorate::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use quorate_log::{Directory, LockFailure, LogStore, LogStoreReader, Options, Postcard, StoredFile, Writer};

use crate::Adv;

/// What a mistaken store leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Omits {
    Nothing,
    SyncOfLog,
    SyncOfVote,
    SyncOfDirectory,
    WaitForSync,
}

/// A directory of the simulated disk.
#[derive(Clone)]
struct CrashDirectory {
    path: PathBuf,
    omits: Omits,
}

struct CrashFile {
    file: fs::File,
    is_synced: bool,
}

impl CrashDirectory {
    fn open_with(&self, name: &str, options: &mut fs::OpenOptions) -> io::Result<CrashFile> {
        let file = options.read(true).write(true).open(self.path.join(name))?;
        let omitted = match self.omits {
            Omits::SyncOfLog => name.ends_with(".seg") || name.starts_with("spare"),
            Omits::SyncOfVote => name.starts_with("vote"),
            _ => false,
        };
        Ok(CrashFile { file, is_synced: !omitted })
    }
}

impl Directory for CrashDirectory {
    type File = CrashFile;
    type Lock = ();

    fn create(&self, name: &str) -> io::Result<CrashFile> {
        self.open_with(name, fs::OpenOptions::new().create_new(true))
    }

    fn open(&self, name: &str) -> io::Result<CrashFile> {
        self.open_with(name, &mut fs::OpenOptions::new())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn sync(&self) -> io::Result<()> {
        if self.omits == Omits::SyncOfDirectory { Ok(()) } else { fs::File::open(&self.path)?.sync_all() }
    }

    fn lock(&self) -> Result<(), LockFailure> {
        Ok(())
    }

    fn new_id(&self) -> u128 {
        7
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

impl StoredFile for CrashFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.is_synced { self.file.sync_data() } else { Ok(()) }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// The store with its writer, which a task steps whenever the suite waits: so every run is the same.
struct Stepped {
    store: LogStore<Adv, Postcard, CrashDirectory>,
    omits: Omits,
    _alive: Arc<()>,
}

async fn step(mut writer: Writer<CrashDirectory>, alive: Weak<()>) {
    while alive.strong_count() > 0 && writer.step().is_ok() {
        tokio::task::yield_now().await;
    }
}

impl RaftLogStorage<Adv> for Stepped {
    type LogReader = LogStoreReader<Adv, Postcard, CrashDirectory>;

    async fn get_log_state(&mut self) -> io::Result<LogState<Adv>> {
        self.store.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.store.get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &VoteOf<Adv>) -> io::Result<()> {
        self.store.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Adv>>) -> io::Result<()> {
        self.store.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<Adv>>> {
        self.store.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Adv>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Adv>> + Send,
        I::IntoIter: Send,
    {
        if self.omits == Omits::WaitForSync {
            callback.io_completed(Ok(()));
            return self.store.append(entries, IOFlushed::noop()).await;
        }
        self.store.append(entries, callback).await
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Adv>>) -> io::Result<()> {
        self.store.truncate_after(last).await
    }

    async fn purge(&mut self, upto: LogIdOf<Adv>) -> io::Result<()> {
        self.store.purge(upto).await
    }
}

fn options() -> Options {
    Options { segment_bytes: 64 * 1024, tail_bytes: 8 * 1024, ..Options::default() }
}

impl StoreOpener<Adv, Stepped> for Omits {
    async fn open(&self, dir: &Path) -> io::Result<Stepped> {
        let directory = CrashDirectory { path: dir.to_path_buf(), omits: *self };
        let (store, writer) = LogStore::stepped(directory, options())?;
        let alive = Arc::new(());
        tokio::spawn(step(writer, Arc::downgrade(&alive)));
        Ok(Stepped { store, omits: *self, _alive: alive })
    }
}

struct OnDisk;

impl StoreOpener<Adv, LogStore<Adv>> for OnDisk {
    async fn open(&self, dir: &Path) -> io::Result<LogStore<Adv>> {
        Ok(LogStore::open(dir, options())?)
    }
}

#[tokio::test]
async fn the_power_fails_at_every_moment() {
    let explored = Suite::<_, Stepped, _>::power_loss(&Omits::Nothing, 1).await.unwrap();
    assert!(explored.moments > 250 && explored.disks > 2500, "{explored:?}");
}

#[tokio::test]
async fn every_sync_fails_once() {
    let explored = Suite::<_, Stepped, _>::failed_syncs(&Omits::Nothing).await.unwrap();
    assert!(explored.moments > 60, "{explored:?}");
}

#[tokio::test]
async fn the_process_is_killed_after_every_call() {
    let explored = Suite::<_, LogStore<Adv>, _>::kill(&OnDisk).await.unwrap();
    assert!(explored.moments > 40, "{explored:?}");
}

#[tokio::test]
async fn every_omission_is_found() {
    for omits in [Omits::SyncOfLog, Omits::SyncOfVote, Omits::SyncOfDirectory, Omits::WaitForSync] {
        let outcome = Suite::<_, Stepped, _>::power_loss(&omits, 1).await;
        assert!(outcome.is_err(), "{omits:?}");
    }
}

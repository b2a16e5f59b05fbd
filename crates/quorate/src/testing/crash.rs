//! Whether a log store still holds what it acknowledged after the power failed, or the process was killed.
//!
//! [`Suite::power_loss`] runs scripts of calls on a simulated [`Disk`], which remembers every write, sync and rename.
//! For every moment between two of them it makes the disks that a power cut may have left: with everything lost that was
//! not synced, with nothing lost, and with some sectors and names lost by lot. On each it opens the store anew and asks:
//!
//! - Is there what was acknowledged? A vote and a truncation are when the call returned, entries when their callback was
//!   called; with entries, all that was written to the log before them. Purged entries may come back, unless a hole
//!   came of it. What is committed need not be durable.
//! - Is there nothing else? What was under way may be there or not, of an append the first few entries; nothing may
//!   be there that was not written yet, no entry with another content, no hole.
//! - Does it go on? Another entry and another vote are written, and survive the next power cut; and the power may fail
//!   while the store is being opened.
//!
//! For this the store must do its I/O through [`fs`], which is the standard library's by another name: one line of a
//! store changes for its tests. A store that takes a file layer of its own gets one made from [`fs`].
//!
//! [`Suite::failed_syncs`] lets one sync after the other fail. What such a sync was to make durable is lost for good: a
//! store that syncs again, and acknowledges, has lost it too. An error stops a node, which is all that a store owes.
//!
//! [`Suite::kill`] is for every other store, too: it runs the scripts in a real directory and opens the store anew on a
//! copy of it after each call, which is what a killed process leaves. It finds what is acknowledged before it is
//! written, and not what is written and not synced.
//!
//! ```
//! use std::io;
//! use std::path::Path;
//!
//! use quorate::RaftTypeConfig;
//! use quorate::storage::RaftLogStorage;
//! use quorate::testing::crash::StoreOpener;
//! use quorate::testing::crash::Suite;
//!
//! # trait MyStore<C: RaftTypeConfig>: RaftLogStorage<C> { fn open(dir: &Path) -> io::Result<Self> where Self: Sized; }
//! struct Opener;
//!
//! impl<C: RaftTypeConfig, LS: MyStore<C>> StoreOpener<C, LS> for Opener {
//!     async fn open(&self, dir: &Path) -> io::Result<LS> {
//!         LS::open(dir)
//!     }
//! }
//!
//! # async fn check<C: RaftTypeConfig, LS: MyStore<C>>() where
//! #     C::Term: From<u64>, C::NodeId: From<u64>, C::Node: Default,
//! # {
//! // In a test:
//! let explored = Suite::<C, LS, Opener>::power_loss(&Opener, 8).await.unwrap();
//! assert!(explored.disks > 1000);
//! # }
//! ```

mod disk;
pub mod fs;
mod script;

use std::io;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;

pub use disk::Disk;
pub use disk::Loss;

use crate::base::OptionalSend;
use crate::base::OptionalSync;
use crate::entry::RaftEntry;
use crate::errors::StorageError;
use crate::membership::Membership;
use crate::storage::RaftLogStorage;
use crate::testing::crash::script::Clock;
use crate::testing::crash::script::Found;
use crate::testing::crash::script::History;
use crate::testing::crash::script::SCRIPTS;
use crate::testing::crash::script::Step;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::LogIdOf;

/// Opens the store that is to be tested. Implementors write `async fn open`.
pub trait StoreOpener<C, LS>: OptionalSend + OptionalSync
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
{
    /// Opens the store in `dir`, which exists, and holds nothing at first and later what a crash left.
    fn open(&self, dir: &Path) -> impl Future<Output = Result<LS, io::Error>> + OptionalSend;

    /// An entry of about so many bytes, the same for the same id. By default it carries a membership of many nodes.
    fn entry(&self, log_id: LogIdOf<C>, bytes: usize) -> C::Entry
    where
        C::NodeId: From<u64>,
        C::Node: Default,
    {
        let nodes = (0..=bytes.div_ceil(16) as u64).map(C::NodeId::from).collect();
        C::Entry::new_membership(log_id, Membership::new_with_defaults(vec![nodes], []))
    }
}

/// The scripts, and what becomes of them.
///
/// An error names the script, the moment and the loss, what was due and what was found. The same store gives the same
/// disks every time. The suite waits for callbacks on the runtime's clock, which therefore must not be a paused one if
/// the store works on threads of its own.
pub struct Suite<C, LS, O> {
    types: PhantomData<(C, LS, O)>,
}

/// How much was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Explored {
    /// Moments at which the power failed or the process died.
    pub moments: usize,
    /// Disks on which the store was opened anew.
    pub disks: usize,
}

impl<C, LS, O> Suite<C, LS, O>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
    C::Node: Default,
    LS: RaftLogStorage<C>,
    O: StoreOpener<C, LS>,
{
    /// Runs every script through [`power_loss`](Self::power_loss), with eight draws of the lots,
    /// [`failed_syncs`](Self::failed_syncs) and [`kill`](Self::kill).
    pub async fn test_all(opener: O) -> Result<Explored, StorageError<C>> {
        let tried = [
            Self::power_loss(&opener, 8).await?,
            Self::failed_syncs(&opener).await?,
            Self::kill(&opener).await?,
        ];
        let (moments, disks) = (tried.map(|tried| tried.moments), tried.map(|tried| tried.disks));
        Ok(Explored { moments: moments.iter().sum(), disks: disks.iter().sum() })
    }

    /// Cuts the power at every moment of every script. Which sectors and names are lost is drawn `draws` times for each
    /// moment and each size of sectors, 512 and 4096 bytes, beside losing all and losing nothing.
    pub async fn power_loss(opener: &O, draws: u64) -> Result<Explored, StorageError<C>> {
        let mut explored = Explored::default();
        for (name, steps) in SCRIPTS {
            let outcome = Self::cut_everywhere(opener, steps, draws, &mut explored).await;
            outcome.map_err(|text| failure(name, &text))?;
        }
        Ok(explored)
    }

    /// Lets every sync of every script fail, in a run of its own each; the power is cut when the store has given an
    /// error, or at the end.
    pub async fn failed_syncs(opener: &O) -> Result<Explored, StorageError<C>> {
        let mut explored = Explored::default();
        for (name, steps) in SCRIPTS {
            let outcome = Self::fail_every_sync(opener, steps, &mut explored).await;
            outcome.map_err(|text| failure(name, &text))?;
        }
        Ok(explored)
    }

    /// Kills the process after every call of every script, in a temporary directory of the real file system.
    pub async fn kill(opener: &O) -> Result<Explored, StorageError<C>> {
        let mut explored = Explored::default();
        for (name, steps) in SCRIPTS {
            let outcome = Self::kill_everywhere(opener, steps, &mut explored).await;
            outcome.map_err(|text| failure(name, &text))?;
        }
        Ok(explored)
    }

    async fn cut_everywhere(
        opener: &O,
        steps: &[Step],
        draws: u64,
        explored: &mut Explored,
    ) -> Result<(), String> {
        let disk = Disk::new();
        let (history, outcome) = Self::run(opener, steps, &disk).await;
        outcome.map_err(|text| {
            format!("{text}, without any crash; the store must do its I/O through `testing::crash::fs`")
        })?;
        for moment in 0..=disk.changes() {
            explored.moments += 1;
            let mut seen: Vec<Disk> = Vec::new();
            for loss in losses(moment, draws) {
                let left = disk.after_power_cut(moment, loss);
                if seen.iter().any(|disk| disk.shows_the_same(&left)) {
                    continue;
                }
                let outcome = caught(Self::survive(opener, &left, moment, loss, &history, explored)).await;
                outcome.map_err(|text| format!("{}, and {loss}: {text}", when(&disk, moment)))?;
                seen.push(left);
            }
        }
        Ok(())
    }

    /// Opens the store on what a power cut left; it must hold what it should, and go on.
    async fn survive(
        opener: &O,
        left: &Disk,
        moment: usize,
        loss: Loss,
        history: &History<C>,
        explored: &mut Explored,
    ) -> Result<(), String> {
        explored.disks += 1;
        let mut store = open(opener, &left.path()).await?;
        let found = Found::read(&mut store).await?;
        history.check(moment, &found)?;
        let opened = left.changes();

        let more = Self::go_on(opener, &mut store, found, &clock_of(left)).await?;
        let end = left.changes();
        drop(store);
        let again = left.after_power_cut(end, Loss::All);
        explored.disks += 1;
        let mut store = open(opener, &again.path()).await?;
        let found = Found::read(&mut store).await?;
        more.check(end, &found).map_err(|text| format!("and fails again, after more was written: {text}"))?;
        drop(store);

        if loss == Loss::All {
            for moment_again in 0..opened {
                let loss = Loss::Some { sector: 512, seed: moment_again as u64 };
                let again = left.after_power_cut(moment_again, loss);
                explored.disks += 1;
                let in_recovery =
                    |text| format!("and fails while the store is opened, at change {moment_again}: {text}");
                let mut store = open(opener, &again.path()).await.map_err(in_recovery)?;
                let found = Found::read(&mut store).await.map_err(in_recovery)?;
                history.check(moment, &found).map_err(in_recovery)?;
            }
        }
        Ok(())
    }

    async fn fail_every_sync(opener: &O, steps: &[Step], explored: &mut Explored) -> Result<(), String> {
        for sync in 0.. {
            let disk = Disk::new();
            disk.fail_sync(sync);
            let (history, outcome) = Self::run(opener, steps, &disk).await;
            if disk.syncs() <= sync {
                return outcome;
            }
            let end = disk.changes();
            let left = disk.after_power_cut(end, Loss::All);
            explored.moments += 1;
            let survived = caught(Self::survive(opener, &left, end, Loss::All, &history, explored)).await;
            survived.map_err(|text| format!("sync {sync} fails, and then the power: {text}"))?;
        }
        Ok(())
    }

    /// Does all steps, or those up to the first that fails.
    async fn run(opener: &O, steps: &[Step], disk: &Disk) -> (History<C>, Result<(), String>) {
        let (mut history, clock) = (History::new(), clock_of(disk));
        let mut store = match open(opener, &disk.path()).await {
            Ok(store) => store,
            Err(text) => return (history, Err(text)),
        };
        for step in steps {
            if let Err(error) = history.take(*step, &mut store, opener, &clock).await {
                return (history, Err(format!("{step:?} fails: {error}")));
            }
        }
        let settled = history.settle().await;
        (history, settled.map_err(|error| format!("the last append fails: {error}")))
    }

    async fn kill_everywhere(opener: &O, steps: &[Step], explored: &mut Explored) -> Result<(), String> {
        let dir = TemporaryDir::new().map_err(|error| format!("no temporary directory: {error}"))?;
        let mut store = open(opener, dir.path()).await?;
        // Before the nth copy is made, the clock shows 2n; while it is made, and after, 2n + 2.
        let now = Arc::new(AtomicUsize::new(0));
        let read = now.clone();
        let clock: Clock = Arc::new(move || read.load(Ordering::SeqCst));
        let mut history = History::new();
        for step in steps {
            let done = history.take(*step, &mut store, opener, &clock).await;
            done.map_err(|error| format!("{step:?} fails without any crash: {error}"))?;
            if !history.is_settled() {
                continue;
            }
            let moment = now.fetch_add(2, Ordering::SeqCst) + 1;
            let outcome = caught(Self::kill_now(opener, dir.path(), moment, &history)).await;
            outcome.map_err(|text| format!("the process is killed after {step:?}: {text}"))?;
            explored.moments += 1;
            explored.disks += 2;
        }
        Ok(())
    }

    async fn kill_now(opener: &O, dir: &Path, moment: usize, history: &History<C>) -> Result<(), String> {
        let copy =
            TemporaryDir::copy_of(dir).map_err(|error| format!("no copy of the directory: {error}"))?;
        let mut store = open(opener, copy.path()).await?;
        let found = Found::read(&mut store).await?;
        history.check(moment, &found)?;
        let clock: Clock = Arc::new(|| 0);
        let more = Self::go_on(opener, &mut store, found, &clock).await?;
        let again = TemporaryDir::copy_of(copy.path()).map_err(|error| format!("no copy: {error}"))?;
        drop(store);
        let mut store = open(opener, again.path()).await?;
        let found = Found::read(&mut store).await?;
        more.check(1, &found).map_err(|text| format!("and again, after more was written: {text}"))
    }

    /// Writes an entry and a vote.
    async fn go_on(opener: &O, store: &mut LS, found: Found<C>, clock: &Clock) -> Result<History<C>, String> {
        let end = found.held.end();
        let mut history = History::since(found);
        for step in [Step::Append(9, end, 1, 600), Step::Settle, Step::Vote(9, 1, true)] {
            let done = history.take(step, store, opener, clock).await;
            done.map_err(|error| format!("opened anew, the store fails at {step:?}: {error}"))?;
        }
        Ok(history)
    }
}

async fn open<C, LS, O>(opener: &O, dir: &Path) -> Result<LS, String>
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
    O: StoreOpener<C, LS>,
{
    opener.open(dir).await.map_err(|error| format!("the store cannot be opened: {error}"))
}

/// A store that panics on what a crash left is as bad as one that refuses it.
async fn caught(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|_| Err("the store panics".to_string()))
}

/// The moment, in words.
fn when(disk: &Disk, moment: usize) -> String {
    let before = disk.describe(moment);
    match moment.checked_sub(1) {
        Some(last) => {
            format!("the power fails after {} (change {last}), before {before}", disk.describe(last))
        }
        None => format!("the power fails before {before}"),
    }
}

/// What may be lost at one moment. The lots fall differently from moment to moment.
fn losses(moment: usize, draws: u64) -> impl Iterator<Item = Loss> {
    let draws = (0..draws).flat_map(move |draw| {
        let seed = (moment as u64).wrapping_mul(0x1_0000).wrapping_add(draw);
        [512, 4096].map(|sector| Loss::Some { sector, seed })
    });
    [Loss::All, Loss::Nothing].into_iter().chain(draws)
}

fn clock_of(disk: &Disk) -> Clock {
    let disk = disk.clone();
    Arc::new(move || disk.changes())
}

fn failure<C: RaftTypeConfig>(script: &str, text: &str) -> StorageError<C> {
    StorageError::read(C::err_from_string(format!("{script}: {text}")))
}

/// A directory of the real file system that is removed when this is dropped.
struct TemporaryDir(PathBuf);

impl TemporaryDir {
    fn new() -> io::Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("quorate-crash-{}-{number}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn copy_of(dir: &Path) -> io::Result<Self> {
        let copy = Self::new()?;
        copy_all(dir, &copy.0)?;
        Ok(copy)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary directory stays behind");
        }
    }
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy_all(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

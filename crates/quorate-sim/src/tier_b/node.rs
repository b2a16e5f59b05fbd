//! A machine with its disk, and the node that runs on it while it is up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate::Config;
use quorate::log_id::LogIdOptionExt;
use quorate::storage::RaftLogReader;
use quorate::storage::RaftLogStorage;
use quorate_log::LogStore;
use quorate_log::Options;
use quorate_log::Postcard;
use quorate_log::Writer;
use quorate_log::sim_disk::SimDisk;
use quorate_rt::AsyncRuntime;
use quorate_server::machine::KeyValue;
use tokio::sync::Notify;

use crate::tier_b::cluster::Damage;
use crate::tier_b::net::Net;
use crate::tier_b::network::Factory;
use crate::tier_b::observer::Watch;
use crate::tier_b::runtime::SimRuntime;
use crate::tier_b::server::Power;
use crate::tier_b::server::Server;
use crate::tier_b::types::Machine;
use crate::tier_b::types::Raft;
use crate::tier_b::types::Shared;
use crate::tier_b::types::Snapshots;
use crate::tier_b::types::Types;
use crate::tier_b::watched::WatchedLog;
use crate::tier_b::watched::WatchedMachine;
use crate::tier_b::world;

/// How fast a disk is; clones tell of the same one.
#[derive(Clone)]
pub struct Pace(Arc<AtomicU64>);

/// How it is said that nothing on a disk tells of what it has forgotten: who takes part with it breaks promises, and no
/// log that a node keeps alone can know. It is switched off by whoever knows everything.
pub const UNTOLD: &str = "forgotten without a trace";

/// The pace of a disk that hangs.
const HANGS: u64 = u64::MAX;
/// How often it is looked how slow a disk is now.
const LOOK: Duration = Duration::from_millis(20);
/// The parts of what a write takes at the most.
const SHARES: u64 = 1_000;

impl Pace {
    /// A write takes up to so long.
    pub fn new(write_ns: u64) -> Self {
        Self(Arc::new(AtomicU64::new(write_ns)))
    }

    pub fn set(&self, write_ns: u64) {
        self.0.store(write_ns, Ordering::Relaxed);
    }

    /// Nothing that is written from now on gets to its end.
    pub fn stop(&self) {
        self.set(HANGS);
    }

    fn write_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed).max(1)
    }

    /// Takes the time of one write: a share of what the disk takes at the most, which may change meanwhile.
    async fn pass(&self) {
        let (share, mut passed) = (world::below(SHARES), 0);
        loop {
            if self.0.load(Ordering::Relaxed) == HANGS {
                SimRuntime::sleep(LOOK).await;
                continue;
            }
            let takes = self.write_ns() / SHARES * share;
            if takes <= passed {
                return;
            }
            let slice = Duration::from_nanos(takes - passed).min(LOOK);
            SimRuntime::sleep(slice).await;
            passed += slice.as_nanos() as u64;
        }
    }
}

/// What a start came to.
pub enum Booted<C: Types> {
    Starting,
    Up(Raft<C>),
    /// It cannot start from what its disk holds, or stopped while it did.
    Refused(String),
}

/// What a node needs to start.
#[derive(Clone)]
pub struct Boot<C: Types> {
    pub id: u64,
    pub config: Arc<Config>,
    pub log: Options,
    pub disk: SimDisk,
    pub power: Power,
    pub pace: Pace,
    /// How long its state machine may take to begin with a batch.
    pub slow_ns: u64,
    pub net: Net<C>,
    pub watch: Watch<C>,
    /// What has happened to the disk.
    pub damage: Damage,
}

/// Where the outcome of a start is told.
pub type Outcome<C> = Arc<Mutex<Booted<C>>>;

/// Starts a node: a task of its own does it.
pub fn start<C: Types>(boot: Boot<C>) -> Outcome<C> {
    let outcome: Outcome<C> = Arc::new(Mutex::new(Booted::Starting));
    let told = outcome.clone();
    world::spawn_on(boot.id, async move {
        let booted = match open(boot).await {
            Ok(raft) => Booted::Up(raft),
            Err(why) => Booted::Refused(why),
        };
        *told.lock().unwrap_or_else(PoisonError::into_inner) = booted;
    });
    outcome
}

async fn open<C: Types>(boot: Boot<C>) -> Result<Raft<C>, String> {
    let Boot { id, config, log, disk, power, pace, slow_ns, net, watch, damage } = boot;
    let opened = LogStore::<C, Postcard, SimDisk>::stepped(disk.clone(), log);
    let (mut log, writer) = opened.map_err(|error| error.to_string())?;
    world::spawn(write(writer, pace));
    let snapshots = Snapshots::<C>::open(disk).map_err(|error| error.to_string())?;
    let snapshots = Arc::new(snapshots);
    let covered = snapshots.newest().and_then(|stored| stored.position.applied);
    watch.has_snapshot(id, covered.map_or(0, |last| last.index + 1));
    check(id, &mut log, &watch, damage).await.map_err(|error| error.to_string())?;
    let purged = log.get_log_state().await.map_err(|error| error.to_string())?.last_purged_log_id;
    snapshots.check_reach(purged.as_ref()).map_err(|error| error.to_string())?;
    let shared: Arc<Shared<C>> = Shared::new(KeyValue::default());
    let machine: Machine<C> = Machine::new(shared.clone(), snapshots.clone());
    let machine = WatchedMachine { node: id, machine, slow_ns, watch: watch.clone() };
    let store = WatchedLog { node: id, log, watch: watch.clone(), pending: Arc::default() };
    let factory = Factory { id, net: net.clone(), snapshots: snapshots.clone(), watch: watch.clone() };
    let raft = quorate::Raft::new(id, config, factory, store, machine).await.map_err(|e| e.to_string())?;
    net.connect(id, Server { id, raft: raft.clone(), shared, snapshots, watch, power });
    Ok(raft)
}

/// Shows the observer what a disk holds at the start.
async fn check<C: Types>(
    id: u64,
    log: &mut LogStore<C, Postcard, SimDisk>,
    watch: &Watch<C>,
    damage: Damage,
) -> std::io::Result<()> {
    let mut reader = log.get_log_reader().await;
    let vote = reader.read_vote().await?;
    let purged = log.get_log_state().await?.last_purged_log_id.next_index();
    let entries = reader.try_get_log_entries(purged..).await?;
    let has: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.log_id.index, entry.log_id)).collect();
    match watch.started(id, vote.as_ref(), &has, purged) {
        Some(lost) if lost.is_untold(damage) => {
            Err(std::io::Error::other(format!("{UNTOLD}: {}", lost.text)))
        }
        Some(lost) => {
            watch.violated(lost.text);
            Ok(())
        }
        None => Ok(()),
    }
}

/// Steps the writer whenever there is work, each step some time after.
async fn write(mut writer: Writer<SimDisk>, pace: Pace) {
    let work = Arc::new(Notify::new());
    let raised = work.clone();
    writer.on_work(move || raised.notify_one());
    loop {
        pace.pass().await;
        match writer.step() {
            Err(_) => return,
            Ok(true) => continue,
            Ok(false) => {}
        }
        if SimRuntime::timeout(Duration::from_millis(20), work.notified()).await.is_err() {
            if writer.idle().is_err() {
                return;
            }
            work.notified().await;
        }
    }
}

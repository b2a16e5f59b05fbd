//! One node's storage, open.

use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use futures_util::FutureExt;
use quorate_log::LogError;
use quorate_log::Options;
use quorate_log::Writer;
use quorate_log::sim_disk::SimDisk;

use crate::tier_b::world;
use crate::tier_s::machine::Chain;
use crate::tier_s::machine::Log;
use crate::tier_s::machine::Machine;
use crate::tier_s::machine::Shared;
use crate::tier_s::machine::Snapshots;

pub struct Node {
    pub log: Log,
    pub writer: Writer<SimDisk>,
    pub shared: Arc<Shared>,
    pub snapshots: Arc<Snapshots>,
    pub machine: Machine,
}

/// Why a node does not start from its disk.
#[derive(Debug)]
pub enum Refused {
    Log(LogError),
    Snapshots(io::Error),
}

impl Refused {
    /// Whether the disk was at fault for the moment only, so that another attempt may succeed.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Log(error) => {
                matches!(error, LogError::Io { .. } | LogError::NoSpace { .. } | LogError::Failed { .. })
            }
            Self::Snapshots(error) => {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<LogError>());
                matches!(
                    inner,
                    Some(LogError::Io { .. } | LogError::NoSpace { .. } | LogError::Failed { .. }) | None
                )
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => write!(f, "{error}"),
            Self::Snapshots(error) => write!(f, "{error}"),
        }
    }
}

impl Node {
    pub fn open(disk: &SimDisk, options: Options) -> Result<Self, Refused> {
        let (log, writer) = Log::stepped(disk.clone(), options).map_err(Refused::Log)?;
        let snapshots = Arc::new(Snapshots::open(disk.clone()).map_err(Refused::Snapshots)?);
        let shared: Arc<Shared> = Shared::new(Chain::default());
        let machine = Machine::new(shared.clone(), snapshots.clone());
        Ok(Self { log, writer, shared, snapshots, machine })
    }
}

/// Runs what waits for the disk to its end: the writer is stepped while it waits.
pub fn drive<T>(writer: &mut Writer<SimDisk>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        let worked = writer.step().unwrap_or(false);
        let moved = worked || world::poll_one().is_some() || time_passes();
        if !moved {
            // What a failed writer was asked to do is told on the next poll, or never.
            let last = future.as_mut().poll(&mut context);
            let Poll::Ready(done) = last else { panic!("I18: a call waits for ever") };
            return done;
        }
    }
}

/// Runs a call to its end, as [`drive`] does; or begins it only, where whoever asked is gone before it ends: it is done
/// all the same, some time. Says whether it has ended.
pub fn unless_dropped(
    patient: bool,
    writer: &mut Writer<SimDisk>,
    call: impl Future<Output = io::Result<()>>,
) -> io::Result<bool> {
    if patient {
        return drive(writer, call).map(|()| true);
    }
    call.now_or_never().map_or(Ok(false), |ended| ended.map(|()| true))
}

/// Runs what waits for time alone.
pub fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        let moved = world::poll_one().is_some() || time_passes();
        assert!(moved, "I18: a call waits for ever");
    }
}

/// Lets time pass to what happens next, if anything does.
fn time_passes() -> bool {
    world::awaits_time() && world::advance(u64::MAX)
}

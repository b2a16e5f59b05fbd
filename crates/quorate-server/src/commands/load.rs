//! Writes from many clients at once, each of which goes on until its write is acknowledged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use quorate_server::client::{Client, ClientError};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::exit::Failure;

/// How long one write may remain without an acknowledgement, with all attempts, before the load gives up.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The pause before a write whose outcome is unknown is written again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// What latencies are measured up to, in microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;

/// Gives the pair to write for each number in turn; none, from some time on, when it is enough.
pub(crate) type Source = Arc<dyn Fn(u64) -> Option<(String, Bytes)> + Send + Sync>;

/// What the clients have done so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    next: Mutex<u64>,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    not_accepted: AtomicU64,
    outage: OnceLock<Instant>,
    resumed: OnceLock<Instant>,
}

impl Progress {
    /// Writes that were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Attempts that ended with an unknown outcome, and were made again.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Attempts that were not accepted, and were made again.
    pub(crate) fn not_accepted(&self) -> u64 {
        self.not_accepted.load(Ordering::Relaxed)
    }

    /// From now on, the first write that is begun and acknowledged ends the outage.
    pub(crate) fn begin_outage(&self) {
        self.outage.get_or_init(Instant::now);
    }

    /// When the first write that was begun in the outage was acknowledged.
    pub(crate) fn resumed(&self) -> Option<Instant> {
        self.resumed.get().copied()
    }

    /// The next pair to write. Numbers are given out without gaps, so that those below their count were all written.
    fn take(&self, source: &Source) -> Option<(String, Bytes)> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = source(*next)?;
        *next = next.saturating_add(1);
        Some(pair)
    }

    fn acknowledge(&self, begun: Instant) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        if self.outage.get().is_some_and(|outage| begun >= *outage) {
            self.resumed.get_or_init(Instant::now);
        }
    }
}

/// Writes what the source gives, with so many clients, until it gives no more. Returns the latencies in microseconds.
///
/// When the future is dropped, the clients stop.
pub(crate) async fn run(
    client: &Client,
    clients: usize,
    source: Source,
    progress: Arc<Progress>,
) -> Result<Histogram<u64>, Failure> {
    let mut workers = JoinSet::new();
    for _ in 0..clients {
        workers.spawn(work(client.clone(), source.clone(), progress.clone()));
    }
    let mut all = histogram()?;
    while let Some(done) = workers.join_next().await {
        all.add(done.map_err(Failure::other)??).map_err(Failure::other)?;
    }
    Ok(all)
}

async fn work(client: Client, source: Source, progress: Arc<Progress>) -> Result<Histogram<u64>, Failure> {
    let mut latencies = histogram()?;
    while let Some((key, value)) = progress.take(&source) {
        let started = Instant::now();
        let mut begun = started;
        while let Err(error) = client.put(&key, value.clone()).await {
            match error {
                ClientError::OutcomeUnknown { .. } => progress.unknown.fetch_add(1, Ordering::Relaxed),
                ClientError::NotAccepted { .. } | ClientError::Unavailable { .. } => {
                    progress.not_accepted.fetch_add(1, Ordering::Relaxed)
                }
                ClientError::Refused(_) | ClientError::Protocol { .. } => return Err(error.into()),
            };
            if started.elapsed() > GIVE_UP {
                return Err(error.into());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            begun = Instant::now();
        }
        progress.acknowledge(begun);
        latencies.saturating_record(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(latencies)
}

fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).map_err(Failure::other)
}

/// A latency in milliseconds, for people.
pub(crate) fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:02} ms", microseconds / 1000, microseconds % 1000 / 10)
}

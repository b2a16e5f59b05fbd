//! The log beside the fastest that this disk allows: a plain loop of write and fdatasync into a file
//! of zeroes. Runs are interleaved, so that what else the machine does hits all alike.
//!
//! `cargo bench -p quorate-log`; `-- recovery` for the time to open a log of a million entries.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use quorate_log::{DiskDirectory, EntryBatch, Log, Opened, Options, StoredFile};

const ENTRY_BYTES: usize = 256;
const ROUNDS: usize = 40;

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|arg| name.contains(arg.as_str()));
    if wanted("throughput") {
        throughput();
    }
    if wanted("recovery") {
        recovery();
    }
}

/// One way to write, and the time that each round took.
struct Series {
    name: &'static str,
    times: Vec<f64>,
}

impl Series {
    /// Seconds of all rounds together: nothing that happens now and then, as making segments does, is lost.
    fn total(&self) -> f64 {
        self.times.iter().sum()
    }

    /// The median of the ratios of each round to the same round of `raw`: what a busy machine disturbs least.
    fn median_ratio(&self, raw: &Self) -> f64 {
        let mut ratios: Vec<f64> = self.times.iter().zip(&raw.times).map(|(own, raw)| raw / own).collect();
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    }
}

fn throughput() {
    println!("entries of {ENTRY_BYTES} bytes, one fdatasync a batch, {ROUNDS} interleaved rounds");
    println!(
        "raw: the limit; stepped: writer on the caller's thread; threaded: on its own, one append under way;"
    );
    println!("eight: the same with eight appends under way, which share their syncs");
    println!(
        "{:>6} {:>9} {:>14} {:>16} {:>13}",
        "batch", "way", "entries/s", "ratio (totals)", "ratio (median)"
    );
    for batch in [1, 16, 256] {
        let batches = 100;
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut raw = Raw::new(dir.path(), ((ROUNDS + 1) * batches * batch * ENTRY_BYTES) as u64);
        let mut stepped = Stepped::new(&dir.path().join("stepped"));
        let threaded = Threaded::new(&dir.path().join("threaded"));
        let mut series =
            ["raw", "stepped", "threaded", "eight"].map(|name| Series { name, times: Vec::new() });
        for round in 0..=ROUNDS {
            let took = [
                raw.run(batch, batches),
                stepped.run(batch, batches),
                threaded.run(batch, batches, 1),
                threaded.run(batch, batches, 8),
            ];
            // The first round warms up.
            if round > 0 {
                series.iter_mut().zip(took).for_each(|(series, took)| series.times.push(took.as_secs_f64()));
            }
        }
        let entries = (ROUNDS * batches * batch) as f64;
        for way in &series {
            println!(
                "{batch:>6} {:>9} {:>14.0} {:>16.2} {:>13.2}",
                way.name,
                entries / way.total(),
                series[0].total() / way.total(),
                way.median_ratio(&series[0])
            );
        }
    }
}

/// The limit: write and fdatasync into zeroes that are there already.
struct Raw {
    file: File,
    at: u64,
}

impl Raw {
    fn new(dir: &Path, bytes: u64) -> Self {
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(dir.join("raw")).unwrap();
        file.zero_fill(0, bytes).unwrap();
        Self { file, at: 0 }
    }

    fn run(&mut self, batch: usize, batches: usize) -> Duration {
        let bytes = vec![7u8; batch * ENTRY_BYTES];
        let begun = Instant::now();
        for _ in 0..batches {
            self.file.write_all_at(&bytes, self.at).unwrap();
            File::sync_data(&self.file).unwrap();
            self.at += bytes.len() as u64;
        }
        begun.elapsed()
    }
}

fn open(path: &Path) -> Opened<DiskDirectory> {
    quorate_log::open(DiskDirectory::open(path).unwrap(), Options::default()).unwrap()
}

fn next(log: &Log<DiskDirectory>) -> u64 {
    log.bounds().unwrap().entries.map_or(1, |(_, high)| high + 1)
}

fn fill(entries: &mut EntryBatch, from: u64, batch: usize) {
    entries.clear();
    (from..from + batch as u64).for_each(|index| entries.push(index, 1, &[7; ENTRY_BYTES]));
}

/// The log with its writer stepped on this thread.
struct Stepped {
    opened: Opened<DiskDirectory>,
}

impl Stepped {
    fn new(path: &Path) -> Self {
        Self { opened: open(path) }
    }

    fn run(&mut self, batch: usize, batches: usize) -> Duration {
        let Opened { log, writer, .. } = &mut self.opened;
        let mut at = next(log);
        let mut entries = EntryBatch::new();
        let begun = Instant::now();
        for _ in 0..batches {
            fill(&mut entries, at, batch);
            at += batch as u64;
            log.append(&entries, Box::new(|outcome| outcome.unwrap())).unwrap();
            writer.step().unwrap();
        }
        begun.elapsed()
    }
}

/// The log with its writer on a thread of its own, and some appends under way at a time.
struct Threaded {
    log: Log<DiskDirectory>,
    _thread: quorate_log::WriterThread<DiskDirectory>,
}

impl Threaded {
    fn new(path: &Path) -> Self {
        let Opened { log, writer, .. } = open(path);
        Self { log, _thread: writer.spawn().unwrap() }
    }

    fn run(&self, batch: usize, batches: usize, under_way: usize) -> Duration {
        let (tx, rx) = mpsc::channel();
        let mut at = next(&self.log);
        let mut entries = EntryBatch::new();
        let begun = Instant::now();
        for i in 0..batches {
            if i >= under_way {
                rx.recv().unwrap();
            }
            fill(&mut entries, at, batch);
            at += batch as u64;
            let tx = tx.clone();
            let done = move |outcome: Result<(), _>| {
                outcome.unwrap();
                let _ = tx.send(());
            };
            self.log.append(&entries, Box::new(done)).unwrap();
        }
        (0..under_way.min(batches)).for_each(|_| rx.recv().unwrap());
        begun.elapsed()
    }
}

fn recovery() {
    const ENTRIES: u64 = 1_000_000;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Opened { log, mut writer, .. } = open(dir.path());
    let mut entries = EntryBatch::new();
    for from in (1..=ENTRIES).step_by(1000) {
        fill(&mut entries, from, 1000);
        log.append(&entries, Box::new(|outcome| outcome.unwrap())).unwrap();
        writer.step().unwrap();
    }
    writer.finish().unwrap();
    drop(log);
    for _ in 0..3 {
        let before = resident();
        let begun = Instant::now();
        let opened = open(dir.path());
        let took = begun.elapsed();
        println!(
            "opened {} records, {} MiB, {} segments in {:.3} s; {} KiB more memory",
            opened.report.records,
            opened.report.bytes >> 20,
            opened.report.segments,
            took.as_secs_f64(),
            resident().saturating_sub(before)
        );
    }
}

/// Resident memory in KiB, where the system tells it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

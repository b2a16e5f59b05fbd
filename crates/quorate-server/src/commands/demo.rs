//! `quorate demo`: a cluster on this machine, real records, a leader killed, and an account of what was lost.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_server::api::RANGE_LIMIT_MAX;
use quorate_server::client::{Client, Consistency, RangeQuery};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::dataset::Dataset;
use super::load::{self, Progress, milliseconds};
use crate::Global;
use crate::exit::Failure;
use crate::output::{self, thousands};

/// How long one request may take, with all attempts.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);

/// How long the cluster may be without a leader, and a restarted node behind, until the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two looks at the progress.
const LOOK_PAUSE: Duration = Duration::from_millis(2);

/// How often the bar moves.
const BAR_PERIOD: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The records to load, each line a key and a value [default: 7,884 airports]
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// How many nodes to start
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// How many clients write at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: u16,
    /// Where to keep the data of the nodes: a directory that is empty or does not exist [default: a temporary one]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Keep the directory
    #[arg(long)]
    keep: bool,
    /// Write for so many seconds, with the records again and again under other keys
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
}

/// What happened.
#[derive(Debug, Serialize)]
struct Summary {
    nodes: u64,
    seconds: f64,
    puts_per_second: u64,
    p50_us: u64,
    p99_us: u64,
    killed: u64,
    new_leader: u64,
    failover_ms: u64,
    caught_up_ms: u64,
    outcome_unknown: u64,
    acknowledged: u64,
    lost: u64,
    applied: BTreeMap<u64, Option<u64>>,
    read_back: BTreeMap<u64, ReadBack>,
}

/// How what a node holds compares with what was acknowledged.
#[derive(Debug, Default, Clone, Serialize)]
struct ReadBack {
    found: u64,
    missing: u64,
    different: u64,
    unexpected: u64,
}

/// A killed leader, and what came of it.
struct Outage {
    killed: u64,
    new_leader: u64,
    failover: Duration,
    caught_up: Duration,
}

/// What the demo says while it runs: nothing to programs, and a bar to people only.
struct Stage {
    bar: ProgressBar,
    talks: bool,
}

pub(crate) async fn run(global: &Global, args: DemoArgs) -> Result<(), Failure> {
    let dataset = Arc::new(Dataset::load(args.load.as_deref())?);
    let directory = Directory::prepare(args.dir.as_deref(), args.keep)?;
    let stage = Stage { bar: ProgressBar::hidden(), talks: !global.json };
    let mut terminate = signal(SignalKind::terminate())?;
    let summary = tokio::select! {
        summary = play(&args, dataset, directory.path(), stage) => summary?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::other("interrupted; the nodes were killed")),
        _ = terminate.recv() => return Err(Failure::other("terminated; the nodes were killed")),
    };
    if global.json {
        output::json(&summary)?;
    } else {
        print(&summary)?;
    }
    if args.keep || args.dir.is_some() {
        eprintln!("the data of the nodes is in {}", directory.path().display());
    }
    let wrong: u64 = summary.read_back.values().map(|node| node.different + node.unexpected).sum();
    if summary.lost + wrong == 0 {
        Ok(())
    } else {
        Err(Failure::other(format!(
            "{} acknowledged writes were lost, {wrong} values are wrong",
            summary.lost
        )))
    }
}

/// Starts the nodes, loads, kills, and reads back. The nodes are killed when this future is dropped.
async fn play(
    args: &DemoArgs,
    dataset: Arc<Dataset>,
    dir: &Path,
    mut stage: Stage,
) -> Result<Summary, Failure> {
    stage.say(&format!("starting {} nodes in {}", args.nodes, dir.display()));
    let mut cluster = Cluster::start(args.nodes, dir, REQUEST_TIMEOUT).await?;
    let client = cluster.client.clone();

    let progress = Arc::new(Progress::default());
    let started = Instant::now();
    let end = args.seconds.map(|seconds| started + Duration::from_secs(seconds));
    stage.begin(&dataset, args.seconds);
    let source = source(dataset.clone(), progress.clone(), end);
    let writing = load::run(&client, args.clients.into(), source, progress.clone());
    let striking = strike(&mut cluster, &progress, started, half(args, &dataset), &stage);
    let (latencies, outage) = tokio::select! {
        both = async { tokio::try_join!(writing, striking) } => both?,
        never = stage.follow(&progress, started, args.seconds.is_some()) => match never {},
    };
    let seconds = started.elapsed().as_secs_f64();
    stage.bar.finish_and_clear();

    let acknowledged = progress.acknowledged();
    stage.say(&format!("reading {} pairs back from each node", thousands(acknowledged)));
    let expected: BTreeMap<String, Bytes> = (0..acknowledged).map(|number| dataset.pair(number)).collect();
    let mut read_back = BTreeMap::new();
    let mut applied = BTreeMap::new();
    for process in &cluster.processes {
        let node = client.pinned(&process.client_addr).with_timeout(PATIENCE);
        read_back.insert(process.id, compare(&node, &expected).await?);
        applied.insert(process.id, node.status(false).await?.node.applied);
    }
    cluster.end().await?;
    Ok(summary(args, seconds, &progress, &latencies, &outage, applied, read_back))
}

/// The records in order, and again under other keys until time is up and the cluster has recovered.
fn source(dataset: Arc<Dataset>, progress: Arc<Progress>, end: Option<Instant>) -> load::Source {
    Arc::new(move |number| {
        let enough = match end {
            Some(end) => Instant::now() >= end,
            None => number >= dataset.len(),
        };
        (!enough || progress.resumed().is_none()).then(|| dataset.pair(number))
    })
}

/// Whether half of the work is done.
fn half(args: &DemoArgs, dataset: &Dataset) -> impl Fn(&Progress, Duration) -> bool + use<> {
    let (seconds, records) = (args.seconds, dataset.len());
    move |progress, elapsed| match seconds {
        Some(seconds) => elapsed >= Duration::from_secs(seconds) / 2,
        None => progress.acknowledged() >= records / 2,
    }
}

/// Kills the leader half-way, waits for the next acknowledged write, restarts it, and waits until it has caught up.
async fn strike(
    cluster: &mut Cluster,
    progress: &Progress,
    started: Instant,
    half: impl Fn(&Progress, Duration) -> bool,
    stage: &Stage,
) -> Result<Outage, Failure> {
    while !half(progress, started.elapsed()) {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let client = cluster.client.clone();
    let killed = leader(&client).await?;
    let moment = Instant::now();
    cluster.process(killed)?.kill().await?;
    progress.begin_outage();
    stage.say(&format!(
        "killed node {killed}, the leader, after {} writes",
        thousands(progress.acknowledged())
    ));

    let alone = cluster.processes.len() < 3;
    let mut back = Instant::now();
    if alone {
        // Without a majority left, nobody can take over until it is back.
        cluster.process(killed)?.spawn()?;
    }
    let resumed = loop {
        match progress.resumed() {
            Some(resumed) => break resumed,
            None if moment.elapsed() > PATIENCE => {
                return Err(Failure::other(format!(
                    "no write was acknowledged for {} s",
                    PATIENCE.as_secs()
                )));
            }
            None => tokio::time::sleep(LOOK_PAUSE).await,
        }
    };
    let failover = resumed.saturating_duration_since(moment);
    let new_leader = leader(&client).await?;
    stage.say(&format!("node {new_leader} leads; no write was acknowledged for {} ms", failover.as_millis()));

    if !alone {
        back = Instant::now();
        cluster.process(killed)?.spawn()?;
    }
    let process = cluster.process(killed)?;
    process.ready(&client).await?;
    let node = client.pinned(&process.client_addr).with_timeout(PATIENCE);
    // A linearizable read on the node itself is answered once it has applied what the leader has committed.
    node.get("caught up?", Consistency::Linearizable).await?;
    let caught_up = back.elapsed();
    stage.say(&format!("node {killed} is back and has caught up within {} ms", caught_up.as_millis()));
    Ok(Outage { killed, new_leader, failover, caught_up })
}

async fn leader(client: &Client) -> Result<u64, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.status(false).await?.node.leader {
            Some(leader) => return Ok(leader),
            None if Instant::now() > deadline => return Err(Failure::other("no leader is known")),
            None => tokio::time::sleep(LOOK_PAUSE).await,
        }
    }
}

/// Reads everything from one node, with linearizable reads.
async fn compare(node: &Client, expected: &BTreeMap<String, Bytes>) -> Result<ReadBack, Failure> {
    let mut result = ReadBack::default();
    let mut query = RangeQuery { limit: Some(RANGE_LIMIT_MAX), ..RangeQuery::default() };
    loop {
        let page = node.range(&query, Consistency::Linearizable).await?;
        for pair in page.entries {
            let value = pair.value.into_bytes().map_err(Failure::other)?;
            match expected.get(&pair.key) {
                Some(wanted) if *wanted == value => result.found += 1,
                Some(_) => result.different += 1,
                None => result.unexpected += 1,
            }
        }
        let Some(next) = page.next else { break };
        query.start = Some(next);
    }
    result.missing = (expected.len() as u64).saturating_sub(result.found + result.different);
    Ok(result)
}

fn summary(
    args: &DemoArgs,
    seconds: f64,
    progress: &Progress,
    latencies: &Histogram<u64>,
    outage: &Outage,
    applied: BTreeMap<u64, Option<u64>>,
    read_back: BTreeMap<u64, ReadBack>,
) -> Summary {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Summary {
        nodes: args.nodes,
        seconds,
        puts_per_second: (progress.acknowledged() as f64 / seconds) as u64,
        p50_us: latencies.value_at_quantile(0.5),
        p99_us: latencies.value_at_quantile(0.99),
        killed: outage.killed,
        new_leader: outage.new_leader,
        failover_ms: ms(outage.failover),
        caught_up_ms: ms(outage.caught_up),
        outcome_unknown: progress.unknown(),
        acknowledged: progress.acknowledged(),
        lost: read_back.values().map(|node| node.missing).max().unwrap_or(0),
        applied,
        read_back,
    }
}

fn print(summary: &Summary) -> Result<(), Failure> {
    let per_node = |value: &dyn Fn(u64) -> String| {
        let nodes: Vec<String> =
            summary.read_back.keys().map(|id| format!("node {id}: {}", value(*id))).collect();
        nodes.join(", ")
    };
    let applied = per_node(&|id| match summary.applied.get(&id).copied().flatten() {
        Some(index) => thousands(index),
        None => "-".to_owned(),
    });
    let found = per_node(&|id| thousands(summary.read_back.get(&id).map_or(0, |node| node.found)));
    let unknown = format!("{} (written again)", thousands(summary.outcome_unknown));
    let killed = format!("node {}, then node {} led", summary.killed, summary.new_leader);
    let rows = [
        ("puts/s, outage included", thousands(summary.puts_per_second)),
        ("latency p50", milliseconds(summary.p50_us)),
        ("latency p99", milliseconds(summary.p99_us)),
        ("killed leader", killed),
        ("failover time", format!("{} ms", thousands(summary.failover_ms))),
        ("back and caught up in", format!("{} ms", thousands(summary.caught_up_ms))),
        ("outcome unknown", unknown),
        ("last applied", applied),
        ("read back", found),
        ("acknowledged", thousands(summary.acknowledged)),
        ("lost", thousands(summary.lost)),
    ];
    for (name, value) in rows {
        output::line(&format!("{name:<24} {value}"))?;
    }
    Ok(())
}

impl Stage {
    fn say(&self, text: &str) {
        if self.talks {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    /// Shows the bar, if a terminal is there to show it on.
    fn begin(&mut self, dataset: &Dataset, seconds: Option<u64>) {
        if !self.talks {
            return;
        }
        let (length, unit) = match seconds {
            Some(seconds) => (seconds, "s"),
            None => (dataset.len(), "records"),
        };
        self.bar = ProgressBar::new(length);
        let template = format!("{{bar:40}} {{human_pos}}/{{human_len}} {unit}  {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.bar.set_style(style);
        }
    }

    /// Moves the bar, for ever.
    async fn follow(&self, progress: &Progress, started: Instant, timed: bool) -> Infallible {
        let mut last = (started, 0);
        loop {
            tokio::time::sleep(BAR_PERIOD).await;
            let now = (Instant::now(), progress.acknowledged());
            let rate = now.1.saturating_sub(last.1) as f64 / (now.0 - last.0).as_secs_f64();
            last = now;
            self.bar.set_position(if timed { started.elapsed().as_secs() } else { now.1 });
            self.bar.set_message(format!("{} puts, {} puts/s", thousands(now.1), thousands(rate as u64)));
        }
    }
}

/// Where the nodes keep their data; removed in the end, unless it is to be kept.
enum Directory {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn prepare(dir: Option<&Path>, keep: bool) -> Result<Self, Failure> {
        let Some(dir) = dir else {
            let mut temporary = tempfile::Builder::new().prefix("quorate-demo-").tempdir()?;
            temporary.disable_cleanup(keep);
            return Ok(Self::Temporary(temporary));
        };
        std::fs::create_dir_all(dir)?;
        if std::fs::read_dir(dir)?.next().is_some() {
            return Err(Failure::other(format!("{} is not empty: give a fresh directory", dir.display())));
        }
        Ok(Self::Kept(dir.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Kept(dir) => dir,
        }
    }
}

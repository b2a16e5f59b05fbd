//! The command behind `cargo xtask chaos`: five real server processes, all kinds of misfortune, and clients whose
//! history must be linearizable all the same.

mod clients;
mod cluster;
mod dialler;
mod disk;
mod links;
mod nemesis;
mod plan;
mod process;
mod report;
mod settle;

use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use quorate_sim::dice::Dice;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clients::Ledger;
use crate::clients::Worker;
use crate::cluster::Cluster;
use crate::plan::Plan;
use crate::process::Launch;
use crate::report::Tally;
use crate::report::Trouble;

const HELP: &str = "\
Usage: cargo xtask chaos [options]

Runs five server processes, kills, halts and parts them while clients write, and checks what the clients saw.

  --minutes M        stop after M minutes (default 1); fractions are fine
  --seed N           draw all that happens from N (default: from the time)
  --dir DIR          keep data and logs under DIR (default: the system's place for temporary files)
  --server PATH      the server (default: `quorate` beside this program)
  --floor            fail if the run did less than a run in CI must do
  --keep             keep data and logs even if all is well
  --mutant N         ask the servers to have a seeded bug; they must be built with --cfg quorate_mutants

Exit code: 0 all well, 1 a violation or less than the floor, 2 the run could not be done.
";

/// The longest round. After each one all faults end, and all is compared.
const ROUND_MAX: Duration = Duration::from_secs(20);

/// The shortest time that a last round is worth.
const ROUND_MIN: Duration = Duration::from_secs(3);

/// What a run in CI, of half a minute, must have done at the least.
const FLOOR: &[(&str, u64)] = &[("fault: ", 8), ("acknowledged: ", 200), ("rounds", 1)];

struct Arguments {
    minutes: f64,
    seed: u64,
    dir: Option<PathBuf>,
    server: PathBuf,
    floor: bool,
    keep: bool,
    mutant: Option<u32>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print(HELP);
        return ExitCode::SUCCESS;
    }
    match parse(&arguments).and_then(|arguments| obey(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("chaos: {message}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: &[String]) -> Result<Arguments, String> {
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let server = own.with_file_name("quorate");
    let mut parsed =
        Arguments { minutes: 1.0, seed: now, dir: None, server, floor: false, keep: false, mutant: None };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("`{name}` wants a value"));
        match name.as_str() {
            "--floor" => parsed.floor = true,
            "--keep" => parsed.keep = true,
            "--minutes" => parsed.minutes = number(name, value()?)?,
            "--seed" => parsed.seed = number(name, value()?)?,
            "--mutant" => parsed.mutant = Some(number(name, value()?)?),
            "--dir" => parsed.dir = Some(value()?.into()),
            "--server" => parsed.server = value()?.into(),
            other => return Err(format!("no option `{other}`")),
        }
    }
    if !parsed.server.is_file() {
        return Err(format!("there is no server at {}: build it, or give --server", parsed.server.display()));
    }
    Ok(parsed)
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{name}` wants a number, not `{text}`"))
}

fn obey(arguments: &Arguments) -> Result<bool, String> {
    let time = Duration::try_from_secs_f64(arguments.minutes * 60.0).map_err(|error| error.to_string())?;
    let mut place = tempfile::Builder::new();
    let place = place.prefix("quorate-chaos-");
    let place = match &arguments.dir {
        Some(dir) => place.tempdir_in(dir),
        None => place.tempdir(),
    };
    let mut place = place.map_err(|error| format!("cannot make a directory for the data: {error}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let tally = Arc::new(Tally::default());
    print(&format!("seed {}, data under {}\n", arguments.seed, place.path().display()));
    let begin = Instant::now();
    let outcome = runtime.block_on(run(arguments, place.path(), time, &tally));
    print(&format!(
        "\nseed {}: {:.1} minutes\n{tally}",
        arguments.seed,
        begin.elapsed().as_secs_f64() / 60.0
    ));
    let mut well = match outcome {
        Ok(()) => true,
        Err(Trouble::Cannot(why)) => return Err(why),
        Err(Trouble::Violation(what)) => {
            print(&format!("\nVIOLATION: {what}\n"));
            false
        }
    };
    print(&format!("{:>10}  violations\n", u64::from(!well)));
    place.disable_cleanup(!well || arguments.keep);
    if !well {
        print(&format!("history, logs and data are kept in {}\n", place.path().display()));
        let mutant = arguments.mutant.map_or(String::new(), |number| format!(" --mutant {number}"));
        let (seed, minutes) = (arguments.seed, arguments.minutes);
        print(&format!("the same again: cargo xtask chaos --seed {seed} --minutes {minutes}{mutant}\n"));
    }
    for (what, least) in FLOOR.iter().filter(|_| arguments.floor) {
        let count = tally.sum(what);
        if count < *least {
            print(&format!("too little: {count} of `{what}`, at least {least} asked\n"));
            well = false;
        }
    }
    Ok(well)
}

/// The whole run. All processes have ended when it returns.
async fn run(arguments: &Arguments, dir: &Path, time: Duration, tally: &Arc<Tally>) -> Result<(), Trouble> {
    let flags = flags(arguments.seed);
    print(&format!("servers run with {}\n", flags.join(" ")));
    let launch = Launch { server: arguments.server.clone(), flags, mutant: arguments.mutant };
    let begin = Instant::now();
    let cluster = Cluster::start(dir.to_owned(), launch, arguments.seed, tally.clone()).await?;
    let ledger = Arc::new(Ledger::new(tally.clone()));
    if let Some(why) = cluster.no_disk.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        tally.add(&format!("disks cannot be filled here: {why}"));
    }
    let outcome = tokio::select! {
        trouble = cluster.supervise() => Err(trouble),
        _ = tokio::signal::ctrl_c() => Err(Trouble::Cannot("interrupted".to_owned())),
        outcome = rounds(&cluster, &ledger, arguments.seed, begin + time) => outcome,
    };
    let outcome = match outcome {
        Ok(()) => panics(&cluster).await,
        outcome => outcome,
    };
    cluster.end().await;
    if let Err(Trouble::Violation(_)) = outcome {
        keep(&cluster, &ledger, dir);
    }
    outcome
}

async fn rounds(
    cluster: &Arc<Cluster>,
    ledger: &Arc<Ledger>,
    seed: u64,
    end: Instant,
) -> Result<(), Trouble> {
    let mut number = 0;
    while number == 0 || Instant::now() + ROUND_MIN < end {
        number += 1;
        let mut plan = Plan::draw(seed, number, ROUND_MAX);
        let left = end.saturating_duration_since(Instant::now()).max(ROUND_MIN);
        plan.shorten(left);
        round(cluster, ledger, seed, number, Arc::new(plan)).await?;
        let tally = &cluster.tally;
        tally.add("rounds");
        let (faults, acknowledged) = (tally.sum("fault: "), tally.sum("acknowledged: "));
        let unknown = tally.count("unknown outcome");
        print(&format!(
            "round {number}: {faults} faults, {acknowledged} acknowledged, {unknown} unknown, all alike\n"
        ));
    }
    settle::alike(cluster, "", tokio::time::Instant::now()).await
}

async fn round(
    cluster: &Arc<Cluster>,
    ledger: &Arc<Ledger>,
    seed: u64,
    number: u64,
    plan: Arc<Plan>,
) -> Result<(), Trouble> {
    let (stop, stopped) = watch::channel(false);
    let mut workers = JoinSet::new();
    for client in 1..=clients::CLIENTS {
        let dice = Dice(seed ^ number << 32 ^ client << 48);
        let (plan, ledger, cluster) = (plan.clone(), ledger.clone(), cluster.clone());
        let worker = Worker { number: client, dice, round: number, plan, ledger, cluster };
        workers.spawn(worker.run(stopped.clone()));
    }
    let done = nemesis::run(cluster, &plan).await;
    cluster.resume_all().await?;
    done?;
    settle::recover(cluster, ledger, clients::key(number, plan.keys)).await?;
    stop.send_replace(true);
    while let Some(worker) = workers.join_next().await {
        worker.map_err(|error| Trouble::Cannot(format!("a client failed: {error}")))??;
    }
    cluster.repair().await?;
    settle::compare(cluster, ledger, number, plan.keys + 1).await?;
    let (ledger, tally) = (ledger.clone(), cluster.tally.clone());
    let checked = tokio::task::spawn_blocking(move || settle::check(&ledger, &tally)).await;
    checked.map_err(|error| Trouble::Cannot(format!("the check failed: {error}")))?
}

/// What all servers of a run are started with: small limits, so that there is something to see.
fn flags(seed: u64) -> Vec<String> {
    let mut dice = Dice(seed);
    let heartbeat = 60 + dice.below(60);
    let election = heartbeat * (5 + dice.below(6));
    let every = plan::one_of(&mut dice, &[100, 500, 3000]);
    let keep = plan::one_of(&mut dice, &[0, 50, 1000]);
    let flags = [
        ("--heartbeat-ms", heartbeat),
        ("--election-min-ms", election),
        ("--election-max-ms", 2 * election),
        ("--request-timeout-ms", 1000 + dice.below(4000)),
        ("--snapshot-every", every),
        ("--snapshot-keep", keep),
    ];
    flags.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]).collect()
}

async fn panics(cluster: &Cluster) -> Result<(), Trouble> {
    for node in cluster.nodes() {
        if let Some(panic) = node.process.lock().await.panicked() {
            return Err(Trouble::Violation(panic));
        }
    }
    Ok(())
}

/// Puts the history beside the logs, and what lies on disks that will be unmounted.
fn keep(cluster: &Cluster, ledger: &Ledger, dir: &Path) {
    let history = ledger.history.lock().unwrap_or_else(PoisonError::into_inner);
    let text: String = history.iter().map(|operation| format!("{:?} {operation}\n", operation.key)).collect();
    let mut kept = vec![std::fs::write(dir.join("history"), text)];
    for node in cluster.nodes().iter().filter(|node| node.disk.is_some()) {
        let from = dir.join(format!("node-{}", node.id));
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(from.join("data"))
            .arg(from.join("data-of-the-small-disk"))
            .status();
        kept.push(copied.map(|_| ()));
    }
    for error in kept.into_iter().filter_map(Result::err) {
        eprintln!("chaos: cannot keep all: {error}");
    }
}

/// Prints to stdout. `println!` would panic when the reader, say `head`, has gone.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

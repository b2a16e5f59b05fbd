//! The command behind `cargo xtask sim`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use quorate_sim::mutants;
use quorate_sim::mutants::Mutant;
use quorate_sim::plan::Plan;
use quorate_sim::run;
use quorate_sim::run::Found;
use quorate_sim::run::Search;
use quorate_sim::shrink;
use quorate_sim::tier::Tier;
use quorate_sim::timeline;

const HELP: &str = "\
Usage: cargo xtask sim [options]

Random schedules: every seed is a cluster of its own, with its own faults and settings.

  --tier T           `a`, the core alone (the default); `b`, the whole library; `s`, the storage of one node
  --seeds N          run N seeds (default 2000 in tier a, or as many as --minutes allows)
  --first N          begin with seed N (default 1)
  --minutes M        stop after M minutes; fractions are fine
  --jobs N           threads (default: one per core)
  --seed N           replay one seed with its timeline; --lines N shows its last N lines (default 250)
  --shrink           with --seed: leave out steps and acts while the same invariant fails, and show what is left as a
                     timeline with a lane for each node
  --floor            fail if the run did less than a run in CI must do
  --mutants          switch on every seeded bug in turn, each in its tier, and tell which invariant finds it; with
                     --mutant N, one; with --tier T, those of that tier; with --some K, K of them, and with
                     --turn N the next K for each N, so that turns in a row miss none
                     but those that break no invariant
  --canary           only the bug that every run must find
  --mutant N         with a seeded bug switched on

Exit code: 0 all well, 1 an invariant is broken or a seeded bug survived, 2 the arguments are wrong.
";

const LINES_DEFAULT: u64 = 250;
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

struct Arguments {
    /// The search; `seeds` is what the tier has by default where nobody says how many.
    search: Search,
    seeds: Option<u64>,
    tier: Option<Tier>,
    seed: Option<u64>,
    lines: u64,
    shrink: bool,
    floor: bool,
    mutants: bool,
    mutant: Option<u32>,
    some: Option<usize>,
    turn: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print(HELP);
        return ExitCode::SUCCESS;
    }
    let outcome = parse(&arguments).and_then(|arguments| obey(&arguments));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("sim: {message}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: &[String]) -> Result<Arguments, String> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let search = Search {
        tier: Tier::A,
        first: 1,
        seeds: u64::MAX,
        time: None,
        jobs,
        violations: run::VIOLATIONS_MAX,
    };
    let mut parsed = Arguments {
        search,
        seeds: None,
        tier: None,
        seed: None,
        lines: LINES_DEFAULT,
        shrink: false,
        floor: false,
        mutants: false,
        mutant: None,
        some: None,
        turn: 0,
    };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        match name.as_str() {
            "--shrink" => parsed.shrink = true,
            "--floor" => parsed.floor = true,
            "--mutants" => parsed.mutants = true,
            "--canary" => (parsed.mutants, parsed.mutant) = (true, Some(mutants::CANARY)),
            "--tier" => parsed.tier = Some(rest.next().ok_or("`--tier` wants a tier")?.parse()?),
            "--minutes" => {
                let minutes: f64 = value(name, rest.next())?;
                let time = Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string())?;
                parsed.search.time = Some(time);
            }
            "--seeds" => parsed.seeds = Some(value(name, rest.next())?),
            "--first" => parsed.search.first = value(name, rest.next())?,
            "--jobs" => parsed.search.jobs = value(name, rest.next())?,
            "--seed" => parsed.seed = Some(value(name, rest.next())?),
            "--lines" => parsed.lines = value(name, rest.next())?,
            "--mutant" => parsed.mutant = Some(value(name, rest.next())?),
            "--some" => parsed.some = Some(value(name, rest.next())?),
            "--turn" => parsed.turn = value(name, rest.next())?,
            other => return Err(format!("no option `{other}`")),
        }
    }
    parsed.search.tier = parsed.tier.unwrap_or_default();
    let unbounded = parsed.search.time.map(|_| u64::MAX);
    let default = parsed.search.tier.search_seeds();
    parsed.search.seeds = parsed.seeds.or(unbounded).unwrap_or(default);
    Ok(parsed)
}

fn value<T: std::str::FromStr>(name: &str, text: Option<&String>) -> Result<T, String> {
    let text = text.ok_or_else(|| format!("`{name}` wants a number"))?;
    text.parse().map_err(|_| format!("`{name}` wants a number, not `{text}`"))
}

fn obey(arguments: &Arguments) -> Result<bool, String> {
    if arguments.mutants {
        return try_mutants(arguments);
    }
    mutants::switch_on(arguments.mutant.unwrap_or(0))?;
    match arguments.seed {
        Some(seed) if arguments.shrink => Ok(show_shortest(arguments, seed)),
        None if arguments.shrink => Err("`--shrink` wants the --seed that fails".to_owned()),
        Some(seed) => Ok(replay(arguments.search.tier, seed, arguments.lines)),
        None => Ok(search(arguments)),
    }
}

/// One seed with its timeline, settings and faults first.
fn replay(tier: Tier, seed: u64, shown: u64) -> bool {
    let (lines, outcome) = run::explain(tier, seed, &Plan::default());
    let shown = usize::try_from(shown).unwrap_or(usize::MAX);
    let skipped = lines.len().saturating_sub(shown).max(2);
    for line in lines.iter().take(2) {
        print(&format!("{line}\n"));
    }
    print(&format!("... {} lines\n", skipped - 2));
    for line in lines.iter().skip(skipped) {
        print(&format!("{line}\n"));
    }
    match outcome {
        Ok(outcome) => {
            print(&format!("\nseed {seed} keeps every invariant; hash {:016x}\n", outcome.hash));
            true
        }
        Err(violation) => {
            print(&format!("\nseed {seed}: {}\n", violation.what));
            false
        }
    }
}

/// The shortest failing part of one seed's run, as a timeline.
fn show_shortest(arguments: &Arguments, seed: u64) -> bool {
    let tier = arguments.search.tier;
    let Some(shrunk) = shrink::shrink(tier, seed) else {
        print(&format!("seed {seed} keeps every invariant: there is nothing to shrink\n"));
        return true;
    };
    let (lines, _) = run::explain(tier, seed, &shrunk.plan);
    print(&timeline::draw(&lines));
    print(&format!("\nseed {seed}: {}\n", shrunk.violation.what));
    print(&format!(
        "{} of {} steps and {} of {} acts are left, after {} runs\n",
        shrunk.left.steps,
        shrunk.whole.steps,
        shrunk.left.acts.len(),
        shrunk.whole.acts.len(),
        shrunk.runs
    ));
    print(&format!("replay: {} --shrink\n", replay_command(arguments, seed)));
    false
}

fn search(arguments: &Arguments) -> bool {
    let last = Mutex::new(Instant::now());
    let found = arguments.search.run(|found| {
        let mut last = last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if last.elapsed() >= PROGRESS_EVERY {
            *last = Instant::now();
            print(&format!(
                "{} seeds, {} violations, {}\n",
                found.seeds,
                found.violations.len(),
                speed(found)
            ));
        }
    });
    summarise(&found, arguments.search.jobs);
    for violation in &found.violations {
        print(&format!("\nseed {}: {}\n", violation.seed, violation.what));
        print(&format!("replay: {}\n", replay_command(arguments, violation.seed)));
    }
    let mut enough = true;
    for (name, least) in arguments.search.tier.floor().iter().filter(|_| arguments.floor) {
        let count = found.tally.rows().iter().find(|row| row.0 == *name).map_or(0, |row| row.1);
        if count < *least {
            print(&format!("\ntoo little: {count} {name}, at least {least} asked\n"));
            enough = false;
        }
    }
    enough && found.violations.is_empty()
}

fn speed(found: &Found) -> String {
    let seconds = found.took.as_secs_f64().max(1e-3);
    format!(
        "{:.0} seeds/s, {:.0} events/s",
        found.seeds as f64 / seconds,
        found.tally.events as f64 / seconds
    )
}

fn summarise(found: &Found, jobs: usize) {
    print(&format!(
        "\n{} seeds in {:.1} s on {jobs} threads, {}\n",
        found.seeds,
        found.took.as_secs_f64(),
        speed(found)
    ));
    let hours = found.tally.simulated_us as f64 / 3.6e9;
    print(&format!("{:>14.1}  simulated hours\n", hours));
    for (name, count) in found.tally.rows().into_iter().filter(|row| row.0 != "simulated microseconds") {
        print(&format!("{count:>14}  {name}\n"));
    }
    print(&format!("{:>14}  operations checked\n", found.tally.operations()));
    print(&format!("{:>14}  seeds run twice, the same both times\n", found.repeated));
    print(&format!("{:>14}  violations\n", found.violations.len()));
}

/// What shows this seed again.
fn replay_command(arguments: &Arguments, seed: u64) -> String {
    let mutant = arguments.mutant.map_or(String::new(), |number| format!(" --mutant {number}"));
    format!("cargo xtask sim --tier {} --seed {seed}{mutant}", arguments.search.tier)
}

/// Each seeded bug, in its tier, until an invariant is broken or its seeds are used up.
fn try_mutants(arguments: &Arguments) -> Result<bool, String> {
    let chosen = |mutant: &&Mutant| {
        arguments.mutant.is_none_or(|one| one == mutant.number)
            && arguments.tier.is_none_or(|tier| tier == mutant.tier)
            && (arguments.some.is_none() || !mutants::EQUIVALENT.contains(&mutant.number))
    };
    let chosen: Vec<Mutant> = mutants::MUTANTS.iter().filter(chosen).copied().collect();
    let chosen = mutants::in_turn(&chosen, arguments.some.unwrap_or(chosen.len()), arguments.turn);
    if chosen.is_empty() {
        return Err("there is no such seeded bug".to_owned());
    }
    print(
        "| bug | what it does | tier | killed by | seed | seeds | seconds |\n|--:|---|---|---|--:|--:|--:|\n",
    );
    let (mut killed, mut equivalent) = (0, 0);
    for mutant in &chosen {
        if try_mutant(arguments, *mutant)? {
            killed += 1;
        } else if mutants::EQUIVALENT.contains(&mutant.number) {
            equivalent += 1;
        }
    }
    mutants::switch_on(0)?;
    print(&format!("\n{killed} of {} killed, {equivalent} equivalent\n", chosen.len()));
    Ok(killed + equivalent == chosen.len())
}

/// Looks for one seeded bug, and prints its row; says whether it was found.
fn try_mutant(arguments: &Arguments, mutant: Mutant) -> Result<bool, String> {
    mutants::switch_on(mutant.number)?;
    let unbounded = arguments.search.time.map(|_| u64::MAX);
    let seeds = arguments.seeds.or(unbounded).unwrap_or(mutant.tier.mutant_seeds());
    let found = Search { violations: 1, tier: mutant.tier, seeds, ..arguments.search }.run(|_| {});
    let violation = found.violations.first();
    let survives = if mutants::EQUIVALENT.contains(&mutant.number) { "equivalent" } else { "**survives**" };
    print(&format!(
        "| {} | {} | {} | {} | {} | {} | {:.1} |\n",
        mutant.number,
        mutant.what,
        mutant.tier,
        violation.map_or(survives, |violation| violation.invariant()),
        violation.map_or("".to_owned(), |violation| violation.seed.to_string()),
        found.seeds,
        found.took.as_secs_f64(),
    ));
    Ok(violation.is_some())
}

/// Prints to stdout. `println!` would panic when the reader, say `head`, has gone.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

//! The rule that keeps what the simulator runs repeatable: time, dice, disk, network and threads come
//! through the traits that it implements, never from the operating system.

use super::{Findings, Rule};
use crate::paths::NamedPath;
use crate::repo::Repo;
use crate::source::Source;

/// What the simulator runs: folders, ending in `/`, and single files. Tests within are not looked at.
const ZONES: &[&str] = &[
    "crates/quorate-core/src/",
    "crates/quorate/src/",
    "crates/quorate-rt/src/",
    "crates/quorate-log/src/",
    "crates/quorate-grpc/src/append.rs",
    "crates/quorate-grpc/src/codec.rs",
    "crates/quorate-grpc/src/snapshot.rs",
    "crates/quorate-grpc/src/testing.rs",
    "crates/quorate-node/src/command.rs",
    "crates/quorate-node/src/config.rs",
    "crates/quorate-node/src/machine.rs",
    "crates/quorate-node/src/member.rs",
    "crates/quorate-node/src/shared.rs",
    "crates/quorate-node/src/snapshots.rs",
    "crates/quorate-node/src/state_machine.rs",
    "crates/quorate-server/src/machine.rs",
    "crates/quorate-server/src/watch.rs",
    "crates/quorate-sim/src/",
];

/// Paths that lead out of the simulation, and what to take instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::time::Instant", "time is the runtime's `Instant`"),
    ("std::time::SystemTime", "no two runs see the same wall clock"),
    ("std::time::UNIX_EPOCH", "no two runs see the same wall clock"),
    ("chrono", "no two runs see the same wall clock"),
    ("rand::rng", "dice are the runtime's `thread_rng`"),
    ("rand::random", "dice are the runtime's `thread_rng`"),
    ("rand::thread_rng", "dice are the runtime's `thread_rng`"),
    ("rand::rngs::ThreadRng", "dice are the runtime's `thread_rng`"),
    ("rand::rngs::SysRng", "dice are the runtime's `thread_rng`"),
    ("std::fs", "the disk is a `Directory`"),
    ("std::os", "the disk is a `Directory`"),
    ("rustix", "the disk is a `Directory`"),
    ("std::net", "the network is a `RaftNetworkFactory`"),
    ("std::thread", "tasks and blocking calls are the runtime's"),
    ("std::process", "no two runs are the same process"),
    ("std::env", "a run is its seed alone"),
    ("tokio", "tasks, timers and sockets are the runtime's"),
    ("quorate_rt_tokio", "the runtime is whichever the application names"),
];

/// The wall clock, under all its names.
const WALL_CLOCK: &[&str] = &["std::time::SystemTime", "std::time::UNIX_EPOCH", "chrono"];

/// Who may read the wall clock: for people, or for a name that only has to differ from others.
const WALL_CLOCK_READERS: &[&str] = &[
    "crates/quorate/src/metrics/instant.rs",
    "crates/quorate-legacy/src/network_v1/sender.rs",
    "crates/quorate-chaos/src/main.rs",
];

/// What of the forbidden is harmless: values that wake tasks, and a question that no seed answers in two ways.
const HARMLESS: &[&str] = &[
    "tokio::sync",
    "quorate_rt_tokio::TokioMpsc",
    "quorate_rt_tokio::TokioMutex",
    "quorate_rt_tokio::TokioOneshot",
    "quorate_rt_tokio::TokioWatch",
    "std::thread::panicking",
];

/// Names that may be no part of any path.
const UNORDERED: &[&str] = &["HashMap", "HashSet", "RandomState"];

/// One place that may name what is forbidden elsewhere.
struct Exception {
    /// A file, or a folder that ends in `/`.
    place: &'static str,
    /// What it may name; nothing here stands for all of it.
    names: &'static [&'static str],
    #[cfg_attr(not(test), expect(dead_code, reason = "whoever reads the table wants to know"))]
    why: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        place: "crates/quorate/src/testing/",
        names: &[],
        why: "suites for stores and networks of flesh: they open files and sockets, and the simulator runs none",
    },
    Exception {
        place: "crates/quorate-rt/src/testing/",
        names: &[],
        why: "the suite for runtimes looks whether threads and clocks are real",
    },
    Exception {
        place: "crates/quorate/src/metrics/instant.rs",
        names: &["std::time::SystemTime", "chrono"],
        why: "metrics that are sent or printed tell the time as people do; nothing decides by them",
    },
    Exception {
        place: "crates/quorate/src/node.rs",
        names: &["HashMap"],
        why: "the contract takes nodes in one; they are put in the order of their ids before anything else",
    },
    Exception {
        place: "crates/quorate/src/lib.rs",
        names: &["quorate_rt_tokio"],
        why: "hands the name on to applications",
    },
    Exception {
        place: "crates/quorate/src/impls.rs",
        names: &["quorate_rt_tokio"],
        why: "hands the name on to applications",
    },
    Exception {
        place: "crates/quorate/src/type_config/async_runtime.rs",
        names: &["quorate_rt_tokio"],
        why: "hands the name on to applications",
    },
    Exception {
        place: "crates/quorate-rt/src/blocking.rs",
        names: &["std::thread"],
        why: "where a runtime has nothing better for calls that block; a simulated one has",
    },
    Exception {
        place: "crates/quorate-rt/src/task_local.rs",
        names: &["std::thread"],
        why: "a slot per thread holds the value while its task is polled; no thread is started",
    },
    Exception {
        place: "crates/quorate-rt/src/instant.rs",
        names: &["std::time::Instant"],
        why: "gives the system's clock the trait, for runtimes that have no other",
    },
    Exception {
        place: "crates/quorate-log/src/disk.rs",
        names: &[],
        why: "the real disk, which a simulated one stands in for",
    },
    Exception {
        place: "crates/quorate-log/src/writer.rs",
        names: &["std::thread::Builder", "std::thread::JoinHandle"],
        why: "the log's own threads, which are started on a real disk alone; else `Writer::step` does the work",
    },
    Exception {
        place: "crates/quorate-grpc/src/append.rs",
        names: &["tokio::time"],
        why: "the window of a stream over a real connection; the simulator has requests cut and read, and no stream",
    },
    Exception {
        place: "crates/quorate-sim/src/main.rs",
        names: &[],
        why: "the command: it reads arguments, and tells how long the search took",
    },
    Exception {
        place: "crates/quorate-sim/src/run.rs",
        names: &["std::time::Instant", "std::thread"],
        why: "the search runs many seeds side by side and stops by the clock; no seed sees either",
    },
    Exception {
        place: "crates/quorate-sim/src/tier_b/runtime.rs",
        names: &["std::thread::spawn"],
        why: "the suite for runtimes wants blocking calls on another thread; no simulation asks for one",
    },
];

pub(super) const RULES: &[Rule] = &[
    Rule { name: "deterministic", why: "a seed must replay to the last byte", check: deterministic },
    Rule {
        name: "no-wall-clock",
        why: "it jumps, by seconds or by years, and no election or lease may notice",
        check: no_wall_clock,
    },
    Rule {
        name: "exception-in-use",
        why: "an exception that nobody needs hides the next mistake",
        check: exception_in_use,
    },
];

fn deterministic(repo: &Repo, findings: &mut Findings) {
    for (path, source) in repo.sources.iter().filter(|(path, _)| is_in(path, ZONES)) {
        let excused: Vec<&Exception> = EXCEPTIONS.iter().filter(|each| covers(each.place, path)).collect();
        let mut before = None;
        for (line, found, instead) in forbidden(source) {
            let is_excused = excused
                .iter()
                .any(|each| each.names.is_empty() || each.names.iter().any(|name| found.is(name)));
            let shown = (line, found.shown());
            if !is_excused && before.as_ref() != Some(&shown) {
                findings.add(path, line, format!("`{}`: {instead}", shown.1));
                before = Some(shown);
            }
        }
    }
}

fn no_wall_clock(repo: &Repo, findings: &mut Findings) {
    let sources =
        repo.sources.iter().filter(|(path, _)| path.starts_with("crates/") && path.contains("/src/"));
    for (path, source) in sources.filter(|(path, _)| !is_in(path, WALL_CLOCK_READERS)) {
        let named = source.paths.iter().filter(|named| !source.is_test(named.line));
        for named in named.filter(|named| WALL_CLOCK.iter().any(|clock| named.is_below(clock))) {
            findings.add(
                path,
                named.line,
                format!("`{}`: take a clock that only goes on", named.parts.join("::")),
            );
        }
    }
}

fn exception_in_use(repo: &Repo, findings: &mut Findings) {
    for each in EXCEPTIONS.iter().filter(|each| repo.crates.iter().any(|other| other.holds(each.place))) {
        let sources = || repo.sources.iter().filter(|(path, _)| covers(each.place, path));
        if sources().next().is_none() {
            findings.add(each.place, 0, "an exception of `determinism.rs` is for no file".to_owned());
        }
        for name in each.names {
            let uses = |source: &Source| forbidden(source).iter().any(|(_, found, _)| found.is(name));
            if !sources().any(|(_, source)| uses(source)) {
                findings.add(
                    each.place,
                    0,
                    format!("an exception of `determinism.rs` lets it name `{name}`"),
                );
            }
        }
    }
}

fn is_in(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| covers(place, path))
}

fn covers(place: &str, path: &str) -> bool {
    if place.ends_with('/') { path.starts_with(place) } else { path == place }
}

/// Something forbidden that a file names.
enum Found<'a> {
    Path(&'a NamedPath),
    Unordered(&'static str),
}

impl Found<'_> {
    /// Whether this is what an exception names.
    fn is(&self, name: &str) -> bool {
        match self {
            Found::Path(path) => path.is_below(name),
            Found::Unordered(found) => *found == name,
        }
    }

    fn shown(&self) -> String {
        match self {
            Found::Path(path) => path.parts.join("::"),
            Found::Unordered(name) => (*name).to_owned(),
        }
    }
}

/// What a file's product code names and may not, with its line and what to take instead.
fn forbidden(source: &Source) -> Vec<(usize, Found<'_>, &'static str)> {
    let mut all = Vec::new();
    for path in source.paths.iter().filter(|path| !source.is_test(path.line)) {
        let unordered = UNORDERED.iter().copied().find(|name| path.parts.iter().any(|part| part == name));
        if let Some(name) = unordered {
            all.push((path.line, Found::Unordered(name), "its order changes from run to run"));
        }
        let leads_out = FORBIDDEN.iter().find(|(start, _)| path.is_below(start));
        if let Some((_, instead)) = leads_out.filter(|_| !HARMLESS.iter().any(|start| path.is_below(start))) {
            all.push((path.line, Found::Path(path), *instead));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;
    use super::*;

    const FILE: &str = "crates/quorate/src/host.rs";

    /// The names that the rule finds in a file with this text.
    fn names(path: &str, text: &str) -> Vec<String> {
        let found = findings("deterministic", &[(path, text)]);
        found.iter().filter_map(|line| line.split('`').nth(1)).map(str::to_owned).collect()
    }

    #[test]
    fn what_leads_out_of_the_simulation_is_found() {
        for (text, name) in [
            ("let now = std::time::Instant::now();", "std::time::Instant::now"),
            ("use std::time::{Duration, Instant};", "std::time::Instant"),
            ("use std::time::*;", "std::time::*"),
            ("use std::time::SystemTime as Wall;", "std::time::SystemTime"),
            ("let x: u8 = rand::random();", "rand::random"),
            ("use rand::{Rng, rng};", "rand::rng"),
            ("use rand::thread_rng;", "rand::thread_rng"),
            ("std::fs::read(path)?;", "std::fs::read"),
            ("use std::os::unix::fs::FileExt;", "std::os::unix::fs::FileExt"),
            ("use ::std::net::TcpStream;", "std::net::TcpStream"),
            ("std::thread::spawn(f);", "std::thread::spawn"),
            ("tokio::spawn(f);", "tokio::spawn"),
            ("tokio::select! {}", "tokio::select"),
            ("fn f() -> tokio::time::Sleep {}", "tokio::time::Sleep"),
            ("use tokio::{sync::watch, task};", "tokio::task"),
            ("type M = std::collections::HashMap<u8, u8>;", "HashMap"),
            ("use imbl::HashSet;", "HashSet"),
            ("use std::hash::RandomState;", "RandomState"),
            ("use quorate_rt_tokio::TokioRuntime;", "quorate_rt_tokio::TokioRuntime"),
        ] {
            assert_eq!(names(FILE, text), [name], "{text}");
        }
        assert_eq!(
            names(FILE, "use std::time;\nfn f() { time::Instant::now(); }"),
            ["std::time::Instant::now"]
        );
    }

    #[test]
    fn what_goes_through_the_traits_is_left_alone() {
        for text in [
            "C::now(); C::AsyncRuntime::thread_rng(); RT::Instant::now(); C::sleep(d).await;",
            "use std::time::Duration;\nuse crate::runtime::Instant;\nfn f<I: Instant>() { I::now(); }",
            "use tokio::sync::watch;\nuse rand::Rng;\nuse quorate_rt_tokio::TokioWatch;",
            "use std::collections::{BTreeMap, VecDeque};",
            "fn thread_rng() -> Self::ThreadLocalRng { dice() }",
            "//! A `HashMap`, std::fs.\n/// ```\n/// tokio::spawn(f);\n/// ```\n// std::thread\nlet x = \"std::fs\";",
            "fn f(x: Instant) {}\n#[cfg(test)]\nmod tests {\n    use std::time::Instant;\n}\n",
        ] {
            assert!(names(FILE, text).is_empty(), "{text}");
        }
    }

    #[test]
    fn only_what_the_simulator_runs_is_looked_at() {
        let text = "std::thread::spawn(f);";
        for path in ["crates/quorate-sim/src/tier_a.rs", "crates/quorate-node/src/machine.rs"] {
            assert_eq!(names(path, text), ["std::thread::spawn"], "{path}");
        }
        for path in ["crates/quorate-node/src/listen.rs", "crates/quorate/tests/a.rs", "xtask/src/main.rs"] {
            assert!(names(path, text).is_empty(), "{path}");
        }
    }

    /// Row 35 of the table of bad input: a clock that jumps.
    #[test]
    fn nothing_of_the_product_reads_the_wall_clock() {
        let text = "let now = std::time::SystemTime::now();";
        let found = |path| findings("no-wall-clock", &[(path, text)]).len();
        for path in ["crates/quorate-node/src/inner.rs", "crates/quorate-grpc/src/server.rs", FILE] {
            assert_eq!(found(path), 1, "{path}");
        }
        for path in
            ["crates/quorate/src/metrics/instant.rs", "crates/quorate/tests/a.rs", "xtask/src/main.rs"]
        {
            assert_eq!(found(path), 0, "{path}");
        }
        let monotonic = "let now = std::time::Instant::now();";
        assert!(findings("no-wall-clock", &[("crates/quorate-node/src/inner.rs", monotonic)]).is_empty());
    }

    #[test]
    fn an_exception_holds_for_its_place_and_names_alone() {
        assert!(names("crates/quorate-log/src/disk.rs", "use std::fs;").is_empty());
        assert!(names("crates/quorate/src/testing/proxy.rs", "use std::net::TcpStream;").is_empty());
        assert!(names("crates/quorate/src/node.rs", "use std::collections::HashMap;").is_empty());
        assert_eq!(names("crates/quorate/src/node.rs", "use std::fs;"), ["std::fs"]);
        let threads = "std::thread::Builder::new();\nstd::thread::sleep(d);";
        assert_eq!(names("crates/quorate-log/src/writer.rs", threads), ["std::thread::sleep"]);
    }

    #[test]
    fn an_exception_that_nobody_needs_is_found() {
        let manifest = ("crates/quorate-log/Cargo.toml", "");
        let disk = ("crates/quorate-log/src/disk.rs", "use std::fs;");
        let writer = "crates/quorate-log/src/writer.rs";
        let threads = "use std::thread::{Builder, JoinHandle};";
        assert!(findings("exception-in-use", &[manifest, disk, (writer, threads)]).is_empty());
        assert!(findings("exception-in-use", &[disk]).is_empty(), "of a crate that is there");
        assert_eq!(
            findings("exception-in-use", &[manifest, (writer, "use std::thread::Builder;")]),
            [
                "crates/quorate-log/src/disk.rs:1: an exception of `determinism.rs` is for no file",
                "crates/quorate-log/src/writer.rs:1: an exception of `determinism.rs` lets it name `std::thread::JoinHandle`",
            ]
        );
    }

    #[test]
    fn every_exception_is_within_a_zone_and_says_why() {
        for each in EXCEPTIONS {
            assert!(is_in(each.place, ZONES) || ZONES.contains(&each.place), "{}", each.place);
            assert!(!each.why.is_empty(), "{}", each.place);
        }
    }
}

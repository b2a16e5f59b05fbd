//! `cargo xtask coverage`: how many lines the tests reach, against the floors.
//!
//! The tests of each group of packages run by themselves, with the features that people build them with; a line
//! counts as covered if any of them reaches it. Tests, examples and benchmarks are not counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::repo::{Repo, top};

/// One call of cargo-tarpaulin: its name, and what it is told to test.
struct Group {
    name: &'static str,
    arguments: &'static [&'static str],
}

const GROUPS: &[Group] = &[
    Group { name: "core", arguments: &["-p", "quorate-core", "-p", "quorate-sim"] },
    Group { name: "log", arguments: &["-p", "quorate-log"] },
    Group { name: "library", arguments: &["-p", "quorate"] },
    Group {
        name: "features",
        arguments: &[
            "-p",
            "quorate",
            "--features",
            "runtime-stats,compat,metrics-logids,type-alias,tracing-log",
            "--lib",
            "--test",
            "behaviour",
            "surface",
        ],
    },
    Group {
        name: "family",
        arguments: &[
            "-p",
            "quorate-rt",
            "-p",
            "quorate-rt-tokio",
            "-p",
            "quorate-macros",
            "-p",
            "quorate-memstore",
            "-p",
            "quorate-legacy",
            "-p",
            "quorate-multi",
            "-p",
            "xtask",
        ],
    },
    Group { name: "node", arguments: &["-p", "quorate-grpc", "-p", "quorate-node"] },
    Group { name: "server", arguments: &["-p", "quorate-server"] },
];

/// What every call is told. Programs that tests start count too; a test that hangs is given up after five minutes.
const ALWAYS: &[&str] =
    &["--engine", "llvm", "--skip-clean", "--follow-exec", "--timeout", "300", "--out", "Lcov"];

/// Where a path must begin for its lines to be counted, and what of that is left out: a program that only names every
/// public item, to be compiled; and those that are tests themselves, of real processes and of decoders.
const COUNTED: &[&str] = &["crates/", "xtask/src/"];
const LEFT_OUT: &[&str] = &["crates/quorate-contract/", "crates/quorate-chaos/", "crates/quorate-fuzz/"];

/// A share of lines that must be covered, in tenths of a percent, of all counted files below a path.
struct Floor {
    name: &'static str,
    below: &'static str,
    tenths: usize,
}

const FLOORS: &[Floor] = &[
    Floor { name: "the core", below: "crates/quorate-core/", tenths: 950 },
    Floor { name: "the log", below: "crates/quorate-log/", tenths: 950 },
    Floor { name: "the whole", below: "", tenths: 910 },
];

/// Each file's lines that a test could reach, and whether one did. Lines count from 1.
type Lines = BTreeMap<String, BTreeMap<usize, bool>>;

/// Runs the tests and compares with the floors. `--last` reads what the last run left instead; a part of a path lists
/// the lines not covered in the files that it is in.
pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    let is_last = arguments.iter().any(|argument| argument == "--last");
    let mut parts = arguments.iter().filter(|argument| *argument != "--last");
    let (part, rest) = (parts.next(), parts.next());
    if let Some(extra) = rest.or(part.filter(|part| part.starts_with('-'))) {
        return Err(format!("unexpected argument `{extra}`: coverage [--last] [PART OF A PATH]"));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = target.join("coverage");
    if !is_last {
        GROUPS.iter().try_for_each(|group| measure(group, &folder))?;
    }
    let top = top()?;
    let mut lines = Lines::new();
    for group in GROUPS {
        let path = folder.join(group.name).join("lcov.info");
        let report = std::fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}; run without --last", path.display()))?;
        read(&report, &format!("{top}/"), &mut lines);
    }
    count_product(&mut lines, &Repo::read()?);
    let (text, is_enough) = table(&lines);
    crate::print(&part.map_or(text, |part| uncovered(&lines, part)))?;
    Ok(is_enough)
}

/// Runs one group's tests.
fn measure(group: &Group, folder: &Path) -> Result<(), String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let is_there = Command::new(&cargo).args(["tarpaulin", "--version"]).output();
    if !is_there.is_ok_and(|output| output.status.success()) {
        return Err("cargo-tarpaulin is not installed; `cargo install cargo-tarpaulin` does that".to_owned());
    }
    let output = folder.join(group.name);
    std::fs::create_dir_all(&output).map_err(|error| format!("cannot make {}: {error}", output.display()))?;
    let mut command = Command::new(&cargo);
    command.arg("tarpaulin").args(ALWAYS).args(group.arguments);
    command.arg("--target-dir").arg(folder.join("build")).arg("--output-dir").arg(&output);
    let status = command.status().map_err(|error| format!("cannot run cargo-tarpaulin: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the tests of the group `{}` failed, or could not be built", group.name)),
    }
}

/// Reads a report in lcov's format: `SF:` names a file, `DA:` a line and how often it ran.
fn read(report: &str, top: &str, lines: &mut Lines) {
    let mut file = "";
    for line in report.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            file = path.strip_prefix(top).unwrap_or(path);
        } else if let Some((number, hits)) = line.strip_prefix("DA:").and_then(|line| line.split_once(','))
            && let Ok(number) = number.parse()
        {
            let is_hit = hits.split(',').next().is_some_and(|hits| hits != "0");
            *lines.entry(file.to_owned()).or_default().entry(number).or_default() |= is_hit;
        }
    }
}

/// Leaves what counts: product code of the workspace, without the seeded bugs, which a build for tests leaves out.
fn count_product(lines: &mut Lines, repo: &Repo) {
    lines.retain(|path, _| {
        let begins = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
        let is_source = path.contains("/src/") && repo.sources.contains_key(path);
        is_source && begins(COUNTED) && !begins(LEFT_OUT)
    });
    for (path, lines) in lines.iter_mut() {
        let Some(source) = repo.sources.get(path) else { continue };
        let bugs = source.seeded_bugs();
        lines.retain(|number, _| {
            let line = number.saturating_sub(1);
            !source.is_test(line) && !bugs.iter().any(|bug| bug.contains(&line))
        });
    }
    lines.retain(|_, lines| !lines.is_empty());
}

/// How many lines there are below a path, and how many of them are covered.
fn count(lines: &Lines, below: &str) -> (usize, usize) {
    let files = lines.iter().filter(|(path, _)| path.starts_with(below));
    files.fold((0, 0), |(covered, all), (_, lines)| {
        (covered + lines.values().filter(|is_hit| **is_hit).count(), all + lines.len())
    })
}

fn row(name: &str, (covered, all): (usize, usize)) -> String {
    let share = (covered * 1000).checked_div(all).unwrap_or(1000);
    format!("{name:<24}{covered:>8}{all:>8}{:>7}.{} %", share / 10, share % 10)
}

/// The table of crates and floors, and whether each floor is reached.
fn table(lines: &Lines) -> (String, bool) {
    let mut text = format!("{:<24}{:>8}{:>8}{:>11}\n", "", "covered", "lines", "share");
    let mut crates: Vec<&str> = lines.keys().filter_map(|path| path.split("src/").next()).collect();
    crates.dedup();
    for each in crates {
        text.push_str(&format!("{}\n", row(each.trim_end_matches('/'), count(lines, each))));
    }
    let mut is_enough = true;
    for floor in FLOORS {
        let (covered, all) = count(lines, floor.below);
        let holds = all > 0 && covered * 1000 >= floor.tenths * all;
        is_enough &= holds;
        let word = if holds { "reaches" } else { "IS BELOW" };
        text.push_str(&format!("{}, {word} {} %\n", row(floor.name, (covered, all)), floor.tenths / 10));
    }
    (text, is_enough)
}

/// The lines that no test reached, a file a line, in ranges.
fn uncovered(lines: &Lines, part: &str) -> String {
    let mut text = String::new();
    for (path, lines) in lines.iter().filter(|(path, _)| path.contains(part)) {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for number in lines.iter().filter(|(_, is_hit)| !**is_hit).map(|(number, _)| *number) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        let ranges: Vec<String> = ranges
            .iter()
            .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
            .collect();
        text.push_str(&format!(
            "{path}: {}\n",
            if ranges.is_empty() { "all".to_owned() } else { ranges.join(", ") }
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(report: &str) -> Lines {
        let mut lines = Lines::new();
        read(report, "/top/", &mut lines);
        lines
    }

    /// `all` lines of one file, of which the first `covered` are.
    fn file(path: &str, covered: usize, all: usize) -> String {
        let lines: String =
            (1..=all).map(|line| format!("DA:{line},{}\n", u8::from(line <= covered))).collect();
        format!("TN:\nSF:/top/{path}\n{lines}end_of_record\n")
    }

    #[test]
    fn a_line_is_covered_if_any_group_reaches_it() {
        let both =
            lines("SF:/top/a.rs\nDA:1,0\nDA:2,7\nDA:3,0\nend_of_record\nSF:/top/a.rs\nDA:1,2\nDA:2,0\n");
        let covered: Vec<(usize, bool)> =
            both["a.rs"].iter().map(|(line, is_hit)| (*line, *is_hit)).collect();
        assert_eq!(covered, [(1, true), (2, true), (3, false)]);
        assert_eq!(uncovered(&both, "a."), "a.rs: 3\n");
        assert_eq!(uncovered(&lines(&file("b.rs", 1, 4)), "b"), "b.rs: 2-4\n");
    }

    #[test]
    fn tests_and_seeded_bugs_and_whatever_is_no_product_do_not_count() {
        let text = "fn f() {\n    if mutant!(7) {\n        return;\n    }\n    g();\n}\n#[test]\nfn t() {\n    f();\n}\n";
        let files = [
            ("crates/a/src/lib.rs", text),
            ("crates/a/tests/t.rs", text),
            ("examples/e/src/main.rs", text),
            ("crates/quorate-contract/src/lib.rs", text),
        ];
        let report: String = files.iter().map(|(path, _)| file(path, 3, 9)).collect();
        let mut lines = lines(&report);
        count_product(&mut lines, &Repo::from_files(files.map(|(path, text)| (path.into(), text.into()))));
        assert_eq!(lines.keys().collect::<Vec<_>>(), ["crates/a/src/lib.rs"]);
        assert_eq!(lines["crates/a/src/lib.rs"].keys().copied().collect::<Vec<_>>(), [1, 2, 5, 6]);
    }

    #[test]
    fn each_floor_must_be_reached() {
        let all = |core, log, rest| {
            let files = [
                file("crates/quorate-core/src/lib.rs", core, 100),
                file("crates/quorate-log/src/lib.rs", log, 100),
                file("crates/quorate/src/lib.rs", rest, 100),
            ];
            table(&lines(&files.concat()))
        };
        let (text, is_enough) = all(95, 95, 83);
        assert!(is_enough && text.contains("the whole") && text.contains("91.0 %, reaches 91 %"), "{text}");
        for (core, log, rest) in [(94, 100, 100), (100, 94, 100), (95, 95, 82)] {
            let (text, is_enough) = all(core, log, rest);
            assert!(!is_enough && text.contains("IS BELOW"), "{text}");
        }
        assert!(!table(&Lines::new()).1, "nothing measured is nothing covered");
    }

    #[test]
    fn what_it_does_not_know_is_refused_before_anything_runs() {
        for arguments in [vec!["--fast"], vec!["a", "b"], vec!["--last", "a", "b"]] {
            let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
            assert!(run(&arguments).is_err_and(|error| error.contains("unexpected argument")));
        }
    }
}

//! `cargo xtask fuzz`: runs the fuzz targets with cargo-fuzz, each for so many seconds.
//!
//! What the fuzzer finds on its way stays in `fuzz/corpus`, which is not tracked; inputs worth keeping go to
//! `crates/quorate-fuzz/corpus`, where the tests of every build run them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::repo;

const HELP: &str = "Usage: cargo xtask fuzz [--seconds N] [target ...]\n\n\
    Runs the fuzz targets, or those that are named, for N seconds each (60). Needs a nightly toolchain and cargo-fuzz.\n";

/// The longest input, in bytes: more than any seed has, and little enough to be quick.
const INPUT_BYTES_MAX: u32 = 16 * 1024;
/// The largest single piece of memory that a target may ask for, in MiB: twice the largest limit that is declared for
/// what is read, a header of a snapshot.
const PIECE_MIB_MAX: u32 = 32;
/// The most memory that the process may hold, in MiB.
const MEMORY_MIB_MAX: u32 = 2048;
/// How long one input may take, in seconds.
const INPUT_SECONDS_MAX: u32 = 10;
/// What the fuzzer's last lines call the number of inputs that it tried.
const EXECUTED: &str = "stat::number_of_executed_units:";

/// Runs the targets one after the other; false if one of them found something.
pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    if arguments.iter().any(|argument| matches!(argument.as_str(), "--help" | "-h")) {
        crate::print(HELP)?;
        return Ok(true);
    }
    let top = PathBuf::from(repo::top()?);
    let (seconds, targets) = parse(arguments, &targets(&top)?)?;
    let version = fuzz(&top, &["--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        return Err(
            "cargo-fuzz on a nightly toolchain is missing: `rustup toolchain install nightly`, then \
                    `cargo install cargo-fuzz`"
                .to_owned(),
        );
    }
    let (mut failed, mut summary) = (Vec::new(), String::new());
    for target in targets {
        crate::print(&format!("fuzz: {target}, {seconds} s\n"))?;
        let (clean, executed) = run_target(&top, &target, seconds)?;
        let verdict = if clean { "" } else { ", found something" };
        summary.push_str(&format!("{executed:>12}  {target}{verdict}\n"));
        if !clean {
            failed.push(target);
        }
    }
    crate::print(&format!("\nfuzz: inputs tried\n{summary}"))?;
    if !failed.is_empty() {
        let found = failed.join(", ");
        eprintln!("fuzz: found something: {found}; the inputs are in fuzz/artifacts");
    }
    Ok(failed.is_empty())
}

/// Whether a target held, and how many inputs were tried.
fn run_target(top: &Path, target: &str, seconds: u64) -> Result<(bool, u64), String> {
    let found = format!("fuzz/corpus/{target}");
    let kept = format!("crates/quorate-fuzz/corpus/{target}");
    std::fs::create_dir_all(top.join(&found)).map_err(|error| format!("cannot make {found}: {error}"))?;
    let mut command = fuzz(top, &["run", "--fuzz-dir", "fuzz", target, &found, &kept, "--"]);
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-malloc_limit_mb={PIECE_MIB_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        "-print_final_stats=1".to_owned(),
    ]);
    let cannot = |error| format!("cannot run cargo: {error}");
    let mut fuzzer = command.stderr(Stdio::piped()).spawn().map_err(cannot)?;
    let mut executed = 0;
    for line in fuzzer.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).split(b'\n')) {
        let line = line.map_err(cannot)?;
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        executed = self::executed(&line).unwrap_or(executed);
    }
    let status = fuzzer.wait().map_err(cannot)?;
    Ok((status.success(), executed))
}

fn executed(line: &str) -> Option<u64> {
    line.strip_prefix(EXECUTED)?.trim().parse().ok()
}

/// The seconds for each target, and which targets: all if none is named.
fn parse(arguments: &[String], all: &[String]) -> Result<(u64, Vec<String>), String> {
    let (mut seconds, mut targets) = (60, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--seconds" {
            let given = rest.next().and_then(|number| number.parse().ok());
            seconds = given.filter(|seconds| *seconds > 0).ok_or("give --seconds a number")?;
        } else if all.contains(argument) {
            targets.push(argument.clone());
        } else {
            return Err(format!("there is no target `{argument}`; there are {}", all.join(", ")));
        }
    }
    Ok((seconds, if targets.is_empty() { all.to_vec() } else { targets }))
}

fn targets(top: &Path) -> Result<Vec<String>, String> {
    let folder: PathBuf = top.join("fuzz/fuzz_targets");
    let files =
        std::fs::read_dir(&folder).map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let mut targets: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned())).collect();
    targets.sort_unstable();
    Ok(targets)
}

fn fuzz(top: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    // Which toolchain runs this program is not which one the fuzzer needs.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").current_dir(top);
    command.args(["+nightly", "fuzz"]).args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<(u64, Vec<String>), String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        parse(&arguments, &["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn what_the_fuzzer_tried_is_read_from_its_last_lines() {
        assert_eq!(executed("stat::number_of_executed_units: 98198"), Some(98198));
        assert_eq!(executed("stat::average_exec_per_sec:     1609"), None);
    }

    #[test]
    fn all_targets_run_unless_some_are_named() {
        assert_eq!(parsed(&[]), Ok((60, vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!(parsed(&["b", "--seconds", "5"]), Ok((5, vec!["b".to_owned()])));
        assert!(parsed(&["c"]).is_err_and(|error| error.contains("there are a, b")));
        assert!(parsed(&["--seconds"]).is_err() && parsed(&["--seconds", "0"]).is_err());
    }
}

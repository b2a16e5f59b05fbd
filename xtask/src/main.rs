//! Short commands for long jobs: `cargo xtask <command>`.
//!
//! A command is one row of [`COMMANDS`]. It answers `Ok(true)` when all is well, `Ok(false)` when it
//! found and printed what is wrong, and `Err` when it could not do its work.

mod coverage;
mod fuzz;
mod lines;
mod paths;
mod repo;
mod source;
mod tidy;

use std::io::Write;
use std::process::ExitCode;

/// One command of `cargo xtask`.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<bool, String>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "tidy",
        about: "check the house rules over all tracked files; `tidy --rules` lists them",
        run: tidy::run,
    },
    Command {
        name: "contract",
        about: "compare the public items of the library with the contract's lists",
        run: contract,
    },
    Command {
        name: "sim",
        about: "run random schedules against the core or the whole library; `sim --help` tells how",
        run: sim,
    },
    Command {
        name: "coverage",
        about: "measure which lines the tests reach, with cargo-tarpaulin, against the floors",
        run: coverage::run,
    },
    Command {
        name: "chaos",
        about: "kill, halt and part real server processes while clients write; `chaos --help` tells how",
        run: chaos,
    },
    Command {
        name: "fuzz",
        about: "run the fuzz targets with cargo-fuzz; `fuzz --help` tells how",
        run: fuzz::run,
    },
    Command { name: "lines", about: "count code lines per crate, tests and comments apart", run: lines::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let outcome = match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(rest),
        None if matches!(name, "help" | "--help" | "-h") => print(&help()).map(|()| true),
        None => Err(format!("no command `{name}`\n\n{}", help())),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::from(2)
        }
    }
}

fn contract(arguments: &[String]) -> Result<bool, String> {
    run_program(&["--package", "contract"], arguments, None)
}

fn sim(arguments: &[String]) -> Result<bool, String> {
    // With its bugs compiled in, the product is another one: cargo keeps the two builds apart.
    let mutants =
        arguments.iter().any(|argument| matches!(argument.as_str(), "--mutants" | "--mutant" | "--canary"));
    let flags = mutants.then_some("--cfg quorate_mutants");
    // The core alone is built in seconds; the whole library takes minutes.
    let whole = arguments.iter().any(|argument| matches!(argument.as_str(), "b" | "s"))
        || mutants && !arguments.iter().any(|argument| matches!(argument.as_str(), "a" | "--canary"));
    let mut which = vec!["--release", "--package", "quorate-sim"];
    which.extend((!whole).then_some("--no-default-features"));
    run_program(&which, arguments, flags)
}

fn chaos(arguments: &[String]) -> Result<bool, String> {
    let mutants = arguments.iter().any(|argument| argument == "--mutant");
    let flags = mutants.then_some("--cfg quorate_mutants");
    // One build for both, so that the server lies beside the program that starts it.
    let which = ["--release", "--package", "quorate-server", "--package", "quorate-chaos"];
    if !cargo("build", flags).args(which).status().is_ok_and(|status| status.success()) {
        return Err("the server cannot be built".to_owned());
    }
    run_program(&["--release", "--package", "quorate-chaos"], arguments, flags)
}

/// Runs a program of its own, so that the other commands do not wait for what it is built with.
fn run_program(which: &[&str], arguments: &[String], flags: Option<&str>) -> Result<bool, String> {
    let mut command = cargo("run", flags);
    command.args(which).arg("--").args(arguments);
    let status = command.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err("the program could not do its work".to_owned()),
    }
}

/// A command of cargo, with flags for the compiler beside those that are set.
fn cargo(what: &str, flags: Option<&str>) -> std::process::Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = std::process::Command::new(cargo);
    command.args([what, "--quiet"]);
    if let Some(flags) = flags {
        let others = std::env::var("RUSTFLAGS").unwrap_or_default();
        command.env("RUSTFLAGS", format!("{others} {flags}").trim());
    }
    command
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask <command>\n\nCommands:\n");
    for command in COMMANDS {
        text.push_str(&format!("  {:<9} {}\n", command.name, command.about));
    }
    text.push_str("  help      this text\n\nExit code: 0 all well, 1 something was found, 2 the command could not run.\n");
    text
}

/// Prints to stdout. `println!` would panic when the reader, say `head`, has gone.
fn print(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("cannot write to stdout: {error}"))
}

/// For a command that takes no more arguments.
fn expect_none(arguments: &[String]) -> Result<(), String> {
    match arguments.first() {
        None => Ok(()),
        Some(extra) => Err(format!("unexpected argument `{extra}`\n\n{}", help())),
    }
}

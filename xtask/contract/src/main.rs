//! `cargo xtask contract`: is everything that the contract lists there, and as it is listed?
//!
//! The lists are in `lists/`, one public item a line; a line that begins with `+` is there only with all features, one
//! with `-` only with the default features. Our side is read from rustdoc. What is different on purpose stands, with
//! its reason, in `deliberate.txt`; any other difference fails, and so does a line of that table that is not needed. So
//! do variants, fields and demands of traits that no list has: they break the code of those who know the lists.

mod cargo;
mod code;
mod compare;
mod deliberate;
mod generated;
mod json;
mod list;
mod normal;
mod parse;
mod surface;
mod ty;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::cargo::Workspace;
use crate::compare::Comparison;
use crate::deliberate::Deliberate;
use crate::json::Family;
use crate::normal::Aliases;
use crate::surface::Surface;

/// A list, and the crate of ours that is to have its items.
struct Pair {
    /// What the report calls it.
    title: &'static str,
    list: &'static str,
    /// The crate's name in the list.
    root: &'static str,
    package: &'static str,
    build: Build,
}

/// One run of rustdoc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Build {
    /// The library as a user gets it who asks for nothing.
    Default,
    /// The library with [`ALL_FEATURES`].
    All,
    /// The crates that build upon the library, and turn on features of it.
    Family,
}

impl Build {
    const fn packages(self) -> &'static [&'static str] {
        match self {
            Build::Default | Build::All => &["quorate", "quorate-core", "quorate-rt", "quorate-rt-tokio"],
            Build::Family => &["quorate-legacy", "quorate-memstore", "quorate-multi"],
        }
    }
}

/// The features that the list of all features was made with, as far as a stable toolchain has them.
const ALL_FEATURES: &[&str] =
    &["clap", "compat", "metrics-logids", "runtime-stats", "serde", "tokio-rt", "tracing-log", "type-alias"];

const PAIRS: &[Pair] = &[
    Pair {
        title: "openraft, default features",
        list: "openraft",
        root: "openraft",
        package: "quorate",
        build: Build::Default,
    },
    Pair {
        title: "openraft, all features",
        list: "openraft",
        root: "openraft",
        package: "quorate",
        build: Build::All,
    },
    Pair { build: Build::Default, ..family("openraft-rt", "openraft_rt", "quorate-rt") },
    Pair { build: Build::Default, ..family("openraft-rt-tokio", "openraft_rt_tokio", "quorate-rt-tokio") },
    family("openraft-legacy", "openraft_legacy", "quorate-legacy"),
    family("openraft-multi", "openraft_multi", "quorate-multi"),
    family("openraft-memstore", "openraft_memstore", "quorate-memstore"),
];

const fn family(list: &'static str, root: &'static str, package: &'static str) -> Pair {
    Pair { title: list, list, root, package, build: Build::Family }
}

fn main() -> ExitCode {
    if let Some(outcome) = cargo::as_rustdoc() {
        return outcome;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("contract: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<bool, String> {
    match arguments {
        [] => compare(""),
        [word] if word == "--write" => generated::write(),
        [filter] if !filter.starts_with('-') => compare(filter),
        _ => Err("usage: cargo xtask contract [--write | part of a list's title]".to_owned()),
    }
}

/// Compares those lists whose title contains `filter`, and prints what came of it.
fn compare(filter: &str) -> Result<bool, String> {
    let mut deliberate = Deliberate::read(&folder().join("deliberate.txt"))?;
    let provided = provided()?;
    let workspace = Workspace::read()?;
    let mut lists = Vec::new();
    for pair in PAIRS {
        let lines = pair.lines(pair.build == Build::All)?;
        let list = list::read(&lines).map_err(|error| format!("{}.txt: {error}", pair.list))?;
        lists.push((pair, list, lines.lines().count()));
    }
    let theirs = aliases(lists.iter().map(|(_, list, _)| list));
    let mut families = BTreeMap::new();
    let mut total = Comparison::default();
    for (pair, list, lines) in lists.iter().filter(|(pair, ..)| pair.title.contains(filter)) {
        let Some(package) = workspace.package(pair.package) else {
            print(&format!("\n== {}: SKIPPED, there is no crate `{}` yet\n", pair.title, pair.package))?;
            continue;
        };
        let (family, known) = match families.entry(pair.build) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(none) => {
                let family = Family::of(&workspace, pair.build)?;
                let known = aliases(family.surfaces()?.iter());
                none.insert((family, known))
            }
        };
        let ours = normal::forms(&family.surface(&package.library, pair.root)?, known);
        let mut comparison = Comparison::of(&normal::forms(list, &theirs), &ours, &provided, &mut deliberate);
        comparison.lines = *lines;
        let report = comparison.report(&total);
        print(&format!("\n== {}: {}\n{report}", pair.title, package.name))?;
        total.add(comparison);
    }
    let unneeded = if filter.is_empty() { deliberate.unneeded() } else { Vec::new() };
    print(&format!("\n== all together\n{}\n{}", total.counts(), deliberate.table()))?;
    for line in &unneeded {
        print(&format!("no longer needed in deliberate.txt: {line}\n"))?;
    }
    Ok(total.is_clean() && unneeded.is_empty())
}

impl Pair {
    /// The lines of its list, for one set of features.
    fn lines(&self, all_features: bool) -> Result<String, String> {
        let text = read(&folder().join("lists").join(format!("{}.txt", self.list)))?;
        Ok(list::select(&text, all_features))
    }
}

/// What `provided.txt` says, as `Trait::item`.
fn provided() -> Result<BTreeSet<String>, String> {
    let text = read(&folder().join("provided.txt"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let of_line = |line: &str| -> Vec<String> {
        let (name, items) = line.split_once(' ').unwrap_or((line, ""));
        items.split_whitespace().map(|item| format!("{name}::{item}")).collect()
    };
    Ok(lines.flat_map(of_line).collect())
}

/// Where this program's own data is.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What each alias of the family stands for.
fn aliases<'a>(surfaces: impl Iterator<Item = &'a Surface>) -> Aliases {
    let mut aliases = Aliases::default();
    for surface in surfaces {
        aliases.learn(surface);
    }
    aliases
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Prints to stdout. `println!` would panic when the reader, say `head`, has gone.
fn print(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("cannot write to stdout: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_have_a_default_is_in_a_list() {
        let lists: Vec<String> = PAIRS.iter().map(|pair| pair.lines(true).unwrap()).collect();
        let provided = provided().unwrap();
        assert!(provided.len() > 40);
        for name in provided {
            let called = [format!("::{name}<"), format!("::{name}(")];
            let found = lists.iter().any(|list| called.iter().any(|text| list.contains(text.as_str())));
            assert!(found, "`{name}` of provided.txt is in no list");
        }
    }
}

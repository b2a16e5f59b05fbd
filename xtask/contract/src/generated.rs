//! The crate `quorate-contract`: for each list a file that uses its items.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::code::{self, Code, Paths};
use crate::deliberate::Deliberate;
use crate::{Build, PAIRS, Pair, aliases, folder, list, print};

/// Writes the files, and prints what they use and what they leave out.
pub(crate) fn write() -> Result<bool, String> {
    for (pair, file) in files()? {
        let path = path_of(pair);
        std::fs::write(&path, &file.text)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        print(&format!("{}: {} items used, {} left out\n", pair.list, file.used, file.left.len()))?;
        for key in &file.left {
            print(&format!("    {key}\n"))?;
        }
    }
    Ok(true)
}

/// What one file is to hold.
struct File {
    text: String,
    used: usize,
    left: Vec<String>,
}

fn path_of(pair: &Pair) -> PathBuf {
    folder().join("../../crates/quorate-contract/src").join(format!("{}.in", pair.list))
}

/// One file for each list.
fn files() -> Result<Vec<(&'static Pair, File)>, String> {
    let mut deliberate = Deliberate::read(&folder().join("deliberate.txt"))?;
    let mut lists = Vec::new();
    let mut paths = Paths::default();
    for pair in PAIRS {
        let lines = pair.lines(pair.build == Build::All)?;
        let named = |error: String| format!("{}.txt: {error}", pair.list);
        let (as_is, normal) = (list::read_paths(&lines).map_err(named)?, list::read(&lines).map_err(named)?);
        paths.learn(&as_is);
        lists.push((pair, as_is, normal));
    }
    let known = aliases(lists.iter().map(|(_, _, normal)| normal));
    let mut code = |build: Build, pair: &Pair| -> Code {
        let mut written = Code::default();
        for (_, as_is, normal) in
            lists.iter().filter(|(other, ..)| other.list == pair.list && other.build == build)
        {
            written = code::write(as_is, normal, &known, &paths, &mut deliberate);
        }
        written
    };
    let mut files = Vec::new();
    for pair in PAIRS.iter().filter(|pair| pair.build != Build::All) {
        let (with, mut all) = (code(pair.build, pair), code(Build::All, pair));
        if all.uses.is_empty() {
            all = Code { uses: with.uses.clone(), used: with.used, left: with.left.clone() };
        }
        files.push((pair, file(&with, all)));
    }
    Ok(files)
}

/// A line for each use; what needs more than the default features says so. What is there without a feature and not with
/// it is left to the comparison, as tests of the whole workspace turn features on.
fn file(with_default: &Code, all: Code) -> File {
    let default: BTreeSet<&String> = with_default.uses.iter().collect();
    let mut text = "// Written by `cargo xtask contract --write`.\n".to_owned();
    for (index, line) in all.uses.iter().enumerate() {
        if !default.contains(line) {
            text.push_str("#[cfg(feature = \"all-features\")] ");
        }
        text.push_str(&line.replace("NAME", &format!("item{index}")));
        text.push('\n');
    }
    for key in &all.left {
        text.push_str(&format!("// Left out: {key}\n"));
    }
    File { text, used: all.used, left: all.left }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;

    #[test]
    fn what_is_written_is_up_to_date() {
        for (pair, file) in files().unwrap() {
            let text = read(&path_of(pair)).unwrap();
            assert!(text == file.text, "{}.in is old: run `cargo xtask contract --write`", pair.list);
        }
    }
}

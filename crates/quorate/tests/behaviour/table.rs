//! The table of what is shown where, in `README.md`, names tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

const TABLE: &str = include_str!("README.md");

/// The names of the tests in a file, or in all files of a folder.
fn tests_in(path: &Path) -> BTreeSet<String> {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().flat_map(|entry| tests_in(&entry.unwrap().path())).collect();
    }
    let source = fs::read_to_string(path).unwrap();
    let mut names = BTreeSet::new();
    let mut marked = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
            names.insert(rest.split('(').next().unwrap().to_string());
            marked = false;
        }
    }
    names
}

fn exists(name: &str) -> bool {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf();
    let core = crates.join("quorate-core/tests");
    if let Some(script) = name.strip_prefix("script ") {
        return core.join("scripts").join(format!("{script}.txt")).exists();
    }
    let (file, test) = name.split_once("::").unwrap();
    let tests = crates.join("quorate/tests");
    let path: PathBuf = match file {
        "core" => core.join("thesis.rs"),
        "custom" | "surface" => tests.join(file),
        _ => tests.join("behaviour").join(format!("{file}.rs")),
    };
    path.exists() && tests_in(&path).contains(test)
}

#[test]
fn every_test_that_the_table_names_exists() {
    let names: BTreeSet<&str> = TABLE
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| !code.contains('…') && (code.starts_with("script ") || code.contains("::")))
        .filter(|code| !code.starts_with("file::") && !code.starts_with("Fatal::"))
        .collect();
    assert!(names.len() > 150, "{} names", names.len());
    let missing: Vec<_> = names.into_iter().filter(|name| !exists(name)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_sentence_names_a_test() {
    let rows = TABLE.split("## Deliberate differences").next().unwrap().lines();
    for row in
        rows.filter(|row| row.starts_with("| ") && !row.starts_with("| a node |") && !row.starts_with("| |"))
    {
        let shown = row.trim_end_matches('|').rsplit('|').next().unwrap();
        assert!(shown.contains("::") || shown.contains("`script "), "{row}");
    }
}

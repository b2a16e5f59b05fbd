//! The table of scenarios, in `SCENARIOS.md`, has a row for each number and names tests that exist.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

const TABLE: &str = include_str!("../SCENARIOS.md");

/// The scenarios of the list, each by its number.
const SCENARIOS: u32 = 41;

/// One row of the table.
struct Row {
    number: u32,
    tests: Vec<String>,
    seen_to_fail: String,
}

fn rows() -> Vec<Row> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect();
    let rows = TABLE.lines().filter(|line| line.starts_with("| ")).map(cells);
    rows.filter_map(|cells: Vec<String>| {
        let number = cells[0].parse().ok()?;
        assert_eq!(cells.len(), 5, "{cells:?}");
        let tests = cells[3].split('`').skip(1).step_by(2).map(str::to_string).collect();
        Some(Row { number, tests, seen_to_fail: cells[4].clone() })
    })
    .collect()
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The file that holds a test, and the test's name; a script is a file of its own.
fn place(name: &str) -> (PathBuf, Option<&str>) {
    if let Some(script) = name.strip_prefix("script ") {
        return (crates().join(format!("quorate-core/tests/scripts/{script}.txt")), None);
    }
    let (module, test) = name.rsplit_once("::").unwrap();
    let file = module.replace("::", "/");
    let path = match file.split_once('/') {
        None => format!("quorate-core/tests/{file}.rs"),
        Some(("log", file)) => format!("quorate-log/tests/{file}.rs"),
        Some(("node", file)) => format!("quorate-node/tests/{file}.rs"),
        Some(_) => format!("quorate/tests/{file}.rs"),
    };
    (crates().join(path), Some(test))
}

/// Whether the file holds the test: a function that is marked as one.
fn holds(path: &Path, test: &str) -> bool {
    let source = fs::read_to_string(path).unwrap_or_default();
    let mut marked = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
            if rest.split(['(', '<']).next() == Some(test) {
                return true;
            }
            marked = false;
        }
    }
    false
}

#[test]
fn every_scenario_has_a_row() {
    let found: BTreeSet<u32> = rows().iter().map(|row| row.number).collect();
    assert_eq!(found, (1..=SCENARIOS).collect());
}

#[test]
fn every_test_that_a_row_names_exists() {
    for row in rows() {
        assert!(!row.tests.is_empty(), "scenario {} names no test", row.number);
        for name in &row.tests {
            let (path, test) = place(name);
            let exists = path.exists() && test.is_none_or(|test| holds(&path, test));
            assert!(exists, "scenario {}: no test {name}", row.number);
        }
    }
}

/// What carries a number of a scenario stands in its row.
#[test]
fn every_script_and_test_with_the_number_of_a_scenario_has_a_row() {
    let named: BTreeSet<(u32, String)> = rows()
        .into_iter()
        .flat_map(|row| row.tests.into_iter().map(move |test| (row.number, test)))
        .collect();
    let number = |name: &str| name.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    for script in fs::read_dir(crates().join("quorate-core/tests/scripts")).unwrap() {
        let path = script.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        let Some(number) = number(&name) else { continue };
        assert!(named.contains(&(number, format!("script {name}"))), "{name} has no row");
    }
    for file in fs::read_dir(crates().join("quorate/tests/scenarios")).unwrap() {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let Some((_, rest)) = line.split_once("fn scenario_") else { continue };
            let test = rest.split('(').next().unwrap();
            let name = format!("scenarios::{module}::scenario_{test}");
            assert!(named.contains(&(number(test).unwrap(), name)), "scenario_{test} has no row");
        }
    }
}

#[test]
fn every_row_says_what_the_test_was_seen_to_fail_with() {
    for row in rows() {
        assert!(!row.seen_to_fail.is_empty(), "scenario {}: {:?}", row.number, row.tests);
    }
}

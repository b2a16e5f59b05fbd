//! The command behind `cargo xtask sim`: what it prints, and the code that it ends with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::process::Command;
use std::process::Stdio;

/// The code, and what was printed to both outputs.
fn sim(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_search_tells_what_it_did() {
    let (code, text) = sim(&["--tier", "a", "--seeds", "20", "--jobs", "2"]);
    assert_eq!(code, Some(0), "{text}");
    for row in ["20 seeds in", "on 2 threads", "simulated hours", "operations checked", "0  violations"] {
        assert!(text.contains(row), "{row}: {text}");
    }
}

#[test]
fn a_search_that_does_too_little_fails_where_a_floor_is_asked_for() {
    let (code, text) = sim(&["--seeds", "2", "--floor"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("too little"), "{text}");
}

#[test]
fn a_search_ends_when_its_time_is_over() {
    let (code, text) = sim(&["--minutes", "0.0001"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("seeds in"), "{text}");
}

#[test]
fn a_replay_is_the_same_each_time() {
    let replay = ["--seed", "7", "--lines", "30"];
    let (code, text) = sim(&replay);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("seed 7 keeps every invariant"), "{text}");
    assert!(text.lines().count() >= 30, "{text}");
    assert_eq!(sim(&replay), (code, text));
}

#[test]
fn what_it_cannot_make_sense_of_is_refused_with_the_usage() {
    for (arguments, cause) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--seeds", "many"], "many"),
        (&["--seeds"], "wants a number"),
        (&["--tier", "z"], "z"),
        (&["--minutes", "-1"], "negative"),
        (&["--mutants", "--mutant", "9999"], "no such seeded bug"),
    ] {
        let (code, text) = sim(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {text}");
        assert!(text.contains(cause) && text.contains("Usage:"), "{arguments:?}: {text}");
    }
    let (code, text) = sim(&["--help"]);
    assert!(code == Some(0) && text.contains("Usage:"), "{text}");
}

#[test]
#[cfg(not(quorate_mutants))]
fn a_build_without_seeded_bugs_switches_none_on() {
    let (code, text) = sim(&["--mutant", "5", "--seeds", "1"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("quorate_mutants"), "{text}");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .args(["--seed", "7", "--lines", "100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

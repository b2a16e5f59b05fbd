//! A first few seeds, with every assertion of the core compiled in; `cargo xtask sim` runs many more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use quorate_sim::plan::Plan;
use quorate_sim::run;
use quorate_sim::run::Search;
use quorate_sim::tier::Tier;

/// Seeds in an ordinary test run.
const SEEDS: u64 = 200;

#[test]
fn every_seed_keeps_the_invariants_and_recovers() {
    let search = Search { tier: Tier::A, first: 1, seeds: SEEDS, time: None, jobs: 2, violations: 1 };
    let found = search.run(|_| {});
    if let Some(violation) = found.violations.first() {
        let (lines, _) = run::explain(Tier::A, violation.seed, &Plan::default());
        for line in lines.iter().rev().take(100).rev() {
            println!("{line}");
        }
        panic!("seed {}: {}", violation.seed, violation.what);
    }
    assert!(found.repeated > 0, "no seed was run twice");
    assert!(
        found.tally.elections > SEEDS && found.tally.commits > SEEDS,
        "the schedules do not get anywhere: {:?}",
        found.tally
    );
}

#[test]
fn a_seed_repeats_itself() {
    let (first, outcome) = run::explain(Tier::A, 11, &Plan::default());
    let (second, again) = run::explain(Tier::A, 11, &Plan::default());
    assert!(first.len() > 100);
    assert_eq!(first, second);
    assert_eq!(outcome, again);
}

/// Seeds of the whole library in an ordinary test run.
#[cfg(feature = "library")]
const LIBRARY_SEEDS: u64 = 12;

#[cfg(feature = "library")]
#[test]
fn the_whole_library_keeps_the_invariants_and_recovers() {
    let search = Search { tier: Tier::B, first: 6, seeds: LIBRARY_SEEDS, time: None, jobs: 2, violations: 1 };
    let found = search.run(|_| {});
    let broken = found.violations.first().map(|violation| format!("{violation:?}"));
    assert_eq!(broken, None);
    assert!(found.tally.elections > LIBRARY_SEEDS && found.tally.operations() > 1_000, "{:?}", found.tally);
}

#[cfg(feature = "library")]
#[test]
fn a_seed_of_the_whole_library_repeats_itself() {
    let (first, outcome) = run::explain(Tier::B, 7, &Plan::default());
    let (second, again) = run::explain(Tier::B, 7, &Plan::default());
    assert_eq!(first, second);
    assert_eq!(outcome, again);
}

/// Seeds of the storage of one node in an ordinary test run.
#[cfg(feature = "library")]
const STORAGE_SEEDS: u64 = 100;

#[cfg(feature = "library")]
#[test]
fn the_storage_of_one_node_keeps_what_was_acknowledged() {
    let search = Search { tier: Tier::S, first: 1, seeds: STORAGE_SEEDS, time: None, jobs: 2, violations: 1 };
    let found = search.run(|_| {});
    let broken = found.violations.first().map(|violation| format!("{violation:?}"));
    assert_eq!(broken, None);
    assert!(found.repeated > 0, "no seed was run twice");
    assert!(found.tally.crashes > STORAGE_SEEDS && found.tally.writes > STORAGE_SEEDS, "{:?}", found.tally);
}

//! Every input of the corpus through its target, and some thousands that are made of it by dice that never change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quorate_fuzz::dice::{below, mutant};
use quorate_fuzz::{TARGETS, Target};
use quorate_sim::dice::Dice;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The inputs of a target by name.
fn inputs(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = corpus().join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = files.map(|file| file.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())).collect()
}

/// Runs an input; a panic tells which it was, in a form that can be put into the corpus.
fn run(target: &Target, name: &str, bytes: &[u8]) {
    let outcome = std::panic::catch_unwind(|| (target.run)(bytes));
    if let Err(panic) = outcome {
        eprintln!("{}: {name}: {}", target.name, bytes.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

fn run_target(name: &str) {
    let target = quorate_fuzz::target_named(name).unwrap();
    let inputs = inputs(name);
    run(target, "nothing", &[]);
    let mut dice = Dice(1);
    for (name, bytes) in &inputs {
        run(target, name, bytes);
        for number in 0..target.mutants {
            let other = inputs.values().nth(below(&mut dice, inputs.len())).unwrap();
            run(target, &format!("{name}, changed {number}"), &mutant(&mut dice, bytes, other));
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run_target(stringify!($name));
            }
        )*

        #[test]
        fn each_target_is_tested_and_has_a_file_for_the_fuzzer() {
            let tested = [$(stringify!($name)),*];
            assert!(TARGETS.iter().map(|target| target.name).eq(tested), "the targets, in order");
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
            let mut files: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort_unstable();
            let mut names: Vec<String> = tested.iter().map(|name| format!("{name}.rs")).collect();
            names.sort_unstable();
            assert_eq!(files, names);
            let mut folders: Vec<String> = std::fs::read_dir(corpus())
                .unwrap()
                .map(|folder| folder.unwrap().file_name().into_string().unwrap())
                .collect();
            folders.sort_unstable();
            assert_eq!(folders.iter().map(|name| format!("{name}.rs")).collect::<Vec<_>>(), names);
        }
    };
}

targets! {
    wire_append wire_message wire_snapshot wire_hello wire_handshake wire_call log_codec log_directory log_votes
    snapshot_file snapshot_content node_identity node_call node_entries server_config server_request family_forms
    family_chunk conversation raft_doors
}

#[test]
fn the_seeds_are_what_nodes_write_today() {
    let mut seeds: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (target, name, bytes) in quorate_fuzz::seeds::seeds() {
        seeds.entry(target.to_owned()).or_default().insert(name, bytes);
    }
    for target in TARGETS {
        let mut held = inputs(target.name);
        held.retain(|name, _| name.starts_with("seed-"));
        assert_eq!(Some(&held), seeds.get(target.name), "{}: run `cargo run -p quorate-fuzz`", target.name);
    }
}

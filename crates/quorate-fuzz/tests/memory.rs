//! No input of the corpus, and nothing that is made of it, takes more memory than its target allows.
//!
//! Alone in its process: the limit is one for all threads. An input that goes over it ends the process with the size
//! that it asked for; set `QUORATE_FUZZ_SAY` to see each input before it runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::alloc::System;
use std::path::Path;

use cap::Cap;
use quorate_fuzz::dice::{below, mutant};
use quorate_fuzz::{TARGETS, Target};
use quorate_sim::dice::Dice;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// How many mutations of each input are tried.
const MUTANTS: u32 = 20;

fn run(target: &Target, bytes: &[u8], says: bool) {
    if says {
        eprintln!("{}: {}", target.name, bytes.escape_ascii());
    }
    MEMORY.set_limit(MEMORY.allocated() + target.memory_max).unwrap();
    (target.run)(bytes);
    MEMORY.set_limit(usize::MAX).unwrap();
}

#[test]
fn no_input_takes_more_memory_than_its_target_allows() {
    let says = std::env::var_os("QUORATE_FUZZ_SAY").is_some();
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        let files =
            std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let mut inputs: Vec<Vec<u8>> = files.collect();
        inputs.sort_unstable();
        let mut dice = Dice(2);
        // What a target makes once and keeps is not the input's.
        (target.run)(&[]);
        for bytes in &inputs {
            run(target, bytes, says);
            for _ in 0..MUTANTS.min(target.mutants) {
                let other = &inputs[below(&mut dice, inputs.len())];
                run(target, &mutant(&mut dice, bytes, other), says);
            }
        }
    }
}

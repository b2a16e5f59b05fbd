//! Runs every text script under `tests/scripts`: commands, then `----`, then the trace that they are to leave.
//!
//! `REWRITE=1 cargo test -p quorate-core --test script` writes the traces anew; read the difference before you keep it.
//! The commands are listed in `crates/quorate-sim/src/tier_a/script.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;

use quorate_sim::tier_a::script::Script;

/// One step of a script: what stands above it, its commands, and the trace that is expected.
struct Block {
    comments: String,
    commands: Vec<String>,
    expected: String,
}

fn parse(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().peekable();
    loop {
        let mut comments = String::new();
        while let Some(line) = lines.next_if(|line| line.is_empty() || line.starts_with('#')) {
            comments += line;
            comments += "\n";
        }
        let mut commands = Vec::new();
        while let Some(line) = lines.next_if(|line| *line != "----") {
            commands.push(line.to_string());
        }
        lines.next();
        let mut expected = String::new();
        while let Some(line) = lines.next_if(|line| !line.is_empty()) {
            expected += line;
            expected += "\n";
        }
        let last = commands.is_empty();
        blocks.push(Block { comments, commands, expected });
        if last {
            return blocks;
        }
    }
}

fn play(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut script = match text.contains("ids=adv") {
        true => Script::Adv(Default::default()),
        false => Script::Std(Default::default()),
    };
    let (mut output, mut failure) = (String::new(), None);
    for Block { comments, commands, expected } in parse(&text) {
        output += &comments;
        if commands.is_empty() {
            break;
        }
        let found = run(&mut script, &commands, path);
        if found != expected {
            let (name, commands) = (path.display(), commands.join("\n"));
            failure
                .get_or_insert(format!("{name}: {commands}\n---- expected\n{expected}---- found\n{found}"));
        }
        output += &format!("{}\n----\n{found}", commands.join("\n"));
    }
    if std::env::var_os("REWRITE").is_some() && output != text {
        fs::write(path, &output).unwrap();
        return None;
    }
    failure
}

fn run(script: &mut Script, commands: &[String], path: &Path) -> String {
    let mut found = String::new();
    for command in commands {
        let outcome = catch_unwind(AssertUnwindSafe(|| match script {
            Script::Std(stage) => stage.run(command),
            Script::Adv(stage) => stage.run(command),
        }));
        match outcome {
            Ok(lines) => found.extend(lines.into_iter().map(|line| line + "\n")),
            Err(_) => panic!("{}: {command}", path.display()),
        }
    }
    if found.is_empty() { "ok\n".to_string() } else { found }
}

#[test]
fn every_script_leaves_its_trace() {
    let mut paths: Vec<_> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    let failures: Vec<String> = paths.iter().filter_map(|path| play(path)).collect();
    assert!(!paths.is_empty(), "there are scripts");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

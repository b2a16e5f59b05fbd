//! Rules that keep the protocol pure.

use super::{Findings, Rule};
use crate::repo::{Crate, Repo};
use crate::source::{Source, has_word};

/// The pure crate.
const CORE: &str = "quorate-core";
/// What it may depend on, and only when asked to.
const OPTIONAL: &[&str] = &["serde", "ref-cast"];

/// What its product code may not say, and what that would break.
const BANNED: &[(&str, &str)] = &[
    ("HashMap", "its order changes from run to run"),
    ("HashSet", "its order changes from run to run"),
    ("async", "whoever calls decides when and where to wait"),
    ("await", "whoever calls decides when and where to wait"),
    ("std", "the core needs `core` and `alloc` alone; time, dice and logging are its caller's"),
];

pub(super) const RULES: &[Rule] = &[
    Rule { name: "core-no-std", why: "the protocol runs wherever there is memory", check: no_std },
    Rule {
        name: "core-dependencies",
        why: "the protocol stands on nothing that can change under it",
        check: dependencies,
    },
    Rule { name: "core-pure", why: "the same inputs give the same outputs, always", check: pure },
];

fn core(repo: &Repo) -> Option<&Crate> {
    repo.crates.iter().find(|each| each.name() == CORE)
}

fn no_std(repo: &Repo, findings: &mut Findings) {
    let Some(core) = core(repo) else { return };
    let path = core.file("src/lib.rs");
    let declares = |source: &Source| source.code_lines().any(|(_, line)| line.trim() == "#![no_std]");
    if !repo.sources.get(&path).is_some_and(declares) {
        findings.add(&path, 0, "`#![no_std]` is missing".to_owned());
    }
}

fn dependencies(repo: &Repo, findings: &mut Findings) {
    let Some(core) = core(repo) else { return };
    for entry in core.manifest.entries.iter().filter(|entry| is_dependency(&entry.table)) {
        let name = entry.key.split('.').next().unwrap_or_default();
        let allowed = OPTIONAL.contains(&name) && entry.value.contains("optional = true");
        if !allowed {
            findings.add(&core.file("Cargo.toml"), entry.line, format!("the core depends on `{name}`"));
        }
    }
}

/// Whether a table names what the core itself, not its tests, depends on.
fn is_dependency(table: &str) -> bool {
    let last = table.rsplit('.').next().unwrap_or_default();
    matches!(last, "dependencies" | "build-dependencies") || table.starts_with("dependencies.")
}

fn pure(repo: &Repo, findings: &mut Findings) {
    let Some(core) = core(repo) else { return };
    for (path, source) in repo.sources.iter().filter(|(path, _)| core.holds(path)) {
        for (line, text) in source.product_lines() {
            for (word, why) in BANNED.iter().filter(|(word, _)| has_use(text, word)) {
                findings.add(path, line, format!("`{word}`: {why}"));
            }
        }
    }
}

/// Whether a line uses what the word names. A module of the core itself may be called `std`.
fn has_use(line: &str, word: &str) -> bool {
    if word != "std" {
        return has_word(line, word);
    }
    let begins_path = line.match_indices("std::").any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        !before.is_some_and(|char| char.is_alphanumeric() || matches!(char, '_' | ':'))
    });
    begins_path || line.contains("extern crate std")
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    const MANIFEST: &str = "crates/quorate-core/Cargo.toml";
    const LIB: &str = "crates/quorate-core/src/lib.rs";

    #[test]
    fn the_core_is_no_std() {
        assert!(findings("core-no-std", &[(MANIFEST, ""), (LIB, "//! Doc.\n#![no_std]\n")]).is_empty());
        for text in ["//! Doc.\n", "// #![no_std]\n"] {
            assert_eq!(
                findings("core-no-std", &[(MANIFEST, ""), (LIB, text)]),
                ["crates/quorate-core/src/lib.rs:1: `#![no_std]` is missing"]
            );
        }
    }

    #[test]
    fn the_core_depends_on_nothing_unless_asked_to() {
        let fine = "[dependencies]\nserde = { workspace = true, optional = true }\n[dev-dependencies]\nx = { workspace = true }\n";
        assert!(findings("core-dependencies", &[(MANIFEST, fine)]).is_empty());
        for (text, name) in [
            ("[dependencies]\nserde = { workspace = true }\n", "serde"),
            ("[dependencies]\nbytes.workspace = true\n", "bytes"),
            ("[build-dependencies]\nprost = { workspace = true, optional = true }\n", "prost"),
        ] {
            assert_eq!(
                findings("core-dependencies", &[(MANIFEST, text)]),
                [format!("crates/quorate-core/Cargo.toml:2: the core depends on `{name}`")]
            );
        }
    }

    #[test]
    fn the_core_is_pure_outside_its_tests() {
        for (text, word) in [
            ("let x: HashMap<u8, u8>;", "HashMap"),
            ("pub async fn f() {}", "async"),
            ("use std::time::Duration;", "std"),
            ("extern crate std;", "std"),
            ("let now = std::time::Instant::now();", "std"),
        ] {
            let found = findings("core-pure", &[(MANIFEST, ""), (LIB, text)]);
            let start = format!("crates/quorate-core/src/lib.rs:1: `{word}`:");
            assert!(found.len() == 1 && found.iter().all(|line| line.starts_with(&start)), "{found:?}");
        }
        for text in [
            "pub mod std;\nuse super::std::LeaderId;\nuse core::time::Duration;\n",
            "//! Never a HashMap, no async.\n",
            "#[cfg(test)]\nextern crate std;\n#[cfg(test)]\nmod tests { use std::collections::HashMap; }\n",
        ] {
            assert!(findings("core-pure", &[(MANIFEST, ""), (LIB, text)]).is_empty(), "{text}");
        }
        let other = [(MANIFEST, ""), ("crates/quorate/src/lib.rs", "use std::collections::HashMap;")];
        assert!(findings("core-pure", &other).is_empty());
    }
}

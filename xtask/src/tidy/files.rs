//! Rules of size and place: files, functions, folders.

use std::collections::{BTreeMap, BTreeSet};

use super::{Findings, Rule};
use crate::repo::Repo;

/// Code lines of one file, without its tests.
const FILE_CODE_LINES_MAX: usize = 800;
/// Lines of one function, from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Folders between a crate's `src` and a file.
const FOLDER_DEPTH_MAX: usize = 2;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "file-length",
        why: "a file is read in one sitting; split it by subject",
        check: file_length,
    },
    Rule {
        name: "function-length",
        why: "a function fits on a screen; keep the control flow and move a pure part out",
        check: function_length,
    },
    Rule { name: "folder-depth", why: "what lies deep is not found", check: folder_depth },
    Rule { name: "lone-file", why: "a folder for one file is a detour; move the file up", check: lone_file },
    Rule { name: "file-doc", why: "the first line tells a newcomer what is here", check: file_doc },
];

fn file_length(repo: &Repo, findings: &mut Findings) {
    for (path, source) in &repo.sources {
        let count = source.product_lines().count();
        if count > FILE_CODE_LINES_MAX {
            let message = format!("{count} code lines without tests, at most {FILE_CODE_LINES_MAX} allowed");
            findings.add(path, 0, message);
        }
    }
}

fn function_length(repo: &Repo, findings: &mut Findings) {
    for (path, source) in &repo.sources {
        for function in &source.functions {
            let count = function.lines.len();
            if count > FUNCTION_LINES_MAX {
                let message =
                    format!("`{}` has {count} lines, at most {FUNCTION_LINES_MAX} allowed", function.name);
                findings.add(path, function.lines.start, message);
            }
        }
    }
}

fn folder_depth(repo: &Repo, findings: &mut Findings) {
    for path in repo.sources.keys() {
        let depth = below_src(path).map_or(0, |below| below.matches('/').count());
        if depth > FOLDER_DEPTH_MAX {
            findings.add(path, 0, format!("{depth} folders below `src`, at most {FOLDER_DEPTH_MAX} allowed"));
        }
    }
}

fn lone_file(repo: &Repo, findings: &mut Findings) {
    let mut folders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for path in repo.texts.keys() {
        let mut rest = path.as_str();
        while let Some((folder, entry)) = rest.rsplit_once('/') {
            folders.entry(folder).or_default().insert(entry);
            rest = folder;
        }
    }
    // `src` itself, `tests` and `benches` are Cargo's choice, not ours.
    for (folder, entries) in folders.iter().filter(|(folder, _)| below_src(folder).is_some()) {
        if let (Some(entry), 1) = (entries.first(), entries.len()) {
            findings.add(&format!("{folder}/{entry}"), 0, format!("alone in `{folder}`"));
        }
    }
}

fn file_doc(repo: &Repo, findings: &mut Findings) {
    for path in repo.sources.keys() {
        let mut lines = repo.texts.get(path).map_or("", String::as_str).lines().map(str::trim);
        let mut first = lines.next();
        // `#![…]` may stand above the doc, and may span lines.
        while let Some(line) = first {
            if line.starts_with("#![") && !line.ends_with(']') {
                lines.find(|line| line.ends_with(']'));
            } else if !line.is_empty() && !line.starts_with("#![") {
                break;
            }
            first = lines.next();
        }
        if !first.is_some_and(|line| line.starts_with("//!")) {
            findings.add(path, 0, "does not begin with a `//!` doc".to_owned());
        }
    }
}

/// The part of a path behind the `src` of its crate.
fn below_src(path: &str) -> Option<&str> {
    path.split_once("/src/").map(|(_, below)| below)
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;
    use super::*;

    #[test]
    fn a_file_is_measured_without_its_tests() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "use x;\n".repeat(900));
        let fits = "use x;\n\n// Why.\n".repeat(FILE_CODE_LINES_MAX) + &tests;
        assert!(findings("file-length", &[("crates/a/src/lib.rs", &fits)]).is_empty());
        let over = "use x;\n".repeat(FILE_CODE_LINES_MAX + 1);
        assert_eq!(
            findings("file-length", &[("crates/a/src/lib.rs", &over)]),
            ["crates/a/src/lib.rs:1: 801 code lines without tests, at most 800 allowed"]
        );
    }

    #[test]
    fn a_function_is_measured_from_name_to_brace() {
        let function = |body| format!("\nfn f() {{\n{}}}\n", "    g();\n".repeat(body));
        assert!(findings("function-length", &[("a.rs", &function(FUNCTION_LINES_MAX - 2))]).is_empty());
        assert_eq!(
            findings("function-length", &[("a.rs", &function(FUNCTION_LINES_MAX - 1))]),
            ["a.rs:2: `f` has 71 lines, at most 70 allowed"]
        );
    }

    #[test]
    fn folders_are_at_most_two_deep() {
        assert!(
            findings("folder-depth", &[("crates/a/src/b/c/d.rs", ""), ("crates/a/tests/d.rs", "")])
                .is_empty()
        );
        assert_eq!(
            findings("folder-depth", &[("crates/a/src/b/c/d/e.rs", "")]),
            ["crates/a/src/b/c/d/e.rs:1: 3 folders below `src`, at most 2 allowed"]
        );
    }

    #[test]
    fn no_folder_holds_one_file() {
        let fine = [("crates/a/src/lib.rs", ""), ("crates/a/src/b/c.rs", ""), ("crates/a/src/b/d.rs", "")];
        assert!(findings("lone-file", &fine).is_empty());
        assert_eq!(
            findings("lone-file", &[("crates/a/src/lib.rs", ""), ("crates/a/src/b/c.rs", "")]),
            ["crates/a/src/b/c.rs:1: alone in `crates/a/src/b`"]
        );
    }

    #[test]
    fn a_file_begins_with_its_doc() {
        let fine =
            ["//! Doc.\n", "\n#![no_std]\n//! Doc.\n", "#![allow(\n    a,\n    b\n)]\n\n//! Doc.\nuse x;\n"];
        for text in fine {
            assert!(findings("file-doc", &[("a.rs", text)]).is_empty(), "{text}");
        }
        for text in ["", "use x;\n", "// A note.\n//! Doc.\n", "use x;\n//! Doc.\n", "#![no_std]\n"] {
            assert_eq!(findings("file-doc", &[("a.rs", text)]), ["a.rs:1: does not begin with a `//!` doc"]);
        }
    }
}

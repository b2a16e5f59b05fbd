//! Rules about single words: unfinished work, sleeping tests, paths of one machine.

use super::{Findings, Rule};
use crate::repo::Repo;
use crate::source::has_word;

/// Macros that stand for code not yet written.
const UNFINISHED_MACROS: &[&str] = &["todo", "unimplemented"];
/// Words in comments that stand for work not yet done.
const UNFINISHED_NOTES: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];
/// Calls that wait for time to pass.
const SLEEPS: &[&str] = &["sleep", "sleep_until", "sleep_ms"];
/// What a sleep of simulated time begins with: it takes none.
const SIMULATED: &str = "SimRuntime::sleep";
/// First folders of a path that exists on one machine only, without their slashes.
const MACHINE_FOLDERS: &[&str] = &["home", "root", "work", "Users", "mnt"];

pub(super) const RULES: &[Rule] = &[
    Rule { name: "unfinished-code", why: "what lands is whole", check: unfinished_code },
    Rule {
        name: "unfinished-note",
        why: "a note of work left is an issue, not a comment",
        check: unfinished_note,
    },
    Rule { name: "ignored-test", why: "a test that never runs guards nothing", check: ignored_test },
    Rule {
        name: "sleeping-test",
        why: "a sleep is slow when it works and flaky when it does not; wait for the event",
        check: sleeping_test,
    },
    Rule { name: "machine-path", why: "it exists on one machine only", check: machine_path },
];

fn unfinished_code(repo: &Repo, findings: &mut Findings) {
    for (path, source) in &repo.sources {
        for (line, text) in source.code_lines() {
            for name in UNFINISHED_MACROS.iter().filter(|name| calls(text, name, '!')) {
                findings.add(path, line, format!("`{name}!`"));
            }
        }
    }
}

fn unfinished_note(repo: &Repo, findings: &mut Findings) {
    for (path, source) in &repo.sources {
        for (line, text) in source.comments.iter().enumerate() {
            for note in UNFINISHED_NOTES.iter().filter(|note| has_word(text, note)) {
                findings.add(path, line, format!("`{note}` in a comment"));
            }
        }
    }
}

fn ignored_test(repo: &Repo, findings: &mut Findings) {
    for (path, source) in &repo.sources {
        for (line, text) in source.code_lines() {
            let text = text.trim_start();
            if text.starts_with("#[") && has_word(text, "ignore") {
                findings.add(path, line, "`#[ignore]`".to_owned());
            }
        }
    }
}

fn sleeping_test(repo: &Repo, findings: &mut Findings) {
    for (path, source) in &repo.sources {
        for (line, text) in source.test_lines().filter(|(_, text)| !text.contains(SIMULATED)) {
            for name in SLEEPS.iter().filter(|name| calls(text, name, '(') && !defines(text, name)) {
                findings.add(path, line, format!("`{name}` in a test"));
            }
        }
    }
}

fn machine_path(repo: &Repo, findings: &mut Findings) {
    for (path, text) in &repo.texts {
        for (line, text) in text.lines().enumerate() {
            for folder in MACHINE_FOLDERS.iter().filter(|folder| names_folder(text, folder)) {
                findings.add(path, line, format!("a path below /{folder}"));
            }
        }
    }
}

/// Whether a line of code has `name` as a whole word with `opening` behind it.
fn calls(line: &str, name: &str, opening: char) -> bool {
    has_word(line, name) && line.contains(&format!("{name}{opening}"))
}

/// Whether a line of code defines a function of that name, as a clock for tests does.
fn defines(line: &str, name: &str) -> bool {
    line.contains(&format!("fn {name}"))
}

/// Whether a line holds an absolute path below a folder of the root.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(&format!("/{folder}/")).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        // Behind a name, a dot or a closing brace it is a relative path or part of an address.
        !before.is_some_and(|char| {
            char.is_alphanumeric() || matches!(char, '.' | '_' | '-' | '/' | '}' | '*' | '~')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    #[test]
    fn unfinished_code_is_found() {
        assert_eq!(findings("unfinished-code", &[("a.rs", "fn f() {\n    todo!()\n}")]), ["a.rs:2: `todo!`"]);
        assert_eq!(
            findings("unfinished-code", &[("a.rs", "unimplemented!(\"x\")")]),
            ["a.rs:1: `unimplemented!`"]
        );
        assert!(
            findings("unfinished-code", &[("a.rs", "f(\"todo!()\"); // todo!\nlet todo = 1;")]).is_empty()
        );
    }

    #[test]
    fn unfinished_notes_are_found_in_comments_alone() {
        assert_eq!(
            findings("unfinished-note", &[("a.rs", "x // FIXME: y")]),
            ["a.rs:1: `FIXME` in a comment"]
        );
        assert_eq!(findings("unfinished-note", &[("a.rs", "/* a\nXXX */")]), ["a.rs:2: `XXX` in a comment"]);
        assert!(findings("unfinished-note", &[("a.rs", "let todo = \"TODO\"; // TODOS, hacks")]).is_empty());
    }

    #[test]
    fn ignored_tests_are_found() {
        for text in ["#[ignore]", "    #[ignore = \"slow\"]", "#[cfg_attr(miri, ignore)]"] {
            assert_eq!(findings("ignored-test", &[("a.rs", text)]), ["a.rs:1: `#[ignore]`"]);
        }
        for text in ["// #[ignore]", "fn ignore() {}", "#[ignored_any]"] {
            assert!(findings("ignored-test", &[("a.rs", text)]).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_test_may_not_sleep_but_a_clock_may() {
        let call = "fn f() {\n    tokio::time::sleep(d).await;\n}\n";
        assert!(findings("sleeping-test", &[("crates/a/src/clock.rs", call)]).is_empty());
        assert_eq!(
            findings("sleeping-test", &[("crates/a/tests/t.rs", call)]),
            ["crates/a/tests/t.rs:2: `sleep` in a test"]
        );
        let within = format!("#[cfg(test)]\nmod tests {{\n{call}}}\n");
        assert_eq!(
            findings("sleeping-test", &[("crates/a/src/lib.rs", &within)]),
            ["crates/a/src/lib.rs:4: `sleep` in a test"]
        );
        let one_line = "#[test]\nfn t() { std::thread::sleep(d); }\n";
        assert_eq!(findings("sleeping-test", &[("a.rs", one_line)]), ["a.rs:2: `sleep` in a test"]);
        let defines = "fn sleep(d: Duration) {}\nlet asleep = oversleep(1);\n// sleep(1)\nSimRuntime::sleep(d).await;\n";
        assert!(findings("sleeping-test", &[("crates/a/tests/t.rs", defines)]).is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_found_in_any_text() {
        // Joined here, so that the rule does not find its own test.
        let absolute = |folder: &str| ["open(\"", folder, "x\")"].join("/");
        assert_eq!(
            findings("machine-path", &[("README.md", &absolute("home"))]),
            ["README.md:1: a path below /home"]
        );
        assert_eq!(findings("machine-path", &[("a.rs", &absolute("work"))]), ["a.rs:1: a path below /work"]);
        for text in
            ["crates/work/x", "../home/x", "https://example.com/home/x", "{dir}/root/x", "/var/lib/quorate/"]
        {
            assert!(findings("machine-path", &[("a.rs", text)]).is_empty(), "{text}");
        }
    }
}

//! `cargo xtask tidy`: the house rules that a program can keep.
//!
//! A rule is a [`Rule`] in one of the tables below. To add one, write its check beside its like, add a
//! row to that file's `RULES`, and a test that shows one text that it bites and one that it leaves alone.

mod core;
mod crates;
mod determinism;
mod files;
mod names;
mod words;

use crate::repo::Repo;

/// One rule of the house.
pub(crate) struct Rule {
    /// What a person calls it.
    name: &'static str,
    /// Why it exists; printed behind each violation.
    why: &'static str,
    check: fn(&Repo, &mut Findings),
}

const TABLES: &[&[Rule]] =
    &[files::RULES, names::RULES, words::RULES, crates::RULES, core::RULES, determinism::RULES];

/// What one rule has found.
#[derive(Default)]
pub(crate) struct Findings {
    found: Vec<Violation>,
}

/// A place where a rule is broken. It sorts by path and line.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    /// From 1.
    line: usize,
    message: String,
}

impl Findings {
    /// Notes a violation; `line` counts from 0.
    fn add(&mut self, path: &str, line: usize, message: String) {
        self.found.push(Violation { path: path.to_owned(), line: line + 1, message });
    }
}

/// Checks the repository, or lists the rules.
pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    if arguments.iter().any(|argument| argument == "--rules") {
        crate::print(&rules())?;
        return Ok(true);
    }
    crate::expect_none(arguments)?;
    let repo = Repo::read()?;
    let violations = check(&repo);
    let text: String = violations.iter().map(|line| format!("{line}\n")).collect();
    crate::print(&text)?;
    match violations.len() {
        0 => crate::print(&format!("tidy: {} files, nothing to say\n", repo.texts.len()))?,
        count => eprintln!("tidy: {count} violations"),
    }
    Ok(violations.is_empty())
}

fn all() -> impl Iterator<Item = &'static Rule> {
    TABLES.iter().copied().flatten()
}

fn rules() -> String {
    all().map(|rule| format!("{:<22}{}\n", rule.name, rule.why)).collect()
}

/// Each violation as `path:line: message (why)`, in the order of the files.
fn check(repo: &Repo) -> Vec<String> {
    let mut violations = Vec::new();
    for rule in all() {
        let mut findings = Findings::default();
        (rule.check)(repo, &mut findings);
        violations.extend(findings.found.into_iter().map(|violation| (violation, rule.why)));
    }
    violations.sort();
    violations
        .into_iter()
        .map(|(Violation { path, line, message }, why)| format!("{path}:{line}: {message} ({why})"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one rule says of a repository with these files: `path:line: message`.
    pub(super) fn findings(rule: &str, files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        let rule = all().find(|other| other.name == rule).expect("the rule is in a table");
        let mut findings = Findings::default();
        (rule.check)(&Repo::from_files(files), &mut findings);
        findings.found.sort();
        findings.found.iter().map(|v| format!("{}:{}: {}", v.path, v.line, v.message)).collect()
    }

    #[test]
    fn each_rule_has_a_name_of_its_own_and_a_reason() {
        let mut names: Vec<&str> = all().map(|rule| rule.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair.first() != pair.last()), "{names:?}");
        assert!(all().all(|rule| !rule.why.is_empty() && rule.name.len() < 22));
    }

    #[test]
    fn a_violation_tells_place_message_and_reason() {
        let files = [
            ("Cargo.toml".to_owned(), "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n".to_owned()),
            ("crates/a/src/lib.rs".to_owned(), "//! Doc.\n\n// TODO: all\n".to_owned()),
        ];
        assert_eq!(
            check(&Repo::from_files(files)),
            ["crates/a/src/lib.rs:3: `TODO` in a comment (a note of work left is an issue, not a comment)"]
        );
    }
}

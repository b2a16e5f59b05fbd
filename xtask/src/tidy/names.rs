//! Rules of naming.

use super::{Findings, Rule};
use crate::repo::Repo;

/// Keywords whose next word is a definition's name.
const DEFINING: &[&str] = &["fn", "struct", "enum", "trait", "type", "union", "mod", "macro_rules!"];

/// What a name may not say, how it is recognised, and what to write instead.
const BANNED: &[(&str, fn(&str) -> bool, &str)] = &[
    ("Manager", |name| has_part(name, "manager"), "name what it holds or decides"),
    ("Helper", |name| has_part(name, "helper"), "name what it does for whom"),
    ("do_", |name| name.starts_with("do_"), "name the deed itself"),
    ("_impl", |name| name.ends_with("_impl"), "name how it differs from its caller"),
];

/// Names that the library's users brought with them.
const GIVEN: &[&str] = &["StorageHelper"];

pub(super) const RULES: &[Rule] =
    &[Rule { name: "names", why: "a name is a noun or verb of the field, and adds something", check: names }];

fn names(repo: &Repo, findings: &mut Findings) {
    for (path, source) in &repo.sources {
        for (line, text) in source.code_lines() {
            for name in definitions(text).filter(|name| !GIVEN.contains(name)) {
                for (banned, matches, instead) in BANNED {
                    if matches(name) {
                        findings.add(path, line, format!("`{name}` says `{banned}`; {instead}"));
                    }
                }
            }
        }
    }
}

/// The names that a line of code defines.
fn definitions(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split_whitespace();
    words.clone().zip(words.skip(1)).filter(|(keyword, _)| DEFINING.contains(keyword)).filter_map(
        |(_, name)| {
            name.split(|char: char| !char.is_alphanumeric() && char != '_').find(|part| !part.is_empty())
        },
    )
}

/// Whether a `CamelCase` or `snake_case` name holds a word.
fn has_part(name: &str, word: &str) -> bool {
    let mut snake = String::new();
    for char in name.chars() {
        if char.is_uppercase() {
            snake.push('_');
        }
        snake.extend(char.to_lowercase());
    }
    snake.split('_').any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    #[test]
    fn empty_words_are_no_names() {
        for (text, name) in [
            ("pub struct LogManager<T> {", "LogManager"),
            ("enum ManagerState {", "ManagerState"),
            ("mod test_helper;", "test_helper"),
            ("pub(crate) async fn do_append(&self) {", "do_append"),
            ("    fn append_impl() {", "append_impl"),
        ] {
            let found = findings("names", &[("a.rs", text)]);
            assert!(
                found.len() == 1 && found.iter().all(|line| line.starts_with(&format!("a.rs:1: `{name}`"))),
                "{found:?}"
            );
        }
    }

    #[test]
    fn only_definitions_and_whole_words_count() {
        for text in [
            "fn append() { other::do_it() }",
            "fn done() {}",
            "fn undo_all() {}",
            "struct Implant;",
            "// fn do_it",
            "fn manage() {}",
        ] {
            assert!(findings("names", &[("a.rs", text)]).is_empty(), "{text}");
        }
    }
}

//! The paths that a file names: `std::fs::File::open` as well as what an import makes of `File::open`.
//!
//! It knows `use` trees and their renames, and takes a file for one scope: an import in one function
//! counts for all. Macros hide nothing, since their arguments are read like any other code.

use std::collections::BTreeMap;

use crate::source::Token;

/// A path with its imports followed, as in `std::fs::File::open`. A glob ends in `*`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedPath {
    /// From 0.
    pub(crate) line: usize,
    pub(crate) parts: Vec<String>,
}

impl NamedPath {
    /// Whether this is `path` or something below it; a glob over what holds `path` counts.
    pub(crate) fn is_below(&self, path: &str) -> bool {
        let mut own = self.parts.iter();
        path.split("::").all(|part| own.next().is_some_and(|mine| mine == part || mine == "*"))
    }
}

/// All paths of a file, in order.
pub(crate) fn named(tokens: &[Token]) -> Vec<NamedPath> {
    let mut reader =
        Reader { tokens, next: 0, imports: BTreeMap::new(), paths: Vec::new(), used: Vec::new() };
    while reader.next < tokens.len() {
        reader.step();
    }
    let Reader { imports, mut paths, used, .. } = reader;
    paths.extend(used.into_iter().map(|path| resolve(path, &imports)));
    paths.sort_by_key(|path| path.line);
    paths
}

/// Puts what was imported before the rest of a path. An import may start with another one.
fn resolve(mut path: NamedPath, imports: &BTreeMap<String, Vec<String>>) -> NamedPath {
    let whole = path.parts.first().and_then(|first| imports.get(first));
    if let Some(whole) = whole.filter(|whole| whole.first() != path.parts.first()) {
        path.parts.splice(..1, whole.iter().cloned());
    }
    path
}

struct Reader<'a> {
    tokens: &'a [Token],
    next: usize,
    /// What each imported name stands for.
    imports: BTreeMap<String, Vec<String>>,
    /// The imports themselves.
    paths: Vec<NamedPath>,
    /// What code names, by whatever name it has there.
    used: Vec<NamedPath>,
}

impl Reader<'_> {
    fn step(&mut self) {
        if self.text(0) == "use" {
            self.next += 1;
            self.tree(&[]);
        } else if !is_word(self.text(0)) {
            self.next += 1;
        } else {
            let is_tail = self.next >= 2 && self.back(1) == ":" && self.back(2) == ":" && self.back(3) == ">";
            let line = self.line();
            let mut parts = self.words();
            if is_tail {
                // Behind `<T as Trait>::` stands a name of the trait's, whatever was imported.
                parts.insert(0, "<>".to_owned());
            }
            self.used.push(NamedPath { line, parts });
        }
    }

    /// Reads words with `::` between them; stops behind the last.
    fn words(&mut self) -> Vec<String> {
        let mut words = vec![self.text(0).to_owned()];
        self.next += 1;
        while self.is_separator() && is_word(self.text(2)) {
            words.push(self.text(2).to_owned());
            self.next += 3;
        }
        words
    }

    /// Reads one branch of an import, below `prefix`.
    fn tree(&mut self, prefix: &[String]) {
        let line = self.line();
        let mut parts = prefix.to_vec();
        if self.is_separator() {
            self.next += 2;
        }
        if is_word(self.text(0)) {
            parts.extend(self.words());
            if self.is_separator() {
                self.next += 2;
            }
        }
        match self.text(0) {
            "{" => return self.group(&parts),
            "*" => {
                self.next += 1;
                parts.push("*".to_owned());
            }
            _ => {}
        }
        if parts.len() > prefix.len().min(1) && parts.last().is_some_and(|last| last == "self") {
            parts.pop();
        }
        let mut name = parts.last().cloned().unwrap_or_default();
        if self.text(0) == "as" {
            name = self.text(1).to_owned();
            self.next += 2;
        }
        self.imports.insert(name, parts.clone());
        self.paths.push(NamedPath { line, parts });
    }

    fn group(&mut self, prefix: &[String]) {
        self.next += 1;
        while !matches!(self.text(0), "}" | "") {
            if self.text(0) == "," {
                self.next += 1;
            } else {
                let before = self.next;
                self.tree(prefix);
                // What is no branch is a macro's business; it must not hold the reader up.
                self.next = self.next.max(before + 1);
            }
        }
        self.next += 1;
    }

    fn is_separator(&self) -> bool {
        self.text(0) == ":" && self.text(1) == ":"
    }

    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.next + ahead).map_or("", |token| &token.text)
    }

    fn back(&self, steps: usize) -> &str {
        self.next.checked_sub(steps).and_then(|at| self.tokens.get(at)).map_or("", |token| &token.text)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.next).map_or(0, |token| token.line)
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|char: char| char.is_alphabetic() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tokens;

    /// The paths of more than one part.
    fn paths(code: &str) -> Vec<String> {
        let named = named(&tokens(code));
        named.iter().map(|path| path.parts.join("::")).filter(|path| path.contains("::")).collect()
    }

    #[test]
    fn import_trees_are_flattened() {
        assert_eq!(
            paths("use std::{fs::{self, File}, io as stream, time::*};\nuse ::tokio::time;"),
            ["std::fs", "std::fs::File", "std::io", "std::time::*", "tokio::time"]
        );
        assert_eq!(paths("pub(crate) use std::thread;"), ["std::thread"]);
    }

    #[test]
    fn imports_are_followed() {
        assert_eq!(
            paths("use std::time as clock;\nclock::Instant::now();"),
            ["std::time", "std::time::Instant::now"]
        );
        assert_eq!(paths("use std::thread::spawn;\nspawn(f);"), ["std::thread::spawn", "std::thread::spawn"]);
        assert_eq!(paths("use a::a;\na::b();\nC::Runtime::now()"), ["a::a", "a::b", "C::Runtime::now"]);
    }

    #[test]
    fn a_name_behind_a_trait_is_the_traits() {
        assert_eq!(paths("use rand::random;\n<X as Dice>::random()"), ["rand::random", "<>::random"]);
        assert_eq!(paths("fn f(x: Vec<std::fs::File>) {}"), ["std::fs::File"]);
    }

    #[test]
    fn whatever_is_no_import_ends() {
        assert_eq!(paths("impl Trait + use<'a, T> {}\nuse a::{$b, c};\nuse std::{"), ["a::b", "a::c"]);
    }

    #[test]
    fn a_path_is_below_its_start_and_a_glob_below_all() {
        let below = |path: &str, start: &str| {
            let parts = path.split("::").map(str::to_owned).collect();
            NamedPath { line: 0, parts }.is_below(start)
        };
        assert!(below("std::fs", "std::fs"));
        assert!(below("std::fs::File::open", "std::fs"));
        assert!(below("std::time::*", "std::time::Instant"));
        assert!(!below("std::time", "std::time::Instant"));
        assert!(!below("quorate::fs", "std::fs"));
    }
}

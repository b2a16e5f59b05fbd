//! The repository as the rules see it: what git tracks, read once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::source::Source;

/// Top-level folders that keep their own house: programs beside the workspace.
const OUTSIDE: &[&str] = &["bench", "fuzz"];

/// Endings of the files that are read as text.
const TEXT_ENDINGS: &[&str] =
    &["rs", "md", "toml", "proto", "sh", "yml", "yaml", "json", "html", "txt", "script", ".ci/run"];

/// All files that git tracks, except those of [`OUTSIDE`].
pub(crate) struct Repo {
    /// Each path, with `/` between its parts, and the text of the file; empty if it is not worth reading.
    pub(crate) texts: BTreeMap<String, String>,
    /// The Rust files, split into code and comments.
    pub(crate) sources: BTreeMap<String, Source>,
    /// The crates of the workspace.
    pub(crate) crates: Vec<Crate>,
}

/// A crate of the workspace.
pub(crate) struct Crate {
    /// Its folder.
    pub(crate) path: String,
    pub(crate) manifest: Manifest,
}

impl Crate {
    /// The name of its folder, which is that of the crate.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The path of one of its files.
    pub(crate) fn file(&self, path: &str) -> String {
        format!("{}/{path}", self.path)
    }

    /// Whether a path lies within it.
    pub(crate) fn holds(&self, path: &str) -> bool {
        path.strip_prefix(self.path.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Repo {
    /// Reads the repository that the working directory belongs to.
    pub(crate) fn read() -> Result<Repo, String> {
        let top = top()?;
        let top = Path::new(&top);
        let listing = git(&["-C", &top.to_string_lossy(), "ls-files", "-z"])?;
        let mut files = Vec::new();
        for path in listing.split('\0').filter(|path| !path.is_empty()) {
            let file = top.join(path);
            // Tracked, but removed from the work tree: as good as gone.
            if !file.is_file() {
                continue;
            }
            let mut text = String::new();
            if TEXT_ENDINGS.iter().any(|ending| path.ends_with(ending)) {
                text =
                    std::fs::read_to_string(&file).map_err(|error| format!("cannot read {path}: {error}"))?;
            }
            files.push((path.to_owned(), text));
        }
        Ok(Repo::from_files(files))
    }

    /// A repository of the given files: path and text.
    pub(crate) fn from_files(files: impl IntoIterator<Item = (String, String)>) -> Repo {
        let texts: BTreeMap<String, String> = files
            .into_iter()
            .filter(|(path, _)| !OUTSIDE.contains(&path.split('/').next().unwrap_or_default()))
            .collect();
        let crates = texts
            .iter()
            .filter_map(|(path, text)| {
                let folder = path.strip_suffix("/Cargo.toml")?;
                Some(Crate { path: folder.to_owned(), manifest: Manifest::parse(text) })
            })
            .collect();
        Repo { sources: sources(&texts), texts, crates }
    }
}

/// Splits the Rust files. A module that is declared for tests only is a test in its own file too.
fn sources(texts: &BTreeMap<String, String>) -> BTreeMap<String, Source> {
    let mut sources = BTreeMap::new();
    let mut test_roots: BTreeSet<String> = BTreeSet::new();
    for (path, text) in texts.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let source = Source::parse(text, is_test_place(path));
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let home = match file {
            "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
            _ => path.trim_end_matches(".rs").to_owned(),
        };
        test_roots.extend(source.test_modules.iter().map(|name| format!("{home}/{name}")));
        sources.insert(path.clone(), source);
    }
    for (path, source) in &mut sources {
        let module = path.trim_end_matches(".rs");
        let is_test = test_roots.iter().any(|root| {
            module.strip_prefix(root.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if is_test {
            source.test.fill(true);
        }
    }
    sources
}

/// Integration tests and benchmarks are tests by their place.
fn is_test_place(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    !parts.contains(&"src") && parts.iter().any(|part| matches!(*part, "tests" | "benches"))
}

/// The folder of the repository that the working directory belongs to.
pub(crate) fn top() -> Result<String, String> {
    Ok(git(&["rev-parse", "--show-toplevel"])?.trim_end().to_owned())
}

fn git(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run git, which lists the files to check: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "git {arguments:?} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        ));
    }
    String::from_utf8(output.stdout).map_err(|_| "git listed a path that is not UTF-8".to_owned())
}

/// As much of a `Cargo.toml` as the rules ask about: each `key = value` with its table and its line.
pub(crate) struct Manifest {
    pub(crate) entries: Vec<Entry>,
}

/// One `key = value`.
pub(crate) struct Entry {
    /// The table, as in `dev-dependencies`.
    pub(crate) table: String,
    pub(crate) key: String,
    pub(crate) value: String,
    /// From 0.
    pub(crate) line: usize,
}

impl Manifest {
    /// Reads line by line; the further lines of a value that spans several are left out.
    pub(crate) fn parse(text: &str) -> Manifest {
        let mut entries = Vec::new();
        let mut table = String::new();
        for (line, text) in text.lines().enumerate() {
            let text = text.trim();
            if text.starts_with('[') && text.ends_with(']') && !text.contains('=') {
                table = text.trim_matches(['[', ']']).trim().to_owned();
            } else if let Some((key, value)) = text.split_once('=').filter(|_| !text.starts_with('#')) {
                let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                entries.push(Entry { table: table.clone(), key, value, line });
            }
        }
        Manifest { entries }
    }

    /// Whether `[table]` holds `key = value`, or `key.value = true` for a value inherited that way.
    pub(crate) fn says(&self, table: &str, key: &str, value: &str) -> bool {
        self.entries.iter().any(|entry| entry.table == table && entry.key == key && entry.value == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_module_makes_its_files_tests() {
        let files = [
            ("crates/a/src/lib.rs", "#[cfg(test)]\nmod script;\nmod b;\n"),
            ("crates/a/src/script.rs", "fn f() {}\n"),
            ("crates/a/src/script/parse.rs", "fn f() {}\n"),
            ("crates/a/src/scripted.rs", "fn f() {}\n"),
            ("crates/a/src/b.rs", "#[cfg(test)]\nmod cases;\n"),
            ("crates/a/src/b/cases.rs", "fn f() {}\n"),
            ("crates/a/tests/all.rs", "fn f() {}\n"),
            ("crates/a/src/testing/store.rs", "fn f() {}\n"),
        ];
        let repo = Repo::from_files(files.map(|(path, text)| (path.to_owned(), text.to_owned())));
        let tests: Vec<&str> = repo
            .sources
            .iter()
            .filter(|(_, source)| source.is_test(0))
            .map(|(path, _)| path.as_str())
            .collect();
        let mut expected = [
            "crates/a/src/b.rs",
            "crates/a/src/b/cases.rs",
            "crates/a/src/lib.rs",
            "crates/a/src/script.rs",
            "crates/a/src/script/parse.rs",
            "crates/a/tests/all.rs",
        ];
        expected.sort_unstable();
        assert_eq!(tests, expected);
    }

    #[test]
    fn what_lies_outside_is_not_read() {
        let files = [("bench/src/main.rs", "x"), ("crates/a/benches/b.rs", "x")];
        let repo = Repo::from_files(files.map(|(path, text)| (path.to_owned(), text.to_owned())));
        assert_eq!(repo.texts.keys().collect::<Vec<_>>(), ["crates/a/benches/b.rs"]);
    }

    #[test]
    fn a_manifest_is_read_by_table() {
        let manifest =
            Manifest::parse("[package]\nversion.workspace = true\n# a = 1\n[lints]\nworkspace = true\n");
        assert!(manifest.says("package", "version.workspace", "true"));
        assert!(manifest.says("lints", "workspace", "true"));
        assert!(!manifest.says("package", "workspace", "true"));
        assert_eq!(manifest.entries.len(), 2);
    }
}

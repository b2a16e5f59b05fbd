//! `cargo xtask lines`: how much code there is, and how much of it is tests.

use crate::repo::Repo;

/// What one crate, or all of them, amount to, in lines.
#[derive(Default)]
struct Count {
    files: usize,
    /// Lines with code that is no test.
    code: usize,
    tests: usize,
    /// Lines with a comment alone, docs included.
    comments: usize,
}

impl Count {
    fn row(&self, name: &str) -> String {
        format!("{name:<16}{:>8}{:>8}{:>8}{:>10}\n", self.files, self.code, self.tests, self.comments)
    }
}

/// Prints the table.
pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    crate::expect_none(arguments)?;
    crate::print(&table(&Repo::read()?))?;
    Ok(true)
}

fn table(repo: &Repo) -> String {
    let mut text = format!("{:<16}{:>8}{:>8}{:>8}{:>10}\n", "crate", "files", "code", "tests", "comments");
    let mut total = Count::default();
    for each in &repo.crates {
        let mut count = Count::default();
        for (_, source) in repo.sources.iter().filter(|(path, _)| each.holds(path)) {
            count.files += 1;
            count.code += source.product_lines().count();
            count.tests += source.test_lines().count();
            let lines = source.code.iter().zip(&source.comments);
            count.comments += lines.filter(|(code, note)| is_blank(code) && !is_blank(note)).count();
        }
        text.push_str(&count.row(each.name()));
        total.files += count.files;
        total.code += count.code;
        total.tests += count.tests;
        total.comments += count.comments;
    }
    text.push_str(&total.row("all"));
    text
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_tests_and_comments_are_counted_apart() {
        let files = [
            ("crates/a/Cargo.toml", ""),
            (
                "crates/a/src/lib.rs",
                "//! Doc.\n\nfn f() {} // why\n\n#[cfg(test)]\nmod tests {\n    // Why.\n}\n",
            ),
            ("crates/a/tests/t.rs", "//! Doc.\nfn f() {}\n"),
            ("crates/ab/Cargo.toml", ""),
            ("crates/ab/src/lib.rs", "fn f() {\n}\n"),
        ];
        let repo = Repo::from_files(files.map(|(path, text)| (path.to_owned(), text.to_owned())));
        let rows: Vec<String> =
            table(&repo).lines().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(rows, ["crate files code tests comments", "a 2 1 4 3", "ab 1 2 0 0", "all 3 3 4 3"]);
    }
}

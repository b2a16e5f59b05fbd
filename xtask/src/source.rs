//! One Rust source file, split so that a rule can ask about code, comments or tests alone.
//!
//! The split is by a scanner that knows comments, strings and character literals, and nothing else of
//! the language. That is enough: a rule looks for words, attributes and matching braces.

use std::ops::Range;

use crate::paths::{self, NamedPath};

/// A Rust file with its code and its comments apart, line for line.
pub(crate) struct Source {
    /// The code of each line; comments, and what strings hold, are blanks.
    pub(crate) code: Vec<String>,
    /// The comments of each line, doc comments included; all else is blanks.
    pub(crate) comments: Vec<String>,
    /// Whether each line belongs to a test.
    pub(crate) test: Vec<bool>,
    /// Names of the modules that are declared here for tests only, and live in files of their own.
    pub(crate) test_modules: Vec<String>,
    /// Each function with a body.
    pub(crate) functions: Vec<Function>,
    /// Each path that the product's code names, imports included.
    pub(crate) paths: Vec<NamedPath>,
}

/// Where a function stands, from the line of its `fn` to that of its closing brace; lines count from 0.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) lines: Range<usize>,
}

impl Source {
    /// Reads a file. `all_test` says that its place already makes it a test.
    pub(crate) fn parse(text: &str, all_test: bool) -> Source {
        let (code, comments) = split(text);
        let tokens = tokens(&code);
        let code: Vec<String> = code.lines().map(str::to_owned).collect();
        let mut source = Source {
            comments: comments.lines().map(str::to_owned).collect(),
            test: vec![all_test; code.len()],
            test_modules: Vec::new(),
            functions: functions(&tokens),
            paths: Vec::new(),
            code,
        };
        source.mark_tests(&tokens);
        // What a test imports says nothing about the names that the product uses.
        let product: Vec<Token> = tokens.into_iter().filter(|token| !source.is_test(token.line)).collect();
        source.paths = paths::named(&product);
        source
    }

    /// The lines that hold code, by their numbers from 0.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().map(String::as_str).enumerate().filter(|(_, line)| !line.trim().is_empty())
    }

    /// The lines that hold code and belong to no test.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines().filter(|(line, _)| !self.is_test(*line))
    }

    /// The lines that hold code and belong to a test.
    pub(crate) fn test_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines().filter(|(line, _)| self.is_test(*line))
    }

    /// The lines of each block that only a seeded bug enters: behind `if` and a condition that begins with `mutant!`.
    pub(crate) fn seeded_bugs(&self) -> Vec<Range<usize>> {
        let tokens = tokens(&self.code.join("\n"));
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
        let starts =
            (0..tokens.len()).filter(|at| [0, 1, 2].map(|ahead| text(at + ahead)) == ["if", "mutant", "!"]);
        let blocks = starts.filter_map(|at| {
            let last = item_end(&tokens, at).checked_sub(1)?;
            Some(tokens.get(at)?.line + 1..tokens.get(last)?.line + 1)
        });
        blocks.collect()
    }

    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.test.get(line).copied().unwrap_or(false)
    }

    /// Finds the items behind `#[test]`, `#[cfg(test)]` and their like.
    fn mark_tests(&mut self, tokens: &[Token]) {
        let mut index = 0;
        while index < tokens.len() {
            let Some(attribute) = attribute(tokens, index) else {
                index += 1;
                continue;
            };
            if !attribute.is_test {
                index = attribute.end;
                continue;
            }
            let end = if attribute.is_inner { tokens.len() } else { item_end(tokens, attribute.end) };
            let item = tokens.get(attribute.end..end).unwrap_or_default();
            if item.last().is_some_and(|token| token.text == ";")
                && let Some(name) = item.iter().skip_while(|token| token.text != "mod").nth(1)
            {
                self.test_modules.push(name.text.clone());
            }
            let first = tokens.get(index).map_or(0, |token| token.line);
            let last = tokens.get(end.saturating_sub(1)).map_or(first, |token| token.line);
            self.test.iter_mut().take(last + 1).skip(first).for_each(|test| *test = true);
            index = end.max(index + 1);
        }
    }
}

/// Whether `line` holds `word` with no letter, digit or underscore at either side.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let in_word = |char: char| char.is_alphanumeric() || char == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line.get(start + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(in_word) && !after.is_some_and(in_word)
    })
}

/// A word, or a single other character, of the code.
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

pub(crate) fn tokens(code: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut word = String::new();
        for char in text.chars().chain([' ']) {
            if char.is_alphanumeric() || char == '_' {
                word.push(char);
                continue;
            }
            if !word.is_empty() {
                tokens.push(Token { text: std::mem::take(&mut word), line });
            }
            if !char.is_whitespace() {
                tokens.push(Token { text: char.to_string(), line });
            }
        }
    }
    tokens
}

/// An attribute that starts at a given token.
struct Attribute {
    /// The token behind its closing bracket.
    end: usize,
    is_inner: bool,
    is_test: bool,
}

fn attribute(tokens: &[Token], start: usize) -> Option<Attribute> {
    let at = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    if at(start) != "#" {
        return None;
    }
    let is_inner = at(start + 1) == "!";
    let open = start + 1 + usize::from(is_inner);
    if at(open) != "[" {
        return None;
    }
    let end = group_end(tokens, open);
    let words: Vec<&str> = (open + 1..end).map(at).collect();
    let is_test = match words.split_first() {
        // `any(test, feature = "…")` is there without the tests too.
        Some((&"cfg", rest)) => rest.contains(&"test") && !rest.contains(&"not") && !rest.contains(&"any"),
        Some((&"cfg_attr", _)) | None => false,
        // `#[test]`, `#[tokio::test(…)]`: the last word of the path.
        Some(_) => words.iter().take_while(|word| !matches!(**word, "(" | "=" | "]")).last() == Some(&"test"),
    };
    Some(Attribute { end, is_inner, is_test })
}

/// The token behind the group that opens at `open`, or the end of the file.
fn group_end(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

/// The token behind the item that starts at `start`: behind its body, or behind its semicolon.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut index = start;
    while let Some(token) = tokens.get(index) {
        match token.text.as_str() {
            "{" => return group_end(tokens, index),
            "(" | "[" => index = group_end(tokens, index),
            ";" => return index + 1,
            _ => index += 1,
        }
    }
    tokens.len()
}

fn functions(tokens: &[Token]) -> Vec<Function> {
    let mut functions = Vec::new();
    for (index, (word, name)) in tokens.iter().zip(tokens.iter().skip(1)).enumerate() {
        // `fn(` is a type and `fn $name` a macro's business; only a name makes a definition.
        let is_name = name.text.starts_with(|char: char| char.is_alphabetic() || char == '_');
        if word.text != "fn" || !is_name {
            continue;
        }
        let end = item_end(tokens, index);
        if let Some(last) = tokens.get(end.saturating_sub(1)).filter(|token| token.text == "}") {
            functions.push(Function { name: name.text.clone(), lines: word.line..last.line + 1 });
        }
    }
    functions
}

/// What the scanner is within.
enum Within {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

/// Splits a file into its code and its comments: two texts with the same lines and columns.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let mut split = Split { chars: &chars, next: 0, code: String::new(), comments: String::new() };
    let mut within = Within::Code;
    while split.next < chars.len() {
        within = match within {
            Within::Code => split.in_code(),
            Within::LineComment => split.in_line_comment(),
            Within::BlockComment { depth } => split.in_block_comment(depth),
            Within::Text => split.in_text(),
            Within::RawText { hashes } => split.in_raw_text(hashes),
        };
    }
    (split.code, split.comments)
}

struct Split<'a> {
    chars: &'a [char],
    next: usize,
    code: String,
    comments: String,
}

impl Split<'_> {
    fn in_code(&mut self) -> Within {
        if self.at("//") {
            return Within::LineComment;
        }
        if self.at("/*") {
            self.take_comment(2);
            return Within::BlockComment { depth: 1 };
        }
        if let Some((length, hashes)) = self.raw_text_opening() {
            self.take_code(length);
            return Within::RawText { hashes };
        }
        match self.peek(0) {
            Some('"') => {
                self.take_code(1);
                return Within::Text;
            }
            Some('\'') => self.take_quote(),
            _ => self.take_code(1),
        }
        Within::Code
    }

    fn in_line_comment(&mut self) -> Within {
        let ends = self.peek(0) == Some('\n');
        self.take_comment(1);
        if ends { Within::Code } else { Within::LineComment }
    }

    fn in_block_comment(&mut self, depth: usize) -> Within {
        if self.at("/*") {
            self.take_comment(2);
            return Within::BlockComment { depth: depth + 1 };
        }
        if self.at("*/") {
            self.take_comment(2);
            return if depth == 1 { Within::Code } else { Within::BlockComment { depth: depth - 1 } };
        }
        self.take_comment(1);
        Within::BlockComment { depth }
    }

    fn in_text(&mut self) -> Within {
        match self.peek(0) {
            Some('\\') => self.take_blank(2),
            Some('"') => {
                self.take_code(1);
                return Within::Code;
            }
            _ => self.take_blank(1),
        }
        Within::Text
    }

    fn in_raw_text(&mut self, hashes: usize) -> Within {
        let closes = self.peek(0) == Some('"') && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
        if closes {
            self.take_code(1 + hashes);
            return Within::Code;
        }
        self.take_blank(1);
        Within::RawText { hashes }
    }

    /// The length of `r"`, `br#"` and their like, and the number of hashes, if one starts here.
    fn raw_text_opening(&self) -> Option<(usize, usize)> {
        let before = self.next.checked_sub(1).and_then(|index| self.chars.get(index));
        if before.is_some_and(|char| char.is_alphanumeric() || *char == '_') {
            return None;
        }
        let prefix = usize::from(matches!(self.peek(0), Some('b' | 'c')));
        if self.peek(prefix) != Some('r') {
            return None;
        }
        let hashes = (prefix + 1..).take_while(|ahead| self.peek(*ahead) == Some('#')).count();
        let length = prefix + 1 + hashes;
        (self.peek(length) == Some('"')).then_some((length + 1, hashes))
    }

    /// Takes a character literal with its content blanked, or the quote of a lifetime.
    fn take_quote(&mut self) {
        let length = match (self.peek(1), self.peek(2)) {
            (Some('\\'), _) => {
                // The character behind the backslash may be a quote itself; the closing one comes later.
                (3..).find(|ahead| matches!(self.peek(*ahead), Some('\'') | None)).unwrap_or(3)
            }
            (Some(_), Some('\'')) => 2,
            _ => 0,
        };
        self.take_code(1);
        if length > 0 {
            self.take_blank(length - 1);
            self.take_code(1);
        }
    }

    fn take_code(&mut self, count: usize) {
        self.take(count, |char| (char, ' '));
    }

    fn take_comment(&mut self, count: usize) {
        self.take(count, |char| (' ', char));
    }

    fn take_blank(&mut self, count: usize) {
        self.take(count, |_| (' ', ' '));
    }

    fn take(&mut self, count: usize, place: fn(char) -> (char, char)) {
        for char in self.chars.iter().skip(self.next).take(count).copied() {
            let (code, comment) = if char == '\n' { ('\n', '\n') } else { place(char) };
            self.code.push(code);
            self.comments.push(comment);
        }
        self.next += count;
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.next + ahead).copied()
    }

    fn at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, char)| self.peek(ahead) == Some(char))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        split(text).0
    }

    #[test]
    fn comments_and_texts_are_not_code() {
        assert_eq!(code("a // b\nc"), "a     \nc");
        assert_eq!(code("a /* b /* c */ d */ e"), "a                   e");
        assert_eq!(code(r#"f("// x \" y", 1)"#), r#"f("         ", 1)"#);
        assert_eq!(code(r##"f(r#"a "b" c"#, 1)"##), r##"f(r#"       "#, 1)"##);
        assert_eq!(code("f(br\"\\\", 1)"), "f(br\" \", 1)");
    }

    #[test]
    fn a_lifetime_opens_no_literal() {
        assert_eq!(code("&'a str // '"), "&'a str     ");
        assert_eq!(code(r"('{', '\'', '\\', b'\n', '\u{7f}') {"), r"(' ', '  ', '  ', b'  ', '      ') {");
    }

    #[test]
    fn comments_keep_their_lines() {
        assert_eq!(split("a\n/* b\nc */ d // e\n").1, " \n/* b\nc */   // e\n");
    }

    #[test]
    fn tests_are_found_by_their_attribute() {
        let text =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[tokio::test]\nfn d() {}\n";
        assert_eq!(Source::parse(text, false).test, [false, true, true, true, true, false, true, true]);
        let other = "#[cfg(not(test))]\nfn a() {}\n#[cfg_attr(test, derive(Debug))]\nstruct B;\n";
        assert_eq!(Source::parse(other, false).test, [false; 4]);
        let shared = "#[cfg(any(test, feature = \"testing\"))]\nmod a;\n";
        assert_eq!(Source::parse(shared, false).test, [false; 2]);
        assert_eq!(Source::parse("#![cfg(test)]\nfn a() {}\n", false).test, [true; 2]);
    }

    #[test]
    fn a_test_module_in_its_own_file_is_named() {
        let source = Source::parse("#[cfg(test)]\n#[path = \"x.rs\"]\nmod scenario;\nmod other;\n", false);
        assert_eq!(source.test_modules, ["scenario"]);
        assert_eq!(source.test, [true, true, true, false]);
    }

    #[test]
    fn functions_end_at_their_own_brace() {
        let text = "trait T {\n    fn a(&self);\n    fn b(x: [u8; 2]) -> [u8; 2] {\n        if x { '}' }\n    }\n}\ntype F = fn(u8);\n";
        let found: Vec<(String, Range<usize>)> =
            Source::parse(text, false).functions.into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(found, [("b".to_owned(), 2..5)]);
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("use std::collections::HashMap;", "HashMap"));
        assert!(!has_word("MyHashMap HashMaps Hash_Map", "HashMap"));
    }
}

//! The table of what is different on purpose: `deliberate.txt`.
//!
//! A paragraph is one or more lines `missing <key>`, `different <key>` or `extra <key>`, then the reason, indented. A key that ends in
//! `*` stands for all that begin like it. `#` begins a comment.

use std::path::Path;

/// In which way something is not as listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Missing,
    Different,
    /// There, though the list does not have it, and in the way of code that knows only the list.
    Extra,
}

#[derive(Debug, Default)]
pub(crate) struct Deliberate {
    reasons: Vec<Reason>,
}

/// One paragraph.
#[derive(Debug, Default)]
struct Reason {
    patterns: Vec<Pattern>,
    text: String,
}

#[derive(Debug)]
struct Pattern {
    what: What,
    key: String,
    /// How many differences it has covered.
    covered: usize,
}

impl Deliberate {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        Self::parse(&crate::read(path)?).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut reasons: Vec<Reason> = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let error = |message: &str| format!("line {}: {message}: `{line}`", index + 1);
            if line.trim().is_empty() {
                continue;
            }
            if line.starts_with(' ') {
                let reason = reasons.last_mut().ok_or_else(|| error("a reason for nothing"))?;
                reason.text.push_str(line.trim());
                reason.text.push(' ');
                continue;
            }
            let (what, key) = match line.split_once(' ') {
                Some(("missing", key)) => (What::Missing, key),
                Some(("different", key)) => (What::Different, key),
                Some(("extra", key)) => (What::Extra, key),
                _ => return Err(error("neither `missing`, `different`, `extra` nor an indented reason")),
            };
            // The first key after a reason begins a paragraph.
            if reasons.last().is_none_or(|reason| !reason.text.is_empty()) {
                reasons.push(Reason::default());
            }
            if let Some(reason) = reasons.last_mut() {
                reason.patterns.push(Pattern { what, key: key.trim().to_owned(), covered: 0 });
            }
        }
        match reasons.iter().find(|reason| reason.text.is_empty()) {
            Some(reason) => Err(format!("no reason given: {:?}", reason.patterns)),
            None => Ok(Deliberate { reasons }),
        }
    }

    /// Whether a difference is on purpose.
    pub(crate) fn covers(&mut self, what: What, key: &str) -> bool {
        let patterns = self.reasons.iter_mut().flat_map(|reason| &mut reason.patterns);
        let mut covered = false;
        for pattern in patterns.filter(|pattern| pattern.what == what) {
            let fits = match pattern.key.strip_suffix('*') {
                Some(begin) => key.starts_with(begin),
                None => key == pattern.key,
            };
            pattern.covered += usize::from(fits);
            covered |= fits;
        }
        covered
    }

    /// Whether anything about this is different on purpose.
    pub(crate) fn covers_any(&mut self, key: &str) -> bool {
        // Both, as each notes what it covers.
        self.covers(What::Missing, key) | self.covers(What::Different, key)
    }

    /// The lines that covered nothing.
    pub(crate) fn unneeded(&self) -> Vec<String> {
        let patterns = self.reasons.iter().flat_map(|reason| &reason.patterns);
        let idle = patterns.filter(|pattern| pattern.covered == 0);
        idle.map(|pattern| format!("{} {}", pattern.what.word(), pattern.key)).collect()
    }

    /// For people: each reason with what it covers.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n== different on purpose: {} reasons\n", self.reasons.len());
        for reason in &self.reasons {
            for pattern in &reason.patterns {
                text.push_str(&format!(
                    "{:<10} {} ({})\n",
                    pattern.what.word(),
                    pattern.key,
                    pattern.covered
                ));
            }
            text.push_str(&format!("    {}\n", reason.text.trim()));
        }
        text
    }
}

impl What {
    fn word(self) -> &'static str {
        match self {
            What::Missing => "missing",
            What::Different => "different",
            What::Extra => "extra",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "# Comment.\nmissing a::*\ndifferent a::f\n    One\n    reason.\nmissing b\n    Another.\n";

    #[test]
    fn a_line_covers_what_it_names_and_is_needed_for_it() {
        let mut table = Deliberate::parse(TABLE).unwrap();
        assert!(table.covers(What::Missing, "a::b::c"));
        assert!(table.covers(What::Different, "a::f"));
        assert!(!table.covers(What::Different, "a::g") && !table.covers(What::Missing, "bb"));
        assert_eq!(table.unneeded(), ["missing b"]);
        assert!(table.table().contains("different  a::f (1)\n    One reason.\n"), "{}", table.table());
    }

    #[test]
    fn what_has_no_reason_is_refused() {
        assert!(Deliberate::parse("missing a\n\nmissing b\n").unwrap_err().contains("no reason"));
        assert!(Deliberate::parse("    why\n").unwrap_err().contains("line 1: a reason for nothing"));
        assert!(Deliberate::parse("absent a\n    why\n").unwrap_err().contains("line 1"));
    }
}

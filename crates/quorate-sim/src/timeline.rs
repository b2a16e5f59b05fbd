//! Lays a trace out as a timeline with a lane for each node.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::trace::Look;
use crate::trace::TraceLine;

/// The width of all lanes together, and what a lane has at the least and at the most.
const LANES_WIDTH: usize = 150;
const LANE_WIDTH_MIN: usize = 22;
const LANE_WIDTH_MAX: usize = 44;

/// The lanes of a timeline.
struct Lanes {
    /// The column of each node that something happened to.
    columns: BTreeMap<u64, usize>,
    width: usize,
    /// What each node was when it was last shown.
    looks: BTreeMap<u64, Look>,
}

/// The lines of a timeline: the simulated time in milliseconds, and what happened in the lane of whom it happened to.
/// Where a node's role, term or commit is another than in its last line, that follows in brackets, with the time on
/// its own clock.
pub fn draw(lines: &[TraceLine]) -> String {
    let nodes: std::collections::BTreeSet<u64> = lines.iter().filter_map(|line| line.node).collect();
    let columns: BTreeMap<u64, usize> = nodes.into_iter().zip(0..).collect();
    let width = LANES_WIDTH.checked_div(columns.len()).unwrap_or(LANES_WIDTH);
    let mut lanes =
        Lanes { columns, width: width.clamp(LANE_WIDTH_MIN, LANE_WIDTH_MAX), looks: BTreeMap::new() };
    let mut text = lanes.head();
    for line in lines {
        lanes.draw(line, &mut text);
    }
    text
}

impl Lanes {
    fn head(&self) -> String {
        let mut text = format!("{:>12}", "ms");
        for node in self.columns.keys() {
            let _ = write!(text, " | {:<width$}", format!("node {node}"), width = self.width);
        }
        let rule: String = text.chars().map(|c| if c == '|' { '+' } else { '-' }).collect();
        format!("{}\n{rule}\n", text.trim_end())
    }

    fn draw(&mut self, line: &TraceLine, text: &mut String) {
        let ms = format!("{:>12.3}", line.at_us as f64 / 1000.0);
        let column = line.node.and_then(|node| Some((node, *self.columns.get(&node)?)));
        let Some((node, column)) = column else {
            let _ = writeln!(text, "{ms} | == {}", line.text);
            return;
        };
        let mut cell = in_lane(node, &line.text);
        if let Some(look) = line.look
            && self.looks.get(&node).is_none_or(|before| is_other(before, &look))
        {
            self.looks.insert(node, look);
            let clock_ms = look.clock_us as f64 / 1000.0;
            let _ = write!(cell, " [{} t{} c{} @{clock_ms:.1}]", look.role, look.term, look.commit);
        }
        for (number, part) in wrap(&cell, self.width).into_iter().enumerate() {
            let _ = write!(text, "{}", if number == 0 { ms.as_str() } else { "            " });
            for _ in 0..column {
                let _ = write!(text, " | {:width$}", "", width = self.width);
            }
            let _ = writeln!(text, " | {part}");
        }
    }
}

fn is_other(before: &Look, now: &Look) -> bool {
    (before.role, before.term, before.commit) != (now.role, now.term, now.commit)
}

/// What a line says when its lane says whom it happened to.
fn in_lane(node: u64, text: &str) -> String {
    let own = format!("{node} ");
    if let Some(rest) = text.strip_prefix(&own) {
        return rest.to_owned();
    }
    let arrow = format!("->{node} ");
    match text.split_once(&arrow) {
        Some((from, rest)) if from.bytes().all(|byte| byte.is_ascii_digit()) => format!("<-{from} {rest}"),
        _ => text.to_owned(),
    }
}

/// Breaks a text between words into lines of `width`; a word that is longer has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let full = line.chars().count() + 1 + word.chars().count() > width;
        if full && !line.trim().is_empty() {
            lines.push(std::mem::replace(&mut line, " ".to_owned()));
        }
        line.push_str(if line.is_empty() { "" } else { " " });
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_us: u64, node: Option<u64>, role: &'static str, text: &str) -> TraceLine {
        let look = node.map(|_| Look { clock_us: at_us + 5_000, role, term: 3, commit: 7 });
        TraceLine { at_us, node, look, text: text.to_owned() }
    }

    #[test]
    fn each_node_has_its_lane() {
        let lines = [
            line(1_000, Some(1), "follower", "1 campaigns T3-N1"),
            line(1_500, Some(4), "follower", "1->4 vote T3-N1 last=-"),
            line(2_000, None, "", "all heals"),
            line(2_250, Some(1), "leader", "1 leads T3-N1"),
            line(2_500, Some(1), "leader", "1 commits T3-N1.7"),
        ];
        let pad = " ".repeat(LANE_WIDTH_MAX);
        let expected = [
            format!("          ms | {:<LANE_WIDTH_MAX$} | node 4", "node 1"),
            format!("-------------+-{}-+-{}", "-".repeat(LANE_WIDTH_MAX), "-".repeat(LANE_WIDTH_MAX)),
            "       1.000 | campaigns T3-N1 [follower t3 c7 @6.0]".to_owned(),
            format!("       1.500 | {pad} | <-1 vote T3-N1 last=- [follower t3 c7 @6.5]"),
            "       2.000 | == all heals".to_owned(),
            "       2.250 | leads T3-N1 [leader t3 c7 @7.2]".to_owned(),
            "       2.500 | commits T3-N1.7".to_owned(),
        ];
        assert_eq!(draw(&lines).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn long_texts_are_broken() {
        assert_eq!(wrap("one two three", 8), ["one two", "  three"]);
        assert_eq!(wrap("no abcdefghijklm no", 8), ["no", "  abcdefghijklm", "  no"]);
        assert_eq!(wrap("", 8), [""]);
    }
}

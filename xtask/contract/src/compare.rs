//! Compares what a list says with what a crate has.

use std::collections::BTreeSet;

use crate::deliberate::{Deliberate, What};
use crate::normal::Forms;
use crate::surface::Kind;

/// What came of one list, or of all.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Lines of the list; one item may have several, as it has several paths.
    pub(crate) lines: usize,
    /// Different items among them.
    items: usize,
    missing: Vec<String>,
    different: Vec<String>,
    /// What breaks the code of those who know only the list.
    extra: Vec<String>,
    deliberate: usize,
    deliberate_extra: usize,
}

impl Comparison {
    /// Compares a list with a crate. What is different on purpose is noted there as needed.
    ///
    /// `provided` are the items of traits, as `Trait::item`, that must have a default.
    pub(crate) fn of(
        theirs: &Forms,
        ours: &Forms,
        provided: &BTreeSet<String>,
        deliberate: &mut Deliberate,
    ) -> Self {
        let mut comparison = Comparison::default();
        for (key, form) in theirs {
            comparison.items += 1;
            let (what, message) = match ours.get(key) {
                // What a trait gives is there when the trait is implemented.
                None if form.kind == Kind::Function && implied(key, ours) => continue,
                None => (What::Missing, format!("missing    {key}\n             {}\n", form.text)),
                // Of another crate's item, a list says no more than the name.
                Some(_) if form.kind == Kind::Use => continue,
                Some(our) if our.text == form.text => continue,
                Some(our) => {
                    let message =
                        format!("different  {key}\n      list:  {}\n      ours:  {}\n", form.text, our.text);
                    (What::Different, message)
                }
            };
            if deliberate.covers(what, key) {
                comparison.deliberate += 1;
            } else if what == What::Missing {
                comparison.missing.push(message);
            } else {
                comparison.different.push(message);
            }
        }
        for (key, form) in ours.iter().filter(|(_, form)| form.closed) {
            let name = last_two(key);
            let in_the_way = match form.kind {
                _ if theirs.contains_key(key) => provided.contains(name),
                // A field counts only if the list shows that the struct has any.
                Kind::Field => owner(key).is_some_and(|owner| has_fields(owner, theirs)),
                // Of another crate's item, the list of that crate says what is in it.
                _ => owner(key)
                    .and_then(|owner| theirs.get(owner))
                    .is_some_and(|owner| owner.kind != Kind::Use),
            };
            if in_the_way && deliberate.covers(What::Extra, key) {
                comparison.deliberate_extra += 1;
            } else if in_the_way {
                let why = if theirs.contains_key(key) { "must have a default" } else { "is in no list" };
                comparison.extra.push(format!("extra      {key}\n             {why}: {}\n", form.text));
            }
        }
        comparison
    }

    pub(crate) fn add(&mut self, other: Comparison) {
        self.lines += other.lines;
        self.items += other.items;
        self.missing.extend(other.missing);
        self.different.extend(other.different);
        self.extra.extend(other.extra);
        self.deliberate += other.deliberate;
        self.deliberate_extra += other.deliberate_extra;
    }

    /// Whether nothing is missing or different but what is on purpose.
    pub(crate) fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.different.is_empty() && self.extra.is_empty()
    }

    /// All that is not as listed, but for what was said before, and the counts.
    pub(crate) fn report(&self, before: &Comparison) -> String {
        let fresh: Vec<&String> =
            self.said().filter(|one| !before.said().any(|other| other == *one)).collect();
        let mut text: String = fresh.iter().map(|message| message.as_str()).collect();
        let again = self.said().count() - fresh.len();
        if again > 0 {
            text.push_str(&format!("and {again} as above\n"));
        }
        text + &self.counts()
    }

    fn said(&self) -> impl Iterator<Item = &String> {
        self.missing.iter().chain(&self.different).chain(&self.extra)
    }

    pub(crate) fn counts(&self) -> String {
        let absent = self.missing.len() + self.different.len() + self.deliberate;
        format!(
            "{} lines, {} items: {} as listed, {} missing, {} different, {} different on purpose; \
             {} in the way, {} on purpose\n",
            self.lines,
            self.items,
            self.items.saturating_sub(absent),
            self.missing.len(),
            self.different.len(),
            self.deliberate,
            self.extra.len(),
            self.deliberate_extra,
        )
    }
}

fn implied(key: &str, ours: &Forms) -> bool {
    key.starts_with("impl ") && key.rsplit_once("::").is_some_and(|(block, _)| ours.contains_key(block))
}

fn owner(key: &str) -> Option<&str> {
    key.rsplit_once("::").map(|(owner, _)| owner)
}

/// `Trait::item` of a whole path.
fn last_two(key: &str) -> &str {
    key.rmatch_indices("::").nth(1).and_then(|(at, _)| key.get(at + 2..)).unwrap_or(key)
}

/// Whether a struct, or a variant, has fields in a list.
fn has_fields(owner: &str, theirs: &Forms) -> bool {
    let begin = format!("{owner}::");
    let below = theirs.range(begin.clone()..).take_while(|(key, _)| key.starts_with(&begin));
    below.into_iter().any(|(_, form)| form.kind == Kind::Field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list;
    use crate::normal::{Aliases, forms};

    fn compare(theirs: &str, ours: &str) -> Comparison {
        let forms = |text| forms(&list::read(text).unwrap(), &Aliases::default());
        let provided = BTreeSet::from(["E::Given".to_owned()]);
        Comparison::of(&forms(theirs), &forms(ours), &provided, &mut Deliberate::default())
    }

    #[test]
    fn what_is_missing_and_what_is_different_is_told_apart() {
        let found = compare(
            "pub mod a\npub fn a::f(u64)\npub fn a::g()\nimpl core::clone::Clone for a::S\npub fn a::S::clone(&self) -> Self",
            "pub mod a\npub fn a::f(u32)\npub fn a::h()\nimpl core::clone::Clone for a::S",
        );
        assert_eq!(found.missing, ["missing    a::g\n             fn() -> ()\n"]);
        assert_eq!(found.different.len(), 1);
        assert!(!found.is_clean());
        assert_eq!(
            found.counts(),
            "0 lines, 5 items: 3 as listed, 1 missing, 1 different, 0 different on purpose; \
             0 in the way, 0 on purpose\n"
        );
    }

    #[test]
    fn a_trait_that_is_not_implemented_is_missing_with_its_items() {
        let line = "impl core::clone::Clone for a::S\npub fn a::S::clone(&self) -> Self";
        assert_eq!(compare(line, "pub struct a::S").missing.len(), 2);
        assert!(compare(line, line).is_clean());
    }

    #[test]
    fn what_breaks_other_peoples_code_is_told() {
        let list = "pub enum a::E\npub a::E::One\npub struct a::S\npub a::S::x: u64\npub struct a::T";
        let ours = format!(
            "{list}\npub a::E::Two\npub struct a::S\npub a::S::y: u64\npub struct a::T\npub a::T::z: u64"
        );
        let found = compare(list, &ours);
        let keys: Vec<_> =
            found.extra.iter().filter_map(|message| message.split_whitespace().nth(1)).collect();
        assert_eq!(keys, ["a::E::Two", "a::S::y"], "of a::T, the list shows no field");
        assert!(!found.is_clean());
    }

    #[test]
    fn what_must_have_a_default_and_has_none_is_told() {
        // A variant stands for the item of a trait, of which a list does not say whether it has a default.
        let list = "pub enum a::E\npub a::E::Given\npub a::E::Other";
        assert!(compare(list, list).extra.iter().all(|message| message.contains("a::E::Given")));
        assert!(!compare(list, list).is_clean());
    }

    #[test]
    fn what_was_said_is_not_said_again() {
        let found = compare("pub mod a\npub mod b", "pub mod a");
        let mut before = Comparison::default();
        before.add(compare("pub mod b", ""));
        assert!(found.report(&before).starts_with("and 1 as above\n0 lines"));
    }
}

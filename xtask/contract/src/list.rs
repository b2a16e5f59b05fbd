//! Reads a list of the contract: one public item a line, as `cargo public-api` prints them, without the names
//! of arguments and without what `derive` wrote.

use std::collections::BTreeMap;

use crate::parse::{Parser, name_of};
use crate::surface::{Impl, Item, Kind, Surface};
use crate::ty::Ty;

/// The lines of a list for one set of features, without what marks them.
pub(crate) fn select(text: &str, all_features: bool) -> String {
    let other = if all_features { "- " } else { "+ " };
    let lines = text.lines().filter(|line| !line.starts_with(other));
    lines.filter_map(|line| line.get(2..)).collect::<Vec<_>>().join("\n")
}

/// Reads a list for a comparison. An error names the line that it does not understand.
pub(crate) fn read(text: &str) -> Result<Surface, String> {
    read_named(text, name_of)
}

/// Reads a list with the paths of types as they stand there.
pub(crate) fn read_paths(text: &str) -> Result<Surface, String> {
    read_named(text, |path| path.join("::"))
}

fn read_named(text: &str, name_of: fn(&[String]) -> String) -> Result<Surface, String> {
    let mut reader = Reader { surface: Surface::default(), open: None, owners: BTreeMap::new(), name_of };
    for (index, line) in text.lines().enumerate() {
        reader.line(line.trim()).map_err(|error| format!("line {}: {error}: {line}", index + 1))?;
    }
    Ok(reader.surface)
}

struct Reader {
    surface: Surface,
    /// The type of the impl whose items may follow, as the list writes it.
    open: Option<String>,
    /// The parameters of each struct, enum and trait by its path, and whether it is a trait.
    owners: BTreeMap<String, (Vec<String>, bool)>,
    /// What to call an item of this path.
    name_of: fn(&[String]) -> String,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        // The list's printer leaves out the colon of a bound on an associated type.
        let line = line.replace(", IntoIteropenraft_rt", ", IntoIter: openraft_rt");
        let mut line = line.as_str();
        while let Some(rest) = line.strip_prefix("#[") {
            line = rest.split_once(']').map_or("", |(_, rest)| rest).trim();
        }
        if line.is_empty() {
            return Ok(());
        }
        if line.starts_with("impl") {
            return self.impl_line(line);
        }
        let mut rest = line.strip_prefix("pub ").ok_or("neither `impl` nor `pub`")?;
        let mut words = Vec::new();
        for word in ["const", "async", "unsafe"] {
            if let Some(after) = rest.strip_prefix(word).and_then(|after| after.strip_prefix(' '))
                && after.trim_start_matches("async ").trim_start_matches("unsafe ").starts_with("fn ")
            {
                words.push(word);
                rest = after;
            }
        }
        let (kind, rest) = kind_of(rest);
        if let Some(name) = self.open.as_ref().and_then(|open| rest.strip_prefix(open.as_str()))
            && let Some(name) = name.strip_prefix("::")
        {
            return self.impl_item(kind, name, words);
        }
        self.open = None;
        let item = self.item(kind, rest, words)?;
        self.surface.items.push(item);
        Ok(())
    }

    fn impl_line(&mut self, line: &str) -> Result<(), String> {
        let mut parser = Parser::new(line, self.name_of)?;
        parser.expect("impl")?;
        let mut generics = parser.params()?;
        let mut begin = parser.position();
        let mut ty = parser.ty()?;
        let mut end = parser.position();
        let mut of = None;
        if parser.eat("for") {
            begin = parser.position();
            of = Some(std::mem::replace(&mut ty, parser.ty()?));
            end = parser.position();
        }
        parser.predicates(&mut generics)?;
        parser.finish()?;
        self.open = line.get(begin..end).map(|text| text.trim().to_owned());
        self.surface.impls.push(Impl { generics, of, ty, items: Vec::new() });
        Ok(())
    }

    fn impl_item(&mut self, kind: Kind, rest: &str, words: Vec<&'static str>) -> Result<(), String> {
        let block = self.surface.impls.last_mut().ok_or("an item of no impl")?;
        let mut parser = Parser::new(rest, self.name_of)?;
        parser.scope(&block.generics.params);
        let mut item = Item::new(kind, vec![parser.ident()?]);
        item.words = words;
        rest_of_item(&mut parser, &mut item)?;
        block.items.push(item);
        Ok(())
    }

    fn item(&mut self, kind: Kind, rest: &str, words: Vec<&'static str>) -> Result<Item, String> {
        let mut parser = Parser::new(rest, self.name_of)?;
        let mut path = vec![parser.ident()?];
        while parser.eat("::") {
            path.push(parser.ident()?);
        }
        let mut item = Item::new(kind, path);
        item.words = words;
        for depth in 1..=2 {
            let above = item.path.len().saturating_sub(depth);
            let owner = item.path.get(..above).map(|path| path.join("::"));
            if let Some((params, is_trait)) = owner.and_then(|owner| self.owners.get(&owner)) {
                item.owner = params.clone();
                item.in_trait = *is_trait;
                break;
            }
        }
        parser.scope(&item.owner);
        rest_of_item(&mut parser, &mut item)?;
        if matches!(kind, Kind::Struct | Kind::Enum | Kind::Trait) {
            let owner = (item.generics.params.clone(), kind == Kind::Trait);
            self.owners.insert(item.path.join("::"), owner);
        } else if kind == Kind::Field && item.ty.is_none() {
            item.kind = Kind::Variant;
        }
        item.closed = matches!(item.kind, Kind::Field | Kind::Variant);
        Ok(item)
    }
}

/// What kind of line it is, and what follows the word that says so.
fn kind_of(text: &str) -> (Kind, &str) {
    const WORDS: &[(&str, Kind)] = &[
        ("mod ", Kind::Module),
        ("extern crate ", Kind::Use),
        ("use ", Kind::Use),
        ("macro ", Kind::Macro),
        ("proc macro ", Kind::Macro),
        ("struct ", Kind::Struct),
        ("enum ", Kind::Enum),
        ("trait ", Kind::Trait),
        ("type ", Kind::Type),
        ("const ", Kind::Constant),
        ("fn ", Kind::Function),
    ];
    WORDS
        .iter()
        .find_map(|(word, kind)| text.strip_prefix(word).map(|rest| (*kind, rest)))
        .unwrap_or((Kind::Field, text))
}

/// What follows the name: parameters, arguments, bounds, type, where clause.
fn rest_of_item(parser: &mut Parser<'_>, item: &mut Item) -> Result<(), String> {
    item.generics = parser.params()?;
    if parser.eat("!") {
        return parser.finish();
    }
    if parser.eat("(") {
        item.inputs = parser.fields()?;
    }
    if parser.eat("->") {
        item.ty = Some(parser.ty()?);
    }
    parser.predicates(&mut item.generics)?;
    if parser.eat(":") {
        if matches!(item.kind, Kind::Field | Kind::Constant) {
            item.ty = Some(parser.ty()?);
        } else {
            item.bounds = parser.bounds()?;
        }
    }
    parser.predicates(&mut item.generics)?;
    if parser.eat("=") {
        let value = parser.ty_or_value()?;
        // The value of an enum's variant is not part of the comparison.
        if item.kind != Kind::Field {
            item.ty = Some(value.unwrap_or(Ty::Hidden));
        }
    }
    parser.predicates(&mut item.generics)?;
    parser.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_with_which_features_a_line_is_there() {
        let text = "  pub mod a\n+ pub mod a::b\n- pub mod a::c\n";
        assert_eq!(select(text, true), "pub mod a\npub mod a::b");
        assert_eq!(select(text, false), "pub mod a\npub mod a::c");
    }

    #[test]
    fn items_of_an_impl_are_told_from_those_that_follow_it() {
        let surface = read(
            "pub enum a::E<T>\npub a::E::One(T)\npub a::E::Two\npub a::E::Two::x: &'static T\nimpl<T> a::E<T>\n\
             pub const fn a::E<T>::new() -> Self\npub fn a::e() -> u64",
        );
        let surface = surface.unwrap();
        let kinds: Vec<_> = surface.items.iter().map(|item| (item.kind, item.name())).collect();
        use Kind::*;
        let expected = [(Enum, "E"), (Variant, "One"), (Variant, "Two"), (Field, "x"), (Function, "e")];
        assert_eq!(kinds, expected);
        assert_eq!(surface.items[1].owner, ["T"]);
        assert_eq!(surface.impls[0].items[0].words, ["const"]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let error = read("pub mod a\npub fn a::f(u64").unwrap_err();
        assert!(error.starts_with("line 2: ") && error.contains("pub fn a::f(u64"), "{error}");
        assert!(read("fn a::f()").unwrap_err().contains("neither"));
    }
}

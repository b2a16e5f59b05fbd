//! The normal form of an item: two items that mean the same to a caller print the same.
//!
//! | rule | why |
//! |---|---|
//! | names of our family by their last part, `leader_id_adv` and `leader_id_std` kept | one item has many paths |
//! | `core`, `alloc` and `std` are `std` | they re-export each other |
//! | aliases (`LogIdOf<C>`) are expanded | an alias is the type that it names |
//! | `<T as Trait>::Name` is `T::Name` | no type here has two of one name |
//! | parameters are numbered, those of an impl by first use | their names, and the order in an impl, bind nobody |
//! | bounds move to the where clause, sorted, once each | where they are written binds nobody |
//! | bounds that follow from others (supertraits, those of associated types) go | they add nothing |
//! | lifetimes of references go, except `'static` | how elision is spelled binds nobody |
//! | `OptionalSend` is `Send`, `OptionalSync` is `Sync` | they are, wherever the lists were made |
//! | `async fn` is `fn -> impl Future` | the same to a caller |
//! | `Send` of a future goes where the function has a body to show it | auto traits leak |
//! | `Self` in an impl is the type | the same |

use std::collections::BTreeMap;

use crate::surface::{Impl, Item, Kind, Surface};
use crate::ty::{Arg, Bound, Generics, Predicate, Ty, joined};

/// What is compared: each item by its key.
pub(crate) type Forms = BTreeMap<String, Form>;

/// One item in its normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) text: String,
    pub(crate) kind: Kind,
    /// See [`Item::closed`].
    pub(crate) closed: bool,
}

/// Type aliases by name: their parameters and what they stand for.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    known: BTreeMap<String, (Vec<String>, Ty)>,
    /// By trait: the traits that it implies.
    supers: BTreeMap<String, Vec<Bound>>,
    /// What the types of a type config are, by name.
    config: BTreeMap<String, Vec<Bound>>,
}

impl Aliases {
    /// Those among the items of a surface.
    pub(crate) fn learn(&mut self, surface: &Surface) {
        for item in &surface.items {
            match (item.kind, &item.ty) {
                (Kind::Type, Some(ty)) if !item.in_trait => {
                    self.known.insert(item.name().to_owned(), (item.generics.params.clone(), ty.clone()));
                }
                (Kind::Type, None)
                    if item.path.iter().rev().nth(1).is_some_and(|of| of == "RaftTypeConfig") =>
                {
                    self.config.insert(item.name().to_owned(), item.bounds.clone());
                }
                (Kind::Trait, _) => {
                    self.supers.insert(item.name().to_owned(), supertraits(item));
                }
                _ => {}
            }
        }
    }

    fn expand(&self, ty: &mut Ty) {
        for _ in 0..8 {
            let mut changed = false;
            ty.each(&mut |ty| changed |= self.expand_one(ty));
            if !changed {
                return;
            }
        }
    }

    fn expand_one(&self, ty: &mut Ty) -> bool {
        let Ty::Path { name, args } = ty else { return false };
        let Some((params, target)) = self.known.get(name) else { return false };
        let mut target = target.clone();
        let given: BTreeMap<&str, &Arg> = params.iter().map(String::as_str).zip(args.iter()).collect();
        target.each(&mut |part| {
            let replacement = match part {
                Ty::Param(name) => given.get(name.as_str()),
                _ => None,
            };
            if let Some(Arg::Ty(replacement)) = replacement {
                *part = replacement.clone();
            }
        });
        *ty = target;
        true
    }

    /// Whether `bound` follows from one of `others`.
    fn follows(&self, bound: &Bound, others: &[Bound], depth: usize) -> bool {
        depth < 6
            && others.iter().any(|other| match other {
                Bound::Trait { maybe: false, path: Ty::Path { name, .. } } => {
                    self.supers.get(name).or(known_supers(name).as_ref()).is_some_and(|supers| {
                        supers.contains(bound) || self.follows(bound, supers, depth + 1)
                    })
                }
                _ => false,
            })
    }
}

/// The supertraits of the standard library's traits that matter here.
fn known_supers(name: &str) -> Option<Vec<Bound>> {
    let supers: &[&str] = match name {
        "std::marker::Copy" => &["std::clone::Clone"],
        "std::cmp::Eq" => &["std::cmp::PartialEq"],
        "std::cmp::Ord" => &["std::cmp::Eq", "std::cmp::PartialOrd"],
        "std::cmp::PartialOrd" => &["std::cmp::PartialEq"],
        "std::error::Error" => &["std::fmt::Debug", "std::fmt::Display"],
        "std::clone::Clone" | "std::default::Default" => &["std::marker::Sized"],
        _ => return None,
    };
    let bound = |name: &&str| Bound::Trait { maybe: false, path: Ty::path(name, Vec::new()) };
    Some(supers.iter().map(bound).collect())
}

fn supertraits(item: &Item) -> Vec<Bound> {
    let of_self = |predicate: &&Predicate| predicate.ty == Ty::Param("Self".to_owned());
    let more = item.generics.predicates.iter().filter(of_self).flat_map(|predicate| &predicate.bounds);
    item.bounds.iter().chain(more).cloned().collect()
}

/// Brings a whole surface into its normal form.
pub(crate) fn forms(surface: &Surface, aliases: &Aliases) -> Forms {
    let mut forms = Forms::new();
    for item in &surface.items {
        let mut scope = Scope::new(aliases);
        scope.number(&item.owner, "I");
        let text = scope.item(item);
        let form = Form { text, kind: item.kind, closed: item.closed };
        forms.entry(item.path.join("::")).or_insert(form);
    }
    for block in &surface.impls {
        block_forms(block, aliases, &mut forms);
    }
    forms
}

fn add(forms: &mut Forms, key: String, text: String, kind: Kind) {
    forms.entry(key).or_insert(Form { text, kind, closed: false });
}

/// `Trait for Type`, or `Type` of an inherent impl.
pub(crate) fn block_key(block: &Impl, aliases: &Aliases) -> String {
    let (scope, ty, of) = block_scope(block, aliases);
    let ty = scope.ty(&ty);
    of.map_or_else(|| ty.clone(), |of| format!("{} for {ty}", scope.ty(&of)))
}

fn block_scope<'a>(block: &Impl, aliases: &'a Aliases) -> (Scope<'a>, Ty, Option<Ty>) {
    let mut scope = Scope::new(aliases);
    let (mut ty, mut of) = (block.ty.clone(), block.of.clone());
    aliases.expand(&mut ty);
    if let Some(of) = &mut of {
        aliases.expand(of);
    }
    let mut used = params_in(&mut ty);
    used.extend(of.iter_mut().flat_map(params_in));
    used.extend(block.generics.params.iter().cloned());
    scope.number(&used, "I");
    scope.this = Some(ty.clone());
    (scope, ty, of)
}

fn block_forms(block: &Impl, aliases: &Aliases, forms: &mut Forms) {
    let (mut scope, ty, of) = block_scope(block, aliases);
    match &of {
        Some(of) => {
            let key = format!("impl {} for {}", scope.ty(of), scope.ty(&ty));
            for item in &block.items {
                // What a method of a trait looks like is said at the trait.
                let text = if item.kind == Kind::Function { "fn".to_owned() } else { scope.item(item) };
                add(forms, format!("{key}::{}", item.name()), text, item.kind);
            }
            add(forms, key, scope.generics(&block.generics), Kind::Trait);
        }
        None => {
            for item in &block.items {
                // It does not matter which demands are the block's and which are the method's.
                let mut item = item.clone();
                item.generics.predicates.extend(block.generics.predicates.iter().cloned());
                let text = scope.item(&item);
                add(forms, format!("{}::{}", scope.ty(&ty), item.name()), text, item.kind);
            }
        }
    }
}

/// The parameters in a type in the order of their first use.
fn params_in(ty: &mut Ty) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    ty.each(&mut |ty| {
        if let Ty::Param(name) = ty
            && !names.contains(name)
        {
            names.push(name.clone());
        }
    });
    names
}

/// What names mean at one place.
struct Scope<'a> {
    aliases: &'a Aliases,
    names: BTreeMap<String, String>,
    /// What `Self` is, in an impl.
    this: Option<Ty>,
}

impl<'a> Scope<'a> {
    fn new(aliases: &'a Aliases) -> Self {
        Scope { aliases, names: BTreeMap::new(), this: None }
    }

    /// Gives the parameters the names `I0`, `I1`, … in this order.
    fn number(&mut self, params: &[String], letter: &str) {
        let mut next = 0;
        for param in params.iter().filter(|param| !param.starts_with('\'') && *param != "Self") {
            if self.names.get(param).is_none_or(|name| !name.starts_with(letter)) {
                self.names.insert(param.clone(), format!("{letter}{next}"));
                next += 1;
            }
        }
    }

    fn ty(&self, ty: &Ty) -> String {
        self.normal(ty).to_string()
    }

    fn normal(&self, ty: &Ty) -> Ty {
        let mut ty = ty.clone();
        if let Some(this) = &self.this {
            ty.each(&mut |part| {
                if *part == Ty::Param("Self".to_owned()) {
                    *part = this.clone();
                }
            });
        }
        self.aliases.expand(&mut ty);
        ty.each_lifetime(&mut |lifetime| {
            if lifetime != "'static" {
                *lifetime = "'_".to_owned();
            }
        });
        ty.each(&mut |part| self.normal_part(part));
        ty
    }

    fn normal_part(&self, part: &mut Ty) {
        match part {
            Ty::Path { name, args } if args.is_empty() && name == "std::marker::Send" => {
                *name = "OptionalSend".to_owned();
            }
            Ty::Path { name, args } if args.is_empty() && name == "std::marker::Sync" => {
                *name = "OptionalSync".to_owned();
            }
            Ty::Param(name) => {
                if let Some(new) = self.names.get(name) {
                    *name = new.clone();
                }
            }
            Ty::Projection { by, .. } => *by = None,
            Ty::Ref { lifetime, .. } if lifetime.as_deref() != Some("'static") => *lifetime = None,
            Ty::Impl(bounds) | Ty::Dyn(bounds) => {
                bounds.retain(|bound| *bound != Bound::Lifetime("'_".to_owned()));
                bounds.sort();
                bounds.dedup();
            }
            Ty::Path { args, .. } => {
                args.retain(|arg| *arg != Arg::Lifetime("'_".to_owned()));
                for arg in args {
                    if let Arg::Has(_, bounds) = arg {
                        bounds.sort();
                        bounds.dedup();
                    }
                }
            }
            _ => {}
        }
    }

    /// The bounds, without those that follow from each other or from `known`.
    fn bounds(&self, bounds: &[Bound], known: &[Bound]) -> Vec<Bound> {
        let mut bounds: Vec<Bound> = bounds
            .iter()
            .filter_map(|bound| match bound {
                Bound::Lifetime(name) => (name == "'static").then(|| bound.clone()),
                Bound::Trait { maybe, path } => Some(Bound::Trait { maybe: *maybe, path: self.normal(path) }),
            })
            .collect();
        bounds.sort();
        bounds.dedup();
        let mut all = bounds.clone();
        all.extend(known.iter().cloned());
        bounds.retain(|bound| !known.contains(bound) && !self.aliases.follows(bound, &all, 0));
        bounds
    }

    /// ` where A: X, B: Y`, or nothing.
    fn generics(&self, generics: &Generics) -> String {
        let mut merged: BTreeMap<String, Vec<Bound>> = BTreeMap::new();
        for predicate in &generics.predicates {
            merged.entry(self.ty(&predicate.ty)).or_default().extend(predicate.bounds.iter().cloned());
        }
        let lines: Vec<String> = merged
            .into_iter()
            .map(|(ty, bounds)| {
                let known = match ty.split_once("::") {
                    // Of a parameter, which is a type config if it has a type of this name.
                    Some((of, name)) if !of.contains('<') => self.aliases.config.get(name),
                    _ => None,
                };
                let bounds = self.bounds(&bounds, known.map_or(&[], Vec::as_slice));
                (ty, bounds)
            })
            .filter(|(_, bounds)| !bounds.is_empty())
            .map(|(ty, bounds)| format!("{ty}: {}", joined(&bounds, " + ")))
            .collect();
        if lines.is_empty() { String::new() } else { format!(" where {}", lines.join(", ")) }
    }

    fn item(&mut self, item: &Item) -> String {
        let names = self.names.clone();
        self.number(&item.generics.params, "T");
        let text = self.item_text(item);
        self.names = names;
        text
    }

    fn item_text(&self, item: &Item) -> String {
        let mut generics = item.generics.clone();
        let mut bounds = item.bounds.clone();
        if item.kind == Kind::Trait {
            bounds = supertraits(item);
            generics.predicates.retain(|predicate| predicate.ty != Ty::Param("Self".to_owned()));
        }
        let mut text = String::new();
        for word in item.words.iter().filter(|word| **word != "async") {
            text.push_str(word);
            text.push(' ');
        }
        text.push_str(item.kind.word());
        let params = item.generics.params.iter().filter(|name| !name.starts_with('\'')).count();
        if params > 0 {
            text.push_str(&format!("<{params}>"));
        }
        let bounds = self.bounds(&bounds, &[]);
        if !bounds.is_empty() {
            text.push_str(&format!(": {}", joined(&bounds, " + ")));
        }
        let inputs: Vec<String> = item.inputs.iter().map(|input| self.ty(input)).collect();
        match item.kind {
            Kind::Function => {
                text.push_str(&format!("({}) -> {}", inputs.join(", "), self.ty(&self.output(item))));
            }
            _ => {
                if !inputs.is_empty() && item.inputs.iter().any(|input| *input != Ty::Hidden) {
                    text.push_str(&format!("({})", inputs.join(", ")));
                }
                if let Some(ty) = &item.ty {
                    text.push_str(&format!(" = {}", self.ty(ty)));
                }
            }
        }
        text + &self.generics(&generics)
    }

    /// What a call gives: an async function gives a future.
    fn output(&self, item: &Item) -> Ty {
        let mut output = item.ty.clone().unwrap_or_else(Ty::unit);
        if item.words.contains(&"async") {
            let future = Ty::path("std::future::future::Future", vec![Arg::Is("Output".to_owned(), output)]);
            output = Ty::Impl(vec![Bound::Trait { maybe: false, path: future }]);
        }
        if let Ty::Impl(bounds) = &mut output
            && !item.in_trait
        {
            bounds.retain(|bound| !is_send(bound));
        }
        output
    }
}

fn is_send(bound: &Bound) -> bool {
    let Bound::Trait { path: Ty::Path { name, .. }, .. } = bound else { return false };
    name == "OptionalSend" || name == "std::marker::Send"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list;

    const ALIASES: &str = "pub type openraft::alias::TermOf<C> = <C as openraft::RaftTypeConfig>::Term\n\
                           pub trait openraft::NodeId: core::clone::Clone\n";

    fn forms_of(text: &str) -> BTreeMap<String, String> {
        let mut aliases = Aliases::default();
        aliases.learn(&list::read(ALIASES).unwrap());
        let forms = forms(&list::read(text).unwrap(), &aliases);
        forms.into_iter().map(|(key, form)| (key, form.text)).collect()
    }

    #[test]
    fn what_means_the_same_reads_the_same() {
        let same = [
            (
                "impl<C: openraft::Config, N> openraft::A<C> where N: Sized\npub async fn openraft::A<C>::f<'a, T: core::fmt::Debug>(&'a self, N, T) -> Self",
                "impl<X, D> quorate::inner::A<D> where D: openraft::Config, X: Sized\npub fn quorate::inner::A<D>::f<T>(&self, X, T) -> impl core::future::future::Future<Output = openraft::A<D>> + core::marker::Send where T: std::fmt::Debug",
            ),
            (
                "pub fn openraft::f<C>(alloc::vec::Vec<openraft::alias::TermOf<C>>)",
                "pub fn openraft::f<X>(std::vec::Vec<<X as quorate::RaftTypeConfig>::Term>) -> ()",
            ),
            (
                "pub struct openraft::S<N> where N: openraft::NodeId + core::clone::Clone",
                "pub struct openraft::S<N: openraft_rt::NodeId>(_)",
            ),
            (
                "pub trait openraft::T where Self: core::marker::Send + 'static",
                "pub trait openraft::T: 'static + openraft::OptionalSend",
            ),
        ];
        for (one, other) in same {
            assert_eq!(forms_of(one), forms_of(other));
        }
    }

    #[test]
    fn what_differs_reads_differently() {
        let lines = [
            "pub fn openraft::f<C>(&C)",
            "pub fn openraft::f<C>(&mut C)",
            "pub fn openraft::f<C: core::fmt::Debug>(&C)",
            "pub fn openraft::f<C, D>(&C)",
            "pub fn openraft::f<C>(&C) -> u64",
            "pub fn openraft::f<C>(&'static C)",
            "pub const fn openraft::f<C>(&C)",
            "pub fn openraft::f<C>(&openraft::alias::TermOf<C>)",
            "pub struct openraft::f<C>",
            "pub struct openraft::f<C>(pub C)",
        ];
        let texts: std::collections::BTreeSet<_> = lines.iter().map(|line| forms_of(line)).collect();
        assert_eq!(texts.len(), lines.len(), "{texts:#?}");
    }

    #[test]
    fn both_modes_of_leader_ids_stay_apart() {
        let adv = forms_of("pub fn openraft::f(openraft::vote::leader_id_adv::LeaderId<u64>)");
        assert_ne!(adv, forms_of("pub fn openraft::f(openraft::vote::leader_id_std::LeaderId<u64>)"));
        assert_eq!(adv, forms_of("pub fn openraft::f(openraft::impls::leader_id_adv::LeaderId<u64>)"));
    }
}

//! Writes code that uses each item of a list by its path, so that it does not compile when one is missing.
//!
//! Modules, types, traits, functions and variants are imported; fields are read; methods are called, in functions that
//! nobody calls, with arguments of the types that the list says; traits are asked of the types that have them. What
//! cannot be written that way, as the list does not say enough, is told apart and counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::deliberate::Deliberate;
use crate::normal::{self, Aliases};
use crate::surface::{Impl, Item, Kind, Surface};
use crate::ty::{Arg, Bound, Generics, Ty};

/// Where each type of the family can be named.
#[derive(Default)]
pub(crate) struct Paths {
    /// By crate and last name: the shortest public path.
    known: BTreeMap<(String, String), String>,
    public: BTreeSet<String>,
    /// Associated types with parameters of their own, which the lists leave out where they are used.
    generic: BTreeSet<String>,
    /// Traits with parameters, by path.
    traits: BTreeMap<String, Vec<String>>,
}

impl Paths {
    pub(crate) fn learn(&mut self, surface: &Surface) {
        for item in &surface.items {
            if item.in_trait {
                if item.kind == Kind::Type && !item.generics.params.is_empty() {
                    self.generic.insert(item.name().to_owned());
                }
                continue;
            }
            if !matches!(item.kind, Kind::Struct | Kind::Enum | Kind::Trait | Kind::Type) {
                continue;
            }
            let path = item.path.join("::");
            if item.kind == Kind::Trait && !item.generics.params.is_empty() {
                self.traits.insert(path.clone(), item.generics.params.clone());
            }
            let crate_name = item.path.first().cloned().unwrap_or_default();
            let short = self.known.entry((crate_name, key(&item.path))).or_insert_with(|| path.clone());
            // `openraft::error` is the old name of a module.
            let rank = |path: &str| (path.starts_with("openraft::error::"), path.len());
            if rank(&path) < rank(short) {
                short.clone_from(&path);
            }
            self.public.insert(path);
        }
    }

    /// How code names what a list calls by the path where it is defined.
    fn find(&self, path: &str) -> Option<String> {
        let parts: Vec<String> = path.split("::").map(str::to_owned).collect();
        let (first, last) = (parts.first()?.as_str(), parts.last()?);
        match first {
            _ if parts.len() == 1 || self.public.contains(path) => Some(path.to_owned()),
            "core" | "alloc" | "std" => Some(match path {
                "alloc::collections::btree::set::IntoIter" => {
                    "std::collections::btree_set::IntoIter".to_owned()
                }
                _ if path.starts_with("core::sync::atomic::") => path.to_owned(),
                // Below a module of the standard library, its files are private.
                _ => format!("std::{}::{last}", parts.get(1)?),
            }),
            "anyerror" => Some(format!("openraft::anyerror::{last}")),
            "futures_core" => Some(format!("futures_util::stream::{last}")),
            "tokio" if parts.get(1).is_some_and(|part| part == "io") => Some(format!("tokio::io::{last}")),
            _ => self.known.get(&(first.to_owned(), key(&parts))).cloned(),
        }
    }
}

/// The last name, with the mode for leader ids.
fn key(path: &[String]) -> String {
    let last = path.last().cloned().unwrap_or_default();
    let mode = path.iter().find(|part| part.starts_with("leader_id_"));
    mode.map_or(last.clone(), |mode| format!("{mode}::{last}"))
}

/// What was written for one list.
#[derive(Default)]
pub(crate) struct Code {
    /// Each use, with `NAME` where its name goes.
    pub(crate) uses: Vec<String>,
    /// How many items it uses.
    pub(crate) used: usize,
    /// Items that no code was found for.
    pub(crate) left: Vec<String>,
}

/// Writes code for a list. `surface` has the paths as the list has them, `normal` is the same list to compare.
pub(crate) fn write(
    surface: &Surface,
    normal: &Surface,
    aliases: &Aliases,
    paths: &Paths,
    deliberate: &mut Deliberate,
) -> Code {
    let owners = surface.items.iter().map(|item| (item.path.as_slice(), item)).collect();
    let writer = Writer { paths, owners };
    let mut code = Code::default();
    for item in &surface.items {
        code.add(&item.path.join("::"), || writer.item(item), deliberate);
    }
    for (block, normal) in surface.impls.iter().zip(&normal.impls) {
        let block_key = normal::block_key(normal, aliases);
        if block.of.is_some() {
            code.add(&format!("impl {block_key}"), || writer.block(block), deliberate);
            continue;
        }
        for item in &block.items {
            code.add(&format!("{block_key}::{}", item.name()), || writer.method(block, item), deliberate);
        }
    }
    code
}

impl Code {
    fn add(&mut self, key: &str, text: impl FnOnce() -> Option<String>, deliberate: &mut Deliberate) {
        if deliberate.covers_any(key) {
            return;
        }
        match text() {
            Some(text) if self.uses.contains(&text) => self.used += 1,
            Some(text) => {
                self.used += 1;
                self.uses.push(text);
            }
            None => self.left.push(key.to_owned()),
        }
    }
}

struct Writer<'a> {
    paths: &'a Paths,
    owners: BTreeMap<&'a [String], &'a Item>,
}

/// The pieces of one function.
#[derive(Default)]
struct Function {
    params: Vec<String>,
    predicates: Vec<String>,
    arguments: Vec<String>,
    output: Option<String>,
    body: String,
}

impl Function {
    /// Gives its argument back as something with these bounds, which holds only if it has them.
    fn gives_itself(&mut self, ty: &str, bounds: &str) {
        self.params.insert(0, "'x".to_owned());
        self.arguments.push(format!("x: &'x {ty}"));
        self.output = Some(format!("&'x (impl {bounds} + ?Sized)"));
        self.body = "x".to_owned();
    }

    fn text(self) -> String {
        let mut text = "fn NAME".to_owned();
        if !self.params.is_empty() {
            text.push_str(&format!("<{}>", self.params.join(", ")));
        }
        text.push_str(&format!("({})", self.arguments.join(", ")));
        if let Some(output) = self.output {
            text.push_str(&format!(" -> {output}"));
        }
        if !self.predicates.is_empty() {
            text.push_str(&format!(" where {}", self.predicates.join(", ")));
        }
        format!("{text} {{ {} }}", self.body)
    }
}

impl Writer<'_> {
    fn item(&self, item: &Item) -> Option<String> {
        let path = item.path.join("::");
        if item.in_trait {
            return self.of_trait(item);
        }
        match item.kind {
            Kind::Field => self.field(item),
            _ => Some(format!("use {path} as NAME;")),
        }
    }

    /// Reads a field of a struct, or of a variant.
    fn field(&self, item: &Item) -> Option<String> {
        let parent = item.path.get(..item.path.len().checked_sub(1)?)?;
        let (owner, is_variant) = match self.owners.get(parent)? {
            variant if variant.kind == Kind::Variant => {
                (self.owners.get(parent.get(..parent.len().checked_sub(1)?)?)?, true)
            }
            owner => (owner, false),
        };
        let scope = Scope::new(self.paths, "Self", &[&owner.generics]);
        let mut function = Function::default();
        scope.generics(&owner.generics, &mut function)?;
        let owner_ty = with_params(&owner.path.join("::"), &owner.generics.params);
        function.arguments.push(format!("x: &{owner_ty}"));
        function.body = match item.ty.as_ref().and_then(|ty| scope.ty(ty)) {
            _ if is_variant => {
                format!("if let {} {{ {}: _, .. }} = x {{}}", parent.join("::"), item.name())
            }
            Some(ty) => format!("let _: &{ty} = &x.{};", item.name()),
            None => format!("let _ = &x.{};", item.name()),
        };
        Some(function.text())
    }

    /// Uses a method, a type or a constant of a trait through a type that implements it.
    fn of_trait(&self, item: &Item) -> Option<String> {
        let owner = self.owners.get(item.path.get(..item.path.len().checked_sub(1)?)?)?;
        let scope = Scope::new(self.paths, "This", &[&owner.generics, &item.generics]);
        let mut function = Function::default();
        let path = owner.path.join("::");
        let of = with_params(&path, &owner.generics.params);
        function.params.push("This".to_owned());
        function.predicates.push(format!("This: {of}"));
        let mut demands = owner.generics.clone();
        demands.predicates.retain(|predicate| predicate.ty != Ty::Param("Self".to_owned()));
        scope.generics(&demands, &mut function)?;
        let place = format!("<This as {of}>");
        match item.kind {
            Kind::Type => {
                scope.generics(&item.generics, &mut function)?;
                let ty = with_params(&format!("{place}::{}", item.name()), &item.generics.params);
                if item.bounds.is_empty() {
                    function.arguments.push(format!("_: &{ty}"));
                } else {
                    function.gives_itself(&ty, &scope.bare_bounds(&item.bounds)?);
                }
                Some(function.text())
            }
            Kind::Function => scope.call(&place, item, function),
            _ => {
                function.body = format!("let _ = {place}::{};", item.name());
                Some(function.text())
            }
        }
    }

    /// Asks a trait of a type.
    fn block(&self, block: &Impl) -> Option<String> {
        let scope = Scope::new(self.paths, "Self", &[&block.generics]);
        let mut function = Function::default();
        scope.generics(&block.generics, &mut function)?;
        function.gives_itself(&scope.ty(&block.ty)?, &scope.ty(block.of.as_ref()?)?);
        Some(function.text())
    }

    /// Uses an item of an inherent impl.
    fn method(&self, block: &Impl, item: &Item) -> Option<String> {
        let scope = Scope::new(self.paths, "Self", &[&block.generics, &item.generics]);
        let this = scope.ty(&block.ty)?;
        let scope = Scope { this: &this, ..scope };
        let mut function = Function::default();
        scope.generics(&block.generics, &mut function)?;
        let place = format!("<{this}>");
        if item.kind == Kind::Function {
            return scope.call(&place, item, function);
        }
        function.body = format!("let _ = {place}::{};", item.name());
        Some(function.text())
    }
}

fn with_params(path: &str, params: &[String]) -> String {
    if params.is_empty() { path.to_owned() } else { format!("{path}<{}>", params.join(", ")) }
}

/// What can be named at one place.
struct Scope<'a> {
    paths: &'a Paths,
    /// How `Self` is written.
    this: &'a str,
    params: BTreeSet<String>,
}

impl<'a> Scope<'a> {
    fn new(paths: &'a Paths, this: &'a str, generics: &[&Generics]) -> Self {
        let params = generics.iter().flat_map(|generics| &generics.params);
        Scope { paths, this, params: params.cloned().collect() }
    }

    /// Calls a function with arguments of its types, and says what comes out where that can be said.
    fn call(&self, place: &str, item: &Item, mut function: Function) -> Option<String> {
        self.generics(&item.generics, &mut function)?;
        let types: Option<Vec<String>> = item.inputs.iter().map(|input| self.ty(input)).collect();
        let of_types: Vec<String> =
            item.generics.params.iter().filter(|name| !name.starts_with('\'')).cloned().collect();
        let implied = item.inputs.iter().any(is_opaque);
        let turbofish = if of_types.is_empty() || implied {
            String::new()
        } else {
            format!("::<{}>", of_types.join(", "))
        };
        let name = format!("{place}::{}{turbofish}", item.name());
        let Some(types) = types else {
            function.body = format!("let _ = {name};");
            return (!implied).then(|| function.text());
        };
        // The alias demands it, and what a signature names may be taken for granted there, but not here.
        if let Some(Ty::Path { name, args }) = &item.ty
            && name.starts_with("openraft::type_config::alias::")
        {
            let params = args.iter().filter_map(|arg| match arg {
                Arg::Ty(Ty::Param(name)) if of_types.contains(name) => Some(format!("{name}: 'static")),
                _ => None,
            });
            function.predicates.extend(params);
        }
        let names: Vec<String> = (0..types.len()).map(|index| format!("a{index}")).collect();
        function.arguments.extend(names.iter().zip(&types).map(|(name, ty)| format!("{name}: {ty}")));
        let call = format!("{name}({})", names.join(", "));
        let is_async = item.words.contains(&"async");
        function.body = match &item.ty {
            Some(ty) if is_async => self.awaited(ty, &call),
            None if is_async => format!("crate::future::<()>({call});"),
            Some(Ty::Impl(bounds)) => match bounds.iter().find_map(future_of) {
                Some(ty) => self.awaited(ty, &call),
                None => format!("let _ = {call};"),
            },
            Some(ty) if is_plain(ty) => match self.ty(ty) {
                Some(ty) => format!("let _: {ty} = {call};"),
                None => format!("let _ = {call};"),
            },
            Some(_) => format!("let _ = {call};"),
            None => format!("let () = {call};"),
        };
        Some(function.text())
    }

    fn awaited(&self, ty: &Ty, call: &str) -> String {
        match self.ty(ty) {
            Some(ty) if is_plain_text(&ty) => format!("crate::future::<{ty}>({call});"),
            _ => format!("let _ = {call};"),
        }
    }

    fn generics(&self, generics: &Generics, function: &mut Function) -> Option<()> {
        let lifetimes = generics.params.iter().filter(|name| name.starts_with('\'')).count();
        for (index, param) in generics.params.iter().enumerate() {
            // Lifetimes come before all types.
            let at = if index < lifetimes { 0 } else { function.params.len() };
            function.params.insert(at, param.clone());
        }
        for predicate in &generics.predicates {
            if matches!(&predicate.ty, Ty::Param(name) if name.starts_with('\'')) {
                continue;
            }
            let ty = self.ty(&predicate.ty)?;
            function.predicates.push(format!("{ty}: {}", self.bare_bounds(&predicate.bounds)?));
        }
        Some(())
    }

    fn bare_bounds(&self, bounds: &[Bound]) -> Option<String> {
        let bounds: Option<Vec<String>> = bounds
            .iter()
            .map(|bound| match bound {
                Bound::Lifetime(name) => self.lifetime(name),
                Bound::Trait { maybe, path } => {
                    Some(format!("{}{}", if *maybe { "?" } else { "" }, self.ty(path)?))
                }
            })
            .collect();
        Some(bounds?.join(" + "))
    }

    fn lifetime(&self, name: &str) -> Option<String> {
        let known = matches!(name, "'static" | "'_") || self.params.contains(name);
        known.then(|| name.to_owned())
    }

    fn ty(&self, ty: &Ty) -> Option<String> {
        Some(match ty {
            Ty::Param(name) if name == "Self" => self.this.to_owned(),
            Ty::Param(name) => name.clone(),
            Ty::Path { name, args } => {
                let path = self.paths.find(name)?;
                if args.is_empty() {
                    return Some(path);
                }
                if let (Some(Arg::Ty(Ty::Tuple(inputs))), true) = (args.first(), is_call(name)) {
                    let inputs: Option<Vec<String>> = inputs.iter().map(|input| self.ty(input)).collect();
                    let output = match args.get(1) {
                        Some(Arg::Is(_, output)) => self.ty(output)?,
                        _ => return None,
                    };
                    return Some(format!("{path}({}) -> {output}", inputs?.join(", ")));
                }
                let args: Option<Vec<String>> = args.iter().map(|arg| self.arg(arg)).collect();
                format!("{path}<{}>", args?.join(", "))
            }
            Ty::Projection { name, .. } if self.paths.generic.contains(name) => return None,
            Ty::Projection { of, by: Some(by), name } => {
                format!("<{} as {}>::{name}", self.ty(of)?, self.with_its_params(by)?)
            }
            Ty::Projection { of, by: None, name } => match of.as_ref() {
                Ty::Param(_) if !self.this.contains('<') => format!("{}::{name}", self.ty(of)?),
                _ => return None,
            },
            Ty::Ref { lifetime, mutable, to } => {
                let lifetime = match lifetime {
                    Some(name) => format!("{} ", self.lifetime(name)?),
                    None => String::new(),
                };
                format!("&{lifetime}{}{}", if *mutable { "mut " } else { "" }, self.ty(to)?)
            }
            Ty::Tuple(parts) => {
                let parts: Option<Vec<String>> = parts.iter().map(|part| self.ty(part)).collect();
                format!("({})", parts?.join(", "))
            }
            Ty::Slice(of) => format!("[{}]", self.ty(of)?),
            Ty::Array(of, len) => format!("[{}; {len}]", self.ty(of)?),
            Ty::Impl(bounds) => format!("impl {}", self.bare_bounds(bounds)?),
            Ty::Dyn(bounds) => format!("(dyn {})", self.bare_bounds(bounds)?),
            Ty::Never => "!".to_owned(),
            Ty::Pointer { .. } | Ty::Function(..) | Ty::Hidden => return None,
        })
    }

    /// A trait in a projection. The lists leave out its parameters; where they are used, they have the names that the
    /// trait gives them.
    fn with_its_params(&self, by: &Ty) -> Option<String> {
        let text = self.ty(by)?;
        match self.paths.traits.get(&text) {
            Some(params) if params.iter().all(|param| self.params.contains(param)) => {
                Some(with_params(&text, params))
            }
            Some(_) => None,
            None => Some(text),
        }
    }

    fn arg(&self, arg: &Arg) -> Option<String> {
        match arg {
            Arg::Lifetime(name) => self.lifetime(name),
            Arg::Ty(ty) => self.ty(ty),
            Arg::Is(name, ty) => Some(format!("{name} = {}", self.ty(ty)?)),
            Arg::Has(name, bounds) => Some(format!("{name}: {}", self.bare_bounds(bounds)?)),
        }
    }
}

/// Whether a trait is written with parentheses.
fn is_call(name: &str) -> bool {
    matches!(name.rsplit("::").next(), Some("Fn" | "FnMut" | "FnOnce"))
}

fn is_opaque(ty: &Ty) -> bool {
    let mut found = false;
    ty.clone().each(&mut |part| found |= matches!(part, Ty::Impl(_)));
    found
}

/// What a bound says that a future gives.
fn future_of(bound: &Bound) -> Option<&Ty> {
    let Bound::Trait { path: Ty::Path { name, args }, .. } = bound else { return None };
    let output = args.iter().find_map(|arg| match arg {
        Arg::Is(name, ty) if name == "Output" => Some(ty),
        _ => None,
    });
    if name.ends_with("::Future") { output } else { None }
}

/// Whether a type can be written again outside of the signature that it stands in.
fn is_plain(ty: &Ty) -> bool {
    let mut plain = !is_opaque(ty);
    ty.clone().each(&mut |part| plain &= !matches!(part, Ty::Ref { .. }));
    ty.clone().each_lifetime(&mut |name| plain &= name == "'static");
    plain
}

/// The same of a type as it is written.
fn is_plain_text(text: &str) -> bool {
    !text.contains('&') && !text.contains("impl ") && !text.contains("'_")
}

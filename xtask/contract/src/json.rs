//! Reads the public items of a crate from what rustdoc writes as JSON, with those that it re-exports from other
//! crates of the family as if they were its own.
#![expect(clippy::indexing_slicing, reason = "a member that JSON lacks is null")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::Build;
use crate::cargo::Workspace;
use crate::parse::name_of;
use crate::surface::{Impl, Item, Kind, Surface};
use crate::ty::{Arg, Bound, Generics, Predicate, Ty};

/// The versions of the format that this reader was tried with: of the stable toolchain, and of a later one.
const FORMATS: std::ops::RangeInclusive<u64> = 57..=60;

/// The crates of the family that one surface may draw from.
#[derive(Default)]
pub(crate) struct Family {
    crates: BTreeMap<String, Crate>,
}

/// One crate's JSON.
struct Crate {
    json: Value,
    /// The id of each item that has a path of its own.
    ids: BTreeMap<Vec<String>, String>,
}

impl Family {
    /// The crates of a build, and those of the library that they build upon.
    pub(crate) fn of(workspace: &Workspace, build: Build) -> Result<Self, String> {
        let mut family = Family::default();
        let library = if build == Build::Family { Build::Default } else { build };
        for build in BTreeSet::from([library, build]) {
            for file in workspace.document(build)? {
                family.add(&file)?;
            }
        }
        Ok(family)
    }

    /// Adds what rustdoc has written of a crate. An error says, too, that the format is one that this reader does
    /// not know.
    fn add(&mut self, file: &Path) -> Result<(), String> {
        let json: Value = serde_json::from_str(&crate::read(file)?)
            .map_err(|error| format!("{} is no JSON: {error}", file.display()))?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let format = json["format_version"].as_u64().unwrap_or_default();
        if !FORMATS.contains(&format) {
            return Err(format!(
                "rustdoc of this toolchain writes JSON of format {format}; this tool reads {} to {}. Run it with a \
                 toolchain of that age (`cargo +1.95 xtask contract`), or look through `json.rs` and raise `FORMATS`",
                FORMATS.start(),
                FORMATS.end()
            ));
        }
        let paths = json["paths"].as_object().ok_or("JSON without `paths`")?;
        let ids = paths
            .iter()
            .filter(|(_, path)| path["crate_id"] == 0)
            .map(|(id, path)| (strings(&path["path"]), id.clone()))
            .collect();
        self.crates.insert(name, Crate { json, ids });
        Ok(())
    }

    /// The public items of each crate, under its own name.
    pub(crate) fn surfaces(&self) -> Result<Vec<Surface>, String> {
        self.crates.keys().map(|name| self.surface(name, name)).collect()
    }

    /// The public items of a crate, under the name `root`.
    pub(crate) fn surface(&self, name: &str, root: &str) -> Result<Surface, String> {
        let krate = self.crates.get(name).ok_or_else(|| format!("no JSON of `{name}`"))?;
        let id = krate.json["root"].to_string();
        let mut walk = Walk { family: self, surface: Surface::default(), open: Vec::new() };
        walk.item(Place { krate, id: &id }, vec![root.to_owned()])?;
        for krate in self.crates.values() {
            walk.impls(krate)?;
        }
        Ok(walk.surface)
    }
}

/// An item of a crate.
#[derive(Clone, Copy)]
struct Place<'a> {
    krate: &'a Crate,
    id: &'a str,
}

impl<'a> Place<'a> {
    fn json(self) -> &'a Value {
        &self.krate.json["index"][self.id]
    }

    /// The same item where it is defined, if that is in the family.
    fn home(self, family: &'a Family) -> Option<Place<'a>> {
        if self.krate.json["index"].get(self.id).is_some() {
            return Some(self);
        }
        let path = strings(&self.krate.json["paths"][self.id]["path"]);
        let krate = family.crates.get(path.first()?)?;
        krate.ids.get(&path).map(|id| Place { krate, id })
    }
}

struct Walk<'a> {
    family: &'a Family,
    surface: Surface,
    /// The modules being walked, so that one that contains itself ends.
    open: Vec<(*const Crate, String)>,
}

impl<'a> Walk<'a> {
    fn item(&mut self, place: Place<'a>, path: Vec<String>) -> Result<(), String> {
        let json = place.json();
        let (kind, inner) = inner_of(json)?;
        let item_kind = match kind {
            "module" => return self.module(place, inner, path),
            "use" => return self.reexport(place, inner, path),
            "extern_crate" => Kind::Use,
            "macro" | "proc_macro" => Kind::Macro,
            "struct" | "union" => Kind::Struct,
            "enum" => Kind::Enum,
            "trait" => Kind::Trait,
            "function" => Kind::Function,
            "type_alias" => Kind::Type,
            "constant" | "static" => Kind::Constant,
            _ => return Ok(()),
        };
        let reader = Reader { krate: place.krate };
        let item = reader.item(item_kind, path.clone(), inner)?;
        let owner = item.generics.params.clone();
        self.surface.items.push(item);
        let hidden = inner["kind"]["plain"]["has_stripped_fields"] == true;
        let open_ended = json["attrs"].to_string().contains("non_exhaustive");
        for (name, _) in
            [("private fields", hidden), ("#[non_exhaustive]", open_ended)].iter().filter(|(_, is)| *is)
        {
            let mut below = path.clone();
            below.push((*name).to_owned());
            let mut item = Item::new(Kind::Field, below);
            item.closed = true;
            self.surface.items.push(item);
        }
        match item_kind {
            Kind::Struct => self.fields(place, &inner["kind"]["plain"]["fields"], &path, &owner)?,
            Kind::Enum => self.variants(place, &inner["variants"], &path, &owner)?,
            Kind::Trait => self.trait_items(place, &inner["items"], &path, &owner)?,
            _ => {}
        }
        Ok(())
    }

    fn module(&mut self, place: Place<'a>, inner: &'a Value, path: Vec<String>) -> Result<(), String> {
        let mark = (std::ptr::from_ref(place.krate), place.id.to_owned());
        if self.open.contains(&mark) {
            return Ok(());
        }
        self.open.push(mark);
        self.surface.items.push(Item::new(Kind::Module, path.clone()));
        self.children(place, inner, &path)?;
        self.open.pop();
        Ok(())
    }

    fn children(&mut self, place: Place<'a>, inner: &'a Value, path: &[String]) -> Result<(), String> {
        for id in ids(&inner["items"]) {
            let child = Place { krate: place.krate, id: &id };
            let name = child.json()["name"].as_str().unwrap_or_default();
            // What a user cannot name is not there; `use` has its name inside.
            let child = Place { krate: place.krate, id: self.keep(place.krate, &id) };
            if child.id.is_empty() {
                continue;
            }
            let mut below = path.to_vec();
            if !name.is_empty() {
                below.push(name.to_owned());
            }
            self.item(child, below)?;
        }
        Ok(())
    }

    /// The key of an item as its crate owns it, or nothing for an item that is not public.
    fn keep(&self, krate: &'a Crate, id: &str) -> &'a str {
        krate.json["index"].as_object().and_then(|index| index.get_key_value(id)).map_or("", |(key, _)| key)
    }

    fn reexport(&mut self, place: Place<'a>, inner: &'a Value, mut path: Vec<String>) -> Result<(), String> {
        let id = inner["id"].to_string();
        let key = place.krate.json["paths"]
            .as_object()
            .and_then(|paths| paths.get_key_value(&id))
            .or_else(|| place.krate.json["index"].as_object().and_then(|index| index.get_key_value(&id)))
            .map(|(key, _)| key.as_str());
        let home = key.and_then(|id| Place { krate: place.krate, id }.home(self.family));
        if inner["is_glob"] == true {
            let Some(home) = home else { return Ok(()) };
            let (_, module) = inner_of(home.json())?;
            let mark = (std::ptr::from_ref(home.krate), home.id.to_owned());
            if self.open.contains(&mark) {
                return Ok(());
            }
            self.open.push(mark);
            self.children(home, module, &path)?;
            self.open.pop();
            return Ok(());
        }
        path.push(inner["name"].as_str().unwrap_or_default().to_owned());
        match home {
            Some(home) => self.item(home, path),
            None => {
                self.surface.items.push(Item::new(Kind::Use, path));
                Ok(())
            }
        }
    }

    fn fields(
        &mut self,
        place: Place<'a>,
        fields: &Value,
        path: &[String],
        owner: &[String],
    ) -> Result<(), String> {
        for id in ids(fields) {
            self.member(place.krate, &id, path, owner, Kind::Field)?;
        }
        Ok(())
    }

    fn variants(
        &mut self,
        place: Place<'a>,
        variants: &Value,
        path: &[String],
        owner: &[String],
    ) -> Result<(), String> {
        for id in ids(variants) {
            self.member(place.krate, &id, path, owner, Kind::Variant)?;
            let json = &place.krate.json["index"][id.as_str()];
            let fields = &json["inner"]["variant"]["kind"]["struct"]["fields"];
            let mut below = path.to_vec();
            below.push(json["name"].as_str().unwrap_or_default().to_owned());
            self.fields(place, fields, &below, owner)?;
        }
        Ok(())
    }

    fn trait_items(
        &mut self,
        place: Place<'a>,
        items: &Value,
        path: &[String],
        owner: &[String],
    ) -> Result<(), String> {
        for id in ids(items) {
            let (kind, _) = inner_of(&place.krate.json["index"][id.as_str()])?;
            self.member(place.krate, &id, path, owner, associated(kind))?;
            if let Some(item) = self.surface.items.last_mut() {
                item.in_trait = true;
                let json = &place.krate.json["index"][id.as_str()]["inner"];
                let by_default =
                    json["function"]["has_body"] == true || !json["assoc_type"]["type"].is_null();
                item.closed = !by_default;
            }
        }
        Ok(())
    }

    fn member(
        &mut self,
        krate: &Crate,
        id: &str,
        path: &[String],
        owner: &[String],
        kind: Kind,
    ) -> Result<(), String> {
        let json = &krate.json["index"][id];
        let Some(name) = json["name"].as_str() else { return Ok(()) };
        let mut path = path.to_vec();
        path.push(name.to_owned());
        let (_, inner) = inner_of(json)?;
        let mut item = Reader { krate }.item(kind, path, inner)?;
        item.owner = owner.to_vec();
        item.closed = matches!(kind, Kind::Variant | Kind::Field);
        self.surface.items.push(item);
        Ok(())
    }

    /// All impl blocks of a crate, wherever they stand.
    fn impls(&mut self, krate: &Crate) -> Result<(), String> {
        let Some(index) = krate.json["index"].as_object() else { return Ok(()) };
        let reader = Reader { krate };
        for json in index.values() {
            let inner = &json["inner"]["impl"];
            if inner.is_null() || inner["is_synthetic"] == true || !inner["blanket_impl"].is_null() {
                continue;
            }
            let of = if inner["trait"].is_null() { None } else { Some(reader.named(&inner["trait"])?) };
            let mut items = Vec::new();
            for id in ids(&inner["items"]) {
                let json = &krate.json["index"][id.as_str()];
                if let Some(name) = json["name"].as_str() {
                    let (kind, inner) = inner_of(json)?;
                    items.push(reader.item(associated(kind), vec![name.to_owned()], inner)?);
                }
            }
            let (generics, ty) = (reader.generics(&inner["generics"])?, reader.ty(&inner["for"])?);
            self.surface.impls.push(Impl { generics, of, ty, items });
        }
        Ok(())
    }
}

fn associated(kind: &str) -> Kind {
    match kind {
        "assoc_type" => Kind::Type,
        "assoc_const" => Kind::Constant,
        _ => Kind::Function,
    }
}

/// The one member of an item's `inner`: its kind and what it holds.
fn inner_of(json: &Value) -> Result<(&str, &Value), String> {
    let inner = json["inner"].as_object().and_then(|inner| inner.iter().next());
    inner.map(|(kind, value)| (kind.as_str(), value)).ok_or_else(|| format!("no item: {json}"))
}

fn strings(json: &Value) -> Vec<String> {
    list(json).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn ids(json: &Value) -> Vec<String> {
    list(json).iter().filter(|id| !id.is_null()).map(Value::to_string).collect()
}

fn list(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}

/// Reads types and signatures of one crate.
struct Reader<'a> {
    krate: &'a Crate,
}

impl Reader<'_> {
    fn item(&self, kind: Kind, path: Vec<String>, inner: &Value) -> Result<Item, String> {
        let mut item = Item::new(kind, path);
        item.generics = self.generics(&inner["generics"])?;
        match kind {
            Kind::Function => {
                for (word, flag) in [("const", "is_const"), ("async", "is_async"), ("unsafe", "is_unsafe")] {
                    if inner["header"][flag] == true {
                        item.words.push(word);
                    }
                }
                for input in list(&inner["sig"]["inputs"]) {
                    item.inputs.push(self.ty(&input[1])?);
                }
                item.ty = self.option(&inner["sig"]["output"])?;
            }
            Kind::Trait => item.bounds = self.bounds(&inner["bounds"])?,
            Kind::Type => {
                item.bounds = self.bounds(&inner["bounds"])?;
                item.ty = self.option(&inner["type"])?;
            }
            Kind::Constant => item.ty = self.option(&inner["type"])?,
            Kind::Field => item.ty = Some(self.ty(inner)?),
            Kind::Variant | Kind::Struct => {
                for id in list(&inner["kind"]["tuple"]) {
                    let field = &self.krate.json["index"][id.to_string()]["inner"]["struct_field"];
                    item.inputs.push(if field.is_null() { Ty::Hidden } else { self.ty(field)? });
                }
            }
            Kind::Module | Kind::Use | Kind::Macro | Kind::Enum => {}
        }
        Ok(item)
    }

    fn generics(&self, json: &Value) -> Result<Generics, String> {
        let mut generics = Generics::default();
        for param in list(&json["params"]) {
            let ty = &param["kind"]["type"];
            if ty["is_synthetic"] == true {
                continue;
            }
            let name = param["name"].as_str().unwrap_or_default().to_owned();
            let bounds = self.bounds(&ty["bounds"])?;
            if !bounds.is_empty() {
                generics.predicates.push(Predicate { ty: Ty::Param(name.clone()), bounds });
            }
            generics.params.push(name);
        }
        for predicate in list(&json["where_predicates"]) {
            let bound = &predicate["bound_predicate"];
            if !bound.is_null() {
                let (ty, bounds) = (self.ty(&bound["type"])?, self.bounds(&bound["bounds"])?);
                generics.predicates.push(Predicate { ty, bounds });
            }
        }
        Ok(generics)
    }

    fn bounds(&self, json: &Value) -> Result<Vec<Bound>, String> {
        let mut bounds = Vec::new();
        for bound in list(json) {
            let of = &bound["trait_bound"];
            if !of.is_null() {
                bounds
                    .push(Bound::Trait { maybe: of["modifier"] == "maybe", path: self.named(&of["trait"])? });
            } else if let Some(lifetime) = bound["outlives"].as_str() {
                bounds.push(Bound::Lifetime(lifetime.to_owned()));
            }
        }
        Ok(bounds)
    }

    fn option(&self, json: &Value) -> Result<Option<Ty>, String> {
        if json.is_null() { Ok(None) } else { self.ty(json).map(Some) }
    }

    fn types(&self, json: &Value) -> Result<Vec<Ty>, String> {
        list(json).iter().map(|ty| self.ty(ty)).collect()
    }

    fn ty(&self, json: &Value) -> Result<Ty, String> {
        let Some((kind, inner)) = json.as_object().and_then(|json| json.iter().next()) else {
            return Err(format!("not a type: {json}"));
        };
        let name = || inner.as_str().unwrap_or_default().to_owned();
        let mutable = inner["is_mutable"] == true;
        Ok(match kind.as_str() {
            "resolved_path" => self.named(inner)?,
            "generic" => Ty::Param(name()),
            "primitive" if inner == "never" => Ty::Never,
            "primitive" => Ty::path(&name(), Vec::new()),
            "tuple" => Ty::Tuple(self.types(inner)?),
            "slice" => Ty::Slice(Box::new(self.ty(inner)?)),
            "array" => {
                let len = inner["len"].as_str().unwrap_or_default().to_owned();
                Ty::Array(Box::new(self.ty(&inner["type"])?), len)
            }
            "impl_trait" => Ty::Impl(self.bounds(inner)?),
            "dyn_trait" => {
                let mut bounds = Vec::new();
                for part in list(&inner["traits"]) {
                    bounds.push(Bound::Trait { maybe: false, path: self.named(&part["trait"])? });
                }
                bounds.extend(inner["lifetime"].as_str().map(|name| Bound::Lifetime(name.to_owned())));
                Ty::Dyn(bounds)
            }
            "raw_pointer" => Ty::Pointer { mutable, to: Box::new(self.ty(&inner["type"])?) },
            "borrowed_ref" => {
                let lifetime = inner["lifetime"].as_str().map(str::to_owned);
                Ty::Ref { lifetime, mutable, to: Box::new(self.ty(&inner["type"])?) }
            }
            "qualified_path" => {
                let name = inner["name"].as_str().unwrap_or_default().to_owned();
                Ty::Projection { of: Box::new(self.ty(&inner["self_type"])?), by: None, name }
            }
            "function_pointer" => {
                let mut inputs = Vec::new();
                for input in list(&inner["sig"]["inputs"]) {
                    inputs.push(self.ty(&input[1])?);
                }
                let output = self.option(&inner["sig"]["output"])?.unwrap_or_else(Ty::unit);
                Ty::Function(inputs, Box::new(output))
            }
            other => return Err(format!("unknown kind of type `{other}`: {json}")),
        })
    }

    /// A path with its arguments, to a type or a trait.
    fn named(&self, json: &Value) -> Result<Ty, String> {
        let mut path = strings(&self.krate.json["paths"][json["id"].to_string()]["path"]);
        if path.is_empty() {
            // An item that is reachable, but has no public path.
            path = json["path"].as_str().unwrap_or_default().split("::").map(str::to_owned).collect();
            path.insert(0, "quorate".to_owned());
        }
        let mut args = Vec::new();
        let given = &json["args"]["angle_bracketed"];
        for arg in list(&given["args"]) {
            if let Some(lifetime) = arg["lifetime"].as_str() {
                args.push(Arg::Lifetime(lifetime.to_owned()));
            } else if !arg["type"].is_null() {
                args.push(Arg::Ty(self.ty(&arg["type"])?));
            }
        }
        for constraint in list(&given["constraints"]) {
            let name = constraint["name"].as_str().unwrap_or_default().to_owned();
            let binding = &constraint["binding"];
            let ty = &binding["equality"]["type"];
            args.push(if ty.is_null() {
                Arg::Has(name, self.bounds(&binding["constraint"])?)
            } else {
                Arg::Is(name, self.ty(ty)?)
            });
        }
        let call = &json["args"]["parenthesized"];
        if !call.is_null() {
            args.push(Arg::Ty(Ty::Tuple(self.types(&call["inputs"])?)));
            args.push(Arg::Is("Output".to_owned(), self.option(&call["output"])?.unwrap_or_else(Ty::unit)));
        }
        Ok(Ty::Path { name: name_of(&path), args })
    }
}

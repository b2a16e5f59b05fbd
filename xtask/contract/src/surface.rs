//! The public items of a crate, in the same shape whether read from a list or from rustdoc.

use crate::ty::{Bound, Generics, Ty};

/// A crate's public items in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Surface {
    pub(crate) items: Vec<Item>,
    pub(crate) impls: Vec<Impl>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Module,
    /// A name for something of another crate, which is listed there if at all.
    Use,
    Macro,
    Struct,
    Enum,
    Field,
    Variant,
    Trait,
    Function,
    /// A type alias or an associated type.
    Type,
    Constant,
}

/// One item with all that its line says.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    /// From the root of the crate; within an [`Impl`], the name alone.
    pub(crate) path: Vec<String>,
    /// The parameters of what it belongs to: the trait of a method, the struct of a field.
    pub(crate) owner: Vec<String>,
    pub(crate) generics: Generics,
    /// What a trait or an associated type demands.
    pub(crate) bounds: Vec<Bound>,
    /// The arguments of a function, the fields of a tuple.
    pub(crate) inputs: Vec<Ty>,
    /// The type of a field, an alias or a constant, and what a function returns.
    pub(crate) ty: Option<Ty>,
    /// `const`, `async`, `unsafe`.
    pub(crate) words: Vec<&'static str>,
    /// Whether it is an item of a trait.
    pub(crate) in_trait: bool,
    /// Whether it stands in the way of those who do not know of it: a variant, a field, or an item of a trait that has
    /// no default. Lists do not say it.
    pub(crate) closed: bool,
}

/// One impl block.
#[derive(Debug, Clone)]
pub(crate) struct Impl {
    pub(crate) generics: Generics,
    /// The trait, unless it is inherent.
    pub(crate) of: Option<Ty>,
    pub(crate) ty: Ty,
    pub(crate) items: Vec<Item>,
}

impl Item {
    pub(crate) fn new(kind: Kind, path: Vec<String>) -> Self {
        Item {
            kind,
            path,
            owner: Vec::new(),
            generics: Generics::default(),
            bounds: Vec::new(),
            inputs: Vec::new(),
            ty: None,
            words: Vec::new(),
            in_trait: false,
            closed: false,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

impl Kind {
    /// As it is printed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Module => "mod",
            Kind::Use => "use",
            Kind::Macro => "macro",
            Kind::Struct => "struct",
            Kind::Enum => "enum",
            Kind::Field => "field",
            Kind::Variant => "variant",
            Kind::Trait => "trait",
            Kind::Function => "fn",
            Kind::Type => "type",
            Kind::Constant => "const",
        }
    }
}

//! Types, bounds and generics, as much of them as public signatures have, and their one normal form.
//!
//! Two signatures that mean the same to a caller print the same once `Scope` has
//! renamed their parameters; the rules are listed in [`normal`](crate::normal).

use std::fmt;

/// A type as it stands in a signature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ty {
    /// A named type or trait with its arguments.
    Path {
        name: String,
        args: Vec<Arg>,
    },
    /// A generic parameter, or `Self`.
    Param(String),
    /// An associated type: `<T as By>::Item`, or `T::Item`.
    Projection {
        of: Box<Ty>,
        by: Option<Box<Ty>>,
        name: String,
    },
    Ref {
        lifetime: Option<String>,
        mutable: bool,
        to: Box<Ty>,
    },
    Pointer {
        mutable: bool,
        to: Box<Ty>,
    },
    Tuple(Vec<Ty>),
    Slice(Box<Ty>),
    Array(Box<Ty>, String),
    Impl(Vec<Bound>),
    Dyn(Vec<Bound>),
    Function(Vec<Ty>, Box<Ty>),
    Never,
    /// What a list does not show: a private field.
    Hidden,
}

/// What stands between angle brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arg {
    Lifetime(String),
    Ty(Ty),
    /// `Item = T`
    Is(String, Ty),
    /// `Item: Bound`
    Has(String, Vec<Bound>),
}

/// What a type must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bound {
    Lifetime(String),
    /// A trait, or with `maybe` one that need not hold (`?Sized`).
    Trait {
        maybe: bool,
        path: Ty,
    },
}

/// One line of a where clause.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Predicate {
    pub(crate) ty: Ty,
    pub(crate) bounds: Vec<Bound>,
}

/// The parameters of an item and what they must be, wherever that was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Generics {
    /// Names in the order of declaration; lifetimes begin with `'`.
    pub(crate) params: Vec<String>,
    pub(crate) predicates: Vec<Predicate>,
}

impl Ty {
    pub(crate) fn path(name: &str, args: Vec<Arg>) -> Ty {
        Ty::Path { name: name.to_owned(), args }
    }

    pub(crate) fn unit() -> Ty {
        Ty::Tuple(Vec::new())
    }

    /// Calls `f` on this type and all within, inner ones first.
    pub(crate) fn each(&mut self, f: &mut dyn FnMut(&mut Ty)) {
        match self {
            Ty::Path { args, .. } => args.iter_mut().for_each(|arg| arg.each(f)),
            Ty::Projection { of, by, .. } => {
                of.each(f);
                if let Some(by) = by {
                    by.each(f);
                }
            }
            Ty::Ref { to, .. } | Ty::Pointer { to, .. } | Ty::Slice(to) | Ty::Array(to, _) => to.each(f),
            Ty::Tuple(parts) => parts.iter_mut().for_each(|part| part.each(f)),
            Ty::Impl(bounds) | Ty::Dyn(bounds) => bounds.iter_mut().for_each(|bound| bound.each(f)),
            Ty::Function(inputs, output) => {
                inputs.iter_mut().for_each(|input| input.each(f));
                output.each(f);
            }
            Ty::Param(_) | Ty::Never | Ty::Hidden => {}
        }
        f(self);
    }

    /// Calls `f` with each lifetime that is named in this type.
    pub(crate) fn each_lifetime(&mut self, f: &mut dyn FnMut(&mut String)) {
        self.each(&mut |ty| match ty {
            Ty::Ref { lifetime: Some(lifetime), .. } => f(lifetime),
            Ty::Path { args, .. } => args.iter_mut().for_each(|arg| match arg {
                Arg::Lifetime(lifetime) => f(lifetime),
                Arg::Has(_, bounds) => lifetimes_of(bounds, f),
                Arg::Ty(_) | Arg::Is(..) => {}
            }),
            Ty::Impl(bounds) | Ty::Dyn(bounds) => lifetimes_of(bounds, f),
            _ => {}
        });
    }
}

fn lifetimes_of(bounds: &mut [Bound], f: &mut dyn FnMut(&mut String)) {
    for bound in bounds {
        if let Bound::Lifetime(lifetime) = bound {
            f(lifetime);
        }
    }
}

impl Arg {
    fn each(&mut self, f: &mut dyn FnMut(&mut Ty)) {
        match self {
            Arg::Lifetime(_) => {}
            Arg::Ty(ty) | Arg::Is(_, ty) => ty.each(f),
            Arg::Has(_, bounds) => bounds.iter_mut().for_each(|bound| bound.each(f)),
        }
    }
}

impl Bound {
    pub(crate) fn each(&mut self, f: &mut dyn FnMut(&mut Ty)) {
        if let Bound::Trait { path, .. } = self {
            path.each(f);
        }
    }
}

/// Writes the parts with a separator between them.
pub(crate) fn joined<T: fmt::Display>(parts: &[T], separator: &str) -> String {
    parts.iter().map(T::to_string).collect::<Vec<_>>().join(separator)
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ty::Path { name, args } if args.is_empty() => f.write_str(name),
            Ty::Path { name, args } => write!(f, "{name}<{}>", joined(args, ", ")),
            Ty::Param(name) => f.write_str(name),
            Ty::Projection { of, by: Some(by), name } => write!(f, "<{of} as {by}>::{name}"),
            Ty::Projection { of, by: None, name } => write!(f, "{of}::{name}"),
            Ty::Ref { lifetime, mutable, to } => {
                f.write_str("&")?;
                if let Some(lifetime) = lifetime {
                    write!(f, "{lifetime} ")?;
                }
                write!(f, "{}{to}", if *mutable { "mut " } else { "" })
            }
            Ty::Pointer { mutable, to } => write!(f, "*{} {to}", if *mutable { "mut" } else { "const" }),
            Ty::Tuple(parts) => write!(f, "({})", joined(parts, ", ")),
            Ty::Slice(of) => write!(f, "[{of}]"),
            Ty::Array(of, len) => write!(f, "[{of}; {len}]"),
            Ty::Impl(bounds) => write!(f, "impl {}", joined(bounds, " + ")),
            Ty::Dyn(bounds) => write!(f, "dyn {}", joined(bounds, " + ")),
            Ty::Function(inputs, output) => write!(f, "fn({}) -> {output}", joined(inputs, ", ")),
            Ty::Never => f.write_str("!"),
            Ty::Hidden => f.write_str("_"),
        }
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arg::Lifetime(name) => f.write_str(name),
            Arg::Ty(ty) => write!(f, "{ty}"),
            Arg::Is(name, ty) => write!(f, "{name} = {ty}"),
            Arg::Has(name, bounds) => write!(f, "{name}: {}", joined(bounds, " + ")),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Lifetime(name) => f.write_str(name),
            Bound::Trait { maybe: true, path } => write!(f, "?{path}"),
            Bound::Trait { maybe: false, path } => write!(f, "{path}"),
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.ty, joined(&self.bounds, " + "))
    }
}

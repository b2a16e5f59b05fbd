//! A parser for the types, bounds and generics in the lines of a list.

use crate::ty::{Arg, Bound, Generics, Predicate, Ty};

pub(crate) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, &'a str)>,
    at: usize,
    /// Names that are parameters here.
    params: Vec<String>,
    /// What to call an item of this path.
    name_of: fn(&[String]) -> String,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str, name_of: fn(&[String]) -> String) -> Result<Self, String> {
        Ok(Parser { text, tokens: tokens(text)?, at: 0, params: vec!["Self".to_owned()], name_of })
    }

    /// Brings parameters of an outer item into scope.
    pub(crate) fn scope(&mut self, params: &[String]) {
        self.params.extend(params.iter().cloned());
    }

    /// Where the next token begins, in bytes.
    pub(crate) fn position(&self) -> usize {
        self.tokens.get(self.at).map_or(self.text.len(), |(begin, _)| *begin)
    }

    fn peek(&self) -> &'a str {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> &'a str {
        self.tokens.get(self.at + by).map_or("", |(_, token)| token)
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.at += 1;
        token
    }

    pub(crate) fn eat(&mut self, token: &str) -> bool {
        let found = self.peek() == token;
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected `{token}`, found `{}`", self.peek())) }
    }

    pub(crate) fn finish(&self) -> Result<(), String> {
        match self.peek() {
            "" => Ok(()),
            token => Err(format!("did not expect `{token}`")),
        }
    }

    pub(crate) fn ident(&mut self) -> Result<String, String> {
        let token = self.next();
        if token.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            Ok(token.to_owned())
        } else {
            Err(format!("expected a name, found `{token}`"))
        }
    }

    /// `<'a, T: Bound, const N: usize>`, or nothing. The names come into scope.
    pub(crate) fn params(&mut self) -> Result<Generics, String> {
        let mut generics = Generics::default();
        if !self.eat("<") {
            return Ok(generics);
        }
        let mut depth = 1;
        // The bounds of one parameter may name the next, so all names come into scope first.
        let names = self.tokens.iter().skip(self.at).scan(true, |fresh, (_, token)| {
            match *token {
                "<" => depth += 1,
                ">" => depth -= 1,
                _ => {}
            }
            let name = (*fresh && depth == 1).then(|| (*token).to_owned());
            *fresh = depth == 1 && *token == ",";
            (depth > 0).then_some(name)
        });
        let names: Vec<String> = names.flatten().collect();
        self.params.extend(names.iter().cloned());
        while !self.eat(">") {
            let constant = self.eat("const");
            let name = self.next().to_owned();
            if constant {
                // Its type is not compared.
                self.expect(":")?;
                self.ty()?;
            } else if self.eat(":") {
                let bounds = self.bounds()?;
                generics.predicates.push(Predicate { ty: Ty::Param(name.clone()), bounds });
            }
            if self.eat("=") {
                self.ty()?;
            }
            generics.params.push(name);
            self.eat(",");
        }
        Ok(generics)
    }

    /// `where T: Bound, …`, or nothing.
    pub(crate) fn predicates(&mut self, generics: &mut Generics) -> Result<(), String> {
        if !self.eat("where") {
            return Ok(());
        }
        loop {
            let ty = if self.peek().starts_with('\'') {
                Ty::Param(self.next().to_owned())
            } else {
                self.for_lifetimes()?;
                self.ty()?
            };
            self.expect(":")?;
            let bounds = self.bounds()?;
            generics.predicates.push(Predicate { ty, bounds });
            if !self.eat(",") {
                return Ok(());
            }
        }
    }

    pub(crate) fn bounds(&mut self) -> Result<Vec<Bound>, String> {
        let mut bounds = Vec::new();
        loop {
            if self.peek().starts_with('\'') {
                bounds.push(Bound::Lifetime(self.next().to_owned()));
            } else {
                let maybe = self.eat("?");
                self.for_lifetimes()?;
                bounds.push(Bound::Trait { maybe, path: self.ty()? });
            }
            if !self.eat("+") {
                return Ok(bounds);
            }
        }
    }

    /// `for<'a>`, which binds only names that the normal form drops.
    fn for_lifetimes(&mut self) -> Result<(), String> {
        if self.eat("for") {
            self.params()?;
        }
        Ok(())
    }

    /// The types after an opening parenthesis: of arguments, of a tuple, of fields.
    pub(crate) fn fields(&mut self) -> Result<Vec<Ty>, String> {
        let mut types = Vec::new();
        while !self.eat(")") {
            self.eat("pub");
            types.push(self.argument()?);
            self.eat(",");
        }
        Ok(types)
    }

    fn argument(&mut self) -> Result<Ty, String> {
        if self.eat("self") {
            return if self.eat(":") { self.ty() } else { Ok(Ty::Param("Self".to_owned())) };
        }
        if self.eat("mut") {
            return self.argument();
        }
        self.ty()
    }

    /// A type, or a value, for which there is nothing.
    pub(crate) fn ty_or_value(&mut self) -> Result<Option<Ty>, String> {
        if self.value() { Ok(None) } else { self.ty().map(Some) }
    }

    pub(crate) fn ty(&mut self) -> Result<Ty, String> {
        match self.peek() {
            "&" => self.reference(),
            "*" => {
                self.next();
                let mutable = self.next() == "mut";
                Ok(Ty::Pointer { mutable, to: Box::new(self.ty()?) })
            }
            "(" => self.tuple(),
            "[" => self.slice(),
            "<" => self.projection(),
            "!" => {
                self.next();
                Ok(Ty::Never)
            }
            "_" => {
                self.next();
                Ok(Ty::Hidden)
            }
            "impl" => {
                self.next();
                self.bounds().map(Ty::Impl)
            }
            "dyn" => {
                self.next();
                self.bounds().map(Ty::Dyn)
            }
            "fn" => {
                self.next();
                self.expect("(")?;
                let inputs = self.fields()?;
                let output = if self.eat("->") { self.ty()? } else { Ty::unit() };
                Ok(Ty::Function(inputs, Box::new(output)))
            }
            _ => self.path(),
        }
    }

    fn reference(&mut self) -> Result<Ty, String> {
        self.expect("&")?;
        let lifetime = self.peek().starts_with('\'').then(|| self.next().to_owned());
        let mutable = self.eat("mut");
        let to = if self.eat("self") { Ty::Param("Self".to_owned()) } else { self.ty()? };
        Ok(Ty::Ref { lifetime, mutable, to: Box::new(to) })
    }

    fn tuple(&mut self) -> Result<Ty, String> {
        self.expect("(")?;
        let mut types = self.fields()?;
        match types.len() {
            // Parentheses around one type, as `&(dyn A + B)` needs them.
            1 => types.pop().ok_or_else(String::new),
            _ => Ok(Ty::Tuple(types)),
        }
    }

    fn slice(&mut self) -> Result<Ty, String> {
        self.expect("[")?;
        let of = Box::new(self.ty()?);
        let ty = if self.eat(";") { Ty::Array(of, self.next().to_owned()) } else { Ty::Slice(of) };
        self.expect("]")?;
        Ok(ty)
    }

    /// `<T as Trait>::Name`
    fn projection(&mut self) -> Result<Ty, String> {
        self.expect("<")?;
        let of = Box::new(self.ty()?);
        let by = if self.eat("as") { Some(Box::new(self.ty()?)) } else { None };
        self.expect(">")?;
        self.expect("::")?;
        let name = self.ident()?;
        self.projections(Ty::Projection { of, by, name })
    }

    fn projections(&mut self, mut of: Ty) -> Result<Ty, String> {
        while self.eat("::") {
            of = Ty::Projection { of: Box::new(of), by: None, name: self.ident()? };
        }
        Ok(of)
    }

    fn path(&mut self) -> Result<Ty, String> {
        let first = self.ident()?;
        if self.params.contains(&first) {
            return self.projections(Ty::Param(first));
        }
        let mut segments = vec![first];
        while self.eat("::") {
            segments.push(self.ident()?);
        }
        let name = (self.name_of)(&segments);
        let mut args = Vec::new();
        if self.eat("<") {
            while !self.eat(">") {
                if !self.value() {
                    args.push(self.arg()?);
                }
                self.eat(",");
            }
        } else if self.eat("(") {
            args.push(Arg::Ty(Ty::Tuple(self.fields()?)));
            let output = if self.eat("->") { self.ty()? } else { Ty::unit() };
            args.push(Arg::Is("Output".to_owned(), output));
        }
        self.projections(Ty::Path { name, args })
    }

    /// The value of a const parameter, which is not compared.
    fn value(&mut self) -> bool {
        let number = self.peek().starts_with(|c: char| c.is_ascii_digit());
        if number {
            self.next();
        } else if self.eat("{") {
            while !matches!(self.next(), "}" | "") {}
        } else {
            return false;
        }
        true
    }

    fn arg(&mut self) -> Result<Arg, String> {
        if self.peek().starts_with('\'') {
            return Ok(Arg::Lifetime(self.next().to_owned()));
        }
        match self.ahead(1) {
            "=" => {
                let name = self.ident()?;
                self.expect("=")?;
                Ok(Arg::Is(name, self.ty()?))
            }
            ":" => {
                let name = self.ident()?;
                self.expect(":")?;
                Ok(Arg::Has(name, self.bounds()?))
            }
            _ => self.ty().map(Arg::Ty),
        }
    }
}

/// The one name of an item that has many paths.
pub(crate) fn name_of(path: &[String]) -> String {
    let (Some(first), Some(last)) = (path.first(), path.last()) else { return String::new() };
    match first.as_str() {
        "core" | "alloc" | "std" => {
            format!("std::{}", path.get(1..).map(|rest| rest.join("::")).unwrap_or_default())
        }
        first if first.starts_with("openraft") || first.starts_with("quorate") => {
            let mode = path.iter().find(|part| matches!(part.as_str(), "leader_id_adv" | "leader_id_std"));
            mode.map_or_else(|| last.clone(), |mode| format!("{mode}::{last}"))
        }
        _ => path.join("::"),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, &str)>, String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..)
        && let Some(first) = rest.chars().next()
    {
        let len = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if first == '\'' {
            rest.char_indices().skip(1).find(|(_, c)| !is_word(*c)).map_or(rest.len(), |(end, _)| end)
        } else if rest.starts_with("::") || rest.starts_with("->") {
            2
        } else if first.is_ascii_punctuation() {
            1
        } else {
            return Err(format!("unknown character `{first}`"));
        };
        tokens.push((at, rest.get(..len).unwrap_or_default()));
        at += len;
    }
    Ok(tokens)
}

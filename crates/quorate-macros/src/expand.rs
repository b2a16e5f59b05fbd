//! `expand!`.

use std::collections::BTreeSet;
use std::iter::zip;

use proc_macro2::Group;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use syn::Attribute;
use syn::Error;
use syn::Expr;
use syn::Result;
use syn::Token;
use syn::Type;
use syn::braced;
use syn::parenthesized;
use syn::parse::Parse;
use syn::parse::ParseStream;
use syn::parse::discouraged::Speculative;
use syn::punctuated::Punctuated;

mod keyword {
    syn::custom_keyword!(KEYED);
}

/// A template and the rows to fill it with.
pub(crate) struct Table {
    is_keyed: bool,
    parameters: Vec<Ident>,
    template: TokenStream,
    rows: Vec<Vec<TokenStream>>,
}

impl Table {
    /// The template, once for each row.
    pub(crate) fn filled_in(self) -> Result<TokenStream> {
        let mut keys = BTreeSet::new();
        let rows = self.rows.iter().filter(|row| {
            let key = row.first().map(ToString::to_string).unwrap_or_default();
            keys.insert(key) || !self.is_keyed
        });
        Ok(rows.flat_map(|row| fill_in(self.template.clone(), &self.parameters, row)).collect())
    }
}

/// The template with a row's arguments in place of the parameters.
fn fill_in(template: TokenStream, parameters: &[Ident], row: &[TokenStream]) -> TokenStream {
    let fill = |token: TokenTree| match token {
        TokenTree::Ident(name) => {
            let found = zip(parameters, row).find(|(parameter, _)| **parameter == name);
            found.map_or_else(|| TokenTree::Ident(name).into(), |(_, argument)| argument.clone())
        }
        TokenTree::Group(group) => {
            let mut filled = Group::new(group.delimiter(), fill_in(group.stream(), parameters, row));
            filled.set_span(group.span());
            TokenTree::Group(filled).into()
        }
        other => TokenStream::from(other),
    };
    template.into_iter().flat_map(fill).collect()
}

impl Parse for Table {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let is_keyed = input.parse::<Option<Token![!]>>()?.is_none();
        input.parse::<keyword::KEYED>()?;
        input.parse::<Token![,]>()?;

        let names;
        parenthesized!(names in input);
        let parameters: Vec<Ident> =
            Punctuated::<Ident, Token![,]>::parse_terminated(&names)?.into_iter().collect();
        input.parse::<Token![=>]>()?;
        let body;
        braced!(body in input);
        let template = body.parse()?;

        let mut rows = Vec::new();
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if !input.is_empty() {
                rows.push(row(input, parameters.len())?);
            }
        }
        Ok(Self { is_keyed, parameters, template, rows })
    }
}

/// The arguments between a pair of parentheses: as many as there are parameters.
fn row(input: ParseStream<'_>, parameters: usize) -> Result<Vec<TokenStream>> {
    let arguments;
    let parentheses = parenthesized!(arguments in input);
    let mut row = vec![argument(&arguments)?];
    while !arguments.is_empty() {
        arguments.parse::<Token![,]>()?;
        row.push(argument(&arguments)?);
    }
    // A comma at the end may stand before an empty argument, or before none.
    if row.len() == parameters + 1 && row.last().is_some_and(TokenStream::is_empty) {
        row.pop();
    }
    if row.len() != parameters {
        let message =
            format!("this row has {} arguments, and the template {parameters} parameters", row.len());
        return Err(Error::new(parentheses.span.join(), message));
    }
    Ok(row)
}

/// What stands before the next comma that belongs to nothing else: attributes, and a type or an expression, or
/// neither.
fn argument(input: ParseStream<'_>) -> Result<TokenStream> {
    let start = input.fork();
    input.call(Attribute::parse_outer)?;
    if !at_end(input) && !skip::<Type>(input) && !skip::<Expr>(input) {
        while !at_end(input) {
            input.parse::<TokenTree>()?;
        }
    }
    tokens_between(&start, input)
}

/// Goes past a `T`, if there is one with nothing behind it.
fn skip<T: Parse>(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    let is_there = ahead.parse::<T>().is_ok() && at_end(&ahead);
    if is_there {
        input.advance_to(&ahead);
    }
    is_there
}

fn at_end(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

fn tokens_between(start: ParseStream<'_>, end: ParseStream<'_>) -> Result<TokenStream> {
    let mut tokens = TokenStream::new();
    while start.cursor() != end.cursor() {
        tokens.extend([start.parse::<TokenTree>()?]);
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of a table, as text; or what is wrong.
    fn made(table: &str) -> String {
        match syn::parse_str(table).and_then(Table::filled_in) {
            Ok(tokens) => tokens.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    /// The text with spaces where generated code has them.
    fn spaced(code: &str) -> String {
        code.parse::<TokenStream>().unwrap().to_string()
    }

    #[test]
    fn a_row_fills_the_template() {
        let table = "!KEYED, (A, B) => { let A: B = [(A, AB)]; }, (x, Map<u8, u8>), (x, <T as I<u8, u8>>::J)";
        let expected = "let x: Map<u8, u8> = [(x, AB)]; let x: <T as I<u8, u8>>::J = [(x, AB)];";
        assert_eq!(made(table), spaced(expected));
    }

    #[test]
    fn an_argument_may_be_anything() {
        let table = r#"KEYED, (A, B, C) => { A B C; },
            (a, 1 + f(2, 3), |x, y| x),
            (b, #[cfg(a, b)] #[c], #[d] T),
            (c, , where T: Send),
            (d, e,),
            (, f, "g",),"#;
        let expected = r#"a 1 + f(2, 3) |x, y| x;
            b #[cfg(a, b)] #[c] #[d] T;
            c where T: Send;
            d e;
            f "g";"#;
        assert_eq!(made(table), spaced(expected));
    }

    #[test]
    fn keys_are_kept_once() {
        let rows = "(A, B) => { A = B; }, (x, 1), (y, 2), (x, 3)";
        assert_eq!(made(&format!("KEYED, {rows}")), spaced("x = 1; y = 2;"));
        assert_eq!(made(&format!("!KEYED, {rows},")), spaced("x = 1; y = 2; x = 3;"));
        assert_eq!(made("KEYED, (A) => { A }"), "");
    }

    #[test]
    fn mistakes_are_named() {
        let few = made("KEYED, (A, B) => {}, (x)");
        assert_eq!(few, "error: this row has 1 arguments, and the template 2 parameters");
        let many = made("KEYED, (A, B) => {}, (x, y, z)");
        assert_eq!(many, "error: this row has 3 arguments, and the template 2 parameters");
        assert_eq!(made("UNKEYED, (A) => {}"), "error: expected `KEYED`");
        assert_eq!(made("KEYED, (A) => {} (x)"), "error: expected `,`");
    }
}

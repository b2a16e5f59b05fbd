//! `#[since(…)]`.

use proc_macro2::Span;
use proc_macro2::TokenStream;
use quote::ToTokens;
use quote::quote;
use semver::Version;
use syn::Attribute;
use syn::Error;
use syn::Expr;
use syn::ExprLit;
use syn::Fields;
use syn::Item;
use syn::Lit;
use syn::LitStr;
use syn::Meta;
use syn::MetaNameValue;
use syn::Result;
use syn::Token;
use syn::parse::ParseStream;
use syn::parse::Parser;
use syn::parse_quote;
use syn::punctuated::Punctuated;

/// The item, with a line more in its documentation.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let split = |input: ParseStream| Ok((input.call(Attribute::parse_outer)?, input.parse::<TokenStream>()?));
    let (mut attributes, mut rest) = split.parse2(item)?;

    // What else it stands on, such as a method of a trait, may be no item of its own, and is left as it is.
    let parsed = syn::parse2::<Item>(rest.clone());
    let mut has_parts = true;
    match parsed {
        Ok(Item::Struct(mut of)) => {
            convert_fields(&mut of.fields)?;
            rest = of.into_token_stream();
        }
        Ok(Item::Enum(mut of)) => {
            for variant in &mut of.variants {
                convert(&mut variant.attrs)?;
                convert_fields(&mut variant.fields)?;
            }
            rest = of.into_token_stream();
        }
        _ => has_parts = false,
    }
    if !(has_parts && arguments.is_empty()) {
        attributes.extend(Since::parse(arguments, Span::call_site())?.documentation());
    }
    Ok(quote!(#(#attributes)* #rest))
}

fn convert_fields(fields: &mut Fields) -> Result<()> {
    fields.iter_mut().try_for_each(|field| convert(&mut field.attrs))
}

/// Turns each `#[since(…)]` among the attributes into documentation.
fn convert(attributes: &mut Vec<Attribute>) -> Result<()> {
    let mut documentation = Vec::new();
    for attribute in attributes.extract_if(.., |attribute| is_since(attribute)) {
        let arguments = match &attribute.meta {
            Meta::List(list) => list.tokens.clone(),
            _ => TokenStream::new(),
        };
        let since = Since::parse(
            arguments,
            attribute.path().get_ident().map_or_else(Span::call_site, |name| name.span()),
        )?;
        documentation.extend(since.documentation());
    }
    attributes.extend(documentation);
    Ok(())
}

fn is_since(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|name| name.ident == "since")
}

/// Since when something exists, or what has changed when.
struct Since {
    version: String,
    date: Option<String>,
    change: Option<String>,
}

impl Since {
    /// Reads `version = "…", date = "…", change = "…"`; `place` is where to complain of what is missing.
    fn parse(arguments: TokenStream, place: Span) -> Result<Self> {
        let (mut version, mut date, mut change) = (None, None, None);
        let pairs = Punctuated::<MetaNameValue, Token![,]>::parse_terminated.parse2(arguments)?;
        for pair in pairs {
            let slot = if pair.path.is_ident("version") {
                &mut version
            } else if pair.path.is_ident("date") {
                &mut date
            } else if pair.path.is_ident("change") {
                &mut change
            } else {
                return Err(Error::new_spanned(
                    pair.path,
                    "`since` knows `version`, `date` and `change` only",
                ));
            };
            if slot.is_some() {
                return Err(Error::new_spanned(pair.path, "this was said before"));
            }
            *slot = Some(text(pair.value)?);
        }
        let version = version.ok_or_else(|| Error::new(place, "`version = \"…\"` is missing"))?;
        Version::parse(&version.value()).map_err(|error| {
            Error::new(version.span(), format!("this is no version, such as 1.2.3 or 1.2.3-alpha.1: {error}"))
        })?;
        if let Some(date) = date.as_ref().filter(|date| !is_date(&date.value())) {
            return Err(Error::new(date.span(), "this is no date, such as 2026-11-22"));
        }
        Ok(Self {
            version: version.value(),
            date: date.map(|date| date.value()),
            change: change.map(|change| change.value()),
        })
    }

    /// A paragraph for the documentation.
    fn documentation(&self) -> [Attribute; 2] {
        let date = self.date.as_ref().map(|date| format!(", {date}")).unwrap_or_default();
        let change = self.change.as_ref().map(|change| format!(": {change}")).unwrap_or_default();
        let line = format!(" Since: {}{date}{change}", self.version);
        [parse_quote!(#[doc = ""]), parse_quote!(#[doc = #line])]
    }
}

fn text(value: Expr) -> Result<LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text),
        other => Err(Error::new_spanned(other, "this must be a string")),
    }
}

/// Whether it is a day of the calendar, as yyyy-mm-dd.
fn is_date(text: &str) -> bool {
    let all_digits =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    let [year, month, day] = text.split('-').collect::<Vec<_>>()[..] else { return false };
    if !(all_digits(year, 4) && all_digits(month, 2) && all_digits(day, 2)) {
        return false;
    }
    let (Ok(year), Ok(month), Ok(day)) = (year.parse::<u32>(), month.parse::<u32>(), day.parse::<u32>())
    else {
        return false;
    };
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of an item, as text; or what is wrong.
    fn on(arguments: &str, item: &str) -> String {
        match expand(arguments.parse().unwrap(), item.parse().unwrap()) {
            Ok(tokens) => tokens.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    /// The text with spaces where generated code has them.
    fn spaced(code: &str) -> String {
        code.parse::<TokenStream>().unwrap().to_string()
    }

    #[test]
    fn a_line_comes_after_the_documentation() {
        let made = on(r#"version = "1.2.3""#, r#"#[doc = "Adds."] #[inline] fn add(&self);"#);
        let expected = r#"#[doc = "Adds."] #[inline] #[doc = ""] #[doc = " Since: 1.2.3"] fn add(&self);"#;
        assert_eq!(made, spaced(expected));
        let all = r#"change = "no longer waits", date = "2024-02-29", version = "1.0.0-alpha.1","#;
        let made = on(all, "type A = u8;");
        let expected =
            r#"#[doc = ""] #[doc = " Since: 1.0.0-alpha.1, 2024-02-29: no longer waits"] type A = u8;"#;
        assert_eq!(made, spaced(expected));
    }

    #[test]
    fn fields_and_variants_have_their_own() {
        let made = on("", r#"struct A { #[since(version = "1.2.3")] #[doc = "B."] b: u8, c: u8 }"#);
        let expected = r#"struct A { #[doc = "B."] #[doc = ""] #[doc = " Since: 1.2.3"] b: u8, c: u8 }"#;
        assert_eq!(made, spaced(expected));
        let variants = r#"enum A { #[since(version = "0.1.0")] B(#[macros::since(version = "0.2.0")] u8) }"#;
        let made = on(r#"version = "0.0.1""#, variants);
        let expected = r#"#[doc = ""] #[doc = " Since: 0.0.1"]
            enum A { #[doc = ""] #[doc = " Since: 0.1.0"] B(#[doc = ""] #[doc = " Since: 0.2.0"] u8) }"#;
        assert_eq!(made, spaced(expected));
    }

    #[test]
    fn mistakes_are_named() {
        let missing = r#"error: `version = "…"` is missing"#;
        assert_eq!(on("", "fn f() {}"), missing);
        assert_eq!(on(r#"date = "2024-01-01""#, "struct A;"), missing);
        assert_eq!(on("", "struct A(#[since] u8);"), missing);
        let unknown = "error: `since` knows `version`, `date` and `change` only";
        assert_eq!(on(r#"version = "1.0.0", author = "a""#, "fn f() {}"), unknown);
        assert_eq!(on("version = 1", "fn f() {}"), "error: this must be a string");
        let twice = r#"version = "1.0.0", version = "1.0.0""#;
        assert_eq!(on(twice, "fn f() {}"), "error: this was said before");
        let no_version = on(r#"version = "1.0""#, "fn f() {}");
        assert!(no_version.starts_with("error: this is no version, such as 1.2.3"), "{no_version}");
        let no_date = on(r#"version = "1.0.0", date = "today""#, "fn f() {}");
        assert_eq!(no_date, "error: this is no date, such as 2026-11-22");
    }

    #[test]
    fn dates_are_days_of_the_calendar() {
        for date in ["2000-02-29", "2024-02-29", "2026-12-31", "2026-04-30"] {
            assert!(is_date(date), "{date}");
        }
        for date in
            ["2023-02-29", "2100-02-29", "2024-13-01", "2024-04-31", "2024-01-00", "2024-2-1", "+024-01-01"]
        {
            assert!(!is_date(date), "{date}");
        }
    }
}

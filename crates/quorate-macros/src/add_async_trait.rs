//! `#[add_async_trait]`.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Error;
use syn::Item;
use syn::ItemTrait;
use syn::Result;
#[cfg(not(feature = "single-threaded"))]
use syn::{ReturnType, TraitItem, TraitItemFn, Type, parse_quote};

/// The trait, with functions that return futures in place of async ones.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`add_async_trait` takes no arguments"));
    }
    let mut of: ItemTrait = syn::parse2(item.clone()).map_err(|error| not_a_trait(&item, error))?;
    rewrite(&mut of);
    Ok(of.into_token_stream())
}

/// Something else than a trait is told so; a trait with a mistake in it is told the mistake.
fn not_a_trait(item: &TokenStream, error: Error) -> Error {
    let is_other = syn::parse2::<Item>(item.clone()).is_ok_and(|item| !matches!(item, Item::Trait(_)));
    if is_other { Error::new_spanned(item, "`add_async_trait` stands on traits only") } else { error }
}

#[cfg(feature = "single-threaded")]
fn rewrite(of: &mut ItemTrait) {
    of.attrs.push(syn::parse_quote!(#[allow(async_fn_in_trait)]));
}

#[cfg(not(feature = "single-threaded"))]
fn rewrite(of: &mut ItemTrait) {
    for item in &mut of.items {
        if let TraitItem::Fn(function) = item {
            return_future(function);
        }
    }
}

/// Makes an async function one that returns a future which can be sent.
#[cfg(not(feature = "single-threaded"))]
fn return_future(function: &mut TraitItemFn) {
    if function.sig.asyncness.take().is_none() {
        return;
    }
    let output: Type = match &function.sig.output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, output) => *output.clone(),
    };
    function.sig.output =
        parse_quote!(-> impl ::core::future::Future<Output = #output> + ::core::marker::Send);
    if let Some(body) = &mut function.default {
        *body = parse_quote!({ async move #body });
    }
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
    #[cfg(not(feature = "single-threaded"))]
    fn async_functions_return_futures() {
        let made = on(
            "",
            r#"pub trait A: B {
                type C;
                #[doc = "D."]
                async fn d<T: E>(&mut self, mut t: T) -> Option<T> where Self: Sized;
                async fn f() { g().await }
                fn h(&self) -> u8;
            }"#,
        );
        let expected = r#"pub trait A: B {
            type C;
            #[doc = "D."]
            fn d<T: E>(&mut self, mut t: T)
                -> impl ::core::future::Future<Output = Option<T> > + ::core::marker::Send where Self: Sized;
            fn f() -> impl ::core::future::Future<Output = ()> + ::core::marker::Send { async move { g().await } }
            fn h(&self) -> u8;
        }"#;
        assert_eq!(made, spaced(expected));
    }

    #[test]
    #[cfg(feature = "single-threaded")]
    fn async_functions_stay_as_they_are() {
        let made = on("", "trait A { async fn f(&self) { g().await } }");
        assert_eq!(made, spaced("#[allow(async_fn_in_trait)] trait A { async fn f(&self) { g().await } }"));
    }

    #[test]
    fn mistakes_are_named() {
        let other = "error: `add_async_trait` stands on traits only";
        assert_eq!(on("", "fn f() {}"), other);
        assert_eq!(on("", "impl A for B {}"), other);
        assert_eq!(on("Send", "trait A {}"), "error: `add_async_trait` takes no arguments");
        let unfinished = on("", "trait A { async fn f(&self) -> ; }");
        assert!(unfinished.starts_with("error: expected one of"), "{unfinished}");
    }
}

//! `#[derive(VariantName)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Data;
use syn::DeriveInput;
use syn::Error;
use syn::Fields;
use syn::Ident;
use syn::LitStr;
use syn::Result;
use syn::Type;
use syn::Variant;
use syn::ext::IdentExt;

/// The constants, functions and `Display` of an enum.
pub(crate) fn derive(input: DeriveInput) -> Result<TokenStream> {
    let Data::Enum(of) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "`VariantName` is derived for enums only"));
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "`VariantName` is derived for enums without parameters only",
        ));
    }
    let prefix = prefix(&input)?;
    let variants = of.variants.iter().map(kind).collect::<Result<Vec<_>>>()?;
    let of = &input.ident;
    let (all, index, names) = (all(of, &variants), index(&variants), names(&variants, &prefix));
    let counts = variants.iter().map(Kind::count);
    Ok(quote! {
        impl #of {
            /// How many variants there are, those of variants within variants counted one by one.
            pub const COUNT: usize = 0 #(+ #counts)*;

            /// All variants, in their order.
            pub const ALL: &'static [Self] = #all;

            /// The place in `ALL`.
            pub const fn index(&self) -> usize {
                #index
            }

            /// The name.
            pub const fn as_str(&self) -> &'static str {
                #names
            }
        }

        impl ::core::fmt::Display for #of {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(self.as_str())
            }
        }
    })
}

/// What is put before the names.
fn prefix(input: &DeriveInput) -> Result<String> {
    let mut prefix = String::new();
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("variant_name")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("prefix") {
                return Err(meta.error("`variant_name` knows `prefix = \"…\"` only"));
            }
            prefix = meta.value()?.parse::<LitStr>()?.value();
            Ok(())
        })?;
    }
    Ok(prefix)
}

/// A variant that stands for itself, or for all variants of another enum.
enum Kind<'a> {
    One(&'a Ident),
    Many(&'a Ident, &'a Type),
}

fn kind(variant: &Variant) -> Result<Kind<'_>> {
    match &variant.fields {
        Fields::Unit => Ok(Kind::One(&variant.ident)),
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
            let inner = fields.unnamed.iter().map(|field| &field.ty);
            inner.map(|inner| Kind::Many(&variant.ident, inner)).next().ok_or_else(|| no_kind(variant))
        }
        _ => Err(no_kind(variant)),
    }
}

fn no_kind(variant: &Variant) -> Error {
    let message =
        "a variant has no fields, or a single one without a name whose type derives `VariantName` too";
    Error::new_spanned(variant, message)
}

impl Kind<'_> {
    fn name(&self) -> &Ident {
        match self {
            Self::One(name) | Self::Many(name, _) => name,
        }
    }

    fn count(&self) -> TokenStream {
        match self {
            Self::One(_) => quote!(1),
            Self::Many(_, inner) => quote!(<#inner>::COUNT),
        }
    }
}

/// The slice of all variants.
fn all(of: &Ident, variants: &[Kind<'_>]) -> TokenStream {
    if variants.iter().all(|variant| matches!(variant, Kind::One(_))) {
        let names = variants.iter().map(Kind::name);
        return quote!(&[#(Self::#names),*]);
    }
    // What other enums hold is not known here, so the array is filled when constants are evaluated.
    let steps = variants.iter().map(|variant| {
        let count = variant.count();
        let value = match variant {
            Kind::One(name) => quote!(#of::#name),
            Kind::Many(name, inner) => quote!(#of::#name(<#inner>::ALL[place])),
        };
        quote! {
            if place < #count {
                return #value;
            }
            let place = place - #count;
        }
    });
    quote!(&{
        const fn at(place: usize) -> #of {
            #(#steps)*
            let _ = place;
            panic!("there are no more variants")
        }
        let mut all = [const { at(0) }; #of::COUNT];
        let mut place = 0;
        while place < #of::COUNT {
            all[place] = at(place);
            place += 1;
        }
        all
    })
}

/// The place of `self` in the slice.
fn index(variants: &[Kind<'_>]) -> TokenStream {
    let mut before = quote!(0);
    let mut arms = Vec::new();
    for variant in variants {
        arms.push(match variant {
            Kind::One(name) => quote!(Self::#name => #before),
            Kind::Many(name, _) => quote!(Self::#name(ref inner) => #before + inner.index()),
        });
        let count = variant.count();
        before = quote!(#before + #count);
    }
    quote!(match *self { #(#arms),* })
}

/// The name of `self`.
fn names(variants: &[Kind<'_>], prefix: &str) -> TokenStream {
    let arms = variants.iter().map(|variant| match variant {
        Kind::One(name) => {
            let text = format!("{prefix}{}", name.unraw());
            quote!(Self::#name => #text)
        }
        Kind::Many(name, _) => quote!(Self::#name(ref inner) => inner.as_str()),
    });
    quote!(match *self { #(#arms),* })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(input: &str) -> String {
        syn::parse_str(input).and_then(derive).expect_err("this should be refused").to_string()
    }

    /// What comes of an enum, without blanks.
    fn derived(input: &str) -> String {
        let made = syn::parse_str(input).and_then(derive).unwrap();
        made.to_string().split_whitespace().collect()
    }

    #[test]
    fn plain_variants_are_listed_as_they_stand() {
        let made = derived(r#"#[variant_name(prefix = "P::")] enum A { B, r#C }"#);
        for part in [
            "constCOUNT:usize=0+1+1;",
            "constALL:&'static[Self]=&[Self::B,Self::r#C];",
            "match*self{Self::B=>0,Self::r#C=>0+1}",
            r#"match*self{Self::B=>"P::B",Self::r#C=>"P::C"}"#,
        ] {
            assert!(made.contains(part), "{part}: {made}");
        }
    }

    #[test]
    fn a_variant_of_variants_counts_as_many_as_it_holds() {
        let made = derived("enum A { B, C(D), E }");
        for part in [
            "constCOUNT:usize=0+1+<D>::COUNT+1;",
            "ifplace<<D>::COUNT{returnA::C(<D>::ALL[place]);}letplace=place-<D>::COUNT;",
            "Self::C(refinner)=>0+1+inner.index(),Self::E=>0+1+<D>::COUNT",
            r#"Self::C(refinner)=>inner.as_str(),Self::E=>"E""#,
        ] {
            assert!(made.contains(part), "{part}: {made}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(error("struct A;"), "`VariantName` is derived for enums only");
        let parameters = "`VariantName` is derived for enums without parameters only";
        assert_eq!(error("enum A<T> { B(T) }"), parameters);
        let fields =
            "a variant has no fields, or a single one without a name whose type derives `VariantName` too";
        for variant in ["B(C, D)", "B { c: C }", "B()"] {
            assert_eq!(error(&format!("enum A {{ {variant} }}")), fields);
        }
        let attribute = r#"`variant_name` knows `prefix = "…"` only"#;
        assert_eq!(error(r#"#[variant_name(suffix = "a")] enum A { B }"#), attribute);
    }
}

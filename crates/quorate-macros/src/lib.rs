//! Macros for the traits and types of Quorate.
//!
//! - [`macro@add_async_trait`]: a trait with async functions whose futures can be sent to other threads.
//! - [`macro@since`]: says in the documentation since when something exists.
//! - [`expand!`]: a template, filled in once for each row of a table.
//! - [`macro@VariantName`]: the variants of an enum, listed, numbered and named.
#![forbid(unsafe_code)]

#[cfg(feature = "singlethreaded")]
compile_error!("the feature `singlethreaded` is called `single-threaded`: use that name instead");

mod add_async_trait;
mod expand;
mod since;
mod variant_name;

use proc_macro::TokenStream;

/// Lets a trait have async functions whose futures are `Send`, on any compiler that knows async functions in traits.
///
/// In the trait, `async fn f(…) -> T` becomes `fn f(…) -> impl Future<Output = T> + Send`. Whoever implements it writes
/// `async fn` all the same. With the feature `single-threaded` the functions stay as they are, since their futures
/// need not be `Send`.
///
/// ```
/// use quorate_macros::add_async_trait;
///
/// #[add_async_trait]
/// trait Greet {
///     async fn name(&self) -> String;
///
///     async fn greeting(&self) -> String
///     where
///         Self: Sync,
///     {
///         format!("Hello, {}", self.name().await)
///     }
/// }
///
/// struct World;
///
/// impl Greet for World {
///     async fn name(&self) -> String {
///         "world".into()
///     }
/// }
///
/// fn assert_send(_: impl Send) {}
/// assert_send(World.greeting());
/// ```
#[proc_macro_attribute]
pub fn add_async_trait(arguments: TokenStream, item: TokenStream) -> TokenStream {
    or_error(add_async_trait::expand(arguments.into(), item.into()))
}

/// Says in the documentation since when an item exists, and what has changed.
///
/// - `version`: the version, as in semantic versioning.
/// - `date`, if it is known: `"yyyy-mm-dd"`.
/// - `change`, if the item existed before: what has changed in this version.
///
/// Several can stand on one item. On a struct or an enum, fields and variants may have it too; if the struct or enum
/// has nothing to say itself, it needs a mere `#[since]`.
///
/// ```
/// use quorate_macros::since;
///
/// /// Adds one.
/// #[since(version = "0.1.0", date = "2026-11-22")]
/// #[since(version = "0.2.0", change = "returns a `u64`")]
/// pub fn add_one(number: u64) -> u64 {
///     number + 1
/// }
///
/// #[since]
/// pub struct Point {
///     pub x: u64,
///     /// The height.
///     #[since(version = "0.2.0")]
///     pub y: u64,
/// }
/// # assert_eq!(add_one(1), Point { x: 1, y: 2 }.y);
/// ```
#[proc_macro_attribute]
pub fn since(arguments: TokenStream, item: TokenStream) -> TokenStream {
    or_error(since::expand(arguments.into(), item.into()))
}

/// Fills in a template once for each row of a table.
///
/// The template's parameters are names; wherever one stands in it, a row's argument takes its place: a type, an
/// expression, attributes, or nothing at all. After `KEYED`, a row whose first argument is that of an earlier one is
/// left out; after `!KEYED`, none is.
///
/// ```
/// use quorate_macros::expand;
///
/// expand!(
///     KEYED,
///     (NAME, ATTRIBUTES, TYPE, VALUE) => { ATTRIBUTES let NAME: TYPE = VALUE; },
///     (count, , u64, 1 + 1),
///     (names, #[allow(unused_mut)] #[rustfmt::skip], Vec<(u8, String)>, vec![]),
///     (count, , u8, 0),
/// );
/// let _: u64 = count;
/// assert_eq!((count, names.len()), (2, 0));
/// ```
#[proc_macro]
pub fn expand(input: TokenStream) -> TokenStream {
    or_error(syn::parse(input).and_then(expand::Table::filled_in))
}

/// Lists, numbers and names the variants of an enum.
///
/// It gives `COUNT: usize` and `ALL: &'static [Self]`, and of each value `index(&self) -> usize`, its place in `ALL`,
/// and `as_str(&self) -> &'static str`, its name, which `Display` shows too. All of it is `const` but `Display`.
///
/// A variant has no fields, or a single one without a name: another enum with this derive, which must be `Copy` then.
/// It stands for all variants of that one, under their names. `#[variant_name(prefix = "…")]` on the enum puts
/// something before the names of the others.
///
/// ```
/// use quorate_macros::VariantName;
///
/// #[derive(Clone, Copy, Debug, PartialEq, VariantName)]
/// #[variant_name(prefix = "Disk::")]
/// enum Disk {
///     Read,
///     Write,
/// }
///
/// #[derive(Clone, Copy, Debug, PartialEq, VariantName)]
/// enum Job {
///     Start,
///     Disk(Disk),
///     Stop,
/// }
///
/// assert_eq!(Job::ALL, [Job::Start, Job::Disk(Disk::Read), Job::Disk(Disk::Write), Job::Stop]);
/// assert_eq!((Job::COUNT, Job::Disk(Disk::Write).index(), Job::Stop.index()), (4, 2, 3));
/// assert_eq!((Job::Disk(Disk::Write).as_str(), Job::Stop.to_string()), ("Disk::Write", "Stop".into()));
/// ```
#[proc_macro_derive(VariantName, attributes(variant_name))]
pub fn variant_name(input: TokenStream) -> TokenStream {
    or_error(syn::parse(input).and_then(variant_name::derive))
}

/// What was made, or what is wrong, at its place.
fn or_error(outcome: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    outcome.unwrap_or_else(|error| error.into_compile_error()).into()
}

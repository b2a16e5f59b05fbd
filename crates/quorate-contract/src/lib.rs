//! Uses every item of the contract by its path, under the names that users of openraft know: what is missing does not
//! compile.
//!
//! The `.in` files beside this one are written by `cargo xtask contract --write` from the lists of the contract; nobody calls
//! what is in them.

#[allow(dead_code)]
mod by_hand;
#[allow(dead_code)]
mod derived;

/// One module for each list.
macro_rules! items {
    ($($name:ident = $file:literal,)*) => {$(
        #[allow(unused, deprecated, clippy::all)]
        mod $name {
            include!($file);
        }
    )*};
}

items! {
    library = "openraft.in",
    legacy = "openraft-legacy.in",
    memstore = "openraft-memstore.in",
    multi = "openraft-multi.in",
    rt = "openraft-rt.in",
    rt_tokio = "openraft-rt-tokio.in",
}

/// Takes a future that gives a `T`.
fn future<T>(_: impl Future<Output = T>) {}

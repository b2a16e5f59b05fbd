//! The replicated key-value server: an application of [`quorate_node`], its HTTP API, and the client of that API.
//!
//! The command `quorate` is built on it. A node of the server is a [`machine::KeyValue`] behind a
//! [`quorate_node::Node`], with [`http`] in front; [`client`] speaks to a cluster of them.

#[cfg(feature = "http")]
pub mod api;
#[cfg(feature = "http")]
pub mod client;
#[cfg(feature = "http")]
pub mod config;
#[cfg(feature = "http")]
pub mod http;
pub mod machine;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use http::testing;
pub mod watch;

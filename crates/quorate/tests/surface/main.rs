//! What the library shows to the outside: texts, encodings, and what its traits do unless told otherwise.
#![cfg(not(feature = "single-threaded"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod declare;
mod display;
mod errors;
#[cfg(feature = "serde")]
mod json;
mod network;
mod runtime;
mod storage;
mod types;
mod values;
mod wait;

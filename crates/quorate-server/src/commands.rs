//! The commands, one module each, and what several of them need.

pub(crate) mod admin;
pub(crate) mod bench;
mod cluster;
mod dataset;
pub(crate) mod demo;
pub(crate) mod kv;
mod load;
pub(crate) mod serve;
pub(crate) mod status;

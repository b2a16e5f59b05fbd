//! What requests say, read by the functions that serve them: for fuzzers.

use axum::Json;
use axum::http::Uri;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::kv::{cas_command, range_of, wanted, watched};
use crate::api::{CasRequest, ErrorBody};
use crate::machine::{Command, Range};

/// The key that a request for a value asks for, and whether a stale value will do; `None` if it is no request line.
pub fn key(uri: &str) -> Option<Result<(String, bool), ErrorBody>> {
    parsed(uri, wanted)
}

/// The range that a request asks for, and whether what may be stale will do.
pub fn range(uri: &str) -> Option<Result<(Range, bool), ErrorBody>> {
    parsed(uri, range_of)
}

/// Which keys a request wants to watch, and after which revision.
pub fn watch(uri: &str) -> Option<Result<(String, Option<u64>), ErrorBody>> {
    parsed(uri, watched)
}

/// The command of a compare-and-set.
///
/// # Errors
/// The answer that the client would get.
pub fn cas(bytes: &[u8]) -> Result<Command, ErrorBody> {
    cas_command(body::<CasRequest>(bytes)?).map_err(ApiError::body)
}

/// Any body in JSON.
///
/// # Errors
/// The answer that the client would get.
pub fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ErrorBody> {
    let read = Json::from_bytes(bytes).map_err(ApiError::from);
    read.map(|Json(value)| value).map_err(ApiError::body)
}

fn parsed<T>(uri: &str, read: impl FnOnce(&Uri) -> Result<T, ApiError>) -> Option<Result<T, ErrorBody>> {
    let uri: Uri = uri.parse().ok()?;
    Some(read(&uri).map_err(ApiError::body))
}

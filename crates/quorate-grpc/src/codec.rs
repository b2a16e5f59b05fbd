//! How what the Raft library defines becomes bytes.
//!
//! One place, so that a later encoding is added here: each message names the encoding it was written in, and a
//! receiver that does not know it says so.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TransportError;

/// The encoding that this version writes: postcard.
pub(crate) const ENCODING: u32 = 1;

pub(crate) fn encode<T: Serialize + ?Sized>(what: &'static str, value: &T) -> Result<Bytes, TransportError> {
    postcard::to_stdvec(value)
        .map(Bytes::from)
        .map_err(|error| TransportError::Malformed { what: format!("{what} cannot be encoded: {error}") })
}

/// Reads one value that fills `bytes` to the end.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, TransportError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => {
            Err(TransportError::Malformed { what: format!("{what} has {} bytes too many", rest.len()) })
        }
        Err(error) => Err(TransportError::Malformed { what: format!("{what} cannot be read: {error}") }),
    }
}

pub(crate) fn check_encoding(found: u32) -> Result<(), TransportError> {
    if found == ENCODING {
        Ok(())
    } else {
        Err(TransportError::UnknownEncoding { found, supported: ENCODING })
    }
}

/// One group is served so far; frames carry its number from the first version on.
pub(crate) fn check_group(found: u64) -> Result<(), TransportError> {
    if found == 0 { Ok(()) } else { Err(TransportError::UnknownGroup { found }) }
}

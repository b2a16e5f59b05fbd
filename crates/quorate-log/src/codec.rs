//! How entries, log ids and votes become bytes.

use std::io;

use quorate::RaftTypeConfig;
use quorate::type_config::alias::{LogIdOf, VoteOf};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Turns what a log keeps into bytes and back. The choice is part of a log's format: it must not
/// change while there is data.
pub trait Codec<C: RaftTypeConfig>: Send + Sync + 'static {
    /// Appends an entry, with its log id, to `out`.
    ///
    /// # Errors
    /// If the entry cannot be encoded; `out` may have grown then.
    fn encode_entry(entry: &C::Entry, out: &mut Vec<u8>) -> io::Result<()>;

    /// Reads an entry.
    ///
    /// # Errors
    /// If the bytes are not an entry.
    fn decode_entry(bytes: &[u8]) -> io::Result<C::Entry>;

    /// Encodes a log id, in at most 2048 bytes.
    ///
    /// # Errors
    /// If it cannot be encoded.
    fn encode_log_id(log_id: &LogIdOf<C>) -> io::Result<Vec<u8>>;

    /// Reads a log id.
    ///
    /// # Errors
    /// If the bytes are not a log id.
    fn decode_log_id(bytes: &[u8]) -> io::Result<LogIdOf<C>>;

    /// Encodes a vote, in at most 2048 bytes.
    ///
    /// # Errors
    /// If it cannot be encoded.
    fn encode_vote(vote: &VoteOf<C>) -> io::Result<Vec<u8>>;

    /// Reads a vote.
    ///
    /// # Errors
    /// If the bytes are not a vote.
    fn decode_vote(bytes: &[u8]) -> io::Result<VoteOf<C>>;

    /// The term to note in the header of an entry's record, so that it is known where the entry
    /// itself is damaged. Zero, the default, says nothing.
    fn term(_log_id: &LogIdOf<C>) -> u64 {
        0
    }

    /// About how many bytes an entry takes.
    fn entry_size(_entry: &C::Entry) -> u64 {
        size_of::<C::Entry>() as u64
    }
}

/// The default: postcard, which is compact and needs a serde implementation that does not ask the
/// format what comes next (no `untagged`, no `flatten`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Postcard;

impl<C> Codec<C> for Postcard
where
    C: RaftTypeConfig,
    C::Entry: Serialize + DeserializeOwned,
    LogIdOf<C>: Serialize + DeserializeOwned,
    VoteOf<C>: Serialize + DeserializeOwned,
{
    fn encode_entry(entry: &C::Entry, out: &mut Vec<u8>) -> io::Result<()> {
        let buffer = postcard::to_extend(entry, std::mem::take(out)).map_err(invalid)?;
        *out = buffer;
        Ok(())
    }

    fn decode_entry(bytes: &[u8]) -> io::Result<C::Entry> {
        decode(bytes)
    }

    fn encode_log_id(log_id: &LogIdOf<C>) -> io::Result<Vec<u8>> {
        postcard::to_stdvec(log_id).map_err(invalid)
    }

    fn decode_log_id(bytes: &[u8]) -> io::Result<LogIdOf<C>> {
        decode(bytes)
    }

    fn encode_vote(vote: &VoteOf<C>) -> io::Result<Vec<u8>> {
        postcard::to_stdvec(vote).map_err(invalid)
    }

    fn decode_vote(bytes: &[u8]) -> io::Result<VoteOf<C>> {
        decode(bytes)
    }

    fn term(log_id: &LogIdOf<C>) -> u64 {
        // A leader id begins with its term, in both modes.
        let mut bytes = [0u8; 32];
        let encoded = postcard::to_slice(log_id, &mut bytes);
        encoded
            .ok()
            .and_then(|bytes| postcard::take_from_bytes::<u64>(bytes).ok())
            .map_or(0, |(term, _)| term)
    }

    fn entry_size(entry: &C::Entry) -> u64 {
        let size = postcard::serialize_with_flavor(entry, postcard::ser_flavors::Size::default());
        size.map_or(size_of::<C::Entry>() as u64, |size| size as u64)
    }
}

/// A value that is the whole of `bytes`: what stands behind it was written by nobody who writes this format.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(invalid)?;
    if rest.is_empty() {
        return Ok(value);
    }
    let error = format!("{} bytes are left behind the value", rest.len());
    Err(io::Error::new(io::ErrorKind::InvalidData, error))
}

fn invalid(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

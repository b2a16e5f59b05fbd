//! What this crate reads from disks and from peers, each by itself and by the functions that read it: for fuzzers.
//!
//! Where a type is private, its bytes come back as they are written again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_log::{Codec, Postcard};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ask::{Answer, Asked};
use crate::command::{Command, decode, encode};
use crate::config::NodeConfig;
use crate::error::StartError;
use crate::identity;
use crate::shared::{Shared, read_header};
use crate::state_machine::StateMachine;

/// The identity file with these bytes, written again.
///
/// # Errors
/// What a start would say of it.
pub fn identity(bytes: &[u8]) -> Result<Vec<u8>, StartError> {
    identity::rewrite(bytes, Path::new("identity"))
}

/// The checksum with which an identity file with these bytes ends.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// A question of another node, written again.
///
/// # Errors
/// What is wrong with the bytes.
pub fn asked(bytes: &[u8]) -> Result<Bytes, String> {
    again::<Asked>(bytes)
}

/// An answer of another node, written again.
///
/// # Errors
/// What is wrong with the bytes.
pub fn answer(bytes: &[u8]) -> Result<Bytes, String> {
    again::<Answer>(bytes)
}

/// The application's command in its envelope.
///
/// # Errors
/// What is wrong with the bytes.
pub fn command<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    decode::<Command>(bytes)?.decode()
}

/// A command in its envelope, as it stands in an entry.
///
/// # Errors
/// If it cannot be encoded.
pub fn envelope<T: Serialize>(command: &T) -> Result<Bytes, String> {
    encode(&Command::new(encode(command)?))
}

/// Installs the content of a snapshot in place of `machine`, and writes the state as a snapshot again.
///
/// # Errors
/// Why it cannot be installed.
pub fn snapshot<S: StateMachine>(machine: S, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let position = read_header::<NodeConfig>(&mut &*bytes)?;
    let shared: Arc<Shared<S>> = Shared::new(machine);
    shared.install(position.applied, &mut &*bytes)?;
    let mut written = Vec::new();
    shared.freeze().write(&mut written)?;
    Ok(written)
}

/// Applies entries as a log keeps them, up to the first that is no entry or cannot be applied; the state as a snapshot.
///
/// # Errors
/// If the state cannot be written.
pub fn apply<'a, S: StateMachine>(
    machine: S,
    entries: impl IntoIterator<Item = &'a [u8]>,
) -> io::Result<Vec<u8>> {
    let shared: Arc<Shared<S>> = Shared::new(machine);
    for bytes in entries {
        let entry = <Postcard as Codec<NodeConfig>>::decode_entry(bytes);
        if entry.and_then(|entry| shared.apply(entry)).is_err() {
            break;
        }
    }
    let mut written = Vec::new();
    shared.freeze().write(&mut written)?;
    Ok(written)
}

fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<Bytes, String> {
    encode(&decode::<T>(bytes)?)
}

//! What the log carries for the application, and what applying it answers.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the envelope, not of what is in it.
const ENVELOPE: u8 = 1;

/// A command of the application in its envelope, as the log and the network carry it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    version: u8,
    /// The client and the number of its request: the place for suppressing duplicates. Not used yet.
    session: Option<(u128, u64)>,
    payload: Bytes,
}

impl Command {
    /// Puts an encoded command into an envelope.
    pub fn new(payload: Bytes) -> Self {
        Self { version: ENVELOPE, session: None, payload }
    }

    /// Reads the command of the application.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it: a newer envelope, or bytes that are no such command.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        if self.version > ENVELOPE {
            return Err(format!("envelope version {} is newer than {ENVELOPE}", self.version));
        }
        decode(&self.payload)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.payload.len())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({self})")
    }
}

/// What applying an entry answers: the encoded response to a command; nothing to an entry of the library's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply(pub Bytes);

/// Encodes what the application gave.
///
/// # Errors
///
/// What its serde implementation says.
pub fn encode<T: Serialize>(value: &T) -> Result<Bytes, String> {
    postcard::to_stdvec(value).map(Bytes::from).map_err(|error| error.to_string())
}

/// Decodes all of `bytes`; what is left over is an error, as it would be lost.
///
/// # Errors
///
/// Says what is wrong with the bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_survives_its_envelope() {
        let command = Command::new(encode(&(7u32, "seven")).unwrap());
        let read: Command = decode(&encode(&command).unwrap()).unwrap();
        assert_eq!(read.decode::<(u32, String)>().unwrap(), (7, "seven".to_owned()));
        assert_eq!(read.to_string(), "7 bytes");
    }

    #[test]
    fn short_long_and_newer_commands_are_errors() {
        let bytes = encode(&300u32).unwrap();
        assert!(decode::<u32>(&bytes[..1]).is_err());
        assert!(decode::<u8>(&encode(&(1u8, 2u8)).unwrap()).unwrap_err().contains("left over"));
        let newer = Command { version: ENVELOPE + 1, ..Command::new(bytes) };
        assert!(newer.decode::<u32>().unwrap_err().contains("newer"));
    }
}

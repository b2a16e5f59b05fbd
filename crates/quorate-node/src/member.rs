//! Who a node is: its number, its unique id, its addresses, and the cluster that it belongs to.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The number that an operator gives to a node: unique in its cluster, never used again after a removal, not zero.
pub type NodeId = u64;

/// One member as the replicated membership describes it: who it is, and where it can be reached.
///
/// The uid belongs to one formatted data directory. A node that comes back with the right number on a fresh disk has
/// another uid, and is turned away instead of voting with an empty memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The unique id of the member's data directory.
    pub uid: Uid,
    /// Where other members reach it, `host:port`.
    pub peer_addr: String,
    /// Where clients of the application reach it; empty if it serves none.
    pub client_addr: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.uid, self.peer_addr)
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Shown, and written to JSON, as 32 hexadecimal digits.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                u128::from_str_radix(text, 16).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    u128::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

hex_id! {
    /// The random id that a data directory is given when it is formatted.
    Uid
}

hex_id! {
    /// The id of a cluster: a digest of the record with which it was founded.
    ClusterId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal_for_people_and_compact_for_disks() {
        let uid = Uid(0xab);
        let text = "000000000000000000000000000000ab";
        assert_eq!((uid.to_string(), text.parse::<Uid>().ok()), (text.to_owned(), Some(uid)));
        let member = Member { uid, peer_addr: "host:1".to_owned(), client_addr: String::new() };
        let json = serde_json::to_string(&member).unwrap();
        assert_eq!(json, format!(r#"{{"uid":"{text}","peer_addr":"host:1","client_addr":""}}"#));
        assert_eq!(serde_json::from_str::<Member>(&json).unwrap(), member);
        assert!(serde_json::from_str::<Uid>("\"no\"").is_err());
        let bytes = postcard::to_stdvec(&uid).unwrap();
        assert_eq!((bytes.len(), postcard::from_bytes::<Uid>(&bytes).unwrap()), (2, uid));
    }
}

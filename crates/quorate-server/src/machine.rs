//! The replicated state: an ordered map of keys to values, and the commands that change it.
//!
//! A revision is the log index of the command that last changed something. It rises, is the same on every node,
//! and names a value for compare-and-set and a point in time for a watch.

use std::io::{self, Read, Write};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use quorate_node::StateMachine;
use serde::{Deserialize, Serialize};

use crate::watch::{Change, Feed, Watcher};

/// The longest key, in bytes. Such a key still fits into a request line when each of its bytes is escaped.
pub const KEY_BYTES_MAX: usize = 16 * 1024;

/// The largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// First bytes of a snapshot, so that another file is told apart.
const SNAPSHOT_MAGIC: [u8; 8] = *b"quoratkv";

/// The newest snapshot format that this program writes and reads.
const SNAPSHOT_VERSION: u32 = 1;

/// The key-value state machine.
#[derive(Debug, Default)]
pub struct KeyValue {
    map: OrdMap<Arc<str>, Value>,
    revision: u64,
    feed: Feed,
}

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// The bytes that the client gave.
    pub bytes: Bytes,
    /// The log index of the command that wrote them.
    pub revision: u64,
}

/// A change that a client asks for, as it stands in the log. Variants are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Sets a key, whatever it held.
    Put {
        /// The key, as [`check_key`] accepts it.
        key: String,
        /// The new value.
        value: Bytes,
    },
    /// Removes a key, if it is there.
    Delete {
        /// The key.
        key: String,
    },
    /// Sets a key if it holds what the client expects.
    Cas {
        /// The key.
        key: String,
        /// What the key must hold.
        expect: Expect,
        /// The new value.
        value: Bytes,
    },
}

/// What a compare-and-set wants to find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// No such key.
    Absent,
    /// The value written at this revision.
    Revision(u64),
    /// These bytes, whenever they were written.
    Value(Bytes),
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// The key is set.
    Written {
        /// The revision of the new value.
        revision: u64,
        /// The revision that the key had before, if it was there.
        previous: Option<u64>,
    },
    /// The key is gone.
    Deleted {
        /// The revision of the value that was removed; none if there was no such key.
        previous: Option<u64>,
    },
    /// A compare-and-set found something else and changed nothing.
    Mismatch {
        /// The revision that the key has; none if there is no such key.
        current: Option<u64>,
    },
}

/// A frozen view of the map, cheap to take: it shares all nodes with the live one.
#[derive(Debug)]
pub struct Frozen {
    map: OrdMap<Arc<str>, Value>,
    revision: u64,
}

/// A part of the key space, and how much of it to return.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// Only keys that begin with this; empty for all.
    pub prefix: String,
    /// Only keys from this one on.
    pub start: Option<String>,
    /// Only keys before this one.
    pub end: Option<String>,
    /// At most so many pairs.
    pub limit: usize,
    /// At most so many bytes of keys and values, though always one pair if there is one.
    pub bytes_max: usize,
}

/// One page of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Keys in ascending order, with their values.
    pub entries: Vec<(Arc<str>, Value)>,
    /// The first key that did not fit; the next page starts there.
    pub next: Option<Arc<str>>,
    /// The revision of the state that was read.
    pub revision: u64,
}

/// Why a key cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing was given.
    #[error("the key is empty: give at least one character")]
    Empty,
    /// Longer than [`KEY_BYTES_MAX`].
    #[error(
        "the key has {bytes} bytes, the limit is {KEY_BYTES_MAX}: use a shorter key, and put the rest into the value"
    )]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Holds a NUL character, at which other tools would cut it.
    #[error("the key holds a NUL character: remove or escape it")]
    Nul,
}

/// Accepts a key of 1 to [`KEY_BYTES_MAX`] bytes without NUL. It is asked before a command reaches the log.
///
/// # Errors
///
/// Says what is wrong with the key.
pub fn check_key(key: &str) -> Result<(), KeyError> {
    if key.is_empty() {
        Err(KeyError::Empty)
    } else if key.len() > KEY_BYTES_MAX {
        Err(KeyError::TooLong { bytes: key.len() })
    } else if key.contains('\0') {
        Err(KeyError::Nul)
    } else {
        Ok(())
    }
}

impl KeyValue {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.map.get(key).cloned()
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The revision of the newest change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One page of a part of the key space, in ascending order of keys.
    pub fn range(&self, range: &Range) -> Page {
        let prefix = range.prefix.as_str();
        let start = range.start.as_deref().unwrap_or("").max(prefix);
        let mut page = Page { entries: Vec::new(), next: None, revision: self.revision };
        let mut bytes = 0_usize;
        for (key, value) in self.map.range::<_, str>((Bound::Included(start), Bound::Unbounded)) {
            if !key.starts_with(prefix) || range.end.as_deref().is_some_and(|end| &**key >= end) {
                break;
            }
            bytes = bytes.saturating_add(key.len()).saturating_add(value.bytes.len());
            let full = bytes > range.bytes_max && !page.entries.is_empty();
            if page.entries.len() >= range.limit || full {
                page.next = Some(key.clone());
                break;
            }
            page.entries.push((key.clone(), value.clone()));
        }
        page
    }

    /// Follows the changes of keys with this prefix after a revision; without one, from now on.
    pub fn watch(&self, prefix: String, after: Option<u64>) -> Watcher {
        self.feed.watcher(prefix, after.unwrap_or(self.revision))
    }

    fn put(&mut self, index: u64, key: String, value: Bytes) -> Response {
        let key: Arc<str> = key.into();
        let previous = self.map.insert(key.clone(), Value { bytes: value.clone(), revision: index });
        self.changed(Change { key, value: Some(value), revision: index });
        Response::Written { revision: index, previous: previous.map(|value| value.revision) }
    }

    fn delete(&mut self, index: u64, key: &str) -> Response {
        let Some((key, value)) = self.map.remove_with_key(key) else {
            return Response::Deleted { previous: None };
        };
        self.changed(Change { key, value: None, revision: index });
        Response::Deleted { previous: Some(value.revision) }
    }

    fn cas(&mut self, index: u64, key: String, expect: &Expect, value: Bytes) -> Response {
        let current = self.map.get(key.as_str());
        let met = match expect {
            Expect::Absent => current.is_none(),
            Expect::Revision(revision) => current.is_some_and(|value| value.revision == *revision),
            Expect::Value(bytes) => current.is_some_and(|value| value.bytes == *bytes),
        };
        if met {
            self.put(index, key, value)
        } else {
            Response::Mismatch { current: current.map(|value| value.revision) }
        }
    }

    fn changed(&mut self, change: Change) {
        self.revision = change.revision;
        self.feed.push(change);
    }
}

impl StateMachine for KeyValue {
    type Command = Command;
    type Response = Response;
    type Frozen = Frozen;

    fn apply(&mut self, index: u64, command: Command) -> Response {
        match command {
            Command::Put { key, value } => self.put(index, key, value),
            Command::Delete { key } => self.delete(index, &key),
            Command::Cas { key, expect, value } => self.cas(index, key, &expect, value),
        }
    }

    fn freeze(&self) -> Frozen {
        Frozen { map: self.map.clone(), revision: self.revision }
    }

    /// Magic, version, revision, number of pairs; then, in order of keys, the lengths of key and value, the
    /// revision, the key and the value. Integers are little-endian. The file around it has its own checksum.
    fn write_snapshot(frozen: Frozen, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&SNAPSHOT_MAGIC)?;
        out.write_all(&SNAPSHOT_VERSION.to_le_bytes())?;
        out.write_all(&frozen.revision.to_le_bytes())?;
        out.write_all(&(frozen.map.len() as u64).to_le_bytes())?;
        for (key, value) in &frozen.map {
            out.write_all(&length(key.len())?.to_le_bytes())?;
            out.write_all(&length(value.bytes.len())?.to_le_bytes())?;
            out.write_all(&value.revision.to_le_bytes())?;
            out.write_all(key.as_bytes())?;
            out.write_all(&value.bytes)?;
        }
        Ok(())
    }

    fn read_snapshot(&self, input: &mut dyn Read) -> io::Result<Self> {
        if array(input)? != SNAPSHOT_MAGIC {
            return Err(invalid("this is not a snapshot of the key-value server"));
        }
        let version = u32::from_le_bytes(array(input)?);
        if version == 0 || version > SNAPSHOT_VERSION {
            return Err(invalid(format!(
                "the snapshot has format {version}, this program reads up to {SNAPSHOT_VERSION}: upgrade it"
            )));
        }
        let revision = u64::from_le_bytes(array(input)?);
        let pairs = u64::from_le_bytes(array(input)?);
        let mut map: OrdMap<Arc<str>, Value> = OrdMap::new();
        let mut last: Option<Arc<str>> = None;
        for _ in 0..pairs {
            let (key, value) = read_pair(input)?;
            if last.as_ref().is_some_and(|last| *last >= key) {
                return Err(invalid("the keys in the snapshot are not in order"));
            }
            last = Some(key.clone());
            map.insert(key, value);
        }
        Ok(Self { map, revision, feed: self.feed.restart(revision) })
    }
}

/// Reads one pair, refusing lengths beyond the limits before memory is set aside for them.
fn read_pair(input: &mut dyn Read) -> io::Result<(Arc<str>, Value)> {
    let key_len = u32::from_le_bytes(array(input)?) as usize;
    let value_len = u32::from_le_bytes(array(input)?) as usize;
    let revision = u64::from_le_bytes(array(input)?);
    if key_len > KEY_BYTES_MAX || value_len > VALUE_BYTES_MAX {
        return Err(invalid(format!(
            "a pair of {key_len} and {value_len} bytes in the snapshot is over the limit"
        )));
    }
    let mut key = vec![0; key_len];
    input.read_exact(&mut key)?;
    let key = String::from_utf8(key).map_err(|error| invalid(error.to_string()))?;
    check_key(&key).map_err(|error| invalid(error.to_string()))?;
    let mut bytes = vec![0; value_len];
    input.read_exact(&mut bytes)?;
    Ok((key.into(), Value { bytes: bytes.into(), revision }))
}

fn array<const N: usize>(input: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn length(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(|_| invalid("a value of more than 4 GiB cannot be written"))
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Command {
        Command::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()) }
    }

    fn machine(keys: &[&str]) -> KeyValue {
        let mut machine = KeyValue::default();
        for (index, key) in (1..).zip(keys) {
            machine.apply(index, put(key, key));
        }
        machine
    }

    fn keys(page: &Page) -> Vec<&str> {
        page.entries.iter().map(|(key, _)| &**key).collect()
    }

    fn snapshot(machine: &KeyValue) -> Vec<u8> {
        let mut bytes = Vec::new();
        KeyValue::write_snapshot(machine.freeze(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_write_names_the_revision_it_made_and_the_one_it_replaced() {
        let mut machine = KeyValue::default();
        assert_eq!(machine.apply(7, put("a", "1")), Response::Written { revision: 7, previous: None });
        assert_eq!(machine.apply(9, put("a", "2")), Response::Written { revision: 9, previous: Some(7) });
        assert_eq!(machine.get("a"), Some(Value { bytes: "2".into(), revision: 9 }));
        assert_eq!(
            machine.apply(10, Command::Delete { key: "a".into() }),
            Response::Deleted { previous: Some(9) }
        );
        assert_eq!(
            machine.apply(11, Command::Delete { key: "a".into() }),
            Response::Deleted { previous: None }
        );
        assert_eq!(machine.revision(), 10, "a command that changes nothing makes no revision");
        assert!(machine.is_empty());
    }

    #[test]
    fn compare_and_set_writes_only_over_what_it_expects() {
        let mut machine = machine(&["a"]);
        let cas = |expect| Command::Cas { key: "a".into(), expect, value: "new".into() };
        let mismatch = Response::Mismatch { current: Some(1) };
        assert_eq!(machine.apply(2, cas(Expect::Absent)), mismatch);
        assert_eq!(machine.apply(3, cas(Expect::Revision(3))), mismatch);
        assert_eq!(machine.apply(4, cas(Expect::Value("b".into()))), mismatch);
        assert_eq!(machine.get("a").unwrap().bytes, "a");
        assert_eq!(
            machine.apply(5, cas(Expect::Revision(1))),
            Response::Written { revision: 5, previous: Some(1) }
        );
        assert_eq!(
            machine.apply(6, cas(Expect::Value("new".into()))),
            Response::Written { revision: 6, previous: Some(5) }
        );
        let absent = Command::Cas { key: "b".into(), expect: Expect::Absent, value: "b".into() };
        assert_eq!(machine.apply(7, absent.clone()), Response::Written { revision: 7, previous: None });
        assert_eq!(machine.apply(8, absent), Response::Mismatch { current: Some(7) });
        let never = Command::Cas { key: "c".into(), expect: Expect::Revision(0), value: "c".into() };
        assert_eq!(machine.apply(9, never), Response::Mismatch { current: None });
    }

    #[test]
    fn a_range_ends_where_prefix_end_or_limit_says_and_names_the_next_key() {
        let machine = machine(&["a", "b/1", "b/2", "b/3", "c"]);
        let all = Range { limit: 10, bytes_max: 1000, ..Range::default() };
        assert_eq!(keys(&machine.range(&all)), ["a", "b/1", "b/2", "b/3", "c"]);
        let prefix = Range { prefix: "b/".into(), ..all.clone() };
        assert_eq!(keys(&machine.range(&prefix)), ["b/1", "b/2", "b/3"]);
        let cut = Range { start: Some("b/2".into()), end: Some("c".into()), ..all.clone() };
        assert_eq!(keys(&machine.range(&cut)), ["b/2", "b/3"]);
        let before_the_prefix = Range { start: Some("a".into()), ..prefix.clone() };
        assert_eq!(keys(&machine.range(&before_the_prefix)), ["b/1", "b/2", "b/3"]);

        let page = machine.range(&Range { limit: 2, ..prefix.clone() });
        assert_eq!((keys(&page), page.next.as_deref()), (vec!["b/1", "b/2"], Some("b/3")));
        let page = machine.range(&Range { start: page.next.map(|key| key.to_string()), limit: 2, ..prefix });
        assert_eq!((keys(&page), page.next.as_deref(), page.revision), (vec!["b/3"], None, 5));
    }

    #[test]
    fn a_range_is_bounded_in_bytes_but_never_stuck() {
        let machine = machine(&["aaaa", "bbbb", "cccc"]);
        let page = machine.range(&Range { limit: 10, bytes_max: 16, ..Range::default() });
        assert_eq!((keys(&page), page.next.as_deref()), (vec!["aaaa", "bbbb"], Some("cccc")));
        let page = machine.range(&Range { limit: 10, bytes_max: 1, ..Range::default() });
        assert_eq!((keys(&page), page.next.as_deref()), (vec!["aaaa"], Some("bbbb")));
    }

    #[test]
    fn a_snapshot_holds_the_state_of_its_moment_and_comes_back_whole() {
        let mut machine = machine(&["a", "b", "c"]);
        let frozen = machine.freeze();
        machine.apply(4, put("d", "later"));
        machine.apply(5, Command::Delete { key: "a".into() });
        let mut bytes = Vec::new();
        KeyValue::write_snapshot(frozen, &mut bytes).unwrap();
        let restored = KeyValue::default().read_snapshot(&mut bytes.as_slice()).unwrap();
        assert_eq!((restored.len(), restored.revision()), (3, 3));
        assert_eq!(restored.get("a"), Some(Value { bytes: "a".into(), revision: 1 }));
        assert_eq!(restored.get("d"), None);
        assert_eq!(snapshot(&restored), bytes, "the same state makes the same bytes");
    }

    #[test]
    fn a_damaged_snapshot_is_refused_at_every_length() {
        let bytes = snapshot(&machine(&["a", "b"]));
        for cut in 0..bytes.len() {
            assert!(KeyValue::default().read_snapshot(&mut &bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut other = bytes.clone();
        other[0] ^= 1;
        assert_eq!(
            KeyValue::default().read_snapshot(&mut other.as_slice()).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn a_newer_snapshot_and_an_absurd_length_are_refused_by_name() {
        let bytes = snapshot(&machine(&["a"]));
        let mut newer = bytes.clone();
        newer[8] = 2;
        let error = KeyValue::default().read_snapshot(&mut newer.as_slice()).unwrap_err().to_string();
        assert!(error.contains("format 2") && error.contains("up to 1"), "{error}");
        let mut huge = bytes;
        huge[28..36].fill(0xff);
        let error = KeyValue::default().read_snapshot(&mut huge.as_slice()).unwrap_err().to_string();
        assert!(error.contains("over the limit"), "{error}");
    }

    #[test]
    fn keys_that_cannot_be_stored_say_why() {
        assert_eq!(check_key(""), Err(KeyError::Empty));
        assert_eq!(check_key("a\0b"), Err(KeyError::Nul));
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        assert_eq!(check_key(&long), Err(KeyError::TooLong { bytes: KEY_BYTES_MAX + 1 }));
        assert_eq!(check_key(&long[1..]), Ok(()));
        assert_eq!(check_key("ключ / with space"), Ok(()));
    }
}

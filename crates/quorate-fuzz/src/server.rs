//! What the key-value server reads from operators and clients.

use std::path::Path;

use quorate_server::api::{
    Blob, CasRequest, ErrorBody, Expected, JoinRequest, MemberId, NewMember, RangePage, ReplaceRequest,
    StatusReply, VotersRequest, WatchEvent, Written,
};
use quorate_server::config::Options;
use quorate_server::machine::{Command, Expect, KEY_BYTES_MAX, KeyValue, Range, VALUE_BYTES_MAX, check_key};
use quorate_server::testing;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::assert_same;

/// The configuration file of a node.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("node.toml");
    match Options::default().with_text(path, text) {
        Ok(options) => {
            match options.clone().settings() {
                Ok(settings) => drop(settings.builder("host:1")),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            // Every option is on the command line: nothing is left to the file.
            let again = options.clone().with_text(path, "");
            assert_same(&again.unwrap(), &options);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Request lines and bodies. The first byte says what of.
pub fn request(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 16 {
        0..=2 => line(*kind % 16, bytes),
        3 => cas(bytes),
        4 => json::<Blob>(bytes),
        5 => json::<CasRequest>(bytes),
        6 => json::<JoinRequest>(bytes),
        7 => json::<NewMember>(bytes),
        8 => json::<MemberId>(bytes),
        9 => json::<ReplaceRequest>(bytes),
        10 => json::<VotersRequest>(bytes),
        11 => json::<ErrorBody>(bytes),
        12 => json::<RangePage>(bytes),
        13 => json::<StatusReply>(bytes),
        14 => json::<WatchEvent>(bytes),
        _ => json::<Written>(bytes),
    }
}

fn line(kind: u8, bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    match kind {
        0 => {
            if let Some(Ok((key, _))) = testing::key(line) {
                check_key(&key).unwrap();
            }
        }
        1 => {
            if let Some(Ok((range, _))) = testing::range(line) {
                assert!(range.limit > 0 && range.limit <= quorate_server::api::RANGE_LIMIT_MAX);
                pages(&range);
            }
        }
        _ => drop(testing::watch(line)),
    }
}

/// A range of a small map, page by page: every key that belongs to it, in order, and no other.
fn pages(range: &Range) {
    use quorate_node::StateMachine as _;
    let mut machine = KeyValue::default();
    let keys = ["a", "a/1", "a/2", "b", "b/é", "c"];
    for (index, key) in (1..).zip(keys) {
        machine.apply(index, Command::Put { key: key.to_owned(), value: key.into() });
    }
    let mut range = range.clone();
    let wanted = keys.into_iter().filter(|key| {
        key.starts_with(&range.prefix)
            && range.start.as_deref().is_none_or(|start| *key >= start)
            && range.end.as_deref().is_none_or(|end| *key < end)
    });
    let wanted: Vec<&str> = wanted.collect();
    let mut found = Vec::new();
    for _ in 0..=keys.len() {
        let page = machine.range(&range);
        found.extend(page.entries.iter().map(|(key, _)| key.to_string()));
        match page.next {
            Some(next) => range.start = Some(next.to_string()),
            None => break,
        }
    }
    assert_eq!(found, wanted, "the pages of a range");
}

fn cas(bytes: &[u8]) {
    let Ok(command) = testing::cas(bytes) else { return };
    let Command::Cas { key, expect, value } = &command else { panic!("another command") };
    assert!(key.len() <= KEY_BYTES_MAX && value.len() <= VALUE_BYTES_MAX);
    let request =
        CasRequest { key: key.clone(), expect: Expected::from(expect), value: Blob::from(value.as_ref()) };
    let again = testing::cas(&serde_json::to_vec(&request).unwrap()).unwrap();
    assert_same(&again, &command);
    if let Expect::Value(value) = expect {
        assert!(value.len() <= VALUE_BYTES_MAX);
    }
}

fn json<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    match testing::body::<T>(bytes) {
        Ok(value) => {
            let written = serde_json::to_vec(&value).unwrap();
            assert_same(&testing::body::<T>(&written).unwrap(), &value);
        }
        Err(error) => assert!(!error.error.is_empty()),
    }
}

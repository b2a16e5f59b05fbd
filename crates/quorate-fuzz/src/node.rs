//! What a node reads from its own disk and from other nodes, beyond Raft.

use quorate_node::decoders;
use quorate_server::machine::{Command, KeyValue};

use crate::input::Input;
use crate::types::assert_same;

/// Most entries of one input.
const ENTRIES_MAX: usize = 64;

/// The content of a snapshot: the node's part, then the state of the key-value server.
pub fn snapshot_content(data: &[u8]) {
    let Ok(written) = decoders::snapshot(KeyValue::default(), data) else { return };
    let again = decoders::snapshot(KeyValue::default(), &written);
    assert_same(&again.unwrap(), &written);
}

/// The identity file of a data directory, also with the checksum that fits the bytes.
pub fn identity(data: &[u8]) {
    identity_file(data);
    let mut sealed = data.to_vec();
    sealed.extend_from_slice(&quorate_node::decoders::checksum(data).to_le_bytes());
    identity_file(&sealed);
}

fn identity_file(bytes: &[u8]) {
    match decoders::identity(bytes) {
        Ok(written) => assert_same(&decoders::identity(&written).unwrap(), &written),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Questions, answers and commands of other nodes.
pub fn call(data: &[u8]) {
    if let Ok(written) = decoders::asked(data) {
        assert_same(&decoders::asked(&written).unwrap(), &written);
    }
    if let Ok(written) = decoders::answer(data) {
        assert_same(&decoders::answer(&written).unwrap(), &written);
    }
    if let Ok(command) = decoders::command::<Command>(data) {
        let written = decoders::envelope(&command).unwrap();
        assert_same(&decoders::command::<Command>(&written).unwrap(), &command);
    }
}

/// Entries as the log keeps them, each with its length before it, applied one after the other.
pub fn entries(data: &[u8]) {
    let mut input = Input::new(data);
    let mut entries = Vec::new();
    while !input.is_empty() && entries.len() < ENTRIES_MAX {
        entries.push(input.long_piece());
    }
    let written = decoders::apply(KeyValue::default(), entries.iter().copied()).unwrap();
    // The same entries give the same state, and a snapshot of it is read again where the commands were such as the
    // server lets into the log.
    assert_same(&decoders::apply(KeyValue::default(), entries).unwrap(), &written);
    if let Ok(again) = decoders::snapshot(KeyValue::default(), &written) {
        assert_same(&again, &written);
    }
}

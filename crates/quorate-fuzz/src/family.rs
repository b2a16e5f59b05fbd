//! What applications read with the library's types: values as JSON or postcard, among them those whose reading is
//! written by hand, and the chunks of version 1's network.

use std::fmt::Debug;

use quorate::compat::{Compat, Upgrade};
use quorate::errors::{ClientWriteError, Fatal, RPCError, RaftError};
use quorate::metrics::SerdeInstant;
use quorate::type_config::alias::{EntryOf, InstantOf, LogIdOf, SnapshotMetaOf, SnapshotSignatureOf, VoteOf};
use quorate::{ChangeMembers, Membership, RaftMetrics};
use quorate_legacy::network_v1::{InstallSnapshotError, InstallSnapshotRequest, InstallSnapshotResponse};
use quorate_node::{ClusterId, Member, Uid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::{Types, assert_same};

quorate::declare_raft_types!(
    /// At most one leader in a term: its ids have a form of their own.
    pub OneLeader:
        D = String,
        R = String,
        LeaderId = quorate::impls::leader_id_std::LeaderId<u64, u64>,
);

/// Any value that has a form; the first byte says which, and whether it is JSON or postcard.
pub fn forms(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let json = kind & 0x80 == 0;
    match kind & 0x1f {
        0 => form::<VoteOf<OneLeader>>(bytes, json),
        1 => form::<LogIdOf<OneLeader>>(bytes, json),
        2 => form::<VoteOf<Types>>(bytes, json),
        3 => form::<LogIdOf<Types>>(bytes, json),
        4 => form::<EntryOf<OneLeader>>(bytes, json),
        5 => form::<Membership<u64, ()>>(bytes, json),
        6 => form::<SnapshotMetaOf<Types>>(bytes, json),
        7 => form::<SnapshotSignatureOf<Types>>(bytes, json),
        8 => instant(bytes, json),
        9 => form::<Uid>(bytes, json),
        10 => form::<ClusterId>(bytes, json),
        11 => form::<Member>(bytes, json),
        12 => metrics(bytes, json),
        13 => form::<ChangeMembers<u64, ()>>(bytes, json),
        14 => form::<RPCError<Types>>(bytes, true),
        15 => form::<Fatal<Types>>(bytes, true),
        16 => form::<RaftError<Types, ClientWriteError<Types>>>(bytes, true),
        _ => old_and_new(bytes),
    }
}

/// A chunk, or what was said to one.
pub fn chunk(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let json = kind & 0x80 == 0;
    match kind & 3 {
        0 | 1 => form::<InstallSnapshotRequest<Types>>(bytes, json),
        2 => form::<InstallSnapshotResponse<Types>>(bytes, json),
        _ => form::<InstallSnapshotError>(bytes, json),
    }
}

fn form<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8], json: bool) {
    let Some(value) = read::<T>(bytes, json) else { return };
    let again = read::<T>(&write(&value, json), json).expect("what was written is read");
    // Not every type can be compared; what they show can.
    assert_same(&format!("{again:?}"), &format!("{value:?}"));
}

/// A point in time is as exact as the clock is by which it is told; any is taken, and told again.
fn instant(bytes: &[u8], json: bool) {
    let Some(value) = read::<SerdeInstant<InstantOf<Types>>>(bytes, json) else { return };
    read::<SerdeInstant<InstantOf<Types>>>(&write(&value, json), json).expect("what was written is read");
}

/// The same without the points in time, which are not the same twice.
fn metrics(bytes: &[u8], json: bool) {
    let Some(mut value) = read::<RaftMetrics<OneLeader>>(bytes, json) else { return };
    let mut again: RaftMetrics<OneLeader> =
        read(&write(&value, json), json).expect("what was written is read");
    for metrics in [&mut value, &mut again] {
        metrics.last_quorum_acked = None;
        metrics.heartbeat = None;
    }
    assert_same(&format!("{again:?}"), &format!("{value:?}"));
}

fn read<T: DeserializeOwned>(bytes: &[u8], json: bool) -> Option<T> {
    if json { serde_json::from_slice(bytes).ok() } else { postcard::from_bytes(bytes).ok() }
}

fn write<T: Serialize>(value: &T, json: bool) -> Vec<u8> {
    if json { serde_json::to_vec(value).unwrap() } else { postcard::to_stdvec(value).unwrap() }
}

/// A position as an older program wrote it: the index alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bare(u64);

impl Upgrade<LogIdOf<OneLeader>> for Bare {
    fn upgrade(self) -> LogIdOf<OneLeader> {
        LogIdOf::<OneLeader>::new_term_index(0, self.0)
    }
}

/// Where two readers exist, reading with either is reading with the one that understands: the old one first.
fn old_and_new(bytes: &[u8]) {
    let either: Option<Compat<Bare, LogIdOf<OneLeader>>> = read(bytes, true);
    let old: Option<Bare> = read(bytes, true);
    let new: Option<LogIdOf<OneLeader>> = read(bytes, true);
    let expected = old.map(Bare::upgrade).or(new);
    assert_same(&either.map(Upgrade::upgrade), &expected);
}

//! Row 40 of the table of bad input: a snapshot that is larger than the memory that a node may take.
//!
//! Alone in its process: the limit is one for all threads. A node that goes over it ends the process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::alloc::System;
use std::io::{self, Read, Write};

use cap::Cap;
use common::{DEADLINE, Place, within};
use quorate_node::{Builder, Node, StateMachine};

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// The bytes of a snapshot.
const SNAPSHOT_BYTES: usize = 96 << 20;

/// What two nodes may take beside what they have when they idle.
const ROOM_BYTES: usize = 24 << 20;

const PIECE_BYTES: usize = 64 << 10;

/// A number, whose snapshot repeats it at length.
#[derive(Default)]
struct Long(u64);

impl StateMachine for Long {
    type Command = u64;
    type Response = ();
    type Frozen = u64;

    fn apply(&mut self, _index: u64, number: u64) {
        self.0 = number;
    }

    fn freeze(&self) -> u64 {
        self.0
    }

    fn write_snapshot(number: u64, out: &mut dyn Write) -> io::Result<()> {
        let piece = number.to_le_bytes().repeat(PIECE_BYTES / 8);
        (0..SNAPSHOT_BYTES / PIECE_BYTES).try_for_each(|_| out.write_all(&piece))
    }

    fn read_snapshot(&self, input: &mut dyn Read) -> io::Result<Self> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut number = None;
        for _ in 0..SNAPSHOT_BYTES / PIECE_BYTES {
            input.read_exact(&mut piece)?;
            for word in piece.as_chunks::<8>().0 {
                let found = u64::from_le_bytes(*word);
                assert_eq!(*number.get_or_insert(found), found);
            }
        }
        Ok(Self(number.unwrap()))
    }
}

fn builder(place: &Place, id: u64) -> Builder {
    place.builder(id).snapshot_keep(0)
}

async fn start(builder: Builder) -> Node<Long> {
    within(builder.start(Long::default())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_40_a_snapshot_larger_than_memory_is_built_sent_installed_and_read_back() {
    let place = Place::new();
    let one = start(builder(&place, 1).found()).await;
    within(one.propose(7)).await.unwrap();
    let two = start(builder(&place, 2).wait()).await;
    MEMORY.set_limit(MEMORY.allocated() + ROOM_BYTES).unwrap();
    within(one.snapshot()).await.unwrap();
    within(two.join(&place.addr(1))).await.unwrap();
    within(one.promote_within(2, DEADLINE)).await.unwrap();
    assert_eq!(within(two.read_within(|state| state.0, DEADLINE)).await.unwrap(), 7);
    assert!(two.status().snapshot.is_some(), "it came as a snapshot");
    within(two.shutdown()).await;
    let two = start(builder(&place, 2)).await;
    assert_eq!(within(two.read_within(|state| state.0, DEADLINE)).await.unwrap(), 7);
    MEMORY.set_limit(usize::MAX).unwrap();
}

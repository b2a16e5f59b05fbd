//! Data that may not leave its thread: `cargo test -p quorate --features single-threaded --test single_threaded`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(unreachable_pub, dead_code, reason = "modules shared with another test binary")]

#[path = "custom/life.rs"]
mod life;
#[path = "custom/world.rs"]
mod world;

use std::cell::Cell;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use quorate::Entry;
use quorate::EntryPayload;
use quorate::raft::responder::ProgressResponder;
use tokio::task::LocalSet;

use crate::life::config;
use crate::life::live;
use crate::world::Cluster;
use crate::world::Kind;
use crate::world::soon;

/// A number that is shared on one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared(Rc<Cell<u64>>);

impl Shared {
    fn of(number: u64) -> Self {
        Self(Rc::new(Cell::new(number)))
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.get())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Shared {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.get().serialize(to)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Shared {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u64::deserialize(from).map(Self::of)
    }
}

quorate::declare_raft_types!(pub Local: D = Shared, R = Shared);

impl Kind for Local {
    type Image = Rc<Cell<u64>>;

    fn id(number: u64) -> u64 {
        number
    }

    fn node(number: u64) -> quorate::BasicNode {
        quorate::BasicNode::new(number)
    }

    fn data(number: u64) -> Shared {
        Shared::of(number)
    }

    fn answer(sum: u64) -> Shared {
        Shared::of(sum)
    }

    fn sum(answer: &Shared) -> u64 {
        answer.0.get()
    }

    fn number(entry: &Self::Entry) -> u64 {
        match &entry.payload {
            EntryPayload::Normal(number) => number.0.get(),
            _ => 0,
        }
    }

    fn copy(entry: &Self::Entry) -> Self::Entry {
        Entry { log_id: entry.log_id, payload: entry.payload.clone() }
    }

    fn image(sum: u64) -> Rc<Cell<u64>> {
        Rc::new(Cell::new(sum))
    }

    fn of_image(image: &Rc<Cell<u64>>) -> u64 {
        image.get()
    }
}

/// On one thread, and a paused clock.
fn on_one_thread(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn data_answers_and_state_that_stay_on_their_thread() {
    on_one_thread(live::<Local>());
}

#[test]
fn closures_and_responders_that_stay_on_their_thread() {
    on_one_thread(async {
        let mut cluster = Cluster::<Local>::new(config());
        let leader = cluster.found([1, 2, 3]).await;
        let data = Shared::of(5);
        let (responder, committed, completed) = ProgressResponder::new();
        leader.client_write_ff(data.clone(), Some(responder)).await.unwrap();
        let log_id = soon(committed).await.unwrap();
        let answer = soon(completed).await.unwrap().unwrap();
        assert_eq!((answer.log_id, answer.data.0.get()), (log_id, 5));

        let seen = Rc::new(RefCell::new(Vec::new()));
        let notes = seen.clone();
        let sum = leader.with_state_machine(move |machine| {
            notes.borrow_mut().push(machine.sum());
            Box::pin(async move { Rc::new(notes.borrow().len()) })
        });
        assert_eq!(*soon(sum).await.unwrap(), 1);
        assert_eq!(*seen.borrow(), [5]);
    });
}

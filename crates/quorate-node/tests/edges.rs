//! A node before it belongs to a cluster and after it has stopped, a transfer to whoever cannot lead, a snapshot that
//! cannot be written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Place, within};
use quorate_node::{
    InitError, JoinError, Member, MembershipError, Node, ProposeError, ReadError, Role, StateMachine,
    StopReason, Uid,
};

fn member(place: &Place, id: u64) -> Member {
    Member { uid: Uid(id.into()), peer_addr: place.addr(id), client_addr: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_cluster_says_so_whatever_is_asked() {
    let place = Place::new();
    let node = place.start(place.builder(1).wait()).await;
    assert_eq!(node.status().role, Role::Uninitialized);
    assert_eq!(within(node.propose("w".into())).await, Err(ProposeError::Uninitialized));
    assert_eq!(within(node.read(|_| ())).await, Err(ReadError::Uninitialized));
    assert_eq!(within(node.snapshot()).await, Err(ReadError::Uninitialized));
    assert_eq!(within(node.members_of_leader()).await.unwrap_err(), ReadError::Uninitialized);
    let refused = MembershipError::Uninitialized;
    assert_eq!(within(node.add_learner(2, member(&place, 2))).await, Err(refused.clone()));
    assert_eq!(within(node.transfer_leader(1)).await, Err(refused.clone()));
    // Another node that wants to join by way of it asks until its time is over: it may be founded meanwhile.
    let short = Duration::from_millis(300);
    let other = place.start(place.builder(2).join_timeout(short).wait()).await;
    let error = within(other.join(&place.addr(1))).await.unwrap_err();
    assert!(matches!(error, JoinError::Unreachable { waited, .. } if waited == short), "{error}");
    assert_eq!(other.status().role, Role::Uninitialized, "nobody took it in");
    assert!(node.read_stale(|words| words.0.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_shut_down_says_so_whatever_is_asked() {
    let place = Place::new();
    let node = place.start(place.builder(1).found()).await;
    within(node.propose("kept".into())).await.unwrap();
    within(node.shutdown()).await;
    let why = || StopReason::Shutdown;
    assert_eq!(node.status().role, Role::Stopped);
    assert_eq!(within(node.stopped()).await, why());
    assert_eq!(within(node.propose("w".into())).await, Err(ProposeError::Stopped(why())));
    assert_eq!(within(node.read(|_| ())).await, Err(ReadError::Stopped(why())));
    assert_eq!(within(node.snapshot()).await, Err(ReadError::Stopped(why())));
    assert_eq!(within(node.remove(1)).await, Err(MembershipError::Stopped(why())));
    assert_eq!(within(node.init()).await, Err(InitError::Stopped(why())));
    assert_eq!(within(node.join(&place.addr(2))).await, Err(JoinError::Stopped(why())));
    assert!(node.read_stale(|words| words.0.contains("kept")), "what it held can still be looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_to_voters_alone() {
    let place = Place::new();
    let one = place.start(place.builder(1).found()).await;
    let two = place.start(place.builder(2).join(place.addr(1))).await;
    for node in [&one, &two] {
        assert_eq!(within(node.transfer_leader(9)).await, Err(MembershipError::UnknownNode { id: 9 }));
        assert_eq!(within(node.transfer_leader(2)).await, Err(MembershipError::NotVoter { id: 2 }));
        within(node.transfer_leader(1)).await.unwrap();
        assert_eq!(node.status().leader, Some(1), "who leads has nothing to hand over");
    }
}

#[test]
fn roles_and_members_are_printed_for_people() {
    let roles =
        [Role::Uninitialized, Role::Learner, Role::Follower, Role::Candidate, Role::Leader, Role::Stopped];
    let printed = roles.map(|role| role.to_string()).join(" ");
    assert_eq!(printed, "uninitialized learner follower candidate leader stopped");
    let member = Member { uid: Uid(7), peer_addr: "a:1".into(), client_addr: String::new() };
    assert_eq!(member.to_string(), "00000000000000000000000000000007@a:1");
}

/// A number, whose snapshots cannot be written while it is told so.
#[derive(Debug, Clone, Default)]
struct Stubborn {
    sum: u64,
    refuses: Arc<AtomicBool>,
}

impl StateMachine for Stubborn {
    type Command = u64;
    type Response = u64;
    type Frozen = Self;

    fn apply(&mut self, _index: u64, more: u64) -> u64 {
        self.sum += more;
        self.sum
    }

    fn freeze(&self) -> Self {
        self.clone()
    }

    fn write_snapshot(frozen: Self, out: &mut dyn Write) -> io::Result<()> {
        if frozen.refuses.load(Ordering::SeqCst) {
            return Err(io::Error::other("the state cannot be written"));
        }
        out.write_all(&frozen.sum.to_le_bytes())
    }

    fn read_snapshot(&self, input: &mut dyn Read) -> io::Result<Self> {
        let mut bytes = [0; 8];
        input.read_exact(&mut bytes)?;
        Ok(Self { sum: u64::from_le_bytes(bytes), refuses: self.refuses.clone() })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_written_leaves_the_one_before_and_the_node_running() {
    let place = Place::new();
    let machine = Stubborn::default();
    let start = |machine: Stubborn| {
        let builder = Node::<Stubborn>::builder(1, place.dir(1), place.addr(1));
        within(builder.request_timeout(Duration::from_millis(500)).found().start(machine))
    };
    let node = start(machine.clone()).await.unwrap();
    within(node.propose(5)).await.unwrap();
    let covered = within(node.snapshot()).await.unwrap();
    machine.refuses.store(true, Ordering::SeqCst);
    assert_eq!(within(node.propose(2)).await, Ok(7));
    let error = within(node.snapshot()).await.unwrap_err();
    assert!(matches!(error, ReadError::Lagging { wanted, .. } if wanted > covered), "{error}");
    assert_eq!(within(node.propose(1)).await, Ok(8), "it goes on");
    machine.refuses.store(false, Ordering::SeqCst);
    assert!(within(node.snapshot()).await.unwrap() > covered);
    within(node.shutdown()).await;
    let again = start(Stubborn::default()).await.unwrap();
    assert_eq!(within(again.read(|machine| machine.sum)).await, Ok(8));
}

//! A type config by hand, in which nothing is the library's own.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;

use quorate::LogId;
use quorate::Membership;
use quorate::OptionalSend;
use quorate::RaftTypeConfig;
use quorate::async_runtime::WatchReceiver;
use quorate::entry::RaftEntry;
use quorate::entry::RaftPayload;
use quorate::errors::ErrorSource;
use quorate::errors::Fatal;
use quorate::raft::ChangeMembershipRequest;
use quorate::raft::ClientWriteResult;
use quorate::raft::responder::Responder;
use quorate::type_config::alias::LogIdOf;
use quorate::vote::RaftVote;

use crate::life::config;
use crate::life::live;
use crate::names::Answer;
use crate::names::Place;
use crate::names::Unique;
use crate::seats::Chair;
use crate::seats::Epoch;
use crate::seats::Reign;
use crate::seats::Seat;
use crate::thin::Thin;
use crate::world::Cluster;
use crate::world::Kind;
use crate::world::PATIENCE;
use crate::world::soon;

/// A vote whose two states are two variants.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Ballot {
    Asked(Chair),
    Won(Chair),
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(chair) => write!(f, "{chair}?"),
            Self::Won(chair) => write!(f, "{chair}!"),
        }
    }
}

impl RaftVote for Ballot {
    type LeaderId = Chair;

    fn from_leader_id(leader_id: Chair, committed: bool) -> Self {
        if committed { Self::Won(leader_id) } else { Self::Asked(leader_id) }
    }

    fn leader_id(&self) -> &Chair {
        match self {
            Self::Asked(chair) | Self::Won(chair) => chair,
        }
    }

    fn is_committed(&self) -> bool {
        matches!(self, Self::Won(_))
    }
}

/// A number and a membership, either or both.
#[derive(Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Cargo {
    number: Option<Unique>,
    members: Option<Membership<Seat, Place>>,
}

impl fmt::Display for Cargo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.number, if self.members.is_some() { " members" } else { "" })
    }
}

impl RaftPayload for Cargo {
    type D = Unique;
    type NodeId = Seat;
    type Node = Place;

    fn blank() -> Self {
        Self::default()
    }

    fn with_normal(self, data: Unique) -> Self {
        Self { number: Some(data), ..self }
    }

    fn with_membership(self, membership: Membership<Seat, Place>) -> Self {
        Self { members: Some(membership), ..self }
    }

    fn get_membership(&self) -> Option<Membership<Seat, Place>> {
        self.members.clone()
    }
}

/// An entry that keeps the parts of its id apart.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Record {
    at: u64,
    cargo: Cargo,
    by: Reign,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}: {}", self.at, self.by, self.cargo)
    }
}

impl RaftEntry for Record {
    type CommittedLeaderId = Reign;
    type Payload = Cargo;

    fn new(log_id: LogId<Reign>, payload: Cargo) -> Self {
        Self { at: log_id.index, cargo: payload, by: log_id.leader_id }
    }

    fn log_id_parts(&self) -> (&Reign, u64) {
        (&self.by, self.at)
    }

    fn set_log_id(&mut self, log_id: LogId<Reign>) {
        (self.by, self.at) = (log_id.leader_id, log_id.index);
    }

    fn get_membership(&self) -> Option<Membership<Seat, Place>> {
        self.cargo.get_membership()
    }
}

/// Why something failed, as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "because {}", self.0)
    }
}

impl Error for Cause {}

impl ErrorSource for Cause {
    fn from_error<E: Error + 'static>(error: &E) -> Self {
        Self(error.to_string())
    }

    fn from_string(text: impl ToString) -> Self {
        Self(text.to_string())
    }
}

type Told<T> = Arc<Mutex<(Option<LogIdOf<ByHand>>, Option<T>)>>;

/// Notes what it is told.
pub struct Note<T> {
    told: Told<T>,
}

impl<T: OptionalSend + 'static> Responder<ByHand, T> for Note<T> {
    fn on_commit(&mut self, log_id: LogIdOf<ByHand>) {
        self.told.lock().unwrap().0 = Some(log_id);
    }

    fn on_complete(self, result: T) {
        self.told.lock().unwrap().1 = Some(result);
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByHand;

impl RaftTypeConfig for ByHand {
    type D = Unique;
    type R = Answer;
    type NodeId = Seat;
    type Node = Place;
    type Term = Epoch;
    type LeaderId = Chair;
    type Vote = Ballot;
    type Payload = Cargo;
    type Entry = Record;
    type AsyncRuntime = Thin;
    type Responder<T>
        = Note<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = Vec<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = Cause;
}

impl Kind for ByHand {
    type Image = Box<u64>;

    fn id(number: u64) -> Seat {
        Seat::of(number)
    }

    fn node(number: u64) -> Place {
        Place::of(number)
    }

    fn data(number: u64) -> Unique {
        Unique(number)
    }

    fn answer(sum: u64) -> Answer {
        Answer(sum)
    }

    fn sum(answer: &Answer) -> u64 {
        answer.0
    }

    fn number(entry: &Record) -> u64 {
        entry.cargo.number.as_ref().map_or(0, |number| number.0)
    }

    fn copy(entry: &Record) -> Record {
        let number = entry.cargo.number.as_ref().map(|number| Unique(number.0));
        Record {
            at: entry.at,
            cargo: Cargo { number, members: entry.get_membership() },
            by: entry.by.clone(),
        }
    }

    fn image(sum: u64) -> Box<u64> {
        Box::new(sum)
    }

    fn of_image(image: &Box<u64>) -> u64 {
        **image
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_the_librarys_own() {
    live::<ByHand>().await;
}

#[tokio::test(start_paused = true)]
async fn data_travels_with_a_membership() {
    let mut cluster = Cluster::<ByHand>::new(config());
    let leader = cluster.found([1]).await;
    for number in [2, 3] {
        cluster.start(number).await;
        soon(leader.add_learner(Seat::of(number), Place::of(number), true))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
    }
    let request = ChangeMembershipRequest::new([1, 2, 3].map(Seat::of), false)
        .with_payload(Cargo::normal(Unique(10)), Cargo::normal(Unique(100)));
    let changed =
        soon(leader.change_membership_with_payload(request)).await.unwrap_or_else(|e| panic!("{e}"));
    let joint = changed.joint.unwrap();
    assert_eq!((joint.data.0, changed.uniform.data.0), (10, 110));
    assert_eq!(joint.membership.unwrap().get_joint_config().len(), 2);
    cluster.applied(changed.uniform.log_id.index).await;
    assert_eq!(cluster.sums(), [110; 3]);
    // A change that takes one entry carries the payload of the uniform one.
    let request = ChangeMembershipRequest::new([1, 2, 3].map(Seat::of), false)
        .with_payload(Cargo::normal(Unique(1)), Cargo::normal(Unique(2)));
    let changed =
        soon(leader.change_membership_with_payload(request)).await.unwrap_or_else(|e| panic!("{e}"));
    assert!(changed.joint.is_none());
    assert_eq!(changed.uniform.data.0, 112);
}

#[tokio::test(start_paused = true)]
async fn a_responder_of_ones_own_is_told_of_commit_and_outcome() {
    let mut cluster = Cluster::<ByHand>::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let told: Told<ClientWriteResult<ByHand>> = Arc::default();
    leader.client_write_ff(Unique(7), Some(Note { told: told.clone() })).await.unwrap();
    let written = soon(leader.client_write(Unique(1))).await.unwrap_or_else(|e| panic!("{e}"));
    let (committed, answer) = std::mem::take(&mut *told.lock().unwrap());
    let answer = answer.unwrap().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((answer.data.0, written.data.0), (7, 8));
    assert_eq!(committed, Some(answer.log_id));
    assert_eq!(committed.unwrap().index + 1, written.log_id.index);
}

#[tokio::test(start_paused = true)]
async fn an_error_source_of_ones_own_tells_the_cause() {
    let mut cluster = Cluster::<ByHand>::new(config());
    let leader = cluster.found([1]).await;
    cluster.disks[&1].0.fail();
    let Err(failed) = soon(leader.client_write(Unique(7))).await else { panic!("nothing failed") };
    assert_eq!(failed.to_string(), "when Write Logs: because the disk is full");
    let stopped = leader.wait(PATIENCE).metrics(|m| m.running_state.is_err(), "stops").await.unwrap();
    assert!(matches!(stopped.running_state, Err(Fatal::StorageError(_))));
}

/// Two runs of the same test are the same run.
#[tokio::test(start_paused = true)]
async fn a_runtime_of_ones_own_rolls_the_dice() {
    let mut cluster = Cluster::<ByHand>::new(config());
    let members: BTreeMap<_, _> = [1, 2, 3].map(|number| (Seat::of(number), Place::of(number))).into();
    for number in [1, 2, 3] {
        cluster.start(number).await;
    }
    let started = Thin::polls().len();
    assert!(started >= 6, "its tasks are started by this runtime: {started}");
    cluster.nodes[&1].initialize(members).await.unwrap();
    let leader = cluster.leader().await;
    assert_eq!(leader.metrics().borrow_watched().id, Seat::of(1));
}

quorate::declare_raft_types!(
    /// All that the macro lets one choose.
    pub Declared:
        ErrorSource = Cause,
        AsyncRuntime = Thin,
        Entry = Record,
        Payload = Cargo,
        Vote = Ballot,
        LeaderId = Chair,
        Term = Epoch,
        Node = Place,
        NodeId = Seat,
        R = Answer,
        D = Unique,
);

#[test]
fn the_macro_takes_any_type_in_any_order() {
    fn takes<C>() -> C
    where
        C: RaftTypeConfig<
                D = Unique,
                R = Answer,
                NodeId = Seat,
                Node = Place,
                Term = Epoch,
                LeaderId = Chair,
                Vote = Ballot,
                Payload = Cargo,
                Entry = Record,
                AsyncRuntime = Thin,
                ErrorSource = Cause,
            >,
    {
        C::default()
    }
    assert_eq!(takes::<Declared>(), Declared {});
}

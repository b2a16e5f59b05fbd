//! A node id of several parts, a term that is no number, and an order of leaders that is neither of the usual two.

use std::cmp::Ordering;
use std::fmt;

use quorate::Entry;
use quorate::EntryPayload;
use quorate::async_runtime::WatchReceiver;
use quorate::vote::RaftLeaderId;
use quorate::vote::RaftTerm;

use crate::life::config;
use crate::life::live;
use crate::world::Cluster;
use crate::world::Kind;

/// A node, and how much it is preferred as leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Seat {
    pub number: u64,
    pub rank: u8,
}

impl Seat {
    pub fn of(number: u64) -> Self {
        Self { number, rank: u8::from(number.is_multiple_of(2)) }
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.rank)
    }
}

/// A term that cannot be had as a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Epoch {
    age: u8,
    year: u32,
}

/// Years in an age; few, so that the tests come past one.
const YEARS: u32 = 3;

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.age, self.year)
    }
}

impl RaftTerm for Epoch {
    fn next(&self) -> Self {
        if self.year + 1 < YEARS {
            Self { year: self.year + 1, ..*self }
        } else {
            Self { age: self.age + 1, year: 0 }
        }
    }

    fn as_u64(&self) -> Option<u64> {
        None
    }
}

/// A leader by epoch, then by rank; two nodes of one rank are not comparable, so a rank has one leader an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Chair {
    epoch: Epoch,
    seat: Seat,
}

/// What a log entry keeps of a leader: of one epoch and rank there is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reign {
    epoch: Epoch,
    rank: u8,
}

impl fmt::Display for Chair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.seat, self.epoch)
    }
}

impl fmt::Display for Reign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}@{}", self.rank, self.epoch)
    }
}

impl PartialOrd for Chair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.to_committed().cmp(&other.to_committed()) {
            Ordering::Equal if self.seat != other.seat => None,
            order => Some(order),
        }
    }
}

impl PartialEq<Reign> for Chair {
    fn eq(&self, _other: &Reign) -> bool {
        false
    }
}

impl PartialOrd<Reign> for Chair {
    fn partial_cmp(&self, other: &Reign) -> Option<Ordering> {
        Some(self.to_committed().cmp(other).then(Ordering::Less))
    }
}

impl RaftLeaderId for Chair {
    type Term = Epoch;
    type NodeId = Seat;
    type Committed = Reign;

    fn new(term: Epoch, node_id: Seat) -> Self {
        Self { epoch: term, seat: node_id }
    }

    fn term(&self) -> Epoch {
        self.epoch
    }

    fn node_id(&self) -> &Seat {
        &self.seat
    }

    fn to_committed(&self) -> Reign {
        Reign { epoch: self.epoch, rank: self.seat.rank }
    }
}

quorate::declare_raft_types!(pub Seated: D = u64, R = u64, NodeId = Seat, Node = (), Term = Epoch, LeaderId = Chair);

impl Kind for Seated {
    type Image = u64;

    fn id(number: u64) -> Seat {
        Seat::of(number)
    }

    fn node(_number: u64) {}

    fn data(number: u64) -> u64 {
        number
    }

    fn answer(sum: u64) -> u64 {
        sum
    }

    fn sum(answer: &u64) -> u64 {
        *answer
    }

    fn number(entry: &Self::Entry) -> u64 {
        match entry.payload {
            EntryPayload::Normal(number) => number,
            _ => 0,
        }
    }

    fn copy(entry: &Self::Entry) -> Self::Entry {
        Entry { log_id: entry.log_id.clone(), payload: entry.payload.clone() }
    }

    fn image(sum: u64) -> u64 {
        sum
    }

    fn of_image(image: &u64) -> u64 {
        *image
    }
}

#[tokio::test(start_paused = true)]
async fn leaders_by_epoch_and_rank() {
    live::<Seated>().await;
}

/// Both ranks lead in turn over several ages: every order of epoch, rank and seat is met.
#[tokio::test(start_paused = true)]
async fn leaders_by_epoch_and_rank_take_turns() {
    let mut cluster = Cluster::<Seated>::new(config());
    let mut leader = cluster.found([1, 2, 3, 4, 5]).await;
    let mut sum = 0;
    for number in [2, 3, 4, 5, 1, 2, 4] {
        sum += 1;
        leader.client_write(1).await.unwrap();
        let before = leader.metrics().borrow_watched().current_term;
        if cluster.number_of(&leader) != number {
            leader.trigger().transfer_leader(Seat::of(number)).await.unwrap();
            let heir = cluster.nodes[&number].wait(crate::world::PATIENCE);
            heir.state(quorate::ServerState::Leader, "leads").await.unwrap();
        }
        leader = cluster.leader().await;
        assert!(leader.metrics().borrow_watched().current_term >= before);
    }
    let index = leader.client_write(1).await.unwrap().log_id.index;
    assert!(leader.metrics().borrow_watched().current_term.age > 1);
    cluster.applied(index).await;
    assert_eq!(cluster.sums(), [sum + 1; 5]);
}

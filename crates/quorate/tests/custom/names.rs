//! Node ids that are names, nodes of one's own, data that nobody can clone, in both modes of leaders.

use std::cell::Cell;
use std::fmt;

use quorate::Entry;
use quorate::EntryPayload;
use quorate::impls::leader_id_std;

use crate::life::live;
use crate::world::Kind;

/// A node's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Name(String);

impl Name {
    pub fn of(number: u64) -> Self {
        Self(format!("node-{number}"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a node is: neither `Default` nor `Display`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Place {
    pub host: String,
    pub port: u16,
}

impl Place {
    pub fn of(number: u64) -> Self {
        Self { host: format!("host-{number}"), port: 7000 }
    }
}

/// A number that nobody can clone.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Unique(pub u64);

impl fmt::Display for Unique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An answer that can be neither cloned nor printed.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Answer(pub u64);

quorate::declare_raft_types!(pub Several: D = Unique, R = Answer, NodeId = Name, Node = Place);
quorate::declare_raft_types!(
    pub OneATerm: D = Unique, R = Answer, NodeId = Name, Node = Place,
    LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>
);

macro_rules! kind {
    ($config:ty) => {
        impl Kind for $config {
            /// Sent from thread to thread, and never shared.
            type Image = Cell<u64>;

            fn id(number: u64) -> Name {
                Name::of(number)
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

            fn number(entry: &Self::Entry) -> u64 {
                match &entry.payload {
                    EntryPayload::Normal(Unique(number)) => *number,
                    _ => 0,
                }
            }

            fn copy(entry: &Self::Entry) -> Self::Entry {
                let payload = match &entry.payload {
                    EntryPayload::Blank => EntryPayload::Blank,
                    EntryPayload::Normal(Unique(number)) => EntryPayload::Normal(Unique(*number)),
                    EntryPayload::Membership(membership) => EntryPayload::Membership(membership.clone()),
                };
                Entry { log_id: entry.log_id.clone(), payload }
            }

            fn image(sum: u64) -> Cell<u64> {
                Cell::new(sum)
            }

            fn of_image(image: &Cell<u64>) -> u64 {
                image.get()
            }
        }
    };
}

kind!(Several);
kind!(OneATerm);

#[tokio::test(start_paused = true)]
async fn names_for_nodes_and_several_leaders_a_term() {
    live::<Several>().await;
}

#[tokio::test(start_paused = true)]
async fn names_for_nodes_and_one_leader_a_term() {
    live::<OneATerm>().await;
}

#[tokio::test(start_paused = true)]
async fn where_a_term_has_one_leader_that_leader_has_a_term() {
    let mut cluster = crate::world::Cluster::<OneATerm>::new(crate::life::config());
    let leader = cluster.found([1, 2, 3]).await;
    let leads = leader.as_leader().unwrap();
    assert_eq!((leads.term(), leads.to_committed_leader_id().term), (1, 1));
}

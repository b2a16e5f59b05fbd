//! Log entries and what they carry.

use std::fmt;
use std::fmt::Debug;
use std::fmt::Display;
use std::fmt::Formatter;

pub use payload::EntryPayload;

use crate::base::AppData;
use crate::base::OptionalFeatures;
use crate::base::finalized::Final;
use crate::log_id::LogId;
use crate::membership::Membership;
use crate::node::Node;
use crate::node::NodeId;
use crate::vote::RaftCommittedLeaderId;

/// What an entry carries: nothing, data of the application, a membership, or the last two together.
pub trait RaftPayload: OptionalFeatures + Debug + Display + Sized + 'static {
    /// Data of the application.
    type D: AppData;
    /// Node ids.
    type NodeId: NodeId;
    /// Nodes.
    type Node: Node;

    /// A payload that carries nothing: what a new leader writes first.
    fn blank() -> Self;

    /// This payload, carrying `data`.
    fn with_normal(self, data: Self::D) -> Self;

    /// This payload, carrying `membership`.
    fn with_membership(self, membership: Membership<Self::NodeId, Self::Node>) -> Self;

    /// The membership that it carries.
    fn get_membership(&self) -> Option<Membership<Self::NodeId, Self::Node>>;

    /// A payload that carries `data` alone.
    fn normal(data: Self::D) -> Self {
        Self::blank().with_normal(data)
    }

    /// A payload that carries `membership` alone.
    fn membership(membership: Membership<Self::NodeId, Self::Node>) -> Self {
        Self::blank().with_membership(membership)
    }
}

/// An entry of the log; [`Entry`] unless the application brings its own.
pub trait RaftEntry: OptionalFeatures + Debug + Display {
    /// The leader that proposed it, as log ids carry it.
    type CommittedLeaderId: RaftCommittedLeaderId;
    /// What it carries.
    type Payload: RaftPayload;

    /// The entry with this id and payload.
    fn new(log_id: LogId<Self::CommittedLeaderId>, payload: Self::Payload) -> Self;

    /// The leader that proposed it, and its index.
    fn log_id_parts(&self) -> (&Self::CommittedLeaderId, u64);

    /// Gives it another id.
    fn set_log_id(&mut self, log_id: LogId<Self::CommittedLeaderId>);

    /// The membership that it carries.
    fn get_membership(
        &self,
    ) -> Option<Membership<<Self::Payload as RaftPayload>::NodeId, <Self::Payload as RaftPayload>::Node>>;

    /// The entry with this id that carries nothing.
    fn new_blank(log_id: LogId<Self::CommittedLeaderId>) -> Self
    where
        Self: Final + Sized,
    {
        Self::new(log_id, Self::Payload::blank())
    }

    /// The entry with this id that carries `data`.
    fn new_normal(log_id: LogId<Self::CommittedLeaderId>, data: <Self::Payload as RaftPayload>::D) -> Self
    where
        Self: Final + Sized,
    {
        Self::new(log_id, Self::Payload::normal(data))
    }

    /// The entry with this id that carries `membership`.
    fn new_membership(
        log_id: LogId<Self::CommittedLeaderId>,
        membership: Membership<<Self::Payload as RaftPayload>::NodeId, <Self::Payload as RaftPayload>::Node>,
    ) -> Self
    where
        Self: Final + Sized,
    {
        Self::new(log_id, Self::Payload::membership(membership))
    }

    /// Its id.
    fn log_id(&self) -> LogId<Self::CommittedLeaderId>
    where
        Self: Final,
    {
        let (leader_id, index) = self.log_id_parts();
        LogId::new(leader_id.clone(), index)
    }

    /// Its index.
    fn index(&self) -> u64
    where
        Self: Final,
    {
        self.log_id_parts().1
    }
}

/// An id and a payload.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct Entry<CLID: RaftCommittedLeaderId, P: RaftPayload> {
    /// The leader that proposed it, and its index.
    pub log_id: LogId<CLID>,
    /// What it carries.
    pub payload: P,
}

impl<CLID: RaftCommittedLeaderId, P: RaftPayload> RaftEntry for Entry<CLID, P> {
    type CommittedLeaderId = CLID;
    type Payload = P;

    fn new(log_id: LogId<CLID>, payload: P) -> Self {
        Self { log_id, payload }
    }

    fn log_id_parts(&self) -> (&CLID, u64) {
        (&self.log_id.leader_id, self.log_id.index)
    }

    fn set_log_id(&mut self, log_id: LogId<CLID>) {
        self.log_id = log_id;
    }

    fn get_membership(&self) -> Option<Membership<P::NodeId, P::Node>> {
        self.payload.get_membership()
    }
}

impl<CLID: RaftCommittedLeaderId, P: RaftPayload> AsRef<Entry<CLID, P>> for Entry<CLID, P> {
    fn as_ref(&self) -> &Entry<CLID, P> {
        self
    }
}

impl<CLID: RaftCommittedLeaderId, P: RaftPayload> Display for Entry<CLID, P> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.log_id, self.payload)
    }
}

/// The usual payload.
pub mod payload {
    use super::*;

    /// Nothing, data of the application, or a membership.
    #[derive(Clone, PartialEq)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
    pub enum EntryPayload<D: AppData, NID: NodeId, N: Node> {
        /// Nothing: what a new leader writes first.
        Blank,
        /// Data of the application.
        Normal(D),
        /// A membership, in force from when it is in the log.
        Membership(Membership<NID, N>),
    }

    impl<D: AppData, NID: NodeId, N: Node> EntryPayload<D, NID, N> {
        /// The variant's name.
        pub fn type_str(&self) -> &'static str {
            match self {
                Self::Blank => "Blank",
                Self::Normal(_) => "Normal",
                Self::Membership(_) => "Membership",
            }
        }
    }

    impl<D: AppData, NID: NodeId, N: Node> RaftPayload for EntryPayload<D, NID, N> {
        type D = D;
        type NodeId = NID;
        type Node = N;

        fn blank() -> Self {
            Self::Blank
        }

        fn with_normal(self, data: D) -> Self {
            Self::Normal(data)
        }

        fn with_membership(self, membership: Membership<NID, N>) -> Self {
            Self::Membership(membership)
        }

        fn get_membership(&self) -> Option<Membership<NID, N>> {
            match self {
                Self::Membership(membership) => Some(membership.clone()),
                _ => None,
            }
        }
    }

    impl<D: AppData, NID: NodeId, N: Node> Debug for EntryPayload<D, NID, N> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            match self {
                Self::Blank => f.write_str("blank"),
                Self::Normal(data) => write!(f, "normal:{data:?}"),
                Self::Membership(membership) => write!(f, "membership:{membership:?}"),
            }
        }
    }

    impl<D: AppData, NID: NodeId, N: Node> Display for EntryPayload<D, NID, N> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            match self {
                Self::Blank => f.write_str("blank"),
                Self::Normal(data) => write!(f, "normal:{data}"),
                Self::Membership(membership) => write!(f, "membership:{membership}"),
            }
        }
    }
}

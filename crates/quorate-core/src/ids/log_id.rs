//! Log ids, what else can stand for one, and the arithmetic on their indexes.

use core::fmt::Debug;
use core::fmt::Display;
use core::fmt::Formatter;
use core::fmt::Result;

#[cfg(feature = "pair-log-ids")]
use ref_cast::RefCast;

use super::RaftCommittedLeaderId;
use super::RaftTerm;
use super::leader_id_std::CommittedLeaderId;

/// The identity of a log entry: the leader that proposed it, and its index.
///
/// Ordered by leader first, then by index: the order that decides whose log is more up to date (thesis §3.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = ""))]
pub struct LogId<CLID: RaftCommittedLeaderId> {
    /// The leader that proposed the entry.
    pub leader_id: CLID,
    /// The position in the log, from 0.
    pub index: u64,
}

impl<CLID: RaftCommittedLeaderId> LogId<CLID> {
    /// The id of the entry that `leader_id` proposed at `index`.
    pub fn new(leader_id: CLID, index: u64) -> Self {
        Self { leader_id, index }
    }

    /// The leader that proposed the entry.
    pub fn committed_leader_id(&self) -> &CLID {
        &self.leader_id
    }

    /// The leader that proposed the entry.
    #[deprecated(note = "use `committed_leader_id()`")]
    pub fn leader_id(&self) -> &CLID {
        &self.leader_id
    }

    /// The position in the log.
    pub fn index(&self) -> u64 {
        self.index
    }
}

impl<Term: RaftTerm> LogId<CommittedLeaderId<Term>> {
    /// The id of the entry at `index` of the one leader of `term`.
    pub fn new_term_index(term: Term, index: u64) -> Self {
        Self::new(CommittedLeaderId::new(term), index)
    }
}

impl<CLID: RaftCommittedLeaderId> Display for LogId<CLID> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}.{}", self.leader_id, self.index)
    }
}

/// What names a log entry: a [`LogId`], a reference to one, or the pair that a store keeps.
pub trait RaftLogId
where
    Self: Eq + Clone + Debug,
{
    /// What it keeps of the leader.
    type CommittedLeaderId: RaftCommittedLeaderId;

    /// The id of the entry that `leader_id` proposed at `index`.
    fn new(leader_id: Self::CommittedLeaderId, index: u64) -> Self;

    /// The leader that proposed the entry.
    fn committed_leader_id(&self) -> &Self::CommittedLeaderId;

    /// The position in the log.
    fn index(&self) -> u64;

    /// The same id as another type.
    fn to_type<T>(&self) -> T
    where
        T: RaftLogId<CommittedLeaderId = Self::CommittedLeaderId>,
    {
        T::new(self.committed_leader_id().clone(), self.index())
    }

    /// Leader and position.
    fn log_id_parts(&self) -> (&Self::CommittedLeaderId, u64) {
        (self.committed_leader_id(), self.index())
    }
}

impl<CLID: RaftCommittedLeaderId> RaftLogId for LogId<CLID> {
    type CommittedLeaderId = CLID;

    fn new(leader_id: CLID, index: u64) -> Self {
        Self { leader_id, index }
    }

    fn committed_leader_id(&self) -> &CLID {
        &self.leader_id
    }

    fn index(&self) -> u64 {
        self.index
    }
}

impl<T: RaftLogId> RaftLogId for &T {
    type CommittedLeaderId = T::CommittedLeaderId;

    /// # Panics
    ///
    /// Always: there is nothing that the reference could point to.
    fn new(_leader_id: T::CommittedLeaderId, _index: u64) -> Self {
        unreachable!("a reference to a log id cannot be built from its parts: build the log id itself")
    }

    fn committed_leader_id(&self) -> &T::CommittedLeaderId {
        T::committed_leader_id(self)
    }

    fn index(&self) -> u64 {
        T::index(self)
    }
}

#[cfg(feature = "pair-log-ids")]
macro_rules! impl_for_pairs {
    ($($int:ty),*) => {$(
        /// A term and an index, where a term has one leader at most.
        impl RaftLogId for ($int, u64) {
            type CommittedLeaderId = CommittedLeaderId<$int>;

            fn new(leader_id: CommittedLeaderId<$int>, index: u64) -> Self {
                (leader_id.term, index)
            }

            fn committed_leader_id(&self) -> &CommittedLeaderId<$int> {
                CommittedLeaderId::ref_cast(&self.0)
            }

            fn index(&self) -> u64 {
                self.1
            }
        }
    )*};
}
#[cfg(feature = "pair-log-ids")]
impl_for_pairs!(u8, u16, u32, u64, i8, i16, i32, i64);

/// What an optional log id says about indexes; `None` is the id before the first entry.
pub trait LogIdOptionExt {
    /// The index, if there is an id.
    fn index(&self) -> Option<u64>;

    /// The index of the entry that follows: 0 for none.
    fn next_index(&self) -> u64;
}

impl<T: RaftLogId> LogIdOptionExt for Option<T> {
    fn index(&self) -> Option<u64> {
        self.as_ref().map(RaftLogId::index)
    }

    fn next_index(&self) -> u64 {
        LogIdOptionExt::index(self).next_index()
    }
}

/// Steps of an optional index; `None` is the position before index 0.
pub trait LogIndexOptionExt {
    /// The index that follows: 0 for none.
    fn next_index(&self) -> u64;

    /// The index before: none for 0.
    ///
    /// # Panics
    ///
    /// If there is no index to step back from.
    fn prev_index(&self) -> Self;
}

impl LogIndexOptionExt for Option<u64> {
    fn next_index(&self) -> u64 {
        self.map_or(0, |index| index.saturating_add(1))
    }

    fn prev_index(&self) -> Self {
        assert!(self.is_some(), "there is no log index before the first one");
        self.and_then(|index| index.checked_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn positions_step() {
        assert_eq!((None::<u64>.next_index(), Some(3).next_index()), (0, 4));
        assert_eq!((Some(0).prev_index(), Some(3).prev_index()), (None, Some(2)));
        assert_eq!(Some(u64::MAX).next_index(), u64::MAX);
    }

    #[test]
    #[should_panic(expected = "no log index before the first")]
    fn nothing_comes_before_the_first() {
        let _ = None::<u64>.prev_index();
    }

    #[test]
    fn optional_ids_know_their_index() {
        let id = LogId::new_term_index(1_u64, 3);
        assert_eq!((Some(id).index(), Some(id).next_index()), (Some(3), 4));
        assert_eq!((None::<LogId<CommittedLeaderId<u64>>>.next_index(), Some(&id).index()), (0, Some(3)));
        assert_eq!(id.to_string(), "1.3");
        assert_eq!((id.index(), *id.committed_leader_id()), (3, CommittedLeaderId::new(1)));
        #[allow(deprecated, reason = "old applications ask that way")]
        let leader = id.leader_id();
        assert_eq!(*leader, CommittedLeaderId::new(1));
    }

    #[test]
    fn ids_convert_to_each_other() {
        let id = LogId::new_term_index(1_u64, 3);
        let by_reference = &id;
        assert_eq!(RaftLogId::to_type::<LogId<_>>(&by_reference), id);
        assert_eq!(id.log_id_parts(), (&CommittedLeaderId::new(1), 3));
    }

    #[test]
    #[cfg(feature = "pair-log-ids")]
    fn pairs_are_log_ids() {
        let pair = (1_u8, 3);
        assert_eq!(pair.log_id_parts(), (&CommittedLeaderId::new(1), 3));
        assert_eq!(pair.to_type::<LogId<_>>(), LogId::new_term_index(1_u8, 3));
        assert_eq!(LogId::new_term_index(-1_i64, 4).to_type::<(i64, u64)>(), (-1, 4));
        assert_eq!((Some(pair).index(), Some(pair).next_index()), (Some(3), 4));
    }

    #[test]
    fn the_later_leader_is_greater_whatever_the_index() {
        assert!(LogId::new_term_index(2_u64, 1) > LogId::new_term_index(1, 9));
        assert!(LogId::new_term_index(1_u64, 9) > LogId::new_term_index(1, 8));
    }
}

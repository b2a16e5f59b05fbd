//! Linearizable reads: by asking a quorum, or by the lease (thesis §6.4).

use alloc::collections::BTreeSet;

use crate::ids::LogId;
use crate::ids::RaftLeaderId;
use crate::leader::Refusal;
use crate::mutant;
use crate::options::Time;
use crate::progress::Progress;
use crate::quorum;
use crate::replica::Replica;
use crate::replica::Role;

/// A read under way at a leader.
///
/// It may be answered from the state machine once it has applied `log_id`, *and* once the leader is confirmed to have
/// led when the read came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<L: RaftLeaderId> {
    /// What the read must see.
    pub log_id: LogId<L::Committed>,
    /// Requests of this round or a later one were sent after the read came in.
    pub round: u64,
    /// The leadership that it belongs to.
    leadership: u64,
}

impl<L: RaftLeaderId> Replica<L> {
    /// A read comes in: what it must see, and the round that confirms it.
    ///
    /// What it must see is the newest entry that any client can have seen the effect of: the commit; and for a leader
    /// that has not committed an entry of its own yet, its first entry, or, after a restart, all of its log.
    pub fn read(&mut self) -> Result<Read<L>, Refusal<L>> {
        let committed = self.committed.clone();
        let known = self.leader().filter(|id| **id != self.id).cloned();
        let Role::Leader(leader) = &mut self.role else { return Err(Refusal::NotLeader(known)) };
        if let Some(to) = leader.transferring_to() {
            return Err(Refusal::Transferring(to.clone()));
        }
        if leader.stepping_down_at.is_some() {
            return Err(Refusal::NotLeader(None));
        }
        leader.round = leader.round.saturating_add(u64::from(!mutant!(55)));
        let floor = leader.read_floor.clone();
        let floor = if mutant!(45) { LogId::new(floor.leader_id, 0) } else { floor };
        let log_id = committed.filter(|committed| *committed > floor).unwrap_or(floor);
        Ok(Read { log_id, round: leader.round, leadership: leader.leadership })
    }

    /// Whether a quorum has acknowledged a request that was sent after the read came in.
    ///
    /// `None` if it never will: leadership has ended, or is being handed over.
    pub fn read_confirmed(&self, read: &Read<L>) -> Option<bool> {
        let leader = self.leading()?;
        if leader.leadership != read.leadership || leader.transferring_to().is_some() {
            return None;
        }
        let reached = quorum::reached(self.effective().configs(), |id| {
            if *id == self.id {
                u64::MAX
            } else {
                leader.peers.get(id).map_or(0, |progress| progress.acked_round)
            }
        });
        Some(mutant!(38) || reached.is_some_and(|round| round >= read.round))
    }

    /// Whether the lease alone confirms a read now: a quorum acknowledged a request sent at most `age_max` ago.
    ///
    /// The lease is shortened by the bound on clock drift, since followers count it on their own clocks. A leader that
    /// has handed its lease away has none. Without `age_max`, the whole lease counts.
    pub fn read_leased(&self, now: Time, age_max: Option<core::time::Duration>) -> bool {
        let lease = if mutant!(37) { self.options.lease } else { self.options.read_lease() };
        let age_max = age_max.map_or(lease, |age| age.min(lease));
        self.has_lease() && self.quorum_acked(now).is_some_and(|acked| now < acked + age_max)
    }

    /// Whether this leader may ever read by its lease in its term: not once it has asked someone to take over, nor
    /// after a restart, before which it may have.
    pub fn has_lease(&self) -> bool {
        self.leading().is_some_and(|leader| !leader.lease_given_back)
    }

    /// The voters whose answers speak for the read: to a request that was sent after it came in, or at most `age_max`
    /// ago (`None`: as long ago as the lease lasts). The leader itself is not among them.
    pub fn read_supporters(
        &self,
        now: Time,
        read: &Read<L>,
        age_max: Option<core::time::Duration>,
    ) -> BTreeSet<L::NodeId> {
        let lease = self.options.read_lease();
        let age_max = age_max.map_or(lease, |age| age.min(lease));
        let speaks = |progress: &Progress<L::Committed>| {
            progress.acked_round >= read.round
                || progress.acked_time.is_some_and(|acked| now < acked + age_max)
        };
        let peers = self.leading().into_iter().flat_map(|leader| leader.peers.iter());
        let voters = peers.filter(|(id, progress)| self.effective().is_voter(id) && speaks(progress));
        voters.map(|(id, _)| id.clone()).collect()
    }
}

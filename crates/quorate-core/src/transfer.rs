//! Hand leadership over, and take it over (thesis §3.10).

use alloc::collections::BTreeSet;
use core::time::Duration;

use crate::ids::RaftLeaderId;
use crate::message::Transfer;
use crate::message::TransferRefusal;
use crate::mutant;
use crate::options::Time;
use crate::replica::Replica;
use crate::replica::Role;

/// Leadership on its way to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handover<L: RaftLeaderId> {
    pub(crate) request: Transfer<L>,
    pub(crate) untold: BTreeSet<L::NodeId>,
    /// If it still leads then, it leads on (thesis §3.10).
    pub(crate) give_up_at: Time,
}

impl<L: RaftLeaderId> Replica<L> {
    /// Hands leadership to `to`: takes no proposals from now on, tells the voters, and waits to be outvoted.
    ///
    /// Does nothing if this node does not lead, or `to` is not another voter.
    pub fn transfer(&mut self, now: Time, to: L::NodeId) {
        let mut untold = self.effective().voters();
        untold.remove(&self.id);
        let (from, last) = (self.vote.clone(), self.log.last().cloned());
        let give_up_at = now + self.options.election_timeout_max * 2;
        let known = untold.contains(&to);
        let Role::Leader(leader) = &mut self.role else { return };
        if known {
            leader.transfer = Some(Handover { request: Transfer { from, to, last }, untold, give_up_at });
            leader.lease_given_back = !mutant!(47);
        }
    }

    pub(crate) fn next_transfer(&mut self, peer: &L::NodeId) -> Option<Transfer<L>> {
        let Role::Leader(leader) = &mut self.role else { return None };
        let handover = leader.transfer.as_mut()?;
        handover.untold.remove(peer).then(|| handover.request.clone())
    }

    // --- The other side.

    /// The leader says that another shall lead: its lease no longer binds this node.
    ///
    /// The node that shall lead asks [`transfer_outcome`](Self::transfer_outcome) until there is one.
    pub fn transfer_request(&mut self, request: &Transfer<L>) {
        if (self.vote == request.from || mutant!(63)) && !matches!(self.role, Role::Leader(_)) {
            self.vote_lease = Duration::ZERO;
        }
    }

    /// Whether this node can take over: `None` while the leader's vote or log is still on its way.
    ///
    /// `Some(Ok(()))` is followed by [`take_over`](Self::take_over).
    pub fn transfer_outcome(&self, request: &Transfer<L>) -> Option<Result<(), TransferRefusal<L>>> {
        if self.flushed.vote < request.from {
            return None;
        }
        // Whom it heard since counts at once, also while the disk does not know yet: the wish is that of a leader before.
        let vote = if mutant!(150) { &self.flushed.vote } else { &self.vote };
        if *vote != request.from {
            return Some(Err(TransferRefusal::VoteChanged(vote.clone())));
        }
        (self.durable_last() >= request.last).then_some(Ok(()))
    }

    /// Campaigns on the leader's wish; leases do not forbid it, every other rule holds.
    pub fn take_over(&mut self, now: Time, dice: u64) {
        if !matches!(self.role, Role::Leader(_)) && self.may_campaign() {
            self.campaign(now, dice, false, true);
        }
    }
}

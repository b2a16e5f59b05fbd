//! Which reads wait for a quorum.

use std::collections::VecDeque;
use std::mem::take;
use std::time::Duration;

use quorate_core::Read;
use quorate_core::Replica;
use quorate_core::Time;

use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::OneshotSenderOf;

/// Most reads that wait for a quorum; further ones are refused as if there were none.
const READS_MAX: usize = 65536;

/// Told whether the leader led when the read came in, or never will know.
type Waiter<C> = OneshotSenderOf<C, bool>;

/// Reads that wait for a quorum to confirm that this leader led when they came in.
pub(crate) struct WaitingReads<C: RaftTypeConfig> {
    /// Those that need an answer to a later request, in the order in which they came in: so they are confirmed.
    by_round: VecDeque<(Read<C::LeaderId>, Waiter<C>)>,
    /// Those that do with the answer to an earlier request, so old at most (none: as old as the lease lasts).
    by_age: Vec<(Read<C::LeaderId>, Waiter<C>, Option<Duration>)>,
    /// When a quorum was last heard of, and whether this node hands over: unless that changes, no age is confirmed.
    looked_at: Option<(Option<Time>, bool)>,
}

impl<C: RaftTypeConfig> Default for WaitingReads<C> {
    fn default() -> Self {
        Self { by_round: VecDeque::new(), by_age: Vec::new(), looked_at: None }
    }
}

impl<C: RaftTypeConfig> WaitingReads<C> {
    /// A read waits from now on; its `waiter` gets `true` when it is confirmed, `false` when it never will be.
    ///
    /// Returns false if too many wait already.
    pub(crate) fn wait(
        &mut self,
        read: Read<C::LeaderId>,
        age_max: Option<Duration>,
        waiter: Waiter<C>,
    ) -> bool {
        let has_room = self.by_round.len().saturating_add(self.by_age.len()) < READS_MAX;
        match age_max {
            _ if !has_room => {}
            Some(Duration::ZERO) => self.by_round.push_back((read, waiter)),
            age_max => self.by_age.push((read, waiter, age_max)),
        }
        has_room
    }

    /// Nobody waits for this read any more.
    pub(crate) fn forget(&mut self, read: &Read<C::LeaderId>) {
        // Rounds grow from read to read.
        let at = self.by_round.partition_point(|(waiting, _)| waiting.round < read.round);
        if self.by_round.get(at).is_some_and(|(waiting, _)| waiting == read) {
            self.by_round.remove(at);
        }
        let at = self.by_age.partition_point(|(waiting, ..)| waiting.round < read.round);
        if self.by_age.get(at).is_some_and(|(waiting, ..)| waiting == read) {
            self.by_age.remove(at);
        }
    }

    /// Takes those that are confirmed, or never will be.
    pub(crate) fn take_confirmed(
        &mut self,
        replica: &Replica<C::LeaderId>,
        now: Time,
    ) -> Vec<(Waiter<C>, bool)> {
        let mut answered = Vec::new();
        while let Some((read, _)) = self.by_round.front() {
            let confirmed = match replica.read_confirmed(read) {
                Some(false) => break,
                outcome => outcome.is_some(),
            };
            answered.extend(self.by_round.pop_front().map(|(_, waiter)| (waiter, confirmed)));
        }
        if !self.by_age.is_empty() {
            self.take_young_enough(replica, now, &mut answered);
        }
        answered
    }

    fn take_young_enough(
        &mut self,
        replica: &Replica<C::LeaderId>,
        now: Time,
        answered: &mut Vec<(Waiter<C>, bool)>,
    ) {
        let hands_over = replica.leading().is_some_and(|leader| leader.transferring_to().is_some());
        let look = Some((replica.quorum_acked(now), hands_over));
        if self.looked_at == look {
            return;
        }
        self.looked_at = look;
        for (read, waiter, age_max) in take(&mut self.by_age) {
            match replica.read_confirmed(&read) {
                None => answered.push((waiter, false)),
                Some(confirmed) if confirmed || replica.read_leased(now, age_max) => {
                    answered.push((waiter, true));
                }
                Some(_) => self.by_age.push((read, waiter, age_max)),
            }
        }
    }
}

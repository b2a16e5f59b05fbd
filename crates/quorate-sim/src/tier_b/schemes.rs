//! Schedules that chance alone would seldom play: what is known to bring rare bugs to light.

use crate::tier_b::swarm::MS;
use crate::tier_b::swarm::Swarm;
use crate::tier_b::types::Types;
use crate::tier_b::world;

/// Steps after which a leader that was cut off is let in again, whatever the others have done.
const STRANDED_STEPS_MAX: u64 = 60;
/// How long it is deaf at the most before it is mute too: entries still leave it, and are not acknowledged.
const DEAF_NS_MAX: u64 = 150 * MS;
/// Entries that are committed behind its back before it is let in.
const ENTRIES_BEHIND: u64 = 3;

/// A leader that was cut off with what it had begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stranded {
    id: u64,
    /// What was committed then.
    committed: u64,
    steps: u64,
    /// How far the others were told to forget their logs, so that it will need a snapshot.
    compacted: Option<u64>,
}

impl<C: Types> Swarm<C> {
    /// Cuts a leader off, from what is said to it first; its clients still reach it.
    pub(super) fn strand(&mut self) {
        let Some(id) = self.any_leader() else { return };
        let others: Vec<u64> = self.cluster.ids().into_iter().filter(|other| *other != id).collect();
        self.strandings += 1;
        self.cuts += 2 * others.len() as u64;
        if self.dice.chance(1, 2) {
            self.estrange(id, &others);
        }
        let deaf_ns = self.dice.below(DEAF_NS_MAX);
        self.cluster.say(Some(id), || format!("{id} is deaf, and cut off in {deaf_ns} ns"));
        others.iter().for_each(|other| self.cluster.net.cut(*other, id));
        self.cluster.run_for(deaf_ns);
        others.iter().for_each(|other| self.cluster.net.cut(id, *other));
        let committed = self.cluster.watch.committed_end();
        self.stranded = Some(Stranded { id, committed, steps: 0, compacted: None });
    }

    /// Somebody has not heard the leader for long when it is cut off from the others, and wants to lead as soon as their
    /// promise ends; where clocks run off, that of the leader is as slow and the others' are as fast as may be.
    fn estrange(&mut self, leader: u64, others: &[u64]) {
        let drift_ppm = self.settings.drift_ppm_max as i64;
        if drift_ppm > 0 {
            others.iter().for_each(|other| world::set_drift(*other, drift_ppm));
            world::set_drift(leader, -drift_ppm);
        }
        let Some(heir) = self.dice.pick(others).copied() else { return };
        self.cluster.say(Some(leader), || format!("{leader} and {heir} do not hear each other"));
        self.cluster.net.cut(leader, heir);
        self.cluster.net.cut(heir, leader);
        let timeout_ns = self.cluster.config.election_timeout_max * MS;
        let alone_ns = timeout_ns + self.dice.below(2 * timeout_ns);
        self.cluster.run_for(alone_ns);
    }

    /// Lets a leader that was cut off in again when another one has committed something; half the time, when the others
    /// have a snapshot of that and nothing else.
    pub(super) fn rescue(&mut self) {
        let Some(mut stranded) = self.stranded else { return };
        stranded.steps += 1;
        let committed = self.cluster.watch.committed_end();
        let behind = committed >= stranded.committed + ENTRIES_BEHIND;
        let over = stranded.steps > STRANDED_STEPS_MAX;
        let compacts = behind && stranded.compacted.is_none() && self.dice.chance(1, 2);
        if over || (behind && !compacts) {
            self.compact(stranded.id, stranded.compacted);
            if stranded.compacted.is_some() && self.settings.rot_sent && self.dice.chance(1, 2) {
                self.spoil_snapshots();
            }
            self.cluster.say(Some(stranded.id), || format!("{} is let in again", stranded.id));
            self.cluster.net.mend(|_| true);
            self.stranded = None;
            return;
        }
        if compacts {
            stranded.compacted = Some(committed);
            self.compact(stranded.id, None);
        }
        self.stranded = Some(stranded);
    }

    /// Lets all but one build a snapshot, or forget what one covers.
    fn compact(&mut self, except: u64, upto: Option<u64>) {
        for id in self.cluster.ids().into_iter().filter(|id| *id != except) {
            let Some(raft) = self.cluster.raft(id) else { continue };
            world::spawn_on(id, async move {
                let _ = match upto {
                    Some(upto) => raft.trigger().purge_log(upto).await.map_err(drop),
                    None => raft.trigger().snapshot().await.map_err(drop),
                };
            });
        }
    }
}

//! Shows the observer what it asks for: what a node has in memory and on its disk.

use quorate_core::log::next_index;

use crate::invariants::i07_durable_quorum;
use crate::invariants::i08_own_entries;
use crate::invariants::i11_order::Order;
use crate::invariants::i12_membership;
use crate::invariants::i17_snapshot;
use crate::tier_a::cluster::Cluster;
use crate::tier_a::wire::Entry;
use crate::tier_a::wire::Id;
use crate::tier_a::wire::Ids;
use crate::tier_a::wire::Image;

impl<L: Ids> Cluster<L> {
    /// What is to be asked of a node after each of its steps.
    pub(crate) fn check_node(&mut self, id: u64) {
        self.check_append_only(id);
        self.check_lease(id);
        let replica = &self.node(id).replica;
        let order = Order {
            purged: replica.log().first_index(),
            snapshot: next_index(replica.snapshot()),
            applied: next_index(replica.applied()),
            committed: next_index(replica.committed()),
            last: replica.log().next_index(),
        };
        order.check(id);
        if self.node(id).config_moved {
            self.node_mut(id).config_moved = false;
            self.check_membership_in_force(id);
        }
    }

    /// I7, I8.
    pub(crate) fn check_counted(&self, id: u64) {
        let replica = &self.node(id).replica;
        let Some(commit) = replica.committed() else { return };
        i08_own_entries::check(replica.vote(), commit);
        let configs = replica.effective_membership().membership.configs();
        i07_durable_quorum::check::<L>(configs, commit, |voter| self.node(voter).keeps(commit));
    }

    /// I15, where the promises hold that leases rest on.
    pub(crate) fn check_lease(&self, id: u64) {
        let node = self.node(id);
        if self.lease_reads && node.replica.leading().is_some() {
            let own = node.replica.vote().leader_id.to_committed();
            let now = node.clock.at(self.now_us);
            self.ghost.lease.check(id, &own, || node.replica.read_leased(now, None));
        }
    }

    /// I3.
    fn check_append_only(&mut self, id: u64) {
        let Self { ghost, nodes, .. } = self;
        let replica = &nodes[&id].replica;
        if replica.leading().is_some() {
            let log = replica.log();
            ghost.append_only.leads(id, replica.vote(), log.last(), |entry| log.has(entry));
        } else {
            ghost.append_only.leads_no_more(id);
        }
    }

    /// I12: the membership that a node takes for committed is the last one that was, up to its own commit.
    pub(crate) fn check_committed_membership(&self, id: u64) {
        let replica = &self.node(id).replica;
        let end = next_index(replica.committed());
        let known = replica.committed_membership();
        // After a restart, the last but one in the log counts as committed before the commit is known to reach it.
        if next_index(known.log_id.as_ref()) <= end {
            let truth = self.ghost.canon.config_at(end).cloned().unwrap_or_default();
            i12_membership::check_committed(id, &known.membership, &truth);
        }
    }

    /// I12: a leader changes members.
    pub(crate) fn check_proposed_membership(&self, id: u64, at: &Id<L>) {
        i12_membership::check_proposal::<L>(id, at, self.node(id).replica.committed());
    }

    /// I12: a node acts on the last membership in its log, and at most one in it is not committed.
    fn check_membership_in_force(&self, id: u64) {
        let node = self.node(id);
        let in_force = node.replica.effective_membership().log_id.as_ref();
        if let Some(last) = node.configs_in_log().max_by_key(|config| config.index) {
            i12_membership::check_in_force::<L>(id, in_force, Some(last));
        }
        let open = node.configs_in_log().filter(|config| !self.ghost.canon.has(config));
        i12_membership::check_open::<L>(id, open);
    }

    /// I9, I10, I13: what a node has when it starts.
    pub(crate) fn check_restarted(&mut self, id: u64) {
        let Self { ghost, nodes, .. } = self;
        let node = &nodes[&id];
        ghost.monotonic.started(id, node.durable.vote.as_ref(), node.sm.next(), ghost.canon.end());
        ghost.applied.stands_at(id, node.sm.next(), node.sm.hash, &ghost.canon);
        self.check_acks(id);
    }

    /// I13: of what a node does not hold, all that was acknowledged is with the others. Asked for the newest, since a
    /// disk that has it has what stands before it.
    fn check_acks(&self, id: u64) {
        let newest = self.ghost.acks.last().and_then(|index| self.ghost.canon.entries().get(index as usize));
        if let Some(newest) = newest.filter(|newest| !self.node(id).keeps(&newest.id)) {
            self.ghost.check_survives(newest.id.index, |node| self.node(node).keeps(&newest.id));
        }
    }

    /// I11 on the disk: what goes from the log is in the snapshot.
    pub(crate) fn check_purge(&self, id: u64, upto: &Id<L>) {
        let snapshot = self.node(id).snapshot.as_ref().map_or(0, Image::next);
        let order = Order {
            purged: upto.index + 1,
            snapshot,
            applied: u64::MAX,
            committed: u64::MAX,
            last: u64::MAX,
        };
        order.check(id);
    }

    /// I17.
    pub fn check_image(&self, image: &Image<L>) {
        i17_snapshot::check(&self.ghost.canon, image.next(), image.hash, &image.membership.membership);
    }

    /// I4 where entries leave a node or are durable.
    pub(crate) fn note_entries(&mut self, entries: &[Entry<L>], prev: Option<&Id<L>>) {
        self.ghost.entries_seen(entries.iter().map(Entry::view), prev);
    }
}

//! I19: queues and windows stay within what is configured.

use quorate_core::Options;
use quorate_core::Replica;
use quorate_core::log::next_index;

use crate::ids::Ids;

/// `have` of `what`, of which there may be `most`.
pub fn within(node: u64, what: &str, have: u64, most: u64) {
    assert!(have <= most, "I19: {node} has {have} {what}, {most} at the most");
}

/// What a replica keeps of each peer and of memberships; `entry_bytes` is the size of the largest entry.
pub fn check<L: Ids>(replica: &Replica<L>, options: &Options, entry_bytes: u64) {
    let id = *replica.id();
    let Some(leader) = replica.leading() else { return };
    // A request is sent while there is room, so the last may go over.
    let payload = options.payload_entries_max.max(1);
    for (_, progress) in leader.peers() {
        let most = options.inflight_entries_max.max(1) - 1 + payload;
        within(id, "entries in flight to a peer", progress.inflight_entries(), most);
        let most = options.inflight_bytes_max.max(1) - 1 + payload * entry_bytes;
        within(id, "bytes in flight to a peer", progress.inflight_bytes(), most);
    }
}

/// What a snapshot covers leaves the log, but for a few entries.
///
/// To be asked of a node that has just taken a snapshot, and reads no entries for a peer.
pub fn check_log<L: Ids>(replica: &Replica<L>, options: &Options) {
    let covered = next_index(replica.snapshot()).saturating_sub(replica.log().first_index());
    let most = options.keep_in_log.saturating_add(options.purge_batch.max(1)) - 1;
    within(*replica.id(), "entries in the log that a snapshot covers", covered, most);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_there_may_be() {
        within(1, "things", 3, 3);
    }

    #[test]
    #[should_panic(expected = "I19:")]
    fn one_more_is_seen() {
        within(1, "things", 4, 3);
    }
}

//! The seeded bugs that the product can be built with (`--cfg quorate_mutants`), and where each is looked for.

use crate::tier::Tier;

/// A seeded bug: its number at its place in the product, and what it does wrong.
///
/// Numbers up to 42 are those of the list of seeded bugs; those after it are ours.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// The number that its `mutant!` line carries.
    pub number: u32,
    /// Where it is looked for: the cheapest tier in which it can show.
    pub tier: Tier,
    /// What it does wrong.
    pub what: &'static str,
}

/// The bug that every run must find: if it does not, the simulator is blind.
pub const CANARY: u32 = 18;

/// Changes that break no invariant, each argued in `MUTANTS.md`: none has to be found, and none is asked for in turn.
pub const EQUIVALENT: &[u32] = &[62];

const fn mutant(number: u32, tier: Tier, what: &'static str) -> Mutant {
    Mutant { number, tier, what }
}

/// Every seeded bug there is.
pub const MUTANTS: &[Mutant] = &[
    mutant(1, Tier::A, "votes for a log that is less up to date"),
    mutant(2, Tier::A, "compares only the last index of logs"),
    mutant(3, Tier::A, "votes twice in a term"),
    mutant(4, Tier::A, "forgets its vote at a restart"),
    mutant(5, Tier::A, "counts a repeated vote for that of another"),
    mutant(6, Tier::A, "takes half of an even number for a majority"),
    mutant(7, Tier::A, "commits entries of earlier terms by counting"),
    mutant(8, Tier::A, "follows the commit beyond what is known to match"),
    mutant(9, Tier::A, "takes entries behind another term's"),
    mutant(10, Tier::A, "takes entries of an older leader"),
    mutant(11, Tier::A, "takes the progress of voters for sorted"),
    mutant(12, Tier::A, "keeps what it accepted when another leads"),
    mutant(13, Tier::A, "counts a late pre-vote as a vote"),
    mutant(14, Tier::A, "lets the target of a transfer win with any log"),
    mutant(15, Tier::A, "grants before the vote is durable"),
    mutant(16, Tier::A, "asks for votes before its own is durable"),
    mutant(17, Tier::A, "saves the voter's term and vote apart"),
    mutant(18, Tier::A, "acknowledges entries that are not durable"),
    mutant(19, Tier::A, "counts its own entries that are not durable"),
    mutant(24, Tier::A, "acknowledges before a truncation is durable"),
    mutant(27, Tier::A, "purges before the snapshot is there"),
    mutant(28, Tier::A, "keeps the old membership when a snapshot is installed"),
    mutant(29, Tier::A, "takes a snapshot without its membership"),
    mutant(31, Tier::A, "follows a membership from its commit on"),
    mutant(32, Tier::A, "asks only the last voter set of a joint membership"),
    mutant(33, Tier::A, "takes a learner's progress for a voter's"),
    mutant(34, Tier::A, "campaigns by the committed membership"),
    mutant(35, Tier::A, "votes although a leader is alive"),
    mutant(36, Tier::A, "lets a voter come back without its disk"),
    mutant(37, Tier::A, "forgets the drift of clocks in its lease"),
    mutant(38, Tier::A, "reads without asking a quorum"),
    #[cfg(feature = "library")]
    mutant(40, Tier::B, "tells a client that a write was not made which may be"),
    mutant(41, Tier::A, "never sends again what a peer did not answer"),
    mutant(42, Tier::A, "does not wait anew when it hears its leader"),
    mutant(43, Tier::A, "changes members before it has committed anything"),
    mutant(44, Tier::A, "changes members while a change is under way"),
    mutant(45, Tier::A, "reads before it has committed anything"),
    mutant(46, Tier::A, "lets any membership follow another"),
    mutant(47, Tier::A, "reads by its lease although it has given it back"),
    mutant(48, Tier::A, "takes answers of an earlier stream"),
    mutant(49, Tier::A, "takes an append for done that a truncation removes"),
    mutant(50, Tier::A, "takes answers to heartbeats of an earlier leadership"),
    mutant(51, Tier::A, "installs a snapshot of what is committed already"),
    mutant(52, Tier::A, "does not follow a membership that a leader sends"),
    mutant(53, Tier::A, "keeps a membership whose entry is truncated"),
    mutant(54, Tier::A, "counts its own vote before it is durable"),
    mutant(55, Tier::A, "lets an earlier request confirm a read"),
    mutant(56, Tier::A, "counts its lease from the answer, not from the request"),
    mutant(57, Tier::A, "forgets at a restart what it promised its leader"),
    mutant(58, Tier::A, "reads after a restart without what its log holds"),
    mutant(59, Tier::A, "acknowledges its whole log, not what was sent"),
    mutant(60, Tier::A, "reads by its lease after a restart"),
    mutant(61, Tier::A, "leads again after a restart though it sent what its disk had not"),
    mutant(62, Tier::A, "lets any late transfer end a lease"),
    mutant(63, Tier::A, "lets a late transfer end the promise to another leader"),
    mutant(64, Tier::A, "takes the greater of two quorums of a joint membership"),
    mutant(65, Tier::A, "compares entries by their index alone"),
    mutant(66, Tier::A, "leads on when its disk hangs"),
    mutant(67, Tier::A, "keeps an entry that contradicts a snapshot"),
    mutant(68, Tier::A, "purges what is being read for a peer"),
    mutant(69, Tier::A, "ends a joint membership before it is committed"),
    mutant(150, Tier::A, "takes over although it has heard another leader since"),
    #[cfg(feature = "library")]
    mutant(17, Tier::S, "saves the second copy of the vote without a sync"),
    #[cfg(feature = "library")]
    mutant(20, Tier::S, "takes a failed sync for done"),
    #[cfg(feature = "library")]
    mutant(21, Tier::S, "does not sync the directory when a segment gets its name"),
    #[cfg(feature = "library")]
    mutant(22, Tier::S, "cuts the log at the first damage anywhere"),
    #[cfg(feature = "library")]
    mutant(23, Tier::S, "takes records without a look at the checksum of their header"),
    #[cfg(feature = "library")]
    mutant(25, Tier::S, "goes on behind a write that failed half-way"),
    #[cfg(feature = "library")]
    mutant(26, Tier::S, "saves the applied index apart from the state"),
    #[cfg(feature = "library")]
    mutant(29, Tier::S, "leaves the membership out of snapshots"),
    #[cfg(feature = "library")]
    mutant(70, Tier::S, "begins a segment before the one before is durable"),
    #[cfg(feature = "library")]
    mutant(71, Tier::S, "names a segment before its header is durable"),
    #[cfg(feature = "library")]
    mutant(72, Tier::S, "writes both copies of the vote at once"),
    #[cfg(feature = "library")]
    mutant(73, Tier::S, "does not write again what may be in memory only"),
    #[cfg(feature = "library")]
    mutant(74, Tier::S, "leaves what is behind the cut end of the log"),
    #[cfg(feature = "library")]
    mutant(75, Tier::S, "notes as durable what is only written"),
    #[cfg(feature = "library")]
    mutant(76, Tier::S, "does not note in records what was durable"),
    #[cfg(feature = "library")]
    mutant(77, Tier::S, "takes payloads without a look at their checksum"),
    #[cfg(feature = "library")]
    mutant(78, Tier::S, "takes header blocks without a look at their checksum"),
    #[cfg(feature = "library")]
    mutant(79, Tier::S, "does not mend a damaged copy of the vote"),
    #[cfg(feature = "library")]
    mutant(80, Tier::S, "acknowledges truncations before they are durable"),
    #[cfg(feature = "library")]
    mutant(81, Tier::S, "removes segments before their purge is durable"),
    #[cfg(feature = "library")]
    mutant(82, Tier::S, "does not repeat in a new segment what is purged"),
    #[cfg(feature = "library")]
    mutant(83, Tier::S, "keeps its last entry in mind when it is truncated"),
    #[cfg(feature = "library")]
    mutant(84, Tier::S, "names a snapshot before it is durable"),
    #[cfg(feature = "library")]
    mutant(87, Tier::S, "takes snapshots without a look at their checksum"),
    #[cfg(feature = "library")]
    mutant(88, Tier::S, "lets a slow snapshot replace a later one"),
    #[cfg(feature = "library")]
    mutant(89, Tier::S, "takes any torn batch for damage"),
    #[cfg(feature = "library")]
    mutant(90, Tier::S, "looks for entries among those that were truncated"),
    #[cfg(feature = "library")]
    mutant(91, Tier::S, "reads truncated entries from memory"),
    #[cfg(feature = "library")]
    mutant(92, Tier::S, "does not note that a segment has a successor"),
    #[cfg(feature = "library")]
    mutant(93, Tier::S, "does not miss the oldest segments"),
    #[cfg(feature = "library")]
    mutant(97, Tier::S, "takes the first copy of the vote for the newest"),
    #[cfg(feature = "library")]
    mutant(100, Tier::B, "says that entries are applied before they are"),
    #[cfg(feature = "library")]
    mutant(101, Tier::B, "takes the flush of a write for that of the next one"),
    #[cfg(feature = "library")]
    mutant(105, Tier::B, "waits for ever for the answer to a heartbeat"),
    #[cfg(feature = "library")]
    mutant(108, Tier::B, "answers a stream of appends before they are durable"),
    #[cfg(feature = "library")]
    mutant(109, Tier::B, "answers a candidate before the vote is durable"),
    #[cfg(feature = "library")]
    mutant(110, Tier::B, "reads before it has applied what a read must see"),
    #[cfg(feature = "library")]
    mutant(111, Tier::B, "starts without the vote that it saved"),
    #[cfg(feature = "library")]
    mutant(113, Tier::B, "answers the client of an entry that another one replaced"),
    #[cfg(feature = "library")]
    mutant(114, Tier::B, "sends a damaged snapshot as if it were whole"),
];

/// Some of `all`, another part each turn: the first `some` in turn 0, the next in turn 1, and from the start again
/// after the last. Turns in a row miss none.
pub fn in_turn<T: Copy>(all: &[T], some: usize, turn: u64) -> Vec<T> {
    let len = all.len() as u64;
    let begin = turn.wrapping_mul(some as u64).checked_rem(len).unwrap_or(0);
    all.iter().cycle().skip(begin as usize).take(some.min(all.len())).copied().collect()
}

/// Switches one bug on (0: none), where the build has them.
pub fn switch_on(number: u32) -> Result<(), &'static str> {
    #[cfg(quorate_mutants)]
    {
        quorate_core::mutants::switch_on(number);
        Ok(())
    }
    #[cfg(not(quorate_mutants))]
    if number == 0 {
        Ok(())
    } else {
        Err("this build has no seeded bugs; build it with --cfg quorate_mutants")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bug_has_a_number_of_its_own() {
        // One bug of the list may have a place in the core and another one on the disk: a row for each.
        let rows: Vec<(u32, Tier)> = MUTANTS.iter().map(|mutant| (mutant.number, mutant.tier)).collect();
        for (at, row) in rows.iter().enumerate() {
            assert!(!rows[..at].contains(row), "{row:?} stands there twice");
        }
        let numbers: std::collections::BTreeSet<u32> = MUTANTS.iter().map(|mutant| mutant.number).collect();
        assert!(numbers.contains(&CANARY) && !numbers.contains(&0));
    }

    #[test]
    fn turns_in_a_row_miss_none() {
        let all = [1, 2, 3, 4, 5];
        assert_eq!(in_turn(&all, 2, 0), [1, 2]);
        assert_eq!(in_turn(&all, 2, 1), [3, 4]);
        assert_eq!(in_turn(&all, 2, 2), [5, 1]);
        assert_eq!(in_turn(&all, 9, 3), [3, 4, 5, 1, 2], "no more than there are");
        assert_eq!(in_turn::<u32>(&[], 2, 3), [0; 0]);
    }
}

//! The seeded bugs that the core can be built with (`--cfg quorate_mutants`), and the search for each.

/// A seeded bug: its number in the core, and what it does wrong.
///
/// Numbers up to 42 are those of the list of seeded bugs; those after it are ours.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    pub number: u32,
    pub what: &'static str,
}

/// The bug that every run must find: if it does not, the simulator is blind.
pub const CANARY: u32 = 18;

const fn mutant(number: u32, what: &'static str) -> Mutant {
    Mutant { number, what }
}

/// Every seeded bug there is.
pub const MUTANTS: &[Mutant] = &[
    mutant(1, "votes for a log that is less up to date"),
    mutant(2, "compares only the last index of logs"),
    mutant(3, "votes twice in a term"),
    mutant(4, "forgets its vote at a restart"),
    mutant(6, "takes half of an even number for a majority"),
    mutant(7, "commits entries of earlier terms by counting"),
    mutant(8, "follows the commit beyond what is known to match"),
    mutant(9, "takes entries behind another term's"),
    mutant(10, "takes entries of an older leader"),
    mutant(11, "takes the progress of voters for sorted"),
    mutant(13, "counts a late pre-vote as a vote"),
    mutant(14, "lets the target of a transfer win with any log"),
    mutant(15, "grants before the vote is durable"),
    mutant(16, "asks for votes before its own is durable"),
    mutant(18, "acknowledges entries that are not durable"),
    mutant(19, "counts its own entries that are not durable"),
    mutant(24, "acknowledges before a truncation is durable"),
    mutant(27, "purges before the snapshot is there"),
    mutant(28, "keeps the old membership when a snapshot is installed"),
    mutant(31, "follows a membership from its commit on"),
    mutant(32, "asks only the last voter set of a joint membership"),
    mutant(35, "votes although a leader is alive"),
    mutant(37, "forgets the drift of clocks in its lease"),
    mutant(38, "reads without asking a quorum"),
    mutant(42, "does not wait anew when it hears its leader"),
    mutant(43, "changes members before it has committed anything"),
    mutant(44, "changes members while a change is under way"),
    mutant(45, "reads before it has committed anything"),
    mutant(46, "lets any membership follow another"),
    mutant(47, "reads by its lease although it has given it back"),
    mutant(48, "takes answers of an earlier stream"),
    mutant(49, "takes an append for done that a truncation removes"),
];

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

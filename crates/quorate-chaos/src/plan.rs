//! What shall happen in a round: drawn from the seed alone, so that a run can be repeated.

use std::time::Duration;

use quorate_sim::dice::Dice;

/// One thing that the nemesis does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// How long after the round began.
    pub(crate) at: Duration,
    /// How long it lasts, where it is something that lasts.
    pub(crate) lasts: Duration,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Something is done to processes, and undone later.
    Processes(Blow, Whom),
    /// A fault on some links.
    Links(Shape, Harm),
    FillDisk,
    Transfer,
    Snapshot,
    AddMember,
    RemoveMember,
    ReplaceMember,
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL, and a start later.
    Kill,
    /// SIGSTOP, and SIGCONT later.
    Halt,
    /// SIGTERM, and a start later.
    Terminate,
}

/// Whom it hits, as it turns out when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Leader,
    /// One, counted through all nodes.
    Any(u64),
    /// Three of five, from this one on.
    Majority(u64),
    All,
}

/// Which links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Both ways between the leader and all other nodes; clients still reach it.
    Leader,
    /// The same of the leader and one other, who still hear each other.
    LeaderAndOne(u64),
    /// Both ways between two nodes on one side and all other nodes.
    Two(u64),
    /// From the leader to the others, not back.
    FromLeader,
    /// To the leader, not from it.
    ToLeader,
    /// Both ways between all but neighbours in a ring: who hears whom is not the same for all.
    Ring,
    /// One link, one way.
    One(u64, u64),
    /// From and to clients of one node.
    Clients(u64),
    /// All links between nodes.
    All,
}

/// What is done to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    Cut,
    HalfOpen,
    Refused,
    Slow(Duration),
}

/// A round: what clients do, and what is done to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) lasts: Duration,
    pub(crate) keys: u64,
    /// How long the longest value is.
    pub(crate) value_bytes: u64,
    /// The longest pause of a client between two operations.
    pub(crate) pause: Duration,
    /// How long a client waits for an answer.
    pub(crate) timeout: Duration,
    pub(crate) steps: Vec<Step>,
}

const KINDS: u64 = 10;

fn ms(dice: &mut Dice, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + dice.below(to - from))
}

pub(crate) fn one_of(dice: &mut Dice, numbers: &[u64]) -> u64 {
    dice.pick(numbers).copied().unwrap_or(0)
}

impl Plan {
    /// The plan of a round; `lasts`: how long it may take at the most.
    pub(crate) fn draw(seed: u64, round: u64, lasts: Duration) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ round);
        let longest = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX).max(6001);
        let lasts = ms(&mut dice, 6000, longest);
        // Each round has its own mixture, so that rare pairs come to be alone.
        let kinds: Vec<u64> = (0..KINDS).filter(|_| dice.chance(1, 2)).collect();
        let kinds = if kinds.len() < 2 { (0..KINDS).collect() } else { kinds };
        let gap = one_of(&mut dice, &[300, 1000, 2500]);
        let mut plan = Self {
            lasts,
            keys: 3 + dice.below(5),
            value_bytes: one_of(&mut dice, &[100, 4000, 100_000]),
            pause: ms(&mut dice, 1, 25),
            timeout: ms(&mut dice, 1000, 5000),
            steps: Vec::new(),
        };
        let mut at = ms(&mut dice, 0, 500);
        while at < lasts {
            let what = What::draw(one_of(&mut dice, &kinds), &mut dice);
            let lasts =
                if dice.chance(1, 6) { ms(&mut dice, 2000, 10_000) } else { ms(&mut dice, 100, 2500) };
            plan.steps.push(Step { at, lasts, what });
            at += ms(&mut dice, 50, 2 * gap);
        }
        plan
    }
}

impl Plan {
    /// Leaves out what would come later.
    pub(crate) fn shorten(&mut self, lasts: Duration) {
        self.lasts = self.lasts.min(lasts);
        self.steps.retain(|step| step.at < self.lasts);
    }
}

impl What {
    fn draw(kind: u64, dice: &mut Dice) -> Self {
        match kind {
            0 => Self::Processes(Blow::Kill, Whom::draw(dice)),
            1 => Self::Processes(Blow::Halt, Whom::draw(dice)),
            2 if dice.chance(1, 3) => Self::Processes(Blow::Terminate, Whom::draw(dice)),
            2 => Self::Processes(Blow::Kill, Whom::Leader),
            3 => Self::Links(Shape::draw(dice), Harm::Cut),
            4 => Self::Links(Shape::draw(dice), Harm::HalfOpen),
            5 => Self::Links(Shape::draw(dice), Harm::Refused),
            6 => Self::Links(Shape::draw(dice), Harm::Slow(ms(dice, 5, 800))),
            7 => Self::FillDisk,
            8 if dice.chance(1, 2) => Self::Transfer,
            8 => Self::Snapshot,
            _ => match dice.below(3) {
                0 => Self::AddMember,
                1 => Self::RemoveMember,
                _ => Self::ReplaceMember,
            },
        }
    }
}

impl Whom {
    fn draw(dice: &mut Dice) -> Self {
        match dice.below(10) {
            0..4 => Self::Leader,
            4..8 => Self::Any(dice.below(60)),
            8 => Self::Majority(dice.below(60)),
            _ => Self::All,
        }
    }
}

impl Shape {
    fn draw(dice: &mut Dice) -> Self {
        match dice.below(9) {
            0 => Self::Leader,
            1 => Self::Two(dice.below(60)),
            2 => Self::FromLeader,
            3 => Self::ToLeader,
            4 => Self::Ring,
            5 => Self::One(dice.below(60), dice.below(60)),
            6 => Self::Clients(dice.below(60)),
            7 => Self::LeaderAndOne(dice.below(60)),
            _ => Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_rounds_and_no_two_are_alike() {
        let draw = |seed, round| Plan::draw(seed, round, Duration::from_secs(20));
        assert_eq!(draw(7, 3), draw(7, 3));
        assert_ne!(draw(7, 3), draw(7, 4));
        assert_ne!(draw(7, 3), draw(8, 3));
    }

    #[test]
    fn all_that_can_happen_does_and_in_its_time() {
        let mut seen = std::collections::BTreeSet::new();
        for round in 0..200 {
            let plan = Plan::draw(1, round, Duration::from_secs(20));
            assert!(!plan.steps.is_empty());
            assert!(
                plan.steps.iter().all(|step| step.at < plan.lasts && step.lasts < Duration::from_secs(10))
            );
            // The first words, without what is only a number.
            seen.extend(
                plan.steps.iter().map(|step| format!("{:?}", step.what).replace(char::is_numeric, "")),
            );
        }
        let all = |begin: &str| seen.iter().filter(|what| what.starts_with(begin)).count();
        assert_eq!((all("Processes("), all("Links("), seen.len()), (12, 36, 54), "{seen:#?}");
    }
}

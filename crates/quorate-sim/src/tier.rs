//! What is simulated: the core alone, or the whole library.

use std::fmt;
use std::str::FromStr;

use crate::plan::Plan;
use crate::run::Outcome;
use crate::tier_a;
#[cfg(feature = "library")]
use crate::tier_b;
#[cfg(feature = "library")]
use crate::tier_s;
use crate::trace::Trace;

/// A tier of the proof that runs from seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// The core alone, effects as values.
    #[default]
    A,
    /// The whole library, on a runtime with virtual time, over simulated disks and a simulated network.
    #[cfg(feature = "library")]
    B,
    /// What one node keeps, alone.
    #[cfg(feature = "library")]
    S,
}

impl Tier {
    /// Runs one seed to its end, and panics where an invariant is broken.
    pub fn run(self, seed: u64, plan: &Plan, trace: Option<Trace>) -> Outcome {
        match self {
            Self::A => tier_a::run_seed(seed, plan, trace),
            #[cfg(feature = "library")]
            Self::B => tier_b::run_seed(seed, plan, trace),
            #[cfg(feature = "library")]
            Self::S => tier_s::run_seed(seed, plan, trace),
        }
    }

    /// Seeds that a seeded bug has to hide in, where nobody says how many.
    pub fn mutant_seeds(self) -> u64 {
        match self {
            Self::A => 20_000,
            #[cfg(feature = "library")]
            Self::B => 1_000,
            #[cfg(feature = "library")]
            Self::S => 10_000,
        }
    }

    /// Most runs that it may take to make a failing one shorter.
    pub fn shrink_runs(self) -> u64 {
        match self {
            Self::A => 4000,
            #[cfg(feature = "library")]
            Self::B => 300,
            #[cfg(feature = "library")]
            Self::S => 2000,
        }
    }

    /// Seeds of a search, where nobody says how many.
    pub fn search_seeds(self) -> u64 {
        match self {
            Self::A => 2000,
            #[cfg(feature = "library")]
            Self::B => 200,
            #[cfg(feature = "library")]
            Self::S => 5000,
        }
    }

    /// What a run in CI does at the least; a run that does less proves little.
    pub fn floor(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::A => &[
                ("elections won", 20_000),
                ("snapshots installed", 500),
                ("membership changes committed", 2_000),
                ("writes acknowledged", 50_000),
                ("reads by a quorum", 5_000),
                ("reads by the lease", 5_000),
                ("fault: crashes", 5_000),
            ],
            #[cfg(feature = "library")]
            Self::B => &[
                ("elections won", 400),
                ("snapshots installed", 300),
                ("membership changes committed", 400),
                ("writes acknowledged", 25_000),
                ("reads by a quorum", 15_000),
                ("reads by the lease", 4_000),
                ("fault: crashes", 300),
                ("fault: messages lost", 5_000),
                ("fault: damage to disks", 200),
                ("histories of keys checked", 1_000),
            ],
            #[cfg(feature = "library")]
            Self::S => &[
                ("writes acknowledged", 20_000),
                ("snapshots built", 2_000),
                ("fault: crashes", 10_000),
                ("fault: disk errors", 500),
                ("fault: damage to disks", 500),
            ],
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            #[cfg(feature = "library")]
            Self::B => "b",
            #[cfg(feature = "library")]
            Self::S => "s",
        })
    }
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "a" => Ok(Self::A),
            #[cfg(feature = "library")]
            "b" => Ok(Self::B),
            #[cfg(feature = "library")]
            "s" => Ok(Self::S),
            _ => Err(format!("no tier `{text}`: there are `a`, `b` and `s`")),
        }
    }
}

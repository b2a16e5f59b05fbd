//! The suites that show whether a store keeps its contract: sound stores pass, and each kind of mistake is caught.
#![cfg(not(feature = "single-threaded"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(unreachable_pub, reason = "shared by the modules of one test binary")]

mod crash;
mod file_store;
mod log;
mod look_alike;
mod memory;
mod state;

use quorate::vote::leader_id_std;

quorate::declare_raft_types!(
    /// Several leaders per term.
    pub Adv
);

quorate::declare_raft_types!(
    /// One leader per term.
    pub Std:
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

//! Suites that show whether what an application brings keeps its contract, and short ways to make entries for tests.
//!
//! [`log`] asks a log store and a state machine everything that a node relies on while the machine stays up.
//! [`crash`] asks a log store what it still holds after the power failed.
//! [`network`] asks a network what a node relies on when connections fail.
//! [`runtime`] asks an async runtime for everything that a node takes from it.

pub mod common;
pub mod crash;
pub mod log;
pub mod network;
pub mod proxy;
pub mod runtime;

pub use common::blank_ent;
pub use common::log_id;
pub use common::membership_ent;

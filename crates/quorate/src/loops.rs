//! The loops that own an outside thing each, and pull their work from the host.

pub(crate) mod append;
pub(crate) mod apply;
pub(crate) mod ask;
pub(crate) mod clock;
pub(crate) mod flight;
pub(crate) mod heartbeat;
pub(crate) mod log;
mod pace;
pub(crate) mod snapshot;

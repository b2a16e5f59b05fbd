//! Log ids and the arithmetic on their indexes.

pub use quorate_core::ids::LogId;
pub use quorate_core::ids::LogIdOptionExt;
pub use quorate_core::ids::LogIndexOptionExt;
pub use quorate_core::ids::RaftLogId;

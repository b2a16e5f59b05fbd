//! Tier B: the whole library. The real loops, codec, log, snapshot files, state machine and clients, on a runtime with
//! virtual time, over a simulated disk and a simulated network; one thread, one seed, the same trace every time.

pub mod clock;
pub mod runtime;
pub mod world;

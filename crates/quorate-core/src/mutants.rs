//! Seeded bugs, to see that the simulator finds them. Compiled only under `--cfg quorate_mutants`; without it,
//! `mutant!` is `false` and nothing of this exists.
//!
//! Each bug is a line at its place, here and in the crates that build on the core. One at a time is switched on, for
//! the whole process.

/// Whether the seeded bug with this number is switched on.
#[cfg(quorate_mutants)]
#[doc(hidden)]
#[macro_export]
macro_rules! mutant {
    ($number:literal) => {
        $crate::mutants::is_on($number)
    };
}

/// Whether the seeded bug with this number is switched on: there are none in this build.
#[cfg(not(quorate_mutants))]
#[doc(hidden)]
#[macro_export]
macro_rules! mutant {
    ($number:literal) => {
        false
    };
}

#[cfg(quorate_mutants)]
static ON: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);

/// Switches on the bug with this number, and the one before off; 0 is none.
#[cfg(quorate_mutants)]
pub fn switch_on(number: u32) {
    ON.store(number, core::sync::atomic::Ordering::Relaxed);
}

/// Whether the bug with this number is on.
#[cfg(quorate_mutants)]
pub fn is_on(number: u32) -> bool {
    ON.load(core::sync::atomic::Ordering::Relaxed) == number
}

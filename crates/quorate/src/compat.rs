//! Reading data of an older format where a newer one is expected (feature `compat`).
//!
//! A field that was written in one format by an older program, and in another by this one, is declared as
//! [`Compat`]; reading tries the old format first, and [`Upgrade`] makes the new value of either.
//!
//! ```
//! use quorate::compat::Compat;
//! use quorate::compat::Upgrade;
//!
//! /// Before, a position was a bare number.
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Old(u64);
//!
//! #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
//! struct Position {
//!     term: u64,
//!     index: u64,
//! }
//!
//! impl Upgrade<Position> for Old {
//!     fn upgrade(self) -> Position {
//!         Position { term: 0, index: self.0 }
//!     }
//! }
//!
//! let old: Compat<Old, Position> = serde_json::from_str("7")?;
//! let new: Compat<Old, Position> = serde_json::from_str(r#"{"term":2,"index":7}"#)?;
//! assert_eq!(old.upgrade(), Position { term: 0, index: 7 });
//! assert_eq!(new.upgrade(), Position { term: 2, index: 7 });
//! # Ok::<(), serde_json::Error>(())
//! ```

use serde::Deserialize;
use serde::Serialize;

/// A value of an old type that says what it is in the new one.
pub trait Upgrade<To> {
    /// The same thing, as the new type has it.
    ///
    /// May panic where the old value does not hold all that the new one needs; then the type implements
    /// [`try_upgrade`](Self::try_upgrade), which gives it back instead.
    fn upgrade(self) -> To;

    /// The same thing, as the new type has it, or the old one back with the reason why it cannot be.
    fn try_upgrade(self) -> Result<To, (Self, &'static str)>
    where
        Self: Sized,
    {
        Ok(self.upgrade())
    }
}

/// A value as the old type or the new one has it; in text, nothing but the value itself.
///
/// Reading tries the old type first. The two must differ in what they read: where the old type accepts what the new
/// one wrote, the value is taken for an old one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Compat<From, To>
where
    From: Upgrade<To>,
{
    /// As it was.
    Old(From),
    /// As it is.
    New(To),
}

impl<From, To> Upgrade<To> for Compat<From, To>
where
    From: Upgrade<To>,
{
    fn upgrade(self) -> To {
        match self {
            Self::Old(old) => old.upgrade(),
            Self::New(new) => new,
        }
    }

    fn try_upgrade(self) -> Result<To, (Self, &'static str)> {
        match self {
            Self::Old(old) => old.try_upgrade().map_err(|(old, why)| (Self::Old(old), why)),
            Self::New(new) => Ok(new),
        }
    }
}

//! Bounds that a cargo feature switches on or off.

#[cfg(not(feature = "single-threaded"))]
mod threads {
    /// `Send`, unless the feature `single-threaded` is on.
    pub trait OptionalSend: Send {}
    impl<T: Send + ?Sized> OptionalSend for T {}

    /// `Sync`, unless the feature `single-threaded` is on.
    pub trait OptionalSync: Sync {}
    impl<T: Sync + ?Sized> OptionalSync for T {}
}

#[cfg(feature = "single-threaded")]
mod threads {
    /// `Send`, unless the feature `single-threaded` is on.
    pub trait OptionalSend {}
    impl<T: ?Sized> OptionalSend for T {}

    /// `Sync`, unless the feature `single-threaded` is on.
    pub trait OptionalSync {}
    impl<T: ?Sized> OptionalSync for T {}
}

pub use threads::OptionalSend;
pub use threads::OptionalSync;

/// `Serialize + DeserializeOwned`, if the feature `serde` is on.
#[cfg(feature = "serde")]
pub trait OptionalSerde: serde::Serialize + for<'a> serde::Deserialize<'a> {}
#[cfg(feature = "serde")]
impl<T> OptionalSerde for T where T: serde::Serialize + for<'a> serde::Deserialize<'a> {}

/// `Serialize + DeserializeOwned`, if the feature `serde` is on.
#[cfg(not(feature = "serde"))]
pub trait OptionalSerde {}
#[cfg(not(feature = "serde"))]
impl<T> OptionalSerde for T {}

/// The three optional bounds together.
pub trait OptionalFeatures: OptionalSend + OptionalSync + OptionalSerde {}
impl<T> OptionalFeatures for T where T: OptionalSend + OptionalSync + OptionalSerde {}

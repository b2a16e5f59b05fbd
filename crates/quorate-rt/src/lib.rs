//! The async runtime that a node runs on: tasks, time, dice, channels and locks.
//!
//! Quorate names no runtime. Whoever runs on another one than tokio, for which `quorate-rt-tokio` speaks, implements
//! [`AsyncRuntime`] for it, and finds in [`testing`] whether it does what a node relies on.
//!
//! What is written for the trait runs on any of them:
//!
//! ```
//! use std::time::Duration;
//!
//! use quorate_rt::AsyncRuntime;
//! use quorate_rt::Oneshot;
//! use quorate_rt::OneshotSender;
//!
//! async fn answer_in_time<Rt: AsyncRuntime>() -> Option<u64> {
//!     let (tx, rx) = Rt::Oneshot::channel();
//!     drop(Rt::spawn(async move { tx.send(42) }));
//!     Rt::timeout(Duration::from_secs(1), rx).await.ok()?.ok()
//! }
//! ```
//!
//! Beside the trait there are values that belong to a task ([`task_local`](mod@task_local)) and dice that fall the same
//! way in each run ([`deterministic_rng`]). With the feature `single-threaded` nothing need be `Send` or `Sync`.
#![forbid(unsafe_code)]

mod async_runtime;
mod blocking;
mod boxes;
pub mod deterministic_rng;
pub mod instant;
pub mod mpsc;
pub mod mutex;
pub mod oneshot;
pub mod task_local;
pub mod testing;
pub mod watch;

pub use quorate_core::bounds::OptionalSend;
pub use quorate_core::bounds::OptionalSync;

pub use async_runtime::AsyncRuntime;
pub use async_runtime::Select2;
pub use async_runtime::Select3;
pub use async_runtime::Select4;
pub use boxes::BoxAny;
pub use boxes::BoxAsyncOnceMut;
pub use boxes::BoxFuture;
pub use boxes::BoxIterator;
pub use boxes::BoxMaybeAsyncOnceMut;
pub use boxes::BoxOnce;
pub use boxes::BoxStream;
pub use instant::Instant;
pub use mpsc::Mpsc;
pub use mpsc::MpscReceiver;
pub use mpsc::MpscSender;
pub use mpsc::MpscWeakSender;
pub use mpsc::SendError;
pub use mpsc::TryRecvError;
pub use mutex::Mutex;
pub use mutex::OwnedGuard;
pub use oneshot::Oneshot;
pub use oneshot::OneshotSender;
pub use watch::RecvError;
pub use watch::Watch;
pub use watch::WatchReceiver;
pub use watch::WatchSender;

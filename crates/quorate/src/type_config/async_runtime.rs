//! The async runtime of a type config: the traits of [`crate::rt`] that applications meet.

pub use quorate_rt::AsyncRuntime;
pub use quorate_rt::Instant;
pub use quorate_rt::Mpsc;
pub use quorate_rt::MpscReceiver;
pub use quorate_rt::MpscSender;
pub use quorate_rt::MpscWeakSender;
pub use quorate_rt::Mutex;
pub use quorate_rt::Oneshot;
pub use quorate_rt::OneshotSender;
pub use quorate_rt::RecvError;
pub use quorate_rt::Select2;
pub use quorate_rt::Select3;
pub use quorate_rt::Select4;
pub use quorate_rt::SendError;
pub use quorate_rt::TryRecvError;
pub use quorate_rt::Watch;
pub use quorate_rt::WatchReceiver;
pub use quorate_rt::WatchSender;
pub use quorate_rt::instant;
pub use quorate_rt::mpsc;
pub use quorate_rt::mutex;
pub use quorate_rt::oneshot;
pub use quorate_rt::watch;
#[cfg(feature = "tokio-rt")]
#[deprecated(note = "depend on `quorate-rt-tokio`")]
pub use quorate_rt_tokio::TokioInstant;

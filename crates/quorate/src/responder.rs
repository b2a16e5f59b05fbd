//! Who is told what became of a write.

use crate::base::OptionalSend;
use crate::client::ClientWriteResult;
use crate::runtime::OneshotSender;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::OneshotReceiverOf;
use crate::type_config::alias::OneshotSenderOf;
use crate::type_config::alias::WriteResponderOf;

/// Is told what became of a write. Both methods are called by the node's own task: they must not block.
pub trait Responder<C: RaftTypeConfig, T>: OptionalSend + Sized + 'static {
    /// The entry is committed and goes to the state machine next.
    fn on_commit(&mut self, _log_id: LogIdOf<C>) {}

    /// It was applied, or it failed.
    fn on_complete(self, result: T);
}

/// Sends the result through a channel.
pub struct OneshotResponder<C: RaftTypeConfig, T: OptionalSend> {
    tx: OneshotSenderOf<C, T>,
}

impl<C: RaftTypeConfig, T: OptionalSend> OneshotResponder<C, T> {
    /// Through this channel.
    pub fn new(tx: OneshotSenderOf<C, T>) -> Self {
        Self { tx }
    }

    /// Through a new channel, with its other end.
    pub fn new_pair() -> (Self, OneshotReceiverOf<C, T>) {
        let (tx, rx) = C::oneshot();
        (Self { tx }, rx)
    }
}

impl<C: RaftTypeConfig, T: OptionalSend + 'static> Responder<C, T> for OneshotResponder<C, T> {
    fn on_complete(self, result: T) {
        // Whoever waited may have gone; the result is nobody else's business.
        let _ = self.tx.send(result);
    }
}

/// Sends the commit and the result through a channel each.
pub struct ProgressResponder<C: RaftTypeConfig, T: OptionalSend> {
    commit: Option<OneshotSenderOf<C, LogIdOf<C>>>,
    complete: OneshotSenderOf<C, T>,
}

impl<C: RaftTypeConfig, T: OptionalSend> ProgressResponder<C, T> {
    /// Through new channels: the other ends of that for the commit and that for the result.
    pub fn new() -> (Self, OneshotReceiverOf<C, LogIdOf<C>>, OneshotReceiverOf<C, T>) {
        let (commit, committed) = C::oneshot();
        let (complete, completed) = C::oneshot();
        (Self { commit: Some(commit), complete }, committed, completed)
    }

    /// Without a channel for the commit.
    pub fn complete_only() -> (Self, OneshotReceiverOf<C, T>) {
        let (complete, completed) = C::oneshot();
        (Self { commit: None, complete }, completed)
    }
}

impl<C: RaftTypeConfig, T: OptionalSend + 'static> Responder<C, T> for ProgressResponder<C, T> {
    fn on_commit(&mut self, log_id: LogIdOf<C>) {
        if let Some(commit) = self.commit.take() {
            let _ = commit.send(log_id);
        }
    }

    fn on_complete(self, result: T) {
        let _ = self.complete.send(result);
    }
}

/// Whom the node itself has to tell.
pub(crate) enum CoreResponder<C: RaftTypeConfig> {
    /// A call that waits.
    Oneshot(OneshotSenderOf<C, ClientWriteResult<C>>),
    /// Who the application named.
    User(WriteResponderOf<C>),
}

impl<C: RaftTypeConfig> CoreResponder<C> {
    pub(crate) fn on_commit(&mut self, log_id: LogIdOf<C>) {
        match self {
            Self::Oneshot(_) => {}
            Self::User(responder) => responder.on_commit(log_id),
        }
    }

    pub(crate) fn on_complete(self, result: ClientWriteResult<C>) {
        match self {
            Self::Oneshot(tx) => {
                let _ = tx.send(result);
            }
            Self::User(responder) => responder.on_complete(result),
        }
    }
}

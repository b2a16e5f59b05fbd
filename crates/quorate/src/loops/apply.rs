//! Sole owner of the state machine: applies committed entries, answers clients, builds and installs snapshots.
//!
//! It runs in a task of its own: a state machine that is slow, or blocks its thread, delays no heartbeat.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use quorate_core::message::Reply;
use quorate_core::work::Apply;

use crate::base::BoxAsyncOnceMut;
use crate::base::OptionalSend;
use crate::clients::Taken;
use crate::counting::BatchOf;
use crate::counting::CommandName;
use crate::counting::NotificationName;
use crate::counting::SMCommandName;
use crate::entry::RaftEntry;
use crate::errors::ErrorSubject;
use crate::errors::ErrorVerb;
use crate::errors::Fatal;
use crate::errors::StorageError;
use crate::host::Host;
use crate::runtime::AsyncRuntime;
use crate::runtime::MpscReceiver;
use crate::runtime::OneshotSender;
use crate::runtime::Select2;
use crate::runtime::TryRecvError;
use crate::storage::ApplyResponder;
use crate::storage::EntryResponder;
use crate::storage::RaftLogReader;
use crate::storage::RaftSnapshotBuilder;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::CommittedLeaderIdOf;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::MpscReceiverOf;
use crate::type_config::alias::OneshotSenderOf;
use crate::type_config::alias::SmSnapshotOf;
use crate::vote::Vote;

/// How long a busy state machine may hold up the end of its node.
pub(crate) const MACHINE_STOP_MAX: Duration = Duration::from_secs(5);

/// A closure to run with the state machine between two batches.
///
/// A type of its own: with the bare box in its place, the compiler cannot tell that a future that sends one is `Send`.
pub(crate) struct Command<SM>(pub(crate) BoxAsyncOnceMut<'static, SM>);

/// A snapshot that the replica accepted, on its way into the state machine.
pub(crate) struct Offer<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    pub(crate) snapshot: SmSnapshotOf<C, SM>,
    /// Is told what to answer to the sender.
    pub(crate) done: OneshotSenderOf<C, Option<Reply<Vote<C::LeaderId>>>>,
}

/// Where the offered snapshot waits; the replica takes one at a time.
pub(crate) type Incoming<C, SM> = Arc<Mutex<Option<Offer<C, SM>>>>;

/// The loop's possessions.
pub(crate) struct Applier<C, SM, LR>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
    LR: RaftLogReader<C>,
{
    pub(crate) host: Arc<Host<C>>,
    pub(crate) machine: SM,
    pub(crate) reader: LR,
    pub(crate) commands: MpscReceiverOf<C, Command<SM>>,
    pub(crate) incoming: Incoming<C, SM>,
}

/// Ends with the task, however that ends: a node whose state machine panicked has stopped.
struct Alive<C: RaftTypeConfig> {
    host: Arc<Host<C>>,
}

impl<C: RaftTypeConfig> Drop for Alive<C> {
    fn drop(&mut self) {
        self.host.stop(Fatal::Panicked);
    }
}

impl<C, SM, LR> Applier<C, SM, LR>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
    LR: RaftLogReader<C>,
{
    /// Runs until the node stops, or the state machine fails: then the node stops.
    pub(crate) async fn run(mut self) {
        let _alive = Alive { host: self.host.clone() };
        loop {
            self.run_commands().await;
            let (stopped, install, build, work) = self.host.step(|state, _| {
                let install = state.replica.next_install().is_some();
                let build = !install && state.replica.ready().build;
                let apply = if install { None } else { state.replica.next_apply() };
                let work = apply.map(|apply| {
                    let clients = state.clients.take_upto(apply.last.index);
                    (apply, clients)
                });
                (state.stopped.is_some(), install, build, work)
            });
            if stopped {
                return;
            }
            let idle = !install && !build && work.is_none();
            let done = match (install, work) {
                (true, _) => self.install().await,
                (false, Some((apply, clients))) => self.apply(apply, clients).await,
                (false, None) => Ok(()),
            };
            // As of when what was at hand is applied.
            if build && done.is_ok() && self.host.step(|state, _| state.replica.next_build()) {
                self.build().await;
            }
            if let Err(error) = done {
                self.host.stop(Fatal::StorageError(error));
                return;
            }
            if idle {
                self.host.apply_work.wait().await;
            }
        }
    }

    /// Closures of users, and of peers that need the current snapshot.
    async fn run_commands(&mut self) {
        // A state machine that was left in the middle of a batch, as its node stopped, is nobody's to look at.
        while self.host.stopped().is_none() {
            match self.commands.try_recv() {
                Ok(command) => {
                    // A closure that panics is its caller's affair: the caller sees that no answer comes.
                    let run = AssertUnwindSafe(async { (command.0)(&mut self.machine).await }).catch_unwind();
                    if let Some(Err(_)) = unless_stopped(&self.host, run).await {
                        tracing::error!(id = %self.host.id, "a closure panicked with the state machine");
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    async fn apply(
        &mut self,
        apply: Apply<CommittedLeaderIdOf<C>>,
        mut clients: Taken<C>,
    ) -> Result<(), StorageError<C>> {
        self.host.counting.command(CommandName::StateMachine(SMCommandName::Apply));
        let Apply { first, last } = apply;
        if quorate_core::mutant!(100) {
            self.host.step(|state, _| state.replica.applied_to(last.clone()));
        }
        let read = self.reader.entries_stream(first..last.index.saturating_add(1)).await;
        let mut expected = first;
        let entries = read.map(|entry| with_client(entry?, &last, &mut expected, &mut clients));
        let applied = unless_stopped(&self.host, self.machine.apply(Box::pin(entries))).await;
        let Some(applied) = applied else { return Ok(()) };
        applied.map_err(|error| {
            StorageError::from_io_error(ErrorSubject::Apply(last.clone()), ErrorVerb::Write, error)
        })?;
        if expected != last.index.saturating_add(1) {
            let missing = format!("entry {expected} of {first}..={} was not read or not applied", last.index);
            return Err(StorageError::read_log_at_index(expected, C::err_from_string(missing)));
        }
        self.host.step(|state, _| {
            state.replica.applied_to(last);
            state.keep_snapshot_meta_ahead();
        });
        let count = expected.saturating_sub(first);
        self.host.recording.tell(|recorder| recorder.record_apply_batch(count));
        self.host.counting.batch(BatchOf::Applied, count);
        self.host.counting.notification(NotificationName::StateMachine);
        Ok(())
    }

    async fn install(&mut self) -> Result<(), StorageError<C>> {
        let offer = self.incoming.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Offer { snapshot, done }) = offer else {
            self.host.step(|state, _| state.replica.install_failed());
            return Ok(());
        };
        self.host.counting.command(CommandName::StateMachine(SMCommandName::InstallFullSnapshot));
        let meta = snapshot.meta;
        let install = self.machine.install_snapshot(&meta, snapshot.snapshot);
        let Some(installed) = unless_stopped(&self.host, install).await else { return Ok(()) };
        installed.map_err(|error| {
            StorageError::from_io_error(
                ErrorSubject::Snapshot(Some(meta.signature())),
                ErrorVerb::Write,
                error,
            )
        })?;
        let reply = self.host.step(|state, _| {
            let reply = state.replica.installed();
            if reply.is_some() {
                state.reset_membership(meta.last_membership.clone());
                state.snapshot_meta = meta;
            }
            reply
        });
        // The sender may have gone; the snapshot is installed all the same.
        let _ = done.send(reply);
        Ok(())
    }

    /// The builder writes beside everything else, in a task of its own.
    async fn build(&mut self) {
        let host = self.host.clone();
        host.counting.command(CommandName::StateMachine(SMCommandName::BuildSnapshot));
        let Some(mut builder) = self.machine.try_create_snapshot_builder(false).await else {
            host.step(|state, _| state.replica.built(None));
            return;
        };
        drop(C::spawn(async move {
            let build = AssertUnwindSafe(builder.build_snapshot()).catch_unwind();
            match C::AsyncRuntime::select2(build, host.until_stopped()).await {
                Select2::First(Ok(Ok(snapshot))) => {
                    host.counting.notification(NotificationName::StateMachine);
                    host.step(|state, _| {
                        state.replica.built(snapshot.meta.last_log_id.clone());
                        state.keep_snapshot_meta(snapshot.meta);
                    });
                }
                Select2::First(Ok(Err(error))) => {
                    let about = ErrorSubject::Snapshot(None);
                    host.stop(Fatal::StorageError(StorageError::from_io_error(
                        about,
                        ErrorVerb::Write,
                        error,
                    )));
                }
                Select2::First(Err(_)) => host.stop(Fatal::Panicked),
                Select2::Second(()) => {}
            }
        }));
    }
}

/// The outcome of `work`; `None` if the node stopped and `work` did not end soon after.
async fn unless_stopped<C, T>(host: &Host<C>, work: impl Future<Output = T> + OptionalSend) -> Option<T>
where
    C: RaftTypeConfig,
    T: OptionalSend,
{
    let stopped = async {
        host.until_stopped().await;
        C::sleep(MACHINE_STOP_MAX).await;
    };
    match C::AsyncRuntime::select2(work, stopped).await {
        Select2::First(out) => Some(out),
        Select2::Second(()) => None,
    }
}

/// An entry together with the client that waits for it. Entries must come without a gap, and end with the committed
/// `last`.
fn with_client<C: RaftTypeConfig>(
    entry: C::Entry,
    last: &LogIdOf<C>,
    expected: &mut u64,
    clients: &mut Taken<C>,
) -> Result<EntryResponder<C>, io::Error> {
    let log_id = entry.log_id();
    if log_id.index != *expected || (log_id.index >= last.index && log_id != *last) {
        return Err(io::Error::other(format!(
            "read entry {log_id} from the log store, expected index {expected} of those up to {last}"
        )));
    }
    *expected = expected.saturating_add(1);
    let responder = clients.take(log_id.index).map(|mut client| {
        client.on_commit(log_id.clone());
        ApplyResponder::new(log_id, entry.get_membership(), client)
    });
    Ok((entry, responder))
}

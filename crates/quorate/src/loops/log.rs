//! Sole owner of the log store: does the writes in the order in which the replica asked for them.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_core::message::WriteSeq;
use quorate_core::work::Write;

use crate::base::OptionalSend;
use crate::counting::BatchOf;
use crate::counting::CommandName;
use crate::counting::NotificationName;
use crate::entry::RaftEntry;
use crate::entry::RaftPayload;
use crate::errors::ErrorSubject;
use crate::errors::ErrorVerb;
use crate::errors::Fatal;
use crate::errors::StorageError;
use crate::host::Host;
use crate::host::Pending;
use crate::runtime::OneshotSender;
use crate::storage::IOFlushed;
use crate::storage::RaftLogStorage;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::InstantOf;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::OneshotSenderOf;
use crate::type_config::alias::VoteOf;
use crate::vote::RaftVote;

/// Loops that wait for a reader of the log store; only its owner can make one.
pub(crate) struct Readers<C: RaftTypeConfig, LR: OptionalSend> {
    waiting: Mutex<Vec<OneshotSenderOf<C, LR>>>,
}

impl<C: RaftTypeConfig, LR: OptionalSend> Default for Readers<C, LR> {
    fn default() -> Self {
        Self { waiting: Mutex::new(Vec::new()) }
    }
}

impl<C: RaftTypeConfig, LR: OptionalSend> Readers<C, LR> {
    /// A new reader; `None` if the node has stopped.
    pub(crate) async fn get(&self, host: &Host<C>) -> Option<LR> {
        let (tx, rx) = C::oneshot();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(tx);
        host.log_work.raise();
        rx.await.ok()
    }

    fn take(&self) -> Vec<OneshotSenderOf<C, LR>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs until the node stops, or the store fails: then the node stops.
pub(crate) async fn run<C, LS>(host: Arc<Host<C>>, mut store: LS, readers: Arc<Readers<C, LS::LogReader>>)
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
{
    let mut appended: WriteSeq = 0;
    let mut next = None;
    let lingers = host.config.api_batch_linger_ms > 0;
    let mut linger_until = None;
    loop {
        // Also between writes: a store that is never idle must not keep a new peer waiting.
        for waiting in readers.take() {
            // Whoever asked may have gone.
            let _ = waiting.send(store.get_log_reader().await);
        }
        if lingers {
            linger(&host, &mut linger_until).await;
        }
        let pulled = match next.take() {
            Some(pulled) => Some(pulled),
            None => host.step(|state, _| pull(state)),
        };
        let Some((write, entries)) = pulled else {
            host.log_work.wait().await;
            if host.stopped().is_some() {
                return;
            }
            continue;
        };
        host.counting.command(name_of::<C>(&write));
        let done = match write {
            Write::Append { seq, .. } => {
                appended = seq;
                linger_until = None;
                append(&host, &mut store, seq, entries).await.map(|()| {
                    next = host.step(|state, _| {
                        state.replica.written(seq);
                        if lingers { None } else { pull(state) }
                    });
                })
            }
            Write::Vote { seq, vote } => {
                let vote = VoteOf::<C>::from_leader_id(vote.leader_id, vote.committed);
                in_order(&host, appended, store.save_vote(&vote), ErrorSubject::Vote)
                    .await
                    .map(|()| flushed(&host, seq))
            }
            Write::Truncate { seq, after } => {
                let truncated = store.truncate_after(after);
                in_order(&host, appended, truncated, ErrorSubject::Logs).await.map(|()| flushed(&host, seq))
            }
            Write::Purge { upto } => {
                let purged = store.purge(upto.clone()).await;
                purged.map_err(|error| failed(ErrorSubject::Logs, ErrorVerb::Delete, error)).map(|()| {
                    host.step(|state, _| state.replica.purge_finished(&upto));
                })
            }
            Write::Committed { commit } => save_committed(&host, &mut store, commit).await,
        };
        if let Err(fatal) = done {
            host.stop(fatal);
            return;
        }
    }
}

fn name_of<C: RaftTypeConfig>(write: &Write<C::LeaderId>) -> CommandName {
    match write {
        Write::Append { .. } => CommandName::AppendEntries,
        Write::Vote { .. } => CommandName::SaveVote,
        Write::Truncate { .. } => CommandName::TruncateLog,
        Write::Purge { .. } => CommandName::PurgeLog,
        Write::Committed { .. } => CommandName::SaveCommittedAndApply,
    }
}

/// Waits, on a leader, until what clients write makes a full batch, or the oldest of it has waited for as long as the
/// configuration lets it. Nothing but an append waits.
async fn linger<C: RaftTypeConfig>(host: &Host<C>, until: &mut Option<InstantOf<C>>) {
    let full = host.config.api_batch_capacity.max(1) as usize;
    let gathers = || {
        host.look(|state, _| {
            let leads = state.replica.leading().is_some() && state.stopped.is_none();
            leads && state.replica.append_is_next() && state.pending.len() < full
        })
    };
    while gathers() {
        let linger = Duration::from_millis(host.config.api_batch_linger_ms);
        let until = *until.get_or_insert_with(|| C::now() + linger);
        if C::timeout_at(until, host.log_work.wait()).await.is_err() {
            return;
        }
    }
}

type Pulled<C> = (Write<<C as RaftTypeConfig>::LeaderId>, Vec<Pending<C>>);

/// The next write, with its entries if it is an append.
fn pull<C: RaftTypeConfig>(state: &mut crate::host::State<C>) -> Option<Pulled<C>> {
    if state.stopped.is_some() {
        return None;
    }
    let write = state.replica.next_write()?;
    let entries = match &write {
        Write::Append { first, last, .. } => {
            state.take_pending(last.index.saturating_sub(*first).saturating_add(1))
        }
        _ => Vec::new(),
    };
    Some((write, entries))
}

/// Appends, and lets the store say later, from wherever it likes, that the entries are durable.
async fn append<C, LS>(
    host: &Arc<Host<C>>,
    store: &mut LS,
    seq: WriteSeq,
    entries: Vec<Pending<C>>,
) -> Result<(), Fatal<C>>
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
{
    let fate = Arc::new(AtomicU8::new(APPENDING));
    let flush = Flush { host: host.clone(), seq, fate: fate.clone() };
    let callback = IOFlushed::notify(move |result| flush.tell(result));
    let writes = entries.iter().filter(|pending| matches!(pending, Pending::Payload(..))).count() as u64;
    host.recording.tell(|recorder| {
        recorder.record_append_batch(entries.len() as u64);
        if writes > 0 {
            recorder.record_write_batch(writes);
        }
    });
    let entries: Vec<C::Entry> = entries.into_iter().map(entry_of).collect();
    host.counting.batch(BatchOf::Appended, entries.len() as u64);
    host.counting.batch(BatchOf::Written, writes);
    if let Some(last) = entries.last() {
        host.counting.submitted(last.index().saturating_add(1));
    }
    let appended = store.append(entries, callback).await;
    appended.map_err(|error| failed(ErrorSubject::Logs, ErrorVerb::Write, error))?;
    // An error that `append` returns says more than that its callback was dropped along the way.
    match fate.compare_exchange(APPENDING, APPENDED, Ordering::AcqRel, Ordering::Acquire) {
        Err(DROPPED) => Err(dropped()),
        _ => Ok(()),
    }
}

// What has become of the callback of an append: the call goes on; it returned; the callback was called; it was dropped.
const APPENDING: u8 = 0;
const APPENDED: u8 = 1;
const TOLD: u8 = 2;
const DROPPED: u8 = 3;

/// Waits for the store to say that an append is durable. One that drops it never will: the node stops and says so,
/// instead of waiting for ever.
struct Flush<C: RaftTypeConfig> {
    host: Arc<Host<C>>,
    seq: WriteSeq,
    fate: Arc<AtomicU8>,
}

impl<C: RaftTypeConfig> Flush<C> {
    fn tell(self, result: Result<(), io::Error>) {
        self.fate.store(TOLD, Ordering::Release);
        match result {
            Ok(()) => flushed(&self.host, self.seq.saturating_add(u64::from(quorate_core::mutant!(101)))),
            Err(error) => self.host.stop(failed(ErrorSubject::Logs, ErrorVerb::Write, error)),
        }
    }
}

impl<C: RaftTypeConfig> Drop for Flush<C> {
    fn drop(&mut self) {
        if self.fate.compare_exchange(APPENDING, DROPPED, Ordering::AcqRel, Ordering::Acquire)
            == Err(APPENDED)
        {
            self.host.stop(dropped());
        }
    }
}

fn dropped<C: RaftTypeConfig>() -> Fatal<C> {
    let text = "the log store dropped the callback of an append: whether the entries are durable is unknown";
    Fatal::StorageError(StorageError::write_logs(C::err_from_string(text)))
}

fn entry_of<C: RaftTypeConfig>(pending: Pending<C>) -> C::Entry {
    match pending {
        Pending::Entry(entry) => entry,
        Pending::Payload(log_id, payload) => C::Entry::new(log_id, payload),
        Pending::Blank(log_id) => C::Entry::new(log_id, C::Payload::blank()),
        Pending::Membership(log_id, membership, payload) => {
            let payload = payload.unwrap_or_else(C::Payload::blank);
            C::Entry::new(log_id, payload.with_membership(membership))
        }
    }
}

/// Votes and truncations are durable when they return, so the appends before them must be durable first: a flush
/// speaks for all writes with smaller numbers.
async fn in_order<C: RaftTypeConfig>(
    host: &Host<C>,
    appended: WriteSeq,
    write: impl Future<Output = Result<(), io::Error>>,
    subject: ErrorSubject<C>,
) -> Result<(), Fatal<C>> {
    host.flushed(appended).await?;
    write.await.map_err(|error| failed(subject, ErrorVerb::Write, error))
}

fn flushed<C: RaftTypeConfig>(host: &Host<C>, seq: WriteSeq) {
    host.counting.notification(NotificationName::LocalIO);
    host.counting.command(CommandName::UpdateIOProgress);
    host.step(|state, now| state.replica.flushed(now, seq));
}

async fn save_committed<C, LS>(host: &Host<C>, store: &mut LS, commit: LogIdOf<C>) -> Result<(), Fatal<C>>
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
{
    let saved = store.save_committed(Some(commit.clone())).await;
    saved.map_err(|error| failed(ErrorSubject::Logs, ErrorVerb::Write, error))?;
    host.step(|state, _| state.replica.commit_saved(commit));
    Ok(())
}

fn failed<C: RaftTypeConfig>(subject: ErrorSubject<C>, verb: ErrorVerb, error: io::Error) -> Fatal<C> {
    Fatal::StorageError(StorageError::from_io_error(subject, verb, error))
}

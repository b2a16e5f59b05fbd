//! The writer: takes all that is staged, writes it, syncs once, and tells everyone who waits.
//!
//! It can be stepped on any thread, one step at a time, which is how a simulator drives it; in
//! production it runs on a thread of its own. While it waits for one sync, the next batch gathers.

use std::io;
use std::sync::Arc;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::LogError;
use crate::files::{Directory, StoredFile};
use crate::format::{FILE_HEADER, Kind, RECORD_HEADER, Record};
use crate::log::Shared;
use crate::segment::{TEMPORARY, make_spare, publish, seal, segment_name};
use crate::state::{Batch, Operation};
use crate::vote::VoteFiles;

/// Small writes that adjoin are gathered into one of up to this size, in bytes.
const GATHER_MAX: usize = 1024 * 1024;
/// A write of this many bytes is worth a call of its own.
const GATHER_BELOW: usize = 16 * 1024;
/// When the log has been idle for so long, what is known to be durable is noted at its end.
const IDLE_AFTER: Duration = Duration::from_millis(20);

/// The name of the segment that is kept ready.
pub(crate) fn spare_name() -> String {
    format!("spare{TEMPORARY}")
}

/// The sole owner of a log's files, and of the lock on its directory.
///
/// Dropping it without [`Writer::finish`] leaves the disk as a crash at this moment would.
pub struct Writer<D: Directory> {
    shared: Arc<Shared<D>>,
    active: D::File,
    active_name: String,
    active_len: u64,
    /// Where in the active segment the records end.
    position: u64,
    votes: VoteFiles<D>,
    spare: Spare<D::File>,
    /// The last attempt to make a spare failed: it is tried again when it is needed, not before.
    spare_failed: bool,
    /// Whether a spare is made on a thread of its own.
    threads: bool,
    gathered: Vec<u8>,
    _lock: D::Lock,
}

enum Spare<F> {
    None,
    Ready(F),
    Making(JoinHandle<Result<F, LogError>>),
}

impl<D: Directory> std::fmt::Debug for Writer<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("active", &self.active_name).finish_non_exhaustive()
    }
}

impl<D: Directory> Writer<D> {
    pub(crate) fn new(
        shared: Arc<Shared<D>>,
        active: D::File,
        position: u64,
        votes: VoteFiles<D>,
        lock: D::Lock,
    ) -> Self {
        let header = shared.lock().header;
        Self {
            shared,
            active,
            active_name: segment_name(header.sequence),
            active_len: header.file_len,
            position,
            votes,
            spare: Spare::None,
            spare_failed: false,
            threads: false,
            gathered: Vec::new(),
            _lock: lock,
        }
    }

    /// Writes and syncs everything staged so far, as one batch, and calls its completions.
    /// Returns whether there was anything.
    ///
    /// # Errors
    /// The failure that stopped the log; every later step and every call on the log returns it.
    pub fn step(&mut self) -> Result<bool, LogError> {
        let batch = {
            let mut state = self.shared.lock();
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            state.take()
        };
        let worked = batch.is_some();
        if let Some(batch) = batch {
            self.write_batch(batch)?;
        }
        self.keep_spare();
        Ok(worked)
    }

    /// Notes at the log's end what is durable, and the committed id, where that is not noted yet.
    /// To be called when there is nothing else to do: it costs a write, and no sync.
    ///
    /// # Errors
    /// As [`Writer::step`].
    pub fn idle(&mut self) -> Result<(), LogError> {
        let batch = {
            let mut state = self.shared.lock();
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            if std::mem::replace(&mut state.quiet, true) {
                return Ok(());
            }
            if state.committed_is_new {
                state.stage_committed();
            }
            state.take()
        };
        if let Some(batch) = batch {
            self.write_batch(batch)?;
        }
        let mark = {
            let mut state = self.shared.lock();
            state.quiet = !state.committed_is_new;
            let durable = if quorate_core::mutant!(75) { state.written } else { state.durable };
            Record::bare(Kind::Mark, 0, state.written, durable)
        };
        if self.position.saturating_add(RECORD_HEADER as u64) > self.active_len {
            return Ok(());
        }
        let written = self.active.write_at(&mark.encode(self.shared.seed), self.position);
        written.map_err(|error| self.fail(LogError::io("writing", &self.active_name, &error), Vec::new()))
    }

    /// Writes what is staged, notes what is durable, and syncs that too: after this the next opening
    /// can tell any damage from a crash.
    ///
    /// # Errors
    /// As [`Writer::step`].
    pub fn finish(mut self) -> Result<(), LogError> {
        while self.step()? {}
        self.shared.lock().quiet = false;
        self.idle()?;
        let synced = self.active.sync_data();
        synced.map_err(|error| self.fail(LogError::io("syncing", &self.active_name, &error), Vec::new()))
    }

    /// Calls `hook` whenever there may be work for [`Writer::step`], from the thread that made it.
    /// Returns whether it was set: only the first one is.
    pub fn on_work(&self, hook: impl Fn() + Send + Sync + 'static) -> bool {
        self.shared.hook.set(Box::new(hook)).is_ok()
    }

    /// Runs the writer on a thread of its own until the log is closed.
    ///
    /// # Errors
    /// If the operating system refuses the thread.
    pub fn spawn(mut self) -> io::Result<WriterThread<D>> {
        self.threads = true;
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("quorate-log".into()).spawn(move || self.run())?;
        Ok(WriterThread { shared, thread: Some(thread) })
    }

    fn run(mut self) -> Result<(), LogError> {
        loop {
            if self.step()? {
                continue;
            }
            let shared = Arc::clone(&self.shared);
            let mut state = shared.lock();
            if state.has_work() {
                continue;
            }
            if state.closed {
                drop(state);
                return self.finish();
            }
            state.asleep = true;
            if state.quiet && !matches!(self.spare, Spare::Making(_)) {
                drop(shared.work.wait(state).unwrap_or_else(PoisonError::into_inner));
                continue;
            }
            let (state, waited) =
                shared.work.wait_timeout(state, IDLE_AFTER).unwrap_or_else(PoisonError::into_inner);
            let idle = waited.timed_out() && !state.has_work();
            drop(state);
            if idle {
                self.idle()?;
            }
        }
    }

    fn write_batch(&mut self, batch: Batch) -> Result<(), LogError> {
        let Batch { staged, end, bytes, remove_before } = batch;
        if quorate_core::mutant!(81) {
            self.remove_segments(&[remove_before.unwrap_or(0).saturating_sub(1)])
        }
        let written = self.perform(staged.operations).and_then(|()| {
            if !staged.sync {
                return Ok(());
            }
            let synced = self
                .active
                .sync_data()
                .or_else(|error| if quorate_core::mutant!(20) { Ok(()) } else { Err(error) });
            synced.map_err(|error| LogError::io("syncing", &self.active_name, &error))
        });
        if let Err(error) = written {
            return Err(self.fail(error, staged.completions));
        }
        let (ready, removed) = {
            let mut guard = self.shared.lock();
            let state = &mut *guard;
            state.written = end;
            if staged.sync {
                state.durable = end;
            }
            state.queued = state.queued.saturating_sub(bytes);
            state.quiet = false;
            state.tail.evict(state.index.purged(), end, self.shared.options.tail_bytes);
            let mut removed = Vec::new();
            while let Some((sequence, _)) = state.starts.front()
                && remove_before.is_some_and(|before| *sequence < before)
            {
                removed.push(*sequence);
                state.starts.pop_front();
            }
            let room = state.queued < self.shared.options.queue_bytes;
            (if room { std::mem::take(&mut state.waiting) } else { Vec::new() }, removed)
        };
        for done in staged.completions.into_iter().chain(ready) {
            done(Ok(()));
        }
        self.remove_segments(&removed);
        Ok(())
    }

    fn perform(&mut self, operations: Vec<Operation>) -> Result<(), LogError> {
        let mut gathered = std::mem::take(&mut self.gathered);
        let mut at = self.position;
        for operation in operations {
            match operation {
                Operation::Write { position, bytes } => {
                    let adjoins = at.saturating_add(gathered.len() as u64) == position;
                    if !adjoins || gathered.len().saturating_add(bytes.len()) > GATHER_MAX {
                        self.write(&gathered, at)?;
                        gathered.clear();
                        at = position;
                    }
                    if gathered.is_empty() && bytes.len() >= GATHER_BELOW {
                        self.write(&bytes, position)?;
                        at = self.position;
                    } else {
                        gathered.extend_from_slice(&bytes);
                    }
                }
                Operation::Roll { header, block } => {
                    self.write(&gathered, at)?;
                    gathered.clear();
                    at = FILE_HEADER as u64;
                    self.roll(header.sequence, header.file_len, &block)?;
                }
                Operation::Vote(vote) => self.votes.save(&vote)?,
            }
        }
        self.write(&gathered, at)?;
        gathered.clear();
        self.gathered = gathered;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], position: u64) -> Result<(), LogError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.active
            .write_at(bytes, position)
            .map_err(|error| LogError::io("writing", &self.active_name, &error))?;
        self.position = position.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Begins the next segment. The one before is durable first, so that whoever finds a segment
    /// knows that all before it was.
    fn roll(&mut self, sequence: u64, file_len: u64, block: &[u8]) -> Result<(), LogError> {
        let synced = if quorate_core::mutant!(70) { Ok(()) } else { self.active.sync_data() };
        synced.map_err(|error| LogError::io("syncing", &self.active_name, &error))?;
        let directory = &self.shared.directory;
        let (spare, name) = (spare_name(), segment_name(sequence));
        let file = match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Ready(file) => file,
            Spare::Making(thread) => join(thread)?,
            Spare::None => make_spare(directory, &spare, file_len)?,
        };
        publish(directory, &file, &spare, &name, block)?;
        // Only now, and unsynced: it is how the next opening sees that the last segment was taken away.
        let start = self.shared.lock().start_of(sequence);
        self.active
            .write_at(&seal(start).encode(self.shared.seed), self.position)
            .map_err(|error| LogError::io("writing", &self.active_name, &error))?;
        self.active = file;
        self.active_name = name;
        self.active_len = file_len;
        self.position = FILE_HEADER as u64;
        self.spare_failed = false;
        self.shared.lock().no_space = false;
        Ok(())
    }

    /// Makes the next segment in good time, where that is not done or under way.
    fn keep_spare(&mut self) {
        if let Spare::Making(thread) = &self.spare {
            if !thread.is_finished() {
                return;
            }
            if let Spare::Making(thread) = std::mem::replace(&mut self.spare, Spare::None) {
                self.spare = self.judge_spare(join(thread));
            }
        }
        let (wanted, bytes) = {
            let mut state = self.shared.lock();
            let late = state.position > state.header.file_len / 4;
            let retry = std::mem::take(&mut state.retry_spare);
            (retry || (late && !self.spare_failed), state.segment_bytes)
        };
        if !wanted || !matches!(self.spare, Spare::None) {
            return;
        }
        let directory = self.shared.directory.clone();
        let make = move || make_spare(&directory, &spare_name(), bytes);
        if self.threads
            && let Ok(thread) = std::thread::Builder::new().name("quorate-spare".into()).spawn(make.clone())
        {
            self.spare = Spare::Making(thread);
        } else {
            self.spare = self.judge_spare(make());
        }
    }

    fn judge_spare(&mut self, made: Result<D::File, LogError>) -> Spare<D::File> {
        self.spare_failed = made.is_err();
        self.shared.lock().no_space = matches!(made, Err(LogError::NoSpace { .. }));
        match made {
            Ok(file) => Spare::Ready(file),
            Err(error) => {
                tracing::warn!(%error, "the next segment of the log could not be made ready");
                Spare::None
            }
        }
    }

    fn remove_segments(&self, sequences: &[u64]) {
        let Some(last) = sequences.last() else { return };
        self.shared.forget_handles(last.saturating_add(1));
        let directory = &self.shared.directory;
        let outcome = sequences.iter().try_for_each(|sequence| directory.remove(&segment_name(*sequence)));
        // What stays behind is removed by a later opening, which sees that it is purged.
        if let Err(error) = outcome.and_then(|()| directory.sync()) {
            tracing::warn!(%error, directory = %directory.location(), "purged segments could not be removed");
        }
    }

    /// Stops the log for good, and tells everyone who waits. Returns what to tell the caller.
    fn fail(&self, cause: LogError, mut waiting: Vec<crate::Completion>) -> LogError {
        tracing::error!(error = %cause, "the log has stopped");
        let (error, others) = {
            let mut state = self.shared.lock();
            let others = state.fail(cause.clone());
            (state.failed.clone().unwrap_or(cause), others)
        };
        if quorate_core::mutant!(25) {
            self.shared.lock().failed = None
        }
        waiting.extend(others);
        for done in waiting {
            done(Err(error.clone()));
        }
        error
    }
}

impl<D: Directory> Drop for Writer<D> {
    fn drop(&mut self) {
        if let Spare::Making(thread) = std::mem::replace(&mut self.spare, Spare::None) {
            // Whoever opens the directory next must not meet a thread of ours in it.
            let _ = join(thread);
        }
        let waiting = {
            let mut state = self.shared.lock();
            state.closed = true;
            let mut waiting = std::mem::take(&mut state.waiting);
            waiting.append(&mut state.staged.completions);
            waiting
        };
        for done in waiting {
            done(Err(LogError::Closed));
        }
    }
}

/// The thread of a [`Writer`]. Dropping it closes the log and waits until all is written.
pub struct WriterThread<D: Directory> {
    shared: Arc<Shared<D>>,
    thread: Option<JoinHandle<Result<(), LogError>>>,
}

impl<D: Directory> std::fmt::Debug for WriterThread<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriterThread").field("running", &self.thread.is_some()).finish_non_exhaustive()
    }
}

impl<D: Directory> WriterThread<D> {
    /// Closes the log and waits until all that was staged is durable.
    ///
    /// # Errors
    /// The failure that stopped the log.
    pub fn close(mut self) -> Result<(), LogError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), LogError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        crate::Log { shared: Arc::clone(&self.shared) }.close();
        join(thread)
    }
}

impl<D: Directory> Drop for WriterThread<D> {
    fn drop(&mut self) {
        // A failure was told to everyone who waited for the log.
        let _ = self.stop();
    }
}

fn join<T>(thread: JoinHandle<Result<T, LogError>>) -> Result<T, LogError> {
    thread.join().unwrap_or_else(|_| {
        let error = io::Error::other("a thread of the log panicked");
        Err(LogError::io("running", "the log", &error))
    })
}

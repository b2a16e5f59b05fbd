//! Append requests on the wire: cut to size, several in flight, answered in order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use futures_util::{Stream, StreamExt};
use quorate::RaftTypeConfig;
use quorate::entry::RaftEntry;
use quorate::raft::AppendEntriesRequest;
use quorate::type_config::alias::{LogIdOf, VoteOf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::codec;
use crate::error::TransportError;
use crate::wire;

/// What the frame of one entry takes besides the entry, in bytes.
const ENTRY_OVERHEAD: usize = 12;
/// What the frame of a request takes besides head and entries, in bytes.
const REQUEST_OVERHEAD: usize = 64;

type Head<C> = (VoteOf<C>, Option<LogIdOf<C>>, Option<LogIdOf<C>>);

/// A part of a request that fits into one message.
pub(crate) struct Part<C: RaftTypeConfig> {
    pub(crate) message: wire::AppendRequest,
    pub(crate) size: usize,
    pub(crate) last_log_id: Option<LogIdOf<C>>,
    /// Whether the request ends with this part.
    pub(crate) is_final: bool,
}

/// Cuts a request into parts. Entries are encoded one by one as they are needed.
pub(crate) struct Cutter<C: RaftTypeConfig> {
    vote: VoteOf<C>,
    leader_commit: Option<LogIdOf<C>>,
    prev_log_id: Option<LogIdOf<C>>,
    entries: std::vec::IntoIter<C::Entry>,
    /// The entry that did not fit into the part before.
    left_over: Option<(Bytes, LogIdOf<C>)>,
    is_done: bool,
    size_max: usize,
}

impl<C: RaftTypeConfig> Cutter<C> {
    pub(crate) fn new(request: AppendEntriesRequest<C>, size_max: usize) -> Self {
        Self {
            vote: request.vote,
            leader_commit: request.leader_commit,
            prev_log_id: request.prev_log_id,
            entries: request.entries.into_iter(),
            left_over: None,
            is_done: false,
            size_max,
        }
    }

    /// The next part; `None` when the whole request has been given out. A request without entries is one part.
    pub(crate) fn next_part(&mut self) -> Result<Option<Part<C>>, TransportError> {
        if self.is_done {
            return Ok(None);
        }
        let head: Head<C> = (self.vote.clone(), self.prev_log_id.clone(), self.leader_commit.clone());
        let head = codec::encode("an append request", &head)?;
        let mut size = head.len().saturating_add(REQUEST_OVERHEAD);
        let mut entries = Vec::new();
        let mut last_log_id = self.prev_log_id.clone();
        while let Some((bytes, log_id)) = self.next_entry()? {
            let with_entry = size.saturating_add(bytes.len()).saturating_add(ENTRY_OVERHEAD);
            if with_entry > self.size_max {
                if entries.is_empty() {
                    let what = format!("the entry {log_id}");
                    return Err(TransportError::TooLarge { what, size: bytes.len(), max: self.size_max });
                }
                self.left_over = Some((bytes, log_id));
                break;
            }
            size = with_entry;
            entries.push(bytes);
            last_log_id = Some(log_id);
        }
        self.is_done = self.left_over.is_none();
        self.prev_log_id = last_log_id.clone();
        let message = wire::AppendRequest { encoding: codec::ENCODING, group: 0, head, entries };
        Ok(Some(Part { message, size, last_log_id, is_final: self.is_done }))
    }

    fn next_entry(&mut self) -> Result<Option<(Bytes, LogIdOf<C>)>, TransportError> {
        if let Some(left_over) = self.left_over.take() {
            return Ok(Some(left_over));
        }
        let Some(entry) = self.entries.next() else { return Ok(None) };
        Ok(Some((codec::encode("an entry", &entry)?, entry.log_id())))
    }
}

pub(crate) fn read_request<C: RaftTypeConfig>(
    message: &wire::AppendRequest,
) -> Result<AppendEntriesRequest<C>, TransportError> {
    codec::check_encoding(message.encoding)?;
    codec::check_group(message.group)?;
    let (vote, prev_log_id, leader_commit): Head<C> = codec::decode("an append request", &message.head)?;
    let entries = message.entries.iter().map(|bytes| codec::decode("an entry", bytes));
    let entries = entries.collect::<Result<Vec<C::Entry>, _>>()?;
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

/// What is under way between a request stream and its answers: bounded in number and in bytes.
///
/// The stream of requests and that of the answers are polled by different tasks; this is all that they share.
pub(crate) struct Window<T> {
    state: Mutex<State<T>>,
    count_max: usize,
    bytes_max: usize,
    /// Wakes the requests when there is room.
    room: AtomicWaker,
    /// Wakes the answers when something is under way, or will not come any more.
    changed: Notify,
}

struct State<T> {
    in_flight: VecDeque<(T, usize)>,
    bytes: usize,
    /// Since when the oldest in flight is waited for.
    waiting_since: Option<Instant>,
    error: Option<TransportError>,
}

impl<T> Window<T> {
    pub(crate) fn new(count_max: usize, bytes_max: usize) -> Arc<Self> {
        let state = State { in_flight: VecDeque::new(), bytes: 0, waiting_since: None, error: None };
        Arc::new(Self {
            state: Mutex::new(state),
            count_max: count_max.max(1),
            bytes_max,
            room: AtomicWaker::new(),
            changed: Notify::new(),
        })
    }

    /// Ready when one more may be pushed. One always may if nothing is under way, whatever its size.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        self.room.register(cx.waker());
        let state = self.lock();
        let has_room = state.in_flight.len() < self.count_max && state.bytes < self.bytes_max;
        if has_room || state.in_flight.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) fn push(&self, item: T, size: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_add(size);
        state.in_flight.push_back((item, size));
        state.waiting_since.get_or_insert_with(Instant::now);
        drop(state);
        self.changed.notify_one();
    }

    /// The oldest under way, which has been answered.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        let (item, size) = state.in_flight.pop_front()?;
        state.bytes = state.bytes.saturating_sub(size);
        state.waiting_since = if state.in_flight.is_empty() { None } else { Some(Instant::now()) };
        drop(state);
        self.room.wake();
        Some(item)
    }

    /// Notes why the requests ended before their end.
    pub(crate) fn fail(&self, error: TransportError) {
        self.lock().error.get_or_insert(error);
        self.changed.notify_one();
    }

    pub(crate) fn take_error(&self) -> Option<TransportError> {
        self.lock().error.take()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().in_flight.is_empty()
    }

    /// Ends when the oldest under way has been waited for until `limit` after the answer before it.
    pub(crate) async fn stalled(&self, limit: std::time::Duration) {
        loop {
            let since = self.lock().waiting_since;
            match since.and_then(|since| since.checked_add(limit)) {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => self.changed.notified().await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request, or a part of one, that was sent and not answered yet.
pub(crate) struct Sent<C: RaftTypeConfig> {
    pub(crate) last_log_id: Option<LogIdOf<C>>,
    pub(crate) is_final: bool,
}

/// The requests of the library as messages, sent ahead of their answers as far as the window allows.
pub(crate) struct Outbound<C: RaftTypeConfig, S> {
    input: S,
    cutter: Option<Cutter<C>>,
    window: Arc<Window<Sent<C>>>,
    size_max: usize,
    is_over: bool,
    on_sent: Box<dyn Fn() + Send>,
}

impl<C: RaftTypeConfig, S> Outbound<C, S> {
    pub(crate) fn new(
        input: S,
        window: Arc<Window<Sent<C>>>,
        size_max: usize,
        on_sent: impl Fn() + Send + 'static,
    ) -> Self {
        Self { input, cutter: None, window, size_max, is_over: false, on_sent: Box::new(on_sent) }
    }
}

/// Nothing in it is pinned: the input moves freely, and the rest is plain data.
impl<C: RaftTypeConfig, S> Unpin for Outbound<C, S> {}

impl<C, S> Stream for Outbound<C, S>
where
    C: RaftTypeConfig,
    S: Stream<Item = AppendEntriesRequest<C>> + Unpin,
{
    type Item = wire::AppendRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.is_over {
            std::task::ready!(this.window.poll_room(cx));
            match this.cutter.as_mut().map(Cutter::next_part) {
                Some(Ok(Some(part))) => {
                    let sent = Sent { last_log_id: part.last_log_id, is_final: part.is_final };
                    this.window.push(sent, part.size);
                    (this.on_sent)();
                    return Poll::Ready(Some(part.message));
                }
                Some(Err(error)) => {
                    this.window.fail(error);
                    this.is_over = true;
                }
                Some(Ok(None)) | None => match std::task::ready!(this.input.poll_next_unpin(cx)) {
                    Some(request) => this.cutter = Some(Cutter::new(request, this.size_max)),
                    None => this.is_over = true,
                },
            }
        }
        Poll::Ready(None)
    }
}

/// The messages of a peer as requests for the library. One that cannot be read ends them, and is noted.
pub(crate) struct Inbound<C> {
    messages: tonic::Streaming<wire::AppendRequest>,
    window: Arc<Window<()>>,
    is_over: bool,
    requests: std::marker::PhantomData<fn() -> C>,
}

impl<C> Inbound<C> {
    pub(crate) fn new(messages: tonic::Streaming<wire::AppendRequest>, window: Arc<Window<()>>) -> Self {
        Self { messages, window, is_over: false, requests: std::marker::PhantomData }
    }
}

impl<C: RaftTypeConfig> Stream for Inbound<C> {
    type Item = AppendEntriesRequest<C>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        std::task::ready!(this.window.poll_room(cx));
        let error = match std::task::ready!(this.messages.poll_next_unpin(cx)) {
            Some(Ok(message)) => match read_request(&message) {
                Ok(request) => {
                    let size =
                        message.entries.iter().fold(0, |sum: usize, entry| sum.saturating_add(entry.len()));
                    this.window.push((), size);
                    return Poll::Ready(Some(request));
                }
                Err(error) => Some(error),
            },
            Some(Err(status)) => Some(TransportError::from_status(&status)),
            None => None,
        };
        this.is_over = true;
        if let Some(error) = error {
            this.window.fail(error);
        }
        Poll::Ready(None)
    }
}

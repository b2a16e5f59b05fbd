//! Keeps one peer's log up to date: a stream of requests, read lazily from the log store, and their answers.

use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use quorate_core::message::AppendReply;
use quorate_core::message::EntryIds;
use quorate_core::work::SendAppend;

use crate::counting::BatchOf;
use crate::counting::CommandName;
use crate::counting::NotificationName;
use crate::display::List;
use crate::entry::RaftEntry;
use crate::errors::Fatal;
use crate::errors::RPCError;
use crate::errors::StorageError;
use crate::host::Host;
use crate::loops::flight::Flight;
use crate::loops::log::Readers;
use crate::loops::pace::Pace;
use crate::network::NetBackoff;
use crate::network::NetStreamAppend;
use crate::network::RPCOption;
use crate::network::RaftNetworkFactory;
use crate::peer::Peer;
use crate::rpc::AppendEntriesRequest;
use crate::rpc::StreamAppendError;
use crate::rpc::StreamAppendResult;
use crate::runtime::AsyncRuntime;
use crate::runtime::Mutex;
use crate::storage::RaftLogReader;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::MutexOf;
use crate::type_config::alias::VoteOf;
use crate::vote::RaftVote;

/// A stream whose oldest request is not answered for so many election timeouts is given up.
const STALL_TIMEOUTS: u32 = 4;

/// How one stream came to its end.
enum End<C: RaftTypeConfig> {
    /// The replica wants another one, or none.
    Over,
    /// The network failed.
    Failed(RPCError<C>),
    /// Requests were not answered, or the network closed, or the peer will not take what it is sent.
    Silent,
}

/// What an answer means for the stream.
enum Answered {
    GoesOn,
    /// The replica wants another one, or none.
    Over,
    /// Nothing came of it, and asking again at once would have the same answer.
    Refused,
}

/// What wakes the loop while a stream is open.
enum Wake<C: RaftTypeConfig> {
    Answer(Result<StreamAppendResult<C>, RPCError<C>>),
    Closed,
    Ended,
    Stalled,
}

/// One peer's replication.
pub(crate) struct Append<C, N, LR>
where
    C: RaftTypeConfig,
    LR: RaftLogReader<C>,
{
    host: Arc<Host<C>>,
    peer: Arc<Peer<C>>,
    client: N,
    reader: Arc<futures_util::lock::Mutex<LR>>,
    pace: Pace,
}

/// Runs until the peer leaves or the node stops.
pub(crate) async fn run<C, NF, LR>(
    host: Arc<Host<C>>,
    peer: Arc<Peer<C>>,
    factory: Arc<MutexOf<C, NF>>,
    readers: Arc<Readers<C, LR>>,
) where
    C: RaftTypeConfig,
    NF: RaftNetworkFactory<C>,
    LR: RaftLogReader<C>,
{
    let client = factory.lock().await.new_client(peer.id.clone(), &peer.node).await;
    let Some(reader) = readers.get(&host).await else { return };
    let reader = Arc::new(futures_util::lock::Mutex::new(reader));
    Append { host: host.clone(), peer, client, reader, pace: Pace::default() }.run().await;
    host.counting.command(CommandName::CloseReplicationStreams);
}

impl<C, N, LR> Append<C, N, LR>
where
    C: RaftTypeConfig,
    N: NetBackoff<C> + NetStreamAppend<C>,
    LR: RaftLogReader<C>,
{
    async fn run(mut self) {
        while !self.peer.is_closed() {
            let ready = self.host.look(|state, _| state.replica.peer_ready(&self.peer.id));
            if !ready.append {
                self.peer.append.wait().await;
                continue;
            }
            let flight = Arc::new(Flight::new(ready.session));
            self.peer.open(&flight);
            let end = self.stream(&flight).await;
            self.peer.close_flight();
            self.host.step(|state, _| state.replica.stream_lost(&self.peer.id, ready.session));
            match end {
                End::Over if !flight.has_starved() => continue,
                End::Over | End::Silent => self.pace.silent(),
                End::Failed(error) => {
                    tracing::debug!(id = %self.host.id, peer = %self.peer.id, %error, "entries were not delivered");
                    self.pace.failed(&error);
                }
            }
            let delays = || self.client.backoff().unwrap_or_else(|| self.host.config.build_backoff());
            if let Some(delay) = self.pace.next_delay(delays) {
                let _ = C::AsyncRuntime::select2(C::sleep(delay), self.peer.append_retry.wait()).await;
            }
        }
    }

    /// Opens a stream and takes its answers until it ends.
    async fn stream(&mut self, flight: &Arc<Flight<C>>) -> End<C> {
        let input =
            Box::pin(requests(self.host.clone(), self.peer.clone(), self.reader.clone(), flight.clone()));
        let option = RPCOption::new(self.host.config.heartbeat_interval());
        let stall = Duration::from_millis(self.host.config.election_timeout_max) * STALL_TIMEOUTS;
        let (host, peer, pace) = (&self.host, &self.peer, &mut self.pace);
        let mut opening = self.client.stream_append(input, option);
        let mut stalled = Box::pin(C::sleep(stall));
        let opened = std::future::poll_fn(|cx| match opening.as_mut().poll(cx) {
            Poll::Ready(opened) => Poll::Ready(Ok(opened)),
            Poll::Pending if poll_ended(peer, flight, cx) => Poll::Ready(Err(End::Over)),
            Poll::Pending => stalled.as_mut().poll(cx).map(|()| Err(End::Silent)),
        });
        let mut answers = match opened.await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => return End::Failed(error),
            Err(end) => return end,
        };
        stalled = Box::pin(C::sleep(stall));
        loop {
            let wake = std::future::poll_fn(|cx| match answers.poll_next_unpin(cx) {
                Poll::Ready(Some(answer)) => Poll::Ready(Wake::Answer(answer)),
                Poll::Ready(None) => Poll::Ready(Wake::Closed),
                Poll::Pending if poll_ended(peer, flight, cx) => Poll::Ready(Wake::Ended),
                Poll::Pending => stalled.as_mut().poll(cx).map(|()| Wake::Stalled),
            });
            match wake.await {
                Wake::Answer(Ok(answer)) => match take_answer(host, peer, flight, answer) {
                    Answered::GoesOn => pace.succeeded(),
                    Answered::Over => {
                        pace.succeeded();
                        return End::Over;
                    }
                    Answered::Refused => return End::Silent,
                },
                Wake::Answer(Err(error)) => return End::Failed(error),
                Wake::Closed if flight.is_empty() => return End::Over,
                Wake::Closed => return End::Silent,
                Wake::Ended => return End::Over,
                Wake::Stalled if flight.has_stalled() => return End::Silent,
                Wake::Stalled => stalled = Box::pin(C::sleep(stall)),
            }
        }
    }
}

/// Whether the stream no longer counts; if it does, the caller is woken when that changes.
fn poll_ended<C: RaftTypeConfig>(peer: &Peer<C>, flight: &Flight<C>, cx: &mut Context<'_>) -> bool {
    while peer.append_ended.poll(cx).is_ready() {
        if peer.session() != flight.session() || peer.is_closed() {
            return true;
        }
    }
    false
}

/// Tells the replica of the answer to the oldest request.
fn take_answer<C: RaftTypeConfig>(
    host: &Host<C>,
    peer: &Peer<C>,
    flight: &Flight<C>,
    answer: StreamAppendResult<C>,
) -> Answered {
    let Some((ticket, prev)) = flight.pop() else {
        // An answer to nothing: the network is confused, begin anew.
        return Answered::Refused;
    };
    let (reply, fruitless) = match answer {
        Ok(matched) => {
            let fruitless = matched <= prev;
            (AppendReply::Success(matched), fruitless)
        }
        // There is nothing before the start of a log that could conflict.
        Err(StreamAppendError::Conflict(_)) => (AppendReply::Conflict, prev.is_none()),
        Err(StreamAppendError::HigherVote(vote)) => (AppendReply::HigherVote(vote.to_owned_vote()), true),
    };
    host.counting.notification(match &reply {
        AppendReply::HigherVote(_) => NotificationName::HigherVote,
        _ => NotificationName::ReplicationProgress,
    });
    host.step(|state, now| {
        state.replica.append_answer(now, &peer.id, &ticket, prev.as_ref(), &reply);
        match state.replica.leading() {
            None => Answered::Over,
            Some(_) if state.replica.peer_ready(&peer.id).session == flight.session() => Answered::GoesOn,
            Some(_) if fruitless => Answered::Refused,
            Some(_) => Answered::Over,
        }
    })
}

/// The requests of one stream: each is made when the network asks for it, from what is in the log by then.
fn requests<C, LR>(
    host: Arc<Host<C>>,
    peer: Arc<Peer<C>>,
    reader: Arc<futures_util::lock::Mutex<LR>>,
    flight: Arc<Flight<C>>,
) -> impl Stream<Item = AppendEntriesRequest<C>>
where
    C: RaftTypeConfig,
    LR: RaftLogReader<C>,
{
    let source = (host, peer, reader, flight);
    stream::unfold(source, |source| async move {
        let (host, peer, reader, flight) = &source;
        while !flight.has_ended() && peer.session() == flight.session() {
            let work = host.step(|state, now| {
                let current = state.replica.peer_ready(&peer.id).session == flight.session();
                if current { state.replica.next_append(now, &peer.id) } else { None }
            });
            let request = match work {
                Some(work) => read(host, peer, reader, flight, work).await?,
                None => {
                    pin!(flight.more.wait()).await;
                    continue;
                }
            };
            return Some((request, source));
        }
        None
    })
}

/// Reads the entries of a request and counts it as sent; `None` if the stream is over.
async fn read<C, LR>(
    host: &Host<C>,
    peer: &Peer<C>,
    reader: &futures_util::lock::Mutex<LR>,
    flight: &Flight<C>,
    work: SendAppend<C::LeaderId>,
) -> Option<AppendEntriesRequest<C>>
where
    C: RaftTypeConfig,
    LR: RaftLogReader<C>,
{
    let SendAppend { ticket, vote, prev, first, end, commit } = work;
    let mut entries = Vec::new();
    let mut bytes: u64 = 0;
    if first < end {
        let mut reader = reader.lock().await;
        match reader.limited_get_log_entries(first, end).await {
            Ok(read) => entries = read,
            Err(error) => {
                host.stop(Fatal::StorageError(StorageError::read_logs(C::err_from_error(&error))));
                return None;
            }
        }
        bytes = entries.iter().map(|entry| reader.entry_size(entry)).sum();
    }
    let mut ids = EntryIds::empty(first);
    let consecutive = entries.iter().all(|entry| ids.push(entry.log_id()).is_ok());
    if entries.is_empty() && first < end {
        // Not what was asked for, but no harm: asked again later, it may have them.
        flight.starve();
        return None;
    }
    let sent = host.step(|state, _| {
        if state.replica.peer_ready(&peer.id).session != flight.session() {
            // What was read may be gone from the log by now.
            return Ok(false);
        }
        let log = state.replica.log();
        if !consecutive || ids.end() > end || !ids.runs().iter().all(|last| log.has(last)) {
            return Err(not_ours(first, end, &entries));
        }
        let sent = state.replica.sent(&peer.id, &ticket, ids.end(), bytes);
        if sent {
            flight.push(ticket, prev.clone());
        }
        Ok(sent)
    });
    match sent {
        Ok(true) => {}
        Ok(false) => return None,
        Err(error) => {
            host.stop(Fatal::StorageError(error));
            return None;
        }
    }
    host.counting.command(match entries.is_empty() {
        true => CommandName::ReplicateCommitted,
        false => CommandName::Replicate,
    });
    host.counting.batch(BatchOf::Replicated, entries.len() as u64);
    let vote = VoteOf::<C>::from_leader_id(vote.leader_id, vote.committed);
    Some(AppendEntriesRequest { vote, prev_log_id: prev, entries, leader_commit: commit })
}

/// The log store returned other entries than were appended to it, or some that it was not asked for.
fn not_ours<C: RaftTypeConfig>(first: u64, end: u64, entries: &[C::Entry]) -> StorageError<C> {
    let found = List::short(entries.iter().map(RaftEntry::log_id));
    let text =
        format!("asked for entries {first}..{end}, the log store returned {found}: not those of this log");
    StorageError::read_log_at_index(first, C::err_from_string(text))
}

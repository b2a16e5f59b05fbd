//! One peer: its connections, made when they are needed, and whether it is up.
//!
//! A peer has two lanes, each at most one connection: a long message on one must not hold up a heartbeat on the other.
//! However many callers want a lane, one attempt to connect is under way, and none while the peer is left alone after
//! a failure; then callers get the failure at once.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::admission::{Purpose, Session};
use crate::backoff;
use crate::error::{HandshakeError, TransportError};
use crate::handshake::{self, Failure};
use crate::identity::NodeTag;
use crate::io::Guarded;
use crate::transport::Inner;
use crate::wire;

/// How much unread data a stream may have under way, in bytes.
pub(crate) const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// How much unread data a connection may have under way, in bytes. Several times that of a stream, so that a stream
/// that nobody reads leaves room for others.
pub(crate) const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// How long after its sender has given a request up the receiver drops it.
const ABANDONED_AFTER: Duration = Duration::from_secs(1);

pub(crate) type Client = wire::peer_client::PeerClient<Channel>;

/// What a connection to a peer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneKind {
    /// Small messages that must not wait: heartbeats, votes.
    Control,
    /// Entries, snapshots, calls.
    Bulk,
}

/// A node that this one talks to.
pub(crate) struct Peer {
    tag: NodeTag,
    address: String,
    inner: Weak<Inner>,
    control: Mutex<Lane>,
    bulk: Mutex<Lane>,
    health: Mutex<Health>,
}

/// A connection to a peer, ready for requests.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) session: Arc<Session>,
}

type Dial = Shared<BoxFuture<'static, Result<Link, TransportError>>>;

enum Lane {
    Idle,
    Dialing(Dial),
    Ready(Link),
}

/// What is known of how the peer is. A change of `state` is worth a line in the log, nothing else is.
#[derive(Default)]
struct Health {
    state: State,
    failures: u32,
    /// Until when the peer is left alone, and the error that its callers get meanwhile.
    alone: Option<(Instant, TransportError)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Up,
    Down,
    /// It can be reached, but the two do not talk, for the reason with this code.
    Refused(u32),
}

impl Peer {
    pub(crate) fn new(tag: NodeTag, address: String, inner: Weak<Inner>) -> Self {
        Self {
            tag,
            address,
            inner,
            control: Mutex::new(Lane::Idle),
            bulk: Mutex::new(Lane::Idle),
            health: Mutex::default(),
        }
    }

    pub(crate) fn tag(&self) -> &NodeTag {
        &self.tag
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Runs a request within `ttl`, which covers connecting as well.
    pub(crate) async fn request<T, F>(
        self: &Arc<Self>,
        lane: LaneKind,
        ttl: Duration,
        request: impl FnOnce(Link) -> F,
    ) -> Result<T, TransportError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let deadline = Instant::now().checked_add(ttl).unwrap_or_else(Instant::now);
        let result = async {
            let link = self.link(lane, deadline).await?;
            match timeout_at(deadline, request(link)).await {
                Ok(Ok(response)) => Ok(response.into_inner()),
                Ok(Err(status)) => Err(TransportError::from_status(&status)),
                Err(_) => Err(TransportError::TimedOut(ttl)),
            }
        }
        .await;
        result.inspect_err(|error| self.note_failure(error))
    }

    /// The connection of `lane`, made if there is none. The attempt goes on if the caller leaves at its deadline.
    pub(crate) async fn link(
        self: &Arc<Self>,
        lane: LaneKind,
        deadline: Instant,
    ) -> Result<Link, TransportError> {
        let dial = match &*self.lane(lane) {
            Lane::Ready(link) if !link.session.gate.is_closed() => return Ok(link.clone()),
            Lane::Dialing(dial) => Some(dial.clone()),
            Lane::Ready(_) | Lane::Idle => None,
        };
        let dial = match dial {
            Some(dial) => dial,
            None => self.start_dial(lane)?,
        };
        match timeout_at(deadline, dial).await {
            Ok(result) => result,
            Err(_) => Err(self.connect_error("no connection in time")),
        }
    }

    /// Counts a failed request, and says so if the peer refuses to talk at all.
    pub(crate) fn note_failure(&self, error: &TransportError) {
        let Some(inner) = self.inner.upgrade() else { return };
        inner.metrics.count_failure(error);
        if let TransportError::Handshake(refusal) = error
            && self.lock_health().state != State::Refused(refusal.code())
        {
            self.change(State::Refused(refusal.code()), refusal);
            inner.admission.roster().refused(&self.address, refusal);
        }
    }

    /// The peer has shown that it is alive: the next attempt need not wait.
    pub(crate) fn seen_alive(&self) {
        let mut health = self.lock_health();
        health.alone = None;
        health.failures = 0;
    }

    fn start_dial(self: &Arc<Self>, kind: LaneKind) -> Result<Dial, TransportError> {
        if let Some((until, error)) = &self.lock_health().alone
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        if self.inner.upgrade().is_none_or(|inner| inner.is_closing()) {
            return Err(self.connect_error("this node is shutting down"));
        }
        let mut lane = self.lane(kind);
        match &*lane {
            Lane::Dialing(dial) => return Ok(dial.clone()),
            Lane::Ready(link) if !link.session.gate.is_closed() => {
                return Ok(std::future::ready(Ok(link.clone())).boxed().shared());
            }
            Lane::Ready(_) | Lane::Idle => {}
        }
        let peer = Arc::clone(self);
        let dial = async move {
            let result = peer.dial(kind).await;
            peer.finish_dial(kind, &result);
            result
        };
        let dial = dial.boxed().shared();
        *lane = Lane::Dialing(dial.clone());
        tokio::spawn(dial.clone());
        Ok(dial)
    }

    async fn dial(self: &Arc<Self>, kind: LaneKind) -> Result<Link, TransportError> {
        let Some(inner) = self.inner.upgrade() else {
            return Err(self.connect_error("the transport is gone"));
        };
        let peer = Arc::downgrade(self);
        let on_close = move || {
            if let Some(peer) = peer.upgrade() {
                peer.lane_closed(kind);
            }
        };
        connect(&inner, &self.address, Some(&self.tag), Purpose::Raft, on_close).await
    }

    fn finish_dial(&self, kind: LaneKind, result: &Result<Link, TransportError>) {
        *self.lane(kind) = match result {
            Ok(link) => Lane::Ready(link.clone()),
            Err(_) => Lane::Idle,
        };
        match result {
            Ok(_) => {
                self.seen_alive();
                self.change(State::Up, &"");
            }
            Err(error) => {
                let Some(inner) = self.inner.upgrade() else { return };
                let mut health = self.lock_health();
                health.failures = health.failures.saturating_add(1);
                let (min, max) = (inner.options.reconnect_delay_min, inner.options.reconnect_delay_max);
                let until = Instant::now().checked_add(backoff::delay_after(health.failures, min, max));
                health.alone = until.map(|until| (until, error.clone()));
                drop(health);
                match error {
                    TransportError::Handshake(refusal) => {
                        self.change(State::Refused(refusal.code()), refusal);
                    }
                    error => self.change(State::Down, error),
                }
            }
        }
    }

    fn lane_closed(&self, kind: LaneKind) {
        for kind in [LaneKind::Control, LaneKind::Bulk] {
            let mut lane = self.lane(kind);
            match &*lane {
                Lane::Ready(link) if link.session.gate.is_closed() => *lane = Lane::Idle,
                Lane::Ready(_) => return,
                Lane::Dialing(_) | Lane::Idle => {}
            }
        }
        // While an attempt is under way, its end tells how the peer is.
        if !matches!(&*self.lane(kind), Lane::Dialing(_)) {
            self.change(State::Down, &"the connection was closed");
        }
    }

    /// Notes how the peer is, with one line in the log if that is news.
    fn change(&self, new: State, reason: &dyn std::fmt::Display) {
        let old = std::mem::replace(&mut self.lock_health().state, new);
        let is_closing = self.inner.upgrade().is_none_or(|inner| inner.is_closing());
        if old == new || is_closing {
            return;
        }
        let (peer, address) = (&self.tag.node_id, &self.address);
        match new {
            State::Up => tracing::info!("peer {peer} at {address} is up"),
            State::Down => tracing::warn!("peer {peer} at {address} is down: {reason}"),
            State::Refused(_) => {
                tracing::warn!("peer {peer} at {address} does not talk to this node: {reason}")
            }
            State::Unknown => {}
        }
    }

    fn connect_error(&self, message: &str) -> TransportError {
        TransportError::Connect { address: self.address.clone(), message: message.into() }
    }

    fn lane(&self, kind: LaneKind) -> MutexGuard<'_, Lane> {
        let lane = match kind {
            LaneKind::Control => &self.control,
            LaneKind::Bulk => &self.bulk,
        };
        lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that the receiver drops when its sender has long stopped waiting.
pub(crate) fn bounded<T>(message: T, ttl: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(ttl.saturating_add(ABANDONED_AFTER));
    request
}

/// Connects, shakes hands, and begins HTTP/2, within the time for a handshake.
pub(crate) async fn connect(
    inner: &Arc<Inner>,
    address: &str,
    expected: Option<&NodeTag>,
    purpose: Purpose,
    on_close: impl FnOnce() + Send + 'static,
) -> Result<Link, TransportError> {
    inner.metrics.dials.increment();
    let limit = inner.options.handshake_timeout;
    let attempt = timeout(limit, connect_channel(inner, address, expected, purpose, on_close));
    let result = match attempt.await {
        Ok(result) => result.map(|(channel, session)| {
            let size_max = inner.options.frame_size_max();
            let client = Client::new(channel);
            let client = client.max_decoding_message_size(size_max).max_encoding_message_size(size_max);
            Link { client, session }
        }),
        Err(_) => {
            inner.metrics.count_refusal(&HandshakeError::TimedOut(limit));
            let message = format!("no handshake within {limit:?}");
            Err(TransportError::Connect { address: address.to_string(), message })
        }
    };
    result.inspect_err(|_| inner.metrics.dial_failures.increment())
}

/// The same without a limit for the whole, and without what knows the requests.
pub(crate) async fn connect_channel(
    inner: &Arc<Inner>,
    address: &str,
    expected: Option<&NodeTag>,
    purpose: Purpose,
    on_close: impl FnOnce() + Send + 'static,
) -> Result<(Channel, Arc<Session>), TransportError> {
    let failed = |message: String| TransportError::Connect { address: address.to_string(), message };
    let limit = inner.options.connect_timeout;
    let connected = timeout(limit, inner.connector.connect(address.to_string())).await;
    let connected = connected.map_err(|_| failed(format!("no connection within {limit:?}")))?;
    let connection = connected.map_err(|error| failed(error.to_string()))?;
    let mut connection = Guarded::new(connection, on_close);
    let session = match handshake::dial(&mut connection, &inner.admission, expected, purpose).await {
        Ok(session) => session,
        Err(Failure::Io(error)) => return Err(failed(error.to_string())),
        Err(Failure::Ours(error)) => {
            inner.metrics.count_refusal(&error);
            return Err(error.into());
        }
        Err(Failure::Theirs(error)) => {
            inner.metrics.count_refusal(&error);
            inner.admission.roster().refused(address, &error);
            return Err(error.into());
        }
    };
    if inner.is_closing() {
        return Err(failed("this node is shutting down".into()));
    }
    let options = &inner.options;
    let endpoint = Endpoint::from_static("http://peer")
        .http2_keep_alive_interval(options.keep_alive_interval)
        .keep_alive_timeout(options.keep_alive_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let made = endpoint.connect_with_connector(Once(Some(connection))).await;
    let channel = made.map_err(|error| failed(error.to_string()))?;
    Ok((channel, session))
}

/// Gives out a connection that is made already, once: when it is over, a new one needs a new handshake.
struct Once(Option<Guarded>);

impl Service<Uri> for Once {
    type Response = TokioIo<Guarded>;
    type Error = io::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let over = || io::Error::new(io::ErrorKind::NotConnected, "the connection is over");
        std::future::ready(self.0.take().map(TokioIo::new).ok_or_else(over))
    }
}

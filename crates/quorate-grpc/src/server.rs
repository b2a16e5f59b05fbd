//! The listening side: accepts connections, shakes hands, and hands admitted requests on.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use quorate::RaftTypeConfig;
use quorate::errors::Fatal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use crate::admission::{Purpose, RequestKind, Session};
use crate::append::{self, Inbound, Window};
use crate::error::{HandshakeError, TransportError};
use crate::handshake::{self, Failure};
use crate::io::{Guarded, Incoming};
use crate::network::{read_message, write_message};
use crate::peer::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::service::{CallHandler, Caller, PeerService};
use crate::snapshot::SnapshotFiles;
use crate::snapshot_receive::Inbox;
use crate::transport::{Inner, Transport};
use crate::wire::{self, peer_server};

/// How long a listener waits after the operating system refused to accept, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How many answers wait for the sender of a snapshot to read them.
const SNAPSHOT_ANSWERS_WAITING_MAX: usize = 16;

impl Transport {
    /// Serves peers on the connections that arrive on `incoming`, until `shutdown` ends; then cuts all connections of
    /// this transport.
    ///
    /// Raft messages go to `raft`, snapshots are received into `snapshots`, calls go to `calls`. See
    /// [`tcp_incoming`](crate::tcp_incoming) for plain TCP.
    ///
    /// Dropping the future stops accepting, but leaves connections that were accepted alive; use `shutdown`.
    ///
    /// # Errors
    /// If `incoming` ends, or HTTP/2 cannot be served at all.
    pub async fn serve<C, P, F, H>(
        &self,
        incoming: impl Stream<Item = io::Result<Incoming>> + Send,
        raft: Arc<P>,
        snapshots: Arc<F>,
        calls: Arc<H>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> io::Result<()>
    where
        C: RaftTypeConfig,
        P: PeerService<C, SnapshotData = F::Data>,
        F: SnapshotFiles,
        H: CallHandler,
    {
        let inner = &self.inner;
        let options = &inner.options;
        let inbox = Arc::new(Inbox::new(Arc::clone(inner), Arc::clone(&raft), snapshots));
        let handlers = Handlers { inner: Arc::clone(inner), raft, inbox, calls };
        let size_max = options.frame_size_max();
        let service = peer_server::PeerServer::new(handlers)
            .max_decoding_message_size(size_max)
            .max_encoding_message_size(size_max);
        let (admitted, receiver) = mpsc::channel(1);
        let admitted_stream = stream::unfold(receiver, |mut receiver: mpsc::Receiver<Admitted>| async move {
            Some((Ok::<_, io::Error>(receiver.recv().await?), receiver))
        });
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(options.keep_alive_interval))
            .http2_keepalive_timeout(Some(options.keep_alive_timeout))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(options.requests_per_connection_max)
            .add_service(service)
            .serve_with_incoming(admitted_stream);
        let mut serving = pin!(serving);
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            () = accept_all(inner, incoming, admitted) => {
                Err(io::Error::new(io::ErrorKind::BrokenPipe, "no more connections can arrive"))
            }
            result = &mut serving => {
                return result.map_err(io::Error::other);
            }
        };
        self.close();
        // No more connections come in, and those there are have been cut, so this ends.
        let _ = serving.await;
        ended
    }
}

/// Accepts connections, as many handshakes side by side as allowed.
async fn accept_all(
    inner: &Arc<Inner>,
    incoming: impl Stream<Item = io::Result<Incoming>>,
    admitted: mpsc::Sender<Admitted>,
) {
    let handshakes = Arc::new(Semaphore::new(inner.options.handshakes_max.max(1)));
    let connections = Arc::new(Semaphore::new(inner.options.connections_max.max(1)));
    let mut incoming = pin!(incoming);
    let mut tasks = JoinSet::new();
    let mut is_failing = false;
    while let Ok(turn) = Arc::clone(&handshakes).acquire_owned().await {
        match incoming.next().await {
            Some(Ok(new)) => {
                is_failing = false;
                let place = Arc::clone(&connections).try_acquire_owned().ok();
                tasks.spawn(admit(Arc::clone(inner), new, turn, place, admitted.clone()));
                while tasks.try_join_next().is_some() {}
            }
            Some(Err(error)) => {
                if !is_failing {
                    tracing::warn!("cannot accept connections of peers: {error}");
                }
                is_failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => return,
        }
    }
}

async fn admit(
    inner: Arc<Inner>,
    new: Incoming,
    turn: OwnedSemaphorePermit,
    place: Option<OwnedSemaphorePermit>,
    admitted: mpsc::Sender<Admitted>,
) {
    let has_place = place.is_some();
    let mut connection = Guarded::new(new.connection, move || drop(place));
    let limit = inner.options.handshake_timeout;
    let handshake = async {
        if has_place {
            return handshake::accept(&mut connection, &inner.admission).await;
        }
        let busy = HandshakeError::Busy { max: inner.options.connections_max };
        handshake::refuse(&mut connection, &inner.admission, &busy).await;
        Err(Failure::Ours(busy))
    };
    let result = timeout(limit, handshake).await;
    drop(turn);
    match result {
        Ok(Ok(session)) => {
            inner.metrics.accepted.increment();
            inner.peer_seen(&session.peer.node_id);
            // Fails only when the listener is being shut down.
            let _ = admitted.send(Admitted { connection, session }).await;
        }
        Ok(Err(Failure::Ours(error) | Failure::Theirs(error))) => {
            inner.note_refused_dialer(&new.address, &error)
        }
        Ok(Err(Failure::Io(error))) => tracing::debug!("a connection from {} broke: {error}", new.address),
        Err(_) => inner.note_refused_dialer(&new.address, &HandshakeError::TimedOut(limit)),
    }
}

/// A connection after its handshake, as the HTTP/2 server takes it.
struct Admitted {
    connection: Guarded,
    session: Arc<Session>,
}

impl Connected for Admitted {
    type ConnectInfo = Arc<Session>;

    fn connect_info(&self) -> Arc<Session> {
        Arc::clone(&self.session)
    }
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buf)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

/// The requests of peers. Each is admitted before it is looked at.
struct Handlers<C, P, F: SnapshotFiles, H> {
    inner: Arc<Inner>,
    raft: Arc<P>,
    inbox: Arc<Inbox<C, P, F>>,
    calls: Arc<H>,
}

impl<C, P, F, H> Handlers<C, P, F, H>
where
    C: RaftTypeConfig,
    P: PeerService<C, SnapshotData = F::Data>,
    F: SnapshotFiles,
    H: CallHandler,
{
    fn admit<T>(&self, request: &Request<T>, kind: RequestKind) -> Result<Arc<Session>, Status> {
        let Some(session) = request.extensions().get::<Arc<Session>>() else {
            return Err(Status::internal("a request without a connection"));
        };
        self.inner.admission.admit_request(session, kind).map_err(|error| error.to_status())?;
        Ok(Arc::clone(session))
    }

    async fn unary<Q, A, R>(
        &self,
        request: Request<wire::Message>,
        handle: impl FnOnce(Q) -> R,
    ) -> Result<Response<wire::Message>, Status>
    where
        Q: DeserializeOwned,
        A: Serialize,
        R: Future<Output = Result<A, Fatal<C>>>,
    {
        self.admit(&request, RequestKind::Raft)?;
        let question = read_message(request.get_ref()).map_err(|error| self.refuse(&error))?;
        answer(handle(question).await)
    }

    fn refuse(&self, error: &TransportError) -> Status {
        self.inner.metrics.count_failure(error);
        error.to_status()
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl<C, P, F, H> peer_server::Peer for Handlers<C, P, F, H>
where
    C: RaftTypeConfig,
    P: PeerService<C, SnapshotData = F::Data>,
    F: SnapshotFiles,
    H: CallHandler,
{
    type StreamAppendStream = Answers<wire::Message>;
    type InstallSnapshotStream = Answers<wire::SnapshotDown>;

    async fn vote(&self, request: Request<wire::Message>) -> Result<Response<wire::Message>, Status> {
        self.unary(request, |rpc| self.raft.vote(rpc)).await
    }

    async fn pre_vote(&self, request: Request<wire::Message>) -> Result<Response<wire::Message>, Status> {
        self.unary(request, |rpc| self.raft.pre_vote(rpc)).await
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::Message>,
    ) -> Result<Response<wire::Message>, Status> {
        self.unary(request, |rpc| self.raft.handle_transfer_leader(rpc)).await
    }

    async fn append_entries(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::Message>, Status> {
        self.admit(&request, RequestKind::Raft)?;
        let rpc = append::read_request::<C>(request.get_ref()).map_err(|error| self.refuse(&error))?;
        answer(self.raft.append_entries(rpc).await)
    }

    async fn stream_append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        self.admit(&request, RequestKind::Raft)?;
        let options = &self.inner.options;
        let window = Window::new(options.append_in_flight_max, options.append_in_flight_bytes_max);
        let requests = Inbound::<C>::new(request.into_inner(), Arc::clone(&window));
        let answered = Arc::clone(&window);
        let answers = self.raft.stream_append(requests).map(move |result| {
            answered.pop();
            answer(result).map(Response::into_inner)
        });
        let inner = Arc::clone(&self.inner);
        let unreadable = stream::once(async move {
            let error = window.take_error()?;
            inner.metrics.count_failure(&error);
            Some(Err(error.to_status()))
        });
        Ok(Response::new(Box::pin(answers.chain(unreadable.filter_map(std::future::ready)))))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotUp>>,
    ) -> Result<Response<Self::InstallSnapshotStream>, Status> {
        let session = self.admit(&request, RequestKind::Raft)?;
        let (down, answers) = mpsc::channel(SNAPSHOT_ANSWERS_WAITING_MAX);
        let inbox = Arc::clone(&self.inbox);
        let up = request.into_inner();
        tokio::spawn(async move { inbox.receive(&session.peer.node_id, up, down).await });
        let answers =
            stream::unfold(answers, |mut answers| async move { Some((answers.recv().await?, answers)) });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn call(&self, request: Request<wire::CallRequest>) -> Result<Response<wire::CallReply>, Status> {
        let session = self.admit(&request, RequestKind::Call)?;
        let caller = Caller { peer: session.peer.clone(), is_member: session.purpose == Purpose::Raft };
        let wire::CallRequest { kind, body } = request.into_inner();
        let answered = self.calls.call(caller, kind, body).await;
        let body = answered.map_err(|refusal| TransportError::Refused(refusal).to_status())?;
        let (size, max) = (body.len(), session.message_size_max);
        if size > max {
            // The handler has acted, so this must not look like a call that was not delivered.
            let message = format!("an answer of {size} bytes is larger than the limit of {max} bytes");
            return Err(self.refuse(&TransportError::Other { message }));
        }
        Ok(Response::new(wire::CallReply { body }))
    }
}

fn answer<C, A>(result: Result<A, Fatal<C>>) -> Result<Response<wire::Message>, Status>
where
    C: RaftTypeConfig,
    A: Serialize,
{
    let value = result.map_err(|fatal| TransportError::Stopped { message: fatal.to_string() }.to_status())?;
    write_message("an answer", &value).map(Response::new).map_err(|error| error.to_status())
}

//! Accepts connections, at most so many, and turns away members that took the client port for the peer port.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most connections at a time; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 8192;

/// How HTTP/2 begins, which members speak to each other and clients do not.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// What such a connection is told.
const WRONG_PROTOCOL: &[u8] =
    b"WrongProtocol: this is a client port, which speaks HTTP/1.1; members of the cluster use the peer port\n";

/// A listening socket.
#[derive(Debug)]
pub(super) struct BoundedListener {
    tcp: TcpListener,
    permits: Arc<Semaphore>,
}

/// An accepted connection.
#[derive(Debug)]
pub(super) struct Connection {
    tcp: TcpStream,
    first: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl BoundedListener {
    pub(super) fn new(tcp: TcpListener) -> Self {
        Self { tcp, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = self.permits.clone().acquire_owned().await.ok();
        let (tcp, address) = Listener::accept(&mut self.tcp).await;
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%address, %error, "answers on this connection may be delayed");
        }
        (Connection { tcp, first: true, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(context, buf);
        if self.first && result.is_ready() {
            self.first = false;
            if buf.filled().get(before..).is_some_and(|read| read.starts_with(HTTP2_PREFACE)) {
                // Whether the line still reaches the other side or not, the connection ends here.
                let _ = self.tcp.try_write(WRONG_PROTOCOL);
                tracing::warn!("a member of a cluster, or a client with HTTP/2, called the client port");
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "HTTP/2 on the client port",
                )));
            }
        }
        result
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

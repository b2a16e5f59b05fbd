//! Connections: where they come from, and how one is cut from our side.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A stream of bytes both ways, such as a TCP or a TLS connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// Any connection.
pub type Connection = Box<dyn Duplex>;

/// Makes connections to peers. A connector that speaks TLS does its handshake before it returns.
pub trait Connector: Send + Sync + 'static {
    /// Connects to `address`, a `host:port`. Dropping the future gives up; the transport bounds its time.
    ///
    /// # Errors
    /// Whatever keeps it from connecting; told to the caller as the peer being unreachable.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Connection>>;
}

/// Plain TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Connection>> {
        Box::pin(async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Connection)
        })
    }
}

/// A connection that someone made to this node.
pub struct Incoming {
    /// The bytes.
    pub connection: Connection,
    /// Where it comes from, for messages to an operator.
    pub address: String,
}

/// The connections that arrive at a TCP listener.
pub fn tcp_incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Incoming>> + Send + 'static {
    stream::unfold(listener, |listener| async move {
        let accepted = match listener.accept().await {
            Ok((stream, address)) => stream
                .set_nodelay(true)
                .map(|()| Incoming { connection: Box::new(stream), address: address.to_string() }),
            Err(error) => Err(error),
        };
        Some((accepted, listener))
    })
}

/// Cuts a connection from our side, and tells whether it is over.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn poll_open(&self, cx: &Context<'_>) -> io::Result<()> {
        self.waker.register(cx.waker());
        if self.is_closed() {
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, "connection cut"))
        } else {
            Ok(())
        }
    }
}

/// A connection behind its gate. The gate is closed when the connection is dropped.
///
/// Reading and writing happen in one task, so the gate needs one waker.
pub(crate) struct Guarded {
    connection: Connection,
    gate: Arc<Gate>,
    on_close: Option<Box<dyn FnOnce() + Send>>,
}

impl Guarded {
    pub(crate) fn new(connection: Connection, on_close: impl FnOnce() + Send + 'static) -> Self {
        Self { connection, gate: Arc::default(), on_close: Some(Box::new(on_close)) }
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.gate.close();
        if let Some(on_close) = self.on_close.take() {
            on_close();
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.gate.poll_open(cx)?;
        Pin::new(&mut self.connection).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.gate.poll_open(cx)?;
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
        self.gate.poll_open(cx)?;
        Pin::new(&mut self.connection).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

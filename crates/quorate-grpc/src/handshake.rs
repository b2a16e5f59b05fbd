//! The handshake: three frames on the bare connection, before HTTP/2 begins.
//!
//! The dialer says who it is and whom it looks for; the listener answers with who it is, or with a refusal; the dialer
//! agrees, or refuses in its turn. Being below HTTP/2, it is done on every connection, and nothing of Raft can come
//! before it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::admission::{Admission, Purpose, Session};
use crate::error::HandshakeError;
use crate::identity::NodeTag;
use crate::io::Guarded;
use crate::wire;

/// What every frame of the handshake begins with. The line end makes servers of line protocols answer at once.
const MAGIC: [u8; 8] = *b"QUORATE\n";
/// Magic and length.
const HEADER_LEN: usize = 12;
/// The largest frame of a handshake, in bytes.
const FRAME_LEN_MAX: usize = 16 * 1024;
/// How much of something foreign is shown in an error, in bytes.
const FOREIGN_SHOWN_MAX: usize = 32;
/// How much of what a refused dialer still sends is read away, in bytes.
const DRAIN_MAX: u64 = 64 * 1024;
/// How long a refused dialer may take to close its end.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Why a handshake failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection broke.
    Io(io::Error),
    /// This node refused the other.
    Ours(HandshakeError),
    /// The other node refused this one.
    Theirs(HandshakeError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Self::Ours(error)
    }
}

/// The dialer's side.
pub(crate) async fn dial(
    connection: &mut Guarded,
    admission: &Admission,
    expected: Option<&NodeTag>,
    purpose: Purpose,
) -> Result<Arc<Session>, Failure> {
    write_frame(connection, &admission.hello(expected, purpose)).await?;
    let reply: wire::HelloReply = read_frame(connection).await?;
    if let Some(refusal) = &reply.refusal {
        return Err(Failure::Theirs(HandshakeError::from_wire(refusal)));
    }
    let judged = match reply.hello {
        Some(hello) => admission.judge_listener(expected, purpose, hello, connection.gate()),
        None => Err(HandshakeError::Malformed { what: "an answer without a sender".into() }),
    };
    let agreed =
        wire::HelloReply { hello: None, refusal: judged.as_ref().err().map(HandshakeError::to_wire) };
    write_frame(connection, &agreed).await?;
    if judged.is_err() {
        let _ = connection.shutdown().await;
    }
    Ok(judged?)
}

/// The listener's side. A dialer that is refused is told why.
pub(crate) async fn accept(connection: &mut Guarded, admission: &Admission) -> Result<Arc<Session>, Failure> {
    let judged = match read_frame::<wire::Hello>(connection).await {
        Ok(hello) => admission.judge_dialer(hello, connection.gate()).await,
        Err(Failure::Ours(error)) => Err(error),
        Err(failure) => return Err(failure),
    };
    let session = match judged {
        Ok(session) => session,
        Err(error) => {
            refuse(connection, admission, &error).await;
            return Err(Failure::Ours(error));
        }
    };
    finish_accept(connection, admission, session.purpose).await?;
    Ok(session)
}

/// Tells a dialer that it is refused, in words that it understands. What it still sends is read away for a moment:
/// closing at once could take the answer from it.
pub(crate) async fn refuse(connection: &mut Guarded, admission: &Admission, error: &HandshakeError) {
    let told = match error {
        HandshakeError::WrongProtocol { found } => {
            connection.write_all(foreign_answer(found).as_bytes()).await.map_err(Failure::from)
        }
        error => {
            let hello = Some(admission.hello(None, Purpose::Calls));
            write_frame(connection, &wire::HelloReply { hello, refusal: Some(error.to_wire()) }).await
        }
    };
    if told.is_ok() && connection.shutdown().await.is_ok() {
        let mut rest = tokio::io::sink();
        let mut limited = connection.take(DRAIN_MAX);
        let _ = tokio::time::timeout(DRAIN_TIME, tokio::io::copy(&mut limited, &mut rest)).await;
    }
}

async fn finish_accept(
    connection: &mut Guarded,
    admission: &Admission,
    purpose: Purpose,
) -> Result<(), Failure> {
    let hello = Some(admission.hello(None, purpose));
    write_frame(connection, &wire::HelloReply { hello, refusal: None }).await?;
    let agreed: wire::HelloReply = read_frame(connection).await?;
    match &agreed.refusal {
        None => Ok(()),
        Some(refusal) => Err(Failure::Theirs(HandshakeError::from_wire(refusal))),
    }
}

pub(crate) async fn write_frame<W, M>(writer: &mut W, message: &M) -> Result<(), Failure>
where
    W: AsyncWrite + Unpin,
    M: Message,
{
    let length = message.encoded_len();
    if length > FRAME_LEN_MAX {
        return Err(HandshakeError::Malformed { what: format!("a frame of {length} bytes") }.into());
    }
    let mut frame = BytesMut::with_capacity(length.saturating_add(HEADER_LEN));
    frame.put_slice(&MAGIC);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    writer.write_all(&frame).await?;
    writer.flush().await?;
    Ok(())
}

pub(crate) async fn read_frame<M: Message + Default>(
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<M, Failure> {
    read_magic(reader).await?;
    let length = usize::try_from(reader.read_u32().await?).unwrap_or(usize::MAX);
    if length > FRAME_LEN_MAX {
        return Err(HandshakeError::Malformed { what: format!("a frame of {length} bytes") }.into());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    M::decode(body.as_slice()).map_err(|error| HandshakeError::Malformed { what: error.to_string() }.into())
}

/// Reads the magic byte for byte as it comes, so that something foreign is noticed however short it is.
async fn read_magic(reader: &mut (impl AsyncRead + Unpin)) -> Result<(), Failure> {
    let mut seen = Vec::with_capacity(FOREIGN_SHOWN_MAX);
    while seen.len() < MAGIC.len() {
        let wanted = MAGIC.len().saturating_sub(seen.len());
        let mut part = [0; MAGIC.len()];
        let room = part.get_mut(..wanted).unwrap_or_default();
        let read = reader.read(room).await?;
        if read == 0 {
            let what = "the connection was closed during the handshake";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what).into());
        }
        seen.extend_from_slice(part.get(..read).unwrap_or_default());
        if !MAGIC.starts_with(&seen) {
            return Err(HandshakeError::WrongProtocol { found: printable(&seen) }.into());
        }
    }
    Ok(())
}

fn printable(bytes: &[u8]) -> String {
    let shown = bytes.get(..FOREIGN_SHOWN_MAX).unwrap_or(bytes);
    shown.escape_ascii().to_string()
}

/// One line for whoever is not a node; in HTTP if that is what it speaks.
fn foreign_answer(found: &str) -> String {
    const LINE: &str = "This is a peer port of Quorate; clients use the node's client address.\n";
    let speaks_http = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"]
        .iter()
        .any(|method| found.starts_with(method));
    if speaks_http {
        let length = LINE.len();
        format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{LINE}"
        )
    } else {
        LINE.to_string()
    }
}

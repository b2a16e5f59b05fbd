//! Sends a snapshot in pieces, from where the receiver stands, for as long as it gets on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::codec;
use crate::error::TransportError;
use crate::peer::{LaneKind, Peer};
use crate::snapshot::{SnapshotFiles, SnapshotSource};
use crate::transport::Inner;
use crate::wire;

/// How many pieces wait to be sent. Together with one being read and the window of the stream, what a transfer holds
/// in memory.
const PIECES_WAITING_MAX: usize = 2;

/// Why a snapshot was not sent.
#[derive(Debug)]
pub(crate) enum SendError {
    /// It could not be read here.
    Read(io::Error),
    /// The other end, or the way there.
    Transport(TransportError),
}

impl From<TransportError> for SendError {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

/// A snapshot on its way. `vote` and `meta` are encoded already.
pub(crate) struct Transfer<F: SnapshotFiles> {
    pub(crate) inner: Arc<Inner>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) files: Arc<F>,
    pub(crate) vote: Bytes,
    pub(crate) meta: Bytes,
    /// The size of a piece in bytes.
    pub(crate) piece_max: usize,
    /// How long the receiver may take to show progress.
    pub(crate) stall: Duration,
}

impl<F: SnapshotFiles> Transfer<F> {
    /// Sends `data`, and returns the receiver's answer.
    pub(crate) async fn run(&self, data: F::Data) -> Result<wire::Message, SendError> {
        let files = Arc::clone(&self.files);
        let piece_max = self.piece_max;
        // The data goes along, so that the file is not deleted under the reader.
        let opened = blocking(move || {
            let mut source = files.open(&data)?;
            let checksum = match source.checksum() {
                Some(checksum) => checksum,
                None => checksum_of(&mut source, piece_max)?,
            };
            Ok((source, checksum, data))
        });
        let (source, checksum, _data) = opened.await?;
        let length = source.length();
        let (pieces, receiver) = mpsc::channel(PIECES_WAITING_MAX);
        let first = header(self.vote.clone(), self.meta.clone(), length, checksum);
        if pieces.try_send(first).is_err() {
            return Err(lost("the transfer could not begin").into());
        }
        let deadline = Instant::now().checked_add(self.stall).unwrap_or_else(Instant::now);
        let mut link = self.peer.link(LaneKind::Bulk, deadline).await?;
        let up = futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        let started = timeout(self.stall, link.client.install_snapshot(up)).await;
        let mut down = started
            .map_err(|_| TransportError::TimedOut(self.stall))?
            .map_err(|status| TransportError::from_status(&status))?
            .into_inner();
        let offset = match self.next_answer(&mut down).await? {
            Answer::Received(offset) if offset <= length => offset,
            Answer::Received(_) => return Err(malformed("the receiver has more than there is").into()),
            Answer::Installing => length,
            Answer::Done(message) => return Ok(message),
        };
        self.exchange(source, offset, pieces, down).await
    }

    /// Feeds pieces and reads answers side by side, until the receiver is done.
    async fn exchange(
        &self,
        source: F::Source,
        offset: u64,
        pieces: mpsc::Sender<wire::SnapshotUp>,
        mut down: tonic::Streaming<wire::SnapshotDown>,
    ) -> Result<wire::Message, SendError> {
        let feed = self.feed(source, offset, pieces);
        tokio::pin!(feed);
        let mut is_feeding = true;
        loop {
            tokio::select! {
                biased;
                answer = self.next_answer(&mut down) => match answer? {
                    Answer::Done(message) => return Ok(message),
                    Answer::Received(_) | Answer::Installing => {}
                },
                fed = &mut feed, if is_feeding => {
                    fed?;
                    is_feeding = false;
                }
            }
        }
    }

    async fn feed(
        &self,
        mut source: F::Source,
        mut offset: u64,
        pieces: mpsc::Sender<wire::SnapshotUp>,
    ) -> Result<(), SendError> {
        let length = source.length();
        while offset < length {
            let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
            let size = left.min(self.piece_max);
            let (data, returned) = blocking(move || {
                let mut data = vec![0; size];
                source.read_at(offset, &mut data)?;
                Ok((data, source))
            })
            .await?;
            source = returned;
            if pieces.send(piece(offset, data.into())).await.is_err() {
                // The stream is over; its other half tells why.
                return Ok(());
            }
            let sent = u64::try_from(size).unwrap_or(u64::MAX);
            self.inner.metrics.snapshot_bytes_sent.add(sent);
            offset = offset.saturating_add(sent);
        }
        Ok(())
    }

    async fn next_answer(
        &self,
        down: &mut tonic::Streaming<wire::SnapshotDown>,
    ) -> Result<Answer, TransportError> {
        let message = match timeout(self.stall, down.message()).await {
            Ok(message) => message.map_err(|status| TransportError::from_status(&status))?,
            Err(_) => return Err(TransportError::TimedOut(self.stall)),
        };
        read_answer(message)
    }
}

/// What a transfer begins with; `vote` and `meta` are encoded already.
pub(crate) fn header(vote: Bytes, meta: Bytes, length: u64, checksum: u32) -> wire::SnapshotUp {
    let header = wire::SnapshotHeader { encoding: codec::ENCODING, group: 0, vote, meta, length, checksum };
    wire::SnapshotUp { part: Some(wire::snapshot_up::Part::Header(header)) }
}

/// The piece of the content that begins at `offset`.
pub(crate) fn piece(offset: u64, data: Bytes) -> wire::SnapshotUp {
    let chunk = wire::SnapshotChunk { offset, checksum: crc32c::crc32c(&data), data };
    wire::SnapshotUp { part: Some(wire::snapshot_up::Part::Chunk(chunk)) }
}

pub(crate) fn read_answer(message: Option<wire::SnapshotDown>) -> Result<Answer, TransportError> {
    match message.and_then(|message| message.part) {
        Some(wire::snapshot_down::Part::Received(bytes)) => Ok(Answer::Received(bytes)),
        Some(wire::snapshot_down::Part::Installing(_)) => Ok(Answer::Installing),
        Some(wire::snapshot_down::Part::Done(message)) => Ok(Answer::Done(message)),
        None => Err(lost("the receiver left without an answer")),
    }
}

/// What the receiver says.
pub(crate) enum Answer {
    Received(u64),
    Installing,
    Done(wire::Message),
}

fn checksum_of<S: SnapshotSource>(source: &mut S, piece_max: usize) -> io::Result<u32> {
    let length = source.length();
    let mut buffer = vec![0; piece_max];
    let (mut offset, mut checksum) = (0, 0);
    while offset < length {
        let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let room = left.min(piece_max);
        let piece = buffer.get_mut(..room).unwrap_or_default();
        source.read_at(offset, piece)?;
        checksum = crc32c::crc32c_append(checksum, piece);
        offset = offset.saturating_add(u64::try_from(room).unwrap_or(u64::MAX));
    }
    Ok(checksum)
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, SendError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result.map_err(SendError::Read),
        Err(error) => Err(SendError::Read(io::Error::other(error))),
    }
}

fn lost(message: &str) -> TransportError {
    TransportError::Lost { message: message.into() }
}

fn malformed(what: &str) -> TransportError {
    TransportError::Malformed { what: what.into() }
}

//! A watch as the client sees it: server-sent events, taken up again where they broke off.

use std::collections::VecDeque;

use reqwest::Method;

use super::{Call, Client, ClientError, Kind, explain};
use crate::api::{ErrorBody, WatchEvent};

/// The longest event: a pair of the largest size, escaped.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The changes of the keys with one prefix.
#[derive(Debug)]
pub struct WatchStream {
    client: Client,
    prefix: String,
    after: Option<u64>,
    connection: Option<(String, reqwest::Response)>,
    buffer: Vec<u8>,
    ready: VecDeque<WatchEvent>,
}

/// What one block of a stream of server-sent events holds.
enum Block {
    Start(u64),
    Change(WatchEvent),
    Failed(ErrorBody),
    Nothing,
}

impl WatchStream {
    pub(super) fn new(client: Client, prefix: String, after: Option<u64>) -> Self {
        Self { client, prefix, after, connection: None, buffer: Vec::new(), ready: VecDeque::new() }
    }

    /// The revision up to which changes were returned; none before the first answer if none was asked for.
    pub fn revision(&self) -> Option<u64> {
        self.after
    }

    /// Waits until a server watches for this client, so that no later change is missed.
    ///
    /// # Errors
    ///
    /// [`ClientError`], as for a read.
    pub async fn started(&mut self) -> Result<(), ClientError> {
        while self.after.is_none() {
            self.advance().await?;
        }
        Ok(())
    }

    /// Waits for the next change. A broken connection is made anew, from the last revision on.
    ///
    /// Cancellation safe.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with the code `dropped` if the changes that follow are no longer kept; the others as
    /// for a read.
    pub async fn next(&mut self) -> Result<WatchEvent, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            self.advance().await?;
        }
    }

    async fn advance(&mut self) -> Result<(), ClientError> {
        let Some((server, response)) = &mut self.connection else {
            self.connection = Some(self.connect().await?);
            self.buffer.clear();
            return Ok(());
        };
        match response.chunk().await {
            Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
            Ok(None) => self.connection = None,
            Err(error) => {
                tracing::debug!(%server, cause = explain(&error), "the watch broke off");
                self.connection = None;
            }
        }
        self.take_blocks()
    }

    async fn connect(&self) -> Result<(String, reqwest::Response), ClientError> {
        let after = self.after.map(|after| after.to_string());
        let mut query = vec![("prefix", self.prefix.as_str())];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let call = Call { method: Method::GET, path: "/v1/watch", query, body: None, kind: Kind::Stream };
        self.client.send(&call).await
    }

    fn take_blocks(&mut self) -> Result<(), ClientError> {
        while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.buffer.drain(..end.saturating_add(2)).collect();
            match parse(&block).map_err(|cause| self.nonsense(cause))? {
                Block::Start(revision) => self.after = self.after.or(Some(revision)),
                Block::Change(event) => {
                    self.after = Some(event.revision());
                    self.ready.push_back(event);
                }
                Block::Failed(body) if body.code == "stopped" => self.connection = None,
                Block::Failed(body) => return Err(ClientError::Refused(Box::new(body))),
                Block::Nothing => {}
            }
        }
        if self.buffer.len() > EVENT_BYTES_MAX {
            return Err(self.nonsense(format!("an event of more than {EVENT_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    fn nonsense(&self, cause: String) -> ClientError {
        let server = self.connection.as_ref().map(|(server, _)| server.clone()).unwrap_or_default();
        ClientError::Protocol { server, cause }
    }
}

impl WatchEvent {
    /// The revision of the change.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Put(pair) => pair.revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

fn parse(block: &[u8]) -> Result<Block, String> {
    let text = std::str::from_utf8(block).map_err(|error| error.to_string())?;
    let mut name = "";
    let mut data = "";
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("event:") {
            name = value.trim();
        } else if let Some(value) = line.strip_prefix("data:") {
            data = value.trim_start();
        }
    }
    match name {
        "start" => data.parse().map(Block::Start).map_err(|_| format!("a start at {data:?}")),
        "change" => serde_json::from_str(data).map(Block::Change).map_err(|error| error.to_string()),
        "error" => serde_json::from_str(data).map(Block::Failed).map_err(|error| error.to_string()),
        _ => Ok(Block::Nothing),
    }
}

//! The limits of the transport, each with a name and a default.

use std::time::Duration;

use crate::error::VersionRange;

/// The protocol versions that this release speaks.
pub const PROTOCOL: VersionRange = VersionRange { min: 1, max: 1 };
/// Default of [`TransportOptions::message_size_max`]: 8 MiB.
pub const MESSAGE_SIZE_MAX: usize = 8 * 1024 * 1024;

/// Limits and waiting times of a [`Transport`](crate::Transport).
#[derive(Debug, Clone)]
pub struct TransportOptions {
    /// The protocol versions to offer. Narrowed during a staged upgrade; never wider than [`PROTOCOL`].
    pub protocol: VersionRange,
    /// The largest message in bytes. A larger one is refused before memory is made for it; batches of entries are
    /// cut to fit the smaller limit of the two ends.
    pub message_size_max: usize,
    /// How long the connector may take for one attempt.
    pub connect_timeout: Duration,
    /// How long connecting, the handshake included, may take.
    pub handshake_timeout: Duration,
    /// How many handshakes a listener has under way at once; more wait in the accept queue.
    pub handshakes_max: usize,
    /// How many connections a listener holds at once; more are refused.
    pub connections_max: usize,
    /// How many requests a connection carries at once, each way.
    pub requests_per_connection_max: u32,
    /// How many append requests are sent ahead of the answer to the first.
    pub append_in_flight_max: usize,
    /// How many bytes of append requests are sent ahead of the answer to the first. One request is always allowed.
    pub append_in_flight_bytes_max: usize,
    /// How long an append stream waits for the next answer that it is owed. A longer TTL of the library counts.
    pub append_stall_timeout: Duration,
    /// The largest piece of a snapshot in bytes, whatever larger the library asks for. Small enough that a slow link
    /// moves one within [`snapshot_stall_timeout`](Self::snapshot_stall_timeout).
    pub snapshot_chunk_max: usize,
    /// The largest snapshot in bytes that is received.
    pub snapshot_size_max: u64,
    /// How long a snapshot transfer may go without progress. There is no limit on the whole of it.
    pub snapshot_stall_timeout: Duration,
    /// How often the receiver of a snapshot says that it is still taking it in.
    pub installing_interval: Duration,
    /// How long a connection may be silent before the other end is probed.
    pub keep_alive_interval: Duration,
    /// How long the answer to such a probe may take before the connection is given up.
    pub keep_alive_timeout: Duration,
    /// The shortest wait before connecting again to a peer that is down.
    pub reconnect_delay_min: Duration,
    /// The longest wait before connecting again to a peer that is down.
    pub reconnect_delay_max: Duration,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            protocol: PROTOCOL,
            message_size_max: MESSAGE_SIZE_MAX,
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            handshakes_max: 64,
            connections_max: 1024,
            requests_per_connection_max: 4096,
            append_in_flight_max: 64,
            append_in_flight_bytes_max: 32 * 1024 * 1024,
            append_stall_timeout: Duration::from_secs(2),
            snapshot_chunk_max: 256 * 1024,
            snapshot_size_max: 1 << 40,
            snapshot_stall_timeout: Duration::from_secs(10),
            installing_interval: Duration::from_secs(1),
            keep_alive_interval: Duration::from_secs(2),
            keep_alive_timeout: Duration::from_secs(3),
            reconnect_delay_min: Duration::from_millis(50),
            reconnect_delay_max: Duration::from_secs(1),
        }
    }
}

impl TransportOptions {
    /// What a message may take on the wire: its payload, and the frame around it.
    pub(crate) fn frame_size_max(&self) -> usize {
        self.message_size_max.saturating_add(FRAME_OVERHEAD)
    }
}

/// Room for field tags, lengths and checksums around a payload.
const FRAME_OVERHEAD: usize = 1024;

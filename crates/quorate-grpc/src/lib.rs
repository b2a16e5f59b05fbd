//! The transport of Quorate: how nodes reach each other, know each other, and talk.
//!
//! A node makes one [`Transport`] of its [`Identity`] and a [`Roster`], which says who belongs to the cluster. From it
//! come the network for the Raft library ([`Transport::network`]), the service that answers peers
//! ([`Transport::serve`]), and calls between applications ([`Transport::call`]). A member's address and uid are found
//! in what the membership keeps of it, through [`PeerAddress`]; the content of snapshots is read and written through
//! [`SnapshotFiles`].
//!
//! ```text
//!   Raft library ── network ─┐                                    ┌─ service ── Raft library
//!    application ── call ────┤                                    ├─ calls ──── application
//!                            ▼                                    ▲
//!                    Peer: two lanes                          admission
//!               control: votes, heartbeats  ── handshake ──►  one session per connection
//!                  bulk: entries, snapshots, calls               gRPC over HTTP/2
//! ```
//!
//! What it sees to, so that its callers need not:
//!
//! - **Who is there.** Before HTTP/2 begins on a connection, both ends say and check who they are: cluster, node, data
//!   directory, start, protocol version. A mismatch is a [`HandshakeError`], the same on both ends, and counted.
//! - **Nothing waits for one peer.** Each request has its time; a stream or a snapshot lives as long as it gets on.
//!   Long messages have a connection of their own, so they hold up no heartbeat. A peer that is down is left alone for
//!   a growing, jittered while, and costs one line in the log.
//! - **Nothing grows without bound.** Messages are refused by their announced size, requests in flight are bounded in
//!   number and bytes, a snapshot is sent piece by piece and goes on after an interruption where it stopped. The
//!   limits are [`TransportOptions`].
//!
//! The crate's protobuf types are private: whoever embeds it sees the Raft library's types.
#![forbid(unsafe_code)]

mod admission;
mod append;
mod backoff;
mod codec;
mod error;
mod handshake;
#[cfg(test)]
mod handshake_tests;
mod identity;
mod io;
mod metrics;
mod network;
mod options;
mod peer;
mod server;
mod service;
mod snapshot;
mod snapshot_receive;
mod snapshot_send;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
mod transport;

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
extern crate self as quorate_grpc;
#[cfg(test)]
mod wire_tests;

mod wire {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::restriction)]
    tonic::include_proto!("quorate.peer.v1");
}

pub use crate::error::{CallError, CallRefusal, HandshakeError, TransportError, VersionRange};
pub use crate::identity::{Identity, NodeTag, PeerAddress, PeerIdentity, Roster, Standing};
pub use crate::io::{Connection, Connector, Duplex, Incoming, TcpConnector, tcp_incoming};
pub use crate::metrics::{Counter, TransportMetrics};
pub use crate::network::{GrpcNetwork, GrpcNetworkFactory};
pub use crate::options::{MESSAGE_SIZE_MAX, PROTOCOL, TransportOptions};
pub use crate::service::{CallHandler, Caller, NoCalls, PeerService};
pub use crate::snapshot::{SnapshotFiles, SnapshotSink, SnapshotSource};
pub use crate::transport::Transport;

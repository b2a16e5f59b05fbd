//! The transport of Quorate: Raft messages, snapshots and calls between nodes, over gRPC.
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

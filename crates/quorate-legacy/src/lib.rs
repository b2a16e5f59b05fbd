//! The network of version 1, for applications that still speak it: snapshots travel in chunks, one call each.
//!
//! The library itself knows only [`RaftNetworkV2`](openraft::RaftNetworkV2), to which a snapshot is one thing that the
//! network sends as it sees fit. Between the two stand
//!
//! - on the sender's side [`Adapter`](network_v1::Adapter), by [`RaftNetwork::into_v2`](network_v1::RaftNetwork::into_v2):
//!   it cuts the snapshot into chunks and goes on, or starts over, where the receiver says so;
//! - on the receiver's side [`ChunkedSnapshotReceiver`](network_v1::ChunkedSnapshotReceiver), which gives
//!   [`Raft`](openraft::Raft) its `install_snapshot` back: it puts the chunks together and installs the whole.
#![forbid(unsafe_code)]

pub mod network_v1;

/// All of it.
pub mod prelude {
    pub use crate::network_v1::*;
}

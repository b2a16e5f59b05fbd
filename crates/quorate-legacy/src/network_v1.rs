//! Snapshots in chunks: the messages, the network trait, and both ends of a transfer.

mod adapter;
mod errors;
mod message;
mod network;
mod receiver;
mod sender;

pub use adapter::Adapter;
pub use errors::InstallSnapshotError;
pub use errors::SnapshotMismatch;
pub use message::InstallSnapshotRequest;
pub use message::InstallSnapshotResponse;
pub use message::SnapshotMeta;
pub use message::SnapshotSegmentId;
pub use network::RaftNetwork;
pub use receiver::ChunkedSnapshotReceiver;
pub use receiver::SnapshotReceiverFactory;

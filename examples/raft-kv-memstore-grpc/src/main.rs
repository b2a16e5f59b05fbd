//! One node: `raft-kv-memstore-grpc --id 1 --addr 127.0.0.1:22001`.

use clap::Parser;
use raft_kv_memstore_grpc::App;
use raft_kv_memstore_grpc::NodeId;
use tokio::net::TcpListener;

/// A node of a replicated key-value store.
#[derive(Parser)]
struct Options {
    /// What names it: another number than any other node's, ever.
    #[arg(long)]
    id: NodeId,
    /// Where it is reached by clients and other nodes.
    #[arg(long, value_name = "HOST:PORT")]
    addr: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Options { id, addr } = Options::parse();
    let listener = TcpListener::bind(&addr).await?;
    App::start(id, addr).await?.serve(listener).await?;
    Ok(())
}

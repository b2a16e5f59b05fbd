//! One node: `raft-kv-memstore --id 1 --addr 127.0.0.1:21001`.

use clap::Parser;
use raft_kv_memstore::App;
use raft_kv_memstore::NodeId;
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
    // RUST_LOG=quorate=debug shows what goes on inside.
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let Options { id, addr } = Options::parse();
    let listener = TcpListener::bind(&addr).await?;
    let app = App::start(id, addr).await?;
    axum::serve(listener, app.router()).await?;
    Ok(())
}

//! `quorate serve`: a node, from start to orderly end.

use std::future::Future;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use quorate_node::Node;
use quorate_server::config::{Options, Settings};
use quorate_server::http;
use quorate_server::machine::KeyValue;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use crate::exit::{Exit, Failure};

/// How often, and at what distance, a port is tried that is in use, or a name that does not resolve.
const BIND_ATTEMPTS: u32 = 20;
const BIND_PAUSE: Duration = Duration::from_millis(250);

/// How long requests at hand may take at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the node may take to hand over and stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often counters are folded, so that they do not grow while nobody reads them.
const METRICS_PERIOD: Duration = Duration::from_secs(5);

/// Flags of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// A TOML file with the same options as these flags
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    /// End in order when standard input ends, so that no child outlives its parent
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("QUORATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let options = match &args.config {
        Some(path) => args.options.with_file(path)?,
        None => args.options,
    };
    let settings = options.settings()?;
    let end = end(args.exit_with_stdin)?;
    tokio::pin!(end);

    let listener = tokio::select! {
        listener = bind(&settings.listen) => listener?,
        () = &mut end => return Ok(()),
    };
    let local = listener.local_addr()?;
    let client_addr = client_addr(&settings, local);
    let metrics = PrometheusBuilder::new().install_recorder().map_err(Failure::other)?;
    tokio::spawn(fold(metrics.clone()));
    let node = tokio::select! {
        node = settings.builder(&client_addr).start(KeyValue::default()) => node?,
        () = &mut end => return Ok(()),
    };
    let (closing, closed) = watch::channel(false);
    let mut server = tokio::spawn(http::serve(listener, node.clone(), Some(metrics), closed));
    announce(&settings, &node, &client_addr);

    let outcome = tokio::select! {
        failure = begin(&settings, &node) => Err(failure),
        reason = node.stopped() => Err(reason.into()),
        result = &mut server => Err(Failure::other(format!("the client port failed: {result:?}"))),
        () = &mut end => Ok(()),
    };
    info!("stopping: finishing requests, handing over");
    closing.send_replace(true);
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, &mut server).await;
    if tokio::time::timeout(STOP_TIMEOUT, node.shutdown()).await.is_err() {
        warn!("the node did not stop within {} s; its data is safe", STOP_TIMEOUT.as_secs());
    }
    outcome
}

/// Founds or joins, if this is asked for and still to be done. Ends only with what went wrong.
async fn begin(settings: &Settings, node: &Node<KeyValue>) -> Failure {
    if node.status().cluster_id.is_none() {
        if settings.init {
            match node.init().await {
                Ok(()) => info!("founded a cluster"),
                Err(error) => return Failure::other(error),
            }
        } else if let Some(member) = &settings.join {
            info!(%member, "joining the cluster of a member");
            match node.join(member).await {
                Ok(()) => info!(%member, "joined as a learner; `quorate member promote` makes it a voter"),
                Err(error) => return Failure::new(Exit::Failed, "join", error),
            }
        }
    }
    std::future::pending().await
}

fn announce(settings: &Settings, node: &Node<KeyValue>, client_addr: &str) {
    let status = node.status();
    println!(
        "node {} serves clients on http://{client_addr} and members on {}, data in {}",
        settings.id,
        status.peer_addr,
        settings.data.display()
    );
    match status.cluster_id {
        Some(cluster) => println!("it belongs to cluster {cluster}"),
        None if settings.init || settings.join.is_some() => {}
        None => println!(
            "it belongs to no cluster yet; either found one with it:\n    quorate init --server {client_addr}\n\
             or let it join one, given the peer address of a member:\n    quorate join HOST:PORT --server {client_addr}"
        ),
    }
}

/// Where clients reach this node: as advertised, or the name it listens under with the port that it was given.
fn client_addr(settings: &Settings, local: SocketAddr) -> String {
    let host = settings.listen.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
    settings.advertise.clone().unwrap_or_else(|| format!("{host}:{}", local.port()))
}

async fn bind(address: &str) -> Result<TcpListener, Failure> {
    let mut attempt = 0_u32;
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        attempt = attempt.saturating_add(1);
        if attempt >= BIND_ATTEMPTS {
            let message = format!(
                "cannot listen on {address} after {attempt} attempts ({error}): free the port, or give another address with --listen"
            );
            return Err(Failure::new(Exit::Failed, "bind", message));
        }
        if attempt == 1 {
            warn!(%address, %error, "cannot listen yet, trying again for {} ms", (BIND_PAUSE * BIND_ATTEMPTS).as_millis());
        }
        tokio::time::sleep(BIND_PAUSE).await;
    }
}

/// Done when the process is told to end: by a signal, or by the end of its input.
fn end(with_stdin: bool) -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (input_open, input_ended) = oneshot::channel::<()>();
    if with_stdin {
        // A thread of its own, as reading cannot be called off; it ends with the process.
        std::thread::spawn(move || {
            let _open = input_open;
            let mut stdin = std::io::stdin().lock();
            let mut buffer = [0; 64];
            while stdin.read(&mut buffer).is_ok_and(|read| read > 0) {}
        });
    }
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = input_ended, if with_stdin => {}
        }
    })
}

async fn fold(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_PERIOD).await;
        metrics.run_upkeep();
    }
}

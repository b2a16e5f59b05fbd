//! What the transport logs of a peer. Alone in its process, because it listens to all that is logged there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io;
use std::sync::{Arc, Mutex};

use common::*;
use quorate::network::RPCOption;
use quorate::raft::VoteRequest;
use quorate::{RaftNetworkV2, Vote};

fn ttl() -> RPCOption {
    RPCOption::new(PATIENCE)
}

fn ask() -> VoteRequest<Types> {
    VoteRequest::new(Vote::new(2, 1), None)
}

/// The lines that the transport logs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(str::to_string).collect()
    }
}

#[tokio::test]
async fn a_peer_that_goes_and_comes_is_one_line_each() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let a = Node::start(1, options()).await;
    let address = unused_address().await;
    let member = TestNode { address: address.clone(), uid: uid(2) };
    let mut network = a.network_to_member(2, &member).await;
    let mut dials = a.transport.metrics().dials.get();
    // Several attempts in vain, then several successes, then again in vain.
    while dials < 5 {
        network.vote(ask(), ttl()).await.unwrap_err();
        tokio::task::yield_now().await;
        dials = a.transport.metrics().dials.get();
    }
    let down = lines.take();
    assert_eq!(down.len(), 1, "{down:?}");
    assert!(down[0].contains(&format!("peer 2 at {address} is down: cannot connect to ")), "{down:?}");
    let b = Node::start_in(2, Some(CLUSTER), options(), &address).await;
    while network.vote(ask(), ttl()).await.is_err() {
        tokio::task::yield_now().await;
    }
    network.append_entries(append(1, 1, 10), ttl()).await.unwrap();
    let up = lines.take();
    assert_eq!(up.len(), 1, "{up:?}");
    assert!(up[0].contains(&format!("peer 2 at {address} is up")), "{up:?}");
    b.shutdown().await;
    dials = a.transport.metrics().dials.get();
    while a.transport.metrics().dials.get() < dials + 5 {
        let _ = network.vote(ask(), ttl()).await;
        tokio::task::yield_now().await;
    }
    let down = lines.take();
    assert_eq!(down.len(), 1, "{down:?}");
    assert!(down[0].contains(&format!("peer 2 at {address} is down: ")), "{down:?}");
}

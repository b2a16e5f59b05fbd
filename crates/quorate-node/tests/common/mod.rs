//! Clusters of real nodes: real disks in a temporary directory, real sockets on loopback.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use quorate_node::{Builder, Leader, Node, NodeId, StateMachine};
use tempfile::TempDir;
use tokio::time::timeout;

/// Far beyond what anything takes here, and so a failure.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A set of words. It answers how many it holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Words(pub BTreeSet<String>);

impl StateMachine for Words {
    type Command = String;
    type Response = usize;
    type Frozen = Self;

    fn apply(&mut self, _index: u64, word: String) -> usize {
        assert_ne!(word, "panic", "asked to panic");
        self.0.insert(word);
        self.0.len()
    }

    fn freeze(&self) -> Self {
        self.clone()
    }

    fn write_snapshot(frozen: Self, out: &mut dyn Write) -> io::Result<()> {
        for word in &frozen.0 {
            writeln!(out, "{word}")?;
        }
        Ok(())
    }

    fn read_snapshot(&self, input: &mut dyn Read) -> io::Result<Self> {
        let mut text = String::new();
        input.read_to_string(&mut text)?;
        Ok(Self(text.lines().map(str::to_owned).collect()))
    }
}

/// A place for nodes: a directory, and a port for each id that stays the same over restarts.
pub struct Place {
    dir: TempDir,
    ports: Vec<u16>,
}

impl Place {
    pub fn new() -> Self {
        // What the nodes log is shown for a test that fails, as much of it as RUST_LOG asks for.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        // Held all at once, so that they differ.
        let held: Vec<TcpListener> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = held.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        Self { dir: TempDir::new().unwrap(), ports }
    }

    pub fn dir(&self, id: NodeId) -> PathBuf {
        self.dir.path().join(format!("node{id}"))
    }

    pub fn addr(&self, id: NodeId) -> String {
        format!("127.0.0.1:{}", self.ports[usize::try_from(id).unwrap()])
    }

    /// A node with timeouts short enough for a test and long enough for a busy machine.
    pub fn builder(&self, id: NodeId) -> Builder {
        Node::<Words>::builder(id, self.dir(id), self.addr(id))
            .heartbeat(Duration::from_millis(60))
            .election_timeout(Duration::from_millis(500), Duration::from_millis(900))
    }

    pub async fn start(&self, builder: Builder) -> Node<Words> {
        within(builder.start(Words::default())).await.unwrap()
    }

    /// Starts again a node that ran before.
    pub async fn restart(&self, id: NodeId) -> Node<Words> {
        self.start(self.builder(id)).await
    }

    /// Founds a cluster with node 1, and lets the others join and vote.
    pub async fn cluster(&self, size: NodeId) -> Vec<Node<Words>> {
        self.cluster_of(size, |builder| builder).await
    }

    pub async fn cluster_of(&self, size: NodeId, with: impl Fn(Builder) -> Builder) -> Vec<Node<Words>> {
        let first = self.start(with(self.builder(1)).found()).await;
        let mut nodes = vec![first.clone()];
        for id in 2..=size {
            nodes.push(self.start(with(self.builder(id)).join(self.addr(1))).await);
            within(first.promote_within(id, DEADLINE)).await.unwrap();
        }
        nodes
    }
}

/// Waits for what must happen.
pub async fn within<F: Future>(future: F) -> F::Output {
    timeout(DEADLINE + Duration::from_secs(5), future).await.expect("it takes longer than anything may take")
}

/// Waits until a node knows a leader that is accepted.
pub async fn leader_of(node: &Node<Words>, accepted: impl Fn(&Leader) -> bool) -> Leader {
    let mut watch = node.leadership();
    within(async {
        loop {
            if let Some(leader) = watch.current().filter(&accepted) {
                return leader;
            }
            watch.changed().await.unwrap();
        }
    })
    .await
}

/// Adds words one after the other and returns those that were acknowledged.
pub async fn add(node: &Node<Words>, words: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for word in words {
        if within(node.propose(word.clone())).await.is_ok() {
            acknowledged.insert(word);
        }
    }
    acknowledged
}

/// The words as a linearizable read on this node gives them; retried while an election goes on.
pub async fn words(node: &Node<Words>) -> BTreeSet<String> {
    match within(node.read_within(|words| words.0.clone(), DEADLINE)).await {
        Ok(words) => words,
        Err(error) => panic!("{error}; {:?}; {:?}", node.status(), node.members_of_leader().await),
    }
}

pub fn numbered(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    let prefix = prefix.to_owned();
    (0..count).map(move |number| format!("{prefix}{number}"))
}

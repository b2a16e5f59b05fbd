//! Clusters of real processes for tests to mistreat.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use quorate_server::api::{Done, JoinRequest, MemberId, StatusReply};
use quorate_server::client::{Client, ClientError, Consistency};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};

/// Longer than anything here takes, so that a test that hangs fails.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A node: where it is, and the process if it runs.
pub(crate) struct Server {
    pub(crate) id: u64,
    pub(crate) client_addr: String,
    pub(crate) peer_addr: String,
    pub(crate) data: PathBuf,
    pub(crate) flags: Vec<String>,
    child: Option<Child>,
}

/// Some nodes under one directory.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
    pub(crate) client: Client,
    dir: TempDir,
}

impl Cluster {
    /// A cluster of so many voters, numbered from 1.
    pub(crate) async fn of(nodes: u64) -> Self {
        let mut cluster = Self { servers: Vec::new(), client: client(""), dir: tempfile::tempdir().unwrap() };
        for id in 1..=nodes {
            cluster.fresh(id).await;
        }
        cluster.client =
            Client::new(cluster.servers.iter().map(|server| server.client_addr.clone()), LONG).unwrap();
        let _: Done = cluster.servers[0].client().admin("init", &json!({})).await.unwrap();
        for id in 2..=nodes {
            cluster.join(id).await.unwrap();
            cluster.promote(id).await;
        }
        cluster
    }

    /// Starts another node, with an empty disk.
    pub(crate) async fn fresh(&mut self, id: u64) -> &mut Server {
        let data = self.dir.path().join(format!("data-{}-{id}", self.servers.len()));
        let mut server = Server::new(id, data);
        server.start();
        server.status().await;
        self.servers.push(server);
        self.servers.last_mut().unwrap()
    }

    /// Lets the last node with this number join the cluster of the first.
    pub(crate) async fn join(&self, id: u64) -> Result<Done, ClientError> {
        let member = self.servers[0].peer_addr.clone();
        let server = self.servers.iter().rev().find(|server| server.id == id).unwrap();
        server.client().admin("join", &JoinRequest { member }).await
    }

    /// Promotes a learner once it has caught up: an answer of its own to a linearizable read shows that it has.
    pub(crate) async fn promote(&self, id: u64) {
        let server = self.servers.iter().rev().find(|server| server.id == id).unwrap();
        loop {
            server.caught_up().await;
            match self.client.admin::<Done>("promote", &MemberId { id }).await {
                Ok(_) => break,
                Err(ClientError::Refused(body))
                    if ["learner_not_ready", "change_in_progress"].contains(&body.code.as_str()) => {}
                Err(error) => panic!("node {id}: {error}"),
            }
        }
    }

    pub(crate) fn server(&mut self, id: u64) -> &mut Server {
        self.servers.iter_mut().rev().find(|server| server.id == id).unwrap()
    }

    /// The number of the leader, once there is one.
    pub(crate) async fn leader(&self) -> u64 {
        loop {
            if let Some(leader) = self.client.status(true).await.unwrap().node.leader {
                break leader;
            }
        }
    }

    /// Waits until the leader has heard nothing of a member for longer than any election timeout.
    pub(crate) async fn silent(&self, id: u64) {
        loop {
            let members = self.client.status(true).await.unwrap().members.members;
            let contact =
                members.iter().find(|member| member.id == id).and_then(|member| member.last_contact_ms);
            if contact.is_some_and(|ms| ms > 1500) {
                break;
            }
        }
    }

    pub(crate) async fn put(&self, key: &str, value: &str) {
        // A write of the same value may be made twice.
        while let Err(error) = self.client.put(key, value.to_owned().into()).await {
            assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error}");
        }
    }

    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        let value = self.client.get(key, Consistency::Linearizable).await.unwrap();
        value.map(|value| String::from_utf8(value.bytes.to_vec()).unwrap())
    }

    pub(crate) async fn voters(&self) -> Vec<u64> {
        let members = self.client.status(true).await.unwrap().members;
        let voters = members.members.iter().filter(|member| member.kind == quorate_node::MemberKind::Voter);
        voters.map(|member| member.id).collect()
    }
}

impl Server {
    /// A node on ports of its own that does not run yet.
    pub(crate) fn new(id: u64, data: PathBuf) -> Self {
        let [client_addr, peer_addr] = free_addresses();
        Self { id, client_addr, peer_addr, data, flags: Vec::new(), child: None }
    }

    /// The same data on other ports, as after a copy of the disk.
    pub(crate) fn copy(&self, to: &Path) -> Self {
        copy_dir(&self.data, to);
        Self::new(self.id, to.to_owned())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command
            .args(["serve", "--id", &self.id.to_string(), "--data", self.data.to_str().unwrap()])
            .args(["--listen", &self.client_addr, "--peer-listen", &self.peer_addr])
            .args(&self.flags)
            .env("QUORATE_LOG", "warn")
            .kill_on_drop(true);
        command
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "node {} runs already", self.id);
        self.child = Some(self.command().stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap());
    }

    /// Starts the process, and gives what it reports, line by line.
    pub(crate) fn start_listening(&mut self) -> tokio::io::Lines<BufReader<ChildStderr>> {
        let mut child = self.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        self.child = Some(child);
        lines
    }

    /// Runs the process to its end, which is expected to be soon.
    pub(crate) async fn run(&self) -> Output {
        let run = self.command().stdin(Stdio::null()).output();
        tokio::time::timeout(LONG, run).await.expect("the process goes on").unwrap()
    }

    /// Waits until the process ends by itself, and gives its code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        tokio::time::timeout(LONG, child.wait()).await.expect("the process goes on").unwrap().code()
    }

    /// Kills the process with SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// Sends SIGTERM, and gives the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM").await;
        self.ended().await
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().unwrap();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().await.unwrap();
        assert!(sent.success());
    }

    /// A client of this node alone.
    pub(crate) fn client(&self) -> Client {
        client(&self.client_addr).pinned(&self.client_addr)
    }

    pub(crate) async fn status(&self) -> StatusReply {
        self.client().status(false).await.unwrap()
    }

    /// Waits until this node has applied what the leader has committed.
    pub(crate) async fn caught_up(&self) {
        while let Err(error) = self.client().get("caught up?", Consistency::Linearizable).await {
            let until_known = matches!(&error, ClientError::NotAccepted { .. });
            assert!(until_known, "node {}: {error}", self.id);
        }
    }

    /// Runs a command against this node.
    pub(crate) async fn quorate(&self, args: &[&str]) -> Output {
        quorate(&[&["--server", &self.client_addr], args].concat()).await
    }

    /// Runs a command that is expected to succeed, and gives what it prints.
    pub(crate) async fn ok(&self, args: &[&str]) -> String {
        let output = self.quorate(args).await;
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that is expected to fail with this code, and gives what it reports.
    pub(crate) async fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.quorate(args).await;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        stderr(&output)
    }
}

/// Runs the command to its end.
pub(crate) async fn quorate(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    let run = command.args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(LONG, run).await.expect("the command goes on").unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn client(server: &str) -> Client {
    Client::new([server.to_owned()], LONG).unwrap()
}

/// Two addresses on which nobody listens at the moment.
fn free_addresses() -> [String; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().to_string())
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

//! Server processes on this machine, which live no longer than the one that started them.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use quorate_server::api::{Done, JoinRequest};
use quorate_server::client::Client;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::admin::promote_when_ready;
use crate::exit::Failure;

/// How long a process may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a learner may take to catch up.
const PROMOTE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a process may take to end in order.
const END_TIMEOUT: Duration = Duration::from_secs(15);

/// The pause between two looks at a process that starts.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// How much of its log is shown when a process fails.
const LOG_LINES: usize = 20;

/// One node, as a process of its own.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: u64,
    pub(crate) client_addr: String,
    peer_addr: String,
    dir: PathBuf,
    child: Option<Child>,
}

/// Some nodes, and a client that knows them all.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) processes: Vec<Process>,
    pub(crate) client: Client,
}

impl Cluster {
    /// Starts so many processes with data under `dir`, and makes a cluster of them in which all vote.
    pub(crate) async fn start(nodes: u64, dir: &Path, timeout: Duration) -> Result<Self, Failure> {
        let mut ports = free_ports(nodes.saturating_mul(2))?.into_iter();
        let mut address = || format!("127.0.0.1:{}", ports.next().unwrap_or(0));
        let mut processes: Vec<Process> = (1..=nodes)
            .map(|id| Process {
                id,
                client_addr: address(),
                peer_addr: address(),
                dir: dir.join(format!("node-{id}")),
                child: None,
            })
            .collect();
        let client = Client::new(processes.iter().map(|process| process.client_addr.clone()), timeout)?;
        for process in &mut processes {
            process.spawn()?;
        }
        for process in &mut processes {
            process.ready(&client).await?;
        }
        let cluster = Self { processes, client };
        cluster.form().await?;
        Ok(cluster)
    }

    async fn form(&self) -> Result<(), Failure> {
        let Some((founder, others)) = self.processes.split_first() else { return Ok(()) };
        let Done { .. } = self.client.pinned(&founder.client_addr).admin("init", &json!({})).await?;
        for process in others {
            let request = JoinRequest { member: founder.peer_addr.clone() };
            let Done { .. } = self.client.pinned(&process.client_addr).admin("join", &request).await?;
            promote_when_ready(&self.client, process.id, PROMOTE_TIMEOUT).await?;
        }
        Ok(())
    }

    pub(crate) fn process(&mut self, id: u64) -> Result<&mut Process, Failure> {
        let found = self.processes.iter_mut().find(|process| process.id == id);
        found.ok_or_else(|| Failure::other(format!("node {id} is none of ours")))
    }

    /// Ends all processes in order.
    pub(crate) async fn end(&mut self) -> Result<(), Failure> {
        for process in &mut self.processes {
            process.end().await?;
        }
        Ok(())
    }
}

impl Process {
    /// Starts the process, which is killed when this value is dropped.
    pub(crate) fn spawn(&mut self) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.dir)?;
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = Command::new(std::env::current_exe()?)
            .args(["serve", "--exit-with-stdin", "--id", &self.id.to_string()])
            .args(["--listen", &self.client_addr, "--peer-listen", &self.peer_addr])
            .arg("--data")
            .arg(self.dir.join("data"))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until the process answers.
    pub(crate) async fn ready(&mut self, client: &Client) -> Result<(), Failure> {
        let client = client.pinned(&self.client_addr).with_timeout(LOOK_PAUSE);
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                return Err(self.failed(&format!("ended with {status}")));
            }
            match client.status(false).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(self.failed(&error.to_string())),
                Err(_) => tokio::time::sleep(LOOK_PAUSE).await,
            }
        }
    }

    /// Kills the process with SIGKILL, and returns when it is dead.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Lets the process end in order.
    pub(crate) async fn end(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        drop(child.stdin.take());
        match tokio::time::timeout(END_TIMEOUT, child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(|status| status.success()) => Ok(()),
            Ok(status) => Err(self.failed(&format!("ended with {:?}", status?.code()))),
            Err(_) => Err(self.failed(&format!("did not end within {} s", END_TIMEOUT.as_secs()))),
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn failed(&self, what: &str) -> Failure {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n  ");
        Failure::other(format!("node {} {what}; the end of its log:\n  {tail}", self.id))
    }
}

/// Ports that nobody listens on at the moment, all different.
fn free_ports(count: u64) -> Result<Vec<u16>, Failure> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port()));
    ports.collect::<Result<Vec<_>, std::io::Error>>().map_err(Failure::from)
}

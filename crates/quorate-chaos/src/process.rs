//! One server process, to be started, stopped, resumed and killed.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use tokio::process::Child;
use tokio::process::Command;

use crate::links::Network;
use crate::links::Place;

/// How long an orderly end may take: as long as the server gives itself, and some.
const END_MAX: Duration = Duration::from_secs(20);

/// Lines of a log that a report shows.
const LOG_LINES: usize = 15;

/// What a process is started with.
pub(crate) struct Launch {
    pub(crate) server: PathBuf,
    pub(crate) flags: Vec<String>,
    /// The seeded bug that the server is asked to have, if it was built with them.
    pub(crate) mutant: Option<u32>,
}

/// A process, or the place for one. It is killed when this value is dropped.
pub(crate) struct Process {
    id: Place,
    dir: PathBuf,
    listen: [SocketAddr; 2],
    advertised: [SocketAddr; 2],
    launch: Arc<Launch>,
    network: Arc<Network>,
    child: Option<Child>,
    /// Whether it shall run: if it shall and does not, it ended by itself.
    pub(crate) wanted: bool,
}

impl Process {
    /// `listen`, `advertised`: for clients, and for peers.
    pub(crate) fn new(
        id: Place,
        dir: &Path,
        listen: [SocketAddr; 2],
        advertised: [SocketAddr; 2],
        launch: &Arc<Launch>,
        network: &Arc<Network>,
    ) -> Self {
        let (launch, network) = (launch.clone(), network.clone());
        Self { id, dir: dir.to_owned(), listen, advertised, launch, network, child: None, wanted: false }
    }

    /// Starts it, unless it runs.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        self.wanted = true;
        if self.child.is_some() {
            return Ok(());
        }
        let cannot =
            |error: std::io::Error| format!("cannot start {}: {error}", self.launch.server.display());
        let mut log = File::options().create(true).append(true).open(self.log()).map_err(cannot)?;
        writeln!(log, "-- start").map_err(cannot)?;
        let mut command = Command::new(&self.launch.server);
        command
            .args(["serve", "--exit-with-stdin", "--id", &self.id.to_string()])
            .args(["--listen", &self.listen[0].to_string(), "--peer-listen", &self.listen[1].to_string()])
            .args(["--advertise", &self.advertised[0].to_string()])
            .args(["--peer-advertise", &self.advertised[1].to_string()])
            .arg("--data")
            .arg(self.data())
            .args(&self.launch.flags)
            // Should this program be killed, the end of its input ends the server.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(cannot)?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        if let Some(number) = self.launch.mutant {
            command.env("QUORATE_MUTANT", number.to_string());
        }
        let child = command.spawn().map_err(cannot)?;
        self.network.knows(self.id, child.id());
        self.child = Some(child);
        Ok(())
    }

    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// How it ended, if it did although it shall run.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        self.network.knows(self.id, None);
        Some(status)
    }

    /// Kills it, and returns when it is dead.
    pub(crate) async fn kill(&mut self) {
        self.wanted = false;
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself a moment ago.
            let _ = child.kill().await;
        }
        self.network.knows(self.id, None);
    }

    /// Asks it to end, and gives how it did. If it does not, it is killed.
    pub(crate) async fn terminate(&mut self) -> Result<(), String> {
        self.wanted = false;
        self.signal(Signal::TERM);
        let Some(mut child) = self.child.take() else { return Ok(()) };
        self.network.knows(self.id, None);
        match tokio::time::timeout(END_MAX, child.wait()).await {
            // A signal ends it that has only just begun.
            Ok(Ok(status)) if status.success() || status.signal() == Some(Signal::TERM.as_raw()) => Ok(()),
            Ok(Ok(status)) => Err(format!("node {} was asked to end, and ended with {status}", self.id)),
            Ok(Err(error)) => Err(format!("node {} cannot be waited for: {error}", self.id)),
            Err(_) => {
                Err(format!("node {} did not end within {} s of being asked to", self.id, END_MAX.as_secs()))
            }
        }
    }

    /// Halts it as it is.
    pub(crate) fn halt(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It is our child, and not yet waited for: the number is its own, though it may be dead.
            let _ = kill_process(pid, signal);
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What its log says of panics, if anything.
    pub(crate) fn panicked(&self) -> Option<String> {
        let log = std::fs::read(self.log()).ok()?;
        let log = String::from_utf8_lossy(&log);
        let line = log.lines().find(|line| line.contains("panicked at"))?;
        Some(format!("node {} panicked: {line}", self.id))
    }

    /// The end of its log, indented.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        tail.iter().map(|line| format!("    {line}\n")).collect()
    }
}

//! The nodes: their processes, proxies and disks, and who of them is a member.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex as BlockingMutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_node::MemberKind;
use quorate_node::Members;
use quorate_server::api::Done;
use quorate_server::api::JoinRequest;
use quorate_server::api::MemberId;

use quorate_server::api::NewMember;
use quorate_server::client::Client;
use quorate_server::client::ClientError;
use quorate_sim::dice::Dice;
use tokio::sync::Mutex;

use crate::disk::Disk;
use crate::links::Gate;
use crate::links::Network;
use crate::links::Place;
use crate::process::Launch;
use crate::process::Process;
use crate::report::Tally;
use crate::report::Trouble;

/// Nodes of the cluster, once all is well.
pub(crate) const NODES: usize = 5;

/// How many of the first nodes have a disk that can be filled, where the machine allows.
const SMALL_DISKS: u64 = 2;

/// Where ports are looked for: below those that the system gives to connections, which would take them.
const PORTS: std::ops::Range<u64> = 10_000..30_000;

/// How long a process that ended by itself stays down.
const RESTART_PAUSE: Duration = Duration::from_millis(300);

/// How often it is looked for such processes.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// How long a node that starts may take until it answers.
const START_MAX: Duration = Duration::from_secs(30);

/// How long an operator waits for one answer.
const OPERATOR_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the members may take to be five voters again, once all faults have ended.
const REPAIR_MAX: Duration = Duration::from_secs(90);

/// What the server exits with when it was removed from the cluster.
const EXIT_REMOVED: i32 = 8;

/// How long a node may still suffer from a disk that was full.
const FULL_DISK_AFTERMATH: Duration = Duration::from_secs(10);

/// A node: its process, and what is around it.
pub(crate) struct Node {
    pub(crate) id: Place,
    pub(crate) process: Mutex<Process>,
    pub(crate) client_addr: SocketAddr,
    pub(crate) peer_addr: SocketAddr,
    pub(crate) disk: Option<Disk>,
    /// Until when it may end because its disk was full.
    excused: BlockingMutex<Option<tokio::time::Instant>>,
    /// Whether it was asked to leave the cluster.
    pub(crate) leaving: AtomicBool,
    _gates: [Gate; 2],
}

/// All nodes, and what they run on.
pub(crate) struct Cluster {
    nodes: BlockingMutex<BTreeMap<Place, Arc<Node>>>,
    pub(crate) network: Arc<Network>,
    pub(crate) dir: PathBuf,
    launch: Arc<Launch>,
    ports: BlockingMutex<Dice>,
    next: BlockingMutex<Place>,
    /// Why no disk can be filled, if none can.
    pub(crate) no_disk: BlockingMutex<Option<String>>,
    pub(crate) tally: Arc<Tally>,
}

impl Cluster {
    /// Starts five nodes, and makes a cluster of them in which all vote.
    pub(crate) async fn start(
        dir: PathBuf,
        launch: Launch,
        seed: u64,
        tally: Arc<Tally>,
    ) -> Result<Arc<Self>, Trouble> {
        let cluster = Arc::new(Self {
            nodes: BlockingMutex::default(),
            network: Network::new(),
            dir,
            launch: Arc::new(launch),
            // Two runs with one seed may run side by side.
            ports: BlockingMutex::new(Dice(seed ^ u64::from(std::process::id()) << 32)),
            next: BlockingMutex::new(1),
            no_disk: BlockingMutex::default(),
            tally,
        });
        let founder = cluster.add_node().await?;
        cluster.answers(&founder).await?;
        let client = cluster.client_of(&founder)?;
        let Done { .. } = client
            .admin("init", &serde_json::json!({}))
            .await
            .map_err(|error| Trouble::Cannot(format!("cannot found a cluster: {error}")))?;
        cluster.repair().await?;
        Ok(cluster)
    }

    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn node(&self, id: Place) -> Option<Arc<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// A client that knows all nodes.
    pub(crate) fn client(&self, timeout: Duration) -> Result<Client, Trouble> {
        let servers = self.nodes().into_iter().map(|node| node.client_addr.to_string());
        Client::new(servers, timeout).map_err(|error| Trouble::Cannot(error.to_string()))
    }

    /// A client of one node alone.
    pub(crate) fn client_of(&self, node: &Node) -> Result<Client, Trouble> {
        Ok(self.client(OPERATOR_TIMEOUT)?.pinned(&node.client_addr.to_string()))
    }

    /// Starts another node with an empty disk, which is no member yet.
    pub(crate) async fn add_node(&self) -> Result<Arc<Node>, Trouble> {
        let id = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *next += 1;
            *next - 1
        };
        let cannot = |error: std::io::Error| Trouble::Cannot(format!("cannot set up node {id}: {error}"));
        let dir = self.dir.join(format!("node-{id}"));
        std::fs::create_dir_all(&dir).map_err(cannot)?;
        let disk = self.small_disk(id, &dir);
        let listen = [self.free_port().map_err(cannot)?, self.free_port().map_err(cannot)?];
        let gates = [
            self.network.gate(id, listen[0]).await.map_err(cannot)?,
            self.network.gate(id, listen[1]).await.map_err(cannot)?,
        ];
        let advertised = [gates[0].address, gates[1].address];
        let mut process = Process::new(id, &dir, listen, advertised, &self.launch, &self.network);
        process.start().map_err(Trouble::Cannot)?;
        let node = Arc::new(Node {
            id,
            process: Mutex::new(process),
            client_addr: advertised[0],
            peer_addr: advertised[1],
            disk,
            excused: BlockingMutex::default(),
            leaving: AtomicBool::new(false),
            _gates: gates,
        });
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, node.clone());
        Ok(node)
    }

    /// A disk for one of the first nodes: the first has a real file system, if this machine has one to spare.
    fn small_disk(&self, id: u64, dir: &std::path::Path) -> Option<Disk> {
        if id > SMALL_DISKS {
            return None;
        }
        let path = dir.join("data");
        let made = std::fs::create_dir_all(&path).map_err(|error| error.to_string());
        let in_file =
            made.clone().and_then(|()| if id == 1 { Disk::in_file(&path) } else { Err(String::new()) });
        let (mounted, kind) = match in_file {
            Ok(disk) => (Ok(disk), "ext4"),
            Err(_) => (made.and_then(|()| Disk::in_memory(&path)), "tmpfs"),
        };
        let mut no_disk = self.no_disk.lock().unwrap_or_else(PoisonError::into_inner);
        let disk = mounted.map_err(|why| *no_disk = Some(why)).ok()?;
        self.tally.add(&format!("small disks: {kind}"));
        Some(disk)
    }

    fn free_port(&self) -> std::io::Result<SocketAddr> {
        let mut dice = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let port = u16::try_from(PORTS.start + dice.below(PORTS.end - PORTS.start)).unwrap_or(u16::MAX);
            match TcpListener::bind(("127.0.0.1", port)) {
                Ok(listener) => return listener.local_addr(),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until a node answers.
    pub(crate) async fn answers(&self, node: &Node) -> Result<(), Trouble> {
        let client = self.client_of(node)?.with_timeout(Duration::from_millis(500));
        let deadline = tokio::time::Instant::now() + START_MAX;
        while let Err(error) = client.status(false).await {
            if tokio::time::Instant::now() > deadline {
                let tail = node.process.lock().await.log_tail();
                let seconds = START_MAX.as_secs();
                return Err(Trouble::Violation(format!(
                    "node {} does not answer within {seconds} s of its start: {error}\n{tail}",
                    node.id
                )));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(())
    }

    /// Starts those again that end by themselves. Ends with what should not have happened.
    pub(crate) async fn supervise(&self) -> Trouble {
        loop {
            for node in self.nodes() {
                // Who holds it is about to start or end it.
                let Ok(mut process) = node.process.try_lock() else { continue };
                if !process.wanted {
                    continue;
                }
                if let Some(status) = process.ended() {
                    let removed = node.leaving.load(Ordering::Relaxed) && status.code() == Some(EXIT_REMOVED);
                    if removed {
                        process.wanted = false;
                        continue;
                    }
                    if !node.is_excused() || process.panicked().is_some() {
                        let tail = process.log_tail();
                        return Trouble::Violation(format!(
                            "node {} ended by itself with {status}\n{tail}",
                            node.id
                        ));
                    }
                    self.tally.add("exits on a full disk");
                }
                if !process.runs() {
                    drop(process);
                    tokio::time::sleep(RESTART_PAUSE).await;
                    let mut process = node.process.lock().await;
                    if process.wanted
                        && let Err(error) = process.start()
                    {
                        return Trouble::Cannot(error);
                    }
                }
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Brings all processes back, as they are and where they were.
    pub(crate) async fn resume_all(&self) -> Result<(), Trouble> {
        for node in self.nodes() {
            node.free_disk()?;
            let mut process = node.process.lock().await;
            process.resume();
            if !node.leaving.load(Ordering::Relaxed) {
                process.start().map_err(Trouble::Cannot)?;
            }
        }
        Ok(())
    }

    /// Members as the leader knows them.
    pub(crate) async fn members(&self, client: &Client) -> Result<Members, ClientError> {
        Ok(client.status(true).await?.members)
    }

    /// Changes the members until five voters run and nobody else does.
    pub(crate) async fn repair(&self) -> Result<(), Trouble> {
        let deadline = tokio::time::Instant::now() + REPAIR_MAX;
        let mut last = String::from("nothing was tried");
        while tokio::time::Instant::now() < deadline {
            let client = self.client(OPERATOR_TIMEOUT)?;
            match self.repair_step(&client).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Change::Client(error)) => last = error.to_string(),
                Err(Change::Trouble(trouble)) => return Err(trouble),
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let seconds = REPAIR_MAX.as_secs();
        Err(Trouble::Violation(format!("the members are not {NODES} voters within {seconds} s: {last}")))
    }

    /// One change towards that; true if none is left to make.
    async fn repair_step(&self, client: &Client) -> Result<bool, Change> {
        let members = self.members(client).await?;
        if members.joint {
            return Ok(false);
        }
        let ids: BTreeSet<Place> = members.members.iter().map(|member| member.id).collect();
        let learner = members.members.iter().find(|member| member.kind == MemberKind::Learner);
        let gone = ids.iter().find(|id| match self.node(**id) {
            Some(node) => node.leaving.load(Ordering::Relaxed),
            None => true,
        });
        if let Some(id) = gone.or(ids.last().filter(|_| ids.len() > NODES)) {
            self.remove(client, *id).await?;
        } else if let Some(learner) = learner {
            let Done { .. } = client.admin("promote", &MemberId { id: learner.id }).await?;
        } else if ids.len() < NODES {
            let outside = |node: &Arc<Node>| !ids.contains(&node.id) && !node.leaving.load(Ordering::Relaxed);
            let node = match self.nodes().into_iter().find(outside) {
                Some(node) => node,
                None => self.add_node().await?,
            };
            self.answers(&node).await?;
            self.join(&node).await?;
        } else {
            for node in self.nodes().into_iter().filter(|node| !ids.contains(&node.id)) {
                self.forget(&node).await?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Lets a node join as a learner.
    pub(crate) async fn join(&self, node: &Node) -> Result<(), Change> {
        let client = self.client_of(node)?;
        let others = self.nodes();
        let member =
            others.iter().find(|other| other.id != node.id && !other.leaving.load(Ordering::Relaxed));
        let Some(member) = member else { return Ok(()) };
        let member = member.peer_addr.to_string();
        let Done { .. } = client.admin("join", &JoinRequest { member }).await?;
        Ok(())
    }

    pub(crate) async fn remove(&self, client: &Client, id: Place) -> Result<(), Change> {
        if let Some(node) = self.node(id) {
            node.leaving.store(true, Ordering::Relaxed);
        }
        let Done { .. } = client.admin("remove", &MemberId { id }).await?;
        Ok(())
    }

    /// A running node, as the cluster wants to hear of it.
    pub(crate) async fn describe(&self, node: &Node) -> Result<NewMember, Change> {
        let status = self.client_of(node)?.status(false).await?.node;
        let (id, uid) = (status.id, status.uid);
        Ok(NewMember { id, uid, peer_addr: status.peer_addr, client_addr: status.client_addr })
    }

    /// Ends a node that is no member, and removes what it had.
    async fn forget(&self, node: &Node) -> Result<(), Trouble> {
        let mut process = node.process.lock().await;
        process.kill().await;
        if let Some(panic) = process.panicked() {
            return Err(Trouble::Violation(panic));
        }
        // A mounted disk stays until the node is dropped; what is on it is of no use to anybody.
        let _ = std::fs::remove_dir_all(process.data());
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(&node.id);
        Ok(())
    }

    /// Kills all processes.
    pub(crate) async fn end(&self) {
        for node in self.nodes() {
            node.process.lock().await.kill().await;
        }
    }
}

impl Node {
    /// Fills its disk, if it has a small one.
    pub(crate) fn fill_disk(&self) -> Result<bool, Trouble> {
        let Some(disk) = &self.disk else { return Ok(false) };
        *self.excused.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(tokio::time::Instant::now() + Duration::from_secs(3600));
        disk.fill()
            .map_err(|error| Trouble::Cannot(format!("cannot fill the disk of node {}: {error}", self.id)))?;
        Ok(true)
    }

    pub(crate) fn free_disk(&self) -> Result<(), Trouble> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let mut excused = self.excused.lock().unwrap_or_else(PoisonError::into_inner);
        *excused = excused.map(|until| until.min(tokio::time::Instant::now() + FULL_DISK_AFTERMATH));
        disk.free()
            .map_err(|error| Trouble::Cannot(format!("cannot free the disk of node {}: {error}", self.id)))
    }

    /// Whether it may end other than in order: its disk was full, or it is about to be no member.
    pub(crate) fn may_fail(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) || self.is_excused()
    }

    fn is_excused(&self) -> bool {
        let excused = self.excused.lock().unwrap_or_else(PoisonError::into_inner);
        excused.is_some_and(|until| tokio::time::Instant::now() < until)
    }
}

/// Why a change of the members did not come about, or not for sure.
#[derive(Debug)]
pub(crate) enum Change {
    Client(ClientError),
    Trouble(Trouble),
}

impl From<ClientError> for Change {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<Trouble> for Change {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

//! Several groups, each a cluster of its own, in the same processes and over the same connections.
//!
//! A [`Process`] keeps a node of each group. Its [`network::Router`] has one connection to each other process, and says
//! with each call which group it is for.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use example_mem_store::LogStore;
use example_mem_store::StateMachine;
use example_mem_store::TypeConfig;
use openraft::Config;
use openraft_multi::GroupNetworkFactory;

pub mod network;

use network::GroupNetwork;
use network::Net;
use network::Router;

/// What names a process, and the node of every group in it.
pub type NodeId = u64;

/// What names a group.
pub type GroupId = String;

/// A node of a group.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// A process with a node of each group. Clones are the same process.
#[derive(Clone)]
pub struct Process {
    id: NodeId,
    router: Router,
    groups: Arc<Mutex<BTreeMap<GroupId, (Raft, StateMachine)>>>,
}

impl Process {
    /// A process without groups, which the others reach by `net`.
    pub fn new(id: NodeId, net: &Net) -> Self {
        let process = Self { id, router: Router::new(net.clone()), groups: Arc::default() };
        net.listen(id, process.clone());
        process
    }

    /// Starts a node of a group.
    ///
    /// Fails if the settings contradict each other, or the stores themselves; these are in memory and new.
    pub async fn start(&self, group: &str) -> Result<Raft, Box<dyn std::error::Error>> {
        let config = Arc::new(Config::default().validate()?);
        let network = GroupNetwork(GroupNetworkFactory::new(self.router.clone(), group.to_string()));
        let machine = StateMachine::default();
        let raft = Raft::new(self.id, config, network, LogStore::default(), machine.clone()).await?;
        self.lock().insert(group.to_string(), (raft.clone(), machine));
        Ok(raft)
    }

    /// The node of a group.
    pub fn raft(&self, group: &str) -> Option<Raft> {
        self.lock().get(group).map(|(raft, _)| raft.clone())
    }

    /// The value of a key in a group's map, as far as this process has applied.
    pub fn get(&self, group: &str, key: &str) -> Option<String> {
        self.lock().get(group).and_then(|(_, machine)| machine.get(key))
    }

    /// How many connections to other processes it has opened.
    pub fn connections(&self) -> usize {
        self.router.connections()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupId, (Raft, StateMachine)>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

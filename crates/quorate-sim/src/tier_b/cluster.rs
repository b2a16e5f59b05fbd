//! The machines together: starting, killing and pausing them, and letting time pass while everything is watched.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::PoisonError;

use quorate::Config;
use quorate::RaftMetrics;
use quorate::ReadPolicy;
use quorate_log::Options;
use quorate_log::sim_disk::PowerCut;
use quorate_log::sim_disk::SimDisk;
use quorate_node::Member;
use quorate_node::Uid;
use quorate_rt::WatchReceiver;

use crate::invariants::i11_order::Order;
use crate::tier_b::client::History;
use crate::tier_b::net::Net;
use crate::tier_b::net::UNDER_WAY_MAX;
use crate::tier_b::node;
use crate::tier_b::node::Boot;
use crate::tier_b::node::Booted;
use crate::tier_b::node::Outcome;
use crate::tier_b::node::Pace;
use crate::tier_b::node::UNTOLD;
use crate::tier_b::observer::Watch;
use crate::tier_b::server::Power;
use crate::tier_b::types::LogId;
use crate::tier_b::types::Raft;
use crate::tier_b::types::Types;
use crate::tier_b::world;
use crate::trace::Look;
use crate::trace::Trace;
use crate::trace::TraceLine;

/// What an error names that tells of damage: a file, or where the files are.
const NAMES: [&str; 5] = [".seg", "vote.", ".snap", "the simulated disk", UNTOLD];

/// Polls between two moments of time: more is a loop that never ends (I18).
const POLLS_MAX: u64 = 2_000_000;

/// What has happened to what a disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    None,
    /// Some of it changed, cannot be read, or is gone.
    Rotten,
    /// A write may have been lost, or gone elsewhere.
    Lying,
}

/// One machine.
pub struct Machine<C: Types> {
    pub id: u64,
    pub disk: SimDisk,
    pub power: Power,
    pub pace: Pace,
    /// What runs on it, if it is up.
    pub running: Option<Outcome<C>>,
    /// What its next start makes of writes that were not synced.
    pub cut: PowerCut,
    /// It may stop by itself, or not start: its disk fails or is full now and then.
    pub failing: bool,
    pub paused: bool,
    pub damage: Damage,
    /// It is switched off for good.
    pub retired: bool,
}

/// All machines, the network between them, and who watches.
pub struct Cluster<C: Types> {
    pub net: Net<C>,
    pub watch: Watch<C>,
    pub history: History,
    pub config: Arc<Config>,
    pub log: Options,
    pub machines: BTreeMap<u64, Machine<C>>,
    pub trace: Option<Trace>,
    /// Whether the promises hold that reads by the lease rest on.
    pub lease_reads: bool,
    /// How long a state machine may take to begin with a batch.
    pub slow_ns: u64,
    pub crashes: u64,
    pub stops: u64,
    pub retired: u64,
    /// Nodes that found damage to what their disk held, and said so.
    pub refused: u64,
    /// Nodes whose disk had forgotten something, and nothing on it told of that.
    pub untold: u64,
}

/// What belongs to a member.
pub fn member(id: u64) -> Member {
    Member { uid: Uid(u128::from(id) + 100), peer_addr: format!("machine{id}:1"), client_addr: String::new() }
}

impl<C: Types> Cluster<C> {
    /// No machines yet, nothing traced, and reads by the lease are allowed.
    pub fn new(net: Net<C>, config: Config, log: Options) -> Self {
        Self {
            net,
            watch: Watch::default(),
            history: History::default(),
            config: Arc::new(config),
            log,
            machines: BTreeMap::new(),
            trace: None,
            lease_reads: true,
            slow_ns: 0,
            crashes: 0,
            stops: 0,
            retired: 0,
            refused: 0,
            untold: 0,
        }
    }

    pub fn say(&self, node: Option<u64>, text: impl FnOnce() -> String) {
        let Some(trace) = &self.trace else { return };
        let look = node.and_then(|id| self.look(id));
        let line = TraceLine { at_us: world::now_ns() / 1_000, node, look, text: text() };
        trace.borrow_mut().push(line);
    }

    fn look(&self, id: u64) -> Option<Look> {
        let clock_us = world::local_ns_of(id) / 1_000;
        let Some(metrics) = self.metrics(id) else {
            return Some(Look { clock_us, role: "down", term: 0, commit: 0 });
        };
        let role = match metrics.state {
            quorate::ServerState::Leader => "leader",
            quorate::ServerState::Candidate => "candidate",
            quorate::ServerState::Follower => "follower",
            quorate::ServerState::Learner => "learner",
            quorate::ServerState::Shutdown => "stopped",
        };
        let commit = metrics.local_committed.as_ref().map_or(0, |log_id| log_id.index + 1);
        Some(Look { clock_us, role, term: metrics.current_term, commit })
    }

    /// A machine with an empty disk, off.
    pub fn add(&mut self, disk_ns: u64) -> u64 {
        let id = self.machines.len() as u64 + 1;
        let disk = SimDisk::new(world::roll());
        let power = Power::new(disk.clone());
        let machine = Machine {
            id,
            disk,
            power,
            pace: Pace::new(disk_ns),
            running: None,
            cut: PowerCut::LoseAll,
            failing: false,
            paused: false,
            damage: Damage::None,
            retired: false,
        };
        self.machines.insert(id, machine);
        id
    }

    /// The machines that are there to be used.
    pub fn ids(&self) -> Vec<u64> {
        self.machines.values().filter(|machine| !machine.retired).map(|machine| machine.id).collect()
    }

    pub fn machine(&mut self, id: u64) -> &mut Machine<C> {
        self.machines.get_mut(&id).unwrap()
    }

    /// The handle of a node that is up.
    pub fn raft(&self, id: u64) -> Option<Raft<C>> {
        let running = self.machines.get(&id)?.running.as_ref()?;
        match &*running.lock().unwrap_or_else(PoisonError::into_inner) {
            Booted::Up(raft) => Some(raft.clone()),
            Booted::Starting | Booted::Refused(_) => None,
        }
    }

    pub fn metrics(&self, id: u64) -> Option<RaftMetrics<C>> {
        Some(self.raft(id)?.metrics().borrow_watched().clone())
    }

    pub fn is_up(&self, id: u64) -> bool {
        self.machines.get(&id).is_some_and(|machine| machine.running.is_some())
    }

    /// Turns a machine on.
    pub fn start(&mut self, id: u64) {
        let (config, log, net, watch) =
            (self.config.clone(), self.log.clone(), self.net.clone(), self.watch.clone());
        let machine = self.machine(id);
        if machine.running.is_some() || machine.retired {
            return;
        }
        machine.disk.restart(machine.cut);
        machine.power.restore();
        let (disk, power, pace) = (machine.disk.clone(), machine.power.clone(), machine.pace.clone());
        let (damage, slow_ns) = (machine.damage, self.slow_ns);
        let boot = Boot { id, config, log, disk, power, pace, slow_ns, net, watch, damage };
        self.machine(id).running = Some(node::start(boot));
        self.say(Some(id), || format!("{id} starts"));
    }

    /// Turns a machine off, at once: what it runs ends wherever it is.
    pub fn crash(&mut self, id: u64, cut: PowerCut) {
        let net = self.net.clone();
        let machine = self.machine(id);
        if machine.running.is_none() {
            return;
        }
        // What destructors do to the disk from here on comes to nothing.
        machine.power.fail_after(0);
        machine.cut = cut;
        machine.paused = false;
        let running = machine.running.take();
        net.disconnect(id);
        world::kill(id);
        drop(running);
        self.crashes += 1;
        self.say(Some(id), || format!("{id} loses its power: {cut:?}"));
    }

    pub fn set_paused(&mut self, id: u64, paused: bool) {
        self.machine(id).paused = paused;
        world::set_paused(id, paused);
        self.say(Some(id), || format!("{id} {}", if paused { "stands still" } else { "goes on" }));
    }

    /// Lets everything happen that happens until then.
    pub fn run_until(&mut self, until_ns: u64) {
        let mut polls = 0;
        loop {
            while let Some(node) = world::poll_one() {
                polls += 1;
                self.check(node);
                assert!(polls < POLLS_MAX, "I18: {POLLS_MAX} polls, and time does not pass");
            }
            polls = 0;
            if world::now_ns() >= until_ns || !world::advance(until_ns) {
                break;
            }
        }
        self.bury();
    }

    pub fn run_for(&mut self, ns: u64) {
        self.run_until(world::now_ns() + ns);
    }

    /// After each poll of a task of `node`.
    fn check(&mut self, node: u64) {
        if let Some(violation) = self.watch.violation() {
            panic!("{violation}");
        }
        if self.watch.take_news() && self.lease_reads {
            self.probe();
        }
        if let Some(machine) = self.machines.get(&node)
            && machine.power.is_gone()
            && machine.running.is_some()
        {
            let cut = machine.cut;
            self.crash(node, cut);
        }
    }

    /// I15: of several nodes that lead, none but the newest may read by its lease. Asked whether or not a client reads: a
    /// schedule need not hit the moment.
    fn probe(&self) {
        let leads = |raft: &Raft<C>| raft.metrics().borrow_watched().state.is_leader();
        let rafts = self.machines.keys().filter_map(|id| Some((*id, self.raft(*id)?)));
        let leaders: Vec<(u64, Raft<C>)> = rafts.filter(|(_, raft)| leads(raft)).collect();
        if leaders.len() < 2 {
            return;
        }
        for (id, raft) in leaders {
            let watch = self.watch.clone();
            world::spawn_on(id, async move {
                let before = watch.probe();
                if let Ok(linearizer) = raft.get_read_linearizer(ReadPolicy::LeaseRead).await {
                    watch.leased(id, before, linearizer.read_log_id().log_id());
                }
            });
        }
    }

    /// I11: what each node says of itself is in order.
    fn check_order(&self) {
        for id in self.machines.keys() {
            let Some(raft) = self.raft(*id) else { continue };
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            let end = |last: &Option<LogId<C>>| last.as_ref().map_or(0, |last| last.index + 1);
            let order = Order {
                purged: end(&metrics.purged),
                snapshot: end(&metrics.snapshot),
                applied: end(&metrics.last_applied),
                committed: end(&metrics.local_committed),
                last: metrics.last_log_index.map_or(0, |last| last + 1),
            };
            order.check(*id);
        }
    }

    /// Nodes that stopped by themselves, or refused to start, are dealt with as a supervisor would.
    fn bury(&mut self) {
        if let Some(panic) = world::first_panic() {
            panic!("I20: {panic}");
        }
        if let Some(wrong) = self.history.wrong() {
            panic!("{wrong}");
        }
        self.check_order();
        let most = self.net.under_way_most();
        assert!(most <= UNDER_WAY_MAX, "I19: {most} messages are under way");
        for id in self.ids() {
            let Some(running) = self.machine(id).running.clone() else { continue };
            let ended = match &*running.lock().unwrap_or_else(PoisonError::into_inner) {
                Booted::Starting => None,
                Booted::Refused(why) => Some((true, why.clone())),
                Booted::Up(raft) => match &raft.metrics().borrow_watched().running_state {
                    Ok(()) => None,
                    Err(fatal) => Some((false, fatal.to_string())),
                },
            };
            let Some((refused, why)) = ended else { continue };
            drop(running);
            let what = if refused { "refuses to start" } else { "stopped" };
            self.say(Some(id), || format!("{id} {what}: {why}"));
            self.stops += 1;
            let machine = self.machine(id);
            if machine.damage == Damage::None {
                assert!(machine.failing, "I20: node {id} {what}: {why}");
                self.crash(id, PowerCut::KeepAll);
                continue;
            }
            // Whoever is to replace it must know what is wrong.
            let names = NAMES.iter().any(|name| why.contains(name)) || machine.failing;
            assert!(names, "I16: node {id} {what} and does not tell which file is damaged: {why}");
            self.untold += u64::from(why.starts_with(UNTOLD));
            self.refused += u64::from(!why.starts_with(UNTOLD));
            self.retire(id);
        }
    }

    /// The node that leads with the greatest vote, of these.
    pub fn leader(&self, among: &BTreeSet<u64>) -> Option<u64> {
        let leading = among.iter().filter_map(|id| {
            let metrics = self.metrics(*id)?;
            metrics.state.is_leader().then_some((metrics.current_term, *id))
        });
        leading.max().map(|(_, id)| id)
    }
}

impl<C: Types> Drop for Cluster<C> {
    fn drop(&mut self) {
        // The network holds the nodes, and they hold the network.
        for id in self.ids() {
            self.net.disconnect(id);
        }
    }
}

//! The commands of the text scripts.
//!
//! `add-nodes 3 [ids=adv] [pre-vote] [send-unflushed] [no-restore] [payload=2] [snapshot-after=5] [keep=0] …` begins;
//! then, with `1` any node and `1->2` any link:
//!
//! - clients: `init 1 (1,2,3)`, `propose 1 3`, `read 1`, `lease-read 1`;
//! - operators: `campaign 1 [pre]`, `change 1 (1,2)(2,3) learners=(4) [finish]`, `transfer 1 3`, `snapshot 1`,
//!   `purge 1 8`;
//! - one effect: `write 1 [n]`, `flush 1 [n]`, `apply 1 [begin | end]`, `install 1`, `build 1`, `send 1->2`, `timeout 1`,
//!   `take-over 1`, `read-for 1->2` and then `send-read 1` or `fail-read 1`; all of a node's: `work 1`;
//! - messages: `net`, `deliver 1->2 [n]`, `drop 1->2`, `duplicate 1->2`, `delay 1->2`, and `hold 1->2`, which keeps the
//!   oldest one back until `release`;
//! - faults: `crash 1 [keep=n] [state]`, `restart 1`, `wipe 1` (crashes, and loses its disk), `hang 1` (its disk),
//!   `clock 1 -40000` (parts in a million by which it runs fast; before time passes), `partition (1,2)`, `cut 1->2`,
//!   `heal`;
//! - time: `pass 50` passes, `tick 50` passes and wakes who is due, `run 500` passes with everything that follows,
//!   `stabilize` does all there is to do now; `run 500 (2,3)` and `stabilize (2,3)` with these nodes alone, while the
//!   others stand still and what is sent to them waits;
//! - looks: `status`, `log 1`, `peers 1`, `members 1`, `image 1` (its snapshot), `quorum …`. `quiet` before a command
//!   hides its trace, `brief` the messages in it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use quorate_core::Membership;
use quorate_core::Options;
use quorate_core::log::next_index;

use crate::tier_a::Adv;
use crate::tier_a::Ids;
use crate::tier_a::Std;
use crate::tier_a::bars;
use crate::tier_a::cluster::Cluster;
use crate::tier_a::wire::Body;
use crate::tier_a::wire::Config;
use crate::tier_a::wire::Disk;
use crate::tier_a::wire::Envelope;
use crate::tier_a::wire::Image;
use crate::tier_a::wire::Members;
use crate::tier_a::wire::Opt;
use crate::trace::Trace;

/// A script under way, in either kind of leader id.
pub enum Script {
    Std(Stage<Std>),
    Adv(Stage<Adv>),
}

/// The cluster of a script, once it has nodes.
pub struct Stage<L: Ids> {
    cluster: Option<Cluster<L>>,
    /// Messages that are kept back.
    held: Vec<Envelope<L>>,
    trace: Trace,
}

impl<L: Ids> Default for Stage<L> {
    fn default() -> Self {
        Self { cluster: None, held: Vec::new(), trace: Trace::default() }
    }
}

impl<L: Ids> Stage<L> {
    /// Runs one command; returns what it left.
    pub fn run(&mut self, command: &str) -> Vec<String> {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        let quiet = words.first() == Some(&"quiet");
        let brief = words.first() == Some(&"brief");
        if quiet || brief {
            words.remove(0);
        }
        match words.as_slice() {
            ["add-nodes", count, rest @ ..] => self.add_nodes(count.parse().unwrap(), rest),
            ["quorum", rest @ ..] => return bars::draw(rest),
            ["vote-quorum", rest @ ..] => return bars::draw_vote(rest),
            [name, rest @ ..] => {
                let cluster = self.cluster.as_mut().expect("add-nodes comes first");
                let known = hold(&mut self.held, &mut cluster.net, name, rest)
                    || cluster.effect(name, rest)
                    || cluster.demand(name, rest)
                    || cluster.message(name, rest)
                    || cluster.mishap(name, rest)
                    || cluster.look(name, rest);
                assert!(known, "unknown command: {command}");
            }
            [] => {}
        }
        let lines = self.trace.take().into_iter().map(|line| line.text);
        lines.filter(|line| !(quiet || brief && line.contains("->"))).collect()
    }

    fn add_nodes(&mut self, count: u64, rest: &[&str]) {
        let options = options(rest);
        let cluster = self.cluster.get_or_insert_with(|| Cluster::new(options, 1, Some(self.trace.clone())));
        for _ in 0..count {
            cluster.add_node(Default::default());
        }
    }
}

/// Keeps the oldest message of a link back, or lets all go on that were.
fn hold<L: Ids>(held: &mut Vec<Envelope<L>>, net: &mut Vec<Envelope<L>>, name: &str, rest: &[&str]) -> bool {
    match name {
        "hold" => {
            let way = link(rest[0]);
            let at = net.iter().position(|envelope| (envelope.from, envelope.to) == way);
            held.push(net.remove(at.expect("there is such a message")));
        }
        "release" => net.append(held),
        _ => return false,
    }
    true
}

fn options(rest: &[&str]) -> Options {
    let mut options =
        Options { heartbeat_min_interval: Duration::ZERO, snapshot_after: None, ..Options::default() };
    for word in rest {
        let (name, value) = word.split_once('=').unwrap_or((word, "0"));
        let number = || value.parse().unwrap();
        match name {
            "ids" => {}
            "pre-vote" => options.pre_vote = true,
            "send-unflushed" => options.send_unflushed = true,
            "no-restore" => options.restore_leader = false,
            "no-finish" => options.finish_joint = false,
            "allow-reversion" => options.allow_log_reversion = true,
            "payload" => options.payload_entries_max = number(),
            "inflight" => options.inflight_entries_max = number(),
            "snapshot-after" => options.snapshot_after = Some(number()),
            "keep" => options.keep_in_log = number(),
            "disk-stall" => options.disk_stall_max = Some(Duration::from_millis(number())),
            _ => panic!("unknown option: {word}"),
        }
    }
    options
}

/// The sets of `(1,2)(2,3)`.
fn sets(text: &str) -> Vec<BTreeSet<u64>> {
    let groups = text.split(['(', ')']).filter(|group| !group.is_empty());
    groups.map(|group| group.split(',').map(|id| id.parse().unwrap()).collect()).collect()
}

fn link(text: &str) -> (u64, u64) {
    let (from, to) = text.split_once("->").unwrap();
    (from.parse().unwrap(), to.parse().unwrap())
}

fn number(rest: &[&str], at: usize, default: u64) -> u64 {
    rest.get(at).and_then(|word| word.parse().ok()).unwrap_or(default)
}

fn named<'a>(rest: &[&'a str], name: &str) -> Option<&'a str> {
    rest.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

impl<L: Ids> Cluster<L> {
    /// What a node's loops do.
    fn effect(&mut self, name: &str, rest: &[&str]) -> bool {
        let id = number(rest, 0, 0);
        match name {
            "write" => (0..number(rest, 1, u64::MAX)).take_while(|_| self.write(id)).for_each(drop),
            "flush" => drop(self.flush(id, number(rest, 1, 1 << 20) as usize)),
            "apply" => match rest.get(1) {
                Some(&"begin") => drop(self.apply_begin(id)),
                Some(_) => drop(self.apply_end(id)),
                None => while self.apply_begin(id) | self.apply_end(id) {},
            },
            "install" => drop(self.install_begin(id) | self.install_end(id)),
            "build" => drop(self.build_begin(id) | self.build_end(id)),
            "take-over" => drop(self.take_over(id)),
            "work" => drop(self.work(id)),
            "send" => {
                let (from, to) = link(rest[0]);
                self.ask(from, to);
                self.heartbeat(from, to);
                while self.append_begin(from, to) {
                    self.append_end(from, 0);
                }
                self.send_snapshot(from, to);
            }
            "read-for" => drop(self.append_begin(link(rest[0]).0, link(rest[0]).1)),
            "fail-read" => self.fail_read(id),
            "send-read" => drop(self.append_end(id, number(rest, 1, 0))),
            "timeout" => {
                let node = self.node(id);
                let deadline = node.replica.deadline().expect("it waits for something");
                self.now_us = self.now_us.max(deadline.0.as_micros() as u64 + 1 - node.clock.offset_us);
                self.timeout(id);
            }
            _ => return false,
        }
        true
    }

    /// What clients and operators want.
    fn demand(&mut self, name: &str, rest: &[&str]) -> bool {
        let id = number(rest, 0, 0);
        match name {
            "init" => assert!(self.initialize(id, sets(rest[1]).remove(0)), "it is pristine"),
            "propose" => {
                if let Err(refusal) = self.propose(id, number(rest, 1, 1)) {
                    self.say(|| format!("{id} refuses: {refusal:?}"));
                }
            }
            "read" => {
                if let Err(refusal) = self.read(id) {
                    self.say(|| format!("{id} refuses: {refusal:?}"));
                }
            }
            "lease-read" => {
                if !self.read_leased(id) {
                    self.say(|| format!("{id} has no lease"));
                }
            }
            "campaign" => self.elect(id, rest.contains(&"pre")),
            "change" => {
                let learners = named(rest, "learners").map(|text| sets(text).remove(0)).unwrap_or_default();
                let next = Membership::new(sets(rest[1]), learners);
                let finish = rest.contains(&"finish").then_some(false);
                if let Err(refusal) = self.change(id, next, finish) {
                    self.say(|| format!("{id} refuses: {refusal:?}"));
                }
            }
            "transfer" => self.transfer(id, number(rest, 1, 0)),
            "snapshot" => self.replica(id).snapshot_now(),
            "purge" => self.replica(id).purge(number(rest, 1, 0)),
            _ => return false,
        }
        true
    }

    /// What happens to messages under way.
    fn message(&mut self, name: &str, rest: &[&str]) -> bool {
        if name == "net" {
            for envelope in &self.net {
                self.say(|| format!("under way: {}->{} {}", envelope.from, envelope.to, envelope.body));
            }
            return true;
        }
        if !["deliver", "drop", "duplicate", "delay"].contains(&name) {
            return false;
        }
        let (from, to) = link(rest[0]);
        for _ in 0..number(rest, 1, if name == "deliver" { u64::MAX } else { 1 }) {
            let at = self.net.iter().position(|envelope| (envelope.from, envelope.to) == (from, to));
            let Some(at) = at else { break };
            match name {
                "deliver" => {
                    self.deliver(at);
                }
                "drop" => {
                    let envelope = self.net.remove(at);
                    self.say(|| format!("{from}->{to} {} is dropped", envelope.body));
                    self.lose(envelope);
                }
                "duplicate" => {
                    let mut copy = self.net[at].clone();
                    copy.req = 0;
                    self.net.push(copy);
                }
                _ => {
                    let envelope = self.net.remove(at);
                    self.net.push(envelope);
                }
            }
        }
        true
    }

    /// What goes wrong, and time.
    fn mishap(&mut self, name: &str, rest: &[&str]) -> bool {
        let id = number(rest, 0, 0);
        match name {
            "crash" => {
                let keep = named(rest, "keep").map_or(0, |keep| keep.parse().unwrap());
                self.crash(id, keep, rest.contains(&"state"));
            }
            "restart" => self.restart(id),
            "wipe" => {
                self.crash(id, 0, false);
                self.ghost.monotonic.disk_lost(id);
                let node = self.node_mut(id);
                (node.durable, node.snapshot) = (Disk::empty(), None);
            }
            "clock" => self.node_mut(id).clock.drift_ppm = rest[1].parse().unwrap(),
            "hang" => self.node_mut(id).disk_hangs = true,
            "partition" => self.partition(&sets(rest[0]).remove(0)),
            "cut" => drop(self.cut.insert(link(rest[0]))),
            "heal" => self.heal(),
            "stabilize" => match rest.first() {
                Some(some) => self.stabilize_among(&sets(some).remove(0)),
                None => self.stabilize(),
            },
            "run" => match rest.get(1) {
                Some(some) => self.run_among(id, &sets(some).remove(0)),
                None => self.run(id),
            },
            "pass" => self.now_us += id * 1000,
            "tick" => {
                self.now_us += id * 1000;
                for node in self.ids() {
                    if self.node(node).up {
                        self.timeout(node);
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// As [`stabilize`](Self::stabilize), while all other nodes stand still.
    fn stabilize_among(&mut self, some: &BTreeSet<u64>) {
        for _ in 0..10_000 {
            let mut did = false;
            for id in some {
                did |= self.work(*id);
            }
            let here = |envelope: &Envelope<L>| {
                let from = some.contains(&envelope.from) || matches!(envelope.body, Body::Lost);
                from && some.contains(&envelope.to)
            };
            for _ in 0..self.net.iter().filter(|envelope| here(envelope)).count() {
                let at = self.net.iter().position(here).expect("each is delivered once");
                self.deliver(at);
                did = true;
            }
            if !did {
                return;
            }
        }
        panic!("I18: a storm of messages that does not end");
    }

    /// As [`run`](Self::run), while all other nodes stand still.
    fn run_among(&mut self, ms: u64, some: &BTreeSet<u64>) {
        for _ in 0..ms.div_ceil(5) {
            self.now_us += 5_000;
            for id in some.iter().filter(|id| self.nodes[id].up).copied().collect::<Vec<_>>() {
                self.timeout(id);
            }
            self.stabilize_among(some);
        }
    }

    /// What can be seen.
    fn look(&mut self, name: &str, rest: &[&str]) -> bool {
        let id = number(rest, 0, 0);
        match name {
            "status" => {
                let ids = if id == 0 { self.ids() } else { vec![id] };
                for id in ids {
                    self.say(|| self.status_of(id));
                }
            }
            "log" => {
                let node = self.node(id);
                let show = |entries: Vec<String>| entries.join(" ");
                let seen = show(node.view.entries.iter().map(|entry| entry.id.to_string()).collect());
                let durable = show(node.durable.entries.iter().map(|entry| entry.id.to_string()).collect());
                self.say(|| format!("{id} sees  {seen}"));
                self.say(|| format!("{id} keeps {durable}"));
            }
            "image" => {
                let show = |image: &Image<L>| {
                    let (members, at) = (&image.membership.membership, image.membership.log_id.as_ref());
                    format!("up to {}, with {} of {}", Opt(image.last.as_ref()), Members(members), Opt(at))
                };
                let image = self.node(id).snapshot.as_ref().map_or("none".to_string(), show);
                self.say(|| format!("{id} has a snapshot {image}"));
            }
            "members" => {
                let replica = &self.node(id).replica;
                let show = |placed: &Config<L>| {
                    format!("{} of {}", Members(&placed.membership), Opt(placed.log_id.as_ref()))
                };
                let (effective, committed) = (replica.effective_membership(), replica.committed_membership());
                self.say(|| {
                    format!("{id} follows {}, knows {} as committed", show(effective), show(committed))
                });
            }
            "peers" => {
                let Some(leader) = self.node(id).replica.leading() else { return true };
                let peers: BTreeMap<_, _> = leader.peers().collect();
                for (peer, progress) in peers {
                    let matched = Opt(progress.matched()).to_string();
                    self.say(|| format!("{peer}: {:?} matched {matched}", progress.mode()));
                }
            }
            _ => return false,
        }
        true
    }

    fn status_of(&self, id: u64) -> String {
        let node = self.node(id);
        if !node.up {
            return format!("{id} is down");
        }
        let replica = &node.replica;
        let state = format!("{:?}", replica.server_state()).to_lowercase();
        let end = |id| next_index(id).checked_sub(1).map_or("-".to_string(), |last| last.to_string());
        format!(
            "{id} {state} {} log {} durable {} committed {} applied {} {}",
            replica.vote(),
            Opt(replica.log().last()),
            end(replica.flush_point().last.as_ref()),
            end(replica.committed()),
            end(replica.applied()),
            Members(&replica.effective_membership().membership),
        )
    }
}

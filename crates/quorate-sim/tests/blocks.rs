//! One block of one file of one node goes bad, in every way, under the leader and under a follower: the cluster goes
//! on, nothing acknowledged is lost or read otherwise, and who cannot start from its disk is replaced.
//! (Ganesan et al., "Redundancy Does Not Imply Fault Tolerance", FAST 2017.)
//!
//! A debug build tries each block in one of the ways, in turn; `cargo test --release -p quorate-sim --test blocks` in
//! all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use quorate::ChangeMembers;
use quorate::Config;
use quorate::SnapshotPolicy;
use quorate_log::Directory;
use quorate_log::Options;
use quorate_log::sim_disk::PowerCut;
use quorate_log::sim_disk::SimDisk;
use quorate_sim::dice::Dice;
use quorate_sim::linearizability;
use quorate_sim::linearizability::Verdict;
use quorate_sim::tier_b::client::Client;
use quorate_sim::tier_b::client::Habits;
use quorate_sim::tier_b::cluster;
use quorate_sim::tier_b::cluster::Cluster;
use quorate_sim::tier_b::net::Net;
use quorate_sim::tier_b::net::NetFaults;
use quorate_sim::tier_b::types::Std;
use quorate_sim::tier_b::world;
use quorate_sim::tier_b::world::World;

const MS: u64 = 1_000_000;
const BLOCK: u64 = 4096;
const VOTERS: u64 = 3;
/// The machine that takes the place of one whose disk is lost.
const SPARE: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    Zero,
    Garbage,
    Read,
    Write,
    Full,
}

const EVERY_WAY: [Bad; 5] = [Bad::Zero, Bad::Garbage, Bad::Read, Bad::Write, Bad::Full];

#[derive(Clone, Copy, Debug)]
enum Role {
    Leader,
    Follower,
}

/// Ends the world of a case, however it ends.
struct WorldGuard;

impl Drop for WorldGuard {
    fn drop(&mut self) {
        world::end();
    }
}

/// A cluster whose log is several segments long, with snapshots, and clients that go on.
fn in_use() -> Cluster<Std> {
    let config = Config {
        heartbeat_interval: 50,
        election_timeout_min: 150,
        election_timeout_max: 300,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(40),
        max_in_snapshot_log_to_keep: 30,
        purge_batch_size: 1,
        ..Config::default()
    };
    let net = Net::new(NetFaults { latency_ns: MS, ..NetFaults::default() });
    net.set_parts_bytes(64 * 1024);
    let log = Options { segment_bytes: 64 * 1024, tail_bytes: 1024, queue_bytes: 1 << 20 };
    let mut cluster = Cluster::new(net, config.validate().unwrap(), log);
    for _ in 0..VOTERS + 1 {
        let id = cluster.add(100_000);
        cluster.start(id);
    }
    cluster.run_for(200 * MS);
    let members = (1..=VOTERS).map(|id| (id, cluster::member(id))).collect::<BTreeMap<_, _>>();
    let raft = cluster.raft(1).unwrap();
    world::spawn_on(1, async move { raft.initialize(members).await.unwrap() });
    for number in 1..=2 {
        world::spawn(client(&cluster, number).run());
    }
    cluster.run_for(3_000 * MS);
    cluster
}

fn client(cluster: &Cluster<Std>, number: u64) -> Client<Std> {
    let habits = Habits {
        clients: 2,
        keys: 3,
        writes: 8,
        lease_reads: true,
        follower_reads: true,
        pause_ns_max: 50 * MS,
        timeout: Duration::from_millis(500),
        value_bytes_max: 7_000,
    };
    let (net, history) = (cluster.net.clone(), cluster.history.clone());
    Client { number, net, history, habits, nodes: cluster.ids(), leader: None }
}

fn voters() -> BTreeSet<u64> {
    (1..=VOTERS).collect()
}

fn victim(cluster: &Cluster<Std>, role: Role) -> u64 {
    let leader = cluster.leader(&voters()).unwrap();
    match role {
        Role::Leader => leader,
        Role::Follower => leader % VOTERS + 1,
    }
}

/// The blocks of a disk that differ in what they hold: of each file the first two, one amid it, the last that is
/// written and the last of all.
fn blocks(disk: &SimDisk) -> Vec<(String, u64)> {
    let mut blocks = Vec::new();
    for name in disk.list().unwrap() {
        let bytes = disk.contents(&name).unwrap();
        let last = (bytes.len() as u64).div_ceil(BLOCK).saturating_sub(1);
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 / BLOCK);
        let some: BTreeSet<u64> =
            [0, 1, written / 2, written, last].into_iter().filter(|at| *at <= last).collect();
        blocks.extend(some.into_iter().map(|block| (name.clone(), block)));
    }
    blocks
}

/// Where the log's last record is. If that block is wiped out, nothing tells that the log was longer; what the log
/// does then is tested where the log is.
fn is_end(disk: &SimDisk, name: &str, block: u64) -> bool {
    let last = disk.list().unwrap().into_iter().rfind(|name| name.ends_with(".seg"));
    let written = disk.contents(name).unwrap().iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64;
    last.as_deref() == Some(name) && block == written / BLOCK
}

fn spoil(disk: &SimDisk, name: &str, block: u64, bad: Bad) {
    let range = block * BLOCK..(block + 1) * BLOCK;
    let mut dice = Dice(block);
    match bad {
        Bad::Zero => disk.rot_all(name, range, |_, _| 0),
        Bad::Garbage => disk.rot_all(name, range, |_, _| dice.roll() as u8),
        Bad::Read => disk.fail_reads(name, range, u64::MAX),
        Bad::Write => disk.fail_writes(name, range, ErrorKind::Other, u64::MAX),
        Bad::Full => disk.fail_writes(name, range, ErrorKind::StorageFull, u64::MAX),
    }
}

/// What became of the node whose disk was spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    WentOn,
    Replaced,
}

fn one(role: Role, name: &str, block: u64, bad: Bad) -> Option<End> {
    let what = format!("{role:?}: {name}, block {block}, {bad:?}");
    world::install(World::new(7, false));
    let _guard = WorldGuard;
    let mut cluster = in_use();
    let id = victim(&cluster, role);
    cluster.machine(id).failing = true;
    let at_rest = matches!(bad, Bad::Zero | Bad::Garbage | Bad::Read);
    if at_rest {
        cluster.crash(id, PowerCut::KeepAll);
        if is_end(&cluster.machine(id).disk, name, block) && bad != Bad::Read {
            return None;
        }
    }
    spoil(&cluster.machine(id).disk, name, block, bad);
    cluster.start(id);
    cluster.run_for(2_000 * MS);
    let before = cluster.history.tally();
    cluster.run_for(1_000 * MS);
    let after = cluster.history.tally();
    assert!(after.writes > before.writes && after.reads > before.reads, "{what}: {before:?}, then {after:?}");
    let end = if catches_up(&mut cluster, id) {
        End::WentOn
    } else {
        cluster.crash(id, PowerCut::KeepAll);
        replace(&mut cluster, id, &what);
        End::Replaced
    };
    for other in (1..=SPARE).filter(|other| *other != id && (*other != SPARE || end == End::Replaced)) {
        assert!(catches_up(&mut cluster, other), "{what}: node {other} is in step");
    }
    match linearizability::check_within(&cluster.history.operations(), 1_000_000) {
        Verdict::Linearizable => {}
        Verdict::Undecided { .. } => panic!("{what}: not decided"),
        Verdict::Violation(example) => panic!("{what}: {example}"),
    }
    Some(end)
}

/// What an operator does with a node whose disk is lost: another one takes its place.
fn replace(cluster: &mut Cluster<Std>, lost: u64, what: &str) {
    let leader = cluster.leader(&cluster.ids().into_iter().collect()).unwrap();
    let raft = cluster.raft(leader).unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    world::spawn_on(leader, async move {
        let done = async {
            raft.add_learner(SPARE, cluster::member(SPARE), true).await?;
            raft.change_membership(ChangeMembers::AddVoterIds([SPARE].into()), false).await?;
            raft.change_membership(ChangeMembers::RemoveVoters([lost].into()), false).await
        };
        told.send(done.await.map(|_| ()).map_err(|error| error.to_string())).unwrap();
    });
    cluster.run_for(2_000 * MS);
    assert_eq!(heard.try_recv(), Ok(Ok(())), "{what}: {lost} is replaced");
}

/// Whether the node applies what is committed now within a second. A supervisor starts it whenever it stops, as one
/// does whose disk fails again.
fn catches_up(cluster: &mut Cluster<Std>, id: u64) -> bool {
    let goal = cluster.watch.committed_end();
    (0..10).any(|_| {
        cluster.start(id);
        cluster.run_for(100 * MS);
        let applied = cluster.metrics(id).and_then(|metrics| metrics.last_applied).map(|last| last.index);
        applied >= goal.checked_sub(1)
    })
}

/// The files and blocks that the node has at the moment when a case begins.
fn found(role: Role) -> Vec<(String, u64)> {
    world::install(World::new(7, false));
    let _guard = WorldGuard;
    let mut cluster = in_use();
    let id = victim(&cluster, role);
    blocks(&cluster.machine(id).disk)
}

fn spoil_each_block(role: Role) {
    let mut ends = BTreeMap::new();
    for (number, (name, block)) in found(role).iter().enumerate() {
        for (way, bad) in EVERY_WAY.into_iter().enumerate() {
            if (number % EVERY_WAY.len() == way || !cfg!(debug_assertions))
                && let Some(end) = one(role, name, *block, bad)
            {
                *ends.entry(end).or_insert(0) += 1;
            }
        }
    }
    println!("{role:?}: {ends:?}");
    assert!(ends.len() == 2 && ends.values().all(|count| *count > 5), "{ends:?}");
}

#[test]
fn each_block_of_each_file_of_the_leader_goes_bad() {
    spoil_each_block(Role::Leader);
}

#[test]
fn each_block_of_each_file_of_a_follower_goes_bad() {
    spoil_each_block(Role::Follower);
}

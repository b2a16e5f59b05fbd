//! Watching a node: how far it has come, and who leads.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use quorate::Config;
use quorate::SnapshotPolicy;
use quorate::Vote;
use quorate::async_runtime::RecvError;
use quorate::impls::leader_id_adv::LeaderId;
use quorate::raft::FlushPoint;
use quorate::raft::WatchChangeHandle;
use quorate::vote::RaftLeaderId;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::acknowledged;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::cluster::term;
use crate::network::Network;
use crate::network::Node;
use crate::stores::Add;
use crate::stores::Gate;
use crate::stores::Types;

type Leading = LeaderId<u64, u64>;

/// What callbacks were told, in order.
#[derive(Clone)]
struct Told<T>(Arc<Mutex<Vec<T>>>);

impl<T: Clone> Told<T> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn tell(&self, item: T) {
        self.0.lock().unwrap().push(item);
    }

    fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }
}

type Change = (Option<(Leading, bool)>, (Leading, bool));

fn tell_changes(node: &Node) -> (Told<Change>, WatchChangeHandle<Types>) {
    let told = Told::new();
    let teller = told.clone();
    let handle = node.on_cluster_leader_change(move |old, new| {
        let teller = teller.clone();
        async move { teller.tell((old, new)) }
    });
    (told, handle)
}

/// Tells `("start" | "stop", leader)`; each call takes a while.
fn tell_leadership(node: &Node) -> (Told<(&'static str, Leading)>, WatchChangeHandle<Types>) {
    let told = Told::new();
    let tell = |what: &'static str| {
        let teller = told.clone();
        move |leader| {
            let teller = teller.clone();
            async move {
                elapse(Duration::from_millis(20)).await;
                teller.tell((what, leader));
            }
        }
    };
    let handle = node.on_leader_change(tell("start"), tell("stop"));
    (told, handle)
}

#[tokio::test(start_paused = true)]
async fn progress_begins_when_the_node_runs() {
    let mut cluster = Cluster::new(config());
    let disk = cluster.disks.entry(1).or_default().clone();
    let network = Network { from: 1, router: cluster.router.clone() };
    let node = Node::build(1, cluster.config.clone(), network, disk.log, disk.machine).await.unwrap();
    let (mut log, mut vote) = (node.watch_log_progress(), node.watch_vote_progress());
    let of_entries =
        [node.watch_commit_progress(), node.watch_snapshot_progress(), node.watch_apply_progress()];
    assert_eq!((log.get(), vote.get()), (None, None));
    elapse(LONG).await;
    assert_eq!((log.get(), vote.get()), (None, None));
    node.run();
    let fresh = Vote::new(0, 1);
    assert_eq!(soon(vote.next()).await.unwrap(), Some(fresh));
    assert_eq!(soon(log.next()).await.unwrap(), Some(FlushPoint::new(fresh, None)));
    elapse(LONG).await;
    for progress in of_entries {
        assert_eq!(progress.get(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn progress_tells_what_is_durable_committed_applied_and_in_a_snapshot() {
    let mut cluster = Cluster::new(Config { snapshot_policy: SnapshotPolicy::Never, ..config() });
    let leader = cluster.found([1]).await;
    let (mut log, mut commit, mut apply) =
        (leader.watch_log_progress(), leader.watch_commit_progress(), leader.watch_apply_progress());
    let machine = cluster.disks[&1].machine.clone();
    machine.apply_gate.close();
    cluster.disks[&1].log.fail(|faults| faults.withhold = true);
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(1)).await.unwrap().log_id });
    elapse(LONG).await;
    let behind = |entry: Option<_>| entry.is_some_and(|entry: crate::stores::Id| entry.index == 1);
    assert!(behind(log.get().unwrap().last_log_id), "a write that is not flushed is not durable");
    assert!(behind(commit.get()), "nor is it committed");
    cluster.disks[&1].log.release();
    let durable = log.wait_until(|point| point.as_ref().is_some_and(|p| p.last_log_id.unwrap().index == 2));
    let durable = soon(durable).await.unwrap().unwrap();
    assert_eq!(durable.vote, Vote::new_committed(1, 1));
    soon(commit.wait_until_ge(&durable.last_log_id)).await.unwrap();
    elapse(LONG).await;
    assert!(behind(apply.get()), "the state machine has it not yet");
    machine.apply_gate.open();
    let written = soon(write).await.unwrap();
    assert_eq!(soon(apply.wait_until_ge(&Some(written))).await.unwrap(), Some(written));
    let mut snapshot = leader.watch_snapshot_progress();
    assert_eq!(snapshot.get(), None);
    leader.trigger().snapshot().await.unwrap();
    assert_eq!(soon(snapshot.next()).await.unwrap(), Some(written));
}

#[tokio::test(start_paused = true)]
async fn progress_never_goes_back() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let follower = cluster.nodes[&cluster.others(&leader)[0]].clone();
    let mut tasks = Vec::new();
    for node in [&leader, &follower] {
        let (mut log, mut commit) = (node.watch_log_progress(), node.watch_commit_progress());
        tasks.push(tokio::spawn(async move {
            let (mut seen, mut count) = (None, 0);
            while let Ok(next) = log.next().await {
                assert!(next > seen, "{next:?} after {seen:?}");
                (seen, count) = (next, count + 1);
            }
            count
        }));
        tasks.push(tokio::spawn(async move {
            let (mut seen, mut count) = (None, 0);
            while let Ok(next) = commit.next().await {
                assert!(next > seen, "{next:?} after {seen:?}");
                (seen, count) = (next, count + 1);
            }
            count
        }));
    }
    // The old leader's last entries are truncated when it comes back.
    leader.client_write(Add(1)).await.unwrap();
    cluster.router.isolate(*leader.node_id());
    for _ in 0..5 {
        leader.client_write_ff(Add(1), None).await.unwrap();
    }
    cluster.nodes.remove(leader.node_id());
    let next = cluster.leader().await;
    let last = next.client_write(Add(1)).await.unwrap().log_id;
    cluster.router.restore(*leader.node_id());
    soon(leader.watch_apply_progress().wait_until_ge(&Some(last))).await.unwrap();
    soon(leader.shutdown()).await.unwrap();
    soon(follower.shutdown()).await.unwrap();
    for task in tasks {
        assert!(soon(task).await.unwrap() > 2);
    }
}

#[tokio::test(start_paused = true)]
async fn progress_ends_with_its_node_and_its_last_value_stays() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let mut apply = leader.watch_apply_progress();
    let last = apply.get();
    let mut copy = apply.clone();
    soon(copy.changed()).await.unwrap();
    leader.shutdown().await.unwrap();
    assert_eq!(soon(copy.next()).await, Err(RecvError(())));
    assert_eq!(soon(copy.wait_until(|applied| applied.is_none())).await, Err(RecvError(())));
    assert_eq!(soon(apply.next()).await, Ok(last), "what was not seen yet still comes");
    assert_eq!(copy.get(), last);
}

#[tokio::test(start_paused = true)]
async fn every_new_leader_is_told_once_and_the_first_one_too() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let first = Leading::new(term(&leader), *leader.node_id());
    let (told, mut handle) = tell_changes(&leader);
    elapse(LONG).await;
    assert_eq!(told.all(), [(None, (first, true))]);
    let (old, next) = cluster.depose(*leader.node_id()).await;
    elapse(LONG).await;
    assert_eq!(told.all().len(), 1, "a leader that is cut off knows of no other");
    cluster.router.restore(*old.node_id());
    let leads = Leading::new(term(&next), *next.node_id());
    old.wait(PATIENCE).vote(Vote::new_committed(leads.term, leads.node_id), "follows").await.unwrap();
    elapse(LONG).await;
    let all = told.all();
    assert_eq!(all[1].0, Some((first, true)));
    assert_eq!(all.last().unwrap().1.0, leads);
    for pair in all.windows(2) {
        assert_eq!(pair[1].0.unwrap().0, pair[0].1.0, "each begins with what the last one ended with");
        assert_ne!(pair[1].1.0, pair[0].1.0, "a leader that is granted its vote is no change");
    }
    soon(handle.close()).await;
    soon(handle.close()).await;
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_granted_its_vote_is_told_once() {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    let (told, _handle) = tell_changes(&node);
    node.initialize(std::collections::BTreeMap::from([(1, quorate::BasicNode::new("a"))])).await.unwrap();
    cluster.leader().await;
    elapse(LONG).await;
    let told = told.all();
    assert_eq!(told[0].0, None);
    let leaders: Vec<u64> = told.iter().map(|(_, (leader, _))| leader.term).collect();
    assert_eq!(leaders.iter().filter(|term| **term == 1).count(), 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_callback_is_awaited_and_a_closed_one_called_no_more() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let (gate, begun, ended) = (Gate::default(), Told::new(), Told::new());
    gate.close();
    let (passes, begins, ends) = (gate.clone(), begun.clone(), ended.clone());
    let mut handle = leader.on_cluster_leader_change(move |_, (new, _)| {
        let (gate, begun, ended) = (passes.clone(), begins.clone(), ends.clone());
        async move {
            begun.tell(new);
            gate.pass().await;
            ended.tell(new);
        }
    });
    let (old, _next) = cluster.depose(*leader.node_id()).await;
    cluster.router.restore(*old.node_id());
    elapse(LONG).await;
    assert_eq!((begun.all().len(), ended.all().len()), (1, 0), "one call at a time");
    gate.open();
    elapse(LONG).await;
    assert!(begun.all().len() > 1, "what came meanwhile is told after it");
    assert_eq!(begun.all(), ended.all());

    gate.close();
    old.trigger().elect(false).await.unwrap();
    let before = begun.all().len();
    elapse(LONG).await;
    assert_eq!(begun.all().len(), before + 1);
    {
        let closed = handle.close();
        tokio::pin!(closed);
        assert!(tokio::time::timeout(LONG, &mut closed).await.is_err(), "it waits for the call under way");
        gate.open();
        soon(closed).await;
    }
    assert_eq!(begun.all(), ended.all());
    let calls = begun.all().len();
    let now = cluster.nodes[&cluster.others(&old)[0]].clone();
    now.trigger().elect(false).await.unwrap();
    elapse(LONG).await;
    assert_eq!(begun.all().len(), calls);
}

#[tokio::test(start_paused = true)]
async fn leadership_is_told_to_start_and_stop_in_turns() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let handles: Vec<_> =
        cluster.nodes.values().map(|node| (*node.node_id(), tell_leadership(node))).collect();
    for _ in 0..4 {
        let leader = cluster.leader().await;
        acknowledged(&leader).await;
        let to = cluster.others(&leader)[0];
        leader.trigger().transfer_leader(to).await.unwrap();
        cluster.nodes[&to].wait(PATIENCE).state(quorate::ServerState::Leader, "leads").await.unwrap();
        elapse(LONG).await;
    }
    let last = cluster.leader().await;
    let mut started = 0;
    for (id, (told, _)) in &handles {
        let told = told.all();
        for (at, (what, leading)) in told.iter().enumerate() {
            assert_eq!(*what, if at % 2 == 0 { "start" } else { "stop" }, "{told:?}");
            assert_eq!(leading.node_id, *id);
            if at % 2 == 1 {
                assert_eq!(*leading, told[at - 1].1, "it stops what it started");
            }
        }
        assert_eq!(told.len() % 2 == 1, id == last.node_id(), "only one leads: {told:?}");
        started += told.len().div_ceil(2);
    }
    assert_eq!(started, 5, "the first leader and those it was handed to");
    assert!(handles.iter().any(|(id, (told, _))| id == leader.node_id() && told.all().len() >= 2));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_lost_and_won_while_it_was_told_stops_before_it_starts_again() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let (told, gate) = (Told::new(), Gate::default());
    let tell = |what: &'static str| {
        let (teller, gate) = (told.clone(), gate.clone());
        move |leading: Leading| {
            let (teller, gate) = (teller.clone(), gate.clone());
            async move {
                teller.tell((what, leading.term));
                gate.pass().await;
            }
        }
    };
    gate.close();
    let _handle = leader.on_leader_change(tell("start"), tell("stop"));
    elapse(LONG).await;
    let first = term(&leader);
    let other = cluster.nodes[&cluster.others(&leader)[0]].clone();
    for to in [*other.node_id(), *leader.node_id()] {
        let now = cluster.leader().await;
        acknowledged(&now).await;
        now.trigger().transfer_leader(to).await.unwrap();
        cluster.nodes[&to].wait(PATIENCE).state(quorate::ServerState::Leader, "leads").await.unwrap();
    }
    assert_eq!(told.all(), [("start", first)]);
    gate.open();
    elapse(LONG).await;
    assert_eq!(told.all(), [("start", first), ("stop", first), ("start", term(&leader))]);
}

#[tokio::test(start_paused = true)]
async fn watching_a_node_keeps_it_from_nothing() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let (changes, mut first) = tell_changes(&leader);
    let (_, second) = tell_leadership(&leader);
    let mut vote = leader.watch_vote_progress();
    drop(second);
    cluster.nodes.clear();
    cluster.router.remove(1);
    drop(leader);
    while soon(vote.next()).await.is_ok() {}
    soon(first.close()).await;
    assert_eq!(changes.all().len(), 1);
}

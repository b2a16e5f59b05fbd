//! What a node is when it starts, and how a cluster is founded.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate::BasicNode;
use quorate::Config;
use quorate::EntryPayload;
use quorate::ServerState;
use quorate::Vote;
use quorate::async_runtime::WatchReceiver;
use quorate::entry::RaftEntry;
use quorate::errors::InitializeError;
use quorate::errors::RaftError;
use quorate::impls::leader_id_adv::LeaderId;
use quorate::raft::VoteRequest;
use quorate::storage::RaftLogStorage;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::acknowledged;
use crate::cluster::by_hand;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::cluster::term;
use crate::network::Kind;
use crate::stores::Add;
use crate::stores::Machine;

fn members(ids: impl IntoIterator<Item = u64>) -> BTreeMap<u64, BasicNode> {
    ids.into_iter().map(|id| (id, BasicNode::new(format!("node {id}")))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_pristine_node_is_a_learner_and_does_nothing() {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    elapse(LONG).await;
    let metrics = node.metrics().borrow_watched().clone();
    assert_eq!(metrics.state, ServerState::Learner);
    assert_eq!(metrics.vote, Vote::new(0, 1));
    assert_eq!((metrics.last_log_index, metrics.last_applied), (None, None));
    assert_eq!((metrics.current_leader, metrics.current_term), (None, 0));
    assert_eq!((cluster.disks[&1].log.vote(), cluster.disks[&1].log.appends()), (None, 0));
    assert!(!node.is_initialized().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn founding_writes_the_membership_first_and_the_leaders_blank_entry_second() {
    for count in [1, 3] {
        let mut cluster = Cluster::new(config());
        for id in 1..=count {
            cluster.start(id).await;
        }
        cluster.nodes[&1].initialize(members(1..=count)).await.unwrap();
        cluster.nodes[&1].wait(PATIENCE).state(ServerState::Leader, "leads").await.unwrap();
        cluster.applied(1).await;
        for (id, disk) in &cluster.disks {
            let entries = disk.log.entries();
            assert_eq!(entries.len(), 2, "node {id}");
            assert_eq!(entries[0].log_id(), quorate::LogId::new(LeaderId { term: 0, node_id: 1 }, 0));
            let membership = entries[0].get_membership().unwrap();
            assert_eq!(membership.get_joint_config().as_slice(), [(1..=count).collect()]);
            assert_eq!(entries[1].log_id(), quorate::LogId::new(LeaderId { term: 1, node_id: 1 }, 1));
            assert_eq!(entries[1].payload, EntryPayload::Blank);
            assert_eq!(disk.log.vote(), Some(Vote::new_committed(1, 1)), "node {id}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_given_its_vote_is_founded_no_more() {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    assert!(node.vote(VoteRequest::new(Vote::new(1, 2), None)).await.unwrap().vote_granted);
    assert!(node.is_initialized().await.unwrap());
    let refused = node.initialize(members([1])).await.unwrap_err();
    let RaftError::APIError(InitializeError::NotAllowed(refused)) = refused else { panic!("{refused}") };
    assert_eq!((refused.last_log_id, refused.vote), (None, Vote::new(1, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_knows_what_it_applied_and_not_what_the_cluster_committed() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let last = soon(leader.client_write(Add(1))).await.unwrap().log_id;
    cluster.applied(last.index).await;
    for id in [1, 2, 3] {
        cluster.stop(id).await;
    }
    for id in [1, 2, 3] {
        // The others are down: nobody can tell it.
        let node = cluster.start(id).await;
        elapse(Duration::from_millis(100)).await;
        let metrics = node.metrics().borrow_watched().clone();
        assert_eq!(metrics.local_committed, Some(last), "node {id}");
        assert_eq!((metrics.cluster_committed, metrics.last_applied), (None, Some(last)), "node {id}");
        assert_eq!(metrics.last_log_index, Some(last.index));
        cluster.stop(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_restored_without_a_quorum_leads_and_tells_of_no_commit() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let last = soon(leader.client_write(Add(1))).await.unwrap().log_id;
    cluster.applied(last.index).await;
    let (id, before) = (*leader.node_id(), term(&leader));
    cluster.stop(id).await;
    // The answers of the others are lost.
    for other in [1, 2, 3] {
        cluster.router.cut(other, id);
    }
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = told.clone();
    cluster.router.listen(move |_, _, rpc| heard.lock().unwrap().push(rpc.leader_commit));
    let node = cluster.start(id).await;
    elapse(Duration::from_millis(200)).await;
    let metrics = node.metrics().borrow_watched().clone();
    assert_eq!((metrics.state, metrics.current_term), (ServerState::Leader, before));
    assert_eq!((metrics.local_committed, metrics.cluster_committed), (Some(last), None));
    let told = told.lock().unwrap();
    assert!(told.len() > 2 && told.iter().all(Option::is_none), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn each_node_restarts_as_what_the_membership_makes_it() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    cluster.start(4).await;
    soon(leader.add_learner(4, BasicNode::new("node 4"), true)).await.unwrap();
    cluster.applied(last_log(&leader).unwrap()).await;
    for (id, state) in [(4, ServerState::Learner), (others[0], ServerState::Follower)] {
        cluster.stop(id).await;
        let node = cluster.start(id).await;
        assert_eq!(node.metrics().borrow_watched().state, state, "node {id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_no_member_restarts_as_a_learner() {
    let never = quorate::StepDownPolicy::Never;
    let mut cluster = Cluster::new(Config { removed_leader_step_down: never, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    let id = *leader.node_id();
    leader.change_membership(cluster.others(&leader), false).await.unwrap();
    assert!(leader.is_leader());
    cluster.stop(id).await;
    assert!(cluster.disks[&id].log.vote().unwrap().is_committed());
    let node = cluster.start(id).await;
    elapse(LONG).await;
    assert_eq!(node.metrics().borrow_watched().state, ServerState::Learner);
}

#[tokio::test(start_paused = true)]
async fn a_lone_voter_that_is_not_restored_campaigns_at_once() {
    let mut cluster = Cluster::new(Config { enable_leader_restore: Some(false), ..config() });
    let leader = cluster.found([1]).await;
    let before = term(&leader);
    cluster.stop(1).await;
    let now = tokio::time::Instant::now();
    let node = cluster.start(1).await;
    node.wait(PATIENCE).state(ServerState::Leader, "leads").await.unwrap();
    assert!(now.elapsed() < Duration::from_millis(150), "less than an election timeout: {:?}", now.elapsed());
    assert_eq!(term(&node), before + 1);
}

/// Without its lease, as the contract has it, a restarted voter could elect another leader while the one it had
/// promised to still reads by its lease.
#[tokio::test(start_paused = true)]
async fn a_restarted_voter_keeps_its_promise_to_the_leader() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let follower = cluster.others(&leader)[0];
    cluster.stop(follower).await;
    let node = cluster.start(follower).await;
    let candidate = Vote::new(term(&leader) + 1, 77);
    let last = cluster.disks[leader.node_id()].log.last();
    cluster.router.isolate(follower);
    assert!(!node.vote(VoteRequest::new(candidate, last)).await.unwrap().vote_granted);
    elapse(Duration::from_millis(300)).await;
    assert!(node.vote(VoteRequest::new(candidate, last)).await.unwrap().vote_granted);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_ends_before_the_state_machine_is_purged_up_to_there() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let behind = cluster.others(&leader)[0];
    cluster.router.isolate(behind);
    for _ in 0..10 {
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    cluster.stop(behind).await;
    // A crash came after the snapshot was installed and before the log was purged.
    leader.trigger().snapshot().await.unwrap();
    leader.wait(PATIENCE).metrics(|m| m.snapshot.is_some(), "built").await.unwrap();
    let snapshot = leader.get_snapshot().await.unwrap().unwrap();
    let machine = Machine::default();
    machine.keep(snapshot.clone());
    cluster.disks.get_mut(&behind).unwrap().machine = machine;
    cluster.router.restore(behind);
    let node = cluster.start(behind).await;
    assert_eq!(cluster.disks[&behind].log.purged(), snapshot.meta.last_log_id);
    assert_eq!(cluster.disks[&behind].log.last(), snapshot.meta.last_log_id);
    let last = soon(leader.client_write(Add(1))).await.unwrap().log_id.index;
    node.wait(PATIENCE).applied_index_at_least(Some(last), "goes on").await.unwrap();
    assert_eq!(cluster.sum(behind), 11);
}

#[tokio::test(start_paused = true)]
async fn a_purged_log_without_a_snapshot_gets_one_at_start() {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1]).await;
    for _ in 0..10 {
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    cluster.stop(1).await;
    let disk = &cluster.disks[&1];
    let mut log = disk.log.clone();
    let upto = disk.log.entries()[5].log_id();
    log.purge(upto).await.unwrap();
    assert_eq!(disk.machine.asked_to_build(), [false; 0]);
    let node = cluster.start(1).await;
    assert_eq!(cluster.disks[&1].machine.asked_to_build(), [true], "it must be");
    assert_eq!(node.metrics().borrow_watched().snapshot.map(|last| last.index), Some(11));
    assert_eq!(soon(cluster.leader().await.client_write(Add(1))).await.unwrap().data, 11);
}

/// The contract leaves a joint membership as a restart found it; here its leader ends it.
#[tokio::test(start_paused = true)]
async fn a_joint_membership_found_at_a_restart_is_ended_by_the_leader() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    for id in &others {
        cluster.router.isolate(*id);
    }
    let changer = leader.clone();
    let target = [*leader.node_id(), others[0]];
    let change = tokio::spawn(async move { changer.change_membership(target, false).await });
    let end = last_log(&leader).unwrap() + 1;
    leader.wait(PATIENCE).log_index(Some(end), "joint").await.unwrap();
    for id in [1, 2, 3] {
        cluster.stop(id).await;
    }
    assert!(soon(change).await.unwrap().is_err());
    for id in others {
        cluster.router.restore(id);
    }
    for id in [1, 2, 3] {
        cluster.start(id).await;
    }
    let leader = cluster.leader().await;
    leader.wait(PATIENCE).voter_ids(target, "uniform").await.unwrap();
    acknowledged(&leader).await;
    soon(leader.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_ticks_neither_elections_nor_heartbeats_begin() {
    let mut cluster = Cluster::new(Config { enable_tick: false, ..config() });
    for id in [1, 2, 3] {
        cluster.start(id).await;
    }
    cluster.nodes[&1].initialize(members([1, 2, 3])).await.unwrap();
    let leader = cluster.leader().await;
    let beats = || {
        cluster.others(&leader).into_iter().map(|id| cluster.router.count(id, Kind::Heartbeat)).sum::<u64>()
    };
    elapse(LONG).await;
    let before = beats();
    elapse(LONG).await;
    assert_eq!(beats(), before);
    let (_, before) = (cluster.router.isolate(*leader.node_id()), term(&leader));
    elapse(LONG).await;
    for node in cluster.nodes.values() {
        assert_eq!(term(node), before);
    }
}

//! Disks that fail, state machines that panic or hang, nodes that end: a typed error, and never a hang.

use std::sync::Arc;
use std::time::Duration;

use quorate::Config;
use quorate::LogId;
use quorate::ReadPolicy;
use quorate::ServerState;
use quorate::Snapshot;
use quorate::SnapshotMeta;
use quorate::SnapshotPolicy;
use quorate::Vote;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::Fatal;
use quorate::impls::leader_id_adv::LeaderId;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::network::Node;
use crate::stores::Add;
use crate::stores::LogFaults;
use crate::stores::Types;

/// Waits until the node has stopped by a fault of its storage that names `what`, and every call says so.
async fn stopped_by_storage(node: &Node, what: &str) {
    let stopped = node.wait(PATIENCE).metrics(|m| m.running_state.is_err(), "stops").await.unwrap();
    assert_eq!(stopped.state, ServerState::Shutdown);
    let fatal = stopped.running_state.unwrap_err();
    assert!(matches!(fatal, Fatal::StorageError(_)) && fatal.to_string().contains(what), "{fatal}");
    assert_eq!(soon(node.client_write(Add(1))).await.unwrap_err().fatal(), Some(&fatal));
    let read = soon(node.ensure_linearizable(ReadPolicy::ReadIndex)).await.unwrap_err();
    assert_eq!(read.fatal(), Some(&fatal));
    assert_eq!(node.is_initialized().await.unwrap_err(), fatal);
    assert_eq!(soon(node.get_snapshot()).await.unwrap_err().fatal(), Some(&fatal));
    assert_eq!(soon(node.with_state_machine(|_| Box::pin(async {}))).await.unwrap_err(), fatal);
    assert_eq!(node.trigger().heartbeat().await.unwrap_err(), fatal);
}

#[tokio::test(start_paused = true)]
async fn a_failing_log_store_stops_its_node_and_the_others_go_on() {
    let faults: [(&str, fn(&mut LogFaults)); 2] =
        [("append", |f| f.append = true), ("flush", |f| f.flush = true)];
    for (what, fault) in faults {
        let mut cluster = Cluster::new(config());
        let leader = cluster.found([1, 2, 3]).await;
        let id = *leader.node_id();
        cluster.disks[&id].log.fail(fault);
        let failed = soon(leader.client_write(Add(1))).await.unwrap_err();
        assert!(failed.fatal().is_some_and(|fatal| fatal.to_string().contains(what)), "{failed}");
        stopped_by_storage(&leader, what).await;
        cluster.nodes.remove(&id);
        soon(cluster.leader().await.client_write(Add(1))).await.unwrap();
        soon(leader.shutdown()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_stops_its_node() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let id = *leader.node_id();
    cluster.disks[&id].log.fail(|faults| faults.read = true);
    let failed = soon(leader.client_write(Add(1))).await.unwrap_err();
    assert!(failed.fatal().is_some(), "{failed}");
    stopped_by_storage(&leader, "read").await;
    for disk in cluster.disks.values() {
        assert_eq!(disk.machine.seen(), [0; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_vote_that_cannot_be_saved_stops_its_node_and_is_not_given() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    cluster.disks[&others[0]].log.fail(|faults| faults.vote = true);
    let before = cluster.disks[&others[0]].log.vote();
    cluster.router.isolate(*leader.node_id());
    let failed = cluster.nodes[&others[0]].clone();
    stopped_by_storage(&failed, "vote").await;
    assert_eq!(cluster.disks[&others[0]].log.vote(), before);
    elapse(LONG).await;
    assert!(!cluster.nodes[&others[1]].is_leader(), "one of three is no quorum");
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_that_fails_stops_its_node() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let id = *leader.node_id();
    cluster.disks[&id].machine.fail(|faults| faults.apply = true);
    let writes = (0..20).map(|_| leader.client_write(Add(1)));
    for write in soon(futures_util::future::join_all(writes)).await {
        assert!(matches!(write.unwrap_err().fatal(), Some(Fatal::StorageError(_))));
    }
    stopped_by_storage(&leader, "apply").await;
    cluster.nodes.remove(&id);
    let next = cluster.leader().await;
    assert_eq!(soon(next.client_write(Add(1))).await.unwrap().data, 21, "what was committed is not lost");
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_that_panics_stops_its_node_with_its_clients_told() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    cluster.disks[&1].machine.fail(|faults| faults.panic_at = Some(13));
    let writes = (10..20).map(|n| leader.client_write(Add(n)));
    for (n, write) in (10..).zip(soon(futures_util::future::join_all(writes)).await) {
        match write {
            Ok(_) => assert!(n < 13),
            Err(error) => {
                assert!(n >= 13);
                assert_eq!(error.fatal(), Some(&Fatal::Panicked));
            }
        }
    }
    let stopped = leader.wait(PATIENCE).metrics(|m| m.running_state.is_err(), "stops").await.unwrap();
    assert_eq!(stopped.running_state, Err(Fatal::Panicked));
    soon(leader.shutdown()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_with_the_state_machine_harms_its_caller_alone() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let early = leader.with_state_machine::<_, ()>(|_| panic!("before the first await"));
    assert!(soon(early).await.is_err());
    let late = leader.with_state_machine::<_, ()>(|machine| {
        Box::pin(async {
            machine.sum();
            panic!("after it")
        })
    });
    assert!(soon(late).await.is_err());
    assert_eq!(soon(leader.client_write(Add(3))).await.unwrap().data, 3);
    let sum = leader.with_state_machine(|machine| Box::pin(async { machine.sum() }));
    assert_eq!(soon(sum).await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_whatever_is_under_way() {
    let by_hand = Config { snapshot_policy: SnapshotPolicy::Never, ..config() };
    let mut cluster = Cluster::new(by_hand);
    let leader = cluster.found([1]).await;
    soon(leader.client_write(Add(1))).await.unwrap();
    let machine = cluster.disks[&1].machine.clone();
    machine.build_gate.close();
    leader.trigger().snapshot().await.unwrap();
    elapse(Duration::from_millis(10)).await;
    machine.apply_gate.close();
    let (writer, asker) = (leader.clone(), leader.clone());
    let write = tokio::spawn(async move { writer.client_write(Add(1)).await });
    elapse(Duration::from_millis(10)).await;
    let ask = tokio::spawn(async move { asker.with_state_machine(|_| Box::pin(async {})).await });
    elapse(Duration::from_millis(10)).await;
    soon(leader.shutdown()).await.unwrap();
    assert_eq!(soon(write).await.unwrap().unwrap_err().fatal(), Some(&Fatal::Stopped));
    assert_eq!(soon(ask).await.unwrap().unwrap_err(), Fatal::Stopped);
    soon(leader.shutdown()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_while_the_log_store_hangs() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    cluster.disks[&1].log.append_gate.close();
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(1)).await });
    elapse(LONG).await;
    soon(leader.shutdown()).await.unwrap();
    assert_eq!(soon(write).await.unwrap().unwrap_err().fatal(), Some(&Fatal::Stopped));
}

#[tokio::test(start_paused = true)]
async fn who_sends_a_snapshot_to_a_node_that_stops_is_told() {
    let by_hand =
        Config { snapshot_policy: SnapshotPolicy::Never, max_in_snapshot_log_to_keep: 0, ..config() };
    let mut cluster = Cluster::new(by_hand);
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.others(&leader)[0];
    soon(leader.client_write(Add(1))).await.unwrap();
    cluster.applied(2).await;
    leader.trigger().snapshot().await.unwrap();
    leader.wait(PATIENCE).metrics(|m| m.snapshot.is_some(), "built").await.unwrap();
    let mut snapshot = leader.get_snapshot().await.unwrap().unwrap();
    snapshot.meta.last_log_id.as_mut().unwrap().index += 100;
    let vote = leader.metrics().borrow_watched().vote;
    cluster.disks[&away].machine.install_gate.close();
    let receiver = cluster.nodes[&away].clone();
    let install = tokio::spawn(async move { receiver.install_full_snapshot(vote, snapshot).await });
    elapse(Duration::from_millis(50)).await;
    cluster.stop(away).await;
    assert_eq!(soon(install).await.unwrap().unwrap_err(), Fatal::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_last_handle_is_dropped_gives_its_stores_back() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    soon(leader.client_write(Add(1))).await.unwrap();
    let held = Arc::downgrade(
        &leader
            .with_state_machine(|machine| {
                let token = machine.token();
                Box::pin(async { token })
            })
            .await
            .unwrap(),
    );
    drop(leader);
    cluster.router.remove(1);
    cluster.nodes.clear();
    cluster.disks.clear();
    elapse(LONG).await;
    assert_eq!(held.strong_count(), 0, "a task still holds the state machine");
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_last_handle_is_dropped_stops_though_it_installs_a_snapshot() {
    let mut cluster = Cluster::new(config());
    let node = cluster.start(1).await;
    let machine = cluster.disks[&1].machine.clone();
    machine.install_gate.close();
    let leader = LeaderId { term: 1, node_id: 2 };
    let meta = SnapshotMeta { last_log_id: Some(LogId::new(leader, 9)), last_membership: Default::default() };
    let (vote, snapshot) = (Vote { leader_id: leader, committed: true }, Snapshot { meta, snapshot: 1 });
    let impatient =
        tokio::time::timeout(Duration::from_millis(5), node.install_full_snapshot(vote, snapshot));
    assert!(impatient.await.is_err());
    let metrics = node.metrics();
    drop(node);
    cluster.router.remove(1);
    cluster.nodes.clear();
    elapse(LONG).await;
    assert_eq!(metrics.borrow_watched().state, ServerState::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_built_runs_when_told_and_only_once() {
    let mut cluster = Cluster::new(config());
    let (router, config) = (cluster.router.clone(), cluster.config.clone());
    let disk = cluster.disks.entry(1).or_default().clone();
    let network = crate::network::Network { from: 1, router };
    let node = Node::build(1, config, network, disk.log, disk.machine).await.unwrap();
    elapse(LONG).await;
    assert_eq!(last_log(&node), None);
    node.run();
    node.run();
    node.initialize(std::collections::BTreeMap::from([(1, quorate::BasicNode::new("x"))])).await.unwrap();
    node.wait(PATIENCE).state(ServerState::Leader, "leads").await.unwrap();
    soon(node.shutdown()).await.unwrap();
    node.run();
    assert_eq!(node.client_write(Add(1)).await.unwrap_err().fatal(), Some(&Fatal::<Types>::Stopped));
}

// --- Pressure.

#[tokio::test(start_paused = true)]
async fn clients_wait_for_room_and_memory_stays_bounded() {
    let mut cluster = Cluster::new(Config { api_channel_size: Some(10), ..config() });
    let leader = cluster.found([1]).await;
    let log = cluster.disks[&1].log.clone();
    log.append_gate.close();
    let before = last_log(&leader).unwrap();
    let writes: Vec<_> = (0..100)
        .map(|_| {
            let writer = leader.clone();
            tokio::spawn(async move { writer.client_write(Add(1)).await })
        })
        .collect();
    elapse(LONG).await;
    let taken = leader.with_state_machine(|_| Box::pin(async {})).await.map(|()| last_log(&leader).unwrap());
    assert!(taken.as_ref().is_ok_and(|taken| *taken <= before + 10), "{taken:?} entries under way");
    // Half of those that wait go away; the others get their turn all the same.
    for write in writes.iter().skip(1).step_by(2) {
        write.abort();
    }
    log.append_gate.open();
    let mut answered = 0;
    for write in writes {
        answered += u64::from(soon(write).await.is_ok_and(|write| write.is_ok()));
    }
    assert!(answered >= 50, "{answered}");
    let last = soon(leader.client_write(Add(1))).await.unwrap();
    assert_eq!(last.data, last.log_id.index - before);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_takes_nothing_along() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    for other in &others {
        cluster.router.isolate(*other);
    }
    for _ in 0..20 {
        let impatient = tokio::time::timeout(Duration::from_millis(1), leader.client_write(Add(1)));
        assert!(impatient.await.is_err());
    }
    for other in &others {
        cluster.router.restore(*other);
    }
    cluster.applied(21).await;
    assert_eq!(soon(leader.client_write(Add(1))).await.unwrap().data, 21);
}

//! Stores that break their contract: a typed error that says how, or survival; no panic, no hang, nothing lost.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate::BasicNode;
use quorate::ServerState;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::Fatal;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::cluster::term;
use crate::network::Kind;
use crate::network::Node;
use crate::stores::Add;
use crate::stores::Lie;
use crate::stores::Machine;

/// Waits until the node has stopped with an error of its storage that contains `what`.
async fn stops(node: &Node, what: &str) {
    let stopped = node.wait(PATIENCE).metrics(|m| m.running_state.is_err(), "stops").await.unwrap();
    let fatal = stopped.running_state.unwrap_err();
    assert!(matches!(fatal, Fatal::StorageError(_)) && fatal.to_string().contains(what), "{fatal}");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_gives_nothing_is_tried_again_and_costs_no_leadership() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let before = term(&leader);
    let log = cluster.disks[leader.node_id()].log.clone();
    log.fail(|faults| faults.lie_to_peers = Some(Lie::Nothing));
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(1)).await });
    elapse(LONG).await;
    assert!(!write.is_finished());
    let peer = cluster.others(&leader)[0];
    let asked = cluster.router.count(peer, Kind::Append);
    assert!(asked < 100, "{asked} requests with nothing in them");
    log.fail(|faults| faults.lie_to_peers = None);
    assert_eq!(soon(write).await.unwrap().unwrap().data, 1);
    assert_eq!(term(&leader), before);
}

#[tokio::test(start_paused = true)]
async fn a_read_for_peers_that_gives_other_entries_stops_the_leader_and_reaches_nobody() {
    for lie in [Lie::Late, Lie::Foreign, Lie::More] {
        let mut cluster = Cluster::new(config());
        let leader = cluster.found([1, 2, 3]).await;
        let id = *leader.node_id();
        cluster.disks[&id].log.fail(|faults| faults.lie_to_peers = Some(lie));
        let writes = (0..5).map(|_| leader.client_write(Add(1)));
        for write in soon(futures_util::future::join_all(writes)).await {
            assert!(matches!(write.unwrap_err().fatal(), Some(Fatal::StorageError(_))), "{lie:?}");
        }
        stops(&leader, if matches!(lie, Lie::Late) { "" } else { "not those of this log" }).await;
        cluster.nodes.remove(&id);
        let next = cluster.leader().await;
        assert_eq!(soon(next.client_write(Add(1))).await.unwrap().data, 1, "{lie:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_what_is_read_for_peers_stops_the_leader() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.others(&leader)[0];
    cluster.router.isolate(away);
    for _ in 0..5 {
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    cluster.disks[leader.node_id()].log.fail(|faults| faults.lie_to_peers = Some(Lie::Hole));
    cluster.router.restore(away);
    stops(&leader, "not those of this log").await;
    cluster.nodes.remove(leader.node_id());
    assert_eq!(soon(cluster.leader().await.client_write(Add(1))).await.unwrap().data, 6);
}

#[tokio::test(start_paused = true)]
async fn a_read_for_the_state_machine_that_gives_other_entries_stops_the_node_and_applies_none() {
    for lie in [Lie::Nothing, Lie::Late, Lie::Foreign, Lie::More] {
        let mut cluster = Cluster::new(config());
        let leader = cluster.found([1]).await;
        cluster.disks[&1].log.fail(|faults| faults.lie_to_machine = Some(lie));
        let failed = soon(leader.client_write(Add(1))).await;
        // An entry too many comes after those that were asked for.
        if !matches!(lie, Lie::More) {
            assert!(failed.unwrap_err().fatal().is_some(), "{lie:?}");
            assert_eq!(cluster.sum(1), 0, "{lie:?}");
        }
        stops(&leader, "").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_is_dropped_stops_the_node_at_once_or_later() {
    for later in [false, true] {
        let mut cluster = Cluster::new(config());
        let leader = cluster.found([1]).await;
        let log = cluster.disks[&1].log.clone();
        log.fail(|faults| (faults.drop_callbacks, faults.withhold) = (!later, later));
        let writer = leader.clone();
        let write = tokio::spawn(async move { writer.client_write(Add(1)).await });
        elapse(Duration::from_millis(10)).await;
        log.forget_withheld();
        let failed = soon(write).await.unwrap().unwrap_err();
        assert!(
            failed.fatal().is_some_and(|fatal| fatal.to_string().contains("dropped the callback")),
            "{failed}"
        );
        stops(&leader, "dropped the callback").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_drops_a_callback_stops_alone() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let bad = cluster.others(&leader)[0];
    cluster.disks[&bad].log.fail(|faults| faults.drop_callbacks = true);
    soon(leader.client_write(Add(1))).await.unwrap();
    stops(&cluster.nodes[&bad], "dropped the callback").await;
    assert_eq!(soon(leader.client_write(Add(1))).await.unwrap().data, 2);
}

#[tokio::test(start_paused = true)]
async fn an_append_that_fails_says_why_though_its_callback_goes_with_it() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    cluster.disks[&1].log.fail(|faults| faults.append = true);
    assert!(soon(leader.client_write(Add(1))).await.is_err());
    stops(&leader, "the disk fails: append").await;
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_that_leaves_entries_unapplied_stops_its_node() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let id = *leader.node_id();
    let machine = cluster.disks[&id].machine.clone();
    machine.apply_gate.close();
    let writes: Vec<_> = (0..10)
        .map(|_| {
            let writer = leader.clone();
            tokio::spawn(async move { writer.client_write(Add(1)).await })
        })
        .collect();
    leader.wait(PATIENCE).committed_index_at_least(Some(11), "committed").await.unwrap();
    machine.fail(|faults| faults.leaves = true);
    machine.apply_gate.open();
    stops(&leader, "not read or not applied").await;
    for write in writes {
        if let Err(error) = soon(write).await.unwrap() {
            assert!(matches!(error.fatal(), Some(Fatal::StorageError(_))), "{error}");
        }
    }
    cluster.nodes.remove(&id);
    assert_eq!(soon(cluster.leader().await.client_write(Add(1))).await.unwrap().data, 11);
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_answer_the_state_machine_drops_is_told_that_none_comes() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    cluster.disks[&1].machine.fail(|faults| faults.mute_at = Some(5));
    let unanswered = soon(leader.client_write(Add(5))).await.unwrap_err();
    assert!(unanswered.fatal().is_some(), "{unanswered}");
    assert_eq!(soon(leader.client_write(Add(1))).await.unwrap().data, 6, "the node goes on");
}

#[tokio::test(start_paused = true)]
async fn a_log_whose_leaders_contradict_it_is_refused_at_start() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    for _ in 0..5 {
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    cluster.crash(1).await;
    let log = cluster.disks[&1].log.clone();
    let last = log.last().unwrap();
    let at = |index: u64, term: u64| {
        let mut log_id = last;
        (log_id.index, log_id.leader_id.term) = (index, term);
        log_id
    };
    for wrong in [
        vec![],
        vec![at(3, 1)],
        vec![at(4, 3), last],
        vec![last, at(4, 1)],
        vec![last, at(9, 9)],
        vec![last, last],
    ] {
        log.fail(|faults| faults.key_ids = Some(wrong.clone()));
        let refused = cluster.try_start(1).await.unwrap_err();
        assert!(refused.to_string().contains("says that its leaders end at"), "{wrong:?}: {refused}");
    }
    log.fail(|faults| faults.key_ids = None);
    cluster.start(1).await;
    assert_eq!(soon(cluster.leader().await.client_write(Add(1))).await.unwrap().data, 6);
}

/// A disk that lost its vote and kept its log: leading in a term that the log has passed would put the log in disorder.
#[tokio::test(start_paused = true)]
async fn a_node_whose_vote_is_older_than_its_log_does_not_lead_in_a_term_that_has_passed() {
    for lost in [true, false] {
        let mut cluster = Cluster::new(config());
        let leader = cluster.found([1, 2, 3]).await;
        let old = *leader.node_id();
        let first_vote = cluster.disks[&old].log.vote();
        // Two more terms pass, and each leaves an entry with everyone.
        for _ in 0..2 {
            let leader = cluster.leader().await;
            let to = cluster.others(&leader)[0];
            leader.trigger().transfer_leader(to).await.unwrap();
            cluster.nodes[&to].wait(PATIENCE).state(ServerState::Leader, "leads").await.unwrap();
            let last = soon(cluster.leader().await.client_write(Add(1))).await.unwrap().log_id.index;
            cluster.applied(last).await;
        }
        for id in [1, 2, 3] {
            cluster.stop(id).await;
        }
        cluster.disks[&old].log.set_vote(if lost { None } else { first_vote });
        let node = cluster.start(old).await;
        node.trigger().elect(false).await.unwrap();
        elapse(LONG).await;
        assert!(!node.is_leader());
        assert!(node.metrics().borrow_watched().running_state.is_ok());
        for id in [1, 2, 3].into_iter().filter(|id| *id != old) {
            cluster.start(id).await;
        }
        let next = cluster.leader().await;
        crate::cluster::acknowledged(&next).await;
        let last = soon(next.client_write(Add(1))).await.unwrap();
        cluster.applied(last.log_id.index).await;
        assert_eq!(last.data, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_voter_whose_vote_is_lost_leads_in_a_later_term_than_its_log_knows() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    soon(leader.client_write(Add(1))).await.unwrap();
    let before = term(&leader);
    cluster.stop(1).await;
    cluster.disks[&1].log.set_vote(None);
    cluster.disks.get_mut(&1).unwrap().machine = Machine::default();
    let node = cluster.start(1).await;
    let again = node.initialize(BTreeMap::from([(1, BasicNode::new("again"))])).await;
    assert!(again.is_err(), "it is founded");
    let written = soon(cluster.leader().await.client_write(Add(1))).await.unwrap();
    assert_eq!(written.data, 2);
    assert!(written.log_id.leader_id.term > before && term(&node) > before);
}

//! Who leads, whatever the network and the disks do.

use quorate::ServerState;
use quorate::async_runtime::WatchReceiver;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::acknowledged;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::cluster::term;
use crate::network::Kind;
use crate::stores::Add;

#[tokio::test(start_paused = true)]
async fn a_blocked_state_machine_costs_no_leadership() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let before = term(&leader);
    for disk in cluster.disks.values() {
        disk.machine.apply_gate.close();
    }
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(1)).await });
    elapse(LONG).await;
    assert!(leader.is_leader());
    assert_eq!(term(&leader), before);
    assert!(!write.is_finished());
    soon(acknowledged(&leader)).await;
    for disk in cluster.disks.values() {
        disk.machine.apply_gate.open();
    }
    assert_eq!(soon(write).await.unwrap().unwrap().data, 1);
}

#[tokio::test(start_paused = true)]
async fn a_follower_with_a_blocked_state_machine_goes_on_voting_and_storing() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let (slow, gone) = (cluster.others(&leader)[0], cluster.others(&leader)[1]);
    cluster.disks[&slow].machine.apply_gate.close();
    cluster.router.isolate(gone);
    let before = term(&leader);
    for _ in 0..20 {
        soon(leader.client_write(Add(1))).await.unwrap();
    }
    elapse(LONG).await;
    assert_eq!(term(&leader), before);
    assert_eq!(cluster.sum(slow), 0);
    cluster.disks[&slow].machine.apply_gate.open();
    cluster.router.restore(gone);
    cluster.applied(21).await;
    assert_eq!(cluster.sum(slow), 20);
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_flush_never_comes_back_blocks_nobody() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let stuck = cluster.others(&leader)[0];
    cluster.disks[&stuck].log.fail(|faults| faults.withhold = true);
    let before = term(&leader);
    for n in 1..=50 {
        assert_eq!(soon(leader.client_write(Add(1))).await.unwrap().data, n);
    }
    elapse(LONG).await;
    assert_eq!(term(&leader), before);
    assert_eq!(soon(leader.client_write(Add(1))).await.unwrap().data, 51);
    cluster.disks[&stuck].log.release();
    cluster.applied(52).await;
    assert_eq!(cluster.sum(stuck), 51);
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_append_is_blocked_blocks_nobody() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let stuck = cluster.others(&leader)[0];
    cluster.disks[&stuck].log.append_gate.close();
    let before = term(&leader);
    for n in 1..=50 {
        assert_eq!(soon(leader.client_write(Add(1))).await.unwrap().data, n);
    }
    elapse(LONG).await;
    assert_eq!(term(&leader), before);
    cluster.disks[&stuck].log.append_gate.open();
    cluster.applied(51).await;
}

/// Scenario 27: it still sends heartbeats, so nobody would ever take its place.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_disk_hangs_steps_down_and_its_clients_learn_what_became_of_their_writes() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let old = *leader.node_id();
    cluster.disks[&old].log.fail(|faults| faults.withhold = true);
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(1)).await });
    let others = cluster.others(&leader);
    let leads = others.iter().map(|id| {
        let node = cluster.nodes[id].clone();
        Box::pin(async move {
            let wait = node.wait(PATIENCE);
            let leads = wait.metrics(|m| m.state.is_leader() && m.last_quorum_acked.is_some(), "leads").await;
            leads.map(|_| node.clone())
        })
    });
    let next = futures_util::future::select_ok(leads).await.unwrap().0;
    assert_eq!(soon(next.client_write(Add(10))).await.unwrap().data, 10);
    cluster.disks[&old].log.release();
    assert!(soon(write).await.unwrap().is_err(), "another leader's entry stands in its place");
    leader.wait(PATIENCE).applied_index_at_least(last_log(&next), "follows").await.unwrap();
    assert_eq!(cluster.sum(old), 10);
}

#[tokio::test(start_paused = true)]
async fn a_leader_alone_waits_for_its_disk() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let before = term(&leader);
    cluster.disks[&1].log.fail(|faults| faults.withhold = true);
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(1)).await });
    elapse(LONG).await;
    assert!(!write.is_finished());
    cluster.disks[&1].log.release();
    assert_eq!(soon(write).await.unwrap().unwrap().data, 1);
    assert_eq!(term(&leader), before);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_votes_blocks_no_election() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3, 4, 5]).await;
    let others = cluster.others(&leader);
    for silent in &others[..2] {
        cluster.router.hang(*silent);
    }
    let (_, next) = cluster.depose(*leader.node_id()).await;
    soon(next.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn hung_votes_are_given_up_and_asked_for_again() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    for id in &others {
        cluster.router.hang_kind(*id, Kind::PreVote);
    }
    cluster.router.isolate(*leader.node_id());
    elapse(LONG).await;
    for id in &others {
        cluster.router.restore(*id);
    }
    let (_, next) = cluster.depose(*leader.node_id()).await;
    soon(next.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn with_pre_vote_a_node_that_hears_nobody_does_not_disturb_a_healthy_leader() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let deaf = cluster.others(&leader)[0];
    for other in [1, 2, 3] {
        cluster.router.cut(other, deaf);
    }
    let before = term(&leader);
    elapse(LONG).await;
    assert!(leader.is_leader());
    soon(leader.client_write(Add(1))).await.unwrap();
    cluster.router.restore(deaf);
    cluster.applied(2).await;
    elapse(LONG).await;
    assert!(leader.is_leader());
    assert_eq!(term(&leader), before);
    assert_eq!(term(&cluster.nodes[&deaf]), before);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_heard_but_hears_nobody_keeps_its_followers_but_takes_no_writes() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let before = term(&leader);
    for other in cluster.others(&leader) {
        cluster.router.cut(other, *leader.node_id());
    }
    elapse(LONG).await;
    for other in cluster.others(&leader) {
        assert_eq!(term(&cluster.nodes[&other]), before);
    }
    let refused = leader.client_write(Add(1)).await.unwrap_err();
    assert!(refused.forward_to_leader().is_some_and(|forward| forward.leader_id.is_none()), "{refused}");
    cluster.router.restore(*leader.node_id());
    acknowledged(&leader).await;
    soon(leader.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_pre_vote_a_cut_off_node_comes_back_with_a_higher_term_and_one_leads_again() {
    let mut cluster = Cluster::new(quorate::Config::default());
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.others(&leader)[0];
    cluster.router.isolate(away);
    elapse(LONG).await;
    assert!(term(&cluster.nodes[&away]) > term(&leader));
    cluster.router.restore(away);
    elapse(LONG).await;
    let next = cluster.leader().await;
    let last = soon(next.client_write(Add(1))).await.unwrap().log_id.index;
    cluster.applied(last).await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_make_a_follower_campaign_but_not_a_leader_nor_a_learner() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let before = term(&leader);
    leader.trigger().elect(false).await.unwrap();
    cluster.start(4).await;
    leader.add_learner(4, quorate::BasicNode::new("node 4"), true).await.unwrap();
    cluster.nodes[&4].trigger().elect(false).await.unwrap();
    elapse(LONG).await;
    assert!(leader.is_leader());
    assert_eq!((term(&leader), term(&cluster.nodes[&4])), (before, before));
    assert_eq!(cluster.nodes[&4].metrics().borrow_watched().state, ServerState::Learner);
}

#[tokio::test(start_paused = true)]
async fn a_transfer_to_a_dead_node_ends_with_some_leader() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let dead = cluster.others(&leader)[0];
    cluster.router.isolate(dead);
    leader.trigger().transfer_leader(dead).await.unwrap();
    let refused = leader.client_write(Add(1)).await.unwrap_err();
    assert_eq!(refused.forward_to_leader().unwrap().leader_id, Some(dead));
    elapse(LONG).await;
    cluster.nodes.remove(&dead);
    soon(cluster.leader().await.client_write(Add(1))).await.unwrap();
}

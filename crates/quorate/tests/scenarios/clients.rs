//! What clients are told, and that they are told something: scenarios 39 and 41.

use quorate::BasicNode;
use quorate::Config;
use quorate::ReadPolicy;
use quorate::ServerState;
use quorate::async_runtime::WatchReceiver;
use quorate::errors::ClientWriteError;
use quorate::errors::Fatal;
use quorate::errors::RaftError;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::network::Kind;
use crate::stores::Add;

/// The entry of a client is truncated where the client waits, and committed later all the same, by another node that had
/// it: so the client must not hear that it may just try again.
#[tokio::test(start_paused = true)]
async fn scenario_39_a_write_that_is_truncated_and_revived_is_not_called_safe_to_retry() {
    let mut cluster = Cluster::new(Config { enable_elect: false, ..config() });
    let a = cluster.found([1, 2, 3, 4, 5]).await;
    assert_eq!(*a.node_id(), 1);
    let (b, c) = (cluster.nodes[&2].clone(), cluster.nodes[&3].clone());
    // 4 and 5 take no entries, whoever sends them; 3 gets none from 1.
    cluster.router.hang_kind(4, Kind::Append);
    cluster.router.hang_kind(5, Kind::Append);
    cluster.router.cut(1, 3);
    let at = last_log(&a).unwrap() + 1;
    let writer = a.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(7)).await });
    b.wait(PATIENCE).log_index_at_least(Some(at), "taken").await.unwrap();
    // 3 leads, with the votes of 4 and 5. Its first entry takes the place of 1's, at 1 alone.
    cluster.router.isolate(1);
    cluster.router.isolate(2);
    elapse(LONG).await;
    c.trigger().elect(false).await.unwrap();
    c.wait(PATIENCE).state(ServerState::Leader, "leads").await.unwrap();
    assert!(!write.is_finished(), "nothing is decided");
    cluster.router.restore(1);
    let told = soon(write).await.unwrap().unwrap_err();
    // 3 and 1 are gone; 2 leads, with the votes of 4 and 5, and commits what it has.
    cluster.router.isolate(1);
    cluster.router.isolate(3);
    for id in [2, 4, 5] {
        cluster.router.restore(id);
    }
    elapse(LONG).await;
    // The first campaign teaches it the term.
    b.trigger().elect(false).await.unwrap();
    elapse(LONG).await;
    b.trigger().elect(false).await.unwrap();
    b.wait(PATIENCE).state(ServerState::Leader, "leads").await.unwrap();
    for id in [1, 3] {
        cluster.router.restore(id);
    }
    cluster.applied(at).await;
    for id in 1..=5 {
        assert_eq!(cluster.disks[&id].machine.seen(), [7], "revived, and applied once");
    }
    assert!(matches!(told, RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))), "{told}");
    assert!(told.to_string().contains("commit status unknown"), "{told}");
}

/// The state machine dies while callers of every kind wait for it: each of them hears of it.
#[tokio::test(start_paused = true)]
async fn scenario_41_whoever_waits_for_a_state_machine_that_dies_hears_of_it() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let machine = cluster.disks[leader.node_id()].machine.clone();
    machine.apply_gate.close();
    machine.fail(|faults| faults.panic_at = Some(13));
    let node = leader.clone();
    let write = tokio::spawn(async move { node.client_write(Add(13)).await.map(|_| ()) });
    let at = last_log(&leader);
    leader.wait(PATIENCE).committed_index_at_least(at.map(|at| at + 1), "committed").await.unwrap();
    let node = leader.clone();
    let behind = tokio::spawn(async move { node.client_write(Add(1)).await.map(|_| ()) });
    let node = leader.clone();
    let read = tokio::spawn(async move { node.ensure_linearizable(ReadPolicy::ReadIndex).await.map(|_| ()) });
    let node = leader.clone();
    let look = tokio::spawn(async move { node.with_state_machine(|_| Box::pin(async {})).await });
    let node = leader.clone();
    let learn = tokio::spawn(async move { node.add_learner(4, BasicNode::new("4"), true).await.map(|_| ()) });
    let node = leader.clone();
    let change = tokio::spawn(async move { node.change_membership([1, 2], false).await.map(|_| ()) });
    let node = leader.clone();
    let wait =
        tokio::spawn(async move { node.wait(None).applied_index_at_least(Some(1_000), "never").await });
    elapse(LONG / 10).await;
    assert!(!write.is_finished() && !behind.is_finished() && !read.is_finished() && !look.is_finished());
    machine.apply_gate.open();
    assert_eq!(soon(write).await.unwrap().unwrap_err().fatal(), Some(&Fatal::Panicked));
    assert!(soon(behind).await.unwrap().is_err());
    assert!(soon(read).await.unwrap().is_err());
    assert!(soon(look).await.unwrap().is_err());
    assert!(soon(learn).await.unwrap().is_err());
    assert!(soon(change).await.unwrap().is_err());
    assert!(soon(wait).await.unwrap().is_err());
    assert!(leader.metrics().borrow_watched().running_state.is_err());
    // The others go on without it.
    let dead = *leader.node_id();
    cluster.nodes.remove(&dead);
    cluster.router.remove(dead);
    let next = cluster.leader().await;
    soon(next.client_write(Add(5))).await.unwrap();
}

/// Two peers that are half open: what is sent to the one never returns, the other's answers are lost. Of five nodes
/// three are left, and those work as if nothing were wrong; and a client that goes away takes nothing along.
#[tokio::test(start_paused = true)]
async fn scenario_41_half_open_peers_and_clients_that_go_away_hang_nobody() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3, 4, 5]).await;
    let id = *leader.node_id();
    let others = cluster.others(&leader);
    cluster.router.hang(others[0]);
    cluster.router.cut(others[1], id);
    for n in 1..=20 {
        let writer = leader.clone();
        // Its client does not wait for the answer.
        let gone = tokio::time::timeout(std::time::Duration::ZERO, writer.client_write(Add(1))).await;
        assert!(gone.is_err() || n > 0);
        soon(leader.client_write(Add(1))).await.unwrap();
        soon(leader.ensure_linearizable(ReadPolicy::ReadIndex)).await.unwrap();
    }
    soon(leader.change_membership([id, others[2], others[3]], false)).await.unwrap();
    soon(leader.trigger().snapshot()).await.unwrap();
    let written = soon(leader.client_write(Add(1))).await.unwrap();
    assert_eq!(written.data, 41, "also those whose clients went away");
    for other in [others[2], others[3]] {
        let node = &cluster.nodes[&other];
        node.wait(PATIENCE).applied_index_at_least(Some(written.log_id.index), "applied").await.unwrap();
    }
    assert!(leader.is_leader());
}

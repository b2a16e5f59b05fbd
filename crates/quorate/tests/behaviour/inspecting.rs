//! Closures on a node's state and on its state machine.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use quorate::Config;
use quorate::Precondition;
use quorate::ServerState;
use quorate::SnapshotPolicy;
use quorate::Vote;
use quorate::errors::Fatal;
use quorate::errors::PreconditionFailed;
use quorate::impls::leader_id_adv::LeaderId;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::stores::Add;

#[tokio::test(start_paused = true)]
async fn the_state_shows_what_the_calls_before_did() {
    let mut cluster = Cluster::new(Config { snapshot_policy: SnapshotPolicy::Never, ..config() });
    let leader = cluster.found([1]).await;
    let log_id = leader.client_write(Add(1)).await.unwrap().log_id;
    leader.trigger().snapshot().await.unwrap();
    leader.wait(PATIENCE).snapshot(log_id, "built").await.unwrap();
    let state = leader.with_raft_state(Clone::clone).await.unwrap();
    assert_eq!(state.server_state, ServerState::Leader);
    assert_eq!(*state.vote_ref(), Vote::new_committed(1, 1));
    assert_eq!((state.log_ids.last(), state.log_ids.get(0).unwrap().index), (Some(&log_id), 0));
    assert_eq!((state.local_committed(), state.cluster_committed()), (Some(&log_id), Some(&log_id)));
    assert_eq!(state.snapshot_meta.last_log_id, Some(log_id));
    assert_eq!(state.membership_state.effective().voter_ids().collect::<Vec<_>>(), [1]);
    assert_eq!(state.membership_state.effective(), state.membership_state.committed());

    cluster.disks[&1].log.append_gate.close();
    leader.client_write_ff(Add(1), None).await.unwrap();
    let last = leader.with_raft_state(|state| state.log_ids.last().map(|last| last.index)).await;
    assert_eq!(last, Ok(Some(3)), "a write that returned is in the log, durable or not");
    cluster.disks[&1].log.append_gate.open();
}

#[tokio::test(start_paused = true)]
async fn a_leader_renews_the_vote_of_its_followers() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let follower = cluster.nodes[&cluster.others(&leader)[0]].clone();
    let modified = async || follower.with_raft_state(|state| state.vote_last_modified()).await.unwrap();
    let before = modified().await;
    elapse(LONG).await;
    let heard = modified().await;
    assert!(heard > before);
    cluster.router.isolate(*follower.node_id());
    elapse(Duration::from_millis(100)).await;
    let cut_off = modified().await;
    elapse(LONG).await;
    assert_eq!(modified().await, cut_off, "with pre-votes, nobody else is voted for");
}

#[tokio::test(start_paused = true)]
async fn a_precondition_is_checked_against_the_state() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let log_id = leader.client_write(Add(1)).await.unwrap().log_id;
    let state = leader.with_raft_state(Clone::clone).await.unwrap();
    let own = LeaderId { term: 1, node_id: 1 };
    let conditions = [
        Precondition::CommittedLeaderId { committed_leader_id: own },
        Precondition::LastLogId { last_log_id: Some(log_id) },
        Precondition::LastMembershipLogId {
            last_membership_log_id: *state.membership_state.effective().log_id(),
        },
    ];
    for condition in conditions {
        assert_eq!(condition.ensure_satisfied(&state), Ok(()));
    }
    let stale = Precondition::LastLogId { last_log_id: None };
    assert_eq!(
        stale.ensure_satisfied(&state),
        Err(PreconditionFailed::LastLogIdMismatch { expected: None, actual: Some(log_id) })
    );
}

#[tokio::test(start_paused = true)]
async fn closures_run_in_the_order_of_their_calls() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..10 {
        let seen = seen.clone();
        let look = move |state: &quorate::RaftState<_>| {
            seen.lock().unwrap().push(state.log_ids.last().map_or(0, |last| last.index));
        };
        leader.external_request(look).await.unwrap();
        leader.client_write_ff(Add(1), None).await.unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), (1..11).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closures_of_many_callers_see_the_state_move_forward() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let callers = (0..8).map(|_| {
        let (node, seen) = (leader.clone(), seen.clone());
        tokio::spawn(async move {
            for _ in 0..50 {
                let seen = seen.clone();
                let look = move |state: &quorate::RaftState<_>| {
                    seen.lock()
                        .unwrap()
                        .push((state.log_ids.last().cloned(), state.local_committed().cloned()));
                };
                node.external_request(look).await.unwrap();
                node.client_write(Add(1)).await.unwrap();
            }
        })
    });
    for caller in soon(futures_util::future::join_all(callers)).await {
        caller.unwrap();
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 400);
    for pair in seen.windows(2) {
        assert!(pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1, "{pair:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closure_that_takes_long_or_panics_harms_its_caller_alone() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let (done, until_done) = std::sync::mpsc::channel::<()>();
    let (node, begun) = (leader.clone(), Arc::new(tokio::sync::Notify::new()));
    let begins = begun.clone();
    let long = tokio::spawn(async move {
        let look = move |_: &quorate::RaftState<_>| {
            begins.notify_one();
            until_done.recv().unwrap();
        };
        node.external_request(look).await
    });
    soon(begun.notified()).await;
    let written = soon(leader.client_write(Add(1))).await.unwrap().log_id;
    cluster.applied(written.index).await;
    done.send(()).unwrap();
    soon(long).await.unwrap().unwrap();

    let node = leader.clone();
    let panics =
        tokio::spawn(async move { node.with_raft_state(|_| panic!("on purpose")).await.map(|(): ()| ()) });
    assert!(soon(panics).await.unwrap_err().is_panic());
    let last = soon(leader.with_raft_state(|state| state.log_ids.last().cloned())).await.unwrap();
    assert_eq!(last, Some(written));
    soon(leader.client_write(Add(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stopped_node_runs_no_closure() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    leader.shutdown().await.unwrap();
    let looked = leader.with_raft_state(|_| -> () { panic!("it is stopped") }).await;
    assert_eq!(looked, Err(Fatal::Stopped));
    assert_eq!(leader.external_request(|_| panic!("it is stopped")).await, Err(Fatal::Stopped));
    let machine = leader.external_state_machine_request(|_| panic!("it is stopped")).await;
    assert_eq!(machine, Err(Fatal::Stopped));
}

#[tokio::test(start_paused = true)]
async fn closures_on_the_state_machine_take_turns_with_entries() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    for n in 1..=5 {
        leader.client_write(Add(n)).await.unwrap();
        let seen = seen.clone();
        leader
            .external_state_machine_request(move |machine| {
                Box::pin(async move { seen.lock().unwrap().push(machine.sum()) })
            })
            .await
            .unwrap();
    }
    let sum = soon(leader.with_state_machine(|machine| Box::pin(async { machine.sum() }))).await;
    assert_eq!(sum, Ok(15));
    assert_eq!(*seen.lock().unwrap(), [1, 3, 6, 10, 15]);
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_dies_on_the_state_machine_is_given_up_after_a_second() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let began = tokio::time::Instant::now();
    let died = soon(leader.with_state_machine::<_, ()>(|_| Box::pin(async { panic!("on purpose") }))).await;
    assert_eq!(died, Err(Fatal::Stopped));
    assert!(began.elapsed() <= Duration::from_secs(1));
    leader.external_state_machine_request(|_| panic!("on purpose")).await.unwrap();
    assert_eq!(soon(leader.client_write(Add(2))).await.unwrap().data, 2, "the node goes on");
}

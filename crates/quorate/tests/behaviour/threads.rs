//! The same on several threads, on the real clock: what only a race can break.

use std::time::Duration;

use quorate::errors::Fatal;

use crate::cluster::Cluster;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::soon;
use crate::network::Node;
use crate::stores::Add;
use crate::stores::Types;

/// So many tasks that write so often each; returns what went wrong.
async fn load(leader: &Node, clients: u64, writes: u64) -> Vec<Option<Fatal<Types>>> {
    let clients = (0..clients).map(|_| {
        let leader = leader.clone();
        tokio::spawn(async move {
            for n in 0..writes {
                if let Err(error) = leader.client_write(Add(n)).await {
                    return Err(error.fatal().cloned());
                }
            }
            Ok(())
        })
    });
    let ended = soon(futures_util::future::join_all(clients)).await;
    ended.into_iter().filter_map(|client| client.unwrap().err()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_are_answered_and_all_nodes_agree() {
    for pipelined in [false, true] {
        let mut cluster = Cluster::new(config());
        if pipelined {
            cluster.router.pipeline();
        }
        let leader = cluster.found([1, 2, 3]).await;
        assert_eq!(load(&leader, 64, 50).await, []);
        cluster.applied(64 * 50 + 1).await;
        let seen = cluster.disks[&1].machine.seen();
        assert_eq!(seen.len(), 64 * 50);
        for id in [2, 3] {
            assert_eq!(cluster.disks[&id].machine.seen(), seen);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_panic_of_the_state_machine_is_told_to_every_client() {
    for _ in 0..10 {
        let mut cluster = Cluster::new(config());
        let leader = cluster.found([1]).await;
        cluster.disks[&1].machine.fail(|faults| faults.panic_at = Some(20));
        let told = load(&leader, 16, 50).await;
        assert_eq!(told, vec![Some(Fatal::Panicked); 16]);
        leader.wait(PATIENCE).metrics(|m| m.running_state == Err(Fatal::Panicked), "stopped").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn shutdown_under_load_leaves_no_client_waiting() {
    for _ in 0..10 {
        let mut cluster = Cluster::new(config());
        let leader = cluster.found([1, 2, 3]).await;
        let (victim, writer) = (leader.clone(), leader.clone());
        let clients = tokio::spawn(async move { load(&writer, 16, u64::MAX).await });
        leader.wait(PATIENCE).applied_index_at_least(Some(200), "under load").await.unwrap();
        soon(victim.shutdown()).await.unwrap();
        let told = tokio::time::timeout(Duration::from_secs(20), clients).await.expect("it hangs").unwrap();
        assert_eq!(told, vec![Some(Fatal::Stopped); 16]);
    }
}

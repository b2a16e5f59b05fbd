//! Many writes at once, and writes whose outcome someone else is told.

use std::time::Duration;

use futures_util::StreamExt;
use quorate::Config;
use quorate::base::BoxStream;
use quorate::errors::ClientWriteError;
use quorate::errors::Fatal;
use quorate::errors::ForwardReason;
use quorate::impls::ProgressResponder;
use quorate::raft::WriteResult;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::stores::Add;
use crate::stores::Types;

type Results = BoxStream<'static, Result<WriteResult<Types>, Fatal<Types>>>;

fn adds(count: u64) -> impl Iterator<Item = Add> {
    (0..count).map(|_| Add(1))
}

async fn collected(results: Results) -> Vec<Result<WriteResult<Types>, Fatal<Types>>> {
    soon(results.collect()).await
}

#[tokio::test(start_paused = true)]
async fn many_writes_stand_side_by_side_and_are_answered_in_order() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let before = last_log(&leader).unwrap();
    let (one, other) = (leader.clone(), leader.clone());
    let (one, other) = tokio::join!(
        async move { collected(one.client_write_many(adds(700)).await.unwrap()).await },
        async move { collected(other.client_write_many(adds(700)).await.unwrap()).await },
    );
    let mut firsts = Vec::new();
    for results in [one, other] {
        assert_eq!(results.len(), 700);
        let written: Vec<_> = results.into_iter().map(|result| result.unwrap().unwrap()).collect();
        for pair in written.windows(2) {
            assert_eq!(pair[0].log_id.index + 1, pair[1].log_id.index);
            assert_eq!(pair[0].response + 1, pair[1].response);
        }
        firsts.push(written[0].log_id.index);
    }
    firsts.sort_unstable();
    assert_eq!(firsts, [before + 1, before + 701], "no write of the one stands among those of the other");
    cluster.applied(before + 1400).await;
    assert_eq!([1, 2, 3].map(|id| cluster.sum(id)), [1400; 3]);
}

#[tokio::test(start_paused = true)]
async fn many_writes_of_nothing_are_an_empty_stream() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let before = last_log(&leader);
    assert!(collected(leader.client_write_many([]).await.unwrap()).await.is_empty());
    assert_eq!(last_log(&leader), before);
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_lead_sends_each_of_many_to_the_leader() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let others = cluster.others(&leader);
    let follower = &cluster.nodes[&others[0]];
    let refused = collected(follower.client_write_many(adds(3)).await.unwrap()).await;
    assert_eq!(refused.len(), 3);
    for refused in refused {
        let ClientWriteError::ForwardToLeader(forward) = refused.unwrap().unwrap_err() else { panic!() };
        assert_eq!(forward.leader_id, Some(*leader.node_id()));
    }
    // A leader that has not heard from a quorum for a lease takes none of them.
    others.iter().for_each(|id| cluster.router.isolate(*id));
    elapse(LONG).await;
    let before = last_log(&leader);
    let refused = collected(leader.client_write_many(adds(2)).await.unwrap()).await;
    for refused in refused {
        let ClientWriteError::ForwardToLeader(forward) = refused.unwrap().unwrap_err() else { panic!() };
        assert_eq!((forward.leader_id, forward.reason), (None, ForwardReason::LeaseExpired));
    }
    assert_eq!(last_log(&leader), before);
}

#[tokio::test(start_paused = true)]
async fn when_the_node_stops_the_stream_says_so_and_ends() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    let machine = cluster.disks[&1].machine.clone();
    let mut results = leader.client_write_many(adds(2)).await.unwrap();
    assert!(soon(results.next()).await.unwrap().unwrap().is_ok());
    assert!(soon(results.next()).await.unwrap().unwrap().is_ok());
    machine.apply_gate.close();
    let results = leader.client_write_many(adds(5)).await.unwrap();
    let stopping = leader.clone();
    let stopped = tokio::spawn(async move { stopping.shutdown().await });
    let results = collected(results).await;
    assert_eq!(results.len(), 1, "{results:?}");
    assert!(matches!(results[0], Err(Fatal::Stopped)));
    machine.apply_gate.open();
    soon(stopped).await.unwrap().unwrap();
    assert!(matches!(leader.client_write_many(adds(1)).await, Err(Fatal::Stopped)));
}

#[tokio::test(start_paused = true)]
async fn many_writes_that_another_leader_replaces_are_discarded_each() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    cluster.router.isolate(*leader.node_id());
    let results = leader.client_write_many(adds(3)).await.unwrap();
    let (old, new) = cluster.depose(*leader.node_id()).await;
    soon(new.client_write(Add(1))).await.unwrap();
    cluster.router.restore(*old.node_id());
    let results = collected(results).await;
    assert_eq!(results.len(), 3);
    for result in results {
        let ClientWriteError::LogEntryDiscarded(forward) = result.unwrap().unwrap_err() else { panic!() };
        assert_eq!(forward.leader_id, Some(*new.node_id()));
    }
}

#[tokio::test(start_paused = true)]
async fn many_writes_wait_for_room_and_then_go_as_one() {
    let mut cluster = Cluster::new(Config { api_channel_size: Some(10), ..config() });
    let leader = cluster.found([1]).await;
    let log = cluster.disks[&1].log.clone();
    log.append_gate.close();
    let before = last_log(&leader).unwrap();
    let first = soon(leader.client_write_many(adds(25))).await.unwrap();
    let writer = leader.clone();
    let waiting = tokio::spawn(async move { writer.client_write_many(adds(25)).await });
    elapse(LONG).await;
    assert!(!waiting.is_finished(), "there is no room for any before the first are done");
    leader.wait(PATIENCE).log_index(Some(before + 25), "only one call's").await.unwrap();
    log.append_gate.open();
    assert!(collected(first).await.iter().all(Result::is_ok));
    let second = collected(soon(waiting).await.unwrap().unwrap()).await;
    let indexes: Vec<u64> = second.into_iter().map(|result| result.unwrap().unwrap().log_id.index).collect();
    assert_eq!(indexes, (before + 26..=before + 50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn many_writes_are_applied_though_nobody_listens() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    drop(leader.client_write_many(adds(50)).await.unwrap());
    assert_eq!(soon(leader.client_write(Add(1))).await.unwrap().data, 51);
}

#[tokio::test(start_paused = true)]
async fn a_blank_write_is_an_entry_without_data() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let before = soon(leader.client_write(Add(4))).await.unwrap();
    let blank = soon(leader.write_blank()).await.unwrap();
    assert_eq!((blank.log_id.index, blank.data), (before.log_id.index + 1, 4));
    assert_eq!(blank.membership, None);
    let follower = &cluster.nodes[&cluster.others(&leader)[0]];
    assert!(follower.write_blank().await.unwrap_err().forward_to_leader().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_write_for_a_leader_that_does_not_lead_is_sent_to_the_one_who_does() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let first = soon(leader.client_write(Add(1))).await.unwrap().log_id.leader_id;
    let (old, new) = cluster.depose(*leader.node_id()).await;
    cluster.router.restore(*old.node_id());
    old.wait(PATIENCE).current_leader(*new.node_id(), "it hears of the new one").await.unwrap();
    // On whichever node, by whichever leader: the answer names who leads now.
    let second = soon(new.client_write(Add(1))).await.unwrap().log_id.leader_id;
    for (node, wanted) in [(&new, first), (&old, first), (&old, second)] {
        let (responder, completed) = ProgressResponder::complete_only();
        node.write(Add(1)).with_leader(wanted).responder(responder).await.unwrap();
        let ClientWriteError::ForwardToLeader(forward) = soon(completed).await.unwrap().unwrap_err() else {
            panic!()
        };
        assert_eq!(forward.leader_id, Some(*new.node_id()));
        assert!(forward.leader_node.is_some());
    }
    // Nobody is told where nobody listens, and nothing is written.
    new.write(Add(1)).with_leader(first).await.unwrap();
    new.write(Add(1)).with_leader(second).await.unwrap();
    assert_eq!(soon(new.client_write(Add(1))).await.unwrap().data, 4);
}

#[tokio::test(start_paused = true)]
async fn a_responder_of_a_node_that_stops_is_dropped_untold() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    cluster.disks[&1].log.append_gate.close();
    let (responder, completed) = ProgressResponder::complete_only();
    leader.client_write_ff(Add(1), Some(responder)).await.unwrap();
    let stopping = leader.clone();
    let stopped = tokio::spawn(async move { stopping.shutdown().await });
    assert!(soon(completed).await.is_err());
    cluster.disks[&1].log.append_gate.open();
    soon(stopped).await.unwrap().unwrap();
    assert_eq!(leader.client_write_ff(Add(1), None).await, Err(Fatal::Stopped));
    assert_eq!(leader.write(Add(1)).await, Err(Fatal::Stopped));
}

#[tokio::test(start_paused = true)]
async fn writes_may_wait_a_little_for_company() {
    let linger = Config { api_batch_linger_ms: 20, api_batch_capacity: 8, ..config() };
    let mut cluster = Cluster::new(linger);
    let leader = cluster.found([1]).await;
    let log = cluster.disks[&1].log.clone();
    let (appends, began) = (log.appends(), tokio::time::Instant::now());
    let write = |pause: u64| {
        let writer = leader.clone();
        async move {
            elapse(Duration::from_millis(pause)).await;
            soon(writer.client_write(Add(1))).await.unwrap()
        }
    };
    let written = tokio::join!(write(0), write(5), write(15));
    assert_eq!(log.appends(), appends + 1, "one append for all three");
    assert!(began.elapsed() >= Duration::from_millis(20));
    assert_eq!(written.0.log_id.index + 2, written.2.log_id.index);
    // A full batch waits for nobody, and none is larger.
    let (appends, began) = (log.appends(), tokio::time::Instant::now());
    let results = leader.client_write_many(adds(16)).await.unwrap();
    assert!(collected(results).await.iter().all(Result::is_ok));
    assert_eq!(log.appends(), appends + 2);
    assert!(began.elapsed() < Duration::from_millis(20));
}

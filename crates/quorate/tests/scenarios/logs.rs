//! What is in a log, and who looks at it when: scenarios 5, 20 and 27.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use quorate::Config;
use quorate::async_runtime::WatchReceiver;
use quorate::impls::leader_id_adv::LeaderId;
use quorate::raft::VoteRequest;
use quorate::type_config::alias::VoteOf;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::cluster::term;
use crate::stores::Add;
use crate::stores::Types;

/// A voter takes an entry, and its disk is slow. Whoever asks for its vote meanwhile is judged by the log with that entry:
/// it will be acknowledged some time, and a leader that lacks it must not come of that vote.
#[tokio::test(start_paused = true)]
async fn scenario_05_a_vote_is_judged_by_what_the_voter_has_taken_though_its_disk_has_not() {
    let mut cluster = Cluster::new(Config { enable_elect: false, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    let old = *leader.node_id();
    let others = cluster.others(&leader);
    let (voter, candidate) = (others[0], others[1]);
    cluster.router.cut(old, candidate);
    let before = cluster.disks[&candidate].log.last();
    cluster.disks[&voter].log.append_gate.close();
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(7)).await });
    let taken = last_log(&leader).unwrap() + 1;
    cluster.nodes[&voter].wait(PATIENCE).log_index_at_least(Some(taken), "taken").await.unwrap();
    assert_eq!(cluster.disks[&voter].log.last(), before, "its disk has not begun to write it");
    // The leader is not heard, so that its lease is over; its request is with the voter.
    cluster.router.cut(old, voter);
    elapse(LONG).await;
    let leader_id = LeaderId { term: term(&leader) + 1, node_id: candidate };
    let vote = VoteOf::<Types> { leader_id, committed: false };
    let request = VoteRequest::new(vote, before);
    let asks = cluster.nodes[&voter].clone();
    let asked = tokio::spawn(async move { asks.vote(request).await });
    elapse(Duration::from_millis(10)).await;
    cluster.disks[&voter].log.append_gate.open();
    assert!(!soon(asked).await.unwrap().unwrap().vote_granted);
    cluster.router.mend(old, voter);
    cluster.router.mend(old, candidate);
    assert_eq!(soon(write).await.unwrap().unwrap().data, 7);
    cluster.applied(taken).await;
}

/// A leader's log cannot be read when a part of what a peer lacks is on its way. Every request that the peer gets stands
/// behind the entry right before its first, also the last one; the leader makes room, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn scenario_20_a_leader_that_cannot_read_its_log_any_more_sends_nothing_malformed() {
    let mut cluster = Cluster::new(Config { max_payload_entries: 2, ..config() });
    let leader = cluster.found([1, 2, 3]).await;
    let old = *leader.node_id();
    let behind = cluster.others(&leader)[0];
    cluster.router.cut(old, behind);
    for n in 1..=10 {
        assert_eq!(soon(leader.client_write(Add(n))).await.unwrap().data, (1..=n).sum());
    }
    let log = cluster.disks[&old].log.clone();
    let malformed = Arc::new(Mutex::new(Vec::new()));
    let (seen, half) = (malformed.clone(), last_log(&leader).unwrap() - 5);
    cluster.router.listen(move |from, to, request| {
        let next = request.prev_log_id.map_or(0, |prev| prev.index + 1);
        if request.entries.first().is_some_and(|first| first.log_id.index != next) {
            seen.lock().unwrap().push(format!("{request:?}"));
        }
        let sent = request.entries.last().is_some_and(|last| last.log_id.index >= half);
        if (from, to) == (old, behind) && sent {
            log.fail(|faults| faults.read = true);
        }
    });
    cluster.router.mend(old, behind);
    leader.wait(PATIENCE).metrics(|m| m.running_state.is_err(), "stops").await.unwrap();
    let taken = last_log(&cluster.nodes[&behind]);
    assert!(taken < last_log(&leader), "{taken:?}: it stopped half way");
    cluster.nodes.remove(&old);
    cluster.router.remove(old);
    let next = cluster.leader().await;
    let last = soon(next.client_write(Add(11))).await.unwrap();
    assert_eq!(last.data, 66);
    cluster.applied(last.log_id.index).await;
    assert_eq!(cluster.disks[&behind].machine.seen(), (1..=11).collect::<Vec<_>>());
    assert_eq!(*malformed.lock().unwrap(), [""; 0]);
}

/// The leader's disk does nothing any more, its network works: another leads, and takes writes, within a bounded number of
/// election timeouts.
#[tokio::test(start_paused = true)]
async fn scenario_27_a_leader_whose_disk_hangs_is_replaced_within_ten_election_timeouts() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let bound = Duration::from_millis(cluster.config.election_timeout_max) * 10;
    cluster.disks[leader.node_id()].log.append_gate.close();
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.client_write(Add(1)).await });
    elapse(Duration::from_millis(1)).await;
    let began = tokio::time::Instant::now();
    let hung = cluster.nodes.remove(leader.node_id()).unwrap();
    let next = cluster.leader().await;
    assert_eq!(soon(next.client_write(Add(10))).await.unwrap().data, 10);
    assert!(began.elapsed() < bound, "{:?}", began.elapsed());
    cluster.disks[hung.node_id()].log.append_gate.open();
    assert!(soon(write).await.unwrap().is_err(), "another leader's entry stands in its place");
    hung.wait(PATIENCE).applied_index_at_least(last_log(&next), "follows").await.unwrap();
    assert!(hung.metrics().borrow_watched().running_state.is_ok());
}

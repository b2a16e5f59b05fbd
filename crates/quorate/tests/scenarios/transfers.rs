//! Leadership that is handed over while clients read and write: scenario 32.

use std::time::Duration;

use quorate::BasicNode;
use quorate::ReadPolicy;
use quorate::ServerState;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::PATIENCE;
use crate::cluster::config;
use crate::cluster::elapse;
use crate::cluster::last_log;
use crate::cluster::soon;
use crate::cluster::term;
use crate::load::Load;
use crate::stores::Add;

/// Leadership goes round, also to a learner that was promoted a moment ago and lags far behind, while clients write to
/// all nodes and read from all: each acknowledged write is there once, no read is stale.
#[tokio::test(start_paused = true)]
async fn scenario_32_transfers_race_with_writes_and_with_reads_of_both_kinds() {
    let mut cluster = Cluster::new(config());
    cluster.router.delay(Duration::from_millis(2));
    let leader = cluster.found([1, 2, 3]).await;
    let late = cluster.start(4).await;
    let load = Load::start(&cluster, 4);
    elapse(Duration::from_millis(200)).await;
    // 4 hears of nothing until it is a voter.
    cluster.router.cut(*leader.node_id(), 4);
    soon(leader.add_learner(4, BasicNode::new("node 4"), false)).await.unwrap();
    soon(leader.change_membership([1, 2, 3, 4], false)).await.unwrap();
    cluster.router.mend(*leader.node_id(), 4);
    leader.trigger().transfer_leader(4).await.unwrap();
    late.wait(PATIENCE).state(ServerState::Leader, "leads").await.unwrap();
    for round in 0..40 {
        let leader = cluster.leader().await;
        let others = cluster.others(&leader);
        leader.trigger().transfer_leader(others[round % others.len()]).await.unwrap();
        elapse(Duration::from_millis(30 + 7 * (round as u64 % 5))).await;
    }
    let (writes, reads) = load.finish(&cluster).await;
    assert!(writes > 300 && reads > 300, "they got somewhere: {writes}, {reads}");
}

/// A voter that has just been promoted is told to lead, and has yet to get what was committed meanwhile. It does not
/// campaign before it has it; the old leader lets nothing in all this time.
#[tokio::test(start_paused = true)]
async fn scenario_32_whoever_is_to_lead_waits_for_what_the_old_leader_has() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let (old, before) = (*leader.node_id(), term(&leader));
    let heir = cluster.start(4).await;
    soon(leader.add_learner(4, BasicNode::new("node 4"), true)).await.unwrap();
    cluster.disks[&4].log.append_gate.close();
    for n in 1..=5 {
        soon(leader.client_write(Add(n))).await.unwrap();
    }
    soon(leader.change_membership([1, 2, 3, 4], false)).await.unwrap();
    leader.trigger().transfer_leader(4).await.unwrap();
    elapse(Duration::from_millis(100)).await;
    assert!(soon(leader.client_write(Add(6))).await.unwrap_err().forward_to_leader().is_some());
    for policy in [ReadPolicy::ReadIndex, ReadPolicy::LeaseRead] {
        let refused = soon(leader.ensure_linearizable(policy)).await.unwrap_err();
        assert!(refused.forward_to_leader().is_some(), "{refused}");
    }
    assert_eq!((heir.is_leader(), term(&heir)), (false, before), "it has not even asked");
    cluster.disks[&4].log.append_gate.open();
    elapse(LONG).await;
    let next = cluster.leader().await;
    assert!(*next.node_id() != old && term(&next) > before);
    let written = soon(next.client_write(Add(6))).await.unwrap();
    assert_eq!(written.data, 21);
    cluster.applied(written.log_id.index).await;
    assert!(last_log(&heir) >= Some(written.log_id.index));
}

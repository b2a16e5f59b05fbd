//! A call that never returns, of every kind, to one peer or to all: the others go on, and when it returns all goes on.

use quorate::async_runtime::WatchReceiver;

use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::cluster::by_hand;
use crate::cluster::compact;
use crate::cluster::elapse;
use crate::cluster::soon;
use crate::cluster::write;
use crate::network::Kind;
use crate::network::Node;
use crate::stores::Add;

/// Writes to whoever leads, until it is acknowledged.
async fn write_somewhere(cluster: &Cluster) -> u64 {
    let written = async {
        loop {
            let leader = cluster.leader().await;
            match leader.client_write(Add(1)).await {
                Ok(written) => return written.log_id.index,
                Err(error) => assert!(error.fatal().is_none(), "{error}"),
            }
            elapse(std::time::Duration::from_millis(50)).await;
        }
    };
    soon(written).await
}

/// A cluster of three in which one node needs the leader's snapshot.
async fn one_behind() -> (Cluster, Node, u64) {
    let mut cluster = Cluster::new(by_hand());
    let leader = cluster.found([1, 2, 3]).await;
    let away = cluster.others(&leader)[0];
    cluster.router.isolate(away);
    write(&leader, 10).await;
    compact(&leader).await;
    (cluster, leader, away)
}

/// Everything that nodes ask of each other is asked while calls of this kind do not return.
async fn everything_is_asked(cluster: &Cluster, leader: &Node, to: u64) {
    leader.trigger().heartbeat().await.unwrap();
    drop(tokio::time::timeout(LONG / 10, leader.client_write(Add(100))).await);
    elapse(LONG / 10).await;
    leader.trigger().transfer_leader(to).await.unwrap();
    elapse(LONG).await;
    cluster.nodes[&to].trigger().elect(false).await.unwrap();
    elapse(LONG).await;
    // Who hears nobody asks for pre-votes.
    let deaf = if cluster.nodes[&to].is_leader() { *leader.node_id() } else { to };
    for other in [1, 2, 3] {
        cluster.router.cut(other, deaf);
    }
    elapse(LONG).await;
    for other in [1, 2, 3] {
        cluster.router.mend(other, deaf);
    }
}

async fn survive(kind: Kind) {
    // One peer does not return: the other two are a quorum.
    let (cluster, leader, away) = one_behind().await;
    let to = cluster.others(&leader)[1];
    cluster.router.restore(away);
    cluster.router.hang_kind(away, kind);
    everything_is_asked(&cluster, &leader, to).await;
    write_somewhere(&cluster).await;
    assert!(cluster.router.count(away, kind) > 0, "it was asked");
    cluster.router.restore(away);
    let last = write_somewhere(&cluster).await;
    cluster.applied(last).await;

    // Nobody returns.
    let (cluster, leader, away) = one_behind().await;
    let to = cluster.others(&leader)[1];
    cluster.router.restore(away);
    for id in [1, 2, 3] {
        cluster.router.hang_kind(id, kind);
    }
    everything_is_asked(&cluster, &leader, to).await;
    for id in [1, 2, 3] {
        cluster.router.restore(id);
    }
    let last = write_somewhere(&cluster).await;
    cluster.applied(last).await;
    let sums = [1, 2, 3].map(|id| cluster.sum(id));
    assert_eq!(sums, [sums[0]; 3]);
    for node in cluster.nodes.values() {
        assert!(node.metrics().borrow_watched().running_state.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_that_never_returns() {
    survive(Kind::Append).await;
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_never_returns() {
    survive(Kind::Heartbeat).await;
}

#[tokio::test(start_paused = true)]
async fn a_vote_that_never_returns() {
    survive(Kind::Vote).await;
}

#[tokio::test(start_paused = true)]
async fn a_pre_vote_that_never_returns() {
    survive(Kind::PreVote).await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_never_returns() {
    survive(Kind::Snapshot).await;
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_never_returns() {
    survive(Kind::Transfer).await;
}

//! How often the tasks of a node are polled for one write: what a change of the route must not raise.

use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate::Config;

use crate::thin::Thin;
use crate::world::Cluster;
use crate::world::soon;

quorate::declare_raft_types!(pub Metered: D = u64, R = u64, AsyncRuntime = Thin);

crate::numbers::kind_of_numbers!(Metered);

/// A node's tasks are started together: its driver, and its state machine's.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Polls {
    driver: f64,
    apply: f64,
}

/// The polls of each node's tasks per write, the leader first, with so many clients at a time.
async fn polls_per_write(clients: usize, rounds: u64) -> Vec<Polls> {
    Thin::forget();
    let mut cluster = Cluster::<Metered>::new(Config::default());
    let leader = cluster.found([1, 2, 3]).await;
    cluster.applied(1).await;
    let counters = Thin::polls();
    let now = || -> Vec<u64> { counters.iter().map(|polls| polls.load(Ordering::Relaxed)).collect() };
    let _ = tokio::time::timeout(Duration::from_millis(75), std::future::pending::<()>()).await;
    let before = now();
    for _ in 0..rounds {
        let writes = (0..clients).map(|n| leader.client_write(n as u64));
        for write in soon(futures_util::future::join_all(writes)).await {
            write.unwrap();
        }
    }
    let writes = (rounds * clients as u64) as f64;
    let per_write: Vec<f64> =
        before.iter().zip(now()).map(|(before, after)| (after - before) as f64 / writes).collect();
    let of = |id: u64| {
        let at = (id as usize - 1) * 2;
        Polls { driver: per_write[at], apply: per_write[at + 1] }
    };
    let first = *leader.node_id();
    let others = [1, 2, 3].into_iter().filter(|id| *id != first);
    std::iter::once(first).chain(others).map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn one_write_wakes_few_tasks() {
    let polls = polls_per_write(1, 200).await;
    println!("one client at a time: leader {:?}, followers {:?}", polls[0], &polls[1..]);
    assert!(polls[0].driver <= 3.1 && polls[0].apply <= 1.1, "{polls:?}");
    for follower in &polls[1..] {
        assert!(follower.driver <= 3.1 && follower.apply <= 1.1, "{polls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn writes_at_one_time_share_their_wakes() {
    let polls = polls_per_write(64, 20).await;
    println!("64 clients at a time: leader {:?}, followers {:?}", polls[0], &polls[1..]);
    for node in &polls {
        assert!(node.driver <= 0.1 && node.apply <= 0.1, "{polls:?}");
    }
}

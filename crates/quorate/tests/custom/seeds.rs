//! Dice that fall the same way in each run: who is elected, and when, follows from a seed.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate::Config;
use quorate::TokioRuntime;
use quorate::rt::deterministic_rng::DeterministicRng;

use crate::world::Cluster;

type Dice = DeterministicRng<TokioRuntime>;

quorate::declare_raft_types!(pub Seeded: D = u64, R = u64, AsyncRuntime = Dice);
crate::numbers::kind_of_numbers!(Seeded);

/// Who leads after the first leader has stopped, and how long that took.
async fn next_leader() -> (u64, Duration) {
    let mut cluster = Cluster::<Seeded>::new(Config::default());
    let first = cluster.found([1, 2, 3]).await;
    let stopped = tokio::time::Instant::now();
    cluster.stop(cluster.number_of(&first)).await;
    let next = cluster.leader().await;
    (cluster.number_of(&next), stopped.elapsed())
}

fn run(seed: u64) -> (u64, Duration) {
    let mut one_thread = tokio::runtime::Builder::new_current_thread();
    let runtime = one_thread.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(Dice::scope(seed, next_leader()))
}

#[test]
fn an_election_follows_from_its_seed() {
    let outcomes: Vec<_> = (0..6).map(run).collect();
    assert_eq!((0..6).map(run).collect::<Vec<_>>(), outcomes, "the same seeds give the same leaders");
    assert!(BTreeSet::from_iter(outcomes).len() > 1, "and other seeds others");
}

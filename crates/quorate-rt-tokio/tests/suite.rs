//! Tokio passes the suite of the runtime traits, with dice of its own and with dice that repeat.

use std::cell::Cell;

use quorate_rt::AsyncRuntime;
use quorate_rt::deterministic_rng::DeterministicRng;
use quorate_rt::testing::DetsimSuite;
use quorate_rt::testing::Suite;
use quorate_rt_tokio::TokioRuntime;
use rand::Rng;

type Repeating = DeterministicRng<TokioRuntime>;

#[test]
fn tokio_conforms() {
    Suite::<TokioRuntime>::test_all();
}

#[test]
fn repeating_dice_conform() {
    let mut runtime = Repeating::new(2);
    runtime.set_seed(7);
    Suite::test_all_on(&mut runtime);
    DetsimSuite::<Repeating>::test_all();
}

#[test]
#[should_panic(expected = "each run draws the same numbers")]
fn dice_that_do_not_repeat_are_found() {
    DetsimSuite::<TokioRuntime>::test_all();
}

async fn draw() -> [u64; 2] {
    [Repeating::thread_rng().next_u64(), Repeating::thread_rng().next_u64()]
}

#[test]
fn a_seed_goes_on_from_run_to_run() {
    let mut runtime = Repeating::new(1);
    assert_eq!(format!("{runtime:?}"), "DeterministicRng { inner: TokioRuntime { .. }, seed: 0 }");
    let first = runtime.block_on(draw());
    let second = runtime.block_on(draw());
    assert_ne!(first, second);
    runtime.set_seed(0);
    let both = runtime.block_on(async { (draw().await, draw().await) });
    assert_eq!(both, (first, second));
    assert_eq!(Repeating::run(draw()), first, "a runtime that is made starts from seed 0");
    runtime.set_seed(1);
    assert_ne!(runtime.block_on(draw()), first);
}

#[test]
fn a_scope_brings_a_seed() {
    TokioRuntime::run(async {
        let first = Repeating::scope(5, draw()).await;
        let mut scoped = Box::pin(Repeating::scope(5, draw()));
        assert_eq!(scoped.as_mut().await, first);
        assert_ne!(scoped.as_mut().take_value(), Some(Cell::new(5)), "the seed has moved on");
        let blocking =
            || async { Repeating::spawn_blocking(|| Repeating::thread_rng().next_u64()).await.unwrap() };
        assert_eq!(Repeating::scope(5, blocking()).await, Repeating::scope(5, blocking()).await);
    });
}

#[test]
#[should_panic(expected = "this task has no seed")]
fn no_dice_without_a_seed() {
    TokioRuntime::run(async {
        assert_eq!(Repeating::spawn(async { 1 }).await.unwrap(), 1, "a task without a seed runs as ever");
        assert_eq!(Repeating::spawn_blocking(|| 2).await.unwrap(), 2);
        Repeating::thread_rng();
    });
}

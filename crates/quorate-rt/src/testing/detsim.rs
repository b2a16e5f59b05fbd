//! What a runtime for deterministic simulations must do beyond the others.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use rand::Rng as _;

use super::BRIEF;
use super::THREADS;
use super::join;
use crate::AsyncRuntime;

/// Random numbers that each task of a run draws.
const DRAWS: usize = 4;

/// The tests that a runtime with reproducible random numbers must pass, such as
/// [`DeterministicRng`](crate::deterministic_rng::DeterministicRng). All functions panic where it falls short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DetsimSuite<Rt: AsyncRuntime> {
    runtime: PhantomData<fn() -> Rt>,
}

impl<Rt: AsyncRuntime> DetsimSuite<Rt> {
    /// Runs the same tasks on two new runtimes, which must draw the same numbers.
    #[track_caller]
    pub fn test_all() {
        let first = Rt::new(THREADS).block_on(Self::draws());
        let second = Rt::new(THREADS).block_on(Self::draws());
        assert_eq!(first, second, "each run draws the same numbers");
        let different: BTreeSet<&u64> = first.iter().collect();
        assert_eq!(different.len(), first.len(), "no two tasks or sources draw the same numbers");
    }

    /// What a run draws: the first task before, while and after it has children, and these.
    async fn draws() -> Vec<u64> {
        let mut all = Self::draws_of_one().await;
        let children = [(); 3].map(|()| {
            Rt::spawn(async {
                let mut mine = Self::draws_of_one().await;
                let grandchild = Rt::spawn(async { Self::draws_of_one().await });
                mine.extend(join::<Rt, _>(grandchild).await);
                mine
            })
        });
        all.extend(Self::draws_of_one().await);
        for child in children {
            all.extend(join::<Rt, _>(child).await);
        }
        all.extend(Self::draws_of_one().await);
        all
    }

    async fn draws_of_one() -> Vec<u64> {
        let mut drawn: Vec<u64> = (0..DRAWS).map(|_| Rt::thread_rng().next_u64()).collect();
        Rt::sleep(BRIEF).await;
        let mut kept = Rt::thread_rng();
        drawn.extend([kept.next_u64(), kept.next_u64()]);
        drawn
    }
}

//! Tasks, dice, choices between futures, values of tasks, and locks.

use std::collections::BTreeSet;
use std::future::pending;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use rand::Rng as _;

use super::BRIEF;
use super::Suite;
use super::fail;
use super::join;
use super::waits;
use crate::AsyncRuntime;
use crate::Mutex;
use crate::Oneshot;
use crate::OneshotSender;
use crate::Select2;
use crate::Select3;
use crate::Select4;

/// Tasks that contend for a lock.
const CONTENDERS: u64 = 8;
/// Random numbers that are drawn to see whether they differ.
const DRAWS: usize = 64;

crate::task_local! {
    static NUMBER: u64;
}

/// Tells when it is dropped.
struct Bell(Arc<AtomicBool>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<Rt: AsyncRuntime> Suite<Rt> {
    /// A spawned task runs to its end, and its handle gives its output.
    pub async fn test_spawn_join_handle() {
        for number in 0..CONTENDERS {
            let handle = Rt::spawn(async move {
                Rt::sleep(BRIEF).await;
                number
            });
            assert_eq!(join::<Rt, _>(handle).await, number, "the handle gives the output of its task");
        }

        let (tx, rx) = Rt::Oneshot::channel::<u64>();
        drop(Rt::spawn(async move {
            Rt::sleep(BRIEF).await;
            tx.send(1)
        }));
        assert_eq!(rx.await.ok(), Some(1), "a task goes on when its handle is dropped");
    }

    /// Random numbers are not all the same, neither those of one source nor those of several.
    pub async fn test_thread_rng() {
        let mut rng = Rt::thread_rng();
        let of_one: BTreeSet<u64> = (0..DRAWS).map(|_| rng.next_u64()).collect();
        assert!(of_one.len() > 1, "one source of random numbers gives different ones");
        let of_many: BTreeSet<u64> = (0..DRAWS).map(|_| Rt::thread_rng().next_u64()).collect();
        assert!(of_many.len() > 1, "several sources of random numbers give different ones");
        join::<Rt, _>(Rt::spawn(async {
            Rt::thread_rng().next_u64();
        }))
        .await;
    }

    /// The earlier one in the list wins if several are ready, and whichever is ready wins over those that are not.
    pub(super) async fn select_prefers_the_earlier() {
        let never = pending::<()>;
        assert_eq!(Rt::select2(ready(1), ready(2)).await, Select2::First(1));
        assert_eq!(Rt::select2(never(), ready(2)).await, Select2::Second(2));
        assert_eq!(Rt::select2(Rt::sleep(BRIEF), never()).await, Select2::First(()));
        assert_eq!(Rt::select3(ready(1), ready(2), ready(3)).await, Select3::First(1));
        assert_eq!(Rt::select3(never(), ready(2), ready(3)).await, Select3::Second(2));
        assert_eq!(Rt::select3(never(), never(), ready(3)).await, Select3::Third(3));
        assert_eq!(Rt::select4(ready(1), ready(2), ready(3), ready(4)).await, Select4::First(1));
        assert_eq!(Rt::select4(never(), ready(2), ready(3), ready(4)).await, Select4::Second(2));
        assert_eq!(Rt::select4(never(), never(), ready(3), ready(4)).await, Select4::Third(3));
        assert_eq!(Rt::select4(never(), never(), never(), ready(4)).await, Select4::Fourth(4));
    }

    /// A future that was lent goes on after it has lost.
    pub(super) async fn select_gives_back_what_it_borrowed() {
        let mut slow = Box::pin(async {
            Rt::sleep(BRIEF).await;
            1
        });
        assert_eq!(Rt::select2(ready(2), slow.as_mut()).await, Select2::First(2));
        assert_eq!(Rt::select2(slow.as_mut(), ready(3)).await, Select2::Second(3));
        assert_eq!(slow.await, 1, "a future that was lent to `select2` goes on");
    }

    /// A future that was given away is dropped when it has lost, and when nobody waits for the choice any more.
    pub(super) async fn select_drops_what_it_owns() {
        let rung = Arc::new(AtomicBool::new(false));
        let bell = Bell(rung.clone());
        let rings = async move {
            pending::<()>().await;
            drop(bell);
        };
        assert_eq!(Rt::select2(rings, ready(1)).await, Select2::Second(1));
        assert!(rung.load(Ordering::SeqCst), "the future that lost is dropped");

        let rung = Arc::new(AtomicBool::new(false));
        let bell = Bell(rung.clone());
        let rings = async move {
            pending::<()>().await;
            drop(bell);
        };
        assert!(waits(Rt::select3(rings, pending::<()>(), pending::<()>())).await);
        assert!(rung.load(Ordering::SeqCst), "the futures are dropped with the choice between them");
    }

    /// A closure that may block gives its result.
    pub(super) async fn blocking_closures_end_elsewhere() {
        let result = Rt::spawn_blocking(|| std::thread::current().id()).await;
        match result {
            Ok(thread) => assert_ne!(thread, std::thread::current().id(), "another thread blocks"),
            Err(error) => fail(&format!("a closure that may block should have run, not: {error}")),
        }
    }

    /// Each task sees its own value, whichever threads poll it.
    pub async fn test_task_local() {
        let tasks = (0..CONTENDERS).map(|number| {
            Rt::spawn(NUMBER.scope(number, async move {
                for _ in 0..3 {
                    Rt::sleep(BRIEF).await;
                    assert_eq!(NUMBER.get(), number, "a task sees its own value");
                }
                let inherited = join::<Rt, _>(Rt::spawn(async { NUMBER.try_get().ok() })).await;
                assert_eq!(inherited, None, "a spawned task does not inherit the value");
            }))
        });
        for task in tasks.collect::<Vec<_>>() {
            join::<Rt, _>(task).await;
        }
    }

    /// The value is there inside the scope only, and the innermost scope counts.
    pub async fn test_task_local_get_value() {
        assert!(NUMBER.try_get().is_err(), "there is no value outside a scope");
        let inside = async {
            let inner = NUMBER.scope(2, async { NUMBER.get() }).await;
            (inner, NUMBER.with(|number| *number))
        };
        assert_eq!(NUMBER.scope(1, inside).await, (2, 1));
        assert!(NUMBER.try_get().is_err(), "there is no value after the scope");
    }

    /// The value can be taken back when the future has ended, once.
    pub async fn test_task_local_take_value() {
        let mut scoped = pin!(NUMBER.scope(1, Rt::sleep(BRIEF)));
        scoped.as_mut().await;
        assert_eq!((scoped.as_mut().take_value(), scoped.as_mut().take_value()), (Some(1), None));
    }

    /// Without its value, the future goes on and sees none.
    pub async fn test_task_local_poll_after_take_value() {
        let mut scoped = pin!(NUMBER.scope(1, async { NUMBER.try_get().is_err() }));
        assert_eq!(scoped.as_mut().take_value(), Some(1));
        assert!(scoped.await, "a value that was taken back is not seen any more");
    }

    /// What the future holds sees the value when it is dropped, as soon as the future has ended.
    pub async fn test_task_local_on_completion_drop() {
        struct Notes(Arc<AtomicBool>);
        impl Drop for Notes {
            fn drop(&mut self) {
                self.0.store(NUMBER.try_get() == Ok(1), Ordering::SeqCst);
            }
        }
        let seen = Arc::new(AtomicBool::new(false));
        let notes = Notes(seen.clone());
        let mut scoped = pin!(NUMBER.scope(1, async move {
            Rt::sleep(BRIEF).await;
            drop(notes);
        }));
        scoped.as_mut().await;
        assert!(seen.load(Ordering::SeqCst), "the value is seen in a destructor");
    }

    /// The lock is held until its guard is dropped.
    pub async fn test_mutex() {
        let mutex = Rt::Mutex::new(1_u64);
        let mut guard = mutex.lock().await;
        *guard += 1;
        assert!(waits(mutex.lock()).await, "a lock that is held makes others wait");
        drop(guard);
        assert_eq!(*mutex.lock().await, 2, "the lock can be had again, and what was written is there");
    }

    /// No two tasks are inside at the same time, not even across an await.
    pub async fn test_mutex_contention() {
        let mutex = Arc::new(Rt::Mutex::new(0_u64));
        let tasks = (0..CONTENDERS).map(|_| {
            let mutex = mutex.clone();
            Rt::spawn(async move {
                let mut guard = mutex.lock().await;
                let before = *guard;
                Rt::sleep(BRIEF).await;
                *guard = before + 1;
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            join::<Rt, _>(task).await;
        }
        assert_eq!(*mutex.lock().await, CONTENDERS, "each task saw what the one before had written");
    }

    /// An owned guard outlives the place where the lock was, and can go to another task.
    pub async fn test_mutex_lock_owned() {
        let mutex = Arc::new(Rt::Mutex::new(1_u64));
        let mut guard = mutex.clone().lock_owned().await;
        assert!(waits(mutex.lock()).await, "a lock that is held makes others wait");
        let task = Rt::spawn(async move {
            Rt::sleep(BRIEF).await;
            *guard += 1;
            *guard
        });
        assert_eq!(join::<Rt, _>(task).await, 2);
        assert_eq!(*mutex.lock().await, 2, "the lock can be had again, and what was written is there");
    }
}

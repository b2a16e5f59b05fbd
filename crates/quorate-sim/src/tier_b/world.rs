//! The world of one thread: its tasks, its clocks, and what is to happen when.
//!
//! Whose turn it is among the tasks that are ready is drawn from the seed; time passes when nobody is. A task belongs to
//! the node whose task spawned it, so that a node can be killed at any await, or paused, with all that it runs.
//!
//! Nothing of anybody else runs while the world is borrowed: futures, wakers and calls are taken out of it first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Wake;
use std::task::Waker;

use crate::dice::Dice;
use crate::tier_b::clock::Clock;

/// What belongs to no node: clients, operators, the network.
pub const OUTSIDE: u64 = 0;
/// What the destructors of a killed node spawn.
const LIMBO: u64 = u64::MAX;
/// How long one poll of a task takes.
const POLL_NS: u64 = 200;
/// Every clock starts with this, so that a moment before the start can be named.
const EPOCH_NS: u64 = 3_600_000_000_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Call = Box<dyn FnOnce()>;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Tasks, clocks, and what is to happen when.
pub struct World {
    dice: Dice,
    now_ns: u64,
    /// The node whose task is polled.
    current: u64,
    slots: Vec<Slot>,
    free: Vec<u32>,
    ready: Arc<Ready>,
    nodes: BTreeMap<u64, Node>,
    calls: BTreeMap<(u64, u64), Call>,
    numbers: u64,
    polls: u64,
    hash: u64,
    panics: Vec<String>,
    threads: bool,
}

#[derive(Default)]
struct Node {
    clock: Clock,
    /// Who is to be woken when, on this node's clock.
    timers: BTreeMap<(u64, u64), Waker>,
    paused: bool,
    /// The tasks that became ready in a pause.
    parked: Vec<TaskId>,
}

struct Slot {
    generation: u32,
    node: u64,
    state: SlotState,
    waker: Option<Arc<TaskWaker>>,
}

enum SlotState {
    Free,
    Waits(Task),
    Polled,
}

type TaskId = (u32, u32);

#[derive(Default)]
struct Ready(Mutex<Vec<TaskId>>);

struct TaskWaker {
    task: TaskId,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Ready {
    fn lock(&self) -> MutexGuard<'_, Vec<TaskId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().push(self.task);
        }
    }
}

impl World {
    /// An empty world; with `threads`, what may block does so on threads of its own.
    pub fn new(seed: u64, threads: bool) -> Self {
        Self {
            dice: Dice(seed),
            now_ns: 0,
            current: OUTSIDE,
            slots: Vec::new(),
            free: Vec::new(),
            ready: Arc::default(),
            nodes: BTreeMap::new(),
            calls: BTreeMap::new(),
            numbers: 0,
            polls: 0,
            hash: 0,
            panics: Vec::new(),
            threads,
        }
    }

    fn node(&mut self, id: u64) -> &mut Node {
        let now = self.now_ns;
        self.nodes.entry(id).or_insert_with(|| Node { clock: Clock::new(now, EPOCH_NS), ..Node::default() })
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn insert(&mut self, node: u64, task: Task) {
        let index = self.free.pop().unwrap_or_else(|| {
            let slot = Slot { generation: 0, node, state: SlotState::Free, waker: None };
            self.slots.push(slot);
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        let task_id = (index, slot.generation);
        let waker = TaskWaker { task: task_id, queued: AtomicBool::new(true), ready: self.ready.clone() };
        slot.node = node;
        slot.state = SlotState::Waits(task);
        slot.waker = Some(Arc::new(waker));
        self.ready.lock().push(task_id);
    }

    /// A task that is ready, by lot, out of its place.
    fn take_ready(&mut self) -> Option<(TaskId, Task, Arc<TaskWaker>)> {
        loop {
            let (index, generation) = {
                let mut ready = self.ready.lock();
                let count = ready.len() as u64;
                if count == 0 {
                    return None;
                }
                if count == 1 {
                    ready.swap_remove(0)
                } else {
                    // In which order they were woken must not matter: tokio's watch wakes in one that no seed knows.
                    ready.sort_unstable();
                    ready.swap_remove(self.dice.below(count) as usize)
                }
            };
            let slot = &mut self.slots[index as usize];
            if slot.generation != generation {
                continue;
            }
            let Some(waker) = slot.waker.clone() else { continue };
            let node = slot.node;
            if let Some(node) = self.nodes.get_mut(&node)
                && node.paused
            {
                node.parked.push((index, generation));
                continue;
            }
            waker.queued.store(false, Ordering::Relaxed);
            let SlotState::Waits(task) = std::mem::replace(&mut slot.state, SlotState::Polled) else {
                continue;
            };
            self.current = node;
            self.polls += 1;
            self.now_ns += POLL_NS;
            self.mix(u64::from(index) << 32 | u64::from(generation));
            return Some(((index, generation), task, waker));
        }
    }

    /// Takes a task back that was polled; a task whose node was killed meanwhile is returned, to be dropped outside.
    fn put_back(&mut self, (index, generation): TaskId, task: Option<Task>) -> Option<Task> {
        self.current = OUTSIDE;
        let slot = &mut self.slots[index as usize];
        if slot.generation != generation {
            return task;
        }
        match task {
            Some(task) => slot.state = SlotState::Waits(task),
            None => self.vacate(index),
        }
        None
    }

    fn vacate(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.state = SlotState::Free;
        slot.waker = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
    }

    fn mix(&mut self, word: u64) {
        for word in [word, self.now_ns] {
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    /// When the next thing happens, in true time.
    fn next_due(&self) -> Option<u64> {
        let timers = self.nodes.values().filter(|node| !node.paused).filter_map(|node| {
            let ((deadline, _), _) = node.timers.first_key_value()?;
            Some(node.clock.when(*deadline))
        });
        timers.chain(self.calls.first_key_value().map(|((at, _), _)| *at)).min()
    }

    fn take_due(&mut self) -> (Vec<Waker>, Vec<Call>) {
        let (mut wakers, mut calls) = (Vec::new(), Vec::new());
        let now = self.now_ns;
        for node in self.nodes.values_mut().filter(|node| !node.paused) {
            let local = node.clock.at(now);
            while let Some(first) = node.timers.first_entry()
                && first.key().0 <= local
            {
                wakers.push(first.remove());
            }
        }
        while let Some(first) = self.calls.first_entry()
            && first.key().0 <= now
        {
            calls.push(first.remove());
        }
        (wakers, calls)
    }
}

fn with<T>(f: impl FnOnce(&mut World) -> T) -> Option<T> {
    WORLD.with_borrow_mut(|world| world.as_mut().map(f))
}

/// Puts a world into this thread.
///
/// # Panics
/// If there is one already.
pub fn install(world: World) {
    WORLD.with_borrow_mut(|place| {
        assert!(place.is_none(), "there is a world on this thread already");
        *place = Some(world);
    });
}

/// Takes the world out of this thread, as it is.
pub fn uninstall() -> Option<World> {
    WORLD.with_borrow_mut(Option::take)
}

/// Ends the world of this thread: all that it holds is dropped, while it is still there to be asked the time.
pub fn end() {
    loop {
        let remains = with(|world| {
            let mut tasks = Vec::new();
            for index in 0..world.slots.len() {
                if let SlotState::Waits(task) =
                    std::mem::replace(&mut world.slots[index].state, SlotState::Free)
                {
                    tasks.push(task);
                    world.vacate(index as u32);
                }
            }
            let timers: Vec<_> =
                world.nodes.values_mut().map(|node| std::mem::take(&mut node.timers)).collect();
            (tasks, timers, std::mem::take(&mut world.calls))
        });
        let Some((tasks, timers, calls)) = remains else { return };
        if tasks.is_empty() && calls.is_empty() {
            break;
        }
        if std::thread::panicking() {
            // A destructor that panics now would end the process.
            std::mem::forget((tasks, timers, calls));
            break;
        }
    }
    drop(uninstall());
}

/// True time since the beginning, in nanoseconds.
pub fn now_ns() -> u64 {
    with(|world| world.now_ns).unwrap_or_default()
}

/// The present on the clock of the node whose task runs.
pub fn local_now_ns() -> u64 {
    with(|world| {
        let (now, current) = (world.now_ns, world.current);
        match world.nodes.get(&current) {
            Some(node) => node.clock.at(now),
            None => EPOCH_NS + now,
        }
    })
    .unwrap_or(EPOCH_NS)
}

/// The node whose task runs.
pub fn current_node() -> u64 {
    with(|world| world.current).unwrap_or(OUTSIDE)
}

/// A random number.
pub fn roll() -> u64 {
    with(|world| world.dice.roll()).unwrap_or_default()
}

/// A random number below `end`.
pub fn below(end: u64) -> u64 {
    roll() % end.max(1)
}

/// True `parts` times in `whole`.
pub fn chance(parts: u64, whole: u64) -> bool {
    below(whole) < parts
}

/// Whether closures that may block run on threads of their own.
pub fn uses_threads() -> bool {
    with(|world| world.threads).unwrap_or(true)
}

/// Starts a task of the node whose task runs.
///
/// # Panics
/// If this thread has no world.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    spawn_on(current_node(), task);
}

/// Starts a task of a node.
///
/// # Panics
/// If this thread has no world.
pub fn spawn_on(node: u64, task: impl Future<Output = ()> + 'static) {
    let spawned = with(|world| world.insert(node, Box::pin(task)));
    assert!(spawned.is_some(), "there is no world on this thread to run a task in");
}

/// Calls `call` when `delay_ns` of true time have passed. It runs between polls, as nobody's task.
pub fn call_after(delay_ns: u64, call: impl FnOnce() + 'static) {
    with(|world| {
        let at = world.now_ns.saturating_add(delay_ns);
        let number = world.number();
        world.calls.insert((at, number), Box::new(call));
    });
}

/// Wakes at `deadline_ns` on the clock of `node`. Returns the number to forget it by.
pub fn add_timer(node: u64, deadline_ns: u64, waker: Waker) -> u64 {
    with(|world| {
        let number = world.number();
        world.node(node).timers.insert((deadline_ns, number), waker);
        number
    })
    .unwrap_or_default()
}

/// Changes whom a timer wakes. False if it is not there.
pub fn renew_timer(node: u64, deadline_ns: u64, number: u64, waker: &Waker) -> bool {
    let old = with(|world| {
        let place = world.nodes.get_mut(&node)?.timers.get_mut(&(deadline_ns, number))?;
        if place.will_wake(waker) { Some(None) } else { Some(Some(std::mem::replace(place, waker.clone()))) }
    });
    old.flatten().is_some()
}

/// Forgets a timer.
pub fn remove_timer(node: u64, deadline_ns: u64, number: u64) {
    let removed = with(|world| world.nodes.get_mut(&node)?.timers.remove(&(deadline_ns, number)));
    drop(removed);
}

/// The present on a node's clock.
pub fn local_ns_of(node: u64) -> u64 {
    with(|world| {
        let now = world.now_ns;
        world.node(node).clock.at(now)
    })
    .unwrap_or(EPOCH_NS)
}

/// Lets a node's clock run fast or slow from now on, in parts per million.
pub fn set_drift(node: u64, ppm: i64) {
    with(|world| {
        let now = world.now_ns;
        world.node(node).clock.set_drift(now, ppm);
    });
}

/// Moves a node's clock forward.
pub fn jump(node: u64, by_ns: u64) {
    with(|world| world.node(node).clock.jump(by_ns));
}

/// Lets a node stand still, or go on.
pub fn set_paused(node: u64, paused: bool) {
    with(|world| {
        let node = world.node(node);
        node.paused = paused;
        if !paused {
            let parked = std::mem::take(&mut node.parked);
            world.ready.lock().extend(parked);
        }
    });
}

/// Whether a node stands still.
pub fn is_paused(node: u64) -> bool {
    with(|world| world.nodes.get(&node).is_some_and(|node| node.paused)).unwrap_or_default()
}

/// Ends all tasks of a node at once, wherever they are.
pub fn kill(node: u64) {
    for node in [node, LIMBO] {
        let remains = with(|world| {
            let mut tasks = Vec::new();
            for index in 0..world.slots.len() {
                let slot = &mut world.slots[index];
                if slot.node != node || matches!(slot.state, SlotState::Free) {
                    continue;
                }
                // What is polled at this moment is dropped when it comes back.
                if let SlotState::Waits(task) = std::mem::replace(&mut slot.state, SlotState::Free) {
                    tasks.push(task);
                }
                world.vacate(index as u32);
            }
            let state = world.node(node);
            state.paused = false;
            state.parked.clear();
            world.current = LIMBO;
            (tasks, std::mem::take(&mut world.node(node).timers))
        });
        drop(remains);
        with(|world| world.current = OUTSIDE);
    }
}

/// Notes that a task ended by a panic.
pub fn note_panic(text: String) {
    with(|world| {
        let node = world.current;
        world.panics.push(format!("a task of node {node} panicked: {text}"));
    });
}

/// The first panic of a task.
pub fn first_panic() -> Option<String> {
    with(|world| world.panics.first().cloned()).flatten()
}

/// How many polls there were, and a hash over all of them.
pub fn progress() -> (u64, u64) {
    with(|world| (world.polls, world.hash)).unwrap_or_default()
}

/// Takes something that happened into the hash of the run.
pub fn mix(word: u64) {
    with(|world| world.mix(word));
}

/// Polls one task that is ready. Gives the node that it belongs to; none if no task is ready.
pub fn poll_one() -> Option<u64> {
    let (id, mut task, waker) = with(World::take_ready)??;
    let node = current_node();
    let waker = Waker::from(waker);
    let outcome = task.as_mut().poll(&mut Context::from_waker(&waker));
    let rest = outcome.is_pending().then_some(task);
    let orphan = with(|world| world.put_back(id, rest)).flatten();
    drop(orphan);
    Some(node)
}

/// Lets time pass to what happens next, if that is not after `until_ns`, and lets it happen. False, and it is
/// `until_ns`, if nothing happens until then.
pub fn advance(until_ns: u64) -> bool {
    let due = with(|world| match world.next_due() {
        Some(next) if next <= until_ns => {
            world.now_ns = world.now_ns.max(next);
            Some(world.take_due())
        }
        _ => {
            world.now_ns = world.now_ns.max(until_ns);
            None
        }
    });
    let Some((wakers, calls)) = due.flatten() else { return false };
    wakers.into_iter().for_each(Waker::wake);
    calls.into_iter().for_each(|call| call());
    true
}

/// Whether anybody waits for time to pass.
pub fn awaits_time() -> bool {
    with(|world| world.next_due().is_some()).unwrap_or_default()
}

//! Whether what clients saw of a key-value store can be put in one order: linearizability, one key at a time.
//!
//! The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) as Lowe improved it
//! ("Testing for Linearizability", 2017): it remembers which configurations it has been in, and takes an operation into
//! the order no sooner than the answer of one asks for it. Keys are independent, so a history is linearizable if that
//! of every key is.
//!
//! Operations whose outcome nobody knows stay open for ever: they may take effect at any time after they began, or
//! never. They cost little here, because an order that leaves one out is never worse than the same order with it (see
//! [`Seen`]), and because those that do the same are one kind.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

/// Configurations that one key may take: with more, the answer is [`Verdict::Undecided`]. About 100 bytes each.
pub const CONFIGURATIONS_MAX: usize = 2_000_000;

/// Operations of known outcome that may overlap on one key: with more, the answer is [`Verdict::Undecided`].
pub const OVERLAP_MAX: usize = 128;

/// Operations that a counter-example prints.
const PRINTED_MAX: usize = 40;

/// What a client did to a key, and what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<K, V> {
    /// Who did it: for the reader of a counter-example alone.
    pub client: u64,
    pub key: K,
    /// When the client began, in any unit, from a clock that all clients share.
    pub began: u64,
    /// When the client had its answer; not before `began`. One that ends when another begins overlaps it. `None`: the
    /// outcome is not known, it may have happened, or happen later. One that was refused is left out of a history.
    pub ended: Option<u64>,
    pub what: What<V>,
}

/// What was done, with what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What<V> {
    Put(V),
    Delete,
    /// A read and what it returned. If its outcome is not known it says nothing.
    Get(Option<V>),
    /// Sets the key to `new` if it holds `expect` (`None`: if there is no such key). `met` is the answer: whether it did.
    /// Not looked at if the outcome is not known.
    Cas {
        expect: Option<V>,
        new: V,
        met: bool,
    },
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<K, V> {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none.
    Violation(CounterExample<K, V>),
    /// Nobody knows: the search of this key met a limit. Not a good sign, and not a violation.
    Undecided { key: K, limit: &'static str },
}

/// The shortest beginning of a key's history that cannot be put in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterExample<K, V> {
    pub key: K,
    /// All that had begun when `last` ended, in the order of their beginnings.
    pub prefix: Vec<Operation<K, V>>,
    /// The operation whose answer no order explains: up to the moment before it, there is one.
    pub last: Operation<K, V>,
    /// What the key may have held just before the answer, by the orders that there are. `None`: no such key.
    pub before: Vec<Option<V>>,
}

/// Checks a history. A violation of any key counts for more than a key that stayed undecided.
///
/// # Panics
///
/// If an operation ended before it began: the history is no history.
pub fn check<K, V>(history: &[Operation<K, V>]) -> Verdict<K, V>
where
    K: Clone + Ord,
    V: Clone + Ord,
{
    check_within(history, CONFIGURATIONS_MAX)
}

/// As [`check`], with another limit of configurations for each key.
pub fn check_within<K, V>(history: &[Operation<K, V>], configurations_max: usize) -> Verdict<K, V>
where
    K: Clone + Ord,
    V: Clone + Ord,
{
    let mut keys: BTreeMap<&K, Vec<&Operation<K, V>>> = BTreeMap::new();
    for operation in history {
        assert!(
            operation.ended.is_none_or(|ended| operation.began <= ended),
            "an operation ended before it began"
        );
        keys.entry(&operation.key).or_default().push(operation);
    }
    let mut verdict = Verdict::Linearizable;
    for (key, operations) in keys {
        let outcome = match Course::new(&operations) {
            Some(course) => course.search(configurations_max),
            None => Outcome::Undecided("overlapping operations"),
        };
        match outcome {
            Outcome::Ordered => {}
            Outcome::Undecided(limit) => verdict = Verdict::Undecided { key: key.clone(), limit },
            Outcome::Stuck(stuck) => return Verdict::Violation(counter_example(key, &operations, &stuck)),
        }
    }
    verdict
}

/// Adds what a key is found to hold when all is over: a read after everything that ended.
pub fn read_at_the_end<K, V>(history: &mut Vec<Operation<K, V>>, key: K, found: Option<V>) {
    let latest = history.iter().map(|operation| operation.ended.unwrap_or(operation.began)).max();
    let now = latest.map_or(0, |latest| latest.saturating_add(1));
    history.push(Operation { client: u64::MAX, key, began: now, ended: Some(now), what: What::Get(found) });
}

/// A value as the search knows it: equal values have equal numbers.
type Symbol = u32;

/// No such key.
const ABSENT: Symbol = 0;

/// Every value that nobody asked for: no answer tells one from another.
const UNSEEN: Symbol = 1;

/// What an operation asks of the value that it meets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    Nothing,
    Value(Symbol),
    Other(Symbol),
}

/// An operation in the words of the search: what it needs, and what it leaves if it changes anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    needs: Needs,
    gives: Option<Symbol>,
}

impl Step {
    fn of<V: Ord>(operation: &What<V>, known: bool, symbols: &BTreeMap<&V, Symbol>) -> Self {
        let value = |value: &V| symbols.get(value).copied().unwrap_or(UNSEEN);
        let maybe = |maybe: &Option<V>| maybe.as_ref().map_or(ABSENT, value);
        match operation {
            What::Put(new) => Self { needs: Needs::Nothing, gives: Some(value(new)) },
            What::Delete => Self { needs: Needs::Nothing, gives: Some(ABSENT) },
            What::Get(found) => Self { needs: Needs::Value(maybe(found)), gives: None },
            What::Cas { expect, met, .. } if known && !met => {
                Self { needs: Needs::Other(maybe(expect)), gives: None }
            }
            What::Cas { expect, new, .. } => {
                Self { needs: Needs::Value(maybe(expect)), gives: Some(value(new)) }
            }
        }
    }

    /// The value after it, if it can meet this one.
    fn on(self, state: Symbol) -> Option<Symbol> {
        let fits = match self.needs {
            Needs::Nothing => true,
            Needs::Value(value) => state == value,
            Needs::Other(value) => state != value,
        };
        fits.then_some(self.gives.unwrap_or(state))
    }
}

/// An answer that came, and what could stand in an order before it.
struct Answer {
    /// The operation, by its place in the history of its key.
    operation: usize,
    step: Step,
    slot: Slot,
    /// Operations that had begun and not ended, without this one.
    pending: Vec<(Slot, Step)>,
    /// How many of each kind of open operation had begun; kinds beyond the end: none.
    open: Rc<[u32]>,
}

/// A bit that stands for an operation from its beginning to its end; then it is free for another.
type Slot = u128;

/// The history of one key, as a row of answers.
struct Course {
    answers: Vec<Answer>,
    /// The kinds of operations without a known outcome.
    kinds: Vec<Step>,
}

/// How far an order has come.
#[derive(Clone)]
struct Configuration {
    state: Symbol,
    /// Which of those that wait for their answer have been taken into the order.
    taken: Slot,
    /// Which open operations have been taken: their kinds, in order, once for each.
    used: Rc<[u32]>,
}

enum Outcome {
    Ordered,
    Stuck(Stuck),
    Undecided(&'static str),
}

/// Where every order ends.
struct Stuck {
    operation: usize,
    states: BTreeSet<Symbol>,
}

enum Task {
    /// Go on from an answer.
    Walk(usize, Configuration),
    /// Take others into the order before this answer.
    Detour(usize, Configuration),
}

impl Course {
    /// `None` if more operations overlap than there are slots.
    fn new<K, V: Ord>(operations: &[&Operation<K, V>]) -> Option<Self> {
        let symbols = symbols(operations);
        let mut events = Vec::with_capacity(operations.len() * 2);
        for (place, operation) in operations.iter().enumerate() {
            let says_nothing = operation.ended.is_none() && matches!(operation.what, What::Get(_));
            if !says_nothing {
                events.push((operation.began, false, place));
                events.extend(operation.ended.map(|ended| (ended, true, place)));
            }
        }
        // At one moment beginnings stand before ends, so that what touches overlaps.
        events.sort_unstable();
        let mut course = Self { answers: Vec::with_capacity(operations.len()), kinds: Vec::new() };
        let mut numbers = BTreeMap::new();
        let mut pending: Vec<(Slot, Step, usize)> = Vec::new();
        let mut open: Rc<[u32]> = Rc::new([]);
        for (_, ends, place) in events {
            let operation = operations[place];
            let step = Step::of(&operation.what, operation.ended.is_some(), &symbols);
            if ends {
                let own = pending.iter().position(|(_, _, other)| *other == place).expect("it began");
                let (slot, step, _) = pending.remove(own);
                let others = pending.iter().map(|(slot, step, _)| (*slot, *step)).collect();
                let open = open.clone();
                course.answers.push(Answer { operation: place, step, slot, pending: others, open });
            } else if operation.ended.is_some() {
                let busy = pending.iter().fold(0, |busy, (slot, ..)| busy | slot);
                let free = busy.trailing_ones();
                pending.push((Slot::checked_shl(1, free)?, step, place));
            } else {
                let kind = *numbers.entry(step).or_insert_with(|| {
                    course.kinds.push(step);
                    course.kinds.len() - 1
                });
                let mut counts = open.to_vec();
                counts.resize(course.kinds.len(), 0);
                counts[kind] += 1;
                open = counts.into();
            }
        }
        Some(course)
    }

    /// Depth first: the nearest order is nearly always one that goes on.
    fn search(&self, configurations_max: usize) -> Outcome {
        let mut seen = Seen::default();
        let mut stuck = (0, BTreeSet::new());
        let nothing = Configuration { state: ABSENT, taken: 0, used: Rc::new([]) };
        let mut tasks = vec![Task::Walk(0, nothing)];
        while let Some(task) = tasks.pop() {
            if seen.count > configurations_max {
                return Outcome::Undecided("configurations");
            }
            match task {
                Task::Walk(place, configuration) => {
                    let Some(answer) = self.answers.get(place) else { return Outcome::Ordered };
                    if !seen.admit(place, &configuration) {
                        continue;
                    }
                    if place > stuck.0 {
                        stuck = (place, BTreeSet::new());
                    }
                    if place == stuck.0 {
                        stuck.1.insert(configuration.state);
                    }
                    if configuration.taken & answer.slot != 0 {
                        let taken = configuration.taken & !answer.slot;
                        tasks.push(Task::Walk(place + 1, Configuration { taken, ..configuration }));
                        continue;
                    }
                    let direct = answer.step.on(configuration.state);
                    tasks.push(Task::Detour(place, configuration.clone()));
                    tasks.extend(
                        direct.map(|state| Task::Walk(place + 1, Configuration { state, ..configuration })),
                    );
                }
                Task::Detour(place, configuration) => {
                    let limit = configurations_max.saturating_sub(seen.count);
                    let (found, visited) = self.detours(&self.answers[place], configuration, limit);
                    seen.count += visited;
                    // The shortest detour is the first to be taken.
                    tasks.extend(found.into_iter().rev().map(|next| Task::Walk(place + 1, next)));
                }
            }
        }
        match self.answers.get(stuck.0) {
            Some(answer) => Outcome::Stuck(Stuck { operation: answer.operation, states: stuck.1 }),
            None => Outcome::Ordered,
        }
    }

    /// The orders that take at least one other operation before this answer, and end with it, shortest first; and how
    /// many configurations they went through, not many more than `limit`.
    fn detours(&self, answer: &Answer, from: Configuration, limit: usize) -> (Vec<Configuration>, usize) {
        let useful = self.useful(answer);
        let mut seen = Seen::default();
        seen.admit(0, &from);
        let mut found = Vec::new();
        let mut level = vec![from];
        while !level.is_empty() && seen.count <= limit {
            let mut next = Vec::new();
            for configuration in &level {
                let pending = answer.pending.iter().filter(|(slot, _)| configuration.taken & slot == 0);
                let pending = pending.filter_map(|(slot, step)| {
                    let state = step.on(configuration.state)?;
                    let taken = configuration.taken | slot;
                    Some(Configuration { state, taken, used: configuration.used.clone() })
                });
                let open = useful.iter().filter_map(|(kind, begun, step)| {
                    let state = step.on(configuration.state).filter(|state| *state != configuration.state)?;
                    let used = configuration.used.iter().filter(|used| *used == kind).count();
                    let used = (used < *begun as usize).then(|| with(&configuration.used, *kind))?;
                    Some(Configuration { state, used, ..*configuration })
                });
                for configuration in pending.chain(open) {
                    if seen.admit(0, &configuration) {
                        if let Some(state) = answer.step.on(configuration.state) {
                            found.push(Configuration { state, ..configuration.clone() });
                        }
                        next.push(configuration);
                    }
                }
            }
            level = next;
        }
        (found, seen.count)
    }

    /// The kinds of open operations that may stand before this answer, and how many of each.
    ///
    /// An order that leaves an open operation out is never worse, unless what follows it needs just what it leaves.
    fn useful(&self, answer: &Answer) -> Vec<(u32, u32, Step)> {
        let begun = (0_u32..).zip(answer.open.iter().zip(&self.kinds)).filter(|(_, (begun, _))| **begun > 0);
        let begun: Vec<_> = begun.map(|(kind, (begun, step))| (kind, *begun, *step)).collect();
        let pending = answer.pending.iter().map(|(_, step)| step);
        let follows = pending.chain(begun.iter().map(|(_, _, step)| step)).chain([&answer.step]);
        let picky: BTreeSet<Step> = follows.filter(|step| step.needs != Needs::Nothing).copied().collect();
        let mut useful = begun.clone();
        useful.retain(|(_, _, step)| {
            step.gives.is_some_and(|state| picky.iter().any(|next| next.on(state).is_some()))
        });
        useful
    }
}

/// The configurations that were looked at.
///
/// An open operation need never happen. So of two configurations that differ only in that one has used more of them,
/// the other can do all that it can, and more: where the lesser has been, the greater need not go.
#[derive(Default)]
struct Seen {
    least: BTreeMap<(usize, Symbol, Slot), Vec<Rc<[u32]>>>,
    count: usize,
}

impl Seen {
    /// Whether a configuration at this place is worth a look.
    fn admit(&mut self, place: usize, configuration: &Configuration) -> bool {
        let least = self.least.entry((place, configuration.state, configuration.taken)).or_default();
        if least.iter().any(|used| is_part(used, &configuration.used)) {
            return false;
        }
        least.retain(|used| !is_part(&configuration.used, used));
        least.push(configuration.used.clone());
        self.count += 1;
        true
    }
}

/// Whether one sorted list holds all that another does, as often.
fn is_part(part: &[u32], whole: &[u32]) -> bool {
    let mut rest = whole.iter();
    part.len() <= whole.len() && part.iter().all(|kind| rest.any(|other| other == kind))
}

fn with(used: &[u32], kind: u32) -> Rc<[u32]> {
    let place = used.partition_point(|other| *other <= kind);
    used[..place].iter().chain([&kind]).chain(&used[place..]).copied().collect()
}

/// A number for each value that an answer or an expectation names.
fn symbols<'a, K, V: Ord>(operations: &[&'a Operation<K, V>]) -> BTreeMap<&'a V, Symbol> {
    let mut symbols = BTreeMap::new();
    for operation in operations {
        let named = match &operation.what {
            What::Get(value) | What::Cas { expect: value, .. } => value.as_ref(),
            What::Put(_) | What::Delete => None,
        };
        if let Some(value) = named {
            let next = u32::try_from(symbols.len()).expect("fewer values than 2^32") + UNSEEN + 1;
            symbols.entry(value).or_insert(next);
        }
    }
    symbols
}

fn counter_example<K: Clone, V: Clone + Ord>(
    key: &K,
    operations: &[&Operation<K, V>],
    stuck: &Stuck,
) -> CounterExample<K, V> {
    let last = operations[stuck.operation].clone();
    let end = last.ended.unwrap_or(u64::MAX);
    let mut prefix: Vec<_> = operations
        .iter()
        .filter(|operation| operation.began <= end)
        .map(|operation| (*operation).clone())
        .collect();
    prefix.sort_by_key(|operation| operation.began);
    // Of what nobody asked for, all that was written before is possible; the last of them says enough.
    let mut before = Vec::new();
    let symbols = symbols(operations);
    for state in &stuck.states {
        let value = symbols.iter().find(|(_, symbol)| *symbol == state).map(|(value, _)| (*value).clone());
        let unseen = || {
            prefix.iter().rev().find_map(|operation| match &operation.what {
                What::Put(value) | What::Cas { new: value, .. } if !symbols.contains_key(value) => {
                    Some(value.clone())
                }
                _ => None,
            })
        };
        before.push(if *state == UNSEEN { unseen() } else { value });
    }
    CounterExample { key: key.clone(), prefix, last, before }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Display for Operation<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {:<4} {:>12} ..", self.client, self.began)?;
        match self.ended {
            Some(ended) => write!(f, " {ended:<12} ")?,
            None => write!(f, " {:<12} ", "?")?,
        }
        match &self.what {
            What::Put(value) => write!(f, "put {value:?}"),
            What::Delete => write!(f, "delete"),
            What::Get(Some(value)) => write!(f, "get: {value:?}"),
            What::Get(None) => write!(f, "get: nothing"),
            What::Cas { expect, new, met } => {
                write!(f, "set {new:?} if ")?;
                match expect {
                    Some(value) => write!(f, "{value:?}")?,
                    None => write!(f, "nothing")?,
                }
                match (self.ended, met) {
                    (None, _) => Ok(()),
                    (_, true) => write!(f, ": done"),
                    (_, false) => write!(f, ": was other"),
                }
            }
        }
    }
}

impl<K: fmt::Debug + PartialEq, V: fmt::Debug + PartialEq> fmt::Display for CounterExample<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {:?}: no order explains {} operations", self.key, self.prefix.len())?;
        let skipped = self.prefix.len().saturating_sub(PRINTED_MAX);
        // What is open may matter however old it is.
        let open = self.prefix.iter().take(skipped).filter(|operation| operation.ended.is_none());
        let open: Vec<_> = open.collect();
        if skipped > 0 {
            writeln!(f, "  … {} earlier ones, and those of unknown outcome:", skipped - open.len())?;
        }
        for operation in open.into_iter().chain(self.prefix.iter().skip(skipped)) {
            let mark = if *operation == self.last { "   <-- not this" } else { "" };
            writeln!(f, "  {operation}{mark}")?;
        }
        write!(f, "  before it the key may have held:")?;
        for value in &self.before {
            match value {
                Some(value) => write!(f, " {value:?}")?,
                None => write!(f, " nothing")?,
            }
        }
        Ok(())
    }
}

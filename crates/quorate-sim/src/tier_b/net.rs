//! The network: who can reach whom, how long it takes, and what goes wrong on the way.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use quorate_rt::AsyncRuntime;
use quorate_rt::Select2;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::tier_b::frames;
use crate::tier_b::runtime::SimRuntime;
use crate::tier_b::server;
use crate::tier_b::server::Server;
use crate::tier_b::types::Types;
use crate::tier_b::world;

/// Frames that may be under way at a time, both ways and all nodes together: more is a storm (I19).
pub const UNDER_WAY_MAX: u64 = 20_000;
/// Where the addresses of clients begin.
pub const ADDRESSES: u64 = 1_000;
/// How long the other end of a connection lives on, at the most, when one end has died without a word.
const KEEPALIVE_NS_MAX: u64 = 20_000_000_000;
/// What a slow link carries.
const SLOW_BYTES_A_SECOND: u64 = 20_000;

/// What goes wrong on the way, each in 10,000 frames, and how long the way is.
#[derive(Clone, Debug, Default)]
pub struct NetFaults {
    pub lose: u64,
    pub duplicate: u64,
    pub delay: u64,
    pub flip: u64,
    pub spoil: u64,
    /// A call or a connection that nobody ever answers.
    pub hang: u64,
    /// The usual way, in nanoseconds.
    pub latency_ns: u64,
    /// The longest delay of a frame that is late.
    pub delay_ns_max: u64,
}

/// What went wrong, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetTally {
    pub frames: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub late: u64,
    pub flipped: u64,
    pub spoiled: u64,
    pub hung: u64,
    pub unreachable: u64,
    pub half_open: u64,
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// There is nobody at the other end.
    Refused,
    /// The connection broke, or what came was not to be read.
    Reset,
    /// Nothing came in time.
    Silent,
}

/// The network, shared by all.
pub struct Net<C: Types>(Arc<Mutex<State<C>>>);

impl<C: Types> Clone for Net<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct State<C: Types> {
    faults: NetFaults,
    /// Whether things go wrong now.
    storm: bool,
    /// Links that are cut, from and to.
    cut: BTreeSet<(u64, u64)>,
    slow: BTreeSet<(u64, u64)>,
    servers: BTreeMap<u64, Arc<Server<C>>>,
    pipes: Vec<Weak<Pipe>>,
    tally: NetTally,
    under_way: u64,
    /// The most frames under way at a time so far.
    under_way_most: u64,
    /// The largest message of an append request.
    parts_bytes: usize,
}

/// What becomes of one frame.
struct Fate {
    after_ns: u64,
    frame: Bytes,
    copy_after_ns: Option<u64>,
}

/// The answer to a call, or that the other end says no.
type AnswerTx = oneshot::Sender<Result<Bytes, Broken>>;

impl<C: Types> Net<C> {
    pub fn new(faults: NetFaults) -> Self {
        Self(Arc::new(Mutex::new(State {
            faults,
            storm: false,
            cut: BTreeSet::new(),
            slow: BTreeSet::new(),
            servers: BTreeMap::new(),
            pipes: Vec::new(),
            tally: NetTally::default(),
            under_way: 0,
            under_way_most: 0,
            parts_bytes: 64 * 1024,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, `server` answers for the node.
    pub fn connect(&self, id: u64, server: Server<C>) {
        self.lock().servers.insert(id, Arc::new(server));
    }

    /// Nobody answers for the node any more; the ends of its connections learn of it or do not.
    pub fn disconnect(&self, id: u64) {
        let (server, pipes) = {
            let mut state = self.lock();
            let mut pipes: Vec<Arc<Pipe>> = state.pipes.iter().filter_map(Weak::upgrade).collect();
            state.pipes.retain(|pipe| pipe.strong_count() > 0);
            pipes.retain(|pipe| pipe.from == id || pipe.to == id);
            (state.servers.remove(&id), pipes)
        };
        drop(server);
        for pipe in pipes {
            let quiet = world::chance(1, 2);
            self.lock().tally.half_open += u64::from(quiet);
            let after = if quiet { world::below(KEEPALIVE_NS_MAX) } else { world::below(2_000_000) };
            pipe.silence();
            world::call_after(after, move || pipe.end(Broken::Reset));
        }
    }

    pub fn server(&self, id: u64) -> Option<Arc<Server<C>>> {
        self.lock().servers.get(&id).cloned()
    }

    pub fn cut(&self, from: u64, to: u64) {
        self.lock().cut.insert((from, to));
    }

    pub fn slow(&self, from: u64, to: u64) {
        self.lock().slow.insert((from, to));
    }

    /// All links between these work again.
    pub fn mend(&self, among: impl Fn(u64) -> bool) {
        let mut state = self.lock();
        state.cut.retain(|(from, to)| !(among(*from) && among(*to)));
        state.slow.retain(|(from, to)| !(among(*from) && among(*to)));
    }

    pub fn set_storm(&self, storm: bool) {
        self.lock().storm = storm;
    }

    pub fn set_parts_bytes(&self, bytes: usize) {
        self.lock().parts_bytes = bytes;
    }

    /// The largest message of an append request.
    pub fn parts_bytes(&self) -> usize {
        self.lock().parts_bytes
    }

    pub fn tally(&self) -> NetTally {
        self.lock().tally.clone()
    }

    /// The most frames that were under way at a time.
    pub fn under_way_most(&self) -> u64 {
        self.lock().under_way_most
    }

    fn is_cut(&self, from: u64, to: u64) -> bool {
        self.lock().cut.contains(&(from, to))
    }

    /// Whether what this end sends still leaves it: a machine without power sends nothing.
    fn is_dead(&self, id: u64) -> bool {
        self.lock().servers.get(&id).is_some_and(|server| server.has_lost_power())
    }

    /// Rolls what becomes of a frame; `None` if it is lost.
    fn fate(&self, from: u64, to: u64, frame: Bytes) -> Option<Fate> {
        if self.is_dead(from) {
            return None;
        }
        let mut state = self.lock();
        let state = &mut *state;
        state.tally.frames += 1;
        world::mix(u64::from(crc32c::crc32c(&frame)) << 16 | from << 8 | to);
        let roll = |rate: u64| state.storm && rate > 0 && world::chance(rate, 10_000);
        // A client asks once; what it is told may be lost, and is not made up.
        let of_client = from >= ADDRESSES || to >= ADDRESSES;
        let latency = state.faults.latency_ns;
        let mut after_ns = latency / 2 + world::below(latency.max(1));
        if state.cut.contains(&(from, to)) || roll(state.faults.lose) {
            state.tally.lost += 1;
            return None;
        }
        if state.slow.contains(&(from, to)) {
            after_ns += 1_000_000_000 / SLOW_BYTES_A_SECOND * frame.len() as u64;
        }
        if roll(state.faults.delay) {
            after_ns += world::below(state.faults.delay_ns_max);
            state.tally.late += 1;
        }
        let duplicated = !of_client && roll(state.faults.duplicate);
        let copy_after_ns = duplicated.then(|| after_ns + world::below(state.faults.delay_ns_max));
        let frame = if roll(state.faults.flip) {
            state.tally.flipped += 1;
            frames::flip_a_bit(&frame)
        } else if !of_client && roll(state.faults.spoil) {
            state.tally.spoiled += 1;
            frames::spoil(&frame)
        } else {
            frame
        };
        state.under_way += 1;
        state.under_way_most = state.under_way_most.max(state.under_way);
        Some(Fate { after_ns, frame, copy_after_ns })
    }

    fn hangs(&self) -> bool {
        let mut state = self.lock();
        let hangs = state.storm && state.faults.hang > 0 && world::chance(state.faults.hang, 10_000);
        state.tally.hung += u64::from(hangs);
        hangs
    }

    fn arrived(&self) {
        let mut state = self.lock();
        state.under_way = state.under_way.saturating_sub(1);
    }

    /// One question and its answer, or why there is none after `ttl` at the latest; or nothing, ever.
    pub async fn call(&self, from: u64, to: u64, frame: Bytes, ttl: Duration) -> Result<Bytes, Broken> {
        if self.hangs() {
            std::future::pending::<()>().await;
        }
        let mut deadline = SimRuntime::sleep(ttl);
        let (tx, rx) = oneshot::channel();
        self.ask(from, to, frame, Some(tx));
        match SimRuntime::select2(rx, &mut deadline).await {
            Select2::First(Ok(answer)) => answer,
            Select2::First(Err(_)) => {
                deadline.await;
                Err(Broken::Silent)
            }
            Select2::Second(()) => Err(Broken::Silent),
        }
    }

    /// Sends a question; the answer, if `tx` waits for it, comes by another frame.
    fn ask(&self, from: u64, to: u64, frame: Bytes, tx: Option<AnswerTx>) {
        let Some(fate) = self.fate(from, to, frame.clone()) else { return };
        if let Some(copy_after_ns) = fate.copy_after_ns {
            self.ask_again(from, to, frame, copy_after_ns);
        }
        let net = self.clone();
        world::call_after(fate.after_ns, move || {
            net.arrived();
            match net.server(to).filter(|_| !net.is_cut(from, to)) {
                Some(server) => {
                    world::spawn_on(to, server::answer(net, server, from, to, fate.frame, tx));
                }
                None => net.refuse(to, from, tx),
            }
        });
    }

    /// A copy of a question, long after; nobody waits for the answer.
    pub fn ask_again(&self, from: u64, to: u64, frame: Bytes, after_ns: u64) {
        self.lock().tally.duplicated += 1;
        let net = self.clone();
        world::call_after(after_ns, move || {
            if let Some(server) = net.server(to).filter(|_| !net.is_cut(from, to)) {
                world::spawn_on(to, server::answer(net, server, from, to, frame, None));
            }
        });
    }

    /// Nobody is there to be asked: half of the time, the machine that is there says so.
    fn refuse(&self, from: u64, to: u64, tx: Option<AnswerTx>) {
        self.lock().tally.unreachable += 1;
        if !self.is_cut(from, to) && world::chance(1, 2) {
            self.reply(from, to, Err(Broken::Refused), tx);
        }
    }

    /// Sends the answer to a question.
    pub fn reply(&self, from: u64, to: u64, answer: Result<Bytes, Broken>, tx: Option<AnswerTx>) {
        let Some(tx) = tx else { return };
        let frame = answer.clone().unwrap_or_default();
        let Some(fate) = self.fate(from, to, frame) else { return };
        let net = self.clone();
        world::call_after(fate.after_ns, move || {
            net.arrived();
            if !net.is_cut(from, to) {
                // Whoever asked may have given up.
                let _ = tx.send(answer.map(|_| fate.frame));
            }
        });
    }

    /// A connection: what this end sends, and what comes back. The other end is told by its first frame what it is for.
    pub fn open(&self, from: u64, to: u64) -> (Arc<Pipe>, PipeReceiver) {
        let (up_tx, up_rx) = mpsc::unbounded_channel();
        let (down_tx, down_rx) = mpsc::unbounded_channel();
        let up = Arc::new(Pipe::new(from, to, up_tx));
        let down = Arc::new(Pipe::new(to, from, down_tx));
        {
            let mut state = self.lock();
            state.pipes.retain(|pipe| pipe.strong_count() > 0);
            state.pipes.extend([Arc::downgrade(&up), Arc::downgrade(&down)]);
        }
        let latency = self.lock().faults.latency_ns;
        let net = self.clone();
        let cut = self.is_cut(from, to) || self.hangs();
        world::call_after(latency, move || match net.server(to).filter(|_| !cut) {
            Some(server) => world::spawn_on(to, server::serve(net, server, up_rx, down)),
            None => {
                net.lock().tally.unreachable += 1;
                if !cut && world::chance(1, 2) {
                    down.end(Broken::Refused);
                } else {
                    // Nobody will ever tell. The channel stays open as long as the other end holds its receiver.
                    world::call_after(KEEPALIVE_NS_MAX, move || down.end(Broken::Silent));
                }
            }
        });
        (up, down_rx)
    }

    /// Sends a frame along a connection: in order, or, once one is lost, not at all.
    pub fn send(&self, pipe: &Arc<Pipe>, frame: Bytes) {
        if pipe.is_silent() {
            return;
        }
        let Some(fate) = self.fate(pipe.from, pipe.to, frame.clone()) else {
            pipe.silence();
            if world::chance(1, 2) {
                let pipe = pipe.clone();
                world::call_after(world::below(1_000_000_000), move || pipe.end(Broken::Reset));
            }
            return;
        };
        if let Some(copy_after_ns) = fate.copy_after_ns
            && frames::open(&frame).is_some_and(|(kind, _)| kind == frames::Kind::Append)
        {
            // As if the sender had tried again by a call, and the first attempt came through after all.
            self.ask_again(pipe.from, pipe.to, frame, copy_after_ns);
        }
        let (net, pipe) = (self.clone(), pipe.clone());
        let after_ns = pipe.in_order(fate.after_ns);
        world::call_after(after_ns, move || {
            net.arrived();
            if net.is_cut(pipe.from, pipe.to) {
                pipe.silence();
            }
            pipe.push(fate.frame);
        });
    }
}

/// What comes out of a [`Pipe`].
pub type PipeReceiver = mpsc::UnboundedReceiver<Result<Bytes, Broken>>;

/// One direction of a connection.
pub struct Pipe {
    pub from: u64,
    pub to: u64,
    state: Mutex<PipeState>,
}

struct PipeState {
    tx: Option<mpsc::UnboundedSender<Result<Bytes, Broken>>>,
    /// When the last frame arrives.
    last_ns: u64,
    /// Nothing comes through any more, and nobody has been told.
    silent: bool,
}

impl Pipe {
    fn new(from: u64, to: u64, tx: mpsc::UnboundedSender<Result<Bytes, Broken>>) -> Self {
        Self { from, to, state: Mutex::new(PipeState { tx: Some(tx), last_ns: 0, silent: false }) }
    }

    fn lock(&self) -> MutexGuard<'_, PipeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self) -> bool {
        self.lock().silent
    }

    fn silence(&self) {
        self.lock().silent = true;
    }

    /// How long until a frame arrives that would take `after_ns` by itself: not before those sent earlier.
    fn in_order(&self, after_ns: u64) -> u64 {
        let now = world::now_ns();
        let mut state = self.lock();
        state.last_ns = state.last_ns.max(now + after_ns);
        state.last_ns - now
    }

    fn push(&self, frame: Bytes) {
        let tx = {
            let state = self.lock();
            if state.silent { None } else { state.tx.clone() }
        };
        if let Some(tx) = tx {
            // The other end may have gone.
            let _ = tx.send(Ok(frame));
        }
    }

    /// The other end learns that it is over.
    pub fn end(&self, why: Broken) {
        let tx = self.lock().tx.take();
        if let Some(tx) = tx {
            let _ = tx.send(Err(why));
        }
    }

    /// This end closes: after what was sent, the other end finds nothing more.
    pub fn close(self: &Arc<Self>) {
        let after_ns = self.in_order(0);
        let pipe = self.clone();
        world::call_after(after_ns, move || {
            let tx = pipe.lock().tx.take();
            drop(tx);
        });
    }
}

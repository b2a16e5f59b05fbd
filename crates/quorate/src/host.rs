//! The replica under its lock, with everyone who waits for something to happen to it.
//!
//! `step` is the only door. It takes a plain closure, so no lock can be held across an await; what it wakes, it wakes
//! after the lock is released; and no code of the user runs inside.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use quorate_core::Broken;
use quorate_core::Placed;
use quorate_core::Replica;
use quorate_core::Time;
use quorate_core::message::WriteSeq;
use quorate_core::work::Born;
use quorate_core::work::Event;

use crate::clients::Clients;
use crate::config::Config;
use crate::counting::CommandName;
use crate::counting::Counting;
use crate::counting::NotificationName;
use crate::errors::ClientWriteError;
use crate::errors::Fatal;
use crate::errors::ForwardToLeader;
use crate::membership::Membership;
use crate::membership::StoredMembership;
use crate::peer::Peer;
use crate::recording::Recording;
use crate::responder::CoreResponder;
use crate::runtime::Instant;
use crate::runtime::OneshotSender;
use crate::signal::Signal;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::CommittedLeaderIdOf;
use crate::type_config::alias::InstantOf;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::MembershipStateOf;
use crate::type_config::alias::OneshotSenderOf;
use crate::type_config::alias::SnapshotMetaOf;
use crate::type_config::alias::StoredMembershipOf;
use crate::waiters::Waiters;
use crate::waiting_reads::WaitingReads;

/// Most entries under way where the configuration names no number.
const PROPOSALS_MAX: usize = 65536;

/// How long a call whose answer got lost waits for the node to say why it stopped.
const LOST_ANSWER_MAX: Duration = Duration::from_secs(1);

/// An entry on its way to the log store. Its payload is made, or put together with its id, outside the lock.
pub(crate) enum Pending<C: RaftTypeConfig> {
    /// As another leader sent it.
    Entry(C::Entry),
    /// What a client proposed.
    Payload(LogIdOf<C>, C::Payload),
    /// The first entry of this leader.
    Blank(LogIdOf<C>),
    /// A membership, and what its entry carries besides.
    Membership(LogIdOf<C>, Membership<C::NodeId, C::Node>, Option<C::Payload>),
}

/// What the lock guards.
pub(crate) struct State<C: RaftTypeConfig> {
    pub(crate) replica: Replica<C::LeaderId>,
    /// The entries of the appends that the log loop has not pulled yet, in the same order.
    pub(crate) pending: VecDeque<Pending<C>>,
    pub(crate) clients: Clients<C>,
    /// Who waits for the uniform configuration that will end the joint one under way.
    pub(crate) finish_client: Option<CoreResponder<C>>,
    /// What that entry carries besides.
    pub(crate) finish_payload: Option<C::Payload>,
    /// The memberships of the replica's stack, with the nodes' data: the first is the committed one.
    memberships: VecDeque<Arc<StoredMembershipOf<C>>>,
    /// What the current snapshot covers.
    pub(crate) snapshot_meta: SnapshotMetaOf<C>,
    /// That of a snapshot which covers more than is known to be applied.
    snapshot_meta_ahead: Option<SnapshotMetaOf<C>>,
    pub(crate) peers: BTreeMap<C::NodeId, Arc<Peer<C>>>,
    /// Peers whose loops the driver has still to start.
    pub(crate) fresh_peers: Vec<Arc<Peer<C>>>,
    pub(crate) reads: WaitingReads<C>,
    flush_waiters: Waiters,
    room_waiters: Waiters,
    stop_waiters: Waiters,
    /// Most entries that clients wait for, and most that wait for the log store.
    proposals_max: usize,
    /// The effective membership that the peers were last brought in step with.
    followed: Option<Option<LogIdOf<C>>>,
    /// When the clock loop will look again.
    pub(crate) clock_armed: Option<Time>,
    pub(crate) stopped: Option<Fatal<C>>,
}

/// One node: its replica, its clients, and the signals of its loops.
pub(crate) struct Host<C: RaftTypeConfig> {
    pub(crate) id: C::NodeId,
    pub(crate) config: Arc<Config>,
    origin: InstantOf<C>,
    state: Mutex<State<C>>,
    /// A copy of the replica's, to be read without the lock.
    flushed_seq: AtomicU64,
    pub(crate) log_work: Signal,
    pub(crate) apply_work: Signal,
    pub(crate) clock_work: Signal,
    pub(crate) driver_work: Signal,
    pub(crate) publish_work: Signal,
    pub(crate) tick_enabled: AtomicBool,
    pub(crate) recording: Recording,
    pub(crate) counting: Counting<C>,
}

/// Wakes to be done, events to be told and clients to be answered once the lock is released.
struct Aftermath<C: RaftTypeConfig> {
    wakers: Vec<Waker>,
    events: Vec<Event<C::LeaderId>>,
    reads: Vec<(OneshotSenderOf<C, bool>, bool)>,
    discarded: Vec<CoreResponder<C>>,
    forward: ForwardToLeader<C>,
    broken: Option<Broken>,
}

impl<C: RaftTypeConfig> Host<C> {
    pub(crate) fn new(
        config: Arc<Config>,
        origin: InstantOf<C>,
        replica: Replica<C::LeaderId>,
        memberships: &MembershipStateOf<C>,
        snapshot_meta: SnapshotMetaOf<C>,
    ) -> Self {
        let mut stack = VecDeque::from([memberships.committed().clone()]);
        if memberships.effective() != memberships.committed() {
            stack.push_back(memberships.effective().clone());
        }
        let tick_enabled = AtomicBool::new(config.enable_tick);
        let state: State<C> = State {
            replica,
            pending: VecDeque::new(),
            clients: Clients::new(),
            finish_client: None,
            finish_payload: None,
            memberships: stack,
            snapshot_meta,
            snapshot_meta_ahead: None,
            peers: BTreeMap::new(),
            fresh_peers: Vec::new(),
            reads: WaitingReads::default(),
            flush_waiters: Waiters::default(),
            room_waiters: Waiters::default(),
            stop_waiters: Waiters::default(),
            proposals_max: config.api_channel_size.map_or(PROPOSALS_MAX, |max| max.max(1) as usize),
            followed: None,
            clock_armed: None,
            stopped: None,
        };
        let next = state.replica.log().last().map_or(0, |last| last.index.saturating_add(1));
        let counting = Counting::new(next, config.log_stage_capacity);
        let host = Self {
            id: state.replica.id().clone(),
            config,
            origin,
            state: Mutex::new(state),
            flushed_seq: AtomicU64::new(0),
            log_work: Signal::default(),
            apply_work: Signal::default(),
            clock_work: Signal::default(),
            driver_work: Signal::default(),
            publish_work: Signal::default(),
            tick_enabled,
            recording: Recording::default(),
            counting,
        };
        host.step(|state, _| state.follow_membership());
        host
    }

    /// Runs `f` on the replica under the lock, then wakes whoever has work or an answer by it.
    pub(crate) fn step<T>(&self, f: impl FnOnce(&mut State<C>, Time) -> T) -> T {
        let began = C::now();
        let mut state = self.lock();
        let now = self.time_of(began);
        let out = f(&mut state, now);
        let aftermath = self.settle(&mut state, began, now);
        drop(state);
        if let Some(aftermath) = aftermath {
            self.finish(aftermath);
        }
        self.publish_work.raise();
        out
    }

    /// Like [`step`](Self::step), for what makes no work but a write: a proposal.
    pub(crate) fn step_write<T>(&self, f: impl FnOnce(&mut State<C>, Time) -> T) -> T {
        let began = C::now();
        let mut state = self.lock();
        let out = f(&mut state, self.time_of(began));
        self.counting.stepped(began, &state.replica, &[]);
        drop(state);
        self.log_work.raise();
        out
    }

    /// The replica's deadline, at which the clock loop will look again unless it is woken before; `None` when the
    /// node has stopped.
    pub(crate) fn arm_clock(&self) -> Option<Option<Time>> {
        let mut state = self.lock();
        if state.stopped.is_some() {
            return None;
        }
        state.clock_armed = state.replica.deadline().filter(|_| self.tick_enabled.load(Ordering::Acquire));
        Some(state.clock_armed)
    }

    /// Looks, and changes nothing.
    pub(crate) fn look<T>(&self, f: impl FnOnce(&State<C>, Time) -> T) -> T {
        let now = self.now();
        f(&self.lock(), now)
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Time {
        self.time_of(C::now())
    }

    pub(crate) fn time_of(&self, instant: InstantOf<C>) -> Time {
        Time(instant.saturating_duration_since(self.origin))
    }

    pub(crate) fn instant_of(&self, time: Time) -> InstantOf<C> {
        self.origin + time.0
    }

    /// Whether a write with this number, and all before it, are durable.
    pub(crate) fn is_flushed(&self, seq: WriteSeq) -> bool {
        self.flushed_seq.load(Ordering::Acquire) >= seq
    }

    /// Waits until a write with this number, and all before it, are durable, or the node stops.
    pub(crate) async fn flushed(&self, seq: WriteSeq) -> Result<(), Fatal<C>> {
        if self.is_flushed(seq) {
            return Ok(());
        }
        self.park(
            seq,
            |state| &mut state.flush_waiters,
            |state| {
                if self.is_flushed(seq) {
                    return Some(Ok(()));
                }
                state.stopped.clone().map(Err)
            },
        )
        .await
    }

    /// Waits until the node stops.
    pub(crate) async fn until_stopped(&self) {
        self.park(0, |state| &mut state.stop_waiters, |state| state.stopped.is_some().then_some(())).await;
    }

    /// Why no answer came where one was due: as a rule the node stops, and the answer was lost a moment before.
    pub(crate) async fn lost_answer(&self) -> Fatal<C> {
        let _ = C::timeout(LOST_ANSWER_MAX, self.until_stopped()).await;
        self.stopped().unwrap_or(Fatal::Stopped)
    }

    /// Waits among `waiters` until `ready` gives something. Cancel safe: whoever is dropped is forgotten.
    pub(crate) async fn park<T>(
        &self,
        mark: u64,
        waiters: fn(&mut State<C>) -> &mut Waiters,
        mut ready: impl FnMut(&mut State<C>) -> Option<T>,
    ) -> T {
        let mut place = Place { host: self, waiters, number: None };
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if let Some(out) = ready(&mut state) {
                return Poll::Ready(out);
            }
            waiters(&mut state).wait(&mut place.number, mark, cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Why the node has stopped, if it has.
    pub(crate) fn stopped(&self) -> Option<Fatal<C>> {
        self.lock().stopped.clone()
    }

    /// Stops the node for good: the first reason stays. Every waiting client is told, every loop ends.
    pub(crate) fn stop(&self, fatal: Fatal<C>) {
        let (first, clients, reads, wakers) = {
            let mut state = self.lock();
            let first = state.stopped.is_none();
            state.stopped.get_or_insert_with(|| fatal.clone());
            for peer in state.peers.values() {
                peer.close();
            }
            let mut wakers = state.flush_waiters.reached(u64::MAX);
            wakers.append(&mut state.room_waiters.reached(u64::MAX));
            wakers.append(&mut state.stop_waiters.reached(u64::MAX));
            let finish = state.finish_client.take();
            (first, (state.clients.take_from(0), finish), std::mem::take(&mut state.reads), wakers)
        };
        if matches!(fatal, Fatal::StorageError(_)) {
            self.counting.notification(NotificationName::StorageError);
        }
        if first && fatal != Fatal::Stopped {
            tracing::error!(id = %self.id, error = %fatal, "the node stops");
        }
        // Dropping the answers' senders tells whoever waits that no answer will come.
        drop((clients, reads));
        wakers.into_iter().for_each(Waker::wake);
        for signal in
            [&self.log_work, &self.apply_work, &self.clock_work, &self.driver_work, &self.publish_work]
        {
            signal.raise();
        }
    }

    /// What follows from the step just made, as far as it can be done under the lock.
    ///
    /// The usual step wakes loops and nothing else: then there is no aftermath.
    fn settle(&self, state: &mut State<C>, began: InstantOf<C>, now: Time) -> Option<Aftermath<C>> {
        let events = state.replica.take_events();
        self.counting.stepped(began, &state.replica, &events);
        let discarded = state.discard_clients(&events);
        state.keep_born();
        state.follow_membership();
        let mut wakers = self.flush_wakers(state);
        if !state.room_waiters.is_empty() && state.has_room() {
            wakers.append(&mut state.room_waiters.reached(u64::MAX));
        }
        let reads = state.reads.take_confirmed(&state.replica, now);
        self.raise_signals(state);
        let broken = state.replica.broken();
        // In a debug build every step is checked for everything that one node can see.
        #[cfg(debug_assertions)]
        let broken = broken.or(state.replica.check().err());
        if events.is_empty() && wakers.is_empty() && reads.is_empty() && broken.is_none() {
            return None;
        }
        let forward = state.forward_to_leader();
        Some(Aftermath { wakers, events, reads, discarded, forward, broken })
    }

    fn finish(&self, aftermath: Aftermath<C>) {
        let Aftermath { wakers, events, reads, discarded, forward, broken } = aftermath;
        if let Some(broken) = broken {
            tracing::error!(id = %self.id, %broken, "the state of this node contradicts itself");
            self.stop(Fatal::Panicked);
        }
        wakers.into_iter().for_each(Waker::wake);
        for (waiter, confirmed) in reads {
            if !confirmed {
                self.counting.command(CommandName::FailPendingReads);
            }
            // Whoever asked may have gone.
            let _ = waiter.send(confirmed);
        }
        for event in &events {
            self.tell(event);
        }
        for client in discarded {
            self.counting.command(CommandName::Respond);
            let untouched =
                quorate_core::mutant!(40).then(|| ClientWriteError::ForwardToLeader(forward.clone()));
            let outcome = untouched.unwrap_or_else(|| ClientWriteError::LogEntryDiscarded(forward.clone()));
            client.on_complete(Err(outcome));
        }
    }

    fn flush_wakers(&self, state: &mut State<C>) -> Vec<Waker> {
        let flushed = state.replica.flushed_seq();
        if self.flushed_seq.load(Ordering::Relaxed) == flushed {
            return Vec::new();
        }
        self.flushed_seq.store(flushed, Ordering::Release);
        state.flush_waiters.reached(flushed)
    }

    fn raise_signals(&self, state: &State<C>) {
        let ready = state.replica.ready();
        if ready.write {
            self.log_work.raise();
        }
        if ready.apply || ready.install || ready.build {
            self.apply_work.raise();
        }
        for (id, peer) in &state.peers {
            peer.raise(&state.replica.peer_ready(id));
        }
        if !state.fresh_peers.is_empty() {
            self.driver_work.raise();
        }
        let deadline = state.replica.deadline();
        if deadline.is_some_and(|deadline| state.clock_armed.is_none_or(|armed| deadline < armed)) {
            self.clock_work.raise();
        }
    }

    fn tell(&self, event: &Event<C::LeaderId>) {
        let id = &self.id;
        match event {
            Event::Campaign { vote, pre: true } => tracing::info!(%id, %vote, "asks for pre-votes"),
            Event::Campaign { vote, pre: false } => tracing::info!(%id, %vote, "campaigns"),
            Event::Leading(vote) => tracing::info!(%id, %vote, "leads"),
            Event::SteppedDown(vote) => tracing::info!(%id, %vote, "no longer leads"),
            Event::Truncated(index) => tracing::info!(%id, index, "removed conflicting entries"),
            Event::Installed(last) => tracing::info!(%id, %last, "installed a snapshot"),
            Event::Reverted { peer, .. } => {
                tracing::error!(%id, %peer, "a peer lost entries it had acknowledged; it is fed anew, replace it");
            }
            Event::Contradiction(index) => {
                tracing::error!(%id, index, "a leader sent another entry than the one committed here; refused");
            }
            Event::TransferAbandoned(to) => {
                tracing::warn!(%id, %to, "leadership was not taken over; leads on")
            }
        }
    }
}

/// A place among waiters, given back when its holder is dropped.
struct Place<'a, C: RaftTypeConfig> {
    host: &'a Host<C>,
    waiters: fn(&mut State<C>) -> &mut Waiters,
    number: Option<u64>,
}

impl<C: RaftTypeConfig> Drop for Place<'_, C> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            (self.waiters)(&mut self.host.lock()).forget(number);
        }
    }
}

impl<C: RaftTypeConfig> State<C> {
    /// The membership in force, with the nodes' data.
    pub(crate) fn effective_membership(&self) -> Arc<StoredMembershipOf<C>> {
        self.memberships.back().cloned().unwrap_or_default()
    }

    /// The newest committed membership, with the nodes' data.
    pub(crate) fn committed_membership(&self) -> Arc<StoredMembershipOf<C>> {
        self.memberships.front().cloned().unwrap_or_default()
    }

    /// A membership came into the log at `log_id`.
    pub(crate) fn push_membership(&mut self, log_id: LogIdOf<C>, membership: Membership<C::NodeId, C::Node>) {
        while self.memberships.len() > 1
            && self.memberships.back().is_some_and(|last| last.log_id().as_ref() >= Some(&log_id))
        {
            self.memberships.pop_back();
        }
        self.memberships.push_back(Arc::new(StoredMembership::new(Some(log_id), membership)));
    }

    /// A snapshot brought `membership`; what the replica keeps behind it stays.
    pub(crate) fn reset_membership(&mut self, membership: StoredMembershipOf<C>) {
        let effective = self.replica.effective_membership().log_id.clone();
        self.memberships.retain(|kept| kept.log_id() > membership.log_id() && *kept.log_id() <= effective);
        self.memberships.push_front(Arc::new(membership));
    }

    /// A snapshot was built; it is the current one unless another was installed meanwhile that covers more.
    pub(crate) fn keep_snapshot_meta(&mut self, meta: SnapshotMetaOf<C>) {
        if self.replica.snapshot() == meta.last_log_id.as_ref() {
            self.snapshot_meta = meta;
        } else if self.replica.applied() < meta.last_log_id.as_ref() {
            self.snapshot_meta_ahead = Some(meta);
        }
    }

    /// What a snapshot that was built ahead covers may be applied by now.
    pub(crate) fn keep_snapshot_meta_ahead(&mut self) {
        if let Some(meta) = self.snapshot_meta_ahead.take() {
            self.keep_snapshot_meta(meta);
        }
    }

    /// Where a client finds the leader, if one is known and still is a member.
    pub(crate) fn forward_to_leader(&self) -> ForwardToLeader<C> {
        let Some(leader) = self.replica.leader() else { return ForwardToLeader::empty() };
        match self.effective_membership().get_node(leader) {
            Some(node) => ForwardToLeader::new(leader.clone(), node.clone()),
            None => ForwardToLeader::empty(),
        }
    }

    /// Takes back the first `count` pending entries.
    pub(crate) fn take_pending(&mut self, count: u64) -> Vec<Pending<C>> {
        let count = (count as usize).min(self.pending.len());
        self.pending.drain(..count).collect()
    }

    /// Whether another proposal may come in.
    pub(crate) fn has_room(&self) -> bool {
        self.clients.len().max(self.pending.len()) < self.proposals_max
    }

    /// Who waits for room for another proposal.
    pub(crate) fn room_waiters(&mut self) -> &mut Waiters {
        &mut self.room_waiters
    }

    /// Clients whose entries are gone from this log: their outcome is no longer known here.
    fn discard_clients(&mut self, events: &[Event<C::LeaderId>]) -> Vec<CoreResponder<C>> {
        let mut discarded = Vec::new();
        for event in events {
            match event {
                Event::Truncated(_) if quorate_core::mutant!(113) => {}
                Event::Truncated(index) => discarded.append(&mut self.clients.take_from(*index)),
                // The next leader ends the joint configuration, if it is committed at all.
                Event::SteppedDown(_) => {
                    self.finish_payload = None;
                    discarded.extend(self.finish_client.take());
                }
                Event::Installed(last) => discarded.extend(self.clients.take_upto(last.index).into_rest()),
                _ => {}
            }
        }
        discarded
    }

    /// Entries that the replica made itself stand in line with those of the clients.
    fn keep_born(&mut self) {
        for born in self.replica.take_born() {
            match born {
                Born::Blank(log_id) => self.pending.push_back(Pending::Blank(log_id)),
                Born::Membership(log_id, ids) => {
                    let membership = self.with_nodes(&ids);
                    self.clients.push(log_id.index, self.finish_client.take());
                    self.push_membership(log_id.clone(), membership.clone());
                    let payload = self.finish_payload.take();
                    self.pending.push_back(Pending::Membership(log_id, membership, payload));
                }
            }
        }
    }

    /// The membership of these ids, with the nodes' data as of now.
    fn with_nodes(&self, ids: &quorate_core::Membership<C::NodeId>) -> Membership<C::NodeId, C::Node> {
        let effective = self.effective_membership();
        let nodes = effective.nodes().filter(|(id, _)| ids.contains(id));
        let nodes = nodes.map(|(id, node)| (id.clone(), node.clone())).collect();
        Membership::from_parts(ids.configs().to_vec(), nodes)
    }

    /// Keeps the memberships and the peers in step with the replica's stack.
    fn follow_membership(&mut self) {
        let committed = &self.replica.committed_membership().log_id;
        let effective = self.replica.effective_membership().log_id.clone();
        while self.memberships.get(1).is_some_and(|second| second.log_id() <= committed) {
            self.memberships.pop_front();
        }
        while self.memberships.len() > 1
            && self.memberships.back().is_some_and(|last| *last.log_id() > effective)
        {
            self.memberships.pop_back();
        }
        if self.followed.as_ref() != Some(&effective) {
            self.followed = Some(effective);
            self.update_peers(&self.effective_membership());
        }
    }

    fn update_peers(&mut self, membership: &StoredMembershipOf<C>) {
        self.peers.retain(|id, peer| {
            let stays = membership.get_node(id) == Some(&peer.node);
            if !stays {
                peer.close();
            }
            stays
        });
        let own = self.replica.id().clone();
        for (id, node) in membership.nodes().filter(|(id, _)| **id != own) {
            if !self.peers.contains_key(id) {
                let peer = Arc::new(Peer::new(id.clone(), node.clone()));
                self.peers.insert(id.clone(), peer.clone());
                self.fresh_peers.push(peer);
            }
        }
    }
}

/// A membership as the replica sees it: ids alone.
pub(crate) fn ids_of<C: RaftTypeConfig>(
    membership: &Membership<C::NodeId, C::Node>,
) -> quorate_core::Membership<C::NodeId> {
    quorate_core::Membership::new(membership.get_joint_config().clone(), membership.learner_ids())
}

/// A stored membership as the replica sees it.
pub(crate) fn placed_of<C: RaftTypeConfig>(
    stored: &StoredMembershipOf<C>,
) -> Placed<CommittedLeaderIdOf<C>, C::NodeId> {
    Placed::new(stored.log_id().clone(), ids_of::<C>(stored.membership()))
}

//! A whole node of the library behind its doors, and peers that say whatever they like.

use std::cell::LazyCell;
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate::async_runtime::WatchReceiver;
use quorate::errors::{Fatal, RPCError, ReplicationClosed, StreamingError, Unreachable};
use quorate::network::RPCOption;
use quorate::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, VoteRequest,
    VoteResponse,
};
use quorate::storage::{Snapshot, SnapshotMeta};
use quorate::type_config::alias::{EntryOf, LogIdOf, SnapshotOf, VoteOf};
use quorate::{
    Config, EntryPayload, LogId, Membership, Raft, RaftNetworkFactory, RaftNetworkV2, SnapshotPolicy,
    StoredMembership, Vote,
};
use quorate_memstore::{ClientRequest, IntoMemClientRequest, MemStateMachine, TypeConfig, new_mem_store};

use crate::input::Input;

type LeaderId = quorate::impls::leader_id_adv::LeaderId<u64, u64>;
type Node = Raft<TypeConfig, Arc<MemStateMachine>>;

/// Most steps of one input.
const STEPS_MAX: usize = 24;
/// Most bytes of answers that peers give.
const ANSWERS_MAX: usize = 4096;
/// How long anybody waits for the node, of the paused clock.
const PATIENCE: Duration = Duration::from_secs(3);

thread_local! {
    static RUNTIME: LazyCell<tokio::runtime::Runtime> = LazyCell::new(|| {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    });
}

/// Plays what the input describes. The first piece is what peers answer, the rest what they ask.
pub fn doors(data: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(play(data)));
}

async fn play(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte();
    let answers = input.piece();
    let liars = Liars { answers: Arc::new(Mutex::new(answers.iter().copied().take(ANSWERS_MAX).collect())) };
    let config = Config {
        enable_tick: kind & 1 == 1,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(4),
        max_in_snapshot_log_to_keep: 1,
        ..Config::default()
    };
    let (log, machine) = new_mem_store();
    let raft: Node = Raft::new(1, Arc::new(config.validate().unwrap()), liars, log, machine).await.unwrap();
    if kind & 2 == 2 {
        let _ = raft.initialize(std::collections::BTreeMap::from([(1, ())])).await;
    } else if kind & 4 == 4 {
        let _ = raft.initialize(std::collections::BTreeMap::from([(1, ()), (2, ()), (3, ())])).await;
    }
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        step(&raft, &mut input).await;
    }
    let state = raft.metrics().borrow_watched().running_state.clone();
    assert_ne!(state, Err(Fatal::Panicked), "what a peer says must not make a node panic");
    let _ = raft.shutdown().await;
}

async fn step(raft: &Node, input: &mut Input<'_>) {
    let patiently =
        |wait: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| tokio::time::timeout(PATIENCE, wait);
    let raft = raft.clone();
    let wait: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = match input.below(11) {
        0..=2 => {
            let request = append(input);
            Box::pin(async move { drop(raft.append_entries(request).await) })
        }
        3 => {
            let request = VoteRequest {
                vote: vote(input),
                last_log_id: maybe_id(input),
                leadership_transfer: input.flag(),
            };
            Box::pin(async move { drop(raft.vote(request).await) })
        }
        4 => {
            let request = VoteRequest::new(vote(input), maybe_id(input));
            Box::pin(async move { drop(raft.pre_vote(request).await) })
        }
        5 => {
            let request =
                TransferLeaderRequest::new(vote(input), u64::from(input.byte() % 4), maybe_id(input));
            Box::pin(async move { drop(raft.handle_transfer_leader(request).await) })
        }
        6 | 7 => {
            let (vote, snapshot) = (leaders_vote(input), snapshot(input));
            Box::pin(async move { drop(raft.install_full_snapshot(vote, snapshot).await) })
        }
        8 => {
            let serial = u64::from(input.byte());
            Box::pin(
                async move { drop(raft.client_write(ClientRequest::make_request("fuzzer", serial)).await) },
            )
        }
        9 => {
            let requests: Vec<_> = (0..input.below(4)).map(|_| append(input)).collect();
            Box::pin(async move {
                use futures_util::StreamExt as _;
                let answers = raft.stream_append(futures_util::stream::iter(requests));
                answers.for_each(|_| std::future::ready(())).await;
            })
        }
        _ => {
            let pause = Duration::from_millis(u64::from(input.byte()) * 8);
            let elect = input.flag();
            Box::pin(async move {
                if elect {
                    let _ = raft.trigger().elect(elect).await;
                }
                tokio::time::sleep(pause).await;
            })
        }
    };
    let _ = patiently(wait).await;
}

fn vote(input: &mut Input) -> VoteOf<TypeConfig> {
    let (term, node) = (input.number(), u64::from(input.byte() % 4));
    if input.flag() { Vote::new_committed(term, node) } else { Vote::new(term, node) }
}

fn leaders_vote(input: &mut Input) -> VoteOf<TypeConfig> {
    Vote::new_committed(input.number(), u64::from(input.byte() % 4))
}

fn id(input: &mut Input) -> LogIdOf<TypeConfig> {
    let leader_id = LeaderId { term: input.number(), node_id: u64::from(input.byte() % 4) };
    LogId::new(leader_id, input.number())
}

fn maybe_id(input: &mut Input) -> Option<LogIdOf<TypeConfig>> {
    if input.below(3) == 0 { None } else { Some(id(input)) }
}

/// What a decoder lets through: also no voters, and voters that are no nodes.
fn membership(input: &mut Input) -> Membership<u64, ()> {
    let set = |bits: u8| (0u8..6).filter(|id| bits >> id & 1 == 1).map(u64::from).collect::<Vec<u64>>();
    let configs: Vec<Vec<u64>> = (0..input.below(4)).map(|_| set(input.byte())).collect();
    let nodes: std::collections::BTreeMap<u64, ()> =
        set(input.byte()).into_iter().map(|id| (id, ())).collect();
    let form = serde_json::json!({ "configs": configs, "nodes": nodes });
    serde_json::from_value(form).unwrap()
}

fn append(input: &mut Input) -> AppendEntriesRequest<TypeConfig> {
    let vote = leaders_vote(input);
    let prev_log_id = maybe_id(input);
    let mut next = prev_log_id.map_or(0, |prev| prev.index.wrapping_add(1));
    let mut leader_id = prev_log_id.map_or(LeaderId { term: 0, node_id: 2 }, |prev| prev.leader_id);
    let mut entries: Vec<EntryOf<TypeConfig>> = Vec::new();
    for _ in 0..input.below(6) {
        let kind = input.byte();
        if kind & 3 == 3 {
            leader_id = LeaderId { term: input.number(), node_id: u64::from(input.byte() % 4) };
        }
        if kind & 0x1c == 0x1c {
            next = input.number();
        }
        let payload = match kind >> 5 {
            0 | 1 => EntryPayload::Blank,
            2..=4 => EntryPayload::Normal(ClientRequest::make_request("liar", u64::from(kind))),
            _ => EntryPayload::Membership(membership(input)),
        };
        entries.push(EntryOf::<TypeConfig> { log_id: LogId::new(leader_id, next), payload });
        next = next.wrapping_add(1);
    }
    AppendEntriesRequest { vote, prev_log_id, entries, leader_commit: maybe_id(input) }
}

fn snapshot(input: &mut Input) -> SnapshotOf<TypeConfig, Cursor<Vec<u8>>> {
    let last_log_id = maybe_id(input);
    let last_membership = StoredMembership::new(maybe_id(input), membership(input));
    let meta = SnapshotMeta { last_log_id, last_membership: last_membership.clone() };
    // What is described, or any bytes.
    let content = if input.flag() {
        let state = serde_json::json!({
            "last_applied_log": last_log_id, "last_membership": last_membership, "client_status": {},
        });
        state.to_string().into_bytes()
    } else {
        input.piece().to_vec()
    };
    Snapshot { meta, snapshot: Cursor::new(content) }
}

/// Peers that answer with what is left of the input, then not at all.
#[derive(Clone)]
struct Liars {
    answers: Arc<Mutex<Vec<u8>>>,
}

impl Liars {
    fn say<T>(&self, answer: impl FnOnce(&mut Input) -> T) -> Result<T, RPCError<TypeConfig>> {
        let mut answers = self.answers.lock().unwrap();
        let bytes = std::mem::take(&mut *answers);
        let mut input = Input::new(&bytes);
        if input.is_empty() {
            return Err(Unreachable::from_string("no more answers").into());
        }
        let answer = answer(&mut input);
        *answers = input.rest().to_vec();
        Ok(answer)
    }
}

impl RaftNetworkFactory<TypeConfig> for Liars {
    type Network = Self;

    async fn new_client(&mut self, _target: u64, _node: &()) -> Self {
        self.clone()
    }
}

impl RaftNetworkV2<TypeConfig> for Liars {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.say(|input| match input.below(6) {
            0 | 1 => AppendEntriesResponse::Success,
            2 => AppendEntriesResponse::PartialSuccess(maybe_id(input)),
            3 => AppendEntriesResponse::PartialSuccess(rpc.prev_log_id),
            4 => AppendEntriesResponse::Conflict,
            _ => AppendEntriesResponse::HigherVote(vote(input)),
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.say(|input| match input.below(3) {
            0 | 1 => VoteResponse::new(rpc.vote, rpc.last_log_id, true),
            _ => VoteResponse::new(vote(input), maybe_id(input), input.flag()),
        })
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.vote(rpc, option).await
    }

    async fn full_snapshot(
        &mut self,
        own: VoteOf<TypeConfig>,
        _snapshot: SnapshotOf<TypeConfig, Cursor<Vec<u8>>>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let said = self.say(|input| if input.flag() { own } else { vote(input) });
        said.map(SnapshotResponse::new).map_err(StreamingError::from)
    }
}

//! A network of function calls that a test can cut, delay, hang and listen to.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::Context;
use std::task::Poll;
use std::task::Wake;
use std::task::Waker;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use quorate::BasicNode;
use quorate::RPCTypes;
use quorate::Raft;
use quorate::RaftNetworkFactory;
use quorate::RaftNetworkV2;
use quorate::base::BoxFuture;
use quorate::base::BoxStream;
use quorate::errors::NetworkError;
use quorate::errors::RPCError;
use quorate::errors::ReplicationClosed;
use quorate::errors::StreamingError;
use quorate::errors::Timeout;
use quorate::errors::Unreachable;
use quorate::network::RPCOption;
use quorate::network::stream_append_sequential;
use quorate::raft::AppendEntriesRequest;
use quorate::raft::AppendEntriesResponse;
use quorate::raft::SnapshotResponse;
use quorate::raft::StreamAppendResult;
use quorate::raft::TransferLeaderRequest;
use quorate::raft::TransferLeaderResponse;
use quorate::raft::VoteRequest;
use quorate::raft::VoteResponse;
use quorate::type_config::alias::SnapshotOf;
use quorate::type_config::alias::VoteOf;

use crate::cluster::elapse;
use crate::stores::Machine;
use crate::stores::Types;

pub type Node = Raft<Types, Machine>;

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Append,
    Heartbeat,
    Vote,
    PreVote,
    Transfer,
    Snapshot,
}

/// How calls to a node fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The call is lost on its way.
    Network,
    /// No answer in time.
    Timeout,
}

/// What a client of the network was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    Any,
    Heartbeats,
    Snapshot,
}

type Hook = Box<dyn Fn(u64, u64, &AppendEntriesRequest<Types>) + Send>;

#[derive(Default)]
struct RouterInner {
    nodes: BTreeMap<u64, Node>,
    isolated: BTreeSet<u64>,
    cut: BTreeSet<(u64, u64)>,
    hung: BTreeSet<(u64, Option<Kind>)>,
    /// Calls to a node that arrive at another.
    misrouted: BTreeMap<u64, u64>,
    delay: Duration,
    /// Every so many calls, one is lost on its way there or back.
    lose_every: u64,
    calls: u64,
    counts: BTreeMap<(u64, Kind), u64>,
    sent: BTreeMap<(u64, Kind), u64>,
    failing: BTreeMap<u64, Failure>,
    /// Most entries that a node takes of a request, if that is bounded.
    partial: Option<usize>,
    /// What the calls of each kind were allowed to take.
    options: BTreeMap<Kind, RPCOption>,
    /// The kinds of calls that went over clients of each purpose.
    over: BTreeSet<(Purpose, Kind)>,
    clients: BTreeMap<(u64, Purpose), u64>,
    votes: Vec<VoteRequest<Types>>,
    pipelined: bool,
    pumped: bool,
    hook: Option<Hook>,
}

/// Carries calls between the nodes of a test.
#[derive(Clone, Default)]
pub struct Router {
    inner: Arc<Mutex<RouterInner>>,
}

impl Router {
    fn change<T>(&self, change: impl FnOnce(&mut RouterInner) -> T) -> T {
        change(&mut self.inner.lock().unwrap())
    }

    pub fn add(&self, id: u64, node: Node) {
        self.change(|inner| inner.nodes.insert(id, node));
    }

    pub fn remove(&self, id: u64) {
        self.change(|inner| inner.nodes.remove(&id));
    }

    /// Nobody reaches the node, and it reaches nobody.
    pub fn isolate(&self, id: u64) {
        self.change(|inner| inner.isolated.insert(id));
    }

    /// Calls from one node to another fail; the other way they pass.
    pub fn cut(&self, from: u64, to: u64) {
        self.change(|inner| inner.cut.insert((from, to)));
    }

    /// Calls from one node to another pass again.
    pub fn mend(&self, from: u64, to: u64) {
        self.change(|inner| inner.cut.remove(&(from, to)));
    }

    /// Calls to the node never return, not even those under way when it is restored.
    pub fn hang(&self, id: u64) {
        self.change(|inner| inner.hung.insert((id, None)));
    }

    /// Calls of this kind to the node never return.
    pub fn hang_kind(&self, id: u64, kind: Kind) {
        self.change(|inner| inner.hung.insert((id, Some(kind))));
    }

    /// Calls to `id` arrive at `at`.
    pub fn misroute(&self, id: u64, at: u64) {
        self.change(|inner| inner.misrouted.insert(id, at));
    }

    /// Every call takes this long.
    pub fn delay(&self, delay: Duration) {
        self.change(|inner| inner.delay = delay);
    }

    /// Of so many calls one is lost, in turn the request and the answer.
    pub fn lose_every(&self, calls: u64) {
        self.change(|inner| inner.lose_every = calls);
    }

    /// Several append requests are under way at a time.
    pub fn pipeline(&self) {
        self.change(|inner| inner.pipelined = true);
    }

    /// As [`pipeline`](Self::pipeline), and the requests are pulled by a task of the network's own, which looks for
    /// more again and again, also after whoever opened the stream has turned away.
    pub fn pump(&self) {
        self.change(|inner| (inner.pipelined, inner.pumped) = (true, true));
    }

    /// Sees every append request that is delivered.
    pub fn listen(&self, hook: impl Fn(u64, u64, &AppendEntriesRequest<Types>) + Send + 'static) {
        self.change(|inner| inner.hook = Some(Box::new(hook)));
    }

    /// How many calls of this kind went to the node.
    pub fn count(&self, to: u64, kind: Kind) -> u64 {
        self.change(|inner| inner.counts.get(&(to, kind)).copied().unwrap_or(0))
    }

    /// How many calls of this kind came from the node.
    pub fn sent(&self, from: u64, kind: Kind) -> u64 {
        self.change(|inner| inner.sent.get(&(from, kind)).copied().unwrap_or(0))
    }

    /// Calls to the node fail like this.
    pub fn fail(&self, id: u64, failure: Failure) {
        self.change(|inner| inner.failing.insert(id, failure));
    }

    /// Of each request a node takes so many entries and no more.
    pub fn partial(&self, entries: usize) {
        self.change(|inner| inner.partial = Some(entries));
    }

    /// What the last call of this kind was allowed to take.
    pub fn option(&self, kind: Kind) -> RPCOption {
        self.change(|inner| inner.options[&kind].clone())
    }

    /// The kinds of calls that went over clients made for `purpose`.
    pub fn over(&self, purpose: Purpose) -> Vec<Kind> {
        let of = |(made_for, kind): &(Purpose, Kind)| (*made_for == purpose).then_some(*kind);
        self.change(|inner| inner.over.iter().filter_map(of).collect())
    }

    /// How many clients to the node were made for `purpose`.
    pub fn clients(&self, to: u64, purpose: Purpose) -> u64 {
        self.change(|inner| inner.clients.get(&(to, purpose)).copied().unwrap_or(0))
    }

    /// The requests for votes and pre-votes so far.
    pub fn votes(&self) -> Vec<VoteRequest<Types>> {
        self.change(|inner| inner.votes.clone())
    }

    /// The node is reached again, and reaches the others.
    pub fn restore(&self, id: u64) {
        self.change(|inner| {
            inner.isolated.remove(&id);
            inner.hung.retain(|(hung, _)| *hung != id);
            inner.cut.retain(|(from, to)| *from != id && *to != id);
            inner.misrouted.remove(&id);
            inner.failing.remove(&id);
        });
    }

    async fn call<T>(
        &self,
        (from, to): (u64, u64),
        kind: Kind,
        deliver: impl AsyncFnOnce(Node) -> Result<T, Unreachable<Types>>,
    ) -> Result<T, RPCError<Types>> {
        let (hung, delay, lost, failing) = self.change(|inner| {
            *inner.counts.entry((to, kind)).or_default() += 1;
            *inner.sent.entry((from, kind)).or_default() += 1;
            inner.calls += 1;
            let lost = inner.lose_every > 0 && inner.calls.is_multiple_of(inner.lose_every);
            let back = lost && (inner.calls / inner.lose_every).is_multiple_of(2);
            let hung = inner.hung.contains(&(to, None)) || inner.hung.contains(&(to, Some(kind)));
            (hung, inner.delay, (lost && !back, back), inner.failing.get(&to).copied())
        });
        if hung {
            std::future::pending::<()>().await;
        }
        elapse(delay).await;
        match failing {
            Some(Failure::Network) => return Err(NetworkError::from_string("lost on its way").into()),
            Some(Failure::Timeout) => {
                let (action, timeout) = (RPCTypes::AppendEntries, Duration::from_millis(1));
                return Err(Timeout { action, id: from, target: to, timeout }.into());
            }
            None => {}
        }
        let node = self.node(from, to).filter(|_| !lost.0);
        let unreachable = || Unreachable::from_string(format!("{from} does not reach {to}"));
        let answer = deliver(node.ok_or_else(unreachable)?).await?;
        // The way back may be cut by now.
        Ok(self.node(to, from).filter(|_| !lost.1).map(|_| answer).ok_or_else(unreachable)?)
    }

    fn node(&self, from: u64, to: u64) -> Option<Node> {
        self.change(|inner| {
            let cut = inner.isolated.contains(&from)
                || inner.isolated.contains(&to)
                || inner.cut.contains(&(from, to));
            let at = inner.misrouted.get(&to).copied().unwrap_or(to);
            inner.nodes.get(&at).filter(|_| !cut).cloned()
        })
    }

    fn tell(&self, from: u64, to: u64, rpc: &AppendEntriesRequest<Types>) {
        self.change(|inner| {
            if let Some(hook) = &inner.hook {
                hook(from, to, rpc);
            }
        });
    }
}

#[derive(Clone)]
pub struct Network {
    pub from: u64,
    pub router: Router,
}

pub struct Link {
    way: (u64, u64),
    purpose: Purpose,
    router: Router,
}

impl Link {
    fn note(&self, kind: Kind, option: &RPCOption) {
        self.router.change(|inner| {
            inner.options.insert(kind, option.clone());
            inner.over.insert((self.purpose, kind));
        });
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Link {
        self.link(target, Purpose::Any)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &BasicNode) -> Link {
        self.link(target, Purpose::Heartbeats)
    }

    async fn new_snapshot_client(&mut self, target: u64, _node: &BasicNode) -> Link {
        self.link(target, Purpose::Snapshot)
    }
}

impl Network {
    fn link(&self, to: u64, purpose: Purpose) -> Link {
        self.router.change(|inner| *inner.clients.entry((to, purpose)).or_default() += 1);
        Link { way: (self.from, to), purpose, router: self.router.clone() }
    }
}

fn failed(error: impl std::error::Error + 'static) -> Unreachable<Types> {
    Unreachable::new(&error)
}

fn kind_of(rpc: &AppendEntriesRequest<Types>) -> Kind {
    if rpc.entries.is_empty() { Kind::Heartbeat } else { Kind::Append }
}

async fn append(
    router: &Router,
    way: (u64, u64),
    mut rpc: AppendEntriesRequest<Types>,
) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
    let most = router.change(|inner| inner.partial).unwrap_or(usize::MAX);
    let partial = (rpc.entries.len() > most).then(|| rpc.entries[most - 1].log_id);
    let kind = kind_of(&rpc);
    rpc.entries.truncate(most);
    let deliver = async |node: Node| {
        router.tell(way.0, way.1, &rpc);
        let answer = node.append_entries(rpc).await.map_err(failed)?;
        Ok(match (answer, partial) {
            (AppendEntriesResponse::Success, Some(taken)) => {
                AppendEntriesResponse::PartialSuccess(Some(taken))
            }
            (answer, _) => answer,
        })
    };
    router.call(way, kind, deliver).await
}

/// Pulls `input` from a task of its own, which gets round to it only a while after it was woken. When the way is cut,
/// the stream breaks for those who listen, and the task goes on.
fn pump<S>(
    router: Router,
    (from, to): (u64, u64),
    mut input: S,
) -> BoxStream<'static, AppendEntriesRequest<Types>>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    let (tx, rx) = tokio::sync::mpsc::unbounded_channel();
    let mut open = Some(tx);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    tokio::spawn(async move {
        loop {
            open = open.filter(|_| router.node(from, to).is_some());
            let polled = input.poll_next_unpin(&mut Context::from_waker(&waker));
            match polled {
                Poll::Ready(Some(request)) => open = open.filter(|open| open.send(request).is_ok()),
                Poll::Ready(None) => return,
                Poll::Pending => {
                    bell.rung.notified().await;
                    elapse(Duration::from_millis(1)).await;
                }
            }
        }
    });
    Box::pin(unfold(rx, |mut rx| async move { rx.recv().await.map(|request| (request, rx)) }))
}

#[derive(Default)]
struct Bell {
    rung: tokio::sync::Notify,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.notify_one();
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = u64;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.note(kind_of(&rpc), &option);
        append(&self.router, self.way, rpc).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        if !self.router.change(|inner| inner.pipelined) {
            return stream_append_sequential(self, input, option);
        }
        let (router, way) = (self.router.clone(), self.way);
        let pumped = router.change(|inner| inner.pumped);
        Box::pin(async move {
            let input: BoxStream<'static, _> =
                if pumped { pump(router.clone(), way, input) } else { Box::pin(input) };
            let open = async |node: Node| Ok(node);
            let node = router.call(way, Kind::Append, open).await?;
            let requests = input.inspect(move |rpc| router.tell(way.0, way.1, rpc));
            let answers = node.stream_append(requests);
            let answers = answers.map(|answer| answer.map_err(|error| RPCError::Unreachable(failed(error))));
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.note(Kind::Vote, &option);
        self.router.change(|inner| inner.votes.push(rpc.clone()));
        let deliver = async |node: Node| node.vote(rpc).await.map_err(failed);
        self.router.call(self.way, Kind::Vote, deliver).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.note(Kind::PreVote, &option);
        self.router.change(|inner| inner.votes.push(rpc.clone()));
        let deliver = async |node: Node| node.pre_vote(rpc).await.map_err(failed);
        self.router.call(self.way, Kind::PreVote, deliver).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.note(Kind::Transfer, &option);
        let deliver = async |node: Node| node.handle_transfer_leader(req).await.map_err(failed);
        self.router.call(self.way, Kind::Transfer, deliver).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, u64>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        self.note(Kind::Snapshot, &option);
        let deliver = async |node: Node| node.install_full_snapshot(vote, snapshot).await.map_err(failed);
        Ok(self.router.call(self.way, Kind::Snapshot, deliver).await?)
    }
}

//! The smallest stores and network, for any types: for tests about the types, and about what a write costs.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::Mutex;

use futures_util::Stream;
use futures_util::StreamExt;
use quorate::Config;
use quorate::LogState;
use quorate::Raft;
use quorate::RaftLogReader;
use quorate::RaftNetworkFactory;
use quorate::RaftNetworkV2;
use quorate::RaftSnapshotBuilder;
use quorate::RaftTypeConfig;
use quorate::Snapshot;
use quorate::SnapshotMeta;
use quorate::StoredMembership;
use quorate::entry::RaftEntry;
use quorate::errors::RPCError;
use quorate::errors::ReplicationClosed;
use quorate::errors::StreamingError;
use quorate::errors::Unreachable;
use quorate::network::RPCOption;
use quorate::raft::AppendEntriesRequest;
use quorate::raft::AppendEntriesResponse;
use quorate::raft::SnapshotResponse;
use quorate::raft::VoteRequest;
use quorate::raft::VoteResponse;
use quorate::storage::EntryResponder;
use quorate::storage::IOFlushed;
use quorate::storage::RaftLogStorage;
use quorate::storage::RaftStateMachine;
use quorate::type_config::alias::LogIdOf;
use quorate::type_config::alias::SnapshotMetaOf;
use quorate::type_config::alias::SnapshotOf;
use quorate::type_config::alias::StoredMembershipOf;
use quorate::type_config::alias::VoteOf;

use crate::cluster::PATIENCE;

/// Types whose entries the store can copy, whether or not they are `Clone`.
pub trait Copied: RaftTypeConfig<R = u64, Node = quorate::BasicNode> {
    fn copy(entry: &Self::Entry) -> Self::Entry;
}

struct Kept<C: RaftTypeConfig> {
    vote: Option<VoteOf<C>>,
    entries: BTreeMap<u64, C::Entry>,
}

pub struct Log<C: RaftTypeConfig> {
    kept: Arc<Mutex<Kept<C>>>,
}

impl<C: RaftTypeConfig> Clone for Log<C> {
    fn clone(&self) -> Self {
        Self { kept: self.kept.clone() }
    }
}

impl<C: Copied> RaftLogReader<C> for Log<C> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<C::Entry>, io::Error> {
        Ok(self.kept.lock().unwrap().entries.range(range).map(|(_, entry)| C::copy(entry)).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<C>>, io::Error> {
        Ok(self.kept.lock().unwrap().vote.clone())
    }
}

impl<C: Copied> RaftLogStorage<C> for Log<C> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        let last_log_id = self.kept.lock().unwrap().entries.values().next_back().map(RaftEntry::log_id);
        Ok(LogState { last_purged_log_id: None, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> Result<(), io::Error> {
        self.kept.lock().unwrap().vote = Some(vote.clone());
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = C::Entry> + Send,
        I::IntoIter: Send,
    {
        let entries = entries.into_iter().map(|entry| (entry.index(), entry));
        self.kept.lock().unwrap().entries.extend(entries);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        let first = last.map_or(0, |last| last.index + 1);
        self.kept.lock().unwrap().entries.split_off(&first);
        Ok(())
    }

    async fn purge(&mut self, _upto: LogIdOf<C>) -> Result<(), io::Error> {
        unreachable!("no snapshots are built here")
    }
}

/// Counts entries.
pub struct Counter<C: RaftTypeConfig> {
    applied: Option<LogIdOf<C>>,
    membership: StoredMembershipOf<C>,
    count: u64,
}

impl<C: Copied> RaftSnapshotBuilder<C> for Counter<C> {
    type SnapshotData = u64;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<C, u64>, io::Error> {
        let meta =
            SnapshotMeta { last_log_id: self.applied.clone(), last_membership: self.membership.clone() };
        Ok(Snapshot { meta, snapshot: self.count })
    }
}

impl<C: Copied> RaftStateMachine<C> for Counter<C> {
    type SnapshotData = u64;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<C>>, StoredMembershipOf<C>), io::Error> {
        Ok((self.applied.clone(), self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + Send,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            self.count += 1;
            self.applied = Some(entry.log_id());
            if let Some(membership) = entry.get_membership() {
                self.membership = StoredMembership::new(Some(entry.log_id()), membership);
            }
            if let Some(responder) = responder {
                responder.send(self.count);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        Self { applied: self.applied.clone(), membership: self.membership.clone(), count: self.count }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<C>, count: u64) -> Result<(), io::Error> {
        (self.applied, self.membership) = (meta.last_log_id.clone(), meta.last_membership.clone());
        self.count = count;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<C, u64>>, io::Error> {
        Ok(None)
    }
}

type Nodes<C> = Arc<Mutex<BTreeMap<<C as RaftTypeConfig>::NodeId, Raft<C, Counter<C>>>>>;

/// Calls the other node's functions.
pub struct Direct<C: Copied> {
    nodes: Nodes<C>,
}

pub struct Line<C: Copied> {
    to: C::NodeId,
    nodes: Nodes<C>,
}

impl<C: Copied> RaftNetworkFactory<C> for Direct<C> {
    type Network = Line<C>;

    async fn new_client(&mut self, target: C::NodeId, _node: &C::Node) -> Line<C> {
        Line { to: target, nodes: self.nodes.clone() }
    }
}

impl<C: Copied> Line<C> {
    fn node(&self) -> Result<Raft<C, Counter<C>>, RPCError<C>> {
        let node = self.nodes.lock().unwrap().get(&self.to).cloned();
        node.ok_or_else(|| RPCError::Unreachable(Unreachable::from_string("not started")))
    }
}

fn failed<C: RaftTypeConfig>(error: impl std::error::Error + 'static) -> RPCError<C> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl<C: Copied> RaftNetworkV2<C> for Line<C> {
    type SnapshotData = u64;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        self.node()?.append_entries(rpc).await.map_err(failed)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<C>,
        _option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        self.node()?.vote(rpc).await.map_err(failed)
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<C>,
        _snapshot: SnapshotOf<C, u64>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        unreachable!("nothing is purged here")
    }
}

/// Founds a cluster of these nodes, started in this order; returns them with the leader first.
pub async fn found<C: Copied>(ids: &[C::NodeId]) -> Vec<Raft<C, Counter<C>>> {
    let nodes: Nodes<C> = Arc::default();
    let mut members = BTreeMap::new();
    for id in ids {
        let kept = Arc::new(Mutex::new(Kept { vote: None, entries: BTreeMap::new() }));
        let machine = Counter { applied: None, membership: StoredMembership::default(), count: 0 };
        let network = Direct { nodes: nodes.clone() };
        let config = Arc::new(Config::default().validate().unwrap());
        let node = Raft::new(id.clone(), config, network, Log { kept }, machine).await.unwrap();
        nodes.lock().unwrap().insert(id.clone(), node);
        members.insert(id.clone(), quorate::BasicNode::new("here"));
    }
    let mut nodes: Vec<_> = ids.iter().map(|id| nodes.lock().unwrap()[id].clone()).collect();
    nodes[0].initialize(members).await.unwrap();
    for node in &nodes {
        node.wait(PATIENCE).applied_index_at_least(Some(1), "founded").await.unwrap();
    }
    let leader = nodes[0].current_leader().await.unwrap();
    nodes.sort_by_key(|node| *node.node_id() != leader);
    nodes
}

//! Starting a node: who it is, where it listens, what its disk holds, and then the library on top.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use quorate::{Config, SnapshotPolicy};
use quorate_grpc::{CallHandler, CallRefusal, Caller, Transport, TransportOptions, tcp_incoming};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;

use crate::ask::{Asked, CALL_KIND};
use crate::builder::{Builder, Fresh, millis};
use crate::command::{decode, encode};
use crate::config::{NodeConfig, Raft};
use crate::error::StartError;
use crate::identity::Identity;
use crate::inner::Inner;
use crate::lanes::Lanes;
use crate::limits::InFlight;
use crate::listen::listen;
use crate::machine::Machine;
use crate::member::Member;
use crate::node::Node;
use crate::place;
use crate::read::ReadRounds;
use crate::roster::NodeRoster;
use crate::service::RaftDoors;
use crate::shared::Shared;
use crate::snapshots::Snapshots;
use crate::state_machine::StateMachine;
use crate::storage::Storage;

/// How many entries the library keeps in one append request.
const PAYLOAD_ENTRIES_MAX: u64 = 1024;

/// Starts a node as its builder says.
pub(crate) async fn start<S: StateMachine>(options: Builder, machine: S) -> Result<Node<S>, StartError> {
    let identity = open_identity(&options).await?;
    let (listener, peer_addr) = listen(&options).await?;
    let member = Member { uid: identity.uid(), peer_addr, client_addr: options.client_addr.clone() };
    let incarnation = identity.incarnation();
    let (fresh, founder) = (identity.cluster_id().is_none(), identity.is_founder());
    let storage = Storage::open(&options.data_dir).await?;

    let identity = Arc::new(Mutex::new(identity));
    let shared = Shared::new(machine);
    let stopped = watch::Sender::new(None);
    let roster = NodeRoster { identity: identity.clone(), shared: shared.clone(), stopped: stopped.clone() };
    let transport = Transport::new(
        quorate_grpc::Identity {
            node_id: options.id.to_string(),
            uid: member.uid.0,
            incarnation,
            address: member.peer_addr.clone(),
        },
        Arc::new(roster),
        TransportOptions::default(),
    );
    let raft = Raft::<S>::new(
        options.id,
        Arc::new(library_config(&options)),
        transport.network(options.id, storage.snapshots.clone()),
        storage.log,
        Machine::new(shared.clone(), storage.snapshots.clone()),
    );
    let raft = raft.await.map_err(|error| StartError::Storage { cause: error.to_string() })?;
    let in_flight = InFlight::new(options.in_flight_max, options.in_flight_bytes_max);
    let leader = watch::Sender::new(None);
    let inner = Arc::new(Inner {
        options,
        member,
        incarnation,
        identity,
        shared,
        raft,
        transport,
        in_flight,
        reads: ReadRounds::default(),
        lanes: Lanes::default(),
        changing: tokio::sync::Mutex::new(()),
        leader,
        stopped,
    });
    let node = run(inner.clone(), listener, storage.snapshots);
    match enter(&inner, fresh, founder).await {
        Ok(()) => Ok(node),
        Err(error) => {
            node.abort().await;
            Err(error)
        }
    }
}

/// Starts the tasks of a node: the one that serves peers, and the one that watches over all.
fn run<S: StateMachine>(inner: Arc<Inner<S>>, listener: TcpListener, snapshots: Arc<Snapshots>) -> Node<S> {
    let (handles, last_handle) = watch::channel(());
    let (down, is_down) = watch::channel(false);
    let (stop_serving, stopped_serving) = oneshot::channel::<()>();
    let serving = tokio::spawn({
        let (transport, raft) = (inner.transport.clone(), Arc::new(RaftDoors(inner.raft.clone())));
        let calls = Arc::new(Calls { inner: Arc::downgrade(&inner) });
        let stop = async move { drop(stopped_serving.await) };
        async move {
            transport.serve::<NodeConfig, _, _, _>(tcp_incoming(listener), raft, snapshots, calls, stop).await
        }
    });
    tokio::spawn({
        let inner = inner.clone();
        async move {
            inner.supervise(last_handle).await;
            drop(stop_serving);
            match serving.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "serving peers did not end in order"),
                Err(error) => tracing::warn!(%error, "serving peers did not end in order"),
            }
            inner.identity.lock().unwrap_or_else(PoisonError::into_inner).release();
            down.send_replace(true);
        }
    });
    Node::new(inner, handles, is_down)
}

async fn open_identity(options: &Builder) -> Result<Identity, StartError> {
    let (dir, id) = (options.data_dir.clone(), options.id);
    let format = options.fresh != Fresh::Refuse;
    let opened = spawn_blocking(move || {
        let identity = Identity::open(&dir, id, format)?;
        place::warn_of(&dir);
        Ok(identity)
    });
    let opened = opened.await;
    opened.unwrap_or_else(|error| {
        let path = options.data_dir.clone();
        Err(StartError::Io { action: "open", path, cause: error.to_string() })
    })
}

/// Brings the node to the cluster that its builder named, or back to the one that it was in.
async fn enter<S: StateMachine>(inner: &Arc<Inner<S>>, fresh: bool, founder: bool) -> Result<(), StartError> {
    match &inner.options.fresh {
        Fresh::Found if fresh => inner.init().await?,
        Fresh::Join(addr) if fresh => inner.join(addr).await?,
        // A crash may have come between the founding record and the first entry of the log.
        _ if founder => inner.init().await?,
        _ => {}
    }
    if !fresh {
        let inner = Arc::downgrade(inner);
        tokio::spawn(async move {
            if let Some(inner) = inner.upgrade() {
                inner.announce_move().await;
            }
        });
    }
    Ok(())
}

fn library_config(options: &Builder) -> Config {
    Config {
        cluster_name: "quorate".to_owned(),
        heartbeat_interval: millis(options.heartbeat),
        election_timeout_min: millis(options.election_min),
        election_timeout_max: millis(options.election_max),
        enable_pre_vote: Some(true),
        // Entries go out while this node's own disk writes them; then a leader that restarts may lack what it sent,
        // so it must be elected anew.
        broadcast_submitted_on_append: Some(true),
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_every),
        max_in_snapshot_log_to_keep: options.snapshot_keep,
        replication_lag_threshold: options.learner_lag_max,
        max_payload_entries: PAYLOAD_ENTRIES_MAX,
        ..Config::default()
    }
}

/// Answers the calls of peers.
struct Calls<S: StateMachine> {
    // Weak: connections must not keep a node alive whose handles are gone.
    inner: Weak<Inner<S>>,
}

impl<S: StateMachine> CallHandler for Calls<S> {
    fn call(&self, caller: Caller, kind: u32, body: Bytes) -> BoxFuture<'_, Result<Bytes, CallRefusal>> {
        Box::pin(async move {
            if kind != CALL_KIND {
                return Err(CallRefusal::UnknownKind { kind });
            }
            // What cannot be read was asked by a newer version.
            let asked: Asked = decode(&body).map_err(|_| CallRefusal::UnknownKind { kind })?;
            if !caller.is_member && !asked.ask.is_for_strangers() {
                return Err(CallRefusal::NotPermitted { message: "only members may ask this".to_owned() });
            }
            let inner =
                self.inner.upgrade().ok_or(CallRefusal::Overloaded { retry_after: Duration::ZERO })?;
            let answer = inner.answer_peer(asked).await;
            encode(&answer).map_err(|message| CallRefusal::NotPermitted { message })
        })
    }
}

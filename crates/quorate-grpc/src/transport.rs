//! The transport of one node: its connections to others, and its calls to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate::RaftTypeConfig;
use tokio::time::{Instant, timeout};

use crate::admission::{Admission, Purpose};
use crate::error::{CallError, HandshakeError, TransportError};
use crate::identity::{Identity, NodeTag, PeerAddress, Roster};
use crate::io::{Connector, TcpConnector};
use crate::metrics::TransportMetrics;
use crate::network::GrpcNetworkFactory;
use crate::options::{PROTOCOL, TransportOptions};
use crate::peer::{self, LaneKind, Link, Peer};
use crate::snapshot::SnapshotFiles;
use crate::wire;

/// How many peers are kept in mind; beyond that, those without use are forgotten.
const PEERS_MAX: usize = 256;
/// How many kinds of refusal are remembered as said already.
const REFUSALS_SAID_MAX: usize = 256;
/// After how long a refusal is said again that keeps happening.
const REFUSAL_SAID_FOR: Duration = Duration::from_secs(600);

/// The transport of one node. Cheap to clone; all clones are one.
///
/// It needs a Tokio runtime wherever it is used.
#[derive(Clone)]
pub struct Transport {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) admission: Admission,
    pub(crate) options: TransportOptions,
    pub(crate) metrics: Arc<TransportMetrics>,
    pub(crate) connector: Arc<dyn Connector>,
    peers: Mutex<HashMap<String, Arc<Peer>>>,
    refusals_said: Mutex<HashMap<(String, u32), Instant>>,
    closing: AtomicBool,
}

impl Transport {
    /// The transport of the node `identity`, over plain TCP.
    pub fn new(identity: Identity, roster: Arc<dyn Roster>, options: TransportOptions) -> Self {
        Self::with_connector(identity, roster, options, Arc::new(TcpConnector))
    }

    /// The same over connections that `connector` makes, for example with TLS.
    pub fn with_connector(
        identity: Identity,
        roster: Arc<dyn Roster>,
        mut options: TransportOptions,
        connector: Arc<dyn Connector>,
    ) -> Self {
        options.protocol.min = options.protocol.min.max(PROTOCOL.min);
        options.protocol.max = options.protocol.max.min(PROTOCOL.max);
        let admission = Admission::new(identity, roster, options.protocol, options.message_size_max);
        let inner = Inner {
            admission,
            options,
            metrics: Arc::default(),
            connector,
            peers: Mutex::default(),
            refusals_said: Mutex::default(),
            closing: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What the Raft library of the node `id` uses to reach the others. Snapshots are read through `snapshots`.
    pub fn network<C, F>(&self, id: C::NodeId, snapshots: Arc<F>) -> GrpcNetworkFactory<C, F>
    where
        C: RaftTypeConfig,
        C::Node: PeerAddress,
        F: SnapshotFiles,
    {
        GrpcNetworkFactory::new(self.clone(), id, snapshots)
    }

    /// The counters.
    pub fn metrics(&self) -> &Arc<TransportMetrics> {
        &self.inner.metrics
    }

    /// Calls a member of the cluster: `kind` says what, `body` with which arguments; the answer is the handler's.
    ///
    /// Uses the member's connection, made if there is none. Dropping the future does not take the call back.
    ///
    /// # Errors
    /// [`CallError::NotDelivered`] if the member has not acted on the call, [`CallError::OutcomeUnknown`] if it may
    /// have, such as when it has not answered within `ttl`.
    pub async fn call<C>(
        &self,
        target: &C::NodeId,
        node: &C::Node,
        kind: u32,
        body: Bytes,
        ttl: Duration,
    ) -> Result<Bytes, CallError>
    where
        C: RaftTypeConfig,
        C::Node: PeerAddress,
    {
        let peer = self.peer::<C>(target, node);
        let reply = peer.request(LaneKind::Bulk, ttl, |link| send_call(link, kind, body, ttl)).await?;
        Ok(reply.body)
    }

    /// Calls whoever answers at `address`, in this node's cluster, or in any if it has none. For a node that is about
    /// to join; a connection is made for this call alone.
    ///
    /// # Errors
    /// See [`call`](Self::call).
    pub async fn call_address(
        &self,
        address: &str,
        kind: u32,
        body: Bytes,
        ttl: Duration,
    ) -> Result<Bytes, CallError> {
        let connected = timeout(ttl, peer::connect(&self.inner, address, None, Purpose::Calls, || {})).await;
        let link = connected.unwrap_or_else(|_| {
            let message = format!("no connection within {ttl:?}");
            Err(TransportError::Connect { address: address.to_string(), message })
        })?;
        let error = match timeout(ttl, send_call(link, kind, body, ttl)).await {
            Ok(Ok(reply)) => return Ok(reply.into_inner().body),
            Ok(Err(status)) => TransportError::from_status(&status),
            Err(_) => TransportError::TimedOut(ttl),
        };
        self.inner.metrics.count_failure(&error);
        Err(error.into())
    }

    /// Cuts all connections, and logs nothing about peers from now on. What still wants to use it gets errors.
    pub fn close(&self) {
        self.inner.closing.store(true, Ordering::Release);
        self.inner.lock_peers().clear();
        self.inner.admission.cut_all();
    }

    pub(crate) fn peer<C>(&self, target: &C::NodeId, node: &C::Node) -> Arc<Peer>
    where
        C: RaftTypeConfig,
        C::Node: PeerAddress,
    {
        let tag = NodeTag { node_id: target.to_string(), uid: node.uid() };
        let address = node.peer_address();
        let mut peers = self.inner.lock_peers();
        if let Some(peer) = peers.get(&tag.node_id)
            && peer.tag() == &tag
            && peer.address() == address
        {
            return Arc::clone(peer);
        }
        if peers.len() >= PEERS_MAX {
            peers.retain(|_, peer| Arc::strong_count(peer) > 1);
        }
        let peer = Arc::new(Peer::new(tag.clone(), address, Arc::downgrade(&self.inner)));
        peers.insert(tag.node_id, Arc::clone(&peer));
        peer
    }
}

impl Inner {
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The node `node_id` has connected to this one, so it is worth connecting to.
    pub(crate) fn peer_seen(&self, node_id: &str) {
        if let Some(peer) = self.lock_peers().get(node_id) {
            peer.seen_alive();
        }
    }

    /// Counts and says that someone who dialed this node was refused. Whoever keeps trying is mentioned now and then.
    pub(crate) fn note_refused_dialer(&self, address: &str, error: &HandshakeError) {
        self.metrics.count_refusal(error);
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let key = (host.to_string(), error.code());
        let now = Instant::now();
        let mut said = self.refusals_said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&key).is_some_and(|then| now.saturating_duration_since(*then) < REFUSAL_SAID_FOR) {
            return;
        }
        if said.len() >= REFUSALS_SAID_MAX {
            said.clear();
        }
        said.insert(key, now);
        tracing::warn!("refused a connection from {address}: {error}");
    }

    fn lock_peers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send_call(
    mut link: Link,
    kind: u32,
    body: Bytes,
    ttl: Duration,
) -> Result<tonic::Response<wire::CallReply>, tonic::Status> {
    let (size, max) = (body.len(), link.session.message_size_max);
    if size > max {
        return Err(TransportError::TooLarge { what: "a call".into(), size, max }.to_status());
    }
    link.client.call(peer::bounded(wire::CallRequest { kind, body }, ttl)).await
}

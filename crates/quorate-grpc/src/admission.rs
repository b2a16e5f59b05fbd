//! The one place where a connection or a request is let in or refused.
//!
//! A connection is judged once, in the handshake, by both ends. A request is judged when its message has been decoded
//! and before anything looks at it. Authorisation of calls and certificates will be asked for here too.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::error::{HandshakeError, TransportError, VersionRange};
use crate::identity::{Identity, NodeTag, PeerIdentity, Roster, Standing};
use crate::io::Gate;
use crate::wire;

/// What a connection may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Calls of the application only. Nodes without a cluster, or that know only an address, get no more.
    Calls,
    /// Raft messages as well.
    Raft,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Call,
    Raft,
}

/// A connection that both ends agreed to.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: PeerIdentity,
    pub(crate) purpose: Purpose,
    /// The largest message in bytes that both ends accept.
    pub(crate) message_size_max: usize,
    pub(crate) gate: Arc<Gate>,
}

/// Who is let in.
pub(crate) struct Admission {
    identity: Identity,
    boot: u128,
    roster: Arc<dyn Roster>,
    protocol: VersionRange,
    message_size_max: usize,
    /// The connections in both directions, some of them over by now.
    sessions: Mutex<Vec<Arc<Session>>>,
}

impl Admission {
    pub(crate) fn new(
        identity: Identity,
        roster: Arc<dyn Roster>,
        protocol: VersionRange,
        message_size_max: usize,
    ) -> Self {
        let sessions = Mutex::new(Vec::new());
        Self { identity, boot: rand::random(), roster, protocol, message_size_max, sessions }
    }

    pub(crate) fn roster(&self) -> &dyn Roster {
        self.roster.as_ref()
    }

    /// What this node says of itself.
    pub(crate) fn hello(&self, to: Option<&NodeTag>, purpose: Purpose) -> wire::Hello {
        let from = PeerIdentity {
            node_id: self.identity.node_id.clone(),
            uid: self.identity.uid,
            incarnation: self.identity.incarnation,
            boot: self.boot,
            address: self.identity.address.clone(),
        };
        let introduction = Introduction {
            protocol: self.protocol,
            cluster_id: self.roster.cluster_id(),
            from,
            to: to.cloned(),
            purpose,
            message_size_max: self.message_size_max,
        };
        introduction.write()
    }

    /// Judges a node that dialed this one. A node without a cluster may join that of the dialer here.
    pub(crate) async fn judge_dialer(
        &self,
        hello: wire::Hello,
        gate: Arc<Gate>,
    ) -> Result<Arc<Session>, HandshakeError> {
        let dialer = self.read(hello)?;
        self.refuse_own_uid(&dialer.from)?;
        let ours = self.roster.cluster_id();
        if let (Some(found), Some(expected)) = (ours, dialer.cluster_id)
            && found != expected
        {
            return Err(HandshakeError::WrongCluster { expected, found });
        }
        if let Some(expected) = &dialer.to {
            self.refuse_wrong_node(expected)?;
        }
        if dialer.purpose == Purpose::Raft {
            let Some(theirs) = dialer.cluster_id else {
                return Err(HandshakeError::NoCluster { node_id: dialer.from.node_id });
            };
            if ours.is_none() {
                self.adopt(theirs, dialer.to.as_ref()).await?;
            }
        }
        self.open_session(dialer, gate)
    }

    /// Judges the node that answered where this one looked for `expected`.
    pub(crate) fn judge_listener(
        &self,
        expected: Option<&NodeTag>,
        purpose: Purpose,
        hello: wire::Hello,
        gate: Arc<Gate>,
    ) -> Result<Arc<Session>, HandshakeError> {
        let mut listener = self.read(hello)?;
        listener.purpose = purpose;
        self.refuse_own_uid(&listener.from)?;
        match (self.roster.cluster_id(), listener.cluster_id) {
            (Some(expected), Some(found)) if expected != found => {
                return Err(HandshakeError::WrongCluster { expected, found });
            }
            (Some(_), None) if purpose == Purpose::Raft => {
                return Err(HandshakeError::NoCluster { node_id: listener.from.node_id });
            }
            (None, _) if purpose == Purpose::Raft => {
                return Err(HandshakeError::NoCluster { node_id: self.identity.node_id.clone() });
            }
            _ => {}
        }
        if let Some(expected) = expected {
            let found = NodeTag { node_id: listener.from.node_id.clone(), uid: Some(listener.from.uid) };
            refuse_mismatch(expected, found)?;
        }
        self.open_session(listener, gate)
    }

    /// Judges a decoded request on an accepted connection.
    pub(crate) fn admit_request(&self, session: &Session, kind: RequestKind) -> Result<(), TransportError> {
        if session.gate.is_closed() {
            return Err(TransportError::Lost { message: "the connection has been cut".into() });
        }
        match (kind, session.purpose) {
            (RequestKind::Call, _) => Ok(()),
            (RequestKind::Raft, Purpose::Calls) => Err(TransportError::CallsOnly),
            (RequestKind::Raft, Purpose::Raft) => Ok(self.refuse_bad_standing(&session.peer, Purpose::Raft)?),
        }
    }

    /// Cuts all connections, in both directions.
    pub(crate) fn cut_all(&self) {
        for session in self.lock_sessions().drain(..) {
            session.gate.close();
        }
    }

    fn read(&self, hello: wire::Hello) -> Result<Introduction, HandshakeError> {
        let ours = self.protocol;
        let theirs = VersionRange { min: hello.protocol_min, max: hello.protocol_max };
        if theirs.max < ours.min || ours.max < theirs.min {
            return Err(HandshakeError::VersionSkew { ours, theirs });
        }
        Introduction::read(hello)
    }

    fn refuse_own_uid(&self, from: &PeerIdentity) -> Result<(), HandshakeError> {
        if from.uid != self.identity.uid {
            return Ok(());
        }
        if from.boot == self.boot {
            return Err(HandshakeError::SelfConnection { address: self.identity.address.clone() });
        }
        Err(HandshakeError::Fenced {
            node_id: from.node_id.clone(),
            incarnation: from.incarnation,
            holder: self.identity.incarnation,
            holder_addr: self.identity.address.clone(),
        })
    }

    fn refuse_wrong_node(&self, expected: &NodeTag) -> Result<(), HandshakeError> {
        refuse_mismatch(
            expected,
            NodeTag { node_id: self.identity.node_id.clone(), uid: Some(self.identity.uid) },
        )
    }

    /// Makes the dialer's cluster ours. The dialer must have named this very data directory: a node id and an address
    /// alone are easily mistaken.
    async fn adopt(&self, cluster_id: u128, to: Option<&NodeTag>) -> Result<(), HandshakeError> {
        if to.is_none_or(|to| to.uid.is_none()) {
            return Err(HandshakeError::NoCluster { node_id: self.identity.node_id.clone() });
        }
        let stored = self.roster.adopt_cluster(cluster_id).await;
        stored.map_err(|error| HandshakeError::NotStored { message: error.to_string() })?;
        match self.roster.cluster_id() {
            Some(found) if found == cluster_id => Ok(()),
            Some(found) => Err(HandshakeError::WrongCluster { expected: cluster_id, found }),
            None => Err(HandshakeError::NoCluster { node_id: self.identity.node_id.clone() }),
        }
    }

    fn refuse_bad_standing(&self, peer: &PeerIdentity, purpose: Purpose) -> Result<(), HandshakeError> {
        match self.roster.standing(&peer.node_id) {
            Standing::Removed { uid, index }
                if purpose == Purpose::Raft || uid.is_none_or(|uid| uid == peer.uid) =>
            {
                Err(HandshakeError::Removed { node_id: peer.node_id.clone(), index })
            }
            Standing::Member { uid: Some(expected) } if purpose == Purpose::Raft && expected != peer.uid => {
                let sessions = self.lock_live_sessions();
                let live = sessions.iter().find(|s| s.peer.uid == expected && s.purpose == Purpose::Raft);
                Err(match live {
                    Some(live) => duplicate(&live.peer, peer),
                    None => HandshakeError::UnknownNode {
                        node_id: peer.node_id.clone(),
                        expected,
                        found: peer.uid,
                    },
                })
            }
            _ => Ok(()),
        }
    }

    fn open_session(&self, other: Introduction, gate: Arc<Gate>) -> Result<Arc<Session>, HandshakeError> {
        let Introduction { from: peer, purpose, message_size_max, .. } = other;
        self.refuse_bad_standing(&peer, purpose)?;
        let message_size_max = message_size_max.min(self.message_size_max);
        let session = Arc::new(Session { peer, purpose, message_size_max, gate });
        if purpose == Purpose::Raft {
            self.register_member(&session)?;
        } else {
            let mut sessions = self.lock_live_sessions();
            refuse_copy(&sessions, &session.peer)?;
            sessions.push(Arc::clone(&session));
        }
        Ok(session)
    }

    /// Of one data directory, one process is let in: that of the latest start. Of one node id, one data directory.
    fn register_member(&self, new: &Arc<Session>) -> Result<(), HandshakeError> {
        let peer = &new.peer;
        if peer.node_id == self.identity.node_id {
            return Err(HandshakeError::DuplicateNode {
                node_id: peer.node_id.clone(),
                addr_a: self.identity.address.clone(),
                addr_b: peer.address.clone(),
            });
        }
        let is_member = self.roster.standing(&peer.node_id) == Standing::Member { uid: Some(peer.uid) };
        let mut sessions = self.lock_live_sessions();
        refuse_copy(&sessions, peer)?;
        let members = sessions.iter().filter(|session| session.purpose == Purpose::Raft);
        for live in members.map(|session| &session.peer) {
            if live.uid != peer.uid && live.node_id == peer.node_id && !is_member {
                return Err(duplicate(live, peer));
            }
        }
        sessions.retain(|session| {
            let is_rival = session.purpose == Purpose::Raft && session.peer.node_id == peer.node_id;
            let outlived = is_rival && session.peer.boot != peer.boot;
            if outlived {
                session.gate.close();
            }
            !outlived
        });
        sessions.push(Arc::clone(new));
        Ok(())
    }

    fn lock_live_sessions(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Session>>> {
        let mut sessions = self.lock_sessions();
        sessions.retain(|session| !session.gate.is_closed());
        sessions
    }

    fn lock_sessions(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse_mismatch(expected: &NodeTag, found: NodeTag) -> Result<(), HandshakeError> {
    let same_uid = expected.uid.is_none() || expected.uid == found.uid;
    if expected.node_id == found.node_id && same_uid {
        Ok(())
    } else {
        Err(HandshakeError::WrongNode { expected: Box::new(expected.clone()), found: Box::new(found) })
    }
}

/// A second process on a copy of a member's data directory may not even call: it would tell the cluster its own address
/// as the member's.
fn refuse_copy(sessions: &[Arc<Session>], peer: &PeerIdentity) -> Result<(), HandshakeError> {
    let members =
        sessions.iter().filter(|session| session.purpose == Purpose::Raft).map(|session| &session.peer);
    let mut copies = members.filter(|live| live.uid == peer.uid && live.boot != peer.boot);
    match copies.find(|live| live.incarnation >= peer.incarnation) {
        None => Ok(()),
        Some(live) => Err(HandshakeError::Fenced {
            node_id: peer.node_id.clone(),
            incarnation: peer.incarnation,
            holder: live.incarnation,
            holder_addr: live.address.clone(),
        }),
    }
}

fn duplicate(live: &PeerIdentity, refused: &PeerIdentity) -> HandshakeError {
    HandshakeError::DuplicateNode {
        node_id: refused.node_id.clone(),
        addr_a: live.address.clone(),
        addr_b: refused.address.clone(),
    }
}

/// What a Hello says, checked for form.
pub(crate) struct Introduction {
    pub(crate) protocol: VersionRange,
    pub(crate) cluster_id: Option<u128>,
    pub(crate) from: PeerIdentity,
    pub(crate) to: Option<NodeTag>,
    pub(crate) purpose: Purpose,
    pub(crate) message_size_max: usize,
}

impl Introduction {
    pub(crate) fn write(self) -> wire::Hello {
        let to = self.to.map(|to| wire::NodeIdentity {
            node_id: to.node_id,
            uid: id_to_wire(to.uid),
            ..Default::default()
        });
        let from = wire::NodeIdentity {
            node_id: self.from.node_id,
            uid: id_to_wire(Some(self.from.uid)),
            incarnation: self.from.incarnation,
            boot: id_to_wire(Some(self.from.boot)),
            address: self.from.address,
        };
        wire::Hello {
            protocol_min: self.protocol.min,
            protocol_max: self.protocol.max,
            features: 0,
            cluster_id: id_to_wire(self.cluster_id),
            from: Some(from),
            to,
            purpose: if self.purpose == Purpose::Raft { 1 } else { 0 },
            message_size_max: u64::try_from(self.message_size_max).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn read(hello: wire::Hello) -> Result<Self, HandshakeError> {
        let malformed = |what: &str| HandshakeError::Malformed { what: what.to_string() };
        let from = hello.from.ok_or_else(|| malformed("no sender"))?;
        let from = PeerIdentity {
            uid: id_from_wire(&from.uid)?.ok_or_else(|| malformed("no uid of the sender"))?,
            boot: id_from_wire(&from.boot)?.ok_or_else(|| malformed("no boot id of the sender"))?,
            node_id: from.node_id,
            incarnation: from.incarnation,
            address: from.address,
        };
        let to = match hello.to {
            Some(to) => Some(NodeTag { uid: id_from_wire(&to.uid)?, node_id: to.node_id }),
            None => None,
        };
        let purpose = match (hello.purpose, &to) {
            (0, _) => Purpose::Calls,
            (1, _) => Purpose::Raft,
            _ => return Err(malformed("unknown purpose")),
        };
        Ok(Self {
            protocol: VersionRange { min: hello.protocol_min, max: hello.protocol_max },
            cluster_id: id_from_wire(&hello.cluster_id)?,
            from,
            to,
            purpose,
            message_size_max: usize::try_from(hello.message_size_max).unwrap_or(usize::MAX),
        })
    }
}

fn id_to_wire(id: Option<u128>) -> Bytes {
    id.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.to_be_bytes()))
}

fn id_from_wire(bytes: &[u8]) -> Result<Option<u128>, HandshakeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| HandshakeError::Malformed {
        what: format!("an id of {} bytes instead of 16", bytes.len()),
    })?;
    Ok(Some(u128::from_be_bytes(bytes)))
}

//! What all handles, tasks and connections of one node share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use quorate::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use quorate::metrics::WaitError;
use quorate::{Instant as _, RaftMetrics, ReadPolicy, ServerState};
use quorate_grpc::Transport;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::ask::{Answer, Ask, Asked, Outcome};
use crate::builder::{Builder, millis};
use crate::command::Command;
use crate::config::{LogId, NodeConfig, Raft};
use crate::error::{NotAccepted, OutcomeUnknown, ProposeError, ReadError, StopReason};
use crate::identity::Identity;
use crate::lanes::Lanes;
use crate::leadership::Leader;
use crate::limits::InFlight;
use crate::member::{ClusterId, Member, NodeId};
use crate::read::ReadRounds;
use crate::shared::Shared;
use crate::state_machine::StateMachine;
use crate::status::{Role, Status};

/// One running node.
pub(crate) struct Inner<S: StateMachine> {
    pub(crate) options: Builder,
    /// Who this node is to others: its uid and the addresses that it advertises.
    pub(crate) member: Member,
    pub(crate) incarnation: u64,
    pub(crate) identity: Arc<Mutex<Identity>>,
    pub(crate) shared: Arc<Shared<S>>,
    pub(crate) raft: Raft<S>,
    pub(crate) transport: Transport,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) reads: ReadRounds,
    pub(crate) lanes: Lanes,
    /// Held while this node, as the leader, decides about a change of the membership and makes it.
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) leader: watch::Sender<Option<Leader>>,
    pub(crate) stopped: watch::Sender<Option<StopReason>>,
}

impl<S: StateMachine> Inner<S> {
    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).cluster_id()
    }

    pub(crate) fn stop_reason(&self) -> Option<StopReason> {
        self.stopped.borrow().clone()
    }

    /// The leader that this node has heard of, if its address is known.
    pub(crate) fn known_leader(&self) -> Option<(NodeId, Member)> {
        let leader = self.leader.borrow();
        leader.as_ref().and_then(|leader| Some((leader.id, leader.member.clone()?)))
    }

    /// Proposes an encoded command on behalf of a local caller.
    pub(crate) async fn propose(&self, payload: Bytes, within: Duration) -> Result<Bytes, ProposeError> {
        self.check_size(&payload)?;
        let _admitted = self.in_flight.admit(payload.len())?;
        match self.ask_leader(Ask::Propose(payload), within).await? {
            Answer::Proposed(result) => result,
            other => Err(unexpected(&other)),
        }
    }

    /// Takes a snapshot here, and gives the index that it covers.
    pub(crate) async fn snapshot(&self) -> Result<u64, ReadError> {
        let stopped =
            |cause: String| ReadError::Stopped(self.stop_reason().unwrap_or(StopReason::Fatal { cause }));
        let Some(wanted) = self.shared.applied() else { return Err(ReadError::Uninitialized) };
        let waited = self.options.request_timeout;
        self.raft.trigger().snapshot().await.map_err(|error| stopped(error.to_string()))?;
        let wait = self.raft.wait(Some(waited));
        let taken = wait.metrics(
            |metrics| metrics.snapshot.as_ref().is_some_and(|snapshot| snapshot.index >= wanted),
            "the snapshot is taken",
        );
        match taken.await {
            Ok(metrics) => Ok(metrics.snapshot.map_or(wanted, |snapshot| snapshot.index)),
            Err(WaitError::Timeout(..)) => {
                Err(ReadError::Lagging { wanted, applied: self.shared.applied(), waited })
            }
            Err(WaitError::ShuttingDown) => Err(stopped("it is shutting down".to_owned())),
        }
    }

    /// What this node knows of itself.
    pub(crate) fn status(&self) -> Status {
        let metrics = self.metrics();
        let stopped = self.stop_reason();
        let cluster_id = self.cluster_id();
        let index = |log_id: &Option<LogId>| log_id.as_ref().map(|log_id| log_id.index);
        let (in_flight, in_flight_bytes) = self.in_flight.usage();
        Status {
            id: self.options.id,
            uid: self.member.uid,
            incarnation: self.incarnation,
            cluster_id,
            peer_addr: self.member.peer_addr.clone(),
            client_addr: self.member.client_addr.clone(),
            role: match metrics.state {
                _ if stopped.is_some() => Role::Stopped,
                _ if cluster_id.is_none() => Role::Uninitialized,
                ServerState::Learner => Role::Learner,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Leader => Role::Leader,
                ServerState::Shutdown => Role::Stopped,
            },
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log: metrics.last_log_index,
            committed: index(&metrics.local_committed),
            applied: self.shared.applied(),
            snapshot: index(&metrics.snapshot),
            purged: index(&metrics.purged),
            quorum_ack_ms: metrics.last_quorum_acked.map(|acked| millis(acked.elapsed())),
            in_flight,
            in_flight_bytes,
            warnings: self.warnings(&metrics),
            stopped,
        }
    }

    fn warnings(&self, metrics: &RaftMetrics<NodeConfig>) -> Vec<String> {
        let mut warnings = Vec::new();
        let membership = &metrics.membership_config;
        if membership.get_joint_config().len() > 1 {
            warnings.push(
                "a membership change is half-way; it needs majorities of the old and the new voters".into(),
            );
        }
        if membership.voter_ids().count() == 2 {
            warnings.push("with two voters, the loss of either stops the cluster; add a third".into());
        }
        match metrics.last_quorum_acked {
            Some(acked) if metrics.state.is_leader() && acked.elapsed() > self.options.election_max => {
                warnings.push("this leader has lost touch with a majority of the voters".into());
            }
            _ => {}
        }
        if self.cluster_id().is_some() && metrics.current_leader.is_none() {
            warnings.push("no leader is known".into());
        }
        warnings
    }

    /// Answers an ask as the leader, or says who leads.
    pub(crate) async fn answer(&self, asked: Asked) -> Answer {
        match asked.ask {
            Ask::Propose(payload) => self.answer_propose(payload, asked.within).await,
            Ask::ReadIndex => self.answer_read_index().await,
            Ask::Members if self.raft.is_leader() => Answer::Members(self.members()),
            Ask::Members => self.elsewhere("this node does not lead".to_owned()),
            Ask::Change(change) => self.answer_change(change, asked.within).await,
            Ask::TransferLeader { to } => self.answer_transfer(to, asked.within).await,
            Ask::Join { id, member } => self.answer_join(id, member, asked.within).await,
            // Batches are made on the way between nodes only.
            Ask::ProposeMany(_) => self.elsewhere("many proposals at once come from peers only".to_owned()),
        }
    }

    /// Answers a peer.
    pub(crate) async fn answer_peer(&self, asked: Asked) -> Answer {
        let within = asked.within;
        match asked.ask {
            Ask::ProposeMany(payloads) => {
                let answers = payloads.into_iter().map(|payload| self.answer_foreign(payload, within));
                Answer::Many(join_all(answers).await.into_iter().map(Outcome::from).collect())
            }
            Ask::Propose(payload) => self.answer_foreign(payload, within).await,
            ask => self.answer(Asked { within, ask }).await,
        }
    }

    /// Answers a proposal of a peer. What local callers were spared must be checked here: limits, and sense.
    async fn answer_foreign(&self, payload: Bytes, within: Duration) -> Answer {
        if let Err(error) = self.check_size(&payload) {
            return Answer::Proposed(Err(error));
        }
        if let Err(cause) = crate::command::decode::<S::Command>(&payload) {
            // A command that cannot be read would stop every node that applies it.
            return Answer::Proposed(Err(NotAccepted::Invalid { cause }.into()));
        }
        match self.in_flight.admit(payload.len()) {
            Ok(_admitted) => self.answer_propose(payload, within).await,
            Err(error) => Answer::Proposed(Err(error)),
        }
    }

    async fn answer_propose(&self, payload: Bytes, within: Duration) -> Answer {
        let written = match timeout(within, self.raft.client_write(Command::new(payload))).await {
            Ok(written) => written,
            Err(_) => return Answer::Proposed(Err(OutcomeUnknown::Timeout { waited: within }.into())),
        };
        match written {
            Ok(written) => Answer::Proposed(Ok(written.data.0)),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => self.forward_to(forward),
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
                Answer::Proposed(Err(OutcomeUnknown::LeaderChanged.into()))
            }
            Err(error) => {
                let reason = self.stop_reason().unwrap_or(StopReason::Fatal { cause: error.to_string() });
                Answer::Proposed(Err(OutcomeUnknown::Stopped(reason).into()))
            }
        }
    }

    pub(crate) async fn answer_read_index(&self) -> Answer {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _applied)) => Answer::ReadIndex(read.index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                self.forward_to(forward)
            }
            Err(error) => self.elsewhere(error.to_string()),
        }
    }

    pub(crate) fn forward_to(&self, forward: ForwardToLeader<NodeConfig>) -> Answer {
        let cause = format!("it does not take requests: {:?}", forward.reason);
        Answer::Elsewhere { leader: forward.leader_id.zip(forward.leader_node), cause }
    }

    pub(crate) fn elsewhere(&self, cause: String) -> Answer {
        let leader = self.known_leader().filter(|(id, _)| *id != self.options.id);
        Answer::Elsewhere { leader, cause }
    }

    fn check_size(&self, payload: &Bytes) -> Result<(), ProposeError> {
        let (size, max) = (payload.len(), self.options.command_bytes_max);
        if size > max { Err(ProposeError::TooLarge { size, max }) } else { Ok(()) }
    }
}

fn unexpected(answer: &Answer) -> ProposeError {
    let cause = format!("the leader answered something else: {answer:?}");
    ProposeError::OutcomeUnknown(OutcomeUnknown::ConnectionLost { leader: 0, cause })
}

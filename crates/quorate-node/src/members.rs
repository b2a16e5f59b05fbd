//! The membership on its leader: what it sees of the members, and the changes that it makes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate::async_runtime::WatchReceiver as _;
use quorate::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use quorate::{ChangeMembers, Instant as _, RaftMetrics};
use tokio::time::{Instant, timeout};

use crate::ask::{Answer, Ask};
use crate::config::NodeConfig;
use crate::error::{MembershipError, NotAccepted, OutcomeUnknown, StopReason};
use crate::inner::Inner;
use crate::member::{Member, NodeId};
use crate::plan::{Change, Step, View};
use crate::state_machine::StateMachine;
use crate::status::{MemberKind, MemberStatus, Members};

/// How often to look whether a learner has caught up that a change waits for.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(100);

impl<S: StateMachine> Inner<S> {
    /// The membership as known here; progress is filled in on the leader.
    pub(crate) fn members(&self) -> Members {
        let metrics = self.metrics();
        let membership = &metrics.membership_config;
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let progress = Progress::of(&metrics, self.options.id);
        let members = membership.nodes().map(|(id, member)| MemberStatus {
            id: *id,
            member: member.clone(),
            kind: if voters.contains(id) { MemberKind::Voter } else { MemberKind::Learner },
            leader: metrics.current_leader == Some(*id),
            matched: progress.matched.get(id).copied(),
            lag: progress.lag.get(id).copied(),
            last_contact_ms: progress
                .contact
                .get(id)
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        });
        Members {
            from: self.options.id,
            index: membership.log_id().as_ref().map(|log_id| log_id.index),
            joint: membership.get_joint_config().len() > 1,
            members: members.collect(),
            tombstones: self.shared.roll().tombstones.values().cloned().collect(),
        }
    }

    pub(crate) fn metrics(&self) -> RaftMetrics<NodeConfig> {
        // Cloned at once: a reference that is kept would hold up whoever publishes.
        self.raft.metrics().borrow_watched().clone()
    }

    /// Makes a change, if this node leads and the change may be made.
    pub(crate) async fn answer_change(&self, change: Change, within: Duration) -> Answer {
        match timeout(within.min(self.options.request_timeout), self.try_change(change)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Changed(Err(OutcomeUnknown::Timeout { waited: within }.into())),
        }
    }

    async fn try_change(&self, change: Change) -> Answer {
        let _turn = self.changing.lock().await;
        // Only a leader that knows and has applied all that was committed before it can tell who was removed.
        match self.answer_read_index().await {
            Answer::ReadIndex(index) => self.shared.wait_applied(index).await,
            other => return other,
        }
        let metrics = self.metrics();
        if !metrics.state.is_leader() {
            return self.elsewhere("this node does not lead".to_owned());
        }
        let step = match self.view(&metrics).plan(&change) {
            Ok(Step::Nothing) => return Answer::Changed(Ok(())),
            Ok(step) => step,
            Err(error) => return Answer::Changed(Err(error)),
        };
        tracing::info!(?change, ?step, "the membership changes");
        match self.raft.change_membership(step.into_members(), false).await {
            Ok(_) => Answer::Changed(Ok(())),
            Err(error) => self.change_failed(error),
        }
    }

    fn change_failed(&self, error: RaftError<NodeConfig, ClientWriteError<NodeConfig>>) -> Answer {
        let error = match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                return self.forward_to(forward);
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                OutcomeUnknown::LeaderChanged.into()
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
                ChangeMembershipError::InProgress(other) => MembershipError::ChangeInProgress {
                    index: other.membership_log_id.map(|log_id| log_id.index),
                },
                ChangeMembershipError::EmptyMembership(_) => MembershipError::EmptyVoters,
                ChangeMembershipError::LearnerNotFound(learner) => {
                    MembershipError::UnknownNode { id: learner.node_id }
                }
                other => MembershipError::Invalid { cause: other.to_string() },
            },
            other => {
                let reason = self.stop_reason().unwrap_or(StopReason::Fatal { cause: other.to_string() });
                OutcomeUnknown::Stopped(reason).into()
            }
        };
        Answer::Changed(Err(error))
    }

    /// Takes a node in as a learner and tells it the cluster, or confirms that it is in.
    pub(crate) async fn answer_join(&self, id: NodeId, member: Member, within: Duration) -> Answer {
        let Some(cluster_id) = self.cluster_id() else {
            return Answer::Changed(Err(MembershipError::Uninitialized));
        };
        match self.answer_change(Change::AddLearner { id, member }, within).await {
            Answer::Changed(Ok(())) => Answer::Joined(cluster_id),
            other => other,
        }
    }

    /// Hands leadership over, and returns when the other one leads.
    pub(crate) async fn answer_transfer(&self, to: NodeId, within: Duration) -> Answer {
        let metrics = self.metrics();
        if !metrics.state.is_leader() {
            // Whoever asks again after the hand-over is told that it worked.
            return match metrics.current_leader {
                Some(leader) if leader == to => Answer::Changed(Ok(())),
                _ => self.elsewhere("this node does not lead".to_owned()),
            };
        }
        if to == self.options.id {
            return Answer::Changed(Ok(()));
        }
        if metrics.membership_config.get_node(&to).is_none() {
            return Answer::Changed(Err(MembershipError::UnknownNode { id: to }));
        }
        if !metrics.membership_config.voter_ids().any(|voter| voter == to) {
            return Answer::Changed(Err(MembershipError::NotVoter { id: to }));
        }
        let within = within.min(self.options.election_max.saturating_mul(4));
        let mut leader = self.leader.subscribe();
        if let Err(error) = self.raft.trigger().transfer_leader(to).await {
            return Answer::Changed(Err(MembershipError::Stopped(StopReason::Fatal {
                cause: error.to_string(),
            })));
        }
        let handed_over = leader.wait_for(|leader| leader.as_ref().is_some_and(|leader| leader.id == to));
        Answer::Changed(match timeout(within, handed_over).await {
            Ok(_) => Ok(()),
            Err(_) => Err(NotAccepted::LeaderUnreachable {
                leader: to,
                waited: within,
                cause: "it did not take over".to_owned(),
            }
            .into()),
        })
    }

    /// Asks the leader for a change, on behalf of a local caller.
    pub(crate) async fn change(&self, ask: Ask) -> Result<(), MembershipError> {
        match self.ask_leader(ask, self.options.request_timeout).await? {
            Answer::Changed(result) => result,
            _ => Err(MembershipError::Invalid { cause: "the leader answered something else".to_owned() }),
        }
    }

    /// Adds a learner, waits until it has caught up, and lets it take the place of another member.
    pub(crate) async fn replace(
        &self,
        old: NodeId,
        new: NodeId,
        member: Member,
    ) -> Result<(), MembershipError> {
        self.change(Ask::Change(Change::AddLearner { id: new, member })).await?;
        self.change_when_ready(Change::Swap { old, new }, self.options.request_timeout).await
    }

    /// Makes a change that waits for a learner, which must come nearer within each `patience`.
    pub(crate) async fn change_when_ready(
        &self,
        change: Change,
        patience: Duration,
    ) -> Result<(), MembershipError> {
        let mut least_lag = None;
        let mut progressed = Instant::now();
        loop {
            let in_time = progressed.elapsed() < patience;
            match self.change(Ask::Change(change.clone())).await {
                Err(MembershipError::LearnerNotReady { lag, .. }) if in_time => {
                    if lag.is_some_and(|lag| least_lag.is_none_or(|least| lag < least)) {
                        (least_lag, progressed) = (lag, Instant::now());
                    }
                }
                Err(MembershipError::ChangeInProgress { .. }) if in_time => {}
                result => return result,
            }
            tokio::time::sleep(READY_POLL_INTERVAL).await;
        }
    }

    /// Hands leadership to the voter that is furthest, if this node leads and there is one that answers.
    pub(crate) async fn hand_over(&self) {
        let metrics = self.metrics();
        if self.stop_reason().is_some() || !metrics.state.is_leader() {
            return;
        }
        let progress = Progress::of(&metrics, self.options.id);
        let answers =
            |id: &NodeId| progress.contact.get(id).is_some_and(|age| *age < self.options.election_max);
        let others = metrics.membership_config.voter_ids().filter(|id| *id != self.options.id && answers(id));
        let Some(to) = others.max_by_key(|id| progress.matched.get(id).copied()) else { return };
        tracing::info!(to, "handing leadership over");
        if let Answer::Changed(Err(error)) =
            self.answer_transfer(to, self.options.election_max.saturating_mul(2)).await
        {
            tracing::warn!(to, %error, "leadership was not handed over");
        }
    }

    fn view(&self, metrics: &RaftMetrics<NodeConfig>) -> View {
        // Metrics are published a moment after the fact; what is applied here is a fact already.
        let roll = self.shared.roll();
        let published = &metrics.membership_config;
        let newest = if published.log_id() > roll.membership.log_id() { published } else { &roll.membership };
        let unfinished = newest.log_id() != roll.membership.log_id() || newest.get_joint_config().len() > 1;
        let progress = Progress::of(metrics, self.options.id);
        let recent = progress.contact.iter().filter(|(_, age)| **age < self.options.election_max);
        View {
            voters: newest.get_joint_config().last().cloned().unwrap_or_default(),
            nodes: newest.nodes().map(|(id, member)| (*id, member.clone())).collect(),
            tombstones: roll.tombstones.clone(),
            in_progress: unfinished.then(|| newest.log_id().as_ref().map(|log_id| log_id.index)),
            live: recent.map(|(id, _)| *id).chain([self.options.id]).collect(),
            lag: progress.lag,
            lag_max: self.options.learner_lag_max,
        }
    }
}

/// What a leader knows of each member.
struct Progress {
    matched: BTreeMap<NodeId, u64>,
    lag: BTreeMap<NodeId, u64>,
    contact: BTreeMap<NodeId, Duration>,
}

impl Progress {
    fn of(metrics: &RaftMetrics<NodeConfig>, own_id: NodeId) -> Self {
        let mut matched = BTreeMap::new();
        let mut lag = BTreeMap::new();
        let last_next = metrics.last_log_index.map_or(0, |last| last.saturating_add(1));
        for (id, log_id) in metrics.replication.iter().flatten() {
            if let Some(log_id) = log_id {
                matched.insert(*id, log_id.index);
                lag.insert(*id, last_next.saturating_sub(log_id.index.saturating_add(1)));
            }
        }
        let mut contact: BTreeMap<NodeId, Duration> = BTreeMap::new();
        for (id, acked) in metrics.heartbeat.iter().flatten() {
            if let Some(acked) = acked {
                contact.insert(*id, acked.elapsed());
            }
        }
        if metrics.state.is_leader() {
            contact.insert(own_id, Duration::ZERO);
        }
        Self { matched, lag, contact }
    }
}

impl Step {
    fn into_members(self) -> ChangeMembers<NodeId, Member> {
        match self {
            Self::Nothing => ChangeMembers::AddVoterIds(BTreeSet::new()),
            Self::AddNode { id, member } => ChangeMembers::AddNodes([(id, member)].into()),
            Self::UpdateNode { id, member } => ChangeMembers::SetNodes([(id, member)].into()),
            Self::RemoveLearner { id } => ChangeMembers::RemoveNodes([id].into()),
            Self::Voters(voters) => ChangeMembers::ReplaceAllVoters(voters),
        }
    }
}

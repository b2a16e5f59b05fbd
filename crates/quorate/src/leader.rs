//! A node that leads, and what it is asked as a leader.

use std::fmt;
use std::fmt::Debug;
use std::fmt::Formatter;

use crate::errors::ForwardToLeader;
use crate::raft::Raft;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::CommittedLeaderIdOf;
use crate::type_config::alias::InstantOf;
use crate::type_config::alias::LeaderIdOf;
use crate::vote::RaftLeaderId;
use crate::vote::RaftTerm;
use crate::vote::leader_id_std;

/// A leadership of a node. It may be over by now: what it says of itself holds for the past all the same.
pub struct Leader<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    raft: Raft<C, SM>,
    leader_id: LeaderIdOf<C>,
}

impl<C, SM> Clone for Leader<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    fn clone(&self) -> Self {
        Self { raft: self.raft.clone(), leader_id: self.leader_id.clone() }
    }
}

impl<C, SM> Debug for Leader<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").field("raft", &self.raft).field("leader_id", &self.leader_id).finish()
    }
}

impl<C, SM> Leader<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// The node.
    pub fn raft(&self) -> &Raft<C, SM> {
        &self.raft
    }

    /// The leadership.
    pub fn leader_id(&self) -> &LeaderIdOf<C> {
        &self.leader_id
    }

    /// The leadership, as it stands in the ids of its entries.
    pub fn to_committed_leader_id(&self) -> CommittedLeaderIdOf<C> {
        self.leader_id.to_committed()
    }

    /// When it last sent something that a quorum has answered by now; `None` before that, and when it is over.
    pub fn last_quorum_acked(&self) -> Option<InstantOf<C>> {
        let host = &self.raft.inner.host;
        host.look(|state, now| {
            let replica = &state.replica;
            let leads = replica.vote().leader_id == self.leader_id && state.stopped.is_none();
            replica.quorum_acked(now).filter(|_| leads).map(|acked| host.instant_of(acked))
        })
    }
}

impl<Term, NID, C, SM> Leader<C, SM>
where
    Term: RaftTerm,
    NID: crate::node::NodeId,
    C: RaftTypeConfig<Term = Term, NodeId = NID, LeaderId = leader_id_std::LeaderId<Term, NID>>,
    SM: RaftStateMachine<C>,
{
    /// Its term, of which it is the only leader.
    pub fn term(&self) -> C::Term {
        self.leader_id.term
    }
}

impl<C, SM> Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// This node as the leader, if its durable vote says that it is; else who is, as far as it knows.
    ///
    /// A quorum is not asked: another may lead already.
    pub fn as_leader(&self) -> Result<Leader<C, SM>, ForwardToLeader<C>> {
        let host = &self.inner.host;
        let leader_id = host.look(|state, _| {
            let vote = &state.replica.flush_point().vote;
            if vote.committed && *vote.leader_id.node_id() == host.id {
                return Ok(vote.leader_id.clone());
            }
            // A leadership of its own that is not durable yet is nobody's to be sent to.
            let other = state.replica.leader().is_some_and(|leader| *leader != host.id);
            Err(if other { state.forward_to_leader() } else { ForwardToLeader::empty() })
        })?;
        Ok(Leader { raft: self.clone(), leader_id })
    }
}

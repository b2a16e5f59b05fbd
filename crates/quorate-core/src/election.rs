//! Pre-vote, campaign, grant, count: how a leader comes to be (thesis §3.4, §3.6, §9.6, §4.2.3).

use alloc::collections::BTreeSet;
use core::time::Duration;

use crate::ids::LogId;
use crate::ids::RaftLeaderId;
use crate::ids::RaftTerm;
use crate::ids::Vote;
use crate::log::next_index;
use crate::membership::Membership;
use crate::membership::Placed;
use crate::message::Reply;
use crate::message::VoteReply;
use crate::message::VoteRequest;
use crate::message::WriteSeq;
use crate::mutant;
use crate::options::Time;
use crate::quorum;
use crate::replica::Replica;
use crate::replica::Role;
use crate::work::Ask;
use crate::work::Born;
use crate::work::Event;

/// Most terms that a disk may have lost of its vote.
const TERMS_LOST_MAX: u32 = 1 << 20;

/// One attempt to win an election, or to find out whether it could be won.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Campaign<L: RaftLeaderId> {
    /// The vote that is asked for.
    pub(crate) vote: Vote<L>,
    /// The leader asked for this election: leases do not forbid it.
    transfer: bool,
    /// Who is still to be asked.
    unasked: BTreeSet<L::NodeId>,
    /// Who said yes. A set: a second yes of the same node is no second vote.
    granted: BTreeSet<L::NodeId>,
    /// When it began; the requests are not older than that.
    began: Time,
}

impl<L: RaftLeaderId> Campaign<L> {
    /// Takes an answer to the request for `asked`: whether it was granted; `None` if it answers an earlier campaign.
    fn take(&mut self, peer: &L::NodeId, asked: &Vote<L>, reply: &VoteReply<L>) -> Option<bool> {
        if self.vote != *asked {
            return None;
        }
        let granted = reply.granted && reply.vote == *asked;
        if granted && !self.granted.insert(peer.clone()) && mutant!(5) {
            self.granted.extend(self.unasked.pop_first());
        }
        Some(granted)
    }
}

/// Why a cluster cannot be founded here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitializeRefusal {
    /// There is a log or a vote already.
    NotAllowed,
    /// This node is not a voter of the proposed membership, or the membership is empty.
    NotInMembers,
}

/// Where the election timers stand, computed and never stored.
impl<L: RaftLeaderId> Replica<L> {
    /// The next moment at which [`timeout`](Self::timeout) is due.
    pub fn deadline(&self) -> Option<Time> {
        match &self.role {
            Role::Leader(_) => self.leader_deadline(),
            _ => self.election_deadline(),
        }
    }

    /// Time has passed: campaigns, sends heartbeats, gives up what took too long.
    ///
    /// `dice` is a fresh random number. A call before the deadline changes nothing.
    pub fn timeout(&mut self, now: Time, dice: u64) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if matches!(self.role, Role::Leader(_)) {
            self.leader_timeout(now);
        } else {
            let pre_vote = self.options.pre_vote;
            self.campaign(now, dice, pre_vote, false);
        }
    }

    /// Starts a campaign at once, whatever the timers say; `pre_vote` asks first whether it could be won.
    ///
    /// Does nothing on a leader, or where this node is not a voter. Without `pre_vote` it breaks this node's own promise
    /// to a leader that it has just heard: within a lease from then, that leader's reads by lease (not those that ask a
    /// quorum) may miss what the new leader commits.
    pub fn elect(&mut self, now: Time, dice: u64, pre_vote: bool) {
        if !matches!(self.role, Role::Leader(_)) && self.may_campaign() {
            self.campaign(now, dice, pre_vote, false);
        }
    }

    /// Founds a cluster on a pristine node: its first entry is the membership; then it campaigns.
    pub fn initialize(
        &mut self,
        now: Time,
        dice: u64,
        membership: Membership<L::NodeId>,
    ) -> Result<LogId<L::Committed>, InitializeRefusal> {
        if !self.is_pristine() {
            return Err(InitializeRefusal::NotAllowed);
        }
        if !membership.is_valid() || !membership.is_voter(&self.id) {
            return Err(InitializeRefusal::NotInMembers);
        }
        let founder = L::new(L::Term::default(), self.id.clone()).to_committed();
        let log_id = LogId::new(founder, 0);
        self.log.extend_to(log_id.clone());
        self.memberships.push(Placed::new(Some(log_id.clone()), membership));
        self.push_append(0, u64::MAX);
        self.campaign(now, dice, false, false);
        Ok(log_id)
    }

    fn election_deadline(&self) -> Option<Time> {
        if !self.options.elect || !self.may_campaign() {
            return None;
        }
        let waited = match &self.role {
            // It can ask nobody before its own vote is durable, and the wait for answers begins then.
            Role::Candidate(_) if self.vote_seq > self.flushed_seq => return None,
            Role::PreCandidate(campaign) | Role::Candidate(campaign) => {
                return Some(campaign.began + self.election_timeout + self.greater_log_penalty());
            }
            _ => self.vote_heard.unwrap_or(Time::ZERO),
        };
        // Alone, it needs to wait for nobody else; but what it promised to a leader that is on its way out holds.
        let promised = waited + self.vote_lease;
        if self.effective().is_sole_voter(&self.id) {
            return Some(promised);
        }
        Some(promised + self.election_timeout + self.greater_log_penalty())
    }

    /// A node that knows of a greater log lets its holder go first.
    fn greater_log_penalty(&self) -> Duration {
        if self.greater_log_seen { self.options.election_timeout_max * 2 } else { Duration::ZERO }
    }

    /// A voter of the effective or of the committed membership may campaign: the effective one may never commit.
    pub(crate) fn may_campaign(&self) -> bool {
        let term = self.vote.leader_id.term();
        // The last term there is cannot be outbid, and a full log cannot take a leader's first entry.
        let has_room = term.next() > term && self.log.next_index() < u64::MAX;
        // I6: whoever lacks what is committed cannot lead. A voter that lost its disk could, while it gets its log back:
        // by an old membership in there, it may be a quorum of its own.
        let lacks = next_index(self.leader_commit.as_ref()) > self.log.next_index();
        let committed = &self.memberships.committed().membership;
        has_room && !lacks && (self.effective().is_voter(&self.id) || committed.is_voter(&self.id))
    }

    /// The first term in which this node could lead without putting its log in disorder: beyond that of its last entry,
    /// also where a disk lost the vote that came with it.
    pub(crate) fn outgrow_log(&mut self) {
        let Some(last) = self.log.last().filter(|last| self.vote.leader_id < last.leader_id).cloned() else {
            return;
        };
        let mut term = self.vote.leader_id.term().next();
        for _ in 0..TERMS_LOST_MAX {
            if L::new(term, self.id.clone()).to_committed() > last.leader_id {
                self.term_min = term;
                return;
            }
            term = term.next();
        }
        self.break_off("I3", "the log is of a term that the saved vote knows nothing of");
    }

    /// Asks the voters: for a pre-vote, which changes nothing anywhere, or for their votes in the next term.
    pub(crate) fn campaign(&mut self, now: Time, dice: u64, pre_vote: bool, transfer: bool) {
        debug_assert!(!matches!(self.role, Role::Leader(_)), "I3: a leader does not campaign");
        let term = self.vote.leader_id.term().next().max(self.term_min);
        let vote: Vote<L> = Vote::new(term, self.id.clone());
        self.election_timeout = self.options.election_timeout(dice);
        self.greater_log_seen = false;
        let mut unasked = self.effective().voters();
        unasked.remove(&self.id);
        let pre = pre_vote && !unasked.is_empty();
        if pre_vote && self.leader_is_fresh(now) {
            // Its own lease is valid: it would not grant a pre-vote to anyone, nor to itself, also where nobody else
            // is to be asked.
            return;
        }
        self.event(Event::Campaign { vote: vote.clone(), pre });
        let mut campaign =
            Campaign { vote: vote.clone(), transfer, unasked, granted: BTreeSet::new(), began: now };
        if pre {
            campaign.granted.insert(self.id.clone());
            self.role = Role::PreCandidate(campaign);
            return;
        }
        self.save_vote(now, vote);
        self.vote_lease = Duration::ZERO;
        self.role = Role::Candidate(campaign);
    }

    // --- The voter's side.

    /// A candidate asks for this node's vote. The reply leaves when the vote is durable.
    pub fn vote_request(&mut self, now: Time, request: &VoteRequest<L>) -> Reply<VoteReply<L>> {
        let granted = self.would_grant(now, request)
            && (request.vote >= self.vote
                || mutant!(3)
                    && !self.vote.committed
                    && request.vote.leader_id.term() == self.vote.leader_id.term());
        if granted && request.vote != self.vote {
            self.save_vote(now, request.vote.clone());
            self.step_down_to(Role::Passive);
            self.vote_lease = Duration::ZERO;
        } else if granted {
            self.vote_heard = Some(now);
        }
        debug_assert!(!granted || self.vote == request.vote, "I1: what is granted is this node's vote");
        self.vote_reply_of(granted)
    }

    /// A node asks whether it would get this node's vote. Nothing changes.
    pub fn pre_vote_request(&self, now: Time, request: &VoteRequest<L>) -> VoteReply<L> {
        let granted = self.would_grant(now, request) && request.vote >= self.vote;
        let reply = self.vote_reply_of(granted).message;
        // A grant names the vote that it is for; it is not this node's vote, which stays as it is.
        if granted { VoteReply { vote: request.vote.clone(), ..reply } } else { reply }
    }

    /// Everything but the order of votes: the lease of a leader, and whose log is more up to date (thesis §3.6.1).
    fn would_grant(&self, now: Time, request: &VoteRequest<L>) -> bool {
        let candidate = request.vote.leader_id.node_id();
        if request.vote.committed || *candidate == self.id {
            // Not a request for a vote; or this node's own request, come back by a wrong address: a second vote.
            return false;
        }
        // The lease is a promise to the leader; who led may itself ask anew, and a leader that hands over gives it
        // back: the term that follows its own is the one it asked for, a late request of another transfer is not.
        let promised = self.leader_is_fresh(now) && self.leader() != Some(candidate);
        let given_back = request.transfer
            && (request.vote.leader_id.term() == self.vote.leader_id.term().next() || mutant!(62));
        if promised && !given_back && !mutant!(35) {
            return false;
        }
        let longer = mutant!(2) && next_index(request.last.as_ref()) >= self.log.next_index();
        let excused = if mutant!(14) { request.transfer } else { mutant!(1) };
        longer || excused || request.last.as_ref() >= self.log.last()
    }

    /// Whether a leader is known to be alive, or this node leads and a quorum said so lately.
    pub(crate) fn leader_is_fresh(&self, now: Time) -> bool {
        match &self.role {
            Role::Leader(_) => self.lease_is_valid(now),
            _ => {
                let heard = self.vote_heard.unwrap_or(Time::ZERO);
                self.vote.committed && now < heard + self.vote_lease
            }
        }
    }

    fn vote_reply_of(&self, granted: bool) -> Reply<VoteReply<L>> {
        let last = self.log.last().cloned();
        let after = if mutant!(15) { 0 } else { self.vote_seq };
        Reply { message: VoteReply { vote: self.vote.clone(), granted, last }, after }
    }

    // --- The candidate's side.

    /// The next question to `peer`: a pre-vote, a vote, or the news of a transfer.
    ///
    /// A vote is asked for only when this node's own is durable: else a crash could make it ask, or vote, twice.
    pub fn next_ask(&mut self, peer: &L::NodeId) -> Option<Ask<L>> {
        if !self.has_ask(peer) {
            return None;
        }
        let last = self.log.last().cloned();
        match &mut self.role {
            Role::PreCandidate(campaign) => {
                campaign.unasked.remove(peer);
                let vote = campaign.vote.clone();
                Some(Ask::PreVote(VoteRequest { vote, last, transfer: campaign.transfer }))
            }
            Role::Candidate(campaign) => {
                campaign.unasked.remove(peer);
                let vote = campaign.vote.clone();
                Some(Ask::Vote(VoteRequest { vote, last, transfer: campaign.transfer }))
            }
            Role::Leader(_) => self.next_transfer(peer).map(Ask::Transfer),
            Role::Passive => None,
        }
    }

    /// Whether [`next_ask`](Self::next_ask) has something for `peer`.
    pub fn has_ask(&self, peer: &L::NodeId) -> bool {
        match &self.role {
            Role::PreCandidate(campaign) => campaign.unasked.contains(peer),
            Role::Candidate(campaign) => {
                let durable = mutant!(16) || self.vote_seq <= self.flushed_seq;
                durable && campaign.unasked.contains(peer)
            }
            Role::Leader(leader) => leader.has_transfer(peer),
            Role::Passive => false,
        }
    }

    /// `peer` answered the request for a pre-vote for `asked`.
    ///
    /// A door of its own: the campaign that follows asks for the same vote, and a late pre-vote must not count in it.
    pub fn pre_vote_answer(
        &mut self,
        now: Time,
        dice: u64,
        peer: &L::NodeId,
        asked: &Vote<L>,
        reply: &VoteReply<L>,
    ) {
        if mutant!(13) && matches!(self.role, Role::Candidate(_)) {
            return self.vote_answer(now, peer, asked, reply);
        }
        let Role::PreCandidate(campaign) = &mut self.role else { return };
        match campaign.take(peer, asked, reply) {
            Some(true) if self.has_quorum() => self.campaign(now, dice, false, false),
            Some(false) => self.note_refusal(now, reply),
            _ => {}
        }
    }

    /// `peer` answered the request for its vote for `asked`.
    pub fn vote_answer(&mut self, now: Time, peer: &L::NodeId, asked: &Vote<L>, reply: &VoteReply<L>) {
        let Role::Candidate(campaign) = &mut self.role else { return };
        match campaign.take(peer, asked, reply) {
            Some(true) => self.count(now),
            Some(false) => self.note_refusal(now, reply),
            None => {}
        }
    }

    fn note_refusal(&mut self, now: Time, reply: &VoteReply<L>) {
        if reply.last.as_ref() > self.log.last() {
            self.greater_log_seen = true;
        }
        self.catch_up_with(now, &reply.vote);
    }

    /// Learns of a greater vote from a refusal: takes its term, so that the next campaign outbids it.
    ///
    /// The vote is taken as not committed: a candidate's refusal does not make its leader this node's leader.
    pub(crate) fn catch_up_with(&mut self, now: Time, vote: &Vote<L>) {
        let vote = Vote { leader_id: vote.leader_id.clone(), committed: false };
        if vote > self.vote {
            self.save_vote(now, vote);
            self.step_down_to(Role::Passive);
            self.vote_lease = Duration::ZERO;
        }
    }

    /// The vote for itself counts from when it is durable.
    pub(crate) fn own_vote_flushed(&mut self, now: Time) {
        if self.vote_seq > self.flushed_seq && !mutant!(54) {
            return;
        }
        if let Role::Candidate(campaign) = &mut self.role
            && campaign.granted.insert(self.id.clone())
        {
            campaign.began = now;
            self.count(now);
        }
    }

    fn has_quorum(&self) -> bool {
        let (Role::PreCandidate(campaign) | Role::Candidate(campaign)) = &self.role else { return false };
        let committed = &self.memberships.committed().membership;
        let membership = if mutant!(34) { committed } else { self.effective() };
        quorum::is_quorum(membership.configs(), |id| campaign.granted.contains(id))
    }

    fn count(&mut self, now: Time) {
        if matches!(self.role, Role::Candidate(_)) && self.has_quorum() {
            debug_assert!(*self.vote.leader_id.node_id() == self.id, "I2: it leads by its own vote");
            debug_assert!(self.vote_seq <= self.flushed_seq, "I1: nobody was asked before it was durable");
            let vote = Vote { leader_id: self.vote.leader_id.clone(), committed: true };
            self.save_vote(now, vote.clone());
            self.vote_lease = Duration::ZERO;
            self.begin_leading(now);
            self.event(Event::Leading(vote));
        }
    }

    /// The first entry of a leader commits what earlier leaders left (thesis §3.6.2, §6.4).
    pub(crate) fn append_blank(&mut self) -> LogId<L::Committed> {
        let log_id = LogId::new(self.vote.leader_id.to_committed(), self.log.next_index());
        self.log.extend_to(log_id.clone());
        self.push_append(log_id.index, u64::MAX);
        self.born.push(Born::Blank(log_id.clone()));
        log_id
    }

    /// The number of the write that makes the current vote durable.
    pub fn vote_write(&self) -> WriteSeq {
        self.vote_seq
    }
}

//! Telling an application who leads, as it changes.

use crate::base::OptionalSend;
use crate::progress::VoteProgress;
use crate::raft::Raft;
use crate::runtime::AsyncRuntime;
use crate::runtime::OneshotSender;
use crate::runtime::Select2;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::JoinHandleOf;
use crate::type_config::alias::OneshotReceiverOf;
use crate::type_config::alias::OneshotSenderOf;
use crate::vote::RaftLeaderId;
use crate::vote::Vote;

/// Keeps callbacks on leader changes going, until it is closed or dropped, or the node stops.
///
/// A callback that runs at that moment runs to its end; none is called after it.
pub struct WatchChangeHandle<C: RaftTypeConfig> {
    running: Option<(OneshotSenderOf<C, ()>, JoinHandleOf<C, ()>)>,
}

impl<C: RaftTypeConfig> WatchChangeHandle<C> {
    /// Ends the callbacks, and waits for the one that may be running; so it must not be called from one.
    ///
    /// If the future is dropped, the callbacks end all the same. Calling it again does nothing.
    pub async fn close(&mut self) {
        if let Some((close, task)) = self.running.take() {
            // The task may have ended, with its node or by a panic of a callback.
            let _ = close.send(());
            let _ = task.await;
        }
    }
}

/// The durable votes of a node, from the one at hand, as they change.
struct Votes<C: RaftTypeConfig> {
    progress: VoteProgress<C>,
    /// What there was when it was asked for, so that nothing gets lost before the first look.
    first: Option<Vote<C::LeaderId>>,
    closed: OneshotReceiverOf<C, ()>,
}

impl<C: RaftTypeConfig> Votes<C> {
    /// The next vote; `None` when nobody wants to know any more, or the node has stopped.
    async fn next(&mut self) -> Option<Vote<C::LeaderId>> {
        let mut vote = self.first.take();
        while vote.is_none() {
            match C::AsyncRuntime::select2(&mut self.closed, self.progress.next()).await {
                Select2::Second(Ok(next)) => vote = next,
                Select2::First(_) | Select2::Second(Err(_)) => return None,
            }
        }
        vote
    }
}

impl<C, SM> Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// Calls `change` with the candidates and leaders that this node votes for, as they follow each other.
    ///
    /// It is told the one before, `None` at first, and the new one; each with whether a quorum has granted its vote, as
    /// far as this node's durable vote says. A candidate that becomes the leader is no change. The first call is about
    /// the one at hand. Each future is awaited before the next call; of changes that come meanwhile, only the last is
    /// told.
    ///
    /// It runs in a task of its own, until the handle is closed or dropped, or the node stops.
    pub fn on_cluster_leader_change<F, Fut>(&self, mut change: F) -> WatchChangeHandle<C>
    where
        F: FnMut(Option<(C::LeaderId, bool)>, (C::LeaderId, bool)) -> Fut + OptionalSend + 'static,
        Fut: Future<Output = ()> + OptionalSend + 'static,
    {
        self.follow_votes(|mut votes| async move {
            let mut known: Option<(C::LeaderId, bool)> = None;
            while let Some(vote) = votes.next().await {
                let new = (vote.leader_id, vote.committed);
                let old = known.replace(new.clone());
                if old.as_ref().is_none_or(|(leader_id, _)| *leader_id != new.0) {
                    change(old, new).await;
                }
            }
        })
    }

    /// Calls `start` when this node becomes the leader, and `stop` when that leadership is over.
    ///
    /// The calls alternate strictly, beginning with `start`, which comes at once if the node leads; each future is
    /// awaited before the next call. `stop` is told the leadership that `start` was told. A leader that is cut off learns
    /// late that another leads: there may be two started at a time in a cluster, of different terms. When the node stops,
    /// the calls end as they stand.
    ///
    /// It runs in a task of its own, until the handle is closed or dropped, or the node stops.
    pub fn on_leader_change<F1, F2, Fut1, Fut2>(&self, start: F1, stop: F2) -> WatchChangeHandle<C>
    where
        F1: Fn(C::LeaderId) -> Fut1 + OptionalSend + 'static,
        F2: Fn(C::LeaderId) -> Fut2 + OptionalSend + 'static,
        Fut1: Future<Output = ()> + OptionalSend + 'static,
        Fut2: Future<Output = ()> + OptionalSend + 'static,
    {
        let own = self.node_id().clone();
        self.follow_votes(|mut votes| async move {
            let mut leading: Option<C::LeaderId> = None;
            while let Some(Vote { leader_id, committed }) = votes.next().await {
                if leading.as_ref() == Some(&leader_id) {
                    continue;
                }
                if let Some(ended) = leading.take() {
                    stop(ended).await;
                }
                if committed && *leader_id.node_id() == own {
                    start(leader_id.clone()).await;
                    leading = Some(leader_id);
                }
            }
        })
    }

    /// Has `follower` follow the durable votes in a task of its own. It holds no handle of the node.
    fn follow_votes<Fut>(&self, follower: impl FnOnce(Votes<C>) -> Fut) -> WatchChangeHandle<C>
    where
        Fut: Future<Output = ()> + OptionalSend + 'static,
    {
        let mut progress = self.watch_vote_progress();
        let first = progress.see();
        let (close, closed) = C::oneshot();
        let task = C::spawn(follower(Votes { progress, first, closed }));
        WatchChangeHandle { running: Some((close, task)) }
    }
}

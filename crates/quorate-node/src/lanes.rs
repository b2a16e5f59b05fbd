//! Proposals on their way to a leader elsewhere: those that come while others are under way travel together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_grpc::Transport;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::ask::{Answer, Ask, Asked, CALL_KIND};
use crate::command::{decode, encode};
use crate::config::NodeConfig;
use crate::forward::Failure;
use crate::member::{Member, NodeId};

/// How many calls to one leader are under way at once; what comes meanwhile gathers for the next.
const CALLS_MAX: usize = 2;
/// How many proposals travel in one call.
const BATCH_MAX: usize = 512;
/// A call takes no further proposal once it holds this many bytes.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How many proposals wait for a call to one leader; more wait for room.
const QUEUE_MAX: usize = 4096;
/// How many leaders are kept in mind.
const LANES_MAX: usize = 16;

/// The ways to the leaders that this node has forwarded to, each for itself: one that hangs delays no other.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: Mutex<HashMap<NodeId, (Member, mpsc::Sender<Waiting>)>>,
}

/// A proposal on its way.
#[derive(Debug)]
struct Waiting {
    payload: Bytes,
    deadline: Instant,
    stage: Arc<Stage>,
    reply: oneshot::Sender<Result<Answer, Failure>>,
}

impl Lanes {
    /// Proposes at a leader, together with what else is proposed there.
    pub(crate) async fn propose(
        &self,
        transport: &Transport,
        leader: (NodeId, &Member),
        payload: Bytes,
        within: Duration,
    ) -> Result<Answer, Failure> {
        let stage = Arc::new(Stage::default());
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { payload, deadline: Instant::now() + within, stage: stage.clone(), reply };
        let lane = self.to(transport, leader);
        let proposed = async {
            lane.send(waiting).await.map_err(|_| Failure::undelivered("the node is stopping".to_owned()))?;
            answer.await.map_err(|_| Failure::unanswered("the node is stopping", false))?
        };
        match timeout(within, proposed).await {
            Ok(answer) => answer,
            Err(_) if stage.leave() => {
                Err(Failure::undelivered("other proposals were not answered".to_owned()))
            }
            Err(_) => Err(Failure::unanswered("no answer in time", true)),
        }
    }

    /// Forgets all leaders; what is under way is still answered.
    pub(crate) fn clear(&self) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn to(&self, transport: &Transport, (id, member): (NodeId, &Member)) -> mpsc::Sender<Waiting> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, lane)) = lanes.get(&id)
            && known == member
        {
            return lane.clone();
        }
        if lanes.len() >= LANES_MAX {
            lanes.clear();
        }
        let (lane, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(transport.clone(), id, member.clone(), queue));
        lanes.insert(id, (member.clone(), lane.clone()));
        lane
    }
}

/// Sends what gathers, until nobody can propose any more.
async fn run(transport: Transport, id: NodeId, member: Member, mut queue: mpsc::Receiver<Waiting>) {
    let calls = Arc::new(Semaphore::new(CALLS_MAX));
    // A place first, so that proposals gather while there is none.
    while let Ok(place) = calls.clone().acquire_owned().await {
        let Some(first) = queue.recv().await else { return };
        let mut bytes = first.payload.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            bytes = bytes.saturating_add(next.payload.len());
            batch.push(next);
        }
        batch.retain(|waiting| waiting.stage.depart());
        let (transport, member) = (transport.clone(), member.clone());
        tokio::spawn(async move {
            deliver(&transport, id, &member, batch).await;
            drop(place);
        });
    }
}

async fn deliver(transport: &Transport, id: NodeId, member: &Member, batch: Vec<Waiting>) {
    let Some(deadline) = batch.iter().map(|waiting| waiting.deadline).max() else { return };
    let within = deadline.saturating_duration_since(Instant::now());
    let ask = Ask::ProposeMany(batch.iter().map(|waiting| waiting.payload.clone()).collect());
    let answered = async {
        let body = encode(&Asked { within, ask }).map_err(Failure::undelivered)?;
        let answer = transport.call::<NodeConfig>(&id, member, CALL_KIND, body, within).await?;
        match decode(&answer) {
            Ok(Answer::Many(answers)) if answers.len() == batch.len() => Ok(answers),
            _ => Err(Failure::unanswered("the leader answered something else", false)),
        }
    };
    // Whoever does not wait any more is not told.
    match answered.await {
        Ok(answers) => batch
            .into_iter()
            .zip(answers)
            .for_each(|(waiting, answer)| drop(waiting.reply.send(Ok(answer.into())))),
        Err(failure) => batch.into_iter().for_each(|waiting| drop(waiting.reply.send(Err(failure.clone())))),
    }
}

/// Whether a proposal has left this node: decided once, by whoever comes first, so that one that is given up in time
/// is known not to have been sent.
#[derive(Debug, Default)]
struct Stage(AtomicU8);

impl Stage {
    const WAITING: u8 = 0;
    const DEPARTED: u8 = 1;
    const LEFT: u8 = 2;

    /// Marks it as sent; false if its caller has given it up.
    fn depart(&self) -> bool {
        self.decide(Self::DEPARTED)
    }

    /// Gives it up; false if it has been sent.
    fn leave(&self) -> bool {
        self.decide(Self::LEFT)
    }

    fn decide(&self, stage: u8) -> bool {
        self.0.compare_exchange(Self::WAITING, stage, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_either_sent_or_given_up() {
        let sent = Stage::default();
        assert!(sent.depart() && !sent.leave());
        let given_up = Stage::default();
        assert!(given_up.leave() && !given_up.depart());
    }
}

//! Sends one peer the newest snapshot when the log no longer holds what it needs.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::work::SendSnapshot;

use crate::base::OptionalSend;
use crate::counting::CommandName;
use crate::counting::NotificationName;
use crate::counting::SMCommandName;
use crate::errors::ReplicationClosed;
use crate::errors::StreamingError;
use crate::host::Host;
use crate::loops::apply::Command;
use crate::network::Backoff;
use crate::network::NetBackoff;
use crate::network::NetSnapshot;
use crate::network::RPCOption;
use crate::network::RaftNetworkFactory;
use crate::peer::Peer;
use crate::runtime::AsyncRuntime;
use crate::runtime::MpscSender;
use crate::runtime::Mutex;
use crate::runtime::OneshotSender;
use crate::runtime::Select2;
use crate::signal::Signal;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::MpscSenderOf;
use crate::type_config::alias::MutexOf;
use crate::type_config::alias::SmSnapshotOf;
use crate::type_config::alias::VoteOf;
use crate::vote::RaftVote;

/// Failures of the network in a row after which the next attempt waits.
const RETRIES_AT_ONCE_MAX: u32 = 10;

/// The wait where a backoff has run out.
const BACKOFF_LAST: Duration = Duration::from_millis(500);

/// Runs until the peer leaves or the node stops.
pub(crate) async fn run<C, NF, SM>(
    host: Arc<Host<C>>,
    peer: Arc<Peer<C>>,
    factory: Arc<MutexOf<C, NF>>,
    commands: MpscSenderOf<C, Command<SM>>,
) where
    C: RaftTypeConfig,
    NF: RaftNetworkFactory<C>,
    NF::Network: NetSnapshot<C, SnapshotData = SM::SnapshotData>,
    SM: RaftStateMachine<C>,
{
    let mut failures: u32 = 0;
    let mut backoff: Option<Backoff> = None;
    while !peer.is_closed() {
        let Some(work) = host.step(|state, now| state.replica.next_snapshot(now, &peer.id)) else {
            peer.snapshot.wait().await;
            continue;
        };
        host.counting.command(CommandName::ReplicateSnapshot);
        let ticket = work.ticket;
        let mut client = factory.lock().await.new_snapshot_client(peer.id.clone(), &peer.node).await;
        let delay = match transfer(&host, &peer, &mut client, &commands, work).await {
            Ok(()) if host.look(|state, _| state.replica.has_snapshot(&peer.id)) => {
                // Answered, and nothing came of it: asking again at once would have the same answer.
                true
            }
            Ok(()) => {
                (failures, backoff) = (0, None);
                continue;
            }
            Err(error) => {
                tracing::debug!(id = %host.id, peer = %peer.id, %error, "a snapshot was not delivered");
                failures = failures.saturating_add(1);
                matches!(error, StreamingError::Unreachable(_)) || failures > RETRIES_AT_ONCE_MAX
            }
        };
        if delay {
            let delays = backoff
                .get_or_insert_with(|| client.backoff().unwrap_or_else(|| host.config.build_backoff()));
            let wait = delays.next().unwrap_or(BACKOFF_LAST);
            let _ = C::AsyncRuntime::select2(C::sleep(wait), peer.snapshot_retry.wait()).await;
        }
        host.step(|state, _| state.replica.peer_lost(&peer.id, &ticket));
    }
}

async fn transfer<C, N, SM>(
    host: &Arc<Host<C>>,
    peer: &Arc<Peer<C>>,
    client: &mut N,
    commands: &MpscSenderOf<C, Command<SM>>,
    work: SendSnapshot<C::LeaderId>,
) -> Result<(), StreamingError<C>>
where
    C: RaftTypeConfig,
    N: NetSnapshot<C, SnapshotData = SM::SnapshotData>,
    SM: RaftStateMachine<C>,
{
    let closed = || StreamingError::Closed(ReplicationClosed::new("no snapshot can be read now"));
    let snapshot = match current_snapshot(host, commands).await {
        Some(snapshot) => snapshot,
        None => {
            // There must be one, since entries are purged; what is there may have been dropped by the application.
            host.step(|state, _| state.replica.snapshot_now());
            return Err(closed());
        }
    };
    let last: Option<LogIdOf<C>> = snapshot.meta.last_log_id.clone();
    let vote = VoteOf::<C>::from_leader_id(work.vote.leader_id.clone(), work.vote.committed);
    let option = RPCOption::new(host.config.install_snapshot_timeout());
    let option = option.with_snapshot_chunk_size(host.config.snapshot_max_chunk_size as usize);
    let session = peer.session();
    let cancel = Cancel::default();
    let sending = client.full_snapshot(vote, snapshot, cancel.cancelled(), option);
    let answer = match C::AsyncRuntime::select2(sending, ended(peer, session)).await {
        Select2::First(answer) => answer?,
        Select2::Second(()) => return Err(closed()),
    };
    let vote = answer.vote.to_owned_vote();
    host.counting.notification(NotificationName::ReplicationProgress);
    host.step(|state, now| state.replica.snapshot_answer(now, &peer.id, &work.ticket, last.as_ref(), &vote));
    Ok(())
}

/// Tells the network that the transfer is over, also what it may have left running elsewhere.
#[derive(Default)]
struct Cancel {
    over: Arc<Signal>,
}

impl Cancel {
    fn cancelled(&self) -> impl Future<Output = ReplicationClosed> + OptionalSend + 'static {
        let over = self.over.clone();
        async move {
            over.wait().await;
            ReplicationClosed::new("leadership or the peer's membership has ended")
        }
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.over.raise();
    }
}

/// Returns when the transfer no longer counts.
async fn ended<C: RaftTypeConfig>(peer: &Peer<C>, session: u64) {
    while peer.session() == session && !peer.is_closed() {
        peer.snapshot_ended.wait().await;
    }
}

/// The state machine's newest snapshot, asked for between two batches; `None` if it has none or has failed.
pub(crate) async fn current_snapshot<C, SM>(
    host: &Host<C>,
    commands: &MpscSenderOf<C, Command<SM>>,
) -> Option<SmSnapshotOf<C, SM>>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    let (tx, rx) = C::oneshot();
    let command = Command(Box::new(move |machine: &mut SM| {
        Box::pin(async move {
            // Whoever asked may have gone.
            let _ = tx.send(machine.get_current_snapshot().await);
        })
    }));
    host.counting.command(CommandName::StateMachine(SMCommandName::GetSnapshot));
    commands.send(command).await.ok()?;
    host.apply_work.raise();
    match rx.await.ok()? {
        Ok(snapshot) => snapshot,
        Err(error) => {
            tracing::error!(id = %host.id, %error, "the current snapshot cannot be read");
            None
        }
    }
}

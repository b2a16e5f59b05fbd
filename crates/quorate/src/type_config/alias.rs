//! Short names for the types that follow from a type config.

use crate::client::ClientWriteResult;
use crate::entry::Entry;
use crate::entry::EntryPayload;
use crate::errors::ChangeMembershipError;
use crate::errors::InProgress;
use crate::log_id::LogId;
use crate::membership::MembershipState;
use crate::membership::StoredMembership;
use crate::metrics::SerdeInstant;
use crate::raft_state::LogIdList;
use crate::runtime::AsyncRuntime;
use crate::runtime::Mpsc;
use crate::runtime::Oneshot;
use crate::runtime::Watch;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::types::Snapshot;
use crate::types::SnapshotMeta;
use crate::types::SnapshotSignature;
use crate::vote::RaftLeaderId;

/// Data of the application.
pub type DOf<C> = <C as RaftTypeConfig>::D;
/// Data of the application.
pub type AppDataOf<C> = <C as RaftTypeConfig>::D;
/// What applying an entry answers.
pub type ROf<C> = <C as RaftTypeConfig>::R;
/// What applying an entry answers.
pub type AppResponseOf<C> = <C as RaftTypeConfig>::R;
/// What names a node.
pub type NodeIdOf<C> = <C as RaftTypeConfig>::NodeId;
/// What a membership keeps of a node.
pub type NodeOf<C> = <C as RaftTypeConfig>::Node;
/// The clock of elections.
pub type TermOf<C> = <C as RaftTypeConfig>::Term;
/// What names a candidate or leader.
pub type LeaderIdOf<C> = <C as RaftTypeConfig>::LeaderId;
/// How a vote is stored and sent.
pub type VoteOf<C> = <C as RaftTypeConfig>::Vote;
/// What an entry carries.
pub type PayloadOf<C> = <C as RaftTypeConfig>::Payload;
/// How an entry is stored and sent.
pub type EntryOf<C> = <C as RaftTypeConfig>::Entry;
/// The async runtime.
pub type AsyncRuntimeOf<C> = <C as RaftTypeConfig>::AsyncRuntime;
/// How the cause of an error is kept.
pub type ErrorSourceOf<C> = <C as RaftTypeConfig>::ErrorSource;
/// Who is told what became of a write.
pub type ResponderOf<C, T> = <C as RaftTypeConfig>::Responder<T>;
/// A collection that mostly holds one item.
pub type BatchOf<C, T> = <C as RaftTypeConfig>::Batch<T>;
/// Who is told what became of a client's write.
pub type WriteResponderOf<C> = ResponderOf<C, ClientWriteResult<C>>;
/// The content of a state machine's snapshot.
pub type SnapshotDataOf<C, SM> = <SM as RaftStateMachine<C>>::SnapshotData;
/// Why a task gave no result.
pub type JoinErrorOf<C> = <AsyncRuntimeOf<C> as AsyncRuntime>::JoinError;
/// Waits for a task.
pub type JoinHandleOf<C, T> = <AsyncRuntimeOf<C> as AsyncRuntime>::JoinHandle<T>;
/// Ends at a point in time.
pub type SleepOf<C> = <AsyncRuntimeOf<C> as AsyncRuntime>::Sleep;
/// A point in time.
pub type InstantOf<C> = <AsyncRuntimeOf<C> as AsyncRuntime>::Instant;
/// Says that time ran out.
pub type TimeoutErrorOf<C> = <AsyncRuntimeOf<C> as AsyncRuntime>::TimeoutError;
/// A future with a deadline.
pub type TimeoutOf<C, R, F> = <AsyncRuntimeOf<C> as AsyncRuntime>::Timeout<R, F>;
/// Makes one-value channels.
pub type OneshotOf<C> = <AsyncRuntimeOf<C> as AsyncRuntime>::Oneshot;
/// Sends a single value.
pub type OneshotSenderOf<C, T> = <OneshotOf<C> as Oneshot>::Sender<T>;
/// The sender was dropped without sending.
pub type OneshotReceiverErrorOf<C> = <OneshotOf<C> as Oneshot>::ReceiverError;
/// Waits for a single value.
pub type OneshotReceiverOf<C, T> = <OneshotOf<C> as Oneshot>::Receiver<T>;
/// Makes bounded queues.
pub type MpscOf<C> = <AsyncRuntimeOf<C> as AsyncRuntime>::Mpsc;
/// Puts items into a queue.
pub type MpscSenderOf<C, T> = <MpscOf<C> as Mpsc>::Sender<T>;
/// Takes items out of a queue.
pub type MpscReceiverOf<C, T> = <MpscOf<C> as Mpsc>::Receiver<T>;
/// A sender that does not keep the queue open.
pub type MpscWeakSenderOf<C, T> = <MpscOf<C> as Mpsc>::WeakSender<T>;
/// Makes latest-value channels.
pub type WatchOf<C> = <AsyncRuntimeOf<C> as AsyncRuntime>::Watch;
/// Replaces the value of a channel.
pub type WatchSenderOf<C, T> = <WatchOf<C> as Watch>::Sender<T>;
/// Reads the value of a channel and waits for others.
pub type WatchReceiverOf<C, T> = <WatchOf<C> as Watch>::Receiver<T>;
/// A lock that may be held across an await.
pub type MutexOf<C, T> = <AsyncRuntimeOf<C> as AsyncRuntime>::Mutex<T>;
/// What log ids keep of a leader.
pub type CommittedLeaderIdOf<C> = <LeaderIdOf<C> as RaftLeaderId>::Committed;
/// The id of a log entry.
pub type LogIdOf<C> = LogId<CommittedLeaderIdOf<C>>;
/// The ids of all entries of a log.
pub type LogIdListOf<C> = LogIdList<CommittedLeaderIdOf<C>>;
/// The usual payload.
pub type EntryPayloadOf<C> = EntryPayload<DOf<C>, NodeIdOf<C>, NodeOf<C>>;
/// The usual entry.
pub type DefaultEntryOf<C> = Entry<CommittedLeaderIdOf<C>, PayloadOf<C>>;
/// A membership and the entry that it comes from.
pub type StoredMembershipOf<C> = StoredMembership<CommittedLeaderIdOf<C>, NodeIdOf<C>, NodeOf<C>>;
/// The committed and the effective membership.
pub type MembershipStateOf<C> = MembershipState<CommittedLeaderIdOf<C>, NodeIdOf<C>, NodeOf<C>>;
/// What identifies a snapshot.
pub type SnapshotSignatureOf<C> = SnapshotSignature<CommittedLeaderIdOf<C>>;
/// What a snapshot covers.
pub type SnapshotMetaOf<C> = SnapshotMeta<CommittedLeaderIdOf<C>, NodeIdOf<C>, NodeOf<C>>;
/// A snapshot.
pub type SnapshotOf<C, SD> = Snapshot<CommittedLeaderIdOf<C>, NodeIdOf<C>, NodeOf<C>, SD>;
/// A snapshot of a state machine.
pub type SmSnapshotOf<C, SM> = SnapshotOf<C, SnapshotDataOf<C, SM>>;
/// Why a membership was not changed.
pub type ChangeMembershipErrorOf<C> = ChangeMembershipError<CommittedLeaderIdOf<C>, NodeIdOf<C>>;
/// Another membership change is under way.
pub type InProgressOf<C> = InProgress<CommittedLeaderIdOf<C>>;
/// A point in time that can be sent.
pub type SerdeInstantOf<C> = SerdeInstant<InstantOf<C>>;

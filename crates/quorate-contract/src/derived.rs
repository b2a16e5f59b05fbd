//! What the lists leave out, as `derive` wrote it there: which type is `Debug`, `Clone`, comparable, an error, or data
//! for serde. From the contract's text, by hand.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::hash::Hash;

use openraft::async_runtime::{Instant, Select2, Select3, Select4};
use openraft::entry::RaftPayload;
use openraft::errors::*;
use openraft::metrics::{
    Metric, RaftDataMetrics, RaftMetrics, RaftServerMetrics, SerdeInstant, Wait, WaitError,
};
use openraft::network::RPCOption;
use openraft::raft::linearizable_read::{LinearizeState, Linearizer, LinearizerOption, ReadLogId};
use openraft::raft::*;
use openraft::storage::{LeaderBoundedStreamError, LogState, SnapshotSignature};
use openraft::type_config::alias::LogIdListOf;
use openraft::vote::{RaftCommittedLeaderId, RaftLeaderId, RaftTerm, leader_id_adv, leader_id_std};
use openraft::{
    AppData, BasicNode, ChangeMembers, Config, EmptyNode, Entry, EntryPayload, ErrorSubject, ErrorVerb,
    Extensions, LogId, Membership, MembershipState, Node, NodeId, NodeInfo, OptionalSend, RPCTypes,
    RaftState, ServerState, Snapshot, SnapshotMeta, SnapshotPolicy, StepDownPolicy, StorageError,
    StoredMembership, Vote,
};

/// `<parameters> [what holds of them] (what must follow) for types;`
macro_rules! has {
    ($(<$($param:ident: $demand:path),*> [$($more:tt)*] ($($bound:tt)+) for $($ty:ty),+;)*) => {$(
        const _: () = {
            fn has<$($param),*>() where $($param: $demand,)* $($more)* {
                fn is<T: $($bound)+>() {}
                $(is::<$ty>();)+
            }
        };
    )*};
}

// Ids, entries, membership.
has! {
    <L: RaftCommittedLeaderId> [] (Debug + Clone + Eq + Ord) for LogId<L>;
    <L: RaftCommittedLeaderId> [L: Copy] (Copy) for LogId<L>;
    <T: RaftTerm, N: NodeId> [] (Debug + Clone + Eq + Ord) for leader_id_adv::LeaderId<T, N>;
    <T: RaftTerm, N: NodeId> [] (Debug + Clone + Eq + PartialOrd) for leader_id_std::LeaderId<T, N>;
    <T: RaftTerm, N: NodeId> [N: Copy] (Copy) for leader_id_adv::LeaderId<T, N>, leader_id_std::LeaderId<T, N>;
    <T: RaftTerm> [] (Debug + Copy + Eq + Ord) for leader_id_std::CommittedLeaderId<T>;
    <L: RaftLeaderId> [] (Debug + Clone + Eq + PartialOrd) for Vote<L>;
    <L: RaftLeaderId> [L: Copy] (Copy) for Vote<L>;
    <L: RaftCommittedLeaderId, P: RaftPayload> [] (Debug + Display) for Entry<L, P>;
    <L: RaftCommittedLeaderId, P: RaftPayload> [P: Clone] (Clone) for Entry<L, P>;
    <L: RaftCommittedLeaderId, P: RaftPayload> [P: PartialEq] (PartialEq) for Entry<L, P>;
    <D: AppData, I: NodeId, N: Node> [D: Clone] (Clone) for EntryPayload<D, I, N>;
    <D: AppData, I: NodeId, N: Node> [D: PartialEq] (PartialEq) for EntryPayload<D, I, N>;
    <I: NodeId, N: Node> [] (Debug + Clone + Eq + Default) for Membership<I, N>;
    <I: NodeId, N: Node> [] (Debug + Clone + Eq) for ChangeMembers<I, N>;
    <L: RaftCommittedLeaderId, I: NodeId, N: Node> [] (Debug + Clone + Eq + Default)
        for StoredMembership<L, I, N>, MembershipState<L, I, N>, SnapshotMeta<L, I, N>;
    <L: RaftCommittedLeaderId> [] (Debug + Clone + Eq) for SnapshotSignature<L>;
    <L: RaftCommittedLeaderId, I: NodeId, N: Node, S: OptionalSend> [S: Debug + 'static] (Debug) for Snapshot<L, I, N, S>;
    <L: RaftCommittedLeaderId, I: NodeId, N: Node, S: OptionalSend> [S: Clone + 'static] (Clone) for Snapshot<L, I, N, S>;
    <> [] (Debug + Clone + Eq + Default) for EmptyNode, BasicNode, NodeInfo;
    <> [] (Debug + Copy + Eq) for ServerState, ErrorVerb;
    <> [] (Default) for ServerState, Extensions;
    <> [] (Debug) for Extensions;
    <> [] (Debug + Copy + Eq + Hash) for RPCTypes;
}

// Messages, state, metrics.
has! {
    <C: RaftTypeConfig> [C::Entry: Clone] (Clone) for AppendEntriesRequest<C>;
    <C: RaftTypeConfig> [] (Debug + Clone + Eq) for
        AppendEntriesResponse<C>, VoteRequest<C>, VoteResponse<C>, Precondition<C>, TransferLeaderRequest<C>,
        SnapshotResponse<C>, LogState<C>;
    <C: RaftTypeConfig> [] (Debug) for AppendEntriesRequest<C>, StreamAppendError<C>, Metric<C>;
    <C: RaftTypeConfig> [] (Default) for LogState<C>, RaftDataMetrics<C>;
    <C: RaftTypeConfig> [C::R: Debug] (Debug) for ClientWriteResponse<C>, ChangeMembershipOutcome<C>;
    <C: RaftTypeConfig> [] (Debug + Clone + Eq + PartialOrd) for FlushPoint<C>;
    <> [] (Debug + Clone + Eq) for ReadPolicy;
    <> [] (Debug + Clone) for LinearizerOption, RPCOption;
    <C: RaftTypeConfig> [] (Debug + Clone) for Linearizer<C>, LinearizeState<C>;
    <C: RaftTypeConfig> [] (Debug + Clone + Eq) for ReadLogId<C>, RaftState<C>;
    <C: RaftTypeConfig> [LogId<<C::LeaderId as RaftLeaderId>::Committed>: Copy] (Copy) for ReadLogId<C>;
    <C: RaftTypeConfig> [C::NodeId: Default] (Default) for RaftState<C>;
    <C: RaftTypeConfig> [] (Debug + Clone + Eq + Default) for LogIdListOf<C>;
    <C: RaftTypeConfig> [] (Debug + Clone + Eq) for RaftMetrics<C>, RaftDataMetrics<C>, RaftServerMetrics<C>;
    <I: Instant> [] (Debug + Copy + Eq + Ord) for SerdeInstant<I>;
    <> [] (Debug + Eq + Error) for WaitError;
    <C: RaftTypeConfig> [] (Sized) for Wait<C>;
    <> [] (Debug + Clone + Default) for Config;
    <> [] (Debug + Clone + Eq) for SnapshotPolicy, StepDownPolicy;
    <A: Eq, B: Eq> [A: Debug + Copy, B: Debug + Copy] (Debug + Copy + Eq) for Select2<A, B>, Select3<A, B, A>, Select4<A, B, A, B>;
}

// Errors.
has! {
    <C: RaftTypeConfig> [] (Debug + Clone + Eq + Error) for
        Fatal<C>, RaftError<C>, RaftError<C, ClientWriteError<C>>, InitializeError<C>, ClientWriteError<C>,
        ForwardToLeader<C>, QuorumNotEnough<C>, NotAllowed<C>, NotInMembers<C>, PreconditionFailed<C>,
        AllowNextRevertError<C>, RPCError<C>, RPCError<C, RaftError<C>>, RemoteError<C, Fatal<C>>, NetworkError<C>,
        Unreachable<C>, Timeout<C>, StreamingError<C>, LeaderChanged<C>, ConflictingLogId<C>, RejectVote<C>,
        TransferLeaderError<C>, StorageError<C>;
    <C: RaftTypeConfig> [] (Debug + Clone + Error) for LinearizableReadError<C>;
    <C: RaftTypeConfig> [] (Debug + Error) for LeaderBoundedStreamError<C>;
    <C: RaftTypeConfig> [] (Debug + Clone + Eq) for ErrorSubject<C>;
    <L: RaftCommittedLeaderId> [] (Debug + Clone + Eq + Error) for InProgress<L>, UncommittedLeaderLog<L>;
    <L: RaftCommittedLeaderId, I: NodeId> [] (Debug + Clone + Eq + Error) for ChangeMembershipError<L, I>;
    <I: NodeId> [] (Debug + Clone + Eq + Error) for
        LearnerNotFound<I>, UnsupportedMembershipTransition<I>, NodeMetadataChanged<I>, MembershipError<I>,
        NodeNotFound<I>;
    <> [] (Debug + Clone + Eq + Error) for EmptyMembership, ReplicationClosed, Infallible, NoForward;
    <> [] (Debug + Copy + Eq) for ForwardReason;
    <> [] (Debug + Clone + Eq) for Operation;
    <> [] (Default) for ForwardReason;
}

/// With serde: what goes to disk, to a peer or to a client.
#[cfg(feature = "all-features")]
mod data {
    use openraft::errors::Infallible;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    has! {
        <L: RaftCommittedLeaderId> [] (Serialize + DeserializeOwned) for
            LogId<L>, SnapshotSignature<L>, InProgress<L>, UncommittedLeaderLog<L>;
        <T: RaftTerm, N: NodeId> [] (Serialize + DeserializeOwned) for
            leader_id_adv::LeaderId<T, N>, leader_id_std::LeaderId<T, N>;
        <T: RaftTerm> [] (Serialize + DeserializeOwned) for leader_id_std::CommittedLeaderId<T>;
        <L: RaftLeaderId> [] (Serialize + DeserializeOwned) for Vote<L>;
        <L: RaftCommittedLeaderId, P: RaftPayload> [] (Serialize + DeserializeOwned) for Entry<L, P>;
        <D: AppData, I: NodeId, N: Node> [] (Serialize + DeserializeOwned) for EntryPayload<D, I, N>;
        <I: NodeId, N: Node> [] (Serialize + DeserializeOwned) for Membership<I, N>, ChangeMembers<I, N>;
        <L: RaftCommittedLeaderId, I: NodeId, N: Node> [] (Serialize + DeserializeOwned) for
            StoredMembership<L, I, N>, SnapshotMeta<L, I, N>;
        <> [] (Serialize + DeserializeOwned) for
            EmptyNode, BasicNode, NodeInfo, ServerState, RPCTypes, WaitError, Config, ErrorVerb, EmptyMembership,
            ReplicationClosed, Infallible, NoForward, ForwardReason, Operation;
        <C: RaftTypeConfig> [] (Serialize + DeserializeOwned) for
            AppendEntriesRequest<C>, AppendEntriesResponse<C>, VoteRequest<C>, VoteResponse<C>, SnapshotResponse<C>,
            TransferLeaderRequest<C>, TransferLeaderError<C>, ClientWriteResponse<C>, ChangeMembershipOutcome<C>,
            ReadLogId<C>, RaftMetrics<C>, RaftDataMetrics<C>, RaftServerMetrics<C>, Fatal<C>, RaftError<C>,
            RaftError<C, ClientWriteError<C>>, InitializeError<C>, ClientWriteError<C>, LinearizableReadError<C>,
            ForwardToLeader<C>, QuorumNotEnough<C>, NotAllowed<C>, NotInMembers<C>, PreconditionFailed<C>,
            AllowNextRevertError<C>, RPCError<C>, RPCError<C, RaftError<C>>, RemoteError<C, Fatal<C>>,
            NetworkError<C>, Unreachable<C>, Timeout<C>, StreamingError<C>, ConflictingLogId<C>, RejectVote<C>,
            StorageError<C>, ErrorSubject<C>;
        <L: RaftCommittedLeaderId, I: NodeId> [] (Serialize + DeserializeOwned) for ChangeMembershipError<L, I>;
        <I: NodeId> [] (Serialize + DeserializeOwned) for
            LearnerNotFound<I>, UnsupportedMembershipTransition<I>, NodeMetadataChanged<I>, MembershipError<I>,
            NodeNotFound<I>;
        <I: Instant> [] (Serialize + DeserializeOwned) for SerdeInstant<I>;
    }
}

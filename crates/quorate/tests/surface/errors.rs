//! Errors: what each of them can do, and how one is taken out of another.

use std::error::Error;
use std::fmt::Debug;

use quorate::StorageError;
use quorate::TryAsRef;
use quorate::base::OptionalSerde;
use quorate::errors::*;
use quorate::raft::TransferLeaderError;
use quorate::type_config::alias::ChangeMembershipErrorOf;
use quorate::type_config::alias::InProgressOf;
use quorate::type_config::alias::LeaderIdOf;

use crate::types::*;

/// What every error is, so that applications can keep it, compare it and send it.
fn is_kept<E: Error + Debug + Clone + PartialEq + Eq + OptionalSerde + 'static>() {}

#[test]
fn errors_can_be_kept_compared_and_sent() {
    is_kept::<Fatal<Adv>>();
    is_kept::<StorageError<Adv>>();
    is_kept::<RaftError<Adv>>();
    is_kept::<RaftError<Adv, ClientWriteError<Adv>>>();
    is_kept::<InitializeError<Adv>>();
    is_kept::<ClientWriteError<Adv>>();
    is_kept::<ChangeMembershipErrorOf<Adv>>();
    is_kept::<ForwardToLeader<Adv>>();
    is_kept::<QuorumNotEnough<Adv>>();
    is_kept::<InProgressOf<Adv>>();
    is_kept::<LearnerNotFound<u64>>();
    is_kept::<EmptyMembership>();
    is_kept::<UnsupportedMembershipTransition<u64>>();
    is_kept::<UncommittedLeaderLog<LeaderIdOf<Adv>>>();
    is_kept::<NodeMetadataChanged<u64>>();
    is_kept::<MembershipError<u64>>();
    is_kept::<NodeNotFound<u64>>();
    is_kept::<NotAllowed<Adv>>();
    is_kept::<NotInMembers<Adv>>();
    is_kept::<PreconditionFailed<Adv>>();
    is_kept::<AllowNextRevertError<Adv>>();
    is_kept::<RPCError<Adv>>();
    is_kept::<RPCError<Adv, RaftError<Adv>>>();
    is_kept::<RemoteError<Adv, Fatal<Adv>>>();
    is_kept::<NetworkError<Adv>>();
    is_kept::<Unreachable<Adv>>();
    is_kept::<Timeout<Adv>>();
    is_kept::<StreamingError<Adv>>();
    is_kept::<ReplicationClosed>();
    is_kept::<ConflictingLogId<Adv>>();
    is_kept::<RejectVote<Adv>>();
    is_kept::<TransferLeaderError<Adv>>();
    is_kept::<Infallible>();
    is_kept::<NoForward>();
}

#[test]
fn a_read_error_is_either_of_two_and_cannot_be_compared() {
    fn is_error<E: Error + Clone + OptionalSerde + 'static>() {}
    is_error::<LinearizableReadError<Adv>>();
    let forward = ForwardToLeader::<Adv>::new(3, node("c"));
    let error = LinearizableReadError::from(forward.clone());
    assert_eq!((error.to_string(), error.try_as_ref()), (forward.to_string(), Some(&forward)));
    assert!(QuorumNotEnough::try_from(error.clone()).is_err());
    assert!(ForwardToLeader::try_from(error).is_ok_and(|taken| taken == forward));
    let quorum = QuorumNotEnough::<Adv> { cluster: "x".into(), got: ids([1]) };
    let error = LinearizableReadError::from(quorum.clone());
    assert!(TryAsRef::<ForwardToLeader<Adv>>::try_as_ref(&error).is_none());
    assert!(QuorumNotEnough::try_from(error).is_ok_and(|taken| taken == quorum));
}

#[test]
fn one_error_is_taken_out_of_another_or_the_other_given_back() {
    let forward = ForwardToLeader::<Adv>::new(3, node("c"));
    let change = ChangeMembershipErrorOf::<Adv>::from(EmptyMembership {});
    let condition = PreconditionFailed::<Adv>::LastLogIdMismatch { expected: None, actual: None };
    let write = ClientWriteError::<Adv>::from(forward.clone());
    assert_eq!(write.to_string(), forward.to_string());
    assert_eq!(ChangeMembershipErrorOf::<Adv>::try_from(write.clone()), Err(write.clone()));
    assert_eq!(ForwardToLeader::try_from(write), Ok(forward.clone()));
    assert_eq!(
        ChangeMembershipErrorOf::<Adv>::try_from(ClientWriteError::<Adv>::from(change.clone())),
        Ok(change)
    );
    assert_eq!(
        PreconditionFailed::try_from(ClientWriteError::from(condition.clone())),
        Ok(condition.clone())
    );
    let refused = ClientWriteError::from(condition);
    assert!(TryAsRef::<ForwardToLeader<Adv>>::try_as_ref(&refused).is_none());

    let not_allowed = NotAllowed::<Adv> { last_log_id: None, vote: vote(1, 2) };
    let not_in = NotInMembers::<Adv> { node_id: 3, membership: membership() };
    let error = InitializeError::from(not_allowed.clone());
    assert_eq!(NotInMembers::try_from(error.clone()), Err(error.clone()));
    assert_eq!(NotAllowed::try_from(error), Ok(not_allowed));
    assert_eq!(NotInMembers::try_from(InitializeError::from(not_in.clone())), Ok(not_in));
}

#[test]
fn a_call_failed_or_its_node_stopped() {
    let forward = ForwardToLeader::<Adv>::new(3, node("c"));
    let failed = RaftError::<Adv, _>::APIError(ClientWriteError::from(forward.clone()));
    assert_eq!((failed.api_error(), failed.fatal()), (Some(&ClientWriteError::from(forward.clone())), None));
    assert_eq!((failed.try_as_ref(), failed.clone().into_fatal()), (Some(&forward), None));
    assert_eq!(failed.into_api_error(), Some(ClientWriteError::from(forward)));
    let stopped = RaftError::<Adv, ClientWriteError<Adv>>::from(Fatal::Stopped);
    assert_eq!((stopped.api_error(), stopped.fatal()), (None, Some(&Fatal::Stopped)));
    assert_eq!((stopped.forward_to_leader(), stopped.clone().into_forward_to_leader()), (None, None));
    assert_eq!((stopped.clone().into_api_error(), stopped.into_fatal()), (None, Some(Fatal::Stopped)));
    let storage = StorageError::<Adv>::read_vote(BoxedErrorSource::from_string("foo"));
    let broken = RaftError::<Adv>::from(storage.clone());
    assert_eq!(broken.to_string(), "when Read Vote: foo");
    assert_eq!(broken.unwrap_fatal(), Fatal::from(storage));
}

#[test]
fn preconditions_and_operations_have_their_texts() {
    let leader = log_id(1, 2, 3).leader_id;
    assert_eq!(
        PreconditionFailed::<Adv>::CommittedLeaderIdMismatch { expected: leader, actual: None }.to_string(),
        "committed leader id mismatch: expected: T1-N2, actual: None"
    );
    assert_eq!(
        PreconditionFailed::<Adv>::LastMembershipLogIdMismatch {
            expected: Some(log_id(1, 2, 3)),
            actual: None
        }
        .to_string(),
        "last membership log id mismatch: expected: T1-N2.3, actual: None"
    );
    let operations = [
        (Operation::None, "(unknown operation)"),
        (Operation::AllowNextRevert, "set flag to allow replication revert for once"),
        (Operation::TransferLeader, "transfer leadership"),
        (Operation::SendHeartbeat, "send heartbeat"),
        (Operation::ReceiveSnapshot, "receive snapshot"),
        (Operation::InstallSnapshot, "install snapshot"),
        (Operation::ClientWrite, "write application data"),
        (Operation::Initialize, "initialize"),
        (Operation::Elect, "elect"),
    ];
    for (operation, text) in operations {
        assert_eq!(operation.to_string(), text);
    }
    let log_id = log_id(1, 2, 3);
    assert_eq!(
        TransferLeaderError::<Adv>::LogNotFlushed { expected: Some(log_id), actual: None }.to_string(),
        format!(
            "transfer leader rejected because log is not flushed; expected: {:?}, actual: None",
            Some(log_id)
        )
    );
}

#[test]
fn a_cause_keeps_its_text_and_tells_where_it_came_from_only_if_it_knows() {
    let cause = std::io::Error::other("foo");
    let source = BoxedErrorSource::from_error(&cause);
    assert!(source.to_string().contains("foo"));
    assert_eq!(BacktraceDisplay(&source).to_string(), "");
    assert!(!source.has_backtrace());
    let unreachable = Unreachable::<Adv>::new(&cause);
    assert!(unreachable.source().is_some_and(|source| source.to_string().contains("foo")));
    assert_eq!(RPCError::<Adv>::from(unreachable.clone()).to_string(), unreachable.to_string());
}

#[test]
#[expect(deprecated, reason = "kept for those who still use them")]
fn former_names_still_stand() {
    use quorate::raft::InstallSnapshotRequest;
    use quorate::raft::InstallSnapshotResponse;
    use quorate::storage::IOFlushed;
    use quorate::storage::LogApplied;
    use quorate::storage::LogFlushed;

    fn is_named<T>() -> usize {
        size_of::<T>()
    }
    fn is_network<T: quorate::RaftNetwork<Adv> + quorate::network::RaftNetwork<Adv>>() {}
    struct Old;
    impl quorate::RaftNetwork<Adv> for Old {}
    is_network::<Old>();
    assert_eq!(is_named::<InstallSnapshotError>() + is_named::<SnapshotMismatch>(), 0);
    assert_eq!(is_named::<InstallSnapshotRequest<Adv>>() + is_named::<InstallSnapshotResponse<Adv>>(), 0);
    assert_eq!(is_named::<quorate::SnapshotSegmentId>() + is_named::<LogApplied<Adv>>(), 0);
    let _: fn(LogApplied<Adv>, Result<Vec<String>, StorageError<Adv>>) = LogApplied::completed;
    let _: LogFlushed<Adv> = IOFlushed::noop();
    let error: quorate::StorageIOError<Adv> = StorageError::read(BoxedErrorSource::from_string("foo"));
    let error = quorate::error::Fatal::from(error);
    assert!(matches!(error, Fatal::StorageError(error) if error.clone().into_io() == Some(error.clone())));
    let _: CheckIsLeaderError<Adv> = ForwardToLeader::empty().into();
}

#[test]
fn an_error_of_a_store_says_what_was_done_to_what() {
    let source = || <<Adv as quorate::RaftTypeConfig>::ErrorSource as ErrorSource>::from_string("torn");
    type E = StorageError<Adv>;
    let id = log_id(1, 2, 3);
    for (error, text) in [
        (E::write_log_entry(id, source()), "Write Log(LogId"),
        (E::read_log_entry(id, source()), "Read Log(LogId"),
        (E::read_log_at_index(7, source()), "Read LogIndex(7)"),
        (E::write_logs(source()), "Write Logs"),
        (E::read_logs(source()), "Read Logs"),
        (E::write_vote(source()), "Write Vote"),
        (E::read_vote(source()), "Read Vote"),
        (E::apply(id, source()), "Write Apply(LogId"),
        (E::write_state_machine(source()), "Write StateMachine"),
        (E::read_state_machine(source()), "Read StateMachine"),
        (E::write_snapshot(None, source()), "Write Snapshot(None)"),
        (E::read_snapshot(None, source()), "Read Snapshot(None)"),
        (E::write(source()), "Write Store"),
        (E::read(source()), "Read Store"),
    ] {
        let said = error.to_string();
        assert!(said.starts_with(&format!("when {text}")) && said.ends_with(": torn"), "{said}");
        assert!(std::io::Error::from(error).to_string().contains(text));
    }
}

//! Texts, to the letter: people read them in logs and tools match them.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate::BasicNode;
use quorate::ChangeMembers;
use quorate::EmptyNode;
use quorate::Entry;
use quorate::EntryPayload;
use quorate::LinearizerOption;
use quorate::LogId;
use quorate::LogState;
use quorate::Membership;
use quorate::MembershipState;
use quorate::MessageSummary;
use quorate::NodeInfo;
use quorate::Precondition;
use quorate::RPCTypes;
use quorate::RaftMetrics;
use quorate::ReadPolicy;
use quorate::Snapshot;
use quorate::SnapshotMeta;
use quorate::StoredMembership;
use quorate::Vote;
use quorate::entry::RaftEntry;
use quorate::errors::*;
use quorate::metrics::RaftDataMetrics;
use quorate::metrics::RaftServerMetrics;
use quorate::metrics::WaitError;
use quorate::raft::*;
use quorate::type_config::alias::EntryOf;
use quorate::type_config::alias::LeaderIdOf;
use quorate::type_config::alias::LogIdOf;
use quorate::type_config::alias::VoteOf;

use crate::types::*;

fn blank(index: u64) -> EntryOf<Adv> {
    EntryOf::<Adv>::new_blank(log_id(1, 2, index))
}

#[test]
fn ids_and_votes() {
    assert_eq!(log_id(1, 2, 3).to_string(), "T1-N2.3");
    assert_eq!(LogIdOf::<Std>::new_term_index(1, 3).to_string(), "1.3");
    assert_eq!(committed_vote(1, 2).to_string(), "<T1-N2:Q>");
    assert_eq!(vote(1, 2).to_string(), "<T1-N2:->");
    assert_eq!(VoteOf::<Std>::new(1, 2).to_string(), "<T1-N2:->");
}

#[test]
fn entries_and_payloads() {
    assert_eq!(blank(3).to_string(), "T1-N2.3:blank");
    assert_eq!(EntryOf::<Adv>::new_normal(log_id(1, 2, 3), "x".into()).to_string(), "T1-N2.3:normal:x");
    let entry = EntryOf::<Adv>::new_membership(log_id(1, 2, 3), Membership::default());
    assert_eq!(entry.to_string(), "T1-N2.3:membership:{voters:[], learners:[]}");
    assert_eq!(
        format!("{:?}", blank(3)),
        "Entry { log_id: LogId { leader_id: LeaderId { term: 1, node_id: 2 }, index: 3 }, payload: blank }"
    );
    let normal = EntryPayload::<String, u64, ()>::Normal("x".into());
    assert_eq!(format!("{normal:?}"), "normal:\"x\"");
    assert_eq!(normal.type_str(), "Normal");
    let _: Entry<LeaderIdOf<Adv>, _> = blank(1);
}

#[test]
fn memberships() {
    let text = "{voters:[{1:BasicNode { addr: \"a\" },2:BasicNode { addr: \"b\" }},{2:BasicNode { addr: \"b\" }}], \
                learners:[4:BasicNode { addr: \"d\" }]}";
    assert_eq!(membership().to_string(), text);
    assert_eq!(stored_membership().to_string(), format!("{{log_id:T1-N2.3, {text}}}"));
    let none = StoredMembership::<LeaderIdOf<Adv>, u64, ()>::default();
    assert_eq!(none.to_string(), "{log_id:None, {voters:[], learners:[]}}");
    let state = MembershipState::<LeaderIdOf<Adv>, u64, ()>::default();
    assert_eq!(state.to_string(), format!("MembershipState{{committed: {none}, effective: {none}}}"));
    // A voter without a node can be read from an old log, though not be built.
    let unknown = Membership::<u64, ()>::new_with_defaults(vec![ids([1])], []);
    assert_eq!(unknown.to_string(), "{voters:[{1:()}], learners:[]}");
}

#[test]
fn membership_changes() {
    type Change = ChangeMembers<u64, BasicNode>;
    assert_eq!(Change::from([1, 2]).to_string(), "ReplaceAllVoters([1,2])");
    assert_eq!(Change::AddVoterIds(ids(1..=5)).to_string(), "AddVoterIds([1,2,3,4,5])");
    assert_eq!(Change::RemoveVoters(ids(1..=9)).to_string(), "RemoveVoters([1,2,3,4,..,9])");
    let add = Change::AddNodes(BTreeMap::from([(1, node("a"))]));
    assert_eq!(add.to_string(), "AddNodes(1:BasicNode { addr: \"a\" })");
    let batch = Change::Batch(vec![add, Change::RemoveNodes(ids([1]))]);
    assert_eq!(batch.to_string(), "Batch([AddNodes(1:BasicNode { addr: \"a\" }),RemoveNodes([1])])");
    let two = || BTreeMap::from([(1, node("a")), (2, node("b"))]);
    let shown = r#"(1:BasicNode { addr: "a" },2:BasicNode { addr: "b" })"#;
    assert_eq!(Change::AddVoters(two()).to_string(), format!("AddVoters{shown}"));
    assert_eq!(Change::SetNodes(two()).to_string(), format!("SetNodes{shown}"));
    assert_eq!(Change::ReplaceAllNodes(two()).to_string(), format!("ReplaceAllNodes{shown}"));
    assert_eq!(Change::RemoveNodes(ids([])).to_string(), "RemoveNodes([])");
    assert_eq!(Change::AddNodes(BTreeMap::new()).to_string(), "AddNodes()");
    let many = |count| Change::Batch((0..count).map(|_| Change::RemoveVoters(ids([1]))).collect());
    assert_eq!(many(7).to_string(), format!("Batch([{}])", ["RemoveVoters([1])"; 7].join(",")));
    let cut = many(1025).to_string();
    assert_eq!(cut.matches("RemoveVoters([1])").count(), 1024);
    assert!(cut.ends_with("RemoveVoters([1]),..,RemoveVoters([1])])"), "the last is shown");
}

#[test]
fn nodes() {
    assert_eq!(EmptyNode::new().to_string(), "{}");
    assert_eq!(BasicNode::default().to_string(), "localhost");
    assert_eq!(NodeInfo::new("a", "b").to_string(), "raft_addr: a, data: b");
    assert_eq!(NodeInfo::default(), NodeInfo::new("localhost", ""));
}

#[test]
fn snapshots() {
    let meta = SnapshotMeta { last_log_id: Some(log_id(1, 2, 3)), last_membership: stored_membership() };
    let text = format!("{{last_log:T1-N2.3, last_membership: {}}}", stored_membership());
    assert_eq!(meta.to_string(), text);
    assert_eq!(Snapshot { meta, snapshot: () }.to_string(), format!("Snapshot{{meta: {text}}}"));
    assert_eq!(
        format!("{:?}", LogState::<Adv>::default()),
        "LogState { last_purged_log_id: None, last_log_id: None }"
    );
}

#[test]
fn append_messages() {
    let request = |entries| AppendEntriesRequest::<Adv> {
        vote: committed_vote(1, 2),
        prev_log_id: None,
        entries,
        leader_commit: Some(log_id(1, 2, 3)),
    };
    assert_eq!(
        request(vec![blank(3)]).to_string(),
        "vote=<T1-N2:Q>, prev_log_id=None, leader_commit=T1-N2.3, entries=[T1-N2.3:blank]"
    );
    assert!(
        request((1..=6).map(blank).collect())
            .to_string()
            .ends_with("entries=[T1-N2.1:blank,T1-N2.2:blank,T1-N2.3:blank,T1-N2.4:blank,..,T1-N2.6:blank]")
    );
    type Response = AppendEntriesResponse<Adv>;
    assert_eq!(Response::Success.to_string(), "Success");
    assert_eq!(Response::PartialSuccess(Some(log_id(1, 2, 3))).to_string(), "PartialSuccess(T1-N2.3)");
    assert_eq!(Response::PartialSuccess(None).to_string(), "PartialSuccess(None)");
    assert_eq!(Response::Conflict.to_string(), "Conflict");
    assert_eq!(Response::HigherVote(vote(1, 2)).to_string(), "Higher vote, <T1-N2:->");
    assert_eq!(StreamAppendError::<Adv>::Conflict(log_id(1, 2, 3)).to_string(), "Conflict(T1-N2.3)");
    assert_eq!(StreamAppendError::<Adv>::HigherVote(vote(1, 2)).to_string(), "HigherVote(<T1-N2:->)");
    assert_eq!(LogSegment::<Adv>::new(None, vec![]).to_string(), "prev:None, entries:[]");
}

#[test]
fn append_answers_in_a_stream() {
    type Response = AppendEntriesResponse<Adv>;
    let (prev, last) = (Some(log_id(1, 2, 3)), Some(log_id(1, 2, 5)));
    let result = |response: Response| response.into_stream_result(prev, last);
    assert_eq!(result(Response::Success), Ok(last));
    assert_eq!(result(Response::PartialSuccess(prev)), Ok(prev));
    assert_eq!(result(Response::Conflict), Err(StreamAppendError::Conflict(log_id(1, 2, 3))));
    assert_eq!(result(Response::HigherVote(vote(2, 3))), Err(StreamAppendError::HigherVote(vote(2, 3))));
    // Nothing can conflict with the position before the first entry; a peer that says so must do no harm.
    assert_eq!(Response::Conflict.into_stream_result(None, last), Ok(None));
}

#[test]
fn vote_and_transfer_messages() {
    let request = VoteRequest::<Adv>::new(vote(1, 2), Some(log_id(1, 2, 3)));
    assert_eq!(request.to_string(), "{vote:<T1-N2:->, last_log:T1-N2.3, leadership_transfer:false}");
    let response = VoteResponse::<Adv>::new(vote(1, 2), Some(log_id(1, 2, 3)), true);
    assert_eq!(response.to_string(), "{<T1-N2:->, last_log:Some(\"T1-N2.3\")}");
    assert!(response.is_granted_to(&vote(1, 2)) && !response.is_granted_to(&vote(1, 3)));
    assert_eq!(SnapshotResponse::<Adv>::new(vote(1, 2)).to_string(), "SnapshotResponse{vote:<T1-N2:->}");
    let transfer = TransferLeaderRequest::<Adv>::new(committed_vote(1, 2), 3, Some(log_id(1, 2, 3)));
    assert_eq!(transfer.to_string(), "(from_leader=<T1-N2:Q>, to=3, last_log_id=T1-N2.3)");
}

#[test]
fn client_messages() {
    let response = ClientWriteResponse::<Adv> { log_id: log_id(1, 2, 3), data: "x".into(), membership: None };
    assert_eq!(response.to_string(), "ClientWriteResponse{log_id:T1-N2.3, membership:None}");
    assert_eq!(
        FlushPoint::<Adv>::new(vote(1, 2), Some(log_id(1, 2, 3))).to_string(),
        "FlushPoint(<T1-N2:->, T1-N2.3)"
    );
    type Condition = Precondition<Adv>;
    let leader = Condition::CommittedLeaderId { committed_leader_id: log_id(1, 2, 3).leader_id };
    assert_eq!(leader.to_string(), "CommittedLeaderId(T1-N2)");
    assert_eq!(Condition::LastLogId { last_log_id: Some(log_id(1, 2, 3)) }.to_string(), "LastLogId(T1-N2.3)");
    let membership = Condition::LastMembershipLogId { last_membership_log_id: None };
    assert_eq!(membership.to_string(), "LastMembershipLogId(None)");
    assert_eq!(ReadPolicy::LeaseRead.to_string(), "LeaseRead");
    assert_eq!(
        LinearizerOption::from(ReadPolicy::ReadIndex).to_string(),
        "LinearizerOption { max_quorum_ack_age: Some(0ns), heartbeat_if_quorum_ack_stale: true, wait_timeout: None }"
    );
    assert_eq!(
        LinearizerOption::from(ReadPolicy::LeaseRead).to_string(),
        "LinearizerOption { max_quorum_ack_age: None, heartbeat_if_quorum_ack_stale: false, wait_timeout: Some(0ns) }"
    );
}

#[test]
fn summaries() {
    assert_eq!(log_id(1, 2, 3).summary(), "T1-N2.3");
    assert_eq!(Some(log_id(1, 2, 3)).summary(), "Some(T1-N2.3)");
    assert_eq!(None::<LogId<LeaderIdOf<Adv>>>.summary(), "None");
    assert_eq!([1, 2, 3].as_slice().summary(), "1,2,3");
    assert_eq!([1, 2, 3, 4, 5, 6].as_slice().summary(), "1 ... 6");
    assert_eq!(<[u64]>::as_ref(&[]).summary(), "{}");
}

#[test]
fn metrics() {
    let empty = "{log_id:None, {voters:[], learners:[]}}";
    assert_eq!(
        RaftMetrics::<Adv>::new_initial(1).to_string(),
        format!(
            "Metrics{{id:1, Learner, term:0, vote:<T0-N1:->, last_log:None, local_committed:None, \
             cluster_committed:None, last_applied:None, leader:None(quorum_acked_time:None), membership:{empty}, \
             committed_membership:{empty}, snapshot:None, purged:None, replication:{{None}}, heartbeat:{{None}}}}"
        )
    );
    let replication = BTreeMap::from([(1, Some(log_id(1, 2, 3))), (2, None)]);
    let metrics = RaftMetrics::<Adv> { replication: Some(replication), ..RaftMetrics::new_initial(1) };
    assert!(metrics.to_string().contains("replication:{1:T1-N2.3,2:None}"));
    assert_eq!(
        RaftDataMetrics::<Adv>::default().to_string(),
        "DataMetrics{last_log:None, local_committed:None, cluster_committed:None, last_applied:None, \
         snapshot:None, purged:None, quorum_acked_time:None, replication:{None}, heartbeat:{None}}"
    );
    let server = RaftServerMetrics::<Adv> {
        id: 1,
        vote: committed_vote(1, 1),
        state: quorate::ServerState::Leader,
        current_leader: Some(1),
        membership_config: Default::default(),
        committed_membership_config: Default::default(),
    };
    assert_eq!(
        server.to_string(),
        format!(
            "ServerMetrics{{id:1, Leader, vote:<T1-N1:Q>, leader:1, membership:{empty}, committed_membership:{empty}}}"
        )
    );
    assert_eq!(WaitError::ShuttingDown.to_string(), "raft is shutting down");
    assert_eq!(
        WaitError::Timeout(Duration::from_millis(5), "x".into()).to_string(),
        "timeout after 5ms when x"
    );
}

#[test]
fn errors_of_calls() {
    assert_eq!(Fatal::<Adv>::Stopped.to_string(), "raft stopped");
    assert_eq!(Fatal::<Adv>::Panicked.to_string(), "panicked");
    assert_eq!(RaftError::<Adv>::Fatal(Fatal::Stopped).to_string(), "raft stopped");
    let forward = ForwardToLeader::<Adv>::new(3, node("c"));
    assert_eq!(forward.to_string(), "has to forward request to: Some(3), Some(BasicNode { addr: \"c\" })");
    assert_eq!(ForwardToLeader::<Adv>::empty().to_string(), "has to forward request to: None, None");
    assert_eq!(
        ClientWriteError::<Adv>::LogEntryDiscarded(ForwardToLeader::empty()).to_string(),
        "log entry discarded on leader change; commit status unknown; application must deduplicate retries; \
         has to forward request to: None, None"
    );
    assert_eq!(
        QuorumNotEnough::<Adv> { cluster: "x".into(), got: ids([1, 2]) }.to_string(),
        "not enough for a quorum, cluster: x, got: {1, 2}"
    );
    let precondition =
        PreconditionFailed::<Adv>::LastLogIdMismatch { expected: None, actual: Some(log_id(1, 2, 3)) };
    assert_eq!(precondition.to_string(), "last log id mismatch: expected: None, actual: T1-N2.3");
    assert_eq!(
        LeaderChanged::<Adv>::new(log_id(1, 2, 3).leader_id, None).to_string(),
        "LeaderChanged: from T1-N2 to vote None"
    );
    assert_eq!(
        NodeNotFound::new(3, Operation::TransferLeader).to_string(),
        "Node 3 not found when: (transfer leadership)"
    );
    let revert = AllowNextRevertError::<Adv>::from(NodeNotFound::new(3, Operation::AllowNextRevert));
    assert_eq!(
        revert.to_string(),
        "cannot set allow_next_revert; error: Node 3 not found when: (set flag to allow replication revert for once)"
    );
}

#[test]
fn errors_of_memberships() {
    type Error = ChangeMembershipError<LeaderIdOf<Adv>, u64>;
    let log_id_text = "Some(LogId { leader_id: LeaderId { term: 1, node_id: 2 }, index: 3 })";
    assert_eq!(
        Error::from(InProgress { committed: None, membership_log_id: Some(log_id(1, 2, 3)) }).to_string(),
        format!(
            "the cluster is already undergoing a configuration change at log {log_id_text}, last committed \
             membership log id: None"
        )
    );
    assert_eq!(Error::from(EmptyMembership {}).to_string(), "new membership cannot be empty");
    assert_eq!(
        Error::from(MembershipError::from(NodeNotFound::new(3, Operation::None))).to_string(),
        "Learner 3 not found: add it as learner before adding it as a voter"
    );
    assert_eq!(
        Error::from(UnsupportedMembershipTransition {
            previous: vec![ids([1])],
            proposed: vec![ids([2, 3])]
        })
        .to_string(),
        "unsupported membership transition: from voters [{1}] to voters [{2, 3}]"
    );
    assert_eq!(
        Error::from(UncommittedLeaderLog { committed: None, leader_log_id: log_id(1, 2, 3) }).to_string(),
        "single-step membership change is blocked: the leader must first commit a new log of its current term, \
         but its blank log T1-N2.3 is not committed; cluster committed: None"
    );
    assert_eq!(
        Error::from(NodeMetadataChanged { node_id: 3 }).to_string(),
        "proposed membership changes the metadata of existing node 3"
    );
    assert_eq!(
        NotAllowed::<Adv> { last_log_id: None, vote: vote(1, 2) }.to_string(),
        "not allowed to initialize due to current raft state: last_log_id: None vote: <T1-N2:->"
    );
    assert_eq!(
        NotInMembers::<Adv> { node_id: 3, membership: Membership::default() }.to_string(),
        "node 3 has to be a member. membership:Membership { configs: [], nodes: {} }"
    );
}

#[test]
fn errors_of_the_network() {
    let timeout =
        Timeout::<Adv> { action: RPCTypes::Vote, id: 1, target: 2, timeout: Duration::from_millis(10) };
    assert_eq!(RPCError::<Adv>::from(timeout).to_string(), "timeout after 10ms when Vote 1->2");
    assert_eq!(NetworkError::<Adv>::from_string("foo").to_string(), "NetworkError: foo");
    assert_eq!(Unreachable::<Adv>::from_string("foo").to_string(), "Unreachable node: foo");
    assert_eq!(
        RemoteError::<Adv, _>::new(3, Fatal::<Adv>::Stopped).to_string(),
        "error occur on remote peer 3: raft stopped"
    );
    assert_eq!(ReplicationClosed::new("x").to_string(), "Replication is closed: x");
    assert_eq!(
        RejectVote::<Adv> { higher: vote(1, 2) }.to_string(),
        "reject vote: local vote <T1-N2:-> is >= the received vote"
    );
    let log_id_text = "LogId { leader_id: LeaderId { term: 1, node_id: 2 }, index: 3 }";
    assert_eq!(
        ConflictingLogId::<Adv> { expect: log_id(1, 2, 3), local: None }.to_string(),
        format!("conflicting log-id: local=None should be: {log_id_text}")
    );
    let vote_text = "Vote { leader_id: LeaderId { term: 1, node_id: 2 }, committed: false }";
    assert_eq!(
        TransferLeaderError::<Adv>::VoteChanged { expected: vote(1, 2), actual: vote(1, 2) }.to_string(),
        format!("transfer leader rejected because vote changed; expected: {vote_text}, actual: {vote_text}")
    );
}

#[test]
fn errors_of_the_store() {
    let error = quorate::StorageError::<Adv>::read_logs(BoxedErrorSource::from_string("foo"));
    assert_eq!(error.to_string(), "when Read Logs: foo");
    assert_eq!(std::io::Error::from(error).to_string(), "when Read Logs: foo");
    let error = quorate::StorageError::<Adv>::read_log_at_index(3, BoxedErrorSource::from_string("foo"));
    assert_eq!(error.to_string(), "when Read LogIndex(3): foo");
}

#[test]
fn errors_apart() {
    use quorate::errors::decompose::DecomposeResult;

    type Remote = RPCError<Adv, RaftError<Adv, ClientWriteError<Adv>>>;
    let forward = ForwardToLeader::<Adv>::new(3, node("c")).with_reason(ForwardReason::LeaseExpired);
    let error = RaftError::<Adv, _>::APIError(ClientWriteError::from(forward.clone()));
    assert_eq!(error.forward_to_leader(), Some(&forward));
    let remote = Remote::from(RemoteError::new(2, error.clone()));
    assert_eq!(remote.forward_to_leader(), Some(&forward));
    assert_eq!(Err::<(), _>(remote).decompose(), Ok(Err(ClientWriteError::ForwardToLeader(forward.clone()))));
    assert_eq!(error.clone().into_forward_to_leader(), Some(forward.clone()));
    let discarded = RaftError::<Adv, _>::APIError(ClientWriteError::LogEntryDiscarded(forward.clone()));
    assert_eq!(discarded.forward_to_leader(), Some(&forward));
    assert_eq!(discarded.into_forward_to_leader(), None);

    let stopped = Remote::from(RemoteError::from(RemoteError::new(2, Fatal::Stopped)));
    let Err(RPCError::Unreachable(unreachable)) = Err::<(), _>(stopped).decompose() else {
        panic!("a stopped node counts as unreachable");
    };
    assert!(unreachable.to_string().contains("raft stopped"));

    let done: Result<u64, RaftError<Adv>> = Ok(1);
    assert_eq!(done.decompose_infallible(), Ok(1));
    let network = RPCError::<Adv>::from(NetworkError::from_string("x"));
    assert!(matches!(network.clone().with_raft_error::<Infallible>(), RPCError::Network(_)));
    assert!(matches!(StreamingError::from(network), StreamingError::Network(_)));
}

#[test]
fn votes_compare() {
    use quorate::vote::RaftVote;
    use std::cmp::Ordering;

    let (std_12, std_13) = (VoteOf::<Std>::new(1, 2), VoteOf::<Std>::new(1, 3));
    assert_eq!(PartialOrd::partial_cmp(&std_12, &std_13), None);
    assert_eq!(RaftVote::partial_cmp(&VoteOf::<Std>::new_committed(1, 2), &std_13), Some(Ordering::Greater));
    assert_eq!(RaftVote::partial_cmp(&vote(1, 2), &vote(1, 3)), Some(Ordering::Less));
    assert_eq!(RaftVote::partial_cmp(&vote(1, 2), &committed_vote(1, 2)), Some(Ordering::Less));
    assert_eq!(
        Vote::<LeaderIdOf<Adv>>::from_leader_id(log_id(1, 2, 3).leader_id, true),
        committed_vote(1, 2)
    );
}

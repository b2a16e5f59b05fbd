//! What a network does unless told otherwise.

use std::future::pending;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use quorate::entry::RaftEntry;
use quorate::errors::NetworkError;
use quorate::errors::RPCError;
use quorate::errors::ReplicationClosed;
use quorate::errors::StreamingError;
use quorate::errors::Unreachable;
use quorate::network::Backoff;
use quorate::network::NetBackoff;
use quorate::network::NetSnapshot;
use quorate::network::NetStreamAppend;
use quorate::network::NetTransferLeader;
use quorate::network::NetVote;
use quorate::network::RPCOption;
use quorate::network::RaftNetworkFactory;
use quorate::network::RaftNetworkV2;
use quorate::raft::*;
use quorate::storage::Snapshot;
use quorate::type_config::alias::EntryOf;
use quorate::type_config::alias::SnapshotOf;
use quorate::type_config::alias::VoteOf;

use crate::types::*;

/// Answers append requests from a script, the last answer first.
struct Script {
    answers: Vec<Result<AppendEntriesResponse<Adv>, RPCError<Adv>>>,
}

impl RaftNetworkV2<Adv> for Script {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<Adv>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Adv>, RPCError<Adv>> {
        self.answers.pop().expect("another request than the script has answers for")
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<Adv>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Adv>, RPCError<Adv>> {
        Err(Unreachable::from_string("down").into())
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Adv>,
        _snapshot: SnapshotOf<Adv, Vec<u8>>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Adv>, StreamingError<Adv>> {
        Ok(SnapshotResponse::new(vote))
    }
}

struct Scripts;

impl RaftNetworkFactory<Adv> for Scripts {
    type Network = Script;

    async fn new_client(&mut self, _target: u64, _node: &quorate::BasicNode) -> Script {
        Script { answers: vec![] }
    }
}

fn option() -> RPCOption {
    RPCOption::new(Duration::from_secs(1))
}

/// The entries at 1 and 2, then at 3 and 4, and so on.
fn requests(count: u64) -> Vec<AppendEntriesRequest<Adv>> {
    let request = |i: u64| AppendEntriesRequest {
        vote: committed_vote(1, 2),
        prev_log_id: (i > 0).then(|| log_id(1, 2, i * 2)),
        entries: [1, 2].map(|k| EntryOf::<Adv>::new_blank(log_id(1, 2, i * 2 + k))).to_vec(),
        leader_commit: None,
    };
    (0..count).map(request).collect()
}

/// What a stream of three requests answers; the rest of the requests is not sent.
async fn stream_of_three(
    script: impl IntoIterator<Item = Result<AppendEntriesResponse<Adv>, RPCError<Adv>>>,
) -> Vec<Result<StreamAppendResult<Adv>, RPCError<Adv>>> {
    let mut answers = script.into_iter().collect::<Vec<_>>();
    answers.reverse();
    let mut network = Script { answers };
    let answers = NetStreamAppend::stream_append(&mut network, stream::iter(requests(3)), option()).await;
    let results = answers.unwrap().collect().await;
    assert!(network.answers.is_empty(), "the whole script was played");
    results
}

#[tokio::test]
async fn a_stream_ends_with_its_requests() {
    use AppendEntriesResponse::*;
    let results =
        stream_of_three([Ok(Success), Ok(PartialSuccess(Some(log_id(1, 2, 4)))), Ok(Success)]).await;
    let indexes = [2, 4, 6].map(|index| Ok(Ok(Some(log_id(1, 2, index)))));
    assert_eq!(results, indexes);
}

#[tokio::test]
async fn a_stream_ends_at_the_first_that_is_not_taken_whole() {
    use AppendEntriesResponse::*;
    let partial = stream_of_three([Ok(Success), Ok(PartialSuccess(Some(log_id(1, 2, 3))))]).await;
    assert_eq!(partial, [2, 3].map(|index| Ok(Ok(Some(log_id(1, 2, index))))));

    let conflict = stream_of_three([Ok(Success), Ok(Conflict)]).await;
    assert_eq!(conflict[1], Ok(Err(StreamAppendError::Conflict(log_id(1, 2, 2)))));

    let higher = stream_of_three([Ok(HigherVote(vote(2, 3)))]).await;
    assert_eq!(higher, [Ok(Err(StreamAppendError::HigherVote(vote(2, 3))))]);

    let error = RPCError::from(NetworkError::from_string("x"));
    let failed = stream_of_three([Ok(Success), Err(error.clone())]).await;
    assert_eq!(failed[1], Err(error));
}

#[tokio::test]
async fn unless_told_otherwise() {
    let mut network = Scripts.new_heartbeat_client(1, &node("a")).await;
    let request = VoteRequest::new(vote(3, 1), Some(log_id(1, 2, 3)));
    let granted = NetVote::pre_vote(&mut network, request.clone(), option()).await.unwrap();
    assert_eq!(granted, VoteResponse::new(vote(3, 1), None, true));
    assert!(NetVote::vote(&mut network, request, option()).await.is_err());

    let transfer = TransferLeaderRequest::new(committed_vote(1, 2), 3, None);
    let error = NetTransferLeader::transfer_leader(&mut network, transfer, option()).await.unwrap_err();
    assert_eq!(error.to_string(), "Unreachable node: transfer_leader not implemented");
    assert!(NetBackoff::backoff(&network).is_none());

    let snapshot = Snapshot { meta: Default::default(), snapshot: vec![1] };
    let vote = committed_vote(1, 2);
    let response = NetSnapshot::full_snapshot(&mut network, vote, snapshot, pending(), option()).await;
    assert_eq!(response.unwrap().vote, vote);
}

#[test]
fn soft_is_three_quarters_of_hard() {
    let option = RPCOption::new(Duration::from_millis(100));
    assert_eq!(option.soft_ttl(), Duration::from_millis(75));
    assert_eq!(option.hard_ttl(), Duration::from_millis(100));
    assert_eq!(option.snapshot_chunk_size(), None);
}

#[test]
fn a_backoff_is_its_delays() {
    let delays = [1, 2].map(Duration::from_millis);
    assert_eq!(Backoff::new(delays.into_iter()).collect::<Vec<_>>(), delays);
}

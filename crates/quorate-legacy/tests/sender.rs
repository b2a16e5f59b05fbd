//! The sender's end of a transfer, with a receiver that answers by script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::future;
use std::io;
use std::io::Cursor;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use openraft::RaftNetworkV2;
use openraft::StoredMembership;
use openraft::Vote;
use openraft::errors::Fatal;
use openraft::errors::RPCError;
use openraft::errors::RaftError;
use openraft::errors::RemoteError;
use openraft::errors::ReplicationClosed;
use openraft::errors::StreamingError;
use openraft::errors::Unreachable;
use openraft::log_id::LogId;
use openraft::network::NetSnapshot;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::SnapshotResponse;
use openraft::raft::TransferLeaderRequest;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use openraft::storage::Snapshot;
use openraft::storage::SnapshotMeta;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::LeaderIdOf;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::VoteOf;
use openraft::vote::RaftLeaderId;
use openraft_memstore::TypeConfig;
use quorate_legacy::network_v1::Adapter;
use quorate_legacy::network_v1::InstallSnapshotError;
use quorate_legacy::network_v1::InstallSnapshotRequest;
use quorate_legacy::network_v1::InstallSnapshotResponse;
use quorate_legacy::network_v1::RaftNetwork;
use quorate_legacy::network_v1::SnapshotMismatch;
use tokio::io::AsyncRead;
use tokio::io::AsyncSeek;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// What the receiver does with a chunk.
#[derive(Clone)]
enum Answer {
    Take,
    Lose,
    Hang,
    /// Has this many bytes of the snapshot.
    Mismatch(u64),
    HigherVote,
    Stopped,
}

/// Answers by script, and takes whatever comes after its end; or never answers otherwise.
#[derive(Clone, Default)]
struct Receiver {
    script: Arc<Mutex<VecDeque<Answer>>>,
    always: Option<Answer>,
    seen: Arc<Mutex<Vec<InstallSnapshotRequest<TypeConfig>>>>,
}

impl Receiver {
    fn script(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { script: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() }
    }

    fn always(answer: Answer) -> Self {
        Self { always: Some(answer), ..Self::default() }
    }

    /// The offsets of the chunks that came, and whether each was the last.
    fn offsets(&self) -> Vec<(u64, bool)> {
        self.seen.lock().unwrap().iter().map(|chunk| (chunk.offset, chunk.done)).collect()
    }
}

impl RaftNetwork<TypeConfig> for Receiver {
    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig, RaftError<TypeConfig>>> {
        Err(RemoteError::new(2, RaftError::Fatal(Fatal::Stopped)).into())
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig, RaftError<TypeConfig>>> {
        Ok(VoteResponse::new(rpc.vote, None, false))
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<TypeConfig>,
        RPCError<TypeConfig, RaftError<TypeConfig, InstallSnapshotError>>,
    > {
        self.seen.lock().unwrap().push(rpc.clone());
        let next = self.script.lock().unwrap().pop_front();
        match self.always.clone().or(next).unwrap_or(Answer::Take) {
            Answer::Take => Ok(InstallSnapshotResponse { vote: rpc.vote }),
            Answer::Lose => Err(Unreachable::from_string("lost").into()),
            Answer::Hang => future::pending().await,
            Answer::Mismatch(end) => {
                let id = &rpc.meta.snapshot_id;
                let mismatch = SnapshotMismatch { expect: (id, end).into(), got: (id, rpc.offset).into() };
                Err(RemoteError::new(2, RaftError::APIError(mismatch.into())).into())
            }
            Answer::HigherVote => Ok(InstallSnapshotResponse { vote: vote(9) }),
            Answer::Stopped => Err(RemoteError::new(2, RaftError::Fatal(Fatal::Stopped)).into()),
        }
    }
}

/// The size of a chunk, where nobody says another.
const CHUNK: u64 = 3 * 1024 * 1024;
const TTL: Duration = Duration::from_secs(1);

fn vote(term: u64) -> VoteOf<TypeConfig> {
    Vote::new_committed(term, 1)
}

fn snapshot<SD: Send + 'static>(data: SD) -> SnapshotOf<TypeConfig, SD> {
    let last = LogId::new(LeaderIdOf::<TypeConfig>::new(1, 1).to_committed(), 7);
    let meta = SnapshotMeta { last_log_id: Some(last), last_membership: StoredMembership::default() };
    Snapshot { meta, snapshot: data }
}

/// Two chunks and a bit.
fn content() -> Vec<u8> {
    (0..2 * CHUNK + 2).map(|i| (i % 251) as u8).collect()
}

async fn send<SD>(
    network: &mut Adapter<TypeConfig, Receiver, SD>,
    data: SD,
    cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>>
where
    SD: AsyncRead + AsyncWrite + AsyncSeek + Unpin + Send + 'static,
{
    let option = RPCOption::new(TTL);
    NetSnapshot::full_snapshot(network, vote(1), snapshot(data), cancel, option).await
}

async fn send_content(
    receiver: &Receiver,
) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
    let mut network = receiver.clone().into_v2();
    send(&mut network, Cursor::new(content()), future::pending()).await
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_goes_out_in_chunks() {
    let receiver = Receiver::default();
    let answer = send_content(&receiver).await.unwrap();
    assert_eq!(answer.vote, vote(1));
    assert_eq!(receiver.offsets(), [(0, false), (CHUNK, false), (2 * CHUNK, true)]);

    let seen = receiver.seen.lock().unwrap().clone();
    assert!(seen.iter().flat_map(|chunk| chunk.data.clone()).eq(content()));
    assert!(seen.iter().all(|chunk| chunk.meta == seen[0].meta), "one name for all chunks");
    assert!(seen[0].meta.snapshot_id.starts_with("7-"), "{}", seen[0].meta);

    // Another transfer of the same snapshot has another name.
    send_content(&receiver).await.unwrap();
    assert_ne!(receiver.seen.lock().unwrap().last().unwrap().meta, seen[0].meta);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_without_content_is_one_chunk() {
    let receiver = Receiver::default();
    let mut network = receiver.clone().into_v2();
    send(&mut network, Cursor::new(Vec::new()), future::pending()).await.unwrap();
    assert_eq!(receiver.offsets(), [(0, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_chunk_is_sent_again() {
    let receiver = Receiver::script([Answer::Take, Answer::Lose, Answer::Stopped, Answer::Hang]);
    send_content(&receiver).await.unwrap();
    let again = (CHUNK, false);
    assert_eq!(receiver.offsets(), [(0, false), again, again, again, again, (2 * CHUNK, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_always_lost_is_sent_again_with_pauses_and_given_up() {
    let receiver = Receiver::always(Answer::Lose);
    let begin = TypeConfig::now();
    let error = send_content(&receiver).await.unwrap_err();
    assert!(matches!(error, StreamingError::Unreachable(_)), "{error}");
    assert_eq!(receiver.offsets().len(), 21);
    assert!(TypeConfig::now() - begin >= Duration::from_millis(17 * 200), "with pauses");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_returns_is_given_up() {
    let receiver = Receiver::always(Answer::Hang);
    let error = send_content(&receiver).await.unwrap_err();
    assert!(matches!(error, StreamingError::Network(_)), "{error}");
    assert!(error.to_string().contains("had no answer within 1s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_lost_the_snapshot_gets_it_from_the_start() {
    let receiver = Receiver::script([Answer::Take, Answer::Take, Answer::Mismatch(0)]);
    send_content(&receiver).await.unwrap();
    let whole = [(0, false), (CHUNK, false), (2 * CHUNK, true)];
    assert_eq!(receiver.offsets(), [whole, whole].concat());

    // Or from where it can go on.
    let receiver = Receiver::script([Answer::Take, Answer::Take, Answer::Mismatch(3)]);
    send_content(&receiver).await.unwrap();
    assert_eq!(receiver.offsets(), [&whole[..], &[(3, false), (CHUNK + 3, true)]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_never_content_is_given_up() {
    let receiver = Receiver::always(Answer::Mismatch(0));
    let error = send_content(&receiver).await.unwrap_err();
    assert!(error.to_string().contains("snapshot segment id mismatch"), "{error}");
    assert_eq!(receiver.offsets().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_higher_vote_ends_the_transfer() {
    let receiver = Receiver::script([Answer::Take, Answer::HigherVote]);
    let answer = send_content(&receiver).await.unwrap();
    assert_eq!(answer.vote, vote(9));
    assert_eq!(receiver.offsets().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_transfer_ends_at_once() {
    let closed = || ReplicationClosed::new("the leader has gone");
    let receiver = Receiver::default();
    let mut network = receiver.clone().into_v2();
    let error = send(&mut network, Cursor::new(content()), async move { closed() }).await.unwrap_err();
    assert_eq!(error, StreamingError::Closed(closed()));
    assert_eq!(receiver.offsets(), [], "not a chunk was sent");

    // Also in the middle of a call.
    let receiver = Receiver::always(Answer::Hang);
    let mut network = receiver.clone().into_v2();
    let cancel = async move {
        let _ = TypeConfig::timeout(TTL / 2, future::pending::<()>()).await;
        closed()
    };
    let begin = TypeConfig::now();
    let error = send(&mut network, Cursor::new(content()), cancel).await.unwrap_err();
    assert_eq!(error, StreamingError::Closed(closed()));
    assert!(TypeConfig::now() - begin < TTL);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_read_is_an_error_of_the_storage() {
    /// Says that it has ten bytes, and has none.
    struct Liar;

    impl AsyncSeek for Liar {
        fn start_seek(self: Pin<&mut Self>, _position: io::SeekFrom) -> io::Result<()> {
            Ok(())
        }

        fn poll_complete(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
            Poll::Ready(Ok(10))
        }
    }

    impl AsyncRead for Liar {
        fn poll_read(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Liar {
        fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, _buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(0))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    let receiver = Receiver::default();
    let error = send(&mut receiver.clone().into_v2(), Liar, future::pending()).await.unwrap_err();
    assert!(matches!(error, StreamingError::StorageError(_)), "{error}");
    assert_eq!(receiver.offsets(), []);
}

#[tokio::test(start_paused = true)]
async fn the_other_calls_pass_through() {
    let mut network: Adapter<_, _, Cursor<Vec<u8>>> = Receiver::default().into_v2();
    let option = RPCOption::new(TTL);
    let request =
        AppendEntriesRequest { vote: vote(1), prev_log_id: None, entries: Vec::new(), leader_commit: None };
    let error = RaftNetworkV2::append_entries(&mut network, request, option.clone()).await.unwrap_err();
    assert!(matches!(error, RPCError::Unreachable(_)), "a node that stopped counts as unreachable: {error}");

    let request = VoteRequest::new(vote(3), None);
    let answer = RaftNetworkV2::vote(&mut network, request.clone(), option.clone()).await.unwrap();
    assert!(!answer.vote_granted);
    let answer = RaftNetworkV2::pre_vote(&mut network, request, option).await.unwrap();
    assert!(answer.vote_granted, "version 1 has no pre-vote");

    let mut delays = RaftNetworkV2::backoff(&network).unwrap();
    assert_eq!((delays.next(), delays.next()), (Some(TTL / 5), Some(TTL / 5)));
}

#[tokio::test(start_paused = true)]
async fn a_network_of_version_1_cannot_hand_leadership_over_unless_it_says_how() {
    let mut network: Adapter<TypeConfig, _, Cursor<Vec<u8>>> = Receiver::default().into_v2();
    let request = TransferLeaderRequest::new(vote(1), 2, None);
    let error = RaftNetworkV2::transfer_leader(&mut network, request, RPCOption::new(TTL)).await.unwrap_err();
    assert!(matches!(&error, RPCError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("not implemented"), "{error}");
    assert_eq!(network.inner().offsets(), []);
    assert_eq!(network.inner_mut().offsets(), []);
    assert_eq!(network.into_inner().offsets(), []);
}

#[test]
fn a_chunk_and_its_answer_are_printed_without_their_bytes() {
    let request = InstallSnapshotRequest::<TypeConfig> {
        vote: vote(1),
        meta: quorate_legacy::network_v1::SnapshotMeta::new(snapshot(()).meta, "name-1".into()),
        offset: 4,
        data: content(),
        done: true,
    };
    let text = request.to_string();
    let len = content().len();
    assert!(
        text.contains("snapshot_id: name-1") && text.contains(&format!("offset:4, len:{len}, done:true")),
        "{text}"
    );
    let nothing = quorate_legacy::network_v1::SnapshotMeta::<TypeConfig>::default().to_string();
    assert!(nothing.contains("last_log:None"), "{nothing}");
    let answer = InstallSnapshotResponse::<TypeConfig> { vote: vote(7) };
    assert_eq!(answer.to_string(), format!("{{vote:{}}}", vote(7)));
}

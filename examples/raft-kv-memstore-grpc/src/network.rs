//! How nodes reach each other: the side that calls.

use std::future;
use std::io::Cursor;
use std::time::Duration;

use example_mem_store::TypeConfig;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use openraft::BasicNode;
use openraft::OptionalSend;
use openraft::RaftNetworkFactory;
use openraft::RaftNetworkV2;
use openraft::async_runtime::Select2;
use openraft::base::BoxFuture;
use openraft::base::BoxStream;
use openraft::errors::NetworkError;
use openraft::errors::RPCError;
use openraft::errors::ReplicationClosed;
use openraft::errors::StreamingError;
use openraft::errors::Unreachable;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::raft::AppendEntriesResponse;
use openraft::raft::SnapshotResponse;
use openraft::raft::StreamAppendResult;
use openraft::raft::TransferLeaderRequest;
use openraft::raft::TransferLeaderResponse;
use openraft::raft::VoteRequest;
use openraft::raft::VoteResponse;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::SnapshotOf;
use openraft::type_config::alias::VoteOf;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Code;
use tonic::Response;
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

use crate::MESSAGE_BYTES_MAX;
use crate::NodeId;
use crate::decode;
use crate::encode;
use crate::proto::Message;
use crate::proto::raft_client::RaftClient;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Bytes of a snapshot in one message.
const PART_BYTES: usize = 1024 * 1024;

/// Makes clients to other nodes, each with a connection of its own.
#[derive(Debug, Clone)]
pub struct Network;

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    // The address comes from the membership: it was given when the node was added. Nothing is connected here yet.
    async fn new_client(&mut self, _target: NodeId, node: &BasicNode) -> Peer {
        let endpoint = Endpoint::from_shared(format!("http://{}", node.addr));
        let channel = endpoint.map(|endpoint| endpoint.connect_timeout(CONNECT_TIMEOUT).connect_lazy());
        let client =
            channel.map(|channel| RaftClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX));
        Peer { client: client.map_err(|error| format!("{} is no address: {error}", node.addr)) }
    }
}

/// A client to one node; or, if its address makes no sense, why there is none.
pub struct Peer {
    client: Result<RaftClient<Channel>, String>,
}

type CallError = RPCError<TypeConfig>;

impl Peer {
    fn client(&self) -> Result<RaftClient<Channel>, CallError> {
        self.client.clone().map_err(|error| Unreachable::from_string(error).into())
    }

    /// Sends a request by `send`, which has until the caller gives up, and reads the answer.
    async fn call<Request, Answer, Sending>(
        &self,
        request: &Request,
        option: RPCOption,
        send: impl FnOnce(RaftClient<Channel>, Message) -> Sending,
    ) -> Result<Answer, CallError>
    where
        Request: Serialize,
        Answer: DeserializeOwned,
        Sending: Future<Output = Result<Response<Message>, Status>> + Send,
    {
        let request = encode(request).map_err(failed)?;
        let answer = TypeConfig::timeout(option.hard_ttl(), send(self.client()?, request)).await;
        let answer = answer.map_err(|late| NetworkError::new(&late))?.map_err(failed)?;
        decode(answer.get_ref()).map_err(failed)
    }
}

/// `Unreachable` keeps the library from trying again at once; other errors do not.
fn failed(status: Status) -> CallError {
    match status.code() {
        Code::Unavailable => Unreachable::new(&status).into(),
        _ => NetworkError::new(&status).into(),
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Cursor<Vec<u8>>;

    /// One request: a stream of one. Heartbeats come here.
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let result: StreamAppendResult<TypeConfig> = self
            .call(&rpc, option, async |mut client: RaftClient<Channel>, request| {
                let mut answers = client.append(stream::iter([request])).await?.into_inner();
                let answer = answers.message().await?;
                answer.map(Response::new).ok_or_else(|| Status::unavailable("no answer"))
            })
            .await?;
        Ok(result.into())
    }

    /// The stream of requests goes out as it comes, and answers come back meanwhile.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, CallError>>, CallError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // What cannot be encoded ends the requests, and with them the answers: the library begins another stream.
            let requests = input.scan((), |(), request| future::ready(encode(&request).ok()));
            let answers = self.client()?.append(requests).await.map_err(failed)?.into_inner();
            let answers = answers.map(|answer| answer.and_then(|answer| decode(&answer)).map_err(failed));
            Ok(Box::pin(answers) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(&rpc, option, async |mut client: RaftClient<Channel>, request| client.vote(request).await)
            .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(&rpc, option, async |mut client: RaftClient<Channel>, request| {
            client.pre_vote(request).await
        })
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Cursor<Vec<u8>>>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (header, data) = ((vote, snapshot.meta), snapshot.snapshot.into_inner());
        let sending = self.call(&header, option, async |mut client: RaftClient<Channel>, header| {
            let parts: Vec<_> = data.chunks(PART_BYTES).map(|part| Message { data: part.to_vec() }).collect();
            client.snapshot(stream::iter([header]).chain(stream::iter(parts))).await
        });
        match TypeConfig::select2(cancel, sending).await {
            Select2::First(closed) => Err(closed.into()),
            Select2::Second(answer) => Ok(answer?),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let send = async |mut client: RaftClient<Channel>, request| client.transfer_leader(request).await;
        self.call(&req, option, send).await
    }
}

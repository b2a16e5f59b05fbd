//! How nodes reach each other: the side that is called. Each request goes to the node as it is, and so does the answer
//! back.

use std::future;
use std::io::Cursor;

use example_mem_store::TypeConfig;
use futures_util::StreamExt;
use openraft::base::BoxStream;
use openraft::raft::AppendEntriesRequest;
use openraft::storage::Snapshot;
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::type_config::alias::VoteOf;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;

use crate::App;
use crate::decode;
use crate::encode;
use crate::proto::Message;
use crate::proto::raft_server::Raft;

/// The largest snapshot, in bytes.
const SNAPSHOT_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// A node that cannot answer has stopped.
fn stopped(error: impl std::error::Error) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl Raft for App {
    type AppendStream = BoxStream<'static, Result<Message, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<Message>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        // A request that cannot be read ends the stream: what comes after it would not fit.
        let requests = request.into_inner().scan((), |(), message| {
            let request = message.and_then(|message| decode::<AppendEntriesRequest<TypeConfig>>(&message));
            future::ready(request.ok())
        });
        let answers = self.raft.stream_append(requests);
        Ok(Response::new(Box::pin(answers.map(|answer| encode(&answer.map_err(stopped)?)))))
    }

    async fn vote(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        let answer = self.raft.vote(decode(request.get_ref())?).await.map_err(stopped)?;
        encode(&answer).map(Response::new)
    }

    async fn pre_vote(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        let answer = self.raft.pre_vote(decode(request.get_ref())?).await.map_err(stopped)?;
        encode(&answer).map(Response::new)
    }

    async fn snapshot(&self, request: Request<Streaming<Message>>) -> Result<Response<Message>, Status> {
        let mut parts = request.into_inner();
        let header = parts.message().await?.ok_or_else(|| Status::invalid_argument("an empty stream"))?;
        let (vote, meta): (VoteOf<TypeConfig>, SnapshotMetaOf<TypeConfig>) = decode(&header)?;
        let mut data = Vec::new();
        while let Some(part) = parts.message().await? {
            if data.len().saturating_add(part.data.len()) > SNAPSHOT_BYTES_MAX {
                return Err(Status::resource_exhausted("the snapshot is too large"));
            }
            data.extend(part.data);
        }
        let snapshot = Snapshot { meta, snapshot: Cursor::new(data) };
        let answer = self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        encode(&answer).map(Response::new)
    }

    async fn transfer_leader(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        let answer = self.raft.handle_transfer_leader(decode(request.get_ref())?).await.map_err(stopped)?;
        encode(&answer).map(Response::new)
    }
}

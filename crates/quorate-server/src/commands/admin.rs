//! `init`, `join`, `member …`, `transfer-leader`, `snapshot`.

use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_node::NodeId;
use quorate_server::api::{Done, JoinRequest, MemberId, NewMember, ReplaceRequest, SnapshotReply};
use quorate_server::client::{Client, ClientError};
use serde_json::json;
use tokio::time::Instant;

use crate::Global;
use crate::exit::Failure;
use crate::output;

/// Joining and replacing wait until another node has caught up.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The pause between two looks at a learner that is to be promoted.
const PROMOTE_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The peer address of a member
    #[arg(value_name = "HOST:PORT")]
    member: String,
    /// Make it a voter as soon as it has caught up
    #[arg(long)]
    voter: bool,
}

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The number of the member
    id: NodeId,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Add a running node that belongs to no cluster, as a learner
    Add {
        /// The client address of the new node
        #[arg(value_name = "HOST:PORT")]
        node: String,
        /// Make it a voter as soon as it has caught up
        #[arg(long)]
        voter: bool,
    },
    /// Make a learner a voter
    Promote(IdArgs),
    /// Remove a member for good
    Remove(IdArgs),
    /// Put a running node that belongs to no cluster into the place of a member, dead or alive
    Replace {
        /// The number of the member that leaves
        old: NodeId,
        /// The client address of the new node
        #[arg(value_name = "HOST:PORT")]
        node: String,
    },
}

pub(crate) async fn init(global: &Global) -> Result<(), Failure> {
    let client = this_node(global)?;
    let Done { .. } = client.admin("init", &json!({})).await?;
    let status = client.status(false).await?;
    done(global, &format!("node {} founded a cluster, and leads it", status.node.id))
}

pub(crate) async fn join(global: &Global, args: JoinArgs) -> Result<(), Failure> {
    let client = this_node(global)?;
    let Done { .. } = client.admin("join", &JoinRequest { member: args.member }).await?;
    let id = client.status(false).await?.node.id;
    if args.voter {
        promote_when_ready(&client, id, client_timeout(global)).await?;
    }
    done(global, &format!("node {id} joined as a {}", if args.voter { "voter" } else { "learner" }))
}

pub(crate) async fn member(global: &Global, command: MemberCommand) -> Result<(), Failure> {
    let client = global.client(TIMEOUT)?;
    match command {
        MemberCommand::Add { node, voter } => {
            let new = describe(&client, &node).await?;
            let id = new.id;
            let Done { .. } = client.admin("add-learner", &new).await?;
            if voter {
                promote_when_ready(&client, id, client_timeout(global)).await?;
            }
            done(global, &format!("node {id} is a {}", if voter { "voter" } else { "learner" }))
        }
        MemberCommand::Promote(IdArgs { id }) => {
            let Done { .. } = client.admin("promote", &MemberId { id }).await?;
            done(global, &format!("node {id} is a voter"))
        }
        MemberCommand::Remove(IdArgs { id }) => {
            let Done { .. } = client.admin("remove", &MemberId { id }).await?;
            done(global, &format!("node {id} is no longer a member"))
        }
        MemberCommand::Replace { old, node } => {
            let new = describe(&client, &node).await?;
            let id = new.id;
            let Done { .. } = client.admin("replace", &ReplaceRequest { old, new }).await?;
            done(global, &format!("node {id} is in the place of node {old}"))
        }
    }
}

pub(crate) async fn transfer_leader(global: &Global, IdArgs { id }: IdArgs) -> Result<(), Failure> {
    let Done { .. } = global.client(TIMEOUT)?.admin("transfer-leader", &MemberId { id }).await?;
    done(global, &format!("node {id} leads"))
}

pub(crate) async fn snapshot(global: &Global) -> Result<(), Failure> {
    let SnapshotReply { index } = this_node(global)?.admin("snapshot", &json!({})).await?;
    if global.json {
        output::json(&SnapshotReply { index })
    } else {
        output::line(&format!("a snapshot covers the log up to index {index}"))
    }
}

/// Promotes a learner, as often as it takes until it has caught up.
pub(crate) async fn promote_when_ready(
    client: &Client,
    id: NodeId,
    timeout: Duration,
) -> Result<(), ClientError> {
    let deadline = Instant::now() + timeout;
    loop {
        match client.admin::<Done>("promote", &MemberId { id }).await {
            Err(ClientError::Refused(body))
                if matches!(body.code.as_str(), "learner_not_ready" | "change_in_progress")
                    && Instant::now() < deadline =>
            {
                tokio::time::sleep(PROMOTE_PAUSE).await;
            }
            // Asking again is safe: what was done already answers with success.
            Err(ClientError::OutcomeUnknown { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(PROMOTE_PAUSE).await;
            }
            result => return result.map(|_| ()),
        }
    }
}

/// What a running node says about itself, as the cluster wants to hear it.
async fn describe(client: &Client, address: &str) -> Result<NewMember, Failure> {
    let node = client.pinned(address).status(false).await?.node;
    Ok(NewMember { id: node.id, uid: node.uid, peer_addr: node.peer_addr, client_addr: node.client_addr })
}

/// A client of the first node in `--server`, whoever leads.
fn this_node(global: &Global) -> Result<Client, Failure> {
    let client = global.client(TIMEOUT)?;
    let first = global.server.first().map_or("", String::as_str);
    Ok(client.pinned(first))
}

fn client_timeout(global: &Global) -> Duration {
    global.timeout.map_or(TIMEOUT, Duration::from_secs)
}

fn done(global: &Global, text: &str) -> Result<(), Failure> {
    if global.json { output::json(&Done { ok: true }) } else { output::line(text) }
}

//! `quorate status`: every member, as it sees itself and as the leader sees it.

use std::time::Duration;

use futures_util::future::join_all;
use quorate_node::{MemberKind, MemberStatus, Members, Role};
use quorate_server::api::StatusReply;
use quorate_server::client::Client;
use serde::Serialize;

use crate::Global;
use crate::exit::Failure;
use crate::output::{self, thousands};

/// How long a member may take to answer; a dead one should not hold up the table.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The cluster as seen from outside.
#[derive(Debug, Serialize)]
struct Cluster {
    members: Members,
    nodes: Vec<Seen>,
}

/// A member, and what it says itself, if it answers.
#[derive(Debug, Serialize)]
struct Seen {
    member: MemberStatus,
    answer: Option<StatusReply>,
    error: Option<String>,
}

pub(crate) async fn run(global: &Global) -> Result<(), Failure> {
    let client = global.client(TIMEOUT)?;
    let asked = client.status(false).await?;
    if asked.node.role == Role::Uninitialized {
        return uninitialized(global, &asked);
    }
    // Without a leader, what the node that answered knows must do.
    let members = match client.status(true).await {
        Ok(reply) => reply.members,
        Err(_) => asked.members,
    };
    let nodes = join_all(members.members.iter().map(|member| ask(&client, member))).await;
    let cluster = Cluster { members, nodes };
    if global.json { output::json(&cluster) } else { print(&cluster) }
}

fn uninitialized(global: &Global, asked: &StatusReply) -> Result<(), Failure> {
    if global.json {
        return output::json(asked);
    }
    let node = &asked.node;
    output::line(&format!(
        "node {} at {} belongs to no cluster yet: `quorate init` founds one, `quorate join` joins one",
        node.id, node.client_addr
    ))
}

async fn ask(client: &Client, member: &MemberStatus) -> Seen {
    let answer = client.pinned(&member.member.client_addr).status(false).await;
    let (answer, error) = match answer {
        Ok(answer) => (Some(answer), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Seen { member: member.clone(), answer, error }
}

fn print(cluster: &Cluster) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = cluster.nodes.iter().map(row).collect();
    let head = ["node", "role", "votes", "client address", "term", "applied", "lag", "last contact", "keys"];
    output::bytes(output::table(&head, &rows).as_bytes())?;
    if cluster.members.joint {
        output::line("a membership change is under way")?;
    }
    for seen in &cluster.nodes {
        for warning in seen.answer.iter().flat_map(|answer| &answer.node.warnings) {
            output::line(&format!("node {}: {warning}", seen.member.id))?;
        }
    }
    Ok(())
}

fn row(seen: &Seen) -> Vec<String> {
    let member = &seen.member;
    let node = seen.answer.as_ref().map(|answer| &answer.node);
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), thousands);
    let contact = if member.leader { None } else { member.last_contact_ms };
    vec![
        member.id.to_string(),
        node.map_or_else(|| "unreachable".to_owned(), |node| node.role.to_string()),
        if member.kind == MemberKind::Voter { "yes" } else { "no" }.to_owned(),
        member.member.client_addr.clone(),
        number(node.map(|node| node.term)),
        number(node.and_then(|node| node.applied)),
        if member.leader { "-".to_owned() } else { number(member.lag) },
        contact.map_or_else(|| "-".to_owned(), |ms| format!("{} ms", thousands(ms))),
        number(seen.answer.as_ref().map(|answer| answer.keys)),
    ]
}

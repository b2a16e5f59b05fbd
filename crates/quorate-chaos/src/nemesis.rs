//! Does to the cluster what the plan of a round says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_node::NodeId;
use quorate_server::api::Done;
use quorate_server::api::MemberId;
use quorate_server::api::ReplaceRequest;
use quorate_server::api::SnapshotReply;
use quorate_server::client::ClientError;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster::Change;
use crate::cluster::Cluster;
use crate::cluster::NODES;
use crate::cluster::Node;
use crate::links::CLIENTS;
use crate::links::Fault;
use crate::links::Link;
use crate::links::Place;
use crate::plan::Blow;
use crate::plan::Harm;
use crate::plan::Plan;
use crate::plan::Shape;
use crate::plan::Step;
use crate::plan::What;
use crate::plan::Whom;
use crate::report::Trouble;

/// How long the nemesis asks a node who leads, before it takes any.
const ASK_TIMEOUT: Duration = Duration::from_millis(300);

/// How long an operator tries one thing.
const OPERATOR_MAX: Duration = Duration::from_secs(8);

/// Nodes that there may be at a time.
const NODES_MAX: usize = NODES + 3;

/// Carries a plan out, up to the end of its time: what would last longer ends then.
pub(crate) async fn run(cluster: &Arc<Cluster>, plan: &Plan) -> Result<(), Trouble> {
    let begin = Instant::now();
    let end = begin + plan.lasts;
    let operator = Arc::new(Mutex::new(()));
    let mut steps = JoinSet::new();
    for step in plan.steps.clone() {
        let (cluster, operator) = (cluster.clone(), operator.clone());
        steps.spawn(async move {
            tokio::time::sleep_until(begin + step.at).await;
            happen(&cluster, &step, end, &operator).await
        });
    }
    while let Some(step) = steps.join_next().await {
        step.map_err(|error| Trouble::Cannot(error.to_string()))??;
    }
    tokio::time::sleep_until(end).await;
    Ok(())
}

async fn happen(
    cluster: &Arc<Cluster>,
    step: &Step,
    end: Instant,
    operator: &Mutex<()>,
) -> Result<(), Trouble> {
    // To be asked for when what lasts has begun.
    let over = || tokio::time::sleep_until((Instant::now() + step.lasts).min(end));
    match step.what {
        What::Processes(blow, whom) => {
            let nodes = find(cluster, whom).await?;
            for node in &nodes {
                hit(cluster, node, blow).await?;
            }
            cluster.tally.add_many("of these: all nodes at once", u64::from(whom == Whom::All));
            over().await;
            for node in &nodes {
                let mut process = node.process.lock().await;
                match blow {
                    Blow::Halt => process.resume(),
                    Blow::Kill | Blow::Terminate => process.start().map_err(Trouble::Cannot)?,
                }
            }
        }
        What::Links(shape, harm) => {
            let links = links(cluster, shape).await?;
            let (name, fault) = match harm {
                Harm::Cut => ("fault: links cut", Fault::Hold),
                Harm::HalfOpen => ("fault: links half-open", Fault::Lose),
                Harm::Refused => ("fault: links refused", Fault::Refuse),
                Harm::Slow(delay) => ("fault: links slow", Fault::Delay(delay)),
            };
            cluster.tally.add(name);
            let _cut = cluster.network.set(links, fault);
            over().await;
        }
        What::FillDisk => {
            for node in cluster.nodes() {
                if node.fill_disk()? {
                    cluster.tally.add("fault: disks filled");
                    over().await;
                    node.free_disk()?;
                }
            }
        }
        What::Transfer | What::Snapshot | What::AddMember | What::RemoveMember | What::ReplaceMember => {
            // One operator: the next finds them busy, and leaves again.
            let Ok(_busy) = operator.try_lock() else { return Ok(()) };
            match tokio::time::timeout(OPERATOR_MAX, operate(cluster, &step.what)).await {
                Ok(Ok(Some(done))) => cluster.tally.add(done),
                Ok(Err(Change::Trouble(trouble))) => return Err(trouble),
                Ok(Ok(None)) => {}
                Ok(Err(Change::Client(ClientError::Refused(_)))) => cluster.tally.add("operator: refused"),
                Ok(Err(Change::Client(_))) | Err(_) => cluster.tally.add("operator: no success in time"),
            }
        }
    }
    Ok(())
}

/// Does to a process what is to be done.
async fn hit(cluster: &Cluster, node: &Node, blow: Blow) -> Result<(), Trouble> {
    let mut process = node.process.lock().await;
    if !process.runs() {
        return Ok(());
    }
    match blow {
        Blow::Kill => {
            cluster.tally.add("fault: killed");
            process.kill().await;
        }
        Blow::Halt => {
            cluster.tally.add("fault: halted");
            process.halt();
        }
        Blow::Terminate => {
            cluster.tally.add("fault: asked to end");
            process.resume();
            let ended = process.terminate().await;
            if let Err(error) = ended.or_else(|error| if node.may_fail() { Ok(()) } else { Err(error) }) {
                return Err(Trouble::Violation(format!("{error}\n{}", process.log_tail())));
            }
        }
    }
    Ok(())
}

/// What an operator does; what was done, if anything.
async fn operate(cluster: &Arc<Cluster>, what: &What) -> Result<Option<&'static str>, Change> {
    let client = cluster.client(OPERATOR_MAX)?;
    let members = cluster.members(&client).await?;
    let ids: Vec<NodeId> = members.members.iter().map(|member| member.id).collect();
    let leader = members.members.iter().find(|member| member.leader).map(|member| member.id);
    let other = ids.iter().copied().find(|id| Some(*id) != leader);
    // The leader itself leaves as often as not: by the index, which is as good as a die.
    let victim = if members.index.is_some_and(|index| index % 2 == 0) { leader.or(other) } else { other };
    let room = cluster.nodes().len() < NODES_MAX;
    match what {
        What::Transfer => {
            let Some(id) = other else { return Ok(None) };
            let Done { .. } = client.admin("transfer-leader", &MemberId { id }).await?;
            Ok(Some("operator: leadership handed over"))
        }
        What::Snapshot => {
            let SnapshotReply { .. } = client.admin("snapshot", &serde_json::json!({})).await?;
            Ok(Some("operator: snapshots taken"))
        }
        What::RemoveMember if ids.len() >= NODES => {
            let Some(id) = victim else { return Ok(None) };
            cluster.remove(&client, id).await?;
            Ok(Some("operator: members removed"))
        }
        What::AddMember if room => {
            let node = cluster.add_node().await?;
            cluster.answers(&node).await?;
            cluster.join(&node).await?;
            loop {
                match client.admin::<Done>("promote", &MemberId { id: node.id }).await {
                    Err(ClientError::Refused(error)) if error.code == "learner_not_ready" => {
                        tokio::time::sleep(ASK_TIMEOUT).await;
                    }
                    result => {
                        let Done { .. } = result?;
                        return Ok(Some("operator: members added"));
                    }
                }
            }
        }
        What::ReplaceMember if room => {
            let Some(old) = victim else { return Ok(None) };
            let node = cluster.add_node().await?;
            cluster.answers(&node).await?;
            let new = cluster.describe(&node).await?;
            if let Some(node) = cluster.node(old) {
                node.leaving.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            let Done { .. } = client.admin("replace", &ReplaceRequest { old, new }).await?;
            Ok(Some("operator: members replaced"))
        }
        _ => Ok(None),
    }
}

/// The nodes that a step hits.
async fn find(cluster: &Cluster, whom: Whom) -> Result<Vec<Arc<Node>>, Trouble> {
    let nodes = cluster.nodes();
    let from = |first: u64, count: usize| {
        let first = usize::try_from(first).unwrap_or(0).checked_rem(nodes.len()).unwrap_or(0);
        nodes.iter().cycle().skip(first).take(count.min(nodes.len())).cloned().collect()
    };
    Ok(match whom {
        Whom::All => nodes.clone(),
        Whom::Majority(first) => from(first, nodes.len() / 2 + 1),
        Whom::Any(first) => from(first, 1),
        Whom::Leader => match leader(cluster, &nodes).await? {
            Some(leader) => vec![leader],
            None => from(0, 1),
        },
    })
}

/// Who leads, by the word of the one that says so in the highest term.
async fn leader(cluster: &Cluster, nodes: &[Arc<Node>]) -> Result<Option<Arc<Node>>, Trouble> {
    let mut asked = JoinSet::new();
    for node in nodes {
        let client = cluster.client_of(node)?.with_timeout(ASK_TIMEOUT);
        asked.spawn(async move { client.status(false).await });
    }
    let mut newest = None;
    while let Some(answer) = asked.join_next().await {
        if let Ok(Ok(answer)) = answer {
            newest = newest.max(answer.node.leader.map(|leader| (answer.node.term, leader)));
        }
    }
    Ok(newest.and_then(|(_, leader)| cluster.node(leader)))
}

/// The links that a shape stands for.
async fn links(cluster: &Cluster, shape: Shape) -> Result<Vec<Link>, Trouble> {
    let ids: Vec<Place> = cluster.nodes().iter().map(|node| node.id).collect();
    let at = |number: u64| {
        let place = usize::try_from(number).unwrap_or(0).checked_rem(ids.len()).unwrap_or(0);
        ids.get(place).copied().unwrap_or(CLIENTS)
    };
    let hit: BTreeSet<Place> = match shape {
        Shape::Leader | Shape::FromLeader | Shape::ToLeader => {
            find(cluster, Whom::Leader).await?.iter().map(|node| node.id).collect()
        }
        Shape::LeaderAndOne(other) => {
            find(cluster, Whom::Leader).await?.iter().map(|node| node.id).chain([at(other)]).collect()
        }
        Shape::Two(first) => BTreeSet::from([at(first), at(first + 1)]),
        Shape::One(from, _) => BTreeSet::from([at(from)]),
        Shape::Clients(node) => {
            return Ok(vec![(CLIENTS, at(node)), (at(node), CLIENTS)]);
        }
        Shape::Ring | Shape::All => BTreeSet::new(),
    };
    let place = |id: Place| ids.iter().position(|other| *other == id).unwrap_or(0);
    let apart = |from, to| {
        let distance = place(from).abs_diff(place(to));
        distance > 1 && distance + 1 < ids.len()
    };
    let pairs = ids.iter().flat_map(|from| ids.iter().map(|to| (*from, *to))).filter(|(from, to)| from != to);
    Ok(pairs
        .filter(|(from, to)| match shape {
            Shape::Leader | Shape::LeaderAndOne(_) | Shape::Two(_) => hit.contains(from) != hit.contains(to),
            Shape::FromLeader => hit.contains(from),
            Shape::ToLeader => hit.contains(to),
            Shape::One(_, other) => hit.contains(from) && *to == at(other),
            Shape::Ring => apart(*from, *to),
            Shape::All => true,
            Shape::Clients(_) => false,
        })
        .collect())
}

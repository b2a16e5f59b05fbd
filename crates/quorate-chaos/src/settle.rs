//! What must hold once all faults have ended: a write succeeds, the members are whole, all nodes are alike, and what
//! the clients saw can be put in one order.

use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use quorate_server::api::Pair;
use quorate_server::client::Client;
use quorate_server::client::ClientError;
use quorate_server::client::Consistency;
use quorate_server::client::RangeQuery;
use quorate_sim::linearizability;
use quorate_sim::linearizability::Operation;
use quorate_sim::linearizability::Verdict;
use quorate_sim::linearizability::What;
use tokio::time::Instant;

use crate::clients;
use crate::clients::Ledger;
use crate::clients::Op;
use crate::cluster::Cluster;
use crate::cluster::Node;
use crate::report::Tally;
use crate::report::Trouble;

/// How long after the last fault the cluster may take to do a write: some elections, and the start of processes, on a
/// machine that may be busy with much else.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// How long after that each node may take to have all of it.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);

/// How long one attempt takes.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);

const PAUSE: Duration = Duration::from_millis(20);

/// Who reads and writes here, in histories.
const SETTLER: u64 = 0;

/// Waits until a write succeeds, which must be soon.
pub(crate) async fn recover(cluster: &Cluster, ledger: &Ledger, key: String) -> Result<(), Trouble> {
    let healed = Instant::now();
    let client = cluster.client(ATTEMPT_MAX)?;
    loop {
        let (began, value) = (ledger.now(), ledger.fresh_value());
        let what = What::Put(value);
        let error = match client.put(&key, clients::body(value, 100)).await {
            Ok(written) => {
                ledger.stands_at(value, written.revision);
                ledger.record(Operation { client: SETTLER, key, began, ended: Some(ledger.now()), what });
                cluster.tally.longest("longest until a write succeeded, all faults over", healed.elapsed());
                return Ok(());
            }
            Err(error) => error,
        };
        if matches!(error, ClientError::OutcomeUnknown { .. }) {
            ledger.record(Operation { client: SETTLER, key: key.clone(), began, ended: None, what });
        }
        if healed.elapsed() > RECOVERY_MAX {
            let seconds = RECOVERY_MAX.as_secs();
            let how = format!("no write succeeds within {seconds} s of the end of all faults: {error}");
            return Err(Trouble::Violation(format!("{how}\n{}", states(cluster).await)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads each key on each node, and compares what the nodes hold.
pub(crate) async fn compare(
    cluster: &Cluster,
    ledger: &Ledger,
    round: u64,
    keys: u64,
) -> Result<(), Trouble> {
    let since = Instant::now();
    for node in cluster.nodes() {
        let client = cluster.client_of(&node)?.with_timeout(ATTEMPT_MAX);
        for number in 0..keys {
            read(cluster, ledger, &node, &client, clients::key(round, number), since).await?;
        }
    }
    alike(cluster, &format!("round-{round}/"), since).await?;
    cluster.tally.longest("longest until all nodes were alike", since.elapsed());
    Ok(())
}

async fn read(
    cluster: &Cluster,
    ledger: &Ledger,
    node: &Node,
    client: &Client,
    key: String,
    since: Instant,
) -> Result<(), Trouble> {
    loop {
        let began = ledger.now();
        let error = match client.get(&key, Consistency::Linearizable).await {
            Ok(value) => {
                let found = value.and_then(|value| ledger.number(&key, &value));
                let what = What::Get(found);
                ledger.record(Operation { client: SETTLER, key, began, ended: Some(ledger.now()), what });
                cluster.tally.add("acknowledged: get, when all was over");
                return Ok(());
            }
            Err(error) => error,
        };
        if since.elapsed() > CATCH_UP_MAX {
            let how = format!("node {} does not read within {} s: {error}", node.id, CATCH_UP_MAX.as_secs());
            return Err(Trouble::Violation(format!("{how}\n{}", states(cluster).await)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until all nodes are at one revision, and compares what they hold at it.
pub(crate) async fn alike(cluster: &Cluster, prefix: &str, since: Instant) -> Result<(), Trouble> {
    loop {
        let mut dumps = Vec::new();
        let mut failed = None;
        for node in cluster.nodes() {
            let client = cluster.client_of(&node)?.with_timeout(ATTEMPT_MAX);
            match dump(&client, prefix).await {
                Ok(Some((revision, pairs))) => dumps.push((node.id, revision, pairs)),
                Ok(None) => failed = Some(format!("node {} still changes", node.id)),
                Err(error) => failed = Some(format!("node {}: {error}", node.id)),
            }
        }
        if let (None, Some((first, revision, pairs))) = (&failed, dumps.first()) {
            for (node, other, others) in dumps.iter().skip(1).filter(|(_, other, _)| other == revision) {
                if pairs != others {
                    let odd = pairs.iter().zip(others).find(|(one, other)| one != other);
                    return Err(Trouble::Violation(format!(
                        "nodes {first} and {node} differ at revision {other}: {} and {} pairs, first {odd:.200?}",
                        pairs.len(),
                        others.len()
                    )));
                }
            }
            if dumps.iter().all(|(_, other, _)| other == revision) {
                return Ok(());
            }
        }
        if since.elapsed() > CATCH_UP_MAX {
            let seconds = CATCH_UP_MAX.as_secs();
            let how = format!("the nodes are not at one revision within {seconds} s ({failed:?})");
            return Err(Trouble::Violation(format!("{how}\n{}", states(cluster).await)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What one node holds, and at which revision; `None` if that changed between two pages.
async fn dump(client: &Client, prefix: &str) -> Result<Option<(u64, Vec<Pair>)>, ClientError> {
    let mut range = RangeQuery { prefix: prefix.to_owned(), ..RangeQuery::default() };
    let mut pairs = Vec::new();
    let mut revision = None;
    loop {
        let page = client.range(&range, Consistency::Stale).await?;
        if *revision.get_or_insert(page.revision) != page.revision {
            return Ok(None);
        }
        pairs.extend(page.entries);
        match page.next {
            Some(next) => range.start = Some(next),
            None => return Ok(Some((page.revision, pairs))),
        }
    }
}

/// Each node in a line, for whoever looks into it.
async fn states(cluster: &Cluster) -> String {
    let mut text = String::new();
    for node in cluster.nodes() {
        let status = match cluster.client_of(&node) {
            Ok(client) => {
                client.with_timeout(ATTEMPT_MAX).status(false).await.map_err(|error| error.to_string())
            }
            Err(error) => Err(format!("{error:?}")),
        };
        let line = status.map_or_else(
            |error| error,
            |status| {
                let node = status.node;
                format!(
                    "{} in term {}, leader {:?}, log {:?}, committed {:?}, applied {:?}, warnings {:?}",
                    node.role,
                    node.term,
                    node.leader,
                    node.last_log,
                    node.committed,
                    node.applied,
                    node.warnings
                )
            },
        );
        text.push_str(&format!("    node {}: {line}\n", node.id));
    }
    text
}

/// Checks what was seen in a round, and begins a new history. Gives the longest time without a write done.
pub(crate) fn check(ledger: &Ledger, tally: &Arc<Tally>) -> Result<(), Trouble> {
    ledger.first_wrong()?;
    let history = std::mem::take(&mut *ledger.history.lock().unwrap_or_else(PoisonError::into_inner));
    tally.add_many("operations checked", history.len() as u64);
    tally.longest("longest without an acknowledged write", outage(&history));
    let verdict = judge(&history);
    if verdict.is_err() {
        // For whoever looks into it.
        *ledger.history.lock().unwrap_or_else(PoisonError::into_inner) = history;
    }
    verdict
}

fn judge(history: &[Op]) -> Result<(), Trouble> {
    match linearizability::check(history) {
        Verdict::Linearizable => Ok(()),
        Verdict::Violation(found) => Err(Trouble::Violation(format!("not linearizable: {found}"))),
        Verdict::Undecided { key, limit } => {
            Err(Trouble::Violation(format!("nobody knows whether {key} is linearizable: too many {limit}")))
        }
    }
}

/// The longest time in which no write was acknowledged, from the first to the last.
fn outage(history: &[Op]) -> Duration {
    let writes = history.iter().filter(|operation| !matches!(operation.what, What::Get(_)));
    let mut ended: Vec<u64> = writes.filter_map(|operation| operation.ended).collect();
    ended.sort_unstable();
    let gaps = ended.windows(2).map(|pair| pair.iter().rev().copied().reduce(|last, first| last - first));
    Duration::from_micros(gaps.flatten().max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> Vec<Op> {
        let op = |client, began, ended, what| {
            let key = "k".to_owned();
            Operation { client, key, began, ended, what }
        };
        vec![
            op(1, 0, Some(10), What::Put(1)),
            op(2, 5, None, What::Put(2)),
            op(3, 20, Some(30), What::Get(Some(2))),
            op(1, 40, Some(900), What::Cas { expect: Some(2), new: 3, met: true }),
            op(2, 1000, Some(1001), What::Get(Some(3))),
        ]
    }

    fn ledger(history: Vec<Op>) -> Ledger {
        let ledger = Ledger::new(Arc::default());
        *ledger.history.lock().unwrap() = history;
        ledger
    }

    #[test]
    fn a_history_that_is_well_is_counted_and_put_away() {
        let (ledger, tally) = (ledger(history()), Arc::default());
        assert_eq!(check(&ledger, &tally), Ok(()));
        assert_eq!(tally.count("operations checked"), 5);
        assert_eq!(*ledger.history.lock().unwrap(), []);
        assert_eq!(outage(&history()), Duration::from_micros(890));
    }

    #[test]
    fn a_history_with_one_answer_altered_is_a_violation_and_kept() {
        let mut altered = history();
        altered[4].what = What::Get(Some(2));
        let ledger = ledger(altered);
        let Err(Trouble::Violation(found)) = check(&ledger, &Arc::default()) else { panic!("not found") };
        assert!(found.contains("get: 2   <-- not this"), "{found}");
        assert_eq!(ledger.history.lock().unwrap().len(), 5);
    }

    #[test]
    fn a_write_that_was_said_to_have_changed_nothing_is_a_violation_if_it_is_seen() {
        let mut told = history();
        told.remove(1);
        assert!(matches!(judge(&told), Err(Trouble::Violation(_))));
    }
}

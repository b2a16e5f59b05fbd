//! The clients: what they do to a few keys while all goes wrong, and what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use quorate_server::client::Client;
use quorate_server::client::ClientError;
use quorate_server::client::Consistency;
use quorate_server::machine::Expect;
use quorate_server::machine::Value;
use quorate_sim::dice::Dice;
use quorate_sim::linearizability::Operation;
use quorate_sim::linearizability::What;
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::plan::Plan;
use crate::report::Tally;
use crate::report::Trouble;

/// Clients at a time.
pub(crate) const CLIENTS: u64 = 15;

/// How many of them stay with one node each and read more than they write: whoever is out of date shall be asked.
const LOYAL: u64 = 6;

/// The shortest time that a client waits for an answer.
const TIMEOUT_MIN_MS: u64 = 200;

/// An operation on one of our keys; the values are numbers that no other write has.
pub(crate) type Op = Operation<String, u64>;

/// What all clients share.
pub(crate) struct Ledger {
    started: Instant,
    next_value: AtomicU64,
    pub(crate) history: Mutex<Vec<Op>>,
    /// The revision of each value: who sees it must see the same.
    revisions: Mutex<BTreeMap<u64, u64>>,
    wrong: Mutex<Vec<String>>,
    tally: Arc<Tally>,
}

impl Ledger {
    pub(crate) fn new(tally: Arc<Tally>) -> Self {
        Self {
            started: Instant::now(),
            next_value: AtomicU64::new(1),
            history: Mutex::default(),
            revisions: Mutex::default(),
            wrong: Mutex::default(),
            tally,
        }
    }

    /// Microseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn fresh_value(&self) -> u64 {
        self.next_value.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn record(&self, operation: Op) {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    /// Notes at which revision a value stands, and that nobody may see it at another: a command runs once.
    pub(crate) fn stands_at(&self, value: u64, revision: u64) {
        let mut revisions = self.revisions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = *revisions.entry(value).or_insert(revision);
        drop(revisions);
        if known != revision {
            self.wrong(format!("value {value} was written twice: at revision {known}, and at {revision}"));
        }
    }

    /// The number in a value that was read; it must be one that a client wrote, to the last byte.
    pub(crate) fn number(&self, key: &str, read: &Value) -> Option<u64> {
        let number = number(&read.bytes);
        match number {
            Some(number) => self.stands_at(number, read.revision),
            None => {
                let begin =
                    String::from_utf8_lossy(read.bytes.get(..read.bytes.len().min(60)).unwrap_or_default());
                self.wrong(format!("key {key} holds what nobody wrote, {} bytes: {begin}", read.bytes.len()));
            }
        }
        number
    }

    pub(crate) fn wrong(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What clients found wrong at sight.
    pub(crate) fn first_wrong(&self) -> Result<(), Trouble> {
        match self.wrong.lock().unwrap_or_else(PoisonError::into_inner).first() {
            Some(wrong) => Err(Trouble::Violation(wrong.clone())),
            None => Ok(()),
        }
    }
}

/// The bytes of a value: its number, its length, and what fills it.
pub(crate) fn body(number: u64, length: u64) -> Bytes {
    let mut text = format!("{number} {length} ");
    let wanted = usize::try_from(length).unwrap_or(usize::MAX).max(text.len());
    let letter = char::from(b'a'.wrapping_add(u8::try_from(number % 26).unwrap_or(0)));
    text.extend(std::iter::repeat_n(letter, wanted - text.len()));
    text.into()
}

/// The number of a value, if it is whole.
fn number(bytes: &[u8]) -> Option<u64> {
    let mut fields = bytes.splitn(3, |byte| *byte == b' ');
    let mut next = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (number, length) = (next()?, next()?);
    // A length that was damaged must not ask for memory.
    let plausible = length <= bytes.len() as u64 + 64;
    (plausible && body(number, length) == bytes).then_some(number)
}

/// One client.
pub(crate) struct Worker {
    pub(crate) number: u64,
    pub(crate) dice: Dice,
    pub(crate) round: u64,
    pub(crate) plan: Arc<Plan>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) cluster: Arc<Cluster>,
}

impl Worker {
    /// Works until it is told to stop; finishes what it is at.
    pub(crate) async fn run(mut self, stop: watch::Receiver<bool>) -> Result<(), Trouble> {
        // Some are patient; the others are back soon while a node is halted.
        let timeout_max = u64::try_from(self.plan.timeout.as_millis()).unwrap_or(u64::MAX);
        let timeout = TIMEOUT_MIN_MS + self.dice.below(timeout_max);
        let client = self.cluster.client(std::time::Duration::from_millis(timeout))?;
        let mut last: BTreeMap<String, Option<u64>> = BTreeMap::new();
        while !*stop.borrow() {
            let key = key(self.round, self.dice.below(self.plan.keys));
            let loyal = self.number <= LOYAL;
            let client = if loyal { self.own_node(&client) } else { client.clone() };
            let began = self.ledger.now();
            match self.dice.below(if loyal { 30 } else { 10 }) {
                4..7 => self.put(&client, key, began, &mut last).await,
                7..9 => self.cas(&client, key, began, &mut last).await,
                9 => self.delete(&client, key, began, &mut last).await,
                _ => self.get(&client, key, began, &mut last).await,
            }
            let longest = u64::try_from(self.plan.pause.as_micros()).unwrap_or(u64::MAX);
            tokio::time::sleep(std::time::Duration::from_micros(self.dice.below(longest))).await;
        }
        Ok(())
    }

    /// The same client for the node that it stays with, which hands on what it cannot answer.
    fn own_node(&self, client: &Client) -> Client {
        let nodes = self.cluster.nodes();
        let place = usize::try_from(self.number).unwrap_or(0).checked_rem(nodes.len());
        match place.and_then(|place| nodes.get(place)) {
            Some(node) => client.pinned(&node.client_addr.to_string()),
            None => client.clone(),
        }
    }

    fn length(&mut self) -> u64 {
        self.dice.below(self.plan.value_bytes)
    }

    async fn get(
        &mut self,
        client: &Client,
        key: String,
        began: u64,
        last: &mut BTreeMap<String, Option<u64>>,
    ) {
        match client.get(&key, Consistency::Linearizable).await {
            Ok(value) => {
                let found = value.and_then(|value| self.ledger.number(&key, &value));
                last.insert(key.clone(), found);
                self.acknowledged(key, began, What::Get(found));
            }
            Err(error) => self.failed(key, began, What::Get(None), &error),
        }
    }

    async fn put(
        &mut self,
        client: &Client,
        key: String,
        began: u64,
        last: &mut BTreeMap<String, Option<u64>>,
    ) {
        let (value, length) = (self.ledger.fresh_value(), self.length());
        match client.put(&key, body(value, length)).await {
            Ok(written) => {
                self.ledger.stands_at(value, written.revision);
                last.insert(key.clone(), Some(value));
                self.acknowledged(key, began, What::Put(value));
            }
            Err(error) => self.failed(key, began, What::Put(value), &error),
        }
    }

    async fn delete(
        &mut self,
        client: &Client,
        key: String,
        began: u64,
        last: &mut BTreeMap<String, Option<u64>>,
    ) {
        match client.delete(&key).await {
            Ok(_) => {
                last.insert(key.clone(), None);
                self.acknowledged(key, began, What::Delete);
            }
            Err(error) => self.failed(key, began, What::Delete, &error),
        }
    }

    async fn cas(
        &mut self,
        client: &Client,
        key: String,
        began: u64,
        last: &mut BTreeMap<String, Option<u64>>,
    ) {
        // What is expected is told by its bytes, so they must be known: by the revision they stand at.
        let expect = last.get(&key).copied().flatten();
        let revision = expect.and_then(|value| {
            self.ledger.revisions.lock().unwrap_or_else(PoisonError::into_inner).get(&value).copied()
        });
        let (expect, condition) = match (expect, revision) {
            (Some(value), Some(revision)) => (Some(value), Expect::Revision(revision)),
            _ => (None, Expect::Absent),
        };
        let (new, length) = (self.ledger.fresh_value(), self.length());
        let what = |met| What::Cas { expect, new, met };
        match client.cas(&key, &condition, &body(new, length)).await {
            Ok(written) => {
                self.ledger.stands_at(new, written.revision);
                last.insert(key.clone(), Some(new));
                self.acknowledged(key, began, what(true));
            }
            Err(ClientError::Refused(error)) if error.code == "mismatch" => {
                last.remove(&key);
                self.acknowledged(key, began, what(false));
            }
            Err(error) => self.failed(key, began, what(true), &error),
        }
    }

    fn acknowledged(&self, key: String, began: u64, what: What<u64>) {
        let ended = Some(self.ledger.now());
        self.ledger.tally.add(match what {
            What::Get(_) => "acknowledged: get",
            What::Put(_) => "acknowledged: put",
            What::Delete => "acknowledged: delete",
            What::Cas { .. } => "acknowledged: compare-and-set",
        });
        self.ledger.record(Operation { client: self.number, key, began, ended, what });
    }

    fn failed(&self, key: String, began: u64, what: What<u64>, error: &ClientError) {
        let tally = &self.ledger.tally;
        match error {
            _ if matches!(what, What::Get(_)) => tally.add("failed: get"),
            // It says that it changed nothing: if it did after all, the value will be seen that nobody wrote.
            ClientError::Refused(_) | ClientError::NotAccepted { .. } | ClientError::Unavailable { .. } => {
                tally.add("failed: write that changed nothing");
            }
            ClientError::OutcomeUnknown { .. } | ClientError::Protocol { .. } => {
                tally.add("unknown outcome");
                self.ledger.record(Operation { client: self.number, key, began, ended: None, what });
            }
        }
        if let ClientError::Protocol { .. } = error {
            tally.add("answers that made no sense");
        }
    }
}

/// The keys of a round are its own, so that histories stay short.
pub(crate) fn key(round: u64, number: u64) -> String {
    format!("round-{round}/key-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        Ledger::new(Arc::default())
    }

    #[test]
    fn a_value_is_known_by_its_number_and_whole() {
        for length in [0, 5, 6, 100] {
            assert_eq!(number(&body(17, length)), Some(17));
        }
        let mut damaged = body(17, 100).to_vec();
        damaged[50] ^= 1;
        assert_eq!(number(&damaged), None);
        assert_eq!(number(&body(17, 100)[..99]), None);
        assert_eq!(number(b"17 18446744073709551615 x"), None);
    }

    #[test]
    fn a_value_at_two_revisions_is_wrong() {
        let ledger = ledger();
        ledger.stands_at(1, 10);
        ledger.stands_at(1, 10);
        assert_eq!(ledger.first_wrong(), Ok(()));
        ledger.stands_at(1, 11);
        assert!(matches!(ledger.first_wrong(), Err(Trouble::Violation(_))));
    }

    #[test]
    fn a_value_that_nobody_wrote_is_wrong() {
        let ledger = ledger();
        let value = |bytes: Bytes| Value { bytes, revision: 3 };
        assert_eq!(ledger.number("k", &value(body(4, 20))), Some(4));
        assert_eq!(ledger.first_wrong(), Ok(()));
        assert_eq!(ledger.number("k", &value("17".into())), None);
        assert!(ledger.first_wrong().is_err());
    }
}

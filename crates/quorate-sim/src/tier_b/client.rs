//! The clients: what they ask over the network, how a node answers, and what they remember of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use quorate::RaftState;
use quorate::ReadPolicy;
use quorate::errors::ClientWriteError;
use quorate::errors::LinearizableReadError;
use quorate::errors::RaftError;
use quorate::raft::linearizable_read::Linearizer;
use quorate::raft::linearizable_read::ReadLogId;
use quorate_node::testing::Command;
use quorate_node::testing::decode;
use quorate_node::testing::encode;
use quorate_rt::AsyncRuntime;
use quorate_server::machine;
use quorate_server::machine::Expect;
use quorate_server::machine::Response;
use serde::Deserialize;
use serde::Serialize;

use crate::invariants::quorum;
use crate::linearizability::Operation;
use crate::linearizability::What;
use crate::tier_b::frames;
use crate::tier_b::frames::Kind;
use crate::tier_b::net::ADDRESSES;
use crate::tier_b::net::Broken;
use crate::tier_b::net::Net;
use crate::tier_b::observer::hash_of_command;
use crate::tier_b::runtime::SimRuntime;
use crate::tier_b::server::Server;
use crate::tier_b::types::LogId;
use crate::tier_b::types::Types;
use crate::tier_b::world;

/// How often a client follows a hint before it gives up.
const HOPS_MAX: u64 = 6;
/// How long a read that waits to be applied waits on a node.
const READY_MAX: Duration = Duration::from_secs(2);

/// What a client asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound = "")]
enum Request<C: Types> {
    Write(machine::Command),
    Read {
        key: String,
        lease: bool,
    },
    /// What a read must see, for a read on another node.
    Linearizer {
        lease: bool,
    },
    ReadAt {
        key: String,
        log_id: LogId<C>,
    },
}

/// What it is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound = "")]
enum Answer<C: Types> {
    Written(Response),
    Value(Option<Bytes>),
    MustSee(LogId<C>),
    /// Nothing was done here; the leader may be there.
    Elsewhere(Option<u64>),
    /// It may be done yet, or not.
    Unknown,
}

/// Answers a client at a node.
pub async fn answer<C: Types>(server: &Server<C>, message: &[u8]) -> Result<Bytes, Broken> {
    let request: Request<C> = decode(message).map_err(|_| Broken::Reset)?;
    let answer: Answer<C> = match request {
        Request::Write(command) => write(server, &command).await,
        Request::Read { key, lease } => {
            let floor = server.watch.floor();
            match server.raft.ensure_linearizable(policy(lease)).await {
                Ok(_) => Answer::Value(value(server, &key, floor)),
                Err(error) => refused(&error),
            }
        }
        Request::Linearizer { lease } => {
            let floor = server.watch.floor();
            match server.raft.get_read_linearizer(policy(lease)).await {
                Ok(linearizer) => {
                    let log_id = linearizer.read_log_id().log_id().clone();
                    server.watch.awaits(server.id, floor, log_id.index + 1);
                    Answer::MustSee(log_id)
                }
                Err(error) => refused(&error),
            }
        }
        Request::ReadAt { key, log_id } => {
            let floor = log_id.index + 1;
            let linearizer = Linearizer::new(server.id, ReadLogId::from_log_id(log_id), None);
            match linearizer.try_await_ready(&server.raft, Some(READY_MAX)).await {
                Ok(Ok(_)) => Answer::Value(value(server, &key, floor)),
                _ => Answer::Elsewhere(None),
            }
        }
    };
    encode(&answer).map_err(|_| Broken::Reset)
}

fn policy(lease: bool) -> ReadPolicy {
    if lease { ReadPolicy::LeaseRead } else { ReadPolicy::ReadIndex }
}

/// What a key holds, in a state that has to have all below `floor`.
fn value<C: Types>(server: &Server<C>, key: &str, floor: u64) -> Option<Bytes> {
    let state = server.shared.read();
    let seen = state.position.applied.as_ref().map_or(0, |last| last.index + 1);
    server.watch.read(server.id, floor, seen);
    state.machine.get(key).map(|value| value.bytes)
}

async fn write<C: Types>(server: &Server<C>, command: &machine::Command) -> Answer<C> {
    let Ok(payload) = encode(command) else { return Answer::Elsewhere(None) };
    let command = Command::new(payload);
    let hash = hash_of_command(&command);
    server.watch.asked(hash);
    let written = server.raft.client_write(command).await;
    match written {
        Ok(written) => {
            server.watch.acknowledged(&written.log_id, hash);
            if let Some(holders) = server.watch.lacks_quorum(&written.log_id) {
                check_quorum(server, &written.log_id, holders).await;
            }
            decode(&written.data.0).map_or(Answer::Unknown, Answer::Written)
        }
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
            server.watch.refused(hash);
            Answer::Elsewhere(forward.leader_id)
        }
        Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) | RaftError::Fatal(_)) => {
            Answer::Unknown
        }
        Err(RaftError::APIError(_)) => {
            server.watch.refused(hash);
            Answer::Elsewhere(None)
        }
    }
}

/// I7: `holders`, who have an entry, are a quorum of the membership in force here. It may be on its way to the log yet.
async fn check_quorum<C: Types>(server: &Server<C>, log_id: &LogId<C>, holders: BTreeSet<u64>) {
    let sets = |state: &RaftState<C>| state.membership_state.effective().get_joint_config().clone();
    let Ok(sets) = server.raft.with_raft_state(sets).await else { return };
    if !quorum::is_quorum(&sets, |id| holders.contains(&id)) {
        let text = format!("I7: {log_id} is acknowledged, and only {holders:?} of {sets:?} have it on disk");
        server.watch.violated(text);
    }
}

fn refused<C: Types>(error: &RaftError<C, LinearizableReadError<C>>) -> Answer<C> {
    Answer::Elsewhere(error.forward_to_leader().and_then(|forward| forward.leader_id))
}

pub type Op = Operation<u64, u64>;

/// What all clients did and saw.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    /// One that is under way, or whose outcome nobody knows, stays open; one that was not done is taken out.
    operations: Vec<Option<Op>>,
    values: u64,
    quiet: bool,
    pub tally: ClientTally,
    wrong: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTally {
    pub writes: u64,
    pub reads: u64,
    pub leased: u64,
    pub elsewhere: u64,
    pub unknown: u64,
    pub refused: u64,
}

impl History {
    fn with<T>(&self, f: impl FnOnce(&mut Record) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn operations(&self) -> Vec<Op> {
        self.with(|record| record.operations.iter().flatten().cloned().collect())
    }

    pub fn tally(&self) -> ClientTally {
        self.with(|record| record.tally.clone())
    }

    /// No client begins anything more.
    pub fn end(&self) {
        self.with(|record| record.quiet = true);
    }

    /// I16: what was read that nobody wrote.
    pub fn wrong(&self) -> Option<String> {
        self.with(|record| record.wrong.clone())
    }

    fn new_value(&self) -> u64 {
        self.with(|record| {
            record.values += 1;
            record.values
        })
    }
}

/// How clients behave in one run.
#[derive(Clone, Debug)]
pub struct Habits {
    pub clients: u64,
    pub keys: u64,
    /// How many times in 10 a client writes.
    pub writes: u64,
    /// Reads by the lease, where the promises hold that they rest on.
    pub lease_reads: bool,
    pub follower_reads: bool,
    /// The longest pause between two operations.
    pub pause_ns_max: u64,
    pub timeout: Duration,
    pub value_bytes_max: u64,
}

/// One client.
pub struct Client<C: Types> {
    pub number: u64,
    pub net: Net<C>,
    pub history: History,
    pub habits: Habits,
    /// The nodes that it knows.
    pub nodes: Vec<u64>,
    /// Who it believes to lead.
    pub leader: Option<u64>,
}

/// How an operation ended.
enum Ended<C: Types> {
    With(Answer<C>),
    /// It was not done, and will not be.
    NotDone,
    /// Nobody knows.
    Open,
}

impl<C: Types> Client<C> {
    /// Goes on until the history ends.
    pub async fn run(mut self) {
        while !self.history.with(|record| record.quiet) {
            SimRuntime::sleep(Duration::from_nanos(world::below(self.habits.pause_ns_max))).await;
            self.one().await;
        }
    }

    async fn one(&mut self) {
        let key = world::below(self.habits.keys);
        if world::chance(self.habits.writes, 10) {
            self.write(key).await;
        } else {
            self.read(key).await;
        }
    }

    /// One write, whose outcome, if it is not known, stays open for ever: it is never tried again.
    pub async fn write(&mut self, key: u64) -> bool {
        let new = self.history.new_value();
        let name = name_of(key);
        let value = bytes_of(new, self.habits.value_bytes_max);
        let known = self.history.with(|record| {
            let last = record.operations.iter().rev().flatten().find(|op| op.key == key);
            last.and_then(|op| match op.what {
                What::Put(value) => Some(value),
                What::Cas { new, met: true, .. } => Some(new),
                What::Get(value) => value,
                _ => None,
            })
        });
        let (what, command): (What<u64>, machine::Command) = match world::below(10) {
            0 => (What::Delete, machine::Command::Delete { key: name }),
            1..4 => {
                let expect = known.filter(|_| world::chance(9, 10));
                let expected = match expect {
                    Some(expect) => Expect::Value(bytes_of(expect, self.habits.value_bytes_max)),
                    None => Expect::Absent,
                };
                let command = machine::Command::Cas { key: name, expect: expected, value };
                (What::Cas { expect, new, met: false }, command)
            }
            _ => (What::Put(new), machine::Command::Put { key: name, value }),
        };
        let open = Operation { client: self.number, key, began: world::now_ns(), ended: None, what };
        let place = self.history.with(|record| {
            record.operations.push(Some(open));
            record.operations.len() - 1
        });
        let ended = self.ask(Request::Write(command), None).await;
        self.history.with(|record| match ended {
            Ended::With(Answer::Written(response)) => {
                record.tally.writes += 1;
                if let Some(Some(op)) = record.operations.get_mut(place) {
                    op.ended = Some(world::now_ns());
                    if let What::Cas { met, .. } = &mut op.what {
                        *met = matches!(response, Response::Written { .. });
                    }
                }
                true
            }
            Ended::NotDone => {
                record.tally.refused += 1;
                record.operations[place] = None;
                false
            }
            _ => {
                record.tally.unknown += 1;
                false
            }
        })
    }

    /// One read; one whose answer did not come says nothing.
    pub async fn read(&mut self, key: u64) -> bool {
        let lease = self.habits.lease_reads && world::chance(1, 2);
        let began = world::now_ns();
        let by_follower = self.habits.follower_reads && world::chance(1, 3);
        let ended = if by_follower {
            match self.ask(Request::Linearizer { lease }, None).await {
                Ended::With(Answer::MustSee(log_id)) => {
                    let node = self.any_node();
                    self.ask(Request::ReadAt { key: name_of(key), log_id }, Some(node)).await
                }
                other => other,
            }
        } else {
            self.ask(Request::Read { key: name_of(key), lease }, None).await
        };
        let Ended::With(Answer::Value(found)) = ended else { return false };
        let value = match found.map(|bytes| (value_of(&bytes, self.habits.value_bytes_max), bytes)) {
            None => None,
            Some((Some(value), _)) => Some(value),
            Some((None, bytes)) => {
                let text = format!("I16: key {key} holds {bytes:?}, which nobody wrote");
                self.history.with(|record| record.wrong.get_or_insert(text).clone());
                return false;
            }
        };
        let ended = Some(world::now_ns());
        self.history.with(|record| {
            if lease {
                record.tally.leased += 1;
            } else {
                record.tally.reads += 1;
            }
            let what = What::Get(value);
            record.operations.push(Some(Operation { client: self.number, key, began, ended, what }));
        });
        true
    }

    fn any_node(&self) -> u64 {
        self.nodes[world::below(self.nodes.len() as u64) as usize]
    }

    /// Asks the leader, wherever it is, or `only` one node.
    async fn ask(&mut self, request: Request<C>, only: Option<u64>) -> Ended<C> {
        let Ok(message) = encode(&request) else { return Ended::NotDone };
        let frame = frames::seal(Kind::Client, &message);
        for _ in 0..HOPS_MAX {
            let to = only.or(self.leader).unwrap_or_else(|| self.any_node());
            let from = ADDRESSES + self.number;
            let answer = self.net.call(from, to, frame.clone(), self.habits.timeout).await;
            let answer = answer.and_then(|frame| {
                let (_, message) = frames::open(&frame).ok_or(Broken::Reset)?;
                decode::<Answer<C>>(&message).map_err(|_| Broken::Reset)
            });
            self.leader = Some(to);
            match answer {
                Ok(Answer::Elsewhere(leader)) => {
                    self.history.with(|record| record.tally.elsewhere += 1);
                    self.leader = leader.filter(|leader| *leader != to);
                    if only.is_some() {
                        return Ended::NotDone;
                    }
                    let patience = if self.leader.is_some() { 5_000_000 } else { 300_000_000 };
                    SimRuntime::sleep(Duration::from_nanos(world::below(patience))).await;
                }
                Ok(Answer::Unknown) => return Ended::Open,
                Ok(answer) => return Ended::With(answer),
                Err(Broken::Refused) => {
                    // Nobody was there: it cannot have been done.
                    self.leader = None;
                    if only.is_some() {
                        return Ended::NotDone;
                    }
                }
                Err(Broken::Reset | Broken::Silent) => {
                    self.leader = None;
                    return Ended::Open;
                }
            }
        }
        Ended::NotDone
    }
}

fn name_of(key: u64) -> String {
    format!("key-{key}")
}

/// A value that tells its number, and is padded in a way that follows from it.
fn bytes_of(value: u64, bytes_max: u64) -> Bytes {
    let mut dice = crate::dice::Dice(value);
    let length = dice.below(bytes_max.max(1)) as usize;
    let mut bytes = value.to_le_bytes().to_vec();
    bytes.extend((0..length).map(|_| dice.roll() as u8));
    bytes.into()
}

/// The number of a value; none if these are not bytes that anybody wrote.
fn value_of(bytes: &Bytes, bytes_max: u64) -> Option<u64> {
    let value = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    (bytes_of(value, bytes_max) == *bytes).then_some(value)
}

//! Every way in which this crate can say no. Each text names the cause and the way out.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::member::{ClusterId, NodeId};

/// Why a command was certainly not applied and never will be: proposing it again is safe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum NotAccepted {
    /// No leader was found in time.
    #[error("no leader was known within {} ms; check that a majority of the voters is up", waited.as_millis())]
    NoLeader {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The leader is known and cannot be reached, or has lost touch with the other voters.
    #[error("node {leader}, the leader, took nothing within {} ms ({cause}); check that it and a majority of the voters are up, and the network between the nodes", waited.as_millis())]
    LeaderUnreachable {
        /// The leader.
        leader: NodeId,
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt ran into.
        cause: String,
    },
    /// The command cannot be encoded, or the leader cannot decode it.
    #[error(
        "the command is not one that the cluster understands ({cause}); do the nodes run the same version?"
    )]
    Invalid {
        /// What the codec said.
        cause: String,
    },
}

/// Why it is not known whether a command was, or may yet be, applied: proposing it again may apply it twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum OutcomeUnknown {
    /// The leader took it and gave no answer in time.
    #[error("no answer within {} ms; read the state before trying again", waited.as_millis())]
    Timeout {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The connection to the leader broke while the answer was due.
    #[error(
        "the connection to node {leader}, the leader, broke ({cause}); read the state before trying again"
    )]
    ConnectionLost {
        /// The leader.
        leader: NodeId,
        /// What broke it.
        cause: String,
    },
    /// The command was applied, and the response cannot be read here.
    #[error("the answer to the command cannot be read ({cause}); do the nodes run the same version?")]
    Unreadable {
        /// What the codec said.
        cause: String,
    },
    /// The leader lost its office before the command was committed; its successor may or may not have it.
    #[error("the leader changed before the command was committed; read the state before trying again")]
    LeaderChanged,
    /// The node stopped while the command was on its way.
    #[error("the node stopped while the command was on its way ({0}); read the state before trying again")]
    Stopped(StopReason),
}

/// Why [`Node::propose`](crate::Node::propose) gave no response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum ProposeError {
    /// The command was not and will not be applied. Safe to propose again.
    #[error("not accepted: {0}")]
    NotAccepted(#[from] NotAccepted),
    /// The command may have been, or may yet be, applied.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(#[from] OutcomeUnknown),
    /// The encoded command is longer than the cluster's limit. It was not accepted.
    #[error("not accepted: the command takes {size} bytes, the limit is {max}; split it")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Too many proposals are on their way. It was not accepted.
    #[error("not accepted: too many proposals in flight; try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The node belongs to no cluster yet. It was not accepted.
    #[error("not accepted: this node belongs to no cluster yet; found one (init) or join one (join)")]
    Uninitialized,
    /// The node has stopped. It was not accepted.
    #[error("not accepted: {0}")]
    Stopped(StopReason),
}

impl ProposeError {
    /// Whether the command was certainly not applied, so that proposing it again is safe.
    pub fn is_safe_to_retry(&self) -> bool {
        !matches!(self, Self::OutcomeUnknown(_))
    }
}

/// Why a linearizable read gave nothing. Reading again is always safe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum ReadError {
    /// No leader could confirm itself.
    #[error("cannot read: {0}")]
    NoLeader(#[from] NotAccepted),
    /// The leader answered, and this node did not catch up in time.
    #[error("cannot read: index {wanted} was not applied here within {} ms (applied: {applied:?}); read elsewhere, or stale", waited.as_millis())]
    Lagging {
        /// The index that had to be applied first.
        wanted: u64,
        /// The index that is applied.
        applied: Option<u64>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The node belongs to no cluster yet.
    #[error("cannot read: this node belongs to no cluster yet; found one (init) or join one (join)")]
    Uninitialized,
    /// The node has stopped.
    #[error("cannot read: {0}")]
    Stopped(StopReason),
}

/// Why a node stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum StopReason {
    /// It was told to, or its last handle was dropped.
    #[error("the node was shut down")]
    Shutdown,
    /// Peers say that it was removed from the cluster. Its data is kept.
    #[error(
        "this node was removed from the cluster at log index {index}; to come back, start it with a fresh data directory and a new id, and join"
    )]
    Removed {
        /// The log index of its removal.
        index: u64,
    },
    /// Another process with the same data identity is alive and newer.
    #[error(
        "another process runs with this node's identity ({cause}); was the data directory copied? stop one of them"
    )]
    Fenced {
        /// What the peer that noticed said.
        cause: String,
    },
    /// The cluster knows this node's number with another data directory: the disk was wiped or replaced.
    #[error(
        "the cluster knows this node with another data directory ({cause}); replace the member (member replace) under a new id"
    )]
    UnknownNode {
        /// What the peer that noticed said.
        cause: String,
    },
    /// A disk failed, data is damaged, or the state machine panicked. Nothing was answered after it.
    #[error("the node stopped after a failure: {cause}")]
    Fatal {
        /// What failed.
        cause: String,
    },
}

/// Why a change of the membership was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum MembershipError {
    /// The change was not and will not be made. Safe to ask again.
    #[error("not accepted: {0}")]
    NotAccepted(#[from] NotAccepted),
    /// The change may have been, or may yet be, made; look at the members. Asking again is safe: a change that was
    /// made already answers with success.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(#[from] OutcomeUnknown),
    /// Too many of the voters that remain would be silent, or too many would leave at once.
    #[error("refused: {voters} voters would need {needed} alive, and {live} are; {advice}")]
    WouldLoseQuorum {
        /// The number of voters that the vote would depend on.
        voters: usize,
        /// How many of them make a majority.
        needed: usize,
        /// How many of them stay and answer.
        live: usize,
        /// What to do instead.
        advice: String,
    },
    /// Nobody would be left to vote.
    #[error("refused: a cluster needs a voter; add and promote another member first")]
    EmptyVoters,
    /// The learner has not caught up.
    #[error(
        "refused: learner {id} is not ready: it lacks {}; a learner may be promoted within {lag_max} entries; check that it runs and can be reached, and try again",
        lag_text(lag)
    )]
    LearnerNotReady {
        /// The learner.
        id: NodeId,
        /// How many entries it lacks; `None` if it never answered.
        lag: Option<u64>,
        /// How many it may lack.
        lag_max: u64,
    },
    /// Another change is not finished.
    #[error("refused: the membership change at log index {index:?} is not finished; try again when it is")]
    ChangeInProgress {
        /// The log index of the change that is under way.
        index: Option<u64>,
    },
    /// The number belongs to a member with another data directory.
    #[error(
        "refused: id {id} is a member, at {addr_a}, with another data directory than the node at {addr_b}; if its disk was lost, replace the member (member replace) by a node with a new id, else give the second node another id"
    )]
    DuplicateNode {
        /// The number that both claim.
        id: NodeId,
        /// Where the member is.
        addr_a: String,
        /// Where the other one is.
        addr_b: String,
    },
    /// The number was removed from the cluster before.
    #[error(
        "refused: id {id} was removed at log index {removed_at}, and ids are never used again; choose a new one and start with a fresh data directory"
    )]
    IdReused {
        /// The number.
        id: NodeId,
        /// The log index of its removal.
        removed_at: u64,
    },
    /// The address belongs to another member.
    #[error("refused: {addr} is the address of member {member}; give the address of node {id}")]
    AddressInUse {
        /// The address.
        addr: String,
        /// The member that has it.
        member: NodeId,
        /// The node that was to have it.
        id: NodeId,
    },
    /// The number is no member's.
    #[error("refused: node {id} is not a member; see the list of members")]
    UnknownNode {
        /// The number.
        id: NodeId,
    },
    /// A learner was named where only a voter will do.
    #[error("refused: node {id} is a learner; promote it first")]
    NotVoter {
        /// The number.
        id: NodeId,
    },
    /// The description of the member makes no sense.
    #[error("refused: {cause}")]
    Invalid {
        /// What is wrong with it.
        cause: String,
    },
    /// The node belongs to no cluster yet.
    #[error("refused: this node belongs to no cluster yet; found one (init) or join one (join)")]
    Uninitialized,
    /// The node has stopped.
    #[error("refused: {0}")]
    Stopped(StopReason),
}

fn lag_text(lag: &Option<u64>) -> String {
    match lag {
        Some(entries) => format!("{entries} entries"),
        None => "the whole log (it has not answered yet)".to_owned(),
    }
}

/// Why a cluster was not founded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InitError {
    /// The node belongs to a cluster that another record founded.
    #[error(
        "this node belongs to cluster {cluster} already; to found another, start with a fresh data directory"
    )]
    AlreadyInitialized {
        /// The cluster.
        cluster: ClusterId,
    },
    /// The founding record could not be stored.
    #[error("cannot store the founding record: {cause}")]
    Io {
        /// What the file system said.
        cause: String,
    },
    /// The founder did not become leader of its own cluster in time; it will go on trying.
    #[error("founded, and not leading after {} ms; look at the node's status", waited.as_millis())]
    NotLeading {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The node has stopped.
    #[error("cannot found a cluster: {0}")]
    Stopped(StopReason),
}

/// Why a cluster was not joined.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JoinError {
    /// The node belongs to a cluster, and the address to another.
    #[error(
        "this node belongs to cluster {ours}, and {addr} to cluster {theirs}; to change clusters, start with a fresh data directory and a new id"
    )]
    WrongCluster {
        /// The address that was asked.
        addr: String,
        /// The cluster of this node.
        ours: ClusterId,
        /// The cluster behind the address.
        theirs: ClusterId,
    },
    /// The address is the node's own.
    #[error("{addr} is this node's own address; give the address of a member")]
    SelfConnection {
        /// The address.
        addr: String,
    },
    /// Nobody answered in time, or whoever answers does not speak the protocol.
    #[error("no member answered at {addr} within {} ms ({cause}); check the address and that the member runs", waited.as_millis())]
    Unreachable {
        /// The address.
        addr: String,
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt ran into.
        cause: String,
    },
    /// The cluster said no.
    #[error(transparent)]
    Refused(#[from] MembershipError),
    /// The cluster's id could not be stored.
    #[error("cannot store the id of the cluster: {cause}")]
    Io {
        /// What the file system said.
        cause: String,
    },
    /// The node has stopped.
    #[error("cannot join a cluster: {0}")]
    Stopped(StopReason),
}

/// Why a node did not start. Nothing was changed on the disk, unless a text says so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartError {
    /// An option is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The directory holds no node, and nothing was said about what to do with it.
    #[error("{} holds no data; either found a new cluster with it (found, `--found`) or join one (join, `--join ADDR`)", dir.display())]
    NoData {
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory belongs to a node of another number.
    #[error("{} belongs to node {found}, not to node {expected}; give the right directory or the right id", dir.display())]
    WrongNode {
        /// The data directory.
        dir: PathBuf,
        /// The number that was asked for.
        expected: NodeId,
        /// The number in the directory.
        found: NodeId,
    },
    /// A running process uses the directory.
    #[error("{} is in use by process {}; stop it, or give another directory", dir.display(), pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    DataDirLocked {
        /// The data directory.
        dir: PathBuf,
        /// The process that holds it, if it could be told.
        pid: Option<u32>,
    },
    /// A file was written by a newer version. It was not touched.
    #[error("{} has format {found}, this version reads up to {max}; run the version that wrote it, or a newer one", file.display())]
    FormatTooNew {
        /// The file.
        file: PathBuf,
        /// Its format version.
        found: u32,
        /// The highest version that is read.
        max: u32,
    },
    /// The file that says who the node is cannot be trusted.
    #[error("{} is damaged ({cause}); restore it from a copy, or replace the member under a new id", file.display())]
    CorruptIdentity {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The file system refused something.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the file system said.
        cause: String,
    },
    /// The disk is full: a start has a few bytes to write before it may answer anybody.
    #[error("no space left for {}; make room on its file system and start again, nothing is lost", path.display())]
    NoSpace {
        /// The file or directory.
        path: PathBuf,
    },
    /// The log or a snapshot cannot be read.
    #[error("cannot open the node's log and snapshots: {cause}")]
    Storage {
        /// What is wrong with them.
        cause: String,
    },
    /// The address to listen on could not be had.
    #[error(
        "cannot listen on {addr} after {attempts} attempts ({cause}); free the port, or give another address"
    )]
    Bind {
        /// The address.
        addr: String,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt ran into.
        cause: String,
    },
    /// The cluster could not be founded.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The cluster could not be joined.
    #[error(transparent)]
    Join(#[from] JoinError),
}

impl StartError {
    /// What the file system refused, and what to do about it.
    pub(crate) fn io(action: &'static str, path: &Path, error: &io::Error) -> Self {
        let way_out = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                return Self::NoSpace { path: path.to_owned() };
            }
            io::ErrorKind::ReadOnlyFilesystem => "; mount it for writing, or give another directory",
            io::ErrorKind::PermissionDenied => {
                "; let the user who runs the node write to it, or give another directory"
            }
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "; give another directory",
            _ => "",
        };
        Self::Io { action, path: path.to_owned(), cause: format!("{error}{way_out}") }
    }
}

/// Which option is out of its range, and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A follower would start elections between two heartbeats.
    #[error("the shortest election timeout is {} ms and the heartbeat interval {} ms; it must be at least {min_ratio} times as long", election.as_millis(), heartbeat.as_millis())]
    ElectionTooShort {
        /// The shortest election timeout.
        election: Duration,
        /// The heartbeat interval.
        heartbeat: Duration,
        /// How many heartbeats must fit.
        min_ratio: u32,
    },
    /// The range of election timeouts is empty.
    #[error("election timeouts from {} ms to {} ms leave no room for chance; the longest must exceed the shortest", min.as_millis(), max.as_millis())]
    ElectionRange {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// A value is outside of its range.
    #[error("{name} is {value}; it must be between {min} and {max}")]
    OutOfRange {
        /// The name of the option.
        name: &'static str,
        /// What was given.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// An address is not of the form `host:port`.
    #[error("{name} is {addr:?}; it must be host:port")]
    Address {
        /// The name of the option.
        name: &'static str,
        /// What was given.
        addr: String,
    },
    /// The address would be advertised to others, and means nothing to them.
    #[error("{addr} cannot be reached by others; set the address to advertise (advertise_addr)")]
    Unspecified {
        /// The address.
        addr: String,
    },
    /// The node is told to join itself.
    #[error("{addr} is this node's own address, and was given as the member to join; give another member's")]
    SelfConnection {
        /// The address.
        addr: String,
    },
}

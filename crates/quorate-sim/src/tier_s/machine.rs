//! The types of tier S, and a state machine that any wrong command shows in.

use std::io;
use std::io::Read;
use std::io::Write;

use quorate::type_config::alias;
use quorate_log::LogStore;
use quorate_log::Postcard;
use quorate_log::sim_disk::SimDisk;
use quorate_node::Member;
use quorate_node::StateMachine;
use quorate_node::testing;
use quorate_node::testing::Command;
use quorate_node::testing::Reply;

use crate::dice::Dice;
use crate::tier_b::runtime::SimRuntime;

quorate::declare_raft_types!(
    /// What the server uses, on the simulated runtime.
    pub Types:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = Member,
        AsyncRuntime = SimRuntime,
);

pub type LogId = alias::LogIdOf<Types>;
pub type Entry = alias::EntryOf<Types>;
pub type Payload = alias::EntryPayloadOf<Types>;
pub type Vote = alias::VoteOf<Types>;
pub type Log = LogStore<Types, Postcard, SimDisk>;
pub type Machine = testing::Machine<Chain, Types, SimDisk>;
pub type Shared = testing::Shared<Chain, Types>;
pub type Snapshots = testing::Snapshots<Types, SimDisk>;
pub type SnapshotFile = testing::SnapshotFile<Types, SimDisk>;

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(quorate::vote::leader_id_adv::LeaderId { term, node_id: 1 }, index)
}

/// A chain over all commands, and a long text that follows from it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chain {
    pub hash: u64,
    last: u64,
    text: Vec<u8>,
}

/// The link after `hash`.
pub fn linked(hash: u64, index: u64, command: &[u8]) -> u64 {
    Dice(hash.rotate_left(7) ^ index ^ u64::from(crc32c::crc32c(command))).roll()
}

fn text_of(hash: u64) -> Vec<u8> {
    let mut dice = Dice(hash);
    let words = dice.below(400);
    (0..words).flat_map(|_| dice.roll().to_le_bytes()).collect()
}

impl Chain {
    /// Whether the text is the one that belongs to the chain.
    pub fn is_whole(&self) -> bool {
        self.last == 0 || self.text == text_of(self.hash)
    }
}

impl StateMachine for Chain {
    type Command = Vec<u8>;
    type Response = u64;
    type Frozen = (u64, u64, Vec<u8>);

    fn apply(&mut self, index: u64, command: Vec<u8>) -> u64 {
        assert!(index >= self.last, "I10: entry {index} is applied after {}", self.last);
        self.hash = linked(self.hash, index, &command);
        self.last = index + 1;
        self.text = text_of(self.hash);
        self.hash
    }

    fn freeze(&self) -> Self::Frozen {
        (self.hash, self.last, self.text.clone())
    }

    fn write_snapshot((hash, last, text): Self::Frozen, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&hash.to_le_bytes())?;
        out.write_all(&last.to_le_bytes())?;
        out.write_all(&text)
    }

    fn read_snapshot(&self, input: &mut dyn Read) -> io::Result<Self> {
        let mut word = [0; 8];
        input.read_exact(&mut word)?;
        let hash = u64::from_le_bytes(word);
        input.read_exact(&mut word)?;
        let last = u64::from_le_bytes(word);
        let mut text = Vec::new();
        input.read_to_end(&mut text)?;
        Ok(Self { hash, last, text })
    }
}

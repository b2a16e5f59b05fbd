//! Three replicas of the core that talk, and a fuzzer between them: it changes terms, indexes, ids, commits and
//! memberships in their messages, sends them twice or in another order, and makes up its own.
//!
//! A peer that lies may break what the cluster promises. What one node promises must hold all the same: no panic, and
//! its own invariants, or it says which is broken and stops.

mod lies;
mod node;

use quorate_core::ids::{LogId, Vote, leader_id_adv};
use quorate_core::message::{AppendReply, Ticket, Transfer, VoteReply, VoteRequest};
use quorate_core::{Membership, Options, Time};

use crate::input::Input;
use node::Node;

type L = leader_id_adv::LeaderId<u64, u64>;
type Id = LogId<L>;

/// Most messages under way; more are lost.
const MESSAGES_MAX: usize = 64;
/// Most steps of one input.
const STEPS_MAX: usize = 256;

/// An entry as it travels: its id, and its membership if it holds one.
type Entry = (Id, Option<Membership<u64>>);

#[derive(Clone, Debug)]
enum Body {
    PreVote(VoteRequest<L>),
    Vote(VoteRequest<L>),
    Transfer(Transfer<L>),
    Append {
        vote: Vote<L>,
        prev: Option<Id>,
        entries: Vec<Entry>,
        commit: Option<Id>,
    },
    Snapshot {
        vote: Vote<L>,
        last: Id,
        at: Option<Id>,
        membership: Membership<u64>,
    },
    VoteReply(VoteReply<L>),
    AppendReply(AppendReply<L>),
    SnapshotReply(Vote<L>),
    /// No answer came.
    Lost,
}

/// What the asking node remembers of its request; it comes back with the answer, and nobody else sees it.
#[derive(Clone, Debug)]
enum Context {
    None,
    PreVote(Vote<L>),
    Vote(Vote<L>),
    Append { ticket: Ticket, prev: Option<Id> },
    Heartbeat(Ticket),
    Snapshot { ticket: Ticket, last: Option<Id> },
}

#[derive(Clone, Debug)]
struct Message {
    from: u64,
    to: u64,
    body: Body,
    context: Context,
}

struct Talk {
    nodes: Vec<Node>,
    net: Vec<Message>,
    now_ms: u64,
}

/// Plays the conversation that the input describes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let start = input.byte();
    let options = Options {
        pre_vote: start & 1 == 1,
        send_unflushed: start & 2 == 2,
        restore_leader: start & 2 == 0,
        payload_entries_max: 3,
        inflight_entries_max: 8,
        snapshot_after: Some(4),
        keep_in_log: 1,
        ..Options::default()
    };
    let mut talk = Talk {
        nodes: (1..=3).map(|id| Node::new(id, options.clone())).collect(),
        net: Vec::new(),
        now_ms: 1000,
    };
    if start & 4 == 0 {
        talk.found();
    }
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        talk.step(&mut input);
    }
}

impl Talk {
    fn now(&self) -> Time {
        Time(std::time::Duration::from_millis(self.now_ms))
    }

    /// An honest beginning: node 1 founds a cluster of all three, and leads it.
    fn found(&mut self) {
        let now = self.now();
        self.nodes[0].initialize(now);
        for round in 0..8 {
            self.settle();
            if round == 5 {
                self.nodes[0].propose(now, 2);
            }
        }
    }

    /// Everyone does what there is to do, and what is under way arrives.
    fn settle(&mut self) {
        for at in 0..self.nodes.len() {
            self.work(at);
        }
        for _ in 0..self.net.len() {
            self.deliver(0, None);
        }
    }

    fn step(&mut self, input: &mut Input) {
        let step = input.byte();
        let at = input.below(self.nodes.len());
        match step % 16 {
            0..=2 => self.deliver(usize::from(input.byte()), None),
            3 | 4 => self.deliver(usize::from(input.byte()), Some(input)),
            5 => {
                if let Some(message) = self.pick(usize::from(input.byte())) {
                    self.post(vec![message]);
                }
            }
            6 => self.lose(usize::from(input.byte())),
            7 => {
                self.now_ms += u64::from(input.byte());
                let (now, dice) = (self.now(), input.number());
                self.nodes[at].timeout(now, dice);
                self.work(at);
            }
            8 | 9 => self.work(at),
            10 => self.nodes[at].flush_one(Time(std::time::Duration::from_millis(self.now_ms))),
            11 => {
                let now = self.now();
                self.nodes[at].client(now, input);
                self.check(at);
            }
            12 | 13 => {
                let mut message = lies::request(input);
                message.to = at as u64 + 1;
                self.arrive(message);
            }
            14 => {
                // An answer of another kind than the one that is owed, or a made up one.
                if let Some(mut message) = self.pick(usize::from(input.byte())) {
                    message.body = lies::answer(input);
                    self.arrive(message);
                }
            }
            _ => {
                self.now_ms += u64::from(input.byte()) / 4;
                self.settle();
            }
        }
    }

    fn pick(&self, at: usize) -> Option<Message> {
        self.net.get(at.checked_rem(self.net.len())?).cloned()
    }

    fn post(&mut self, messages: Vec<Message>) {
        let room = MESSAGES_MAX.saturating_sub(self.net.len());
        self.net.extend(messages.into_iter().filter(|message| (1..=3).contains(&message.to)).take(room));
    }

    fn work(&mut self, at: usize) {
        let now = self.now();
        let messages = self.nodes[at].work(now);
        self.post(messages);
        self.check(at);
    }

    fn lose(&mut self, at: usize) {
        let Some(at) = at.checked_rem(self.net.len()) else { return };
        let Message { from, to, body, context } = self.net.remove(at);
        let is_answer = matches!(body, Body::VoteReply(_) | Body::AppendReply(_) | Body::SnapshotReply(_));
        let (from, to) = if is_answer { (from, to) } else { (to, from) };
        if !matches!(body, Body::Lost) {
            self.post(vec![Message { from, to, body: Body::Lost, context }]);
        }
    }

    /// Takes a message off the network and hands it over, changed if there is something to change it by.
    fn deliver(&mut self, at: usize, changes: Option<&mut Input>) {
        let Some(at) = at.checked_rem(self.net.len()) else { return };
        let mut message = self.net.remove(at);
        if let Some(input) = changes {
            lies::change(&mut message, input);
        }
        self.arrive(message);
    }

    fn arrive(&mut self, message: Message) {
        let now = self.now();
        let Some(at) = message.to.checked_sub(1).and_then(|at| usize::try_from(at).ok()) else { return };
        let Some(node) = self.nodes.get_mut(at) else { return };
        let answer = node.receive(now, message);
        self.post(answer.into_iter().collect());
        self.check(at);
    }

    /// A node's own invariants hold, or it has said which one is broken.
    fn check(&mut self, at: usize) {
        let node = &self.nodes[at];
        if let Err(broken) = node.replica.check() {
            assert_eq!(
                node.replica.broken(),
                Some(broken),
                "node {} does not know that it is broken",
                at + 1
            );
        }
    }
}

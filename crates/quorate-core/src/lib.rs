//! The Raft protocol as a pure, synchronous value.
//!
//! A [`Replica`] is one member of a cluster. It does no I/O, reads no clock, rolls no dice, spawns nothing, and never
//! sees a payload: only log ids, votes, members and indexes. Whoever owns it (under a lock, in a task, in a simulator)
//! steps it through its doors and does what it asks for. The same inputs give the same outputs, always.
//!
//! # The doors, as one story
//!
//! **Time** comes in as an argument. [`deadline`](Replica::deadline) says when the replica next wants to be woken;
//! [`timeout`](Replica::timeout) wakes it, with a fresh random number. That is how campaigns and heartbeats begin.
//!
//! **Clients** come in by [`propose`](Replica::propose), [`propose_membership`](Replica::propose_membership) and
//! [`read`](Replica::read); a new cluster by [`initialize`](Replica::initialize). The caller keeps the payload, in the
//! order of the entries, until the log store asks for it.
//!
//! **The log store** is one loop that pulls [`next_write`](Replica::next_write) and does each write before the next.
//! It reports [`written`](Replica::written) when a reader would see it, [`flushed`](Replica::flushed) when it and all
//! before it are durable, [`commit_saved`](Replica::commit_saved) and [`purge_finished`](Replica::purge_finished).
//! Entries that the replica itself proposes come out of [`take_born`](Replica::take_born).
//!
//! **Each peer** has a loop that pulls questions ([`next_ask`](Replica::next_ask)), signs of life
//! ([`next_heartbeat`](Replica::next_heartbeat)), entries ([`next_append`](Replica::next_append), then
//! [`sent`](Replica::sent)) and snapshots ([`next_snapshot`](Replica::next_snapshot)), and reports the answers, or
//! that there was none ([`peer_lost`](Replica::peer_lost)). What is pulled is computed then, so it is never stale.
//!
//! **Messages of others** come in by [`vote_request`](Replica::vote_request),
//! [`pre_vote_request`](Replica::pre_vote_request), [`append`](Replica::append), [`install`](Replica::install) and
//! [`transfer_request`](Replica::transfer_request). A reply that rests on the disk is a [`message::Reply`]: it may
//! leave when the write that it names is flushed, and not before.
//!
//! **The state machine** is a loop that pulls [`next_apply`](Replica::next_apply),
//! [`next_install`](Replica::next_install) and [`next_build`](Replica::next_build), and reports
//! [`applied_to`](Replica::applied_to), [`installed`](Replica::installed) and [`built`](Replica::built).
//!
//! After each step, [`ready`](Replica::ready) and [`peer_ready`](Replica::peer_ready) say which loops have something
//! to pull, [`take_events`](Replica::take_events) what is worth telling, and [`check`](Replica::check) whether every
//! invariant that one node can see still holds.
//!
//! # A leader among three
//!
//! ```
//! use std::collections::BTreeSet;
//!
//! use quorate_core::ids::leader_id_std::LeaderId;
//! use quorate_core::work::{Ask, Write};
//! use quorate_core::{Membership, Options, Replica, ServerState, Stored, Time};
//!
//! type Node = Replica<LeaderId<u64, u64>>;
//!
//! // A log store that is always done at once.
//! fn do_writes(node: &mut Node) {
//!     while let Some(write) = node.next_write() {
//!         match write {
//!             Write::Vote { seq, .. } | Write::Append { seq, .. } | Write::Truncate { seq, .. } => {
//!                 node.written(seq);
//!                 node.flushed(Time::ZERO, seq);
//!             }
//!             Write::Purge { upto } => node.purge_finished(&upto),
//!             Write::Committed { commit } => node.commit_saved(commit),
//!         }
//!     }
//! }
//!
//! let mut nodes: Vec<Node> = (1..=3)
//!     .map(|id| Replica::new(id, Options::default(), Stored::default(), Time::ZERO, 7))
//!     .collect();
//!
//! // One node founds the cluster, and campaigns. It asks for votes when its own is durable.
//! let members = Membership::new(vec![BTreeSet::from([1, 2, 3])], []);
//! nodes[0].initialize(Time::ZERO, 7, members).unwrap();
//! assert!(nodes[0].next_ask(&2).is_none());
//! do_writes(&mut nodes[0]);
//!
//! let Some(Ask::Vote(request)) = nodes[0].next_ask(&2) else { panic!("it asks node 2") };
//! let reply = nodes[1].vote_request(Time::ZERO, &request);
//! assert!(nodes[1].flushed_seq() < reply.after, "the answer waits for the disk of node 2");
//! do_writes(&mut nodes[1]);
//! assert!(nodes[1].flushed_seq() >= reply.after, "now it may leave");
//!
//! // Two of three are a quorum.
//! nodes[0].vote_answer(Time::ZERO, &2, &request.vote, &reply.message);
//! assert_eq!(nodes[0].server_state(), ServerState::Leader);
//! nodes[0].check().unwrap();
//! ```
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`ids`] | terms, leader ids in two modes, votes, log ids |
//! | [`log`], [`membership`], [`quorum`] | the shape of the log; who votes; what is enough |
//! | [`message`], [`work`] | what replicas say to each other; what one asks of its caller |
//! | [`options`] | what an operator may choose; time |
//!
//! The replica itself is written by concern: election, follower, leader, replication, reconfiguration, transfer,
//! reads, compaction. Its invariants are listed, with their numbers, at [`Replica`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bounds;
pub mod ids;
pub mod log;
pub mod membership;
pub mod message;
pub mod options;
pub mod quorum;
pub mod work;

mod compact;
mod election;
mod follower;
mod leader;
#[cfg(quorate_mutants)]
pub mod mutants;
#[cfg(not(quorate_mutants))]
mod mutants;
mod progress;
mod read;
mod reconfigure;
mod replica;
mod replication;
mod transfer;

pub use election::InitializeRefusal;
pub use follower::Appended;
pub use follower::Install;
pub use leader::Leader;
pub use leader::Refusal;
pub use membership::Membership;
pub use membership::Placed;
pub use options::Options;
pub use options::Time;
pub use progress::Mode;
pub use progress::Progress;
pub use read::Read;
pub use reconfigure::ChangeRefusal;
pub use replica::Broken;
pub use replica::Replica;
pub use replica::ServerState;
pub use replica::Stored;

//! Small things that values tell, and what they become.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::time::Duration;

use quorate::BasicNode;
use quorate::EmptyNode;
use quorate::Membership;
use quorate::ServerState;
use quorate::entry::RaftEntry;
use quorate::errors::*;
use quorate::raft::*;
use quorate::type_config::alias::EntryOf;

use crate::types::*;

#[test]
fn nodes_come_from_whatever_names_them_in_the_order_of_their_ids() {
    let configs = || vec![ids([1, 2])];
    let named = BTreeMap::from([(1, node("a")), (2, node("b"))]);
    let unordered: HashMap<u64, BasicNode> = [(2, node("b")), (1, node("a"))].into();
    let from_unordered = Membership::<u64, BasicNode>::new(configs(), unordered).unwrap();
    assert_eq!(from_unordered, Membership::new(configs(), named).unwrap());
    let bare = Membership::<u64, ()>::new(configs(), ids([1, 2, 3])).unwrap();
    assert_eq!(bare.learner_ids().collect::<Vec<u64>>(), [3]);
    let empty = Membership::<u64, EmptyNode>::new(configs(), ids([1, 2, 3])).unwrap();
    assert_eq!(empty.get_node(&3), Some(&EmptyNode::new()));
    let none = Membership::<u64, BasicNode>::new(configs(), ());
    assert!(none.is_err(), "voters need nodes");
}

#[test]
fn one_state_at_a_time() {
    use ServerState::*;
    for state in [Learner, Follower, Candidate, Leader] {
        let is = [state.is_learner(), state.is_follower(), state.is_candidate(), state.is_leader()];
        assert_eq!(is.into_iter().filter(|is| *is).count(), 1, "{state:?}");
    }
    assert!(Learner.is_learner() && Follower.is_follower() && Candidate.is_candidate() && Leader.is_leader());
}

#[test]
fn an_answer_in_a_stream_is_an_answer_to_one_request() {
    let conflict = StreamAppendError::Conflict(log_id(1, 2, 3));
    let answers: [(StreamAppendResult<Adv>, AppendEntriesResponse<Adv>); 3] = [
        (Ok(Some(log_id(1, 2, 3))), AppendEntriesResponse::PartialSuccess(Some(log_id(1, 2, 3)))),
        (Err(conflict), AppendEntriesResponse::Conflict),
        (Err(StreamAppendError::HigherVote(vote(2, 3))), AppendEntriesResponse::HigherVote(vote(2, 3))),
    ];
    for (streamed, alone) in answers {
        assert_eq!(alone.is_conflict(), matches!(streamed, Err(StreamAppendError::Conflict(_))));
        assert_eq!(AppendEntriesResponse::from(streamed), alone);
    }
}

#[test]
fn a_written_entry_tells_its_id_answer_and_membership() {
    let written = ClientWriteResponse::<Adv> {
        log_id: log_id(1, 2, 3),
        data: "done".to_owned(),
        membership: Some(membership()),
    };
    assert_eq!((written.log_id(), written.response().as_str()), (&log_id(1, 2, 3), "done"));
    assert_eq!(written.membership().as_ref(), Some(&membership()));
}

#[test]
fn an_entry_takes_another_place() {
    let mut entry = EntryOf::<Adv>::new_blank(log_id(1, 2, 3));
    entry.set_log_id(log_id(4, 5, 6));
    assert_eq!(entry.log_id(), log_id(4, 5, 6));
    assert_eq!(entry.get_membership(), None);
    let voters = BTreeSet::from([1, 2]);
    let with = EntryOf::<Adv>::new_membership(log_id(1, 2, 3), membership());
    assert_eq!(with.get_membership().map(|membership| membership.voter_ids().collect()), Some(voters));
}

#[test]
fn errors_of_calls_fit_into_those_that_carry_more() {
    let unreachable = || Unreachable::<Adv>::from_string("no route");
    let timeout = || Timeout::<Adv> {
        action: quorate::RPCTypes::Vote,
        id: 1,
        target: 2,
        timeout: Duration::from_millis(5),
    };
    let network = || NetworkError::<Adv>::from_string("reset");
    let errors: [RPCError<Adv>; 3] = [unreachable().into(), timeout().into(), network().into()];
    for error in errors {
        let text = error.to_string();
        let wider: RPCError<Adv, RaftError<Adv, ClientWriteError<Adv>>> = error.clone().with_raft_error();
        assert_eq!(wider.to_string(), text);
        assert_eq!(wider.forward_to_leader(), None);
        assert!(StreamingError::from(error).to_string().contains(&text));
    }
}

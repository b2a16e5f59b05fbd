//! What an operator sets or sets off, and what it does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_core::ChangeRefusal;
use quorate_core::Membership;
use quorate_core::Options;
use quorate_core::Refusal;
use quorate_core::ServerState;
use quorate_core::message::AppendReply;
use quorate_core::work::Event;
use quorate_core::work::Write;
use quorate_sim::tier_a::Cluster;
use quorate_sim::tier_a::Std;
use quorate_sim::tier_a::wire::Body;

fn founded(count: u64, options: Options) -> Cluster<Std> {
    let mut cluster: Cluster<Std> = Cluster::new(Options { snapshot_after: None, ..options }, 1, None);
    for _ in 0..count {
        cluster.add_node(Default::default());
    }
    cluster.initialize(1, (1..=count).collect());
    cluster.stabilize();
    assert_eq!(cluster.leader(), Some(1));
    cluster
}

fn uniform(voters: &[u64]) -> Membership<u64> {
    Membership::new(vec![voters.iter().copied().collect::<BTreeSet<u64>>()], [])
}

fn state(cluster: &Cluster<Std>, id: u64) -> ServerState {
    cluster.node(id).replica.server_state()
}

/// The sizes of the appends that wait for the log store.
fn appends(cluster: &mut Cluster<Std>) -> Vec<u64> {
    let mut replica = cluster.node(1).replica.clone();
    let writes = std::iter::from_fn(|| replica.next_write());
    let appends = writes.filter_map(|write| match write {
        Write::Append { first, last, .. } => Some(last.index - first + 1),
        _ => None,
    });
    appends.collect()
}

#[test]
fn entries_go_to_the_log_store_in_pieces_no_larger_than_set() {
    let options = Options { write_entries_max: 4, ..Options::default() };
    let mut cluster = founded(1, options);
    cluster.propose(1, 10).unwrap();
    assert_eq!(appends(&mut cluster), [4, 4, 2]);
    // What comes later joins the last piece, as far as that has room.
    cluster.propose(1, 3).unwrap();
    cluster.propose(1, 1).unwrap();
    assert_eq!(appends(&mut cluster), [4, 4, 4, 2]);
    let last = cluster.propose(1, 1).unwrap();
    cluster.stabilize();
    assert!(cluster.ghost.canon.has(&last));
}

/// Links fail in one direction: the others hear the leader, and it hears nobody. What it tries to send again and again
/// would keep them from electing another as well as heartbeats would (seed 2085 of the simulator).
#[test]
fn a_leader_that_lost_its_quorum_is_silent_with_entries_and_reads_too() {
    let silence = Options::default().election_timeout_max * 3;
    let options = Options { quorum_loss_probe_interval: Some(silence), ..Options::default() };
    let mut cluster = founded(3, options);
    cluster.cut.extend([(2, 1), (3, 1)]);
    cluster.propose(1, 3).unwrap();
    for _ in 0..40 {
        cluster.run(100);
        let _ = cluster.read(1);
        if cluster.leader() != Some(1) {
            break;
        }
    }
    let leader = cluster.leader().unwrap();
    assert_ne!(leader, 1);
    let last = cluster.propose(leader, 1).unwrap();
    cluster.stabilize();
    assert!(cluster.ghost.canon.has(&last));
}

/// Found by seed 2027420: a leader that hears nobody was never replaced, for whoever could win waited too long.
#[test]
fn who_was_refused_for_a_greater_log_and_has_caught_up_since_waits_no_longer_than_others() {
    let mut cluster = founded(3, Options { pre_vote: true, ..Options::default() });
    cluster.cut.insert((1, 3));
    cluster.propose(1, 3).unwrap();
    let patience = |cluster: &Cluster<Std>| {
        let node = cluster.node(3);
        node.replica.deadline().unwrap().since(node.clock.at(cluster.now_us))
    };
    let longest = cluster.options.lease + cluster.options.election_timeout_max;
    for _ in 0..20 {
        cluster.run(100);
        if patience(&cluster) > longest {
            break;
        }
    }
    assert!(patience(&cluster) > longest, "it lets the holder of a greater log go first");
    cluster.heal();
    cluster.run(100);
    assert_eq!(cluster.node(3).replica.log().last(), cluster.node(1).replica.log().last());
    assert!(patience(&cluster) <= longest, "{:?}", patience(&cluster));
}

#[test]
fn proposals_that_go_together_have_a_bound_of_their_own() {
    let options = Options { write_entries_max: 8, proposals_together_max: 3, ..Options::default() };
    let mut cluster = founded(1, options);
    cluster.propose(1, 7).unwrap();
    assert_eq!(appends(&mut cluster), [3, 3, 1]);
    // A bound of nothing is as good as one of one.
    let mut cluster = founded(1, Options { write_entries_max: 0, ..Options::default() });
    cluster.propose(1, 2).unwrap();
    assert_eq!(appends(&mut cluster), [1, 1]);
    cluster.stabilize();
}

#[test]
fn a_commit_to_save_goes_before_an_append_that_may_wait() {
    let mut cluster = founded(1, Options::default());
    assert!(!cluster.node(1).replica.append_is_next());
    cluster.propose(1, 1).unwrap();
    assert!(cluster.node(1).replica.append_is_next());
    cluster.write(1);
    cluster.flush(1, 1);
    cluster.propose(1, 1).unwrap();
    assert!(!cluster.node(1).replica.append_is_next());
    cluster.write(1);
    assert!(cluster.node(1).replica.append_is_next());
}

#[test]
fn a_removed_leader_that_never_steps_down_by_itself_goes_when_told() {
    let mut cluster = founded(3, Options { removed_leader_step_down: None, ..Options::default() });
    cluster.partition(&BTreeSet::from([1]));
    cluster.change(1, uniform(&[2, 3]), None).unwrap();
    cluster.refresh(1);
    assert_eq!(state(&cluster, 1), ServerState::Leader, "the membership without it is not committed");
    cluster.heal();
    cluster.run(1000);
    assert_eq!(cluster.leader(), Some(1), "it leads on, though it is no member");
    assert!(!cluster.node(1).replica.is_changing());
    let term = cluster.node(1).replica.vote().leader_id.term;
    cluster.refresh(1);
    assert_eq!(state(&cluster, 1), ServerState::Learner);
    assert_eq!(cluster.node(1).replica.vote().leader_id.term, term);
    assert_eq!(cluster.node(1).replica.role_refusal(), Some(Refusal::NotLeader(None)));
    cluster.run(2000);
    let leader = cluster.leader().unwrap();
    assert!([2, 3].contains(&leader));
    assert!(cluster.propose(leader, 1).is_ok());
}

#[test]
fn whoever_is_a_member_stays_what_it_is_when_told_to_look_again() {
    let mut cluster = founded(3, Options::default());
    for id in [1, 2, 3] {
        cluster.refresh(id);
    }
    assert_eq!([1, 2, 3].map(|id| state(&cluster, id)), {
        use ServerState::Follower;
        [ServerState::Leader, Follower, Follower]
    });
    // A leader that stays as a learner is a member too.
    cluster.change(1, Membership::new(vec![BTreeSet::from([2, 3])], [1]), None).unwrap();
    cluster.stabilize();
    cluster.refresh(1);
    assert_eq!(state(&cluster, 1), ServerState::Leader);
}

#[test]
fn why_a_change_is_refused_comes_in_order() {
    let mut cluster = founded(4, Options::default());
    cluster.change(1, uniform(&[1, 2, 3]), None).unwrap();
    cluster.net.retain(|envelope| !matches!(envelope.body, Body::Append { .. }));
    let now = cluster.node(1).clock.at(cluster.now_us);
    let unsafe_too = uniform(&[7, 8]);
    assert_eq!(
        cluster.node(1).replica.change_refusal(now, &unsafe_too),
        Some(ChangeRefusal::InProgress),
        "whether another is under way comes before where it would lead"
    );
    cluster.now_us += 700_000;
    let later = cluster.node(1).clock.at(cluster.now_us);
    let lease = Some(ChangeRefusal::Refused(Refusal::LeaseExpired));
    assert_eq!(cluster.node(1).replica.change_refusal(later, &unsafe_too), lease);
    assert_eq!(cluster.node(1).replica.role_refusal(), None, "it leads all the same");
}

#[test]
fn a_policy_of_no_entries_builds_one_snapshot_for_each() {
    let mut cluster = founded(1, Options::default());
    cluster.replica(1).options_mut().snapshot_after = Some(0);
    let last = cluster.propose(1, 1).unwrap();
    cluster.stabilize();
    assert_eq!(cluster.node(1).replica.snapshot(), Some(&last));
    assert!(!cluster.node(1).replica.ready().build);
}

#[test]
fn whoever_answered_lately_needs_no_heartbeat() {
    let lately = Duration::from_millis(80);
    let mut cluster = founded(3, Options { heartbeat_min_interval: lately, ..Options::default() });
    cluster.run(200);
    cluster.propose(1, 1).unwrap();
    cluster.stabilize();
    let next = |cluster: &mut Cluster<Std>, ms: u64| {
        cluster.now_us += ms * 1000;
        cluster.timeout(1);
        [2, 3].map(|peer| cluster.node(1).replica.has_heartbeat(&peer))
    };
    assert_eq!(next(&mut cluster, 55), [false; 2], "both answered less than 80 ms ago");
    assert_eq!(next(&mut cluster, 55), [true; 2]);
    // Without the setting, every round reaches everyone.
    let mut cluster = founded(3, Options::default());
    cluster.run(200);
    cluster.propose(1, 1).unwrap();
    cluster.stabilize();
    assert_eq!(next(&mut cluster, 55), [true; 2]);
}

#[test]
fn a_peer_that_lost_its_log_is_told_of_unless_that_is_allowed() {
    for (always, once) in [(false, false), (true, false), (false, true)] {
        let mut cluster = founded(3, Options { allow_log_reversion: always, ..Options::default() });
        cluster.propose(1, 3).unwrap();
        cluster.stabilize();
        cluster.replica(1).allow_reversion(&2, once);
        for told in [!always && !once, !always] {
            let replica = cluster.replica(1);
            let matched =
                replica.leading().unwrap().peers().find(|(id, _)| **id == 2).unwrap().1.matched().cloned();
            replica.heartbeat_now();
            let now = quorate_core::Time::from_millis(1);
            let heartbeat = replica.next_heartbeat(now, &2).unwrap();
            assert_eq!(heartbeat.prev, matched);
            replica.heartbeat_answer(now, &2, &heartbeat.ticket, Some(&AppendReply::Conflict));
            let events = replica.take_events();
            assert_eq!(events, if told { vec![Event::Reverted { peer: 2, matched }] } else { Vec::new() });
            // It is fed anew; the permission to lose its log once is used up.
            cluster.settle(1);
            cluster.stabilize();
        }
    }
}

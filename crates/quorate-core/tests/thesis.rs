//! The thesis, section by section (Diego Ongaro, "Consensus: Bridging Theory and Practice", 2014): each rule as a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_core::ChangeRefusal;
use quorate_core::Membership;
use quorate_core::Mode;
use quorate_core::Options;
use quorate_core::Refusal;
use quorate_core::ServerState;
use quorate_core::ids::Vote;
use quorate_core::message::VoteRequest;
use quorate_sim::tier_a::Cluster;
use quorate_sim::tier_a::Std;
use quorate_sim::tier_a::wire::Payload;
use quorate_sim::trace::Trace;

fn options() -> Options {
    Options { snapshot_after: None, ..Options::default() }
}

fn cluster_with(count: u64, options: Options) -> Cluster<Std> {
    let mut cluster: Cluster<Std> = Cluster::new(options, 1, Some(Trace::default()));
    for _ in 0..count {
        cluster.add_node(Default::default());
    }
    cluster.initialize(1, (1..=count).collect());
    cluster.stabilize();
    assert_eq!(cluster.leader(), Some(1));
    cluster
}

fn cluster(count: u64) -> Cluster<Std> {
    cluster_with(count, options())
}

fn voters(ids: &[u64]) -> BTreeSet<u64> {
    ids.iter().copied().collect()
}

fn state(cluster: &Cluster<Std>, id: u64) -> ServerState {
    cluster.node(id).replica.server_state()
}

fn term(cluster: &Cluster<Std>, id: u64) -> u64 {
    cluster.node(id).replica.vote().leader_id.term
}

/// Lets all leases and timeouts pass, without anyone being woken.
fn leases_run_out(cluster: &mut Cluster<Std>) {
    cluster.now_us += 700_000;
}

fn happened(cluster: &Cluster<Std>, what: &str) -> bool {
    cluster.trace.as_ref().unwrap().borrow().iter().any(|line| line.text.contains(what))
}

/// §3.3: terms act as a logical clock.
mod section_3_3_terms {
    use super::*;

    #[test]
    fn a_leader_that_hears_of_a_greater_term_steps_down() {
        let mut cluster = cluster(3);
        cluster.partition(&voters(&[1]));
        cluster.run(1500);
        cluster.heal();
        cluster.run(200);
        assert_eq!(state(&cluster, 1), ServerState::Follower);
        assert_eq!(term(&cluster, 1), 2);
    }

    #[test]
    fn a_message_of_an_older_term_is_refused_with_the_newer_one() {
        let mut cluster = cluster(3);
        cluster.partition(&voters(&[1]));
        cluster.run(1500);
        cluster.heal();
        cluster.now_us += 60_000;
        cluster.timeout(1);
        cluster.work(1);
        cluster.stabilize();
        assert!(happened(&cluster, "->1 higher vote <T2-"));
    }
}

/// §3.4: leader election.
mod section_3_4_election {
    use super::*;

    #[test]
    fn a_follower_that_hears_nothing_campaigns_in_the_next_term() {
        let mut cluster = cluster(3);
        cluster.crash(1, 0, false);
        cluster.run(1500);
        let leader = cluster.leader().unwrap();
        assert_ne!(leader, 1);
        assert!(term(&cluster, leader) >= 2);
    }

    #[test]
    fn heartbeats_keep_followers_from_campaigning() {
        let mut cluster = cluster(3);
        cluster.run(5000);
        assert_eq!(cluster.leader(), Some(1));
        assert_eq!(cluster.ghost.elections, 1);
    }

    #[test]
    fn a_split_vote_is_followed_by_another_election() {
        let mut cluster = cluster(4);
        cluster.crash(1, 0, false);
        leases_run_out(&mut cluster);
        cluster.elect(2, false);
        cluster.elect(3, false);
        cluster.stabilize();
        cluster.run(3000);
        assert!(cluster.leader().is_some());
    }

    #[test]
    fn a_node_votes_for_one_candidate_in_a_term() {
        let mut cluster = cluster(3);
        cluster.crash(1, 0, false);
        leases_run_out(&mut cluster);
        cluster.elect(2, false);
        cluster.elect(3, false);
        cluster.stabilize();
        // Each voted for itself; the ghost would have seen a second vote.
        assert!(cluster.leader().is_none());
        assert!(happened(&cluster, "refused <T2-"));
    }
}

/// §3.5: log replication.
mod section_3_5_replication {
    use super::*;

    #[test]
    fn an_entry_is_committed_once_a_majority_holds_it() {
        let mut cluster = cluster(5);
        cluster.crash(4, 0, false);
        cluster.crash(5, 0, false);
        let log_id = cluster.propose(1, 1).unwrap();
        cluster.stabilize();
        assert!(cluster.ghost.canon.has(&log_id));
    }

    #[test]
    fn an_entry_that_a_minority_holds_is_not_committed() {
        let mut cluster = cluster(5);
        cluster.partition(&voters(&[1, 2]));
        let log_id = cluster.propose(1, 1).unwrap();
        cluster.stabilize();
        assert!(!cluster.ghost.canon.has(&log_id));
    }

    #[test]
    fn followers_learn_of_the_commit_without_waiting_for_a_heartbeat() {
        let mut cluster = cluster(3);
        let log_id = cluster.propose(1, 1).unwrap();
        cluster.stabilize();
        assert_eq!(cluster.node(2).replica.committed(), Some(&log_id));
        assert_eq!(cluster.node(3).sm.last, Some(log_id));
    }

    #[test]
    fn a_leader_overwrites_what_a_follower_alone_holds() {
        let mut cluster = cluster_with(3, Options { restore_leader: false, ..options() });
        cluster.propose(1, 30).unwrap();
        cluster.write(1);
        cluster.flush(1, 9);
        cluster.crash(1, 0, false);
        cluster.run(1500);
        cluster.restart(1);
        cluster.run(500);
        assert_eq!(cluster.node(1).view.end(), 3);
        assert!(happened(&cluster, "1 truncates from 2"));
    }
}

/// §3.6: safety.
mod section_3_6_safety {
    use super::*;

    /// §3.6.1
    #[test]
    fn nobody_votes_for_a_log_that_is_less_up_to_date() {
        let mut cluster = cluster(3);
        cluster.cut.insert((1, 3));
        cluster.propose(1, 1).unwrap();
        cluster.stabilize();
        cluster.crash(1, 0, false);
        leases_run_out(&mut cluster);
        cluster.elect(3, false);
        cluster.stabilize();
        assert_eq!(state(&cluster, 3), ServerState::Candidate);
        cluster.run(3000);
        assert_eq!(cluster.leader(), Some(2));
    }

    /// §3.6.2
    #[test]
    fn entries_of_earlier_terms_are_committed_along_with_one_of_the_own_term() {
        let mut cluster = cluster_with(3, Options { restore_leader: false, ..options() });
        let old = cluster.propose(1, 1).unwrap();
        cluster.write(1);
        cluster.flush(1, 9);
        cluster.crash(1, 0, false);
        cluster.restart(1);
        leases_run_out(&mut cluster);
        cluster.elect(1, false);
        cluster.stabilize();
        assert!(cluster.ghost.canon.has(&old));
        assert_eq!(cluster.node(1).view.get(3).unwrap().payload, Payload::Blank);
    }
}

/// §3.7: follower and candidate crashes.
#[test]
fn section_3_7_requests_that_come_twice_do_no_harm() {
    let mut cluster = cluster(3);
    cluster.propose(1, 3).unwrap();
    cluster.work(1);
    let copies = cluster.net.iter().cloned().map(|mut copy| {
        copy.req = 0;
        copy
    });
    let copies: Vec<_> = copies.collect();
    cluster.net.extend(copies);
    cluster.stabilize();
    assert_eq!(cluster.node(2).view.end(), 5);
    assert_eq!(cluster.ghost.canon.end(), 5);
}

/// §3.8: persisted state and restarts.
mod section_3_8_restarts {
    use super::*;

    #[test]
    fn a_vote_survives_a_crash() {
        let mut cluster = cluster(3);
        leases_run_out(&mut cluster);
        cluster.elect(3, false);
        cluster.stabilize();
        let vote = *cluster.node(2).replica.vote();
        cluster.crash(2, 0, false);
        cluster.restart(2);
        assert_eq!(*cluster.node(2).replica.vote(), vote);
    }

    #[test]
    fn a_reply_waits_until_what_it_says_is_durable() {
        let mut cluster = cluster(3);
        cluster.propose(1, 1).unwrap();
        cluster.work(1);
        cluster.net.retain(|envelope| envelope.to == 2);
        cluster.deliver(0);
        cluster.write(2);
        assert!(cluster.net.is_empty());
        cluster.flush(2, 9);
        assert_eq!(cluster.net.len(), 1);
    }

    #[test]
    fn a_state_machine_without_a_memory_is_rebuilt_from_the_log() {
        let mut cluster = cluster(3);
        cluster.propose(1, 5).unwrap();
        cluster.stabilize();
        cluster.crash(3, 0, false);
        cluster.restart(3);
        cluster.run(100);
        assert_eq!(cluster.node(3).sm, cluster.node(1).sm);
    }
}

/// §3.9: timing and availability.
#[test]
fn section_3_9_election_timeouts_are_drawn_anew_each_time() {
    let mut cluster = cluster(3);
    let deadlines: BTreeSet<_> = (0..8)
        .map(|_| {
            leases_run_out(&mut cluster);
            cluster.elect(3, false);
            cluster.write(3);
            cluster.flush(3, 9);
            let node = cluster.node(3);
            node.replica.deadline().unwrap().since(node.clock.at(cluster.now_us))
        })
        .collect();
    assert!(deadlines.len() > 4, "{deadlines:?}");
    assert!(deadlines.iter().all(|wait| (150..300).contains(&wait.as_millis())));
}

/// §3.10: leadership transfer.
mod section_3_10_transfer {
    use super::*;

    #[test]
    fn the_target_leads_at_once_in_spite_of_all_leases() {
        let mut cluster = cluster(3);
        cluster.transfer(1, 3);
        cluster.stabilize();
        assert_eq!(cluster.leader(), Some(3));
        assert_eq!(cluster.now_us, 0);
    }

    #[test]
    fn the_target_first_gets_what_it_lacks() {
        let mut cluster = cluster(3);
        let log_id = cluster.propose(1, 4).unwrap();
        cluster.transfer(1, 3);
        cluster.stabilize();
        assert_eq!(cluster.leader(), Some(3));
        assert!(cluster.ghost.canon.has(&log_id));
    }

    #[test]
    fn no_proposal_and_no_read_is_taken_meanwhile() {
        let mut cluster = cluster(3);
        cluster.transfer(1, 3);
        assert_eq!(cluster.propose(1, 1), Err(Refusal::Transferring(3)));
        assert_eq!(cluster.read(1), Err(Refusal::Transferring(3)));
        assert!(!cluster.read_leased(1));
    }

    #[test]
    fn a_dead_target_blocks_nobody_since_the_others_were_told() {
        let mut cluster = cluster(3);
        cluster.crash(3, 0, false);
        cluster.transfer(1, 3);
        cluster.run(500);
        assert_eq!(cluster.leader(), Some(2));
    }

    #[test]
    fn a_late_request_of_another_transfer_does_not_break_the_promise_to_this_leader() {
        let mut cluster = cluster(3);
        let now = cluster.node(2).clock.at(cluster.now_us);
        let last = cluster.node(2).replica.log().last().copied();
        let mut ask = |term| {
            let request = VoteRequest { vote: Vote::new(term, 3), last, transfer: true };
            cluster.replica(2).vote_request(now, &request).message.granted
        };
        assert!(!ask(5), "no leader of term 1 has asked for term 5");
        assert!(ask(2));
    }

    #[test]
    fn a_leader_that_reaches_nobody_gives_the_transfer_up() {
        let mut cluster = cluster(3);
        cluster.partition(&voters(&[1]));
        cluster.transfer(1, 3);
        cluster.run(590);
        assert_eq!(cluster.propose(1, 1), Err(Refusal::Transferring(3)));
        cluster.run(20);
        assert!(happened(&cluster, "1 gives up the transfer to 3"));
        assert_eq!(cluster.propose(1, 1), Err(Refusal::LeaseExpired));
    }

    #[test]
    fn a_lease_once_given_back_is_gone_for_the_term() {
        let mut cluster = cluster_with(2, Options { pre_vote: true, ..options() });
        cluster.partition(&voters(&[1]));
        cluster.transfer(1, 2);
        cluster.run(700);
        cluster.heal();
        cluster.run(100);
        assert_eq!((cluster.leader(), term(&cluster, 1)), (Some(1), 1));
        assert!(cluster.propose(1, 1).is_ok(), "a quorum answers again");
        assert!(!cluster.read_leased(1), "and may still be told to forget the lease");
    }
}

/// §4.1: membership changes are safe.
mod section_4_1_changes {
    use super::*;

    #[test]
    fn a_configuration_is_in_force_as_soon_as_it_is_in_the_log() {
        let mut cluster = cluster(3);
        let learners = [4];
        cluster.add_node(Default::default());
        cluster.change(1, Membership::new(vec![voters(&[1, 2, 3])], learners), None).unwrap();
        assert!(cluster.node(1).replica.effective_membership().membership.contains(&4));
        assert!(!cluster.node(1).replica.committed_membership().membership.contains(&4));
    }

    #[test]
    fn one_change_follows_another_only_when_it_is_committed() {
        let mut cluster = cluster(4);
        cluster.change(1, Membership::new(vec![voters(&[1, 2, 3])], []), None).unwrap();
        let next = Membership::new(vec![voters(&[1, 2])], []);
        assert_eq!(cluster.change(1, next.clone(), None), Err(ChangeRefusal::InProgress));
        cluster.stabilize();
        assert!(cluster.change(1, next, None).is_ok());
    }

    #[test]
    fn two_configurations_without_a_common_quorum_do_not_follow_each_other() {
        let mut cluster = cluster(3);
        cluster.add_node(Default::default());
        cluster.add_node(Default::default());
        let next = Membership::new(vec![voters(&[3, 4, 5])], []);
        assert_eq!(cluster.change(1, next, None), Err(ChangeRefusal::Unsafe));
        assert_eq!(cluster.change(1, Membership::new(vec![], []), None), Err(ChangeRefusal::Unsafe));
    }

    /// The bug in single-server changes, raft-dev, July 2015 (scenario 29).
    #[test]
    fn a_leader_commits_an_entry_of_its_own_before_it_changes_members() {
        let mut cluster = cluster(4);
        leases_run_out(&mut cluster);
        cluster.elect(2, false);
        while state(&cluster, 2) != ServerState::Leader {
            cluster.work(2);
            cluster.work(1);
            cluster.work(3);
            cluster.deliver(0);
        }
        let next = Membership::new(vec![voters(&[1, 2, 3])], []);
        let refused = cluster.change(2, next, None);
        assert!(matches!(refused, Err(ChangeRefusal::UncommittedLeader { .. })), "{refused:?}");
    }
}

/// §4.2: availability.
mod section_4_2_availability {
    use super::*;

    /// §4.2.1
    #[test]
    fn a_new_server_catches_up_as_a_learner_and_is_not_counted() {
        let mut cluster = cluster(3);
        cluster.add_node(Default::default());
        cluster.change(1, Membership::new(vec![voters(&[1, 2, 3])], [4]), None).unwrap();
        cluster.stabilize();
        assert_eq!(state(&cluster, 4), ServerState::Learner);
        assert_eq!(cluster.node(4).sm, cluster.node(1).sm);
        cluster.partition(&voters(&[1, 4]));
        let log_id = cluster.propose(1, 1).unwrap();
        cluster.stabilize();
        assert!(!cluster.ghost.canon.has(&log_id));
    }

    /// §4.2.2, scenario 30
    #[test]
    fn a_leader_that_removes_itself_manages_the_cluster_without_counting_itself_then_steps_down() {
        let mut cluster = cluster(3);
        cluster.change(1, Membership::new(vec![voters(&[2, 3])], []), None).unwrap();
        cluster.crash(3, 0, false);
        cluster.stabilize();
        assert_eq!(cluster.node(1).replica.committed_membership().membership.voters(), voters(&[1, 2, 3]));
        cluster.restart(3);
        cluster.run(2000);
        let leader = cluster.leader().unwrap();
        assert!(leader == 2 || leader == 3);
        assert_eq!(state(&cluster, 1), ServerState::Learner);
        assert!(cluster.propose(leader, 1).is_ok());
    }

    /// §4.2.3
    #[test]
    fn a_removed_server_does_not_disrupt_a_leader_that_is_heard() {
        let mut cluster = cluster(3);
        cluster.partition(&voters(&[3]));
        cluster.change(1, Membership::new(vec![voters(&[1, 2])], []), None).unwrap();
        cluster.stabilize();
        cluster.heal();
        cluster.run(3000);
        assert_eq!(cluster.leader(), Some(1));
        assert_eq!(term(&cluster, 1), 1);
        assert!(term(&cluster, 3) > 1);
    }
}

/// §4.3: arbitrary changes by joint consensus.
mod section_4_3_joint_consensus {
    use super::*;

    fn joint() -> Membership<u64> {
        Membership::new(vec![voters(&[1, 2, 3]), voters(&[3, 4, 5])], [])
    }

    fn five() -> Cluster<Std> {
        let mut cluster = cluster(3);
        cluster.add_node(Default::default());
        cluster.add_node(Default::default());
        cluster
    }

    #[test]
    fn both_majorities_must_agree_while_joint() {
        let mut cluster = five();
        cluster.partition(&voters(&[4, 5]));
        let log_id = cluster.change(1, joint(), None).unwrap();
        cluster.stabilize();
        assert!(!cluster.ghost.canon.has(&log_id));
        cluster.heal();
        cluster.run(100);
        assert!(cluster.ghost.canon.has(&log_id));
    }

    #[test]
    fn the_leader_ends_the_joint_configuration_by_itself() {
        let mut cluster = five();
        cluster.change(1, joint(), Some(true)).unwrap();
        cluster.run(100);
        let membership = cluster.node(4).replica.effective_membership().membership.clone();
        assert_eq!(membership.configs(), [voters(&[3, 4, 5])]);
        assert_eq!(*membership.learners(), voters(&[1, 2]));
    }

    /// Scenario 17 of bad input: a crash in the middle.
    #[test]
    fn the_next_leader_ends_a_joint_configuration_that_was_left_behind() {
        let mut cluster = five();
        cluster.change(1, joint(), None).unwrap();
        cluster.stabilize();
        cluster.crash(1, 0, false);
        cluster.run(3000);
        let leader = cluster.leader().unwrap();
        let membership = cluster.node(leader).replica.committed_membership().membership.clone();
        assert_eq!(membership.configs(), [voters(&[3, 4, 5])]);
    }
}

/// §5.1: log compaction.
mod section_5_1_compaction {
    use super::*;

    fn small() -> Options {
        Options { snapshot_after: Some(10), keep_in_log: 0, ..Options::default() }
    }

    #[test]
    fn each_node_compacts_its_own_log() {
        let mut cluster = cluster_with(3, small());
        cluster.propose(1, 25).unwrap();
        cluster.stabilize();
        for id in 1..=3 {
            assert!(cluster.node(id).view.first() > 10, "{id}");
            cluster.check_image(cluster.node(id).snapshot.as_ref().unwrap());
        }
    }

    #[test]
    fn a_follower_behind_the_purged_end_gets_a_snapshot() {
        let mut cluster = cluster_with(3, small());
        cluster.crash(3, 0, false);
        cluster.propose(1, 40).unwrap();
        cluster.stabilize();
        cluster.restart(3);
        cluster.run(100);
        assert!(happened(&cluster, "3 installed"));
        assert_eq!(cluster.node(3).sm, cluster.node(1).sm);
        let leader = cluster.node(1).replica.leading().unwrap();
        assert!(leader.peers().all(|(_, progress)| progress.mode() == Mode::Stream));
    }

    /// Scenario 33: the diverged suffix is gone before the snapshot is installed.
    #[test]
    fn a_snapshot_replaces_a_log_that_parted() {
        let mut cluster = cluster_with(3, Options { restore_leader: false, ..small() });
        cluster.propose(1, 8).unwrap();
        cluster.write(1);
        cluster.flush(1, 9);
        cluster.crash(1, 0, false);
        cluster.run(1500);
        let leader = cluster.leader().unwrap();
        cluster.propose(leader, 30).unwrap();
        cluster.stabilize();
        cluster.restart(1);
        cluster.run(300);
        assert!(happened(&cluster, "1 installed"));
        assert_eq!(cluster.node(1).sm, cluster.node(leader).sm);
    }

    /// Scenario 34
    #[test]
    fn nothing_is_applied_while_a_snapshot_is_installed() {
        let mut cluster = cluster_with(3, small());
        cluster.crash(3, 0, false);
        cluster.propose(1, 40).unwrap();
        cluster.stabilize();
        cluster.restart(3);
        cluster.now_us += 50_000;
        while cluster.node(3).offered.is_none() {
            cluster.timeout(1);
            cluster.work(1);
            cluster.write(3);
            cluster.flush(3, 9);
            if cluster.net.is_empty() {
                cluster.now_us += 20_000;
            } else {
                cluster.deliver(0);
            }
        }
        assert!(cluster.install_begin(3));
        assert!(!cluster.apply_begin(3));
        assert!(cluster.install_end(3));
    }
}

/// §6.4: linearizable reads.
mod section_6_4_reads {
    use super::*;

    #[test]
    fn a_read_waits_for_a_quorum_that_was_asked_after_it_came_in() {
        let mut cluster = cluster(3);
        cluster.now_us += 50_000;
        cluster.timeout(1);
        cluster.work(1);
        cluster.read(1).unwrap();
        // The heartbeats under way were sent before the read: their answers confirm nothing.
        while !cluster.net.is_empty() {
            cluster.deliver(0);
            cluster.work(2);
            cluster.work(3);
        }
        assert_eq!(cluster.node(1).reads.len(), 1);
        cluster.stabilize();
        assert!(cluster.node(1).reads.is_empty());
    }

    /// Scenario 37
    #[test]
    fn a_new_leader_reads_no_earlier_than_its_first_entry() {
        let mut cluster = cluster(3);
        cluster.transfer(1, 2);
        while state(&cluster, 2) != ServerState::Leader {
            for id in 1..=3 {
                cluster.work(id);
            }
            cluster.deliver(0);
        }
        let read = cluster.replica(2).read().unwrap();
        assert_eq!(read.log_id, *cluster.node(2).replica.leading().unwrap().first());
    }

    #[test]
    fn a_leader_without_a_quorum_confirms_no_read() {
        let mut cluster = cluster(3);
        cluster.partition(&voters(&[1]));
        cluster.read(1).unwrap();
        cluster.run(1000);
        assert!(!happened(&cluster, "1 reads"));
    }

    /// §6.4.1, scenario 38
    #[test]
    fn a_lease_counts_from_the_sending_and_is_shorter_than_the_promise() {
        let mut cluster = cluster(3);
        cluster.now_us += 50_000;
        cluster.timeout(1);
        cluster.work(1);
        cluster.now_us += 100_000;
        cluster.stabilize();
        assert!(cluster.read_leased(1));
        cluster.now_us += 160_000;
        assert!(cluster.read_leased(1), "260 of 271 ms");
        cluster.now_us += 20_000;
        assert!(!cluster.read_leased(1), "280 of 271 ms");
    }

    #[test]
    fn a_follower_that_restarts_keeps_its_promise_to_the_leader() {
        let mut cluster = cluster(3);
        cluster.crash(2, 0, false);
        cluster.crash(3, 0, false);
        cluster.restart(2);
        cluster.restart(3);
        cluster.now_us += 100_000;
        cluster.cut.insert((3, 1));
        cluster.elect(3, false);
        cluster.stabilize();
        assert!(happened(&cluster, "2->3 refused <T1-N1:Q>"));
    }
}

/// §9.6: pre-vote.
mod section_9_6_pre_vote {
    use super::*;

    #[test]
    fn a_server_that_comes_back_disturbs_nobody() {
        let mut cluster = cluster_with(3, Options { pre_vote: true, ..options() });
        cluster.partition(&voters(&[3]));
        cluster.run(5000);
        assert_eq!(term(&cluster, 3), 1);
        cluster.heal();
        cluster.run(1000);
        assert_eq!(cluster.leader(), Some(1));
        assert_eq!(cluster.ghost.elections, 1);
    }

    #[test]
    fn a_pre_vote_changes_nothing_at_the_voter() {
        let mut cluster = cluster_with(3, Options { pre_vote: true, ..options() });
        leases_run_out(&mut cluster);
        let before = *cluster.node(2).replica.vote();
        cluster.elect(3, true);
        cluster.ask(3, 2);
        cluster.deliver(0);
        assert!(happened(&cluster, "3->2 pre-vote"));
        assert_eq!(*cluster.node(2).replica.vote(), before);
    }

    #[test]
    fn with_a_dead_leader_a_pre_vote_leads_to_an_election() {
        let mut cluster = cluster_with(3, Options { pre_vote: true, ..options() });
        cluster.crash(1, 0, false);
        cluster.run(2000);
        assert!(cluster.leader().is_some());
    }
}

/// §10.2.1: writing to the leader's disk in parallel.
mod section_10_2_1_parallel_writes {
    use super::*;

    fn eager() -> Options {
        Options { send_unflushed: true, ..options() }
    }

    #[test]
    fn entries_go_out_while_the_leader_still_writes_them() {
        let mut cluster = cluster_with(3, eager());
        cluster.propose(1, 1).unwrap();
        cluster.write(1);
        assert!(cluster.append_begin(1, 2));
        assert!(cluster.append_end(1, 0));
    }

    #[test]
    fn an_entry_can_be_committed_without_the_leaders_disk() {
        let mut cluster = cluster_with(3, eager());
        cluster.node_mut(1).disk_hangs = true;
        let log_id = cluster.propose(1, 1).unwrap();
        cluster.stabilize();
        assert!(cluster.ghost.canon.has(&log_id));
        assert_eq!(cluster.node(1).durable.end(), log_id.index);
    }

    #[test]
    fn otherwise_the_leaders_disk_comes_first() {
        let mut cluster = cluster(3);
        cluster.node_mut(1).disk_hangs = true;
        let log_id = cluster.propose(1, 1).unwrap();
        cluster.stabilize();
        assert!(!cluster.ghost.canon.has(&log_id));
        assert_eq!(cluster.node(2).view.end(), log_id.index);
    }

    /// Scenario 27
    #[test]
    fn a_leader_whose_disk_hangs_makes_room_for_another() {
        let stall = Duration::from_millis(600);
        let mut cluster = cluster_with(3, Options { disk_stall_max: Some(stall), ..options() });
        cluster.node_mut(1).disk_hangs = true;
        cluster.propose(1, 1).unwrap();
        cluster.run(2000);
        assert_ne!(cluster.leader(), Some(1));
        assert!(cluster.leader().is_some());
    }
}

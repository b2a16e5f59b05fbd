//! What operators get wrong, and what they are told. The rows are those of the project's table of bad input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{DEADLINE, Place, Words, add, leader_of, numbered, within, words};
use quorate_node::{
    InitError, JoinError, Member, MemberKind, MembershipError, Node, ProposeError, Role, StartError,
    StopReason, Uid,
};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn refused(builder: quorate_node::Builder) -> StartError {
    within(builder.start(Words::default())).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_1_a_second_node_with_the_same_id_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    let twin = Node::<Words>::builder(2, place.dir(7), place.addr(7)).join(place.addr(1));
    let error = refused(twin).await;
    let duplicate = MembershipError::DuplicateNode { id: 2, addr_a: place.addr(2), addr_b: place.addr(7) };
    assert_eq!(error, StartError::Join(JoinError::Refused(duplicate)));
    assert!(within(nodes[1].propose("unaffected".into())).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_2_a_copied_data_directory_is_fenced_off_wherever_it_is_started() {
    let place = Place::new();
    let mut nodes = place.cluster(3).await;
    within(nodes[0].transfer_leader(1)).await.unwrap();
    within(nodes[2].abort()).await;
    copy(&place.dir(3), &place.dir(7));
    nodes[2] = place.restart(3).await;
    words(&nodes[2]).await;
    let twin = Node::<Words>::builder(3, place.dir(7), place.addr(7))
        .election_timeout(Duration::from_millis(500), Duration::from_millis(900));
    let twin = place.start(twin).await;
    let reason = tokio::select! {
        reason = within(twin.stopped()) => reason,
        reason = within(nodes[2].stopped()) => reason,
    };
    assert!(matches!(reason, StopReason::Fenced { .. }), "{reason}");
    assert!(within(nodes[0].propose("unaffected".into())).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_3_a_node_that_joins_itself_under_another_name_is_told_so() {
    let place = Place::new();
    let node = place.start(place.builder(1).wait()).await;
    let alias = place.addr(1).replace("127.0.0.1", "localhost");
    let error = within(node.join(&alias)).await.unwrap_err();
    assert_eq!(error, JoinError::SelfConnection { addr: alias });
}

#[tokio::test(flavor = "multi_thread")]
async fn row_4_an_address_where_another_node_answers_gets_no_raft_message() {
    let place = Place::new();
    let nodes = place.cluster(1).await;
    let stranger = place.start(place.builder(5).wait()).await;
    let wrong = Member { uid: Uid(77), peer_addr: place.addr(5), client_addr: String::new() };
    within(nodes[0].add_learner(4, wrong)).await.unwrap();
    let error = within(nodes[0].promote(4)).await.unwrap_err();
    assert!(matches!(error, MembershipError::LearnerNotReady { id: 4, lag: None, .. }), "{error}");
    assert_eq!((stranger.status().cluster_id, stranger.status().term), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_5_and_7_two_clusters_never_mix_and_the_error_names_both() {
    let place = Place::new();
    let ours = place.start(place.builder(1).found()).await;
    let theirs = place.start(place.builder(2).found()).await;
    let terms = (ours.status().term, theirs.status().term);
    let error = within(ours.join(&place.addr(2))).await.unwrap_err();
    let ids = (ours.status().cluster_id.unwrap(), theirs.status().cluster_id.unwrap());
    assert_eq!(error, JoinError::WrongCluster { addr: place.addr(2), ours: ids.0, theirs: ids.1 });
    assert!(error.to_string().contains(&ids.0.to_string()) && error.to_string().contains(&ids.1.to_string()));
    assert_eq!((ours.status().term, theirs.status().term), terms);
    assert_eq!(ours.members().members.len(), 1);
    let refusals = ours.peer_counters().refusals;
    assert!(refusals.iter().any(|(reason, count)| *reason == "wrong_cluster" && *count > 0), "{refusals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_8_and_9_founding_twice_is_a_success_and_founding_elsewhere_is_not() {
    let place = Place::new();
    let one = place.start(place.builder(1).wait()).await;
    assert_eq!(one.status().role, Role::Uninitialized);
    assert_eq!(within(one.propose("early".into())).await, Err(ProposeError::Uninitialized));
    assert_eq!(within(one.init()).await, Ok(()));
    let cluster = one.status().cluster_id.unwrap();
    assert_eq!(within(one.init()).await, Ok(()));
    let two = place.start(place.builder(2).join(place.addr(1))).await;
    assert_eq!(within(two.init()).await, Err(InitError::AlreadyInitialized { cluster }));
    assert_eq!(within(two.join(&place.addr(1))).await, Ok(()), "joining again is one, too");
    assert_eq!(one.status().cluster_id, Some(cluster));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_10_an_empty_directory_is_not_guessed_about() {
    let place = Place::new();
    let error = refused(place.builder(1)).await;
    assert_eq!(error, StartError::NoData { dir: place.dir(1) });
    assert!(error.to_string().contains("--found") && error.to_string().contains("--join"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_11_to_13_who_must_stay_stays() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    let error = within(nodes[2].set_voters([1].into())).await.unwrap_err();
    assert!(matches!(error, MembershipError::WouldLoseQuorum { .. }), "{error}");
    assert_eq!(within(nodes[1].set_voters(BTreeSet::new())).await, Err(MembershipError::EmptyVoters));
    // The leader itself may go: another one takes over.
    let old = leader_of(&nodes[0], |_| true).await;
    let stays = nodes.iter().find(|node| node.status().id != old.id).unwrap();
    within(stays.remove(old.id)).await.unwrap();
    leader_of(stays, |leader| leader.id != old.id).await;
    assert!(within(stays.propose("on".into())).await.is_ok());
    assert_eq!(within(stays.members_of_leader()).await.unwrap().members.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_13_the_last_voter_stays() {
    let place = Place::new();
    let one = place.cluster(1).await.remove(0);
    let _learner = place.start(place.builder(2).join(place.addr(1))).await;
    assert_eq!(within(one.remove(1)).await, Err(MembershipError::EmptyVoters));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_14_a_node_that_cannot_be_reached_does_not_become_a_voter() {
    let place = Place::new();
    let nodes = place.cluster(1).await;
    let absent = Member { uid: Uid(77), peer_addr: place.addr(4), client_addr: String::new() };
    within(nodes[0].add_learner(4, absent)).await.unwrap();
    let error = within(nodes[0].promote(4)).await.unwrap_err();
    assert!(matches!(error, MembershipError::LearnerNotReady { id: 4, lag: None, .. }), "{error}");
    assert!(within(nodes[0].propose("unaffected".into())).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_changes_at_the_same_time_take_turns_and_repeated_ones_are_successes() {
    let place = Place::new();
    let one = place.cluster(1).await.remove(0);
    let join = |id| place.start(place.builder(id).join(place.addr(1)));
    let (two, three, four) = tokio::join!(join(2), join(3), join(4));
    let promote = |node: &Node<Words>, id| {
        let node = node.clone();
        async move { node.promote_within(id, DEADLINE).await }
    };
    let results = tokio::join!(
        promote(&two, 2),
        promote(&three, 3),
        promote(&four, 4),
        promote(&one, 2),
        promote(&one, 3)
    );
    assert_eq!(results, (Ok(()), Ok(()), Ok(()), Ok(()), Ok(())));
    let members = within(one.members_of_leader()).await.unwrap();
    assert!(!members.joint && members.members.len() == 4);
    within(two.remove(4)).await.unwrap();
    assert_eq!(within(two.remove(4)).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_17_a_change_whose_leader_dies_half_way_is_ended_by_the_next_leader() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    let _fourth = place.start(place.builder(4).join(place.addr(1))).await;
    let old = leader_of(&nodes[0], |_| true).await;
    let (leader, others): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|node| node.status().id == old.id);
    let leader = leader.into_iter().next().unwrap();
    within(leader.propose("caught up".into())).await.unwrap();
    let asked = tokio::spawn({
        let leader = leader.clone();
        async move { leader.promote_within(4, DEADLINE).await }
    });
    // Whether the leader dies before, within or after the change is chance; what must hold after it is not.
    while !leader.members().joint && !asked.is_finished() {
        tokio::task::yield_now().await;
    }
    within(leader.abort()).await;
    asked.abort();
    leader_of(&others[0], |leader| leader.id != old.id).await;
    within(others[0].promote_within(4, DEADLINE)).await.unwrap();
    let members = within(others[1].members_of_leader()).await.unwrap();
    assert!(
        !members.joint && members.members.iter().all(|member| member.kind == MemberKind::Voter),
        "{members:?}"
    );
    assert!(within(others[1].propose("on".into())).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_18_a_removed_node_that_comes_back_is_told_and_keeps_its_data() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    within(nodes[0].transfer_leader(1)).await.unwrap();
    add(&nodes[0], numbered("w", 3)).await;
    within(nodes[2].abort()).await;
    within(nodes[0].remove(3)).await.unwrap();
    let term = nodes[0].status().term;
    let index = within(nodes[0].members_of_leader()).await.unwrap().tombstones[0].index;
    let back = place.restart(3).await;
    assert_eq!(within(back.stopped()).await, StopReason::Removed { index });
    assert!(place.dir(3).join("identity").exists() && place.dir(3).join("log").exists());
    assert_eq!(nodes[0].status().term, term, "it disturbed nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_19_a_removed_id_is_refused_for_ever_also_after_snapshots_and_restarts() {
    let place = Place::new();
    let mut nodes = place.cluster(2).await;
    let learner = place.start(place.builder(3).join(place.addr(1))).await;
    within(nodes[0].remove(3)).await.unwrap();
    within(learner.abort()).await;
    within(nodes[0].snapshot()).await.unwrap();
    within(nodes[0].shutdown()).await;
    nodes[0] = place.restart(1).await;
    words(&nodes[0]).await;
    let reborn = Node::<Words>::builder(3, place.dir(7), place.addr(7)).join(place.addr(1));
    let error = refused(reborn).await;
    let told = matches!(
        error,
        StartError::Join(
            JoinError::Refused(MembershipError::IdReused { id: 3, .. })
                | JoinError::Stopped(StopReason::Removed { .. })
        )
    );
    assert!(told, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_20_a_voter_with_a_wiped_disk_is_turned_away_and_can_be_replaced() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    within(nodes[0].transfer_leader(1)).await.unwrap();
    let acknowledged = add(&nodes[0], numbered("w", 3)).await;
    within(nodes[2].abort()).await;
    fs::remove_dir_all(place.dir(3)).unwrap();
    let error = refused(place.builder(3).join(place.addr(1))).await;
    let duplicate = MembershipError::DuplicateNode { id: 3, addr_a: place.addr(3), addr_b: place.addr(3) };
    assert_eq!(error, StartError::Join(JoinError::Refused(duplicate)));
    assert!(error.to_string().contains("replace the member"), "{error}");
    let fresh = place.start(place.builder(4).wait()).await;
    within(nodes[0].replace(3, 4, fresh.member().clone())).await.unwrap();
    assert_eq!(words(&fresh).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_24_and_50_one_directory_serves_one_node_at_a_time() {
    let place = Place::new();
    let node = place.cluster(1).await.remove(0);
    let error = refused(Node::<Words>::builder(1, place.dir(1), place.addr(7))).await;
    assert_eq!(error, StartError::DataDirLocked { dir: place.dir(1), pid: Some(std::process::id()) });
    assert!(within(node.propose("unaffected".into())).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_50_a_node_may_be_shut_down_in_any_phase_and_by_many_at_once() {
    let place = Place::new();
    let fresh = place.start(place.builder(2).wait()).await;
    let nobody = place.addr(1);
    let (joined, ()) = within(async { tokio::join!(fresh.join(&nobody), fresh.shutdown()) }).await;
    assert_eq!(joined, Err(JoinError::Stopped(StopReason::Shutdown)));
    let node = place.cluster(1).await.remove(0);
    within(async { tokio::join!(node.shutdown(), node.shutdown(), node.abort()) }).await;
    assert_eq!(within(node.stopped()).await, StopReason::Shutdown);
    let again = place.restart(1).await;
    assert!(within(again.propose("on".into())).await.is_ok());
}

/// The place of the format version in every file of a log, a vote or a snapshot.
const VERSION_AT: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn rows_32_and_33_what_a_newer_version_wrote_is_refused_file_by_file_and_left_alone() {
    let place = Place::new();
    let node = place.cluster(1).await.remove(0);
    let acknowledged = add(&node, numbered("w", 3)).await;
    within(node.snapshot()).await.unwrap();
    within(node.shutdown()).await;
    let folders = ["log", "snapshots"].map(|folder| place.dir(1).join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = files.map(|file| file.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        ["log-", "vote.", "snapshot-"].iter().any(|kind| name.starts_with(kind))
    });
    let files: BTreeSet<_> = files.collect();
    assert!(files.len() >= 4, "a segment, two copies of the vote, a snapshot: {files:?}");
    for file in files {
        let whole = fs::read(&file).unwrap();
        let mut newer = whole.clone();
        newer[VERSION_AT] = 9;
        fs::write(&file, &newer).unwrap();
        let error = refused(place.builder(1)).await;
        assert_eq!(error, StartError::FormatTooNew { file: file.clone(), found: 9, max: 1 });
        assert!(error.to_string().contains("run the version that wrote it"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), newer, "{}", file.display());
        fs::write(&file, &whole).unwrap();
    }
    let node = place.restart(1).await;
    assert_eq!(words(&node).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_39_a_command_beyond_the_limit_is_refused_before_the_log() {
    let place = Place::new();
    let nodes = place.cluster_of(2, |builder| builder.command_bytes_max(1000)).await;
    for node in &nodes {
        let before = node.status().last_log;
        let error = within(node.propose("x".repeat(2000))).await.unwrap_err();
        assert_eq!(error, ProposeError::TooLarge { size: 2002, max: 1000 });
        assert!(error.is_safe_to_retry());
        assert_eq!(node.status().last_log, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_39_the_leader_holds_others_to_its_limit() {
    let place = Place::new();
    let one = place.start(place.builder(1).command_bytes_max(1000).found()).await;
    let two = place.start(place.builder(2).join(place.addr(1))).await;
    let error = within(two.propose("x".repeat(2000))).await.unwrap_err();
    assert_eq!(error, ProposeError::TooLarge { size: 2002, max: 1000 });
    drop(one);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_48_a_panic_of_the_state_machine_stops_the_node_and_names_the_index() {
    let place = Place::new();
    let node = place.cluster(1).await.remove(0);
    within(node.propose("fine".into())).await.unwrap();
    let next = node.status().applied.unwrap() + 1;
    let error = within(node.propose("panic".into())).await.unwrap_err();
    assert!(matches!(error, ProposeError::OutcomeUnknown(_)), "{error}");
    let StopReason::Fatal { cause } = within(node.stopped()).await else { panic!("it must have stopped") };
    assert!(cause.contains(&format!("index {next}")) && cause.contains("asked to panic"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_proposals_than_allowed_are_refused_with_a_time_to_come_back() {
    let place = Place::new();
    let node = place.start(place.builder(1).in_flight_max(1, 64 * 1024 * 1024).found()).await;
    let many = (0..64).map(|number| {
        let node = node.clone();
        tokio::spawn(async move { node.propose(format!("w{number}")).await })
    });
    let many: Vec<_> = many.collect();
    let mut refused = 0;
    for one in many {
        match within(one).await.unwrap() {
            Ok(_) => {}
            Err(error @ ProposeError::Overloaded { .. }) => {
                assert!(error.is_safe_to_retry());
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0 && refused < 64, "{refused} refused");
    assert_eq!((node.status().in_flight, node.status().in_flight_bytes), (0, 0));
}

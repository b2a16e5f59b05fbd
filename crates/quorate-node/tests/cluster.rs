//! What a cluster does for its users, told in sentences.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{DEADLINE, Place, Words, add, leader_of, numbered, within, words};
use quorate_node::{MemberKind, Node, ProposeError, ReadError, Role, StopReason};

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_form_a_cluster_and_each_takes_proposals_and_reads() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    let mut expected = BTreeSet::new();
    for (number, node) in nodes.iter().enumerate() {
        let word = format!("word{number}");
        expected.insert(word.clone());
        assert_eq!(within(node.propose(word)).await, Ok(number + 1));
        for reader in &nodes {
            assert_eq!(words(reader).await, expected, "a read sees what was acknowledged before it");
        }
    }
    let members = within(nodes[2].members_of_leader()).await.unwrap();
    assert_eq!(members.members.len(), 3);
    assert!(
        members.members.iter().all(|member| member.kind == MemberKind::Voter && member.matched.is_some())
    );
    let clusters: BTreeSet<_> = nodes.iter().map(|node| node.status().cluster_id.unwrap()).collect();
    assert_eq!(clusters.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_is_a_cluster_and_remembers() {
    let place = Place::new();
    let node = place.cluster(1).await.remove(0);
    let acknowledged = add(&node, numbered("a", 20)).await;
    assert_eq!(acknowledged.len(), 20);
    within(node.abort()).await;
    let node = place.restart(1).await;
    assert_eq!(words(&node).await, acknowledged);
    assert_eq!(node.status().incarnation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_is_followed_by_another_and_nothing_acknowledged_is_lost() {
    let place = Place::new();
    let mut nodes = place.cluster(3).await;
    let mut acknowledged = add(&nodes[1], numbered("before", 20)).await;
    let old = leader_of(&nodes[0], |_| true).await;
    let dead = nodes.remove(nodes.iter().position(|node| node.status().id == old.id).unwrap());
    within(dead.abort()).await;

    let new = leader_of(&nodes[0], |leader| leader.id != old.id).await;
    assert!(new.token() > old.token(), "the fencing token grows");
    acknowledged.extend(add(&nodes[1], numbered("after", 20)).await);
    assert_eq!(acknowledged.len(), 40);

    let back = place.restart(old.id).await;
    for node in nodes.iter().chain([&back]) {
        assert!(words(node).await.is_superset(&acknowledged), "node {}", node.status().id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_die_at_once_and_come_back_with_everything_that_was_acknowledged() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    let acknowledged = add(&nodes[0], numbered("w", 30)).await;
    for node in &nodes {
        within(node.abort()).await;
    }
    drop(nodes);
    let (one, two, three) = tokio::join!(place.restart(1), place.restart(2), place.restart(3));
    for node in [&one, &two, &three] {
        assert!(words(node).await.is_superset(&acknowledged));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_catches_up_by_snapshot_while_writes_go_on() {
    let place = Place::new();
    let with = |builder: quorate_node::Builder| builder.snapshot_every(50).snapshot_keep(10);
    let mut nodes = place.cluster_of(3, with).await;
    within(nodes[0].transfer_leader(1)).await.unwrap();
    let away = nodes.remove(2);
    within(away.abort()).await;
    let at = away.status().applied.unwrap();
    let mut acknowledged = add(&nodes[0], numbered("away", 120)).await;
    let covered = within(nodes[0].snapshot()).await.unwrap();
    assert!(covered > at + 100);

    let back = place.start(with(place.builder(3))).await;
    acknowledged.extend(add(&nodes[1], numbered("meanwhile", 30)).await);
    assert!(words(&back).await.is_superset(&acknowledged));
    assert_eq!(acknowledged.len(), 150);
    let status = back.status();
    assert!(status.snapshot >= Some(at + 100), "it must have come by snapshot: {status:?}");
    let newcomer = place.start(with(place.builder(4)).join(place.addr(2))).await;
    assert!(
        words(&newcomer).await.is_superset(&acknowledged),
        "one that was never there catches up likewise"
    );
    assert!(newcomer.status().snapshot >= Some(at + 100), "{:?}", newcomer.status());
    within(back.abort()).await;
    let again = place.start(with(place.builder(3))).await;
    assert!(words(&again).await.is_superset(&acknowledged), "and it stays on the disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_50_shutdown_hands_leadership_over_and_frees_everything() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    let old = leader_of(&nodes[1], |_| true).await;
    let leader = nodes.iter().find(|node| node.status().id == old.id).unwrap();
    let other = nodes.iter().find(|node| node.status().id != old.id).unwrap();
    within(leader.shutdown()).await;
    assert_eq!(within(leader.stopped()).await, StopReason::Shutdown);
    assert_eq!(leader.status().role, Role::Stopped);
    assert_eq!(within(leader.propose("late".into())).await, Err(ProposeError::Stopped(StopReason::Shutdown)));
    assert_eq!(within(leader.read(|_| ())).await, Err(ReadError::Stopped(StopReason::Shutdown)));
    let new = leader_of(other, |leader| leader.id != old.id).await;
    assert_ne!(new.id, old.id);
    assert!(within(other.propose("on".into())).await.is_ok());
    let back = place.restart(old.id).await;
    assert!(words(&back).await.contains("on"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_last_handle_is_dropped_frees_its_directory() {
    let place = Place::new();
    let node = place.cluster(1).await.remove(0);
    assert!(within(node.propose("kept".into())).await.is_ok());
    let (clone, mut watch) = (node.clone(), node.leadership());
    drop(node);
    assert!(within(clone.propose("still".into())).await.is_ok(), "one handle is left");
    drop(clone);
    assert_eq!(within(async { while watch.changed().await.is_ok() {} }).await, ());
    let back = within(async {
        loop {
            // The directory is free once the task of the node is done; every attempt takes real work, none a pause.
            match place.builder(1).start(Words::default()).await {
                Ok(node) => return node,
                Err(quorate_node::StartError::DataDirLocked { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    assert_eq!(words(&back).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_from_one_to_five_and_shrinks_to_one_while_it_is_written_to() {
    let place = Place::new();
    let first = place.cluster(1).await.remove(0);
    let writer = tokio::spawn({
        let first = first.clone();
        async move {
            let mut acknowledged = BTreeSet::new();
            let mut words = numbered("w", usize::MAX);
            while !first.read_stale(|words| words.0.contains("enough")) {
                acknowledged.extend(add(&first, words.next()).await);
            }
            acknowledged
        }
    });
    let mut nodes = vec![first.clone()];
    for id in 2..=5 {
        nodes.push(place.start(place.builder(id).join(place.addr(1))).await);
        within(first.promote_within(id, DEADLINE)).await.unwrap();
    }
    while let Some(last) = nodes.pop().filter(|node| node.status().id != 1) {
        within(first.remove(last.status().id)).await.unwrap();
        let reason = within(last.stopped()).await;
        assert!(matches!(reason, StopReason::Removed { .. }), "a removed node is told, and stops: {reason}");
    }
    let members = within(first.members_of_leader()).await.unwrap();
    assert_eq!((members.members.len(), members.tombstones.len()), (1, 4));
    assert!(within(first.propose("enough".into())).await.is_ok());
    let acknowledged = within(writer).await.unwrap();
    assert!(!acknowledged.is_empty());
    assert!(words(&first).await.is_superset(&acknowledged));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_replaced_by_a_new_node() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    within(nodes[0].transfer_leader(1)).await.unwrap();
    let acknowledged = add(&nodes[0], numbered("w", 10)).await;
    within(nodes[2].abort()).await;
    let fresh = place.start(place.builder(4).wait()).await;
    assert_eq!(fresh.status().role, Role::Uninitialized);
    within(nodes[1].replace(3, 4, fresh.member().clone())).await.unwrap();
    assert_eq!(within(nodes[1].replace(3, 4, fresh.member().clone())).await, Ok(()), "asked again");
    let members = within(fresh.members_of_leader()).await.unwrap();
    let ids: Vec<u64> = members.members.iter().map(|member| member.id).collect();
    assert_eq!(ids, [1, 2, 4]);
    assert_eq!(words(&fresh).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_at_another_address_is_found_again() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    within(nodes[0].transfer_leader(1)).await.unwrap();
    within(nodes[2].abort()).await;
    let moved = Node::<Words>::builder(3, place.dir(3), place.addr(6));
    let moved = place.start(moved).await;
    let acknowledged = add(&nodes[0], numbered("w", 5)).await;
    assert!(words(&moved).await.is_superset(&acknowledged));
    let members = within(moved.members_of_leader()).await.unwrap();
    assert_eq!(members.members[2].member.peer_addr, place.addr(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_where_it_is_told_to_go_from_any_node() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    for to in [3, 1, 2] {
        within(nodes[0].transfer_leader(to)).await.unwrap();
        assert_eq!(leader_of(&nodes[0], |leader| leader.id == to).await.id, to);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_accepted_and_stale_reads_go_on() {
    let place = Place::new();
    let nodes = place.cluster(3).await;
    assert!(within(nodes[0].propose("first".into())).await.is_ok());
    assert!(words(&nodes[2]).await.contains("first"));
    within(nodes[0].abort()).await;
    within(nodes[1].abort()).await;
    // With a lease just lost, a proposal may still have been taken, with an outcome that is not known then.
    let refused = within(nodes[2].propose_within("second".into(), Duration::from_secs(3))).await.unwrap_err();
    assert!(matches!(refused, ProposeError::NotAccepted(_) | ProposeError::OutcomeUnknown(_)), "{refused}");
    let refused = within(nodes[2].read_within(|_| (), Duration::from_secs(2))).await.unwrap_err();
    assert!(matches!(refused, ReadError::NoLeader(_)), "{refused}");
    assert!(nodes[2].read_stale(|words| words.0.contains("first")));
}
